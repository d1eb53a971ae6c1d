//! Sums of requests as nodes sent them, until they are added to the rollups. Entity alone: no queries here.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "waiting_sum")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub node: String,
    pub region: String,
    pub taken_at: i64,
    /// Requests of all sums of the batch, also those that were not taken.
    pub made: i64,
    /// Requests that the records stand for that were stored.
    pub stored: i64,
    /// Records that were not taken.
    pub refused: i64,
    /// A batch of the fleet schema, of which sums and losses are there.
    pub sums: Vec<u8>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
