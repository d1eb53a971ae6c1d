//! What is said of a target that failed a test after a change.

use rr_contract::wire::fleet::TestStage;
use rr_contract::wire::management::{NotificationKind, TargetTest};

use super::{About, DETAIL_MOST};
use crate::store::notification::NotificationRow;

/// A test after a change that did not pass, with the names of what it is about.
#[derive(Debug, Clone)]
pub(crate) struct FailedTest {
    /// Id of the organization.
    pub(crate) org: String,
    pub(crate) proxy_name: String,
    pub(crate) target_name: String,
    pub(crate) test: TargetTest,
}

/// A target that failed the test after a change. Once for each change and region.
pub(crate) fn target_test_failed(now: i64, of: &FailedTest) -> NotificationRow {
    let FailedTest { org, proxy_name, target_name, test } = of;
    let (region, revision) = (&test.region, test.after_revision);
    let about = About {
        org: org.clone(),
        kind: NotificationKind::TargetTestFailed,
        subject: test.proxy.clone(),
        window: format!("{region}:{revision}"),
    };
    let failed = test.base_urls.iter().find(|it| it.failed() != TestStage::Unspecified);
    let why = match failed {
        Some(it) => {
            let stage = it.failed().as_str_name().trim_start_matches("TEST_STAGE_").to_ascii_lowercase();
            format!("{} failed at {stage}: {}", it.base_url, it.reason)
        }
        None => test.reason.clone(),
    };
    let why: String = why.chars().take(DETAIL_MOST).collect();
    about.says(
        now,
        format!("target {target_name} fails its test in region {region}"),
        format!(
            "After revision {revision}, node {} of region {region} tested target {target_name} with the upstream \
             credential of proxy {proxy_name} ({}): {why}. `rrctl target test {target_name} --proxy {proxy_name}` tests \
             again, and `rrctl org rollback` or another change mends what revision {revision} changed.",
            test.node, test.proxy,
        ),
    )
}
