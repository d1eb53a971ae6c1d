//! Which connections are used again, and whether a commit was one.
//!
//! Where a commit fails, or where SQLite undoes a transaction by itself (a full disk, an I/O error), the driver goes on
//! counting a transaction that is not there. What begins next on that connection is a savepoint, and in the worst case
//! one inside a transaction that nobody ends: it reads what it wrote, its commit is answered, and nothing is stored.
//!
//! So no connection is used again that was open when a commit or a rollback failed, nor one on which the driver counts
//! a transaction. And the driver's word alone does not count: SQLite itself tells by its hooks when it commits and when
//! it undoes. The invariants: what is called committed was seen to be, and a transaction that the database undid takes
//! no further statement.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sea_orm::{ConnectOptions, DatabaseBackend};
use sqlx::Connection;
use sqlx::pool::PoolConnectionMetadata;

/// What is known of the connections of one pool. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Witness(Arc<State>);

#[derive(Default)]
struct State {
    /// Connections that were made before are not used again.
    failed: Mutex<Option<Instant>>,
    /// SQLite: the transaction on the one connection that writes.
    current: Mutex<Option<Arc<Seen>>>,
}

/// What the database said of one transaction.
#[derive(Default)]
struct Seen {
    /// Its commit was asked for.
    asked: AtomicBool,
    committed: AtomicBool,
    undone: AtomicBool,
}

/// Watches one transaction. Where it is dropped before the end is known, its connection is not used again.
pub(super) struct Watched {
    witness: Witness,
    seen: Arc<Seen>,
    /// Whether the database tells what it does.
    told: bool,
    ended: bool,
}

impl Witness {
    /// Has connections judged before they are used, and SQLite tell of commits.
    pub(super) fn watch(&self, options: &mut ConnectOptions) {
        let witness = self.clone();
        options.map_sqlx_sqlite_pool_opts(move |pool| {
            let (connected, acquired) = (witness.clone(), witness.clone());
            pool.after_connect(move |connection, _| {
                let (committing, undone) = (connected.clone(), connected.clone());
                Box::pin(async move {
                    let mut handle = connection.lock_handle().await?;
                    handle.set_commit_hook(move || committing.commits());
                    handle.set_rollback_hook(move || undone.undoes());
                    Ok(())
                })
            })
            .before_acquire(move |connection, made| {
                let good = acquired.is_good(connection, &made);
                Box::pin(async move { Ok(good) })
            })
        });
        let witness = self.clone();
        options.map_sqlx_postgres_pool_opts(move |pool| {
            let witness = witness.clone();
            pool.before_acquire(move |connection, made| {
                let good = witness.is_good(connection, &made);
                Box::pin(async move { Ok(good) })
            })
        });
    }

    /// A transaction has begun.
    pub(super) fn begun(&self, backend: DatabaseBackend) -> Watched {
        let seen = Arc::new(Seen::default());
        let told = backend == DatabaseBackend::Sqlite;
        if told {
            *self.current() = Some(Arc::clone(&seen));
        }
        Watched { witness: self.clone(), seen, told, ended: false }
    }

    /// No connection that is open now is used again.
    pub(super) fn discard(&self) {
        *self.0.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// The pool has made sure that it answers, so that what was queued on it was run.
    fn is_good(&self, connection: &impl Connection, made: &PoolConnectionMetadata) -> bool {
        !connection.is_in_transaction() && !self.is_discarded(made.age)
    }

    fn is_discarded(&self, age: Duration) -> bool {
        let failed = *self.0.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|failed| age >= failed.elapsed())
    }

    /// SQLite is about to commit; false turns it into a rollback.
    fn commits(&self) -> bool {
        // Outside of transactions each statement commits by itself: so does the migration.
        let Some(seen) = self.current().clone() else { return true };
        let asked = seen.asked.load(Ordering::Acquire);
        if asked {
            seen.committed.store(true, Ordering::Release);
        }
        // Not asked: the transaction was undone, and a statement that belonged to it would come into force alone.
        asked
    }

    fn undoes(&self) {
        if let Some(seen) = &*self.current() {
            seen.undone.store(true, Ordering::Release);
        }
    }

    fn current(&self) -> MutexGuard<'_, Option<Arc<Seen>>> {
        // Held for an assignment and never over an await.
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// Whether the database undid the transaction by itself: nothing more can be done in it.
    pub(super) fn is_undone(&self) -> bool {
        self.told && self.seen.undone.load(Ordering::Acquire)
    }

    /// The commit is about to be asked for.
    pub(super) fn commits(&self) {
        self.seen.asked.store(true, Ordering::Release);
    }

    /// The commit was answered. Whether it was one.
    pub(super) fn committed(mut self) -> bool {
        self.ended = !self.told || self.seen.committed.load(Ordering::Acquire);
        self.ended
    }

    /// It was rolled back.
    pub(super) fn ended(mut self) {
        self.ended = true;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.ended {
            self.witness.discard();
        }
        let mut current = self.witness.current();
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, &self.seen)) {
            *current = None;
        }
    }
}
