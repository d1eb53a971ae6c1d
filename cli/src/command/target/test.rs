//! `rrctl target test`: whether nodes reach a target with a proxy's upstream credential, and where they fail.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use rr_contract::model::time::wire_duration;
use rr_contract::wire::fleet::{BaseUrlTest, TestRefusal, TestStage};
use rr_contract::wire::management as mg;
use rr_contract::wire::management::target_service_client::TargetServiceClient;
use serde::Serialize;

use crate::fault;
use crate::flags::span;
use crate::print::{Row, plain, time};
use crate::session::Session;

/// Time for the answer beyond that of the nodes.
const GRACE: Duration = Duration::from_secs(15);

pub(super) const EXAMPLES: &str = "\
Examples:
  rrctl target test payments
  rrctl target test payments --proxy checkout --region eu --timeout 20s
  rrctl target test payments --last
  rrctl target test payments -o json

The test path is set with `rrctl target update NAME --test-path /health`; without one the base URL itself is requested.
A status below 400 passes. Each base URL of the target is tested. A proxy that is created or updated with
--test-after-change has this done whenever it, its target or its upstream credential changes.";

#[derive(Args)]
pub(crate) struct TestArgs {
    /// Name or id.
    target: String,
    /// Proxy whose upstream credential is used, by name or id; the only one that leads to the target when not given.
    #[arg(long, value_name = "PROXY")]
    proxy: Option<String>,
    /// Tests in this region only, by name or id; can be repeated. All regions of the proxy when not given.
    #[arg(long = "region", value_name = "REGION", conflicts_with = "last")]
    regions: Vec<String>,
    /// Longest time that a node may take, as 500ms or 20s; 10s when not given, 25s at most.
    #[arg(long, value_name = "DURATION", value_parser = span::or_seconds, conflicts_with = "last")]
    timeout: Option<Duration>,
    /// Tests nothing, and shows the last test of each proxy and region.
    #[arg(long)]
    last: bool,
}

impl TestArgs {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let org = session.org()?;
        let timeout = self.timeout.unwrap_or(Duration::from_secs(10));
        let mut stub = TargetServiceClient::new(session.endpoint.connect_for(timeout + GRACE).await?);
        let Self { target, proxy, regions, last, .. } = self;
        let proxy = proxy.unwrap_or_default();
        if last {
            let ask = mg::ListTargetTestsRequest { org, target, proxy };
            return show(session, stub.list_target_tests(ask).await?.into_inner().tests);
        }
        let timeout = self.timeout.map(wire_duration);
        let ask = mg::TestTargetRequest { org, target, proxy, regions, timeout };
        let answer = stub.test_target(ask).await?.into_inner();
        let (tests, failed) = (answer.tests.len(), answer.tests.iter().filter(|test| !test.passed).count());
        show(session, answer.tests)?;
        if answer.passed {
            return Ok(());
        }
        Err(fault::ended(
            &format!("the test failed in {failed} of {tests} regions"),
            "the reasons are above; `-o json` has all of them, with certificates and the time of each phase",
        ))
    }
}

fn show(session: &Session, tests: Vec<mg::TargetTest>) -> Result<()> {
    if session.print.is_data() {
        return session.print.data(&tests);
    }
    let lines: Vec<Line> = tests.iter().flat_map(Line::of).collect();
    session.print.list(&lines)
}

/// One base URL in one region; for JSON, tests are shown as they are.
#[derive(Serialize)]
struct Line {
    test: mg::TargetTest,
    one: BaseUrlTest,
}

impl Line {
    fn of(test: &mg::TargetTest) -> Vec<Self> {
        if test.base_urls.is_empty() {
            return vec![Self { test: test.clone(), one: BaseUrlTest::default() }];
        }
        test.base_urls.iter().map(|one| Self { test: test.clone(), one: one.clone() }).collect()
    }

    fn outcome(&self) -> String {
        let refusal = self.test.refusal();
        if refusal != TestRefusal::Unspecified {
            return plain(refusal.as_str_name(), "TEST_REFUSAL_");
        }
        match self.one.failed() {
            TestStage::Unspecified => "passed".to_owned(),
            stage => format!("failed at {}", plain(stage.as_str_name(), "TEST_STAGE_")),
        }
    }

    fn reason(&self) -> String {
        if self.test.reason.is_empty() { self.one.reason.clone() } else { self.test.reason.clone() }
    }
}

/// Milliseconds, with tenths of them.
fn millis(micros: Option<u64>) -> String {
    micros.map(|micros| format!("{}.{} ms", micros / 1000, micros % 1000 / 100)).unwrap_or_default()
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &[
        "region",
        "base url",
        "result",
        "status",
        "resolve",
        "connect",
        "tls",
        "wait",
        "body",
        "total",
        "bytes",
        "reason",
        "http",
        "tls version",
        "cipher suite",
        "subject",
        "issuer",
        "not after",
        "by ca",
        "address",
        "proxy",
        "node",
        "revision",
        "after",
        "asked by",
        "at",
    ];
    const WIDE: &'static [&'static str] = &[
        "http",
        "tls version",
        "cipher suite",
        "subject",
        "issuer",
        "not after",
        "by ca",
        "address",
        "proxy",
        "node",
        "revision",
        "after",
        "asked by",
        "at",
    ];

    fn cells(&self) -> Vec<String> {
        let Self { test, one } = self;
        let phases = one.phases.unwrap_or_default();
        let tls = one.tls.clone().unwrap_or_default();
        let some = |number: u64| if number == 0 { String::new() } else { number.to_string() };
        let more = if one.body_cut { "+" } else { "" };
        vec![
            test.region.clone(),
            one.base_url.clone(),
            self.outcome(),
            some(one.status.into()),
            millis(phases.resolve_us),
            millis(phases.connect_us),
            millis(phases.tls_us),
            millis(phases.wait_us),
            millis(phases.body_us),
            millis(phases.total_us),
            if one.status == 0 { String::new() } else { format!("{}{more}", one.body_bytes) },
            self.reason(),
            one.http_version.clone(),
            tls.version,
            tls.cipher_suite,
            tls.subject,
            tls.issuer,
            time(tls.not_after.as_ref()),
            if one.tls.is_none() {
                ""
            } else if tls.by_target_ca {
                "target"
            } else {
                "node"
            }
            .to_owned(),
            one.remote_address.clone(),
            test.proxy.clone(),
            test.node.clone(),
            some(test.revision),
            some(test.after_revision),
            test.asked_by.clone(),
            time(test.tested_at.as_ref()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use rr_contract::wire::fleet::TestPhases;

    use super::*;

    #[test]
    fn a_region_without_a_result_and_a_stage_that_failed_are_lines_that_say_why() {
        let none = mg::TargetTest {
            refusal: TestRefusal::NoNode.into(),
            reason: "no node of region eu is connected".to_owned(),
            ..mg::TargetTest::default()
        };
        let [line] = &Line::of(&none)[..] else { panic!("one line") };
        assert_eq!((line.outcome().as_str(), line.reason().as_str()), ("no-node", &*none.reason));
        let phases = TestPhases { resolve_us: Some(1_250), ..TestPhases::default() };
        let failed = BaseUrlTest {
            failed: TestStage::Connect.into(),
            reason: "connect to the upstream".to_owned(),
            phases: Some(phases),
            ..BaseUrlTest::default()
        };
        let test =
            mg::TargetTest { base_urls: vec![BaseUrlTest::default(), failed], ..mg::TargetTest::default() };
        let lines = Line::of(&test);
        assert_eq!(lines.iter().map(Line::outcome).collect::<Vec<_>>(), ["passed", "failed at connect"]);
        let cells = lines[1].cells();
        assert_eq!((cells[4].as_str(), cells[5].as_str()), ("1.2 ms", ""));
        assert_eq!(cells.len(), Line::COLUMNS.len());
    }
}
