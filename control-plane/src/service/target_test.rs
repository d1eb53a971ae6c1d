//! Tests of targets: which node makes one, at whichever replica its stream is, and what is told of it.
//!
//! Sends a node ids and nothing else. The invariants: an organization has one call under way and a bounded number a minute
//! at each replica, whoever asks; and nothing of a response but its status and length is kept.

mod after_change;
mod asking;
mod bounds;

use std::collections::HashSet;
use std::time::Duration;

use rr_contract::model::time;
use rr_contract::runtime::chain;
use rr_contract::wire::fleet::{self, TestRefusal, TestStage};
use rr_contract::wire::management::{self as wire, Region};
use tokio::time::Instant;
use tracing::warn;

use super::{OrgCaller, ServiceError, Services, rights};
use crate::document::Part;
use crate::noun::Noun;
use crate::store::target_test;
use crate::store::{self, Stored, resource_row, time_of};

pub(crate) use bounds::{TestBounds, TrialBounds};

const TIMEOUT: Duration = Duration::from_secs(10);
/// A call of the port takes 30 s at the most, and the node is waited for a little longer than it has.
const TIMEOUT_MAX: Duration = Duration::from_secs(25);
const TIMEOUT_MIN: Duration = Duration::from_millis(100);
/// How many tests a list has.
const LISTED: usize = 1_000;
/// How many proxies an error names.
const NAMED: usize = 10;

/// What is tested: a proxy as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct Tested {
    pub(crate) org: String,
    pub(crate) proxy: String,
    pub(crate) target: String,
    pub(crate) upstream_credential: String,
    /// The newest revision that changed any of the three.
    pub(crate) revision: u64,
}

impl Tested {
    /// By the rows of the proxy, its target and its upstream credential.
    fn of(
        proxy: &resource_row::Model,
        target: &resource_row::Model,
        credential: &resource_row::Model,
    ) -> Self {
        let newest = proxy.rev.max(target.rev).max(credential.rev);
        Self {
            org: proxy.org.clone(),
            proxy: proxy.id.clone(),
            target: target.id.clone(),
            upstream_credential: credential.id.clone(),
            revision: newest.unsigned_abs(),
        }
    }
}

impl Services {
    /// Has a node of each region test a target.
    pub(crate) async fn target_test(
        &self,
        at: OrgCaller,
        request: wire::TestTargetRequest,
    ) -> Result<wire::TestTargetResponse, ServiceError> {
        let within = within(request.timeout.as_ref())?;
        let target = self.show::<wire::Target>(&at, &request.target, 0).await?;
        rights::may_change(&at.caller.principal, Some(&at.org.document), Noun::Target, &target.row)?;
        let proxy = self.testing_proxy(&at, &target, &request.proxy).await?;
        let regions = self.regions_of(&proxy, "regions", &request.regions).await?;
        let _place = self.tests.take(&at.org.id, Instant::now())?;
        let tested = self.tested(&at.org.id, &proxy, &target.row).await?;
        let asked_by = &at.caller.principal.name;
        let tests = regions.iter().map(|region| async {
            let mut test = self.test_in(&tested, region, within).await;
            test.asked_by.clone_from(asked_by);
            test
        });
        let mut tests: Vec<wire::TargetTest> = futures_util::future::join_all(tests).await;
        for (test, region) in tests.iter().zip(&regions) {
            self.keep_test(test, region).await;
        }
        tests.sort_by(|a, b| a.region.cmp(&b.region));
        Ok(wire::TestTargetResponse { passed: tests.iter().all(|test| test.passed), tests })
    }

    /// The last test of each proxy of a target and region.
    pub(crate) async fn target_tests(
        &self,
        at: &OrgCaller,
        request: &wire::ListTargetTestsRequest,
    ) -> Result<Vec<wire::TargetTest>, ServiceError> {
        let target = self.show::<wire::Target>(at, &request.target, 0).await?;
        let proxies = if request.proxy.is_empty() {
            self.proxies_to(at, &target).await?.into_iter().map(|proxy| proxy.id).collect()
        } else {
            vec![self.show::<wire::Proxy>(at, &request.proxy, 0).await?.row.id]
        };
        let mut tests = target_test::last(&self.store, &proxies).await?;
        // Of a proxy that led elsewhere then.
        tests.retain(|test| test.target == target.row.id);
        tests.truncate(LISTED);
        Ok(tests)
    }

    /// Proxies that lead to a target, as far as the caller may see them.
    async fn proxies_to(
        &self,
        at: &OrgCaller,
        target: &Stored<wire::Target>,
    ) -> Result<Vec<wire::Proxy>, ServiceError> {
        let found =
            store::resource::users_as::<wire::Proxy>(&self.store, Part::Target, Noun::Target, &target.row.id);
        let mut proxies: Vec<wire::Proxy> = found.await?.into_iter().map(|(_, proxy)| proxy).collect();
        let only = &at.caller.principal.resources;
        proxies.retain(|proxy| only.is_empty() || only.contains(&proxy.id));
        proxies.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(proxies)
    }

    /// The proxy whose upstream credential is used.
    async fn testing_proxy(
        &self,
        at: &OrgCaller,
        target: &Stored<wire::Target>,
        reference: &str,
    ) -> Result<wire::Proxy, ServiceError> {
        let name = &target.row.name;
        if !reference.is_empty() {
            let proxy = self.show::<wire::Proxy>(at, reference, 0).await?.document;
            if proxy.target != target.row.id {
                return Err(ServiceError::field("proxy", format!("does not lead to target {name:?}")));
            }
            return Ok(proxy);
        }
        let mut proxies = self.proxies_to(at, target).await?;
        match proxies.len() {
            1 => Ok(proxies.remove(0)),
            0 => Err(ServiceError::field(
                "proxy",
                format!(
                    "is missing, and none leads to target {name:?}: a proxy says which upstream credential is used; make \
                     one with `rrctl --org {} proxy create NAME --target {name}`",
                    at.org.name
                ),
            )),
            count => {
                let names = proxies.iter().take(NAMED).map(|proxy| proxy.name.as_str()).collect::<Vec<_>>();
                let more = if count > NAMED { ", …" } else { "" };
                Err(ServiceError::field(
                    "proxy",
                    format!(
                        "is missing, and {count} lead to target {name:?}: name the one whose upstream credential is to be \
                         used ({}{more})",
                        names.join(", ")
                    ),
                ))
            }
        }
    }

    /// The regions that are asked for: all of the proxy, where none is named.
    pub(super) async fn regions_of(
        &self,
        proxy: &wire::Proxy,
        field: &str,
        references: &[String],
    ) -> Result<Vec<Stored<Region>>, ServiceError> {
        let rows = store::resource::find_all(&self.store, Noun::Region, "", &proxy.regions).await?;
        let mut all: Vec<Stored<Region>> = store::resource::with_documents(&self.store, rows).await?;
        if references.is_empty() {
            return Ok(all);
        }
        let mut wanted = HashSet::new();
        for (index, reference) in references.iter().enumerate() {
            let found =
                all.iter().find(|region| region.row.id == *reference || region.row.name == *reference);
            let Some(region) = found else {
                let names: Vec<&str> = all.iter().map(|region| region.row.name.as_str()).collect();
                let reason =
                    format!("is not one of proxy {:?}, which is served in {}", proxy.name, names.join(", "));
                let field = if field == "regions" { format!("regions[{index}]") } else { field.to_owned() };
                return Err(ServiceError::field(field, reason));
            };
            wanted.insert(region.row.id.clone());
        }
        all.retain(|region| wanted.contains(&region.row.id));
        Ok(all)
    }

    async fn tested(
        &self,
        org: &str,
        proxy: &wire::Proxy,
        target: &resource_row::Model,
    ) -> Result<Tested, ServiceError> {
        let row = async |noun, id: &String| {
            let found = store::resource::find_all(&self.store, noun, org, std::slice::from_ref(id)).await?;
            let missing = || ServiceError::NotFound { noun: noun.title(), name: id.clone() };
            found.into_iter().next().ok_or_else(missing)
        };
        let credential = row(Noun::Credential, &proxy.upstream_credential).await?;
        Ok(Tested::of(&row(Noun::Proxy, &proxy.id).await?, target, &credential))
    }

    /// Has a node of a region test. Whatever happens is an answer.
    pub(crate) async fn test_in(
        &self,
        tested: &Tested,
        region: &Stored<Region>,
        within: Duration,
    ) -> wire::TargetTest {
        let mut test = wire::TargetTest {
            region: region.row.name.clone(),
            proxy: tested.proxy.clone(),
            target: tested.target.clone(),
            upstream_credential: tested.upstream_credential.clone(),
            ..wire::TargetTest::default()
        };
        let answer = match self.tester(tested, region).await {
            Err(refusal) => Err(refusal),
            Ok(tester) => {
                test.node = tester.node.to_string();
                let answer = self.ask_tester(&tester, tested, within).await;
                match answer.ok_or(TestRefusal::TimedOut) {
                    Ok(answer) if answer.refusal() == TestRefusal::Unspecified => Ok(answer),
                    Ok(answer) => Err(answer.refusal()),
                    Err(refusal) => Err(refusal),
                }
            }
        };
        test.tested_at = Some(time::timestamp(time_of(self.store.now())));
        match answer {
            Ok(answer) => {
                let passes = |it: &fleet::BaseUrlTest| it.failed() == TestStage::Unspecified;
                test.passed = !answer.base_urls.is_empty() && answer.base_urls.iter().all(passes);
                test.revision = answer.revision;
                test.base_urls = answer.base_urls;
            }
            Err(refusal) => {
                test.refusal = refusal.into();
                test.reason = reason(refusal, &test);
            }
        }
        test
    }

    async fn keep_test(&self, test: &wire::TargetTest, region: &Stored<Region>) {
        if let Err(error) = target_test::keep(&self.store, region.row.id.clone(), test.clone()).await {
            warn!(error = %chain(&error), "the last test of a target could not be kept");
        }
    }
}

fn within(said: Option<&pbjson_types::Duration>) -> Result<Duration, ServiceError> {
    let Some(said) = said else { return Ok(TIMEOUT) };
    let good = |within: &Duration| (TIMEOUT_MIN..=TIMEOUT_MAX).contains(within);
    let said = time::duration(said).ok().filter(good);
    said.ok_or_else(|| ServiceError::field("timeout", "must be 100 ms to 25 s"))
}

/// Why a region has no result, and what helps.
fn reason(refusal: TestRefusal, test: &wire::TargetTest) -> String {
    let (region, node) = (&test.region, &test.node);
    match refusal {
        TestRefusal::Unspecified => String::new(),
        TestRefusal::NoNode => {
            format!("no node of region {region} is connected: `rrctl node list --region {region}` shows them")
        }
        TestRefusal::TooOld => {
            format!("the nodes of region {region} are too old to test targets: update them")
        }
        TestRefusal::TimedOut => format!(
            "timed out: node {node} did not answer; a longer --timeout gives it more time, and `rrctl node why {node}` \
             shows what is the matter with it"
        ),
        TestRefusal::Unknown => {
            format!(
                "node {node} does not have the proxy, or keeps it closed: `rrctl explain proxy {}` shows why",
                test.proxy
            )
        }
        TestRefusal::Elsewhere => format!(
            "node {node} has another version of the proxy, with another target or upstream credential: `rrctl explain \
             proxy {}` shows which",
            test.proxy
        ),
        TestRefusal::Inactive => {
            "the organization is suspended: an operator lifts that with `rrctl org update NAME --suspended false`"
                .to_owned()
        }
        TestRefusal::Busy => format!(
            "node {node} is testing for this organization, or has tested too often within the minute: try again in a \
             minute"
        ),
    }
}
