//! What there is of each noun now. Entity alone: no queries here.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "resource")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub kind: i32,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// Empty for what belongs to the installation.
    pub org: String,
    pub name: String,
    pub owner: String,
    /// The revision that last changed it.
    pub rev: i64,
    /// Hash of its document.
    pub doc: Vec<u8>,
    /// Hash of what nodes are sent; null when they are sent nothing.
    pub payload: Option<Vec<u8>>,
    pub created_at: i64,
    pub updated_at: i64,
    pub created_by: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
