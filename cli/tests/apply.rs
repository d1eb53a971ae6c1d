//! `rrctl apply` against a control plane that writes down what it is sent.

use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use rr_contract::wire::management as mg;
use rr_contract::wire::management::apply_request::Part;
use rr_contract::wire::management::apply_service_server::{ApplyService, ApplyServiceServer};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

/// Headers, and how many documents came behind each.
type Calls = Arc<Mutex<Vec<(mg::ApplyHeader, u64)>>>;

struct Recorder(Calls);

#[tonic::async_trait]
impl ApplyService for Recorder {
    async fn apply(
        &self,
        request: Request<Streaming<mg::ApplyRequest>>,
    ) -> Result<Response<mg::ApplyResponse>, Status> {
        let mut parts = request.into_inner();
        let (mut header, mut documents) = (mg::ApplyHeader::default(), 0);
        while let Some(part) = parts.message().await? {
            match part.part {
                Some(Part::Header(sent)) => header = sent,
                Some(Part::Chunk(chunk)) => documents += chunk.documents.len() as u64,
                Some(Part::Commit(commit)) => assert_eq!(commit.documents, documents),
                None => return Err(Status::invalid_argument("a part of nothing")),
            }
        }
        let change = mg::ApplyChange {
            action: mg::ApplyAction::Create.into(),
            kind: "credential".into(),
            name: "bot".into(),
            ..mg::ApplyChange::default()
        };
        let key =
            mg::CreatedKey { credential: "cr_1".into(), name: "bot".into(), key: "rr_key_shown_once".into() };
        let outcome = mg::ApplyOutcome {
            revision: if header.dry_run { 0 } else { 8 },
            base_revision: 7,
            dry_run: header.dry_run,
            plan: if header.dry_run { "plan-1".into() } else { String::new() },
            created: 1,
            changes: vec![change],
            keys: if header.dry_run { Vec::new() } else { vec![key] },
            ..mg::ApplyOutcome::default()
        };
        self.0.lock().expect("nobody panicked").push((header, documents));
        Ok(Response::new(mg::ApplyResponse { outcome: Some(outcome) }))
    }

    async fn apply_once(
        &self,
        _: Request<mg::ApplyOnceRequest>,
    ) -> Result<Response<mg::ApplyOnceResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }
}

/// Runs `rrctl apply` on one document, and tells what the control plane was sent.
async fn apply(args: &[&str]) -> (Output, Vec<(mg::ApplyHeader, u64)>) {
    let calls = Calls::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let serving = tonic::transport::Server::builder()
        .add_service(ApplyServiceServer::new(Recorder(calls.clone())))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a.yaml");
    std::fs::write(&file, "kind: credential\nname: bot\ncaller: {kind: api-key}\n").expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_rrctl"));
    command.args(["--endpoint", &url, "--org", "acme", "apply", "-f"]).arg(&file).args(args);
    command.current_dir(folder.path());
    for name in ["RRCTL_TOKEN", "RRCTL_TOKEN_FILE", "RRCTL_CA_FILE", "RRCTL_ENDPOINT"] {
        command.env_remove(name);
    }
    command.stdin(std::process::Stdio::null());
    let running = tokio::task::spawn_blocking(move || command.output().expect("rrctl runs"));
    let output = tokio::select! {
        output = running => output.expect("joins"),
        ended = serving => panic!("the control plane ended: {ended:?}"),
    };
    let calls = calls.lock().expect("nobody panicked").clone();
    (output, calls)
}

#[tokio::test]
async fn what_is_carried_out_is_the_plan_that_was_shown() {
    let (output, calls) = apply(&["--owner", "git", "--prune", "--yes"]).await;
    let (out, notes) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{notes}");
    assert!(notes.contains("create  credential bot"), "{notes}");
    assert!(out.contains("1 created") && out.contains("revision 8"), "{out}");
    assert!(out.contains("bot  rr_key_shown_once") && !notes.contains("rr_key"), "{out}");

    let [(planned, documents), (done, none)] = calls.as_slice() else { panic!("{} calls", calls.len()) };
    assert!(planned.dry_run && planned.prune && planned.owner == "git" && planned.org == "acme");
    assert_eq!((*documents, planned.request_id.as_str()), (1, ""));
    assert!(!done.dry_run && done.plan == "plan-1" && done.expected_revision == 7 && done.prune);
    assert_eq!((*none, done.request_id.len()), (0, 32));
}

#[tokio::test]
async fn keys_that_the_format_leaves_out_are_put_into_a_file() {
    for format in ["name", "jsonpath=$.nothing"] {
        let (output, _) = apply(&["--yes", "-o", format]).await;
        let (out, notes) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && !out.contains("rr_key"), "{format}: {out}{notes}");
        assert!(notes.contains("it was put into rrctl-caller-keys-"), "{format}: {notes}");
    }
    let (output, _) = apply(&["--yes", "-o", "json"]).await;
    assert!(!String::from_utf8_lossy(&output.stderr).contains("was put into"), "JSON has the keys");
}

#[tokio::test]
async fn a_plan_that_nobody_agreed_to_is_not_carried_out() {
    let (output, calls) = apply(&[]).await;
    let notes = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{notes}");
    assert!(notes.contains("--yes") && notes.contains("create  credential bot"), "{notes}");
    assert_eq!(calls.len(), 1);
}

#[tokio::test]
async fn a_dry_run_ends_with_the_plan() {
    let (output, calls) = apply(&["--dry-run", "--expect", "5"]).await;
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 to create"));
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].0.expected_revision, 5);
}
