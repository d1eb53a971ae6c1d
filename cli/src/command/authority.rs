//! `rrctl authority`: the certificate authority of the fleet, and how one root takes the place of another.
//!
//! Each step can be made again: it goes on where it ended, and says who is waited for.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Subcommand;
use rr_contract::seam::{Disk as _, RealDisk};
use rr_contract::wire::management as mg;
use rr_contract::wire::management::authority_service_client::AuthorityServiceClient;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::connect::Connection;
use crate::fault;
use crate::flags::plan::Yes;
use crate::print::{Row, count, few, note, time};
use crate::session::Session;

/// How long connected nodes are waited for, and how often they are looked at.
const NODES_TAKE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(500);

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Shows the roots that nodes trust, and how far nodes are with them.
    Show {
        /// File that their certificates are written to, for --ca-file of other commands. One that is there is replaced.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Has nodes trust another root beside the present one: the first step of a rollover. The control plane has to have been
    /// started with its key.
    Add {
        /// SHA-256 of its public key, in hex. Without it the one spare key that the control plane has.
        pin: Option<String>,
    },
    /// Issues certificates by the other root from now on, once every node trusts it: the second step. Nodes renew theirs within
    /// a minute.
    Switch {
        /// SHA-256 of its public key, in hex. Without it the one that was added last.
        pin: Option<String>,
        /// Waits for no node that does not trust it yet.
        #[arg(long)]
        now: bool,
    },
    /// Lets nobody trust a root any more, once every node has a certificate of the other: the last step. Asks first. It cannot
    /// be undone.
    Remove {
        /// SHA-256 of its public key, in hex. Without it the one before the root that was added last.
        pin: Option<String>,
        /// Cuts off nodes that have no certificate of the other root: they join again with a new token.
        #[arg(long)]
        now: bool,
        #[command(flatten)]
        yes: Yes,
    },
}

type Stub = AuthorityServiceClient<Connection>;

impl Verb {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let print = session.print;
        let mut stub = AuthorityServiceClient::new(session.endpoint.connect().await?);
        match self {
            Self::Show { out } => {
                let shown = show(&mut stub).await?;
                if let Some(path) = &out {
                    let text: String = shown.roots.iter().map(|root| root.certificate.as_str()).collect();
                    let written = RealDisk.replace(path, text.as_bytes());
                    written.with_context(|| format!("write {}", path.display()))?;
                }
                for line in waits(&shown) {
                    note(&line);
                }
                if print.is_data() { print.data(&shown) } else { print.list(&shown.roots) }
            }
            Self::Add { pin } => {
                let ask = mg::AddAuthorityRootRequest { pin: pin.unwrap_or_default() };
                let done = stub.add_authority_root(ask).await?.into_inner();
                let root = done.root.unwrap_or_default();
                let shown = settled(&mut stub, |it| it.nodes_without_trust.is_empty()).await?;
                print.written(
                    &root,
                    &format!("added root {} to the authority", short(&root.pin)),
                    done.revision,
                )?;
                note(&said(&shown.nodes_without_trust, shown.nodes, "trusts it", "`rrctl authority switch`"));
                note(COPIES);
                Ok(())
            }
            Self::Switch { pin, now } => {
                let shown = show(&mut stub).await?;
                let pin = pin.map_or_else(|| newest(&shown).map(|root| root.pin.clone()), Ok)?;
                let ask = mg::SwitchAuthorityRootRequest { pin, now };
                let done = patiently(async || stub.clone().switch_authority_root(ask.clone()).await).await?;
                let root = done.into_inner();
                let (root, revision) = (root.root.unwrap_or_default(), root.revision);
                let shown = settled(&mut stub, |it| it.nodes_of_another.is_empty()).await?;
                print.written(&root, &format!("root {} issues", short(&root.pin)), revision)?;
                let next = "`rrctl authority remove`";
                note(&said(&shown.nodes_of_another, shown.nodes, "has a certificate of it", next));
                tell_tokens(&shown);
                note(COPIES);
                Ok(())
            }
            Self::Remove { pin, now, yes } => {
                let shown = show(&mut stub).await?;
                let pin = pin.map_or_else(|| before(&shown).map(|root| root.pin.clone()), Ok)?;
                if now {
                    for line in waits(&shown) {
                        note(&line);
                    }
                }
                yes.ask(&format!("let nobody trust root {} of the authority any more", short(&pin)))?;
                let ask = mg::RemoveAuthorityRootRequest { pin: pin.clone(), now };
                let done = patiently(async || stub.clone().remove_authority_root(ask.clone()).await).await?;
                let done = done.into_inner();
                let text = format!("removed root {} from the authority", short(&pin));
                print.done(&crate::print::at_revision(&text, done.revision), &done)?;
                note(
                    "its key opens and signs nothing any more: start the control plane without it, and delete it; machines whose --ca-file has no other root cannot reach the control plane from now on",
                );
                Ok(())
            }
        }
    }
}

/// What else trusts a root by a copy.
const COPIES: &str = "machines on which `rrctl` was given a copy of authority.crt (--ca-file, contexts) need the new one before \
     the old root is removed: `rrctl authority show --out FILE`, then `rrctl login --ca-file FILE`";

async fn show(stub: &mut Stub) -> Result<mg::GetAuthorityResponse> {
    Ok(stub.get_authority(mg::GetAuthorityRequest {}).await?.into_inner())
}

/// Waits for nodes that are connected, for a while.
async fn settled(
    stub: &mut Stub,
    is_there: impl Fn(&mg::GetAuthorityResponse) -> bool,
) -> Result<mg::GetAuthorityResponse> {
    let until = Instant::now() + NODES_TAKE;
    loop {
        let shown = show(stub).await?;
        if is_there(&shown) || Instant::now() >= until {
            return Ok(shown);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A step that nodes which are connected may be ready for within moments.
async fn patiently<T>(mut step: impl AsyncFnMut() -> Result<T, Status>) -> Result<T> {
    let until = Instant::now() + NODES_TAKE;
    loop {
        match step().await {
            Err(status) if status.code() == Code::FailedPrecondition && Instant::now() < until => {
                tokio::time::sleep(LOOK).await;
            }
            done => return Ok(done?),
        }
    }
}

/// The root that was added last.
fn newest(shown: &mg::GetAuthorityResponse) -> Result<&mg::AuthorityRoot> {
    let at = |root: &&mg::AuthorityRoot| root.added_at.as_ref().map(|at| (at.seconds, at.nanos));
    match shown.roots.as_slice() {
        [_, _, ..] => shown.roots.iter().max_by_key(at).context("roots in the answer"),
        _ => Err(fault::usage(
            "the authority has one root, which issues",
            "add another one first: `rrctl authority add`",
        )),
    }
}

/// The one before it; only once that issues.
fn before(shown: &mg::GetAuthorityResponse) -> Result<&mg::AuthorityRoot> {
    let newest = newest(shown)?;
    if !newest.issues {
        return Err(fault::usage(
            &format!("the root that was added last ({}) does not issue yet", short(&newest.pin)),
            "`rrctl authority switch` comes first; to give the rollover up, name the root that is to go",
        ));
    }
    shown.roots.iter().find(|root| root.pin != newest.pin).context("roots in the answer")
}

/// How far nodes are, in one sentence.
fn said(missing: &[String], nodes: u32, does: &str, next: &str) -> String {
    if missing.is_empty() {
        return format!("every node {does} ({}): {next} comes next", count(u64::from(nodes), "node"));
    }
    format!("not every node {does} yet ({}): {next} comes once they do", few(missing))
}

fn tell_tokens(shown: &mg::GetAuthorityResponse) {
    if !shown.tokens_of_another.is_empty() {
        note(&format!(
            "node tokens that were made before let machines join until the root before is removed: {}",
            few(&shown.tokens_of_another)
        ));
    }
}

/// Who is waited for.
fn waits(shown: &mg::GetAuthorityResponse) -> Vec<String> {
    if shown.roots.len() < 2 {
        return Vec::new();
    }
    let lists = [
        ("nodes that do not report that they trust both roots", &shown.nodes_without_trust),
        ("nodes without a certificate of the root that issues", &shown.nodes_of_another),
        ("node tokens that name another root than the one that issues", &shown.tokens_of_another),
    ];
    let told = lists.into_iter().filter(|(_, ids)| !ids.is_empty());
    told.map(|(what, ids)| format!("{what}: {}", few(ids))).collect()
}

/// As people tell two apart.
fn short(pin: &str) -> &str {
    pin.get(..12).unwrap_or(pin)
}

impl Row for mg::AuthorityRoot {
    const COLUMNS: &'static [&'static str] =
        &["pin", "issues", "nodes trust", "nodes certified", "added", "issues since"];
    const WHOLE: &'static [&'static str] = &["pin"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.pin.clone(),
            if self.issues { "yes" } else { "no" }.to_owned(),
            self.nodes_trust.to_string(),
            self.nodes_certified.to_string(),
            time(self.added_at.as_ref()),
            time(self.issues_since.as_ref()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(pin: &str, added: i64, issues: bool) -> mg::AuthorityRoot {
        let added_at = Some(pbjson_types::Timestamp { seconds: added, nanos: 0 });
        mg::AuthorityRoot { pin: pin.to_owned(), issues, added_at, ..mg::AuthorityRoot::default() }
    }

    fn with(roots: Vec<mg::AuthorityRoot>) -> mg::GetAuthorityResponse {
        mg::GetAuthorityResponse { roots, ..mg::GetAuthorityResponse::default() }
    }

    /// A second run of a step makes the same step, and not the one back.
    #[test]
    fn a_step_without_a_name_is_about_the_root_that_was_added_last_whichever_issues() {
        let added = with(vec![root("old", 1, true), root("new", 2, false)]);
        assert_eq!(newest(&added).expect("one").pin, "new");
        let refused = before(&added).expect_err("it does not issue").to_string();
        assert!(refused.contains("does not issue yet"), "{refused}");
        let switched = with(vec![root("new", 2, true), root("old", 1, false)]);
        assert_eq!(newest(&switched).expect("one").pin, "new");
        assert_eq!(before(&switched).expect("one").pin, "old");
        let one = with(vec![root("only", 1, true)]);
        assert!(newest(&one).expect_err("one").to_string().contains("rrctl authority add"));
    }

    #[test]
    fn who_is_waited_for_is_named() {
        let missing = ["nd_1".to_owned()];
        assert!(said(&missing, 3, "trusts it", "`next`").contains("nd_1"));
        assert!(said(&[], 3, "trusts it", "`next`").starts_with("every node trusts it (3 nodes)"));
    }
}
