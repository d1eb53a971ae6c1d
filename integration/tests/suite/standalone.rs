//! `rr-edge --standalone`: the real program with a file in the place of a control plane.

use std::io::Read as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rr_integration::caller::{Caller, Kept};
use rr_integration::process::{Control, Edge, Port, Process, admin, program};
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;
use serde_json::Value;

/// A folder with a file, a value and a key, and the ports of a node.
pub(super) struct Place {
    folder: tempfile::TempDir,
    upstream: Upstream,
    ports: [Port; 2],
}

impl Place {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let place =
            Self { folder, upstream: Upstream::start().await, ports: [Port::reserve(), Port::reserve()] };
        std::fs::write(place.path("value"), "s3cr3t\n").expect("a file");
        let made = place.rr_edge(&["--make-key", "app.key"]);
        assert!(made.status.success(), "{made:?}");
        assert!(!text(&made.stdout).contains(place.key().as_str()), "a key is shown nowhere");
        place.write(&place.gateway("echo"), 0o600);
        place
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn gateway(&self, proxy: &str) -> String {
        format!(
            "\
kind: target
name: echo
base_url: {}
danger_plaintext: true
---
kind: credential
name: token
upstream: {{kind: bearer}}
value_from: {{file: value, targets: [echo]}}
---
kind: credential
name: app
caller: {{kind: api-key}}
value_from: {{file: app.key}}
---
kind: proxy
name: {proxy}
target: echo
caller_credentials: [app]
upstream_credential: token
",
            self.upstream.url()
        )
    }

    fn write(&self, text: &str, mode: u32) {
        let path = self.path("gateway.yaml");
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
    }

    pub(super) fn key(&self) -> String {
        std::fs::read_to_string(self.path("app.key")).expect("a key").trim().to_owned()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program("rr-edge"));
        command.current_dir(self.folder.path()).args(args);
        command
    }

    /// Runs a command that ends by itself.
    fn rr_edge(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("rr-edge runs")
    }

    /// Starts a node on the file, and waits until it serves something.
    async fn start(&self) -> Process {
        self.start_with(&[]).await
    }

    pub(super) async fn start_with(&self, more: &[&str]) -> Process {
        self.start_as(self.command(&[]), more).await
    }

    /// Starts a node by a command that has the program as its last word.
    pub(super) async fn start_as(&self, mut command: Command, more: &[&str]) -> Process {
        let [listen, admin] = self.ports.each_ref().map(|port| port.address().to_string());
        command.current_dir(self.folder.path());
        command.args(["--standalone", "gateway.yaml", "--records", "records"]);
        command.args(["--listen", &listen, "--admin", &admin, "--allow-upstream", "127.0.0.0/8"]).args(more);
        let process = Process::start(&mut command, &self.path("log"));
        eventually("it is ready", || async {
            // With a token for the admin port, it does not say.
            let status = self::admin(self.admin(), "/readyz").await.ok()?.status;
            (status == 200 || status == 401).then_some(())
        })
        .await;
        process
    }

    pub(super) fn listen(&self) -> SocketAddr {
        self.ports[0].address()
    }

    pub(super) fn admin(&self) -> SocketAddr {
        self.ports[1].address()
    }

    async fn status(&self, proxy: &str) -> Option<u16> {
        let caller = Caller::new(self.listen(), &format!("local.{proxy}"), &self.key());
        Some(caller.try_get("/hello").await.ok()?.status.as_u16())
    }

    async fn serves(&self, proxy: &str) {
        eventually(&format!("{proxy} is served"), || async {
            (self.status(proxy).await? == 200).then_some(())
        })
        .await;
    }

    /// How it stands with the file.
    async fn file(&self) -> Option<Value> {
        let reply = admin(self.admin(), "/config").await.ok()?;
        let config: Value = serde_json::from_slice(&reply.body).ok()?;
        config.get("file").cloned()
    }

    fn records(&self, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn hang_up(process: &Process) {
    let sent = Command::new("kill").args(["-HUP", &process.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_alone_serves_its_file_takes_changes_and_keeps_the_last_good_content() {
    let place = Place::new().await;
    let mut edge = place.start().await;
    place.serves("echo").await;
    let seen = place.upstream.seen();
    let seen = seen.last().expect("it was called");
    assert_eq!(
        (seen.uri.path(), &seen.headers["authorization"]),
        ("/hello", &"Bearer s3cr3t".parse().expect("a value"))
    );
    // What it prints works in a shell, and shows no secret.
    let url = format!("http://{}/api/local.echo/", place.listen());
    eventually("it says how to call it", || async { edge.log().contains(&url).then_some(()) }).await;
    assert!(edge.log().contains("curl -H \"Authorization: $(cat app.key)\""), "{}", edge.log());

    place.write(&place.gateway("other"), 0o600);
    place.serves("other").await;
    assert_eq!(place.status("echo").await, Some(401), "it is gone");

    place.write(&place.gateway("third").replace("target: echo", "target: ecko"), 0o600);
    let refused = eventually("the broken file is seen", || async {
        place.file().await.filter(|file| file["refused_since"].is_string())
    })
    .await;
    assert_eq!(refused["refused_line"], 18, "{refused}");
    place.serves("other").await;
    assert!(edge.log().contains("gateway.yaml:18: target: no target"), "{}", edge.log());

    // So does a start.
    assert_eq!(edge.terminate().await.code(), Some(0));
    let mut edge = place.start().await;
    place.serves("other").await;
    assert!(place.file().await.expect("it says so")["refused_since"].is_string());

    place.write(&place.gateway("third"), 0o600);
    std::fs::rename(place.path("records"), place.path("records.1")).expect("it is ours");
    hang_up(&edge);
    place.serves("third").await;
    eventually("it stands well with the file", || async {
        place.file().await.filter(|file| file["refused_since"].is_null() && file["loaded_at"].is_string())
    })
    .await;
    let served = |name: &str| {
        let records = place.records(name);
        records.iter().filter(|record| record["path"] == "/hello" && record["status"] == 200).count()
    };
    eventually("a record is in the new file", || async { (served("records") >= 1).then_some(()) }).await;
    assert!(served("records.1") >= 3, "{:?}", place.records("records.1"));
    let all = [place.records("records.1"), place.records("records")].concat();
    assert!(all.iter().all(|record| record["code"].is_string() && record["dropped"].is_null()));

    // Neither the value nor the key is anywhere but in its own file.
    assert_eq!(edge.terminate().await.code(), Some(0));
    assert!(!edge.log().contains("s3cr3t") && !edge.log().contains(&place.key()));
    let mut folders = vec![place.path("rr-edge-state")];
    while let Some(folder) = folders.pop() {
        for name in names(&folder) {
            let path = folder.join(name);
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).expect("it is ours");
            assert!(!bytes.windows(6).any(|part| part == b"s3cr3t"), "{}", path.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_served_is_refused_with_its_line_and_leaves_nothing_behind() {
    let place = Place::new().await;
    let before = names(place.folder.path());
    let start = ["--standalone", "gateway.yaml", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let check = ["--standalone", "gateway.yaml", "--check"];
    for (content, mode, wanted) in [
        (place.gateway("echo"), 0o644, "chmod 600 gateway.yaml"),
        (place.gateway("echo").replace("name: app", "nam: app"), 0o600, "gateway.yaml:12: "),
        (place.gateway("echo").replace("file: value", "file: gone"), 0o600, "gateway.yaml:9: "),
        ("kind: [".to_owned(), 0o600, "gateway.yaml"),
    ] {
        place.write(&content, mode);
        for args in [&start[..], &check] {
            let output = place.rr_edge(args);
            let error = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{args:?}: {error}");
            assert!(error.contains("error: ") && error.contains(wanted), "{args:?}: {error}");
        }
        assert_eq!(names(place.folder.path()), before, "{wanted}");
    }
    place.write(&place.gateway("echo"), 0o600);
    let output = place.rr_edge(&check);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = text(&output.stdout);
    assert!(said.contains("gateway.yaml is valid: targets 1, credentials 2, proxies 1,"), "{said}");
    assert_eq!(names(place.folder.path()), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_a_joined_node_is_not_taken_and_a_joined_node_takes_no_folder_of_a_node_alone() {
    let place = Place::new().await;
    let control = Control::start(&place.path("control")).await;
    let api = control.bootstrap().await;
    let keys = api.region("eu", "").await.expect("region");
    let token = api.node_token("eu", &keys, 2).await.expect("token");
    let token = token.to_secret();
    let mut edge = Edge::start(&place.path("edge"), control.fleet, token.expose());
    eventually("it has joined", || {
        let joined = place.path("edge/state/identity").exists().then_some(());
        async move { joined }
    })
    .await;
    edge.process.terminate().await;
    let ports = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let alone = ["--standalone", "gateway.yaml", "--state-dir", "edge/state"];
    let output = place.rr_edge(&[&alone[..], &ports].concat());
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("has joined") && error.contains("--state-dir"), "{error}");

    place.start().await.terminate().await;
    let url = format!("https://{}", control.fleet);
    let joined = ["--control-plane", &url, "--node-token-file", "edge/token"];
    let output = place.rr_edge(&[&joined[..], &ports].concat());
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("standalone node") && error.contains("--state-dir"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_nobody_reads_hold_up_neither_requests_nor_the_end() {
    let place = Place::new().await;
    let [listen, admin] = place.ports.each_ref().map(|port| port.address().to_string());
    let mut command = place.command(&["--standalone", "gateway.yaml", "--records", "-"]);
    command.args(["--listen", &listen, "--admin", &admin, "--allow-upstream", "127.0.0.0/8"]);
    let log = std::fs::File::create(place.path("log")).expect("a file");
    let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().expect("rr-edge starts");
    place.serves("echo").await;
    let mut caller = Kept::connect(place.listen()).await.expect("it listens");
    // More than a pipe holds.
    for _ in 0..500 {
        let reply = caller.get("/api/local.echo/hello", &place.key()).await.expect("it answers");
        assert_eq!(reply.status, 200);
    }
    drop(caller);
    let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
    let status = eventually("it ends although nobody reads", || {
        let ended = child.try_wait().expect("a child can be waited for");
        async move { ended }
    })
    .await;
    assert_eq!(status.code(), Some(0));
    let mut read = String::new();
    child.stdout.take().expect("a pipe").read_to_string(&mut read).expect("text");
    // What is in the pipe are records; the kernel may have cut the last one off.
    let (lines, _) = read.rsplit_once('\n').expect("lines");
    let records: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert!(records.len() >= 50 && records.iter().all(|record| record["code"].is_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_served_for_one_file_or_organization_is_not_served_for_another() {
    let place = Place::new().await;
    place.start().await.terminate().await;
    std::fs::copy(place.path("gateway.yaml"), place.path("second.yaml")).expect("it is ours");
    let ports = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    for more in [&["--standalone", "second.yaml"][..], &["--standalone", "gateway.yaml", "--org", "acme"]] {
        let broken = place.gateway("echo").replace("target: echo", "target: ecko");
        place.write(&broken, 0o600);
        std::fs::write(place.path("second.yaml"), &broken).expect("it is ours");
        let output = place.rr_edge(&[more, &ports].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(text(&output.stderr).contains(".yaml:18: target"), "{output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_on_which_the_process_ends_itself_is_given_up_until_the_file_changes() {
    let place = Place::new().await;
    let [listen, admin] = place.ports.each_ref().map(|port| port.address().to_string());
    let start = || {
        let mut command = Command::new(program("faulty-edge"));
        command.current_dir(place.folder.path()).args(["--standalone", "gateway.yaml"]);
        command.args(["--listen", &listen, "--admin", &admin, "--allow-upstream", "127.0.0.0/8"]);
        command.envs([("RR_FAULT", "on"), ("RR_FAULT_PROVE_MS", "300")]);
        Process::start(&mut command, &place.path("log"))
    };
    let ends = async |edge: &mut Process| {
        eventually("the node ends", || {
            let ended = edge.ended();
            async move { ended }
        })
        .await;
    };
    let mut edge = start();
    place.serves("echo").await;
    eventually("the content is proven", || async {
        let reply = self::admin(place.admin(), "/config").await.ok()?;
        serde_json::from_slice::<Value>(&reply.body).ok()?["proven"].is_object().then_some(())
    })
    .await;
    // Beside what is served: what a content took away stays closed, although it was given up.
    let more = place.gateway("abort-here");
    let more = &more[more.find("kind: proxy").expect("a proxy")..];
    place.write(&format!("{}---\n{more}", place.gateway("echo")), 0o600);
    ends(&mut edge).await;
    ends(&mut start()).await;
    let edge = start();
    place.serves("echo").await;
    eventually("it says that it does not take the file", || async {
        place.file().await.filter(|file| file["refused_since"].is_string())
    })
    .await;
    // What is written of it comes behind what is shown.
    eventually("it says why", || {
        let says = edge.log().contains("has ended itself twice on this content");
        async move { says.then_some(()) }
    })
    .await;
    place.write(&place.gateway("other"), 0o600);
    place.serves("other").await;
}
