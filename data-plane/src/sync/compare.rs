//! Answers the control plane's queries about where this node's view differs from its own.
//!
//! Changes nothing. A view of any size is gone through in slices, so that the control thread does not stand still
//! meanwhile; nothing else changes the view while an answer is made.

use prost::Message as _;
use rr_contract::digest::{BUCKETS_LOG2_MAX, bucket, locator};
use rr_contract::model::resource::Key;
use rr_contract::wire::fleet;
use tokio::task::yield_now;

use super::transaction::Offered;

/// How many resources are looked at in one go: less than a millisecond.
const SLICE: usize = 1_000;
/// Bytes of a list in one report: the receiver keeps a buffer for the largest one.
const REPORT_MAX: usize = 32 * 1024;

/// Answers with one or more reports.
pub(super) async fn answer<'a, E>(
    query: &fleet::BucketQuery,
    at: Option<fleet::Position>,
    wanted: impl Iterator<Item = (&'a Key, &'a Offered)>,
    mut say: impl AsyncFnMut(fleet::BucketReport) -> Result<(), E>,
) -> Result<(), E> {
    let log2 = query.log2_buckets.min(BUCKETS_LOG2_MAX);
    let report = || fleet::BucketReport { query: query.query.clone(), at: at.clone(), ..Default::default() };
    if query.list.is_empty() {
        let mut sums = vec![0_u64; 1 << log2];
        for (count, (key, offered)) in wanted.enumerate() {
            if count % SLICE == SLICE - 1 {
                yield_now().await;
            }
            let sum = &mut sums[bucket(key, log2) as usize];
            *sum = sum.wrapping_add(locator(key, &offered.hash));
        }
        return say(fleet::BucketReport { sums, ..report() }).await;
    }
    let mut is_asked_for = vec![false; 1 << log2];
    for named in &query.list {
        // A bucket that does not exist is empty.
        if let Some(asked) = is_asked_for.get_mut(*named as usize) {
            *asked = true;
        }
    }
    let (mut held, mut size) = (Vec::new(), 0);
    for (count, (key, offered)) in wanted.enumerate() {
        if count % SLICE == SLICE - 1 {
            yield_now().await;
        }
        if !is_asked_for[bucket(key, log2) as usize] {
            continue;
        }
        let one = fleet::Held { key: Some(key.to_wire()), hash: offered.hash.to_vec() };
        // Tag and length come on top.
        size += one.encoded_len() + 4;
        held.push(one);
        if size >= REPORT_MAX {
            say(fleet::BucketReport { held: std::mem::take(&mut held), more: true, ..report() }).await?;
            size = 0;
        }
    }
    say(fleet::BucketReport { held, ..report() }).await
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use rr_contract::digest::resource_hash;
    use rr_contract::model::id::TargetId;
    use rr_contract::model::resource::ResourceId;

    use crate::fixture::ORG;

    use super::*;

    fn view(count: u32) -> BTreeMap<Key, Offered> {
        let one = |n: u32| {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&n.to_le_bytes());
            let payload = n.to_le_bytes();
            let hash = resource_hash(&payload);
            let offered = Offered { hash, revision: 1, payload: payload.into(), needs: Vec::new() };
            (Key::new(ORG, ResourceId::Target(TargetId::from_random(id))), offered)
        };
        (0..count).map(one).collect()
    }

    async fn ask(view: &BTreeMap<Key, Offered>, log2_buckets: u32, list: &[u32]) -> Vec<fleet::BucketReport> {
        let query = fleet::BucketQuery { query: vec![7; 8], log2_buckets, list: list.to_vec() };
        let mut reports = Vec::new();
        let at = Some(fleet::Position { revision: 5, ..fleet::Position::default() });
        let said: Result<(), Infallible> = answer(&query, at, view.iter(), async |report| {
            reports.push(report);
            Ok(())
        })
        .await;
        said.expect("it is taken");
        for report in &reports {
            assert_eq!((&*report.query, report.at.as_ref().map(|at| at.revision)), (&[7; 8][..], Some(5)));
            assert!(report.encoded_len() <= 40 * 1024, "{}", report.encoded_len());
        }
        reports
    }

    // I11: what differs is found by the sums, and only that is listed.
    #[tokio::test]
    async fn the_sums_differ_in_the_buckets_of_what_differs_and_those_lists_name_it() {
        let ours = view(2_000);
        let mut theirs = ours.clone();
        let (key, offered) = theirs.iter_mut().nth(700).expect("there are more");
        offered.hash = [0; 32];
        let of = bucket(key, 8);
        let key = *key;
        let (one, two) = (ask(&ours, 8, &[]).await, ask(&theirs, 8, &[]).await);
        assert_eq!((one.len(), one[0].sums.len(), one[0].more), (1, 256, false));
        let differ = |bucket: &usize| one[0].sums[*bucket] != two[0].sums[*bucket];
        let differing: Vec<usize> = (0..256).filter(differ).collect();
        assert_eq!(differing, [of as usize]);
        let list = ask(&theirs, 8, &[of]).await;
        let named = |held: &&fleet::Held| held.hash == [0; 32];
        let held: Vec<_> = list[0].held.iter().filter(named).collect();
        assert_eq!(held[0].key, Some(key.to_wire()));
        assert!(list[0].held.len() < 50 && list[0].sums.is_empty());
    }

    #[tokio::test]
    async fn a_long_list_comes_in_several_reports_and_each_resource_once() {
        let ours = view(12_000);
        let reports = ask(&ours, 0, &[0]).await;
        assert!(reports.len() > 1);
        let (last, before) = reports.split_last().expect("there are some");
        assert!(!last.more && before.iter().all(|report| report.more));
        let listed = reports.iter().flat_map(|report| &report.held);
        let listed: BTreeMap<Key, Vec<u8>> = listed
            .map(|held| (Key::try_from(held.key.as_ref().expect("a key")).expect("a key"), held.hash.clone()))
            .collect();
        assert_eq!(listed.len(), ours.len());
        assert!(ours.iter().all(|(key, offered)| listed[key] == offered.hash));
    }

    #[tokio::test]
    async fn a_node_that_has_nothing_and_a_bucket_that_there_is_not_are_answered() {
        let none = view(0);
        assert_eq!(ask(&none, 3, &[]).await[0].sums, [0; 8]);
        assert_eq!(ask(&none, 40, &[]).await[0].sums.len(), 4096, "as fine as it goes");
        assert!(ask(&view(10), 2, &[4, u32::MAX]).await[0].held.is_empty());
    }

    #[tokio::test]
    async fn others_have_their_turn_while_a_large_view_is_gone_through() {
        let ours = view(10_000);
        let turns = std::cell::Cell::new(0);
        let others = async {
            loop {
                turns.set(turns.get() + 1);
                yield_now().await;
            }
        };
        tokio::select! {
            biased;
            reports = ask(&ours, 12, &[]) => assert_eq!(reports.len(), 1),
            () = others => unreachable!("they go on for ever"),
        }
        assert!(turns.get() >= 9, "{}", turns.get());
    }
}
