//! `rrctl org`.

use anyhow::Result;
use clap::Subcommand;
use rr_contract::wire::management::org_service_client::OrgServiceClient;
use rr_contract::wire::{FieldMask, management as mg};

use crate::args::Session;
use crate::print::{Row, time};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Makes an organization; its maker becomes the owner.
    Create {
        /// `a-z`, `0-9` and `-`.
        name: String,
        /// For people.
        #[arg(long, default_value = "", hide_default_value = true)]
        display_name: String,
    },
    /// Lists the organizations that you may see.
    List,
    /// Shows one.
    Show {
        /// Name or id.
        org: String,
    },
    /// Changes one.
    Update {
        /// Name or id.
        org: String,
        /// For people.
        #[arg(long)]
        display_name: Option<String>,
        /// Its proxies answer 402 while it is.
        #[arg(long)]
        suspended: Option<bool>,
    },
}

impl Verb {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let mut stub = OrgServiceClient::new(session.endpoint.connect().await?);
        let print = session.print;
        match self {
            Self::Create { name, display_name } => {
                let org = Some(mg::Org { name, display_name, ..mg::Org::default() });
                let reply = stub.create_org(mg::CreateOrgRequest { org }).await?.into_inner();
                print.one(&reply.org.unwrap_or_default())
            }
            Self::List => {
                let mut all = Vec::new();
                let mut page_token = String::new();
                loop {
                    let ask = mg::ListOrgsRequest { page_size: 1000, page_token };
                    let reply = stub.list_orgs(ask).await?.into_inner();
                    all.extend(reply.orgs);
                    page_token = reply.next_page_token;
                    if page_token.is_empty() {
                        return print.list(&all);
                    }
                }
            }
            Self::Show { org } => {
                let reply = stub.get_org(mg::GetOrgRequest { org }).await?.into_inner();
                print.one(&reply.org.unwrap_or_default())
            }
            Self::Update { org: name, display_name, suspended } => {
                let mut paths = Vec::new();
                let mut org = mg::Org::default();
                if let Some(text) = display_name {
                    org.display_name = text;
                    paths.push("display_name".to_owned());
                }
                if let Some(value) = suspended {
                    org.suspended = value;
                    paths.push("suspended".to_owned());
                }
                let ask =
                    mg::UpdateOrgRequest { name, org: Some(org), update_mask: Some(FieldMask { paths }) };
                print.one(&stub.update_org(ask).await?.into_inner().org.unwrap_or_default())
            }
        }
    }
}

impl Row for mg::Org {
    const COLUMNS: &'static [&'static str] = &["name", "id", "suspended", "created", "display name"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.id.clone(),
            self.suspended.to_string(),
            time(self.created_at.as_ref()),
            self.display_name.clone(),
        ]
    }
}
