//! How far the clock may be believed, where age decides what goes for good.
//!
//! A machine that comes up with a wrong clock would take a month for past. So the newest time that was believed is kept
//! in the database, and moves on in steps that a stop or a long week-end explains. Beyond such a step a person is asked:
//! nothing is removed by age until then. The invariant: what is believed never came from one jump that nobody confirmed.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use tracing::info;

use super::entity::{head, node, revision};
use super::error::{ClockAhead, StoreError};
use super::row::Reader as _;
use super::{Store, time_of};

/// The longest step that is believed. What goes for good is at least four times as old, but for records of an
/// organization that keeps them for less.
pub(crate) const STEP: Duration = Duration::from_secs(7 * 86_400);

/// What time it is for what goes by age; an error where a person has to say.
pub(crate) async fn believed(store: &Store) -> Result<i64, StoreError> {
    let now = store.now();
    let seen = seen(store).await?;
    if now.saturating_sub(seen) > i64::try_from(STEP.as_micros()).unwrap_or(i64::MAX) {
        return Err(StoreError::ClockAhead(Box::new(ClockAhead {
            now: text(now),
            seen: text(seen),
            database: store.0.address.to_string(),
        })));
    }
    keep(store, now).await?;
    Ok(now)
}

/// A person says that the clock is right.
pub(crate) async fn accept(store: &Store) -> Result<(), StoreError> {
    let now = store.now();
    keep(store, now).await?;
    info!(now = text(now), "the clock of this machine is taken as right because of --accept-clock");
    Ok(())
}

/// The newest time that was believed. Where there is none yet, that of the newest rows is kept as such: to be asked for
/// at a start, before there are rows with the clock's own time.
pub(crate) async fn seen(store: &Store) -> Result<i64, StoreError> {
    let kept = head::Entity::find_by_id(1_i32)
        .one(store.conn())
        .await
        .map_err(StoreError::statement("read clock"))?
        .and_then(|row| row.seen_at);
    if let Some(kept) = kept {
        return Ok(kept);
    }
    let written = revision::Entity::find()
        .order_by_desc(revision::Column::Rev)
        .limit(1)
        .one(store.conn())
        .await
        .map_err(StoreError::statement("read revisions"))?
        .map(|row| row.at);
    let heard = node::Entity::find()
        .order_by_desc(node::Column::LastSeenAt)
        .limit(1)
        .one(store.conn())
        .await
        .map_err(StoreError::statement("read nodes"))?
        .map(|row| row.last_seen_at);
    // Where nobody wrote anything there is nothing to remove either.
    let first = written.max(heard).unwrap_or_else(|| store.now());
    keep(store, first).await?;
    Ok(first)
}

async fn keep(store: &Store, now: i64) -> Result<(), StoreError> {
    store
        .note(move |txn| {
            Box::pin(async move {
                head::Entity::update_many()
                    .col_expr(head::Column::SeenAt, Expr::value(now))
                    .filter(head::Column::Id.eq(1_i32))
                    // A clock that was behind for a while takes nothing back.
                    .filter(
                        Condition::any()
                            .add(head::Column::SeenAt.is_null())
                            .add(head::Column::SeenAt.lt(now)),
                    )
                    .exec(txn.tx())
                    .await
                    .map_err(StoreError::statement("keep clock"))?;
                Ok(())
            })
        })
        .await
}

fn text(micros: i64) -> String {
    DateTime::<Utc>::from(time_of(micros)).to_rfc3339_opts(SecondsFormat::Secs, true)
}
