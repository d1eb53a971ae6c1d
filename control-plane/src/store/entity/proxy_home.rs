//! Which regions ever served a proxy: late records of it may come from there. Outlives the proxy. Entity alone: no queries here.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "proxy_home")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub proxy: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub region: String,
    pub org: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
