//! Single notifications that somebody has marked for himself. Entity alone: no queries here.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "notification_seen")]
pub struct Model {
    /// User id, or token id of a service.
    #[sea_orm(primary_key, auto_increment = false)]
    pub who: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub notification: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
