//! Writes: each is a revision of its own, and those that wait together are committed together.
//!
//! One task of each replica takes what waits, locks the head row, lets one write after the other read and stage,
//! and commits them all at once: a fsync is shared, numbers are gapless and in the order of commits, and no write
//! sees the world change beneath it, whichever replica it runs on. A write reads first and stages last: one that
//! fails has touched nothing, and needs no undoing.
//!
//! The invariant: a revision, its changes, its place in the audit chain and the rows behind them are committed
//! together or not at all, and no two transactions hold the same number.

mod flush;
mod group;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::admission::Consent;
use super::txn::Txn;
use super::{Store, StoreError};

pub(crate) use flush::audit_change;

/// How many writes may wait; a further caller waits for room.
pub(super) const WAITING: usize = 1024;

/// The author of a write, the call and the address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Author {
    /// Token id; empty for the control plane itself.
    pub(crate) token: String,
    /// User id; empty for a service.
    pub(crate) user: String,
    /// The name of the user or the token.
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) user_agent: String,
    /// As `ProxyService.CreateProxy`.
    pub(crate) call: &'static str,
    pub(crate) consent: Consent,
    /// Whether it is a rehearsal: staged and admitted like any other write, and then dropped.
    pub(crate) rehearsal: bool,
}

impl Author {
    /// The same author, for a rehearsal or for a write.
    pub(crate) fn rehearsing(self, rehearsal: bool) -> Self {
        Self { rehearsal, ..self }
    }

    /// The control plane itself.
    pub(crate) fn system(call: &'static str) -> Self {
        let consent = Consent { anything: true, ..Consent::default() };
        Self { name: "system".to_owned(), call, consent, ..Self::default() }
    }
}

/// What a write answered, and the revision that it became; none when it changed nothing.
#[derive(Debug)]
pub(crate) struct Written<T> {
    pub(crate) value: T,
    pub(crate) revision: Option<u64>,
}

/// Tells the caller what became of a write, once it is known.
type End = Box<dyn FnOnce(Result<Option<u64>, StoreError>) + Send>;

/// A write that waits for its turn.
trait Turn: Send {
    fn author(&self) -> &Author;
    /// Reads and stages. An error was told to the caller.
    fn run<'a>(self: Box<Self>, txn: &'a mut Txn) -> BoxFuture<'a, Result<End, ()>>;
    /// It will not be run.
    fn refuse(self: Box<Self>, error: StoreError);
}

struct Job<T, E, F> {
    author: Author,
    work: F,
    answer: oneshot::Sender<Result<Written<T>, E>>,
}

impl<T, E, F> Turn for Job<T, E, F>
where
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
    F: for<'a> FnOnce(&'a mut Txn) -> BoxFuture<'a, Result<T, E>> + Send + 'static,
{
    fn author(&self) -> &Author {
        &self.author
    }

    fn run<'a>(self: Box<Self>, txn: &'a mut Txn) -> BoxFuture<'a, Result<End, ()>> {
        Box::pin(async move {
            let Self { work, answer, .. } = *self;
            match work(txn).await {
                Ok(value) => Ok(Box::new(move |ended: Result<Option<u64>, StoreError>| {
                    // The caller may be gone.
                    answer.send(ended.map(|revision| Written { value, revision }).map_err(E::from)).ok();
                }) as End),
                Err(error) => {
                    answer.send(Err(error)).ok();
                    Err(())
                }
            }
        })
    }

    fn refuse(self: Box<Self>, error: StoreError) {
        self.answer.send(Err(error.into())).ok();
    }
}

/// The newest revision and its head of the audit chain.
#[derive(Debug, Clone, Copy)]
struct Tip {
    head: i64,
    audit: [u8; 32],
}

/// The queue in which writes wait.
pub(super) struct Queue(mpsc::Sender<Box<dyn Turn>>);
/// The other end, from which writes are taken.
pub(super) struct Waiting(mpsc::Receiver<Box<dyn Turn>>);

#[cfg(test)]
impl Queue {
    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        WAITING - self.0.capacity()
    }
}

pub(super) fn queue() -> (Queue, Waiting) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Queue(sender), Waiting(receiver))
}

impl Store {
    /// Runs `work` in its turn. It goes on when the caller does not wait any longer, so that nothing is half done.
    pub(crate) async fn write<T, E, F>(&self, author: Author, work: F) -> Result<Written<T>, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: for<'a> FnOnce(&'a mut Txn) -> BoxFuture<'a, Result<T, E>> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        if self.0.queue.0.send(Box::new(Job { author, work, answer })).await.is_err() {
            return Err(StoreError::Closed.into());
        }
        match answered.await {
            Ok(result) => result,
            Err(_gone) => Err(StoreError::Lost.into()),
        }
    }

    /// Runs `work` as a transaction of its own that is no revision: reports, records, what nobody audits.
    pub(crate) async fn note<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: for<'a> FnOnce(&'a mut Txn) -> BoxFuture<'a, Result<T, E>> + Send + 'static,
    {
        let store = self.clone();
        let task = self.0.tasks.spawn("store-note", async move {
            store.fence().open()?;
            let mut txn = store.begin().await?;
            let value = match work(&mut txn).await {
                Ok(value) => value,
                Err(error) => {
                    txn.rollback().await;
                    return Err(error);
                }
            };
            // PostgreSQL answers the commit of a transaction that failed, and undoes it.
            if let Err(error) = txn.still_goes().await {
                txn.rollback().await;
                return Err(error.into());
            }
            txn.commit(store.fence()).await?;
            Ok(value)
        });
        match task.await {
            Ok(result) => result,
            Err(_gone) => Err(StoreError::Lost.into()),
        }
    }

    pub(super) fn announce(&self, revision: u64) {
        self.0.committed.send_if_modified(|newest| {
            let newer = revision > *newest;
            if newer {
                *newest = revision;
            }
            newer
        });
    }
}
