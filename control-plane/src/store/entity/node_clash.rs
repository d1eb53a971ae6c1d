//! Nodes that another process claimed to be while they were there. Entity alone: no queries here.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "node_clash")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub node: String,
    /// Where the other process came from, the last time.
    pub newcomer: String,
    pub at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
