//! What is noted of nodes besides their own reports, and what a person decided about them and their regions.
//!
//! Decisions are written with the revision that records them.

use std::collections::HashMap;

use prost::Message as _;
use rr_contract::seam::{Entropy, draw};
use rr_contract::wire::fleet;
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _};

use super::entity::{crash, divergence, head, node, node_clash, region_state};
use super::row::{Reader, row_of};
use super::{Author, Head, Store, StoreError, Txn, installation};

/// A diverged node: our history cannot have brought it to its position.
#[derive(Debug, Clone)]
pub(crate) struct Stray {
    pub(crate) node: String,
    pub(crate) region: String,
    pub(crate) at: fleet::Position,
    /// Microseconds since 1970.
    pub(crate) since: i64,
}

/// What is noted of nodes besides their own reports.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Diverged nodes, by node.
    pub(crate) strays: HashMap<String, Stray>,
    /// The newest crash of each node, by node.
    pub(crate) crashes: HashMap<String, crash::Model>,
    /// States of regions, by region.
    pub(crate) regions: HashMap<String, region_state::Model>,
    /// Recent clashes of two processes, by node.
    pub(crate) clashes: HashMap<String, node_clash::Model>,
}

/// How long a clash is shown: a process that is not let in comes again sooner.
const CLASH_SHOWN: i64 = 120_000_000;

impl Notes {
    /// Whether they hold nothing that a person has to look at.
    pub(crate) fn is_quiet(&self) -> bool {
        let held = self.regions.values().any(|state| state.held_revision.is_some());
        self.strays.is_empty() && self.crashes.is_empty() && !held
    }
}

/// All notes: there are few. `now` in microseconds since 1970.
pub(crate) async fn notes(db: &impl Reader, now: i64) -> Result<Notes, StoreError> {
    let strays = divergence::Entity::find().all(db.conn()).await;
    let crashes =
        crash::Entity::find().all(db.conn()).await.map_err(StoreError::statement("read crashes"))?;
    let regions = region_state::Entity::find().all(db.conn()).await;
    let mut notes = Notes::default();
    for row in strays.map_err(StoreError::statement("read divergences"))? {
        let at = fleet::Position::decode(row.position.as_slice())
            .map_err(|_| StoreError::Damaged("divergence"))?;
        let stray = Stray { node: row.node.clone(), region: row.region, at, since: row.since };
        notes.strays.insert(row.node, stray);
    }
    for row in crashes {
        let newest = notes.crashes.get(&row.node).is_none_or(|known| known.at < row.at);
        if newest {
            notes.crashes.insert(row.node.clone(), row);
        }
    }
    let regions = regions.map_err(StoreError::statement("read states of regions"))?;
    notes.regions = regions.into_iter().map(|row| (row.region.clone(), row)).collect();
    let clashes = node_clash::Entity::find()
        .filter(node_clash::Column::At.gt(now.saturating_sub(CLASH_SHOWN)))
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read clashes"))?;
    notes.clashes = clashes.into_iter().map(|row| (row.node.clone(), row)).collect();
    Ok(notes)
}

/// Takes a node out of service or puts it back, with this write.
pub(crate) fn drain(txn: &mut Txn, node: String, drain: bool) {
    txn.also(move |txn| {
        Box::pin(async move {
            node::Entity::update_many()
                .col_expr(node::Column::Draining, Expr::value(drain))
                .filter(node::Column::Id.eq(node))
                .exec(txn.tx())
                .await
                .map_err(StoreError::statement("write drain"))?;
            Ok(())
        })
    });
}

/// Revokes a node with this write, for good.
pub(crate) fn revoke(txn: &mut Txn, node: String) {
    txn.also(move |txn| {
        Box::pin(async move {
            node::Entity::update_many()
                .col_expr(node::Column::RevokedAt, Expr::value(Some(txn.now())))
                .filter(node::Column::Id.eq(node))
                .filter(node::Column::RevokedAt.is_null())
                .exec(txn.tx())
                .await
                .map_err(StoreError::statement("revoke node"))?;
            Ok(())
        })
    });
}

/// Notes with this write that our history goes on for the diverged nodes of a region.
pub(crate) fn adopt(txn: &mut Txn, region: String, lineage: [u8; 16], revived: &[String]) {
    let revived = revived.join(" ");
    txn.also(move |txn| {
        Box::pin(async move {
            let row = region_state::ActiveModel {
                region: Set(region),
                held_revision: Set(None),
                held_digest: Set(Vec::new()),
                held_why: Set(String::new()),
                held_at: Set(None),
                adopted_lineage: Set(lineage.to_vec()),
                // The revision that this becomes.
                adopted_revision: Set(Some(row_of(txn.head() + 1)?)),
                adopted_revived: Set(revived),
                adopted_at: Set(Some(txn.now())),
            };
            let adopted = OnConflict::column(region_state::Column::Region)
                .update_columns([
                    region_state::Column::AdoptedLineage,
                    region_state::Column::AdoptedRevision,
                    region_state::Column::AdoptedRevived,
                    region_state::Column::AdoptedAt,
                ])
                .to_owned();
            region_state::Entity::insert(row)
                .on_conflict(adopted)
                .exec_without_returning(txn.tx())
                .await
                .map_err(StoreError::statement("adopt revision"))?;
            Ok(())
        })
    });
}

/// Releases, with this write, the revision that is held in a region. Nodes that crashed on it try it once more.
pub(crate) fn release(txn: &mut Txn, state: region_state::Model) {
    txn.also(move |txn| {
        Box::pin(async move {
            region_state::Entity::update_many()
                .col_expr(region_state::Column::HeldRevision, Expr::value(None::<i64>))
                .col_expr(region_state::Column::HeldDigest, Expr::value(Vec::<u8>::new()))
                .col_expr(region_state::Column::HeldWhy, Expr::value(""))
                .col_expr(region_state::Column::HeldAt, Expr::value(None::<i64>))
                .filter(region_state::Column::Region.eq(state.region.as_str()))
                .exec(txn.tx())
                .await
                .map_err(StoreError::statement("release revision"))?;
            crash::Entity::delete_many()
                .filter(crash::Column::Region.eq(state.region))
                .filter(crash::Column::Digest.eq(state.held_digest))
                .exec(txn.tx())
                .await
                .map_err(StoreError::statement("forget crashes"))?;
            Ok(())
        })
    });
}

/// The state of one region.
pub(crate) async fn region(db: &impl Reader, id: &str) -> Result<Option<region_state::Model>, StoreError> {
    region_state::Entity::find_by_id(id)
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read state of region"))
}

/// The latest end of a lease of any replica, in microseconds since 1970; none where all have ended.
pub(crate) async fn leased_until(store: &Store) -> Result<Option<i64>, StoreError> {
    let rows = node::Entity::find()
        .filter(node::Column::LeasedUntil.gt(store.now()))
        .all(store.reader())
        .await
        .map_err(StoreError::statement("read connected nodes"))?;
    Ok(rows.into_iter().map(|row| row.leased_until).max())
}

/// Ends every lease: no replica has any node.
pub(crate) async fn end_leases(store: &Store) -> Result<(), StoreError> {
    let ended = store.note(move |txn| {
        Box::pin(async move {
            node::Entity::update_many()
                .col_expr(node::Column::LeasedUntil, Expr::value(0_i64))
                .exec(txn.tx())
                .await
                .map_err(StoreError::statement("end leases"))?;
            Ok::<_, StoreError>(())
        })
    });
    ended.await
}

impl Store {
    /// Gives the history another name, because it is not the one that ended here: a revision of its own. What was,
    /// and what is.
    pub(crate) async fn rename_history(
        &self,
        call: &'static str,
        entropy: &dyn Entropy,
    ) -> Result<Option<(Head, Head)>, StoreError> {
        let Some(before) = installation::head(self).await? else { return Ok(None) };
        let lineage = draw::<16>(entropy).to_vec();
        self.write(Author::system(call), move |txn| {
            Box::pin(async move {
                txn.enter();
                txn.also(move |txn| {
                    Box::pin(async move {
                        head::Entity::update_many()
                            .col_expr(head::Column::Lineage, Expr::value(lineage))
                            .filter(head::Column::Id.eq(1_i32))
                            .exec(txn.tx())
                            .await
                            .map_err(StoreError::statement("rename history"))?;
                        Ok(())
                    })
                });
                Ok::<_, StoreError>(())
            })
        })
        .await?;
        let after = installation::head(self).await?.ok_or(StoreError::Damaged("head"))?;
        Ok(Some((before, after)))
    }
}
