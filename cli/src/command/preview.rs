//! `rrctl preview`: sets that stand beside the real ones for a while, and end by themselves.
//!
//! They are made by `rrctl apply --preview`. A preview is what bears its label; nothing else is kept of it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use rr_contract::document::preview::{Label, NAME_MAX};
use rr_contract::model::name::Name;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::apply_service_client::ApplyServiceClient;
use serde::Serialize;

use super::change;
use super::set::preview::CALLERS;
use super::set::upload;
use super::{credential, proxy};
use crate::connect::Connection;
use crate::fault;
use crate::flags::change::Consent;
use crate::flags::moment::Moment;
use crate::flags::page::Listing;
use crate::flags::plan::Agreement;
use crate::print::{Row, line_out, note};
use crate::prompt;
use crate::session::Session;

/// The longest time of a call: sets can be large.
const TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// How long a preview stays where nothing is said.
const USUALLY: Duration = Duration::from_secs(86_400);

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Lists previews, and when they end.
    List,
    /// Shows a preview.
    Show {
        /// Name of the preview.
        #[arg(value_parser = name, value_name = "NAME")]
        preview: Name,
    },
    /// Removes a preview with all that belongs to it.
    Delete(DeleteArgs),
}

#[derive(Args)]
pub(crate) struct DeleteArgs {
    /// Name of the preview.
    #[arg(value_parser = name, value_name = "NAME")]
    preview: Name,
    #[command(flatten)]
    agreement: Agreement,
    #[command(flatten)]
    consent: Consent,
}

/// A preview, as its label says it.
#[derive(Debug, Serialize)]
struct Preview {
    name: String,
    /// RFC 3339.
    ends_at: String,
    proxies: Vec<String>,
    owner: String,
}

impl Row for Preview {
    const COLUMNS: &'static [&'static str] = &["name", "ends", "proxies", "owner"];
    const WIDE: &'static [&'static str] = &["owner"];

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.ends_at.clone(), self.proxies.join(", "), self.owner.clone()]
    }
}

/// The name of a preview.
pub(crate) fn name(text: &str) -> Result<Name, String> {
    let wrong = || format!("1 to {NAME_MAX} of a-z, 0-9 and -, starting and ending with a letter or digit");
    text.parse::<Name>().ok().filter(|_| text.len() <= NAME_MAX).ok_or_else(wrong)
}

/// The label of a preview that is there, or of one that ends after a day; with another end where one is given.
pub(crate) async fn label(
    connection: &Connection,
    org: &str,
    name: &Name,
    ends: Option<Moment>,
) -> Result<Label> {
    let there = labels(connection, org).await?.into_iter().filter(|label| label.name == *name);
    match (ends, there.max_by_key(|label| label.ends)) {
        (None, Some(label)) => Ok(label),
        (ends, _) => {
            let ends = ends.unwrap_or(Moment::Span(USUALLY)).ahead().seconds;
            Ok(Label { name: name.clone(), ends: u64::try_from(ends).unwrap_or_default() })
        }
    }
}

/// The labels of previews: each has a caller of its own, which bears it.
async fn labels(connection: &Connection, org: &str) -> Result<BTreeSet<Label>> {
    let callers = Listing::of(format!("name = {CALLERS}*"));
    let callers = credential::list(connection.clone(), org, &callers).await?;
    Ok(callers.iter().filter_map(|caller| Label::parse(&caller.owner)).collect())
}

/// The names of previews.
pub(crate) async fn names(connection: &Connection, org: &str) -> Result<Vec<String>> {
    let names: BTreeSet<String> =
        labels(connection, org).await?.into_iter().map(|it| it.name.to_string()).collect();
    Ok(names.into_iter().collect())
}

impl Verb {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let org = session.org()?;
        let connection = session.endpoint.connect_for(TIMEOUT).await?;
        let there = labels(&connection, &org).await?;
        match self {
            Self::List => {
                let mut previews = Vec::new();
                for label in there {
                    previews.push(described(&connection, &org, &label).await?);
                }
                session.print.list(&previews)
            }
            Self::Show { preview } => {
                let label = there.into_iter().filter(|label| label.name == preview).max_by_key(|it| it.ends);
                let label = label.ok_or_else(|| unknown(&preview))?;
                session.print.one(&described(&connection, &org, &label).await?)
            }
            Self::Delete(args) => {
                let mut owners = there.into_iter().filter(|label| label.name == args.preview);
                let Some(first) = owners.next() else { return Err(unknown(&args.preview)) };
                for owner in std::iter::once(first).chain(owners) {
                    remove(&session, &connection, &org, owner.to_string(), &args).await?;
                }
                Ok(())
            }
        }
    }
}

/// A preview, with its proxies.
async fn described(connection: &Connection, org: &str, label: &Label) -> Result<Preview> {
    let owner = label.to_string();
    let which = Listing::of(format!("owner = {owner}"));
    let proxies = proxy::list(connection.clone(), org, &which).await?;
    let ends_at = i64::try_from(label.ends)
        .ok()
        .and_then(|seconds| chrono::DateTime::from_timestamp(seconds, 0))
        .map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true));
    Ok(Preview {
        name: label.name.to_string(),
        ends_at: ends_at.unwrap_or_default(),
        proxies: proxies.into_iter().map(|proxy| proxy.name).collect(),
        owner,
    })
}

fn unknown(preview: &Name) -> anyhow::Error {
    fault::ended(&format!("there is no preview {preview}"), "`rrctl preview list` lists those that there are")
}

/// Removes what bears a label: an apply of nothing.
async fn remove(
    session: &Session,
    connection: &Connection,
    org: &str,
    owner: String,
    args: &DeleteArgs,
) -> Result<()> {
    let agreement = args.agreement;
    let mut stub = ApplyServiceClient::new(connection.clone());
    let header =
        mg::ApplyHeader { org: org.to_owned(), owner, prune: true, dry_run: true, ..Default::default() };
    let header = args.consent.with(header);
    let planned = upload::send(&mut stub, header.clone(), Vec::new()).await?;
    if agreement.dry_run {
        if session.print.is_data() {
            return session.print.one(&planned);
        }
        change::show(&planned, line_out)?;
        return line_out(&change::summary(&planned));
    }
    change::show(&planned, |line| {
        note(line);
        Ok(())
    })?;
    if !agreement.yes {
        prompt::confirm(
            "remove this preview?",
            "cannot ask whether to remove the preview: standard input is not a terminal",
            "give --yes to agree, or --dry-run to see only what would go",
        )?;
    }
    let header = mg::ApplyHeader {
        dry_run: false,
        plan: planned.plan,
        expected_revision: planned.base_revision,
        ..header
    };
    let done = upload::send(&mut stub, header, Vec::new()).await?;
    if session.print.is_data() { session.print.data(&done) } else { line_out(&change::summary(&done)) }
}
