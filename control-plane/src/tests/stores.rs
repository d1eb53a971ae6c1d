//! A store on either engine, under a clock that tests set.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rr_contract::runtime::{Shutdown, Tasks};
use rr_contract::seam::{Clock, SystemEntropy};

use super::postgres;
use crate::document::{self, Resource};
use crate::payload::Payload;
use crate::store::{Author, DatabaseAddress, Put, Store, StoreError, Written};

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// A clock that stands where it is put. Clones share the hands.
#[derive(Clone)]
pub(crate) struct SetClock(Arc<AtomicU64>);

impl SetClock {
    pub(crate) fn new() -> Self {
        // 2026-01-01.
        Self(Arc::new(AtomicU64::new(1_767_225_600)))
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, time: Duration) {
        self.0.fetch_add(time.as_secs(), Ordering::Relaxed);
    }
}

impl SetClock {
    /// Sets it back.
    pub(crate) fn back(&self, time: Duration) {
        self.0.fetch_sub(time.as_secs(), Ordering::Relaxed);
    }
}

impl Clock for SetClock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

/// Runs a test on SQLite always, and on PostgreSQL where there is one.
pub(crate) async fn on_both<F: AsyncFn(Store, SetClock)>(test: &str, body: F) {
    let folder = tempfile::tempdir().expect("a folder");
    let server = postgres::database(test);
    let mut homes = vec![DatabaseAddress::Sqlite(folder.path().join("s.db"))];
    homes.extend(server.as_ref().map(postgres::Database::address));
    for home in homes {
        let (tasks, shutdown, clock) = (Tasks::new(), Shutdown::new(), SetClock::new());
        let opened = Store::open(&home, Arc::new(clock.clone()), tasks.clone(), shutdown.stop());
        let store = opened.await.expect("opens");
        store.installation(&SystemEntropy).await.expect("has a head");
        body(store.clone(), clock).await;
        shutdown.begin();
        assert!(tasks.wait(Duration::from_secs(30)).await.is_empty());
        store.close().await;
    }
}

/// What becomes of a resource that is written as it is, with no check.
pub(crate) fn put<R: Resource>(org: &str, id: &str, name: &str, resource: R, payload: Option<&str>) -> Put {
    Put {
        noun: R::NOUN,
        id: id.to_owned(),
        org: org.to_owned(),
        name: name.to_owned(),
        owner: String::new(),
        document: document::encode(&resource.wrap()),
        payload: payload.map(|text| Payload::opaque(text.as_bytes().to_vec())),
        links: Vec::new(),
        labels: Vec::new(),
        before: None,
        created_by: String::new(),
    }
}

/// Writes resources as one revision.
pub(crate) async fn write(store: &Store, puts: Vec<Put>) -> u64 {
    let written: Result<Written<()>, StoreError> = store
        .write(Author::system("test"), move |txn| {
            Box::pin(async move {
                for put in puts {
                    let before = crate::store::resource::by_id(txn, put.noun, &put.id).await?;
                    txn.put(Put { before, ..put });
                }
                Ok(())
            })
        })
        .await;
    written.expect("writes").revision.expect("it is a revision")
}
