//! The last batch taken of each spool. Entity alone: no queries here.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "telemetry_cursor")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub node: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub spool: Vec<u8>,
    pub last: i64,
    /// Since when the region of its node is where this is, as microseconds since 1970; 0 for ever.
    pub since: i64,
    /// Whether the spool went on to another store.
    pub is_left: bool,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
