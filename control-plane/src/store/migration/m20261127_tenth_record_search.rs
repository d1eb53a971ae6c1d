//! What records are searched by besides: their path, the rule that decided, and the order in which they came.
//!
//! Imports no entity, so that a later edit of one cannot change the past.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, integer, text};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

const INDEX: &str = "request_record_org_arrival_idx";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Of the records that are there nothing was searched by these.
        let path = text("path").default("").to_owned();
        let rule = text("rule").default("").to_owned();
        let arrival = big_integer("arrival").default(0).to_owned();
        for column in [path, rule, arrival] {
            manager.alter_table(Table::alter().table("request_record").add_column(column).to_owned()).await?;
        }
        let index = Index::create().name(INDEX).table("request_record").col("org").col("arrival").to_owned();
        manager.create_index(index).await?;
        let newest = Table::create()
            .table("arrival")
            .col(integer("id").primary_key())
            .col(big_integer("newest"))
            .to_owned();
        manager.create_table(newest).await?;
        let first = Query::insert()
            .into_table("arrival")
            .columns(["id", "newest"])
            .values_panic([1.into(), 0.into()])
            .to_owned();
        manager.execute(first).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("arrival").to_owned()).await?;
        manager.drop_index(Index::drop().name(INDEX).table("request_record").to_owned()).await?;
        for column in ["path", "rule", "arrival"] {
            manager
                .alter_table(Table::alter().table("request_record").drop_column(column).to_owned())
                .await?;
        }
        Ok(())
    }

    /// SQLite would otherwise leave half a schema behind after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
