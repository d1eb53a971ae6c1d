//! What this node refused: whose request it would have been is told so, and nobody else learns of it.

use prost::Message as _;
use rr_contract::api_key;
use rr_contract::model::id::OrgId;
use rr_contract::model::resource::{Key, ResourceId};
use rr_contract::wire::fleet;

use crate::fixture::{
    self, Region, caller, credential_key, org, proxy, proxy_id, proxy_key, resource, target,
};

use super::edge::Edge;
use super::origin::Upstream;
use super::{get, resources, with_key};

fn of_proxy(proxy: fleet::ProxyResource) -> fleet::Resource {
    resource(proxy_key(1), proxy.encode_to_vec())
}

fn needing(need: &str, resource: fleet::Resource) -> fleet::Resource {
    fleet::Resource { needs: vec![need.to_owned()], ..resource }
}

/// All of proxy 1 that a node may refuse, each with whether its callers can be read.
fn refused() -> Vec<(&'static str, fleet::Resource, bool)> {
    let whole = || fixture::proxy_message(1, &[1], 1, 2);
    vec![
        ("a feature nobody has heard of", needing("teleport", of_proxy(whole())), true),
        ("one that does not parse", of_proxy(fleet::ProxyResource { deny_status: 999, ..whole() }), true),
        ("both", needing("x", of_proxy(fleet::ProxyResource { deny_status: 999, ..whole() })), true),
        ("a target that is not here", proxy(1, &[1], 77, 2), true),
        ("a caller that is not here", proxy(1, &[1, 77], 1, 2), true),
        ("no proxy at all", resource(proxy_key(1), vec![0xff, 0xff]), false),
    ]
}

#[tokio::test]
async fn a_proxy_that_cannot_be_taken_is_closed_to_its_callers_and_nothing_to_others() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    for (case, refused, is_readable) in refused() {
        let mut all = resources(&region, &upstream.url(""));
        all.push(caller(3, 1, &[3]));
        all.push(refused);
        let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
        let unknown = edge.send(&get("/api/acme.nobody/x", "")).await.without_id_and_date();
        let by_id = format!("/api/{}/x", proxy_id(1));
        for path in [&*by_id, "/api/acme.proxy-1/x"] {
            let answer = edge.send(&get(path, &with_key(1))).await;
            // Its name can be read where its callers can.
            let is_named = is_readable || path == by_id;
            let record = if is_named { edge.record().await } else { fleet::Record::default() };
            if is_readable {
                assert_eq!(
                    (answer.status, answer.json()["code"].clone()),
                    (503, "proxy-closed".into()),
                    "{case}"
                );
                assert_eq!(record.caller_credential, credential_key(1).id_text(), "{case}");
            } else {
                assert_eq!(answer.without_id_and_date(), unknown, "{case}");
            }
            let named = if is_named { proxy_id(1).to_string() } else { String::new() };
            assert_eq!(record.proxy, named, "{case}");
            // Whoever is no caller of it learns nothing, and leaves a record.
            for headers in [String::new(), with_key(3), with_key(9)] {
                let answer = edge.send(&get(path, &headers)).await.without_id_and_date();
                assert_eq!(answer, unknown, "{case}");
                if is_named {
                    assert_eq!(edge.record().await.proxy, named, "{case}");
                }
            }
        }
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn callers_of_an_upstream_credential_that_this_node_cannot_take_are_told_that_and_nothing_is_sent() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    all.push(needing("teleport", region.upstream(2, 2, "s", "x-key", &[&upstream.url("")])));
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let answer = edge.send(&get("/api/acme.proxy-1/x", &with_key(1))).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (502, "credential-unusable".into()));
    assert_eq!(edge.record().await.reason, "no-version");
    assert_eq!(upstream.count(), 0);
}

fn of_caller(n: u8, change: impl FnOnce(&mut fleet::CredentialResource)) -> fleet::Resource {
    let mut message = fixture::caller_message(n, 1, &[n]);
    change(&mut message);
    resource(credential_key(n), message.encode_to_vec())
}

fn presenting(message: &mut fleet::CredentialResource) -> &mut fleet::CallerCredential {
    match &mut message.usage {
        Some(fleet::credential_resource::Usage::Caller(caller)) => caller,
        _ => unreachable!("it is a caller credential"),
    }
}

#[tokio::test]
async fn a_caller_whose_credential_cannot_be_run_is_told_and_its_neighbours_are_served() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let future = needing("teleport", of_caller(3, |_| ()));
    let elsewhere =
        needing("teleport", of_caller(4, |message| presenting(message).header = "x-own".to_owned()));
    let bearer = needing(
        "teleport",
        of_caller(5, |message| {
            let hash = api_key::hash_foreign(b"theirs").as_bytes().to_vec();
            let bearer = fleet::CallerBearer { hashes: vec![hash], prefix: "Token".to_owned() };
            presenting(message).kind = Some(fleet::caller_credential::Kind::Bearer(bearer));
        }),
    );
    let expired = needing(
        "teleport",
        of_caller(6, |message| {
            message.not_after = Some(rr_contract::model::time::timestamp(std::time::UNIX_EPOCH));
        }),
    );
    let mut all = resources(&region, &upstream.url(""));
    all.extend([future, elsewhere, bearer, expired, proxy(1, &[1, 3, 4, 5, 6], 1, 2)]);
    all.push(proxy(2, &[1], 1, 2));
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let own = |n: u8, name: &str| with_key(n).replace("authorization: Bearer", name);
    let path = "/api/acme.proxy-1/x";
    let cases = [
        (path, with_key(1), 200, 1),
        (path, with_key(3), 503, 3),
        (path, own(4, "x-own:"), 503, 4),
        (path, "authorization: token theirs\r\n".to_owned(), 503, 5),
        // Presented as it is not meant to be, expired, or to a proxy that does not name it: nobody's.
        (path, with_key(4), 401, 0),
        (path, own(3, "x-own:"), 401, 0),
        (path, "authorization: Bearer theirs\r\n".to_owned(), 401, 0),
        (path, "x-own: Token theirs\r\n".to_owned(), 401, 0),
        (path, with_key(6), 401, 0),
        ("/api/acme.proxy-2/x", with_key(3), 401, 0),
    ];
    for (path, headers, status, caller) in cases {
        assert_eq!(edge.send(&get(path, &headers)).await.status, status, "{headers}");
        let record = edge.record().await;
        let known = if caller == 0 { String::new() } else { credential_key(caller).id_text() };
        assert_eq!(record.caller_credential, known, "{headers}");
        assert!(!record.proxy.is_empty(), "{headers}");
    }
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn a_key_of_another_organization_opens_no_proxy_that_lists_its_credential() {
    const OTHER: OrgId = OrgId::from_random([0x33; 16]);
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    // Ids are drawn at random, but by somebody: the same one in two organizations is not the same credential.
    let ResourceId::Credential(id) = credential_key(4).id else { unreachable!("it is one") };
    let theirs = fixture::caller_message(4, 1, &[4]).encode_to_vec();
    let other = fleet::OrgResource { name: "globex".to_owned(), suspended: false };
    all.push(resource(Key::org(OTHER), other.encode_to_vec()));
    all.push(resource(Key::new(OTHER, ResourceId::Credential(id)), theirs));
    all.extend([caller(4, 1, &[44]), proxy(1, &[1, 4], 1, 2)]);
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let path = "/api/acme.proxy-1/x";
    let unknown = edge.send(&get(path, &with_key(9))).await.without_id_and_date();
    assert_eq!(edge.send(&get(path, &with_key(4))).await.without_id_and_date(), unknown);
    assert_eq!(upstream.count(), 0);
    assert_eq!(edge.send(&get(path, &with_key(44))).await.status, 200, "its own is another matter");
}

#[tokio::test]
async fn one_that_is_closed_does_not_take_the_name_of_one_that_runs() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    for n in [0, 2] {
        let same =
            fleet::ProxyResource { name: "proxy-1".to_owned(), ..fixture::proxy_message(n, &[1], 1, 2) };
        all.push(needing("teleport", resource(proxy_key(n), same.encode_to_vec())));
    }
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    assert_eq!(edge.send(&get("/api/acme.proxy-1/x", &with_key(1))).await.status, 200);
    let by_id = format!("/api/{}/x", proxy_id(2));
    assert_eq!(edge.send(&get(&by_id, &with_key(1))).await.status, 503);
}

#[tokio::test]
async fn what_was_closed_opens_when_it_can_be_taken_and_follows_its_organizations_name() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    all.push(needing("teleport", proxy(1, &[1], 1, 2)));
    let mut inventory = region.inventory();
    let mut snapshot = crate::snapshot::Snapshot::default();
    snapshot.ready = true;
    let mut change = |resources: &[fleet::Resource]| {
        let changes = crate::sync::changes(&fixture::body(resources, &[]));
        inventory.apply(fleet::Mode::Delta, changes, &mut snapshot);
        Edge::start(snapshot.clone(), &["127.0.0.0/8"])
    };
    let status = async |edge: Edge, path| edge.send(&get(path, &with_key(1))).await.status;
    assert_eq!(status(change(&all), "/api/acme.proxy-1/x").await, 503);
    let renamed = fleet::OrgResource { name: "globex".to_owned(), suspended: false };
    let renamed = change(&[resource(Key::org(fixture::ORG), renamed.encode_to_vec())]);
    assert_eq!(status(renamed, "/api/globex.proxy-1/x").await, 503);
    let opened = change(&[org(false), target(1, &upstream.url("")), proxy(1, &[1], 1, 2)]);
    assert_eq!(status(opened, "/api/acme.proxy-1/x").await, 200);
}
