//! What proxies change, as rules, records and both sides see it.

use prost::Message as _;
use rr_contract::model::origin::Origin;
use rr_contract::wire::fleet;

use crate::fixture::{self, Region, caller_key, deny_path, proxy_key};

use super::edge::{Edge, PSEUDONYM};
use super::origin::Upstream;
use super::{HEADER, SECRET, get, resources, with_key};

const PATH: &str = "/api/acme.proxy-1";

fn pairs(pairs: &[(&str, &str)]) -> Vec<fleet::Pair> {
    pairs.iter().map(|(name, value)| fleet::Pair { name: (*name).into(), value: (*value).into() }).collect()
}

fn rename(from: &str, to: &str) -> Vec<fleet::Rename> {
    vec![fleet::Rename { from: from.to_owned(), to: to.to_owned() }]
}

/// A worker whose proxy is this one, with further resources.
fn edge_with(upstream: &str, proxy: &fleet::ProxyResource, more: Vec<fleet::Resource>) -> Edge {
    let region = Region::new();
    let mut all = resources(&region, upstream);
    all.push(fixture::resource(proxy_key(1), proxy.encode_to_vec()));
    let host = proxy.rewrite.as_ref().map_or("", |rewrite| &rewrite.host);
    if !host.is_empty() {
        let own = Origin::of(&upstream.parse().expect("a base URL")).to_string();
        all.push(region.upstream(2, 1, SECRET, HEADER, &[&own, &format!("http://{host}")]));
    }
    all.extend(more);
    Edge::start(region.snapshot(&all), &["127.0.0.0/8"])
}

fn proxy(rewrite: fleet::Rewrite) -> fleet::ProxyResource {
    fleet::ProxyResource { rewrite: Some(rewrite), ..fixture::proxy_message(1, &[1], 1, 2) }
}

fn edge(upstream: &Upstream, rewrite: fleet::Rewrite) -> Edge {
    edge_with(&upstream.url("/base"), &proxy(rewrite), Vec::new())
}

fn prefixes(strip: &str, add: &str) -> fleet::Rewrite {
    fleet::Rewrite { strip_prefix: strip.to_owned(), add_prefix: add.to_owned(), ..fleet::Rewrite::default() }
}

#[tokio::test]
async fn a_prefix_goes_and_another_comes_within_the_base_path() {
    let upstream = Upstream::echo().await;
    for (strip, add, paths) in [
        ("/v1", "", &[("/v1/a?q=%2f", "/a?q=%2f"), ("/v1", "/"), ("/v10", "/v10"), ("/%76%31/", "/")][..]),
        ("", "/api/v2", &[("/a", "/api/v2/a"), ("", "/api/v2/"), ("/../..", "/api/v2/")]),
        ("/v1", "/v2", &[("/v1", "/v2"), ("/v1/..", "/v2/"), ("/v1/../v1/x", "/v2/x"), ("/x", "/v2/x")]),
        ("/@a", "/b", &[("/%40a/c", "/b/c"), ("/@%61/%40a", "/b/%40a")]),
    ] {
        let edge = edge(&upstream, prefixes(strip, add));
        for (path, wanted) in paths {
            let answer = edge.send(&get(&format!("{PATH}{path}"), &with_key(1))).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(upstream.last().target, format!("/base{wanted}"), "{strip} {add} {path}");
            let wanted = wanted.split('?').next();
            assert_eq!(Some(&*edge.record().await.path), wanted, "the record has the path that was sent");
        }
    }
}

#[tokio::test]
async fn no_spelling_of_a_path_leaves_the_prefix_that_is_put_in_front_of_it() {
    let upstream = Upstream::echo().await;
    let edge = edge(&upstream, prefixes("/v1", "/v2"));
    for (path, wanted) in [
        ("/v1//..//v1/./x", "/v2/x"),
        ("/v1/%2e%2e/%2E%2E/..//x", "/v2/x"),
        ("/v1/..", "/v2/"),
        ("/v1//", "/v2/"),
        ("/%2576%31/x", "/v2/%25761/x"),
        ("/v1/%252e%252e/x", "/v2/%252e%252e/x"),
        ("/v1/%252fx", "/v2/%252fx"),
        // No segment of its own.
        ("/v1;a=1/x", "/v2/v1;a=1/x"),
        ("/v1%20/x", "/v2/v1%20/x"),
        ("/V1/x", "/v2/V1/x"),
        ("/v1/v1/x", "/v2/v1/x"),
    ] {
        assert_eq!(edge.send(&get(&format!("{PATH}{path}"), &with_key(1))).await.status, 200, "{path}");
        assert_eq!(upstream.last().target, format!("/base{wanted}"), "{path}");
    }
    let count = upstream.count();
    for path in [
        "/v1/..;/x",
        "/v1/.;/x",
        "/v1/%2e%2e%3b/x",
        "/v1/..%2f..%2fx",
        "/v1%2f..",
        "/v1\\..\\x",
        "/v1/%5c..",
        "/v1%00/x",
        "/v1/%zz",
        "/v1/%",
    ] {
        let answer = edge.send(&get(&format!("{PATH}{path}"), &with_key(1))).await;
        assert_eq!(
            (answer.status, answer.json()["code"].clone()),
            (400, "malformed-request".into()),
            "{path}"
        );
    }
    assert_eq!(upstream.count(), count);
}

#[tokio::test]
async fn an_opaque_path_is_changed_in_its_opaque_form() {
    let upstream = Upstream::echo().await;
    let opaque = fleet::ProxyResource { opaque_paths: true, ..proxy(prefixes("/v1", "/v2")) };
    let edge = edge_with(&upstream.url("/base"), &opaque, Vec::new());
    for (path, wanted) in [("/v1/a%2fb", "/v2/a%2Fb"), ("/v1%2Fa", "/v2/v1%2Fa"), ("/v1/a\\b", "/v2/a\\b")] {
        assert_eq!(edge.send(&get(&format!("{PATH}{path}"), &with_key(1))).await.status, 200);
        assert_eq!(upstream.last().target, format!("/base{wanted}"));
    }
    for path in ["/v1/..%2f..%2fx", "/v1/a%2f..;b%2fx", "/v1/..%00", "/v1/a\\..;"] {
        let answer = edge.send(&get(&format!("{PATH}{path}"), &with_key(1))).await;
        assert_eq!((answer.status, upstream.count()), (400, 3), "{path}");
    }
    let closed = self::edge(&upstream, prefixes("/v1", "/v2"));
    assert_eq!(closed.send(&get(&format!("{PATH}/v1/a%2fb"), &with_key(1))).await.status, 400);
}

#[tokio::test]
async fn rules_see_the_request_as_it_is_sent() {
    let upstream = Upstream::echo().await;
    let check = |name: &str, value: &str| fleet::PairCheck {
        name: Some(fleet::Pattern { regex: name.to_owned(), ..fleet::Pattern::default() }),
        value: Some(fleet::Pattern { regex: value.to_owned(), ..fleet::Pattern::default() }),
        absent: false,
    };
    let denies = |n, when: fleet::RequestMatch| {
        let message = fleet::RuleResource {
            effect: fleet::Effect::Deny.into(),
            when: Some(when),
            ..fixture::rule_message(n, proxy_key(1))
        };
        fixture::resource(fixture::rule_key(n), message.encode_to_vec())
    };
    let edits =
        |name: &str| Some(fleet::PairEdits { rename: rename(name, "x-new"), ..fleet::PairEdits::default() });
    let rewrite = fleet::Rewrite {
        query: edits("old"),
        request_headers: edits("x-old"),
        ..prefixes("/inner", "/outer")
    };
    let rules = vec![
        deny_path(1, proxy_key(1), "^/outer/secret$"),
        denies(2, fleet::RequestMatch { query: vec![check("^x-new$", "^no$")], ..Default::default() }),
        denies(3, fleet::RequestMatch { headers: vec![check("^x-new$", "^no$")], ..Default::default() }),
    ];
    let edge = edge_with(&upstream.url(""), &proxy(rewrite), rules);
    for (path, headers, status) in [
        ("/inner/secret", "", 400),
        ("/secret", "", 400),
        ("/inner/secret/", "", 200),
        ("/a?%6fld=no", "", 400),
        ("/a?x-new=no", "", 200),
        ("/a?old=yes", "", 200),
        ("/a", "x-old: no\r\n", 400),
        ("/a", "x-new: no\r\n", 200),
        ("/a", "x-old: yes\r\nx-new: no\r\n", 200),
    ] {
        let answer = edge.send(&get(&format!("{PATH}{path}"), &format!("{}{headers}", with_key(1)))).await;
        assert_eq!(answer.status, status, "{path} {headers}");
        if status == 400 {
            assert_eq!(answer.json()["code"], "rule-denied");
        }
    }
    assert_eq!(upstream.last().all("x-new"), ["yes"]);
    assert_eq!(upstream.count(), 5);
}

#[tokio::test]
async fn headers_are_removed_renamed_set_and_added_in_this_order() {
    let upstream = Upstream::told().await;
    let edits = || fleet::PairEdits {
        remove: vec!["x-gone".to_owned()],
        rename: rename("x-from", "x-to"),
        set: pairs(&[("x-set", "set"), ("x-to", "replaced")]),
        add: pairs(&[("x-set", "added"), ("x-gone", "back"), ("x-more", "1"), ("x-more", "2")]),
    };
    let rewrite = fleet::Rewrite {
        request_headers: Some(edits()),
        response_headers: Some(edits()),
        ..prefixes("", "")
    };
    let edge = edge(&upstream, rewrite);
    let sent = "x-gone: 1\r\nX-Gone: 2\r\nx-from: f\r\nx-to: t\r\nx-set: s\r\nx-set: s\r\nx-kept: k\r\n";
    let back = sent.to_ascii_lowercase().replace("x-", "x-answer-x-");
    let answer = edge.send(&get(PATH, &format!("{}{sent}{back}", with_key(1)))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = upstream.last();
    for (name, wanted) in [
        ("x-gone", &["back"][..]),
        ("x-from", &[]),
        ("x-to", &["replaced"]),
        ("x-set", &["set", "added"]),
        ("x-more", &["1", "2"]),
        ("x-kept", &["k"]),
    ] {
        assert_eq!(seen.all(name), wanted, "{name}");
        assert_eq!(answer.all(name), wanted, "{name}");
    }
}

#[tokio::test]
async fn renames_follow_one_another_and_what_had_a_new_name_is_gone() {
    let upstream = Upstream::told().await;
    let renames = |pairs: &[(&str, &str)]| {
        let renames: Vec<fleet::Rename> = pairs.iter().flat_map(|(from, to)| rename(from, to)).collect();
        let edits = fleet::PairEdits { rename: renames, ..fleet::PairEdits::default() };
        fleet::Rewrite {
            request_headers: Some(edits.clone()),
            response_headers: Some(edits),
            ..prefixes("", "")
        }
    };
    for (edits, wanted) in [
        // From a over b to c; what b and c had goes.
        (&[("x-a", "x-b"), ("x-b", "x-c")][..], [&[][..], &[], &["1", "2"]]),
        // There and back.
        (&[("x-a", "x-b"), ("x-b", "x-a")], [&["1", "2"], &[], &["4"]]),
        (&[("x-b", "x-c"), ("x-a", "x-b")], [&[], &["1", "2"], &["3"]]),
        // In a ring.
        (&[("x-a", "x-b"), ("x-b", "x-c"), ("x-c", "x-a")], [&["1", "2"], &[], &[]]),
    ] {
        let edge = edge(&upstream, renames(edits));
        let sent = "X-A: 1\r\nx-a: 2\r\nx-b: 3\r\nx-c: 4\r\n";
        let back = sent.to_ascii_lowercase().replace("x-", "x-answer-x-");
        let answer = edge.send(&get(PATH, &format!("{}{sent}{back}", with_key(1)))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        for (name, wanted) in ["x-a", "x-b", "x-c"].into_iter().zip(wanted) {
            assert_eq!(upstream.last().all(name), wanted, "{edits:?} {name}");
            assert_eq!(answer.all(name), wanted, "{edits:?} {name}");
        }
    }
}

#[tokio::test]
async fn a_caller_puts_nothing_past_the_proxy_by_another_spelling_of_a_name() {
    let upstream = Upstream::echo().await;
    let edits = fleet::PairEdits {
        remove: vec!["x-gone-too".to_owned(), "x_theirs".to_owned()],
        rename: rename("x-old-name", "x-new-name"),
        set: pairs(&[("x-role-name", "user")]),
        add: pairs(&[("x-more-of", "1")]),
    };
    let edge = edge(&upstream, fleet::Rewrite { request_headers: Some(edits), ..prefixes("", "") });
    let forged = "x_gone_too: 1\r\nx-gone_too: 1\r\nX-Theirs: 1\r\nx_old_name: 1\r\nX_New_Name: 1\r\n\
                  x_role_name: admin\r\nx-role_name: admin\r\n";
    let others = "x_more_of: 2\r\nx_other: 3\r\nx-old-name: mine\r\n";
    // The secret's own header is nobody else's either, whatever the proxy changes.
    let secrets = "x_api_key: forged\r\nx-api_key: forged\r\n";
    let answer = edge.send(&get(PATH, &format!("{}{forged}{others}{secrets}", with_key(1)))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = upstream.last();
    for name in [
        "x_gone_too",
        "x-gone_too",
        "x-theirs",
        "x_old_name",
        "x_new_name",
        "x_role_name",
        "x-role_name",
        "x_api_key",
        "x-api_key",
    ] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    for (name, value) in [
        ("x-role-name", "user"),
        ("x-new-name", "mine"),
        ("x_more_of", "2"),
        ("x-more-of", "1"),
        ("x_other", "3"),
    ] {
        assert_eq!(seen.all(name), [value], "{name}");
    }
    assert_eq!(seen.all(HEADER), [SECRET]);
}

#[tokio::test]
async fn a_header_that_the_proxy_puts_into_the_credentials_slot_is_replaced_by_the_secret() {
    let upstream = Upstream::echo().await;
    let edits = fleet::PairEdits {
        rename: rename("x-mine", HEADER),
        add: pairs(&[(HEADER, "forged")]),
        ..fleet::PairEdits::default()
    };
    let edge = edge(&upstream, fleet::Rewrite { request_headers: Some(edits), ..prefixes("", "") });
    let answer = edge.send(&get(PATH, &format!("{}x-mine: mine\r\n", with_key(1)))).await;
    assert_eq!((answer.status, upstream.last().all(HEADER)), (200, vec![SECRET]));
}

#[tokio::test]
async fn a_request_has_128_headers_at_the_most_after_edits_too() {
    let upstream = Upstream::echo().await;
    let edits = fleet::PairEdits { add: pairs(&[("x-a", "1"), ("x-a", "2")]), ..fleet::PairEdits::default() };
    let edge = edge(&upstream, fleet::Rewrite { request_headers: Some(edits), ..prefixes("", "") });
    // Host stays among them; authorization and connection go.
    for (count, status) in [(125, 200), (126, 431)] {
        let many: String = (3..count + 1).map(|n| format!("x-{n}: 1\r\n")).collect();
        let answer = edge.send(&get(PATH, &format!("{}x-1: 1\r\nx-2: 1\r\n{many}", with_key(1)))).await;
        assert_eq!(answer.status, status, "{count}");
    }
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn a_query_is_changed_by_decoded_names_behind_the_credential() {
    let upstream = Upstream::echo().await;
    let edits = fleet::PairEdits {
        remove: vec!["debug".to_owned()],
        rename: rename("q", "query"),
        set: pairs(&[("api version", "2+1")]),
        add: pairs(&[("tag", "\u{e4}")]),
    };
    let edge = edge(&upstream, fleet::Rewrite { query: Some(edits), ..prefixes("", "") });
    let key = caller_key(1);
    for (query, wanted) in [
        (format!("authorization={key}"), "api%20version=2%2B1&tag=%C3%A4"),
        (
            format!("%71=%7e+x&a=%zz&authorization={key}&d%65bug=1&api+version=1&z"),
            "query=%7e+x&a=%zz&api%20version=2%2B1&z&tag=%C3%A4",
        ),
    ] {
        assert_eq!(edge.send(&get(&format!("{PATH}/x?{query}"), "")).await.status, 200);
        assert_eq!(upstream.last().target, format!("/base/x?{wanted}"));
    }
}

#[tokio::test]
async fn a_host_of_its_own_is_sent_and_nothing_else_follows_it() {
    let upstream = Upstream::abrupt().await;
    let named = Upstream::echo().await;
    let rewrite = || fleet::Rewrite { host: "api.example:8443".to_owned(), ..prefixes("", "") };
    let edge = edge(&named, rewrite());
    assert_eq!(edge.send(&get(PATH, &with_key(1))).await.status, 200);
    assert_eq!(named.last().all("host"), ["api.example:8443"]);
    // A connection that was closed meanwhile gives the request back, which is sent again as it was.
    let edge = self::edge(&upstream, rewrite());
    for _ in 0..20 {
        assert_eq!(edge.send(&get(PATH, &with_key(1))).await.status, 200);
    }
    assert_eq!(upstream.count(), 20);
    assert!(upstream.all().iter().all(|seen| seen.all("host") == ["api.example:8443"]));
}

#[tokio::test]
async fn our_own_headers_are_ours_whatever_a_response_is_given() {
    let upstream = Upstream::told().await;
    let edits = fleet::PairEdits {
        set: pairs(&[("ratelimit", "forged"), ("content-type", "text/x")]),
        ..fleet::PairEdits::default()
    };
    let limits = Some(fleet::Limits { per_minute_per_node: 9, ..fleet::Limits::default() });
    let rewrite = fleet::Rewrite { response_headers: Some(edits), ..prefixes("", "") };
    let edge = edge_with(&upstream.url(""), &fleet::ProxyResource { limits, ..proxy(rewrite) }, Vec::new());
    let answer = edge.send(&get(PATH, &with_key(1))).await;
    assert_eq!(answer.all("content-type"), ["text/x"]);
    assert!(answer.all("ratelimit").len() == 1 && !answer.text.contains("forged"), "{answer:?}");
    let refused = edge.send(&get(PATH, "")).await;
    assert_eq!((refused.status, refused.header("content-type")), (401, Some("application/problem+json")));
}

#[tokio::test]
async fn both_directions_bear_a_via_and_what_comes_back_is_refused() {
    let upstream = Upstream::told().await;
    let edge = edge(&upstream, fleet::Rewrite { via: true, ..prefixes("", "") });
    let headers = "via: 1.0 a, 1.1 b\r\nvia: 1.1 c\r\nx-answer-via: 1.1 d\r\n";
    let answer = edge.send(&get(PATH, &format!("{}{headers}", with_key(1)))).await;
    assert_eq!(answer.status, 200);
    assert_eq!(upstream.last().all("via"), [format!("1.0 a, 1.1 b, 1.1 c, 1.1 {PSEUDONYM}")]);
    assert_eq!(answer.all("via"), [format!("1.1 d, 1.1 {PSEUDONYM}")]);
    assert_eq!(edge.send_http2(PATH, with_key(1).trim().trim_start_matches("authorization: ")).await, 200);
    assert_eq!(upstream.last().all("via"), [format!("2.0 {PSEUDONYM}")]);
    let back = format!("{}via: 1.1 c\r\nvia: 1.1 a, 2.0 {PSEUDONYM} (x)\r\n", with_key(1));
    let answer = edge.send(&get(PATH, &back)).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (508, "loop-detected".into()));
    assert_eq!(answer.header("via"), None);
    // Nobody learns of a proxy by it.
    let answer = edge.send(&get(PATH, &format!("via: 1.1 {PSEUDONYM}\r\n"))).await;
    assert_eq!((answer.status, upstream.count()), (401, 2));
}
