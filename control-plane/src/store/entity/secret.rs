//! The newest secret of each credential: sealed, or hashed. Entity alone: no queries here.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "secret")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub credential: String,
    pub version: i64,
    pub sealed: Option<Vec<u8>>,
    pub key_hash: Option<Vec<u8>>,
    /// Of the value before, while it is live beside this one.
    pub previous_hash: Option<Vec<u8>>,
    /// The same, of a secret that is sealed.
    pub previous_sealed: Option<Vec<u8>>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
