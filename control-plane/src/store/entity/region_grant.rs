//! The key of an epoch of a region, sealed to one recipient. Entity alone: no queries here.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "region_grant")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub region: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub epoch: i64,
    /// The public key that it is sealed to, in hex.
    #[sea_orm(primary_key, auto_increment = false)]
    pub recipient: String,
    /// An encoded RegionKeyGrant.
    pub grant: Vec<u8>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
