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

use super::super::transaction::Offered;
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
        // What it was compiled from is no longer there; what was compiled of it has not changed.
        let is_damaged = self.damaged.contains(&key);
        let Some(entry) = self.entries.get(&key) else { return };
        let parsed = match &entry.running {
            Some(Running { hash, part: Part::Proxy(proxy), .. })
                if *hash == entry.wanted.hash || is_damaged =>
            {
                Ok(Arc::clone(proxy))
            }
            _ => self.guard.run(&key, &entry.wanted, || parse_proxy(&key, &entry.wanted)),
        };
        let mut refs = parsed.as_ref().map(|proxy| model_refs(&key, proxy)).unwrap_or_default();
        let judged = parsed.and_then(|proxy| match refs.iter().find(|used| !self.is_there(used)) {
            None => self.compiled(id, &key, &entry.wanted, proxy),
            Some(missing) => {
                let detail = format!("names {missing}, which is not here");
                Err(Reason { why: Why::DanglingRef, detail, closes: false })
            }
        });
        let hash = if is_damaged { entry.running.as_ref().map(|running| running.hash) } else { None };
        let hash = hash.unwrap_or(entry.wanted.hash);
        let (running, compiled, refusal) = match judged {
            Ok((proxy, compiled)) => {
                (Some(Running { hash, part: Part::Proxy(proxy), kept: None }), Some(compiled), None)
            }
            Err(reason) => {
                let kept = entry.keep().filter(|_| !reason.closes);
                // What cannot be compiled any more does not run in its place either.
                let compiled = kept.as_ref().and_then(|running| match (&running.part, &running.kept) {
                    (Part::Proxy(proxy), Some(kept)) => self.compiled(id, &key, kept, Arc::clone(proxy)).ok(),
                    _ => None,
                });
                let running = kept.filter(|_| compiled.is_some());
                (running, compiled.map(|(_, compiled)| compiled), Some(Box::new(reason)))
            }
        };
        // What is wanted is indexed beside what runs: when the missing one comes, the proxy must hear of it.
        if let Some(Running { part: Part::Proxy(proxy), .. }) = &running
            && refusal.is_some()
        {
            refs.extend(model_refs(&key, proxy));
        }
        match compiled {
            Some(compiled) => snapshot.put_proxy(Arc::new(compiled)),
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

    fn compiled(
        &self,
        id: ProxyId,
        key: &Key,
        offered: &Offered,
        proxy: Arc<Proxy>,
    ) -> Result<(Arc<Proxy>, CompiledProxy), Reason> {
        let compiled = self.guard.run(key, offered, || Ok(self.compile(id, key, &proxy)))?;
        Ok((proxy, compiled))
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

fn parse_proxy(key: &Key, wanted: &Offered) -> Result<Arc<Proxy>, Reason> {
    match judge::parse(key, wanted)? {
        Model::Proxy(proxy) => Ok(Arc::new(proxy)),
        Model::Org(_)
        | Model::Target(_)
        | Model::Credential(_)
        | Model::Rule(_)
        | Model::Filter(_)
        | Model::Meter(_) => {
            let detail = "payload is no proxy".to_owned();
            Err(Reason { why: Why::Invalid, detail, closes: false })
        }
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
