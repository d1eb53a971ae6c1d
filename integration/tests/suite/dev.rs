//! `rrctl dev` as a stranger runs it.

mod strange;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rr_integration::caller::Caller;
use rr_integration::process::{Port, Process, program};
use rr_integration::secure::Secure;
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;

struct Dev {
    process: Process,
    folder: PathBuf,
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
        command.current_dir(folder).env("RRCTL_CONFIG_DIR", folder.join("config"));
        command.args(["dev", "--dir", "state"]).args(flags);
        Self { process: Process::start(&mut command, &folder.join(run)), folder: folder.to_owned() }
    }

    /// What is kept for its folder in the configuration folder; nothing before it was noted.
    fn kept(&self, name: &str) -> Option<PathBuf> {
        let mut all = std::fs::read_dir(self.folder.join("config/dev")).ok()?;
        Some(all.next()?.ok()?.path().join(name))
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
    shell(folder, folder, &format!("{line}{flags}"))
}

/// Runs a line in a folder, with the contexts of a run.
fn shell(run: &Path, folder: &Path, line: &str) -> String {
    let mut command = Command::new("sh");
    command.current_dir(folder).env("RRCTL_CONFIG_DIR", run.join("config")).args(["-c", line]);
    let output = command.output().expect("sh runs");
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
    let upstream =
        printed.lines().find_map(|line| line.trim().strip_prefix("upstream ")).expect("is printed");
    let upstream = upstream.split_whitespace().next().expect("a URL");
    let printed_here = printed.replace("https://api.example.com", upstream);
    let flags = " --danger-plaintext --name mine --auth bearer --secret-file value";
    let call = run_with(folder.path(), &printed_here, " init ", flags);
    assert!(call.starts_with("curl "), "standard output is the call alone: {call}");
    let answered = shell(folder.path(), folder.path(), &format!("{} -s", call.trim()));
    assert!(answered.contains("\"authorization\""), "{answered}");
    // Any command works in the folder and below it, and nowhere else.
    let below = folder.path().join("below");
    std::fs::create_dir(&below).expect("a folder");
    let rrctl_here = program("rrctl").display().to_string();
    let shown = shell(folder.path(), &below, &format!("{rrctl_here} proxy show demo.mine"));
    assert!(shown.contains("mine-caller") && shown.contains("local"), "names and not ids: {shown}");
    let elsewhere = shell(folder.path(), Path::new("/"), &format!("{rrctl_here} context show 2>&1; true"));
    assert!(elsewhere.contains("no context counts here"), "{elsewhere}");
    assert_eq!(first.process.terminate().await.code(), Some(0), "{}", first.process.log());

    let mut second = Dev::start(folder.path(), "second.log", &[]);
    let again = second.printed().await;
    assert_eq!(again.replace("stopping\n", ""), printed, "a second run prints the same");
    assert_eq!(caller.get(&path).await.status, 200);
    assert!(rrctl(folder.path(), &again).contains(&path), "records are still there");
}

#[tokio::test]
async fn a_second_run_in_the_folder_names_the_one_that_runs_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = ports();
    let mut first = Dev::start(folder.path(), "first.log", &ports.flags);
    let printed = first.printed().await;
    let mut second = Dev::start(folder.path(), "second.log", &ports.flags);
    let said = second.printed().await;
    assert_eq!(said.lines().count(), 1, "{said}");
    let management =
        printed.lines().find_map(|line| line.trim().strip_prefix("management ")).expect("is printed");
    let management = management.split_whitespace().next().expect("a URL");
    for part in ["runs in", "state", management, &format!("process {}", first.process.id())] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    let (caller, path) = curl(&printed);
    assert_eq!(caller.get(&path).await.status, 200, "the first one still serves");
}

/// README's first hour: the commands are those that it names, in an empty folder.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_an_empty_folder_to_an_injected_call_over_tls_take_three_commands_and_less_than_a_minute() {
    let tls = Secure::new();
    let upstream = Upstream::start_secure(&tls).await;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("secret"), "their-secret\n").expect("a file");
    let ports = ports();
    let began = Instant::now();
    let mut dev = Dev::start(folder.path(), "log", &ports.flags);
    dev.printed().await;
    let (rrctl, url, ca) = (program("rrctl").display().to_string(), upstream.url(), tls.file("ca.pem"));
    let init = format!("{rrctl} init {url} --ca {ca} --auth bearer --secret-file secret");
    let call = shell(folder.path(), folder.path(), &init);
    let answer = shell(folder.path(), folder.path(), &format!("{} -s --fail", call.trim()));
    let took = began.elapsed();
    assert_eq!(answer, "hello from upstream");
    let seen = upstream.seen();
    let sent = seen.first().and_then(|seen| seen.headers.get("authorization"));
    assert_eq!(sent.and_then(|value| value.to_str().ok()), Some("Bearer their-secret"), "{seen:?}");
    assert!(took < Duration::from_secs(60), "{took:?}");
    let readme = std::fs::read_to_string("../README.md").expect("it is there");
    for command in ["rrctl -- dev\n", "rrctl init https://localhost:9443 --ca ca.pem --auth bearer\n"] {
        assert!(readme.contains(command), "README has no {command:?}");
    }
}

/// What is cloned must not choose where a token goes, nor to whose key a secret is sealed.
#[tokio::test]
async fn files_of_the_working_folder_choose_no_endpoint_and_no_fingerprint() {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = ports();
    let mut dev = Dev::start(folder.path(), "log", &ports.flags);
    dev.printed().await;
    let cloned = folder.path().join("cloned");
    std::fs::create_dir_all(cloned.join(".config/requestrocket")).expect("a folder");
    let hostile = "used = 'evil'\n[contexts.evil]\nendpoint = 'http://127.0.0.1:1'\n";
    for name in ["contexts.toml", ".config/requestrocket/contexts.toml", "rrctl.toml"] {
        std::fs::write(cloned.join(name), hostile).expect("a file");
    }
    let zeros = "[local]\nfingerprint = \"0000-0000-0000-0000-0000-0000-0000-0000\"\n";
    std::fs::write(cloned.join("regions.toml"), zeros).expect("a file");
    std::fs::write(cloned.join("value"), "s3cret\n").expect("a file");
    let rrctl = program("rrctl").display().to_string();
    let shown = shell(folder.path(), &cloned, &format!("{rrctl} context show -o jsonpath=endpoint"));
    assert!(!shown.contains("127.0.0.1:1\n"), "{shown}");
    let line = format!(
        "{rrctl} credential create-upstream c --origin https://api.example.com --value-file value -o name"
    );
    assert_eq!(shell(folder.path(), &cloned, &line), "c\n", "sealed by the context's own fingerprints");
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
        "mark.new",
        "mark",
        ".gitignore",
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
        let is_kept = step.starts_with("token");
        // Some files are there for a moment only; a start that got past them is killed where it is.
        eventually(step, || {
            let file = folder.path().join("state").join(step);
            let file = if is_kept { dev.kept(step) } else { Some(file) };
            let reached =
                file.is_some_and(|file| file.exists()) || dev.process.log().contains("Ctrl-C stops it.");
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
        let file = folder.path().join("state").join(lost);
        let file = if lost == "token" { dev.kept(lost).expect("it was noted") } else { file };
        std::fs::remove_file(file).expect("it was kept");
        dev = Dev::start(folder.path(), lost, &[]);
        let printed = dev.printed().await;
        let (caller, path) = curl(&printed);
        eventually("the call is answered", || async {
            (caller.get(&path).await.status == 200).then_some(())
        })
        .await;
    }
}
