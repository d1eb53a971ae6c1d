//! Nodes that stand where the history of this database cannot have brought them. Entity alone: no queries here.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "divergence")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub node: String,
    pub region: String,
    /// Where it stands: an encoded `Position`.
    pub position: Vec<u8>,
    /// For people: ahead, of another lineage, or with another audit head.
    pub why: String,
    pub since: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
