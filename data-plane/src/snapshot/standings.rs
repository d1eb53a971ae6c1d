//! The standings of a process by what they are about, whatever version of the configuration names them; with the issuers
//! whose keys it knows, the sources of tokens for upstreams, and the secrets that came back.
//!
//! Used where configuration is compiled, by the health checker, and for metrics; a request holds what it needs. The
//! invariant: as long as any version in use names a base URL of a target, a target, or a proxy, the same has the same
//! state; nothing is kept of what none names.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rr_contract::model::id::{OrgId, ProxyId, TargetId};
use rr_contract::model::resilience::{Balance, CircuitBreaker, OutlierEjection};
use tokio::time::Instant;

use crate::access_token::TokenSources;
use crate::echo::Echoes;
use crate::jwt::Issuers;
use crate::standing::{Budget, Circuit, Endpoint, Standing, Tally, millis};

use super::CompiledTarget;

/// Below this many, nobody looks for those that are gone.
const FEW: usize = 64;

/// The standings of a process. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Standings(Arc<Shared>);

#[derive(Default)]
struct Shared {
    named: Mutex<Named>,
    tally: Arc<Tally>,
    issuers: Issuers,
    tokens: TokenSources,
    echoes: Echoes,
}

type Target = (OrgId, TargetId);

#[derive(Default)]
struct Named {
    endpoints: Held<(Target, Arc<str>), Endpoint>,
    circuits: Held<Target, Circuit>,
    budgets: Held<(OrgId, ProxyId), Budget>,
    checked: Held<Target, CompiledTarget>,
}

/// What is there as long as something else holds it.
struct Held<K, T> {
    by_name: HashMap<K, Weak<T>>,
    /// How many there may be before those that are gone are looked for.
    room: usize,
}

impl<K, T> Default for Held<K, T> {
    fn default() -> Self {
        Self { by_name: HashMap::new(), room: FEW }
    }
}

impl<K: Eq + Hash, T> Held<K, T> {
    fn get(&mut self, name: K, make: impl FnOnce() -> T) -> Arc<T> {
        if let Some(held) = self.by_name.get(&name).and_then(Weak::upgrade) {
            return held;
        }
        let made = Arc::new(make());
        self.put(name, &made);
        made
    }

    fn put(&mut self, name: K, one: &Arc<T>) {
        if self.by_name.len() >= self.room {
            self.by_name.retain(|_, held| held.strong_count() > 0);
            self.room = (2 * self.by_name.len()).max(FEW);
        }
        self.by_name.insert(name, Arc::downgrade(one));
    }

    fn all(&self) -> impl Iterator<Item = Arc<T>> {
        self.by_name.values().filter_map(Weak::upgrade)
    }
}

/// For metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// Base URLs that get requests.
    pub(crate) available: u64,
    pub(crate) ejected: u64,
    pub(crate) unhealthy: u64,
    pub(crate) circuits_open: u64,
    /// Since the start, as the following.
    pub(crate) ejections: u64,
    pub(crate) openings: u64,
    pub(crate) retries: u64,
    pub(crate) unaffordable: u64,
    pub(crate) checks_passed: u64,
    pub(crate) checks_failed: u64,
}

impl Standings {
    /// The issuers whose keys are known.
    pub(crate) fn issuers(&self) -> &Issuers {
        &self.0.issuers
    }

    /// The sources of tokens for upstreams.
    pub(crate) fn tokens(&self) -> &TokenSources {
        &self.0.tokens
    }

    /// The secrets that upstreams sent back.
    pub(crate) fn echoes(&self) -> &Echoes {
        &self.0.echoes
    }

    /// The target with what is known of how it stands. From now on its base URLs are asked whether they work, if it
    /// wants that, until nothing holds it any longer.
    pub(crate) fn stand(
        &self,
        mut target: CompiledTarget,
        balance: Balance,
        ejection: Option<OutlierEjection>,
        breaker: Option<CircuitBreaker>,
    ) -> Arc<CompiledTarget> {
        let id = (target.org, target.id);
        let names: Vec<Arc<str>> =
            target.endpoints().map(|endpoint| endpoint.authority.as_str().into()).collect();
        let (is_checked, now) = (target.health_check.is_some(), millis(Instant::now()));
        let is_plain = names.len() == 1 && ejection.is_none() && breaker.is_none() && !is_checked;
        let mut named = self.named();
        if is_plain {
            named.checked.by_name.remove(&id);
            return Arc::new(target);
        }
        let endpoint = |name: &Arc<str>| {
            let make = || Endpoint::new(target.id, Arc::clone(name));
            let endpoint = named.endpoints.get((id, Arc::clone(name)), make);
            endpoint.forget(ejection.is_none(), !is_checked);
            if let Some(ejection) = ejection {
                endpoint.is_ejected_for(ejection.ejection_time, now);
            }
            endpoint
        };
        let endpoints = names.iter().map(endpoint).collect();
        let circuit = breaker.map(|breaker| {
            let circuit = named.circuits.get(id, || Circuit::new(target.id));
            circuit.opens_for(breaker.open_for, now);
            (breaker, circuit)
        });
        let standing = Standing::new(endpoints, balance, ejection, circuit, Arc::clone(&self.0.tally));
        target.standing = Some(Box::new(standing));
        let target = Arc::new(target);
        if is_checked {
            named.checked.put(id, &target);
        } else {
            named.checked.by_name.remove(&id);
        }
        target
    }

    /// The retries of a proxy.
    pub(crate) fn budget(&self, org: OrgId, proxy: ProxyId) -> Arc<Budget> {
        let tally = Arc::clone(&self.0.tally);
        self.named().budgets.get((org, proxy), || Budget::new(tally))
    }

    /// The targets whose base URLs are to be asked.
    pub(crate) fn watched(&self) -> Vec<Arc<CompiledTarget>> {
        self.named().checked.all().collect()
    }

    /// For metrics.
    pub(crate) fn numbers(&self) -> Numbers {
        let now = millis(Instant::now());
        let mut numbers = Numbers::default();
        let named = self.named();
        for endpoint in named.endpoints.all() {
            if endpoint.is_unhealthy() {
                numbers.unhealthy += 1;
            } else if endpoint.is_ejected(now) {
                numbers.ejected += 1;
            } else {
                numbers.available += 1;
            }
        }
        numbers.circuits_open = named.circuits.all().filter(|circuit| circuit.is_open()).count() as u64;
        let Tally { ejections, openings, retries, unaffordable, checks_passed, checks_failed } =
            &*self.0.tally;
        Numbers {
            ejections: ejections.load(Ordering::Relaxed),
            openings: openings.load(Ordering::Relaxed),
            retries: retries.load(Ordering::Relaxed),
            unaffordable: unaffordable.load(Ordering::Relaxed),
            checks_passed: checks_passed.load(Ordering::Relaxed),
            checks_failed: checks_failed.load(Ordering::Relaxed),
            ..numbers
        }
    }

    pub(crate) fn tally(&self) -> &Arc<Tally> {
        &self.0.tally
    }

    fn named(&self) -> MutexGuard<'_, Named> {
        self.0.named.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
