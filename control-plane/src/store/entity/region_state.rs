//! What a region waits for, and what a person decided about it. Entity alone: no queries here.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "region_state")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub region: String,
    /// The revision on which nodes crashed; it goes no further until a person acts.
    pub held_revision: Option<i64>,
    /// The view's digest at that revision; empty when nothing is held.
    pub held_digest: Vec<u8>,
    /// For people.
    pub held_why: String,
    pub held_at: Option<i64>,
    /// The lineage that a person decided to go on with; empty when never.
    pub adopted_lineage: Vec<u8>,
    /// The revision at which that was decided.
    pub adopted_revision: Option<i64>,
    /// Ids of caller credentials that come back to life, with spaces between.
    pub adopted_revived: String,
    pub adopted_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
