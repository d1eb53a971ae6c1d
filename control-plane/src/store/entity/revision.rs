//! Published revisions: the audit's entries. Entity alone: no queries here.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "revision")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub rev: i64,
    pub at: i64,
    pub token: String,
    pub user: String,
    /// What the user or token was called.
    pub actor: String,
    pub address: String,
    pub user_agent: String,
    pub call: String,
    pub changes: i64,
    /// Head of the audit chain at this revision.
    pub audit: Vec<u8>,
    /// The most resources that it took from any one region's view.
    pub removals: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
