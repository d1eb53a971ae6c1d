//! Claims about the audit chain: which head a node or the control plane states for a revision.

use rr_contract::wire::fleet::Node;

/// The head of a revision, as a program states it.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    /// The program that states it.
    pub(super) who: String,
    /// Whether that program was asked itself: not to know a head is then no answer.
    pub(super) asked: bool,
    /// The history that it counts in, where it says.
    pub(super) lineage: Option<Vec<u8>>,
    pub(super) revision: u64,
    pub(super) audit: Vec<u8>,
}

/// The heads that nodes keep, by way of the control plane: of what they run, and of what they would come back with.
pub(super) fn of_nodes(nodes: &[Node]) -> Vec<Claim> {
    let mut claims = Vec::new();
    for node in nodes {
        for (what, position) in [("", &node.running), (" on disk", &node.on_disk)] {
            let Some(position) = position else { continue };
            if what.is_empty() || node.running.as_ref() != Some(position) {
                claims.push(Claim {
                    who: format!("node {}{what}", node.id),
                    asked: false,
                    lineage: Some(position.lineage.clone()),
                    revision: position.revision,
                    audit: position.audit.clone(),
                });
            }
        }
    }
    claims
}
