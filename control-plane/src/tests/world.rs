//! A control plane on ports of its own, an operator with a token, and what tests do with them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rr_contract::model::id::{CredentialId, InstallationId, OrgId, RegionId};
use rr_contract::runtime::observe::Observability;
use rr_contract::seal::region_key::RegionKeys;
use rr_contract::seal::{Means, SealContext, SealedSecret, SecretSpec, Slot};
use rr_contract::seam::{Clock, Seams, SystemEntropy, draw};
use rr_contract::secret::Secret;
use rr_contract::wire::management as wire;
use rr_contract::wire::management::credential_service_client::CredentialServiceClient;
use rr_contract::wire::management::installation_service_client::InstallationServiceClient;
use rr_contract::wire::management::org_service_client::OrgServiceClient;
use rr_contract::wire::management::proxy_service_client::ProxyServiceClient;
use rr_contract::wire::management::region_service_client::RegionServiceClient;
use rr_contract::wire::management::target_service_client::TargetServiceClient;
use rr_contract::wire::management::token_service_client::TokenServiceClient;
use rr_contract::wire::{FieldMask, fleet};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::postgres;
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

/// The system's clock, and so many seconds more.
#[derive(Clone, Default)]
pub(super) struct Later(Arc<AtomicU64>);

impl Later {
    pub(super) fn seams(&self) -> Seams {
        Seams { clock: Arc::new(self.clone()), ..Seams::real() }
    }

    pub(super) fn set(&self, later: Duration) {
        self.0.store(later.as_secs(), Ordering::Relaxed);
    }
}

impl Clock for Later {
    fn now(&self) -> SystemTime {
        SystemTime::now() + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

pub(super) fn config(folder: &std::path::Path) -> Config {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Config {
        state_dir: folder.join("state"),
        authority_keys: vec![crate::authority::KeySource::File(folder.join("state").join("authority.key"))],
        database: crate::DatabaseAddress::Sqlite(folder.join("state").join("control.db")),
        record_stores: Default::default(),
        management: anywhere,
        management_names: Vec::new(),
        management_tls: None,
        // A test calls as fast as it can.
        limits: crate::Limits { token_rate: 0, ..crate::Limits::default() },
        fleet: anywhere,
        admin: anywhere,
        admin_token_file: None,
        new_bootstrap_token: false,
        accept_clock: false,
        drain: Duration::from_secs(5),
        fleet_stream_rate: 0,
        fleet_patience: Duration::from_secs(60),
        keep_history: Duration::from_secs(90 * 86_400),
        limit_ceilings: Default::default(),
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
        Self::of(folder, running).await
    }

    /// Of one that was started for the first time.
    pub(super) async fn of(folder: tempfile::TempDir, running: Running) -> Self {
        let channel = plain(running.management()).await;
        let path = running.bootstrap_token_path().expect("a first start");
        let bootstrap = std::fs::read_to_string(path).expect("reads").trim().to_owned();
        let mut world = Self { running, folder, channel, operator: String::new(), database: None };
        let grants = vec![wire::Grant { role: wire::Role::Operator.into(), ..Default::default() }];
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
        let request = by(maker, wire::CreateTokenRequest { token: Some(token), ..Default::default() });
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
        let request = by(&self.operator, wire::CreateOrgRequest { org: Some(org), ..Default::default() });
        let mut client = OrgServiceClient::new(self.channel.clone());
        client.create_org(request).await.expect("is made").into_inner().org.expect("is there")
    }

    pub(super) async fn suspend(&self, org: &str, suspended: bool) -> u64 {
        let request = wire::UpdateOrgRequest {
            name: org.to_owned(),
            org: Some(wire::Org { suspended, ..Default::default() }),
            update_mask: Some(FieldMask { paths: vec!["suspended".into()] }),
            ..Default::default()
        };
        let mut client = OrgServiceClient::new(self.channel.clone());
        client.update_org(by(&self.operator, request)).await.expect("is changed").into_inner().revision
    }

    pub(super) async fn region(&self, name: &str) -> Region {
        self.dedicated_region(name, "").await
    }

    /// A region of one organization alone.
    pub(super) async fn dedicated_region(&self, name: &str, org: &str) -> Region {
        let id = RegionId::from_random(draw(&SystemEntropy));
        let keys = RegionKeys::generate(id, &SystemEntropy);
        let now = SystemTime::now();
        let region = wire::Region {
            id: id.to_string(),
            name: name.to_owned(),
            base_url: "https://edge.example.com".to_owned(),
            dedicated_to: org.to_owned(),
            key: Some(keys.statement(now, now + Duration::from_secs(90 * 86_400)).to_wire()),
            ..Default::default()
        };
        let request = by(&self.operator, wire::CreateRegionRequest { region: Some(region) });
        let mut client = RegionServiceClient::new(self.channel.clone());
        client.create_region(request).await.expect("is made");
        Region { keys, id, name: name.to_owned() }
    }

    pub(super) async fn target(&self, org: &str, target: wire::Target) -> Result<wire::Target, Status> {
        let request =
            wire::CreateTargetRequest { org: org.to_owned(), target: Some(target), ..Default::default() };
        let mut client = TargetServiceClient::new(self.channel.clone());
        let answer = client.create_target(by(&self.operator, request)).await?.into_inner();
        Ok(answer.target.expect("is there"))
    }

    /// A caller credential and its key.
    pub(super) async fn caller(&self, org: &str, name: &str) -> (wire::Credential, String) {
        let kind = wire::CallerKind::ApiKey.into();
        let credential = wire::Credential {
            name: name.to_owned(),
            usage: Some(wire::credential::Usage::Caller(wire::Caller { kind, ..Default::default() })),
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
        let request = wire::CreateCredentialRequest {
            org: org.to_owned(),
            credential: Some(credential),
            ..Default::default()
        };
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
            means: Means::sent(Slot::bearer()),
            not_after: None,
            ca: None,
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
            ..wire::Upstream::default()
        };
        self.upstream_of(org, name, id, upstream).await
    }

    /// The same with whatever is said of it.
    pub(super) async fn upstream_of(
        &self,
        org: &wire::Org,
        name: &str,
        id: CredentialId,
        upstream: wire::Upstream,
    ) -> Result<wire::Credential, Status> {
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
        let request =
            wire::CreateProxyRequest { org: org.to_owned(), proxy: Some(proxy), ..Default::default() };
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
        self.restart_later(Duration::ZERO).await
    }

    /// Starts again over the same state, when so much more time has passed, and a person says that it has.
    pub(super) async fn restart_later(self, later: Duration) -> Self {
        let Self { running, folder, operator, database, .. } = self;
        running.stop().await;
        let mut config = config(folder.path());
        if let Some(database) = &database {
            config.database = database.address();
        }
        config.accept_clock = !later.is_zero();
        let clock = Later::default();
        clock.set(later);
        let running = start(config, clock.seams(), Observability::quiet("rr-control")).await.expect("starts");
        let channel = plain(running.management()).await;
        Self { running, folder, channel, operator, database }
    }

    /// The database beneath, for who tampers with it.
    pub(super) async fn tamper(&self, statement: &str) {
        let database = self.beneath().await;
        sea_orm::ConnectionTrait::execute_unprepared(&database, statement).await.expect("runs");
        database.close().await.expect("closes");
    }

    /// The one value that a query finds there.
    pub(super) async fn found_beneath(&self, query: &str) -> Vec<u8> {
        let database = self.beneath().await;
        let backend = sea_orm::ConnectionTrait::get_database_backend(&database);
        let query = sea_orm::Statement::from_string(backend, query);
        let row = sea_orm::ConnectionTrait::query_one_raw(&database, query).await.expect("reads");
        let found = row.expect("is there").try_get_by_index(0).expect("bytes");
        database.close().await.expect("closes");
        found
    }

    async fn beneath(&self) -> sea_orm::DatabaseConnection {
        let url = match &self.database {
            None => format!("sqlite://{}", self.folder.path().join("state/control.db").display()),
            Some(database) => match database.address() {
                crate::DatabaseAddress::Postgres(url) => url,
                crate::DatabaseAddress::Sqlite(_) => unreachable!("it is a server's"),
            },
        };
        sea_orm::Database::connect(url).await.expect("opens")
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
