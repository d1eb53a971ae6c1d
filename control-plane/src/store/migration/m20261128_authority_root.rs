//! Roots of the certificate authority, and which replica has their keys.
//!
//! Imports no entity, so that a later edit of one cannot change the past.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, binary, binary_null, text};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let roots = Table::create()
            .table("authority_root")
            .col(text("pin").primary_key())
            .col(binary("certificate"))
            .col(binary_null("cross"))
            .col(big_integer("added_at"))
            .col(big_integer_null("issues_since"))
            .col(big_integer_null("removed_at"))
            .to_owned();
        manager.create_table(roots).await?;
        let holders = Table::create()
            .table("authority_holder")
            .col(text("replica").primary_key())
            .col(text("pins"))
            .col(big_integer("seen_at"))
            .to_owned();
        manager.create_table(holders).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("authority_holder").to_owned()).await?;
        manager.drop_table(Table::drop().table("authority_root").to_owned()).await
    }

    /// SQLite would otherwise leave half a schema behind after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
