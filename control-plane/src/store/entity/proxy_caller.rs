//! Which caller credentials a proxy takes, in the order they were given. Entity alone: no queries here.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "proxy_caller")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub proxy: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub credential: String,
    pub position: i32,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
