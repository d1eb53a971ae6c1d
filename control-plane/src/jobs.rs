//! What is done without being asked: removing what was hidden or kept long enough, letting go of old history, adding up
//! requests, telling people.
//!
//! Each job may run on any number of replicas at once, be cut off anywhere and run again: what it writes is the
//! same from any replica and however often. Jobs keep no time of their own: what is due follows from the store's
//! clock and from rows; what goes for good, from the time that is believed
//! (`store/clock.rs`). A job that fails is tried again when its turn comes.

mod expiry;
mod nodes;
mod records;
mod spools;
mod stale;
mod target_tests;
mod withdrawal;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use rr_contract::runtime::{Stop, Tasks, chain};
use tracing::{info, warn};

use crate::events::Events;
use crate::publish::Fleet;
use crate::service::{ServiceError, Services};
use crate::store::level::Level;
use crate::store::notification::{self, NotificationRow};
use crate::store::{self, RecordStore, Store, StoreError, clock, retention};

use withdrawal::Withdrawals;

/// An organization is hidden for 30 days, and history and records are kept for days: nobody sees an hour more.
const SELDOM: Duration = Duration::from_secs(3600);
/// Nobody calls a preview that has ended, and looking for labels reads all resources.
const NOT_SOON: Duration = Duration::from_secs(300);
/// A node is lost after five minutes, and refusals are looked at while somebody waits for a change to come into
/// force: a minute more is bearable, and each run reads few rows.
const OFTEN: Duration = Duration::from_secs(60);
/// Nothing goes on in a region that is held. Where there is nothing to tell, looking reads three short tables.
const SOON: Duration = Duration::from_secs(10);
/// What nodes do not take is withheld from callers there, and looking costs nothing where all is well.
const AT_ONCE: Duration = Duration::from_secs(5);
/// Metrics are as old as this. Where nothing came, looking reads an empty table.
const FRESH: Duration = Duration::from_secs(2);
/// How many rows are read at once.
const PAGE: u64 = 500;
/// How many batches of sums one transaction adds up.
const BATCHES: u64 = 500;
/// How many minutes, hours or days of rollups go in one transaction.
const LENGTHS: u64 = 10;
/// How many notifications are remembered as written. Beyond, they are written again, which changes nothing.
const TOLD_MOST: usize = 100_000;

/// A job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    Purge,
    Retention,
    Records,
    Expiry,
    LostNodes,
    Refusals,
    Troubles,
    Withdrawal,
    TargetTests,
    Sums,
    Rollups,
    StaleNodes,
    Spools,
    Previews,
    RegionKeys,
    OtherEnds,
}

impl Job {
    const ALL: [Self; 16] = [
        Self::Purge,
        Self::Retention,
        Self::Records,
        Self::Expiry,
        Self::LostNodes,
        Self::Refusals,
        Self::Troubles,
        Self::Withdrawal,
        Self::TargetTests,
        Self::Sums,
        Self::Rollups,
        Self::StaleNodes,
        Self::Spools,
        Self::Previews,
        Self::RegionKeys,
        Self::OtherEnds,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Purge => "purge of organizations",
            Self::Retention => "retention of history",
            Self::Records => "retention of records",
            Self::Expiry => "credentials near expiry",
            Self::LostNodes => "lost nodes",
            Self::Refusals => "refused resources",
            Self::Troubles => "nodes in trouble",
            Self::Withdrawal => "withdrawal of versions",
            Self::TargetTests => "tests of targets after changes",
            Self::Sums => "sums of requests",
            Self::Rollups => "retention of rollups",
            Self::StaleNodes => "stale nodes",
            Self::Spools => "record spools of nodes",
            Self::Previews => "end of previews",
            Self::RegionKeys => "retirement of keys of regions",
            Self::OtherEnds => "credentials with another end",
        }
    }

    /// How long after the start, or after a time without the database, it runs.
    const fn after(self) -> Duration {
        match self {
            // Nobody noted whom they saw meanwhile: nodes are given the time to come back.
            Self::LostNodes => nodes::LOST_AFTER,
            Self::Purge
            | Self::Retention
            | Self::Records
            | Self::Expiry
            | Self::Refusals
            | Self::Troubles
            | Self::Withdrawal
            | Self::TargetTests
            | Self::Sums
            | Self::Rollups
            | Self::StaleNodes
            | Self::Spools
            | Self::Previews
            | Self::RegionKeys
            | Self::OtherEnds => Duration::ZERO,
        }
    }

    /// How long after its end it runs again.
    fn wait(self, failed: bool) -> Duration {
        if failed { self.every().max(self.after()) } else { self.every() }
    }

    const fn every(self) -> Duration {
        match self {
            Self::Purge | Self::Retention | Self::Records | Self::Rollups | Self::Expiry => SELDOM,
            Self::LostNodes | Self::Refusals | Self::StaleNodes | Self::Spools | Self::OtherEnds => OFTEN,
            Self::Previews => NOT_SOON,
            Self::Troubles | Self::RegionKeys => SOON,
            Self::Withdrawal | Self::TargetTests => AT_ONCE,
            Self::Sums => FRESH,
        }
    }
}

/// What jobs work with. Clones share it.
#[derive(Clone)]
pub(crate) struct Jobs {
    services: Services,
    /// How long history can be gone back to.
    keep_history: Duration,
    told: Told,
    withdrawals: Withdrawals,
    tested: Arc<target_tests::Tested>,
    behind: Arc<stale::Behind>,
}

impl Jobs {
    pub(crate) fn new(services: Services, events: Events, keep_history: Duration) -> Self {
        let withdrawals = Withdrawals::new(events, services.store.now());
        Self {
            services,
            keep_history,
            told: Told::default(),
            withdrawals,
            tested: Arc::default(),
            behind: Arc::default(),
        }
    }

    /// Starts them; each ends with the stop.
    pub(crate) fn spawn(&self, tasks: &Tasks, stop: &Stop) {
        for job in Job::ALL {
            tasks.spawn(job.name(), self.clone().repeat(job, stop.clone()));
        }
    }

    async fn repeat(self, job: Job, stop: Stop) {
        let mut wait = job.after();
        let mut failing = false;
        loop {
            if stop.cut(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
            // What it wrote last ends by itself.
            let Some(ran) = stop.cut(self.run(job)).await else { return };
            wait = job.wait(ran.is_err());
            match ran {
                Ok(done) => {
                    failing = false;
                    if done > 0 {
                        info!(job = job.name(), count = done, "job done");
                    }
                }
                Err(error) => {
                    // Once an outage.
                    if !failing {
                        warn!(job = job.name(), error = %chain(&error), "job failed, trying on");
                    }
                    failing = true;
                }
            }
        }
    }

    /// How many things it did.
    async fn run(&self, job: Job) -> Result<u64, ServiceError> {
        match job {
            Job::Purge => Ok(self.services.org_purge().await? as u64),
            Job::Retention => Ok(self.retain().await?),
            Job::Records => {
                let stores = self.services.records.answering();
                sum(of_each(&stores, records::run).await)
            }
            Job::Expiry => Ok(expiry::run(self.store(), &self.told).await?),
            Job::OtherEnds => Ok(expiry::take_back(self.store(), &self.told).await?),
            Job::LostNodes => Ok(nodes::lost(self.store(), self.fleet(), &self.told).await?),
            Job::Refusals => Ok(nodes::refusals(self.store(), &self.told).await?),
            Job::Troubles => Ok(nodes::troubles(self.store(), self.fleet(), &self.told).await?),
            Job::TargetTests => target_tests::run(&self.services, &self.told, &self.tested).await,
            Job::Sums => {
                let stores = self.services.records.answering();
                sum(of_each(&stores, add_up).await)
            }
            Job::Rollups => {
                let now = clock::believed(self.store()).await?;
                let stores = self.services.records.answering();
                sum(of_each(&stores, |store| forget_rollups(store, now)).await)
            }
            Job::StaleNodes => {
                let publisher = &self.services.publisher;
                Ok(stale::run(self.store(), publisher, &self.told, &self.behind).await?)
            }
            Job::Previews => Ok(self.services.previews_end().await? as u64),
            Job::RegionKeys => self.services.region_keys_retire_due().await,
            Job::Spools => Ok(spools::run(self.store(), &self.services.records, &self.told).await?),
            Job::Withdrawal => self.withdrawals.run(&self.services, &self.told).await,
        }
    }

    /// How many payloads went.
    async fn retain(&self) -> Result<u64, StoreError> {
        let kept = i64::try_from(self.keep_history.as_micros()).unwrap_or(i64::MAX);
        let at = clock::believed(self.store()).await?.saturating_sub(kept);
        store::target_test::sweep(self.store()).await?;
        store::notification_seen::sweep(self.store()).await?;
        let mut dropped = 0;
        loop {
            let step = retention::step(self.store(), at).await?;
            dropped += step.dropped;
            if !step.more {
                return Ok(dropped);
            }
        }
    }

    fn store(&self) -> &Store {
        &self.services.store
    }

    fn fleet(&self) -> &Fleet {
        self.services.publisher.fleet()
    }
}

/// Nobody is told how many there were: there always are.
async fn add_up(store: &RecordStore) -> Result<u64, StoreError> {
    loop {
        let added = store.add_up(BATCHES).await?;
        if added < BATCHES {
            return Ok(0);
        }
    }
}

async fn forget_rollups(store: &RecordStore, now: i64) -> Result<u64, StoreError> {
    for level in Level::ALL {
        while store.forget(now, level, LENGTHS).await? {}
    }
    Ok(0)
}

/// Does the same to each store of records at once, so that none waits for another: what came of it, and the first fault.
async fn of_each<'a, T, F>(
    stores: &'a [RecordStore],
    work: impl Fn(&'a RecordStore) -> F,
) -> (Vec<T>, Option<StoreError>)
where
    F: Future<Output = Result<T, StoreError>> + Send + 'a,
{
    let work = stores.iter().map(|store| {
        let done = work(store);
        async move { done.await.map_err(|error| store.blamed(error)) }
    });
    let (mut done, mut failed) = (Vec::with_capacity(stores.len()), None);
    for one in join_all(work).await {
        match one {
            Ok(one) => done.push(one),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    (done, failed)
}

fn sum((done, failed): (Vec<u64>, Option<StoreError>)) -> Result<u64, ServiceError> {
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(done.into_iter().sum()),
    }
}

/// What this replica has told, so that it is not written again at every turn. Clones share it.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<HashSet<String>>>);

impl Told {
    /// As if these had not been told.
    fn forget(&self, ids: &[String]) {
        let mut told = self.told();
        ids.iter().for_each(|id| {
            told.remove(id);
        });
    }

    /// Writes those that are new; how many were to this replica.
    async fn tell(&self, store: &Store, rows: Vec<NotificationRow>) -> Result<u64, StoreError> {
        let rows: Vec<NotificationRow> = {
            let told = self.told();
            rows.into_iter().filter(|row| !told.contains(&row.id)).collect()
        };
        if rows.is_empty() {
            return Ok(0);
        }
        let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
        let count = ids.len() as u64;
        let added = notification::add(store, rows).await?;
        let mut told = self.told();
        if told.len() + ids.len() > TOLD_MOST {
            told.clear();
        }
        told.extend(ids);
        // Another replica, or an earlier process, may have been first.
        Ok(if added { count } else { 0 })
    }

    fn told(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        // Held for a few set operations and never over an await.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
