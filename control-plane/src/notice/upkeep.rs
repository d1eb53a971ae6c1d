//! What is said of nodes that go on and have something the matter: old configuration, and records that pile up.

use chrono::TimeDelta;
use rr_contract::wire::management::NotificationKind;

use super::{About, HOUR, shown};
use crate::store::notification::NotificationRow;

const MIB: u64 = 1024 * 1024;

/// A connected node that stays behind.
pub(crate) struct StaleNode<'a> {
    pub(crate) node: &'a str,
    pub(crate) region: &'a str,
    /// The revision that it runs, and when that was made. None: it runs nothing.
    pub(crate) runs: Option<(u64, Option<i64>)>,
    /// The first revision of its region that it lacks.
    pub(crate) lacks: u64,
    /// Since when it lacks it.
    pub(crate) since: i64,
    /// The newest.
    pub(crate) desired: u64,
}

/// A connected node that runs old configuration. Once for what it lacks first, and at most once an hour.
pub(crate) fn node_stale(now: i64, org: &str, of: &StaleNode<'_>) -> NotificationRow {
    let StaleNode { node, region, runs, lacks, since, desired } = *of;
    let about = About {
        org: org.to_owned(),
        kind: NotificationKind::NodeStale,
        subject: node.to_owned(),
        window: since.div_euclid(HOUR).to_string(),
    };
    let behind = age(now.saturating_sub(since));
    let runs = match runs {
        None => "runs nothing that it was sent".to_owned(),
        Some((revision, Some(at))) => format!("runs revision {revision} from {}", shown(at)),
        Some((revision, None)) => format!("runs revision {revision}"),
    };
    about.says(
        now,
        format!("node {node} of region {region} is {behind} behind"),
        format!(
            "Node {node} of region {region} {runs}, {behind} behind: it lacks revision {lacks}, due since {}; the newest \
             is {desired}. It is connected and serves what it has: what was changed or revoked since is not so there. \
             `rrctl node why {node}` says what is the matter with it, `rrctl node list --region {region} --behind` \
             who else is behind, and its log what keeps it. Take it out of service meanwhile with \
             `rrctl node drain {node}`.",
            shown(since)
        ),
    )
}

/// The state of a node's record spool.
pub(crate) struct Spool<'a> {
    pub(crate) node: &'a str,
    pub(crate) region: &'a str,
    /// Bytes that wait, and the quota, where it is nearly full.
    pub(crate) fill: Option<(u64, u64)>,
    /// Records that were lost in the last hour, by reason.
    pub(crate) lost: &'a [(String, u64)],
}

/// A spool that fills, or from which records were lost. Once an hour and node.
pub(crate) fn spool_filling(now: i64, org: &str, of: &Spool<'_>) -> NotificationRow {
    let Spool { node, region, fill, lost } = *of;
    let about = About {
        org: org.to_owned(),
        kind: NotificationKind::SpoolFilling,
        subject: node.to_owned(),
        window: now.div_euclid(HOUR).to_string(),
    };
    let count = lost.iter().fold(0_u64, |all, (_, records)| all.saturating_add(*records));
    let why: Vec<String> = lost.iter().map(|(reason, records)| format!("{records} {reason}")).collect();
    let mut title = Vec::new();
    let mut message = Vec::new();
    if let Some((bytes, quota)) = fill {
        let percent = u128::from(bytes) * 100 / u128::from(quota.max(1));
        title.push(format!("has a record spool that is filled to {percent} %"));
        message.push(format!(
            "has {} of {} MiB of records that wait for upload; when its spool is full, the oldest are dropped and \
             counted",
            bytes / MIB,
            quota / MIB
        ));
    }
    if count > 0 {
        title.push(format!("has lost {count} records"));
        message.push(format!("has lost {count} records in the last hour ({})", why.join(", ")));
    }
    about.says(
        now,
        format!("node {node} of region {region} {}", title.join(" and ")),
        format!(
            "Node {node} of region {region} {}. `spool-full` and `spool-near-full`: the node does not reach the control plane, or that does not \
             take records as fast as they come; the node's log says which, and `rr-edge --spool-quota-mib MIB` gives it \
             more time. `ring-full`: its disk does not keep up. `damaged`: look at its disk. Requests are answered all the \
             same; `rrctl node show {node} -o json` has `spoolBytes` as it is now.",
            message.join(", and ")
        ),
    )
}

/// As people say it: `12 minutes`, `3 hours`, `2 days`.
fn age(micros: i64) -> String {
    let age = TimeDelta::microseconds(micros);
    let (count, unit) = if age < TimeDelta::hours(2) {
        (age.num_minutes(), "minute")
    } else if age < TimeDelta::days(2) {
        (age.num_hours(), "hour")
    } else {
        (age.num_days(), "day")
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_767_225_600_000_000;
    const MINUTE: i64 = 60_000_000;

    fn stale(now: i64, since: i64) -> NotificationRow {
        let runs = Some((40, Some(NOW - HOUR)));
        let of = StaleNode { node: "nd_1", region: "eu", runs, lacks: 42, since, desired: 47 };
        node_stale(now, "", &of)
    }

    #[test]
    fn a_stale_node_is_told_once_with_its_revision_and_age() {
        let row = stale(NOW, NOW - 12 * MINUTE);
        assert_eq!(row.title, "node nd_1 of region eu is 12 minutes behind");
        let said = "runs revision 40 from 2025-12-31T23:00:00Z, 12 minutes behind: it lacks revision 42";
        assert!(row.message.contains(said), "{}", row.message);
        assert!(row.message.contains("`rrctl node why nd_1`"), "{}", row.message);
        assert_eq!(stale(NOW + 5 * HOUR, NOW - 12 * MINUTE).id, row.id, "as long as it lacks the same");
        assert_ne!(stale(NOW + HOUR, NOW).id, row.id);
        for (minutes, said) in [(5, "5 minutes"), (119, "119 minutes"), (120, "2 hours"), (2880, "2 days")] {
            assert_eq!(age(minutes * MINUTE), said);
        }
    }

    #[test]
    fn a_spool_that_fills_or_loses_is_told_once_an_hour_with_what_is_lost_and_why() {
        let row = |now, fill, lost: &[(String, u64)]| {
            spool_filling(now, "", &Spool { node: "nd_1", region: "eu", fill, lost })
        };
        let full = row(NOW, Some((860 * MIB, 1024 * MIB)), &[]);
        assert_eq!(full.title, "node nd_1 of region eu has a record spool that is filled to 83 %");
        assert!(full.message.contains("860 of 1024 MiB") && full.message.contains("--spool-quota-mib"));
        let lost = [("spool-full".to_owned(), 7), ("ring-full".to_owned(), 2)];
        let both = row(NOW + MINUTE, Some((1024 * MIB, 1024 * MIB)), &lost);
        assert!(both.title.ends_with("filled to 100 % and has lost 9 records"), "{}", both.title);
        assert!(both.message.contains("(7 spool-full, 2 ring-full)"), "{}", both.message);
        assert_eq!(both.id, full.id);
        assert_ne!(row(NOW + HOUR, None, &lost).id, full.id);
    }
}
