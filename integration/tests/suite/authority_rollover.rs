//! One root of the authority takes the place of another, with real nodes under traffic: nobody notices, who was away comes
//! back by itself, and what the old root alone vouches for is refused at the end.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rr_contract::model::id::InstallationId;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::authority_service_client::AuthorityServiceClient;
use rr_integration::callers::{Callers, Tally};
use rr_integration::fleet::SERVER_NAME;
use rr_integration::wait::eventually;
use rr_integration::world::{Node, ORG, REGION, World};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tonic::{Code, Status};

/// Calls of an operator.
struct Desk<'a>(&'a World);

impl Desk<'_> {
    async fn shown(&self) -> mg::GetAuthorityResponse {
        let mut stub = AuthorityServiceClient::new(self.0.api.connection());
        stub.get_authority(mg::GetAuthorityRequest {}).await.expect("is shown").into_inner()
    }

    async fn add(&self) -> Result<mg::AuthorityRoot, Status> {
        let mut stub = AuthorityServiceClient::new(self.0.api.connection());
        let done = stub.add_authority_root(mg::AddAuthorityRootRequest::default()).await?.into_inner();
        assert!(done.revision > 0);
        Ok(done.root.expect("is there"))
    }

    async fn switch(&self, pin: &str, now: bool) -> Result<u64, Status> {
        let mut stub = AuthorityServiceClient::new(self.0.api.connection());
        let ask = mg::SwitchAuthorityRootRequest { pin: pin.to_owned(), now };
        Ok(stub.switch_authority_root(ask).await?.into_inner().revision)
    }

    async fn remove(&self, pin: &str, now: bool) -> Result<u64, Status> {
        let mut stub = AuthorityServiceClient::new(self.0.api.connection());
        let ask = mg::RemoveAuthorityRootRequest { pin: pin.to_owned(), now };
        Ok(stub.remove_authority_root(ask).await?.into_inner().revision)
    }

    /// Waits until no nodes but these are in a list of the answer.
    async fn only(&self, what: &str, list: impl Fn(mg::GetAuthorityResponse) -> Vec<String>, ids: &[&str]) {
        let list = &list;
        eventually(what, || async move { (list(self.shown().await) == ids).then_some(()) }).await;
    }

    /// From where the stream of a node comes: another one after each time that it connected.
    async fn stream_of(&self, node: &str) -> String {
        let nodes = self.0.api.nodes().await.expect("are listed");
        nodes.into_iter().find(|it| it.id == node).expect("is there").address
    }

    async fn newest_node(&self) -> String {
        let nodes = self.0.api.nodes().await.expect("are listed");
        let at =
            |node: &rr_contract::wire::fleet::Node| node.joined_at.as_ref().map(|at| (at.seconds, at.nanos));
        nodes.into_iter().max_by_key(at).expect("one joined").id
    }
}

/// What somebody has who has the old key alone.
struct Thief {
    key: String,
    root: CertificateDer<'static>,
    installation: InstallationId,
}

impl Thief {
    async fn of(world: &World) -> Self {
        let state = world.control_plane.state();
        let key = std::fs::read_to_string(state.join("authority.key")).expect("is there");
        let root = CertificateDer::from_pem_file(state.join("authority.crt")).expect("is there");
        Self { key, root, installation: world.api.installation().await.expect("answers") }
    }

    fn leaf(&self, mut params: CertificateParams) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let issuer = KeyPair::from_pem(&self.key).expect("a key");
        let issuer = Issuer::from_ca_cert_der(&self.root, issuer).expect("an authority");
        let key = KeyPair::generate().expect("a key");
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&key, &issuer).expect("is signed").der().clone();
        (leaf, PrivateKeyDer::try_from(key.serialize_der()).expect("a key"))
    }

    /// Whether it is let in at the fleet port as a node.
    async fn is_let_in(&self, world: &World, node: &str, region: &str) -> bool {
        let uri = format!("spiffe://{}/region/{region}/node/{node}", self.installation);
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = vec![rcgen::SanType::URI(uri.try_into().expect("a name"))];
        let (leaf, key) = self.leaf(params);
        // It trusts whatever the port shows.
        let mut roots = RootCertStore::empty();
        let text = std::fs::read(world.control_plane.state().join("authority.crt")).expect("is there");
        for root in CertificateDer::pem_slice_iter(&text) {
            roots.add(root.expect("a certificate")).expect("a root");
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![leaf], key)
            .expect("go together");
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(world.control_plane.fleet).await.expect("connects");
        let name = ServerName::try_from(SERVER_NAME).expect("a name");
        let Ok(mut stream) = TlsConnector::from(Arc::new(tls)).connect(name, stream).await else {
            return false;
        };
        // In TLS 1.3 the port judges after the handshake: settings of HTTP/2 come, or an alert.
        if stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.is_err() {
            return false;
        }
        stream.read_u8().await.is_ok()
    }

    /// What a node makes of it where the control plane should be: whether it goes on after the handshake.
    async fn deceives(&self, world: &World) -> bool {
        let params = CertificateParams::new(vec![SERVER_NAME.to_owned()]).expect("a name");
        let (leaf, key) = self.leaf(params);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![leaf, self.root.clone()], key)
            .expect("go together");
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let listener = TcpListener::bind(world.control_plane.fleet).await.expect("the port is free");
        let (stream, _) = listener.accept().await.expect("a node comes");
        match TlsAcceptor::from(Arc::new(tls)).accept(stream).await {
            Ok(mut stream) => stream.read_u8().await.is_ok(),
            Err(_) => false,
        }
    }
}

/// Starts the control plane with the key of the authority and a next one, whose file it makes.
async fn with_two_keys(world: &mut World) {
    let state = world.control_plane.state().to_owned();
    let source = |name: &str| format!("file:{}", state.join(name).display());
    world.control_plane.authority_keys = vec![source("authority.key"), source("next.key")];
    world.control_plane.restart().await;
}

fn announce(world: &World) {
    // Of its restarts, and of whoever was where it should be.
    for part in ["stream to the control plane lost", "control plane cannot be reached"] {
        world.log.announce(part);
    }
}

#[tokio::test]
async fn a_root_takes_the_place_of_another_and_no_node_notices() {
    let mut world = World::start().await;
    announce(&world);
    let thief = Thief::of(&world).await;
    let folder = tempfile::tempdir().expect("a folder");
    let first = Desk(&world).newest_node().await;
    let token = world.api.node_token(REGION, &world.keys, 1).await.expect("make a token");
    let (fleet, later) = (world.control_plane.fleet, world.later.clone());
    let mut away = Node::join(folder.path().join("away"), fleet, token, later.clone()).await;
    away.ready().await;
    let absent = Desk(&world).newest_node().await;
    assert_ne!(absent, first);
    let of_before = world.api.node_token(REGION, &world.keys, 1).await.expect("make a token");
    let region = world.api.nodes().await.expect("are listed");
    let region = region[0].desired.as_ref().map(|at| at.region.clone()).unwrap_or_default();

    let tally = Arc::new(Tally::default());
    let path = format!("/api/{ORG}.echo/");
    let callers = Callers::start(world.node.listen, &path, &world.caller_key, 2, &tally, u64::MAX);
    tally.reach(20).await.expect("callers are served");
    away.stop().await;
    with_two_keys(&mut world).await;
    world.in_step().await;
    let desk = Desk(&world);
    let old = desk.shown().await;
    assert_eq!((old.roots.len(), old.spare_pins.len(), old.nodes), (1, 1, 2));
    let old = old.roots[0].pin.clone();

    // Added: whoever is there trusts it within moments; who is away is waited for.
    let next = desk.add().await.expect("is added");
    assert!(!next.issues && next.pin != old);
    desk.only("the node that is there trusts both", |it| it.nodes_without_trust, &[&absent]).await;
    let stream = desk.stream_of(&first).await;
    assert!(!stream.is_empty());
    let refused = desk.switch(&next.pin, false).await.expect_err("a node is away");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains(&absent), "{}", refused.message());
    assert!(desk.remove(&old, true).await.is_err(), "the root that issues is not removed");

    // Switched: it renews, by itself and without another stream.
    assert!(desk.switch(&next.pin, true).await.expect("is switched") > 0);
    assert_eq!(desk.switch(&next.pin, true).await.expect("issues already"), 0, "no way back by repeating");
    desk.only("the node that is there has renewed", |it| it.nodes_of_another, &[&absent]).await;
    assert_eq!(desk.stream_of(&first).await, stream, "its stream went on");
    let shown = desk.shown().await;
    assert!(shown.roots[0].issues && shown.roots[0].pin == next.pin);
    assert_eq!(shown.tokens_of_another.len(), 1, "{:?}", shown.tokens_of_another);
    let refused = desk.remove(&old, false).await.expect_err("somebody would be cut off");
    for part in [&absent, &shown.tokens_of_another[0]] {
        assert!(refused.message().contains(part), "{}", refused.message());
    }
    assert!(thief.is_let_in(&world, &first, &region).await, "the old root is trusted until it is removed");

    // A token of before names the old root, and joins all the same.
    let late = Node::join(folder.path().join("late"), fleet, of_before, later.clone()).await;
    late.ready().await;
    // Who slept through all of it trusts the old root alone, shows its certificate, and comes back by itself.
    away.restart().await;
    desk.only("who was away has renewed", |it| it.nodes_of_another, &[]).await;
    desk.only("everybody trusts both", |it| it.nodes_without_trust, &[]).await;

    // Removed: what the old root alone vouches for counts no more.
    assert!(desk.remove(&old, false).await.expect("is removed") > 0);
    assert_eq!(desk.shown().await.roots.len(), 1);
    assert!(!thief.is_let_in(&world, &first, &region).await, "a certificate of the old root is refused");
    // The stream that was opened by the old certificate is opened once again, and no more.
    eventually("the stream is opened anew", || async {
        let now = desk.stream_of(&first).await;
        (!now.is_empty() && now != stream).then_some(())
    })
    .await;
    world.api.target(ORG, "after", &world.upstream.url()).await.expect("make a target");
    world.in_step().await;
    let stream = desk.stream_of(&first).await;
    desk.only("nodes trust the new root alone", |it| it.nodes_without_trust, &[]).await;
    world.api.target(ORG, "last", &world.upstream.url()).await.expect("make a target");
    world.in_step().await;
    assert_eq!(desk.stream_of(&first).await, stream, "it does not come again and again");
    tally.reach(tally.answered() + 20).await.expect("callers are served");
    tally.enough();
    callers.end().await.expect("callers end");
    assert_eq!((tally.broken(), tally.refused.load(Ordering::Relaxed)), (0, 0));

    // The old key is no more needed, and deceives no node.
    world.control_plane.stop().await;
    assert!(!thief.deceives(&world).await, "a node believed the old root");
    std::fs::remove_file(world.control_plane.state().join("authority.key")).expect("is there");
    world.control_plane.authority_keys.remove(0);
    world.control_plane.restart().await;
    world.in_step().await;
    let token = world.api.node_token(REGION, &world.keys, 1).await.expect("make a token");
    let mut newest = Node::join(folder.path().join("newest"), fleet, token, later).await;
    newest.ready().await;
    let mut late = late;
    for node in [&mut away, &mut late, &mut newest] {
        node.stop().await;
    }
    world.end().await;
}

/// The same, where the root was not removed: a node believes the thief, or the test above shows nothing.
#[tokio::test]
async fn whoever_has_the_key_of_a_root_that_is_trusted_deceives_nodes() {
    let mut world = World::start().await;
    announce(&world);
    let thief = Thief::of(&world).await;
    world.control_plane.stop().await;
    assert!(thief.deceives(&world).await);
    world.control_plane.restart().await;
    world.in_step().await;
    world.end().await;
}

#[tokio::test]
async fn a_rollover_that_is_given_up_leaves_everything_as_it_was() {
    let mut world = World::start().await;
    announce(&world);
    with_two_keys(&mut world).await;
    world.in_step().await;
    let desk = Desk(&world);
    let old = desk.shown().await.roots[0].pin.clone();
    let next = desk.add().await.expect("is added");
    desk.only("the node trusts both", |it| it.nodes_without_trust, &[]).await;
    // Forth and back: certificates of both are good all the time.
    desk.switch(&next.pin, false).await.expect("is switched");
    desk.only("the node has renewed", |it| it.nodes_of_another, &[]).await;
    let token = world.api.node_token(REGION, &world.keys, 1).await.expect("make a token");
    desk.switch(&old, false).await.expect("is switched back");
    desk.only("the node has renewed again", |it| it.nodes_of_another, &[]).await;
    // A token that names the other root joins, too.
    let folder = tempfile::tempdir().expect("a folder");
    let later = world.later.clone();
    let mut other = Node::join(folder.path().join("edge"), world.control_plane.fleet, token, later).await;
    other.ready().await;
    desk.remove(&next.pin, true).await.expect("is removed");
    let refused = desk.add().await.expect_err("it was removed for good");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    desk.only("nodes trust the old root alone", |it| it.nodes_without_trust, &[]).await;
    world.api.target(ORG, "after", &world.upstream.url()).await.expect("make a target");
    world.in_step().await;
    other.stop().await;
    world.end().await;
}
