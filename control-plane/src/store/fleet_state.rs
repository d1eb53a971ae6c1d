//! What all replicas know together of nodes: who holds whose stream, on what nodes ended, who stands elsewhere.

use prost::Message as _;
use rr_contract::model::id::{NodeId, RegionId};
use rr_contract::wire::fleet;
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, QuerySelect as _};

use super::entity::{crash, divergence, node, region_state};
use super::history::{number, row_of};
use super::{Store, StoreError, Txn, node_question};
use crate::publish::{
    Adopted, Answer, Crash, Divergence, Held, Known, Leased, Ledger, Question, RegionState, Reports,
};

/// How many nodes have to end on one place until no other is brought there.
const CRASHED_TOGETHER: usize = 2;

#[tonic::async_trait]
impl Ledger for Store {
    fn now(&self) -> i64 {
        Store::now(self)
    }

    fn is_shared(&self) -> bool {
        self.may_be_shared()
    }

    async fn known(&self, replica: &str) -> Result<Known, StoreError> {
        let elsewhere = node::Entity::find()
            .filter(node::Column::LeasedUntil.gt(Store::now(self)))
            .filter(node::Column::Replica.ne(replica))
            .all(self.reader())
            .await
            .map_err(StoreError::statement("read connected nodes"))?;
        let draining: Vec<String> = node::Entity::find()
            .select_only()
            .column(node::Column::Id)
            .filter(node::Column::Draining.eq(true))
            .into_tuple()
            .all(self.reader())
            .await
            .map_err(StoreError::statement("read draining nodes"))?;
        let states = region_state::Entity::find()
            .all(self.reader())
            .await
            .map_err(StoreError::statement("read states of regions"))?;
        let crashes =
            crash::Entity::find().all(self.reader()).await.map_err(StoreError::statement("read crashes"))?;
        let diverged = divergence::Entity::find()
            .all(self.reader())
            .await
            .map_err(StoreError::statement("read divergences"))?;
        Ok(Known {
            elsewhere: elsewhere.into_iter().map(leased).collect::<Result<_, _>>()?,
            draining: draining.iter().map(|id| node_id(id)).collect::<Result<_, _>>()?,
            regions: states.into_iter().map(state).collect::<Result<_, _>>()?,
            crashes: crashes
                .into_iter()
                .map(|row| {
                    Ok(Crash {
                        node: node_id(&row.node)?,
                        region: region_id(&row.region)?,
                        digest: row.digest,
                        revision: number(row.revision)?,
                    })
                })
                .collect::<Result<_, StoreError>>()?,
            diverged: diverged
                .into_iter()
                .map(|row| {
                    let at = fleet::Position::decode(row.position.as_slice())
                        .map_err(|_| StoreError::Damaged("divergence"))?;
                    let (node, region) = (node_id(&row.node)?, region_id(&row.region)?);
                    Ok((Divergence { node, region, at, why: row.why }, row.since))
                })
                .collect::<Result<_, StoreError>>()?,
        })
    }

    async fn report(&self, reports: Reports) -> Result<Vec<NodeId>, StoreError> {
        self.note(move |txn| Box::pin(async move { report(txn, reports).await })).await
    }

    async fn crashed(&self, crash: Crash) -> Result<(), StoreError> {
        self.note(move |txn| Box::pin(async move { crashed(txn, crash).await })).await
    }

    async fn diverged(&self, it: Divergence) -> Result<(), StoreError> {
        self.note(move |txn| {
            Box::pin(async move {
                let row = divergence::ActiveModel {
                    node: Set(it.node.to_string()),
                    region: Set(it.region.to_string()),
                    position: Set(it.at.encode_to_vec()),
                    why: Set(it.why),
                    since: Set(txn.now()),
                };
                let conflict = OnConflict::column(divergence::Column::Node)
                    .update_columns([
                        divergence::Column::Region,
                        divergence::Column::Position,
                        divergence::Column::Why,
                        divergence::Column::Since,
                    ])
                    .to_owned();
                divergence::Entity::insert(row)
                    .on_conflict(conflict)
                    .exec_without_returning(txn.tx())
                    .await
                    .map_err(StoreError::statement("write divergence"))?;
                Ok(())
            })
        })
        .await
    }

    async fn in_step(&self, node: NodeId) -> Result<(), StoreError> {
        self.note(move |txn| {
            Box::pin(async move {
                divergence::Entity::delete_by_id(node.to_string())
                    .exec(txn.tx())
                    .await
                    .map_err(StoreError::statement("remove divergence"))?;
                Ok(())
            })
        })
        .await
    }

    async fn ask(&self, question: Question) -> Result<(), StoreError> {
        self.ask_about(question).await
    }

    async fn questions(&self, holder: &str) -> Result<Vec<Question>, StoreError> {
        self.questions_to(holder).await
    }

    async fn answer(&self, question: &str, answer: Answer) -> Result<(), StoreError> {
        self.answer_question(question.to_owned(), answer).await
    }

    async fn answered(&self, question: &str) -> Result<Answer, StoreError> {
        self.answer_to(question).await
    }

    async fn withdraw(&self, question: &str) -> Result<(), StoreError> {
        self.withdraw_question(question.to_owned()).await
    }
}

async fn report(txn: &Txn, reports: Reports) -> Result<Vec<NodeId>, StoreError> {
    let Reports { replica, until, came, said, left, met, keep } = reports;
    for node in came {
        write(txn, &replica, until, node, true).await?;
    }
    let mut lost = Vec::new();
    for node in said {
        let id = node.node;
        if !write(txn, &replica, until, node, false).await? {
            lost.push(id);
        }
    }
    for id in left {
        node::Entity::update_many()
            .col_expr(node::Column::LeasedUntil, Expr::value(0_i64))
            .filter(node::Column::Id.eq(id.to_string()))
            .filter(node::Column::Replica.eq(replica.as_str()))
            .exec(txn.tx())
            .await
            .map_err(StoreError::statement("release node"))?;
    }
    for met in met {
        node_question::clash(txn, met).await?;
    }
    if !keep {
        return Ok(lost);
    }
    node::Entity::update_many()
        .col_expr(node::Column::LeasedUntil, Expr::value(until))
        .filter(node::Column::Replica.eq(replica.as_str()))
        .filter(node::Column::LeasedUntil.gt(0_i64))
        .exec(txn.tx())
        .await
        .map_err(StoreError::statement("keep nodes"))?;
    Ok(lost)
}

/// False where the node is another replica's by now, or not there any more.
async fn write(txn: &Txn, replica: &str, until: i64, node: Leased, claim: bool) -> Result<bool, StoreError> {
    use std::fmt::Write as _;

    let boot_id = node.boot_id.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a text takes everything");
        text
    });
    let mut update = node::Entity::update_many()
        .col_expr(node::Column::Build, Expr::value(node.build))
        .col_expr(node::Column::LastSeenAt, Expr::value(node.seen_at))
        .col_expr(node::Column::Status, Expr::value(node.status.encode_to_vec()))
        .col_expr(node::Column::Replica, Expr::value(replica))
        .col_expr(node::Column::BootId, Expr::value(boot_id))
        .col_expr(node::Column::Features, Expr::value(node.features.join(" ")))
        .col_expr(node::Column::Address, Expr::value(node.address))
        .col_expr(node::Column::LeasedUntil, Expr::value(until))
        .filter(node::Column::Id.eq(node.node.to_string()));
    if !claim {
        update = update.filter(node::Column::Replica.eq(replica));
    }
    let done = update.exec(txn.tx()).await.map_err(StoreError::statement("write node report"))?;
    Ok(done.rows_affected == 1)
}

async fn crashed(txn: &Txn, it: Crash) -> Result<(), StoreError> {
    let region = it.region.to_string();
    let row = crash::ActiveModel {
        region: Set(region.clone()),
        digest: Set(it.digest.clone()),
        node: Set(it.node.to_string()),
        revision: Set(row_of(it.revision)?),
        at: Set(txn.now()),
    };
    let key = [crash::Column::Region, crash::Column::Digest, crash::Column::Node];
    crash::Entity::insert(row)
        .on_conflict(OnConflict::columns(key).do_nothing().to_owned())
        .exec_without_returning(txn.tx())
        .await
        .map_err(StoreError::statement("write crash"))?;
    let together = crash::Entity::find()
        .filter(crash::Column::Region.eq(&region))
        .filter(crash::Column::Digest.eq(it.digest.clone()))
        .all(txn.tx())
        .await
        .map_err(StoreError::statement("read crashes"))?;
    if together.len() < CRASHED_TOGETHER {
        return Ok(());
    }
    let held = region_state::Entity::find_by_id(region.as_str())
        .one(txn.tx())
        .await
        .map_err(StoreError::statement("read state of region"))?
        .filter(|state| state.held_revision.is_some() && state.held_digest == it.digest);
    let names: Vec<&str> = together.iter().take(10).map(|row| row.node.as_str()).collect();
    let row = region_state::ActiveModel {
        region: Set(region),
        held_revision: Set(Some(row_of(it.revision)?)),
        held_digest: Set(it.digest),
        held_why: Set(format!("{} nodes ended on it: {}", together.len(), names.join(", "))),
        // A further node does not make it another matter.
        held_at: Set(held.and_then(|state| state.held_at).or(Some(txn.now()))),
        adopted_lineage: Set(Vec::new()),
        adopted_revision: Set(None),
        adopted_revived: Set(String::new()),
        adopted_at: Set(None),
    };
    let held = OnConflict::column(region_state::Column::Region)
        .update_columns([
            region_state::Column::HeldRevision,
            region_state::Column::HeldDigest,
            region_state::Column::HeldWhy,
            region_state::Column::HeldAt,
        ])
        .to_owned();
    region_state::Entity::insert(row)
        .on_conflict(held)
        .exec_without_returning(txn.tx())
        .await
        .map_err(StoreError::statement("hold region"))?;
    Ok(())
}

/// What a row says of who holds a node's stream; none where nobody does any more.
pub(crate) fn lease(row: node::Model, now: i64) -> Option<Leased> {
    if row.leased_until > now { leased(row).ok() } else { None }
}

fn leased(row: node::Model) -> Result<Leased, StoreError> {
    let bytes = row.boot_id.as_bytes().chunks(2);
    let boot_id = bytes
        .map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect::<Option<_>>()
        .ok_or(StoreError::Damaged("node"))?;
    Ok(Leased {
        node: node_id(&row.id)?,
        region: region_id(&row.region)?,
        replica: row.replica,
        boot_id,
        build: row.build,
        features: row.features.split_whitespace().map(str::to_owned).collect(),
        address: row.address,
        // One that does not decode was written by another version.
        status: fleet::Status::decode(row.status.as_slice()).unwrap_or_default(),
        seen_at: row.last_seen_at,
    })
}

fn state(row: region_state::Model) -> Result<(RegionId, RegionState), StoreError> {
    let held = match row.held_revision {
        Some(revision) => Some(Held { revision: number(revision)?, digest: row.held_digest }),
        None => None,
    };
    let adopted = match (row.adopted_revision, row.adopted_at) {
        (Some(revision), Some(at)) => Some(Adopted {
            lineage: row.adopted_lineage,
            revision: number(revision)?,
            revived: row.adopted_revived.split_whitespace().map(str::to_owned).collect(),
            at,
        }),
        _ => None,
    };
    Ok((region_id(&row.region)?, RegionState { held, adopted }))
}

fn node_id(text: &str) -> Result<NodeId, StoreError> {
    text.parse().map_err(|_| StoreError::Damaged("node"))
}

fn region_id(text: &str) -> Result<RegionId, StoreError> {
    text.parse().map_err(|_| StoreError::Damaged("region"))
}
