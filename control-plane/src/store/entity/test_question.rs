//! What one replica has a node test whose stream another one holds. Entity alone: no queries here.

use sea_orm::entity::prelude::*;

/// One row. It lives for seconds.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "test_question")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub node: String,
    /// The replica that is asked.
    pub holder: String,
    pub question: Vec<u8>,
    pub answer: Option<Vec<u8>>,
    pub asked_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
