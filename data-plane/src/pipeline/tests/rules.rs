//! Rules on real requests: who is refused, with which words, and what the record says.

use std::time::Duration;

use prost::Message as _;
use rr_contract::model::resource::Key;
use rr_contract::wire::fleet::{self, Effect};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::fixture::{
    self, Region, credential_key, deny_path, proxy_key, resource, rule_key, rule_message, target_key,
};

use super::edge::{Answer, Edge};
use super::origin::Upstream;
use super::{get, resources, with_key};

/// No test waits for longer than this.
const SOON: Duration = Duration::from_secs(20);

fn edge_with(upstream: &Upstream, more: impl IntoIterator<Item = fleet::Resource>) -> Edge {
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    all.extend(more);
    Edge::start(region.snapshot(&all), &["127.0.0.0/8"])
}

fn of_proxy(change: impl FnOnce(&mut fleet::ProxyResource)) -> fleet::Resource {
    let mut message = fixture::proxy_message(1, &[1], 1, 2);
    change(&mut message);
    resource(proxy_key(1), message.encode_to_vec())
}

/// A rule of proxy 1 about a field of the body.
fn about_body(n: u8, effect: Effect, path: &str, regex: &str) -> fleet::Resource {
    let value = Some(fleet::Pattern { regex: regex.to_owned(), ..fleet::Pattern::default() });
    let check = fleet::BodyCheck { path: path.to_owned(), value, absent: false };
    let when = fleet::RequestMatch { body: vec![check], ..fleet::RequestMatch::default() };
    let message = fleet::RuleResource {
        effect: effect.into(),
        when: Some(when),
        notes: "no \"secrets\"".to_owned(),
        ..rule_message(n, proxy_key(1))
    };
    resource(rule_key(n), message.encode_to_vec())
}

fn post(path: &str, headers: &str, body: &str) -> String {
    let headers = format!("{}{headers}content-length: {}\r\n", with_key(1), body.len());
    format!("{}{body}", get(path, &headers).replace("GET", "POST"))
}

#[tokio::test]
async fn a_rule_of_each_scope_refuses_with_its_id_name_scope_and_notes() {
    let upstream = Upstream::echo().await;
    let scopes: [(Key, &str, fleet::Scope); 4] = [
        (credential_key(1), "caller", fleet::Scope::Caller),
        (credential_key(2), "upstream", fleet::Scope::Upstream),
        (proxy_key(1), "proxy", fleet::Scope::Proxy),
        (target_key(1), "target", fleet::Scope::Target),
    ];
    for (parent, name, scope) in scopes {
        let edge = edge_with(&upstream, [deny_path(7, parent, "^/private/")]);
        let answer = edge.send(&get("/api/acme.proxy-1/private/x", &with_key(1))).await;
        assert_eq!((answer.status, answer.header("requestrocket-proxy-code")), (400, Some("rule-denied")));
        let problem = answer.json();
        assert_eq!(problem["scope"], name);
        assert_eq!(problem["rule"]["id"], rule_key(7).id_text());
        assert_eq!(problem["rule"]["name"], "rule-7");
        let record = edge.record().await;
        let said = record.rules.expect("the rules were asked");
        assert_eq!(
            (said.effect(), said.scope(), &*said.rule),
            (Effect::Deny, scope, &*rule_key(7).id_text())
        );
        assert_eq!(record.matched_rules, [rule_key(7).id_text()]);
        assert_eq!(edge.send(&get("/api/acme.proxy-1/public/x", &with_key(1))).await.status, 200);
        assert_eq!(edge.record().await.rules.map(|said| said.effect()), Some(Effect::Allow));
    }
    assert_eq!(upstream.count(), 4);
}

#[tokio::test]
async fn a_scope_that_denies_by_default_lets_through_what_a_rule_allows() {
    let upstream = Upstream::echo().await;
    let deny = of_proxy(|proxy| {
        proxy.default_effect = Effect::Deny.into();
        proxy.deny_status = 403;
    });
    let when = fleet::RequestMatch { methods: vec!["GET".to_owned()], ..fleet::RequestMatch::default() };
    let rule = fleet::RuleResource { when: Some(when), ..rule_message(7, proxy_key(1)) };
    let edge = edge_with(&upstream, [deny, resource(rule_key(7), rule.encode_to_vec())]);
    assert_eq!(edge.send(&get("/api/acme.proxy-1/", &with_key(1))).await.status, 200);
    let answer = edge.send(&post("/api/acme.proxy-1/", "", "")).await;
    assert_eq!((answer.status, answer.json()["rule"].clone()), (403, serde_json::Value::Null));
    assert_eq!(answer.json()["scope"], "proxy");
}

#[tokio::test]
async fn a_body_that_takes_long_to_look_at_lets_others_pass_and_one_that_takes_too_long_is_refused() {
    let upstream = Upstream::echo().await;
    let rules = (1..=250).map(|n| about_body(n, Effect::Deny, "m", &format!("^tool-{n}$")));
    let edge = edge_with(&upstream, rules);
    let batch = |elements: usize| {
        let body = format!(r#"[{}{{"m":"tool-1"}}]"#, r#"{"m":"a"},"#.repeat(elements));
        post("/api/acme.proxy-1/", "", &body)
    };
    let (mut long, mut other) = (edge.connect().await, edge.connect().await);
    let held = edge.hold().await;
    long.write_all(batch(600).as_bytes()).await.expect("there is room for it");
    other.write_all(get("/api/acme.proxy-1/", "").as_bytes()).await.expect("there is room for it");
    drop(held);
    assert_eq!(edge.record().await.status, 401, "the other passed while the body was looked at");
    assert_eq!(edge.record().await.code, "rule-denied");
    let mut too_long = edge.connect().await;
    too_long.write_all(batch(600_000).as_bytes()).await.expect("the edge reads");
    let answer = Answer::read_one(&mut too_long).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (400, "request-unreadable".into()));
}

#[tokio::test]
async fn a_method_that_is_not_in_upper_case_is_refused_before_a_rule_could_miss_it() {
    let upstream = Upstream::echo().await;
    let edge = edge_with(&upstream, []);
    for method in ["get", "Delete", "trace", &"X".repeat(33)] {
        let answer = edge.send(&get("/api/acme.proxy-1/", &with_key(1)).replacen("GET", method, 1)).await;
        assert_eq!(
            (answer.status, answer.json()["code"].clone()),
            (405, "method-refused".into()),
            "{method}"
        );
        assert!(edge.record().await.method.len() <= 32);
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(
        edge.send(&get("/api/acme.proxy-1/", &with_key(1)).replacen("GET", "PURGE", 1)).await.status,
        200
    );
}

#[tokio::test]
async fn a_body_is_looked_at_and_sent_on_as_it_came() {
    let upstream = Upstream::mirror().await;
    let edge = edge_with(&upstream, [about_body(7, Effect::Deny, "prompt", "ignore (all )?previous")]);
    let denied = post("/api/acme.proxy-1/", "", r#"{"prompt":"please ignore previous"}"#);
    let answer = edge.send(&denied).await;
    assert_eq!((answer.status, answer.json()["rule"]["notes"].clone()), (400, "no \"secrets\"".into()));
    assert_eq!(upstream.count(), 0, "it never went out");
    let body = "{ \"prompt\" : \"h\\u0065llo\" }";
    let answer = edge.send(&post("/api/acme.proxy-1/", "", body)).await;
    assert!(answer.status == 200 && answer.text.ends_with(body), "{answer:?}");
    for body in ["not json", "{\"prompt\":"] {
        let answer = edge.send(&post("/api/acme.proxy-1/", "", body)).await;
        assert_eq!((answer.status, answer.json()["code"].clone()), (400, "request-unreadable".into()));
    }
    let coded = post("/api/acme.proxy-1/", "content-encoding: rot13\r\n", "{}");
    assert_eq!(edge.send(&coded).await.json()["code"], "request-unreadable");
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn a_body_is_looked_at_up_to_8_mib_and_a_longer_one_is_refused_before_it_comes() {
    const MOST: usize = 8 * 1024 * 1024;
    let upstream = Upstream::mirror().await;
    let edge = edge_with(&upstream, [about_body(7, Effect::Deny, "prompt", "previous")]);
    let body = format!(r#"{{"prompt":"{}"}}"#, "x".repeat(MOST - 13));
    assert_eq!(body.len(), MOST);
    assert_eq!(edge.send(&post("/api/acme.proxy-1/", "", &body)).await.status, 200);
    let headers = format!("{}content-length: {}\r\n", with_key(1), MOST + 1);
    let mut caller = edge.connect().await;
    let head = get("/api/acme.proxy-1/", &headers).replace("GET", "POST");
    caller.write_all(head.as_bytes()).await.expect("the edge reads");
    let answer = timeout(SOON, Answer::read_one(&mut caller)).await.expect("nobody waits for the body");
    assert_eq!((answer.status, answer.json()["code"].clone()), (413, "request-too-large".into()));
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn a_compressed_body_is_decoded_for_rules_and_sent_on_compressed() {
    let upstream = Upstream::mirror().await;
    let edge = edge_with(&upstream, [about_body(7, Effect::Deny, "prompt", "previous")]);
    let send = async |text: &str| {
        let body = crate::body::gzipped(text.as_bytes());
        let head = format!("{}content-encoding: gzip\r\ncontent-length: {}\r\n", with_key(1), body.len());
        let head = get("/api/acme.proxy-1/", &head).replace("GET", "POST");
        let mut stream = edge.connect().await;
        stream.write_all(&[head.as_bytes(), &body].concat()).await.expect("the edge reads");
        Answer::read_one(&mut stream).await
    };
    assert_eq!(send(r#"{"prompt":"previous"}"#).await.status, 400);
    assert_eq!(send(r#"{"prompt":"hello"}"#).await.status, 200);
    assert_eq!(upstream.last().header("content-encoding"), Some("gzip"));
}

#[tokio::test]
async fn a_body_that_is_json_to_a_rule_and_a_form_to_the_upstream_is_refused() {
    let upstream = Upstream::echo().await;
    let edge = edge_with(&upstream, [about_body(1, Effect::Deny, "tool", "^evil$")]);
    let body = r#"{"tool":"good","x":"&tool=evil&"}"#;
    for (kind, status) in [
        ("content-type: application/x-www-form-urlencoded\r\n", 400),
        ("content-type:  Application/X-WWW-Form-Urlencoded ; charset=utf-8\r\n", 400),
        ("content-type: application/json\r\ncontent-type: application/x-www-form-urlencoded\r\n", 400),
        ("content-type: application/json\r\n", 200),
        ("", 200),
    ] {
        let answer = edge.send(&post("/api/acme.proxy-1/", kind, body)).await;
        assert_eq!(answer.status, status, "{kind}");
        if status == 400 {
            assert_eq!(answer.json()["code"], "request-unreadable");
        }
    }
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    assert_eq!(edge.send(&post("/api/acme.proxy-1/", form, "")).await.status, 200, "there is nothing in it");
    let chunked = format!("{}{form}transfer-encoding: chunked\r\n", with_key(1));
    let empty = format!("{}0\r\n\r\n", get("/api/acme.proxy-1/", &chunked).replace("GET", "POST"));
    assert_eq!(edge.send(&empty).await.status, 200, "nor in this");
    assert_eq!(upstream.count(), 4);
}

#[tokio::test]
async fn rules_do_not_see_the_callers_credential() {
    let upstream = Upstream::echo().await;
    let pattern = |regex: &str| Some(fleet::Pattern { regex: regex.to_owned(), ..fleet::Pattern::default() });
    let check = |name: &str| fleet::PairCheck { name: pattern(name), value: None, absent: false };
    let when = [
        fleet::RequestMatch { headers: vec![check("^authorization$")], ..fleet::RequestMatch::default() },
        fleet::RequestMatch { query: vec![check("(?i)^authorization$")], ..fleet::RequestMatch::default() },
    ];
    let rules = when.into_iter().zip(1..).map(|(when, n)| {
        let rule = fleet::RuleResource {
            effect: Effect::Deny.into(),
            when: Some(when),
            ..rule_message(n, proxy_key(1))
        };
        resource(rule_key(n), rule.encode_to_vec())
    });
    let edge = edge_with(&upstream, rules);
    assert_eq!(edge.send(&get("/api/acme.proxy-1/", &with_key(1))).await.status, 200);
    let path = format!("/api/acme.proxy-1/?a=1&Authorization={}", fixture::caller_key(1));
    assert_eq!(edge.send(&get(&path, "")).await.status, 200);
}

#[tokio::test]
async fn no_spelling_of_a_path_or_a_query_gets_around_a_rule() {
    let upstream = Upstream::echo().await;
    let pattern = |regex: &str| Some(fleet::Pattern { regex: regex.to_owned(), ..fleet::Pattern::default() });
    let query = fleet::PairCheck { name: pattern("^mode$"), value: pattern("^a b$"), absent: false };
    let when = fleet::RequestMatch { query: vec![query], ..fleet::RequestMatch::default() };
    let of_query = fleet::RuleResource {
        effect: Effect::Deny.into(),
        when: Some(when),
        ..rule_message(8, proxy_key(1))
    };
    let rules = [deny_path(7, proxy_key(1), "^/users/a@b$"), resource(rule_key(8), of_query.encode_to_vec())];
    let edge = edge_with(&upstream, rules);
    for (path, rule) in [
        ("users/a@b", 7),
        ("users/a%40b", 7),
        ("%75sers/./%61%40b", 7),
        ("?mode=a+b", 8),
        ("x?other=1&m%6fde=a%20%62", 8),
    ] {
        let answer = edge.send(&get(&format!("/api/acme.proxy-1/{path}"), &with_key(1))).await;
        assert_eq!(answer.status, 400, "{path}");
        assert_eq!(answer.json()["rule"]["id"], rule_key(rule).id_text(), "{path}");
    }
    assert_eq!(upstream.count(), 0);
    // What passes goes out as it was spelled.
    assert_eq!(edge.send(&get("/api/acme.proxy-1/users/c%40d?mode=a%2bb", &with_key(1))).await.status, 200);
    assert_eq!(upstream.last().target, "/users/c%40d?mode=a%2bb");
}

#[tokio::test]
async fn what_only_observes_refuses_nothing_and_is_recorded() {
    let upstream = Upstream::echo().await;
    let observing = |observe: bool| {
        let mut rule = rule_message(7, proxy_key(1));
        (rule.effect, rule.observe) = (Effect::Deny.into(), observe);
        resource(rule_key(7), rule.encode_to_vec())
    };
    let deny = |observe: bool| {
        of_proxy(move |proxy| (proxy.default_effect, proxy.observe) = (Effect::Deny.into(), observe))
    };
    for (case, more, status) in [
        ("a rule", vec![observing(true)], 200),
        ("a proxy", vec![deny(true)], 200),
        ("a rule that enforces at a proxy that observes", vec![observing(false), deny(true)], 200),
        ("a rule that enforces", vec![observing(false)], 400),
        ("a default that enforces", vec![deny(false)], 400),
    ] {
        let edge = edge_with(&upstream, more);
        assert_eq!(edge.send(&get("/api/acme.proxy-1/", &with_key(1))).await.status, status, "{case}");
        let record = edge.record().await;
        let enforced = if status == 200 { Effect::Allow } else { Effect::Deny };
        assert_eq!(record.rules.map(|said| said.effect()), Some(enforced), "{case}");
        let observed = (status == 200).then_some(Effect::Deny);
        assert_eq!(record.observed.map(|said| said.effect()), observed, "{case}");
    }
}

#[tokio::test]
async fn what_observes_and_cannot_look_is_recorded_as_unreadable() {
    let upstream = Upstream::mirror().await;
    let check = fleet::BodyCheck { path: "prompt".to_owned(), value: None, absent: false };
    let when = fleet::RequestMatch { body: vec![check], ..fleet::RequestMatch::default() };
    let rule = fleet::RuleResource {
        effect: Effect::Deny.into(),
        when: Some(when),
        observe: true,
        ..rule_message(7, proxy_key(1))
    };
    let edge = edge_with(&upstream, [resource(rule_key(7), rule.encode_to_vec())]);
    // Nobody reads a body for what only observes.
    assert_eq!(edge.send(&post("/api/acme.proxy-1/", "", r#"{"prompt":1}"#)).await.status, 200);
    let record = edge.record().await;
    let (said, observed) = (record.rules.expect("asked"), record.observed.expect("it observes"));
    assert_eq!((said.effect(), observed.effect()), (Effect::Allow, Effect::Unspecified));
    assert_eq!(edge.send(&get("/api/acme.proxy-1/", &with_key(1))).await.status, 200);
    assert_eq!(edge.record().await.observed.map(|said| said.effect()), Some(Effect::Allow), "an empty body");
}

#[tokio::test]
async fn an_encoded_slash_is_taken_where_the_proxy_says_so_and_tells_strangers_nothing() {
    let upstream = Upstream::echo().await;
    let edge = edge_with(&upstream, [of_proxy(|proxy| proxy.opaque_paths = true)]);
    let answer = edge.send(&get("/api/acme.proxy-1/a%2fb/../c%5c", &with_key(1))).await;
    assert_eq!((answer.status, &*upstream.last().target), (200, "/c%5C"));
    assert_eq!(edge.send(&get("/api/acme.proxy-1/a%2fb", "")).await.status, 401);
    let strict = edge_with(&upstream, []);
    assert_eq!(strict.send(&get("/api/acme.proxy-1/a%2fb", &with_key(1))).await.status, 400);
    assert_eq!(strict.send(&get("/api/acme.proxy-1/a%2fb", "")).await.status, 401);
    assert_eq!(strict.send(&get("/api/acme.nobody/a%2fb", "")).await.status, 401);
}

#[tokio::test]
async fn whatever_names_a_proxy_of_the_node_leaves_a_record_and_nothing_else_does() {
    let upstream = Upstream::echo().await;
    let edge = edge_with(&upstream, []);
    let key = with_key(1);
    let cases = [
        (get("/api/acme.nobody/x", &key), 401, None),
        (get("/elsewhere", &key), 404, None),
        (get("/api/acme.proxy-1/%zz", &key), 400, Some("malformed-request")),
        (get("/api/acme.proxy-1/", &key).replace("GET", "TRACE"), 405, Some("method-refused")),
        (get("/api/acme.proxy-1/", ""), 401, Some("proxy-access-denied")),
        (get("/api/acme.proxy-1/", &key), 200, Some("proxy-access-granted")),
    ];
    for (request, status, code) in &cases {
        assert_eq!(edge.send(request).await.status, *status, "{request}");
        if let Some(code) = code {
            let record = edge.record().await;
            assert_eq!(
                (&*record.code, &*record.proxy),
                (*code, &*fixture::proxy_id(1).to_string()),
                "{request}"
            );
        }
    }
}

#[tokio::test]
async fn a_refused_credential_is_told_from_others_in_the_record_alone() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    let mut expired = fixture::caller_message(3, 1, &[3]);
    expired.not_after = Some(rr_contract::model::time::timestamp(std::time::UNIX_EPOCH));
    all.push(resource(credential_key(3), expired.encode_to_vec()));
    all.push(fixture::caller(4, 1, &[4]));
    all.push(fixture::proxy(1, &[1, 3], 1, 2));
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let cases = [
        (String::new(), "missing"),
        (format!("{}{}", with_key(1), with_key(1)), "ambiguous"),
        (with_key(9), "unknown"),
        ("authorization: Bearer nonsense\r\n".to_owned(), "unknown"),
        (with_key(3), "expired"),
        (with_key(4), "not-admitted"),
    ];
    let mut answers = Vec::new();
    for (headers, reason) in cases {
        answers.push(edge.send(&get("/api/acme.proxy-1/", &headers)).await.without_id_and_date());
        assert_eq!(edge.record().await.reason, reason);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
}
