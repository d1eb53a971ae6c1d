//! The compiled configuration that decides requests: immutable and complete.
//!
//! Built by `sync` off the traffic workers; parses nothing and opens no file. The invariant: whatever a
//! proxy needs hangs on it, so that a request makes two look-ups, one by proxy and one by key.

mod caller;
mod cors;
mod own_certificate;
mod policy;
pub(crate) mod prepared;
pub(crate) mod proxy;
mod query_edits;
mod recording;
mod shape;
pub(crate) mod shards;
mod standings;
pub(crate) mod upstream;
mod user;
mod validations;

use std::sync::Arc;

use rr_contract::api_key::{KeyHash, hash_foreign};
use rr_contract::model::id::{CredentialId, OrgId, ProxyId};
use rr_contract::model::proxy::CALLERS_MAX;

use self::caller::CallerKey;
use self::shards::Shards;
use self::user::{Spelled, UserKey};

pub(crate) use self::caller::{CallerHeaders, CompiledCaller, LastMinute, Place};
pub(crate) use self::cors::{CompiledCors, list};
pub(crate) use self::own_certificate::{OwnCertificate, OwnCertificateId};
pub(crate) use self::policy::{Policy, PolicyParts, RunningMeter};
pub(crate) use self::proxy::{CompiledProxy, CompiledTarget, Known, PoolKey, Retries, Route};
pub(crate) use self::recording::CompiledRecording;
pub(crate) use self::shape::{SentHost, Shape};
pub(crate) use self::standings::Standings;
pub(crate) use self::upstream::{InUse, Injection, Opening, UpstreamCredential, Vault};
pub(crate) use self::user::CompiledUser;
pub(crate) use self::validations::Validations;

/// One version of the configuration. A clone shares nearly all of it.
#[derive(Clone, Default)]
pub(crate) struct Snapshot {
    /// The revision that made it; for records.
    pub(crate) revision: u64,
    /// Whether there ever was a configuration.
    pub(crate) ready: bool,
    by_id: Shards<ProxyId, Arc<CompiledProxy>>,
    by_name: Shards<Box<str>, Arc<CompiledProxy>>,
    callers: Shards<CallerKey, CompiledCaller>,
    /// Of one name, in the order of their ids.
    users: Shards<UserKey, Box<[Arc<CompiledUser>]>>,
    /// Credentials that take tokens.
    token_callers: Shards<(OrgId, CredentialId), CompiledCaller>,
    /// The same by organization and the hash of whose tokens they take.
    by_issuer: Shards<CallerKey, Arc<[CredentialId]>>,
    /// How many there are.
    tokens: usize,
    /// How many proxies want client certificates, or know callers by them.
    asking_proxies: usize,
    /// How many caller credentials have the name in a client certificate.
    names: usize,
}

impl Snapshot {
    /// Finds a proxy by what stands in a path: its id, or `org.name`.
    pub(crate) fn proxy(&self, address: &str) -> Option<&CompiledProxy> {
        // No name holds an underscore, so one text cannot mean both.
        if address.starts_with(ProxyId::PREFIX) {
            return self.by_id.get(&address.parse::<ProxyId>().ok()?).map(|proxy| &**proxy);
        }
        self.by_name.get(address).map(|proxy| &**proxy)
    }

    /// Finds a proxy that was found before.
    pub(crate) fn proxy_by_id(&self, id: &ProxyId) -> Option<&Arc<CompiledProxy>> {
        self.by_id.get(id)
    }

    /// Addresses of all proxies that have one.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &str> {
        self.by_name.iter().map(|(address, _)| &**address)
    }

    /// Finds the owner of a key, or of a value that others may have as well, in an organization.
    pub(crate) fn caller(&self, org: OrgId, hash: &KeyHash) -> Option<&CompiledCaller> {
        self.callers.get(&CallerKey::new(org, *hash))
    }

    /// Whether any credential takes tokens.
    pub(crate) fn takes_tokens(&self) -> bool {
        self.tokens > 0
    }

    /// Finds a credential that takes tokens.
    pub(crate) fn token_caller(&self, org: OrgId, credential: CredentialId) -> Option<&CompiledCaller> {
        self.token_callers.get(&(org, credential))
    }

    /// Finds the credentials that a proxy takes an issuer's tokens for, in the proxy's order: it is the same on each node.
    pub(crate) fn takers<'a>(
        &'a self,
        proxy: &'a CompiledProxy,
        issuer: &'a str,
    ) -> impl Iterator<Item = CredentialId> + 'a {
        let listed = self.by_issuer.get(&CallerKey::new(proxy.org_id, hash_foreign(issuer.as_bytes())));
        let listed = listed.map_or(&[][..], |listed| &listed[..]);
        // However many take the tokens of one issuer, those of the proxy are few.
        let are_few = listed.len() <= CALLERS_MAX;
        let takes = move |id: &CredentialId| {
            if are_few {
                return listed.contains(id);
            }
            let caller = self.token_caller(proxy.org_id, *id);
            let checks = caller.and_then(|caller| caller.checks.as_ref());
            checks.is_some_and(|checks| checks.issuer() == issuer)
        };
        proxy.callers().iter().copied().filter(takes)
    }

    /// Takes in a credential that takes tokens.
    pub(crate) fn put_token_caller(&mut self, caller: CompiledCaller) {
        self.remove_token_caller(caller.org, caller.credential);
        let Some(checks) = &caller.checks else { return };
        let key = CallerKey::new(caller.org, hash_foreign(checks.issuer().as_bytes()));
        let listed = self.by_issuer.get(&key).into_iter().flat_map(|listed| listed.iter().copied());
        let listed = listed.chain([caller.credential]).collect();
        self.by_issuer.insert(key, listed);
        self.token_callers.insert((caller.org, caller.credential), caller);
        self.tokens += 1;
    }

    /// Takes one out.
    pub(crate) fn remove_token_caller(&mut self, org: OrgId, credential: CredentialId) {
        let caller = self.token_callers.get(&(org, credential));
        let Some(checks) = caller.and_then(|caller| caller.checks.as_ref()) else { return };
        let key = CallerKey::new(org, hash_foreign(checks.issuer().as_bytes()));
        let listed = self.by_issuer.get(&key).into_iter().flat_map(|listed| listed.iter().copied());
        let listed: Arc<[CredentialId]> = listed.filter(|listed| *listed != credential).collect();
        if listed.is_empty() {
            self.by_issuer.remove(&key)
        } else {
            self.by_issuer.insert(key, listed)
        }
        self.token_callers.remove(&(org, credential));
        self.tokens -= 1;
    }

    /// Takes a proxy in, or puts a newer form in its place.
    pub(crate) fn put_proxy(&mut self, proxy: Arc<CompiledProxy>) {
        self.remove_proxy(&proxy.id);
        // One that is closed does not take the name of one that runs on under it, until that one has let go.
        let takes = |named: &Arc<CompiledProxy>| named.route.is_none() || proxy.route.is_some();
        if let Some(address) = &proxy.address
            && self.by_name.get(&**address).is_none_or(takes)
        {
            self.by_name.insert(address.clone(), Arc::clone(&proxy));
        }
        self.asking_proxies += usize::from(proxy.asks());
        self.by_id.insert(proxy.id, proxy);
    }

    /// Takes a proxy out.
    pub(crate) fn remove_proxy(&mut self, id: &ProxyId) {
        let Some(proxy) = self.by_id.get(id) else { return };
        self.asking_proxies -= usize::from(proxy.asks());
        let address = proxy.address.clone();
        // Another proxy may have been given the name since.
        if let Some(address) = address
            && self.by_name.get(&*address).is_some_and(|named| named.id == *id)
        {
            self.by_name.remove(&*address);
        }
        self.by_id.remove(id);
    }

    /// Whether callers are asked for client certificates: some proxy wants them, or knows callers by them.
    pub(crate) fn asks_for_certificates(&self) -> bool {
        self.asking_proxies > 0
    }

    /// How many proxies want client certificates, or know callers by them.
    pub(crate) fn asking_proxies(&self) -> usize {
        self.asking_proxies
    }

    /// Accepts a key.
    pub(crate) fn put_caller(&mut self, hash: KeyHash, caller: CompiledCaller) {
        let key = CallerKey::new(caller.org, hash);
        let had = self.callers.get(&key).is_some_and(|held| held.trust.is_some());
        self.names += usize::from(caller.trust.is_some());
        self.names -= usize::from(had);
        self.callers.insert(key, caller);
    }

    /// Whether any caller credential has the name in a client certificate.
    pub(crate) fn takes_names(&self) -> bool {
        self.names > 0
    }

    /// Stops accepting a key, if it still belongs to this credential.
    pub(crate) fn remove_caller(&mut self, hash: KeyHash, caller: &CompiledCaller) {
        let key = CallerKey::new(caller.org, hash);
        let held = self.callers.get(&key).filter(|held| held.credential == caller.credential);
        if let Some(held) = held {
            self.names -= usize::from(held.trust.is_some());
            self.callers.remove(&key);
        }
    }

    /// The credentials of an organization that have this user.
    pub(crate) fn users(&self, org: OrgId, name: &[u8]) -> &[Arc<CompiledUser>] {
        let spelled = Spelled::new(org, name);
        spelled.and_then(|spelled| self.users.get(spelled.as_key())).map_or(&[], |users| users)
    }

    /// Accepts a user, or puts a newer form of the same credential in its place.
    pub(crate) fn put_user(&mut self, name: &str, user: Arc<CompiledUser>) {
        let Some((org, id)) = user.any().map(|caller| (caller.org, caller.credential)) else { return };
        let Some(spelled) = Spelled::new(org, name.as_bytes()) else { return };
        let mut users: Vec<_> = self.users(org, name.as_bytes()).to_vec();
        users.retain(|held| !held.is_of(id));
        users.push(user);
        users.sort_by_key(|user| user.any().map(|caller| caller.credential));
        self.users.insert(spelled.as_key().into(), users.into());
    }

    /// Stops accepting a user of a credential.
    pub(crate) fn remove_user(&mut self, org: OrgId, name: &str, credential: CredentialId) {
        let Some(spelled) = Spelled::new(org, name.as_bytes()) else { return };
        let mut users = self.users(org, name.as_bytes()).to_vec();
        users.retain(|held| !held.is_of(credential));
        if users.is_empty() {
            self.users.remove(spelled.as_key());
        } else {
            self.users.insert(spelled.as_key().into(), users.into());
        }
    }

    /// Everything that decides requests, as sorted text.
    pub(crate) fn dump(&self) -> String {
        let line = |proxy: &CompiledProxy| {
            let route = proxy.route.as_ref().map(|route| {
                let target = &route.target;
                let timeouts = (
                    target.connect_timeout,
                    target.response_timeout,
                    target.idle_timeout,
                    target.total_timeout,
                );
                let further: Vec<String> =
                    target.endpoints().skip(1).map(|endpoint| endpoint.base.to_string()).collect();
                let policies = [&route.upstream_policy, &route.target_policy, &route.policy];
                let policies = policies.map(|policy| policy.describe());
                format!(
                    "{} suspended {} to {} {} {further:?} {timeouts:?} with upstream {} under {policies:?}",
                    route.org.name,
                    route.org.suspended,
                    target.id,
                    target.base,
                    route.upstream.is_some()
                )
            });
            let (callers, upstream, shape) = match &proxy.model {
                Known::Whole(model) => {
                    let shape = Some((&model.rewrite, &model.cors, model.forwarded));
                    (&*model.caller_credentials, proxy.upstream_credential(), shape)
                }
                Known::Callers(callers) => (&**callers, None, None),
            };
            format!(
                "{} {:?} {} {callers:?} in {:?} rounds {} shown {} {upstream:?} {shape:?} {route:?}",
                proxy.id,
                proxy.address,
                proxy.is_active(),
                proxy.caller_headers,
                proxy.password_rounds,
                proxy.takes_certificates,
            )
        };
        let mut lines: Vec<String> =
            self.by_id.iter().map(|(id, proxy)| format!("{id}: {}", line(proxy))).collect();
        lines.extend(self.by_name.iter().map(|(name, proxy)| format!("{name}: {}", line(proxy))));
        lines.extend(self.callers.iter().map(|(key, caller)| format!("{:?}: {caller:?}", key.bytes())));
        let users = self.users.iter().flat_map(|(name, users)| users.iter().map(move |user| (name, user)));
        lines.extend(users.map(|(name, user)| format!("{name:?}: {user:?}")));
        lines.extend(self.token_callers.iter().map(|(_, caller)| format!("token: {caller:?}")));
        let issuer = |key: &CallerKey, listed: &[CredentialId]| {
            let mut listed = listed.to_vec();
            listed.sort();
            format!("issuer: {:?} {listed:?}", key.bytes())
        };
        lines.extend(self.by_issuer.iter().map(|(key, listed)| issuer(key, listed)));
        lines.sort();
        lines.join("\n")
    }
}
