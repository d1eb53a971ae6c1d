//! What is the matter with a node or a region, in one sentence for people.

use rr_contract::wire::fleet;

/// Whether a node runs what is published for it, whatever number either has for it.
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

/// From where on a clock is told of as wrong.
const SKEW_MS: i64 = 60_000;

/// What is the matter with a node, the worst first.
pub(super) fn why(node: &fleet::Node) -> String {
    let revision = |at: &Option<fleet::Position>| at.as_ref().map_or(0, |at| at.revision);
    let (stands, wanted) = (revision(&node.running), revision(&node.desired));
    if node.diverged {
        return format!(
            "it stands at revision {stands} of a history that is not this database's, and is sent nothing: \
             `rrctl revision adopt --region {} --dry-run` says what can be done",
            node.region
        );
    }
    if node.history_rewritten {
        return "it was told of another audit head than it had: what was already published was changed"
            .to_owned();
    }
    if let Some(clash) = &node.clash {
        return clash_word(&clash.newcomer);
    }
    if crashed_on_desired(node) {
        return format!(
            "it crashed on revision {}, runs {stands} and is not sent that again: change or roll back what is new, or \
             update it",
            node.crash.as_ref().map_or(0, |crash| revision(&crash.tried))
        );
    }
    if node.held {
        return format!(
            "its region is held because nodes crashed: it stays at revision {stands}, less what was taken away since, until \
             what is held is changed where need be and `rrctl revision release --region {}` sends on what is newest",
            node.region
        );
    }
    if !node.connected {
        return format!("it is not connected: it runs revision {stands} by what it has on disk");
    }
    if let Some(refusal) = node.standing.first() {
        let what = refusal.key.as_ref().map_or("a whole transaction", |key| key.id.as_str());
        let more = node.standing.len() - 1;
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        return format!("it refuses {what}{more}: {}", refusal.why().as_str_name());
    }
    if node.disk_stalled {
        return format!(
            "disk-stalled: it runs revision {stands}, and its disk does not take that: look at the disk under its state folder"
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
        return "it came back at an older place than it once stood at: its disk was set back".to_owned();
    }
    if node.draining {
        return "it is out of service: `rrctl node undrain` puts it back".to_owned();
    }
    String::new()
}

/// Of a node that another process claims to be.
fn clash_word(newcomer: &str) -> String {
    format!(
        "another process that has its key came from {newcomer} and is not let in, while this one is there: a copied disk or \
         machine; stop the copy, empty its state folder, and let it join as a node of its own"
    )
}

pub(super) fn why_region(state: &fleet::RegionState) -> String {
    if let Some(first) = state.diverged.first() {
        return format!(
            "{} node(s) stand in another history, as {} at revision {}: nothing is published there until `rrctl revision \
             adopt --region {}`",
            state.diverged.len(),
            first.node,
            first.revision,
            state.region
        );
    }
    if state.held_revision != 0 {
        return format!(
            "revision {} is held: {}; change what is new, then `rrctl revision release --region {} {}`",
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
