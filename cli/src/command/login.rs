//! `rrctl login`: tries a token at a control plane, and keeps both as a context.
//!
//! The token and the authority are copied into the configuration folder, so that no file of a working folder decides later
//! where commands go.

use anyhow::{Context as _, Result};
use clap::Args;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::token_service_client::TokenServiceClient;

use crate::connect::{self, Endpoint};
use crate::context::{self, Context, Folder};
use crate::print::{Printer, note};
use crate::session::Global;
use crate::{fault, prompt};

pub(super) const EXAMPLES: &str = "\
Examples:
  rrctl login --endpoint https://control.example.com:7420
  rrctl login --endpoint https://10.0.0.5:7420 --ca-file ca.pem --name staging
  rrctl login --endpoint http://127.0.0.1:7420 --token-file bootstrap-token

In a pipeline RRCTL_ENDPOINT, RRCTL_TOKEN, RRCTL_ORG and, for sealing,
RRCTL_REGIONS_FILE do without a login.";

#[derive(Args)]
pub(crate) struct LoginArgs {
    /// Name of the context; the host of the endpoint when not given.
    #[arg(long, value_name = "NAME", value_parser = context::name)]
    name: Option<String>,
    /// Keeps the context and leaves the one in use as it is.
    #[arg(long)]
    keep_used: bool,
}

impl LoginArgs {
    pub(crate) async fn run(self, global: Global) -> Result<()> {
        let folder = Folder::needed()?;
        let url = global.endpoint.as_deref().ok_or_else(|| {
            fault::usage(
                "no endpoint was given to log in to",
                "give --endpoint https://control.example.com:7420",
            )
        })?;
        let token = match connect::token(global.token_file.as_deref())? {
            Some(token) => token,
            None => prompt::read_known("token", None, "--token-file")?,
        };
        let copy = rr_contract::secret::Secret::new(token.expose().to_vec());
        let endpoint = Endpoint::new(url, Some(token), global.ca_file.as_deref())?;
        let mut stub = TokenServiceClient::new(endpoint.connect().await?);
        let oneself = stub.get_self(mg::GetSelfRequest {}).await?.into_inner();
        let org = global.org.or_else(|| only_org(&oneself.grants));

        let name = match self.name {
            Some(name) => name,
            None => of_host(endpoint.host())?,
        };
        let ca_file = match &global.ca_file {
            Some(path) => {
                let text = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
                Some(folder.keep("authorities", &name, &text)?)
            }
            None => None,
        };
        let token_file = folder.keep("tokens", &name, copy.expose())?;
        let context = Context {
            endpoint: url.to_owned(),
            ca_file,
            org,
            token_file: Some(token_file),
            regions_file: Some(folder.regions_of(url)),
            folders: Vec::new(),
        };
        let made = context.clone();
        folder.change(|all| {
            all.contexts.insert(name.clone(), context);
            if !self.keep_used || all.used.is_none() {
                all.used = Some(name.clone());
            }
            Ok(())
        })?;
        if made.org.is_none() {
            note(
                "the token is of no single organization: give --org, or `rrctl context update` with --set-org",
            );
        }
        let as_whom = oneself.user.map(|user| user.name).or(oneself.token.map(|token| token.name));
        let text = format!("logged in at {url} as {}; context {name}", as_whom.unwrap_or_default());
        Printer::new(global.output).done(&text, &made)
    }
}

/// The organization of all grants that name one, where it is one.
fn only_org(grants: &[mg::Grant]) -> Option<String> {
    let mut orgs: Vec<&String> =
        grants.iter().map(|grant| &grant.org).filter(|org| !org.is_empty()).collect();
    orgs.dedup();
    match orgs.as_slice() {
        [org] => Some((*org).clone()),
        _ => None,
    }
}

/// A name for the context of a host.
fn of_host(host: &str) -> Result<String> {
    let name = host.trim_matches(['[', ']']).replace(':', "-");
    context::name(&name).map_err(|error| fault::usage(&error, "give --name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_organization_is_taken_where_the_token_is_of_one() {
        let grant = |org: &str| mg::Grant { org: org.to_owned(), ..mg::Grant::default() };
        assert_eq!(only_org(&[grant("acme"), grant(""), grant("acme")]), Some("acme".to_owned()));
        assert_eq!(only_org(&[grant("acme"), grant("blue")]), None);
        assert_eq!(only_org(&[grant("")]), None);
    }

    #[test]
    fn a_context_is_named_after_its_host() {
        assert_eq!(of_host("control.example.com").expect("a name"), "control.example.com");
        assert_eq!(of_host("[fe80::1]").expect("a name"), "fe80--1");
    }
}
