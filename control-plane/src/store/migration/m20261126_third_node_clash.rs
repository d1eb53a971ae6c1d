//! What replicas ask each other about a node that two processes claim to be, and which nodes were claimed twice.
//!
//! Imports no entity, so that a later edit of one cannot change the past.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, integer, text};

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
        for table in ["node_question", "node_clash"] {
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
            .table("node_question")
            .col(text("id").primary_key())
            .col(text("node"))
            .col(text("holder"))
            .col(integer("answer"))
            .col(big_integer("asked_at"))
            .to_owned(),
        Table::create()
            .table("node_clash")
            .col(text("node").primary_key())
            .col(text("newcomer"))
            .col(big_integer("at"))
            .to_owned(),
    ]
}
