//! Records by the day: on PostgreSQL each day of records is a partition, so that an old day goes as a whole.
//!
//! SQLite keeps one table. Makes no days, because it reads no clock: the job that removes records makes them
//! (`store/record_age/days.rs`). Records that are there stay where they are: their table becomes the first partition.
//! Imports no entity, so that a later edit of one cannot change the past.

use chrono::{DateTime, Utc};
use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{DatabaseBackend, Statement};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

const LOSSES: &str = "record_loss_stored_at_idx";

const DAY: i64 = 86_400_000_000;

/// Each index of records besides the primary key.
const INDEXES: [(&str, &str); 4] = [
    ("request_record_org_received_at_id_idx", r#""org", "received_at", "id""#),
    ("request_record_org_proxy_received_at_id_idx", r#""org", "proxy", "received_at", "id""#),
    ("request_record_caller_idx", r#""org", "caller", "received_at""#),
    ("request_record_org_arrival_idx", r#""org", "arrival""#),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() == DatabaseBackend::Postgres {
            divide(manager).await?;
        }
        let losses = Index::create().name(LOSSES).table("record_loss").col("stored_at").to_owned();
        manager.create_index(losses).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() == DatabaseBackend::Postgres {
            join(manager).await?;
        }
        manager.drop_index(Index::drop().name(LOSSES).table("record_loss").to_owned()).await
    }

    /// SQLite would otherwise leave half a schema behind after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

async fn divide(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let run = async |statement: &str| manager.get_connection().execute_unprepared(statement).await.map(drop);
    // The records that there are get another primary key, which takes as long as it takes.
    run("SET LOCAL statement_timeout = 0").await?;
    run(r#"ALTER TABLE "request_record" RENAME TO "request_record_first""#).await?;
    run(r#"ALTER TABLE "request_record_first" DROP CONSTRAINT "request_record_pkey""#).await?;
    for (name, _) in INDEXES {
        run(&format!(r#"ALTER INDEX "{name}" RENAME TO "{name}_first""#)).await?;
    }
    run(r#"CREATE TABLE "request_record" (LIKE "request_record_first" INCLUDING DEFAULTS) PARTITION BY RANGE ("received_at")"#)
        .await?;
    run(r#"ALTER TABLE "request_record" ADD CONSTRAINT "request_record_pkey" PRIMARY KEY ("id", "org", "received_at")"#)
        .await?;
    index(manager).await?;
    run(r#"CREATE TABLE "request_record_default" PARTITION OF "request_record" DEFAULT"#).await?;
    let newest = Statement::from_string(
        DatabaseBackend::Postgres,
        r#"SELECT MAX("stored_at") AS "newest" FROM "request_record_first""#,
    );
    let newest = manager.get_connection().query_one_raw(newest).await?;
    let newest: Option<i64> = newest.map(|row| row.try_get("", "newest")).transpose()?.flatten();
    let Some(newest) = newest else { return run(r#"DROP TABLE "request_record_first""#).await };
    // By the control plane's clock: one record of a node whose clock is wrong does not move the bound.
    let until = (newest.div_euclid(DAY) + 1) * DAY;
    let day = DateTime::<Utc>::from_timestamp_micros(until)
        .ok_or_else(|| DbErr::Custom(format!("records were stored at no time that there is: {newest}")))?
        .format("%Y%m%d");
    let moved = format!(
        r#"WITH "ahead" AS (DELETE FROM "request_record_first" WHERE "received_at" >= {until} RETURNING *) INSERT INTO "request_record_default" SELECT * FROM "ahead""#
    );
    run(&moved).await?;
    run(r#"ALTER TABLE "request_record_first" ADD PRIMARY KEY ("id", "org", "received_at")"#).await?;
    // The name says until when: `store/record_age/days.rs` reads it.
    let first = format!("request_record_before_{day}");
    run(&format!(r#"ALTER TABLE "request_record_first" RENAME TO "{first}""#)).await?;
    run(&format!(
        r#"ALTER TABLE "request_record" ATTACH PARTITION "{first}" FOR VALUES FROM (MINVALUE) TO ({until})"#
    ))
    .await
}

async fn join(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let run = async |statement: &str| manager.get_connection().execute_unprepared(statement).await.map(drop);
    run("SET LOCAL statement_timeout = 0").await?;
    run(r#"ALTER TABLE "request_record" RENAME TO "request_record_days""#).await?;
    run(r#"CREATE TABLE "request_record" (LIKE "request_record_days" INCLUDING DEFAULTS)"#).await?;
    // Of those with one id the first that came.
    run(r#"INSERT INTO "request_record" SELECT DISTINCT ON ("id", "org") * FROM "request_record_days" ORDER BY "id", "org", "arrival""#)
        .await?;
    run(r#"DROP TABLE "request_record_days""#).await?;
    run(r#"ALTER TABLE "request_record" ADD CONSTRAINT "request_record_pkey" PRIMARY KEY ("id", "org")"#)
        .await?;
    index(manager).await
}

async fn index(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    for (name, columns) in INDEXES {
        let statement = format!(r#"CREATE INDEX "{name}" ON "request_record" ({columns})"#);
        manager.get_connection().execute_unprepared(&statement).await?;
    }
    Ok(())
}
