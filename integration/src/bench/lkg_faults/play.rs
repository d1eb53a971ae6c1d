//! Faults on a disk under last-known-good, counted and judged: torn writes, bent bits, lost, doubled and
//! exchanged frames, missing files, a full disk at each call, and an end between any two calls.
//!
//! One history is played on a disk in memory that notes each call. Then each fault is put on what the disk held,
//! and the node started on it twice over. The judgement: it does not panic, and it stands on nothing or on a place
//! that was published, with exactly what was compiled there; and where the fault damaged nothing that was synced, on no
//! older place than was acknowledged. `bench lkg-faults` plays all of it; the tests of the journal, which take this file
//! in, play a part.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message as _;
use rr_contract::digest::resource_hash;
use rr_contract::model::id::{CredentialId, OrgId, ProxyId, RegionId, TargetId};
use rr_contract::model::resource::{Key, ResourceId};
use rr_contract::seam::{Seams, SystemClock, SystemEntropy};
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;

use super::disk::{Call, FaultyDisk, Files, Stored, perform};
use super::{AuditHead, LastKnownGood, Position};

const REGION: RegionId = RegionId::from_random([2; 16]);
const ORG: OrgId = OrgId::from_random([3; 16]);

/// What came of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    /// Faults by kind.
    pub(crate) faults: BTreeMap<&'static str, u64>,
    /// What must never be, in words; at most a hundred are kept.
    pub(crate) violations: Vec<String>,
    /// How many there were.
    pub(crate) violated: u64,
}

impl Outcome {
    /// All faults.
    pub(crate) fn total(&self) -> u64 {
        self.faults.values().sum()
    }
}

/// Plays faults: every one, or one in `stride` of those that are many.
pub(crate) fn play(stride: usize) -> Outcome {
    Play::new(stride.max(1)).all()
}

// --- one history

/// A place that was published, and what was compiled there.
type Published = BTreeMap<u64, (Position, String)>;

#[derive(Default)]
struct History {
    published: Published,
    /// After so many calls, this revision was acknowledged as durable.
    acknowledged: Vec<(usize, u64)>,
}

/// A node that plays the history.
struct Node {
    disk: FaultyDisk,
    good: LastKnownGood,
    revision: u64,
    history: History,
}

fn start(disk: &FaultyDisk) -> (LastKnownGood, Option<Position>) {
    let seams = Seams {
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        disk: Arc::new(disk.clone()),
    };
    LastKnownGood::start(Path::new("state"), &Secret::new(vec![1; 32]), seams, REGION)
}

fn resource(id: ResourceId, payload: &impl prost::Message) -> fleet::Resource {
    let payload = payload.encode_to_vec();
    fleet::Resource {
        key: Some(Key::new(ORG, id).to_wire()),
        revision: 1,
        hash: resource_hash(&payload).to_vec(),
        payload: payload.into(),
        needs: Vec::new(),
    }
}

fn target(n: u8, version: u64) -> fleet::Resource {
    let payload = fleet::TargetResource {
        name: format!("target-{n}"),
        base_url: format!("https://v{version}.example"),
        connect_timeout: Some(rr_contract::model::time::wire_duration(std::time::Duration::from_secs(1))),
        response_timeout: Some(rr_contract::model::time::wire_duration(std::time::Duration::from_secs(1))),
        ..fleet::TargetResource::default()
    };
    resource(ResourceId::Target(TargetId::from_random([n; 16])), &payload)
}

fn caller(n: u8, version: u64) -> fleet::Resource {
    let api_key = fleet::CallerApiKey { hashes: vec![[[n; 16], [version as u8; 16]].concat()] };
    let usage = fleet::credential_resource::Usage::Caller(fleet::CallerCredential {
        kind: Some(fleet::caller_credential::Kind::ApiKey(api_key)),
        ..fleet::CallerCredential::default()
    });
    let payload = fleet::CredentialResource {
        name: format!("credential-{n}"),
        version,
        usage: Some(usage),
        ..fleet::CredentialResource::default()
    };
    resource(ResourceId::Credential(CredentialId::from_random([n; 16])), &payload)
}

fn proxy(n: u8, target: u8, callers: &[u8]) -> fleet::Resource {
    let credential = |n: &u8| CredentialId::from_random([*n; 16]).to_string();
    let payload = fleet::ProxyResource {
        name: format!("proxy-{n}"),
        active: true,
        caller_credentials: callers.iter().map(credential).collect(),
        target: TargetId::from_random([target; 16]).to_string(),
        upstream_credential: credential(&200),
        regions: vec![REGION.to_string()],
        ..fleet::ProxyResource::default()
    };
    resource(ResourceId::Proxy(ProxyId::from_random([n; 16])), &payload)
}

impl Node {
    fn new(disk: FaultyDisk) -> Self {
        let (good, _) = start(&disk);
        Self { disk, good, revision: 0, history: History::default() }
    }

    fn position(&self, (digest, count): (rr_contract::digest::Digest, u64)) -> Position {
        let mut head = [0xa0; 32];
        head[..8].copy_from_slice(&self.revision.to_be_bytes());
        let audit = Some(AuditHead::from(head));
        Position { lineage: [9; 16], revision: self.revision, region: REGION, digest, count, audit }
    }

    fn note(&mut self, position: Position, written: io::Result<()>) {
        self.history.published.insert(position.revision, (position, self.good.dump()));
        if written.is_ok() {
            let calls = self.disk.lock().calls.len();
            self.history.acknowledged.push((calls, position.revision));
        }
    }

    fn take(&mut self, upserts: Vec<fleet::Resource>, removals: &[Key]) {
        self.revision += 1;
        let removals = removals.iter().map(Key::to_wire).collect();
        let body = fleet::ChunkBody { upserts, removals }.encode_to_vec();
        let position = self.position(self.good.after(&body));
        let written = self.good.take(body, &position);
        self.note(position, written);
    }

    fn stands(&self) -> Position {
        self.position(self.good.after(&[]))
    }

    fn mark(&mut self) {
        self.revision += 1;
        let position = self.stands();
        let written = self.good.mark(&position);
        self.note(position, written);
    }

    fn fold(&mut self) {
        let position = self.stands();
        let written = self.good.fold(&position);
        self.note(position, written);
    }

    fn prove(&mut self) {
        let position = self.stands();
        // What the disk refuses here, the next file says.
        drop(self.good.prove(&position));
    }

    fn restart(&mut self) {
        (self.good, _) = start(&self.disk);
    }

    /// Everything that a journal ever does.
    fn live(mut self) -> Self {
        let org = fleet::OrgResource { name: "acme".to_owned(), suspended: false };
        self.take(
            vec![resource_of_org(&org), target(1, 1), caller(1, 1), caller(200, 1), proxy(1, 1, &[1])],
            &[],
        );
        self.prove();
        let position = self.stands();
        drop(self.good.spare(&position));
        self.take(vec![target(2, 2), proxy(2, 2, &[1])], &[]);
        self.mark();
        self.take(vec![caller(1, 2)], &[]);
        self.prove();
        self.take(vec![target(1, 3)], &[]);
        self.fold();
        self.take(vec![caller(2, 1), proxy(1, 2, &[1, 2])], &[]);
        self.prove();
        self.take(vec![], &[Key::new(ORG, ResourceId::Proxy(ProxyId::from_random([2; 16])))]);
        self.restart();
        self.take(vec![target(3, 4), proxy(3, 3, &[2])], &[]);
        self.good.settle();
        self
    }
}

fn resource_of_org(org: &fleet::OrgResource) -> fleet::Resource {
    let mut resource = resource(ResourceId::Org, org);
    resource.key = Some(Key::org(ORG).to_wire());
    resource
}

// --- faults

struct Play {
    stride: usize,
    history: History,
    calls: Vec<Call>,
    /// What lies there at the end.
    files: Files,
    outcome: Outcome,
}

impl Play {
    fn new(stride: usize) -> Self {
        let disk = FaultyDisk::default();
        let node = Node::new(disk.clone()).live();
        let calls = disk.lock().calls.clone();
        let files = disk.lock().files.clone();
        Self { stride, history: node.history, calls, files, outcome: Outcome::default() }
    }

    fn all(mut self) -> Outcome {
        self.ends();
        self.torn();
        self.bent();
        self.missing();
        self.full();
        self.spliced();
        self.outcome
    }

    /// An end between any two calls, of the process and of the power; and in the middle of any write.
    fn ends(&mut self) {
        let mut files = Files::new();
        for (at, call) in std::mem::take(&mut self.calls).into_iter().enumerate() {
            let floor = self.history.acknowledged.iter().rev().find(|(calls, _)| *calls <= at);
            let floor = floor.map_or(0, |(_, revision)| *revision);
            self.judge("end between two calls", &files, floor, at);
            self.judge("power cut between two calls", &FaultyDisk::cut(&files), floor, at);
            if let Call::Write(path, bytes) = &call {
                for length in (0..bytes.len()).step_by(self.stride) {
                    let mut torn = files.clone();
                    let part = Call::Write(path.clone(), bytes[..length].to_vec());
                    if perform(&mut torn, &part).is_ok() {
                        self.judge("torn write", &torn, floor, length);
                    }
                }
            }
            // In the record are calls that found nothing to do it to.
            drop(perform(&mut files, &call));
        }
    }

    /// A file that lost its end, although it was synced.
    fn torn(&mut self) {
        for (path, file) in self.files.clone() {
            for length in (0..file.bytes.len()).step_by(self.stride) {
                let mut files = self.files.clone();
                files.entry(path.clone()).or_default().bytes.truncate(length);
                self.judge("file cut", &files, 0, length);
            }
        }
    }

    fn bent(&mut self) {
        for (path, file) in self.files.clone() {
            for bit in (0..file.bytes.len() * 8).step_by(self.stride) {
                let mut files = self.files.clone();
                if let Some(byte) = files.entry(path.clone()).or_default().bytes.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
                self.judge("bit bent", &files, 0, bit);
            }
        }
    }

    /// Each set of files gone.
    fn missing(&mut self) {
        let paths: Vec<PathBuf> = self.files.keys().cloned().collect();
        for set in 0..1_usize << paths.len().min(10) {
            let mut files = self.files.clone();
            for (_, path) in paths.iter().enumerate().filter(|(n, _)| set >> n & 1 == 1) {
                files.remove(path);
            }
            self.judge("files missing", &files, 0, set);
        }
    }

    /// A disk that is full at one call, or from one call on.
    fn full(&mut self) {
        let mut at = 0;
        loop {
            let mut last = true;
            for count in [1, 2, usize::MAX] {
                let disk = FaultyDisk::default();
                disk.lock().refuses = Some((at, count));
                let lived = catch_unwind(AssertUnwindSafe(|| Node::new(disk.clone()).live()));
                let Ok(node) = lived else {
                    self.violate("full disk", at, "panicked");
                    continue;
                };
                let files = disk.lock().files.clone();
                let calls = disk.lock().calls.len();
                last &= at >= calls;
                let floor = node.history.acknowledged.last().map_or(0, |(_, revision)| *revision);
                let own = std::mem::replace(&mut self.history, node.history);
                self.judge("full disk", &files, floor, at);
                self.history = own;
            }
            at += 1;
            if last {
                return;
            }
        }
    }

    /// Frames that are whole and in the wrong place: dropped, doubled, exchanged, or another file's.
    fn spliced(&mut self) {
        let states: Vec<(PathBuf, Vec<Vec<u8>>)> = self
            .files
            .iter()
            .filter(|(path, _)| path.to_string_lossy().contains("state-"))
            .map(|(path, file)| (path.clone(), frames(&file.bytes)))
            .collect();
        for (path, own) in &states {
            // The first piece is the header.
            for n in 1..own.len() {
                let mut dropped = own.clone();
                dropped.remove(n);
                self.splice("frame dropped", path, &dropped, n);
                let mut doubled = own.clone();
                doubled.insert(n, own[n].clone());
                self.splice("frame doubled", path, &doubled, n);
                for m in n + 1..own.len() {
                    let mut exchanged = own.clone();
                    exchanged.swap(n, m);
                    self.splice("frames exchanged", path, &exchanged, n);
                }
                for (_, theirs) in states.iter().filter(|(other, _)| other != path) {
                    for m in 1..theirs.len() {
                        let mut mixed = own[..n].to_vec();
                        mixed.extend_from_slice(&theirs[m..]);
                        self.splice("end of another file", path, &mixed, n);
                    }
                }
            }
        }
    }

    fn splice(&mut self, kind: &'static str, path: &Path, frames: &[Vec<u8>], at: usize) {
        let mut files = self.files.clone();
        files.insert(path.to_owned(), Stored { bytes: frames.concat(), synced: 0 });
        self.judge(kind, &files, 0, at);
    }

    /// Starts on it, twice, each time after the process ended itself: the second start is the one that goes back.
    fn judge(&mut self, kind: &'static str, files: &Files, floor: u64, at: usize) {
        *self.outcome.faults.entry(kind).or_default() += 1;
        let disk = FaultyDisk::holding(files.clone());
        for round in 1..=2 {
            if let Some(mark) = disk.lock().files.get_mut(Path::new("state/last-good/ended")) {
                mark.bytes.push(b'X');
            }
            let started = catch_unwind(AssertUnwindSafe(|| {
                let (good, position) = start(&disk);
                let stands = position.map(|position| (position, good.dump(), good.restrained()));
                (good.went_back(), stands)
            }));
            let Ok((went_back, stands)) = started else {
                self.violate(kind, at, "panicked");
                return;
            };
            let revision = match &stands {
                None => 0,
                Some((position, compiled, restrained)) => {
                    match self.history.published.get(&position.revision) {
                        // What went back runs less than was published there, and never more.
                        Some((published, expected))
                            if published == position
                                && (expected == compiled
                                    || (went_back && *restrained > 0 && is_less(compiled, expected))) =>
                        {
                            position.revision
                        }
                        Some((_, expected)) => {
                            let differs =
                                expected.lines().zip(compiled.lines()).find(|(one, two)| one != two);
                            let what = format!("start {round}: another content at {position:?}: {differs:?}");
                            self.violate(kind, at, &what);
                            return;
                        }
                        None => {
                            self.violate(
                                kind,
                                at,
                                &format!("start {round}: {position:?} was never published"),
                            );
                            return;
                        }
                    }
                }
            };
            if revision < floor && !went_back {
                let what = format!("start {round}: stands at {revision}, {floor} was acknowledged");
                self.violate(kind, at, &what);
            }
        }
    }

    fn violate(&mut self, kind: &str, at: usize, what: &str) {
        self.outcome.violated += 1;
        if self.outcome.violations.len() < 100 {
            self.outcome.violations.push(format!("{kind} at {at}: {what}"));
        }
    }
}

/// Whether no key is accepted and no proxy there that was not published.
fn is_less(compiled: &str, expected: &str) -> bool {
    let subject = |line: &str| line.split(": ").next().map(str::to_owned);
    let published: Vec<Option<String>> = expected.lines().map(subject).collect();
    compiled.lines().all(|line| published.contains(&subject(line)))
}

/// The header and each frame.
pub(crate) fn frames(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (header, mut rest) = bytes.split_at(24.min(bytes.len()));
    let mut frames = vec![header.to_vec()];
    while let Some(length) = rest.get(..4).and_then(|length| length.try_into().ok()).map(u32::from_le_bytes) {
        let (frame, behind) = rest.split_at((8 + length as usize).min(rest.len()));
        frames.push(frame.to_vec());
        rest = behind;
    }
    frames
}
