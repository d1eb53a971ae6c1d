//! Two live values of a caller credential, whose a value is, and the words that credentials and their records are found by.
//!
//! Imports no entity, so that a later edit of one cannot change the past.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::text;

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

/// Each with its table and the columns that it finds by.
const INDEXES: [(&str, &str, &[&str]); 4] = [
    ("secret_key_hash_idx", "secret", &["key_hash"]),
    ("secret_previous_hash_idx", "secret", &["previous_hash"]),
    ("label_value_idx", "label", &["field", "value", "credential"]),
    ("request_record_caller_idx", "request_record", &["org", "caller", "received_at"]),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let previous = ColumnDef::new("previous_hash").blob().null().to_owned();
        manager.alter_table(Table::alter().table("secret").add_column(previous).to_owned()).await?;
        let caller = text("caller").default("").to_owned();
        manager.alter_table(Table::alter().table("request_record").add_column(caller).to_owned()).await?;
        let label = Table::create()
            .table("label")
            .col(text("credential"))
            .col(text("field"))
            .col(text("value"))
            .primary_key(Index::create().col("credential").col("field").col("value"))
            .to_owned();
        manager.create_table(label).await?;
        for (name, table, columns) in INDEXES {
            let mut index = Index::create().name(name).table(table).to_owned();
            for column in columns {
                index.col(*column);
            }
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (name, table, _) in INDEXES {
            manager.drop_index(Index::drop().name(name).table(table).to_owned()).await?;
        }
        manager.drop_table(Table::drop().table("label").to_owned()).await?;
        for (table, column) in [("request_record", "caller"), ("secret", "previous_hash")] {
            manager.alter_table(Table::alter().table(table).drop_column(column).to_owned()).await?;
        }
        Ok(())
    }

    /// SQLite would otherwise leave half a schema behind after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
