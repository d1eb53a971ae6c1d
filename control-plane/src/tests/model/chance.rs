//! What is called next: names, etags and resources, by the dice.

use pbjson_types::Duration;
use rr_contract::wire::fleet::{
    Balance, CircuitBreaker, Cors, EchoGuard, Effect, ForwardedHeaders, HealthCheck, Limits, OutlierEjection,
    Pair, PairEdits, Recording, RetryPolicy, Rewrite,
};
use rr_contract::wire::management::credential::Usage;
use rr_contract::wire::management::rule::Parent;
use rr_contract::wire::management::{self as wire, Document, document};

use super::Run;
use crate::document::Resource as _;
use crate::noun::Noun;

/// Names that sort otherwise by letters than by bytes.
const NAMES: [&str; 4] = ["a", "a-b", "ab", "b"];

/// A further base URL of a target without a path.
const MORE: &str = "https://m.example.com";
const SECOND: Duration = Duration { seconds: 1, nanos: 0 };

/// Chance, by a seed.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.next() % most as u64).expect("is small")
    }

    pub(super) fn of<T: Clone>(&mut self, some: &[T]) -> T {
        some[self.below(some.len())].clone()
    }

    /// In so many of a hundred.
    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

impl Run {
    /// By name or id: of something there more often than not, of something gone, of
    /// something of another organization, or a name of the pool.
    pub(super) fn reference(&mut self, noun: Noun) -> String {
        let there: Vec<(String, String)> = self
            .model
            .entries
            .iter()
            .filter(|((of, _), _)| *of == noun)
            .map(|((_, name), entry)| (name.clone(), entry.id.clone()))
            .collect();
        if self.dice.chance(75) && !there.is_empty() {
            let (name, id) = self.dice.of(&there);
            return if self.dice.chance(50) { name } else { id };
        }
        let theirs: Vec<String> =
            self.theirs.iter().filter(|id| id.starts_with(noun.prefix())).cloned().collect();
        if self.dice.chance(30) && !theirs.is_empty() {
            return self.dice.of(&theirs);
        }
        let gone: Vec<String> =
            self.gone.iter().filter(|id| id.starts_with(noun.prefix())).cloned().collect();
        if self.dice.chance(30) && !gone.is_empty() {
            return self.dice.of(&gone);
        }
        self.dice.of(&NAMES).to_owned()
    }

    /// None, the right one or a wrong one; and whether it is wrong.
    pub(super) fn etag(&mut self, current: Option<String>) -> (String, bool) {
        match (self.dice.below(10), current) {
            (0..5, _) => (String::new(), false),
            (5..8, Some(current)) => (current, false),
            _ => ("0123456789abcdef01234567".to_owned(), true),
        }
    }

    /// A resource with a name of the pool, good more often than not.
    pub(super) fn document(&mut self, noun: Noun) -> Document {
        let name = self.dice.of(&NAMES).to_owned();
        let owner = self.dice.of(&["", "", "", "", "git", "git", "ci:main", "ci:main", "Git"]).to_owned();
        let default_effect = self.dice.of(&[0, 0, Effect::Allow.into(), Effect::Deny.into()]);
        match noun {
            Noun::Target => wire::Target {
                name,
                base_url: self.url(),
                danger_plaintext: self.dice.chance(40),
                test_path: self.dice.of(&["", "", "", "/ping", "/ping", "ping"]).to_owned(),
                default_effect,
                owner,
                more_base_urls: self.dice.of(&[vec![], vec![], vec![], vec![MORE.to_owned()]]),
                balance: self.dice.of(&[0, 0, Balance::LeastRequests.into()]),
                idle_timeout: self.now_and_then(SECOND),
                total_timeout: self.now_and_then(SECOND),
                outlier_ejection: self.now_and_then(OutlierEjection::default()),
                circuit_breaker: self.now_and_then(CircuitBreaker::default()),
                health_check: self.now_and_then(HealthCheck::default()),
                min_tls: self.dice.of(&["", "", "", "1.3"]).to_owned(),
                http_version: self.dice.of(&["", "", "1.1", "2"]).to_owned(),
                trace_context: self.dice.chance(20),
                ..Default::default()
            }
            .wrap(),
            Noun::Credential => {
                let usage = if self.dice.chance(50) {
                    let kind = wire::CallerKind::ApiKey.into();
                    let header = self.dice.of(&["", "x-key"]).to_owned();
                    Usage::Caller(wire::Caller { kind, header, ..Default::default() })
                } else {
                    let kind = wire::UpstreamKind::None.into();
                    Usage::Upstream(wire::Upstream { kind, ..Default::default() })
                };
                let tags: &[&str] = self.dice.of(&[&[][..], &["gold"], &["gold", "a.b-c"]]);
                let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
                let team = self.dice.of(&["", "payments"]).to_owned();
                let metadata = Some(("team".to_owned(), team)).filter(|(_, team)| !team.is_empty());
                let metadata = metadata.into_iter().collect();
                let usage = Some(usage);
                wire::Credential { name, usage, default_effect, owner, tags, metadata, ..Default::default() }
                    .wrap()
            }
            Noun::Proxy => {
                let callers = 1 + self.dice.below(2);
                wire::Proxy {
                    name,
                    active: self.dice.of(&[None, Some(true), Some(false)]),
                    caller_credentials: (0..callers).map(|_| self.credential(true)).collect(),
                    target: self.reference(Noun::Target),
                    upstream_credential: self.credential(false),
                    regions: if self.dice.chance(95) { vec!["eu".to_owned()] } else { Vec::new() },
                    default_effect,
                    deny_status: self.dice.of(&[0, 0, 0, 400, 403, 403, 404]),
                    limits: self.limits(),
                    observe: self.dice.chance(30),
                    max_request_bytes: self.dice.of(&[0, 0, 1, 8 << 20]),
                    max_response_bytes: self.dice.of(&[0, 0, 1, u64::MAX]),
                    limits_per_caller: self.limits(),
                    limits_per_address: self.limits(),
                    retry: self.now_and_then(RetryPolicy { attempts: 1, ..Default::default() }),
                    max_concurrent_requests_per_node: self.dice.of(&[0, 0, 9]),
                    websocket: self.dice.chance(80),
                    tunnels_unread: self.dice.chance(30),
                    client_certificates: self.dice.chance(30),
                    test_after_change: self.dice.chance(30),
                    rewrite: self.rewrite(),
                    cors: self.cors(),
                    forwarded: self.dice.of(&[0, 0, ForwardedHeaders::XForwarded.into()]),
                    echo_guard: self.dice.of(&[0, 0, 1, EchoGuard::Refuse.into(), EchoGuard::Off.into()]),
                    recording: self.recording(),
                    owner,
                    ..Default::default()
                }
                .wrap()
            }
            _ => {
                let parent = match self.dice.of(&[Noun::Target, Noun::Credential, Noun::Proxy]) {
                    Noun::Target => Parent::Target(self.reference(Noun::Target)),
                    Noun::Credential => Parent::Credential(self.reference(Noun::Credential)),
                    _ => Parent::Proxy(self.reference(Noun::Proxy)),
                };
                wire::Rule {
                    name,
                    parent: self.dice.chance(97).then_some(parent),
                    effect: self.dice.of(&[0, 1, 1, 1, 2, 2, 2]),
                    priority: self.dice.of(&[0, 0, 7, 7, 1000, 1001]),
                    notes: self.dice.of(&["", "why"]).to_owned(),
                    observe: self.dice.chance(30),
                    owner,
                    ..Default::default()
                }
                .wrap()
            }
        }
    }

    /// A value, or none.
    fn now_and_then<T>(&mut self, value: T) -> Option<T> {
        self.dice.chance(30).then_some(value)
    }

    fn rewrite(&mut self) -> Option<Rewrite> {
        let pair = Pair { name: "x-a".to_owned(), value: "b".to_owned() };
        let edits = PairEdits { set: vec![pair], ..Default::default() };
        let rewrite = Rewrite {
            strip_prefix: self.dice.of(&["", "/v1"]).to_owned(),
            request_headers: Some(edits),
            via: self.dice.chance(50),
            ..Default::default()
        };
        self.now_and_then(rewrite)
    }

    fn cors(&mut self) -> Option<Cors> {
        let origin = self.dice.of(&["*", "https://*.example.com"]).to_owned();
        self.now_and_then(Cors { origins: vec![origin], max_age: Some(SECOND), ..Default::default() })
    }

    fn recording(&mut self) -> Option<Recording> {
        let sample_per_thousand = self.dice.of(&[None, Some(0), Some(1000)]);
        let templates: &[&str] = self.dice.of(&[&[], &["/users/{id}"], &["/users/{id}", "/files/{rest...}"]]);
        let path_templates = templates.iter().map(|it| (*it).to_owned()).collect();
        self.now_and_then(Recording { path_templates, sample_per_thousand, ..Default::default() })
    }

    fn limits(&mut self) -> Option<Limits> {
        self.dice.of(&[None, Some(Limits { per_day_per_node: 9, ..Default::default() })])
    }

    fn url(&mut self) -> String {
        let urls = ["https://a.example.com", "https://b.example.com/v1", "http://c.example.com", "ftp://d"];
        let urls = if self.dice.chance(60) { &urls[..2] } else { &urls[..] };
        self.dice.of(urls).to_owned()
    }

    /// Of the wanted use where there is one, and now and then any.
    fn credential(&mut self, caller: bool) -> String {
        let fitting = |document: &Document| match &document.resource {
            Some(document::Resource::Credential(it)) => matches!(it.usage, Some(Usage::Caller(_))) == caller,
            _ => false,
        };
        let good: Vec<String> = self
            .model
            .entries
            .iter()
            .filter(|(_, entry)| fitting(&entry.document))
            .map(|((_, name), _)| name.clone())
            .collect();
        if good.is_empty() || self.dice.chance(10) {
            return self.reference(Noun::Credential);
        }
        self.dice.of(&good)
    }
}
