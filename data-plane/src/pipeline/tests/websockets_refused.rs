//! Requests that do not become WebSockets: refused, passed over, or answered in a way that opens nothing.

use prost::Message as _;
use rr_contract::wire::fleet;
use tokio::io::AsyncWriteExt as _;

use crate::fixture::{self, filter, proxy_key};

use super::edge::{Answer, Edge};
use super::origin::Upstream;
use super::websockets::{ACCEPT, KEY, Raw, edge_of, proxy, tunnel, upgrade};
use super::{get, with_key};

#[tokio::test]
async fn an_upstream_that_switches_in_any_other_way_gets_nothing_of_the_caller() {
    let upstream = Raw::new().await;
    let edge = edge_of(&upstream.url(), []);
    let (good, up) = ("connection: upgrade\r\n", "upgrade: websocket\r\n");
    let accept = "sec-websocket-accept: {}\r\n";
    let cases: [(&[&str], &str); 13] = [
        (&[good, up], "no accept"),
        (&[good, up, "sec-websocket-accept: nonsense\r\n"], "wrong accept"),
        (&[good, up, "sec-websocket-accept: ", ACCEPT, "\r\n"], "accept for the caller's key"),
        (&[good, up, accept, accept], "two accepts"),
        (&[good, accept], "no upgrade"),
        (&[up, accept], "no connection"),
        (&[good, "upgrade: h2c\r\n", accept], "another protocol"),
        (&[good, "upgrade: websocket, h2c\r\n", accept], "two protocols"),
        (&[good, up, "upgrade: h2c\r\n", accept], "two headers"),
        (&[good, up, accept, "sec-websocket-protocol: c\r\n"], "subprotocol that was not offered"),
        (&[good, up, accept, "sec-websocket-protocol: a, b\r\n"], "two subprotocols"),
        (&[good, up, accept, "sec-websocket-extensions: x-evil\r\n"], "extension that was not offered"),
        (&["content-length: 5\r\n"], "nothing at all"),
    ];
    for (headers, case) in cases {
        let mut caller = edge.connect().await;
        let offered = format!("{}sec-websocket-protocol: a, b\r\n", with_key(1));
        let request = format!("{}early", upgrade("/api/acme.proxy-1/", &offered));
        caller.write_all(request.as_bytes()).await.expect("the edge reads");
        let mut came = upstream.next().await;
        let text = headers.concat().replace("{}", &came.accept());
        let text = format!("HTTP/1.1 101 Switching Protocols\r\n{text}\r\nframes");
        came.stream.write_all(text.as_bytes()).await.expect("the edge reads");
        let answer = Answer::read_one(&mut caller).await;
        assert_eq!((answer.status, answer.json()["code"].clone()), (502, "upgrade-refused".into()), "{case}");
        assert_eq!(came.rest().await, "", "{case}");
        let record = edge.record().await;
        assert_eq!((record.upstream_status, record.tunnel_end), (101, 0), "{case}");
    }
    let huge = format!("HTTP/1.1 101 Switching Protocols\r\nx: {}", "y".repeat(200_000));
    for (text, case) in [("SSH-2.0-OpenSSH\r\n\r\n", "garbage"), (&*huge, "huge"), ("", "end")] {
        let mut caller = edge.connect().await;
        let request = upgrade("/api/acme.proxy-1/", &with_key(1));
        caller.write_all(request.as_bytes()).await.expect("the edge reads");
        let mut came = upstream.next().await;
        // The edge may have had enough before.
        came.stream.write_all(text.as_bytes()).await.ok();
        came.stream.shutdown().await.ok();
        let answer = Answer::read_one(&mut caller).await;
        assert_eq!(
            (answer.status, answer.json()["code"].clone()),
            (502, "upstream-unreachable".into()),
            "{case}"
        );
    }
    assert_eq!(edge.tunnels(), 0);
}

#[tokio::test]
async fn any_other_protocol_is_passed_over_and_nothing_of_it_goes_on() {
    let upstream = Upstream::echo().await;
    let edge = edge_of(&upstream.url(""), []);
    let key = with_key(1);
    for headers in [
        "upgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: AAMAAABk\r\n",
        "upgrade: websocket, h2c\r\nconnection: upgrade\r\n",
        "upgrade: websocket\r\nupgrade: h2c\r\nconnection: upgrade\r\n",
        "upgrade: TLS/1.2\r\nconnection: upgrade\r\n",
        "upgrade: websocket\r\nconnection: keep-alive\r\n",
        "upgrade: websocket\r\n",
    ] {
        let request = format!("GET /api/acme.proxy-1/ HTTP/1.1\r\nhost: edge\r\n{key}{headers}\r\n");
        let mut caller = edge.connect().await;
        caller.write_all(request.as_bytes()).await.expect("the edge reads");
        assert_eq!(Answer::read_one(&mut caller).await.status, 200, "{headers}");
        for name in ["upgrade", "connection", "http2-settings"] {
            assert_eq!(upstream.last().header(name), None, "{headers}");
        }
    }
}

#[tokio::test]
async fn a_request_that_no_websocket_can_begin_with_is_refused() {
    let upstream = Upstream::echo().await;
    let edge = edge_of(&upstream.url(""), []);
    let good = upgrade("/api/acme.proxy-1/", &with_key(1));
    for (from, to) in [
        ("GET", "POST"),
        ("version: 13", "version: 8"),
        ("sec-websocket-version: 13\r\n", ""),
        ("sec-websocket-version: 13", "sec-websocket-version: 13\r\nsec-websocket-version: 8"),
        (&*format!("sec-websocket-key: {KEY}\r\n"), ""),
        (KEY, "dGhlIHNhbXBsZQ=="),
        (KEY, "not base64 not base64!!!"),
        (KEY, &format!("{KEY}\r\nsec-websocket-key: {KEY}")),
        ("\r\n\r\n", "\r\ncontent-length: 2\r\n\r\nhi"),
        ("\r\n\r\n", "\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ] {
        let request = good.replacen(from, to, 1).replace("connection: Upgrade", "connection: upgrade, close");
        let answer = edge.send(&request).await;
        let code = answer.header("requestrocket-proxy-code");
        assert_eq!((answer.status, code), (400, Some("malformed-upgrade")), "{from} to {to}");
        assert_eq!(answer.header("sec-websocket-version"), Some("13"));
    }
    // A tunnel keeps its head for as long as it lasts.
    let long = format!("{}x-long: {}\r\nconnection: close\r\n", with_key(1), "x".repeat(8 * 1024));
    assert_eq!(edge.send(&good.replace(&with_key(1), &long)).await.status, 431);
    assert_eq!(edge.send(&good.replace(&with_key(1), "connection: close\r\n")).await.status, 401);
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_proxy_that_takes_no_websockets_says_so_to_its_callers_only() {
    let upstream = Upstream::echo().await;
    let edge = edge_of(&upstream.url(""), [proxy(|proxy| proxy.websocket = false)]);
    let request = |key: &str| upgrade("/api/acme.proxy-1/", &format!("{key}connection: close\r\n"));
    let answer = edge.send(&request(&with_key(1))).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (403, "upgrade-not-allowed".into()));
    assert_eq!(edge.send(&request("")).await.status, 401);
    // Nor can an upstream be asked that is spoken to in HTTP/2 alone.
    let message = fixture::target_message(1, &upstream.url(""));
    let target = fleet::TargetResource { http_version: "2".to_owned(), ..message };
    let answer =
        edge_of(&upstream.url(""), [fixture::target_of(1, &target)]).send(&request(&with_key(1))).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (403, "upgrade-not-allowed".into()));
    assert_eq!(upstream.count(), 0);
}

fn about_body() -> fleet::RequestMatch {
    let check = fleet::BodyCheck { path: "a".to_owned(), value: None, absent: false };
    fleet::RequestMatch { body: vec![check], ..fleet::RequestMatch::default() }
}

#[tokio::test]
async fn a_proxy_that_looks_at_bodies_takes_websockets_only_if_somebody_accepted_that_they_pass_unread() {
    let upstream = Raw::new().await;
    let places =
        [fixture::credential_key(1), fixture::credential_key(2), fixture::target_key(1), proxy_key(1)];
    let mut looks: Vec<(String, fleet::Resource)> = Vec::new();
    for (at, place) in places.into_iter().enumerate() {
        looks.push((format!("filter {at}"), filter(1, place, fleet::FilterAction::Destroy, &["a"])));
        let rule = fleet::RuleResource {
            effect: fleet::Effect::Deny.into(),
            when: Some(about_body()),
            ..fixture::rule_message(1, place)
        };
        looks.push((format!("rule {at}"), fixture::resource(fixture::rule_key(1), rule.encode_to_vec())));
    }
    let meter = fleet::MeterResource { only_when: Some(about_body()), ..fixture::meter_message(1, 1) };
    looks.push(("meter over requests".to_owned(), fixture::meter(1, &meter)));
    let location = Some(fleet::meter_value::Location::BodyPath("usage".to_owned()));
    let value = fleet::MeterValue { location, reserve: 5, on_missing: Some(3), ..Default::default() };
    let counts = Some(fleet::meter_resource::Counts::Value(value));
    let meter = fleet::MeterResource { counts, ..fixture::meter_message(1, 1) };
    looks.push(("meter over responses".to_owned(), fixture::meter(1, &meter)));
    let bounded = |accepts| {
        move |proxy: &mut fleet::ProxyResource| {
            proxy.tunnels_unread = accepts;
            proxy.max_request_bytes = 1000;
        }
    };
    let bounded_back = |accepts| {
        move |proxy: &mut fleet::ProxyResource| {
            proxy.tunnels_unread = accepts;
            proxy.max_response_bytes = 1000;
        }
    };
    let request = upgrade("/api/acme.proxy-1/", &format!("{}connection: close\r\n", with_key(1)));
    let refuses = async |edge: Edge, case: &str| {
        let answer = edge.send(&request).await;
        assert_eq!((answer.status, answer.json()["code"].clone()), (403, "tunnel-unread".into()), "{case}");
    };
    let takes = async |edge: Edge| {
        drop(tunnel(&edge, &upstream).await);
        edge.record().await
    };
    for (case, look) in looks {
        refuses(edge_of(&upstream.url(), [look.clone()]), &case).await;
        let accepts = proxy(|proxy| proxy.tunnels_unread = true);
        let record = takes(edge_of(&upstream.url(), [look, accepts])).await;
        for state in record.meters {
            let charged = if case == "meter over responses" { 3_000_000 } else { 0 };
            assert_eq!((state.charged_millionths, state.missing), (charged, charged > 0), "{case}");
        }
    }
    refuses(edge_of(&upstream.url(), [proxy(bounded(false))]), "bound of requests").await;
    refuses(edge_of(&upstream.url(), [proxy(bounded_back(false))]), "bound of responses").await;
    takes(edge_of(&upstream.url(), [proxy(bounded(true))])).await;
    takes(edge_of(&upstream.url(), [proxy(bounded_back(true))])).await;
    // Not the meter that counts requests, nor the one that is off.
    let counted = takes(edge_of(&upstream.url(), [fixture::meter(1, &fixture::meter_message(1, 1))])).await;
    assert_eq!(counted.meters[0].charged_millionths, 1_000_000);
    let off = fleet::MeterResource { active: false, ..meter };
    takes(edge_of(&upstream.url(), [fixture::meter(1, &off)])).await;
}

#[tokio::test]
async fn rules_can_tell_a_websocket_by_its_header() {
    let upstream = Upstream::echo().await;
    let regex = |regex: &str| Some(fleet::Pattern { regex: regex.to_owned(), ..fleet::Pattern::default() });
    let check = fleet::PairCheck {
        name: regex("^upgrade$"),
        value: regex("^websocket$"),
        ..fleet::PairCheck::default()
    };
    let rule = fleet::RuleResource {
        effect: fleet::Effect::Deny.into(),
        when: Some(fleet::RequestMatch { headers: vec![check], ..fleet::RequestMatch::default() }),
        ..fixture::rule_message(1, proxy_key(1))
    };
    let rule = fixture::resource(fixture::rule_key(1), rule.encode_to_vec());
    let edge = edge_of(&upstream.url(""), [rule]);
    let request = upgrade("/api/acme.proxy-1/", &format!("{}connection: close\r\n", with_key(1)));
    let answer = edge.send(&request).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (400, "rule-denied".into()));
    assert_eq!(edge.send(&get("/api/acme.proxy-1/", &with_key(1))).await.status, 200);
}
