//! All stores of records that settings name, beside the central database, and whose records lie in which.
//!
//! What regions say is read from the central database and held for a second: a batch that is stored meanwhile where its region
//! was before is stored all the same, for the cursor of its spool decides ([`cursor`](super::cursor)). The invariant: a store
//! that does not answer, or that settings lack, is an error for whoever needs it, and nothing to anybody else.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use rr_contract::runtime::{Stop, chain};
use rr_contract::wire::management::Region;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tracing::{info, warn};

use super::cursor::{Left, Spool};
use super::record_address::RecordAddress;
use super::record_store::RecordStore;
use super::resource::{self, with_documents};
use super::{Store, StoreError};
use crate::document::{CENTRAL, record_store_since};
use crate::noun::Noun;

/// How long is believed what regions say.
const HELD: Duration = Duration::from_secs(1);
/// How often it is looked whether stores answer.
const LOOK: Duration = Duration::from_secs(5);
/// How long the first look may take: a start waits for it.
const FIRST_LOOK: Duration = Duration::from_secs(10);

/// Where records of a region lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placement {
    /// A name, or [`CENTRAL`].
    pub(crate) store: String,
    /// Where they were stored before.
    pub(crate) former: Vec<String>,
    /// When that was changed; 0 for never. Grows with each change.
    pub(crate) since: i64,
}

type Placements = Arc<HashMap<String, Placement>>;

/// Clones share them.
#[derive(Clone)]
pub(crate) struct RecordStores(Arc<Inner>);

struct Inner {
    central: Store,
    named: BTreeMap<String, Named>,
    installation: Vec<u8>,
    held: Mutex<Option<Held>>,
    /// Names that regions use and settings lack.
    lacking: Mutex<BTreeSet<String>>,
}

struct Named {
    address: RecordAddress,
    open: OnceCell<RecordStore>,
    /// As the last look found it.
    answers: Mutex<Option<bool>>,
}

struct Held {
    placements: Placements,
    /// The newest revision that this process had committed.
    revision: u64,
    until: Instant,
}

impl RecordStores {
    /// Opens none of them: [`look`](Self::look) does.
    pub(crate) fn new(central: Store, named: BTreeMap<String, RecordAddress>, installation: Vec<u8>) -> Self {
        let named = named.into_iter().map(|(name, address)| {
            (name, Named { address, open: OnceCell::new(), answers: Mutex::default() })
        });
        Self(Arc::new(Inner {
            central,
            named: named.collect(),
            installation,
            held: Mutex::default(),
            lacking: Mutex::default(),
        }))
    }

    /// The names that settings have.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.named.keys().map(String::as_str)
    }

    /// The central database and those that answer: for what is done to each, whether or not others do.
    pub(crate) fn answering(&self) -> Vec<RecordStore> {
        let named = self.0.named.values().filter_map(Named::answering);
        std::iter::once(self.0.central.records().into()).chain(named).collect()
    }

    /// Each name, and whether it answers: those of settings, and those that regions use and settings lack.
    pub(crate) fn standing(&self) -> Vec<(String, bool)> {
        let named = self.0.named.iter().map(|(name, it)| (name.clone(), it.answers() == Some(true)));
        let lacking = self.lacking().iter().map(|name| (name.clone(), false)).collect::<Vec<_>>();
        named.chain(lacking).collect()
    }

    /// By name.
    pub(crate) fn get(&self, name: &str) -> Result<RecordStore, StoreError> {
        if name == CENTRAL {
            return Ok(self.0.central.records().into());
        }
        let named = self.0.named.get(name).ok_or_else(|| StoreError::NoRecordStore(name.to_owned()))?;
        // One that did not answer lately is not waited for again and again.
        named.answering().ok_or_else(|| StoreError::RecordStoreClosed(name.to_owned()))
    }

    /// Where batches of a region's nodes are stored. One that is gone has its last ones in the central database.
    pub(crate) async fn placement(&self, region: &str) -> Result<Placement, StoreError> {
        let central = || Placement { store: CENTRAL.to_owned(), former: Vec::new(), since: 0 };
        Ok(self.placements().await?.get(region).cloned().unwrap_or_else(central))
    }

    /// Brings the cursor of a spool to where its region is now, and says where its next batch goes: there, or where one was begun
    /// before. Does nothing where the cursor is there.
    pub(crate) async fn bring(
        &self,
        placement: &Placement,
        spool: &Spool,
    ) -> Result<RecordStore, StoreError> {
        let since = placement.since;
        let to = self.get(&placement.store)?;
        if to.since(spool).await?.is_some_and(|there| there >= since) {
            return Ok(to);
        }
        let mut last = 0;
        for name in placement.former.iter().filter(|name| **name != placement.store) {
            let from = self.get(name)?;
            match from.leave(spool, since).await? {
                Left::At(there) => last = std::cmp::max(last, there),
                Left::Begun => return Ok(from),
            }
        }
        to.enter(spool, since, last).await?;
        Ok(to)
    }

    /// The stores that hold records of some regions, by their ids; of any, where none are said. An error where one of them
    /// cannot be asked: an answer without it would look whole.
    pub(crate) async fn holding(&self, regions: Option<&[String]>) -> Result<Vec<RecordStore>, StoreError> {
        let placements = self.placements().await?;
        let of = |ids: &[String]| ids.iter().map(|id| placements.get(id)).collect::<Option<Vec<_>>>();
        // Records of a region that is gone may be in any.
        let known = regions.and_then(of);
        let mut names: BTreeSet<&str> = BTreeSet::new();
        match &known {
            Some(known) => {
                for it in known {
                    names.insert(&it.store);
                    // One that no setting names any more was given up, with what is in it.
                    let former = it.former.iter().map(String::as_str);
                    names.extend(former.filter(|it| *it == CENTRAL || self.0.named.contains_key(*it)));
                }
            }
            None => {
                names.insert(CENTRAL);
                names.extend(self.names());
                names.extend(placements.values().map(|it| it.store.as_str()));
            }
        }
        names.into_iter().map(|name| self.get(name)).collect()
    }

    /// Reads anew what regions say at the next need.
    pub(crate) fn forget(&self) {
        *self.held() = None;
    }

    async fn placements(&self) -> Result<Placements, StoreError> {
        // Before the reading: what is committed meanwhile is read next time.
        let revision = self.0.central.newest_committed();
        if let Some(held) = &*self.held()
            && held.revision == revision
            && Instant::now() < held.until
        {
            return Ok(Arc::clone(&held.placements));
        }
        let rows = resource::all(&self.0.central, Noun::Region, "").await?;
        let regions = with_documents::<Region>(&self.0.central, rows).await?;
        let placed = regions.into_iter().map(|region| (region.row.id, placement(&region.document)));
        let placements: Placements = Arc::new(placed.collect());
        *self.held() =
            Some(Held { placements: Arc::clone(&placements), revision, until: Instant::now() + HELD });
        Ok(placements)
    }

    /// Opens those that are not open, and finds out which of them answer. The first time a start waits for it.
    pub(crate) async fn look(&self) {
        let looks = self.0.named.iter().map(|(name, named)| async move {
            let open = || async {
                let store =
                    RecordStore::open(name, &named.address, &self.0.installation, &self.0.central).await?;
                // Before its first record, which would lie in no day.
                store.make_days().await?;
                Ok(store)
            };
            let found = match named.open.get_or_try_init(open).await {
                Ok(store) => store.ping().await,
                Err(error) => Err(error),
            };
            let before = named.found(found.is_ok());
            let database = &named.address;
            match found {
                Ok(()) if before != Some(true) => {
                    info!(record_store = name, %database, "record store answers");
                }
                Err(error) if before != Some(false) => warn!(
                    record_store = name,
                    %database,
                    error = %chain(&error),
                    "record store does not answer: records of regions that keep them there are not taken until it does"
                ),
                Ok(()) | Err(_) => {}
            }
        });
        join_all(looks).await;
        // Where the central database does not answer, others say so.
        let Ok(placements) = self.placements().await else { return };
        let used: BTreeSet<&str> = placements.values().map(|it| it.store.as_str()).collect();
        let lacks = |name: &str| name != CENTRAL && !self.0.named.contains_key(name);
        let now: BTreeSet<String> = used.into_iter().filter(|name| lacks(name)).map(str::to_owned).collect();
        let before = std::mem::replace(&mut *self.lacking(), now.clone());
        for name in now.difference(&before) {
            warn!(
                record_store = name,
                "regions keep their records in a record store that settings do not name, so records of their nodes are not taken here: start rr-control with --record-store {name}=URL"
            );
        }
    }

    /// The first look, for a start.
    pub(crate) async fn look_first(&self) {
        // What takes longer is gone on with by the next looks.
        if tokio::time::timeout(FIRST_LOOK, self.look()).await.is_err() {
            warn!(
                "not all record stores answer yet; records of regions that keep them there are not taken until they do"
            );
        }
    }

    /// Looks again and again, until the stop.
    pub(crate) async fn follow(self, stop: Stop) {
        while stop.cut(tokio::time::sleep(LOOK)).await.is_some() {
            if stop.cut(self.look()).await.is_none() {
                return;
            }
        }
    }

    /// Closes those that settings name.
    pub(crate) async fn close(&self) {
        for store in self.0.named.values().filter_map(|named| named.open.get()) {
            store.close().await;
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        // Held for an assignment and never over an await.
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lacking(&self) -> MutexGuard<'_, BTreeSet<String>> {
        // As above.
        self.0.lacking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Named {
    fn answering(&self) -> Option<RecordStore> {
        self.open.get().filter(|_| self.answers() == Some(true)).cloned()
    }

    fn answers(&self) -> Option<bool> {
        // As above.
        *self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was found before.
    fn found(&self, answers: bool) -> Option<bool> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).replace(answers)
    }
}

/// What a region's document says.
pub(crate) fn placement(region: &Region) -> Placement {
    let store = if region.record_store.is_empty() { CENTRAL } else { &region.record_store };
    let (former, since) = (region.former_record_stores.clone(), record_store_since(region));
    Placement { store: store.to_owned(), former, since }
}
