//! Records of proxied requests: what is searched by as columns, the whole as it came. Entity alone: no queries here.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "request_record")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub org: String,
    pub proxy: String,
    /// Id of the caller credential; empty where there is none.
    pub caller: String,
    pub received_at: i64,
    pub stored_at: i64,
    pub node: String,
    pub region: String,
    pub status: i32,
    pub code: String,
    /// Its beginning.
    pub path: String,
    /// Id of the rule that decided; empty where none did.
    pub rule: String,
    /// Counts up over all records, in the order in which they were stored.
    pub arrival: i64,
    /// How many requests it stands for.
    pub count: i64,
    pub record: Vec<u8>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
