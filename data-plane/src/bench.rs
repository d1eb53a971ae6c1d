//! What the benches of the `integration` package drive of a node: its configuration without a stream, its
//! last-known-good and its spool of records without a node.
//!
//! Each call passes on to the code that every node runs, and adds nothing to it. A node uses none of this.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use rr_contract::digest::Digest;
use rr_contract::model::id::{CredentialId, InstallationId, OrgId, ProxyId, RegionId, RequestId, TargetId};
use rr_contract::seam::Seams;
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::Mode;

use crate::counters::Counters;
use crate::current::{Reader, cell};
use crate::outcome::Code;
use crate::quota::Quotas;
use crate::report::{RawRecord, Ring, Spool, SpoolError, SpoolHandle, ring, uses};
use crate::scrub;
use crate::snapshot::{Snapshot, Standings, Vault};
use crate::sync::Position;
use crate::sync::apply::{Answer, Applier};
use crate::sync::inventory::Inventory;
use crate::sync::journal::{Journal, Scribe};
use crate::sync::transaction::{Changes, read_body};

/// A node's configuration and one worker that reads it, without a stream.
pub struct ConfiguredNode {
    applier: Applier,
    reader: Reader<Snapshot>,
}

fn empty() -> Inventory {
    Inventory::new(
        Vault::new(InstallationId::from_random([1; 16]), Vec::new()),
        Quotas::fleeting(),
        Standings::default(),
    )
}

impl ConfiguredNode {
    /// A node that holds nothing yet.
    pub fn new(state_dir: &Path, node_key: &Secret, seams: Seams, region: RegionId) -> io::Result<Self> {
        let (journal, _) = Journal::boot(state_dir, node_key, seams, empty);
        let (activator, mut readers) = cell(Snapshot::default(), 1);
        let applier = Applier::new(region, empty(), activator, Scribe::start(journal)?, None);
        Ok(Self { applier, reader: readers.remove(0).start() })
    }

    /// Opens a transaction. `Some`: it was refused.
    pub fn begin(&mut self, begin: fleet::Begin) -> Option<fleet::Verdict> {
        self.applier.begin(begin).map(verdict)
    }

    /// Takes a chunk. `Some`: the transaction was refused.
    pub fn chunk(&mut self, chunk: &fleet::Chunk) -> Option<fleet::Verdict> {
        self.applier.chunk(chunk).map(verdict)
    }

    /// Closes the transaction and takes it in.
    pub async fn commit(&mut self, commit: &fleet::Commit) -> Option<fleet::Verdict> {
        self.applier.commit(commit).await.map(verdict)
    }

    /// Frees old versions, as the control thread does between messages.
    pub async fn tend(&mut self) {
        self.applier.tend().await;
    }

    /// The position of the running configuration.
    pub fn running(&self) -> Option<Position> {
        self.applier.running()
    }

    /// How many resources are refused.
    pub fn refusals(&self) -> usize {
        self.applier.refusals()
    }

    /// The revision in force, read as a request reads it.
    #[inline]
    pub fn read_revision(&self) -> u64 {
        self.reader.view().revision
    }

    /// Whether a path that names this proxy leads to one, looked up as a request looks it up.
    #[inline]
    pub fn knows(&self, address: &str) -> bool {
        self.reader.view().proxy(address).is_some()
    }

    /// What paths name the proxies by.
    pub fn addresses(&self) -> Vec<String> {
        self.reader.view().addresses().map(str::to_owned).collect()
    }

    /// Lets the worker go over to the newest version and let go of the one before.
    pub fn tick_worker(&self) {
        self.reader.tick();
    }
}

fn verdict(answer: Answer) -> fleet::Verdict {
    answer.0
}

/// Last-known-good on a disk, and the configuration that was read from it.
pub struct LastKnownGood {
    journal: Journal,
    inventory: Inventory,
    snapshot: Snapshot,
}

impl LastKnownGood {
    /// Starts on what the disk holds. Returns the position of what was recovered.
    pub fn start(
        state_dir: &Path,
        node_key: &Secret,
        seams: Seams,
        region: RegionId,
    ) -> (Self, Option<Position>) {
        let (journal, recovered) = Journal::start(state_dir, node_key, seams, region, empty);
        match recovered {
            Some(found) => {
                let (inventory, snapshot) = (found.inventory, found.snapshot);
                (Self { journal, inventory, snapshot }, Some(found.position))
            }
            None => (Self { journal, inventory: empty(), snapshot: Snapshot::default() }, None),
        }
    }

    /// Digest and count after the changes in an encoded chunk.
    ///
    /// # Panics
    /// If `body` is no `ChunkBody`.
    pub fn after(&self, body: &[u8]) -> (Digest, u64) {
        self.inventory.after(Mode::Delta, &changes(body))
    }

    /// Takes the changes in an encoded chunk, which lead to `position`, and writes them.
    ///
    /// # Panics
    /// If `body` is no `ChunkBody`.
    pub fn take(&mut self, body: Vec<u8>, position: &Position) -> io::Result<()> {
        self.inventory.apply(Mode::Delta, changes(&body), &mut self.snapshot);
        if self.journal.wants_fold() {
            self.fold(position)
        } else {
            self.journal.append(&[body.into()], position)
        }
    }

    /// Writes a transaction without changes.
    pub fn mark(&mut self, position: &Position) -> io::Result<()> {
        self.journal.append(&[], position)
    }

    /// Writes the whole state into a new file.
    pub fn fold(&mut self, position: &Position) -> io::Result<()> {
        self.journal.fold(&self.inventory.image(), position)
    }

    /// Writes the state a second time.
    pub fn spare(&mut self, position: &Position) -> io::Result<()> {
        self.journal.spare(&self.inventory.image(), position)
    }

    /// Writes that the node has lived on this position.
    pub fn prove(&mut self, position: &Position) -> io::Result<()> {
        self.journal.prove(position, Some(self.journal.newest()))
    }

    /// The process ends in order.
    pub fn settle(&mut self) {
        self.journal.settle();
    }

    /// Everything that requests are decided by, as text.
    pub fn dump(&self) -> String {
        self.snapshot.dump()
    }

    /// Whether the start went back to an older position because the process had ended itself.
    pub fn went_back(&self) -> bool {
        self.journal.crash().is_some()
    }

    /// How many resources run less than they were sent.
    pub fn restrained(&self) -> usize {
        self.inventory.restrained()
    }
}

fn changes(body: &[u8]) -> Changes {
    let mut changes = Changes::new();
    read_body(body, &mut changes).expect("an encoded ChunkBody");
    changes
}

/// Records on their way to a spool on a disk, without a node.
pub struct RecordSpool {
    rings: Vec<Ring>,
    spool: Spool,
    handle: SpoolHandle,
    seams: Seams,
}

impl RecordSpool {
    /// Starts the spool's thread behind a queue for each worker.
    pub fn start(
        folder: &Path,
        node_key: &Secret,
        quota: u64,
        workers: usize,
        seams: Seams,
    ) -> Result<Self, SpoolError> {
        let (rings, ends) = (0..workers).map(|_| ring(Arc::new(Counters::default()))).unzip();
        let (_, uses) = uses();
        let (spool, handle) =
            Spool::start(folder.to_owned(), node_key, quota, ends, uses, None, seams.clone())?;
        Ok(Self { rings, spool, handle, seams })
    }

    /// Records a request as a worker does. `false`: its queue is full, and nothing was done.
    pub fn push(&self, worker: usize, number: u64) -> bool {
        let ring = &self.rings[worker];
        if !ring.has_room() {
            return false;
        }
        let of = |kind: u8, number: u64| {
            let mut bytes = [kind; 16];
            bytes[8..].copy_from_slice(&number.to_be_bytes());
            bytes
        };
        let id = RequestId::from_random(of(0, number));
        let (proxy, caller) = (number % 200, number % 5);
        ring.push(Box::new(RawRecord {
            org: Some(OrgId::from_random([1; 16])),
            proxy: Some(ProxyId::from_random(of(2, proxy))),
            caller: Some(CredentialId::from_random(of(3, caller))),
            target: Some(TargetId::from_random(of(4, proxy))),
            upstream: Some(CredentialId::from_random(of(5, proxy))),
            path: scrub::Path::of("/v1/customers/4711/invoices"),
            status: Some(StatusCode::OK),
            upstream_status: Some(StatusCode::OK),
            code: Some(Code::Granted),
            duration: Duration::from_micros(20_000 + number % 10_000),
            upstream_duration: Some(Duration::from_micros(19_000)),
            request_bytes: 300,
            response_bytes: 4_000 + number % 1_000,
            ..RawRecord::new(id, self.seams.clock.now(), Method::GET, 7)
        }));
        true
    }

    /// Writes what the queues hold, makes sure of it and ends. Returns how many records were lost, and the bytes on disk.
    pub fn finish(self) -> (u64, u64) {
        self.spool.close();
        (self.handle.dropped(), self.handle.bytes())
    }
}
