//! Which node is asked to test, and how: over its stream, or by the replica that has it.
//!
//! Decides nothing of who may. The invariant: a node is waited for no longer than it has for the test, and a little more.

use std::collections::HashSet;
use std::time::Duration;

use data_encoding::HEXLOWER;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rr_contract::model::id::RegionId;
use rr_contract::model::time;
use rr_contract::runtime::{Stop, chain};
use rr_contract::seam::draw;
use rr_contract::wire::fleet::{self, TestRefusal};
use rr_contract::wire::management::Region;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, warn};

use super::{TIMEOUT, TIMEOUT_MAX, Tested};
use crate::publish::Tester;
use crate::service::Services;
use crate::store::target_test::{self, TestQuestion};
use crate::store::{self, Stored};

/// How much longer than the test an answer may be on its way.
const GRACE: Duration = Duration::from_secs(2);
/// How long it is waited for a node that has what is to be tested, and how often it is looked for.
const REACHED_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often a replica looks for what others ask it, and for their answers.
const ANSWER_EVERY: Duration = Duration::from_millis(250);

impl Services {
    /// The node of a region that is to test: one that has what is tested, if there is one soon.
    pub(super) async fn tester(
        &self,
        tested: &Tested,
        region: &Stored<Region>,
    ) -> Result<Tester, TestRefusal> {
        let id: RegionId = region.row.id.parse().map_err(|_| TestRefusal::NoNode)?;
        let until = Instant::now() + REACHED_WITHIN;
        if self.store.may_be_shared()
            && let Err(error) = self.publisher.fleet().refresh().await
        {
            debug!(%error, "nodes of other replicas not read");
        }
        loop {
            let testers = self.publisher.fleet().testers(id);
            if testers.is_empty() {
                return Err(TestRefusal::NoNode);
            }
            let mut able: Vec<Tester> = testers.into_iter().filter(|tester| tester.can_test).collect();
            let has = |tester: &Tester| self.runs(tester, id, tested);
            able.sort_by_key(|tester| (!has(tester), tester.draining, tester.replica.is_some()));
            match able.into_iter().next() {
                None => return Err(TestRefusal::TooOld),
                Some(tester) if has(&tester) || Instant::now() >= until => return Ok(tester),
                Some(_) => sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Whether a node of a region has the newest change of what is tested.
    pub(super) fn runs(&self, tester: &Tester, region: RegionId, tested: &Tested) -> bool {
        let at = tester.running.as_ref();
        at.is_some_and(|at| self.publisher.has_reached(region, at, tested.revision))
    }

    /// What a node answers; none: nothing in time.
    pub(super) async fn ask_tester(
        &self,
        tester: &Tester,
        tested: &Tested,
        within: Duration,
    ) -> Option<fleet::TargetTested> {
        let name: [u8; 16] = draw(&*self.seams.entropy);
        let asked = fleet::TestTarget {
            test: name.to_vec(),
            org: tested.org.clone(),
            proxy: tested.proxy.clone(),
            target: tested.target.clone(),
            upstream_credential: tested.upstream_credential.clone(),
            timeout: Some(time::wire_duration(within)),
        };
        let Some(replica) = &tester.replica else {
            let answer = self.publisher.fleet().ask_to_test(tester.node, asked)?;
            return timeout(within + GRACE, answer).await.ok()?.ok();
        };
        let id = HEXLOWER.encode(&name);
        let question =
            TestQuestion { id: id.clone(), node: tester.node.to_string(), holder: replica.clone(), asked };
        let asking = async {
            target_test::ask(&self.store, question).await?;
            loop {
                sleep(LOOK_EVERY).await;
                if let Some(answer) = target_test::answered(&self.store, &id).await? {
                    return Ok::<_, store::StoreError>(answer);
                }
            }
        };
        let answer = timeout(within + GRACE, asking).await;
        // One that stays goes with a later one.
        target_test::withdraw(&self.store, id).await.ok();
        match answer {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                warn!(error = %chain(&error), "another replica could not be asked for a test");
                None
            }
            Err(_elapsed) => None,
        }
    }

    /// Has nodes here test what other replicas ask for, until the stop.
    pub(crate) async fn answer_tests(self, stop: Stop) {
        if !self.store.may_be_shared() {
            return;
        }
        let mut looks = interval(ANSWER_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut under_way, mut testing) = (HashSet::new(), FuturesUnordered::new());
        loop {
            tokio::select! {
                biased;
                () = stop.requested() => return,
                _ = looks.tick() => {
                    let replica = self.publisher.fleet().replica();
                    // A database that does not answer is told of elsewhere.
                    let questions = target_test::questions(&self.store, replica).await.unwrap_or_default();
                    for question in questions {
                        if under_way.insert(question.id.clone()) {
                            testing.push(self.answer_test(question));
                        }
                    }
                }
                Some(id) = testing.next(), if !testing.is_empty() => {
                    under_way.remove(&id);
                }
            }
        }
    }

    async fn answer_test(&self, question: TestQuestion) -> String {
        let TestQuestion { id, node, asked, .. } = question;
        let within = asked.timeout.as_ref().and_then(|it| time::duration(it).ok()).unwrap_or(TIMEOUT);
        let answer = node.parse().ok().and_then(|node| self.publisher.fleet().ask_to_test(node, asked));
        let answered = match answer {
            Some(answer) => timeout(within.min(TIMEOUT_MAX) + GRACE, answer).await.ok().and_then(Result::ok),
            None => None,
        };
        let answered = answered.unwrap_or_else(|| fleet::TargetTested {
            refusal: TestRefusal::TimedOut.into(),
            ..fleet::TargetTested::default()
        });
        if let Err(error) = target_test::answer(&self.store, id.clone(), answered).await {
            debug!(%error, "another replica's question about a target not answered");
        }
        id
    }
}
