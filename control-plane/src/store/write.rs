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

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rr_contract::runtime::{Stop, chain};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, DatabaseBackend, DbErr, EntityTrait as _, QueryFilter as _,
    QuerySelect as _, Statement,
};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

use super::admission::{Admission, Admitted, Consent, Proposed};
use super::entity::{head, revision};
use super::error::NotAdmitted;
use super::row::key;
use super::txn::{Change, Staged, Txn};
use super::{Store, StoreError, listen, resource};
use crate::noun::Noun;

pub(crate) use flush::audit_change;

use flush::flush;

/// How many writes share a commit at most: the first waits for the last.
const GROUP: usize = 64;
/// How many may wait; whoever comes then waits for room.
pub(super) const WAITING: usize = 1024;
/// How often it is asked whether a commit held, and how long is waited in between.
const ASKED: u32 = 10;
const ASK_AFTER: Duration = Duration::from_millis(500);

/// One round trip: the row is locked meanwhile.
const MOVE_AND_NOTIFY: &str =
    r#"UPDATE "head" SET "head" = $1, "audit" = $2 WHERE "id" = 1 RETURNING pg_notify($3, $1::text)"#;

/// Who writes, by which call and from where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Author {
    /// Token id; empty for the control plane itself.
    pub(crate) token: String,
    /// User id; empty for a service.
    pub(crate) user: String,
    /// What the user or the token is called.
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) user_agent: String,
    /// As `ProxyService.CreateProxy`.
    pub(crate) call: &'static str,
    pub(crate) consent: Consent,
    /// Only to be seen whether it would be done: it is staged and admitted like any other, and dropped.
    pub(crate) rehearsal: bool,
}

impl Author {
    /// The same, who wants to see or wants it done.
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

/// Tells whoever asked what became of a write, once it is known.
type End = Box<dyn FnOnce(Result<Option<u64>, StoreError>) + Send>;

/// A write that waits for its turn.
trait Turn: Send {
    fn author(&self) -> &Author;
    /// Reads and stages. An error was told to whoever asked.
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
                    // Whoever asked may be gone.
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

/// Where writes wait.
pub(super) struct Queue(mpsc::Sender<Box<dyn Turn>>);
/// Whence they are taken.
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

/// Where the history stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    head: i64,
    audit: [u8; 32],
}

/// What one group is about to commit.
struct Group {
    txn: Txn,
    place: Place,
    ends: Vec<(Option<u64>, End)>,
    /// Asked about each write.
    admission: Option<Arc<dyn Admission>>,
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

    /// Takes what waits, group by group, until the stop.
    pub(super) async fn run_writes(self, Waiting(mut queue): Waiting, stop: Stop) {
        loop {
            let first = tokio::select! {
                biased;
                first = queue.recv() => first,
                () = stop.requested() => {
                    // What waits is written; whoever comes now is told that we are going.
                    queue.close();
                    queue.recv().await
                }
            };
            let Some(first) = first else { return };
            self.run_group(first, &mut queue).await;
        }
    }

    async fn run_group(&self, first: Box<dyn Turn>, queue: &mut mpsc::Receiver<Box<dyn Turn>>) {
        let mut group = match self.open_group().await {
            Ok(group) => group,
            Err(error) => {
                // Answered by the one that waits; its answer is what is logged.
                first.refuse(error);
                return;
            }
        };
        let mut waiting = VecDeque::from([first]);
        let mut run = 0;
        while let Some(turn) = waiting.pop_front() {
            if let Err(()) = group.take(turn, self.now()).await {
                group.txn.rollback().await;
                return;
            }
            run += 1;
            if run < GROUP
                && let Ok(next) = queue.try_recv()
            {
                waiting.push_back(next);
            }
        }
        self.close_group(group).await;
    }

    /// Begins, and takes the lock that makes commits follow one another.
    async fn open_group(&self) -> Result<Group, StoreError> {
        self.fence().open()?;
        let acknowledged = self.fence().acknowledged();
        let txn = self.begin().await?;
        let admission = self.0.admission.get().and_then(Weak::upgrade);
        let begun = match begun(&txn).await {
            Ok(place) => match self.fence().compare(acknowledged, place.head, &place.audit) {
                Ok(()) => admitting(&txn, admission.as_deref(), place).await,
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        match begun {
            Ok(place) => Ok(Group { txn, place, ends: Vec::new(), admission }),
            Err(error) => {
                txn.rollback().await;
                Err(error)
            }
        }
    }

    async fn close_group(&self, group: Group) {
        let Group { txn, place, ends, admission: _ } = group;
        let newest = ends.iter().rev().find_map(|(revision, _)| *revision);
        if newest.is_some()
            && let Err(error) = move_head(&txn, &place).await
        {
            txn.rollback().await;
            warn!(error = %chain(&error), writes = ends.len(), "writes not committed");
            ends.into_iter().for_each(|(_, end)| end(Err(StoreError::Group)));
            return;
        }
        let held = match txn.commit(self.fence()).await {
            Err(StoreError::Commit(error)) if newest.is_some() => self.was_committed(&place, error).await,
            ended => ended,
        };
        match held {
            Ok(()) => {
                if let Some(newest) = newest {
                    self.fence().acknowledge(place.head, place.audit);
                    self.announce(newest);
                }
                ends.into_iter().for_each(|(revision, end)| end(Ok(revision)));
            }
            Err(error) => {
                warn!(error = %chain(&error), writes = ends.len(), "commit failed");
                let told = || match &error {
                    StoreError::Broken(broken) => StoreError::Broken(broken.clone()),
                    error if error.certainly_not_applied() && error.is_full() => {
                        StoreError::NoRoom { operation: "commit" }
                    }
                    error if error.certainly_not_applied() => StoreError::Group,
                    _ => StoreError::Lost,
                };
                ends.into_iter().for_each(|(_, end)| end(Err(told())));
            }
        }
    }

    /// A commit that answers with an error may have held all the same: the rows tell, on another connection.
    async fn was_committed(&self, place: &Place, error: DbErr) -> Result<(), StoreError> {
        for _ in 0..ASKED {
            match self.holds(place).await {
                Ok(true) => return Ok(()),
                // Another's entry stands there, or none: ours was rolled back.
                Ok(false) => return Err(StoreError::RolledBack(error)),
                Err(again) => {
                    warn!(error = %chain(&again), "not known yet whether a commit held");
                    tokio::time::sleep(ASK_AFTER).await;
                }
            }
        }
        Err(StoreError::Commit(error))
    }

    /// Whether a group's last entry is in the history. The head row is locked for the question, so that a server
    /// that is still at the commit is waited for.
    async fn holds(&self, place: &Place) -> Result<bool, StoreError> {
        let txn = self.begin().await?;
        let found = match held_head(&txn).await {
            Ok(_) => revision::Entity::find_by_id(place.head)
                .one(txn.tx())
                .await
                .map_err(StoreError::statement("look for revision")),
            Err(error) => Err(error),
        };
        txn.rollback().await;
        Ok(found?.is_some_and(|row| row.audit == place.audit))
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

impl Group {
    /// Gives one write its turn. An error means that the whole group is undone, and everybody was told.
    async fn take(&mut self, turn: Box<dyn Turn>, now: i64) -> Result<(), ()> {
        let author = turn.author().clone();
        self.txn.turn(now, u64::try_from(self.place.head).unwrap_or_default());
        let end = match AssertUnwindSafe(turn.run(&mut self.txn)).catch_unwind().await {
            Ok(Ok(end)) => end,
            Ok(Err(())) => return self.go_on().await,
            Err(_panic) => {
                error!(call = author.call, "a write panicked; what it staged is dropped");
                return self.go_on().await;
            }
        };
        let staged = std::mem::take(&mut self.txn.staged);
        let admitted = match admit(&self.txn, self.admission.as_deref(), &staged, author.consent).await {
            Ok(admitted) => admitted,
            Err(error) => {
                end(Err(error));
                return self.go_on().await;
            }
        };
        if author.rehearsal {
            end(Ok(None));
            return self.go_on().await;
        }
        match flush(&self.txn, staged, &author, admitted, &mut self.place).await {
            Ok(revision) => {
                if let (Some(admission), Some(revision)) = (&self.admission, revision) {
                    admission.flushed(revision, self.place.audit);
                }
                self.ends.push((revision, end));
                Ok(())
            }
            Err(error) => {
                // A statement failed, and with it the transaction: nothing of the group can be kept.
                warn!(error = %chain(&error), writes = self.ends.len() + 1, "writes undone");
                end(Err(error));
                self.ends.drain(..).for_each(|(_, end)| end(Err(StoreError::Group)));
                Err(())
            }
        }
    }
}

impl Group {
    /// After a write that came to nothing: where that was because of the database, the group is undone.
    async fn go_on(&mut self) -> Result<(), ()> {
        self.txn.staged = Staged::default();
        match self.txn.still_goes().await {
            Ok(()) => Ok(()),
            Err(error) => {
                warn!(error = %chain(&error), writes = self.ends.len(), "writes undone");
                self.ends.drain(..).for_each(|(_, end)| end(Err(StoreError::Group)));
                Err(())
            }
        }
    }
}

/// Asks whether what was staged may be published.
async fn admit(
    txn: &Txn,
    admission: Option<&dyn Admission>,
    staged: &Staged,
    consent: Consent,
) -> Result<Admitted, StoreError> {
    let Some(admission) = admission else { return Ok(Admitted::default()) };
    match admission.admit(proposed(staged)?, consent) {
        Err(StoreError::NotAdmitted(refusal)) => {
            Err(StoreError::NotAdmitted(Box::new(named(*refusal, txn).await)))
        }
        admitted => admitted,
    }
}

/// What of it is about nodes, as they would see it.
fn proposed(staged: &Staged) -> Result<Vec<Proposed>, StoreError> {
    let published = staged.changes.iter().filter(|((noun, _), _)| noun.is_published());
    published
        .map(|((noun, id), change)| {
            let (org, payload) = match change {
                Change::Put(put) => (&put.org, put.payload.as_deref()),
                Change::Removal(row) | Change::Decision(row, _) => (&row.org, None),
            };
            let key = key(noun.row(), org.clone(), id.clone())?;
            Ok(Proposed { key, payload: payload.map(Bytes::copy_from_slice) })
        })
        .collect()
}

/// A refusal with its region's name, for people.
async fn named(mut refusal: NotAdmitted, txn: &Txn) -> NotAdmitted {
    if let Ok(Some(row)) = resource::by_id(txn, Noun::Region, &refusal.region).await {
        refusal.name = row.name;
    }
    refusal
}

/// Where a group of writes begins.
async fn begun(txn: &Txn) -> Result<Place, StoreError> {
    let row = held_head(txn).await?;
    let (head, audit) = row.map_or((0, vec![0; 32]), |row| (row.head, row.audit));
    let audit = audit.try_into().map_err(|_| StoreError::Damaged("head"))?;
    Ok(Place { head, audit })
}

/// Whoever is asked about writes learns where they begin.
async fn admitting(txn: &Txn, admission: Option<&dyn Admission>, place: Place) -> Result<Place, StoreError> {
    if let Some(admission) = admission {
        let head = u64::try_from(place.head).map_err(|_| StoreError::Damaged("head"))?;
        admission.begin(txn, head, place.audit).await?;
    }
    Ok(place)
}

async fn held_head(txn: &Txn) -> Result<Option<head::Model>, StoreError> {
    head::Entity::find_by_id(1_i32)
        .lock_exclusive()
        .one(txn.tx())
        .await
        .map_err(StoreError::statement("take head"))
}

/// The last statement of a group; on PostgreSQL it wakes the other replicas with the commit.
async fn move_head(txn: &Txn, place: &Place) -> Result<(), StoreError> {
    let backend = txn.tx().get_database_backend();
    if backend == DatabaseBackend::Postgres {
        let values = [place.head.into(), place.audit.to_vec().into(), listen::CHANNEL.into()];
        txn.tx()
            .query_one_raw(Statement::from_sql_and_values(backend, MOVE_AND_NOTIFY, values))
            .await
            .map_err(StoreError::statement("move head"))?;
        return Ok(());
    }
    head::Entity::update_many()
        // Typed: prepared statements are cached by their text alone.
        .col_expr(head::Column::Head, Expr::value(place.head))
        .col_expr(head::Column::Audit, Expr::value(place.audit.to_vec()))
        .filter(head::Column::Id.eq(1_i32))
        .exec(txn.tx())
        .await
        .map_err(StoreError::statement("move head"))?;
    Ok(())
}
