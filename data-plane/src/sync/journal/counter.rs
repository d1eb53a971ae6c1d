//! Counts how often the process aborted on one position, and goes back from it.
//!
//! Evidence counts, never time: a mark that the process leaves while it aborts, because of the watchdog, a stack
//! overflow, failed allocation, or a panic that ends it. Kills from outside and power cuts leave none, however many
//! follow each other: they say nothing about the configuration. A mark is counted once, for the newest position on
//! disk, unless that was proven. After the second on one position, the start goes back to the last one that was
//! proven, or else to the one before, and says so for as long as nothing newer is proven. The invariants: without
//! evidence nothing is gone back on; where something is on disk, something is in force.

use std::io;
use std::path::{Path, PathBuf};

use prost::Message as _;
use rr_contract::model::id::RegionId;
use rr_contract::seal::storage::StorageKey;
use rr_contract::seam::{Seams, draw};
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;
use tracing::{error, warn};

use super::super::inventory::Inventory;
use super::super::position::Position;
use super::{Journal, Recovered, back, boot};

const CONTEXT: &[u8] = b"requestrocket boot counter 1";
/// How many aborts on one position make the next start go back from it.
const ENDS: u32 = 2;
/// A mark begins with this many random bytes; each abort appends one.
const MARK: usize = 16;
const MARK_NAME: &str = "ended";

/// What the file says.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Counter {
    // 1 counted starts, whatever had ended them.
    /// How often the process has ended itself on `tried` since the last end in order, or the last proof.
    #[prost(uint32, tag = "4")]
    ends: u32,
    #[prost(message, optional, tag = "2")]
    tried: Option<fleet::Position>,
    /// What was gone back on, until something newer is proven.
    #[prost(message, optional, tag = "3")]
    crash: Option<fleet::CrashReport>,
    /// The mark that was counted last.
    #[prost(bytes = "vec", tag = "5")]
    counted: Vec<u8>,
    /// What was gone back to is not the newest on disk yet.
    #[prost(bool, tag = "6")]
    unwritten: bool,
}

impl Counter {
    /// One more end on a position. Returns how many that makes.
    fn count(&mut self, place: &Position) -> u32 {
        let is_it = |tried: &Option<fleet::Position>| same(tried.as_ref(), place);
        let before = match &self.crash {
            _ if is_it(&self.tried) => self.ends,
            // It was sent once more.
            Some(crash) if is_it(&crash.tried) => crash.boots,
            _ => 0,
        };
        (self.ends, self.tried) = (before.saturating_add(1), Some(place.to_wire()));
        self.ends
    }

    /// How often the process ended on a position that has to be gone back from once more: what was gone back to
    /// could not be written.
    fn left_over(&self, place: &Position) -> Option<u32> {
        let crash = self.crash.as_ref().filter(|crash| self.unwritten && same(crash.tried.as_ref(), place));
        crash.map(|crash| crash.boots)
    }
}

fn same(wire: Option<&fleet::Position>, place: &Position) -> bool {
    wire.and_then(|wire| Position::try_from(wire).ok()).is_some_and(|wire| wire.is_same_content(place))
}

/// Leaves the mark of a process that ends because of a panic.
pub(crate) fn leave_mark(state_dir: &Path, seams: &Seams) {
    let path = state_dir.join(super::FOLDER).join(MARK_NAME);
    // Where there is none, nothing was in force.
    if seams.disk.read(&path).is_ok()
        && let Err(error) = seams.disk.append(&path).and_then(|mut file| file.write_all(b"P"))
    {
        warn!(%error, "end of the process by a panic could not be recorded on disk");
    }
}

impl Journal {
    /// As [`Journal::boot`], for a process that puts it in force: goes back from a configuration on which the
    /// process aborted twice.
    pub(crate) fn start(
        state_dir: &Path,
        node_key: &Secret,
        seams: Seams,
        region: RegionId,
        empty: impl Fn() -> Inventory,
    ) -> (Self, Option<Recovered>) {
        let mut journal = Self::closed(state_dir, node_key, seams);
        journal.counter = journal.read_counter();
        let mark = journal.fresh_mark();
        let is_suspicious = mark.is_some() || journal.counter.unwritten;
        let standing = if is_suspicious { back::standing(&journal) } else { None };
        let mut gone_back_from = None;
        if let Some((place, false)) = standing.filter(|(position, _)| position.region == region) {
            let ends = if mark.is_some() { Some(journal.counter.count(&place)) } else { None };
            let again = journal.counter.left_over(&place);
            let ends = again.or(ends.filter(|ends| *ends >= ENDS));
            gone_back_from = ends.map(|ends| (place, ends));
        }
        // Counted before anything is taken in, as that may be what kills, and before there is another mark.
        journal.renew_mark(mark);
        let recovered = match gone_back_from {
            Some((tried, ends)) => journal.go_back(tried, ends, &empty),
            None => boot::boot(&mut journal, &empty),
        };
        // Of another region: its secrets would not open.
        let recovered = recovered.filter(|recovered| recovered.position.region == region);
        // What is said of another position than the one at which it stands is no longer so.
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

    /// The mark of an end that was not counted yet.
    fn fresh_mark(&self) -> Option<Vec<u8>> {
        let mark = match self.seams.disk.read(&self.mark_path()) {
            Ok(mark) => mark,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn!(%error, "cannot read whether the previous process aborted");
                return None;
            }
        };
        let id = mark.get(..MARK).filter(|id| mark.len() > MARK && *id != self.counter.counted)?;
        Some(id.to_vec())
    }

    /// Prepares the mark for an abort of this process.
    fn renew_mark(&mut self, counted: Option<Vec<u8>>) {
        let path = self.mark_path();
        let made = match counted {
            Some(mark) => {
                self.counter.counted = mark;
                // One that could not be counted stays for the next start.
                if self.write_counter() { self.make_mark() } else { Ok(()) }
            }
            None => self.make_mark(),
        };
        match made.and_then(|()| self.seams.disk.mark_abort(&path)) {
            Ok(mark) => self.mark = Some(mark),
            Err(error) => warn!(%error, "an abort of this process will not be recorded"),
        }
    }

    fn make_mark(&self) -> io::Result<()> {
        self.seams.disk.create_dir_all(&self.folder)?;
        self.seams.disk.replace(&self.mark_path(), &draw::<MARK>(&*self.seams.entropy))
    }

    /// The configuration that was given up after crashes, if nothing newer has been proven since.
    pub(crate) fn crash(&self) -> Option<fleet::CrashReport> {
        self.counter.crash.clone()
    }

    /// The process ends in order: its configuration did not crash it.
    pub(crate) fn settle(&mut self) {
        if self.counter.ends > 0 {
            (self.counter.ends, self.counter.tried) = (0, None);
            self.write_counter();
        }
    }

    /// A newer position is proven: the configuration that was given up is forgotten.
    pub(super) fn forget_crash(&mut self) {
        let counted = std::mem::take(&mut self.counter.counted);
        let forgotten = Counter { counted, ..Counter::default() };
        let before = std::mem::replace(&mut self.counter, forgotten);
        let is_news = before.ends > 0 || before.tried.is_some() || before.crash.is_some() || before.unwritten;
        if is_news {
            self.write_counter();
        }
    }

    /// What is the newest on disk is what runs.
    pub(super) fn is_written(&mut self) {
        if std::mem::take(&mut self.counter.unwritten) {
            self.write_counter();
        }
    }

    fn go_back(&mut self, tried: Position, ends: u32, empty: &impl Fn() -> Inventory) -> Option<Recovered> {
        let report = |running: Option<Position>| fleet::CrashReport {
            tried: Some(tried.to_wire()),
            running: running.map(Position::to_wire),
            boots: ends,
        };
        let before = self.counter.crash.replace(report(None)).and_then(|crash| crash.tried);
        let before = before.and_then(|before| Position::try_from(&before).ok());
        self.counter.unwritten = true;
        self.write_counter();
        let bad: Vec<Position> = [Some(tried), before].into_iter().flatten().collect();
        let Some(recovered) = back::before(self, &bad, empty) else {
            // Without a configuration the node would be useless, for good if nothing new is published.
            let recovered = boot::boot(self, empty);
            let running = recovered.as_ref().map(|recovered| recovered.position);
            error!(
                ?tried,
                ends,
                "process aborted repeatedly on its configuration and has no earlier one to go back to; running it anyway"
            );
            self.counter.crash = Some(report(running));
            self.counter.unwritten = false;
            self.write_counter();
            return recovered;
        };
        let Recovered { inventory, position, is_proven, .. } = &recovered;
        error!(
            ?tried,
            running = ?position,
            proven = is_proven,
            ends,
            "process aborted repeatedly on its configuration; went back to an earlier one"
        );
        (self.counter.ends, self.counter.tried) = (0, None);
        self.counter.crash = Some(report(Some(*position)));
        // Until it is written anew, each start comes by here.
        match self.fold(&inventory.image(), position) {
            Ok(()) => self.counter.unwritten = false,
            Err(error) => warn!(%error, "earlier configuration could not be written to a new file"),
        }
        self.write_counter();
        Some(recovered)
    }

    fn read_counter(&self) -> Counter {
        let read = |bytes: Vec<u8>| {
            let plain = self.key.open(CONTEXT, &bytes).ok()?;
            Counter::decode(plain.as_slice()).ok()
        };
        match self.seams.disk.read(&self.counter_path()) {
            Ok(bytes) => read(bytes).unwrap_or_else(|| {
                warn!("boot counter is damaged; counting from zero");
                Counter::default()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Counter::default(),
            Err(error) => {
                warn!(%error, "boot counter cannot be read; counting from zero");
                Counter::default()
            }
        }
    }

    /// A counter that cannot be written does not stop a start. Returns whether it was.
    fn write_counter(&self) -> bool {
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
        if let Err(error) = &written {
            warn!(%error, "boot counter could not be written");
        }
        written.is_ok()
    }

    fn mark_path(&self) -> PathBuf {
        self.folder.join(MARK_NAME)
    }

    fn counter_path(&self) -> PathBuf {
        self.folder.join("boot")
    }
}
