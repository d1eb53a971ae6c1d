//! `rrctl target`: upstream APIs.

use anyhow::Result;
use clap::{Args, Subcommand};
use rr_contract::model::time::wire_duration;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::target_service_client::TargetServiceClient;

use crate::authority;
use crate::connect::Connection;
use crate::flags::change::{Cascade, Condition, Consent, DefaultEffect, Effect, Mask, Owner, default_effect};
use crate::flags::count;
use crate::flags::page::{self, Listing};
use crate::flags::plan::Agreement;
use crate::print::{Row, note, time};
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Creates a target.
    Create {
        /// Name: `a-z`, `0-9` and `-`, at most 63 characters. Cannot be changed.
        name: String,
        /// Scheme, host, port and base path of the API, as `https://api.example.com/v1`.
        #[arg(long)]
        base_url: String,
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        consent: Consent,
    },
    /// Lists the targets of the organization.
    List(Listing),
    /// Shows a target.
    Show {
        /// Name or id.
        target: String,
        /// Shows it as it was at this revision; as it is now when not given.
        #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "REVISION", value_parser = count::whole)]
        at: u64,
    },
    /// Changes a target.
    Update {
        /// Name or id.
        target: String,
        /// Scheme, host, port and base path of the API, as `https://api.example.com/v1`.
        #[arg(long)]
        base_url: Option<String>,
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        condition: Condition,
        #[command(flatten)]
        consent: Consent,
    },
    /// Deletes a target that no proxy uses, with its rules and filters. Asks first.
    Delete {
        /// Name or id.
        target: String,
        #[command(flatten)]
        condition: Condition,
        #[command(flatten)]
        cascade: Cascade,
        #[command(flatten)]
        agreement: Agreement,
        #[command(flatten)]
        consent: Consent,
    },
}

#[derive(Args)]
pub(crate) struct Settings {
    /// Allows a base URL of http: secrets are sent in the clear over the network.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    danger_plaintext: Option<bool>,
    /// Longest time for a connection, in seconds; 5 when never given.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    connect_timeout: Option<std::time::Duration>,
    /// Longest time until the head of the response, in seconds; 30 when never given.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    response_timeout: Option<std::time::Duration>,
    /// Path below the base URL that is requested when the target is tested.
    #[arg(long, value_name = "PATH")]
    test_path: Option<String>,
    /// File with the certificates (PEM) that alone vouch for the upstream; `none`: those that nodes trust.
    #[arg(long, value_name = "FILE")]
    ca: Option<authority::Source>,
    /// Lowest version of TLS; 1.2 when never given.
    #[arg(long, value_name = "VERSION", value_parser = ["1.2", "1.3"])]
    min_tls: Option<String>,
    /// Version of HTTP; what TLS agrees on when never given. 2 over http is spoken without asking.
    #[arg(long, value_name = "VERSION", value_parser = ["1.1", "2", "agreed"])]
    http_version: Option<String>,
    #[command(flatten)]
    default: DefaultEffect,
    #[command(flatten)]
    owner: Owner,
}

fn seconds(text: &str) -> Result<std::time::Duration, String> {
    let wrong = || "write a positive number of seconds".to_owned();
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    std::time::Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

impl Settings {
    fn put(self, target: &mut mg::Target, mask: &mut Mask) -> Result<()> {
        let duration =
            |given: Option<std::time::Duration>| given.map(|duration| Some(wire_duration(duration)));
        mask.put("danger_plaintext", &mut target.danger_plaintext, self.danger_plaintext);
        mask.put("connect_timeout", &mut target.connect_timeout, duration(self.connect_timeout));
        mask.put("response_timeout", &mut target.response_timeout, duration(self.response_timeout));
        mask.put("test_path", &mut target.test_path, self.test_path);
        mask.put("ca", &mut target.ca, self.ca.map(|ca| ca.text()).transpose()?);
        mask.put("min_tls", &mut target.min_tls, self.min_tls);
        let http_version = self.http_version.map(|said| if said == "agreed" { String::new() } else { said });
        mask.put("http_version", &mut target.http_version, http_version);
        let effect = self.default.default_effect.map(Effect::to_wire);
        mask.put("default_effect", &mut target.default_effect, effect);
        mask.put("owner", &mut target.owner, self.owner.owner);
        Ok(())
    }
}

impl Verb {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let org = session.org()?;
        let connection = session.endpoint.connect().await?;
        let mut stub = TargetServiceClient::new(connection.clone());
        let print = session.print;
        match self {
            Self::Create { name, base_url, settings, consent } => {
                let mut target = mg::Target { name, base_url, ..mg::Target::default() };
                settings.put(&mut target, &mut Mask::default())?;
                let ask =
                    consent.with(mg::CreateTargetRequest { org, target: Some(target), ..Default::default() });
                print.one(&stub.create_target(ask).await?.into_inner().target.unwrap_or_default())
            }
            Self::List(listing) => print.list(&list(connection, &org, &listing).await?),
            Self::Show { target, at } => {
                let ask = mg::GetTargetRequest { org, target, revision: at };
                print.one(&stub.get_target(ask).await?.into_inner().target.unwrap_or_default())
            }
            Self::Update { target: name, base_url, settings, condition, consent } => {
                let mut target = mg::Target { etag: condition.etag, ..mg::Target::default() };
                let mut mask = Mask::default();
                mask.put("base_url", &mut target.base_url, base_url);
                let has_ca = settings.ca.is_some();
                settings.put(&mut target, &mut mask)?;
                let update_mask = mask.finish()?;
                let ask = consent.with(mg::UpdateTargetRequest {
                    org,
                    name,
                    target: Some(target),
                    update_mask,
                    ..Default::default()
                });
                let updated = stub.update_target(ask).await?.into_inner().target.unwrap_or_default();
                if has_ca {
                    note(&format!(
                        "a secret goes there only if it was sealed for these certificates; `rrctl credential \
                         replace-secret NAME --target {}` seals it anew",
                        updated.name
                    ));
                }
                print.one(&updated)
            }
            Self::Delete { target, condition, cascade, agreement, consent } => {
                let ask = consent.with(mg::DeleteTargetRequest {
                    org,
                    target,
                    etag: condition.etag,
                    cascade: cascade.users,
                    ..Default::default()
                });
                let what = format!("delete target {}", ask.target);
                let delete = async |dry_run, expected_plan| {
                    let ask = mg::DeleteTargetRequest { dry_run, expected_plan, ..ask.clone() };
                    Ok(stub.delete_target(ask).await?.into_inner())
                };
                agreement.remove(print, &what, delete).await
            }
        }
    }
}

/// The targets of an organization.
pub(crate) async fn list(connection: Connection, org: &str, which: &Listing) -> Result<Vec<mg::Target>> {
    let mut stub = TargetServiceClient::new(connection);
    page::all(async |page_size, page_token| {
        let (org, filter, order_by) = (org.to_owned(), which.filter.clone(), which.order_by.clone());
        let ask = mg::ListTargetsRequest { org, page_size, page_token, filter, order_by };
        let reply = stub.list_targets(ask).await?.into_inner();
        Ok((reply.targets, reply.next_page_token))
    })
    .await
}

fn certificates(text: &str) -> String {
    match authority::of(text) {
        Ok(certificates) => certificates.iter().flat_map(authority::lines).collect::<Vec<_>>().join("; "),
        Err(error) => format!("{error:#}"),
    }
}

impl Row for mg::Target {
    const COLUMNS: &'static [&'static str] =
        &["name", "id", "base url", "default", "certificates", "min tls", "http", "owner", "updated"];
    const WIDE: &'static [&'static str] = &["id", "certificates", "min tls", "http"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.id.clone(),
            self.base_url.clone(),
            default_effect(self.default_effect()),
            certificates(&self.ca),
            self.min_tls.clone(),
            self.http_version.clone(),
            self.owner.clone(),
            time(self.updated_at.as_ref()),
        ]
    }
}
