//! Proxies: which are concerned by a change, and what they are compiled to.
//!
//! Runs at the end of a transaction, when all that a proxy names is there or will not come. The invariant: a proxy
//! that is here is found by requests, open or closed; whether one exists never hangs on what this build can run.

use std::sync::{Arc, OnceLock};

use rr_contract::model::effect::Effect;
use rr_contract::model::id::{CredentialId, ProxyId};
use rr_contract::model::name::Name;
use rr_contract::model::org::Org;
use rr_contract::model::proxy::Proxy;
use rr_contract::model::resource::{Key, Model, ResourceId};
use rr_contract::policy::validate::Validator;
use rr_contract::wire::fleet::Why;

use crate::snapshot::{
    CallerHeaders, CompiledProxy, CompiledRecording, Known, Retries, Route, Shape, Snapshot,
};

use super::super::transaction::Offered;
use super::index::Number;
use super::judge::{Parsed, Read};
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
        let Some(entry) = self.entries.get_mut(&key) else { return false };
        let before = std::mem::take(&mut entry.refs);
        let (number, was_refused) = (entry.number, entry.refusal.is_some());
        let (parsed, is_same) = match (&entry.running, ahead) {
            (Some(Running { hash, part: Part::Proxy(proxy), .. }), _) if *hash == entry.wanted.hash => {
                // More are indexed where another version was wanted meanwhile.
                (Ok((Arc::clone(proxy), None)), before.len() == refs_len(proxy))
            }
            (_, Some(ahead)) => (ahead.and_then(as_proxy), false),
            (_, None) => {
                (self.isolation.run(&key, &entry.wanted, || parse_proxy(&key, &entry.wanted)), false)
            }
        };
        let mut refs = match &parsed {
            Ok(_) if is_same => before,
            Ok((proxy, _)) => self.point(number, &before, &model_refs(&key, proxy)),
            // Its address depends on the organization, whatever else it uses.
            Err(_) => self.point(number, &before, &[Key::org(key.org)]),
        };
        let Some(entry) = self.entries.get(&key) else { return false };
        let read = parsed.as_ref().ok().map(|(proxy, _)| Arc::clone(proxy));
        let parsed = match self.restraints.bites(&key, &entry.wanted.hash) {
            Some(reason) => Err(reason),
            None => parsed,
        };
        let judged = parsed.and_then(|(proxy, lacks)| {
            if let Some(lacks) = lacks {
                return Err(lacks);
            }
            match refs.iter().find(|used| !self.index.is_there(**used)) {
                None => self.compiled(id, &key, &entry.wanted, proxy, &refs),
                Some(missing) => {
                    let detail =
                        format!("refers to {}, which this node does not have", self.index.key(*missing));
                    Err(Reason::new(Why::DanglingRef, detail))
                }
            }
        });
        let hash = entry.wanted.hash;
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
        let compiled = match (compiled, self.entries.get(&key)) {
            (Some(compiled), _) => compiled,
            (None, Some(entry)) => self.closed(id, &key, &entry.wanted, read),
            (None, None) => return false,
        };
        snapshot.put_proxy(Arc::new(compiled));
        let is_refused = refusal.is_some();
        self.note_refusal(key, was_refused, is_refused);
        if let Some(entry) = self.entries.get_mut(&key) {
            (entry.running, entry.refusal, entry.refs) = (running, refusal, refs);
        }
        is_refused
    }

    /// Compiles the earlier version again. The wanted version stays indexed beside it: when a missing resource
    /// comes, the proxy must be settled again. An earlier version that no longer compiles does not run either.
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
        let (_, compiled) = self.compiled(id, key, kept, Arc::clone(proxy), refs.get(wanted..)?).ok()?;
        Some(compiled)
    }

    fn compiled(
        &self,
        id: ProxyId,
        key: &Key,
        offered: &Offered,
        proxy: Arc<Proxy>,
        refs: &[Number],
    ) -> Result<(Arc<Proxy>, CompiledProxy), Reason> {
        let compiled = self.isolation.run(key, offered, || {
            let validator = judge::validator(&self.validations, proxy.validation.as_deref())?;
            Ok(self.compile(id, key, &proxy, validator, refs))
        })?;
        Ok((proxy, compiled))
    }

    fn compile(
        &self,
        id: ProxyId,
        key: &Key,
        proxy: &Arc<Proxy>,
        validator: Option<Arc<Validator>>,
        refs: &[Number],
    ) -> CompiledProxy {
        let target_key = Key::new(key.org, ResourceId::Target(proxy.target));
        let upstream = Key::new(key.org, ResourceId::Credential(proxy.upstream_credential));
        let org = match self.running(&Key::org(key.org)) {
            Some(Part::Org(org)) => Some(Arc::clone(org)),
            _ => None,
        };
        // A policy on it is refused, or something is missing: all requests are denied.
        let open = refs.iter().all(|used| self.index.is_there(*used))
            && !refs.iter().any(|used| self.policies.closes(&self.index.key(*used)))
            && !self.policies.closes(key);
        let route = match (&org, self.running(&target_key)) {
            (Some(org), Some(Part::Target(target))) if open => Some(Route {
                org: Arc::clone(org),
                target: Arc::clone(target),
                upstream_policy: match self.running(&upstream) {
                    Some(Part::Upstream(credential)) => {
                        self.policy(&upstream, (credential.default_effect(), false))
                    }
                    // Whoever may call is told that the secret cannot be used; nothing is sent without it.
                    _ => self.policy(&upstream, (Effect::Allow, false)),
                },
                target_policy: self.policy(&target_key, (target.default_effect, false)),
                policy: self.policy(key, (proxy.default_effect, proxy.observe)),
                quota: (proxy.is_limited() || proxy.max_concurrent.is_some()).then(|| self.quotas.proxy(id)),
                retries: proxy.retry.clone().map(|policy| {
                    let budget = self.standings.budget(key.org, id);
                    Arc::new(Retries { policy, budget })
                }),
                shape: Shape::of(proxy),
                validator,
                upstream: match self.running(&upstream) {
                    Some(Part::Upstream(credential)) => Some(Arc::clone(credential)),
                    _ => None,
                },
                sealed_for: OnceLock::new(),
            }),
            _ => None,
        };
        let address = org.map(|org| address(&org, &proxy.name));
        let caller_headers = self.caller_headers(key, &proxy.caller_credentials);
        let password_rounds = self.password_rounds(key, &proxy.caller_credentials);
        let takes_certificates = self.takes_certificates(key, &proxy.caller_credentials);
        let own = caller_headers.iter().flat_map(|headers| headers.own.iter().cloned());
        let recording = CompiledRecording::of(proxy, own);
        let model = Known::Whole(Arc::clone(proxy));
        CompiledProxy {
            id,
            org_id: key.org,
            address,
            model,
            caller_headers,
            password_rounds,
            takes_certificates,
            route,
            recording,
        }
    }

    /// The headers that the callers of a proxy use.
    fn caller_headers(&self, key: &Key, callers: &[CredentialId]) -> Option<Box<CallerHeaders>> {
        if self.own_headers.is_empty() {
            return None;
        }
        // A certificate stands in none.
        let callers = callers.iter().filter(|caller| !self.certificates.contains(&(key.org, **caller)));
        CallerHeaders::of(callers.map(|caller| self.own_headers.get(&(key.org, *caller))))
    }

    /// Whether some of these callers are known by their client certificates.
    fn takes_certificates(&self, key: &Key, callers: &[CredentialId]) -> bool {
        !self.certificates.is_empty()
            && callers.iter().any(|caller| self.certificates.contains(&(key.org, *caller)))
    }

    /// How many hashes a wrong password costs at a proxy, whoever it is for.
    fn password_rounds(&self, key: &Key, callers: &[CredentialId]) -> u8 {
        if self.rounds.is_empty() {
            return 0;
        }
        callers.iter().filter_map(|caller| self.rounds.get(&(key.org, *caller))).max().copied().unwrap_or(0)
    }

    /// A refused proxy: it answers its callers that it is closed, as far as they can be read.
    fn closed(&self, id: ProxyId, key: &Key, wanted: &Offered, read: Option<Arc<Proxy>>) -> CompiledProxy {
        let (name, model) = match read {
            Some(proxy) => (Some(proxy.name.clone()), Known::Whole(proxy)),
            None => {
                let (name, callers) = judge::glimpse(wanted).unwrap_or_default();
                (name, Known::Callers(callers))
            }
        };
        let address = match (self.running(&Key::org(key.org)), name) {
            (Some(Part::Org(org)), Some(name)) => Some(address(org, &name)),
            _ => None,
        };
        let callers = match &model {
            Known::Whole(proxy) => &*proxy.caller_credentials,
            Known::Callers(callers) => &**callers,
        };
        let caller_headers = self.caller_headers(key, callers);
        let password_rounds = self.password_rounds(key, callers);
        let takes_certificates = self.takes_certificates(key, callers);
        let own = caller_headers.iter().flat_map(|headers| headers.own.iter().cloned());
        let recording = match &model {
            Known::Whole(proxy) => CompiledRecording::of(proxy, own),
            Known::Callers(_) => None,
        };
        CompiledProxy {
            id,
            org_id: key.org,
            address,
            model,
            caller_headers,
            password_rounds,
            takes_certificates,
            route: None,
            recording,
        }
    }
}

fn address(org: &Org, name: &Name) -> Box<str> {
    format!("{}.{name}", org.name).into()
}

/// A proxy, and why it must not run, if so.
type ReadProxy = (Arc<Proxy>, Option<Reason>);

fn parse_proxy(key: &Key, wanted: &Offered) -> Result<ReadProxy, Reason> {
    as_proxy(judge::parse(key, wanted)?)
}

fn as_proxy(read: Read) -> Result<ReadProxy, Reason> {
    match read.model {
        Model::Proxy(proxy) => Ok((Arc::new(proxy), read.lacks)),
        Model::Org(_)
        | Model::Target(_)
        | Model::Credential(_)
        | Model::Rule(_)
        | Model::Filter(_)
        | Model::Meter(_) => {
            let detail = "payload is not a proxy".to_owned();
            Err(Reason::new(Why::Invalid, detail))
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
