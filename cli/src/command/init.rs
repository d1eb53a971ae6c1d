//! `rrctl init`: from an API to the first call of it through an edge.
//!
//! Makes a target, an upstream credential whose secret is sealed here, a caller credential and a proxy, as one revision: all
//! or nothing. Changes nothing that is there. What it makes can be changed like anything else.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use rr_contract::model::id::CredentialId;
use rr_contract::model::name::Name;
use rr_contract::model::origin::{BaseUrl, Origin};
use rr_contract::model::time::wire_duration;
use rr_contract::seal::{Means, SecretSpec, Slot};
use rr_contract::seam::{SystemEntropy, draw};
use rr_contract::wire::fleet::TestStage;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::apply_service_client::ApplyServiceClient;
use rr_contract::wire::management::credential::Usage;
use rr_contract::wire::management::document::Resource;
use rr_contract::wire::management::proxy_service_client::ProxyServiceClient;
use rr_contract::wire::management::target_service_client::TargetServiceClient;
use serde_json::json;
use tonic::Code;

use super::{credential, region, wait};
use crate::connect::Connection;
use crate::flags::trust::TrustArgs;
use crate::print::note;
use crate::session::Session;
use crate::{authority, fault, once, prompt};

/// The longest time until the edge serves it.
const SERVED: Duration = Duration::from_secs(30);
/// The longest time until the API answers, and beyond it for the control plane.
const TRIED: Duration = Duration::from_secs(10);
const GRACE: Duration = Duration::from_secs(15);

pub(super) const EXAMPLES: &str = "\
Examples:
  rrctl init
  rrctl init https://api.example.com
  rrctl init https://maps.example.com --name maps --auth query:key \\
    --secret-file maps.key
  rrctl init https://status.example.com --auth none";

#[derive(Args)]
pub(crate) struct InitArgs {
    /// Base URL of the API; asked for when not given.
    url: Option<String>,
    /// Name of the proxy and the target, and the beginning of those of its credentials; made from the host when not given.
    #[arg(long)]
    name: Option<Name>,
    /// Where the API takes its secret: `bearer`, `header:NAME`, `query:NAME`, or `none`; asked for when not given.
    #[arg(long, value_name = "PLACE")]
    auth: Option<Auth>,
    /// File that holds the secret of the API; `-` is standard input. Asked for when not given.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// File with the certificates (PEM) that alone vouch for the API; those that nodes trust when not given.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Takes an API of plain HTTP: whoever is between the node and the API reads the secret.
    #[arg(long)]
    danger_plaintext: bool,
    #[command(flatten)]
    trust: TrustArgs,
}

/// Where an API takes its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Auth {
    Bearer,
    Header(String),
    Query(String),
    None,
}

impl FromStr for Auth {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = |kind: &str| text.strip_prefix(kind)?.strip_prefix(':').filter(|name| !name.is_empty());
        Ok(match text {
            "bearer" => Self::Bearer,
            "none" => Self::None,
            _ => match (named("header"), named("query")) {
                (Some(name), _) => Self::Header(name.to_lowercase()),
                (_, Some(name)) => Self::Query(name.to_owned()),
                _ => return Err("write bearer, header:NAME, query:NAME or none".to_owned()),
            },
        })
    }
}

impl Auth {
    fn kind(&self) -> mg::UpstreamKind {
        match self {
            Self::Bearer => mg::UpstreamKind::Bearer,
            Self::Header(_) | Self::Query(_) => mg::UpstreamKind::ApiKey,
            Self::None => mg::UpstreamKind::None,
        }
    }

    fn slot(&self) -> Result<Option<Slot>> {
        Ok(match self {
            Self::Bearer => Some(Slot::bearer()),
            Self::Header(name) => {
                Some(Slot::header(name, "").with_context(|| format!("--auth header:{name}"))?)
            }
            Self::Query(name) => Some(Slot::query(name).with_context(|| format!("--auth query:{name}"))?),
            Self::None => None,
        })
    }
}

impl InitArgs {
    pub(crate) async fn run(mut self, session: Session) -> Result<()> {
        self.trust.fall_back(session.regions_file());
        let org = session.org()?;
        let connection = session.endpoint.connect().await?;
        let url = asked(self.url.take(), "URL of the API", "the URL of the API", "give it as an argument")?;
        if !url.contains("://") {
            return Err(fault::usage(&format!("{url} has no scheme"), &format!("write https://{url}")));
        }
        let base: BaseUrl = url.parse().with_context(|| format!("URL of the API {url:?}"))?;
        if !url.starts_with("https://") && !self.danger_plaintext {
            return Err(fault::usage(
                &format!("{url} is plain HTTP, which sends secrets in the clear"),
                "use https, or give --danger-plaintext",
            ));
        }
        let name = match self.name.take() {
            Some(name) => name,
            None => name_of(&url)?,
        };
        if is_there(&connection, &org, &name).await? {
            return Err(fault::ended(
                &format!("proxy {name} is there already"),
                &format!("give --name for another one, or see `rrctl proxy show {name}`"),
            ));
        }
        let auth = match self.auth.take() {
            Some(auth) => auth,
            None => {
                let place = "where the API takes its secret (bearer, header:NAME, query:NAME, none)";
                let text = asked(None, place, "where the API takes its secret", "give --auth")?;
                text.parse()
                    .map_err(|error: String| fault::usage(&format!("{text:?} is no such place"), &error))?
            }
        };
        let offered = region::list(connection.clone()).await?;
        let statements = self.trust.choose(&offered)?;
        let is_chosen =
            |region: &&mg::Region| statements.iter().any(|it| it.region().to_string() == region.id);
        let regions: Vec<String> =
            offered.iter().filter(is_chosen).map(|region| region.name.clone()).collect();

        let ca = self.ca.as_deref().map(authority::read).transpose()?;
        let (id, mut sealed, mut label) = (CredentialId::from_random(draw(&SystemEntropy)), None, None);
        if let Some(slot) = auth.slot()? {
            let value =
                prompt::read_known("secret of the API", self.secret_file.as_deref(), "--secret-file")?;
            let context = credential::sealing::context(&connection, &org, id, 1).await?;
            let spec = SecretSpec {
                value,
                origins: vec![Origin::of(&base)],
                means: Means::sent(slot),
                not_after: None,
                ca: ca.as_ref().map(|(_, certificates)| *certificates.hash()),
            };
            let (secret, said) = credential::sealing::seal(&context, &spec, &statements)?;
            (sealed, label) = (Some(secret), Some(said));
            note(&format!("sealed the secret for {} in {}", Origin::of(&base), regions.join(", ")));
        }
        let documents = documents(
            &name,
            mg::Target {
                name: name.to_string(),
                danger_plaintext: self.danger_plaintext,
                base_url: url,
                ca: ca.map(|(text, _)| text).unwrap_or_default(),
                ..mg::Target::default()
            },
            (id, mg::Upstream { kind: auth.kind().into(), sealed, label, ..mg::Upstream::default() }),
            regions.clone(),
        );
        let ask = mg::ApplyOnceRequest { org: org.clone(), documents, ..mg::ApplyOnceRequest::default() };
        let mut stub = ApplyServiceClient::new(connection.clone());
        let outcome = stub.apply_once(ask).await?.into_inner().outcome.unwrap_or_default();
        let key = outcome.keys.first().map(|key| key.key.clone()).context("the control plane made no key")?;
        // Before the wait, which can fail: the key exists once.
        show(&session, connection, &org, &name, &key).await?;
        let nodes = wait::until_served_beside(&session, outcome.revision, SERVED).await?;
        if nodes == 0 {
            note(&format!(
                "no node is connected in {}: the call works when one is; `rrctl node list` lists them",
                regions.join(", ")
            ));
            return Ok(());
        }
        try_out(&session, &org, &name).await
    }
}

/// Has nodes request the API as the call will, and says what keeps it from working.
async fn try_out(session: &Session, org: &str, name: &Name) -> Result<()> {
    let mut stub = TargetServiceClient::new(session.endpoint.connect_for(TRIED + GRACE).await?);
    let ask = mg::TestTargetRequest {
        org: org.to_owned(),
        target: name.to_string(),
        proxy: name.to_string(),
        timeout: Some(wire_duration(TRIED)),
        ..mg::TestTargetRequest::default()
    };
    let tests = match stub.test_target(ask).await {
        Ok(answer) => answer.into_inner().tests,
        // Only what was made matters to who may make it and may not test it.
        Err(status) => {
            note(&format!("the API was not tried: {}", status.message()));
            return Ok(());
        }
    };
    let answered = tests.iter().flat_map(|test| &test.base_urls).find(|one| one.status != 0);
    if let Some(answered) = answered {
        let secret = if matches!(answered.status, 401 | 403) { ": is its secret right?" } else { "" };
        note(&format!("proxy {name} serves, and the API answers with {}{secret}", answered.status));
        return Ok(());
    }
    let Some(test) = tests.first() else { return Ok(()) };
    let one = test.base_urls.first().cloned().unwrap_or_default();
    let reason = if test.reason.is_empty() { &one.reason } else { &test.reason };
    let remedy = match one.failed() {
        TestStage::Tls => format!(
            "if an authority of your own vouches for it, `rrctl target update {name} --ca FILE` and `rrctl credential \
             replace-secret {name}-upstream --target {name}`, or delete {name} and give --ca"
        ),
        TestStage::Guard => {
            "nodes go to private addresses only where `rr-edge --allow-upstream` says so".to_owned()
        }
        _ => format!("`rrctl target test {name}` tries it again"),
    };
    Err(fault::ended(&format!("proxy {name} serves, but its API is not reached: {reason}"), &remedy))
}

/// Whether a proxy has the name. It would be changed, and its secret is at another version than the first.
async fn is_there(connection: &Connection, org: &str, name: &Name) -> Result<bool> {
    let ask = mg::GetProxyRequest { org: org.to_owned(), proxy: name.to_string(), revision: 0 };
    match ProxyServiceClient::new(connection.clone()).get_proxy(ask).await {
        Ok(_) => Ok(true),
        Err(status) if status.code() == Code::NotFound => Ok(false),
        Err(status) => Err(status.into()),
    }
}

/// Shows the call.
async fn show(session: &Session, connection: Connection, org: &str, name: &Name, key: &str) -> Result<()> {
    let ask = mg::GetProxyRequest { org: org.to_owned(), proxy: name.to_string(), revision: 0 };
    let reply = ProxyServiceClient::new(connection).get_proxy(ask).await?.into_inner();
    let urls = reply.proxy.unwrap_or_default().urls;
    let edge = urls.first().cloned().unwrap_or_else(|| format!("https://EDGE/api/{org}.{name}"));
    // It goes into a shell: what the control plane says is one word there.
    let call = format!(
        "curl -H {} {}",
        word(&format!("Authorization: {key}"))?,
        word(&format!("{}/", edge.trim_end_matches('/')))?
    );
    let text = if session.print.is_data() {
        session.print.text(&json!({ "proxy": name.to_string(), "key": key, "urls": urls, "call": call }))?
    } else {
        note(&format!(
            "the key below is shown only this once; `rrctl request list --proxy {name}` shows the calls"
        ));
        call
    };
    once::out_or_aside("caller key", text.as_bytes(), key.as_bytes())
}

/// A text as one word of a shell: in quotes, unless it needs none.
fn word(text: &str) -> Result<String> {
    if text.chars().any(char::is_control) {
        anyhow::bail!("the control plane told of {text:?}, which has characters that no address or key has");
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/%@+=,".contains(c);
    Ok(match text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    })
}

fn documents(
    name: &Name,
    target: mg::Target,
    (id, upstream): (CredentialId, mg::Upstream),
    regions: Vec<String>,
) -> Vec<mg::Document> {
    let caller = mg::Credential {
        name: format!("{name}-caller"),
        usage: Some(Usage::Caller(mg::Caller { kind: mg::CallerKind::ApiKey.into(), ..Default::default() })),
        ..mg::Credential::default()
    };
    let upstream = mg::Credential {
        id: upstream.sealed.as_ref().map(|_| id.to_string()).unwrap_or_default(),
        name: format!("{name}-upstream"),
        usage: Some(Usage::Upstream(upstream)),
        ..mg::Credential::default()
    };
    let proxy = mg::Proxy {
        name: name.to_string(),
        caller_credentials: vec![caller.name.clone()],
        target: target.name.clone(),
        upstream_credential: upstream.name.clone(),
        regions,
        ..mg::Proxy::default()
    };
    let resources = [
        Resource::Target(target),
        Resource::Credential(caller),
        Resource::Credential(upstream),
        Resource::Proxy(proxy),
    ];
    resources.map(|resource| mg::Document { resource: Some(resource) }).into()
}

/// What was given, or else the answer at the terminal.
fn asked(given: Option<String>, question: &str, what: &str, remedy: &str) -> Result<String> {
    if let Some(given) = given {
        return Ok(given);
    }
    if !std::io::stdin().is_terminal() {
        return Err(fault::usage(&format!("{what} was not given, and nobody can be asked"), remedy));
    }
    let answer = prompt::ask(question)?;
    if answer.is_empty() { Err(fault::usage(&format!("{what} was not given"), remedy)) } else { Ok(answer) }
}

/// A name from a host: `api.github.com` is `github`.
fn name_of(url: &str) -> Result<Name> {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    let labels: Vec<&str> = host.split('.').collect();
    let is_address = labels.iter().all(|label| label.parse::<u8>().is_ok());
    let name = match labels.as_slice() {
        [.., name, _] if !is_address => (*name).to_owned(),
        _ => host.replace('.', "-"),
    };
    name.to_lowercase()
        .parse()
        .map_err(|_| fault::usage(&format!("no name can be made from {url:?}"), "give --name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_from_the_host() {
        for (url, name) in [
            ("https://api.github.com", "github"),
            ("https://api.github.com:8443/v3?x", "github"),
            ("http://127.0.0.1:9000/", "127-0-0-1"),
            ("https://localhost:9000", "localhost"),
        ] {
            assert_eq!(name_of(url).expect(url).to_string(), name);
        }
        assert!(name_of("https://[::1]/").is_err());
    }

    #[test]
    fn what_the_control_plane_tells_is_one_word_of_the_shell() {
        for (text, wanted) in [
            ("http://127.0.0.1:7430/api/demo.echo/", "http://127.0.0.1:7430/api/demo.echo/"),
            ("Authorization: rr_key_1", "'Authorization: rr_key_1'"),
            ("https://edge/;touch x;true /", "'https://edge/;touch x;true /'"),
            ("https://edge/$(touch x)/", "'https://edge/$(touch x)/'"),
            ("https://edge/'; touch x; '/", r"'https://edge/'\''; touch x; '\''/'"),
        ] {
            assert_eq!(word(text).expect("one word"), wanted);
        }
        assert!(word("https://edge/\nrm -r x\n").is_err());
    }

    #[test]
    fn a_place_of_the_secret_is_named_with_its_header_or_parameter() {
        assert_eq!("bearer".parse(), Ok(Auth::Bearer));
        assert_eq!("header:X-Key".parse(), Ok(Auth::Header("x-key".to_owned())));
        assert_eq!("query:key".parse(), Ok(Auth::Query("key".to_owned())));
        assert_eq!("none".parse(), Ok(Auth::None));
        for wrong in ["", "header", "header:", "cookie:a"] {
            assert!(wrong.parse::<Auth>().is_err(), "{wrong}");
        }
    }
}
