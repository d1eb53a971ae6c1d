//! Proxies: which are concerned by a change, and what they are compiled to.
//!
//! Runs at the end of a transaction, when all that a proxy names is there or will not come.

use std::collections::HashSet;
use std::sync::Arc;

use rr_contract::model::id::ProxyId;
use rr_contract::model::proxy::Proxy;
use rr_contract::model::resource::{Key, Model, ResourceId};
use rr_contract::wire::fleet::Why;

use crate::snapshot::{CompiledProxy, Route, Snapshot};

use super::{Inventory, Part, Reason, Running, first_of, judge};

impl Inventory {
    /// The proxies that a change of `key` concerns.
    pub(super) fn concerned(&self, key: &Key, proxies: &mut HashSet<Key>) {
        match key.id {
            ResourceId::Proxy(_) => {
                proxies.insert(*key);
            }
            ResourceId::Rule(_) | ResourceId::Filter(_) | ResourceId::Meter(_) => {
                let Some(entry) = self.entries.get(key) else { return };
                for parent in &entry.refs {
                    self.concerned(parent, proxies);
                }
            }
            ResourceId::Org | ResourceId::Target(_) | ResourceId::Credential(_) => {
                let users = self.users.range(first_of(*key)..).take_while(|(used, _)| used == key);
                proxies.extend(users.map(|(_, user)| *user));
            }
        }
    }

    /// Decides which version of a proxy runs, and compiles it.
    pub(super) fn settle_proxy(&mut self, key: Key, snapshot: &mut Snapshot) {
        let ResourceId::Proxy(id) = key.id else { return };
        let Some(entry) = self.entries.get(&key) else { return };
        let parsed = judge::parse(&key, &entry.wanted).and_then(|model| match model {
            Model::Proxy(proxy) => Ok((model_refs(&key, &proxy), proxy)),
            Model::Org(_)
            | Model::Target(_)
            | Model::Credential(_)
            | Model::Rule(_)
            | Model::Filter(_)
            | Model::Meter(_) => {
                let detail = "payload is no proxy".to_owned();
                Err(Reason { why: Why::Invalid, detail, closes: false })
            }
        });
        let wanted_refs = parsed.as_ref().map(|(refs, _)| refs.clone()).unwrap_or_default();
        let judged = parsed.and_then(|(refs, proxy)| match refs.iter().find(|used| !self.is_there(used)) {
            None => Ok(proxy),
            Some(missing) => {
                let detail = format!("names {missing}, which is not here");
                Err(Reason { why: Why::DanglingRef, detail, closes: false })
            }
        });
        let hash = entry.wanted.hash;
        let (running, refusal) = match judged {
            Ok(proxy) => (Some(Running { hash, part: Part::Proxy(Arc::new(proxy)), kept: None }), None),
            Err(reason) => (entry.keep().filter(|_| !reason.closes), Some(reason)),
        };
        let spec = match running.as_ref().map(|running| &running.part) {
            Some(Part::Proxy(proxy)) => Some(Arc::clone(proxy)),
            _ => None,
        };
        // What is wanted is indexed beside what runs: when the missing one comes, the proxy must hear of it.
        let mut refs = wanted_refs;
        refs.extend(spec.iter().flat_map(|spec| model_refs(&key, spec)));
        match &spec {
            Some(spec) => snapshot.put_proxy(Arc::new(self.compile(id, &key, spec))),
            None => snapshot.remove_proxy(&id),
        }
        self.index_users(key, refs);
        if refusal.is_some() {
            self.refused.insert(key);
        } else {
            self.refused.remove(&key);
        }
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.running = running;
            entry.refusal = refusal;
        }
    }

    fn compile(&self, id: ProxyId, key: &Key, proxy: &Proxy) -> CompiledProxy {
        let target = Key::new(key.org, ResourceId::Target(proxy.target));
        let upstream = Key::new(key.org, ResourceId::Credential(proxy.upstream_credential));
        let org = match self.running(&Key::org(key.org)) {
            Some(Part::Org(org)) => Some(Arc::clone(org)),
            _ => None,
        };
        let refs = model_refs(key, proxy);
        // Something that bears on it and was not understood, or is gone: nobody gets through.
        let open = refs.iter().all(|used| self.is_there(used))
            && !refs.iter().chain([key]).any(|used| self.is_borne_on(used));
        let route = match (&org, self.running(&target)) {
            (Some(org), Some(Part::Target(target))) if open => Some(Route {
                org: Arc::clone(org),
                target: Arc::clone(target),
                upstream: match self.running(&upstream) {
                    Some(Part::Upstream(credential)) => Some(Arc::clone(credential)),
                    _ => None,
                },
            }),
            _ => None,
        };
        CompiledProxy {
            id,
            org_id: key.org,
            address: org.map(|org| format!("{}.{}", org.name, proxy.name).into()),
            active: proxy.active,
            callers: proxy.caller_credentials.as_slice().into(),
            upstream_id: proxy.upstream_credential,
            route,
        }
    }

    fn is_there(&self, key: &Key) -> bool {
        self.entries.contains_key(key)
    }

    fn is_borne_on(&self, key: &Key) -> bool {
        self.policies.range(first_of(*key)..).next().is_some_and(|(used, _)| used == key)
    }

    fn index_users(&mut self, key: Key, refs: Vec<Key>) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        for used in std::mem::replace(&mut entry.refs, refs.clone()) {
            self.users.remove(&(used, key));
        }
        self.users.extend(refs.into_iter().map(|used| (used, key)));
    }
}

fn model_refs(key: &Key, proxy: &Proxy) -> Vec<Key> {
    let credential = |id| Key::new(key.org, ResourceId::Credential(id));
    let mut refs = vec![
        Key::org(key.org),
        Key::new(key.org, ResourceId::Target(proxy.target)),
        credential(proxy.upstream_credential),
    ];
    refs.extend(proxy.caller_credentials.iter().copied().map(credential));
    refs
}
