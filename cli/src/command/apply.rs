//! `rrctl apply`: changes an organization to the state that files describe, as one revision.
//!
//! The control plane makes a plan first, and carries out that plan or nothing.

mod resealing;
pub(super) mod sealing;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use rr_contract::model::name::Name;
use rr_contract::seam::{SystemEntropy, draw};
use rr_contract::secret::Secret;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::apply_service_client::ApplyServiceClient;

use super::change;
use super::preview;
use super::set::{OwnerArgs, Read, SetArgs, preview as staged, refused, upload};
use super::wait::Awaited;
use crate::flags::change::Consent;
use crate::flags::count;
use crate::flags::key_file::SpareKeyArgs;
use crate::flags::moment::{self, Moment};
use crate::flags::trust::TrustArgs;
use crate::once::{self, NewFile};
use crate::print::{Row, line_out, note};
use crate::session::Session;
use crate::{fault, prompt};

/// The longest time of a call: sets can be large.
const TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// Room for a key in a file, beside its name.
const KEY_ROOM: usize = 128;

#[derive(Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    set: SetArgs,
    #[command(flatten)]
    whose: OwnerArgs,
    /// Makes a preview of this name in the place of the set: its proxies, targets, rules, filters and meters under other names
    /// (`pay--NAME`), called with a key of its own. Upstream credentials are those that are there.
    #[arg(long, value_name = "NAME", value_parser = preview::name, conflicts_with_all = ["owner", "prune"])]
    preview: Option<Name>,
    /// End of the preview, as `24h` or `2027-01-31`: the control plane removes it then. When not given, a new preview ends after
    /// 24 hours, and the end of one that is there stays.
    #[arg(long, value_name = "WHEN", value_parser = moment::end, requires = "preview")]
    expires: Option<Moment>,
    /// Shows the plan and changes nothing.
    #[arg(long)]
    dry_run: bool,
    /// Refused if the organization has changed since this revision.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "REVISION", value_parser = count::whole)]
    expect: u64,
    /// Carries the plan out without asking. Required where there is no terminal; of --yes and --dry-run, --dry-run counts.
    #[arg(long, short = 'y')]
    yes: bool,
    #[command(flatten)]
    awaited: Awaited,
    /// New file that the keys of new caller credentials are written to, a line each; it is made before the keys. Without it
    /// they are printed.
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    keys_out: Option<PathBuf>,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    key: SpareKeyArgs,
}

impl ApplyArgs {
    pub(crate) async fn run(mut self, session: Session, read: Read) -> Result<()> {
        let org = session.org()?;
        self.trust.fall_back(session.regions_file());
        let goal = self.awaited.goal()?;
        let mut set = read(&self.set)?;
        self.whose.check(&set)?;
        let connection = session.endpoint.connect_for(TIMEOUT).await?;
        let (mut owner, mut prune) = (self.whose.owner.clone(), self.whose.prune);
        if let Some(name) = &self.preview {
            for left in staged::stage(&mut set.documents, name)? {
                note(&format!(
                    "{left} belongs to a credential, or to what is not in the files: it is no part of the preview"
                ));
            }
            owner = preview::label(&connection, &org, name, self.expires).await?.to_string();
            prune = true;
        }
        sealing::seal(&mut set.documents, &connection, &org, &self.trust).await?;
        if !self.dry_run {
            let (file, agreed) = (session.regions_file(), (self.yes, self.consent));
            resealing::reseal(&set.documents, &connection, &org, self.key, file, agreed).await?;
        }
        let mut stub = ApplyServiceClient::new(connection);

        let header = self.consent.with(mg::ApplyHeader {
            org,
            owner,
            prune,
            dry_run: true,
            expected_revision: self.expect,
            ..Default::default()
        });
        let planned = upload::send(&mut stub, header.clone(), set.to_send()).await;
        let planned = planned.map_err(|status| refused::located(&set, status))?;
        let tell = |outcome: &mg::ApplyOutcome| -> Result<()> {
            if session.print.is_data() { session.print.data(outcome) } else { show(outcome, line_out) }
        };
        if self.dry_run {
            return tell(&planned);
        }
        if planned.changes.is_empty() {
            tell(&planned)?;
            // What was applied before may not run yet.
            return match goal.filter(|_| planned.base_revision != 0) {
                Some(goal) => goal.until(&session, planned.base_revision).await,
                None => Ok(()),
            };
        }
        // The user has to see the plan even when standard output goes to a program.
        show(&planned, |line| {
            note(line);
            Ok(())
        })?;
        if !self.yes {
            prompt::confirm(
                "carry out this plan?",
                "cannot ask whether to carry out the plan: standard input is not a terminal",
                "give --yes to agree, or --dry-run to see only the plan",
            )?;
        }
        let header = mg::ApplyHeader {
            dry_run: false,
            plan: planned.plan,
            expected_revision: planned.base_revision,
            request_id: format!("{:032x}", u128::from_be_bytes(draw(&SystemEntropy))),
            ..header
        };
        let made = planned.changes.iter().filter(|it| it.action() == mg::ApplyAction::Create);
        let room = made.map(|it| it.name.len() + KEY_ROOM).sum();
        let mut file = self.keys_out.as_deref().map(|path| NewFile::make(path, room)).transpose()?;
        let mut done = upload::send(&mut stub, header, Vec::new()).await.map_err(unsure)?;
        let keys: String = done.keys.iter().map(|key| format!("{}  {}\n", key.name, key.key)).collect();
        let keys = Secret::from(keys);
        let kept = match &mut file {
            Some(file) if !keys.is_empty() => file.write(keys.expose()).map(|()| {
                file.keep();
                done.keys.clear();
            }),
            _ => Ok(()),
        };
        // The set is applied: a fault with the keys does not end the wait.
        let text = if session.print.is_data() {
            session.print.text(&done)?
        } else if done.keys.is_empty() {
            change::summary(&done)
        } else {
            note(
                "the keys below are shown only this once; callers send each where its credential says, or in Authorization",
            );
            [change::summary(&done).as_str(), std::str::from_utf8(keys.expose())?.trim_end()].join("\n")
        };
        let shown = if done.keys.is_empty() {
            line_out(&text)
        } else {
            once::out_or_aside("caller keys", text.as_bytes(), keys.expose())
        };
        let told = shown.and(kept);
        if let (Err(error), Some(_)) = (&told, &goal) {
            // Told before the wait, which may take long.
            note(&format!("{error:#}"));
        }
        if let Some(goal) = goal.filter(|_| done.revision != 0) {
            goal.until(&session, done.revision).await?;
        }
        told
    }
}

/// The remedy where the answer was lost, and it is not known whether the plan was carried out.
fn unsure(status: tonic::Status) -> anyhow::Error {
    let error = anyhow::Error::from(status);
    if fault::is_certainly_undone(&error) {
        return error;
    }
    error.context(
        "it is not known whether the plan was carried out: apply the same files again to see what is left. Keys of caller \
         credentials that were created are lost; delete those credentials and create them again",
    )
}

/// A plan as text: its changes, and the sum.
fn show(outcome: &mg::ApplyOutcome, mut out: impl FnMut(&str) -> Result<()>) -> Result<()> {
    change::show(outcome, &mut out)?;
    out(&change::summary(outcome))
}

impl Row for mg::ApplyOutcome {
    const COLUMNS: &'static [&'static str] = &["revision", "created", "updated", "deleted", "unchanged"];

    fn cells(&self) -> Vec<String> {
        [self.revision, self.created, self.updated, self.deleted, self.unchanged]
            .map(|n| n.to_string())
            .to_vec()
    }
}
