//! Which replica has the keys of which roots. Entity alone: no queries here.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "authority_holder")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub replica: String,
    /// Pins in hex, with spaces between.
    pub pins: String,
    pub seen_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
