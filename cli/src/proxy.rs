//! `rrctl proxy`.

use anyhow::Result;
use clap::{Args, Subcommand};
use rr_contract::wire::management::proxy_service_client::ProxyServiceClient;
use rr_contract::wire::{FieldMask, management as mg};

use crate::args::Session;
use crate::print::{Row, time};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Makes a proxy.
    Create {
        /// `a-z`, `0-9` and `-`.
        name: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Lists the proxies of the organization.
    List,
    /// Shows one.
    Show {
        /// Name or id.
        proxy: String,
    },
    /// Changes one.
    Update {
        /// Name or id.
        proxy: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Removes one.
    Delete {
        /// Name or id.
        proxy: String,
    },
}

#[derive(Args)]
pub(crate) struct Settings {
    /// Caller credential that may use it; can be given more than once.
    #[arg(long = "caller", value_name = "CREDENTIAL")]
    callers: Vec<String>,
    /// Target that requests go to.
    #[arg(long)]
    target: Option<String>,
    /// Upstream credential that is injected.
    #[arg(long = "upstream", value_name = "CREDENTIAL")]
    upstream: Option<String>,
    /// Region that serves it; can be given more than once.
    #[arg(long = "region", value_name = "REGION")]
    regions: Vec<String>,
    /// Off: callers get 403.
    #[arg(long)]
    active: Option<bool>,
}

impl Settings {
    fn into_message(self) -> (mg::Proxy, FieldMask) {
        let mut paths = Vec::new();
        let mut named = |path: &str, there: bool| {
            if there {
                paths.push(path.to_owned());
            }
        };
        named("caller_credentials", !self.callers.is_empty());
        named("target", self.target.is_some());
        named("upstream_credential", self.upstream.is_some());
        named("regions", !self.regions.is_empty());
        named("active", self.active.is_some());
        let proxy = mg::Proxy {
            caller_credentials: self.callers,
            target: self.target.unwrap_or_default(),
            upstream_credential: self.upstream.unwrap_or_default(),
            regions: self.regions,
            active: self.active,
            ..mg::Proxy::default()
        };
        (proxy, FieldMask { paths })
    }
}

impl Verb {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let org = session.org()?;
        let mut stub = ProxyServiceClient::new(session.endpoint.connect().await?);
        let print = session.print;
        match self {
            Self::Create { name, settings } => {
                let proxy = mg::Proxy { name, ..settings.into_message().0 };
                let ask = mg::CreateProxyRequest { org, proxy: Some(proxy) };
                print.one(&stub.create_proxy(ask).await?.into_inner().proxy.unwrap_or_default())
            }
            Self::List => {
                let mut all = Vec::new();
                let mut page_token = String::new();
                loop {
                    let ask = mg::ListProxiesRequest { org: org.clone(), page_size: 1000, page_token };
                    let reply = stub.list_proxies(ask).await?.into_inner();
                    all.extend(reply.proxies);
                    page_token = reply.next_page_token;
                    if page_token.is_empty() {
                        return print.list(&all);
                    }
                }
            }
            Self::Show { proxy } => {
                let ask = mg::GetProxyRequest { org, proxy };
                print.one(&stub.get_proxy(ask).await?.into_inner().proxy.unwrap_or_default())
            }
            Self::Update { proxy: name, settings } => {
                let (proxy, mask) = settings.into_message();
                let ask = mg::UpdateProxyRequest { org, name, proxy: Some(proxy), update_mask: Some(mask) };
                print.one(&stub.update_proxy(ask).await?.into_inner().proxy.unwrap_or_default())
            }
            Self::Delete { proxy } => {
                let ask = mg::DeleteProxyRequest { org, proxy };
                let revision = stub.delete_proxy(ask).await?.into_inner().revision;
                print.done(&format!("deleted at revision {revision}"))
            }
        }
    }
}

impl Row for mg::Proxy {
    const COLUMNS: &'static [&'static str] =
        &["name", "id", "active", "target", "upstream", "callers", "regions", "urls", "updated"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.id.clone(),
            self.active().to_string(),
            self.target.clone(),
            self.upstream_credential.clone(),
            self.caller_credentials.join(" "),
            self.regions.join(" "),
            self.urls.join(" "),
            time(self.updated_at.as_ref()),
        ]
    }
}
