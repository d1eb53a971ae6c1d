//! `rrctl target`.

use anyhow::Result;
use clap::{Args, Subcommand};
use rr_contract::model::time::wire_duration;
use rr_contract::wire::management::target_service_client::TargetServiceClient;
use rr_contract::wire::{FieldMask, management as mg};

use crate::args::Session;
use crate::print::{Row, time};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Makes a target.
    Create {
        /// `a-z`, `0-9` and `-`.
        name: String,
        /// Scheme, host, port and base path of the API.
        #[arg(long)]
        base_url: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Lists the targets of the organization.
    List,
    /// Shows one.
    Show {
        /// Name or id.
        target: String,
    },
    /// Changes one.
    Update {
        /// Name or id.
        target: String,
        /// Scheme, host, port and base path.
        #[arg(long)]
        base_url: Option<String>,
        #[command(flatten)]
        settings: Settings,
    },
    /// Removes one that no proxy uses.
    Delete {
        /// Name or id.
        target: String,
    },
}

#[derive(Args)]
pub(crate) struct Settings {
    /// Allows a base URL of http: secrets cross the network in the clear.
    #[arg(long)]
    danger_plaintext: bool,
    /// Seconds until the connection stands. The node's default is 5.
    #[arg(long, value_name = "SECONDS")]
    connect_timeout: Option<f64>,
    /// Seconds until the response's head. The node's default is 30.
    #[arg(long, value_name = "SECONDS")]
    response_timeout: Option<f64>,
}

impl Settings {
    fn put(&self, target: &mut mg::Target, paths: &mut Vec<String>) -> Result<()> {
        if self.danger_plaintext {
            target.danger_plaintext = true;
            paths.push("danger_plaintext".to_owned());
        }
        for (name, seconds, place) in [
            ("connect_timeout", self.connect_timeout, &mut target.connect_timeout),
            ("response_timeout", self.response_timeout, &mut target.response_timeout),
        ] {
            if let Some(seconds) = seconds {
                let duration = std::time::Duration::try_from_secs_f64(seconds).map_err(|_| {
                    crate::fault::usage(
                        &format!("{name} of {seconds} seconds makes no sense"),
                        "give a positive number",
                    )
                })?;
                *place = Some(wire_duration(duration));
                paths.push(name.to_owned());
            }
        }
        Ok(())
    }
}

impl Verb {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let org = session.org()?;
        let mut stub = TargetServiceClient::new(session.endpoint.connect().await?);
        let print = session.print;
        match self {
            Self::Create { name, base_url, settings } => {
                let mut target = mg::Target { name, base_url, ..mg::Target::default() };
                settings.put(&mut target, &mut Vec::new())?;
                let ask = mg::CreateTargetRequest { org, target: Some(target) };
                print.one(&stub.create_target(ask).await?.into_inner().target.unwrap_or_default())
            }
            Self::List => {
                let mut all = Vec::new();
                let mut page_token = String::new();
                loop {
                    let ask = mg::ListTargetsRequest { org: org.clone(), page_size: 1000, page_token };
                    let reply = stub.list_targets(ask).await?.into_inner();
                    all.extend(reply.targets);
                    page_token = reply.next_page_token;
                    if page_token.is_empty() {
                        return print.list(&all);
                    }
                }
            }
            Self::Show { target } => {
                let ask = mg::GetTargetRequest { org, target };
                print.one(&stub.get_target(ask).await?.into_inner().target.unwrap_or_default())
            }
            Self::Update { target: name, base_url, settings } => {
                let mut target = mg::Target::default();
                let mut paths = Vec::new();
                if let Some(url) = base_url {
                    target.base_url = url;
                    paths.push("base_url".to_owned());
                }
                settings.put(&mut target, &mut paths)?;
                let update_mask = Some(FieldMask { paths });
                let ask = mg::UpdateTargetRequest { org, name, target: Some(target), update_mask };
                print.one(&stub.update_target(ask).await?.into_inner().target.unwrap_or_default())
            }
            Self::Delete { target } => {
                let ask = mg::DeleteTargetRequest { org, target };
                let revision = stub.delete_target(ask).await?.into_inner().revision;
                print.done(&format!("deleted at revision {revision}"))
            }
        }
    }
}

impl Row for mg::Target {
    const COLUMNS: &'static [&'static str] = &["name", "id", "base url", "updated"];

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.id.clone(), self.base_url.clone(), time(self.updated_at.as_ref())]
    }
}
