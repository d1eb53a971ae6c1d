//! What one replica asks another about a node whose stream that one holds. Entity alone: no queries here.

use sea_orm::entity::prelude::*;

/// One row. It lives for seconds.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "node_question")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub node: String,
    /// The replica that is asked.
    pub holder: String,
    /// 0 none, 1 taken up, 2 the process is there, 3 it is not.
    pub answer: i32,
    pub asked_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
