//! The first schema: configuration with its history, tokens, nodes, records.
//!
//! Imports no entity, so that a later edit of one cannot change the past.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, blob, boolean, integer, text};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in tables() {
            manager.create_table(table).await?;
        }
        for index in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in NAMES.iter().rev() {
            manager.drop_table(Table::drop().table(*table).to_owned()).await?;
        }
        Ok(())
    }

    /// SQLite would otherwise leave half a schema behind after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

/// In the order in which references allow them to be made.
const NAMES: [&str; 21] = [
    "head",
    "org",
    "region",
    "target",
    "credential",
    "retired_credential",
    "proxy",
    "proxy_caller",
    "proxy_region",
    "proxy_home",
    "revision",
    "change",
    "blob",
    "resource",
    "node_token",
    "node",
    "token",
    "token_grant",
    "request_record",
    "record_loss",
    "telemetry_cursor",
];

fn tables() -> Vec<TableCreateStatement> {
    vec![
        Table::create()
            .table("head")
            .col(integer("id").primary_key())
            .col(text("installation"))
            .col(blob("lineage"))
            .col(big_integer("head"))
            .col(ColumnDef::new("authority").blob().null())
            .to_owned(),
        Table::create()
            .table("org")
            .col(text("id").primary_key())
            .col(text("name"))
            .col(text("display_name"))
            .col(boolean("suspended"))
            .col(big_integer("created_at"))
            .col(big_integer("updated_at"))
            .to_owned(),
        Table::create()
            .table("region")
            .col(text("id").primary_key())
            .col(text("name"))
            .col(text("display_name"))
            .col(text("base_url"))
            .col(blob("key_statement"))
            .col(big_integer("created_at"))
            .to_owned(),
        Table::create()
            .table("target")
            .col(text("id").primary_key())
            .col(text("org"))
            .col(text("name"))
            .col(text("base_url"))
            .col(boolean("danger_plaintext"))
            .col(big_integer_null("connect_timeout"))
            .col(big_integer_null("response_timeout"))
            .col(big_integer("created_at"))
            .col(big_integer("updated_at"))
            .foreign_key(ForeignKey::create().from("target", "org").to("org", "id"))
            .to_owned(),
        Table::create()
            .table("credential")
            .col(text("id").primary_key())
            .col(text("org"))
            .col(text("name"))
            .col(integer("usage"))
            .col(integer("kind"))
            .col(big_integer("version"))
            .col(big_integer_null("not_after"))
            .col(ColumnDef::new("key_hash").blob().null())
            .col(ColumnDef::new("sealed").blob().null())
            .col(big_integer("created_at"))
            .col(big_integer("updated_at"))
            .foreign_key(ForeignKey::create().from("credential", "org").to("org", "id"))
            .to_owned(),
        Table::create()
            .table("retired_credential")
            .col(text("id").primary_key())
            .col(text("org"))
            .col(big_integer("retired_at"))
            .to_owned(),
        Table::create()
            .table("proxy")
            .col(text("id").primary_key())
            .col(text("org"))
            .col(text("name"))
            .col(boolean("active"))
            .col(text("target"))
            .col(text("upstream_credential"))
            .col(big_integer("created_at"))
            .col(big_integer("updated_at"))
            .foreign_key(ForeignKey::create().from("proxy", "org").to("org", "id"))
            .foreign_key(ForeignKey::create().from("proxy", "target").to("target", "id"))
            .foreign_key(ForeignKey::create().from("proxy", "upstream_credential").to("credential", "id"))
            .to_owned(),
        Table::create()
            .table("proxy_caller")
            .col(text("proxy"))
            .col(text("credential"))
            .col(integer("position"))
            .primary_key(Index::create().col("proxy").col("credential"))
            .foreign_key(
                ForeignKey::create()
                    .from("proxy_caller", "proxy")
                    .to("proxy", "id")
                    .on_delete(ForeignKeyAction::Cascade),
            )
            .foreign_key(ForeignKey::create().from("proxy_caller", "credential").to("credential", "id"))
            .to_owned(),
        Table::create()
            .table("proxy_region")
            .col(text("proxy"))
            .col(text("region"))
            .col(integer("position"))
            .primary_key(Index::create().col("proxy").col("region"))
            .foreign_key(
                ForeignKey::create()
                    .from("proxy_region", "proxy")
                    .to("proxy", "id")
                    .on_delete(ForeignKeyAction::Cascade),
            )
            .foreign_key(ForeignKey::create().from("proxy_region", "region").to("region", "id"))
            .to_owned(),
        Table::create()
            .table("proxy_home")
            .col(text("proxy"))
            .col(text("region"))
            .col(text("org"))
            .primary_key(Index::create().col("proxy").col("region"))
            .to_owned(),
        Table::create()
            .table("revision")
            .col(big_integer("rev").primary_key())
            .col(big_integer("at"))
            .col(text("author"))
            .col(text("call"))
            .to_owned(),
        Table::create()
            .table("change")
            .col(big_integer("rev"))
            .col(integer("kind"))
            .col(text("id"))
            .col(text("org"))
            .col(ColumnDef::new("hash").blob().null())
            .primary_key(Index::create().col("rev").col("kind").col("id"))
            .foreign_key(ForeignKey::create().from("change", "rev").to("revision", "rev"))
            .to_owned(),
        Table::create().table("blob").col(blob("hash").primary_key()).col(blob("payload")).to_owned(),
        Table::create()
            .table("resource")
            .col(integer("kind"))
            .col(text("id"))
            .col(text("org"))
            .col(big_integer("rev"))
            .col(blob("hash"))
            .primary_key(Index::create().col("kind").col("id"))
            .to_owned(),
        Table::create()
            .table("node_token")
            .col(text("id").primary_key())
            .col(text("region"))
            .col(blob("statement"))
            .col(integer("uses"))
            .col(integer("used"))
            .col(big_integer("expires_at"))
            .col(big_integer("created_at"))
            .col(text("created_by"))
            .foreign_key(ForeignKey::create().from("node_token", "region").to("region", "id"))
            .to_owned(),
        Table::create()
            .table("node")
            .col(text("id").primary_key())
            .col(text("region"))
            .col(text("token"))
            .col(text("build"))
            .col(blob("node_key"))
            .col(big_integer("joined_at"))
            .col(big_integer("last_seen_at"))
            .col(big_integer("certificate_not_after"))
            .col(blob("status"))
            .foreign_key(ForeignKey::create().from("node", "region").to("region", "id"))
            .foreign_key(ForeignKey::create().from("node", "token").to("node_token", "id"))
            .to_owned(),
        Table::create()
            .table("token")
            .col(text("id").primary_key())
            .col(text("name"))
            .col(blob("hash"))
            .col(boolean("bootstrap"))
            .col(big_integer_null("expires_at"))
            .col(big_integer("created_at"))
            .col(big_integer_null("used_at"))
            .to_owned(),
        Table::create()
            .table("token_grant")
            .col(text("token"))
            .col(text("org"))
            .col(integer("role"))
            .primary_key(Index::create().col("token").col("org").col("role"))
            .foreign_key(ForeignKey::create().from("token_grant", "token").to("token", "id"))
            .to_owned(),
        Table::create()
            .table("request_record")
            .col(text("id"))
            .col(text("org"))
            .col(text("proxy"))
            .col(big_integer("received_at"))
            .col(big_integer("stored_at"))
            .col(text("node"))
            .col(text("region"))
            .col(integer("status"))
            .col(text("code"))
            .col(blob("record"))
            .primary_key(Index::create().col("id").col("org"))
            .to_owned(),
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
            .primary_key(Index::create().col("node").col("spool"))
            .to_owned(),
    ]
}

fn indexes() -> Vec<IndexCreateStatement> {
    vec![
        Index::create().name("org_name_key").table("org").col("name").unique().to_owned(),
        Index::create().name("region_name_key").table("region").col("name").unique().to_owned(),
        Index::create()
            .name("target_org_name_key")
            .table("target")
            .col("org")
            .col("name")
            .unique()
            .to_owned(),
        Index::create()
            .name("credential_org_name_key")
            .table("credential")
            .col("org")
            .col("name")
            .unique()
            .to_owned(),
        Index::create().name("proxy_org_name_key").table("proxy").col("org").col("name").unique().to_owned(),
        Index::create().name("proxy_target_idx").table("proxy").col("target").to_owned(),
        Index::create()
            .name("proxy_upstream_credential_idx")
            .table("proxy")
            .col("upstream_credential")
            .to_owned(),
        Index::create()
            .name("proxy_caller_credential_idx")
            .table("proxy_caller")
            .col("credential")
            .to_owned(),
        Index::create().name("proxy_region_region_idx").table("proxy_region").col("region").to_owned(),
        Index::create()
            .name("proxy_home_region_proxy_idx")
            .table("proxy_home")
            .col("region")
            .col("proxy")
            .to_owned(),
        Index::create()
            .name("change_kind_id_rev_idx")
            .table("change")
            .col("kind")
            .col("id")
            .col("rev")
            .to_owned(),
        Index::create().name("node_token_region_idx").table("node_token").col("region").to_owned(),
        Index::create().name("node_region_id_idx").table("node").col("region").col("id").to_owned(),
        Index::create().name("token_hash_key").table("token").col("hash").unique().to_owned(),
        Index::create().name("token_grant_org_idx").table("token_grant").col("org").to_owned(),
        Index::create()
            .name("request_record_org_received_at_id_idx")
            .table("request_record")
            .col("org")
            .col("received_at")
            .col("id")
            .to_owned(),
        Index::create()
            .name("request_record_org_proxy_received_at_id_idx")
            .table("request_record")
            .col("org")
            .col("proxy")
            .col("received_at")
            .col("id")
            .to_owned(),
    ]
}
