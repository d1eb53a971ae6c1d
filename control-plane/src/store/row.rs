//! What every table's queries share: where they run, whole rows, and how revisions and keys stand in columns.

use rr_contract::model::resource::Key;
use rr_contract::wire::fleet;
use sea_orm::{ConnectionTrait, EntityTrait, IntoActiveModel, ModelTrait};

use super::{Store, StoreError, Txn};
use crate::noun::Noun;

/// Where a query runs: in a transaction, or on the pool for reading.
pub(crate) trait Reader: Sync {
    /// The connection.
    fn conn(&self) -> &impl ConnectionTrait;
}

impl Reader for Store {
    fn conn(&self) -> &impl ConnectionTrait {
        self.reader()
    }
}

impl Reader for Txn {
    fn conn(&self) -> &impl ConnectionTrait {
        self.tx()
    }
}

/// Writes a new row.
pub(super) async fn insert<M>(txn: &Txn, row: M, operation: &'static str) -> Result<(), StoreError>
where
    M: ModelTrait + IntoActiveModel<<M::Entity as EntityTrait>::ActiveModel>,
    <M::Entity as EntityTrait>::ActiveModel: Send,
{
    M::Entity::insert(row.into_active_model())
        .exec_without_returning(txn.tx())
        .await
        .map_err(StoreError::statement(operation))?;
    Ok(())
}

/// Whether a text of a caller's can be anybody's name or id. PostgreSQL takes no NUL in a text, and a statement that it
/// refuses undoes the transaction around it.
pub(crate) fn is_text(reference: &str) -> bool {
    !reference.contains('\0')
}

/// The key of a resource; an organization belongs to itself where nodes are concerned.
pub(super) fn key(kind: i32, org: String, id: String) -> Result<Key, StoreError> {
    let org = if kind == Noun::Org.row() { id.clone() } else { org };
    Key::try_from(&fleet::Key { kind, org, id }).map_err(|_| StoreError::Damaged("resource"))
}

/// A revision as a column.
pub(super) fn row_of(revision: u64) -> Result<i64, StoreError> {
    i64::try_from(revision).map_err(|_| StoreError::Damaged("revision"))
}

/// A column as a revision.
pub(super) fn number(rev: i64) -> Result<u64, StoreError> {
    u64::try_from(rev).map_err(|_| StoreError::Damaged("revision"))
}
