//! Which changes are tested, where proxies want that, and when.
//!
//! The invariant: each change is tested once in each region, whichever replica is first.

use std::collections::HashMap;

use futures_util::StreamExt as _;
use futures_util::stream;
use rr_contract::model::id::RegionId;
use rr_contract::wire::fleet::TestRefusal;
use rr_contract::wire::management::TargetTest;

use super::{TIMEOUT, Tested};
use crate::notice::FailedTest;
use crate::noun::Noun;
use crate::service::region::by_reference;
use crate::service::{ServiceError, Services};
use crate::store::{self, resource_row, target_test};

/// How many organizations are tested for at once.
const ORGS_AT_ONCE: usize = 8;

/// A proxy that wants it, as it is published.
struct Wanting {
    proxy: String,
    target: String,
    upstream_credential: String,
    regions: Vec<String>,
}

/// What came of a turn.
#[derive(Default)]
pub(crate) struct Turn {
    pub(crate) failed: Vec<FailedTest>,
    /// Something is to be tested that could not be tested yet.
    pub(crate) is_left: bool,
}

impl Services {
    /// Tests what changed since it was tested last, where proxies want that and a node has the change.
    pub(crate) async fn tests_after_changes(&self) -> Result<Turn, ServiceError> {
        let mut by_org: HashMap<String, Vec<Wanting>> = HashMap::new();
        for (key, proxy) in self.publisher.tested_after_change() {
            let key = key.to_wire();
            by_org.entry(key.org).or_default().push(Wanting {
                proxy: key.id,
                target: proxy.target.to_string(),
                upstream_credential: proxy.upstream_credential.to_string(),
                regions: proxy.regions.iter().map(ToString::to_string).collect(),
            });
        }
        let turns = by_org.into_iter().map(|(org, proxies)| self.turn_of(org, proxies));
        let mut turns = stream::iter(turns).buffer_unordered(ORGS_AT_ONCE);
        let mut all = Turn::default();
        while let Some(turn) = turns.next().await {
            let Turn { failed, is_left } = turn?;
            all.failed.extend(failed);
            all.is_left |= is_left;
        }
        Ok(all)
    }

    /// One after the other within an organization: its nodes take one at a time.
    async fn turn_of(&self, org: String, proxies: Vec<Wanting>) -> Result<Turn, ServiceError> {
        let rows = self.rows_behind(&org, &proxies).await?;
        let ids: Vec<String> = proxies.iter().map(|it| it.proxy.clone()).collect();
        let done = target_test::tested_after(&self.store, &ids).await?;
        let mut turn = Turn::default();
        for it in &proxies {
            let found = [&it.proxy, &it.target, &it.upstream_credential].map(|id| rows.get(id));
            // Written meanwhile: the next turn finds it.
            let [Some(proxy), Some(target), Some(credential)] = found else { continue };
            let tested = Tested::of(proxy, target, credential);
            for region in &it.regions {
                let before = done.get(&(it.proxy.clone(), region.clone())).copied();
                if before.is_some_and(|before| before >= tested.revision) {
                    continue;
                }
                match self.test_after(&tested, region, before).await? {
                    None => turn.is_left = true,
                    Some(test) if test.passed => {}
                    Some(test) => turn.failed.push(FailedTest {
                        org: org.clone(),
                        proxy_name: proxy.name.clone(),
                        target_name: target.name.clone(),
                        test,
                    }),
                }
            }
        }
        Ok(turn)
    }

    /// The proxies, and what they refer to, by id.
    async fn rows_behind(
        &self,
        org: &str,
        proxies: &[Wanting],
    ) -> Result<HashMap<String, resource_row::Model>, ServiceError> {
        let ids = |of: fn(&Wanting) -> &String| proxies.iter().map(of).cloned().collect::<Vec<_>>();
        let mut rows = HashMap::new();
        for (noun, ids) in [
            (Noun::Proxy, ids(|it| &it.proxy)),
            (Noun::Target, ids(|it| &it.target)),
            (Noun::Credential, ids(|it| &it.upstream_credential)),
        ] {
            let found = store::resource::find_all(&self.store, noun, org, &ids).await?;
            rows.extend(found.into_iter().map(|row| (row.id.clone(), row)));
        }
        Ok(rows)
    }

    /// Tests in one region after a change; none where no node has it yet, or another replica tests.
    async fn test_after(
        &self,
        tested: &Tested,
        region: &str,
        before: Option<u64>,
    ) -> Result<Option<TargetTest>, ServiceError> {
        let Ok(id) = region.parse::<RegionId>() else { return Ok(None) };
        let testers = self.publisher.fleet().testers(id);
        if !testers.iter().any(|tester| tester.can_test && self.runs(tester, id, tested)) {
            return Ok(None);
        }
        let Some(found) = by_reference(&self.store, region).await? else { return Ok(None) };
        let (proxy, place) = (tested.proxy.clone(), region.to_owned());
        if !target_test::claim(&self.store, proxy.clone(), place.clone(), before, tested.revision).await? {
            return Ok(None);
        }
        let mut test = self.test_in(tested, &found, TIMEOUT).await;
        test.after_revision = tested.revision;
        if matches!(test.refusal(), TestRefusal::Busy | TestRefusal::NoNode | TestRefusal::Elsewhere) {
            // Nothing was found out: it is tried again at the next turn.
            let again = before.unwrap_or_default();
            target_test::claim(&self.store, proxy, place, Some(tested.revision), again).await?;
            return Ok(None);
        }
        self.keep_test(&test, &found).await;
        Ok(Some(test))
    }
}
