//! Roots of the certificate authority: public halves alone. Entity alone: no queries here.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "authority_root")]
pub struct Model {
    /// SHA-256 of its public key (SPKI), in hex.
    #[sea_orm(primary_key, auto_increment = false)]
    pub pin: String,
    /// By itself, DER.
    pub certificate: Vec<u8>,
    /// The same key and name by the other root, DER; null where there never was another.
    pub cross: Option<Vec<u8>>,
    pub added_at: i64,
    /// Since when it issues, or issued last; null where it never has. Of all that are not removed, the latest issues.
    pub issues_since: Option<i64>,
    /// When it was removed; null: it was not.
    pub removed_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
