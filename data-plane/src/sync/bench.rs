//! A door for the benches: one change after another, and reads of what is in force.
//!
//! Goes through everything that a stream would but the network, and writes to a disk that keeps nothing. It is in every
//! build, so that what is measured is what runs; nothing of the node comes through it.

use std::hint::black_box;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use prost::Message as _;
use rr_contract::model::id::{InstallationId, RegionId};
use rr_contract::model::resource::Key;
use rr_contract::seam::{Disk, DiskFile, Seams, SystemClock, SystemEntropy};
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::{Mode, Outcome};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder as RuntimeBuilder, Runtime};

use crate::current::{Reader, cell};
use crate::snapshot::{Snapshot, Vault};

use super::apply::Applier;
use super::inventory::Inventory;
use super::journal::{Journal, Scribe};
use super::transaction::{Changes, read_body};

const REGION: RegionId = RegionId::from_random([0; 16]);
/// What one chunk of the first transaction holds.
const CHUNK: usize = 1024 * 1024;

/// A node that is configured, without a stream.
pub struct Edge {
    applier: Applier,
    /// Knows what the node will hold, as the control plane does.
    twin: Inventory,
    reader: Reader<Snapshot>,
    revision: u64,
    runtime: Runtime,
}

impl Edge {
    /// Configures a node with these payloads.
    pub fn new(resources: impl IntoIterator<Item = (Key, Vec<u8>)>) -> Self {
        let vault = Vault::new(InstallationId::from_random([0; 16]), Vec::new());
        let empty = || Inventory::new(Arc::clone(&vault));
        let seams =
            Seams { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy), disk: Arc::new(Nowhere) };
        let (journal, _) = Journal::boot(Path::new("bench"), &Secret::new(vec![0; 32]), seams, empty);
        let (publisher, mut seats) = cell(Snapshot::default(), 1);
        let scribe = Scribe::start(journal).expect("a thread starts");
        let applier = Applier::new(REGION, empty(), publisher, scribe, None);
        let runtime = RuntimeBuilder::new_current_thread().enable_time().build().expect("a runtime starts");
        let reader = seats.remove(0).sit();
        let mut edge = Self { applier, twin: empty(), reader, revision: 0, runtime };
        let (mut bodies, mut body, mut size) = (Vec::new(), fleet::ChunkBody::default(), 0);
        for (key, payload) in resources {
            size += payload.len();
            body.upserts.push(resource(&key, payload));
            if size >= CHUNK {
                bodies.push(std::mem::take(&mut body).encode_to_vec());
                size = 0;
            }
        }
        bodies.push(body.encode_to_vec());
        edge.transact(Mode::Snapshot, bodies);
        edge
    }

    /// Takes each payload as a transaction of its own. Returns the nanoseconds that each took of the processors, on
    /// this thread and on that of the journal, from its first message to the verdict, old versions freed.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = (Key, Vec<u8>)>) -> Vec<u64> {
        let one = |(key, payload)| {
            let body = fleet::ChunkBody { upserts: vec![resource(&key, payload)], removals: Vec::new() };
            self.transact(Mode::Delta, vec![body.encode_to_vec()])
        };
        changes.into_iter().map(one).collect()
    }

    /// Reads what is in force so many times, as a request does. Returns the nanoseconds of one read.
    pub fn read(&self, times: u32) -> f64 {
        let since = Instant::now();
        for _ in 0..times {
            black_box(self.reader.view().revision);
        }
        since.elapsed().as_nanos() as f64 / f64::from(times)
    }

    /// What the last transaction took by step, as the node says.
    pub fn timing(&self) -> fleet::Timing {
        self.applier.timing().unwrap_or_default()
    }

    /// How many resources it refuses.
    pub fn refused(&self) -> usize {
        self.applier.refusals()
    }

    fn transact(&mut self, mode: Mode, bodies: Vec<Vec<u8>>) -> u64 {
        self.revision += 1;
        let txn = self.revision.to_be_bytes().to_vec();
        let mut changes = Changes::new();
        for body in &bodies {
            read_body(body, &mut changes).expect("it was just encoded");
        }
        let (digest, count) = self.twin.after(mode, &changes);
        self.twin.apply(mode, changes, &mut Snapshot::default());
        let position = fleet::Position {
            lineage: vec![0; 16],
            revision: self.revision,
            region: REGION.to_string(),
            digest: digest.to_vec(),
            count,
            audit: Vec::new(),
        };
        let begin = fleet::Begin {
            txn: txn.clone(),
            mode: mode.into(),
            base: self.applier.running().map(|at| at.digest.to_vec()).unwrap_or_default(),
            chunks: bodies.len() as u32,
            ..fleet::Begin::default()
        };
        let chunk = |(index, body): (usize, Vec<u8>)| fleet::Chunk {
            txn: txn.clone(),
            index: index as u32,
            crc32: crc32fast::hash(&body),
            body: body.into(),
        };
        let chunks: Vec<fleet::Chunk> = bodies.into_iter().enumerate().map(chunk).collect();
        let commit = fleet::Commit { txn: txn.clone(), position: Some(position), ..fleet::Commit::default() };
        let before = processor_time();
        let mut answer = self.applier.begin(begin);
        for chunk in &chunks {
            answer = answer.or_else(|| self.applier.chunk(chunk));
        }
        let answer = match answer {
            Some(answer) => Some(answer),
            None => self.runtime.block_on(self.applier.commit(&commit)),
        };
        let answer = answer.expect("a transaction is answered");
        let took = processor_time() - before;
        assert_ne!(answer.0.outcome(), Outcome::Refused, "{:?}", answer.0.refusals);
        // A worker lets go of the version before, and the control thread pays for freeing it.
        self.reader.tick();
        let before = processor_time();
        self.runtime.block_on(self.applier.tend());
        took + (processor_time() - before)
    }
}

fn resource(key: &Key, payload: Vec<u8>) -> fleet::Resource {
    fleet::Resource {
        key: Some(key.to_wire()),
        revision: 1,
        hash: Vec::new(),
        payload: payload.into(),
        needs: Vec::new(),
    }
}

/// Nanoseconds that the threads of this process have had of a processor, exact to the call.
fn processor_time() -> u64 {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    spent.tv_sec as u64 * 1_000_000_000 + spent.tv_nsec as u64
}

/// A disk that keeps nothing and costs nothing.
struct Nowhere;

impl DiskFile for Nowhere {
    fn write_all(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Disk for Nowhere {
    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn append(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(Self))
    }

    fn replace(&self, _: &Path, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, _: &Path, _: u64) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::fixture::{caller, org, target};

    use super::*;

    fn bare(resource: fleet::Resource) -> (Key, Vec<u8>) {
        (Key::try_from(resource.key.as_ref().expect("a key")).expect("a key"), resource.payload.to_vec())
    }

    #[test]
    fn changes_are_taken_one_by_one_and_what_is_in_force_is_read() {
        let first = [org(false), target(1, "https://a.example"), caller(1, 1, &[1])];
        let mut edge = Edge::new(first.map(bare));
        let changes = (2..12).map(|n| bare(target(1, &format!("https://{n}.example"))));
        let took = edge.apply(changes);
        assert_eq!(took.len(), 10);
        assert!(took.iter().all(|nanos| *nanos > 0));
        assert_eq!((edge.reader.view().revision, edge.refused()), (11, 0));
        assert!(edge.read(1_000) > 0.0);
    }
}
