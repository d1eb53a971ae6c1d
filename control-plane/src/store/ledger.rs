//! What all replicas know together of nodes: leases on streams, crashes, regions that are held, divergences, clashes.
//!
//! The database is all that replicas share. What follows from any of it is decided where nodes are served.

mod crash;
mod question;
mod report;

use prost::Message as _;
use rr_contract::model::id::{NodeId, RegionId};
use rr_contract::wire::fleet;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, QuerySelect as _};

use super::entity::{crash as crash_row, divergence, node, region_state};
use super::row::number;
use super::{Store, StoreError};

pub(crate) use crash::crashed;
pub(crate) use question::{answer, answered, ask, questions, withdraw};
pub(crate) use report::{lease, proven, report};

/// A node with an open stream at some replica, as it is written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Leased {
    pub(crate) node: NodeId,
    pub(crate) region: RegionId,
    pub(crate) replica: String,
    pub(crate) boot_id: Vec<u8>,
    pub(crate) build: String,
    pub(crate) features: Vec<String>,
    pub(crate) address: String,
    pub(crate) status: fleet::Status,
    /// Microseconds since 1970.
    pub(crate) seen_at: i64,
}

/// What was decided about a region, where its nodes are not simply brought to the newest revision.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RegionState {
    pub(crate) held: Option<HeldRevision>,
    pub(crate) adopted: Option<Adopted>,
}

/// No node that is behind this revision is sent anything, until a person releases it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HeldRevision {
    pub(crate) revision: u64,
    pub(crate) digest: Vec<u8>,
}

/// A person decided that our history goes on where nodes' histories ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Adopted {
    /// Ours at that time.
    pub(crate) lineage: Vec<u8>,
    pub(crate) revision: u64,
    /// Caller credentials that nodes may take although they saw them revoked.
    pub(crate) revived: Vec<String>,
    /// When, in microseconds since 1970.
    pub(crate) at: i64,
}

impl Adopted {
    /// Whether it is about a node that is diverged since then. The person who decided saw the nodes that were
    /// known then: one that diverged later, by what may be another accident, waits for another decision.
    pub(crate) fn covers(&self, lineage: &[u8], since: i64) -> bool {
        self.lineage == lineage && since <= self.at
    }
}

/// A node crashed on a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Crash {
    pub(crate) node: NodeId,
    pub(crate) region: RegionId,
    /// Of the view that it ended on.
    pub(crate) digest: Vec<u8>,
    pub(crate) revision: u64,
}

/// A node reports a position to which our history cannot have brought it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Divergence {
    pub(crate) node: NodeId,
    pub(crate) region: RegionId,
    pub(crate) at: fleet::Position,
    /// For people.
    pub(crate) why: String,
}

/// The reason of a divergence where the node is only ahead.
pub(crate) const AHEAD: &str = "ahead of this history";

impl Divergence {
    /// Whether it is of another history, and not only ahead in ours.
    pub(crate) fn elsewhere(&self) -> bool {
        self.why != AHEAD
    }
}

/// Asked of the replica that holds a node's stream, because another process came that says it is that node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) id: String,
    pub(crate) node: NodeId,
    /// The replica that is asked.
    pub(crate) holder: String,
}

/// What the replica says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing: it has not taken the question up.
    None,
    /// It has, and pings the process.
    Heard,
    /// The process answered.
    There,
    /// It did not, or there is no stream of it.
    Gone,
}

/// Two processes that claimed to be one node, when that was seen last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeClash {
    pub(crate) node: NodeId,
    pub(crate) region: RegionId,
    /// Address of the process that is connected.
    pub(crate) there: String,
    /// Address of the process that was not let in.
    pub(crate) newcomer: String,
    /// Microseconds since 1970.
    pub(crate) at: i64,
}

/// What all replicas know together of nodes.
#[derive(Debug, Clone, Default)]
pub(crate) struct KnownNodes {
    /// Those whose streams are open at other replicas.
    pub(crate) elsewhere: Vec<Leased>,
    /// Those that are out of service, connected or not.
    pub(crate) draining: Vec<NodeId>,
    /// Those that were revoked, with the node token that each joined with.
    pub(crate) revoked: Vec<(NodeId, String)>,
    pub(crate) regions: Vec<(RegionId, RegionState)>,
    pub(crate) crashes: Vec<Crash>,
    /// Diverged nodes, with when each was met first, in microseconds since 1970.
    pub(crate) diverged: Vec<(Divergence, i64)>,
}

/// What is to be written of the nodes of one replica.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reports {
    pub(crate) replica: String,
    /// Until when this replica's nodes count as connected without a further word.
    pub(crate) until: i64,
    /// Nodes that connected since the last time: they take their place from any other replica.
    pub(crate) came: Vec<Leased>,
    /// What others of ours said since.
    pub(crate) said: Vec<Leased>,
    /// Those that went.
    pub(crate) left: Vec<NodeId>,
    /// Those that were met twice.
    pub(crate) met: Vec<NodeClash>,
    /// All others count as connected until then as well.
    pub(crate) keep: bool,
}

/// What all replicas know, but for what the asking one knows best: its own nodes.
pub(crate) async fn known(store: &Store, replica: &str) -> Result<KnownNodes, StoreError> {
    let elsewhere = node::Entity::find()
        .filter(node::Column::LeasedUntil.gt(store.now()))
        .filter(node::Column::Replica.ne(replica))
        .all(store.reader())
        .await
        .map_err(StoreError::statement("read connected nodes"))?;
    let draining: Vec<String> = node::Entity::find()
        .select_only()
        .column(node::Column::Id)
        .filter(node::Column::Draining.eq(true))
        .into_tuple()
        .all(store.reader())
        .await
        .map_err(StoreError::statement("read draining nodes"))?;
    let revoked: Vec<(String, String)> = node::Entity::find()
        .select_only()
        .column(node::Column::Id)
        .column(node::Column::Token)
        .filter(node::Column::RevokedAt.is_not_null())
        .into_tuple()
        .all(store.reader())
        .await
        .map_err(StoreError::statement("read revoked nodes"))?;
    let states = region_state::Entity::find()
        .all(store.reader())
        .await
        .map_err(StoreError::statement("read states of regions"))?;
    let crashes =
        crash_row::Entity::find().all(store.reader()).await.map_err(StoreError::statement("read crashes"))?;
    let diverged = divergence::Entity::find()
        .all(store.reader())
        .await
        .map_err(StoreError::statement("read divergences"))?;
    Ok(KnownNodes {
        elsewhere: elsewhere.into_iter().map(report::leased).collect::<Result<_, _>>()?,
        draining: draining.iter().map(|id| node_id(id)).collect::<Result<_, _>>()?,
        revoked: revoked
            .into_iter()
            .map(|(id, token)| Ok((node_id(&id)?, token)))
            .collect::<Result<_, StoreError>>()?,
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

/// Notes a diverged node.
pub(crate) async fn diverged(store: &Store, it: Divergence) -> Result<(), StoreError> {
    store
        .note(move |txn| {
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

/// Forgets that a node was diverged.
pub(crate) async fn in_step(store: &Store, node: NodeId) -> Result<(), StoreError> {
    store
        .note(move |txn| {
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

fn state(row: region_state::Model) -> Result<(RegionId, RegionState), StoreError> {
    let held = match row.held_revision {
        Some(revision) => Some(HeldRevision { revision: number(revision)?, digest: row.held_digest }),
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
