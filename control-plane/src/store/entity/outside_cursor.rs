//! The last batch taken of each spool by a store of records that is no database of this kind. Entity alone: no queries here.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "outside_cursor")]
pub struct Model {
    /// The store's name.
    #[sea_orm(primary_key, auto_increment = false)]
    pub store: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub node: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub spool: Vec<u8>,
    pub last: i64,
    /// Since when the region of its node is where this is, as microseconds since 1970; 0 for ever.
    pub since: i64,
    /// Whether the spool went on to another store.
    pub is_left: bool,
    /// The number of the first record of the batch behind the last one, which may be there or not; 0 where none was begun.
    pub first: i64,
    /// When that batch came first. The same each time that it comes.
    pub begun_at: i64,
    /// When it came last.
    pub tried_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
