//! The state of a node or a region: in one word, and in one sentence for people.

use rr_contract::model::time;
use rr_contract::wire::fleet::{self, NodeState};

use crate::word;

/// Whether a node holds the published view of its region, whichever revision either names for it. It may refuse parts of it.
pub(super) fn has_all(node: &fleet::Node) -> bool {
    match (&node.desired, &node.running) {
        (Some(desired), Some(running)) => {
            running.lineage == desired.lineage && running.digest == desired.digest
        }
        _ => false,
    }
}

/// Whether something that concerns its region is not yet at a connected node.
pub(super) fn is_behind(node: &fleet::Node) -> bool {
    node.connected && !has_all(node)
}

fn crashed_on_desired(node: &fleet::Node) -> bool {
    let tried = node.crash.as_ref().and_then(|crash| crash.tried.as_ref());
    tried.is_some_and(|tried| node.desired.as_ref().is_some_and(|desired| desired.digest == tried.digest))
}

pub(super) fn is_unhealthy(node: &fleet::Node) -> bool {
    !node.why.is_empty() && node.revoked_at.is_none()
}

/// From which difference on a clock is reported as wrong.
const SKEW_MS: i64 = 60_000;

/// How what a node runs compares to what is published.
pub(super) fn state(node: &fleet::Node) -> NodeState {
    if node.revoked_at.is_some() {
        NodeState::Revoked
    } else if node.diverged {
        NodeState::Diverged
    } else if node.history_rewritten {
        NodeState::Rewritten
    } else if crashed_on_desired(node) {
        NodeState::Crashed
    } else if node.held {
        NodeState::Held
    } else if !node.connected {
        NodeState::Disconnected
    } else if !node.standing.is_empty() {
        NodeState::Refusing
    } else if !has_all(node) {
        NodeState::Behind
    } else if node.draining {
        NodeState::Draining
    } else {
        NodeState::InStep
    }
}

/// The worst problem of a node that is in a state; empty when it has none.
/// `too_old`: its certificate cannot be renewed any more.
pub(super) fn why(node: &fleet::Node, state: NodeState, too_old: bool) -> String {
    let revision = |at: &Option<fleet::Position>| at.as_ref().map_or(0, |at| at.revision);
    let stands = node.revisions.map_or_else(|| revision(&node.running), |at| at.running);
    let wanted = revision(&node.desired);
    if state == NodeState::Revoked {
        return format!(
            "it was revoked: nothing is sent to it or taken from it; `rrctl region rotate-key {} --exclude {}` \
             keeps from it what is written from then on, unless that was done",
            node.region, node.id
        );
    }
    if state == NodeState::Diverged {
        return format!(
            "it is at revision {stands} of a history that is not this database's, and receives nothing: \
             `rrctl revision adopt --region {} --dry-run` lists what an adopt would change",
            node.region
        );
    }
    if state == NodeState::Rewritten {
        return "its audit head differs from the published one: a revision was changed after it was published"
            .to_owned();
    }
    if let Some(clash) = &node.clash {
        return clash_word(&clash.newcomer);
    }
    if let Some(copy) = &node.copy {
        return copy_word(copy);
    }
    if state == NodeState::Crashed {
        return format!(
            "it crashed on revision {}, runs {stands} and does not receive that revision again: change or roll back \
             what is new, or update the node",
            node.crash.as_ref().map_or(0, |crash| revision(&crash.tried))
        );
    }
    if state == NodeState::Held {
        return format!(
            "its region is held because nodes crashed: it stays at revision {stands}, apart from removals, until the \
             cause is changed and `rrctl revision release --region {}` sends the newest revision",
            node.region
        );
    }
    if state == NodeState::Disconnected {
        let mut word = format!("it is not connected: it runs revision {stands} from its disk");
        if too_old {
            word.push_str(
                ", and its certificate ended more than 30 days ago: restart it with a new token of `rrctl node token create`",
            );
        }
        return word;
    }
    if let Some(refusal) = node.standing.first() {
        let what = refusal.key.as_ref().map_or("a whole transaction", |key| key.id.as_str());
        let more = node.standing.len() - 1;
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        return format!("it refuses {what}{more}: {}", word::why(refusal.why()));
    }
    if node.disk_stalled {
        return format!(
            "disk-stalled: it runs revision {stands} but cannot write it to its disk: check the disk of its state folder"
        );
    }
    if state == NodeState::Behind {
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

/// For a node of which two processes renew the certificate.
fn copy_word(copy: &fleet::NodeCopy) -> String {
    let when = |at: &Option<pbjson_types::Timestamp>| {
        at.as_ref().and_then(|at| time::system_time(at).ok()).map_or_else(String::new, |at| {
            chrono::DateTime::<chrono::Utc>::from(at).to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
        })
    };
    format!(
        "its certificate {} was issued to {} at {}, and a process at {} came at {} to renew {}, which is older: its disk \
         or machine was copied; stop the copy, empty its state folder, and let it join as a new node",
        copy.serial,
        copy.issued_to,
        when(&copy.issued_at),
        copy.newcomer,
        when(&copy.at),
        copy.shown,
    )
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
    match (state.nodes, state.connected, state.behind, state.refusing) {
        (0, ..) => "no node has joined".to_owned(),
        (_, 0, ..) => "no node is connected".to_owned(),
        (_, _, 0, 0) => "all connected nodes run what is published".to_owned(),
        (_, connected, 0, refusing) => format!("{refusing} of {connected} connected nodes refuse something"),
        (_, connected, behind, 0) => format!("{behind} of {connected} connected nodes are behind"),
        (_, connected, behind, refusing) => {
            format!("{behind} of {connected} connected nodes are behind, and {refusing} refuse something")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(revision: u64, digest: u8) -> Option<fleet::Position> {
        Some(fleet::Position { revision, digest: vec![digest], ..fleet::Position::default() })
    }

    /// Connected, with the published content, which it knows by an older number.
    fn node() -> fleet::Node {
        fleet::Node {
            connected: true,
            desired: position(9, 1),
            running: position(4, 1),
            ..fleet::Node::default()
        }
    }

    #[test]
    fn a_node_is_behind_by_content_and_not_by_the_number_of_a_revision() {
        assert_eq!(state(&node()), NodeState::InStep);
        assert_eq!(why(&node(), NodeState::InStep, false), "");
        let behind = fleet::Node { running: position(4, 2), ..node() };
        assert_eq!(state(&behind), NodeState::Behind);
        assert_eq!(why(&behind, NodeState::Behind, false), "it runs revision 4 and is behind 9");
    }

    #[test]
    fn the_state_is_the_worst_that_holds() {
        let mut node = node();
        for (worse, expected) in [
            (
                &(|node: &mut fleet::Node| node.draining = true) as &dyn Fn(&mut fleet::Node),
                NodeState::Draining,
            ),
            (&|node| node.running = position(4, 2), NodeState::Behind),
            (&|node| node.standing.push(fleet::Refusal::default()), NodeState::Refusing),
            (&|node| node.connected = false, NodeState::Disconnected),
            (&|node| node.held = true, NodeState::Held),
            (
                &|node| node.crash = Some(fleet::NodeCrash { tried: position(9, 1), at: None }),
                NodeState::Crashed,
            ),
            (&|node| node.history_rewritten = true, NodeState::Rewritten),
            (&|node| node.diverged = true, NodeState::Diverged),
            (&|node| node.revoked_at = Some(pbjson_types::Timestamp::default()), NodeState::Revoked),
        ] {
            worse(&mut node);
            assert_eq!(state(&node), expected);
            assert!(!why(&node, expected, false).is_empty(), "{expected:?}");
        }
    }

    #[test]
    fn a_region_says_how_many_nodes_are_behind_and_how_many_refuse() {
        let state = |in_step, behind, refusing| fleet::RegionState {
            nodes: 3,
            connected: 3,
            in_step,
            behind,
            refusing,
            ..fleet::RegionState::default()
        };
        for (region, words) in [
            (state(3, 0, 0), "all connected nodes run what is published"),
            (state(2, 0, 1), "1 of 3 connected nodes refuse something"),
            (state(2, 1, 0), "1 of 3 connected nodes are behind"),
            (state(1, 1, 1), "1 of 3 connected nodes are behind, and 1 refuse something"),
        ] {
            assert_eq!(why_region(&region), words);
        }
    }
}
