//! Keeps the published configuration in memory and wakes the streams that carry it to nodes.
//!
//! It takes no input: it reads the revision log, compares and applies. A commit of this process only wakes
//! it early; a poll once a second is what it relies on, so that another replica's commit arrives too. A
//! region of which nothing is known yet has no view at all, never an empty one.

mod admission;
mod chunk;
mod database;
mod index;
mod keys;
mod lookup;
mod nodes;
mod parsed;
mod region;
pub(crate) mod sanitize;
mod stream;
mod survey;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use rr_contract::model::id::RegionId;
use rr_contract::model::resource::Key;
use rr_contract::runtime::{Gate, Stop, chain};
use rr_contract::seam::Entropy;
use rr_contract::wire::fleet as wire;
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use crate::events::Events;
use crate::store::StoreError;

use admission::Pending;
use chunk::{Encoded, Encoder};
use index::Index;
use keys::KeyCache;
use parsed::ParsedNews;
use region::Start;

pub(crate) use database::{Ledger, Log};
#[cfg(test)]
pub(crate) use keys::GrantedKeys;
pub(crate) use nodes::{Fleet, Holdings, RefusedVersion, RefusingRegion, Tester};
#[cfg(test)]
pub(crate) use nodes::{LiveNode, Seat};
pub(crate) use sanitize::{STANDING_MOST, text};
pub(crate) use stream::{End, Outgoing, Outgoings, Session, revoked};

/// How often the log is read when nothing wakes us.
const POLL: Duration = Duration::from_secs(1);
/// A change goes out at once where the one before went out longer ago than this; if not, it is gathered until then.
const GATHER: Duration = Duration::from_millis(10);
/// As much for each stream, so that carrying changes leaves time for the rest; and the longest that any is gathered.
const GATHER_A_STREAM: Duration = Duration::from_micros(20);
const GATHER_MOST: Duration = Duration::from_millis(100);
/// Changes read at once.
const BATCH: u64 = 2_000;
/// How many nodes are asked at once for lists of what they hold. Each list is in memory until it is compared.
const SURVEYS: usize = 32;
/// From this many resources on, parsing and encoding run on a thread of their own.
const MANY: usize = 1_000;

/// The published configuration of this replica.
pub(crate) struct Publisher {
    log: Arc<dyn Log>,
    events: Events,
    index: RwLock<Option<Index>>,
    /// The newest revision that streams may carry.
    announced: watch::Sender<u64>,
    encoder: std::sync::Mutex<Encoder>,
    /// One lock a region, held while a transaction for it is encoded, so that a large one delays no other region.
    encoding: std::sync::Mutex<HashMap<RegionId, Arc<Mutex<()>>>>,
    /// Bounds how many nodes list what they hold at once.
    surveys: Arc<Semaphore>,
    fleet: Fleet,
    keys: KeyCache,
    /// Revisions that were written and are not in the index yet.
    pending: std::sync::Mutex<Pending>,
    /// When the database last answered.
    answered: std::sync::Mutex<Instant>,
}

/// What to send next to a node, given what it has.
pub(crate) enum Next {
    /// Nothing: the node has what its region has.
    Settled,
    /// A transaction.
    Send(Arc<Encoded>),
    /// What it lacks is not known: the node has to report what it holds.
    Ask,
    /// The index is not loaded, or was loaded anew since the stream began.
    Gone,
}

/// What a node has, as far as is known here.
#[derive(Debug, Clone)]
enum Base {
    /// Nothing.
    Nothing,
    /// The content of one of our revisions. The node may know it by a later number.
    At(u64, wire::Position),
    /// A content that is not in our log, and the keys in which it differs from the content of one of our revisions.
    Differs(wire::Position, Arc<[Key]>, u64),
    /// A content that is not known, and the position that the node reports.
    Unknown(Option<wire::Position>),
}

impl Base {
    /// Where a transaction for it starts; none where that has to be found out.
    fn start(&self, index: &Index, region: RegionId) -> Option<Start> {
        match self {
            Self::Nothing => Some(Start::Nothing),
            Self::At(revision, _) => Some(Start::At(*revision)),
            Self::Differs(at, keys, revision) => {
                Some(Start::Differs { content: content(at)?, keys: Arc::clone(keys), revision: *revision })
            }
            Self::Unknown(at) => index.view(region)?.learnt(&content(at.as_ref()?)?),
        }
    }

    /// The position that the node reports.
    fn position(&self) -> Option<&wire::Position> {
        match self {
            Self::Nothing => None,
            Self::At(_, at) | Self::Differs(at, ..) => Some(at),
            Self::Unknown(at) => at.as_ref(),
        }
    }
}

fn content(at: &wire::Position) -> Option<[u8; 32]> {
    at.digest.as_slice().try_into().ok()
}

impl Publisher {
    pub(crate) fn new(store: impl Log + Ledger, events: Events, entropy: Arc<dyn Entropy>) -> Arc<Self> {
        let (announced, _) = watch::channel(0);
        let store = Arc::new(store);
        Arc::new(Self {
            log: Arc::clone(&store) as Arc<dyn Log>,
            events,
            index: RwLock::new(None),
            announced,
            encoder: std::sync::Mutex::default(),
            encoding: std::sync::Mutex::default(),
            pending: std::sync::Mutex::default(),
            answered: std::sync::Mutex::new(Instant::now()),
            surveys: Arc::new(Semaphore::new(SURVEYS)),
            keys: KeyCache::default(),
            fleet: Fleet::new(store, entropy),
        })
    }

    /// Connected nodes.
    pub(crate) fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Where a region's view stands; none while nothing is loaded.
    pub(crate) fn position(&self, region: RegionId) -> Option<wire::Position> {
        self.read().as_ref().map(|index| index.position(region))
    }

    /// The first revision that a node of a region lacks which stands somewhere; none where it lacks nothing.
    pub(crate) fn lacks(&self, region: RegionId, running: Option<&wire::Position>) -> Option<u64> {
        self.read().as_ref().and_then(|index| index.lacks(region, running))
    }

    /// Loads the index, then follows the log until the stop.
    pub(crate) async fn run(self: Arc<Self>, stop: Stop, loaded: Gate) {
        let mut committed = self.log.committed();
        let mut gate = Some(loaded);
        let mut outage = false;
        // When the next change may go out, and whether one waits.
        let (mut due, mut gathering) = (Instant::now(), false);
        loop {
            match self.catch_up().await {
                Ok(changed) => {
                    if outage {
                        info!("database answers again");
                        outage = false;
                    }
                    if let Some(gate) = gate.take() {
                        gate.done();
                    }
                    gathering |= changed;
                }
                Err(error) if !outage => {
                    // Once an outage: streams go on from memory meanwhile.
                    warn!(error = %chain(&error), "cannot read the revision log, trying again; nodes are served from memory");
                    outage = true;
                }
                Err(_again) => {}
            }
            let mut wake = Instant::now() + POLL;
            if gathering {
                let now = Instant::now();
                if due <= now {
                    self.announce();
                    due = now + self.gather();
                    gathering = false;
                } else {
                    wake = due;
                }
            }
            tokio::select! {
                biased;
                () = stop.requested() => return,
                // The store lives as long as we do, so its end is no case.
                _ = committed.changed() => {}
                () = sleep_until(wake) => {}
            }
        }
    }

    /// How long changes are gathered that follow one.
    fn gather(&self) -> Duration {
        (GATHER_A_STREAM * self.fleet.streams()).clamp(GATHER, GATHER_MOST)
    }

    fn announce(&self) {
        let head = self.read().as_ref().map(Index::head);
        if let Some(head) = head {
            self.announced.send_replace(head);
        }
    }

    /// Reads what is new; true when something was.
    pub(crate) async fn catch_up(&self) -> Result<bool, StoreError> {
        let head = self.log.head().await?;
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let ours = self.read().as_ref().map(|index| (index.lineage(), index.head()));
        match ours {
            Some((lineage, revision)) if lineage == head.lineage && revision == head.revision => {
                return Ok(false);
            }
            Some((lineage, revision)) if lineage == head.lineage && revision < head.floor => {
                // What came in between is not whole any more.
                warn!(
                    revision,
                    floor = head.floor,
                    "the index is behind the oldest revision that is kept, loading the configuration anew"
                );
                self.load().await?;
                return Ok(true);
            }
            Some((lineage, revision)) if lineage == head.lineage && revision < head.revision => {}
            Some((_, revision)) => {
                error!(
                    revision,
                    head = head.revision,
                    "the database has another history than before, loading the configuration anew"
                );
                self.load().await?;
                return Ok(true);
            }
            None => {
                self.load().await?;
                return Ok(true);
            }
        }
        let mut changed = false;
        loop {
            let from = self.read().as_ref().map_or(0, Index::head);
            let news = self.log.since(from, BATCH).await?;
            let before = self.parsed_before(from);
            let Some((to, _)) = news.to else { return Ok(changed) };
            let many = news.changes.len() > MANY;
            let Some(news) = apart(many, move || ParsedNews::of(news, &before)).await else {
                return Ok(changed);
            };
            changed = true;
            if let Some(index) = self.write().as_mut() {
                index.apply(news);
            }
            self.taken_in();
            self.events.published(to, to.saturating_sub(from));
        }
    }

    async fn load(&self) -> Result<(), StoreError> {
        // What holds nodes back has to be known before the first of them is served.
        self.fleet.refresh().await?;
        let (head, resources) = self.log.load().await?;
        let count = resources.len();
        // Nobody else loads, so nobody else counts up.
        let generation = self.read().as_ref().map_or(0, |index| index.generation() + 1);
        let index = apart(count > MANY, move || Index::load(head, generation, resources)).await;
        let Some(index) = index else { return Ok(()) };
        let before = self.write().replace(index);
        // Freeing it takes a while too, and is not done under the lock.
        drop(before);
        info!(revision = head.revision, resources = count, "configuration loaded");
        Ok(())
    }

    /// What a node lacks that has `base`. Encoded once for all nodes that lack the same.
    async fn next(&self, region: RegionId, base: &Base, generation: u64) -> Next {
        // Held over the encoding: a stream that needs the same meanwhile finds it done.
        let encoding = self.encoding(region);
        let _encoding = encoding.lock().await;
        let (start, cut) = {
            let index = self.read();
            let Some(index) = index.as_ref().filter(|index| index.generation() == generation) else {
                return Next::Gone;
            };
            let Some(start) = base.start(index, region) else { return Next::Ask };
            if let Start::At(revision) = start
                && index.settled(region, revision)
            {
                return Next::Settled;
            }
            if let Some(ready) = self.encoder().ready(generation, region, &start, index.head()) {
                return Next::Send(ready);
            }
            match index.cut(region, &start) {
                Some(cut) => (start, cut),
                None => return Next::Ask,
            }
        };
        let encoded = if cut.upserts.len() > MANY {
            // Off the workers that carry every other stream.
            match tokio::task::spawn_blocking(move || Encoded::of(cut)).await {
                Ok(encoded) => encoded,
                Err(_stopping) => return Next::Gone,
            }
        } else {
            Encoded::of(cut)
        };
        self.encoder().keep(generation, region, start, &encoded);
        Next::Send(encoded)
    }

    /// Head of the audit chain at a revision.
    async fn audit(&self, revision: u64) -> Result<Option<Vec<u8>>, StoreError> {
        // All nodes that come back from an outage ask for the newest.
        let newest = self.read().as_ref().filter(|index| index.head() == revision).map(Index::audit);
        match newest {
            Some(audit) => Ok(Some(audit.to_vec())),
            None => self.log.audit(revision).await,
        }
    }

    /// Remembers the transaction that brought a node into step from a content outside the log.
    fn learn(&self, region: RegionId, at: &wire::Position, encoded: &Encoded) {
        let (Some(digest), revision) = (content(at), encoded.position.revision) else { return };
        if let Some(view) = self.write().as_mut().and_then(|index| index.view_mut(region)) {
            view.learn(digest, revision, Arc::clone(&encoded.touched));
        }
    }

    /// Forgets what was learnt about a content: a node did not take what followed from it.
    fn forget(&self, region: RegionId, at: &wire::Position) {
        let Some(digest) = content(at) else { return };
        self.encoder().forget(region, digest);
        if let Some(view) = self.write().as_mut().and_then(|index| index.view_mut(region)) {
            view.forget(&digest);
        }
    }

    fn encoder(&self) -> std::sync::MutexGuard<'_, Encoder> {
        self.encoder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn encoding(&self, region: RegionId) -> Arc<Mutex<()>> {
        let mut encoding = self.encoding.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(encoding.entry(region).or_default())
    }

    fn read(&self) -> RwLockReadGuard<'_, Option<Index>> {
        // A panic under the lock would be a bug of the index; streams of other regions need not end for it.
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Option<Index>> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs long work off the workers that carry every stream. None at the stop.
async fn apart<T: Send + 'static>(long: bool, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    if long { tokio::task::spawn_blocking(work).await.ok() } else { Some(work()) }
}

#[cfg(test)]
#[path = "../tests/simulation/publisher.rs"]
mod simulation;
#[cfg(test)]
mod tests;
