//! An installation in which the names of the examples exist: made by `rrctl` itself.
//!
//! Each noun of an organization has an organization of its own, so that what an example deletes is there for the others.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use http::Response;
use http_body_util::Full;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rr_contract::seal::OpeningKey;
use rr_integration::api::Api;
use rr_integration::caller::Caller;
use rr_integration::fleet;
use rr_integration::process::{Control, Edge, program};
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use super::lines::{Line, changed};

/// The organization of whatever is not of a noun's own.
const ORG: &str = "acme";
/// Of which a set is applied; `@` is the upstream.
const TARGETS: &str = include_str!("targets.yaml");
const REST: &str = include_str!("resources.yaml");
const VALUE: &str = "9f86d081884c7d659a2feaa0c55ad015";

pub(super) struct Place {
    folder: tempfile::TempDir,
    control: Control,
    edge: Edge,
    upstream: Upstream,
    api: Api,
    /// Organizations, and the revision at which each had everything.
    made: BTreeMap<String, u64>,
}

/// What a line did.
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
}

impl Place {
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // A filter reads what it answers.
        let answer = || Response::builder().header("content-type", "application/json");
        let answer = move |_: &_| answer().body(Full::from(r#"{"ok":true}"#)).expect("a response");
        let upstream = Upstream::start_with(answer).await;
        let variables = [("RR_CONTROL_TOKEN_RATE", "0".to_owned())];
        let control = Control::start_with(&folder.path().join("control"), &variables).await;
        let api = control.bootstrap().await;
        let work = folder.path().join("work");
        files(&work, &upstream.url(), api.token());
        // Joined below, with a token that `rrctl` made.
        let setup = |line: &str| {
            let mut command = shell(&work, control.management, line);
            let output = command.output().expect("sh runs");
            assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        };
        setup("rrctl region create eu --key-file eu.key --recovery-copy usb/eu.key");
        setup("rrctl node token create eu --region-key eu.key --out join.token");
        let token = std::fs::read(work.join("join.token")).expect("it was written");
        let edge = Edge::start(&folder.path().join("edge"), control.fleet, token.trim_ascii());
        let made = BTreeMap::new();
        let mut place = Self { folder, control, edge, upstream, api, made };
        place.org(ORG, true).await;
        place.edge.ready().await;
        place.traffic().await;
        place
    }

    fn work(&self) -> std::path::PathBuf {
        self.folder.path().join("work")
    }

    /// A record, and a notification that a limit was reached.
    async fn traffic(&mut self) {
        self.called(ORG, "pay").await;
        self.done(ORG, "rrctl proxy update checkout --per-day 1").await;
        let caller = self.caller(ORG, "checkout");
        eventually("the limit is reached", || async {
            (caller.get("/v1/users").await.status == 429).then_some(())
        })
        .await;
        eventually("it is told", || async {
            (!self.json(ORG, "rrctl notification list -o json").await.is_empty()).then_some(())
        })
        .await;
        self.done(ORG, "rrctl proxy update checkout --per-day 0").await;
    }

    fn key(&self, org: &str) -> String {
        let keys = std::fs::read_to_string(self.work().join(format!("{org}.keys"))).expect("keys");
        let line = keys.lines().find(|line| line.starts_with("app ")).expect("the key of app");
        line.split_whitespace().next_back().expect("a key").to_owned()
    }

    fn caller(&self, org: &str, proxy: &str) -> Caller {
        Caller::new(self.edge.listen, &format!("{org}.{proxy}"), &self.key(org))
    }

    async fn called(&self, org: &str, proxy: &str) {
        let caller = self.caller(org, proxy);
        eventually("a call is answered", || async {
            (caller.get("/v1/users").await.status == 200).then_some(())
        })
        .await;
    }

    /// An organization with all resources, or with targets alone.
    async fn org(&mut self, name: &str, whole: bool) {
        if self.made.contains_key(name) {
            return;
        }
        self.done(name, &format!("rrctl org create {name}")).await;
        let rest = if whole { " -f resources.yaml" } else { "" };
        self.done(name, &format!("rrctl apply -f targets.yaml{rest} --yes --keys-out {name}.keys")).await;
        let revision = self.api.revision().await.expect("a revision");
        self.made.insert(name.to_owned(), revision);
    }

    /// An example of a verb as it is run here.
    pub(super) async fn line(&mut self, verb: &str, typed: &str) -> Line {
        let noun = verb.split(' ').next().unwrap_or_default();
        let (org, whole) = match verb {
            "credential create-caller" | "credential create-upstream" | "init" => {
                (verb.replace(' ', "-"), false)
            }
            _ if ["target", "credential", "proxy", "rule", "filter", "meter"].contains(&noun) => {
                (noun.to_owned(), true)
            }
            _ => (ORG.to_owned(), true),
        };
        self.in_org(&org, whole, verb, typed).await
    }

    /// A line of a page as it is run here.
    pub(super) async fn line_of_page(&mut self, page: &str, typed: &str) -> Line {
        let words: Vec<&str> = typed.split(' ').collect();
        let verb = words.get(1..3).map(|words| words.join(" ")).unwrap_or_default();
        let verb = if words.contains(&"apply") { "apply".to_owned() } else { verb };
        let typed = typed.split("  #").next().unwrap_or(typed);
        let typed = typed.replace(" # what bears the label", "").replace(" ID ", " rq_ ");
        // Records are of the organization whose proxy was called.
        let org = if typed.contains(" rq_ ") { ORG.to_owned() } else { format!("page-{page}") };
        self.in_org(&org, true, &verb, &typed).await
    }

    async fn in_org(&mut self, org: &str, whole: bool, verb: &str, typed: &str) -> Line {
        self.org(org, whole).await;
        let control = format!("http://{}", self.control.management);
        let admin = format!("http://{}", self.edge.admin);
        let mut line = changed(verb, typed, &self.upstream.url(), &control, &admin);
        if verb == "request try" {
            // The region has no base URL, and the node no TLS.
            let edge = format!("http://{}", self.edge.listen);
            line = line.replace(" --edge-url https://127.0.0.1:8443 --edge-ca edge.crt", "");
            line.push_str(&format!(" --edge-url {edge}"));
            std::fs::write(self.work().join("app.key"), self.key(org)).expect("a file");
            self.called(org, "pay").await;
        }
        let mut words: Vec<String> = Vec::new();
        for word in line.split(' ') {
            words.push(match word {
                "118" => self.made[org].to_string(),
                "121" => self.api.revision().await.expect("a revision").to_string(),
                // The node that serves is needed by the examples behind it.
                _ if verb == "node revoke" && word.starts_with("nd_") => self.another_node().await,
                _ => self.id(word).await.unwrap_or_else(|| word.to_owned()),
            });
        }
        let run = with_jq(&words.join(" "));
        Line { verb: verb.to_owned(), typed: typed.to_owned(), run, org: org.to_owned() }
    }

    /// A node that joined and never connects.
    async fn another_node(&self) -> String {
        let token = self.done(ORG, "rrctl node token create eu --region-key eu.key").await;
        let token = token.trim().parse().expect("a node token");
        let fleet = fleet::Place::new(self.control.fleet, &self.control.state()).expect("the authority");
        fleet::join_with(&fleet, &token, &OpeningKey::generate()).await.expect("joins").node
    }

    /// A real id for one of an example.
    async fn id(&self, word: &str) -> Option<String> {
        let (list, org) = match word.get(..3)? {
            "nd_" => ("rrctl node list -o json", ORG),
            "rq_" => ("rrctl request list -o json", ORG),
            "nt_" => ("rrctl node token list eu -o json", ORG),
            "no_" => ("rrctl notification list -o json", ORG),
            _ => return None,
        };
        let items = self.json(org, list).await;
        let item = items.iter().find(|item| item["revokedAt"].is_null())?;
        let id = if item["record"].is_object() { &item["record"]["id"] } else { &item["id"] };
        id.as_str().map(str::to_owned)
    }

    async fn json(&self, org: &str, line: &str) -> Vec<Value> {
        serde_json::from_str(&self.done(org, line).await).expect("a list")
    }

    async fn done(&self, org: &str, line: &str) -> String {
        let ended = self.shell(org, line, false).await;
        assert_eq!(ended.code, Some(0), "{line}: {}", ended.err);
        ended.out
    }

    pub(super) async fn run(&self, line: &Line) -> Ended {
        let contexts = line.verb == "login" || line.verb.starts_with("context ");
        self.shell(&line.org, &line.run, contexts).await
    }

    /// The planes are other processes, but the upstream is here and has to answer meanwhile.
    async fn shell(&self, org: &str, line: &str, contexts: bool) -> Ended {
        let mut command = shell(&self.work(), self.control.management, line);
        command.env("RRCTL_ORG", org);
        if contexts {
            command.env_remove("RRCTL_ENDPOINT");
        }
        let output =
            tokio::task::spawn_blocking(move || command.output().expect("sh runs")).await.expect("joins");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Runs what goes on until Ctrl-C, until it has printed a line.
    pub(super) async fn first_line(&self, line: &Line) -> Ended {
        let path = self.work().join("printed");
        let file = std::fs::File::create(&path).expect("a file");
        let mut command = shell(&self.work(), self.control.management, &line.run);
        let err = file.try_clone().expect("a second handle");
        command.env("RRCTL_ORG", &line.org).stdout(file).stderr(err).process_group(0);
        let mut child = command.spawn().expect("sh runs");
        let printed = eventually(&format!("{} prints a line", line.run), || async {
            self.called(ORG, "pay").await;
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            text.contains('\n').then_some(text)
        })
        .await;
        let ended = child.try_wait().expect("it can be asked").and_then(|status| status.code());
        let group = Pid::from_child(&child);
        if ended.is_none() {
            kill_process_group(group, Signal::KILL).expect("a group of ours");
            child.wait().expect("it ends");
        }
        Ended { code: ended.or(Some(0)), out: printed, err: String::new() }
    }

    pub(super) fn management(&self) -> SocketAddr {
        self.control.management
    }
}

/// What a pipe leads to, where that program is not installed: nothing. A file, too, is to have each line at once.
fn with_jq(line: &str) -> String {
    let there = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join("jq").is_file()));
    match line.split_once(" | jq ") {
        Some((command, _)) if !there => command.to_owned(),
        _ => line.replace(" | jq ", " | jq --unbuffered "),
    }
}

/// `sh` in the working folder, with the programs of this build first in its path.
fn shell(work: &Path, management: SocketAddr, line: &str) -> Command {
    let programs = program("rrctl").parent().expect("a folder").display().to_string();
    let mut command = Command::new("sh");
    command
        .current_dir(work)
        .args(["-c", line])
        .stdin(Stdio::null())
        .env("PATH", format!("{programs}:{}", std::env::var("PATH").unwrap_or_default()))
        .env("HOME", work)
        .env("PROFILE", work.join("profile.ps1"))
        .env("RRCTL_ENDPOINT", format!("http://{management}"))
        .env("RRCTL_TOKEN_FILE", work.join("bootstrap-token"))
        .env("RRCTL_CONFIG_DIR", work.join("config"))
        .env("RRCTL_PASSPHRASE", "correct horse");
    command
}

/// The files that examples name.
fn files(work: &Path, upstream: &str, token: &str) {
    for folder in ["usb", "acme", ".zfunc", ".config/fish/completions"] {
        std::fs::create_dir_all(work.join(folder)).expect("a folder");
    }
    let write = |name: &str, text: &str| {
        std::fs::write(work.join(name), text).expect("a file");
        let own = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(work.join(name), own).expect("it is ours");
    };
    for name in [
        "value",
        "maps.key",
        "key.txt",
        "id.txt",
        "client-secret.txt",
        "password.txt",
        "access-key.txt",
        "hmac-key.txt",
        "token.txt",
    ] {
        write(name, VALUE);
    }
    write("bootstrap-token", token);
    write("api.yaml", "openapi: 3.1.0\ninfo: {title: Users, version: '1'}\npaths: {/v1/users: {get: {}}}\n");
    write("order.json", r#"{"item": 7}"#);
    write("partner.key", "3f2b8c1d-7e54-4a09-9c6b-d18e2f7a5b30");
    write("old.secret", "Zq7-2mVx9sLr4TzYw8NbQe1HfJ6dUcPb");
    write("cron.secret", "Kq7-2mVx9sLr4TzYw8NbQe1HfJ6dUcPa");
    for (name, begin) in [("old.jwt", "Tgm"), ("token.jwt", "Sfl")] {
        let signature = "xwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c";
        write(name, &format!("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.{begin}{signature}"));
    }
    for name in ["partner", "shop", "renewed", "batch", "example.org", "ledger-ca", "both", "ca", "chain"] {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![format!("{name}.example.com")]).expect("a name");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        write(&format!("{name}.pem"), &params.self_signed(&key).expect("a certificate").pem());
        if name == "chain" {
            write("key.pem", &key.serialize_pem());
        }
    }
    write("targets.yaml", &TARGETS.replace("@UPSTREAM@", upstream));
    write("resources.yaml", &REST.replace("@UPSTREAM@", upstream));
    let set = "kind: target\nname: docs\nbase_url: https://docs.example.com\n\
        ---\nkind: credential\nname: docs\nupstream: {kind: none}\n\
        ---\nkind: proxy\nname: docs\ncaller_credentials: [app]\ntarget: docs\nupstream_credential: docs\n\
        regions: [eu]\nlimits: {per_minute_per_node: 600}\n";
    write("acme/app.yaml", set);
    write(
        "openapi.yaml",
        "openapi: 3.1.0\ninfo: {title: Payments, version: '1'}\npaths:\n  /payments: {get: {}}\n",
    );
}
