//! How nodes renew their certificates over the real port: in time, late, too late, and when there are two of one.

use std::time::Duration;

use rr_contract::runtime::observe::Observability;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::config_service_client::ConfigServiceClient;
use rr_contract::wire::fleet::enrolment_service_client::EnrolmentServiceClient;
use rr_contract::wire::fleet::fleet_service_client::FleetServiceClient;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tonic::{Code, Status};

use super::machine::{WINDOW, join_request};
use super::world::{Later, World, by, config};
use crate::authority::{Serial, Shown};
use crate::{start, store};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// A machine with what it needs to connect.
#[derive(Clone)]
struct Machine {
    id: String,
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

impl Machine {
    fn serial(&self) -> Serial {
        Serial::of(&self.chain[0]).expect("a certificate")
    }
}

async fn world(later: &Later) -> World {
    let folder = tempfile::tempdir().expect("a folder");
    let running = start(config(folder.path()), later.seams(), Observability::quiet("rr-control"));
    World::of(folder, running.await.expect("starts")).await
}

async fn joined(world: &World) -> Machine {
    let region = world.region("eu").await;
    let token = world.node_token(&region, 1).await;
    let key = rcgen::KeyPair::generate().expect("keys");
    let mut client = EnrolmentServiceClient::new(world.fleet_channel(None, WINDOW).await);
    let answer = client.join(join_request(&token, &key)).await.expect("joins").into_inner();
    let chain = answer.chain.into_iter().map(CertificateDer::from).collect();
    Machine { id: answer.node, chain, key: key.serialize_der() }
}

async fn channel(world: &World, machine: &Machine) -> tonic::transport::Channel {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(machine.key.clone()));
    world.fleet_channel(Some((machine.chain.clone(), key)), WINDOW).await
}

async fn renew(world: &World, machine: &Machine) -> Result<Machine, Status> {
    let key = rcgen::KeyPair::generate().expect("keys");
    let csr = rcgen::CertificateParams::default().serialize_request(&key).expect("a request");
    let request = fleet::RenewRequest { csr: csr.der().to_vec(), build: "test".to_owned() };
    let answer =
        EnrolmentServiceClient::new(channel(world, machine).await).renew(request).await?.into_inner();
    assert_eq!(answer.trust.len(), 1);
    let chain = answer.chain.into_iter().map(CertificateDer::from).collect();
    Ok(Machine { id: machine.id.clone(), chain, key: key.serialize_der() })
}

impl World {
    async fn notification_titles(&self) -> Vec<String> {
        let rows = store::notification::list(self.running.store(), "", false, None, 100).await;
        rows.expect("reads").into_iter().map(|row| row.title).collect()
    }

    /// As a database that was set back.
    async fn set_serials(&self, node: &str, serial: Option<Vec<u8>>, before: Option<Vec<u8>>) {
        let node = node.to_owned();
        let written = self.running.store().note(move |txn| {
            Box::pin(async move { store::node::set_serials(txn, &node, serial, before).await })
        });
        written.await.map_err(|error: store::StoreError| error).expect("writes");
    }
}

/// Whether the stream of configuration is opened.
async fn is_served(world: &World, machine: &Machine) -> Result<(), Status> {
    let mut client = ConfigServiceClient::new(channel(world, machine).await);
    client.sync(tokio_stream::pending()).await.map(drop)
}

async fn shown(world: &World, node: &str) -> fleet::Node {
    let request = by(&world.operator, fleet::GetNodeRequest { node: node.to_owned() });
    let mut client = FleetServiceClient::new(world.channel.clone());
    client.get_node(request).await.expect("is shown").into_inner().node.expect("is there")
}

#[tokio::test]
async fn a_certificate_that_ended_is_good_for_thirty_days_and_for_its_renewal_alone() {
    let later = Later::default();
    let world = world(&later).await;
    let first = joined(&world).await;
    is_served(&world, &first).await.expect("is good");
    later.set(DAY + HOUR);
    let refused = is_served(&world, &first).await.expect_err("has ended");
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().contains("renew"), "{}", refused.message());
    later.set(30 * DAY);
    let second = renew(&world, &first).await.expect("is renewed");
    is_served(&world, &second).await.expect("is good");
    let end = shown(&world, &first.id).await.certificate_not_after.expect("is known").seconds;
    assert!(end > 0);
    later.set(62 * DAY);
    // TLS does not let it in.
    let refused = renew(&world, &second).await.map(drop).expect_err("is too old");
    assert_ne!(refused.code(), Code::Ok);
    let why = shown(&world, &first.id).await.why;
    assert!(why.contains("new token"), "{why}");
    world.running.stop().await;
}

#[tokio::test]
async fn a_node_whose_answer_was_lost_renews_again_and_the_lost_certificate_is_no_good() {
    let later = Later::default();
    let world = world(&later).await;
    let first = joined(&world).await;
    let lost = renew(&world, &first).await.expect("is renewed");
    let second = renew(&world, &first).await.expect("is renewed once more");
    assert_eq!(second.serial().generation(), 3);
    let refused = renew(&world, &lost).await.map(drop).expect_err("the node never had it");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let third = renew(&world, &second).await.expect("is the last one");
    assert_eq!(third.serial().generation(), 4);
    world.running.stop().await;
}

#[tokio::test]
async fn a_copy_that_renews_is_refused_and_shown_with_the_serials_and_addresses_of_both() {
    let later = Later::default();
    let world = world(&later).await;
    let first = joined(&world).await;
    let copy = first.clone();
    let original = renew(&world, &first).await.expect("is renewed");
    let next = renew(&world, &original).await.expect("is renewed");
    assert_eq!(shown(&world, &first.id).await.copy, None);
    let refused = renew(&world, &copy).await.map(drop).expect_err("is a copy");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("copied"), "{}", refused.message());
    let node = shown(&world, &first.id).await;
    let told = node.copy.expect("is shown");
    assert_eq!((told.serial, told.shown), (next.serial().to_string(), copy.serial().to_string()));
    for address in [&told.issued_to, &told.newcomer] {
        assert!(address.starts_with("127.0.0.1:"), "{address}");
    }
    assert!(told.issued_at.is_some() && told.at.is_some());
    assert!(node.why.contains(&copy.serial().to_string()) && node.why.contains("copied"), "{}", node.why);
    let titles = world.notification_titles().await;
    assert!(titles.iter().any(|title| title.contains("two processes renew")), "{titles:?}");
    renew(&world, &next).await.expect("the other one goes on");
    world.running.stop().await;
}

/// The rows of a backup know less than the nodes have.
#[tokio::test]
async fn a_certificate_newer_than_the_database_knows_is_renewed_with_an_alarm() {
    let later = Later::default();
    let world = world(&later).await;
    let first = joined(&world).await;
    let second = renew(&world, &first).await.expect("is renewed");
    let third = renew(&world, &second).await.expect("is renewed");
    world.set_serials(&first.id, Some(first.serial().as_bytes().to_vec()), None).await;
    let fourth = renew(&world, &third).await.expect("is no copy");
    assert_eq!(fourth.serial().generation(), 4);
    assert_eq!(shown(&world, &first.id).await.copy, None);
    let titles = world.notification_titles().await;
    assert!(titles.iter().any(|title| title.contains("does not know")), "{titles:?}");
    world.running.stop().await;
}

#[tokio::test]
async fn a_node_of_before_there_were_serials_renews_and_is_known_by_them_from_then_on() {
    let later = Later::default();
    let world = world(&later).await;
    let first = joined(&world).await;
    world.set_serials(&first.id, None, None).await;
    let second = renew(&world, &first).await.expect("is renewed");
    let row = store::node::by_id(world.running.store(), &first.id).await.expect("reads").expect("is there");
    let serial = |bytes: Option<Vec<u8>>| bytes.map(|bytes| Serial::of_bytes(&bytes));
    assert_eq!(serial(row.serial), Some(second.serial()));
    assert_eq!(serial(row.serial_before), Some(first.serial()));
    assert_eq!(first.serial().beside(Some(&second.serial()), Some(&first.serial())), Shown::Before);
    world.running.stop().await;
}

#[tokio::test]
async fn who_shows_no_certificate_gets_none_by_a_renewal() {
    let later = Later::default();
    let world = world(&later).await;
    let mut client = EnrolmentServiceClient::new(world.fleet_channel(None, WINDOW).await);
    let refused = client.renew(fleet::RenewRequest::default()).await.expect_err("is nobody");
    assert_eq!(refused.code(), Code::Unauthenticated);
    world.running.stop().await;
}
