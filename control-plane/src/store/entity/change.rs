//! What each revision touched. No hash means removed. Entity alone: no queries here.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "change")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub rev: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub kind: i32,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub org: String,
    pub hash: Option<Vec<u8>>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
