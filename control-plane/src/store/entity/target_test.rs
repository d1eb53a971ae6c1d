//! The last test of a proxy's target in a region. No part of any document. Entity alone: no queries here.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "target_test")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub proxy: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub region: String,
    /// The newest change after which it was tested, or is being tested.
    pub after_rev: i64,
    pub test: Option<Vec<u8>>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
