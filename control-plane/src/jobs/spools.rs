//! Tells of nodes whose record spool fills, or that have lost records.

use std::collections::BTreeMap;

use prost::Message as _;
use rr_contract::wire::fleet;

use super::nodes::{LOST_AFTER, RECENT, Regions, before};
use super::{PAGE, Told, of_each};
use crate::notice::{self, Spool};
use crate::store::{RecordStores, Store, StoreError, node_row, survey};

/// A node that is told of.
struct Due {
    node: node_row::Model,
    /// Bytes that wait, and the quota, where it is nearly full.
    fill: Option<(u64, u64)>,
    /// Records, by reason.
    lost: Vec<(String, u64)>,
}

pub(super) async fn run(store: &Store, records: &RecordStores, told: &Told) -> Result<u64, StoreError> {
    let now = store.now();
    // How many records, by node and reason.
    let mut lost: BTreeMap<String, Vec<(String, u64)>> = BTreeMap::new();
    // What one that does not answer would say is told when it answers again.
    let stores = records.answering();
    let (losses, failed) = of_each(&stores, |store| store.losses(before(now, RECENT))).await;
    for loss in losses.into_iter().flatten() {
        lost.entry(loss.node).or_default().push((loss.reason, loss.records.unsigned_abs()));
    }
    let mut due = Vec::new();
    let mut after = String::new();
    loop {
        // One that lost records and is not connected any more has told of them all the same.
        let nodes = survey::nodes_seen(store, (before(now, RECENT), i64::MAX), &after, PAGE).await?;
        let Some(last) = nodes.last() else { break };
        after.clone_from(&last.id);
        due.extend(nodes.into_iter().filter_map(|node| {
            let status = fleet::Status::decode(node.status.as_slice()).unwrap_or_default();
            // An old word says nothing about now.
            let is_fresh = node.last_seen_at >= before(now, LOST_AFTER);
            let fill = Some((status.spool_bytes, status.spool_quota_bytes))
                .filter(|fill| is_fresh && is_near(*fill));
            let lost = lost.remove(&node.id).unwrap_or_default();
            (fill.is_some() || !lost.is_empty()).then_some(Due { node, fill, lost })
        }));
    }
    if due.is_empty() {
        return failed.map_or(Ok(0), Err);
    }
    let regions = Regions::read(store).await?;
    let row = |Due { node, fill, lost }: &Due| {
        let spool = Spool { node: &node.id, region: regions.name(&node.region), fill: *fill, lost };
        notice::spool_filling(now, regions.owner(&node.region), &spool)
    };
    let count = told.tell(store, due.iter().map(row).collect()).await?;
    failed.map_or(Ok(count), Err)
}

/// Whether 80 % of a quota are used. A node that does not say its quota is not judged.
fn is_near((bytes, quota): (u64, u64)) -> bool {
    quota > 0 && u128::from(bytes) * 100 >= u128::from(quota) * 80
}
