//! Notifications as one person sees them: of several organizations, with marks of that person's own.
//!
//! A mark is a time for each organization, up to which all was seen, and single notifications behind that time. A row
//! for each notification and person would let "all" write any number of rows; a time alone could not mark one that
//! is newer than another. The time is one for each organization, so that whoever joins one later has not seen what
//! came there before. Single marks go when a time passes them.
//!
//! Does not decide which organizations somebody may see: callers name them, at every call. The invariant: a time only
//! ever moves on, and no mark of one person shows in the answers to another.

use std::collections::{HashMap, HashSet};

use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict};
use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, IntoActiveModel as _, PaginatorTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, QueryTrait as _, Select,
};

use super::entity::notification::{Column, Entity, Model};
use super::entity::{notification_seen as seen, notification_through as through, resource};
use super::row::Reader;
use super::{Store, StoreError, Txn};
use crate::noun::Noun;

/// How many organizations or notifications one statement is about: below the number of values that it may bind.
const ROWS: usize = 500;

/// Whose notifications, and of which organizations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Feed {
    /// User id, or token id of a service.
    pub(crate) who: String,
    /// By id, each once; an empty one is the installation.
    pub(crate) orgs: Vec<String>,
}

/// Notifications of a feed, newest first, behind a row, each with whether it was marked.
pub(crate) async fn list(
    db: &impl Reader,
    feed: &Feed,
    unread: bool,
    behind: Option<(i64, String)>,
    limit: u64,
) -> Result<Vec<(Model, bool)>, StoreError> {
    let mut rows = Vec::new();
    for orgs in feed.orgs.chunks(ROWS) {
        let mut query = of(orgs);
        if unread {
            query = query.filter(unseen(&feed.who));
        }
        if let Some((at, id)) = &behind {
            query = query.filter(
                Condition::any()
                    .add(Column::CreatedAt.lt(*at))
                    .add(Condition::all().add(Column::CreatedAt.eq(*at)).add(Column::Id.lt(id.as_str()))),
            );
        }
        let found = query
            .order_by_desc(Column::CreatedAt)
            .order_by_desc(Column::Id)
            .limit(limit)
            .all(db.conn())
            .await
            .map_err(StoreError::statement("list notifications"))?;
        rows.extend(found);
    }
    rows.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
    rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let marks = Marks::of(db, feed, &rows).await?;
    Ok(rows.into_iter().map(|row| (marks.cover(&row), row)).map(|(marked, row)| (row, marked)).collect())
}

/// Marks notifications of a feed; answers how many were not marked.
pub(crate) async fn mark(store: &Store, feed: Feed, ids: Vec<String>) -> Result<u64, StoreError> {
    store
        .note(move |txn| {
            Box::pin(async move {
                let mut marked = 0;
                for orgs in feed.orgs.chunks(ROWS) {
                    for ids in ids.chunks(ROWS) {
                        marked += mark_these(txn, &feed.who, orgs, ids).await?;
                    }
                }
                Ok(marked)
            })
        })
        .await
}

async fn mark_these(txn: &Txn, who: &str, orgs: &[String], ids: &[String]) -> Result<u64, StoreError> {
    let found: Vec<String> = of(orgs)
        .select_only()
        .column(Column::Id)
        .filter(Column::Id.is_in(ids))
        .filter(unseen(who))
        .into_tuple()
        .all(txn.tx())
        .await
        .map_err(StoreError::statement("look for notifications"))?;
    if found.is_empty() {
        return Ok(0);
    }
    let rows = found.into_iter().map(|notification| seen::Model { who: who.to_owned(), notification });
    seen::Entity::insert_many(rows.map(seen::Model::into_active_model))
        .on_conflict(OnConflict::new().do_nothing().to_owned())
        .exec_without_returning(txn.tx())
        .await
        .map_err(StoreError::statement("mark notifications"))
}

/// Marks all of a feed that came at a time or before; answers how many were not marked.
pub(crate) async fn mark_through(store: &Store, feed: Feed, at: i64) -> Result<u64, StoreError> {
    store
        .note(move |txn| {
            Box::pin(async move {
                let mut marked = 0;
                for orgs in feed.orgs.chunks(ROWS) {
                    marked += mark_orgs(txn, &feed.who, orgs, at).await?;
                }
                Ok(marked)
            })
        })
        .await
}

async fn mark_orgs(txn: &Txn, who: &str, orgs: &[String], at: i64) -> Result<u64, StoreError> {
    let marked = of(orgs)
        .filter(Column::CreatedAt.lte(at))
        .filter(unseen(who))
        .count(txn.tx())
        .await
        .map_err(StoreError::statement("count notifications"))?;
    let rows = orgs.iter().map(|org| through::Model { who: who.to_owned(), org: org.clone(), through: at });
    // Another call may have been later.
    let later = Expr::col((through::Entity, through::Column::Through))
        .lt(Expr::col(("excluded", through::Column::Through)));
    through::Entity::insert_many(rows.map(through::Model::into_active_model))
        .on_conflict(
            OnConflict::columns([through::Column::Who, through::Column::Org])
                .update_column(through::Column::Through)
                .action_and_where(later)
                .to_owned(),
        )
        .exec_without_returning(txn.tx())
        .await
        .map_err(StoreError::statement("mark notifications"))?;
    let passed = of(orgs).select_only().column(Column::Id).filter(Column::CreatedAt.lte(at)).into_query();
    seen::Entity::delete_many()
        .filter(seen::Column::Who.eq(who))
        .filter(seen::Column::Notification.in_subquery(passed))
        .exec(txn.tx())
        .await
        .map_err(StoreError::statement("remove marks"))?;
    Ok(marked)
}

/// Forgets what users saw who are gone. Tokens stay when they are revoked.
pub(crate) async fn sweep(store: &Store) -> Result<(), StoreError> {
    let there = || {
        resource::Entity::find()
            .select_only()
            .column(resource::Column::Id)
            .filter(resource::Column::Kind.is_in([Noun::User.row(), Noun::Token.row()]))
            .into_query()
    };
    store
        .note(move |txn| {
            Box::pin(async move {
                seen::Entity::delete_many()
                    .filter(seen::Column::Who.not_in_subquery(there()))
                    .exec(txn.tx())
                    .await
                    .map_err(StoreError::statement("forget marks"))?;
                through::Entity::delete_many()
                    .filter(through::Column::Who.not_in_subquery(there()))
                    .exec(txn.tx())
                    .await
                    .map_err(StoreError::statement("forget marks"))?;
                Ok(())
            })
        })
        .await
}

fn of(orgs: &[String]) -> Select<Entity> {
    Entity::find().filter(Column::Org.is_in(orgs))
}

/// That somebody has not marked a notification.
fn unseen(who: &str) -> Condition {
    let of_row = |column: Column| Expr::col((Entity, column));
    let passed = through::Entity::find()
        .select_only()
        .column(through::Column::Org)
        .filter(through::Column::Who.eq(who))
        .filter(Expr::col((through::Entity, through::Column::Org)).eq(of_row(Column::Org)))
        .filter(Expr::col((through::Entity, through::Column::Through)).gte(of_row(Column::CreatedAt)));
    let single = seen::Entity::find()
        .select_only()
        .column(seen::Column::Notification)
        .filter(seen::Column::Who.eq(who))
        .filter(Expr::col((seen::Entity, seen::Column::Notification)).eq(of_row(Column::Id)));
    Condition::all().add(Expr::exists(passed.into_query()).not()).add(Expr::exists(single.into_query()).not())
}

/// The marks of one person that concern some notifications.
struct Marks {
    through: HashMap<String, i64>,
    single: HashSet<String>,
}

impl Marks {
    async fn of(db: &impl Reader, feed: &Feed, rows: &[Model]) -> Result<Self, StoreError> {
        let mut marks = Self { through: HashMap::new(), single: HashSet::new() };
        let orgs: HashSet<&str> = rows.iter().map(|row| row.org.as_str()).collect();
        let orgs: Vec<&str> = orgs.into_iter().collect();
        for orgs in orgs.chunks(ROWS) {
            let found = through::Entity::find()
                .filter(through::Column::Who.eq(feed.who.as_str()))
                .filter(through::Column::Org.is_in(orgs.iter().copied()))
                .all(db.conn())
                .await
                .map_err(StoreError::statement("read marks"))?;
            marks.through.extend(found.into_iter().map(|it| (it.org, it.through)));
        }
        for rows in rows.chunks(ROWS) {
            let found = seen::Entity::find()
                .filter(seen::Column::Who.eq(feed.who.as_str()))
                .filter(seen::Column::Notification.is_in(rows.iter().map(|row| row.id.as_str())))
                .all(db.conn())
                .await
                .map_err(StoreError::statement("read marks"))?;
            marks.single.extend(found.into_iter().map(|it| it.notification));
        }
        Ok(marks)
    }

    fn cover(&self, row: &Model) -> bool {
        self.through.get(&row.org).is_some_and(|through| *through >= row.created_at)
            || self.single.contains(&row.id)
    }
}
