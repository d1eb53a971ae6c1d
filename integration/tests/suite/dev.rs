//! `rrctl dev` as a stranger runs it.

use std::path::Path;
use std::process::Command;

use rr_integration::caller::Caller;
use rr_integration::process::{Port, Process, program};
use rr_integration::wait::eventually;

struct Dev {
    process: Process,
    folder: std::path::PathBuf,
}

/// Ports of one run, which nobody else gets meanwhile, and as flags.
struct Ports {
    _held: Vec<Port>,
    flags: Vec<String>,
}

fn ports() -> Ports {
    let parts = ["management", "fleet", "control-admin", "edge", "edge-admin", "upstream"];
    let held: Vec<Port> = parts.iter().map(|_| Port::reserve()).collect();
    let flag = |(part, port): (&&str, &Port)| [format!("--{part}-port"), port.address().port().to_string()];
    Ports { flags: parts.iter().zip(&held).flat_map(flag).collect(), _held: held }
}

impl Dev {
    fn start(folder: &Path, run: &str, flags: &[String]) -> Self {
        let mut command = Command::new(program("rrctl"));
        command.current_dir(folder).args(["dev", "--dir", "state"]).args(flags);
        Self { process: Process::start(&mut command, &folder.join(run)), folder: folder.to_owned() }
    }

    /// What it prints once it is ready.
    async fn printed(&mut self) -> String {
        let mut ended = None;
        eventually("it prints what to try, or ends", || {
            let text = self.process.log();
            ended = ended.or_else(|| self.process.ended());
            let over = ended.is_some();
            async move { (over || text.contains("Ctrl-C stops it.")).then_some(()) }
        })
        .await;
        self.process.log()
    }
}

/// The caller that the printed `curl` line is.
fn curl(printed: &str) -> (Caller, String) {
    let line = printed
        .lines()
        .find(|line| line.trim_start().starts_with("curl -H 'Authorization: rr_key"))
        .unwrap_or_else(|| panic!("no curl line in:\n{printed}"));
    let key = line.split("Authorization: ").nth(1).and_then(|rest| rest.split('\'').next()).expect("a key");
    let url = line.split_whitespace().last().expect("a URL");
    let (edge, path) = url.trim_start_matches("http://").split_once("/api/").expect("an edge URL");
    let (proxy, rest) = path.split_once('/').expect("a path");
    (Caller::new(edge.parse().expect("an address"), proxy, key), format!("/{rest}"))
}

/// Runs the printed `rrctl` line.
fn rrctl(folder: &Path, printed: &str) -> String {
    run(folder, printed, "request list")
}

/// Runs the printed line that has this part.
fn run(folder: &Path, printed: &str, part: &str) -> String {
    run_with(folder, printed, part, "")
}

/// Runs the printed line that has this part, with more flags.
fn run_with(folder: &Path, printed: &str, part: &str, flags: &str) -> String {
    let line = printed
        .lines()
        .find(|line| line.contains(part))
        .unwrap_or_else(|| panic!("no line with {part:?} in:\n{printed}"));
    let line = format!("{line}{flags}");
    let output = Command::new("sh").current_dir(folder).args(["-c", &line]).output().expect("sh runs");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn what_it_prints_works_and_a_second_run_continues_on_the_same_ports_and_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = ports();
    let mut first = Dev::start(folder.path(), "first.log", &ports.flags);
    let printed = first.printed().await;
    let (caller, path) = curl(&printed);
    let reply = caller.get(&path).await;
    assert_eq!(reply.status, 200, "{printed}");
    let masked = format!("Bearer {}\"", "*".repeat("upstream-secret-that-callers-never-see".len()));
    assert!(reply.text().contains(&masked), "the guard masks what the upstream got: {}", reply.text());
    assert!(!reply.text().contains("rr_key_"), "{}", reply.text());
    assert!(reply.text().contains("Ada Lovelace"), "{}", reply.text());
    assert!(!reply.text().contains("ada@example.com"), "the filter masks it: {}", reply.text());
    let refused = run(folder.path(), &printed, "curl -X DELETE");
    assert!(refused.contains("The sample deletes nothing."), "{refused}");
    let posted = run(folder.path(), &printed, "curl -i -X POST");
    assert!(posted.to_lowercase().contains("\nratelimit"), "{posted}");
    eventually("the record is listed", || async {
        rrctl(folder.path(), &printed).contains(&path).then_some(())
    })
    .await;
    std::fs::write(folder.path().join("value"), "s3cret\n").expect("a file");
    let sealed = run_with(folder.path(), &printed, "create-upstream", " --value-file value");
    assert!(sealed.contains("example"), "{sealed}");
    assert_eq!(first.process.terminate().await.code(), Some(0), "{}", first.process.log());

    let mut second = Dev::start(folder.path(), "second.log", &[]);
    let again = second.printed().await;
    assert_eq!(again.replace("stopping\n", ""), printed, "a second run prints the same");
    assert_eq!(caller.get(&path).await.status, 200);
    assert!(rrctl(folder.path(), &again).contains(&path), "records are still there");
}

#[tokio::test]
async fn a_port_in_use_is_one_line_that_names_the_port_and_the_flag_and_writes_nothing() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let folder = tempfile::tempdir().expect("a folder");
    let ports = ports();
    let mut flags = ports.flags.clone();
    let at = flags.iter().position(|flag| flag == "--edge-port").expect("there");
    flags[at + 1] = port.to_string();
    let mut dev = Dev::start(folder.path(), "log", &flags);
    let printed = dev.printed().await;
    assert_eq!(printed.lines().count(), 1, "{printed}");
    assert!(printed.contains(&port.to_string()) && printed.contains("--edge-port"), "{printed}");
    assert!(!dev.folder.join("state").exists(), "something was written");
}

#[tokio::test]
async fn a_first_start_that_was_killed_at_any_step_is_continued_by_the_next() {
    for step in [
        "lock",
        "dev.toml",
        "control/control.db",
        "control/authority.key",
        "control/authority.crt",
        "control/bootstrap-token",
        "token.new",
        "token",
        "region-local.key",
        "caller-key.new",
        "caller-key",
        "edge/node.key",
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let ports = ports();
        let mut dev = Dev::start(folder.path(), "killed.log", &ports.flags);
        let file = folder.path().join("state").join(step);
        // Some files are there for a moment only; a start that got past them is killed where it is.
        eventually(step, || {
            let reached = file.exists() || dev.process.log().contains("Ctrl-C stops it.");
            async move { reached.then_some(()) }
        })
        .await;
        dev.process.kill();
        // With the same flags: the first may have been killed before it kept them.
        let mut dev = Dev::start(folder.path(), "continued.log", &ports.flags);
        let printed = dev.printed().await;
        let (caller, path) = curl(&printed);
        assert_eq!(caller.get(&path).await.status, 200, "killed at {step}: {printed}");
    }
}

#[tokio::test]
async fn a_folder_that_lost_its_token_or_its_caller_key_is_mended() {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = ports();
    let mut dev = Dev::start(folder.path(), "first.log", &ports.flags);
    dev.printed().await;
    for lost in ["token", "caller-key"] {
        dev.process.kill();
        std::fs::remove_file(folder.path().join("state").join(lost)).expect("it was kept");
        dev = Dev::start(folder.path(), lost, &[]);
        let printed = dev.printed().await;
        let (caller, path) = curl(&printed);
        eventually("the call is answered", || async {
            (caller.get(&path).await.status == 200).then_some(())
        })
        .await;
    }
}
