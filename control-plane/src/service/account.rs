//! Accounts of nodes: what they told of requests, and what became of the records. For those who operate them.

use std::collections::{BTreeMap, BTreeSet};

use pbjson_types::Timestamp;
use rr_contract::model::time;
use rr_contract::wire::fleet;

use super::{ServiceError, Services, fields};
use crate::authz::Principal;
use crate::store::account::{Account, AccountFilter, Gap, NodeAccount};
use crate::store::level::{self, Level};
use crate::store::record_store::each;
use crate::store::time_of;

const HOUR: i64 = Level::Hour.length();
/// The most counts that one answer is made of: some for each node and hour.
const COUNTS: u64 = 500_000;
const GAPS: u64 = 100;

impl Services {
    /// By region, node and time.
    pub(crate) async fn accounts(
        &self,
        principal: &Principal,
        request: &fleet::QueryAccountsRequest,
    ) -> Result<fleet::QueryAccountsResponse, ServiceError> {
        let regions = self.operated(principal, &request.region).await?;
        let now = self.store.now();
        let before = fields::time_row("before", request.before.as_ref())?.unwrap_or(now);
        let day = before.saturating_sub(Level::Day.length());
        let after = fields::time_row("after", request.after.as_ref())?.unwrap_or(day);
        if after >= before {
            return Err(ServiceError::field("after", "must be earlier than `before`"));
        }
        let kept = level::kept(Level::Hour);
        if now.saturating_sub(after) > kept {
            let days = kept / Level::Day.length();
            return Err(ServiceError::field(
                "after",
                format!("is more than {days} days ago, as far as accounts reach"),
            ));
        }
        let step = match &request.step {
            None => None,
            Some(step) => Some(
                time::duration(step)
                    .ok()
                    .and_then(|step| i64::try_from(step.as_micros()).ok())
                    .filter(|step| *step > 0 && step % HOUR == 0)
                    .ok_or_else(|| ServiceError::field("step", "must be whole hours, as 3600s"))?,
            ),
        };
        let filter = AccountFilter {
            regions: regions.into_iter().map(|region| region.row.id).collect(),
            node: Some(request.node.clone()).filter(|node| !node.is_empty()),
            after: Level::Hour.begin(after),
            before: before.saturating_add(HOUR - 1) - before.saturating_add(HOUR - 1).rem_euclid(HOUR),
        };
        let stores = self.records.holding(Some(&filter.regions)).await?;
        let hours = each(&stores, |store| store.accounts(&filter, COUNTS)).await?;
        let hours: Option<Vec<_>> = hours.into_iter().collect();
        let hours = hours.map(|hours| hours.concat()).ok_or_else(|| {
            ServiceError::field(
                "after",
                "takes in too many nodes and hours: ask for a shorter time, or for one region",
            )
        })?;
        let nodes: BTreeSet<&str> = hours.iter().map(|it| it.node.as_str()).collect();
        let nodes: Vec<&str> = nodes.into_iter().collect();
        let mut gaps = each(&stores, |store| store.gaps(&nodes, &filter, GAPS)).await?.concat();
        if stores.len() > 1 {
            gaps.sort_by_key(|gap| std::cmp::Reverse(gap.told));
            gaps.truncate(usize::try_from(GAPS).unwrap_or(usize::MAX));
        }
        let mut all = Account::default();
        hours.iter().for_each(|it| all.add(&it.account));
        let begin = |at: i64| step.map_or(filter.after, |step| at - at.rem_euclid(step));
        let mut steps: BTreeMap<(String, String, i64), Account> = BTreeMap::new();
        for NodeAccount { node, region, at, account } in hours {
            steps.entry((region, node, begin(at))).or_default().add(&account);
        }
        Ok(fleet::QueryAccountsResponse {
            accounts: steps
                .into_iter()
                .map(|((region, node, at), it)| wire(node, region, moment(at), it))
                .collect(),
            all: Some(wire(String::new(), String::new(), None, all)),
            gaps: gaps.into_iter().map(gap).collect(),
        })
    }
}

fn moment(at: i64) -> Option<Timestamp> {
    Some(time::timestamp(time_of(at)))
}

fn wire(node: String, region: String, at: Option<Timestamp>, account: Account) -> fleet::NodeAccount {
    let open = account.open();
    let Account { made, stored, refused, sampled, lost } = account;
    let lost = lost.into_iter().map(|(reason, records)| fleet::LostRecords { reason, records }).collect();
    fleet::NodeAccount { node, region, at, requests: made, stored, refused, lost, open, sampled }
}

fn gap(gap: Gap) -> fleet::RecordGap {
    let Gap { node, from, to, records, reason, told: _ } = gap;
    fleet::RecordGap { node, from: moment(from), to: moment(to), records, reason }
}
