//! What requests that are added up have in common. Entity alone: no queries here.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "series")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    /// What it tells apart.
    pub detail: i16,
    /// Of all that follows.
    pub hash: Vec<u8>,
    pub org: String,
    /// Empty where it is not told apart, as all that follow.
    pub proxy: String,
    /// Id of the caller credential; empty where there is none.
    pub caller: String,
    pub region: String,
    pub code: String,
    /// Id of the rule that decided; empty where none did.
    pub rule: String,
    /// Id of the rule that would have denied; empty where none would.
    pub observed_rule: String,
    pub status: i32,
    pub observed_denial: bool,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
