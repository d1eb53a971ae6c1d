//! The management API as a test uses it: one method a thing that a world needs.
//!
//! Seals as `rrctl` does, in this process; the control plane sees ciphertext.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use rr_contract::model::id::{CredentialId, InstallationId, OrgId, RegionId};
use rr_contract::model::origin::Origin;
use rr_contract::seal::node_token::{NodeToken, NodeTokenDraft};
use rr_contract::seal::region_key::RegionKeys;
use rr_contract::seal::{Means, SealContext, SealedSecret, SecretSpec, Slot};
use rr_contract::seam::{SystemEntropy, draw};
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::fleet_service_client::FleetServiceClient;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential_service_client::CredentialServiceClient;
use rr_contract::wire::management::installation_service_client::InstallationServiceClient;
use rr_contract::wire::management::node_token_service_client::NodeTokenServiceClient;
use rr_contract::wire::management::org_service_client::OrgServiceClient;
use rr_contract::wire::management::proxy_service_client::ProxyServiceClient;
use rr_contract::wire::management::region_service_client::RegionServiceClient;
use rr_contract::wire::management::request_service_client::RequestServiceClient;
use rr_contract::wire::management::target_service_client::TargetServiceClient;
use rr_contract::wire::management::token_service_client::TokenServiceClient;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::wait::DEADLINE;

const DAY: Duration = Duration::from_secs(86_400);

/// A channel that sends a token.
pub type Connection = InterceptedService<Channel, Bearer>;

/// Adds a token to each call.
#[derive(Clone)]
pub struct Bearer(String);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let value: MetadataValue<_> = format!("Bearer {}", self.0).parse().expect("tokens are ASCII");
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}

fn bytes(message: &impl prost::Message) -> Vec<u8> {
    message.encode_to_vec()
}

/// The management API, with a token.
#[derive(Clone)]
pub struct Api {
    connection: Connection,
    token: String,
}

impl Api {
    /// An API that will be reached when it is first called.
    pub fn new(management: SocketAddr, token: &str) -> Self {
        let channel = Endpoint::from_shared(format!("http://{management}"))
            .expect("an address is a URL")
            // A test that would wait for ever fails instead.
            .timeout(DEADLINE)
            .connect_lazy();
        let token = token.to_owned();
        Self { connection: InterceptedService::new(channel, Bearer(token.clone())), token }
    }

    /// The token that it sends.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// For stubs that are not wrapped here.
    pub fn connection(&self) -> Connection {
        self.connection.clone()
    }

    /// Uses a bootstrap token up, for an operator's.
    pub async fn bootstrap(management: SocketAddr, bootstrap: &str) -> Result<Self, Status> {
        let api = Self::new(management, bootstrap);
        let grants = vec![mg::Grant { role: mg::Role::Operator.into(), ..mg::Grant::default() }];
        let token = mg::Token { name: "test".to_owned(), grants, ..mg::Token::default() };
        let reply = TokenServiceClient::new(api.connection)
            .create_token(mg::CreateTokenRequest { token: Some(token), ..Default::default() })
            .await?
            .into_inner();
        Ok(Self::new(management, &reply.secret))
    }

    /// Makes an organization.
    pub async fn org(&self, name: &str) -> Result<mg::Org, Status> {
        let org = Some(mg::Org { name: name.to_owned(), ..mg::Org::default() });
        let reply = OrgServiceClient::new(self.connection())
            .create_org(mg::CreateOrgRequest { org, ..Default::default() })
            .await?;
        Ok(reply.into_inner().org.expect("a made org comes back"))
    }

    /// Makes a region and its keys.
    pub async fn region(&self, name: &str, base_url: &str) -> Result<RegionKeys, Status> {
        let keys = RegionKeys::generate(RegionId::from_random(draw(&SystemEntropy)), &SystemEntropy);
        let now = SystemTime::now();
        let region = mg::Region {
            id: keys.region().to_string(),
            name: name.to_owned(),
            base_url: base_url.to_owned(),
            key: Some(keys.statement(now, now + 90 * DAY).to_wire()),
            ..mg::Region::default()
        };
        RegionServiceClient::new(self.connection())
            .create_region(mg::CreateRegionRequest { region: Some(region) })
            .await?;
        Ok(keys)
    }

    /// Makes a token that lets nodes join.
    pub async fn node_token(&self, region: &str, keys: &RegionKeys, uses: u32) -> Result<NodeToken, Status> {
        self.node_token_until(region, keys, uses, SystemTime::now() + DAY).await
    }

    /// The same, good until then.
    pub async fn node_token_until(
        &self,
        region: &str,
        keys: &RegionKeys,
        uses: u32,
        end: SystemTime,
    ) -> Result<NodeToken, Status> {
        let draft = NodeTokenDraft::draw(&SystemEntropy);
        let statement = draft.statement(keys, self.installation().await?, uses, end);
        let ask = mg::CreateNodeTokenRequest { region: region.to_owned(), statement: Some(statement) };
        let reply = NodeTokenServiceClient::new(self.connection()).create_node_token(ask).await?.into_inner();
        Ok(draft.finish(reply.authority_pin.as_slice().try_into().expect("a pin is 32 bytes")))
    }

    /// Makes a target; plain HTTP is allowed, for upstreams on loopback.
    pub async fn target(&self, org: &str, name: &str, base_url: &str) -> Result<mg::Target, Status> {
        let target = mg::Target {
            name: name.to_owned(),
            base_url: base_url.to_owned(),
            danger_plaintext: base_url.starts_with("http://"),
            ..mg::Target::default()
        };
        let ask = mg::CreateTargetRequest { org: org.to_owned(), target: Some(target), ..Default::default() };
        let reply = TargetServiceClient::new(self.connection()).create_target(ask).await?.into_inner();
        Ok(reply.target.expect("a made target comes back"))
    }

    /// Makes a caller credential; its key comes back.
    pub async fn caller(&self, org: &str, name: &str) -> Result<String, Status> {
        let caller = mg::Caller { kind: mg::CallerKind::ApiKey.into(), ..mg::Caller::default() };
        let usage = mg::credential::Usage::Caller(caller);
        let credential =
            mg::Credential { name: name.to_owned(), usage: Some(usage), ..mg::Credential::default() };
        let ask = mg::CreateCredentialRequest {
            org: org.to_owned(),
            credential: Some(credential),
            ..Default::default()
        };
        let reply =
            CredentialServiceClient::new(self.connection()).create_credential(ask).await?.into_inner();
        Ok(reply.key)
    }

    /// Seals a bearer secret for an origin and makes an upstream credential of it.
    pub async fn upstream(
        &self,
        org: &str,
        name: &str,
        keys: &RegionKeys,
        origin: &str,
        value: &str,
    ) -> Result<mg::Credential, Status> {
        let means = Means::sent(Slot::bearer());
        self.upstream_of(org, name, keys, (mg::UpstreamKind::Bearer, spec(origin, value, means))).await
    }

    /// Seals a secret with what is done with it, and makes an upstream credential of that kind.
    pub async fn upstream_of(
        &self,
        org: &str,
        name: &str,
        keys: &RegionKeys,
        (kind, spec): (mg::UpstreamKind, SecretSpec),
    ) -> Result<mg::Credential, Status> {
        let id = CredentialId::from_random(draw(&SystemEntropy));
        let sealed = self.seal_spec(org, id, 1, keys, &spec).await?;
        // Nodes without what it needs are to be known.
        let label = Some(spec.label()).filter(|label| !label.needs.is_empty());
        let upstream =
            mg::Upstream { kind: kind.into(), sealed: Some(sealed), label, ..mg::Upstream::default() };
        let credential = mg::Credential {
            id: id.to_string(),
            name: name.to_owned(),
            usage: Some(mg::credential::Usage::Upstream(upstream)),
            ..mg::Credential::default()
        };
        let ask = mg::CreateCredentialRequest {
            org: org.to_owned(),
            credential: Some(credential),
            ..Default::default()
        };
        let reply =
            CredentialServiceClient::new(self.connection()).create_credential(ask).await?.into_inner();
        Ok(reply.credential.expect("a made credential comes back"))
    }

    /// A credential, by name or id.
    pub async fn credential(&self, org: &str, name: &str) -> Result<mg::Credential, Status> {
        let ask = mg::GetCredentialRequest { org: org.to_owned(), credential: name.to_owned(), revision: 0 };
        let reply = CredentialServiceClient::new(self.connection()).get_credential(ask).await?.into_inner();
        Ok(reply.credential.unwrap_or_default())
    }

    /// Gives an upstream credential its next value.
    pub async fn replace_secret(
        &self,
        org: &str,
        credential: &mg::Credential,
        keys: &RegionKeys,
        origin: &str,
        value: &str,
    ) -> Result<u64, Status> {
        let version = credential.version + 1;
        let id = credential.id.parse().expect("an id of ours");
        let sealed = Some(self.seal(org, id, version, keys, origin, value).await?);
        let ask = mg::ReplaceSecretRequest {
            org: org.to_owned(),
            credential: credential.id.clone(),
            version,
            sealed,
            ..Default::default()
        };
        Ok(CredentialServiceClient::new(self.connection()).replace_secret(ask).await?.into_inner().revision)
    }

    /// A bearer value for an origin, sealed to a region that a credential version is bound to.
    pub async fn seal(
        &self,
        org: &str,
        credential: CredentialId,
        version: u64,
        keys: &RegionKeys,
        origin: &str,
        value: &str,
    ) -> Result<fleet::SealedSecret, Status> {
        let spec = spec(origin, value, Means::sent(Slot::bearer()));
        self.seal_spec(org, credential, version, keys, &spec).await
    }

    /// Which organization bears a name.
    pub async fn org_id(&self, org: &str) -> Result<OrgId, Status> {
        let ask = mg::GetOrgRequest { org: org.to_owned(), revision: 0 };
        let found = OrgServiceClient::new(self.connection()).get_org(ask).await?.into_inner();
        Ok(found.org.expect("found").id.parse().expect("an id of ours"))
    }

    /// The same of whatever is to be sealed.
    pub async fn seal_spec(
        &self,
        org: &str,
        credential: CredentialId,
        version: u64,
        keys: &RegionKeys,
        spec: &SecretSpec,
    ) -> Result<fleet::SealedSecret, Status> {
        let org = self.org_id(org).await?;
        let context = SealContext { installation: self.installation().await?, org, credential, version };
        let now = SystemTime::now();
        let statement = keys.statement(now, now + DAY);
        let sealed = SealedSecret::seal(&context, spec, &[&statement], &SystemEntropy).expect("seals");
        Ok(sealed.to_wire())
    }

    /// Makes a proxy.
    pub async fn proxy(
        &self,
        org: &str,
        name: &str,
        caller: &str,
        target: &str,
        upstream: &str,
        region: &str,
    ) -> Result<mg::Proxy, Status> {
        let proxy = mg::Proxy {
            name: name.to_owned(),
            caller_credentials: vec![caller.to_owned()],
            target: target.to_owned(),
            upstream_credential: upstream.to_owned(),
            regions: vec![region.to_owned()],
            ..mg::Proxy::default()
        };
        let ask = mg::CreateProxyRequest { org: org.to_owned(), proxy: Some(proxy), ..Default::default() };
        let reply = ProxyServiceClient::new(self.connection()).create_proxy(ask).await?.into_inner();
        Ok(reply.proxy.expect("a made proxy comes back"))
    }

    /// The newest records of an organization.
    pub async fn requests(&self, org: &str) -> Result<Vec<mg::Request>, Status> {
        let ask = mg::ListRequestsRequest { org: org.to_owned(), page_size: 1000, ..Default::default() };
        Ok(RequestServiceClient::new(self.connection()).list_requests(ask).await?.into_inner().requests)
    }

    /// Every node.
    pub async fn nodes(&self) -> Result<Vec<fleet::Node>, Status> {
        let ask = fleet::ListNodesRequest { page_size: 1000, ..Default::default() };
        Ok(FleetServiceClient::new(self.connection()).list_nodes(ask).await?.into_inner().nodes)
    }

    /// What the control plane says of an organization and of the fleet, each answer as bytes.
    pub async fn everything(&self, org: &str) -> Result<Vec<Vec<u8>>, Status> {
        let (org, page_size) = (org.to_owned(), 1000);
        let here = self.connection();
        let targets = mg::ListTargetsRequest { org: org.clone(), page_size, ..Default::default() };
        let credentials = mg::ListCredentialsRequest { org: org.clone(), page_size, ..Default::default() };
        let proxies = mg::ListProxiesRequest { org, page_size, ..Default::default() };
        let regions = mg::ListRegionsRequest { page_size, ..Default::default() };
        let tokens = mg::ListTokensRequest { page_size, ..Default::default() };
        let nodes = fleet::ListNodesRequest { page_size, ..Default::default() };
        Ok(vec![
            bytes(TargetServiceClient::new(here.clone()).list_targets(targets).await?.get_ref()),
            bytes(CredentialServiceClient::new(here.clone()).list_credentials(credentials).await?.get_ref()),
            bytes(ProxyServiceClient::new(here.clone()).list_proxies(proxies).await?.get_ref()),
            bytes(RegionServiceClient::new(here.clone()).list_regions(regions).await?.get_ref()),
            bytes(TokenServiceClient::new(here.clone()).list_tokens(tokens).await?.get_ref()),
            bytes(FleetServiceClient::new(here).list_nodes(nodes).await?.get_ref()),
        ])
    }

    /// The newest revision.
    pub async fn revision(&self) -> Result<u64, Status> {
        Ok(self.get_installation().await?.revision)
    }

    /// Which installation it is.
    pub async fn installation(&self) -> Result<InstallationId, Status> {
        Ok(self.get_installation().await?.id.parse().expect("an id of ours"))
    }

    async fn get_installation(&self) -> Result<mg::GetInstallationResponse, Status> {
        let mut stub = InstallationServiceClient::new(self.connection());
        Ok(stub.get_installation(mg::GetInstallationRequest {}).await?.into_inner())
    }
}

/// A value that may go to an origin, and what is done with it.
pub fn spec(origin: &str, value: &str, means: Means) -> SecretSpec {
    SecretSpec {
        value: Secret::from(value.to_owned()),
        origins: vec![origin.parse::<Origin>().expect("tests name an origin")],
        means,
        not_after: None,
        ca: None,
    }
}
