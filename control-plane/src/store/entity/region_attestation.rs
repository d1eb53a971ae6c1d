//! The newest attestation of a region, with the versions that it is about. Entity alone: no queries here.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "region_attestation")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub region: String,
    /// An encoded RegionAttestation.
    pub attestation: Vec<u8>,
    /// The versions, in the form that is signed.
    pub versions: Vec<u8>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
