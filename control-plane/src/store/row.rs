//! What every table's queries share: where they run, and whole rows in and out.

use sea_orm::{ConnectionTrait, EntityTrait, IntoActiveModel, ModelTrait};

use super::{Store, StoreError, Txn};

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
