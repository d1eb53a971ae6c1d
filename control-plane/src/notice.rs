//! The texts of notifications: a line, and what to do about it.
//!
//! Does not decide when one is due. A notification's id follows from its subject and its time, so that two replicas that
//! notice the same thing write the same row. No text holds a secret: only names, ids, times and the reason of a node.

mod limits;
mod nodes;
mod target_tests;
mod upkeep;

use chrono::{DateTime, SecondsFormat, Utc};
use data_encoding::HEXLOWER;
use rr_contract::model::id::NotificationId;
use rr_contract::wire::fleet::{Refusal, Why};
use rr_contract::wire::management::NotificationKind;

use crate::noun::Noun;
use crate::store::notification::NotificationRow;
use crate::store::{node_row, request_row, time_of};
use crate::word;

pub(crate) use limits::{NearLimit, limit_near, near_since};
pub(crate) use nodes::{
    Counted, Echoed, Issuer, NodeCopy, issuer, node_ahead, node_clash, node_copy, node_crashed, node_disk,
    node_diverged, not_withdrawn, region_held, secret_echoed, withdrawn,
};

pub(crate) use target_tests::{FailedTest, target_test_failed};
pub(crate) use upkeep::{Spool, StaleNode, node_stale, spool_filling};

/// What an edge answers, of itself, over a limit or a meter. It has one word for each way to count; any of them is
/// the same news.
const LIMITED: [&str; 3] = ["rate-limited", "limit-exceeded", "meter-exceeded"];
/// Too many requests: an upstream answers so too, but not with one of our words.
const TOO_MANY: i32 = 429;
/// How much of a node's reason is shown.
const DETAIL_MOST: usize = 300;
pub(crate) const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;

/// What a notification is about, once: whose it is, what, and when.
struct About {
    org: String,
    kind: NotificationKind,
    subject: String,
    window: String,
}

impl About {
    fn id(&self) -> String {
        let kind = i32::from(self.kind);
        let mut hash = blake3::Hasher::new();
        hash.update(b"requestrocket notification v1");
        hash.update(&kind.to_be_bytes());
        for text in [&self.org, &self.subject, &self.window] {
            hash.update(&(text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        let mut id = [0; 16];
        hash.finalize_xof().fill(&mut id);
        NotificationId::from_random(id).to_string()
    }

    fn says(self, now: i64, title: String, message: String) -> NotificationRow {
        NotificationRow {
            id: self.id(),
            org: self.org,
            kind: i32::from(self.kind),
            subject: self.subject,
            window: self.window,
            title,
            message,
            created_at: now,
            read_at: None,
        }
    }
}

/// The news that a credential ends, of each of its ends: first, and once more in the last day of its life.
fn windows(not_after: i64) -> [String; 2] {
    [not_after.to_string(), format!("{not_after} day")]
}

/// Whether this is the window of news about a credential that ends then.
pub(crate) fn is_of_end(window: &str, not_after: i64) -> bool {
    windows(not_after).iter().any(|it| it == window)
}

/// A credential that ends soon, or has. Once for each end, and once more in the last day.
pub(crate) fn credential_near_expiry(
    now: i64,
    org: &str,
    id: &str,
    name: &str,
    not_after: i64,
    upstream: bool,
) -> NotificationRow {
    let [first, last] = windows(not_after);
    let about = About {
        org: org.to_owned(),
        kind: NotificationKind::CredentialNearExpiry,
        subject: id.to_owned(),
        window: if not_after.saturating_sub(now) <= DAY { last } else { first },
    };
    let (ends, then) = if not_after > now { ("ends", "From then on") } else { ("ended", "Since then") };
    let next = if upstream {
        format!("Give it its next value with `rrctl credential replace-secret {name}`")
    } else {
        "Make callers another one with `rrctl credential create-caller`".to_owned()
    };
    let remedy = format!(
        "{next}{}move its end with `rrctl credential update {name} --not-after WHEN`.",
        if upstream { " and " } else { ", or " }
    );
    let at = shown(not_after);
    about.says(
        now,
        format!("credential {name} {ends} at {at}"),
        format!("Credential {name} ({id}) {ends} at {at}. {then} proxies refuse whatever needs it. {remedy}"),
    )
}

/// A node that nobody hears of. Once for each time that it was last seen.
pub(crate) fn node_lost(now: i64, org: &str, node: &node_row::Model, region: &str) -> NotificationRow {
    let about = About {
        org: org.to_owned(),
        kind: NotificationKind::NodeLost,
        subject: node.id.clone(),
        window: node.last_seen_at.to_string(),
    };
    let at = shown(node.last_seen_at);
    about.says(
        now,
        format!("node {} of region {region} is lost", node.id),
        format!(
            "Node {} of region {region} is not connected, and was last seen at {at}. While it runs it serves what \
             it has, and takes no change. Look whether its machine is up and reaches the control plane's fleet \
             port; its log says why it cannot connect. If it is gone for good, nothing is to be done.",
            node.id
        ),
    )
}

/// What a refused resource is.
pub(crate) struct Refused<'a> {
    pub(crate) org: &'a str,
    pub(crate) noun: Noun,
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
}

fn refused(org: &str, id: &str, wanted: &[u8]) -> About {
    About {
        org: org.to_owned(),
        kind: NotificationKind::ResourceRefused,
        subject: id.to_owned(),
        window: HEXLOWER.encode(wanted),
    }
}

/// Id of what tells that a version of a resource is refused.
pub(crate) fn resource_refused_id(org: &str, id: &str, wanted: &[u8]) -> String {
    refused(org, id, wanted).id()
}

/// A resource that a node does not take. Once for each version of it, whichever node says so first.
pub(crate) fn resource_refused(
    now: i64,
    of: &Refused<'_>,
    refusal: &Refusal,
    region: &str,
) -> NotificationRow {
    let about = refused(of.org, of.id, &refusal.wanted);
    let (noun, name) = (of.noun.title(), of.name);
    let runs = if refusal.fails_closed {
        "Proxies that use it deny their callers there."
    } else if refusal.running.is_empty() {
        "It is not in force there."
    } else {
        "The version before it stays in force there."
    };
    about.says(
        now,
        format!("{noun} {name} is refused in region {region}"),
        format!(
            "Nodes of region {region} do not take {noun} {name} ({}): {}. {runs} {}",
            of.id,
            reason(refusal),
            remedy(refusal.why()),
        ),
    )
}

/// A node that takes nothing of what it is sent. Once for each reason and what it was offered.
pub(crate) fn session_refused(now: i64, node: &str, refusal: &Refusal, region: &str) -> NotificationRow {
    let about = About {
        org: String::new(),
        kind: NotificationKind::ResourceRefused,
        subject: node.to_owned(),
        window: format!("{}:{}", refusal.why().as_str_name(), HEXLOWER.encode(&refusal.wanted)),
    };
    about.says(
        now,
        format!("node {node} of region {region} refuses what it is sent"),
        format!(
            "Node {node} of region {region} does not take its configuration: {}. It serves what it has. {}",
            reason(refusal),
            remedy(refusal.why()),
        ),
    )
}

/// Whether a record is of a request that was over a limit or a meter.
pub(crate) fn is_limited(record: &request_row::Model) -> bool {
    record.status == TOO_MANY && LIMITED.contains(&record.code.as_str())
}

/// A proxy that refused requests. Once an hour.
pub(crate) fn limit_reached(
    now: i64,
    org: &str,
    proxy: &str,
    name: &str,
    received_at: i64,
) -> NotificationRow {
    let hour = received_at.div_euclid(HOUR) * HOUR;
    let about = About {
        org: org.to_owned(),
        kind: NotificationKind::LimitReached,
        subject: proxy.to_owned(),
        window: hour.to_string(),
    };
    about.says(
        now,
        format!("proxy {name} refused requests over a limit"),
        format!(
            "Proxy {name} ({proxy}) answered requests with 429 in the hour from {}: one of its limits or meters was \
             reached. See which with `rrctl request list --proxy {name} -o wide`; raise it with `rrctl proxy update` or \
             `rrctl meter update`, or let callers ask less often.",
            shown(hour)
        ),
    )
}

fn remedy(why: Why) -> &'static str {
    match why {
        Why::Decode | Why::Invalid | Why::UnknownFeature => {
            "The usual cause is a node that is older than the control plane: update it."
        }
        Why::DanglingRef => "What it refers to was refused as well: look there first.",
        Why::Unseal => {
            "Its secret was sealed to another region or epoch: seal it again with `rrctl credential replace-secret`; \
             a secret that verifies tokens with `rrctl credential roll`."
        }
        Why::Stale => {
            "The node has had a newer version of the secret: seal it again with `rrctl credential replace-secret`."
        }
        Why::Audit => {
            "What was published before differs from what the node has: compare with `rrctl audit verify --edge`."
        }
        Why::Limit => "Make it smaller or simpler; what removes much has to say so when it is written.",
        Why::Crashed => {
            "Change it back to what it was, and report it with the node's log to the makers of RequestRocket."
        }
        Why::Revoked => {
            "The node had seen it revoked before the database was restored: make callers another one, or name it in \
             `rrctl revision adopt --revive`."
        }
        Why::Unspecified | Why::Digest | Why::BaseMismatch | Why::Transport => {
            "It is sent again; should this stay so, `rrctl node list -o json` and the node's log say more."
        }
    }
}

/// A node's reason, on one line and not too long: it is another machine's word.
fn reason(refusal: &Refusal) -> String {
    let why = word::why(refusal.why());
    let said: String =
        refusal.detail.chars().map(|c| if c.is_control() { ' ' } else { c }).take(DETAIL_MOST).collect();
    if said.trim().is_empty() { why } else { format!("{} ({why})", said.trim()) }
}

fn shown(at: i64) -> String {
    DateTime::<Utc>::from(time_of(at)).to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests;
