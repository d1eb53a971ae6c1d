//! Records on their way into a file, and what is told of those that did not get there.

use std::fs;

use rr_contract::model::id::RequestId;
use rr_contract::seam::SystemClock;
use serde_json::Value;

use super::super::{RawRecord, ring};
use super::*;
use crate::counters::Counters;
use crate::outcome::Code;
use crate::scrub;

fn raw(path: &str) -> Box<RawRecord> {
    Box::new(RawRecord {
        path: scrub::Path::of(path),
        status: Some(http::StatusCode::OK),
        duration: Duration::from_millis(3),
        request_bytes: 1,
        response_bytes: 2,
        aborted: false,
        ..RawRecord::new(RequestId::from_random([7; 16]), SystemTime::UNIX_EPOCH, http::Method::GET, 5)
    })
}

/// A writer whose thread is the test.
fn writer(out: Out) -> (super::super::Ring, Writer) {
    counted(out, Arc::default())
}

fn counted(out: Out, counters: Arc<Counters>) -> (super::super::Ring, Writer) {
    let (ring, end) = ring(counters);
    let writer = Writer {
        out,
        rings: vec![end],
        pieces: None,
        shared: Arc::default(),
        clock: Arc::new(SystemClock),
        last_drain: SystemTime::UNIX_EPOCH,
        last_look: Instant::now(),
        pending: Vec::new(),
        piece: Vec::new(),
        used: fleet::Record::default(),
        records: 0,
        is_torn: false,
        is_failing: false,
    };
    (ring, writer)
}

fn to(path: &Path) -> Out {
    Out::File { file: open(path).expect("a file"), path: path.to_owned() }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("a file");
    assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn a_request_is_a_line_with_the_fields_of_its_record_and_only_the_owner_may_read_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("records");
    let (ring, mut writer) = writer(to(&path));
    ring.push(raw("/a"));
    ring.push(raw("/b\n\""));
    writer.drain();
    let lines = lines(&path);
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["path"], &lines[1]["path"]), (&"/a".into(), &"/b\n\"".into()));
    assert_eq!((&lines[0]["status"], &lines[0]["revision"]), (&200.into(), &5.into()));
    assert_eq!(lines[0]["received_at"], "1970-01-01T00:00:00+00:00");
    assert_eq!(lines[0]["duration"], "0.003s");
    assert_eq!(fs::metadata(&path).expect("a file").mode() & 0o777, 0o600);
}

#[test]
fn what_did_not_fit_is_told_in_a_line_before_the_next_record() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("records");
    let counters = Arc::new(Counters::default());
    let (ring, mut writer) = counted(to(&path), Arc::clone(&counters));
    while counters.records_lost() < 3 {
        ring.push(raw("/"));
    }
    writer.drain();
    let lines = lines(&path);
    assert_eq!(lines[0]["dropped"]["records"], 3);
    assert_eq!(lines[0]["dropped"]["reason"], "ring-full");
    assert!(lines[1..].iter().all(|line| line["path"] == "/"));
    assert_eq!(writer.shared.dropped.load(Ordering::Relaxed), 3);
    writer.drain();
    assert_eq!(self::lines(&path).len(), lines.len(), "it is told once");
}

#[test]
fn what_could_not_be_written_is_told_once_it_can_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("records");
    let (ring, mut writer) = writer(to(&path));
    let full = OpenOptions::new().write(true).open("/dev/full").expect("the system has one");
    let good = std::mem::replace(&mut writer.out, Out::File { file: full, path: "/dev/full".into() });
    for _ in 0..2 {
        ring.push(raw("/lost"));
        writer.drain();
    }
    writer.out = good;
    ring.push(raw("/kept"));
    writer.drain();
    let text = fs::read_to_string(&path).expect("a file");
    // The line that was torn ends first.
    let lines: Vec<Value> =
        text.trim_start().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines[0]["dropped"]["records"], 2);
    assert_eq!(lines[0]["dropped"]["reason"], "not-written");
    assert_eq!((lines.len(), &lines[1]["path"]), (2, &"/kept".into()));
}

#[test]
fn a_file_that_was_moved_away_or_sighup_brings_a_new_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, moved) = (folder.path().join("records"), folder.path().join("records.1"));
    let (ring, mut writer) = writer(to(&path));
    ring.push(raw("/1"));
    writer.drain();
    fs::rename(&path, &moved).expect("it is ours");
    writer.last_look = Instant::now().checked_sub(LOOK_EVERY).expect("the machine runs for a second");
    writer.look();
    ring.push(raw("/2"));
    writer.drain();
    assert_eq!((lines(&moved).len(), lines(&path).len()), (1, 1));
    fs::remove_file(&path).expect("it is ours");
    writer.shared.reopen.store(true, Ordering::Relaxed);
    writer.look();
    ring.push(raw("/3"));
    writer.drain();
    assert_eq!(lines(&path)[0]["path"], "/3");
}

#[test]
fn nowhere_loses_nothing_and_writes_nothing() {
    let (ring, mut writer) = writer(Out::Nowhere);
    for _ in 0..10_000 {
        ring.push(raw("/"));
        writer.drain();
    }
    assert_eq!(writer.shared.dropped.load(Ordering::Relaxed), 0);
}

/// A writer beside a spool, whose thread is the test.
fn beside(out: Out) -> (Tee, Writer) {
    let (_, mut writer) = writer(out);
    let (tee, pieces) = tee::tee(Arc::clone(&writer.shared));
    (writer.rings, writer.pieces) = (Vec::new(), Some(pieces));
    (tee, writer)
}

fn record(path: &str) -> fleet::Record {
    let mut record = fleet::Record::default();
    raw(path).replace(&mut record);
    record
}

#[test]
fn beside_a_spool_each_record_is_a_line_and_what_the_spool_missed_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("records");
    let (mut tee, mut writer) = beside(to(&path));
    tee.take(&record("/1"));
    tee.pass_on();
    writer.drain();
    tee.missed(3);
    tee.take(&record("/2"));
    drop(tee);
    writer.drain();
    let lines = lines(&path);
    assert_eq!((lines.len(), &lines[0]["path"], &lines[2]["path"]), (3, &"/1".into(), &"/2".into()));
    assert_eq!(
        (&lines[1]["dropped"]["records"], &lines[1]["dropped"]["reason"]),
        (&3.into(), &"ring-full".into())
    );
    assert_eq!(writer.shared.dropped.load(Ordering::Relaxed), 3);
}

#[test]
fn a_writer_that_hangs_never_holds_up_the_spool_and_costs_lines_that_are_counted_exactly() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("records");
    let (mut tee, mut writer) = beside(to(&path));
    let long = record(&"x".repeat(1000));
    let mut taken = 0_u64;
    while writer.shared.dropped.load(Ordering::Relaxed) == 0 {
        for _ in 0..100 {
            tee.take(&long);
            taken += 1;
        }
        tee.pass_on();
        assert!(taken < 100_000, "what waits has a bound");
    }
    // It goes on.
    writer.drain();
    drop(tee);
    writer.drain();
    let lines = lines(&path);
    let lost: u64 = lines.iter().filter_map(|line| line["dropped"]["records"].as_u64()).sum();
    let written = lines.iter().filter(|line| line["path"].is_string()).count() as u64;
    assert_eq!((lost + written, lost), (taken, writer.shared.dropped.load(Ordering::Relaxed)));
}

#[test]
fn a_full_disk_beside_a_spool_costs_lines_and_nothing_else() {
    let full = OpenOptions::new().write(true).open("/dev/full").expect("the system has one");
    let (mut tee, mut writer) = beside(Out::File { file: full, path: "/dev/full".into() });
    for _ in 0..5 {
        tee.take(&record("/"));
        tee.pass_on();
        writer.drain();
    }
    assert_eq!(writer.shared.dropped.load(Ordering::Relaxed), 5);
}

#[test]
fn what_a_proxy_samples_away_is_no_line_and_no_loss() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("records");
    let (ring, mut writer) = writer(to(&path));
    for sample in [Some(0), None] {
        ring.push(Box::new(RawRecord { code: Some(Code::Granted), sample, ..*raw("/granted") }));
        ring.push(Box::new(RawRecord { code: Some(Code::RuleDenied), sample, ..*raw("/denied") }));
    }
    writer.drain();
    let paths: Vec<_> = lines(&path).iter().map(|line| line["path"].clone()).collect();
    assert_eq!(paths, ["/denied", "/granted", "/denied"]);
    assert_eq!(writer.shared.dropped.load(Ordering::Relaxed), 0);
}
