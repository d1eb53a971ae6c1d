//! Sums of requests: as nodes sent them, added up by minute, hour and day, and the accounts of nodes.
//!
//! Imports no entity, so that a later edit of one cannot change the past.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, blob, boolean, integer, small_integer, text};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

pub(super) const TABLES: [&str; 5] = ["waiting_sum", "series", "rollup", "meter_rollup", "node_account"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in tables() {
            manager.create_table(table).await?;
        }
        for index in indexes() {
            manager.create_index(index).await?;
        }
        let turn = Query::insert()
            .into_table("arrival")
            .columns(["id", "newest"])
            .values_panic([2.into(), 0.into()])
            .to_owned();
        manager.execute(turn).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in TABLES {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        manager
            .execute(Query::delete().from_table("arrival").and_where(Expr::col("id").eq(2)).to_owned())
            .await
    }

    /// SQLite would otherwise leave half a schema behind after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

fn counted(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).big_integer().not_null().auto_increment().primary_key().to_owned()
}

pub(super) fn tables() -> Vec<TableCreateStatement> {
    let waiting = Table::create()
        .table("waiting_sum")
        .col(counted("id"))
        .col(text("node"))
        .col(text("region"))
        .col(big_integer("taken_at"))
        .col(big_integer("made"))
        .col(big_integer("stored"))
        .col(big_integer("refused"))
        .col(blob("sums"))
        .to_owned();
    let mut series = Table::create()
        .table("series")
        .col(counted("id"))
        .col(small_integer("detail"))
        .col(blob("hash"))
        .to_owned();
    for column in ["org", "proxy", "caller", "region", "code", "rule", "observed_rule"] {
        series.col(text(column));
    }
    series.col(integer("status")).col(boolean("observed_denial"));
    let place = |table: &'static str| {
        Table::create()
            .table(table)
            .col(big_integer("series"))
            .col(small_integer("level"))
            .col(big_integer("at"))
            .col(big_integer("revision"))
            .to_owned()
    };
    let mut rollup = place("rollup");
    for column in ["requests", "aborted", "request_bytes", "response_bytes", "micros", "longest_micros"] {
        rollup.col(big_integer(column));
    }
    rollup
        .col(blob("latencies"))
        .primary_key(Index::create().col("series").col("level").col("at").col("revision"));
    let mut metered = place("meter_rollup");
    metered.col(text("meter"));
    for column in ["charged", "missing", "exceeded"] {
        metered.col(big_integer(column));
    }
    metered.primary_key(Index::create().col("series").col("level").col("at").col("revision").col("meter"));
    let account = Table::create()
        .table("node_account")
        .col(text("node"))
        .col(big_integer("at"))
        .col(text("what"))
        .col(text("region"))
        .col(big_integer("count"))
        .primary_key(Index::create().col("node").col("at").col("what"))
        .to_owned();
    vec![waiting, series, rollup, metered, account]
}

pub(super) fn indexes() -> Vec<IndexCreateStatement> {
    let index = |name: &'static str, table: &'static str| Index::create().name(name).table(table).to_owned();
    vec![
        index("series_hash_idx", "series").col("hash").unique().to_owned(),
        index("series_org_proxy_idx", "series").col("org").col("detail").col("proxy").to_owned(),
        // By which they go.
        index("rollup_at_idx", "rollup").col("level").col("at").to_owned(),
        index("meter_rollup_at_idx", "meter_rollup").col("level").col("at").to_owned(),
        index("node_account_at_idx", "node_account").col("at").to_owned(),
    ]
}
