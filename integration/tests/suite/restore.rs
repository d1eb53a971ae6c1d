//! A database that was brought back from a backup, with real processes: what was revoked since does not come back to
//! life, on either engine.
//!
//! `restored_backup_does_not_revive_a_revoked_key` of the protocol's list.

use std::path::Path;
use std::process::Command;

use rr_contract::wire::FieldMask;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::AdoptAction;
use rr_contract::wire::fleet::fleet_service_client::FleetServiceClient;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential_service_client::CredentialServiceClient;
use rr_contract::wire::management::proxy_service_client::ProxyServiceClient;
use rr_integration::api::Api;
use rr_integration::caller::Caller;
use rr_integration::postgres::Postgres;
use rr_integration::process::{Control, Edge, copy_database, program};
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;
use tonic::Code;

const ORG: &str = "acme";
const REGION: &str = "eu";

/// Where the database is, and how it is kept and brought back.
enum Engine {
    Sqlite { backup: tempfile::TempDir },
    Postgres(Postgres),
}

impl Engine {
    fn variables(&self) -> Vec<(&'static str, String)> {
        let rate = ("RR_CONTROL_TOKEN_RATE", "0".to_owned());
        match self {
            Self::Sqlite { .. } => vec![rate],
            Self::Postgres(server) => vec![rate, ("RR_CONTROL_DATABASE", server.address())],
        }
    }

    /// With no control plane running.
    fn keep(&self, database: &Path) {
        match self {
            Self::Sqlite { backup } => copy_database(database, &backup.path().join("control.db")),
            Self::Postgres(server) => server.keep("backup"),
        }
    }

    fn bring_back(&self, database: &Path) {
        match self {
            Self::Sqlite { backup } => copy_database(&backup.path().join("control.db"), database),
            Self::Postgres(server) => server.bring_back("backup"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_backup_does_not_revive_a_revoked_key_on_sqlite() {
    let backup = tempfile::tempdir().expect("a folder");
    restored_backup_does_not_revive_a_revoked_key(&Engine::Sqlite { backup }, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_backup_does_not_revive_a_revoked_key_on_postgres() {
    let Some(server) = Postgres::start() else { return };
    restored_backup_does_not_revive_a_revoked_key(&Engine::Postgres(server), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_revives_a_revoked_key_that_the_adopt_names() {
    let backup = tempfile::tempdir().expect("a folder");
    restored_backup_does_not_revive_a_revoked_key(&Engine::Sqlite { backup }, true).await;
}

async fn restored_backup_does_not_revive_a_revoked_key(engine: &Engine, revive: bool) {
    let folder = tempfile::tempdir().expect("a folder");
    let upstream = Upstream::start().await;
    let control = Control::start_with(&folder.path().join("control"), &engine.variables()).await;
    let api = control.bootstrap().await;
    api.org(ORG).await.expect("make the org");
    let keys = api.region(REGION, "").await.expect("make the region");
    let token = api.node_token(REGION, &keys, 2).await.expect("make a node token");
    let origin = upstream.url();
    api.target(ORG, "echo", &origin).await.expect("make the target");
    api.upstream(ORG, "secret", &keys, &origin, "s-1").await.expect("seal the secret");
    let key = api.caller(ORG, "leaked").await.expect("make a caller credential");
    let other = api.caller(ORG, "other").await.expect("make another");
    api.proxy(ORG, "echo", "leaked", "echo", "secret", REGION).await.expect("make the proxy");
    api.proxy(ORG, "second", "other", "echo", "secret", REGION).await.expect("make another");
    let edge = Edge::start(&folder.path().join("edge"), control.fleet, token.to_secret().expose());
    edge.ready().await;
    let called = |proxy: &str, key: &str| Caller::new(edge.listen, &format!("{ORG}.{proxy}"), key);
    answers(&called("echo", &key), 200).await;
    answers(&called("second", &other), 200).await;

    // The backup, and what it does not know.
    let database = control.database();
    let mut control = control;
    control.process.terminate().await;
    engine.keep(&database);
    let mut control = control.restart().await;
    CredentialServiceClient::new(api.connection())
        .delete_credential(mg::DeleteCredentialRequest {
            org: ORG.into(),
            credential: "leaked".into(),
            cascade: vec!["proxies/echo".into()],
            ..Default::default()
        })
        .await
        .expect("is revoked");
    change(&api).await.expect("is changed");
    let head = api.revision().await.expect("is told");
    eventually("the node has the change", || async {
        let nodes = api.nodes().await.ok()?;
        nodes.iter().all(|node| node.running.as_ref().is_some_and(|at| at.revision >= head)).then_some(())
    })
    .await;
    answers(&called("echo", &key), 401).await;

    // Brought back, and nobody said so: the node is ahead.
    control.process.terminate().await;
    engine.bring_back(&database);
    let mut control = control.restart().await;
    diverged(&api).await;
    answers(&called("echo", &key), 401).await;
    let refused = change(&api).await.expect_err("it reaches the region");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("rrctl revision adopt"), "{}", refused.message());

    // Brought back, and said so: another history.
    control.process.terminate().await;
    engine.bring_back(&database);
    let said = restore(folder.path(), engine).expect("nobody runs on it");
    assert!(said.contains("goes on with revision"), "{said}");
    let control = control.restart().await;
    restore(folder.path(), engine).expect_err("a control plane runs on it");
    diverged(&api).await;
    answers(&called("echo", &key), 401).await;
    change(&api).await.expect_err("it reaches the region");

    let named = if revive { vec![format!("{ORG}/leaked")] } else { Vec::new() };
    let listed = adopt(&api, true, &named, Vec::new()).await;
    assert_eq!(listed.revision, 0);
    assert_eq!((listed.diverged.len(), listed.unasked.len()), (1, 0), "{listed:?}");
    let mut differences: Vec<(&str, &str, AdoptAction)> =
        listed.differences.iter().map(|it| (&*it.kind, &*it.name, it.action())).collect();
    differences.sort_unstable();
    let credential = if revive { AdoptAction::Returns } else { AdoptAction::StaysRevoked };
    let expected = [
        ("credential", "leaked", credential),
        ("proxy", "echo", AdoptAction::Returns),
        ("proxy", "second", AdoptAction::Reverts),
    ];
    assert_eq!(differences, expected);
    let conflict = adopting(&api, false, &named, vec![7; 32]).await.expect_err("that was not listed");
    assert_eq!(conflict.code(), Code::Aborted);
    assert!(adopt(&api, false, &named, listed.plan).await.revision > 0);
    caught_up(&api).await;
    answers(&called("second", &other), 200).await;
    answers(&called("echo", &key), if revive { 200 } else { 401 }).await;
    change(&api).await.expect("the region takes writes");
    // One that never saw it revoked.
    let late = Edge::start(&folder.path().join("late"), control.fleet, token.to_secret().expose());
    late.ready().await;
    let called = |proxy: &str, key: &str| Caller::new(late.listen, &format!("{ORG}.{proxy}"), key);
    answers(&called("echo", &key), if revive { 200 } else { 401 }).await;
    drop(control);
}

/// Until the one node has all that is published. It may refuse a credential that it saw revoked.
pub(super) async fn caught_up(api: &Api) {
    eventually("the node has caught up", || async {
        let mut client = FleetServiceClient::new(api.connection());
        let states = client.list_region_states(fleet::ListRegionStatesRequest {}).await.ok()?.into_inner();
        let has_all = |it: &fleet::RegionState| it.diverged.is_empty() && it.connected == 1 && it.behind == 0;
        states.regions.iter().all(has_all).then_some(())
    })
    .await;
}

pub(super) async fn answers(caller: &Caller, status: u16) {
    eventually(&format!("it is answered with {status}"), || async {
        let reply = caller.try_get("/").await.ok()?;
        (reply.status == status).then_some(())
    })
    .await;
}

pub(super) async fn diverged(api: &Api) {
    eventually("the node is diverged", || async {
        let mut client = FleetServiceClient::new(api.connection());
        let nodes = client.list_nodes(fleet::ListNodesRequest::default()).await.ok()?.into_inner().nodes;
        nodes.iter().all(|node| node.connected && node.diverged).then_some(())
    })
    .await;
}

/// A change that reaches the region.
async fn change(api: &Api) -> Result<(), tonic::Status> {
    let ask = mg::UpdateProxyRequest {
        org: ORG.into(),
        name: "second".into(),
        proxy: Some(mg::Proxy { deny_status: 403, ..Default::default() }),
        update_mask: Some(FieldMask { paths: vec!["deny_status".into()] }),
        // No edge of this version runs it yet.
        options: Some(mg::WriteOptions { allow_partial: true, ..Default::default() }),
    };
    ProxyServiceClient::new(api.connection()).update_proxy(ask).await.map(drop)
}

pub(super) async fn adopt(
    api: &Api,
    dry_run: bool,
    revive: &[String],
    plan: Vec<u8>,
) -> fleet::AdoptRevisionResponse {
    adopting(api, dry_run, revive, plan).await.expect("is answered")
}

pub(super) async fn adopting(
    api: &Api,
    dry_run: bool,
    revive: &[String],
    plan: Vec<u8>,
) -> Result<fleet::AdoptRevisionResponse, tonic::Status> {
    let ask = fleet::AdoptRevisionRequest {
        region: REGION.into(),
        dry_run,
        revive: revive.to_vec(),
        expected_plan: plan,
    };
    FleetServiceClient::new(api.connection()).adopt_revision(ask).await.map(tonic::Response::into_inner)
}

/// `rr-control restore`; what it said, or what was wrong.
fn restore(folder: &Path, engine: &Engine) -> Result<String, String> {
    let mut command = Command::new(program("rr-control"));
    command.arg("--state-dir").arg(folder.join("control/state")).arg("restore").envs(engine.variables());
    let ran = command.output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if ran.status.success() { Ok(text(&ran.stdout)) } else { Err(text(&ran.stderr)) }
}
