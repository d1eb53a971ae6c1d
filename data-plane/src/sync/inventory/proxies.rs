//! Proxies: which are concerned by a change, and what they are compiled to.
//!
//! Runs at the end of a transaction, when all that a proxy names is there or will not come.

use std::sync::Arc;

use rr_contract::model::id::ProxyId;
use rr_contract::model::proxy::Proxy;
use rr_contract::model::resource::{Key, Model, ResourceId};
use rr_contract::wire::fleet::Why;

use crate::snapshot::{CompiledProxy, Route, Snapshot};

use super::super::transaction::Offered;
use super::index::Number;
use super::judge::Parsed;
use super::{Concerned, Inventory, Part, Reason, Running, judge};

impl Inventory {
    /// The proxies that a change of `key` concerns.
    pub(super) fn concerned(&self, key: &Key, proxies: &mut Concerned) {
        match key.id {
            ResourceId::Proxy(_) => {
                proxies.entry(*key).or_default();
            }
            ResourceId::Rule(_) | ResourceId::Filter(_) | ResourceId::Meter(_) => {
                let Some(entry) = self.entries.get(key) else { return };
                for parent in &entry.refs {
                    self.concerned(&self.index.key(*parent), proxies);
                }
            }
            ResourceId::Org | ResourceId::Target(_) | ResourceId::Credential(_) => {
                for user in self.index.users(key) {
                    proxies.entry(user).or_default();
                }
            }
        }
    }

    /// Decides which version of a proxy runs, and compiles it. Returns whether what is wanted is refused.
    pub(super) fn settle_proxy(&mut self, key: Key, ahead: Option<Parsed>, snapshot: &mut Snapshot) -> bool {
        let ResourceId::Proxy(id) = key.id else { return false };
        // What it was compiled from is no longer there; what was compiled of it has not changed.
        let is_damaged = self.damaged.contains(&key);
        let Some(entry) = self.entries.get_mut(&key) else { return false };
        let before = std::mem::take(&mut entry.refs);
        let (number, was_refused) = (entry.number, entry.refusal.is_some());
        let (parsed, is_same) = match (&entry.running, ahead) {
            (Some(Running { hash, part: Part::Proxy(proxy), .. }), _)
                if *hash == entry.wanted.hash || is_damaged =>
            {
                // More are indexed where another version was wanted meanwhile.
                (Ok(Arc::clone(proxy)), before.len() == refs_len(proxy))
            }
            (_, Some(ahead)) => (ahead.and_then(as_proxy), false),
            (_, None) => (self.guard.run(&key, &entry.wanted, || parse_proxy(&key, &entry.wanted)), false),
        };
        let mut refs = match &parsed {
            Ok(_) if is_same => before,
            Ok(proxy) => self.point(number, &before, &model_refs(&key, proxy)),
            Err(_) => self.point(number, &before, &[]),
        };
        let Some(entry) = self.entries.get(&key) else { return false };
        let parsed = match self.restraints.bites(&key, &entry.wanted.hash) {
            Some(reason) => Err(reason),
            None => parsed,
        };
        let judged = parsed.and_then(|proxy| match refs.iter().find(|used| !self.index.is_there(**used)) {
            None => self.compiled(id, &key, &entry.wanted, proxy, number, &refs),
            Some(missing) => {
                let detail = format!("names {}, which is not here", self.index.key(*missing));
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
                let kept = kept.and_then(|running| {
                    let compiled = self.compiled_again(id, &key, number, &mut refs, &running)?;
                    Some((running, compiled))
                });
                let (running, compiled) = kept.unzip();
                (running, compiled, Some(Box::new(reason)))
            }
        };
        match compiled {
            Some(compiled) => snapshot.put_proxy(Arc::new(compiled)),
            None => snapshot.remove_proxy(&id),
        }
        let is_refused = refusal.is_some();
        self.note_refusal(key, was_refused, is_refused);
        if let Some(entry) = self.entries.get_mut(&key) {
            (entry.running, entry.refusal, entry.refs) = (running, refusal, refs);
        }
        is_refused
    }

    /// Compiles what ran before. What is wanted is indexed beside it: when the missing one comes, the proxy must
    /// hear of it. What cannot be compiled any more does not run in the place of another either.
    fn compiled_again(
        &mut self,
        id: ProxyId,
        key: &Key,
        number: Number,
        refs: &mut Box<[Number]>,
        running: &Running,
    ) -> Option<CompiledProxy> {
        let (Part::Proxy(proxy), Some(kept)) = (&running.part, &running.kept) else { return None };
        let mut keys: Vec<Key> = refs.iter().map(|used| self.index.key(*used)).collect();
        let wanted = keys.len();
        keys.extend(model_refs(key, proxy));
        *refs = self.point(number, refs, &keys);
        let (_, compiled) =
            self.compiled(id, key, kept, Arc::clone(proxy), number, refs.get(wanted..)?).ok()?;
        Some(compiled)
    }

    fn compiled(
        &self,
        id: ProxyId,
        key: &Key,
        offered: &Offered,
        proxy: Arc<Proxy>,
        number: Number,
        refs: &[Number],
    ) -> Result<(Arc<Proxy>, CompiledProxy), Reason> {
        let compiled = self.guard.run(key, offered, || Ok(self.compile(id, key, &proxy, number, refs)))?;
        Ok((proxy, compiled))
    }

    fn compile(
        &self,
        id: ProxyId,
        key: &Key,
        proxy: &Arc<Proxy>,
        number: Number,
        refs: &[Number],
    ) -> CompiledProxy {
        let target = Key::new(key.org, ResourceId::Target(proxy.target));
        let upstream = Key::new(key.org, ResourceId::Credential(proxy.upstream_credential));
        let org = match self.running(&Key::org(key.org)) {
            Some(Part::Org(org)) => Some(Arc::clone(org)),
            _ => None,
        };
        // Something that bears on it and was not understood, or is gone: nobody gets through.
        let open = refs.iter().all(|used| self.index.is_there(*used))
            && !refs.iter().chain([&number]).any(|used| self.index.is_borne_on(*used));
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
        let address = org.map(|org| format!("{}.{}", org.name, proxy.name).into());
        CompiledProxy { id, org_id: key.org, address, model: Arc::clone(proxy), route }
    }
}

fn parse_proxy(key: &Key, wanted: &Offered) -> Result<Arc<Proxy>, Reason> {
    as_proxy(judge::parse(key, wanted)?)
}

fn as_proxy(model: Model) -> Result<Arc<Proxy>, Reason> {
    match model {
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
    let mut refs = Vec::with_capacity(refs_len(proxy));
    refs.extend([
        Key::org(key.org),
        Key::new(key.org, ResourceId::Target(proxy.target)),
        credential(proxy.upstream_credential),
    ]);
    refs.extend(proxy.caller_credentials.iter().copied().map(credential));
    refs
}

fn refs_len(proxy: &Proxy) -> usize {
    3 + proxy.caller_credentials.len()
}
