//! What can go wrong between us and the database.
//!
//! A caller acts on two questions: what kind of trouble, and whether the write certainly did not happen.

mod not_admitted;

use sea_orm::{DbErr, RuntimeErr, SqlErr};

use crate::kind::Kind;

pub(crate) use not_admitted::{NotAdmitted, Obstacle};

/// A read or a write that failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database could not be reached or opened.
    #[error("cannot open the database {database}")]
    Open {
        /// Its address, without a password.
        database: String,
        /// The cause.
        source: DbErr,
    },
    /// The schema could not be brought up to date.
    #[error("cannot update the schema of the database {database}")]
    Migrate {
        /// Its address, without a password.
        database: String,
        /// The cause.
        source: DbErr,
    },
    /// A backup was brought into it, and not all of what belongs to that was done.
    #[error(
        "a restore into {database} did not end: run `rr-control restore` without a folder to end it with what is there, or restore into an empty database"
    )]
    Unfinished {
        /// Its address, without a password.
        database: String,
    },
    /// A value that must be unique is taken.
    #[error("a value that must be unique is in use")]
    Duplicate(#[source] DbErr),
    /// Something that is referred to is not there, or something refers to what was to go.
    #[error("a row refers to another that does not exist, or is still referred to")]
    Reference(#[source] DbErr),
    /// A statement failed before the commit.
    #[error("cannot {operation}")]
    Statement {
        /// What was being done.
        operation: &'static str,
        /// The cause.
        source: DbErr,
    },
    /// The commit failed: whether it was applied is not known.
    #[error("the commit failed, and whether it was applied is not known")]
    Commit(#[source] DbErr),
    /// The task that wrote ended early: whether it was applied is not known.
    #[error("the write ended early, and whether it was applied is not known")]
    Lost,
    /// The commit failed, and it was seen that nothing of it was applied.
    #[error("the commit failed and was rolled back")]
    RolledBack(#[source] DbErr),
    /// The database undid the transaction by itself, before the commit.
    #[error("the database rolled the transaction back by itself")]
    Undone,
    /// The database does not keep what was acknowledged.
    #[error(transparent)]
    Broken(Box<Broken>),
    /// A store of records failed. Its address is not for everybody who asks for records.
    #[error("{}", unanswered(name))]
    RecordStore {
        /// Its name in settings.
        name: String,
        /// The cause.
        source: Box<StoreError>,
    },
    /// ClickHouse did not do what it was asked to.
    #[error("cannot {operation} in ClickHouse")]
    ClickHouse {
        /// What was being done.
        operation: &'static str,
        /// The cause.
        source: Box<clickhouse::error::Error>,
    },
    /// A store of records could not be opened yet.
    #[error("{}", unanswered(.0))]
    RecordStoreClosed(String),
    /// Settings do not name a store of records that a region uses.
    #[error(
        "a region keeps its records in record store {0:?}, which the settings of this control plane do not name: start it with --record-store {0}=URL"
    )]
    NoRecordStore(String),
    /// Another's records are in the database.
    #[error(
        "database {database}, which settings name as record store {name:?}, holds records of another installation or those of record store {found:?}: was an address changed, or two of them swapped?"
    )]
    OtherRecords {
        /// Its name in settings.
        name: String,
        /// Its address, without a password.
        database: String,
        /// The name that it has there.
        found: String,
    },
    /// The region of a batch went to another store of records meanwhile.
    #[error("the region's records go to another record store by now; the batch comes again")]
    Moved,
    /// There is no room for what was to be written.
    #[error("the database's disk is full; make room there and try again ({operation})")]
    NoRoom {
        /// What was being done.
        operation: &'static str,
    },
    /// What goes by age waits for a person.
    #[error(transparent)]
    ClockAhead(Box<ClockAhead>),
    /// Another write of the same transaction failed.
    #[error("rolled back together with another write that failed; try again")]
    Group,
    /// The store takes no writes any more.
    #[error("the control plane is stopping")]
    Closed,
    /// A text of a caller's holds a NUL, which PostgreSQL has no place for.
    #[error("a text holds a NUL character")]
    Text(#[source] DbErr),
    /// What the fleet is or has forbids it.
    #[error("{0}")]
    NotAdmitted(Box<NotAdmitted>),
    /// What regions hold is not known yet.
    #[error("the configuration is still being loaded")]
    NotLoaded,
    /// A row holds what this program would not have written.
    #[error("a row of {0} is damaged")]
    Damaged(&'static str),
}

/// How the database was found not to keep what it was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It answered a commit and made none.
    #[error("database {database} confirmed a commit that it did not make; {REMEDY}")]
    NotCommitted {
        /// Its address, without a password.
        database: String,
    },
    /// Its newest revision is older than one that was acknowledged.
    #[error(
        "database {database} lost revisions that were acknowledged: it stands at {found} and stood at {acknowledged}; {REMEDY}"
    )]
    Behind {
        /// Its address, without a password.
        database: String,
        /// The newest revision that was acknowledged.
        acknowledged: u64,
        /// The newest one that is there.
        found: u64,
    },
    /// It holds another revision under the number of one that was acknowledged.
    #[error(
        "database {database} holds another revision {acknowledged} than the one that was acknowledged; {REMEDY}"
    )]
    Other {
        /// Its address, without a password.
        database: String,
        /// The revision.
        acknowledged: u64,
    },
}

fn unanswered(name: &str) -> String {
    format!(
        "record store {name:?} does not answer, and records may lie there: try again when it does, or leave its regions out with a filter as `region = NAME`"
    )
}

const REMEDY: &str = "no writes are taken any more: see docs/operations.md, `The database lost what was acknowledged`, and start rr-control again";

/// A clock that is further ahead than anything explains.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the clock of this machine says {now}, and {seen} is the newest time that database {database} knows: nothing is removed by age until the clock is set right, or until rr-control is started once with --accept-clock, which says that it is right"
)]
pub struct ClockAhead {
    /// What the clock says.
    pub now: String,
    /// The newest time that was believed.
    pub seen: String,
    /// The database's address, without a password.
    pub database: String,
}

impl StoreError {
    /// What a caller has to know.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Duplicate(_) => Kind::AlreadyThere,
            Self::Reference(_) => Kind::Conflict,
            Self::Text(_) => Kind::Invalid,
            Self::NotAdmitted(_) => Kind::Refused,
            Self::Open { .. }
            | Self::Migrate { .. }
            | Self::Unfinished { .. }
            | Self::Commit(_)
            | Self::RolledBack(_)
            | Self::Undone
            | Self::Broken(_)
            | Self::ClockAhead(_)
            | Self::NoRoom { .. }
            | Self::Group
            | Self::Closed
            | Self::NotLoaded
            | Self::RecordStoreClosed(_)
            | Self::NoRecordStore(_)
            | Self::OtherRecords { .. }
            | Self::Moved
            | Self::Lost => Kind::Unavailable,
            Self::RecordStore { source, .. } => source.kind(),
            // Whatever it is, it is not what was asked.
            Self::ClickHouse { .. } => Kind::Unavailable,
            Self::Statement { source, .. } if is_outage(source) => Kind::Unavailable,
            Self::Statement { .. } | Self::Damaged(_) => Kind::Bug,
        }
    }

    /// Whether the write certainly did not happen. Otherwise: read again before deciding.
    pub fn certainly_not_applied(&self) -> bool {
        match self {
            Self::Commit(_) | Self::Lost | Self::ClickHouse { .. } => false,
            Self::Broken(broken) => !matches!(**broken, Broken::NotCommitted { .. }),
            Self::RecordStore { source, .. } => source.certainly_not_applied(),
            _ => true,
        }
    }

    /// An error of a store of records that a setting names, with the name.
    pub(super) fn of_record_store(self, name: &str) -> Self {
        match self {
            // It says it already, or is about no store.
            Self::RecordStore { .. } | Self::OtherRecords { .. } | Self::Moved => self,
            source => Self::RecordStore { name: name.to_owned(), source: Box::new(source) },
        }
    }

    /// Whether it is for want of room.
    pub(super) fn is_full(&self) -> bool {
        match self {
            Self::NoRoom { .. } => true,
            Self::Commit(source) | Self::RolledBack(source) => is_full(source),
            _ => false,
        }
    }

    pub(super) fn statement(operation: &'static str) -> impl FnOnce(DbErr) -> Self {
        move |source| match source.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(_)) => Self::Duplicate(source),
            Some(SqlErr::ForeignKeyConstraintViolation(_)) => Self::Reference(source),
            _ if holds_nul(&source) => Self::Text(source),
            _ if is_full(&source) => Self::NoRoom { operation },
            _ => Self::Statement { operation, source },
        }
    }
}

/// What a database answered with, and whether it was SQLite: its numbers are not PostgreSQL's.
fn code_of(error: &DbErr) -> Option<(bool, String)> {
    let (DbErr::Exec(RuntimeErr::SqlxError(source))
    | DbErr::Query(RuntimeErr::SqlxError(source))
    | DbErr::Conn(RuntimeErr::SqlxError(source))) = error
    else {
        return None;
    };
    let sqlx::Error::Database(database) = &**source else { return None };
    let sqlite = database.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some();
    Some((sqlite, database.code()?.into_owned()))
}

/// The kind of trouble that SQLite names: its codes say more in their higher bits.
fn sqlite_code(error: &DbErr) -> Option<u32> {
    match code_of(error)? {
        (true, code) => Some(code.parse::<u32>().ok()? & 0xff),
        (false, _) => None,
    }
}

fn postgres_code(error: &DbErr) -> Option<String> {
    code_of(error).and_then(|(sqlite, code)| (!sqlite).then_some(code))
}

/// 22021: a character that is none in the database's encoding.
fn holds_nul(error: &DbErr) -> bool {
    postgres_code(error).is_some_and(|code| code == "22021")
}

/// 13: SQLITE_FULL; 53100: disk_full.
fn is_full(error: &DbErr) -> bool {
    sqlite_code(error) == Some(13) || postgres_code(error).is_some_and(|code| code == "53100")
}

fn is_outage(error: &DbErr) -> bool {
    if let Some(code) = sqlite_code(error) {
        // Busy, locked, out of memory, read-only, interrupted, I/O error, full, cannot open.
        return matches!(code, 5..=10 | 13 | 14);
    }
    if let Some(code) = postgres_code(error) {
        // 08 connection, 53 out of something, 57P0x shutting down, 58 its system; 55P03 lock_timeout,
        // 57014 statement_timeout, 40001 and 40P01 others at the same rows.
        return ["08", "53", "57P", "58"].iter().any(|class| code.starts_with(class))
            || ["55P03", "57014", "40001", "40P01"].contains(&code.as_str());
    }
    match error {
        DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => true,
        DbErr::Exec(RuntimeErr::SqlxError(source)) | DbErr::Query(RuntimeErr::SqlxError(source)) => matches!(
            &**source,
            sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed
        ),
        _ => false,
    }
}
