//! Callers as fast as they go, who come back when their connection breaks, and who remember what was answered when.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::caller::Kept;
use anyhow::ensure;
use rr_contract::runtime::Tasks;

const NAP: Duration = Duration::from_millis(5);
/// Longer than a node takes to start.
const LIMIT: Duration = Duration::from_secs(60);

/// One answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Of the request.
    pub id: String,
    /// When its connection began to be opened: it is of the process that ran then, whenever it is read.
    pub connected: Instant,
    /// When it had come.
    pub at: Instant,
    /// How long it took.
    pub took: Duration,
}

/// What came of requests so far.
#[derive(Default)]
pub struct Tally {
    /// Answered as the upstream answers.
    pub answered: Mutex<Vec<Answer>>,
    /// Sent, and not answered: the connection broke, or there was none.
    pub broken: AtomicU64,
    /// Answered otherwise.
    pub refused: AtomicU64,
    is_enough: AtomicBool,
}

impl Tally {
    /// How many were answered.
    pub fn answered(&self) -> u64 {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    /// How many were not.
    pub fn broken(&self) -> u64 {
        self.broken.load(Ordering::Relaxed)
    }

    /// Has all callers come to an end.
    pub fn enough(&self) {
        self.is_enough.store(true, Ordering::Relaxed);
    }

    fn is_over(&self, count: u64) -> bool {
        self.is_enough.load(Ordering::Relaxed) || self.answered() >= count
    }

    fn answer(&self, id: &str, connected: Instant, asked: Instant) {
        let at = Instant::now();
        let answer = Answer { id: id.to_owned(), connected, at, took: at - asked };
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
    }

    /// Waits until so many were answered.
    pub async fn reach(&self, count: u64) -> anyhow::Result<()> {
        let (mut seen, mut since) = (0, Instant::now());
        while self.answered() < count {
            if self.answered() > seen {
                (seen, since) = (self.answered(), Instant::now());
            }
            ensure!(since.elapsed() < LIMIT, "no more than {seen} requests of {count} were answered");
            tokio::time::sleep(NAP).await;
        }
        Ok(())
    }
}

/// Callers until so many requests are answered in all.
pub struct Callers(Vec<tokio::task::JoinHandle<()>>);

impl Callers {
    /// Starts them, each on a connection of its own.
    pub fn start(
        edge: SocketAddr,
        path: &str,
        key: &str,
        connections: usize,
        tally: &Arc<Tally>,
        count: u64,
    ) -> Self {
        let tasks = Tasks::new();
        let one = |_| {
            let (path, key, tally) = (path.to_owned(), key.to_owned(), Arc::clone(tally));
            tasks.spawn("caller", async move {
                while !tally.is_over(count) {
                    call(edge, &path, &key, &tally, count).await;
                    tokio::time::sleep(NAP).await;
                }
            })
        };
        Self((0..connections).map(one).collect())
    }

    /// Waits for all of them.
    pub async fn end(self) -> anyhow::Result<()> {
        for caller in self.0 {
            caller.await?;
        }
        Ok(())
    }
}

/// On one connection, for as long as it lasts.
async fn call(edge: SocketAddr, path: &str, key: &str, tally: &Tally, count: u64) {
    let connected = Instant::now();
    // Nobody listens while the node starts.
    let Ok(mut kept) = Kept::connect(edge).await else { return };
    while !tally.is_over(count) {
        let asked = Instant::now();
        match kept.get(path, key).await {
            Ok(reply) if reply.status == 200 => {
                tally.answer(reply.header("requestrocket-request-id"), connected, asked);
            }
            Ok(_) => {
                tally.refused.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Err(_) => {
                tally.broken.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
    }
}
