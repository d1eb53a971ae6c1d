//! A control plane on ports of its own, an operator with a token, and what tests do with them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Uri;
use hyper_util::rt::TokioIo;
use rr_contract::model::id::{CredentialId, InstallationId, OrgId, RegionId};
use rr_contract::runtime::observe::Observability;
use rr_contract::seal::node_token::{NodeToken, NodeTokenDraft};
use rr_contract::seal::region_key::RegionKeys;
use rr_contract::seal::{OpeningKey, SealContext, SealedSecret, SecretSpec, Slot};
use rr_contract::seam::{Seams, SystemEntropy, draw};
use rr_contract::secret::Secret;
use rr_contract::wire::fleet::enrolment_service_client::EnrolmentServiceClient;
use rr_contract::wire::management as wire;
use rr_contract::wire::management::credential_service_client::CredentialServiceClient;
use rr_contract::wire::management::installation_service_client::InstallationServiceClient;
use rr_contract::wire::management::node_token_service_client::NodeTokenServiceClient;
use rr_contract::wire::management::org_service_client::OrgServiceClient;
use rr_contract::wire::management::proxy_service_client::ProxyServiceClient;
use rr_contract::wire::management::region_service_client::RegionServiceClient;
use rr_contract::wire::management::target_service_client::TargetServiceClient;
use rr_contract::wire::management::token_service_client::TokenServiceClient;
use rr_contract::wire::{FieldMask, fleet};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::postgres;
use crate::authority::SERVER_NAME;
use crate::{Config, Running, start};

pub(super) struct World {
    pub(super) running: Running,
    pub(super) folder: tempfile::TempDir,
    pub(super) channel: Channel,
    /// A token with ROLE_OPERATOR.
    pub(super) operator: String,
    /// Kept so that the server lives as long as we.
    database: Option<postgres::Database>,
}

/// A region with its private keys.
pub(super) struct Region {
    pub(super) keys: RegionKeys,
    pub(super) id: RegionId,
    pub(super) name: String,
}

/// A machine that joined.
pub(super) struct Node {
    pub(super) id: String,
    pub(super) channel: Channel,
}

pub(super) fn config(folder: &std::path::Path) -> Config {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Config {
        state_dir: folder.join("state"),
        database: crate::DatabaseAddress::Sqlite(folder.join("state").join("control.db")),
        management: anywhere,
        management_names: Vec::new(),
        fleet: anywhere,
        admin: anywhere,
        new_bootstrap_token: false,
        drain: Duration::from_secs(5),
    }
}

pub(super) async fn run(config: Config) -> Running {
    start(config, Seams::real(), Observability::quiet("rr-control")).await.expect("starts")
}

pub(super) async fn plain(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).expect("a URL").connect().await.expect("connects")
}

impl World {
    /// On SQLite; on PostgreSQL where `RR_TEST_ENGINE=postgres` asks for it.
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = config(folder.path());
        if std::env::var("RR_TEST_ENGINE").is_ok_and(|engine| engine == "postgres") {
            let database = postgres::database("world").expect("it was asked for");
            config.database = database.address();
            let mut world = Self::over(folder, config).await;
            world.database = Some(database);
            return world;
        }
        Self::over(folder, config).await
    }

    pub(super) async fn over(folder: tempfile::TempDir, config: Config) -> Self {
        let running = run(config).await;
        let channel = plain(running.management()).await;
        let path = running.bootstrap_token_path().expect("a first start");
        let bootstrap = std::fs::read_to_string(path).expect("reads").trim().to_owned();
        let mut world = Self { running, folder, channel, operator: String::new(), database: None };
        let grants = vec![wire::Grant { role: wire::Role::Operator.into(), org: String::new() }];
        world.operator = world.token(&bootstrap, "operator", grants).await.expect("bootstraps");
        world
    }

    pub(super) async fn token(
        &self,
        maker: &str,
        name: &str,
        grants: Vec<wire::Grant>,
    ) -> Result<String, Status> {
        let token = wire::Token { name: name.to_owned(), grants, ..Default::default() };
        let request = by(maker, wire::CreateTokenRequest { token: Some(token) });
        let mut client = TokenServiceClient::new(self.channel.clone());
        Ok(client.create_token(request).await?.into_inner().secret)
    }

    pub(super) async fn installation(&self) -> wire::GetInstallationResponse {
        let mut client = InstallationServiceClient::new(self.channel.clone());
        let request = by(&self.operator, wire::GetInstallationRequest {});
        client.get_installation(request).await.expect("is shown").into_inner()
    }

    /// An organization, whose owner the operator's token becomes.
    pub(super) async fn org(&self, name: &str) -> wire::Org {
        let org = wire::Org { name: name.to_owned(), ..Default::default() };
        let request = by(&self.operator, wire::CreateOrgRequest { org: Some(org) });
        let mut client = OrgServiceClient::new(self.channel.clone());
        client.create_org(request).await.expect("is made").into_inner().org.expect("is there")
    }

    pub(super) async fn suspend(&self, org: &str, suspended: bool) -> u64 {
        let request = wire::UpdateOrgRequest {
            name: org.to_owned(),
            org: Some(wire::Org { suspended, ..Default::default() }),
            update_mask: Some(FieldMask { paths: vec!["suspended".into()] }),
        };
        let mut client = OrgServiceClient::new(self.channel.clone());
        client.update_org(by(&self.operator, request)).await.expect("is changed").into_inner().revision
    }

    pub(super) async fn region(&self, name: &str) -> Region {
        let id = RegionId::from_random(draw(&SystemEntropy));
        let keys = RegionKeys::generate(id, &SystemEntropy);
        let now = SystemTime::now();
        let region = wire::Region {
            id: id.to_string(),
            name: name.to_owned(),
            base_url: "https://edge.example.com".to_owned(),
            key: Some(keys.statement(now, now + Duration::from_secs(90 * 86_400)).to_wire()),
            ..Default::default()
        };
        let request = by(&self.operator, wire::CreateRegionRequest { region: Some(region) });
        let mut client = RegionServiceClient::new(self.channel.clone());
        client.create_region(request).await.expect("is made");
        Region { keys, id, name: name.to_owned() }
    }

    pub(super) async fn target(&self, org: &str, target: wire::Target) -> Result<wire::Target, Status> {
        let request = wire::CreateTargetRequest { org: org.to_owned(), target: Some(target) };
        let mut client = TargetServiceClient::new(self.channel.clone());
        let answer = client.create_target(by(&self.operator, request)).await?.into_inner();
        Ok(answer.target.expect("is there"))
    }

    /// A caller credential and its key.
    pub(super) async fn caller(&self, org: &str, name: &str) -> (wire::Credential, String) {
        let kind = wire::CallerKind::ApiKey.into();
        let credential = wire::Credential {
            name: name.to_owned(),
            usage: Some(wire::credential::Usage::Caller(wire::Caller { kind })),
            ..Default::default()
        };
        let answer = self.credential(org, credential).await.expect("is made");
        (answer.credential.expect("is there"), answer.key)
    }

    pub(super) async fn credential(
        &self,
        org: &str,
        credential: wire::Credential,
    ) -> Result<wire::CreateCredentialResponse, Status> {
        let request = wire::CreateCredentialRequest { org: org.to_owned(), credential: Some(credential) };
        let mut client = CredentialServiceClient::new(self.channel.clone());
        Ok(client.create_credential(by(&self.operator, request)).await?.into_inner())
    }

    /// A value sealed as `rrctl` does it.
    pub(super) async fn seal(
        &self,
        org: &wire::Org,
        id: CredentialId,
        version: u64,
        regions: &[&Region],
    ) -> fleet::SealedSecret {
        let installation: InstallationId = self.installation().await.id.parse().expect("an id");
        let org: OrgId = org.id.parse().expect("an id");
        let now = SystemTime::now();
        let statements: Vec<_> =
            regions.iter().map(|it| it.keys.statement(now, now + Duration::from_secs(86_400))).collect();
        let spec = SecretSpec {
            value: Secret::new(b"sk-1".to_vec()),
            origins: vec!["https://api.example.com".parse().expect("an origin")],
            slot: Slot::bearer(),
            not_after: None,
        };
        let context = SealContext { installation, org, credential: id, version };
        SealedSecret::seal(&context, &spec, &statements.iter().collect::<Vec<_>>(), &SystemEntropy)
            .expect("seals")
            .to_wire()
    }

    pub(super) async fn upstream(
        &self,
        org: &wire::Org,
        name: &str,
        id: CredentialId,
        regions: &[&Region],
    ) -> Result<wire::Credential, Status> {
        let sealed = self.seal(org, id, 1, regions).await;
        let upstream = wire::Upstream {
            kind: wire::UpstreamKind::Bearer.into(),
            sealed: Some(sealed),
            sealed_regions: Vec::new(),
        };
        let credential = wire::Credential {
            id: id.to_string(),
            name: name.to_owned(),
            version: 1,
            usage: Some(wire::credential::Usage::Upstream(upstream)),
            ..Default::default()
        };
        Ok(self.credential(&org.name, credential).await?.credential.expect("is there"))
    }

    pub(super) async fn proxy(
        &self,
        org: &str,
        proxy: wire::Proxy,
    ) -> Result<wire::CreateProxyResponse, Status> {
        let request = wire::CreateProxyRequest { org: org.to_owned(), proxy: Some(proxy) };
        let mut client = ProxyServiceClient::new(self.channel.clone());
        Ok(client.create_proxy(by(&self.operator, request)).await?.into_inner())
    }

    /// An organization `acme` with everything that one proxy needs, served in `region`.
    pub(super) async fn furnish(&self, region: &Region) -> wire::Org {
        let org = self.org("acme").await;
        self.target("acme", target("echo", "https://api.example.com")).await.expect("is made");
        self.caller("acme", "app").await;
        self.upstream(&org, "openai", credential_id(), &[region]).await.expect("is made");
        self.proxy("acme", proxy("echo", &[&region.name])).await.expect("is made");
        org
    }

    /// Starts again over the same state.
    pub(super) async fn restart(self) -> Self {
        let Self { running, folder, operator, database, .. } = self;
        running.stop().await;
        let mut config = config(folder.path());
        if let Some(database) = &database {
            config.database = database.address();
        }
        let running = run(config).await;
        let channel = plain(running.management()).await;
        Self { running, folder, channel, operator, database }
    }

    /// Registers a node token for a region.
    pub(super) async fn node_token(&self, region: &Region, uses: u32) -> NodeToken {
        let installation: InstallationId = self.installation().await.id.parse().expect("an id");
        let draft = NodeTokenDraft::draw(&SystemEntropy);
        let expires_at = SystemTime::now() + Duration::from_secs(3600);
        let statement = draft.statement(&region.keys, installation, uses, expires_at);
        let request =
            wire::CreateNodeTokenRequest { region: region.name.clone(), statement: Some(statement) };
        let mut client = NodeTokenServiceClient::new(self.channel.clone());
        let answer =
            client.create_node_token(by(&self.operator, request)).await.expect("is made").into_inner();
        draft.finish(answer.authority_pin.try_into().expect("32 bytes"))
    }

    /// Joins as a machine does.
    pub(super) async fn join(&self, token: &NodeToken) -> Result<Node, Status> {
        let key = rcgen::KeyPair::generate().expect("keys");
        let request = join_request(token, &key);
        let channel = self.fleet_channel(None).await;
        let answer = EnrolmentServiceClient::new(channel).join(request).await?.into_inner();
        assert!(token.keys().open(answer.statement.as_ref().expect("is there")).is_ok());
        let chain = answer.chain.into_iter().map(CertificateDer::from).collect();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(Node { id: answer.node, channel: self.fleet_channel(Some((chain, key))).await })
    }

    /// A connection to the fleet port, with or without a certificate of our own.
    pub(super) async fn fleet_channel(
        &self,
        certificate: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> Channel {
        let pem = std::fs::read(self.folder.path().join("state/authority.crt")).expect("is there");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem).expect("a certificate")).expect("is one");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("good")
            .with_root_certificates(roots);
        let mut tls = match certificate {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).expect("match"),
            None => builder.with_no_client_auth(),
        };
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let connector = TlsConnector::from(Arc::new(tls));
        let address = self.running.fleet();
        let connect = tower::service_fn(move |_: Uri| {
            let connector = connector.clone();
            async move {
                let stream = TcpStream::connect(address).await?;
                let name = ServerName::try_from(SERVER_NAME).expect("a name");
                Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, stream).await?))
            }
        });
        Endpoint::from_static("http://fleet").connect_with_connector(connect).await.expect("connects")
    }
}

pub(super) fn join_request(token: &NodeToken, key: &rcgen::KeyPair) -> fleet::JoinRequest {
    let csr = rcgen::CertificateParams::default().serialize_request(key).expect("a request");
    let node_key = OpeningKey::generate().sealing_key();
    let keys = token.keys();
    fleet::JoinRequest {
        token: token.id().to_string(),
        auth: keys.auth().to_vec(),
        csr: csr.der().to_vec(),
        node_key: node_key.to_bytes().to_vec(),
        vouch: keys.vouch(&node_key, csr.der()),
        build: "test".to_owned(),
    }
}

/// A request of somebody.
pub(super) fn by<M>(token: &str, message: M) -> Request<M> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().expect("ASCII");
    request.metadata_mut().insert("authorization", value);
    request
}

pub(super) fn target(name: &str, base_url: &str) -> wire::Target {
    wire::Target { name: name.to_owned(), base_url: base_url.to_owned(), ..Default::default() }
}

/// A proxy of what [`World::furnish`] makes.
pub(super) fn proxy(name: &str, regions: &[&str]) -> wire::Proxy {
    wire::Proxy {
        name: name.to_owned(),
        caller_credentials: vec!["app".to_owned()],
        target: "echo".to_owned(),
        upstream_credential: "openai".to_owned(),
        regions: regions.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    }
}

pub(super) fn credential_id() -> CredentialId {
    CredentialId::from_random(draw(&SystemEntropy))
}
