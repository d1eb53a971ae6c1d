//! Two live values of a caller credential, and finding whose a value is.
//!
//! Imports no entity, so that a later edit of one cannot change the past.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

/// Each with the column that it finds by.
const INDEXES: [(&str, &str); 2] =
    [("secret_key_hash", "key_hash"), ("secret_previous_hash", "previous_hash")];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let column = ColumnDef::new("previous_hash").blob().null().to_owned();
        manager.alter_table(Table::alter().table("secret").add_column(column).to_owned()).await?;
        for (name, column) in INDEXES {
            manager.create_index(Index::create().name(name).table("secret").col(column).to_owned()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (name, _) in INDEXES {
            manager.drop_index(Index::drop().name(name).table("secret").to_owned()).await?;
        }
        manager.alter_table(Table::alter().table("secret").drop_column("previous_hash").to_owned()).await
    }

    /// SQLite would otherwise leave half a schema behind after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
