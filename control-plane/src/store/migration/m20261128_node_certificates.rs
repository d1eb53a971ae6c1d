//! Which certificates nodes have, which copies of nodes were met, and which nodes were revoked.
//!
//! Imports no entity, so that a later edit of one cannot change the past.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, blob_null, text};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

const TABLE: &str = "node";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in columns() {
            manager.alter_table(Table::alter().table(TABLE).add_column(column).to_owned()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in columns().into_iter().rev() {
            let name = column.get_column_name();
            manager.alter_table(Table::alter().table(TABLE).drop_column(name).to_owned()).await?;
        }
        Ok(())
    }

    /// SQLite would otherwise leave half a schema behind after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

fn columns() -> Vec<ColumnDef> {
    vec![
        blob_null("serial").to_owned(),
        blob_null("serial_before").to_owned(),
        big_integer("issued_at").default(0).to_owned(),
        text("issued_to").default("").to_owned(),
        blob_null("copy_serial").to_owned(),
        text("copy_from").default("").to_owned(),
        big_integer("copy_at").default(0).to_owned(),
        big_integer_null("revoked_at").to_owned(),
    ]
}
