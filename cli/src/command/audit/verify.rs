//! `rrctl audit verify`: recomputes the chain and compares it with the heads of the control plane and its nodes.
//!
//! Trusts no number of the export: heads are computed here, from the first revision on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use rr_contract::audit::{Chain, Entry, Head, check_documents};
use rr_contract::wire::fleet::Node;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::audit_service_client::AuditServiceClient;
use rr_contract::wire::management::installation_service_client::InstallationServiceClient;
use serde::Serialize;

use super::claim::{Claim, of_nodes};
use crate::command::node;
use crate::print::{Progress, Row, count};
use crate::session::Session;

#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// URL of the admin port of an edge node, which is asked without the control plane; can be repeated.
    #[arg(long = "edge", value_name = "URL")]
    edges: Vec<String>,
    /// File with the token of those admin ports, if they have one
    #[arg(long, value_name = "FILE", requires = "edges")]
    edge_token_file: Option<PathBuf>,
}

/// A comparison and its result.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    what: String,
    revision: u64,
    /// `None`: there was nothing to compare.
    fits: Option<bool>,
    /// Why not. Empty when it fits.
    why: String,
}

/// The first revision that does not fit.
#[derive(Debug, PartialEq, Eq)]
struct Misfit {
    revision: u64,
    why: String,
}

impl VerifyArgs {
    pub(super) async fn run(self, session: Session) -> Result<()> {
        let connection = session.endpoint.connect().await?;
        // Claims are read first, so that the exported history is at least as long as each of them.
        let mut claims = Vec::new();
        let token = self.edge_token_file.as_deref().map(super::edge::token).transpose()?;
        for url in &self.edges {
            claims.push(super::edge::position(url, token.as_ref()).await?);
        }
        let nodes = node::list(connection.clone(), "", false, false).await?;
        claims.extend(of_nodes(&nodes));
        let installation = InstallationServiceClient::new(connection.clone())
            .get_installation(mg::GetInstallationRequest {})
            .await?
            .into_inner();
        claims.push(Claim {
            who: "control plane".to_owned(),
            asked: true,
            lineage: None,
            revision: installation.revision,
            audit: installation.audit.clone(),
        });

        let mut history = History::new(claims.iter().map(|claim| claim.revision));
        let mut broken = None;
        if installation.revision > 0 {
            let ask = mg::ExportAuditRequest { from: 1, to: installation.revision };
            let mut parts = AuditServiceClient::new(connection).export_audit(ask).await?.into_inner();
            let progress = Progress::of("verifying", installation.revision);
            let mut seen = 0;
            while let Some(part) = parts.message().await? {
                let revision = part.entry.as_ref().map_or(seen, |entry| entry.revision);
                progress.more(revision.saturating_sub(seen));
                seen = revision.max(seen);
                if let Err(misfit) = history.take(part.entry.unwrap_or_default()) {
                    broken = Some(misfit);
                    break;
                }
            }
        }
        if broken.is_none() {
            broken = history.finish(installation.revision).err();
        }
        let mut findings = compare(&claims, &installation.lineage, &history, broken);
        findings.extend(witnesses(&nodes));
        session.print.list(&findings)?;
        match findings
            .iter()
            .filter(|finding| finding.fits == Some(false))
            .min_by_key(|finding| finding.revision)
        {
            None => Ok(()),
            Some(first) => {
                bail!("revision {} does not fit: {}: {}", first.revision, first.what, first.why)
            }
        }
    }
}

/// Nodes that saw a rewritten history.
fn witnesses(nodes: &[Node]) -> impl Iterator<Item = Finding> {
    nodes.iter().filter(|node| node.history_rewritten).map(|node| Finding {
        what: format!("node {}", node.id),
        revision: node.running.as_ref().map_or(0, |position| position.revision),
        fits: Some(false),
        why: "the control plane sent it another head for a revision that it had".to_owned(),
    })
}

/// The chain, computed while entries pass by.
struct History {
    chain: Chain,
    revision: u64,
    /// The revision whose parts are not complete.
    open: Option<Open>,
    wanted: BTreeSet<u64>,
    heads: BTreeMap<u64, Head>,
}

struct Open {
    /// The entry without its changes.
    entry: mg::AuditEntry,
    hash: Entry,
    changes: u64,
}

impl History {
    /// Keeps the heads at `wanted`, and no other.
    fn new(wanted: impl Iterator<Item = u64>) -> Self {
        let wanted: BTreeSet<u64> = wanted.collect();
        let heads = wanted.contains(&0).then(|| (0, *Chain::start().head())).into_iter().collect();
        Self { chain: Chain::start(), revision: 0, open: None, wanted, heads }
    }

    /// Takes the next part of an export.
    fn take(&mut self, mut part: mg::AuditEntry) -> Result<(), Misfit> {
        let changes = std::mem::take(&mut part.changes);
        let revision = part.revision;
        let misfit = |why: String| Misfit { revision, why };
        let mut open = match self.open.take() {
            Some(open) if open.entry.revision == revision => {
                if open.entry != part {
                    return Err(misfit("its parts differ in more than their changes".to_owned()));
                }
                open
            }
            before => {
                if let Some(before) = before {
                    self.close(before)?;
                }
                if revision != self.revision + 1 {
                    let revision = self.revision + 1;
                    return Err(Misfit {
                        revision,
                        why: "it is missing in the export, or out of order".to_owned(),
                    });
                }
                Open { hash: Entry::new(&part), entry: part, changes: 0 }
            }
        };
        for change in &changes {
            check_documents(change).map_err(|error| misfit(error.to_string()))?;
            open.hash = open.hash.change(change);
            open.changes += 1;
        }
        self.open = Some(open);
        Ok(())
    }

    /// Ends the history, at the revision that was asked for.
    fn finish(&mut self, revision: u64) -> Result<(), Misfit> {
        if let Some(open) = self.open.take() {
            self.close(open)?;
        }
        if self.revision != revision {
            let why = format!("the export ends with revision {}", self.revision);
            return Err(Misfit { revision: self.revision + 1, why });
        }
        Ok(())
    }

    fn close(&mut self, Open { entry, hash, changes }: Open) -> Result<(), Misfit> {
        let revision = entry.revision;
        let misfit = |why: String| Misfit { revision, why };
        if changes != entry.change_count {
            return Err(misfit(format!(
                "it has {}, and its count is {}",
                count(changes, "change"),
                entry.change_count
            )));
        }
        let chain = self.chain.next(revision, &hash.finish());
        if entry.audit.as_slice() != chain.head() {
            return Err(misfit(
                "its head does not follow from its changes and the revisions before".to_owned(),
            ));
        }
        self.chain = chain;
        self.revision = revision;
        if self.wanted.contains(&revision) {
            self.heads.insert(revision, *chain.head());
        }
        Ok(())
    }
}

/// Everything that was compared: the chain with itself, then each claim with the chain.
fn compare(claims: &[Claim], lineage: &[u8], history: &History, broken: Option<Misfit>) -> Vec<Finding> {
    let mut findings = vec![match broken {
        None => Finding {
            what: "chain from the first revision".to_owned(),
            revision: history.revision,
            fits: Some(true),
            why: String::new(),
        },
        Some(Misfit { revision, why }) => {
            Finding { what: "chain from the first revision".to_owned(), revision, fits: Some(false), why }
        }
    }];
    for claim in claims {
        let (fits, why) = if claim.lineage.as_ref().is_some_and(|theirs| theirs != lineage) {
            (Some(false), "it is in another history of the database".to_owned())
        } else if claim.audit.is_empty() && claim.revision > 0 {
            (claim.asked.then_some(false), "it knows no head".to_owned())
        } else {
            match history.heads.get(&claim.revision) {
                Some(head) if claim.audit.is_empty() || claim.audit.as_slice() == head => {
                    (Some(true), String::new())
                }
                Some(_) => (Some(false), "its head is another than the head of the chain".to_owned()),
                None => (
                    Some(false),
                    format!("the chain could be followed only to revision {}", history.revision),
                ),
            }
        };
        findings.push(Finding { what: claim.who.clone(), revision: claim.revision, fits, why });
    }
    findings
}

impl Row for Finding {
    const COLUMNS: &'static [&'static str] = &["compared", "revision", "fits", "why not"];

    fn cells(&self) -> Vec<String> {
        let fits = match self.fits {
            Some(true) => "yes",
            Some(false) => "no",
            None => "not known",
        };
        vec![self.what.clone(), self.revision.to_string(), fits.to_owned(), self.why.clone()]
    }
}

#[cfg(test)]
mod tests;
