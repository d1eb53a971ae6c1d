//! What can go wrong between us and the database.
//!
//! A caller acts on two questions: what kind of trouble, and whether the write certainly did not happen.

use sea_orm::{DbErr, RuntimeErr, SqlErr};

use super::admission::NotAdmitted;
use crate::kind::Kind;

/// A read or a write that failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database could not be reached or opened.
    #[error("open database {database}")]
    Open {
        /// Its address, without a password.
        database: String,
        /// Why.
        source: DbErr,
    },
    /// The schema could not be brought up to date.
    #[error("migrate database {database}")]
    Migrate {
        /// Its address, without a password.
        database: String,
        /// Why.
        source: DbErr,
    },
    /// A value that must be unique is taken.
    #[error("a unique value is taken")]
    Duplicate(#[source] DbErr),
    /// Something that is referred to is not there, or something refers to what was to go.
    #[error("a reference does not hold")]
    Reference(#[source] DbErr),
    /// A statement failed before the commit.
    #[error("{operation}")]
    Statement {
        /// What was being done.
        operation: &'static str,
        /// Why.
        source: DbErr,
    },
    /// The commit failed: whether it was applied is not known.
    #[error("commit")]
    Commit(#[source] DbErr),
    /// The task that wrote ended early: whether it was applied is not known.
    #[error("write task ended early")]
    Lost,
    /// The commit failed, and it was seen that nothing of it was applied.
    #[error("commit, which was rolled back")]
    RolledBack(#[source] DbErr),
    /// Another write of the same transaction failed.
    #[error("undone with another write that failed; try again")]
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
    #[error("row of {0} is damaged")]
    Damaged(&'static str),
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
            | Self::Commit(_)
            | Self::RolledBack(_)
            | Self::Group
            | Self::Closed
            | Self::NotLoaded
            | Self::Lost => Kind::Unavailable,
            Self::Statement { source, .. } if is_outage(source) => Kind::Unavailable,
            Self::Statement { .. } | Self::Damaged(_) => Kind::Bug,
        }
    }

    /// Whether the write certainly did not happen. Otherwise: read again before deciding.
    pub fn certainly_not_applied(&self) -> bool {
        !matches!(self, Self::Commit(_) | Self::Lost)
    }

    pub(super) fn statement(operation: &'static str) -> impl FnOnce(DbErr) -> Self {
        move |source| match source.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(_)) => Self::Duplicate(source),
            Some(SqlErr::ForeignKeyConstraintViolation(_)) => Self::Reference(source),
            _ if holds_nul(&source) => Self::Text(source),
            _ => Self::Statement { operation, source },
        }
    }
}

/// 22021: a character that is none in the database's encoding.
fn holds_nul(error: &DbErr) -> bool {
    let (DbErr::Exec(RuntimeErr::SqlxError(source)) | DbErr::Query(RuntimeErr::SqlxError(source))) = error
    else {
        return false;
    };
    matches!(&**source, sqlx::Error::Database(database) if database.code().as_deref() == Some("22021"))
}

fn is_outage(error: &DbErr) -> bool {
    match error {
        DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => true,
        DbErr::Exec(RuntimeErr::SqlxError(source)) | DbErr::Query(RuntimeErr::SqlxError(source)) => {
            match &**source {
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed => true,
                // 55P03 lock_timeout, 57014 statement_timeout, 57P0x shutting down, 5 and 6 SQLite busy.
                sqlx::Error::Database(database) => database.code().is_some_and(|code| {
                    ["55P03", "57014", "57P01", "57P02", "57P03", "40001", "40P01", "5", "6"]
                        .contains(&code.as_ref())
                }),
                _ => false,
            }
        }
        _ => false,
    }
}
