//! Kinds of caller credential that a hash identifies: each as it is meant to be presented, and each way to be wrong.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message as _;
use rr_contract::api_key::{self, KeyKind};
use rr_contract::model::id::OrgId;
use rr_contract::model::resource::Key;
use rr_contract::model::time;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::caller_credential::Kind;
use rr_contract::wire::fleet::credential_resource::Usage;

use crate::fixture::{self, Region, caller, caller_key, credential_key, org, proxy, resource, target};

use super::edge::Edge;
use super::origin::Upstream;
use super::{get, resources, with_key};

/// A token of the form that signed ones have.
const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl";

pub(super) fn message(n: u8, header: &str, kind: Kind) -> fleet::CredentialResource {
    let mut message = fixture::caller_message(n, 1, &[n]);
    let (kind, header) = (Some(kind), header.to_owned());
    message.usage = Some(Usage::Caller(fleet::CallerCredential { kind, header, previous_not_after: None }));
    message
}

fn of(n: u8, header: &str, kind: Kind) -> fleet::Resource {
    resource(credential_key(n), message(n, header, kind).encode_to_vec())
}

fn hashes(values: &[&str]) -> Vec<Vec<u8>> {
    values.iter().map(|value| api_key::hash_foreign(value.as_bytes()).as_bytes().to_vec()).collect()
}

pub(super) fn bearer(prefix: &str, values: &[&str]) -> Kind {
    Kind::Bearer(fleet::CallerBearer { hashes: hashes(values), prefix: prefix.to_owned() })
}

pub(super) fn jwt(token: &str) -> Kind {
    Kind::Jwt(fleet::CallerJwt { hashes: hashes(&[token]) })
}

pub(super) fn api_key(n: u8) -> Kind {
    Kind::ApiKey(fleet::CallerApiKey { hashes: key_hash(n) })
}

fn key_hash(n: u8) -> Vec<Vec<u8>> {
    vec![api_key::make(KeyKind::Caller, &[n; 32]).1.as_bytes().to_vec()]
}

/// Asks a proxy with these headers.
pub(super) struct Ask<'e> {
    edge: &'e Edge,
    upstream: &'e Upstream,
    unknown: String,
}

impl<'e> Ask<'e> {
    pub(super) async fn new(edge: &'e Edge, upstream: &'e Upstream) -> Self {
        let unknown = edge.send(&get("/api/acme.nobody/x", "")).await.without_id_and_date();
        Self { edge, upstream, unknown }
    }

    /// It is served as this caller's, and nothing of the value goes on.
    pub(super) async fn serves(&self, (path, headers): (&str, &str), caller: u8, value: &str) {
        let answer = self.edge.send(&get(path, headers)).await;
        assert_eq!(answer.status, 200, "{path} {headers}: {answer:?}");
        let record = self.edge.own_record().await;
        assert_eq!(record.caller_credential, credential_key(caller).id_text(), "{path} {headers}");
        let seen = self.upstream.last();
        assert!(!seen.text().contains(value), "{path} {headers}: {}", seen.text());
        assert!(!format!("{record:?}").contains(value), "{path} {headers}");
    }

    /// It is refused like everybody who is unknown, and the record says why.
    pub(super) async fn refuses(&self, (path, headers): (&str, &str), reason: &str) {
        let before = self.upstream.count();
        let answer = self.edge.send(&get(path, headers)).await.without_id_and_date();
        assert_eq!(answer, self.unknown, "{path} {headers}");
        let record = self.edge.own_record().await;
        assert_eq!((&*record.reason, &*record.caller_credential), (reason, ""), "{path} {headers}");
        assert_eq!(self.upstream.count(), before);
    }
}

#[tokio::test]
async fn each_kind_is_taken_as_its_credential_says_and_in_no_other_way() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    let mut expired = message(9, "", bearer("", &["expired-value"]));
    expired.not_after = Some(time::timestamp(UNIX_EPOCH));
    all.extend([
        of(3, "", bearer("", &["plain-value", "older-value"])),
        of(4, "", bearer("Token", &["worded-value"])),
        of(5, "", jwt(TOKEN)),
        of(6, "x-own", bearer("", &["own-value"])),
        of(7, "x-own", bearer("Key", &["own-worded"])),
        of(8, "x-other", api_key(8)),
        resource(credential_key(9), expired.encode_to_vec()),
        of(10, "", bearer("", &["elsewhere-value"])),
        of(11, "x-token", jwt("a.b.c")),
        of(12, "", Kind::Bearer(fleet::CallerBearer { hashes: key_hash(12), prefix: "Key".to_owned() })),
        proxy(1, &[1, 3, 4, 5, 6, 7, 8, 9, 11, 12], 1, 2),
    ]);
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let ask = Ask::new(&edge, &upstream).await;
    let (path, ours) = ("/api/acme.proxy-1/x", caller_key(8));
    let token = |before: &str| format!("{before}{TOKEN}\r\n");
    for (headers, caller, value) in [
        (&*with_key(1), 1, &*caller_key(1)),
        ("authorization: Bearer plain-value\r\n", 3, "plain-value"),
        ("authorization: bEARER   older-value\r\n", 3, "older-value"),
        ("authorization: Token worded-value\r\n", 4, "worded-value"),
        ("authorization: tOKEN worded-value\r\n", 4, "worded-value"),
        (&token("authorization: "), 5, TOKEN),
        (&token("authorization: Bearer "), 5, TOKEN),
        ("X-Own: own-value\r\n", 6, "own-value"),
        ("x-own: Bearer own-value\r\n", 6, "own-value"),
        ("x-own: Key own-worded\r\n", 7, "own-worded"),
        (&format!("x-other: {ours}\r\n"), 8, &ours),
        (&format!("x-other: Bearer {ours}\r\n"), 8, &ours),
        ("x-token: a.b.c\r\n", 11, "a.b.c"),
        (&with_key(12).replace("Bearer", "Key"), 12, &caller_key(12)),
    ] {
        ask.serves((path, headers), caller, value).await;
    }
    for (query, caller, value) in [
        ("?Authorization=Bearer+plain-value&a=1", 3, "plain-value"),
        ("?authorization=Token%20worded-value&a=1", 4, "worded-value"),
    ] {
        ask.serves((&format!("{path}{query}"), ""), caller, value).await;
        assert_eq!(upstream.last().target, "/x?a=1");
    }
    let bad = [
        ("", "missing"),
        ("x-third: own-value\r\n", "missing"),
        ("authorization: Bearer nobodys\r\n", "unknown"),
        ("authorization: Bearer PLAIN-VALUE\r\n", "unknown"),
        ("authorization: Bearer plain-value x\r\n", "unknown"),
        ("authorization: Bearerplain-value\r\n", "unknown"),
        ("authorization: \r\n", "unknown"),
        ("authorization: Bearer\r\n", "unknown"),
        ("x-own: nobodys\r\n", "unknown"),
        ("x-own:\r\n", "unknown"),
        ("authorization: Basic cGxhaW46dmFsdWU=\r\n", "unknown-user"),
        ("authorization: Bearer a.b.d\r\n", "unknown-token"),
        // Without its word, behind another, and in another header.
        ("authorization: plain-value\r\n", "misplaced"),
        ("authorization: Token plain-value\r\n", "misplaced"),
        ("authorization: worded-value\r\n", "misplaced"),
        ("authorization: Bearer worded-value\r\n", "misplaced"),
        (&token("authorization: Token "), "misplaced"),
        (&token("x-own: "), "misplaced"),
        ("authorization: own-value\r\n", "misplaced"),
        ("authorization: Bearer own-value\r\n", "misplaced"),
        ("x-other: own-value\r\n", "misplaced"),
        ("x-own: Token own-value\r\n", "misplaced"),
        ("x-own: own-worded\r\n", "misplaced"),
        ("x-own: Bearer own-worded\r\n", "misplaced"),
        ("x-own: plain-value\r\n", "misplaced"),
        (&format!("authorization: {ours}\r\n"), "misplaced"),
        (&with_key(1).replace("Bearer", "Token"), "misplaced"),
        (&with_key(12), "misplaced"),
        (&with_key(1).replace("authorization", "x-own"), "misplaced"),
        ("authorization: Bearer expired-value\r\n", "expired"),
        ("authorization: Bearer elsewhere-value\r\n", "not-admitted"),
        // Two claims, whichever of them is good.
        ("authorization: Bearer plain-value\r\nauthorization: Bearer plain-value\r\n", "ambiguous"),
        ("authorization: Bearer plain-value\r\nx-own: own-value\r\n", "ambiguous"),
        ("authorization: Bearer plain-value\r\nx-own: junk\r\n", "ambiguous"),
        ("authorization: junk\r\nx-own: own-value\r\n", "ambiguous"),
        ("x-own: own-value\r\nx-own: own-value\r\n", "ambiguous"),
        ("x-own: own-value\r\nx-own:\r\n", "ambiguous"),
        (&format!("x-own: own-value\r\nx-other: {ours}\r\n"), "ambiguous"),
    ];
    // Beyond ten of a reason, records of a proxy wait for its next minute.
    for some in bad.chunks(10) {
        let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
        let ask = Ask::new(&edge, &upstream).await;
        for (headers, reason) in some {
            ask.refuses((path, headers), reason).await;
        }
    }
    let query = format!("{path}?Authorization=Bearer+plain-value");
    ask.refuses((&query, "x-own: own-value\r\n"), "ambiguous").await;
    for second in ["Bearer+plain-value", "junk", ""] {
        ask.refuses((&format!("{query}&%41uthorization={second}"), ""), "ambiguous").await;
    }
    ask.refuses((&format!("{path}?Authorization=own-value"), ""), "misplaced").await;
    ask.refuses((&format!("{path}?x-own=own-value"), ""), "missing").await;
}

#[tokio::test]
async fn of_two_live_values_the_older_one_ends_by_itself() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    let later = SystemTime::now() + Duration::from_secs(3_600);
    let two_keys = Kind::ApiKey(fleet::CallerApiKey { hashes: [key_hash(4), key_hash(5)].concat() });
    let two_tokens = Kind::Jwt(fleet::CallerJwt { hashes: hashes(&["a.b.new", "a.b.old"]) });
    let kinds = [(3, bearer("", &["new-value", "old-value"])), (4, two_keys), (5, two_tokens)];
    let headers = |value: &str| format!("authorization: Bearer {value}\r\n");
    for (end, is_over) in [(later, false), (UNIX_EPOCH, true)] {
        for (n, kind) in &kinds {
            let mut message = message(*n, "", kind.clone());
            if let Some(Usage::Caller(caller)) = &mut message.usage {
                caller.previous_not_after = Some(time::timestamp(end));
            }
            all.push(resource(credential_key(*n), message.encode_to_vec()));
        }
        all.push(proxy(1, &[3, 4, 5], 1, 2));
        let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
        let ask = Ask::new(&edge, &upstream).await;
        let (new_key, old_key) = (caller_key(4), caller_key(5));
        for (n, new, old) in
            [(3, "new-value", "old-value"), (4, &*new_key, &*old_key), (5, "a.b.new", "a.b.old")]
        {
            ask.serves(("/api/acme.proxy-1/x", &headers(new)), n, new).await;
            if is_over {
                ask.refuses(("/api/acme.proxy-1/x", &headers(old)), "superseded").await;
            } else {
                ask.serves(("/api/acme.proxy-1/x", &headers(old)), n, old).await;
            }
        }
    }
}

#[tokio::test]
async fn a_header_that_no_caller_of_a_proxy_uses_is_no_claim_and_goes_on() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    all.extend([of(3, "x-own", bearer("", &["own-value"])), proxy(1, &[1], 1, 2), proxy(2, &[3], 1, 2)]);
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let ask = Ask::new(&edge, &upstream).await;
    // Of another proxy's callers: a header like any other.
    let headers = format!("{}x-own: anything\r\n", with_key(1));
    ask.serves(("/api/acme.proxy-1/x", &headers), 1, &caller_key(1)).await;
    assert_eq!(upstream.last().header("x-own"), Some("anything"));
    // Nobody presents anything in `Authorization` there, and it goes to no upstream in any case.
    let headers = format!("{}x-own: own-value\r\n", with_key(1));
    ask.serves(("/api/acme.proxy-2/x", &headers), 3, "own-value").await;
    assert_eq!(upstream.last().header("authorization"), None);
    assert!(!upstream.last().text().contains(&caller_key(1)));
    ask.refuses(("/api/acme.proxy-2/x", &with_key(1)), "not-admitted").await;
}

#[tokio::test]
async fn what_is_sent_under_the_name_of_the_upstreams_header_is_taken_out_and_replaced() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    all.extend([of(3, super::HEADER, bearer("", &["own-value"])), proxy(1, &[3], 1, 2)]);
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let ask = Ask::new(&edge, &upstream).await;
    ask.serves(("/api/acme.proxy-1/x", "x-api-key: own-value\r\n"), 3, "own-value").await;
    assert_eq!(upstream.last().all(super::HEADER), [super::SECRET]);
}

#[tokio::test]
async fn rules_see_no_header_that_carried_a_credential() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    let name = fleet::Pattern { regex: "^x-own$".to_owned(), ..fleet::Pattern::default() };
    let check = fleet::PairCheck { name: Some(name), ..fleet::PairCheck::default() };
    let when = fleet::RequestMatch { headers: vec![check], ..fleet::RequestMatch::default() };
    let denies = fleet::RuleResource {
        effect: fleet::Effect::Deny.into(),
        when: Some(when),
        ..fixture::rule_message(1, fixture::proxy_key(1))
    };
    all.extend([
        of(3, "x-own", bearer("", &["own-value"])),
        proxy(1, &[3], 1, 2),
        resource(fixture::rule_key(1), denies.encode_to_vec()),
    ]);
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let ask = Ask::new(&edge, &upstream).await;
    ask.serves(("/api/acme.proxy-1/x", "x-own: own-value\r\n"), 3, "own-value").await;
}

#[tokio::test]
async fn one_value_in_two_organizations_is_two_credentials() {
    const OTHER: OrgId = OrgId::from_random([0x33; 16]);
    let upstream = Upstream::echo().await;
    let region = Region::new();
    for theirs_first in [true, false] {
        let mut all = vec![
            org(false),
            target(1, &upstream.url("")),
            fixture::open_upstream(2),
            of(3, "", bearer("", &["shared-value"])),
            proxy(1, &[3], 1, 2),
        ];
        let payload = fleet::OrgResource { name: "other".to_owned(), suspended: false };
        let theirs = vec![
            resource(fixture::org_key(), payload.encode_to_vec()),
            target(11, &upstream.url("")),
            fixture::open_upstream(12),
            of(13, "", bearer("", &["shared-value"])),
            proxy(11, &[13], 11, 12),
        ];
        let theirs = theirs.into_iter().map(|mut resource| {
            let key = Key::try_from(resource.key.as_ref().expect("each has one")).expect("a key");
            resource.key = Some(Key::new(OTHER, key.id).to_wire());
            resource
        });
        let at = if theirs_first { 0 } else { all.len() };
        all.splice(at..at, theirs);
        let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
        let ask = Ask::new(&edge, &upstream).await;
        let headers = "authorization: Bearer shared-value\r\n";
        ask.serves(("/api/acme.proxy-1/x", headers), 3, "shared-value").await;
        ask.serves(("/api/other.proxy-11/x", headers), 13, "shared-value").await;
    }
}

#[tokio::test]
async fn a_proxy_follows_the_header_of_its_callers() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    all.extend([of(3, "", bearer("", &["own-value"])), proxy(1, &[1, 3], 1, 2)]);
    let mut inventory = region.inventory();
    let mut snapshot = crate::snapshot::Snapshot::default();
    snapshot.ready = true;
    let mut change = |resources: &[fleet::Resource], removed: &[Key]| {
        let changes = crate::sync::changes(&fixture::body(resources, removed));
        inventory.apply(fleet::Mode::Delta, changes, &mut snapshot);
        Edge::start(snapshot.clone(), &["127.0.0.0/8"])
    };
    let status =
        async |edge: &Edge, headers: &str| edge.send(&get("/api/acme.proxy-1/x", headers)).await.status;
    let edge = change(&all, &[]);
    assert_eq!(status(&edge, "authorization: Bearer own-value\r\n").await, 200);
    assert_eq!(status(&edge, "x-own: own-value\r\n").await, 401);
    let edge = change(&[of(3, "x-own", bearer("", &["own-value"]))], &[]);
    assert_eq!(status(&edge, "authorization: Bearer own-value\r\n").await, 401);
    assert_eq!(status(&edge, "x-own: own-value\r\n").await, 200);
    let edge = change(&[of(3, "x-new", bearer("", &["own-value"]))], &[]);
    assert_eq!(status(&edge, "x-own: own-value\r\n").await, 401);
    assert_eq!(status(&edge, "x-new: own-value\r\n").await, 200);
    // It is gone: what stands in its header is no claim any more.
    let edge = change(&[proxy(1, &[1], 1, 2)], &[credential_key(3)]);
    assert_eq!(status(&edge, &format!("{}x-new: own-value\r\n", with_key(1))).await, 200);
    let edge = change(&[caller(1, 2, &[1])], &[]);
    assert_eq!(status(&edge, &with_key(1)).await, 200);
}
