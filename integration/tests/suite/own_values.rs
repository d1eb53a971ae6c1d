//! Callers with values of their own, from `rrctl` to a request: taken in by hash, presented as their credential says, and
//! replaced while two are live.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use rr_integration::api::Api;
use rr_integration::caller::{Reply, send};
use rr_integration::process::{Control, Edge, program};
use rr_integration::sample::{ORG, REGION, Sample};
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;

use crate::promises::{holds, scan};

const FIRST: &str = "9f86d081884c7d659a2feaa0c55ad015";
const NEXT: &str = "3f2b8c1d-7e54-4a09-9c6b-d18e2f7a5b30";
const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c";

/// A fleet of one, and what tests do with it.
pub(crate) struct Installation {
    pub(crate) sample: Sample,
    pub(crate) edge: Edge,
    pub(crate) upstream: Upstream,
    /// Where both planes write.
    pub(crate) folder: tempfile::TempDir,
    /// Where values lie that nothing else may hold.
    pub(crate) values: tempfile::TempDir,
}

impl Installation {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same, whose node has these settings.
    pub(crate) async fn start_with(settings: &[(&str, String)]) -> Self {
        Self::start_before(Upstream::start().await, settings).await
    }

    /// The same before an upstream of the test's.
    pub(crate) async fn start_before(upstream: Upstream, settings: &[(&str, String)]) -> Self {
        let (folder, values) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        Self::start_in(folder, values, upstream, settings, &[]).await
    }

    /// The same, with these settings for the control plane, too.
    pub(crate) async fn start_traced(upstream: Upstream, settings: &[(&str, String)]) -> Self {
        let (folder, values) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        Self::start_in(folder, values, upstream, settings, settings).await
    }

    /// The same before an upstream of the test's, with settings of its own for each plane.
    pub(crate) async fn start_with_control(
        upstream: Upstream,
        settings: &[(&str, String)],
        of_control: &[(&str, String)],
    ) -> Self {
        let (folder, values) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        Self::start_in(folder, values, upstream, settings, of_control).await
    }

    /// Where both planes write.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `kill -9` of both planes; then they start again.
    pub(crate) async fn crash(self) -> Self {
        let Self { sample, mut edge, upstream, folder, values } = self;
        let Sample { mut control, api, keys, key, place } = sample;
        edge.kill();
        control.kill();
        let control = control.restart().await;
        let edge = edge.restart();
        edge.ready().await;
        let api = Api::new(control.management, api.token());
        let sample = Sample { control, api, keys, key, place };
        Self { sample, edge, upstream, folder, values }
    }

    async fn start_in(
        folder: tempfile::TempDir,
        values: tempfile::TempDir,
        upstream: Upstream,
        settings: &[(&str, String)],
        of_control: &[(&str, String)],
    ) -> Self {
        let sample = Sample::start(folder.path(), &upstream.url(), of_control).await.expect("a sample");
        let token = sample.api.node_token(REGION, &sample.keys, 1).await.expect("a token");
        let (state, token) = (folder.path().join("edge"), token.to_secret());
        let edge = Edge::start_with(&state, sample.control.fleet, token.expose(), settings);
        edge.ready().await;
        Self { sample, edge, upstream, folder, values }
    }

    /// `rrctl` with a value on standard input.
    async fn rrctl(&self, args: &[&str], value: &str) -> Output {
        let mut command = rrctl(&self.sample.control, &self.sample.api, self.values.path(), args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let value = value.to_owned();
        let run = move || {
            use std::io::Write as _;
            let mut child = command.spawn().expect("rrctl runs");
            // It may end without reading.
            child.stdin.take().expect("a pipe").write_all(value.as_bytes()).ok();
            child.wait_with_output().expect("rrctl ends")
        };
        tokio::task::spawn_blocking(run).await.expect("joins")
    }

    /// What `rrctl` says when it succeeds.
    pub(crate) async fn done(&self, args: &[&str], value: &str) -> String {
        let output = self.rrctl(args, value).await;
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// What it says when it succeeds, to whoever reads along, too.
    pub(crate) async fn told(&self, args: &[&str], value: &str) -> String {
        let output = self.rrctl(args, value).await;
        let said = [&output.stdout[..], &output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(output.status.success(), "{args:?}: {said}");
        said
    }

    /// What it says when it fails.
    pub(crate) async fn fails(&self, args: &[&str], value: &str) -> String {
        let output = self.rrctl(args, value).await;
        assert!(!output.status.success(), "{args:?}");
        String::from_utf8(output.stderr).expect("text")
    }

    pub(crate) async fn get(&self, headers: &[(&str, &str)]) -> Reply {
        get(self.edge.listen, headers).await
    }

    /// Waits until a request with these headers is answered so.
    pub(crate) async fn answers(&self, headers: &[(&str, &str)], status: u16) {
        let what = format!("{headers:?} is answered {status}");
        eventually(&what, || async { (self.get(headers).await.status == status).then_some(()) }).await;
    }

    /// The reason in a record of a refusal.
    pub(crate) async fn reason(&self, wanted: &str) {
        let api = &self.sample.api;
        eventually(&format!("a record with the reason {wanted}"), || async {
            let requests = api.requests(ORG).await.ok()?;
            requests.iter().filter_map(|it| it.record.as_ref()).any(|it| it.reason == wanted).then_some(())
        })
        .await;
    }

    /// Nothing of the installation holds any of these.
    pub(crate) async fn forgets(self, values: &[&str]) {
        let answers = self.sample.api.everything(ORG).await.expect("it answers");
        let Self { sample, edge, folder, .. } = self;
        drop((sample, edge));
        for value in values {
            assert!(!answers.iter().any(|answer| holds(answer, value.as_bytes())), "{value} in an answer");
            let mut files = 0;
            scan(folder.path(), value.as_bytes(), &mut files);
            assert!(files > 5, "only {files} files were looked at");
        }
    }
}

pub(crate) fn rrctl(control: &Control, api: &Api, folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program("rrctl"));
    command
        .current_dir(folder)
        .args(["--endpoint", &format!("http://{}", control.management), "--org", ORG])
        .args(args)
        .env("RRCTL_CONFIG_DIR", folder.join("config"))
        .env("RRCTL_TOKEN", api.token());
    command
}

pub(crate) async fn get(edge: SocketAddr, headers: &[(&str, &str)]) -> Reply {
    let mut request = Request::get(format!("/api/{ORG}.echo/x")).header("host", edge.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(edge, request.body(Full::<Bytes>::default()).expect("a request")).await.expect("answered")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_taken_in_by_its_hash_rolled_with_an_overlap_and_found_nowhere() {
    let it = Installation::start().await;
    let create = ["credential", "create-caller", "partner", "--kind", "bearer", "--header", "x-partner"];
    let said = it.done(&[&create[..], &["--prefix", "Key", "--value-from", "-"]].concat(), FIRST).await;
    assert!(!said.contains("rr_key_"), "{said}");
    it.done(&["proxy", "update", "echo", "--caller", "app", "--caller", "partner"], "").await;
    let (first, next) = (format!("Key {FIRST}"), format!("key {NEXT}"));
    it.answers(&[("x-partner", &first)], 200).await;
    let seen = it.upstream.seen().pop().expect("it was asked");
    assert!(seen.headers.get("x-partner").is_none() && !format!("{seen:?}").contains(FIRST), "{seen:?}");

    // A second value beside it, and no third.
    let roll =
        |overlap: &'static str| ["credential", "roll", "partner", "--overlap", overlap, "--value-from", "-"];
    it.done(&roll("10s"), NEXT).await;
    it.answers(&[("x-partner", &next)], 200).await;
    assert_eq!(it.get(&[("x-partner", &first)]).await.status, 200, "the one before is live for a time");
    let third = it.fails(&roll("1h"), "f2ca1bb6c7e907d06dafe4687e579fce").await;
    assert!(third.contains("overlap of 0"), "{third}");
    let shown = it.done(&["credential", "show", "partner"], "").await;
    assert!(shown.contains("older value until"), "{shown}");
    it.answers(&[("x-partner", &first)], 401).await;
    assert_eq!(it.get(&[("x-partner", &next)]).await.status, 200);
    it.reason("superseded").await;

    // A key that is made, and ends the one before at once.
    let app = it.done(&["credential", "roll", "app", "--overlap", "0"], "").await;
    it.answers(&[("authorization", app.trim())], 200).await;
    assert_eq!(it.get(&[("authorization", &it.sample.key)]).await.status, 401);
    it.forgets(&[FIRST, NEXT, app.trim()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_counts_where_it_belongs_and_alone() {
    let it = Installation::start().await;
    let create = ["credential", "create-caller"];
    it.done(&[&create[..], &["fixed", "--kind", "jwt", "--value-from", "-"]].concat(), TOKEN).await;
    let own = ["own", "--kind", "bearer", "--header", "x-own", "--value-from", "-"];
    it.done(&[&create[..], &own].concat(), FIRST).await;
    let callers = ["--caller", "app", "--caller", "fixed", "--caller", "own"];
    it.done(&[&["proxy", "update", "echo"], &callers[..]].concat(), "").await;
    let key = it.sample.key.clone();
    it.answers(&[("x-own", FIRST)], 200).await;
    it.answers(&[("authorization", TOKEN)], 200).await;
    it.answers(&[("authorization", &format!("Bearer {TOKEN}"))], 200).await;
    for (headers, reason) in [
        (&[("authorization", FIRST)][..], "misplaced"),
        (&[("x-own", &*key)], "misplaced"),
        (&[("x-own", &format!("Token {FIRST}"))], "misplaced"),
        (&[("x-own", FIRST), ("authorization", &*key)], "ambiguous"),
        (&[("x-own", FIRST), ("x-own", FIRST)], "ambiguous"),
        (&[("x-own", NEXT)], "unknown"),
        (&[("authorization", "Bearer a.b.c")], "unknown-token"),
        (&[("authorization", "Basic dTpw")], "unknown-user"),
    ] {
        let before = it.upstream.seen().len();
        assert_eq!(it.get(headers).await.status, 401, "{headers:?}");
        assert_eq!(it.upstream.seen().len(), before, "{headers:?}");
        it.reason(reason).await;
    }
    it.forgets(&[FIRST, TOKEN]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weak_value_stays_on_the_machine_and_files_bring_strong_ones() {
    let it = Installation::start().await;
    for (value, part) in [
        ("hunter2", "7 characters long: 32 at least"),
        ("changemechangemechangemechangeme", "80 at least"),
        ("9f86d081884c7d65 9a2feaa0c55ad015", "visible ASCII"),
    ] {
        let create = ["credential", "create-caller", "weak", "--kind", "bearer", "--value-from", "-"];
        let said = it.fails(&create, value).await;
        assert!(said.contains(part) && !said.contains(value), "{said}");
    }
    std::fs::write(it.values.path().join("partner.value"), format!("{FIRST}\n")).expect("is written");
    let set = "kind: credential\nname: partner\ncaller: {kind: bearer, header: x-partner}\n\
        value_from: {file: partner.value}\n";
    std::fs::write(it.values.path().join("set.yaml"), set).expect("is written");
    let said = it.done(&["apply", "-f", "set.yaml", "--yes"], "").await;
    assert!(said.contains("1 created"), "{said}");
    let again = it.done(&["apply", "-f", "set.yaml", "--yes"], "").await;
    assert!(again.contains("nothing to change: 1 unchanged"), "{again}");
    it.done(&["proxy", "update", "echo", "--caller", "partner"], "").await;
    it.answers(&[("x-partner", FIRST)], 200).await;
    // Another value in the file would end the one that callers have: a person says when.
    std::fs::write(it.values.path().join("partner.value"), NEXT).expect("is written");
    let said = it.fails(&["apply", "-f", "set.yaml", "--yes"], "").await;
    assert!(said.contains("credential roll partner"), "{said}");
    it.done(&["credential", "roll", "partner", "--overlap", "24h", "--value-from", "partner.value"], "")
        .await;
    it.answers(&[("x-partner", NEXT)], 200).await;
    it.done(&["apply", "-f", "set.yaml", "--yes"], "").await;
    assert_eq!(it.get(&[("x-partner", FIRST)]).await.status, 200, "an apply ends no overlap");
    it.forgets(&[FIRST, NEXT]).await;
}
