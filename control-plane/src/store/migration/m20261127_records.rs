//! The schema of a database that holds records alone: of the central one, the tables that records, sums and cursors are in, as
//! they were when such databases came.
//!
//! What later changes these tables there is another migration here. Imports no entity, so that a later edit of one cannot
//! change the past.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, blob, boolean, integer, text};
use sea_orm_migration::sea_orm::DatabaseBackend;

use super::m20261127_eleventh_sums as sums;

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        records(manager).await?;
        for table in tables().into_iter().chain(sums::tables()) {
            manager.create_table(table).await?;
        }
        for index in indexes().into_iter().chain(sums::indexes()) {
            manager.create_index(index).await?;
        }
        for id in [1, 2] {
            let turn = Query::insert()
                .into_table("arrival")
                .columns(["id", "newest"])
                .values_panic([id.into(), 0.into()])
                .to_owned();
            manager.execute(turn).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = ["record_owner", "arrival", "telemetry_cursor", "record_loss", "request_record"];
        for table in sums::TABLES.into_iter().chain(tables) {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }

    /// SQLite would otherwise leave half a schema behind after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

/// On PostgreSQL by the day, whose partitions the job makes that removes records.
async fn records(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let mut table = Table::create();
    table.table("request_record").col(text("id")).col(text("org")).col(text("proxy"));
    table.col(big_integer("received_at")).col(big_integer("stored_at"));
    table.col(text("node")).col(text("region")).col(integer("status")).col(text("code")).col(blob("record"));
    table.col(big_integer("count").default(1));
    for column in ["caller", "path", "rule"] {
        table.col(text(column).default(""));
    }
    table.col(big_integer("arrival").default(0));
    if manager.get_database_backend() == DatabaseBackend::Postgres {
        table
            .primary_key(Index::create().name("request_record_pkey").col("id").col("org").col("received_at"));
        let divided =
            format!("{} PARTITION BY RANGE (\"received_at\")", table.to_string(PostgresQueryBuilder));
        manager.get_connection().execute_unprepared(&divided).await?;
        let rest = r#"CREATE TABLE "request_record_default" PARTITION OF "request_record" DEFAULT"#;
        manager.get_connection().execute_unprepared(rest).await?;
        return Ok(());
    }
    table.primary_key(Index::create().col("id").col("org"));
    manager.create_table(table).await
}

fn tables() -> Vec<TableCreateStatement> {
    vec![
        Table::create()
            .table("record_loss")
            .col(text("node"))
            .col(blob("spool"))
            .col(big_integer("sequence"))
            .col(integer("position"))
            .col(big_integer("records"))
            .col(big_integer("from_at"))
            .col(big_integer("to_at"))
            .col(text("reason"))
            .col(big_integer("stored_at"))
            .primary_key(Index::create().col("node").col("spool").col("sequence").col("position"))
            .to_owned(),
        Table::create()
            .table("telemetry_cursor")
            .col(text("node"))
            .col(blob("spool"))
            .col(big_integer("last"))
            .col(big_integer("since").default(0))
            .col(boolean("is_left").default(false))
            .primary_key(Index::create().col("node").col("spool"))
            .to_owned(),
        Table::create()
            .table("arrival")
            .col(integer("id").primary_key())
            .col(big_integer("newest"))
            .to_owned(),
        // Whose records they are: one row.
        Table::create()
            .table("record_owner")
            .col(integer("id").primary_key())
            .col(blob("installation"))
            .col(text("name"))
            .to_owned(),
    ]
}

fn indexes() -> Vec<IndexCreateStatement> {
    let index = |name: &'static str, columns: &[&'static str]| {
        let mut index = Index::create().name(name).table("request_record").to_owned();
        for column in columns {
            index.col(*column);
        }
        index
    };
    vec![
        index("request_record_org_received_at_id_idx", &["org", "received_at", "id"]),
        index("request_record_org_proxy_received_at_id_idx", &["org", "proxy", "received_at", "id"]),
        index("request_record_caller_idx", &["org", "caller", "received_at"]),
        index("request_record_org_arrival_idx", &["org", "arrival"]),
        Index::create().name("record_loss_stored_at_idx").table("record_loss").col("stored_at").to_owned(),
    ]
}
