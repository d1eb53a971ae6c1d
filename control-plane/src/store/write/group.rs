//! Runs waiting writes group by group: one transaction, one lock on the head row, one commit.
//!
//! Each write of a group reads and stages in its turn, is admitted and flushed, or dropped without a trace. The outcome
//! of a commit is known before any caller is answered.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt as _;
use rr_contract::runtime::{Stop, chain};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, DatabaseBackend, DbErr, EntityTrait as _, QueryFilter as _,
    QuerySelect as _, Statement,
};
use tokio::sync::mpsc;
use tracing::{error, warn};

use super::flush::flush;
use super::{End, Tip, Turn, Waiting};
use crate::noun::Noun;
use crate::store::admission::{Admission, AgreedRemovals, Consent, Proposed};
use crate::store::entity::{head, revision};
use crate::store::error::NotAdmitted;
use crate::store::row::key;
use crate::store::txn::{Staged, StagedChange, Txn};
use crate::store::{Store, StoreError, listen, resource};

/// How many writes share a commit at most: the first waits for the last.
const GROUP: usize = 64;
/// How often the database is asked whether a commit was applied, and how long to wait in between.
const ASKED: u32 = 10;
const ASK_AFTER: Duration = Duration::from_millis(500);

/// One round trip: the row is locked meanwhile.
const MOVE_AND_NOTIFY: &str =
    r#"UPDATE "head" SET "head" = $1, "audit" = $2 WHERE "id" = 1 RETURNING pg_notify($3, $1::text)"#;

/// What one group is about to commit.
struct Group {
    txn: Txn,
    tip: Tip,
    ends: Vec<(Option<u64>, End)>,
    /// Asked about each write.
    admission: Option<Arc<dyn Admission>>,
}

impl Store {
    /// Takes what waits, group by group, until the stop.
    pub(in crate::store) async fn run_writes(self, Waiting(mut queue): Waiting, stop: Stop) {
        loop {
            let first = tokio::select! {
                biased;
                first = queue.recv() => first,
                () = stop.requested() => {
                    // What waits is written; a later caller is told that the store is closed.
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
            Ok(tip) => match self.fence().compare(acknowledged, tip.head, &tip.audit) {
                Ok(()) => admitting(&txn, admission.as_deref(), tip).await,
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        match begun {
            Ok(tip) => Ok(Group { txn, tip, ends: Vec::new(), admission }),
            Err(error) => {
                txn.rollback().await;
                Err(error)
            }
        }
    }

    async fn close_group(&self, group: Group) {
        let Group { txn, tip, ends, admission: _ } = group;
        let newest = ends.iter().rev().find_map(|(revision, _)| *revision);
        if newest.is_some()
            && let Err(error) = move_head(&txn, &tip).await
        {
            txn.rollback().await;
            warn!(error = %chain(&error), writes = ends.len(), "cannot move the head row, the writes are rolled back");
            ends.into_iter().for_each(|(_, end)| end(Err(StoreError::Group)));
            return;
        }
        let held = match txn.commit(self.fence()).await {
            Err(StoreError::Commit(error)) if newest.is_some() => self.was_committed(&tip, error).await,
            ended => ended,
        };
        match held {
            Ok(()) => {
                if let Some(newest) = newest {
                    self.fence().acknowledge(tip.head, tip.audit);
                    self.announce(newest);
                }
                ends.into_iter().for_each(|(revision, end)| end(Ok(revision)));
            }
            Err(error) => {
                warn!(error = %chain(&error), writes = ends.len(), "the commit of a group of writes failed");
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

    /// Finds out whether a commit that failed was applied all the same: the rows tell, on another connection.
    async fn was_committed(&self, tip: &Tip, error: DbErr) -> Result<(), StoreError> {
        for _ in 0..ASKED {
            match self.holds(tip).await {
                Ok(true) => return Ok(()),
                // Another's entry stands there, or none: ours was rolled back.
                Ok(false) => return Err(StoreError::RolledBack(error)),
                Err(again) => {
                    warn!(error = %chain(&again), "cannot find out yet whether a commit was applied, asking again");
                    tokio::time::sleep(ASK_AFTER).await;
                }
            }
        }
        Err(StoreError::Commit(error))
    }

    /// Whether a group's last entry is in the history. The head row is locked for the question, so that a server
    /// that is still at the commit is waited for.
    async fn holds(&self, tip: &Tip) -> Result<bool, StoreError> {
        let txn = self.begin().await?;
        let found = match held_head(&txn).await {
            Ok(_) => revision::Entity::find_by_id(tip.head)
                .one(txn.tx())
                .await
                .map_err(StoreError::statement("look for revision")),
            Err(error) => Err(error),
        };
        txn.rollback().await;
        Ok(found?.is_some_and(|row| row.audit == tip.audit))
    }
}

impl Group {
    /// Gives one write its turn. An error means that the whole group is undone, and everybody was told.
    async fn take(&mut self, turn: Box<dyn Turn>, now: i64) -> Result<(), ()> {
        let author = turn.author().clone();
        self.txn.turn(now, u64::try_from(self.tip.head).unwrap_or_default());
        let end = match AssertUnwindSafe(turn.run(&mut self.txn)).catch_unwind().await {
            Ok(Ok(end)) => end,
            Ok(Err(())) => return self.go_on().await,
            Err(_panic) => {
                error!(call = author.call, "a write panicked; nothing of it is written");
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
        match flush(&self.txn, staged, &author, admitted, &mut self.tip).await {
            Ok(revision) => {
                if let (Some(admission), Some(revision)) = (&self.admission, revision) {
                    admission.flushed(revision, self.tip.audit);
                }
                self.ends.push((revision, end));
                Ok(())
            }
            Err(error) => {
                // A statement failed, and with it the transaction: nothing of the group can be kept.
                warn!(error = %chain(&error), writes = self.ends.len() + 1, "a statement failed, the writes of the group are rolled back");
                end(Err(error));
                self.ends.drain(..).for_each(|(_, end)| end(Err(StoreError::Group)));
                Err(())
            }
        }
    }

    /// After a write that came to nothing: where that was because of the database, the group is undone.
    async fn go_on(&mut self) -> Result<(), ()> {
        self.txn.staged = Staged::default();
        match self.txn.still_goes().await {
            Ok(()) => Ok(()),
            Err(error) => {
                warn!(error = %chain(&error), writes = self.ends.len(), "a statement failed, the writes of the group are rolled back");
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
) -> Result<AgreedRemovals, StoreError> {
    let Some(admission) = admission else { return Ok(AgreedRemovals::default()) };
    match admission.admit(proposed(staged)?, consent) {
        Err(StoreError::NotAdmitted(refusal)) => {
            Err(StoreError::NotAdmitted(Box::new(named(*refusal, txn).await)))
        }
        admitted => admitted,
    }
}

/// The staged changes of resources that nodes are sent, as nodes would see them.
fn proposed(staged: &Staged) -> Result<Vec<Proposed>, StoreError> {
    let published = staged.changes.iter().filter(|((noun, _), _)| noun.is_published());
    published
        .map(|((noun, id), change)| {
            let (org, payload) = match change {
                StagedChange::Put(put) => (&put.org, put.payload.as_ref()),
                StagedChange::Removal(row) | StagedChange::Decision(row, _) => (&row.org, None),
            };
            let key = key(noun.row(), org.clone(), id.clone())?;
            Ok(Proposed { key, payload: payload.cloned() })
        })
        .collect()
}

/// Adds the name of its region to a refusal.
async fn named(mut refusal: NotAdmitted, txn: &Txn) -> NotAdmitted {
    if let Ok(Some(row)) = resource::by_id(txn, Noun::Region, &refusal.region).await {
        refusal.name = row.name;
    }
    refusal
}

/// Reads, and locks, the revision on which a group begins.
async fn begun(txn: &Txn) -> Result<Tip, StoreError> {
    let row = held_head(txn).await?;
    let (head, audit) = row.map_or((0, vec![0; 32]), |row| (row.head, row.audit));
    let audit = audit.try_into().map_err(|_| StoreError::Damaged("head"))?;
    Ok(Tip { head, audit })
}

/// Tells the admission where the group begins.
async fn admitting(txn: &Txn, admission: Option<&dyn Admission>, tip: Tip) -> Result<Tip, StoreError> {
    if let Some(admission) = admission {
        let head = u64::try_from(tip.head).map_err(|_| StoreError::Damaged("head"))?;
        admission.begin(txn, head, tip.audit).await?;
    }
    Ok(tip)
}

async fn held_head(txn: &Txn) -> Result<Option<head::Model>, StoreError> {
    head::Entity::find_by_id(1_i32)
        .lock_exclusive()
        .one(txn.tx())
        .await
        .map_err(StoreError::statement("take head"))
}

/// The last statement of a group; on PostgreSQL it wakes the other replicas with the commit.
async fn move_head(txn: &Txn, tip: &Tip) -> Result<(), StoreError> {
    let backend = txn.tx().get_database_backend();
    if backend == DatabaseBackend::Postgres {
        let values = [tip.head.into(), tip.audit.to_vec().into(), listen::CHANNEL.into()];
        txn.tx()
            .query_one_raw(Statement::from_sql_and_values(backend, MOVE_AND_NOTIFY, values))
            .await
            .map_err(StoreError::statement("move head"))?;
        return Ok(());
    }
    head::Entity::update_many()
        // Typed: prepared statements are cached by their text alone.
        .col_expr(head::Column::Head, Expr::value(tip.head))
        .col_expr(head::Column::Audit, Expr::value(tip.audit.to_vec()))
        .filter(head::Column::Id.eq(1_i32))
        .exec(txn.tx())
        .await
        .map_err(StoreError::statement("move head"))?;
    Ok(())
}
