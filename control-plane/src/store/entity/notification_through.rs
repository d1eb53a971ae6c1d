//! Up to which time somebody has marked all notifications of an organization for himself. Entity alone: no queries here.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "notification_through")]
pub struct Model {
    /// User id, or token id of a service.
    #[sea_orm(primary_key, auto_increment = false)]
    pub who: String,
    /// Empty for the installation.
    #[sea_orm(primary_key, auto_increment = false)]
    pub org: String,
    pub through: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
