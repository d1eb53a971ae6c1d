//! What a meter counted of a series, added up over a minute, an hour or a day. Entity alone: no queries here.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "meter_rollup")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub series: i64,
    /// Minute, hour or day.
    #[sea_orm(primary_key, auto_increment = false)]
    pub level: i16,
    /// When it begins.
    #[sea_orm(primary_key, auto_increment = false)]
    pub at: i64,
    /// Of minutes; 0 of the others.
    #[sea_orm(primary_key, auto_increment = false)]
    pub revision: i64,
    /// Id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub meter: String,
    /// In millionths.
    pub charged: i64,
    pub missing: i64,
    pub exceeded: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
