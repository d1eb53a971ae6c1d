//! The standard load `fleet-100k`: 30,000 proxies, 20,000 targets, 30,000 credentials, 18,000 rules and
//! 2,000 filters, 700 bytes on average, in 100 organizations. Every bench that says 100,000 resources uses it.
//!
//! The same seed gives the same bytes. Rules: 70 % methods and literal or prefix paths, 25 % a path pattern out
//! of 500, 5 % a pattern of their own over header, query or body. [`documents`] is the same mix as one organization
//! is given it.

use rr_contract::digest::resource_hash;
use rr_contract::model::id::{CredentialId, FilterId, OrgId, ProxyId, RegionId, RuleId, TargetId};
use rr_contract::model::resource::{Key, ResourceId};
use rr_contract::wire::fleet;

pub mod documents;

/// How many of each there are.
pub const PROXIES: usize = 30_000;
/// Targets.
pub const TARGETS: usize = 20_000;
/// Credentials: two callers' for each upstream's.
pub const CREDENTIALS: usize = 30_000;
/// Rules.
pub const RULES: usize = 18_000;
/// Filters.
pub const FILTERS: usize = 2_000;
/// Organizations, beside the hundred thousand.
pub const ORGS: usize = 100;
/// Distinct path patterns that a quarter of the rules share.
pub const SHARED_PATTERNS: usize = 500;

/// Chance, repeatable: SplitMix64.
pub struct Dice(u64);

impl Dice {
    /// Dice that fall alike for a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.roll() % end as u64) as usize
    }

    pub(crate) fn id(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.roll().to_be_bytes());
        bytes[8..].copy_from_slice(&self.roll().to_be_bytes());
        bytes
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.roll() as u8).collect()
    }

    pub(crate) fn words(&mut self, length: usize) -> String {
        const WORDS: [&str; 12] = [
            "billing", "reads", "only", "partner", "agents", "must", "never", "delete", "customer",
            "records", "without", "approval",
        ];
        let mut text = String::with_capacity(length + 10);
        while text.len() < length {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(WORDS[self.below(WORDS.len())]);
        }
        text
    }
}

/// The whole load, in the order of kinds: what is named comes before what names it.
pub fn generate(seed: u64, region: RegionId) -> Vec<fleet::Resource> {
    let mut maker = Maker { dice: Dice::new(seed), out: Vec::with_capacity(100_000 + ORGS), region };
    maker.all();
    maker.out
}

struct Maker {
    dice: Dice,
    out: Vec<fleet::Resource>,
    region: RegionId,
}

impl Maker {
    fn all(&mut self) {
        let orgs: Vec<OrgId> = (0..ORGS).map(|n| self.org(n)).collect();
        let mut targets: Vec<Vec<TargetId>> = vec![Vec::new(); ORGS];
        for n in 0..TARGETS {
            targets[n % ORGS].push(self.target(orgs[n % ORGS], n));
        }
        let (mut callers, mut upstreams) = (vec![Vec::new(); ORGS], vec![Vec::new(); ORGS]);
        for n in 0..CREDENTIALS {
            let org = n % ORGS;
            if (n / ORGS).is_multiple_of(3) {
                upstreams[org].push(self.upstream(orgs[org], n));
            } else {
                callers[org].push(self.caller(orgs[org], n));
            }
        }
        let mut proxies = Vec::with_capacity(PROXIES);
        for n in 0..PROXIES {
            let org = n % ORGS;
            proxies
                .push((orgs[org], self.proxy(orgs[org], n, &callers[org], &targets[org], &upstreams[org])));
        }
        for n in 0..RULES {
            let (org, proxy) = proxies[self.dice.below(PROXIES)];
            self.rule(org, proxy, n);
        }
        for n in 0..FILTERS {
            let (org, proxy) = proxies[self.dice.below(PROXIES)];
            self.filter(org, proxy, n);
        }
    }

    fn push(&mut self, key: Key, message: &impl prost::Message) {
        let payload = message.encode_to_vec();
        self.out.push(fleet::Resource {
            key: Some(key.to_wire()),
            revision: 1,
            hash: resource_hash(&payload).to_vec(),
            payload: payload.into(),
            needs: Vec::new(),
        });
    }

    fn org(&mut self, n: usize) -> OrgId {
        let id = OrgId::from_random(self.dice.id());
        self.push(Key::org(id), &fleet::OrgResource { name: format!("org-{n}"), suspended: false });
        id
    }

    fn target(&mut self, org: OrgId, n: usize) -> TargetId {
        let id = TargetId::from_random(self.dice.id());
        // Long base paths: real ones carry versions, tenants and product names.
        let path = self.dice.words(520).replace(' ', "/");
        let message = fleet::TargetResource {
            name: format!("target-{n}"),
            base_url: format!("https://api-{n}.upstream.example/{path}"),
            connect_timeout: None,
            response_timeout: None,
            default_effect: 0,
            ..fleet::TargetResource::default()
        };
        self.push(Key::new(org, ResourceId::Target(id)), &message);
        id
    }

    fn credential(
        &mut self,
        org: OrgId,
        name: String,
        usage: fleet::credential_resource::Usage,
    ) -> CredentialId {
        let id = CredentialId::from_random(self.dice.id());
        let message = fleet::CredentialResource {
            name,
            version: 1,
            not_after: None,
            usage: Some(usage),
            default_effect: 0,
        };
        self.push(Key::new(org, ResourceId::Credential(id)), &message);
        id
    }

    fn caller(&mut self, org: OrgId, n: usize) -> CredentialId {
        let key = fleet::CallerApiKey { hashes: vec![self.dice.bytes(32), self.dice.bytes(32)] };
        let caller = fleet::CallerCredential {
            kind: Some(fleet::caller_credential::Kind::ApiKey(key)),
            ..fleet::CallerCredential::default()
        };
        self.credential(org, format!("caller-{n}"), fleet::credential_resource::Usage::Caller(caller))
    }

    /// Of the right form; no key opens it. A bench that opens secrets seals its own.
    fn upstream(&mut self, org: OrgId, n: usize) -> CredentialId {
        let wrap = fleet::Wrap {
            region: self.region.to_string(),
            epoch: 1,
            encapsulated: self.dice.bytes(32),
            sealed_key: self.dice.bytes(48),
            suite: 1,
        };
        let sealed = fleet::SealedSecret {
            envelope: 1,
            suite: 1,
            nonce: self.dice.bytes(24),
            ciphertext: self.dice.bytes(900),
            key_commitment: self.dice.bytes(32),
            wraps: vec![wrap],
        };
        let upstream = fleet::UpstreamCredential {
            kind: Some(fleet::upstream_credential::Kind::Sealed(sealed)),
            ..fleet::UpstreamCredential::default()
        };
        self.credential(org, format!("upstream-{n}"), fleet::credential_resource::Usage::Upstream(upstream))
    }

    fn proxy(
        &mut self,
        org: OrgId,
        n: usize,
        callers: &[CredentialId],
        targets: &[TargetId],
        upstreams: &[CredentialId],
    ) -> ProxyId {
        let id = ProxyId::from_random(self.dice.id());
        // A run of neighbours, so that none is there twice.
        let first = self.dice.below(callers.len());
        let count = 20 + self.dice.below(20);
        let message = fleet::ProxyResource {
            name: format!("proxy-{n}"),
            active: true,
            caller_credentials: (0..count)
                .map(|i| callers[(first + i) % callers.len()].to_string())
                .collect(),
            target: targets[self.dice.below(targets.len())].to_string(),
            upstream_credential: upstreams[self.dice.below(upstreams.len())].to_string(),
            regions: vec![self.region.to_string()],
            ..fleet::ProxyResource::default()
        };
        self.push(Key::new(org, ResourceId::Proxy(id)), &message);
        id
    }

    fn rule(&mut self, org: OrgId, proxy: ProxyId, n: usize) {
        let parent = Some(Key::new(org, ResourceId::Proxy(proxy)).to_wire());
        let mut rule = fleet::RuleResource {
            parent,
            name: format!("rule-{n}"),
            effect: if n.is_multiple_of(3) { fleet::Effect::Deny } else { fleet::Effect::Allow }.into(),
            priority: (n % 1000) as u32,
            notes: self.dice.words(480),
            ..fleet::RuleResource::default()
        };
        rule.when = Some(when(&mut self.dice, n));
        let id = RuleId::from_random(self.dice.id());
        self.push(Key::new(org, ResourceId::Rule(id)), &rule);
    }

    fn filter(&mut self, org: OrgId, proxy: ProxyId, n: usize) {
        let id = FilterId::from_random(self.dice.id());
        let message = fleet::FilterResource {
            parent: Some(Key::new(org, ResourceId::Proxy(proxy)).to_wire()),
            name: format!("filter-{n}"),
            action: if n.is_multiple_of(2) {
                fleet::FilterAction::Retain
            } else {
                fleet::FilterAction::Destroy
            }
            .into(),
            paths: (0..30).map(|i| format!("data[*].customer.field_{n}_{i}")).collect(),
            ..fleet::FilterResource::default()
        };
        self.push(Key::new(org, ResourceId::Filter(id)), &message);
    }
}

/// What a rule matches: 70 % a literal prefix, 25 % one of the shared patterns, 5 % a pattern of its own.
pub(crate) fn when(dice: &mut Dice, n: usize) -> fleet::RequestMatch {
    let pattern = |regex: String| fleet::Pattern { regex, flags: String::new(), absent: false };
    let methods = vec!["GET".to_owned(), "POST".to_owned()];
    let mut when = fleet::RequestMatch { methods, ..fleet::RequestMatch::default() };
    match n % 20 {
        0..=13 => when.path = Some(pattern(format!("^/v{}/resource-{}/", n % 4, n % 700))),
        14..=18 => {
            let shared = dice.below(SHARED_PATTERNS);
            when.path = Some(pattern(format!("^/(users|orders)/[0-9]+/part-{shared}(/|$)")));
        }
        _ => {
            let value = Some(pattern(format!("(secret|token)-{n}[a-z0-9]{{4,}}")));
            match n % 3 {
                0 => when.headers.push(fleet::PairCheck {
                    name: Some(pattern("^x-tenant$".to_owned())),
                    value,
                    absent: false,
                }),
                1 => when.query.push(fleet::PairCheck {
                    name: Some(pattern("^filter$".to_owned())),
                    value,
                    absent: false,
                }),
                _ => when.body.push(fleet::BodyCheck {
                    path: "messages[*].content".to_owned(),
                    value,
                    absent: false,
                }),
            }
        }
    }
    when
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_hundred_thousand_resources_of_700_bytes_on_average_and_repeats() {
        let region = RegionId::from_random([1; 16]);
        let made = generate(1, region);
        assert_eq!(made.len(), 100_000 + ORGS);
        let bytes: usize = made.iter().map(|resource| resource.payload.len()).sum();
        let average = bytes / made.len();
        assert!((665..=735).contains(&average), "{average} bytes on average");
        assert!(made == generate(1, region));
    }

    #[test]
    fn all_of_it_parses() {
        let made = generate(2, RegionId::from_random([1; 16]));
        for resource in made.iter().step_by(97) {
            let key = Key::try_from(resource.key.as_ref().expect("a key")).expect("a key of ours");
            rr_contract::model::resource::Model::parse(&key, &resource.payload).expect("parses");
        }
    }
}
