//! Marked secrets of every kind go through the whole system: made by every way, used, replaced, refused, cut off by `kill -9`,
//! copied by a backup. Then they are looked for in all that both planes wrote, said and hold in memory: they are on the node,
//! open, and at the upstream.
//!
//! Values that come in the clear over the API belong into `Markers` as soon as there is such a way.

mod made;
mod scan;

use std::cell::Cell;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use rr_integration::postgres::Postgres;
use rr_integration::process::{Control, Edge, admin, program};
use rr_integration::sample::{ORG, Sample};
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;

use self::made::{another_region, bad_input, caller_secrets, upstream_secrets};
use self::scan::{Marker, found};
use crate::own_values::{Installation, rrctl};

/// The region that is made by `rrctl`.
const OTHER: &str = "us";

/// A text that nothing else is: each call another one.
fn marked(kind: &str) -> String {
    let random = rr_contract::seam::draw::<20>(&rr_contract::seam::SystemEntropy);
    format!("canary-{kind}-{}", data_encoding::HEXLOWER.encode(&random))
}

/// What is looked for, and under which names.
#[derive(Default)]
struct Markers(Vec<Marker>);

impl Markers {
    fn make(&mut self, kind: &str) -> String {
        let text = marked(kind);
        self.note(kind, &text);
        text
    }

    fn note(&mut self, kind: &str, text: &str) {
        self.0.push(Marker::text(kind, text));
    }

    fn note_bytes(&mut self, kind: &str, bytes: &[u8]) {
        self.0.push(Marker::bytes(kind, bytes));
    }

    /// The body of a private key in PEM.
    fn note_pem(&mut self, kind: &str, pem: &str) {
        self.note(kind, pem.lines().nth(1).expect("a line"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn marked_secrets_of_every_kind_are_nowhere_but_on_the_node_and_at_the_upstream() {
    Box::pin(nowhere_but_on_the_node_and_at_the_upstream(None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn marked_secrets_of_every_kind_are_nowhere_in_postgres() {
    let Some(server) = Postgres::start() else { return };
    Box::pin(nowhere_but_on_the_node_and_at_the_upstream(Some(server))).await;
}

async fn nowhere_but_on_the_node_and_at_the_upstream(server: Option<Postgres>) {
    let mut markers = Markers::default();
    let trace = [("RR_LOG_LEVEL", "trace".to_owned())];
    let mut of_control = trace.to_vec();
    of_control.extend(server.as_ref().map(|server| ("RR_CONTROL_DATABASE", server.address())));
    let it = Installation::start_with_control(Upstream::start().await, &trace, &of_control).await;
    let tokens = markers.make("access-token");
    let issuer = issuer(&tokens).await;
    markers.note("operator's token", it.sample.api.token());
    markers.note("caller's key", &it.sample.key);
    markers.note_bytes("region's key", it.sample.keys.opening_key().key().to_secret().expose());

    let other = another_region(&it, &mut markers).await;
    let last = upstream_secrets(&it, &mut markers, &issuer).await;
    caller_secrets(&it, &mut markers).await;
    bad_input(&it, &mut markers).await;

    // Both planes are cut off in the middle, and go on.
    let it = it.crash().await;
    let key = it.sample.key.clone();
    it.answers(&[("authorization", &format!("Bearer {key}"))], 200).await;
    let seen = it.upstream.seen().pop().expect("it was asked");
    assert!(format!("{:?}", seen.headers).contains(&last), "the upstream has it");

    let answers = it.folder().join("answers");
    std::fs::create_dir(&answers).expect("a folder");
    ask_everything(&it, &other, &answers).await;
    back_up(&it, server.as_ref());
    // It was the machine of an operator that held these.
    for edge in ["edge", OTHER] {
        std::fs::remove_file(it.folder().join(edge).join("token")).expect("it was there");
    }

    // The node has what it sends, and the scan finds it in a memory.
    let memory = it.folder().join("memory");
    dump(it.edge.process.id(), &memory);
    let on_the_node = found(&memory, &markers.0);
    assert!(on_the_node.iter().any(|hit| hit.starts_with("last upstream value")), "{on_the_node:?}");
    std::fs::remove_file(&memory).expect("it is there");

    // Nobody talks to the control plane any more.
    let Installation { sample, edge, upstream, folder, values } = it;
    let Sample { control, api, .. } = sample;
    drop((api, edge, other, upstream));
    let tries = Cell::new(0);
    eventually("nothing is in the memory of the control plane once its connections are closed", || async {
        dump(control.process.id(), &memory);
        let here = found(&memory, &markers.0);
        tries.set(tries.get() + 1);
        assert!(here.is_empty() || tries.get() < 10, "{here:#?}");
        here.is_empty().then_some(())
    })
    .await;
    assert!(scan::holds(&memory, "echo"), "a name, which it has");
    std::fs::remove_file(&memory).expect("it is there");
    drop((control, values));
    let everywhere = found(folder.path(), &markers.0);
    assert!(everywhere.is_empty(), "{everywhere:#?}");
    let log = std::fs::read_to_string(folder.path().join("control/log")).expect("a log");
    assert!(log.contains("TRACE") && log.len() > 100_000, "the log is at trace level: {}", log.len());
}

/// An issuer of tokens that gives `token`, and a token endpoint of an operator's own.
async fn issuer(token: &str) -> Upstream {
    let answer = format!(r#"{{"access_token":"{token}","expires_in":3600,"data":{{"token":"{token}"}}}}"#);
    Upstream::start_with(move |_| Response::new(Full::from(Bytes::from(answer.clone())))).await
}

/// What both planes say to whoever asks, into files.
async fn ask_everything(it: &Installation, other: &Edge, folder: &Path) {
    for (name, port) in [("control", it.sample.control.admin), ("edge", it.edge.admin), (OTHER, other.admin)]
    {
        for path in ["metrics", "position", "readyz", "issues"] {
            let Ok(reply) = admin(port, &format!("/{path}")).await else { continue };
            std::fs::write(folder.join(format!("{name}-{path}")), reply.text()).expect("is written");
        }
    }
    for (n, answer) in it.sample.api.everything(ORG).await.expect("it answers").iter().enumerate() {
        std::fs::write(folder.join(format!("list-{n}")), answer).expect("is written");
    }
    let mut asked: Vec<Vec<&str>> = vec![
        vec!["credential", "list", "-o", "json"],
        vec!["proxy", "list", "-o", "json"],
        vec!["target", "list", "-o", "json"],
        vec!["request", "list", "-o", "json"],
        vec!["revision", "list", "-o", "json"],
        vec!["token", "list", "-o", "json"],
        vec!["region", "list", "-o", "json"],
        vec!["node", "list", "-o", "json"],
        vec!["notification", "list", "-o", "json"],
        vec!["audit", "verify"],
        vec!["export"],
        vec!["doctor"],
    ];
    let names = ["bearer", "client", "aws", "shown", "last", "made", "ann", "cron"];
    asked.extend(names.map(|name| vec!["credential", "show", name, "-o", "json"]));
    for (n, args) in asked.into_iter().enumerate() {
        let output = rrctl(&it.sample.control, &it.sample.api, it.values.path(), &args).output();
        let output = output.expect("rrctl runs");
        let said = [output.stdout, output.stderr].concat();
        assert!(!said.is_empty(), "{args:?}");
        std::fs::write(folder.join(format!("rrctl-{n}")), said).expect("is written");
    }
}

fn back_up(it: &Installation, server: Option<&Postgres>) {
    let folder = it.folder();
    let mut command = Command::new(program("rr-control"));
    command.arg("--state-dir").arg(it.sample.control.state()).arg("backup").arg(folder.join("backup"));
    if let Some(server) = server {
        command.arg("--pg-dump").arg(server.program("pg_dump"));
        command.env("RR_CONTROL_DATABASE", server.address());
        // A backup is compressed: the same rows as text.
        let mut plain = Command::new(server.program("pg_dump"));
        let dumped = plain.arg(server.address()).arg("-f").arg(folder.join("plain.sql")).status();
        assert!(dumped.expect("pg_dump runs").success());
    }
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Writes the memory of a process into a file, all of it that can be read: what a core would hold, and the program beside it.
fn dump(process: u32, file: &Path) {
    use std::io::Write as _;
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps"))
        .expect("its maps: root may, or --debuggable");
    let memory = std::fs::File::open(format!("/proc/{process}/mem")).expect("its memory");
    let mut out = std::fs::File::create(file).expect("a file");
    let number = |text: &str| u64::from_str_radix(text, 16).expect("an address");
    let mut bytes = vec![0; 1 << 20];
    for line in maps.lines() {
        let mut fields = line.split(' ');
        let (range, rights) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        let Some((from, to)) = range.split_once('-').filter(|_| rights.starts_with('r')) else { continue };
        let (mut at, to) = (number(from), number(to));
        while at < to {
            let part = &mut bytes[..usize::try_from((to - at).min(1 << 20)).expect("it fits")];
            // What is unmapped meanwhile, or never was memory, has nothing.
            if memory.read_exact_at(part, at).is_ok() {
                out.write_all(part).expect("it is written");
            }
            at += part.len() as u64;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_one_plane_lets_slip_is_found_in_logs_files_answers_and_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let (planted, absent) = (marked("planted"), marked("absent"));
    let markers = [Marker::text("planted", &planted), Marker::text("absent", &absent)];
    // In a memory: the environment of a process is there.
    let control = Control::start_with(&folder.path().join("control"), &[("CANARY", planted.clone())]).await;
    let memory = folder.path().join("memory");
    dump(control.process.id(), &memory);
    assert_eq!(found(&memory, &markers), [format!("planted in {}", memory.display())]);
    std::fs::remove_file(&memory).expect("it is there");
    assert!(found(folder.path(), &markers).is_empty(), "it is in no file");
    // In files, as it is and in the forms that somebody may have given it.
    let log = folder.path().join("control/log");
    let whole = std::fs::read(&log).expect("a log");
    for (n, form) in scan::forms(planted.as_bytes()).into_iter().enumerate() {
        std::fs::write(&log, [&whole[..], b"x", form.as_bytes(), b"y\n"].concat()).expect("is written");
        assert_eq!(
            found(folder.path(), &markers),
            [format!("planted in {}", log.display())],
            "form {n}: {form}"
        );
    }
    std::fs::write(&log, &whole).expect("is written");
    // As bytes that are no text.
    let bytes = [7, 0, 255, 9, 128, 31, 27, 1, 2, 3, 4, 5, 6, 200, 201, 202];
    let marker = [Marker::bytes("key", &bytes)];
    assert!(found(folder.path(), &marker).is_empty());
    std::fs::write(&log, [&whole[..], &bytes].concat()).expect("is written");
    assert_eq!(found(folder.path(), &marker), [format!("key in {}", log.display())]);
}
