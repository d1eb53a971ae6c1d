//! What the fleet's state needs: who holds which node's stream, what regions wait for, on what nodes crashed.
//!
//! Imports no entity, so that a later edit of one cannot change the past.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, blob, boolean, text};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in columns() {
            // One at a time: SQLite adds no more with a statement.
            manager.alter_table(Table::alter().table(table).add_column(column).to_owned()).await?;
        }
        for table in tables() {
            manager.create_table(table).await?;
        }
        manager
            .create_index(
                Index::create().name("divergence_region_idx").table("divergence").col("region").to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["crash", "divergence", "region_state"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        for (table, column) in NAMES.into_iter().rev() {
            manager.alter_table(Table::alter().table(table).drop_column(column).to_owned()).await?;
        }
        Ok(())
    }

    /// SQLite would otherwise leave half a schema behind after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

const NAMES: [(&str, &str); 7] = [
    ("revision", "removals"),
    ("node", "replica"),
    ("node", "boot_id"),
    ("node", "features"),
    ("node", "leased_until"),
    ("node", "address"),
    ("node", "draining"),
];

fn columns() -> Vec<(&'static str, ColumnDef)> {
    vec![
        ("revision", big_integer("removals").default(0).to_owned()),
        ("node", text("replica").default("").to_owned()),
        ("node", text("boot_id").default("").to_owned()),
        ("node", text("features").default("").to_owned()),
        ("node", big_integer("leased_until").default(0).to_owned()),
        ("node", text("address").default("").to_owned()),
        ("node", boolean("draining").default(false).to_owned()),
    ]
}

fn tables() -> Vec<TableCreateStatement> {
    vec![
        Table::create()
            .table("region_state")
            .col(text("region").primary_key())
            .col(big_integer_null("held_revision"))
            .col(blob("held_digest"))
            .col(text("held_why"))
            .col(big_integer_null("held_at"))
            .col(blob("adopted_lineage"))
            .col(big_integer_null("adopted_revision"))
            .col(text("adopted_revived"))
            .col(big_integer_null("adopted_at"))
            .to_owned(),
        Table::create()
            .table("divergence")
            .col(text("node").primary_key())
            .col(text("region"))
            .col(blob("position"))
            .col(text("why"))
            .col(big_integer("since"))
            .to_owned(),
        Table::create()
            .table("crash")
            .col(text("region"))
            .col(blob("digest"))
            .col(text("node"))
            .col(big_integer("revision"))
            .col(big_integer("at"))
            .primary_key(Index::create().col("region").col("digest").col("node"))
            .to_owned(),
    ]
}
