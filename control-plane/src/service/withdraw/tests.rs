//! What an older version may bring back by itself.

use rr_contract::wire::management::{Proxy, Target};

use super::*;

fn proxy() -> Proxy {
    Proxy {
        active: Some(true),
        caller_credentials: vec!["a".to_owned(), "b".to_owned()],
        upstream_credential: "u".to_owned(),
        default_effect: Effect::Deny.into(),
        limits: Some(fleet::Limits { per_minute_per_node: 10, per_day_per_node: 0 }),
        regions: vec!["eu".to_owned()],
        max_request_bytes: 10,
        max_response_bytes: 10,
        max_concurrent_requests_per_node: 10,
        client_certificates: true,
        rewrite: Some(host("ours")),
        cors: Some(pages("https://ours.example")),
        recording: recording(Some(5), true),
        validation: validation("true"),
        ..Proxy::default()
    }
}

fn validation(schema: &str) -> Option<fleet::Validation> {
    let what = Some(fleet::validation::What::JsonSchema(schema.to_owned()));
    Some(fleet::Validation { what, ..fleet::Validation::default() })
}

fn host(host: &str) -> fleet::Rewrite {
    fleet::Rewrite { host: host.to_owned(), ..fleet::Rewrite::default() }
}

fn pages(origin: &str) -> fleet::Cors {
    fleet::Cors { origins: vec![origin.to_owned()], ..fleet::Cors::default() }
}

fn recording(sample_per_thousand: Option<u32>, durable: bool) -> Option<fleet::Recording> {
    Some(fleet::Recording { sample_per_thousand, durable, ..Default::default() })
}

fn more(older: &Proxy) -> bool {
    gives_more(&document::Resource::Proxy(older.clone()), &document::Resource::Proxy(proxy())).is_some()
}

#[test]
fn an_older_proxy_that_gives_nobody_more_may_come_back() {
    assert!(!more(&proxy()));
    let less = Proxy {
        active: Some(false),
        caller_credentials: vec!["b".to_owned()],
        limits: Some(fleet::Limits { per_minute_per_node: 9, per_day_per_node: 5 }),
        deny_status: 403,
        echo_guard: fleet::EchoGuard::Refuse.into(),
        max_request_bytes: 9,
        max_concurrent_requests_per_node: 9,
        cors: None,
        recording: recording(None, true),
        retry: Some(fleet::RetryPolicy { attempts: 1, ..fleet::RetryPolicy::default() }),
        ..proxy()
    };
    assert!(!more(&less));
}

#[test]
fn an_older_proxy_that_gives_somebody_more_is_left_to_a_person() {
    let limits = |minute, day| fleet::Limits { per_minute_per_node: minute, per_day_per_node: day };
    let others = [
        Proxy { caller_credentials: vec!["a".to_owned(), "c".to_owned()], ..proxy() },
        Proxy { upstream_credential: "v".to_owned(), ..proxy() },
        Proxy { target: "another".to_owned(), ..proxy() },
        Proxy { regions: vec!["eu".to_owned(), "us".to_owned()], ..proxy() },
        Proxy { default_effect: Effect::Allow.into(), ..proxy() },
        Proxy { opaque_paths: true, ..proxy() },
        Proxy { limits: Some(limits(11, 0)), ..proxy() },
        Proxy { limits: Some(limits(0, 0)), ..proxy() },
        Proxy { limits: None, ..proxy() },
        Proxy { observe: true, ..proxy() },
        Proxy { max_request_bytes: 11, ..proxy() },
        Proxy { max_response_bytes: 0, ..proxy() },
        Proxy { max_concurrent_requests_per_node: 11, ..proxy() },
        Proxy { max_concurrent_requests_per_node: 0, ..proxy() },
        Proxy { websocket: true, ..proxy() },
        Proxy { tunnels_unread: true, ..proxy() },
        Proxy { client_certificates: false, ..proxy() },
        Proxy { rewrite: Some(host("theirs")), ..proxy() },
        Proxy { rewrite: None, ..proxy() },
        Proxy { cors: Some(pages("*")), ..proxy() },
        Proxy { forwarded: fleet::ForwardedHeaders::XForwarded.into(), ..proxy() },
        Proxy { echo_guard: fleet::EchoGuard::Off.into(), ..proxy() },
        Proxy { validation: None, ..proxy() },
        Proxy { validation: validation("{}"), ..proxy() },
        Proxy { recording: None, ..proxy() },
        Proxy { recording: recording(Some(4), true), ..proxy() },
        Proxy {
            recording: Some(fleet::Recording {
                query_parameters: vec!["page".to_owned()],
                ..recording(Some(5), true).unwrap_or_default()
            }),
            ..proxy()
        },
    ];
    for older in others {
        assert!(more(&older), "{older:?}");
    }
    let (on, off) = (proxy(), Proxy { active: Some(false), ..proxy() });
    let of = document::Resource::Proxy;
    assert!(gives_more(&of(on.clone()), &of(off.clone())).is_some());
    assert!(gives_more(&of(off), &of(on)).is_none());
}

#[test]
fn an_older_target_that_allows_by_default_is_left_to_a_person() {
    let target = |effect: Effect| {
        document::Resource::Target(Target { default_effect: effect.into(), ..Target::default() })
    };
    assert!(gives_more(&target(Effect::Allow), &target(Effect::Deny)).is_some());
    assert!(gives_more(&target(Effect::Unspecified), &target(Effect::Deny)).is_some());
    assert!(gives_more(&target(Effect::Deny), &target(Effect::Allow)).is_none());
}

#[test]
fn an_older_target_in_the_clear_is_left_to_a_person() {
    let target = |base_url: &str| {
        document::Resource::Target(Target { base_url: base_url.to_owned(), ..Target::default() })
    };
    let (plain, closed) = ("http://a.example", "https://a.example");
    assert!(gives_more(&target(plain), &target(closed)).is_some());
    assert!(gives_more(&target(closed), &target(plain)).is_none());
    assert!(gives_more(&target(plain), &target("http://b.example")).is_none());
}

#[test]
fn an_older_target_that_trusts_or_reaches_more_is_left_to_a_person() {
    let newer = Target {
        base_url: "https://a.example".to_owned(),
        more_base_urls: vec!["https://b.example".to_owned()],
        ca: "ours".to_owned(),
        min_tls: "1.3".to_owned(),
        validation: validation("true"),
        ..Target::default()
    };
    let more = |older: Target| {
        gives_more(&document::Resource::Target(older), &document::Resource::Target(newer.clone())).is_some()
    };
    assert!(!more(newer.clone()));
    // Where a target leads is what a withdrawal brings back.
    assert!(!more(Target { base_url: "https://c.example".to_owned(), ..newer.clone() }));
    let slower = Target { circuit_breaker: Some(fleet::CircuitBreaker::default()), ..newer.clone() };
    let swapped = Target { more_base_urls: vec!["https://a.example".to_owned()], ..newer.clone() };
    assert!(!more(Target { more_base_urls: Vec::new(), ..slower }) && !more(swapped));
    for older in [
        Target { more_base_urls: vec!["https://c.example".to_owned()], ..newer.clone() },
        Target { ca: String::new(), ..newer.clone() },
        Target { validation: None, ..newer.clone() },
        Target { ca: "theirs".to_owned(), ..newer.clone() },
        Target { min_tls: String::new(), ..newer.clone() },
        Target { min_tls: "1.2".to_owned(), ..newer.clone() },
    ] {
        assert!(more(older.clone()), "{older:?}");
    }
}
