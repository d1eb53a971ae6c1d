//! What becomes of a node that is revoked, over the real ports: its streams, its records, its certificate.

use std::time::Duration;

use futures_util::StreamExt as _;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::config_service_client::ConfigServiceClient;
use rr_contract::wire::fleet::enrolment_service_client::EnrolmentServiceClient;
use rr_contract::wire::fleet::fleet_service_client::FleetServiceClient;
use rr_contract::wire::fleet::sync_request::Message as Up;
use rr_contract::wire::fleet::sync_response::Message as Down;
use rr_contract::wire::fleet::telemetry_service_client::TelemetryServiceClient;
use rr_contract::wire::management as wire;
use rr_contract::wire::management::node_token_service_client::NodeTokenServiceClient;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::machine::Node;
use super::world::{World, by};

const SOON: Duration = Duration::from_secs(20);

async fn open(node: &Node) -> (mpsc::Sender<fleet::SyncRequest>, Streaming<fleet::SyncResponse>) {
    let (up, messages) = mpsc::channel(8);
    let hello = fleet::Hello { protocol: 1, boot_id: vec![1; 16], ..fleet::Hello::default() };
    up.send(fleet::SyncRequest { message: Some(Up::Hello(hello)) }).await.expect("has room");
    let mut client = ConfigServiceClient::new(node.channel.clone());
    (up, client.sync(ReceiverStream::new(messages)).await.expect("opens").into_inner())
}

/// What a stream says of the revocation, and how it ends.
async fn end(stream: &mut Streaming<fleet::SyncResponse>) -> (fleet::Revoked, Status) {
    let mut told = None;
    loop {
        match timeout(SOON, stream.next()).await.expect("it ends").expect("it ends with a status") {
            Ok(fleet::SyncResponse { message: Some(Down::Revoked(revoked)) }) => told = Some(revoked),
            Ok(_) => assert_eq!(told, None, "it is the last word"),
            Err(status) => return (told.expect("it was told"), status),
        }
    }
}

async fn revoke(world: &World, node: &str, with_token: bool, dry_run: bool) -> fleet::RevokeNodeResponse {
    let request = fleet::RevokeNodeRequest { node: node.to_owned(), with_token, dry_run };
    let mut client = FleetServiceClient::new(world.channel.clone());
    client.revoke_node(by(&world.operator, request)).await.expect("is revoked").into_inner()
}

async fn renew(node: &Node) -> Result<(), Status> {
    let key = rcgen::KeyPair::generate().expect("keys");
    let csr = rcgen::CertificateParams::default().serialize_request(&key).expect("a request");
    let request = fleet::RenewRequest { csr: csr.der().to_vec(), build: "test".to_owned() };
    EnrolmentServiceClient::new(node.channel.clone()).renew(request).await.map(drop)
}

async fn upload(node: &Node) -> Result<Streaming<fleet::UploadResponse>, Status> {
    let mut client = TelemetryServiceClient::new(node.channel.clone());
    client.upload(tokio_stream::pending()).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn a_revoked_node_is_cut_off_at_once_and_never_served_again() {
    let world = World::start().await;
    let region = world.region("eu").await;
    let token = world.node_token(&region, 2).await;
    let (node, other) = (world.join(&token).await.expect("joins"), world.join(&token).await.expect("joins"));
    let ((_up, mut stream), (_other_up, mut stays)) = (open(&node).await, open(&other).await);
    for stream in [&mut stream, &mut stays] {
        let first =
            timeout(SOON, stream.next()).await.expect("in time").expect("a message").expect("is good");
        assert!(matches!(first.message, Some(Down::Welcome(_))));
    }
    let mut records = upload(&node).await.expect("opens");
    let before = revoke(&world, &node.id, false, true).await;
    assert_eq!(
        (before.revision, before.node.expect("is shown").revoked_at),
        (0, None),
        "a dry run does nothing"
    );
    let done = revoke(&world, &node.id, false, false).await;
    assert!(done.revision > 0 && !done.node_token_live);
    let (told, status) = end(&mut stream).await;
    assert_eq!(told.node_token, token.id().to_string());
    assert_eq!((status.code(), status.message()), (Code::PermissionDenied, &*told.reason));
    let ended = timeout(SOON, records.next()).await.expect("it ends").expect("with a status");
    assert_eq!(ended.expect_err("no records are taken").code(), Code::PermissionDenied);

    // It comes again.
    let (_up, mut stream) = open(&node).await;
    let (told, status) = end(&mut stream).await;
    assert!(told.reason.contains("revoked"), "{}", told.reason);
    assert_eq!(status.code(), Code::PermissionDenied);
    let refused = renew(&node).await.expect_err("is not renewed");
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("revoked"), "{}", refused.message());
    assert_eq!(upload(&node).await.map(drop).expect_err("is refused").code(), Code::PermissionDenied);
    renew(&other).await.expect("the other one is served");

    let shown = done.node.expect("is shown");
    assert_eq!(shown.state(), fleet::NodeState::Revoked);
    assert!(shown.why.contains("rrctl region rotate-key eu"), "{}", shown.why);
    assert_eq!(revoke(&world, &node.id, false, false).await.revision, 0, "it was revoked already");
    world.running.stop().await;
}

#[tokio::test]
async fn the_token_of_a_revoked_node_is_revoked_with_it_where_that_is_asked() {
    let world = World::start().await;
    let region = world.region("eu").await;
    let token = world.node_token(&region, 5).await;
    let node = world.join(&token).await.expect("joins");
    let done = revoke(&world, &node.id, false, false).await;
    assert!(done.node_token_live, "others can join with it");
    assert_eq!(done.node.expect("is shown").node_token, token.id().to_string());
    let done = revoke(&world, &node.id, true, false).await;
    assert!(!done.node_token_live && done.revision > 0);
    world.join(&token).await.map(|node| node.id).expect_err("it is revoked");
    let request = wire::ListNodeTokensRequest { region: "eu".into(), ..Default::default() };
    let mut client = NodeTokenServiceClient::new(world.channel.clone());
    let listed =
        client.list_node_tokens(by(&world.operator, request)).await.expect("are listed").into_inner();
    let [listed] = &*listed.node_tokens else { panic!("{listed:?}") };
    assert_eq!((listed.uses, listed.used, listed.revoked_at.is_some()), (5, 1, true));
    assert!(listed.expires_at.is_some());
    world.running.stop().await;
}
