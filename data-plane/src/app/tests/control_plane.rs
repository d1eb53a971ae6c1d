//! A control plane of a test: real TLS and real gRPC, and answers that the test decides.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use prost::Message as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, IsCa, KeyPair,
};
use rr_contract::model::id::{NodeId, ProxyId};
use rr_contract::model::time::{timestamp, wire_duration};
use rr_contract::runtime::{Shutdown, Tasks};
use rr_contract::seal::node_token::{NodeToken, NodeTokenDraft};
use rr_contract::seam::{Clock as _, SystemClock, SystemEntropy};
use rr_contract::wire::fleet::config_service_server::{ConfigService, ConfigServiceServer};
use rr_contract::wire::fleet::enrolment_service_server::{EnrolmentService, EnrolmentServiceServer};
use rr_contract::wire::fleet::telemetry_service_server::{TelemetryService, TelemetryServiceServer};
use rr_contract::wire::fleet::{self, BatchCodec};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, broadcast, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use crate::fixture::{self, INSTALLATION, Region};
use crate::sync::Position;
use crate::sync::inventory::Inventory;

pub(super) use rr_contract::wire::fleet::sync_request::Message as Said;
pub(super) use rr_contract::wire::fleet::sync_response::Message as Reply;

const LONG: Duration = Duration::from_secs(20);
/// Longer than a record takes from its request to the upload.
const SHORT: Duration = Duration::from_millis(300);
const TXN: [u8; 16] = [7; 16];

type Authority = CertifiedIssuer<'static, KeyPair>;

/// What the services share.
struct Shared {
    authority: Authority,
    statement: fleet::NodeTokenStatement,
    refuses: AtomicBool,
    status_every_ms: AtomicU64,
    /// The stream's replies so far, for a node that comes, and those to come.
    said: Mutex<Vec<Reply>>,
    news: broadcast::Sender<Reply>,
    heard: mpsc::Sender<Said>,
    batches: mpsc::Sender<fleet::UploadRequest>,
    /// To each batch, with its spool where none is said; `None`: nothing.
    answer: std::sync::Mutex<Option<fleet::UploadResponse>>,
    /// To the newest batch that had no answer.
    late: broadcast::Sender<fleet::UploadResponse>,
}

/// It ends with the test's runtime, or when it is stopped.
pub(super) struct ControlPlane {
    address: SocketAddr,
    pub(super) region: Region,
    token: String,
    shared: Arc<Shared>,
    inventory: Inventory,
    position: Option<Position>,
    revision: u64,
    heard: mpsc::Receiver<Said>,
    batches: mpsc::Receiver<fleet::UploadRequest>,
    shutdown: Shutdown,
}

impl ControlPlane {
    pub(super) async fn start() -> Self {
        let region = Region::new();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority =
            Authority::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
        let draft = NodeTokenDraft::draw(&SystemEntropy);
        let expires = SystemClock.now() + Duration::from_secs(60);
        let statement = draft.statement(region.keys(), INSTALLATION, 1, expires);
        let (_, parsed) = x509_parser::parse_x509_certificate(authority.der()).expect("a certificate");
        let pin = Sha256::digest(parsed.tbs_certificate.subject_pki.raw).into();
        let token = String::from_utf8(draft.finish(pin).to_secret().expose().to_vec()).expect("text");
        let (heard, hearing) = mpsc::channel(1024);
        let (batches, receiving) = mpsc::channel(1024);
        let acceptor = acceptor(&authority);
        let shared = Arc::new(Shared {
            authority,
            statement,
            refuses: AtomicBool::new(false),
            status_every_ms: AtomicU64::new(200),
            said: Mutex::default(),
            news: broadcast::channel(64).0,
            heard,
            batches,
            answer: std::sync::Mutex::new(Some(fleet::UploadResponse {
                codecs: vec![BatchCodec::Zstd.into()],
                ..fleet::UploadResponse::default()
            })),
            late: broadcast::channel(1).0,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shutdown = Shutdown::new();
        let service = Service(Arc::clone(&shared));
        let serving = serve(listener, acceptor, service, shutdown.stop());
        Tasks::new().spawn("control plane", serving);
        let inventory = region.inventory();
        Self {
            address,
            region,
            token,
            shared,
            inventory,
            position: None,
            revision: 0,
            heard: hearing,
            batches: receiving,
            shutdown,
        }
    }

    pub(super) fn address(&self) -> String {
        format!("https://{}", self.address)
    }

    pub(super) fn token(&self) -> NodeToken {
        self.token.parse().expect("it was just made")
    }

    pub(super) fn refuse_tokens(&self) {
        self.shared.refuses.store(true, Ordering::Relaxed);
    }

    /// Asks for no status but those that the node has a reason for.
    pub(super) fn ask_for_no_status(&self) {
        self.shared.status_every_ms.store(3_600_000, Ordering::Relaxed);
    }

    /// Has nothing to say to nodes that come from now on.
    pub(super) fn fall_silent(&self) {
        self.shared.said.try_lock().expect("the test publishes by itself").clear();
    }

    /// Moves on without a change for this region; returns where to.
    pub(super) fn mark(&mut self) -> Position {
        self.revision += 1;
        let position = self.position.as_mut().expect("something came before");
        position.revision = self.revision;
        position.audit = Some(fixture::audit(self.revision));
        // A node is connected, or the test sees that none hears it.
        self.shared.news.send(Reply::Mark(fleet::Mark { position: Some(position.to_wire()) })).ok();
        *position
    }

    /// Says that another history led to where the node stands.
    pub(super) fn mark_rewritten(&self) {
        let position = self.position.expect("something came before");
        let rewritten = Position { audit: Some(fixture::audit(0)), ..position };
        self.shared.news.send(Reply::Mark(fleet::Mark { position: Some(rewritten.to_wire()) })).ok();
    }

    /// Says something to the nodes that are connected.
    pub(super) fn say(&self, reply: Reply) {
        // A node is connected, or the test sees that none hears it.
        self.shared.news.send(reply).ok();
    }

    pub(super) fn stop(&self) {
        self.shutdown.begin();
    }

    /// Publishes a transaction as it should be.
    pub(super) fn publish(&mut self, mode: fleet::Mode, upserts: &[fleet::Resource]) {
        let body = fixture::body(upserts, &[]);
        let changes = crate::sync::changes(&body);
        self.revision += 1;
        let position = fixture::position(self.revision, self.inventory.after(mode, &changes));
        self.inventory.apply(mode, changes, &mut crate::snapshot::Snapshot::default());
        let base = (mode != fleet::Mode::Snapshot).then_some(self.position).flatten();
        self.position = Some(position);
        let crc32 = crc32fast::hash(&body);
        self.send(mode, base, body, crc32, position);
    }

    pub(super) fn publish_with_wrong_digest(&self, upserts: &[fleet::Resource]) {
        let body = fixture::body(upserts, &[]);
        let at = Position { revision: self.revision + 1, ..self.position.expect("something came before") };
        let crc32 = crc32fast::hash(&body);
        self.send(fleet::Mode::Delta, self.position, body, crc32, at);
    }

    pub(super) fn publish_from_elsewhere(&self, upserts: &[fleet::Resource]) {
        let at = self.position.expect("something came before");
        let body = fixture::body(upserts, &[]);
        let crc32 = crc32fast::hash(&body);
        self.send(fleet::Mode::Delta, Some(Position { digest: [0; 32], ..at }), body, crc32, at);
    }

    pub(super) fn publish_damaged(&self, upserts: &[fleet::Resource]) {
        let at = self.position.expect("something came before");
        self.send(fleet::Mode::Delta, self.position, fixture::body(upserts, &[]), 0, at);
    }

    fn send(&self, mode: fleet::Mode, base: Option<Position>, body: Vec<u8>, crc32: u32, at: Position) {
        let txn = TXN.to_vec();
        let base = base.map(|base| base.digest.to_vec()).unwrap_or_default();
        let replies = [
            Reply::Begin(fleet::Begin {
                txn: txn.clone(),
                mode: mode.into(),
                base,
                chunks: 1,
                ..fleet::Begin::default()
            }),
            Reply::Chunk(fleet::Chunk { txn: txn.clone(), index: 0, body: body.into(), crc32 }),
            Reply::Commit(fleet::Commit { txn, position: Some(at.to_wire()), prove_for: None }),
        ];
        let mut said = self.shared.said.try_lock().expect("the test publishes by itself");
        for reply in replies {
            said.push(reply.clone());
            // Nobody may be connected yet.
            self.shared.news.send(reply).ok();
        }
    }

    /// Waits for something that the node says.
    pub(super) async fn hears(&mut self, wanted: impl Fn(&Said) -> bool) -> Said {
        let hear = async {
            loop {
                let said = self.heard.recv().await.expect("the services live");
                if wanted(&said) {
                    return said;
                }
            }
        };
        timeout(LONG, hear).await.expect("the node says it")
    }

    pub(super) async fn verdict(&mut self) -> fleet::Verdict {
        match self.hears(|said| matches!(said, Said::Verdict(_))).await {
            Said::Verdict(verdict) => verdict,
            other => panic!("{other:?}"),
        }
    }

    /// The next batch that is uploaded.
    pub(super) async fn upload(&mut self) -> fleet::UploadRequest {
        let upload = timeout(LONG, self.batches.recv()).await.expect("the node uploads it");
        let upload = upload.expect("the services live");
        assert_eq!(crc32fast::hash(&upload.body), upload.crc32);
        upload
    }

    /// What batches are answered from now on, each with its number; `None`: nothing.
    pub(super) fn answers_uploads(&self, answer: Option<fleet::UploadResponse>) {
        *self.shared.answer.lock().expect("no test panics with it") = answer;
    }

    /// Answers the newest batch that had no answer.
    pub(super) fn answers_now(&self, answer: fleet::UploadResponse) {
        self.shared.late.send(answer).expect("a node uploads");
    }

    /// Whether nothing is uploaded for a while.
    pub(super) async fn gets_nothing(&mut self) -> bool {
        timeout(SHORT, self.batches.recv()).await.is_err()
    }

    /// The next record that is uploaded.
    pub(super) async fn record(&mut self) -> fleet::Record {
        let receive = async {
            loop {
                let upload = self.upload().await;
                let batch = match upload.codec() {
                    BatchCodec::Unspecified => fleet::Batch::decode(&*upload.body),
                    BatchCodec::Zstd => {
                        let mut plain = Vec::with_capacity(upload.length as usize);
                        zstd_safe::decompress(&mut plain, &upload.body).expect("it unpacks");
                        assert_eq!(plain.len(), upload.length as usize);
                        fleet::Batch::decode(&*plain)
                    }
                };
                let batch = batch.expect("a batch");
                if let Some(record) = batch.records.into_iter().next() {
                    assert!(record.proxy.starts_with(ProxyId::PREFIX));
                    return record;
                }
            }
        };
        timeout(LONG, receive).await.expect("the node uploads it")
    }
}

fn acceptor(authority: &Authority) -> TlsAcceptor {
    let name = "control-plane.requestrocket.internal".to_owned();
    let key = KeyPair::generate().expect("a key");
    let leaf =
        CertificateParams::new(vec![name]).expect("a name").signed_by(&key, authority).expect("a leaf");
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .expect("a verifier");
    let chain = vec![leaf.der().clone(), authority.der().clone()];
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, PrivateKeyDer::try_from(key.serialize_der()).expect("a key"))
        .expect("a configuration");
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    service: Service,
    stop: rr_contract::runtime::Stop,
) {
    let tasks = Tasks::new();
    while let Some(accepted) = stop.cut(listener.accept()).await {
        let (stream, _) = accepted.expect("it listens");
        let (acceptor, service, stop) = (acceptor.clone(), service.clone(), stop.clone());
        let connection = async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let known = stream.get_ref().1.peer_certificates().is_some();
            let mut routes = Routes::new(EnrolmentServiceServer::new(service.clone()));
            if known {
                routes = routes
                    .add_service(ConfigServiceServer::new(service.clone()))
                    .add_service(TelemetryServiceServer::new(service));
            }
            let service = TowerToHyperService::new(routes.prepare());
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service);
            // How it ends is the node's to tell.
            stop.cut(connection).await.map(Result::ok);
        };
        tasks.spawn("connection", connection);
    }
}

#[derive(Clone)]
struct Service(Arc<Shared>);

#[tonic::async_trait]
impl EnrolmentService for Service {
    async fn join(
        &self,
        request: Request<fleet::JoinRequest>,
    ) -> Result<Response<fleet::JoinResponse>, Status> {
        let request = request.into_inner();
        if self.0.refuses.load(Ordering::Relaxed) {
            return Err(Status::permission_denied("token is used up"));
        }
        assert_eq!((request.token, request.auth.len()), (self.0.statement.token.clone(), 32));
        let csr = CertificateSigningRequestParams::from_der(&request.csr.into()).expect("a request");
        let certificate = csr.signed_by(&self.0.authority).expect("a certificate");
        let trust: CertificateDer<'static> = self.0.authority.der().clone();
        Ok(Response::new(fleet::JoinResponse {
            node: NodeId::from_random([5; 16]).to_string(),
            chain: vec![certificate.der().to_vec()],
            trust: vec![trust.to_vec()],
            statement: Some(self.0.statement.clone()),
            not_after: Some(timestamp(SystemClock.now() + Duration::from_secs(60))),
            later_keys: Vec::new(),
            attestation: None,
            attested_versions: Vec::new(),
        }))
    }

    /// As a control plane of before there were renewals.
    async fn renew(&self, _: Request<fleet::RenewRequest>) -> Result<Response<fleet::RenewResponse>, Status> {
        Err(Status::unimplemented("this call is not known"))
    }
}

#[tonic::async_trait]
impl ConfigService for Service {
    type SyncStream = ReceiverStream<Result<fleet::SyncResponse, Status>>;

    async fn sync(
        &self,
        request: Request<Streaming<fleet::SyncRequest>>,
    ) -> Result<Response<Self::SyncStream>, Status> {
        let mut inbound = request.into_inner();
        let (outbound, queue) = mpsc::channel(64);
        let shared = Arc::clone(&self.0);
        let tasks = Tasks::new();
        tasks.spawn("stream", async move {
            let say = async |reply| {
                let message = fleet::SyncResponse { message: Some(reply) };
                // The node may have gone.
                outbound.send(Ok(message)).await.is_ok()
            };
            let (mut news, before) = {
                let said = shared.said.lock().await;
                (shared.news.subscribe(), said.clone())
            };
            let status_every = Duration::from_millis(shared.status_every_ms.load(Ordering::Relaxed));
            let welcome = fleet::Welcome {
                session: vec![1; 16],
                now: Some(timestamp(SystemClock.now())),
                status_every: Some(wire_duration(status_every)),
                draining: false,
            };
            say(Reply::Welcome(welcome)).await;
            for reply in before {
                say(reply).await;
            }
            loop {
                tokio::select! {
                    said = inbound.next() => {
                        let Some(Ok(message)) = said else { return };
                        let said = message.message.expect("the node says something");
                        shared.heard.send(said).await.ok();
                    }
                    Ok(reply) = news.recv() => {
                        if !say(reply).await {
                            return;
                        }
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(queue)))
    }
}

#[tonic::async_trait]
impl TelemetryService for Service {
    type UploadStream = ReceiverStream<Result<fleet::UploadResponse, Status>>;

    async fn upload(
        &self,
        request: Request<Streaming<fleet::UploadRequest>>,
    ) -> Result<Response<Self::UploadStream>, Status> {
        let mut inbound = request.into_inner();
        let (outbound, queue) = mpsc::channel(64);
        let shared = Arc::clone(&self.0);
        Tasks::new().spawn("upload", async move {
            let (mut late, mut unanswered) = (shared.late.subscribe(), None);
            loop {
                let (spool, through, mut answer) = tokio::select! {
                    upload = inbound.next() => {
                        let Some(Ok(upload)) = upload else { return };
                        let answer = shared.answer.lock().expect("no test panics with it").clone();
                        let (spool, through) = (upload.spool.clone(), upload.sequence);
                        shared.batches.send(upload).await.ok();
                        let Some(answer) = answer else {
                            unanswered = Some((spool, through));
                            continue;
                        };
                        (spool, through, answer)
                    }
                    Ok(answer) = late.recv() => {
                        let (spool, through) = unanswered.take().expect("one has no answer");
                        (spool, through, answer)
                    }
                };
                answer.through = through;
                if answer.spool.is_empty() {
                    answer.spool = spool;
                }
                outbound.send(Ok(answer)).await.ok();
            }
        });
        Ok(Response::new(ReceiverStream::new(queue)))
    }
}
