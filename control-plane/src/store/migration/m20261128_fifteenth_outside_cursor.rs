//! Cursors of spools whose records lie in no database of this kind, and the number of the record that came there last.
//!
//! Imports no entity, so that a later edit of one cannot change the past.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, blob, boolean, text};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

const TABLE: &str = "outside_cursor";
/// The row of `arrival`.
const ROW: i32 = 3;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut table = Table::create();
        table.table(TABLE).col(text("store")).col(text("node")).col(blob("spool"));
        table.col(big_integer("last")).col(big_integer("since")).col(boolean("is_left"));
        for column in ["first", "begun_at", "tried_at"] {
            table.col(big_integer(column));
        }
        table.primary_key(Index::create().col("store").col("node").col("spool"));
        manager.create_table(table).await?;
        let newest = Query::insert()
            .into_table("arrival")
            .columns(["id", "newest"])
            .values_panic([ROW.into(), 0.into()])
            .to_owned();
        manager.execute(newest).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(TABLE).to_owned()).await?;
        let newest = Query::delete().from_table("arrival").and_where(Expr::col("id").eq(ROW)).to_owned();
        manager.execute(newest).await
    }

    /// SQLite would otherwise leave half a schema behind after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
