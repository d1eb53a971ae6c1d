//! What each person has seen of notifications.
//!
//! Imports no entity, so that a later edit of one cannot change the past.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, text};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let seen = Table::create()
            .table("notification_seen")
            .col(text("who"))
            .col(text("notification"))
            .primary_key(Index::create().col("who").col("notification"))
            .to_owned();
        manager.create_table(seen).await?;
        let through = Table::create()
            .table("notification_through")
            .col(text("who"))
            .col(text("org"))
            .col(big_integer("through"))
            .primary_key(Index::create().col("who").col("org"))
            .to_owned();
        manager.create_table(through).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["notification_through", "notification_seen"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }

    /// SQLite would otherwise leave half a schema behind after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
