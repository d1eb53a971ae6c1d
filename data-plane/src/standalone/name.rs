//! Names to ids: each resource of the file has an id that follows from the organization and its name.
//!
//! So counts, records and what is kept of versions survive every reload and every start. A document may bring an id
//! of its own, as the control plane gave it. The invariant: no two documents have one id.

use std::collections::{HashMap, HashSet};

use rr_contract::model::id::{CredentialId, OrgId, ProxyId, TargetId};
use rr_contract::model::resource::{Key, ResourceId};

use super::fault::Faults;
use super::node::Node;

/// 16 bytes that follow from the parts, and from their order and number.
pub(super) fn derive(parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key("requestrocket standalone id 1");
    for part in parts {
        hasher.update(&(part.len() as u64).to_be_bytes()).update(part);
    }
    let mut id = [0; 16];
    hasher.finalize_xof().fill(&mut id);
    id
}

/// The resources of the file, by name and by id.
pub(super) struct Names {
    org: OrgId,
    by_name: HashMap<(&'static str, String), Key>,
    lines: HashMap<Key, u64>,
    /// Documents that stand in the file and cannot be read: that fault is told already.
    unread: HashSet<(String, String)>,
}

impl Names {
    pub(super) fn new(org: OrgId) -> Self {
        Self { org, by_name: HashMap::new(), lines: HashMap::new(), unread: HashSet::new() }
    }

    /// Notes a document that cannot be read.
    pub(super) fn pass(&mut self, node: &Node) {
        if let (Some(kind), Some(name)) = (node.text("kind"), node.text("name")) {
            self.unread.insert((kind.to_owned(), name.to_owned()));
        }
    }

    /// Takes in a resource that others refer to.
    pub(super) fn take(
        &mut self,
        kind: &'static str,
        (id, name): (&str, &str),
        node: &Node,
        faults: &mut Faults,
    ) -> Option<Key> {
        let make = |bytes| match kind {
            "target" => ResourceId::Target(TargetId::from_random(bytes)),
            "credential" => ResourceId::Credential(CredentialId::from_random(bytes)),
            _ => ResourceId::Proxy(ProxyId::from_random(bytes)),
        };
        let given = |text: &str| match kind {
            "target" => text.parse().ok().map(ResourceId::Target),
            "credential" => text.parse().ok().map(ResourceId::Credential),
            _ => text.parse().ok().map(ResourceId::Proxy),
        };
        let parts = [kind.as_bytes(), name.as_bytes()];
        let key = self.settle(kind, (id, name), node, faults, given, |org| {
            make(derive(&[org.as_bytes(), parts[0], parts[1]]))
        })?;
        if self.by_name.insert((kind, name.to_owned()), key).is_some() {
            faults.field(node, "name", format_args!("there is another {kind} {name:?} in the file"));
            return None;
        }
        self.by_name.insert((kind, key.id_text()), key);
        Some(key)
    }

    /// The key of a document: of the id that it brings, or of the id that follows from its name.
    pub(super) fn settle(
        &mut self,
        kind: &str,
        (id, name): (&str, &str),
        node: &Node,
        faults: &mut Faults,
        given: impl FnOnce(&str) -> Option<ResourceId>,
        derived: impl FnOnce(OrgId) -> ResourceId,
    ) -> Option<Key> {
        if name.is_empty() {
            faults.add(node.line, format!("a {kind} needs a name: its id follows from the name"));
            return None;
        }
        let id = match id {
            "" => derived(self.org),
            text => {
                let Some(id) = given(text) else {
                    faults.field(node, "id", format_args!("is not the id of a {kind}; leave it out"));
                    return None;
                };
                id
            }
        };
        let key = Key::new(self.org, id);
        if let Some(line) = self.lines.insert(key, node.line) {
            faults
                .add(node.line, format!("this {kind} stands in the file twice; the other is in line {line}"));
            return None;
        }
        Some(key)
    }

    /// The resource of this name or id.
    pub(super) fn find(
        &self,
        kind: &'static str,
        name: &str,
        (node, field): (&Node, &str),
        faults: &mut Faults,
    ) -> Option<Key> {
        if name.is_empty() {
            faults.field(node, field, format_args!("is missing: name a {kind}"));
            return None;
        }
        let found = self.by_name.get(&(kind, name.to_owned())).copied();
        if found.is_none() && !self.unread.contains(&(kind.to_owned(), name.to_owned())) {
            faults.field(node, field, format_args!("no {kind} {name:?} stands in the file"));
        }
        found
    }
}
