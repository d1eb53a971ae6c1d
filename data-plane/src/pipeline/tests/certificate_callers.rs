//! Callers that are known by their client certificates: who is served, and each way to be wrong with its reason.

use std::sync::Arc;

use prost::Message as _;
use rcgen::{ExtendedKeyUsagePurpose, SanType, date_time_ymd};
use rr_contract::api_key::{KeyHash, hash_client_key, hash_client_name, hash_foreign};
use rr_contract::model::resource::Key;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::caller_credential::Kind;
use rustls::{ALL_VERSIONS, ClientConfig, version};

use crate::client_certificate::tests::{Authority, Issued, NAME};
use crate::fixture::{self, Region, credential_key, proxy_key};
use crate::seats::Bounds;
use crate::snapshot::Snapshot;

use super::client_certificates::{Asking, EDGE, Identity, ask_with, client};
use super::edge::{Answer, Edge};
use super::origin::Upstream;
use super::signed_tokens::{now, of};
use super::{resources, with_key};

pub(super) const ALLOWED: &[&str] = &["127.0.0.0/8"];
pub(super) const PATH: &str = "/api/acme.proxy-1/x";

/// A credential for these keys.
pub(super) fn keys(n: u8, keys: &[&Identity]) -> fleet::Resource {
    let hash = |identity: &&Identity| {
        let sha256 = identity.hash().try_into().expect("it is a hash");
        hash_client_key(&sha256).as_bytes().to_vec()
    };
    let hashes = keys.iter().map(hash).collect();
    of(n, "", Kind::Certificate(fleet::CallerCertificate { hashes, ..Default::default() }))
}

/// A credential for a name that this authority gives.
pub(super) fn name(n: u8, name: &str, authority: &Authority) -> fleet::Resource {
    let (spiffe_id, ca) = (name.to_owned(), authority.pem());
    of(n, "", Kind::Certificate(fleet::CallerCertificate { hashes: Vec::new(), spiffe_id, ca }))
}

impl From<Issued> for Identity {
    fn from(Issued { key, der }: Issued) -> Self {
        Self { key, chain: vec![der] }
    }
}

/// Whoever is the same at another time: nothing of it is resumed.
pub(super) fn shows(asking: &Asking, identity: &Identity) -> Arc<ClientConfig> {
    client(asking, ALL_VERSIONS, Some(identity))
}

/// A worker whose proxy 1 has these callers, and 2 has caller 1 alone.
pub(super) async fn serving(callers: &[u8], more: impl IntoIterator<Item = fleet::Resource>) -> Asking {
    let (region, upstream) = (Region::new(), Upstream::echo().await);
    let snapshot = snapshot(&region, &upstream, callers, more);
    Asking::serving(region, upstream, |door| Edge::start_behind(snapshot, ALLOWED, door, Bounds::of(1_000)))
}

pub(super) fn snapshot(
    region: &Region,
    upstream: &Upstream,
    callers: &[u8],
    more: impl IntoIterator<Item = fleet::Resource>,
) -> Snapshot {
    let mut all = resources(region, &upstream.url(""));
    all.extend(more);
    all.extend([fixture::proxy(1, callers, 1, 2), fixture::proxy(2, &[1], 1, 2)]);
    region.snapshot(&all)
}

pub(super) async fn ask(asking: &Asking, client: &Arc<ClientConfig>, path: &str, headers: &str) -> Answer {
    ask_with(asking, client, path, headers, EDGE, EDGE).await.0
}

/// The status, the reason in the record, and whose request it was.
pub(super) async fn asked(
    asking: &Asking,
    client: &Arc<ClientConfig>,
    path: &str,
    headers: &str,
) -> (u16, String, String) {
    let answer = ask(asking, client, path, headers).await;
    let record = asking.edge.record().await;
    (answer.status, record.reason, record.caller_credential)
}

pub(super) fn good(n: u8) -> (u16, String, String) {
    (200, String::new(), credential_key(n).id_text())
}

pub(super) fn refused(reason: &str) -> (u16, String, String) {
    (401, reason.to_owned(), String::new())
}

#[tokio::test]
async fn a_certificate_is_taken_for_the_credential_of_its_key_or_name_and_every_other_is_refused_alike() {
    let (root, other) = (Authority::root("root"), Authority::root("other"));
    let middle = root.below("middle", |_| {});
    let (pinned, newer, unadmitted, stranger) =
        (Identity::new(), Identity::new(), Identity::new(), Identity::new());
    let client_auth = || vec![ExtendedKeyUsagePurpose::ClientAuth];
    let uri = |text: &str| SanType::URI(text.try_into().expect("it is ASCII"));
    let two_names =
        || Identity::from(root.issue_with(|params| params.subject_alt_names = vec![uri(NAME), uri(NAME)]));
    // Their keys are those of callers that the proxy does not have.
    let (known_by_both, unclear) = (Identity::from(root.issue(NAME)), two_names());
    let asking = serving(
        &[1, 3, 4],
        [
            keys(3, &[&newer, &pinned]),
            name(4, NAME, &root),
            keys(5, &[&unadmitted, &known_by_both]),
            keys(7, &[&unclear]),
            name(6, "spiffe://example.org/other", &root),
        ],
    )
    .await;
    let without_word = |identity: Identity| shows(&asking, &identity);
    let below = middle.issue(NAME);
    let with_middle = Identity { key: below.key, chain: vec![below.der, middle.der()] };
    let named = root.issue(NAME);
    for (client, headers, wanted) in [
        (shows(&asking, &pinned), "", good(3)),
        (client(&asking, &[&version::TLS12], Some(&newer)), "", good(3)),
        (client(&asking, &[&version::TLS13], Some(&newer)), "", good(3)),
        (without_word(named.into()), "", good(4)),
        (without_word(with_middle), "", good(4)),
        // A claim of the request counts, and alone.
        (shows(&asking, &pinned), &*with_key(1), good(1)),
        (shows(&asking, &pinned), &with_key(9), refused("unknown")),
        (shows(&asking, &pinned), "authorization: \r\n", refused("unknown")),
        (client(&asking, ALL_VERSIONS, None), &with_key(1), good(1)),
        (client(&asking, ALL_VERSIONS, None), "", refused("missing")),
        (shows(&asking, &stranger), "", refused("certificate-unknown")),
        (shows(&asking, &unadmitted), "", refused("not-admitted")),
        (without_word(root.issue("spiffe://example.org/other").into()), "", refused("not-admitted")),
        (without_word(root.issue("spiffe://example.org/nobody").into()), "", refused("certificate-unknown")),
        (without_word(root.issue("https://example.org/payments").into()), "", refused("certificate-unknown")),
        (without_word(other.issue(NAME).into()), "", refused("certificate-chain")),
        (without_word(middle.issue(NAME).into()), "", refused("certificate-chain")),
        (without_word(two_names()), "", refused("certificate-name")),
        (without_word(known_by_both), "", good(4)),
        (without_word(unclear), "", refused("not-admitted")),
        // Nobody looks at who has issued a name that the proxy does not take.
        (without_word(other.issue("spiffe://example.org/other").into()), "", refused("not-admitted")),
        (
            without_word(
                root.issue_with(|params| {
                    params.subject_alt_names = vec![uri(NAME)];
                    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                })
                .into(),
            ),
            "",
            refused("certificate-chain"),
        ),
        (
            without_word(
                root.issue_with(|params| {
                    params.subject_alt_names = vec![uri(NAME)];
                    params.extended_key_usages = client_auth();
                    params.not_after = date_time_ymd(2020, 1, 1);
                })
                .into(),
            ),
            "",
            refused("certificate-expired"),
        ),
        (
            without_word(
                root.issue_with(|params| {
                    params.subject_alt_names = vec![uri(NAME)];
                    params.extended_key_usages = client_auth();
                    params.not_before = date_time_ymd(4000, 1, 1);
                })
                .into(),
            ),
            "",
            refused("certificate-early"),
        ),
    ] {
        let before = asking.upstream.count();
        let came = asked(&asking, &client, PATH, headers).await;
        assert_eq!(came, wanted, "{headers}");
        assert_eq!(asking.upstream.count() - before, usize::from(wanted.0 == 200));
    }
    let elsewhere = asked(&asking, &shows(&asking, &pinned), "/api/acme.proxy-2/x", "").await;
    assert_eq!(elsewhere, refused("missing"), "none of its callers is known by a certificate");
    // Alike, for a proxy that takes none and one that is not there, too.
    let words = async |client: &Arc<ClientConfig>, path: &str| {
        ask(&asking, client, path, "").await.without_id_and_date()
    };
    let bare = client(&asking, ALL_VERSIONS, None);
    let wanted = words(&bare, PATH).await;
    for client in [&bare, &shows(&asking, &stranger), &shows(&asking, &other.issue(NAME).into())] {
        for path in [PATH, "/api/acme.proxy-2/x", "/api/acme.nobody/x"] {
            assert_eq!(words(client, path).await, wanted, "{path}");
        }
    }
}

#[tokio::test]
async fn one_key_is_another_caller_in_another_organization_and_none_where_nobody_has_it() {
    let identity = Identity::new();
    let (region, upstream) = (Region::new(), Upstream::echo().await);
    let mut all = resources(&region, &upstream.url(""));
    all.extend([keys(3, &[&identity]), fixture::proxy(1, &[3], 1, 2)]);
    let others = super::resources_of_another(&upstream.url(""));
    let theirs = |has: bool| {
        let mut more = others.clone();
        let org = others[0].key.clone();
        let moved = |mut resource: fleet::Resource| {
            let key = resource.key.as_ref().expect("it has one");
            let mut key = Key::try_from(key).expect("a key");
            key.org = Key::try_from(org.as_ref().expect("it has one")).expect("a key").org;
            resource.key = Some(key.to_wire());
            resource
        };
        let credential = if has { keys(13, &[&identity]) } else { keys(13, &[&Identity::new()]) };
        more.extend([moved(credential), moved(fixture::proxy(11, &[13], 11, 12))]);
        more
    };
    let snapshots = [true, false].map(|has| {
        let mut all = all.clone();
        all.extend(theirs(has));
        region.snapshot(&all)
    });
    let [both, one] = snapshots;
    let mut asking =
        Asking::serving(region, upstream, |door| Edge::start_behind(both, ALLOWED, door, Bounds::of(100)));
    let client = shows(&asking, &identity);
    assert_eq!(asked(&asking, &client, PATH, "").await, good(3));
    assert_eq!(asked(&asking, &client, "/api/other.proxy-11/x", "").await, good(13));
    asking.edge.activate(one);
    assert_eq!(asked(&asking, &client, PATH, "").await, good(3));
    assert_eq!(asked(&asking, &client, "/api/other.proxy-11/x", "").await, refused("certificate-unknown"));
}

#[tokio::test]
async fn a_certificate_is_found_by_no_hash_of_a_value_and_a_value_by_none_of_a_certificate() {
    let identity = Identity::new();
    let sha256 = identity.hash().try_into().expect("it is a hash");
    let value = "9f86d081884c7d659a2feaa0c55ad015";
    let forged = |hash: &KeyHash| vec![hash.as_bytes().to_vec()];
    let bearer = fleet::CallerBearer { hashes: forged(&hash_client_key(&sha256)), prefix: String::new() };
    let hashes = forged(&hash_foreign(value.as_bytes()));
    let certificate = fleet::CallerCertificate { hashes, ..Default::default() };
    let named = fleet::CallerBearer { hashes: forged(&hash_client_name(NAME)), prefix: String::new() };
    let asking = serving(
        &[3, 4, 5, 6],
        [
            of(3, "", Kind::Bearer(bearer)),
            of(4, "", Kind::Certificate(certificate)),
            of(5, "", Kind::Bearer(named)),
            name(6, "spiffe://example.org/other", &Authority::root("root")),
        ],
    )
    .await;
    let shown = shows(&asking, &identity);
    assert_eq!(asked(&asking, &shown, PATH, "").await, refused("certificate-unknown"));
    let by_name = shows(&asking, &Authority::root("root").issue(NAME).into());
    assert_eq!(asked(&asking, &by_name, PATH, "").await, refused("certificate-unknown"));
    for claim in [value.to_owned(), format!("Bearer {value}")] {
        let claim = format!("authorization: {claim}\r\n");
        assert_eq!(asked(&asking, &shown, PATH, &claim).await, refused("misplaced"));
    }
}

#[tokio::test]
async fn the_older_of_two_keys_counts_until_its_time_is_over() {
    let (newer, older) = (Identity::new(), Identity::new());
    let until = |seconds: i64| {
        let mut resource = keys(3, &[&newer, &older]);
        let mut message = fleet::CredentialResource::decode(&*resource.payload).expect("a credential");
        let Some(fleet::credential_resource::Usage::Caller(caller)) = &mut message.usage else {
            panic!("a caller")
        };
        let seconds = i64::try_from(now()).expect("it fits") + seconds;
        caller.previous_not_after = Some(pbjson_types::Timestamp { seconds, nanos: 0 });
        resource = fixture::resource(credential_key(3), message.encode_to_vec());
        resource
    };
    for (end, wanted) in [(3600, good(3)), (-1, (401, "superseded".to_owned(), credential_key(3).id_text()))]
    {
        let asking = serving(&[3], [until(end)]).await;
        let came = asked(&asking, &shows(&asking, &older), PATH, "").await;
        assert_eq!((came.0, came.1), (wanted.0, wanted.1));
        assert_eq!(asked(&asking, &shows(&asking, &newer), PATH, "").await, good(3));
    }
}

#[tokio::test]
async fn whoever_is_known_by_a_certificate_is_told_that_a_proxy_is_closed_and_nobody_else_is() {
    let identity = Identity::new();
    // A target that is not here closes the only proxy that has such a caller.
    let asking = serving(&[1], [keys(3, &[&identity]), fixture::proxy(3, &[3], 77, 2)]).await;
    let path = "/api/acme.proxy-3/x";
    let answer = ask(&asking, &shows(&asking, &identity), path, "").await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (503, "proxy-closed".into()));
    assert_eq!(asking.edge.record().await.caller_credential, credential_key(3).id_text());
    let stranger = shows(&asking, &Identity::new());
    assert_eq!(asked(&asking, &stranger, path, "").await, refused("certificate-unknown"));
}

#[test]
fn a_certificate_is_no_user_of_the_authorization_header() {
    let region = Region::new();
    let mut all = resources(&region, "http://127.0.0.1:1");
    let bearer = fleet::CallerBearer { hashes: vec![vec![1; 32]], prefix: String::new() };
    all.extend([
        keys(3, &[&Identity::new()]),
        of(4, "x-key", Kind::Bearer(bearer)),
        fixture::proxy(1, &[3, 4], 1, 2),
    ]);
    let snapshot = region.snapshot(&all);
    let headers = snapshot.proxy("acme.proxy-1").and_then(|proxy| proxy.caller_headers.as_deref());
    assert!(headers.is_some_and(|headers| headers.own.len() == 1 && !headers.authorization));
}

#[tokio::test]
async fn what_a_browser_shows_by_itself_counts_for_no_page_that_the_proxy_does_not_name() {
    let identity = Identity::new();
    let with = |cors: Option<fleet::Cors>| {
        let proxy = fleet::ProxyResource { cors, ..fixture::proxy_message(3, &[1, 3], 1, 2) };
        fixture::resource(proxy_key(3), proxy.encode_to_vec())
    };
    let cors = |credentials| {
        let origins = vec!["https://app.example".to_owned()];
        Some(fleet::Cors { origins, credentials, ..Default::default() })
    };
    let page = "origin: https://app.example\r\n";
    for (cors, headers, is_taken) in [
        (None, "", true),
        (None, "sec-fetch-site: none\r\n", true),
        (None, page, false),
        (None, "origin: null\r\n", false),
        (None, "sec-fetch-site: cross-site\r\n", false),
        (None, "sec-fetch-site: same-origin\r\n", false),
        (cors(false), page, false),
        (cors(true), page, true),
        (cors(true), "origin: https://app.example\r\nsec-fetch-site: cross-site\r\n", true),
        (cors(true), "origin: https://evil.example\r\n", false),
        (cors(true), "origin: https://app.example\r\norigin: https://app.example\r\n", false),
        (cors(true), "sec-fetch-site: cross-site\r\n", false),
        (cors(true), "", true),
    ] {
        let asking = serving(&[1], [keys(3, &[&identity]), with(cors)]).await;
        let client = shows(&asking, &identity);
        let wanted = if is_taken { good(3) } else { refused("origin") };
        let came = asked(&asking, &client, "/api/acme.proxy-3/x", headers).await;
        assert_eq!((came.0, came.1), (wanted.0, wanted.1), "{headers}");
        // A key is nothing that a browser brings by itself.
        let headers = format!("{headers}{}", with_key(1));
        assert_eq!(asked(&asking, &client, "/api/acme.proxy-3/x", &headers).await, good(1), "{headers}");
    }
}
