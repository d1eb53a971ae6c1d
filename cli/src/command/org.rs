//! `rrctl org`: organizations, the tenants of an installation.

use anyhow::Result;
use clap::{Args, Subcommand};
use rr_contract::wire::management as mg;
use rr_contract::wire::management::org_service_client::OrgServiceClient;

use crate::command::names;
use crate::flags::change::{Condition, Consent, Mask};
use crate::flags::count;
use crate::flags::limits::{self, CeilingArgs, LimitArgs};
use crate::flags::page::Listing;
use crate::flags::plan::Agreement;
use crate::print::{Row, note, time};
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Creates an organization; the user who creates it becomes its owner.
    Create {
        /// Name: `a-z`, `0-9` and `-`, at most 63 characters. Cannot be changed.
        name: String,
        #[command(flatten)]
        settings: Box<Settings>,
        #[command(flatten)]
        consent: Consent,
    },
    /// Lists the organizations that you may see.
    List {
        #[command(flatten)]
        listing: Listing,
        /// Lists deleted organizations too, as long as they can be brought back. Operators only.
        #[arg(long)]
        deleted: bool,
    },
    /// Shows an organization.
    Show {
        /// Name or id.
        org: String,
        /// Shows it as it was at this revision; as it is now when not given.
        #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "REVISION", value_parser = count::whole)]
        at: u64,
    },
    /// Changes an organization.
    Update {
        /// Name or id.
        org: String,
        #[command(flatten)]
        settings: Box<Settings>,
        #[command(flatten)]
        condition: Condition,
        #[command(flatten)]
        consent: Consent,
    },
    /// Deletes an organization with everything in it and stops its proxies. Asks first. It can be brought back for 30 days.
    Delete {
        /// Name or id.
        org: String,
        #[command(flatten)]
        condition: Condition,
        #[command(flatten)]
        agreement: Agreement,
        #[command(flatten)]
        consent: Consent,
    },
    /// Brings back an organization that was deleted less than 30 days ago.
    Undelete {
        /// Name or id. A name that several deleted organizations had does not do.
        org: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Shows the differences of the organization between two revisions.
    Diff(crate::command::history::DiffArgs),
    /// Brings the resources of the organization back to their state at a revision, as a new revision. Asks first.
    /// Secrets are not changed; credentials that were created since are deleted for good.
    Rollback(crate::command::history::RollbackArgs),
}

#[derive(Args)]
pub(crate) struct Settings {
    /// Name for people; any text.
    #[arg(long)]
    display_name: Option<String>,
    /// While it is suspended, its proxies answer 402. Operators only.
    #[arg(long)]
    suspended: Option<bool>,
    /// Limits of each proxy that is created without limits of its own.
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    ceilings: CeilingArgs,
    /// Region that it may use, by name or id; can be repeated. Replaces the old list. Operators only.
    #[arg(long = "allowed-region", alias = "region", value_name = "REGION")]
    allowed_regions: Vec<String>,
    /// Removes the list of --allowed-region: every shared region is allowed. Operators only.
    #[arg(long, conflicts_with = "allowed_regions")]
    any_region: bool,
    /// Whether its members share `caller-credentials`, `upstream-credentials`, `targets` or `proxies`, as `targets=off`;
    /// can be repeated.
    #[arg(long = "share", value_name = "WHAT=on|off", value_parser = share)]
    share: Vec<Share>,
    /// How many days the records of its requests are kept, 1 to 400; 0 means 90. With fewer days, older records are
    /// removed within an hour.
    #[arg(long, value_name = "DAYS", value_parser = record_days)]
    record_days: Option<u32>,
}

/// Days that records are kept, as the control plane takes them.
fn record_days(text: &str) -> Result<u32, String> {
    let days = text.parse().ok().filter(|days| *days <= 400);
    days.ok_or_else(|| "the number of days is whole, and from 1 to 400; 0 means 90".to_owned())
}

/// A kind of resource that members share, or not.
#[derive(Debug, Clone, Copy)]
struct Share(fn(&mut mg::Sharing) -> &mut bool, bool);

fn share(text: &str) -> Result<Share, String> {
    let wrong = || "write it like targets=off".to_owned();
    let (what, state) = text.split_once('=').ok_or_else(wrong)?;
    let state = match state {
        "on" => true,
        "off" => false,
        _ => return Err(wrong()),
    };
    match what {
        "caller-credentials" => Ok(Share(|sharing| &mut sharing.caller_credentials, state)),
        "upstream-credentials" => Ok(Share(|sharing| &mut sharing.upstream_credentials, state)),
        "targets" => Ok(Share(|sharing| &mut sharing.targets, state)),
        "proxies" => Ok(Share(|sharing| &mut sharing.proxies, state)),
        _ => Err("the kind is one of caller-credentials, upstream-credentials, targets, proxies".to_owned()),
    }
}

impl Settings {
    /// Whether only a part of a field was given, so that the rest of it has to be read.
    const fn is_partial(&self) -> bool {
        self.limits.is_given() || self.ceilings.is_given() || !self.share.is_empty()
    }

    /// Sets the fields whose flags were given, and names them in the mask.
    fn put(self, org: &mut mg::Org, mask: &mut Mask) {
        mask.put("display_name", &mut org.display_name, self.display_name);
        mask.put("suspended", &mut org.suspended, self.suspended);
        mask.put("record_days", &mut org.record_days, self.record_days);
        let limits = self.limits.over(org.default_limits);
        mask.put("default_limits", &mut org.default_limits, limits.map(Some));
        let ceilings = self.ceilings.over(org.limit_ceilings);
        mask.put("limit_ceilings", &mut org.limit_ceilings, ceilings.map(Some));
        mask.put_all("allowed_regions", &mut org.allowed_regions, self.allowed_regions);
        mask.put("allowed_regions", &mut org.allowed_regions, self.any_region.then(Vec::new));
        if !self.share.is_empty() {
            let mut sharing = org.sharing.unwrap_or(EVERYTHING_SHARED);
            for Share(switch, state) in self.share {
                *switch(&mut sharing) = state;
            }
            mask.put("sharing", &mut org.sharing, Some(Some(sharing)));
        }
    }
}

/// The meaning of an unset field.
const EVERYTHING_SHARED: mg::Sharing =
    mg::Sharing { caller_credentials: true, upstream_credentials: true, targets: true, proxies: true };

impl Verb {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let print = session.print;
        match self {
            Self::Diff(args) => return args.run(session).await,
            Self::Rollback(args) => return args.run(session).await,
            _ => {}
        }
        let connection = session.endpoint.connect().await?;
        let mut stub = OrgServiceClient::new(connection.clone());
        match self {
            Self::Create { name, settings, consent } => {
                let mut org = mg::Org { name, ..mg::Org::default() };
                settings.put(&mut org, &mut Mask::default());
                let done = stub
                    .create_org(consent.with(mg::CreateOrgRequest { org: Some(org), ..Default::default() }))
                    .await?
                    .into_inner();
                let org = names::of_one(print, &connection, "", done.org).await?;
                print.written(&org, &format!("created organization {}", org.name), done.revision)
            }
            Self::List { listing, deleted } => {
                let list = async || {
                    let found = listing
                        .all(async |page_size, page_token| {
                            let (filter, order_by) = (listing.filter.clone(), listing.order_by.clone());
                            let ask =
                                mg::ListOrgsRequest { page_size, page_token, filter, order_by, deleted };
                            let reply = stub.list_orgs(ask).await?.into_inner();
                            Ok((reply.orgs, reply.next_page_token))
                        })
                        .await?;
                    names::of(print, &connection, "", found).await
                };
                listing.print(print, "organization", list).await
            }
            Self::Show { org, at } => {
                let reply = stub.get_org(mg::GetOrgRequest { org, revision: at }).await?.into_inner();
                print.one(&names::of_one(print, &connection, "", reply.org).await?)
            }
            Self::Update { org: name, settings, condition, consent } => {
                let mut org = mg::Org::default();
                if settings.is_partial() {
                    let ask = mg::GetOrgRequest { org: name.clone(), revision: 0 };
                    org = stub.get_org(ask).await?.into_inner().org.unwrap_or_default();
                }
                let mut mask = Mask::default();
                settings.put(&mut org, &mut mask);
                org.etag = condition.or(org.etag);
                let ask = consent.with(mg::UpdateOrgRequest {
                    name,
                    org: Some(org),
                    update_mask: mask.finish()?,
                    ..Default::default()
                });
                let changed = stub.update_org(ask).await?.into_inner();
                if changed.proxies_over_ceiling_count > 0 {
                    note(&over_ceiling(&changed));
                }
                let org = names::of_one(print, &connection, "", changed.org).await?;
                print.written(&org, &format!("updated organization {}", org.name), changed.revision)
            }
            Self::Delete { org, condition, agreement, consent } => {
                let ask =
                    consent.with(mg::DeleteOrgRequest { org, etag: condition.etag, ..Default::default() });
                let delete = async |dry_run, expected_plan| {
                    let ask = mg::DeleteOrgRequest { dry_run, expected_plan, ..ask.clone() };
                    Ok(stub.delete_org(ask).await?.into_inner())
                };
                agreement.remove(print, "organization", &ask.org, delete).await
            }
            Self::Undelete { org, consent } => {
                let done = stub
                    .undelete_org(consent.with(mg::UndeleteOrgRequest { org, ..Default::default() }))
                    .await?
                    .into_inner();
                let org = names::of_one(print, &connection, "", done.org).await?;
                print.written(&org, &format!("brought back organization {}", org.name), done.revision)
            }
            Self::Diff(_) | Self::Rollback(_) => Ok(()),
        }
    }
}

/// The proxies that are above a ceiling, and what can be done about them.
fn over_ceiling(changed: &mg::UpdateOrgResponse) -> String {
    let names = &changed.proxies_over_ceiling;
    let more = changed.proxies_over_ceiling_count.saturating_sub(names.len() as u64);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(
        "above the ceiling and going on as they are: {}{more}; its editors bring each down with `rrctl proxy update NAME --per-minute N --per-day N`",
        names.join(", ")
    )
}

/// Whether callers of the proxies of an organization are served.
fn state(org: &mg::Org) -> &'static str {
    match (org.deleted_at.is_some(), org.suspended) {
        (true, _) => "deleted",
        (false, true) => "suspended",
        (false, false) => "active",
    }
}

impl Row for mg::Org {
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "id",
        "state",
        "purged",
        "default limits",
        "limit ceilings",
        "regions",
        "not shared",
        "record days",
        "created",
        "display name",
    ];
    const WIDE: &'static [&'static str] = &["id"];
    const WHOLE: &'static [&'static str] = &["state"];

    fn cells(&self) -> Vec<String> {
        let sharing = self.sharing.unwrap_or(EVERYTHING_SHARED);
        let hidden: Vec<&str> = [
            (sharing.caller_credentials, "caller-credentials"),
            (sharing.upstream_credentials, "upstream-credentials"),
            (sharing.targets, "targets"),
            (sharing.proxies, "proxies"),
        ]
        .into_iter()
        .filter_map(|(shared, what)| (!shared).then_some(what))
        .collect();
        vec![
            self.name.clone(),
            self.id.clone(),
            state(self).to_owned(),
            time(self.purge_at.as_ref()),
            limits::of(self.default_limits.as_ref()),
            limits::of(self.limit_ceilings.as_ref()),
            self.allowed_regions.join(" "),
            hidden.join(" "),
            if self.record_days == 0 { 90 } else { self.record_days }.to_string(),
            time(self.created_at.as_ref()),
            self.display_name.clone(),
        ]
    }
}
