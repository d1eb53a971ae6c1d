//! Verbs that end with a verdict: the exit code says it, whoever reads what is printed beside it.

use std::os::fd::OwnedFd;
use std::process::Stdio;

use prost::Message as _;
use rr_contract::wire::{fleet, management as mg};

use super::recorder::{Answer, Answers, run, run_with};

fn progress(reached: bool, refusing: &[&str]) -> Answer {
    let region = fleet::RegionProgress {
        region: "eu".into(),
        connected: 2,
        refusing: refusing.iter().map(|id| (*id).to_owned()).collect(),
        ..fleet::RegionProgress::default()
    };
    let answer = fleet::WaitForRevisionResponse { reached, revision: 7, regions: vec![region] };
    Ok(answer.encode_to_vec())
}

/// Ends with this code, read or unread, and says why on standard error.
async fn check(args: &[&str], answers: Answers, code: i32, why: &str) {
    let args: Vec<String> = args.iter().map(|it| (*it).to_owned()).collect();
    let (read, _) = run(&args, answers.clone()).await;
    let (unread, _) = run_with(&args, answers, |command| {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        command.stdout(Stdio::from(OwnedFd::from(writer)));
    })
    .await;
    for output in [read, unread] {
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        assert!(text.contains(why) && !text.contains("panicked"), "{args:?}: {text}");
    }
}

#[tokio::test]
async fn a_wait_that_was_in_vain_or_came_to_nodes_that_refuse_ends_with_1() {
    let wait = |answer| Answers::from([("FleetService.WaitForRevision", answer)]);
    let args = ["revision", "wait", "7"];
    check(&args, wait(progress(true, &[])), 0, "").await;
    check(&args, wait(progress(false, &[])), 1, "in time").await;
    check(&args, wait(progress(true, &["nd_1"])), 1, "--allow-refusals").await;
    let allowed = [&args[..], &["--allow-refusals"]].concat();
    check(&allowed, wait(progress(true, &["nd_1"])), 0, "nd_1").await;
    check(&allowed, wait(progress(false, &["nd_1"])), 1, "in time").await;
}

#[tokio::test]
async fn an_apply_that_waits_ends_as_its_wait_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a.yaml");
    std::fs::write(&file, "kind: target\nname: a\nbase_url: https://api.example.com\n").expect("a file");
    let change = mg::ApplyChange { kind: "target".into(), name: "a".into(), ..mg::ApplyChange::default() };
    let outcome =
        mg::ApplyOutcome { revision: 7, plan: "plan".into(), changes: vec![change], ..Default::default() };
    let applied = mg::ApplyResponse { outcome: Some(outcome) }.encode_to_vec();
    let answers = |wait| {
        Answers::from([("ApplyService.Apply", Ok(applied.clone())), ("FleetService.WaitForRevision", wait)])
    };
    let args = ["apply", "--file", file.to_str().expect("a path of ours"), "--yes", "--wait=5s"];
    check(&args, answers(progress(true, &[])), 0, "").await;
    check(&args, answers(progress(false, &[])), 1, "in time").await;
    check(&args, answers(progress(true, &["nd_1"])), 1, "--allow-refusals").await;
    let allowed = [&args[..], &["--allow-refusals"]].concat();
    check(&allowed, answers(progress(true, &["nd_1"])), 0, "nd_1").await;
}

#[tokio::test]
async fn a_history_that_does_not_fit_ends_with_1() {
    let installation = |revision, audit| {
        let id = "in_1".to_owned();
        let found = mg::GetInstallationResponse { id, revision, audit, ..Default::default() };
        Answers::from([("InstallationService.GetInstallation", Ok(found.encode_to_vec()))])
    };
    check(&["audit", "verify"], installation(0, Vec::new()), 0, "").await;
    // The export holds one entry, of no revision.
    check(&["audit", "verify"], installation(1, vec![1; 32]), 1, "revision 1 does not fit").await;
    let mut rewritten = installation(0, Vec::new());
    let node = fleet::Node { id: "nd_1".into(), history_rewritten: true, ..fleet::Node::default() };
    let nodes = fleet::ListNodesResponse { nodes: vec![node], ..Default::default() };
    rewritten.insert("FleetService.ListNodes", Ok(nodes.encode_to_vec()));
    check(&["audit", "verify"], rewritten, 1, "node nd_1").await;
}

#[tokio::test]
async fn an_error_names_the_flags_that_were_typed_and_an_apply_the_places_in_its_files() {
    let refused = Answers::from([(
        "TargetService.CreateTarget",
        Err((
            3,
            "target.base_url: has no host; target.connect_timeout: is over 60 s; target.etag: is unknown",
        )),
    )]);
    let args = ["target", "create", "echo", "--base-url", "https://", "--connect-timeout", "90"];
    let why = "error: 3 faults\n  --base-url: has no host\n  --connect-timeout: is over 60 s\n  target.etag: is unknown\n";
    check(&args, refused, 1, why).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a.yaml");
    std::fs::write(&file, "kind: target\nname: a\nbase_url: https://\n").expect("a file");
    let refused = Answers::from([("ApplyService.Apply", Err((3, "documents[0].base_url: has no host")))]);
    let args = ["apply", "--file", file.to_str().expect("a path of ours"), "--yes"];
    check(&args, refused, 1, "a.yaml:3: base_url: has no host (target a)").await;
}

/// A call that failed because a connection broke was taken for a reader that went away.
#[tokio::test]
async fn a_list_that_nobody_reads_ends_quietly_and_one_that_fails_does_not() {
    check(&["org", "list"], Answers::new(), 0, "").await;
    let failed = Answers::from([("OrgService.ListOrgs", Err((14, "gone")))]);
    check(&["org", "list"], failed, 1, "gone").await;
}
