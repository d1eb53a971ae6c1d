//! The sample: an organization, a region, a target, two credentials and a proxy with a limit, a rule, a filter and a meter,
//! created through the API.
//!
//! Each step first looks whether it was done, so that the next start continues one that was cut short.

mod policy;

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use rr_contract::model::id::{CredentialId, RegionId};
use rr_contract::model::origin::BaseUrl;
use rr_contract::model::origin::Origin;
use rr_contract::seal::node_token::NodeToken;
use rr_contract::seal::region_key::RegionKeys;
use rr_contract::seal::{Means, SealedSecret, SecretSpec, Slot, key_file};
use rr_contract::seam::{SystemEntropy, draw};
use rr_contract::secret::Secret;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential_service_client::CredentialServiceClient;
use rr_contract::wire::management::org_service_client::OrgServiceClient;
use rr_contract::wire::management::proxy_service_client::ProxyServiceClient;
use rr_contract::wire::management::region_service_client::RegionServiceClient;
use rr_contract::wire::management::target_service_client::TargetServiceClient;
use rr_contract::wire::management::token_service_client::TokenServiceClient;
use tonic::{Code, Response, Status};

pub(super) use self::policy::LIMITS;
use super::folder::{self, StateFolder};
use crate::command::{credential, node, region, token};
use crate::connect::{Connection, Endpoint};
use crate::flags::change::Consent;
use crate::flags::trust::TrustFile;

pub(super) const ORG: &str = "demo";
pub(super) const PROXY: &str = "echo";
const REGION: &str = "local";
const TARGET: &str = "echo";
const CALLER: &str = "demo-caller";
const UPSTREAM: &str = "echo-upstream";
/// The secret that the sample upstream is shown. It protects nothing.
const UPSTREAM_VALUE: &str = "upstream-secret-that-callers-never-see";

pub(super) const TOKEN_FILE: &str = "token";
const CALLER_FILE: &str = "caller-key";
const REGION_FILE: &str = "region-local.key";
/// Fingerprints, for sealing other secrets to the region of the folder.
pub(super) const REGIONS_FILE: &str = "regions.toml";

/// The token of this folder: the kept one, or a first one, made with the bootstrap token.
pub(super) async fn admin_token(
    folder: &StateFolder,
    url: &str,
    bootstrap: Option<&std::path::Path>,
) -> Result<Secret> {
    if let Some(token) = folder::secret(&folder.kept(TOKEN_FILE))? {
        return valid(folder, url, token).await;
    }
    let path = bootstrap.context("the control plane wrote no bootstrap token")?;
    let bootstrap = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let endpoint = Endpoint::new(url, Some(Secret::from(bootstrap.trim().to_owned())), None)?;
    let connection = endpoint.connect().await?;
    let operator = mg::Grant { role: mg::Role::Operator.into(), ..mg::Grant::default() };
    let owner = mg::Grant { role: mg::Role::Owner.into(), org: ORG.to_owned(), ..mg::Grant::default() };
    // The organization exists if only the token was lost.
    let with = |grants| mg::Token { name: "dev".to_owned(), grants, ..mg::Token::default() };
    let (secret, hash) = token::draw_secret();
    match token::create(connection.clone(), with(vec![operator.clone(), owner]), &hash).await {
        Ok(_) => {}
        Err(error)
            if error
                .downcast_ref::<Status>()
                .is_some_and(|status| status.code() == Code::InvalidArgument) =>
        {
            token::create(connection, with(vec![operator]), &hash).await?;
        }
        Err(error) => return Err(error),
    }
    folder::keep(&folder.kept(TOKEN_FILE), &secret)?;
    Ok(secret)
}

/// The kept token, if the control plane accepts it.
async fn valid(folder: &StateFolder, url: &str, token: Secret) -> Result<Secret> {
    let endpoint = Endpoint::new(url, Some(Secret::new(token.expose().to_vec())), None)?;
    match TokenServiceClient::new(endpoint.connect().await?).get_self(mg::GetSelfRequest {}).await {
        Ok(_) => Ok(token),
        Err(status) if status.code() == Code::Unauthenticated => bail!(
            "the token in {} is not of this control plane; remove {} to start anew",
            folder.kept(TOKEN_FILE).display(),
            folder.root().display()
        ),
        Err(status) => Err(status.into()),
    }
}

/// Everything that the first call needs, except the node.
pub(super) struct Sample {
    pub(super) caller_key: Secret,
    keys: RegionKeys,
}

impl Sample {
    pub(super) async fn make(folder: &StateFolder, connection: &Connection) -> Result<Self> {
        org(connection).await?;
        let keys = region_keys(folder)?;
        let edge_url = format!("http://{}", folder.ports.edge);
        region_of(folder, connection, &keys, &edge_url).await?;
        let upstream_url = format!("http://{}", folder.ports.upstream);
        let moved = target(connection, &upstream_url).await?;
        upstream_credential(connection, &keys, &upstream_url, moved).await?;
        let caller_key = caller(folder, connection).await?;
        proxy(connection).await?;
        policy::make(connection).await?;
        Ok(Self { caller_key, keys })
    }

    /// A token for the one node.
    pub(super) async fn node_token(&self, connection: &Connection) -> Result<NodeToken> {
        node::create_token(connection.clone(), REGION, &self.keys, 1, Duration::from_secs(600)).await
    }
}

/// `None` where the answer is that there is no such resource.
fn found<T>(result: Result<Response<T>, Status>) -> Result<Option<T>> {
    match result {
        Ok(reply) => Ok(Some(reply.into_inner())),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(status.into()),
    }
}

async fn org(connection: &Connection) -> Result<()> {
    let mut stub = OrgServiceClient::new(connection.clone());
    if found(stub.get_org(mg::GetOrgRequest { org: ORG.to_owned(), revision: 0 }).await)?.is_none() {
        let org = Some(mg::Org { name: ORG.to_owned(), ..mg::Org::default() });
        stub.create_org(mg::CreateOrgRequest { org, ..Default::default() })
            .await
            .context("make the sample organization")?;
    }
    Ok(())
}

fn region_keys(folder: &StateFolder) -> Result<RegionKeys> {
    let path = folder.path(REGION_FILE);
    if let Some(text) = folder::secret(&path)? {
        let keys = key_file::read_dev(&text).context("open the folder's region key")?;
        let noted = TrustFile::read(&folder.kept(REGIONS_FILE))?.fingerprints()?;
        if noted.get(REGION).is_some_and(|noted| *noted != keys.fingerprint()) {
            bail!(
                "the keys in {} are not those that `rrctl dev` made there: put the file back that it was, or remove {} to \
                 start anew",
                path.display(),
                folder.root().display()
            );
        }
        return Ok(keys);
    }
    let keys = RegionKeys::generate(RegionId::from_random(draw(&SystemEntropy)), &SystemEntropy);
    folder::keep(&path, &key_file::write_dev(&keys, &SystemEntropy))?;
    Ok(keys)
}

async fn region_of(
    folder: &StateFolder,
    connection: &Connection,
    keys: &RegionKeys,
    edge_url: &str,
) -> Result<()> {
    let now = SystemTime::now();
    let statement = keys.statement(now, now + region::STATEMENT_LIFE);
    let mut stub = RegionServiceClient::new(connection.clone());
    let reply = found(stub.get_region(mg::GetRegionRequest { region: REGION.to_owned() }).await)?;
    match reply.and_then(|reply| reply.region) {
        None => {
            let region = mg::Region {
                name: REGION.to_owned(),
                display_name: "This machine".to_owned(),
                base_url: edge_url.to_owned(),
                ..mg::Region::default()
            };
            region::create(connection.clone(), &statement, region).await?;
        }
        Some(there) if there.id == keys.region().to_string() => {}
        Some(_) => bail!(
            "region {REGION} has other keys than the file in the folder; remove the folder to start anew"
        ),
    }
    let fingerprints = folder.kept(REGIONS_FILE);
    if !TrustFile::read(&fingerprints)?.fingerprints()?.contains_key(REGION) {
        TrustFile::add(&fingerprints, REGION, &statement)?.keep();
    }
    Ok(())
}

/// Whether the target moved since the secret was sealed to its origin.
async fn target(connection: &Connection, base_url: &str) -> Result<bool> {
    let mut stub = TargetServiceClient::new(connection.clone());
    let ask = mg::GetTargetRequest { org: ORG.to_owned(), target: TARGET.to_owned(), revision: 0 };
    let target = mg::Target {
        name: TARGET.to_owned(),
        base_url: base_url.to_owned(),
        danger_plaintext: true,
        ..mg::Target::default()
    };
    match found(stub.get_target(ask).await)?.and_then(|reply| reply.target) {
        None => {
            let ask =
                mg::CreateTargetRequest { org: ORG.to_owned(), target: Some(target), ..Default::default() };
            stub.create_target(ask).await.context("make the sample target")?;
            Ok(false)
        }
        Some(there) if there.base_url == base_url => Ok(false),
        Some(_) => {
            let ask = mg::UpdateTargetRequest {
                org: ORG.to_owned(),
                name: TARGET.to_owned(),
                target: Some(mg::Target { name: String::new(), ..target }),
                update_mask: None,
                ..Default::default()
            };
            stub.update_target(ask).await.context("move the sample target")?;
            Ok(true)
        }
    }
}

async fn upstream_credential(
    connection: &Connection,
    keys: &RegionKeys,
    upstream_url: &str,
    moved: bool,
) -> Result<()> {
    let mut stub = CredentialServiceClient::new(connection.clone());
    let ask = mg::GetCredentialRequest { org: ORG.to_owned(), credential: UPSTREAM.to_owned(), revision: 0 };
    let there = found(stub.get_credential(ask).await)?.and_then(|reply| reply.credential);
    let (id, version) = match &there {
        Some(credential) if moved => {
            (credential.id.parse().context("credential id")?, credential.version + 1)
        }
        Some(_) => return Ok(()),
        None => (CredentialId::from_random(draw(&SystemEntropy)), 1),
    };
    let context = credential::sealing::context(connection, ORG, id, version).await?;
    let spec = SecretSpec {
        value: Secret::from(UPSTREAM_VALUE.to_owned()),
        origins: vec![Origin::of(&upstream_url.parse::<BaseUrl>()?)],
        means: Means::sent(Slot::bearer()),
        not_after: None,
        ca: None,
    };
    let now = SystemTime::now();
    let statement = keys.statement(now, now + region::STATEMENT_LIFE);
    let sealed = SealedSecret::seal(&context, &spec, &[&statement], &SystemEntropy)?.to_wire();
    if there.is_some() {
        let ask = mg::ReplaceSecretRequest {
            org: ORG.to_owned(),
            credential: UPSTREAM.to_owned(),
            version,
            sealed: Some(sealed),
            label: Some(spec.label()),
            ..Default::default()
        };
        stub.replace_secret(ask).await.context("seal the sample secret anew")?;
    } else {
        let kind = mg::UpstreamKind::Bearer.into();
        let upstream =
            mg::Upstream { kind, sealed: Some(sealed), label: Some(spec.label()), ..mg::Upstream::default() };
        let credential = mg::Credential {
            id: id.to_string(),
            name: UPSTREAM.to_owned(),
            usage: Some(mg::credential::Usage::Upstream(upstream)),
            ..mg::Credential::default()
        };
        credential::create(connection.clone(), ORG, credential, Consent::default()).await?;
    }
    Ok(())
}

async fn caller(folder: &StateFolder, connection: &Connection) -> Result<Secret> {
    let path = folder.path(CALLER_FILE);
    if let Some(key) = folder::secret(&path)? {
        return Ok(key);
    }
    let mut stub = CredentialServiceClient::new(connection.clone());
    let ask = mg::GetCredentialRequest { org: ORG.to_owned(), credential: CALLER.to_owned(), revision: 0 };
    if found(stub.get_credential(ask).await)?.is_some() {
        // A start was killed before the key was kept. The proxy and the credential are created again.
        let proxy = mg::DeleteProxyRequest {
            org: ORG.to_owned(),
            proxy: PROXY.to_owned(),
            etag: String::new(),
            ..Default::default()
        };
        found(ProxyServiceClient::new(connection.clone()).delete_proxy(proxy).await)?;
        let ask = mg::DeleteCredentialRequest {
            org: ORG.to_owned(),
            credential: CALLER.to_owned(),
            ..mg::DeleteCredentialRequest::default()
        };
        found(stub.delete_credential(ask).await)?;
    }
    let caller = mg::Caller { kind: mg::CallerKind::ApiKey.into(), ..mg::Caller::default() };
    let credential = mg::Credential {
        name: CALLER.to_owned(),
        usage: Some(mg::credential::Usage::Caller(caller)),
        ..mg::Credential::default()
    };
    let reply = credential::create(connection.clone(), ORG, credential, Consent::default()).await?;
    let key = Secret::from(reply.key);
    folder::keep(&path, &key)?;
    Ok(key)
}

async fn proxy(connection: &Connection) -> Result<()> {
    let mut stub = ProxyServiceClient::new(connection.clone());
    let ask = mg::GetProxyRequest { org: ORG.to_owned(), proxy: PROXY.to_owned(), revision: 0 };
    if found(stub.get_proxy(ask).await)?.is_none() {
        let proxy = mg::Proxy {
            name: PROXY.to_owned(),
            caller_credentials: vec![CALLER.to_owned()],
            target: TARGET.to_owned(),
            upstream_credential: UPSTREAM.to_owned(),
            regions: vec![REGION.to_owned()],
            limits: Some(LIMITS),
            ..mg::Proxy::default()
        };
        let ask = mg::CreateProxyRequest { org: ORG.to_owned(), proxy: Some(proxy), ..Default::default() };
        stub.create_proxy(ask).await.context("make the sample proxy")?;
    }
    Ok(())
}
