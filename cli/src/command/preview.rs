//! `rrctl preview`: sets that stand beside the real ones for a while, and end by themselves.
//!
//! They are made by `rrctl apply --preview`. A preview is what bears a label with its name, of whatever kind; nothing else
//! is kept of it, and it ends with the latest end that a label says.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use rr_contract::document::preview::{Label, NAME_MAX, PREFIX};
use rr_contract::model::name::Name;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::apply_service_client::ApplyServiceClient;
use serde::Serialize;

use super::change;
use super::set::upload;
use super::{credential, filter, meter, proxy, rule, target};
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
    let ends = match ends {
        Some(ends) => ends,
        None => match there(connection, org, Some(name)).await?.remove(name) {
            Some(preview) => return Ok(preview.label),
            None => Moment::Span(USUALLY),
        },
    };
    let ends = u64::try_from(ends.ahead().seconds).unwrap_or_default();
    Ok(Label { name: name.clone(), ends })
}

/// A preview, as what bears labels of it says.
struct There {
    /// With the latest end.
    label: Label,
    proxies: Vec<String>,
}

/// Previews by their names, or the one of a name. Any kind of resource may be all that is left of one.
async fn there(connection: &Connection, org: &str, name: Option<&Name>) -> Result<BTreeMap<Name, There>> {
    let labels = name.map_or_else(|| PREFIX.to_owned(), |name| format!("{PREFIX}{name}:"));
    let which = Listing::of(format!("owner = {labels}*"));
    let mut owned: Vec<(String, Option<String>)> = Vec::new();
    let proxies = proxy::list(connection.clone(), org, &which).await?;
    owned.extend(proxies.into_iter().map(|it| (it.owner, Some(it.name))));
    let others = [
        target::list(connection.clone(), org, &which)
            .await?
            .into_iter()
            .map(|it| it.owner)
            .collect::<Vec<_>>(),
        credential::list(connection.clone(), org, &which).await?.into_iter().map(|it| it.owner).collect(),
        rule::list(connection.clone(), org, &which).await?.into_iter().map(|it| it.owner).collect(),
        filter::list(connection.clone(), org, &which).await?.into_iter().map(|it| it.owner).collect(),
        meter::list(connection.clone(), org, &which).await?.into_iter().map(|it| it.owner).collect(),
    ];
    owned.extend(others.into_iter().flatten().map(|owner| (owner, None)));
    Ok(grouped(owned))
}

/// The previews that labels name, each with the name of the proxy that bears it.
fn grouped(owned: Vec<(String, Option<String>)>) -> BTreeMap<Name, There> {
    let mut previews = BTreeMap::new();
    for (owner, proxy) in owned {
        let Some(label) = Label::parse(&owner) else { continue };
        let at = previews.entry(label.name.clone());
        let preview = at.or_insert_with(|| There { label: label.clone(), proxies: Vec::new() });
        preview.label.ends = preview.label.ends.max(label.ends);
        preview.proxies.extend(proxy);
    }
    previews
}

/// The names of previews.
pub(crate) async fn names(connection: &Connection, org: &str) -> Result<Vec<String>> {
    Ok(there(connection, org, None).await?.into_keys().map(|name| name.to_string()).collect())
}

impl Verb {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let org = session.org()?;
        let connection = session.endpoint.connect_for(TIMEOUT).await?;
        match self {
            Self::List => {
                let there = there(&connection, &org, None).await?;
                session.print.list(&there.into_values().map(Preview::from).collect::<Vec<_>>())
            }
            Self::Show { preview } => {
                let found = there(&connection, &org, Some(&preview)).await?.remove(&preview);
                session.print.one(&found.map(Preview::from).ok_or_else(|| unknown(&preview))?)
            }
            Self::Delete(args) => {
                let found = there(&connection, &org, Some(&args.preview)).await?.remove(&args.preview);
                let label = found.ok_or_else(|| unknown(&args.preview))?.label;
                remove(&session, &connection, &org, label.to_string(), &args).await
            }
        }
    }
}

impl From<There> for Preview {
    fn from(There { label, proxies }: There) -> Self {
        let ends_at = i64::try_from(label.ends)
            .ok()
            .and_then(|seconds| chrono::DateTime::from_timestamp(seconds, 0))
            .map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true));
        Self {
            name: label.name.to_string(),
            ends_at: ends_at.unwrap_or_default(),
            proxies,
            owner: label.to_string(),
        }
    }
}

fn unknown(preview: &Name) -> anyhow::Error {
    fault::ended(&format!("there is no preview {preview}"), "`rrctl preview list` lists those that there are")
}

/// Removes what bears a label of the preview, with whichever end: an apply of nothing.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_is_what_bears_its_name_and_ends_with_the_latest_end() {
        let owned = [
            ("preview/w:20", None),
            ("preview/w:10", Some("pay3--w")),
            ("preview/x:5", None),
            ("preview/no-label", Some("a")),
            ("git", Some("b")),
        ];
        let owned = owned.map(|(owner, proxy)| (owner.to_owned(), proxy.map(str::to_owned)));
        let previews: Vec<Preview> = grouped(owned.into()).into_values().map(Preview::from).collect();
        let told: Vec<(&str, &str, &[String])> =
            previews.iter().map(|it| (&*it.name, &*it.owner, &*it.proxies)).collect();
        let proxies = ["pay3--w".to_owned()];
        assert_eq!(told, [("w", "preview/w:20", &proxies[..]), ("x", "preview/x:5", &[][..])]);
    }
}
