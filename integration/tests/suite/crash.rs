//! A configuration that the process does not survive: the node is back on its last proven one in two starts, says
//! so, and serves.

use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential_service_client::CredentialServiceClient;
use rr_integration::caller::Caller;
use rr_integration::process::{Control, Edge, admin};
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;
use serde_json::Value;

/// I14.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_crashes_on_activation_is_back_on_its_last_proven_revision_in_two_boots() {
    let log = survive("abort-here").await;
    assert!(log.contains("fault: ends the process"), "{log}");
}

/// I15.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_workers_hang_on_activation_is_ended_by_its_watchdog_and_comes_back_on_what_was_proven()
{
    let log = survive("hang-here").await;
    assert!(
        log.contains("thread does not respond; aborting the process") && log.contains("worker-"),
        "{log}"
    );
}

/// A kill from outside says nothing about the configuration.
#[tokio::test(flavor = "multi_thread")]
async fn kills_right_after_the_first_configuration_and_after_a_revocation_cost_nothing_and_revive_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let upstream = Upstream::start().await;
    let mut control = Control::start(&folder.path().join("control")).await;
    let api = control.bootstrap().await;
    api.org("acme").await.expect("org");
    let keys = api.region("eu", "").await.expect("region");
    api.target("acme", "echo", &upstream.url()).await.expect("target");
    api.upstream("acme", "secret", &keys, &upstream.url(), "s3cret").await.expect("secret");
    let key = api.caller("acme", "app").await.expect("caller");
    let leaked = api.caller("acme", "leaked").await.expect("caller");
    api.proxy("acme", "echo", "app", "echo", "secret", "eu").await.expect("proxy");
    api.proxy("acme", "other", "leaked", "echo", "secret", "eu").await.expect("proxy");
    let token = api.node_token("eu", &keys, 1).await.expect("token");
    let mut edge = Edge::start(&folder.path().join("edge"), control.fleet, token.to_secret().expose());
    edge.ready().await;
    for _ in 0..3 {
        edge.kill();
        edge = edge.restart();
        edge.ready().await;
        let caller = Caller::new(edge.listen, "acme.echo", &key);
        assert_eq!(caller.get("/").await.status, 200);
        assert!(config(&edge).await.expect("it answers")["crash"].is_null());
    }
    let other = Caller::new(edge.listen, "acme.other", &leaked);
    assert_eq!(other.get("/").await.status, 200);
    let ask = mg::DeleteCredentialRequest {
        org: "acme".to_owned(),
        credential: "leaked".to_owned(),
        cascade: vec!["proxies/other".to_owned()],
        ..Default::default()
    };
    CredentialServiceClient::new(api.connection()).delete_credential(ask).await.expect("deleted");
    eventually("it is revoked", || async { (other.get("/").await.status == 401).then_some(()) }).await;
    // Nobody tells it anything from here on.
    control.kill();
    for _ in 0..3 {
        edge.kill();
        edge = edge.restart();
        edge.ready().await;
        assert_eq!(other.at(edge.listen).get("/").await.status, 401);
        assert_eq!(Caller::new(edge.listen, "acme.echo", &key).get("/").await.status, 200);
    }
}

/// Publishes a proxy of this name, and starts the node again whenever it has ended. Returns its log.
async fn survive(fault: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let upstream = Upstream::start().await;
    let mut control = Control::start(&folder.path().join("control")).await;
    let api = control.bootstrap().await;
    api.org("acme").await.expect("org");
    let keys = api.region("eu", "").await.expect("region");
    api.target("acme", "echo", &upstream.url()).await.expect("target");
    api.upstream("acme", "secret", &keys, &upstream.url(), "s3cret").await.expect("secret");
    let key = api.caller("acme", "app").await.expect("caller");
    api.proxy("acme", "echo", "app", "echo", "secret", "eu").await.expect("proxy");
    let token = api.node_token("eu", &keys, 1).await.expect("token");
    let variables = [("RR_FAULT", "on".to_owned()), ("RR_FAULT_PROVE_MS", "300".to_owned())];
    let mut edge = Edge::start_program(
        "faulty-edge",
        &folder.path().join("edge"),
        control.fleet,
        token.to_secret().expose(),
        &variables,
    );
    edge.ready().await;
    let head = api.revision().await.expect("a revision");
    eventually("the configuration is proven", || async {
        (revision(&config(&edge).await?, "proven")? >= head).then_some(())
    })
    .await;
    let caller = Caller::new(edge.listen, "acme.echo", &key);
    assert_eq!(caller.get("/").await.status, 200);

    api.proxy("acme", fault, "app", "echo", "secret", "eu").await.expect("proxy");
    ends(&mut edge).await;
    // Without it nobody sends anything else, nor the same again.
    control.kill();
    edge = edge.restart();
    ends(&mut edge).await;
    edge = edge.restart();
    let config = eventually("the node says what it went back on", || async {
        config(&edge).await.filter(|config| config["crash"].is_object())
    })
    .await;
    let crash = &config["crash"];
    assert!(revision(crash, "tried") > Some(head) && revision(crash, "running") == Some(head), "{config}");
    assert_eq!(crash["boots"], 2, "{config}");
    assert_eq!((revision(&config, "running"), revision(&config, "proven")), (Some(head), Some(head)));
    eventually("the old configuration is served", || async {
        (caller.try_get("/").await.ok()?.status == 200).then_some(())
    })
    .await;
    assert_eq!(caller.at(edge.listen).get("/").await.status, 200);
    edge.process.log()
}

async fn ends(edge: &mut Edge) {
    eventually("the node ends", || {
        let ended = edge.process.ended();
        async move { ended }
    })
    .await;
}

async fn config(edge: &Edge) -> Option<Value> {
    let reply = admin(edge.admin, "/config").await.ok()?;
    serde_json::from_slice(&reply.body).ok()
}

fn revision(of: &Value, what: &str) -> Option<u64> {
    of[what]["revision"].as_u64()
}
