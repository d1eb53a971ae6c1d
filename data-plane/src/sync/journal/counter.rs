//! The boot counter: on what the process was started, and whether that went well.
//!
//! Written before anything that is not proven is put in force at a start, and taken back once it is proven or
//! the process ends in order. So a start that finds itself here knows that the one before did not survive. Where
//! that was on the same place, this start goes back to the last one that was proven, and says so for as long as
//! nothing newer is. The invariant: without a file, or with a damaged one, nothing is ever gone back on.

use std::io;

use prost::Message as _;
use rr_contract::model::id::RegionId;
use rr_contract::seal::storage::StorageKey;
use rr_contract::seam::Seams;
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;
use tracing::{error, warn};

use super::super::inventory::Inventory;
use super::super::position::Position;
use super::{Journal, Recovered, boot};

const CONTEXT: &[u8] = b"requestrocket boot counter 1";

/// What the file says.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Counter {
    /// Starts since the last end in order, or the last proof.
    #[prost(uint32, tag = "1")]
    boots: u32,
    /// What they were on. Unset: the start did not come so far as to know.
    #[prost(message, optional, tag = "2")]
    tried: Option<fleet::Position>,
    /// What was gone back on, until something newer is proven.
    #[prost(message, optional, tag = "3")]
    crash: Option<fleet::CrashReport>,
}

impl Counter {
    /// How often the process has ended on this place: unset if it has not, as far as is known.
    fn ends_on(&self, place: &Position) -> Option<u32> {
        let is_it = |tried: &Option<fleet::Position>| same(tried.as_ref(), place);
        let before = self.crash.as_ref().filter(|crash| is_it(&crash.tried)).map(|crash| crash.boots);
        let counted = (self.boots > 0 && (self.tried.is_none() || is_it(&self.tried))).then_some(self.boots);
        before.or(counted)
    }
}

fn same(wire: Option<&fleet::Position>, place: &Position) -> bool {
    wire.and_then(|wire| Position::try_from(wire).ok()).is_some_and(|wire| wire.is_same_content(place))
}

impl Journal {
    /// As [`Journal::boot`], for a process that is going to put it in force: what did not let the process
    /// live twice is gone back on.
    pub(crate) fn start(
        state_dir: &std::path::Path,
        node_key: &Secret,
        seams: Seams,
        region: RegionId,
        empty: impl Fn() -> Inventory,
    ) -> (Self, Option<Recovered>) {
        let mut journal = Self::closed(state_dir, node_key, seams);
        journal.counter = journal.read_counter();
        let is_suspicious = journal.counter != Counter::default();
        let standing = is_suspicious.then(|| boot::standing(&journal)).flatten();
        if let Some((tried, false)) = standing.filter(|(position, _)| position.region == region)
            && let Some(ends) = journal.counter.ends_on(&tried)
        {
            let recovered = journal.go_back(tried, ends + 1, &empty);
            return (journal, recovered.filter(|recovered| recovered.position.region == region));
        }
        if journal.numbers().is_ok_and(|numbers| !numbers.is_empty()) {
            // Before it is known on what: taking it in may be what kills.
            (journal.counter.boots, journal.counter.tried) = (1, None);
            journal.write_counter();
        }
        let recovered = boot::boot(&mut journal, &empty);
        // Of another region: its secrets would not open.
        let recovered = recovered.filter(|recovered| recovered.position.region == region);
        match recovered.as_ref().filter(|recovered| !recovered.is_proven) {
            Some(unproven) => {
                journal.counter.tried = Some(unproven.position.to_wire());
                journal.write_counter();
            }
            None => journal.settle(),
        }
        // What is said of another place than the one at which it stands is no longer so.
        let running = recovered.as_ref().map(|recovered| recovered.position);
        let holds = journal.counter.crash.as_ref().is_some_and(|crash| match (&crash.running, &running) {
            (Some(_), Some(running)) => same(crash.running.as_ref(), running),
            (None, None) => true,
            _ => false,
        });
        if !holds {
            journal.counter.crash = None;
        }
        (journal, recovered)
    }

    /// What was gone back on, if nothing newer has been proven since.
    pub(crate) fn crash(&self) -> Option<fleet::CrashReport> {
        self.counter.crash.clone()
    }

    /// The process ends in order: what it stands on did not kill it.
    pub(crate) fn settle(&mut self) {
        if self.counter.boots > 0 {
            (self.counter.boots, self.counter.tried) = (0, None);
            self.write_counter();
        }
    }

    /// Something newer is proven: what was gone back on is history.
    pub(super) fn forget_crash(&mut self) {
        if self.counter != Counter::default() {
            self.counter = Counter::default();
            self.write_counter();
        }
    }

    fn go_back(&mut self, tried: Position, boots: u32, empty: &impl Fn() -> Inventory) -> Option<Recovered> {
        let report = |running: Option<Position>| fleet::CrashReport {
            tried: Some(tried.to_wire()),
            running: running.map(Position::to_wire),
            boots,
        };
        self.counter = Counter { boots: 0, tried: None, crash: Some(report(None)) };
        self.write_counter();
        let recovered = boot::proven(self, empty);
        let running = recovered.as_ref().map(|recovered| recovered.position);
        error!(
            ?tried,
            ?running,
            boots,
            "process ended again and again on the configuration that it was to run, went back to the last proven"
        );
        if let Some(Recovered { inventory, position, .. }) = &recovered {
            self.counter.crash = Some(report(running));
            // Until it is written anew, each start comes by here.
            if let Err(error) = self.fold(inventory, position) {
                warn!(%error, "last proven configuration not written anew");
            }
            self.write_counter();
        }
        recovered
    }

    fn read_counter(&self) -> Counter {
        let read = |bytes: Vec<u8>| {
            let plain = self.key.open(CONTEXT, &bytes).ok()?;
            Counter::decode(plain.as_slice()).ok()
        };
        match self.seams.disk.read(&self.counter_path()) {
            Ok(bytes) => read(bytes).unwrap_or_else(|| {
                warn!("boot counter is damaged, counting from here");
                Counter::default()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Counter::default(),
            Err(error) => {
                warn!(%error, "boot counter cannot be read, counting from here");
                Counter::default()
            }
        }
    }

    /// A counter that cannot be written does not stop a start.
    fn write_counter(&self) {
        let path = self.counter_path();
        let written = if self.counter == Counter::default() {
            match self.seams.disk.remove(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            }
        } else {
            let sealed =
                StorageKey::seal(&self.key, CONTEXT, &self.counter.encode_to_vec(), &*self.seams.entropy);
            self.seams.disk.replace(&path, &sealed)
        };
        if let Err(error) = written {
            warn!(%error, "boot counter not written");
        }
    }

    fn counter_path(&self) -> std::path::PathBuf {
        self.folder.join("boot")
    }
}
