//! How many requests a node told of in an hour, and what became of their records. Entity alone: no queries here.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "node_account")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub node: String,
    /// When the hour begins in which the control plane was told.
    #[sea_orm(primary_key, auto_increment = false)]
    pub at: i64,
    /// `made`, `stored`, `refused`, or `lost ` and a reason.
    #[sea_orm(primary_key, auto_increment = false)]
    pub what: String,
    pub region: String,
    pub count: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
