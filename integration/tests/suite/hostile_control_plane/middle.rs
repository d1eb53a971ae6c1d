//! A machine in the middle with an authority of its own: between a node and the fleet port, and between `rrctl` and the API.

use std::path::Path;
use std::process::{Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rr_integration::caller::Caller;
use rr_integration::fleet::Place;
use rr_integration::process::{Control, Edge, program};
use rr_integration::relay::Relay;
use rr_integration::relay::switch::Switch;
use rr_integration::sample::{ORG, REGION};
use rr_integration::secure::Secure;
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;

use super::stage::{SECRET, arrives};
use crate::own_values::Installation;

/// A folder as a control plane has it, with an authority of the attacker's that bears the same name.
fn another_authority(folder: &Path) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "RequestRocket fleet authority");
    let authority =
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a root");
    std::fs::write(folder.join("authority.crt"), authority.pem()).expect("is written");
    std::fs::write(folder.join("authority.key"), authority.key().serialize_pem()).expect("is written");
}

/// Relays between nodes and the control plane: one that shows the installation's authority, one that shows another.
async fn relays(it: &Installation, folder: &Path) -> [Relay; 2] {
    let (place, state) = (&it.sample.place, it.sample.control.state());
    let token = it.sample.api.node_token(REGION, &it.sample.keys, 2).await.expect("a token");
    another_authority(folder);
    let theirs = Place::new(it.sample.control.fleet, folder).expect("an authority");
    let good = Relay::start(place, &state, &token).await.expect("starts");
    let evil = Relay::start_as(place, &theirs, folder, &token).await.expect("starts");
    [good, evil]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_through_nobody_who_shows_another_authority() {
    let (it, folder) = (Installation::start().await, tempfile::tempdir().expect("a folder"));
    let [good, evil] = relays(&it, folder.path()).await;
    let token = it.sample.api.node_token(REGION, &it.sample.keys, 1).await.expect("a token");
    let text = token.to_secret();
    let before = it.sample.api.nodes().await.expect("are listed").len();
    let mut caught = Edge::start(&it.folder().join("caught"), evil.address, text.expose());
    let code = eventually("the node ends", || {
        let ended = caught.process.ended();
        async move { ended }
    })
    .await;
    assert!(!code.success());
    let log = caught.process.log();
    assert!(log.contains("is not the one that the node token was made for"), "{log}");
    assert_eq!(it.sample.api.nodes().await.expect("are listed").len(), before);
    // What it said is of no use to whoever heard it: the token has its use left.
    let joins = Edge::start(&it.folder().join("joins"), good.address, text.expose());
    joins.ready().await;
    let caller = Caller::new(joins.listen, &format!("{ORG}.echo"), &it.sample.key);
    assert_eq!(caller.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_led_to_another_authority_says_so_and_serves_what_it_has() {
    let (mut it, folder) = (Installation::start().await, tempfile::tempdir().expect("a folder"));
    let [good, evil] = relays(&it, folder.path()).await;
    arrives(&it, "echo", &it.upstream, SECRET).await;
    it.edge = it.edge.restart_at(evil.address);
    it.edge.ready().await;
    eventually("the log says who was met", || async {
        let log = it.edge.process.log();
        log.contains("UnknownIssuer").then_some(())
    })
    .await;
    arrives(&it, "echo", &it.upstream, SECRET).await;
    assert!(evil.modes().is_empty() && evil.verdicts().is_empty(), "nothing was said to it");
    it.edge = it.edge.restart_at(good.address);
    eventually("the node is heard through the other", || async {
        (!good.verdicts().is_empty() || it.sample.api.nodes().await.ok()?.iter().any(|node| node.connected))
            .then_some(())
    })
    .await;
}

/// What `rrctl` says to an endpoint, whose certificate has to be of this authority.
async fn asks(folder: &Path, port: u16, ca: &Secure, token: &Path, args: &[&str]) -> (bool, String) {
    let mut command = Command::new(program("rrctl"));
    command
        .current_dir(folder)
        .args(["--endpoint", &format!("https://localhost:{port}"), "--ca-file", &ca.file("ca.pem")])
        .arg("--token-file")
        .arg(token)
        .args(args)
        .env("RRCTL_CONFIG_DIR", folder.join("config"))
        .env_remove("RRCTL_TOKEN")
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().expect("rrctl runs"));
    let output = output.await.expect("joins");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn rrctl_tells_nothing_to_whoever_shows_another_authority() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ours, theirs) = (Secure::new(), Secure::new());
    let settings = [
        ("RR_CONTROL_MANAGEMENT_TLS_CERTIFICATE", ours.file("server.pem")),
        ("RR_CONTROL_MANAGEMENT_TLS_KEY", ours.file("server.key")),
    ];
    let control = Control::start_with(&folder.path().join("control"), &settings).await;
    let evil = Upstream::start_secure(&theirs).await;
    let switch = Switch::start(&[evil.address()]).await.expect("a port");
    let (port, token) = (switch.address.port(), control.state().join("bootstrap-token"));
    let create = ["token", "create", "ada", "--role", "operator", "--out", "ada.token"];
    let (done, said) = asks(folder.path(), port, &ours, &token, &create).await;
    assert!(!done && said.contains("certificate"), "{said}");
    assert!(evil.seen().is_empty(), "the token was told");
    // The same way to the same port, once nobody is in the middle.
    switch.point(&[control.management]);
    let (done, said) = asks(folder.path(), port, &ours, &token, &create).await;
    assert!(done, "{said}");
    // And the attacker would have been told, where their authority is the one that counts.
    switch.point(&[evil.address()]);
    let token = folder.path().join("ada.token");
    let (done, said) = asks(folder.path(), port, &theirs, &token, &["org", "list"]).await;
    assert!(!done, "{said}");
    assert!(evil.seen().iter().any(|seen| seen.headers.contains_key("authorization")), "{said}");
}
