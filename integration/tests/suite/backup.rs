//! `rr-control backup` under writes and `rr-control restore` on another machine, with real processes, on either engine: the
//! audit chain holds there, and a node of the old control plane goes on at the new one.

use std::path::{Path, PathBuf};
use std::process::Command;

use rr_contract::wire::FieldMask;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::proxy_service_client::ProxyServiceClient;
use rr_integration::api::Api;
use rr_integration::caller::Caller;
use rr_integration::postgres::Postgres;
use rr_integration::process::{Control, Edge, program};
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;

use super::restore::{adopt, adopting, answers, caught_up};

const ORG: &str = "acme";
const REGION: &str = "eu";
const ELSEWHERE: &str = "elsewhere";
/// A database that a restore does not end on.
const MARKED: &str = "marked";

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_made_under_writes_goes_on_elsewhere_with_its_nodes_on_sqlite() {
    a_backup_made_under_writes_goes_on_elsewhere_with_its_nodes(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_made_under_writes_goes_on_elsewhere_with_its_nodes_on_postgres() {
    let Some(server) = Postgres::start() else { return };
    server.make(ELSEWHERE);
    server.make(MARKED);
    a_backup_made_under_writes_goes_on_elsewhere_with_its_nodes(Some(server)).await;
}

/// Settings of a control plane on a database of the server; on SQLite where there is none.
fn variables(server: Option<&Postgres>, elsewhere: bool) -> Vec<(&'static str, String)> {
    let mut variables = vec![("RR_CONTROL_TOKEN_RATE", "0".to_owned())];
    variables.extend(server.map(|server| {
        let address = if elsewhere { server.address_of(ELSEWHERE) } else { server.address() };
        ("RR_CONTROL_DATABASE", address)
    }));
    variables
}

async fn a_backup_made_under_writes_goes_on_elsewhere_with_its_nodes(server: Option<Postgres>) {
    let folder = tempfile::tempdir().expect("a folder");
    let (here, there) = (folder.path().join("here"), folder.path().join("there"));
    let upstream = Upstream::start().await;
    let mut control = Control::start_with(&here, &variables(server.as_ref(), false)).await;
    let api = control.bootstrap().await;
    api.org(ORG).await.expect("make the org");
    let keys = api.region(REGION, "").await.expect("make the region");
    let token = api.node_token(REGION, &keys, 1).await.expect("make a node token");
    let origin = upstream.url();
    api.target(ORG, "echo", &origin).await.expect("make the target");
    api.upstream(ORG, "secret", &keys, &origin, "s-1").await.expect("seal the secret");
    let key = api.caller(ORG, "app").await.expect("make a caller credential");
    api.proxy(ORG, "echo", "app", "echo", "secret", REGION).await.expect("make the proxy");
    let edge = Edge::start(&folder.path().join("edge"), control.fleet, token.to_secret().expose());
    edge.ready().await;
    answers(&Caller::new(edge.listen, &format!("{ORG}.echo"), &key), 200).await;

    let before = api.revision().await.expect("is told");
    let backup = folder.path().join("backup");
    let making = {
        let arguments = [backup.display().to_string(), "--with-authority".to_owned()];
        let (here, server) = (here.clone(), server.as_ref());
        let command = command(&here, &variables(server, false), "backup", "pg_dump", server, &arguments);
        tokio::task::spawn_blocking(move || run(command))
    };
    tokio::pin!(making);
    let mut writes = 0_u32;
    let said = loop {
        tokio::select! {
            made = &mut making => break made.expect("is joined").expect("is made"),
            () = write(&api, writes) => writes += 1,
        }
    };
    assert!(writes > 0, "nothing was written meanwhile");
    assert!(said.contains("audit chain holds"), "{said}");
    let after = api.revision().await.expect("is told");
    let manifest = std::fs::read(backup.join("backup.json")).expect("a manifest");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    let kept = manifest["revision"].as_u64().expect("a number");
    assert!((before..=after).contains(&kept), "{before} {kept} {after}");

    control.process.terminate().await;
    if let Some(server) = &server {
        a_restore_that_is_refused_leaves_its_mark(server, &backup, folder.path());
    }
    let digest = said.lines().find_map(|line| line.strip_prefix("digest ")?.get(..64)).expect("a digest");
    let arguments = [backup.display().to_string(), "--expect-digest".to_owned(), digest.to_owned()];
    let restoring = command(
        &there,
        &variables(server.as_ref(), true),
        "restore",
        "pg_restore",
        server.as_ref(),
        &arguments,
    );
    let said = run(restoring).expect("is brought back");
    assert!(said.contains(&format!("the backup ended at revision {kept} ")), "{said}");
    assert!(said.contains(&format!("goes on with revision {} ", kept + 1)), "{said}");
    let elsewhere = Control::start_with(&there, &variables(server.as_ref(), true)).await;
    let api = Api::new(elsewhere.management, api.token());
    // It knows the authority, serves from its disk, and is sent nothing before a person decided.
    let edge = edge.restart_at(elsewhere.fleet);
    edge.ready().await;
    let caller = Caller::new(edge.listen, &format!("{ORG}.echo"), &key);
    answers(&caller, 200).await;
    // What the backup has of the node looks like it; the node itself has to have said so.
    let planned =
        eventually("the node is diverged", || async { adopting(&api, true, &[], Vec::new()).await.ok() })
            .await;
    adopt(&api, false, &[], planned.plan).await;
    caught_up(&api).await;
    // Not before: what the backup has of the node may be of the history that ended, and on disk it lies a moment later.
    let said = eventually("the audit fits what the node has", || async {
        verified(elsewhere.management, api.token()).ok()
    })
    .await;
    assert!(said.contains("yes"), "{said}");
    write(&api, writes + 1).await;
    caught_up(&api).await;
    answers(&caller, 200).await;
}

/// On a server, which holds the history of the backup then, under its former name.
fn a_restore_that_is_refused_leaves_its_mark(server: &Postgres, backup: &Path, folder: &Path) {
    let bent = folder.join("bent");
    std::fs::create_dir(&bent).expect("a folder");
    for entry in std::fs::read_dir(backup).expect("a folder") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), bent.join(entry.file_name())).expect("is copied");
    }
    let path = bent.join("backup.json");
    let text = std::fs::read_to_string(&path).expect("a manifest");
    std::fs::write(&path, text.replace("\"revision\": ", "\"revision\": 1")).expect("is written");
    let variables = [("RR_CONTROL_DATABASE", server.address_of(MARKED))];
    let state = folder.join("marked");
    let task = |task: &str, tool: &str, arguments: &[String]| {
        run(command(&state, &variables, task, tool, Some(server), arguments))
    };
    let said = task("restore", "pg_restore", &[bent.display().to_string()]).expect_err("is refused");
    assert!(said.contains("its manifest names revision"), "{said}");
    let again = folder.join("again").display().to_string();
    let said = task("backup", "pg_dump", std::slice::from_ref(&again)).expect_err("is marked");
    assert!(said.contains("did not end") && said.contains("rr-control restore"), "{said}");
    task("restore", "pg_restore", &[]).expect("is ended with what is there");
    task("backup", "pg_dump", &[again]).expect("has no mark");
}

/// A revision that nodes are sent.
async fn write(api: &Api, n: u32) {
    let deny_status = if n.is_multiple_of(2) { 403 } else { 400 };
    let ask = mg::UpdateProxyRequest {
        org: ORG.into(),
        name: "echo".into(),
        proxy: Some(mg::Proxy { deny_status, ..Default::default() }),
        update_mask: Some(FieldMask { paths: vec!["deny_status".into()] }),
        options: Some(mg::WriteOptions { allow_partial: true, ..Default::default() }),
    };
    ProxyServiceClient::new(api.connection()).update_proxy(ask).await.expect("is written");
}

/// `rr-control` with a task, on a folder of a control plane.
fn command(
    folder: &Path,
    variables: &[(&'static str, String)],
    task: &str,
    tool: &str,
    server: Option<&Postgres>,
    arguments: &[String],
) -> Command {
    let mut command = Command::new(program("rr-control"));
    command.arg("--state-dir").arg(folder.join("state")).arg(task).args(arguments);
    if let Some(server) = server {
        let path: PathBuf = server.program(tool);
        command.arg(format!("--{}", tool.replace('_', "-"))).arg(path);
    }
    command.envs(variables.iter().cloned());
    command
}

/// What it said, or what was wrong.
fn run(mut command: Command) -> Result<String, String> {
    let ran = command.output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if ran.status.success() { Ok(text(&ran.stdout)) } else { Err(text(&ran.stderr)) }
}

/// `rrctl audit verify`.
fn verified(management: std::net::SocketAddr, token: &str) -> Result<String, String> {
    let mut command = Command::new(program("rrctl"));
    command
        .args(["--endpoint", &format!("http://{management}"), "audit", "verify"])
        .env("RRCTL_TOKEN", token);
    run(command)
}
