//! Sets of files against a real control plane and node: `validate`, `diff`, `apply`, and the lines that the workflows in
//! `docs/ci` run.

use std::path::Path;
use std::process::{Command, Output};

use rr_integration::caller::Caller;
use rr_integration::process::program;
use rr_integration::world::{ORG, World};
use serde_json::Value;

/// A command in a folder, as a pipeline runs it.
async fn run(world: &World, folder: &Path, program: impl Into<String>, args: &[&str]) -> Output {
    let bin = rr_integration::process::program("rrctl");
    let bin = bin.parent().expect("a folder").to_owned();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program.into());
    command
        .current_dir(folder)
        .args(args)
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("RRCTL_ENDPOINT", format!("http://{}", world.control_plane.management))
        .env("RRCTL_TOKEN", world.api.token())
        .env("RRCTL_ORG", ORG)
        .env("RUNNER_TEMP", folder)
        .env("CI_PROJECT_DIR", folder);
    // The control plane shares this runtime and has to answer meanwhile.
    tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("joins")
}

async fn rrctl(world: &World, folder: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let output = run(world, folder, program("rrctl").display().to_string(), args).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diff_ends_with_0_without_a_difference_with_1_with_one_and_with_2_where_it_fails() {
    let world = World::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("set.yaml");
    let (code, set, _) = rrctl(&world, folder.path(), &["export"]).await;
    assert_eq!(code, Some(0));
    std::fs::write(&file, &set).expect("a file");
    let diff = ["diff", "-f", "set.yaml"];
    let (code, out, notes) = rrctl(&world, folder.path(), &diff).await;
    assert_eq!((code, out.as_str(), notes.as_str()), (Some(0), "nothing to change: 4 unchanged\n", ""));

    // A pipeline that is run again after its wait failed still has to learn of it.
    let again = ["apply", "-f", "set.yaml", "--yes", "--wait=serving:100%", "--timeout", "30s"];
    let (code, out, notes) = rrctl(&world, folder.path(), &again).await;
    assert_eq!(code, Some(0), "{notes}");
    assert!(out.contains("nothing to change") && out.contains("REACHED") && out.contains("eu"), "{out}");

    let more = "---\nkind: credential\nname: later\nupstream: {kind: bearer}\nvalue_from: {env: TEST_NEVER_SET, targets: [echo]}\n\
        ---\nkind: proxy\nname: later\ncaller_credentials: [app]\ntarget: echo\nupstream_credential: later\nregions: [eu]\n";
    let changed =
        set.replacen("kind: proxy\nname: echo\n", "kind: proxy\nname: echo\ndeny_status: 403\n", 1) + more;
    let changed = changed.replacen("deny_status: 400\n", "", 1);
    std::fs::write(&file, &changed).expect("a file");
    let (code, out, notes) = rrctl(&world, folder.path(), &diff).await;
    assert_eq!((code, notes.as_str()), (Some(1), ""), "{out}");
    let wanted = [
        "create  credential later",
        "update  proxy echo",
        "        deny_status: 400 -> 403",
        "create  proxy later",
        "2 to create, 1 to update, 0 to delete, 3 unchanged; compared with revision",
    ];
    for line in wanted {
        assert!(out.contains(line), "no {line:?} in {out}");
    }
    let (code, out, _) = rrctl(&world, folder.path(), &["diff", "-f", "set.yaml", "-o", "json"]).await;
    let told: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(code, Some(1));
    let field = &told["changes"][1]["fields"][0];
    assert_eq!(
        (&field["field"], &field["before"], &field["after"]),
        (&"deny_status".into(), &"400".into(), &"403".into())
    );
    assert!(told["plan"].is_null(), "{told}");

    for (args, part) in [
        (&["diff", "-f", "nowhere.yaml"][..], "nowhere.yaml"),
        (&["--org", "nobody", "diff", "-f", "set.yaml"], "nobody"),
        (&["--endpoint", "http://127.0.0.1:1", "diff", "-f", "set.yaml"], "cannot reach"),
        (&["diff"], "--file"),
    ] {
        let (code, out, notes) = rrctl(&world, folder.path(), args).await;
        assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?}: {notes}");
        assert!(notes.contains(part), "{args:?}: {notes}");
    }
    std::fs::write(&file, "kind: target\nname: a\nbase_url: ftp://a\n").expect("a file");
    let (code, _, notes) = rrctl(&world, folder.path(), &diff).await;
    assert_eq!(code, Some(2));
    assert!(notes.starts_with("error: set.yaml:3: base_url: "), "{notes}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_names_the_fields_that_it_changes_and_waits_for_a_share_of_the_nodes() {
    let world = World::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("set.yaml");
    let (_, set, _) = rrctl(&world, folder.path(), &["export"]).await;
    let changed = set.replacen("deny_status: 400\n", "deny_status: ${STATUS}\n", 1);
    assert_ne!(set, changed);
    std::fs::write(&file, &changed).expect("a file");
    let apply = ["apply", "-f", "set.yaml", "--yes"];
    let with = |more: &[&'static str]| [&apply[..], more].concat();
    let (code, _, notes) = rrctl(&world, folder.path(), &with(&["--env"])).await;
    assert_eq!(code, Some(1), "{notes}");
    assert!(
        notes.contains("environment variable STATUS is not set") && notes.contains("set.yaml:"),
        "{notes}"
    );
    std::fs::write(&file, changed.replacen("${STATUS}", "403", 1)).expect("a file");
    let (code, out, notes) =
        rrctl(&world, folder.path(), &with(&["--wait=serving:99%", "--timeout", "1m"])).await;
    assert_eq!(code, Some(0), "{notes}");
    assert!(notes.contains("update  proxy echo\n        deny_status: 400 -> 403\n"), "{notes}");
    assert!(out.contains("1 updated") && out.contains("REACHED"), "{out}");
    let (code, _, notes) = rrctl(&world, folder.path(), &with(&["--wait=5s", "--timeout", "1m"])).await;
    assert_eq!(code, Some(2), "{notes}");
    assert!(notes.contains("--timeout"), "{notes}");
    world.end().await;
}

/// What a workflow runs: the texts of `run`, and the lines of `script`.
fn scripts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                match (name.as_str(), inner) {
                    ("run", Value::String(text)) => found.push(text.clone()),
                    ("script", Value::Array(lines)) => {
                        let lines = lines.iter().filter_map(Value::as_str);
                        found.push(lines.collect::<Vec<_>>().join("\n"));
                    }
                    _ => scripts(inner, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| scripts(item, found)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_that_workflows_run_check_compare_and_apply_a_set() {
    let world = World::start().await;
    for (host, text) in [
        ("github", include_str!("../../../docs/ci/github-actions.yml")),
        ("gitlab", include_str!("../../../docs/ci/gitlab-ci.yml")),
    ] {
        let workflow: Value = serde_saphyr::from_str(text).expect("YAML");
        let mut lines = Vec::new();
        scripts(&workflow, &mut lines);
        assert_eq!(lines.len(), 3, "{host}: {lines:?}");
        let of = |verb: &str| lines.iter().find(|text| text.contains(verb)).expect(verb);
        let (validate, diff, apply) = (of("rrctl validate"), of("rrctl diff"), of("rrctl apply"));
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("requestrocket")).expect("a folder");
        let file = folder.path().join("requestrocket/set.yaml");
        let shell = async |script: &str| run(&world, folder.path(), "sh", &["-e", "-c", script]).await;
        std::fs::write(&file, "kind: target\nname: a\nbase_url: ftp://a\n").expect("a file");
        assert_eq!(shell(validate).await.status.code(), Some(1), "{host}");
        assert_ne!(shell(diff).await.status.code(), Some(0), "{host}: a diff that fails is no difference");
        let set = format!(
            "kind: target\nname: {host}\nbase_url: https://a.example\n---\nkind: credential\nname: {host}\ncaller: {{kind: api-key}}\n"
        );
        std::fs::write(&file, set).expect("a file");
        for script in [validate, diff, apply, diff] {
            let output = shell(script).await;
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{host}: {script}: {text}");
            assert!(!String::from_utf8_lossy(&output.stdout).contains("rr_key_"), "{host}: a key in a log");
        }
        let keys = std::fs::read_to_string(folder.path().join("keys")).expect("the new keys");
        assert!(keys.starts_with(&format!("{host}  rr_key_")), "{host}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_is_called_beside_the_real_one_with_a_key_of_its_own_and_goes_without_a_trace() {
    let world = World::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("set.yaml");
    let (_, set, _) = rrctl(&world, folder.path(), &["export"]).await;
    let rule = "---\nkind: rule\nname: no-b\nproxy: echo\neffect: deny\nwhen: {path: {regex: '^/b'}}\n";
    std::fs::write(&file, format!("{set}{rule}")).expect("a file");
    let apply = ["apply", "-f", "set.yaml", "--preview", "pr-1", "--yes", "--wait", "--keys-out", "keys"];
    let (code, out, notes) = rrctl(&world, folder.path(), &apply).await;
    assert_eq!(code, Some(0), "{notes}");
    for line in ["create  proxy echo--pr-1", "create  rule no-b--pr-1", "create  target echo--pr-1"] {
        assert!(notes.contains(line), "no {line:?} in {notes}");
    }
    assert!(out.contains("4 created, 0 updated, 0 deleted"), "{out}");
    let keys = std::fs::read_to_string(folder.path().join("keys")).expect("the key");
    let key = keys.trim().strip_prefix("preview--pr-1  ").expect("the preview's key");
    let preview = Caller::new(world.node.listen, &format!("{ORG}.echo--pr-1"), key);
    assert_eq!(preview.get("/a").await.status, 200, "{out}{notes}");
    assert_eq!(preview.get("/b").await.status, 400, "its rule is in force");
    let real = world.caller_of("echo");
    for path in ["/a", "/b"] {
        assert_eq!(real.get(path).await.status, 200, "the real one is as it was");
    }
    let strangers = Caller::new(world.node.listen, &format!("{ORG}.echo--pr-1"), &world.caller_key);
    assert_eq!(strangers.get("/a").await.status, 401, "a real key opens no preview");

    // Again without a rule: that goes, and the end stays as it was.
    let list = ["preview", "list", "-o", "json"];
    let (_, before, _) = rrctl(&world, folder.path(), &list).await;
    std::fs::write(&file, &set).expect("a file");
    let again = ["apply", "-f", "set.yaml", "--preview", "pr-1", "--yes", "--wait"];
    let (code, out, notes) = rrctl(&world, folder.path(), &again).await;
    assert_eq!(code, Some(0), "{notes}");
    assert!(out.contains("0 created, 0 updated, 1 deleted"), "{out}");
    assert_eq!(rrctl(&world, folder.path(), &list).await.1, before);
    let told: Value = serde_json::from_str(&before).expect("JSON");
    assert_eq!((&told[0]["name"], &told[0]["proxies"][0]), (&"pr-1".into(), &"echo--pr-1".into()));
    assert_eq!(preview.get("/b").await.status, 200);
    let (_, table, _) = rrctl(&world, folder.path(), &["preview", "list"]).await;
    assert!(table.contains("NAME") && table.contains("pr-1") && table.contains("echo--pr-1"), "{table}");

    // What has such a name and is none of the preview is not taken over.
    let taken = ["target", "create", "echo--pr-2", "--base-url", "https://a.example"];
    assert_eq!(rrctl(&world, folder.path(), &taken).await.0, Some(0));
    let (code, _, notes) =
        rrctl(&world, folder.path(), &["apply", "-f", "set.yaml", "--preview", "pr-2", "--yes"]).await;
    assert_eq!(code, Some(1));
    assert!(notes.contains("none of this preview"), "{notes}");

    let (code, out, notes) = rrctl(&world, folder.path(), &["preview", "delete", "pr-1", "--yes"]).await;
    assert_eq!(code, Some(0), "{notes}");
    assert!(out.contains("3 deleted"), "{out}");
    assert_eq!(rrctl(&world, folder.path(), &list).await.1, "[]\n");
    let (code, out, _) = rrctl(&world, folder.path(), &["diff", "-f", "set.yaml"]).await;
    assert_eq!(code, Some(0), "the real ones are as they were: {out}");
    let (code, _, notes) = rrctl(&world, folder.path(), &["preview", "delete", "pr-1", "--yes"]).await;
    assert_eq!(code, Some(1));
    assert!(notes.contains("no preview pr-1"), "{notes}");
    world.end().await;
}
