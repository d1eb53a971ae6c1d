//! What is said of versions that were withdrawn, and of nodes and regions that somebody has to look at.

use std::fmt;

use data_encoding::HEXLOWER;
use rr_contract::wire::fleet::Refusal;
use rr_contract::wire::management::NotificationKind;

use super::{About, HOUR, Refused, reason, remedy, shown};
use crate::store::decision::Stray;
use crate::store::ledger::NodeClash;
use crate::store::notification::NotificationRow;
use crate::store::{crash_row, node_row, region_state_row};

/// Who refuses a version, and why.
pub(crate) struct Counted<'a> {
    /// Its name.
    pub(crate) region: &'a str,
    pub(crate) refusing: usize,
    /// Nodes of the region.
    pub(crate) nodes: usize,
    /// What one of them says.
    pub(crate) refusal: &'a Refusal,
}

impl fmt::Display for Counted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { region, refusing, nodes, refusal } = self;
        write!(f, "refused by {refusing} of {nodes} nodes in region {region}: {}", reason(refusal))
    }
}

/// A version that was followed by an older one: its revision, that of the older one, and the one that this became. Once
/// for each time.
pub(crate) fn withdrawn(
    now: i64,
    of: &Refused<'_>,
    counted: &Counted<'_>,
    [gone, back, became]: [u64; 3],
) -> NotificationRow {
    let about = About {
        org: of.org.to_owned(),
        kind: NotificationKind::ResourceWithdrawn,
        subject: of.id.to_owned(),
        window: became.to_string(),
    };
    let (noun, name) = (of.noun.title(), of.name);
    about.says(
        now,
        format!("{noun} {name} was withdrawn to what it was in revision {back}"),
        format!(
            "What revision {gone} made of {noun} {name} ({}) was withdrawn: {counted}. Revision {became} publishes what \
             it was in revision {back} again, everywhere. `rrctl org diff {back} {gone}` shows what differs; write it \
             again once the reason is gone. {}",
            of.id,
            remedy(counted.refusal.why()),
        ),
    )
}

/// A version that enough nodes refuse, and that is not withdrawn all the same. Once for each time it was published.
pub(crate) fn not_withdrawn(
    now: i64,
    of: &Refused<'_>,
    counted: &Counted<'_>,
    revision: u64,
    why: &str,
) -> NotificationRow {
    let about = About {
        org: of.org.to_owned(),
        kind: NotificationKind::ResourceRefused,
        subject: of.id.to_owned(),
        window: format!("{}:{revision}", HEXLOWER.encode(&counted.refusal.wanted)),
    };
    let (noun, name) = (of.noun.title(), of.name);
    about.says(
        now,
        format!("{noun} {name} is refused in region {} and stays as it is", counted.region),
        format!(
            "What revision {revision} made of {noun} {name} ({}) is {counted}. It is not withdrawn, for {why}. Change \
             {noun} {name} yourself: `rrctl explain {} {name}` shows which nodes run what. {}",
            of.id,
            of.noun.text(),
            remedy(counted.refusal.why()),
        ),
    )
}

/// Two processes claim to be one node. Once an hour.
pub(crate) fn node_clash(now: i64, org: &str, clash: &NodeClash, region: &str) -> NotificationRow {
    let node = clash.node.to_string();
    let NodeClash { there, newcomer, .. } = clash;
    let about = About {
        org: org.to_owned(),
        kind: NotificationKind::NodeClash,
        subject: node.clone(),
        window: clash.at.div_euclid(HOUR).to_string(),
    };
    about.says(
        now,
        format!("two processes claim to be node {node} of region {region}"),
        format!(
            "Node {node} of region {region} is connected from {there}, and another process that has its key came from \
             {newcomer} and was not let in. Usually a machine or a disk was copied: stop the copy, empty its state \
             folder, and let it join as a node of its own with a token of `rrctl node token create`."
        ),
    )
}

/// Two processes with the key of one node, of which one renewed with a certificate that is too old.
pub(crate) struct NodeCopy<'a> {
    pub(crate) node: &'a str,
    pub(crate) region: &'a str,
    /// The serial that was issued last, the address that it was issued to, and when.
    pub(crate) newest: (&'a str, &'a str, i64),
    /// The serial that was shown, and where from.
    pub(crate) shown: (&'a str, &'a str),
}

/// A node and its copy both renew. Once for each serial that a copy shows.
pub(crate) fn node_copy(now: i64, org: &str, copy: &NodeCopy<'_>) -> NotificationRow {
    let NodeCopy { node, region, newest: (newest, there, at), shown: (serial, from) } = copy;
    let about = About {
        org: org.to_owned(),
        kind: NotificationKind::NodeClash,
        subject: (*node).to_owned(),
        window: format!("copy:{serial}"),
    };
    about.says(
        now,
        format!("two processes renew the certificate of node {node} of region {region}"),
        format!(
            "A process at {from} came to renew the certificate of node {node} of region {region} with serial {serial}, and \
             was refused: a newer one, {newest}, was issued to {there} at {}. Both have the node's key: usually a machine or \
             a disk was copied, or a state folder was restored from an older copy. Stop the copy, empty its state folder, and \
             let it join as a node of its own with a token of `rrctl node token create`. If you do not know it, \
             `rrctl node revoke {node}` keeps both out.",
            shown(*at)
        ),
    )
}

/// A node whose certificate this database did not issue, though the authority did: it was restored from a backup. Once
/// for each certificate.
pub(crate) fn node_ahead(
    now: i64,
    org: &str,
    (node, region): (&str, &str),
    (known, serial): (&str, &str),
) -> NotificationRow {
    let about = About {
        org: org.to_owned(),
        kind: NotificationKind::NodeDiverged,
        subject: node.to_owned(),
        window: format!("serial:{serial}"),
    };
    about.says(
        now,
        format!("node {node} of region {region} has a certificate that this database does not know"),
        format!(
            "Node {node} of region {region} renewed its certificate with serial {serial}, which is newer than the last that \
             this database knows ({known}). The authority of the installation has issued it, so it was renewed. That is so after the \
             database was restored from a backup. If none was, somebody else has the authority's key: \
             look who can read `authority.key` in the control plane's state folder."
        ),
    )
}

/// A region whose nodes are sent nothing more. Once for each time.
pub(crate) fn region_held(
    now: i64,
    org: &str,
    state: &region_state_row::Model,
    region: &str,
) -> NotificationRow {
    let revision = state.held_revision.unwrap_or_default();
    let about = About {
        org: org.to_owned(),
        kind: NotificationKind::RegionHeld,
        subject: state.region.clone(),
        window: format!("{}:{}", HEXLOWER.encode(&state.held_digest), state.held_at.unwrap_or_default()),
    };
    about.says(
        now,
        format!("revision {revision} is held in region {region}"),
        format!(
            "Nodes of region {region} do not survive revision {revision} ({}), so no node there that is behind it is \
             sent anything: neither it, nor what came after it, revoked keys among that. Change what is new or roll \
             it back with `rrctl org rollback`, then `rrctl revision release --region {region} {revision}` lets \
             nodes have what is newest.",
            state.held_why
        ),
    )
}

/// A node that ended on what it was sent. Once for each time.
pub(crate) fn node_crashed(now: i64, org: &str, crash: &crash_row::Model, region: &str) -> NotificationRow {
    let (node, revision) = (&crash.node, crash.revision);
    let about = About {
        org: org.to_owned(),
        kind: NotificationKind::NodeCrashed,
        subject: node.clone(),
        window: format!("{}:{}", HEXLOWER.encode(&crash.digest), crash.at),
    };
    about.says(
        now,
        format!("node {node} of region {region} did not survive revision {revision}"),
        format!(
            "Node {node} of region {region} ended on revision {revision}, and serves the last one that it had proven. It \
             is not sent the same content again; a second node that ends on it holds it back from all. Look at the \
             node's log, send it to whoever builds the node, and change back what revision {revision} changed \
             (`rrctl revision show {revision}`)."
        ),
    )
}

/// A node that is sent nothing, because it stands elsewhere. Once for each time.
pub(crate) fn node_diverged(now: i64, org: &str, stray: &Stray, region: &str) -> NotificationRow {
    let (node, revision) = (&stray.node, stray.at.revision);
    let about = About {
        org: org.to_owned(),
        kind: NotificationKind::NodeDiverged,
        subject: node.clone(),
        window: stray.since.to_string(),
    };
    about.says(
        now,
        format!("node {node} of region {region} stands in another history"),
        format!(
            "Node {node} of region {region} stands at revision {revision}, where the history of this database did not \
             bring it: usually an older backup was restored. It serves what it has, is sent nothing, and writes that \
             reach the region are refused. Look at it with `rrctl revision adopt --region {region} --dry-run`; without \
             `--dry-run` this history goes on there."
        ),
    )
}

/// A node that came back older than it was. Once for each start of its process.
pub(crate) fn node_disk(now: i64, org: &str, node: &node_row::Model, region: &str) -> NotificationRow {
    let id = &node.id;
    let about = About {
        org: org.to_owned(),
        kind: NotificationKind::NodeDisk,
        subject: id.clone(),
        window: node.boot_id.clone(),
    };
    let at = shown(node.last_seen_at);
    about.says(
        now,
        format!("the disk of node {id} of region {region} was set back"),
        format!(
            "Node {id} of region {region} started from an older state than it once had (it was seen last at {at}): \
             somebody put an old copy of its state folder in place, or its disk is damaged or loses what was written. \
             It is brought up to date where it is connected (`rrctl node why {id}`). Do not restore state folders of \
             nodes; if nobody did, replace the disk. Records that were not uploaded may be lost."
        ),
    )
}

/// An issuer whose tokens a node refuses, or takes again.
pub(crate) struct Issuer<'a> {
    /// Whose credential names it.
    pub(crate) org: &'a str,
    pub(crate) node: &'a str,
    pub(crate) region: &'a str,
    pub(crate) jwks_url: &'a str,
    pub(crate) since: i64,
    pub(crate) never_there: bool,
    pub(crate) back_at: Option<i64>,
}

/// An issuer whose keys a node cannot fetch, or has again. Each once an hour for a node and an issuer.
pub(crate) fn issuer(now: i64, of: &Issuer<'_>) -> NotificationRow {
    let Issuer { org, node, region, jwks_url, since, never_there, back_at } = *of;
    let kind = match back_at {
        Some(_) => NotificationKind::IssuerBack,
        None => NotificationKind::IssuerStale,
    };
    let about = About {
        org: org.to_owned(),
        kind,
        subject: node.to_owned(),
        window: format!("{}:{jwks_url}", back_at.unwrap_or(since).div_euclid(HOUR)),
    };
    let from = shown(since);
    if let Some(back_at) = back_at {
        return about.says(
            now,
            format!("keys of the issuer at {jwks_url} are there again in region {region}"),
            format!(
                "Node {node} of region {region} has fetched the keys of {jwks_url} at {}, and takes tokens of that issuer \
                 again. It had refused them since {from}.",
                shown(back_at)
            ),
        );
    }
    let why = if never_there { "never had keys of it" } else { "has keys that are too old" };
    about.says(
        now,
        format!("tokens of the issuer at {jwks_url} are refused in region {region}"),
        format!(
            "Node {node} of region {region} cannot fetch the keys of {jwks_url} and {why}. Since {from} it refuses the \
             tokens of the credentials that name this URL (`rrctl credential list -o wide` shows them) with 401, and their \
             records say `issuer-stale`. Look whether the URL answers with a JWKS document, and whether nodes of {region} \
             reach it: the node's log has the cause, and an address in a private network needs `--allow-upstream`, \
             and a certificate of a private authority `--upstream-ca`. \
             `rrctl credential update NAME --jwks-url URL`, or `--jwks FILE` with the keys themselves, gives others. \
             It goes on trying."
        ),
    )
}

/// A secret that an upstream sent back.
pub(crate) struct Echoed<'a> {
    pub(crate) org: &'a str,
    /// Id and name of the credential.
    pub(crate) credential: (&'a str, &'a str),
    /// The name of the proxy.
    pub(crate) proxy: &'a str,
    pub(crate) region: &'a str,
    pub(crate) at: i64,
    pub(crate) refused: bool,
}

/// An upstream sent back the secret that it was sent. Once an hour for a credential.
pub(crate) fn secret_echoed(now: i64, of: &Echoed<'_>) -> NotificationRow {
    let Echoed { org, credential: (id, name), proxy, region, at, refused } = *of;
    let about = About {
        org: org.to_owned(),
        kind: NotificationKind::SecretEchoed,
        subject: id.to_owned(),
        window: at.div_euclid(HOUR).to_string(),
    };
    let became = if refused { "The answer was refused." } else { "It was masked." };
    about.says(
        now,
        format!("an upstream sends back the secret of credential {name}"),
        format!(
            "An answer that came through proxy {proxy} in region {region} at {} held the secret of credential {name} ({id}), \
             which the upstream had been sent. {became} `rrctl request list --proxy {proxy} -o wide` shows such answers \
             under `echo`. Look why the upstream does that: the guard stops accidents, and no upstream that wants to show the \
             secret. If somebody may have seen it, replace it (`rrctl credential replace-secret {name}`).",
            shown(at)
        ),
    )
}

#[cfg(test)]
mod tests;
