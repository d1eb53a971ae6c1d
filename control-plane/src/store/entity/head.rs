//! The one row that hands out revisions, and names the installation and its lineage. Entity alone: no queries here.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "head")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i32,
    pub installation: String,
    pub lineage: Vec<u8>,
    pub head: i64,
    /// Head of the audit chain at `head`.
    pub audit: Vec<u8>,
    /// The oldest revision whose resources are kept as they were.
    pub floor: i64,
    /// Null until the authority's files are written.
    pub authority: Option<Vec<u8>>,
    /// The newest time that was believed, for what goes by age; null before there was one.
    pub seen_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
