//! The authority of a control plane of two replicas is replaced by `rrctl`, step by step as the manual has it, with a real node
//! at the replica that `rrctl` does not call.

use std::path::Path;

use rr_contract::wire::management as mg;
use rr_contract::wire::management::authority_service_client::AuthorityServiceClient;
use rr_integration::caller::Caller;
use rr_integration::desk::rrctl_in;
use rr_integration::postgres::Postgres;
use rr_integration::process::{Control, Edge};
use rr_integration::sample::{ORG, REGION, Sample};
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;
use tonic::Code;

const KEYS: &str = "RR_CONTROL_AUTHORITY_KEY";

/// What `rrctl authority` says; it has to succeed.
fn authority(sample: &Sample, folder: &Path, args: &[&str]) -> String {
    let mut command = rrctl_in(folder, sample.control.management, sample.api.token());
    let output = command.arg("authority").args(args).output().expect("rrctl runs");
    let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{args:?}: {said}");
    said
}

/// A node of the region that joins at a replica.
async fn join(sample: &Sample, folder: &Path, at: &Control) -> Edge {
    let token = sample.api.node_token(REGION, &sample.keys, 1).await.expect("a token").to_secret();
    let edge = Edge::start(folder, at.fleet, token.expose());
    edge.ready().await;
    edge
}

/// A change that was made at one replica reaches every node.
async fn reaches_all(sample: &Sample, is_suspended: bool) {
    let revision = sample.suspend(is_suspended).await.expect("is written");
    assert!(
        sample.is_served(revision).await.expect("answers"),
        "revision {revision} is not served by every node"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_go_through_a_rollover_and_one_without_the_next_key_holds_it_up() {
    let Some(server) = Postgres::start() else { return };
    let (folder, upstream) = (tempfile::tempdir().expect("a folder"), Upstream::start().await);
    let place = |name: &str| folder.path().join(name);
    let variables = [("RR_CONTROL_DATABASE", server.address())];
    let mut sample = Sample::start(folder.path(), &upstream.url(), &variables).await.expect("starts");
    let mut second = sample.control.replica(&place("second")).await;
    let edge = join(&sample, &place("edge"), &second).await;

    // Both keys, at one replica first. Each has a copy of the first key, and both are given one file of the next.
    let both = |control: &Control| {
        let own = control.state().join("authority.key");
        format!("file:{},file:{}", own.display(), place("next.key").display())
    };
    let keys = both(&sample.control);
    sample.control = sample.control.restart_with(KEYS, keys).await;
    let said = authority(&sample, folder.path(), &["add"]);
    assert!(said.contains("every node trusts it (1 node)"), "{said}");
    let shown = authority(&sample, folder.path(), &["show", "-o", "json"]);
    let shown: serde_json::Value =
        serde_json::from_str(&shown[..=shown.rfind('}').expect("JSON")]).expect("JSON");
    let pin = |root: usize| shown["roots"][root]["pin"].as_str().expect("a pin").to_owned();
    let (old, next) = (pin(0), pin(1));
    let ask = mg::SwitchAuthorityRootRequest { pin: next.clone(), now: false };
    let mut stub = AuthorityServiceClient::new(sample.api.connection());
    let refused = stub.switch_authority_root(ask).await.expect_err("a replica has no key");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("replicas of the control plane do not have the key"), "{refused:?}");
    let keys = both(&second);
    second = second.restart_with(KEYS, keys).await;

    // The node renews at the replica that was not asked to switch.
    let said = authority(&sample, folder.path(), &["switch"]);
    assert!(said.contains("every node has a certificate of it (1 node)"), "{said}");
    // Whichever replica a machine joins at, it is given a certificate of the next root.
    let others = [
        join(&sample, &place("third"), &sample.control).await,
        join(&sample, &place("fourth"), &second).await,
    ];
    let said = authority(&sample, folder.path(), &["remove", "--yes"]);
    assert!(said.contains(&format!("removed root {}", &old[..12])), "{said}");
    reaches_all(&sample, true).await;
    reaches_all(&sample, false).await;

    // Without the old key, which is gone.
    let alone = format!("file:{}", place("next.key").display());
    for control in [&sample.control, &second] {
        std::fs::remove_file(control.state().join("authority.key")).expect("is there");
    }
    sample.control = sample.control.restart_with(KEYS, alone.clone()).await;
    second = second.restart_with(KEYS, alone).await;
    reaches_all(&sample, true).await;
    reaches_all(&sample, false).await;
    let newest = join(&sample, &place("newest"), &second).await;
    for node in [&edge, &newest].into_iter().chain(&others) {
        let caller = Caller::new(node.listen, &format!("{ORG}.echo"), &sample.key);
        eventually("it serves", || async { (caller.get("/").await.status == 200).then_some(()) }).await;
    }
}
