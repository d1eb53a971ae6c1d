//! `rrctl login`: tries a token at a control plane, and keeps both as a context.
//!
//! The token and the authority are copied into the configuration folder, so that no file of a working folder decides later
//! where commands go.

use anyhow::{Context as _, Result};
use clap::Args;
use rr_contract::seam::{SystemEntropy, draw};
use rr_contract::wire::management as mg;
use rr_contract::wire::management::org_service_client::OrgServiceClient;
use rr_contract::wire::management::token_service_client::TokenServiceClient;
use tonic::Code;

use crate::connect::{self, Endpoint};
use crate::context::{self, Context, Contexts, Folder};
use crate::print::{Printer, note};
use crate::session::{self, Global};
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
        let token_file = session::token_file(&global, &Context::default())?;
        let token = match connect::token(token_file.as_ref())? {
            Some(token) => token,
            None => prompt::read_known("token", None, "--token-file")?,
        };
        let copy = rr_contract::secret::Secret::new(token.expose().to_vec());
        let endpoint = Endpoint::new(url, Some(token), global.ca_file.as_deref())?;
        let mut stub = TokenServiceClient::new(endpoint.connect().await?);
        let oneself = stub.get_self(mg::GetSelfRequest {}).await?.into_inner();
        let org = match global.org.or_else(|| only_org(&oneself.grants)) {
            Some(org) => Some(name_of_org(endpoint.connect().await?, org).await?),
            None => None,
        };
        let ca = match &global.ca_file {
            Some(path) => Some(std::fs::read(path).with_context(|| format!("read {}", path.display()))?),
            None => None,
        };
        let host = of_host(endpoint.host())?;
        let kept = folder.change(|all| {
            let name = chosen_name(self.name.as_deref(), &host, url, all)?;
            // Under names of their own: a context never names the token of another endpoint, whatever ends this here.
            let file = format!("{name}-{:08x}", u32::from_be_bytes(draw(&SystemEntropy)));
            let ca_file = match &ca {
                Some(text) => Some(folder.keep("authorities", &file, text)?),
                None => None,
            };
            let context = Context {
                endpoint: url.to_owned(),
                ca_file,
                org,
                token_file: Some(folder.keep("tokens", &file, copy.expose())?),
                regions_file: Some(folder.regions_of(url)),
                folders: Vec::new(),
            };
            let before = all.contexts.insert(name.clone(), context.clone());
            if !self.keep_used || all.used.is_none() {
                all.used = Some(name.clone());
            }
            Ok((name, context, before))
        });
        let (name, made, before) = kept?;
        if let Some(before) = before {
            folder.remove_files_of(&before);
        }
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

/// The name of an organization, which has to be there. That of one that the token may not look at stays as it was given.
async fn name_of_org(connection: connect::Connection, org: String) -> Result<String> {
    let ask = mg::GetOrgRequest { org: org.clone(), revision: 0 };
    match OrgServiceClient::new(connection).get_org(ask).await {
        Ok(answer) => Ok(answer.into_inner().org.map_or(org, |found| found.name)),
        Err(status) if status.code() == Code::NotFound => Err(fault::usage(
            &format!("there is no organization {org}, or the token is none of it"),
            "give another --org; `rrctl org list` lists those of a token",
        )),
        Err(_) => Ok(org),
    }
}

/// The name that was given, or else that of the host, with the port where another endpoint has that. A context of another
/// endpoint is not replaced.
fn chosen_name(given: Option<&str>, host: &str, url: &str, all: &Contexts) -> Result<String> {
    let is_free = |name: &str| all.contexts.get(name).is_none_or(|there| there.endpoint == url);
    let with_port = || {
        let port = url.trim_end_matches('/').rsplit(':').next().filter(|port| port.parse::<u16>().is_ok());
        port.map(|port| format!("{host}-{port}"))
    };
    let name = match given {
        Some(name) => Some(name.to_owned()),
        None => Some(host.to_owned()).filter(|name| is_free(name)).or_else(with_port),
    };
    let name = name.unwrap_or_else(|| host.to_owned());
    match all.contexts.get(&name).filter(|_| !is_free(&name)) {
        None => Ok(name),
        Some(there) => Err(fault::usage(
            &format!("context {name} is of {} already", there.endpoint),
            &format!("give --name for another one, or `rrctl context delete {name}` first"),
        )),
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
    fn a_context_of_another_endpoint_is_not_replaced() {
        let context = |url: &str| Context { endpoint: url.to_owned(), ..Context::default() };
        let contexts = [("h", context("https://h:1")), ("prod", context("https://p:1"))];
        let all = Contexts {
            contexts: contexts.map(|(name, it)| (name.to_owned(), it)).into(),
            ..Contexts::default()
        };
        let name = |given, url| chosen_name(given, "h", url, &all).map_err(|error| error.to_string());
        assert_eq!(name(None, "https://h:1"), Ok("h".to_owned()), "its own");
        assert_eq!(name(None, "https://h:2"), Ok("h-2".to_owned()));
        assert_eq!(name(Some("prod"), "https://p:1"), Ok("prod".to_owned()));
        assert!(name(Some("prod"), "https://h:1").is_err_and(|error| error.contains("https://p:1")));
        assert_eq!(name(Some("other"), "https://h:1"), Ok("other".to_owned()));
    }

    #[test]
    fn a_context_is_named_after_its_host() {
        assert_eq!(of_host("control.example.com").expect("a name"), "control.example.com");
        assert_eq!(of_host("[fe80::1]").expect("a name"), "fe80--1");
    }
}
