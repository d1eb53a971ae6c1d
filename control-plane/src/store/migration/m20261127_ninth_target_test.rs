//! The last test of each proxy's target in each region, and what replicas ask each other's nodes to test.
//!
//! Imports no entity, so that a later edit of one cannot change the past.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, blob, text};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in tables() {
            manager.create_table(table).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["target_test", "test_question"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }

    /// SQLite would otherwise leave half a schema behind after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

fn tables() -> Vec<TableCreateStatement> {
    vec![
        Table::create()
            .table("target_test")
            .col(text("proxy"))
            .col(text("region"))
            .col(big_integer("after_rev"))
            .col(ColumnDef::new("test").blob().null())
            .primary_key(Index::create().col("proxy").col("region"))
            .to_owned(),
        Table::create()
            .table("test_question")
            .col(text("id").primary_key())
            .col(text("node"))
            .col(text("holder"))
            .col(blob("question"))
            .col(ColumnDef::new("answer").blob().null())
            .col(big_integer("asked_at"))
            .to_owned(),
    ]
}
