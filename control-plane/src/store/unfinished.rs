//! The mark on a database on a server that a backup is brought into: it holds another's history until a restore ends.
//!
//! A table of its own, so that it is there before the schema and no archive of a database has it. Says nothing of files:
//! one of SQLite comes to its place as the last step.

use sea_orm::{ConnectionTrait as _, DatabaseConnection};
use sea_orm_migration::SchemaManager;

use super::{DatabaseAddress, Offline, StoreError};

const TABLE: &str = "unfinished_restore";

/// Whether a restore began and did not end.
pub(super) async fn is_set(db: &DatabaseConnection) -> Result<bool, StoreError> {
    let found = SchemaManager::new(db).has_table(TABLE).await;
    found.map_err(StoreError::statement("look for a restore that did not end"))
}

/// The same of a database that lies there.
pub(crate) async fn is_on(opened: &Offline) -> Result<bool, StoreError> {
    is_set(opened.connection()).await
}

/// Keeps control planes out.
pub(crate) async fn set(address: &DatabaseAddress) -> Result<(), StoreError> {
    run(address, &format!("CREATE TABLE IF NOT EXISTS {TABLE} (id integer)")).await
}

/// Lets them in.
pub(crate) async fn clear(address: &DatabaseAddress) -> Result<(), StoreError> {
    run(address, &format!("DROP TABLE IF EXISTS {TABLE}")).await
}

async fn run(address: &DatabaseAddress, statement: &str) -> Result<(), StoreError> {
    let opened = Offline::open(address).await?;
    let done = opened.connection().execute_unprepared(statement).await;
    done.map_err(StoreError::statement("mark a restore"))?;
    opened.close().await
}
