//! The state of a node or a region, in one sentence for people.

use rr_contract::wire::fleet;

/// Whether a node runs the published view of its region, whichever revision either names for it.
pub(super) fn in_step(node: &fleet::Node) -> bool {
    match (&node.desired, &node.running) {
        (Some(desired), Some(running)) => {
            running.lineage == desired.lineage && running.digest == desired.digest
        }
        _ => false,
    }
}

fn crashed_on_desired(node: &fleet::Node) -> bool {
    let tried = node.crash.as_ref().and_then(|crash| crash.tried.as_ref());
    tried.is_some_and(|tried| node.desired.as_ref().is_some_and(|desired| desired.digest == tried.digest))
}

pub(super) fn is_unhealthy(node: &fleet::Node) -> bool {
    !node.why.is_empty()
}

/// From which difference on a clock is reported as wrong.
const SKEW_MS: i64 = 60_000;

/// The worst problem of a node; empty when it has none.
pub(super) fn why(node: &fleet::Node) -> String {
    let revision = |at: &Option<fleet::Position>| at.as_ref().map_or(0, |at| at.revision);
    let (stands, wanted) = (revision(&node.running), revision(&node.desired));
    if node.diverged {
        return format!(
            "it is at revision {stands} of a history that is not this database's, and receives nothing: \
             `rrctl revision adopt --region {} --dry-run` lists what an adopt would change",
            node.region
        );
    }
    if node.history_rewritten {
        return "its audit head differs from the published one: a revision was changed after it was published"
            .to_owned();
    }
    if let Some(clash) = &node.clash {
        return clash_word(&clash.newcomer);
    }
    if crashed_on_desired(node) {
        return format!(
            "it crashed on revision {}, runs {stands} and does not receive that revision again: change or roll back \
             what is new, or update the node",
            node.crash.as_ref().map_or(0, |crash| revision(&crash.tried))
        );
    }
    if node.held {
        return format!(
            "its region is held because nodes crashed: it stays at revision {stands}, apart from removals, until the \
             cause is changed and `rrctl revision release --region {}` sends the newest revision",
            node.region
        );
    }
    if !node.connected {
        return format!("it is not connected: it runs revision {stands} from its disk");
    }
    if let Some(refusal) = node.standing.first() {
        let what = refusal.key.as_ref().map_or("a whole transaction", |key| key.id.as_str());
        let more = node.standing.len() - 1;
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        return format!("it refuses {what}{more}: {}", refusal.why().as_str_name());
    }
    if node.disk_stalled {
        return format!(
            "disk-stalled: it runs revision {stands} but cannot write it to its disk: check the disk of its state folder"
        );
    }
    if !in_step(node) {
        return format!("it runs revision {stands} and is behind {wanted}");
    }
    if node.clock_skew_ms.abs() >= SKEW_MS {
        let (seconds, side) =
            (node.clock_skew_ms.abs() / 1000, if node.clock_skew_ms > 0 { "ahead of" } else { "behind" });
        return format!(
            "its clock is {seconds} s {side} the control plane's: credentials and certificates end at the wrong time there"
        );
    }
    if node.disk_set_back {
        return "it restarted at an older position than it had reached: its disk was restored from an older copy".to_owned();
    }
    if node.draining {
        return "it is out of service: `rrctl node undrain` puts it back".to_owned();
    }
    String::new()
}

/// For a node that another process claims to be.
fn clash_word(newcomer: &str) -> String {
    format!(
        "another process with its key connected from {newcomer} and is refused while this one is connected, because \
         its disk or machine was copied: stop the copy, empty its state folder, and let it join as a new node"
    )
}

pub(super) fn why_region(state: &fleet::RegionState) -> String {
    if let Some(first) = state.diverged.first() {
        return format!(
            "{} node(s) are in another history ({} at revision {}): nothing is published to the region until \
             `rrctl revision adopt --region {}`",
            state.diverged.len(),
            first.node,
            first.revision,
            state.region
        );
    }
    if state.held_revision != 0 {
        return format!(
            "revision {} is held: {}; change what is new, then run `rrctl revision release --region {} {}`",
            state.held_revision, state.held_why, state.region, state.held_revision
        );
    }
    match (state.nodes, state.connected, state.connected - state.in_step, state.refusing) {
        (0, ..) => "no node has joined".to_owned(),
        (_, 0, ..) => "no node is connected".to_owned(),
        (_, _, 0, 0) => "all connected nodes run what is published".to_owned(),
        (_, connected, 0, refusing) => format!("{refusing} of {connected} connected nodes refuse something"),
        (_, connected, behind, _) => format!("{behind} of {connected} connected nodes are behind"),
    }
}
