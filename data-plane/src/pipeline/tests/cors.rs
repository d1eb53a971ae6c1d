//! Calls from web pages, as a browser judges them by the Fetch standard.

use prost::Message as _;
use rr_contract::wire::fleet;

use crate::fixture::{self, Region, caller_key, proxy_key};

use super::edge::{Answer, Edge};
use super::origin::Upstream;
use super::{resources, resources_of_another, with_key};

const PATH: &str = "/api/acme.proxy-1/x";
const APP: &str = "https://app.example.com";
/// Below the suffix.
const PAGE: &str = "https://a.b.pages.example";

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Pages of one origin and of all below a suffix, with cookies.
fn named() -> fleet::Cors {
    fleet::Cors {
        origins: texts(&[APP, "https://*.pages.example"]),
        methods: texts(&["GET", "POST", "PUT"]),
        headers: texts(&["authorization", "content-type", "x-a"]),
        exposed_headers: texts(&["x-cost", "requestrocket-request-id"]),
        credentials: true,
        ..fleet::Cors::default()
    }
}

fn open(headers: &[&str]) -> fleet::Cors {
    fleet::Cors { origins: texts(&["*"]), headers: texts(headers), ..fleet::Cors::default() }
}

/// A worker whose proxy 1 takes these calls, and whose proxy 2 takes none from web pages.
fn edge_with(upstream: &str, change: fleet::ProxyResource) -> Edge {
    let region = Region::new();
    let mut all = resources(&region, upstream);
    all.push(fixture::resource(proxy_key(1), change.encode_to_vec()));
    all.push(fixture::proxy(2, &[1], 1, 2));
    Edge::start(region.snapshot(&all), &["127.0.0.0/8"])
}

fn with_cors(cors: fleet::Cors) -> fleet::ProxyResource {
    fleet::ProxyResource { cors: Some(cors), ..fixture::proxy_message(1, &[1], 1, 2) }
}

fn edge(upstream: &Upstream, cors: fleet::Cors) -> Edge {
    edge_with(&upstream.url(""), with_cors(cors))
}

fn ask(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n{headers}\r\n")
}

fn preflight(path: &str, origin: &str, method: &str, headers: &str) -> String {
    let asked = if headers.is_empty() {
        String::new()
    } else {
        format!("access-control-request-headers: {headers}\r\n")
    };
    let lines = format!("origin: {origin}\r\naccess-control-request-method: {method}\r\n{asked}");
    ask("OPTIONS", path, &lines)
}

/// What a page does: its origin, whether with cookies, the method, headers beside those that are always allowed.
struct Fetch {
    origin: &'static str,
    include: bool,
    method: &'static str,
    headers: &'static [&'static str],
}

/// Members of a header that is a list of names.
fn members<'a>(answer: &'a Answer, name: &str) -> Vec<&'a str> {
    answer.all(name).into_iter().flat_map(|line| line.split(',')).map(str::trim).collect()
}

impl Fetch {
    /// The CORS check (4.10 of the standard).
    fn can_read(&self, answer: &Answer) -> bool {
        let origin = answer.all("access-control-allow-origin");
        match *origin {
            ["*"] if !self.include => true,
            [origin] if origin == self.origin => {
                !self.include || answer.all("access-control-allow-credentials") == ["true"]
            }
            _ => false,
        }
    }

    /// The CORS-preflight fetch (4.8): whether the browser goes on to send the request.
    async fn may_send(&self, edge: &Edge) -> bool {
        let is_safelisted = ["GET", "HEAD", "POST"].contains(&self.method);
        let mut headers = self.headers.to_vec();
        headers.sort_unstable();
        let answer = edge.send(&preflight(PATH, self.origin, self.method, &headers.join(","))).await;
        if !self.can_read(&answer) || !(200..300).contains(&answer.status) {
            return false;
        }
        let (methods, names) = (
            members(&answer, "access-control-allow-methods"),
            members(&answer, "access-control-allow-headers"),
        );
        let star = |list: &[&str]| !self.include && list.contains(&"*");
        if !methods.contains(&self.method) && !is_safelisted && !star(&methods) {
            return false;
        }
        headers.iter().all(|header| {
            let is_named = names.iter().any(|name| name.eq_ignore_ascii_case(header));
            is_named || (*header != "authorization" && star(&names))
        })
    }
}

/// A worker, a page, whether it sends cookies, its method and headers, and whether the browser sends the request.
type Row<'e> = (&'e Edge, &'static str, bool, &'static str, &'static [&'static str], bool);

#[tokio::test]
async fn a_browser_sends_what_the_proxy_takes_and_nothing_else() {
    let upstream = Upstream::echo().await;
    let (named, all) = (edge(&upstream, named()), edge(&upstream, open(&["*"])));
    let (simple, keyed) = (edge(&upstream, open(&[])), edge(&upstream, open(&["*", "authorization"])));
    let rows: &[Row<'_>] = &[
        (&named, APP, true, "PUT", &["authorization", "x-a"], true),
        (&named, APP, false, "GET", &["content-type"], true),
        (&named, PAGE, true, "POST", &["authorization"], true),
        (&named, APP, true, "DELETE", &[], false),
        (&named, APP, true, "put", &[], false),
        (&named, APP, true, "PUT", &["x-b"], false),
        (&named, APP, true, "PUT", &["authorization", "x-a", "x-b"], false),
        (&named, "https://app.example.com.evil.com", true, "GET", &["x-a"], false),
        (&named, "https://pages.example", true, "GET", &["x-a"], false),
        (&named, "null", false, "GET", &["x-a"], false),
        (&all, APP, false, "POST", &["x-a", "x-b", "content-type"], true),
        (&all, "null", false, "GET", &["x-a"], true),
        (&all, APP, false, "GET", &["authorization"], false),
        (&all, APP, false, "PUT", &["x-a"], false),
        (&all, APP, true, "GET", &["x-a"], false),
        (&keyed, APP, false, "GET", &["authorization", "x-a"], true),
        (&simple, APP, false, "POST", &[], true),
        (&simple, APP, false, "POST", &["x-a"], false),
    ];
    for &(edge, origin, include, method, headers, wanted) in rows {
        let fetch = Fetch { origin, include, method, headers };
        assert_eq!(fetch.may_send(edge).await, wanted, "{origin} {include} {method} {headers:?}");
    }
    assert_eq!(upstream.count(), 0, "a preflight goes to no upstream");
}

#[tokio::test]
async fn a_preflight_is_answered_before_anybody_is_asked_who_it_is() {
    let upstream = Upstream::echo().await;
    let edge = edge(&upstream, named());
    let answer = edge.send(&preflight(PATH, APP, "PUT", "X-A, authorization")).await;
    assert_eq!((answer.status, answer.header("requestrocket-proxy-code")), (204, Some("preflight")));
    for (name, value) in [
        ("access-control-allow-origin", APP),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "GET, POST, PUT"),
        ("access-control-allow-headers", "authorization, content-type, x-a"),
        ("access-control-max-age", "600"),
        ("vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
    ] {
        assert_eq!(answer.all(name), [value], "{name}");
    }
    assert!(answer.header("content-length").is_none() && answer.header("content-type").is_none());
    let refused = edge.send(&preflight(PATH, APP, "DELETE", "")).await;
    assert_eq!((refused.status, refused.json()["code"].clone()), (403, "preflight-refused".into()));
    assert!(!refused.text.contains("access-control-allow"));
    let many = (0..200).map(|n| format!("x-{n}")).collect::<Vec<_>>().join(",");
    for asked in ["x-a, b c", "x-a,\u{e4}", &many] {
        let everybody = self::edge(&upstream, open(&["*"]));
        assert_eq!(everybody.send(&preflight(PATH, APP, "GET", asked)).await.status, 403, "{asked}");
    }
    // Two claims are none.
    let twice = preflight(PATH, APP, "GET", "").replace("\r\n\r\n", &format!("\r\norigin: {APP}\r\n\r\n"));
    assert_eq!(edge.send(&twice).await.status, 401);
    // Without the signs of a preflight it is a request like any other.
    for headers in [format!("origin: {APP}\r\n"), "access-control-request-method: GET\r\n".to_owned()] {
        assert_eq!(edge.send(&ask("OPTIONS", PATH, &headers)).await.status, 401);
        assert_eq!(edge.send(&ask("OPTIONS", PATH, &format!("{headers}{}", with_key(1)))).await.status, 200);
    }
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn a_proxy_is_not_told_from_one_that_does_not_exist_but_to_pages_that_it_names() {
    let upstream = Upstream::echo().await;
    let edge = edge(&upstream, named());
    let of = |path: &str| {
        let key = format!("{path}?authorization={}", caller_key(9));
        [
            preflight(path, "https://evil.com", "GET", "x-a"),
            preflight(path, "https://evil.com", "BREW", "x-z"),
            preflight(path, "https://app.example.com.evil.com", "GET", "x-a"),
            preflight(&key, "null", "GET", "x-a"),
            ask("GET", path, ""),
            ask("GET", path, "origin: https://evil.com\r\n"),
            ask("GET", path, &format!("origin: https://evil.com\r\n{}", with_key(9))),
            ask("POST", path, "origin: null\r\ncontent-length: 0\r\n"),
        ]
    };
    let unknown = of("/api/acme.nobody/x");
    for (known, unknown) in of(PATH).iter().zip(&unknown) {
        let (known, unknown) = (edge.send(known).await, edge.send(unknown).await);
        assert_eq!(known.status, 401);
        assert_eq!(known.without_id_and_date(), unknown.without_id_and_date());
    }
    // One that takes no calls from pages says nothing to any.
    let without = of("/api/acme.proxy-2/x");
    let app = |path| [preflight(path, APP, "GET", "x-a"), ask("GET", path, &format!("origin: {APP}\r\n"))];
    let (without, unknown) = (
        without.iter().chain(&app("/api/acme.proxy-2/x")).cloned().collect::<Vec<_>>(),
        unknown.iter().chain(&app("/api/acme.nobody/x")).cloned().collect::<Vec<_>>(),
    );
    for (without, unknown) in without.iter().zip(&unknown) {
        let (without, unknown) = (edge.send(without).await, edge.send(unknown).await);
        assert_eq!(without.without_id_and_date(), unknown.without_id_and_date());
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_page_can_read_what_it_is_answered_and_refused() {
    let upstream = Upstream::told().await;
    let mut proxy = with_cors(named());
    proxy.limits = Some(fleet::Limits { per_minute_per_node: 2, ..fleet::Limits::default() });
    let edge = edge_with(&upstream.url(""), proxy);
    let fetch = Fetch { origin: APP, include: true, method: "GET", headers: &[] };
    let origin = format!("origin: {APP}\r\n");
    let theirs = "x-answer-access-control-allow-origin: *\r\nx-answer-access-control-allow-private: x\r\n\
                  x-answer-vary: accept-encoding\r\n";
    let answer = edge.send(&ask("GET", PATH, &format!("{origin}{theirs}{}", with_key(1)))).await;
    assert_eq!((answer.status, fetch.can_read(&answer)), (200, true), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-private"), None, "the proxy is the one authority");
    assert_eq!(answer.all("vary"), ["accept-encoding", "Origin"]);
    assert_eq!(answer.all("access-control-expose-headers"), ["x-cost, requestrocket-request-id"]);
    // A page that is not named, and nobody's page, read nothing; a cache keeps that apart.
    for origin in ["origin: https://evil.com\r\n", ""] {
        let path = "/api/acme.proxy-1/x";
        let answer = edge.send(&ask("GET", path, &format!("{origin}{theirs}{}", with_key(1)))).await;
        if answer.status == 200 {
            assert_eq!(answer.all("vary"), ["accept-encoding", "Origin"]);
        }
        assert!(!answer.text.contains("access-control-"), "{answer:?}");
    }
    for (headers, status) in [
        (String::new(), 401),
        (with_key(9), 401),
        (with_key(1), 429),
        (format!("{}content-length: 2\r\n", with_key(1)), 429),
    ] {
        let answer = edge.send(&ask("GET", PATH, &format!("{origin}{headers}"))).await;
        assert_eq!((answer.status, fetch.can_read(&answer)), (status, true), "{answer:?}");
        assert_eq!(answer.all("vary"), ["Origin"]);
    }
    assert_eq!(edge.send(&ask("GET", &format!("{PATH}/%zz"), &origin)).await.status, 400);
    let bad = edge.send(&ask("GET", &format!("{PATH}/%zz"), &origin)).await;
    assert!(fetch.can_read(&bad));
}

#[tokio::test]
async fn what_an_upstream_says_of_pages_passes_where_the_proxy_has_no_word() {
    let upstream = Upstream::told().await;
    let edge = edge(&upstream, named());
    let theirs = "origin: https://evil.com\r\nx-answer-access-control-allow-origin: *\r\n";
    let answer = edge.send(&ask("GET", "/api/acme.proxy-2/x", &format!("{theirs}{}", with_key(1)))).await;
    assert_eq!(answer.all("access-control-allow-origin"), ["*"]);
    assert_eq!(answer.header("vary"), None);
}

#[tokio::test]
async fn a_proxy_that_is_off_tells_its_pages_and_one_that_is_closed_tells_nobody() {
    let upstream = Upstream::echo().await;
    let off = edge_with(&upstream.url(""), fleet::ProxyResource { active: false, ..with_cors(named()) });
    assert_eq!(off.send(&preflight(PATH, APP, "GET", "")).await.status, 204);
    let answer = off.send(&ask("GET", PATH, &format!("origin: {APP}\r\n{}", with_key(1)))).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (403, Some(APP)));
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    all.push(fixture::resource(proxy_key(1), with_cors(named()).encode_to_vec()));
    all.push(fixture::future_rule(1, proxy_key(1)));
    let closed = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let (known, unknown) = (
        closed.send(&preflight(PATH, APP, "GET", "")).await,
        closed.send(&preflight("/api/acme.nobody/x", APP, "GET", "")).await,
    );
    assert_eq!(known.without_id_and_date(), unknown.without_id_and_date());
}

#[tokio::test]
async fn preflights_count_against_no_limit_and_share_records_beyond_a_rate() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    all.extend(resources_of_another(&upstream.url("")));
    let day = Some(fleet::Limits { per_day_per_node: 1, ..fleet::Limits::default() });
    let proxy = fleet::ProxyResource { limits: day, limits_per_address: day, ..with_cors(named()) };
    all.push(fixture::resource(proxy_key(1), proxy.encode_to_vec()));
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    for _ in 0..30 {
        assert_eq!(edge.send(&preflight(PATH, APP, "GET", "x-a")).await.status, 204);
        assert_eq!(edge.send(&preflight(PATH, "https://evil.com", "GET", "x-a")).await.status, 401);
        assert_eq!(edge.send(&preflight(PATH, APP, "BREW", "x-a")).await.status, 403);
    }
    assert_eq!(edge.send(&ask("GET", PATH, &with_key(1))).await.status, 200);
    let records = edge.end().await;
    for (code, reason, status) in
        [("preflight", "", 204), ("proxy-access-denied", "origin", 401), ("preflight-refused", "", 403)]
    {
        let of = |record: &&fleet::Record| (&*record.code, &*record.reason) == (code, reason);
        let all: Vec<_> = records.iter().filter(of).collect();
        // A minute may have ended meanwhile.
        assert!((11..=22).contains(&all.len()), "{code}: {}", all.len());
        assert!(all.iter().all(|record| record.status == status && record.path == "/x"));
        assert_eq!(all.iter().map(|record| record.count.max(1)).sum::<u64>(), 30, "{code}");
    }
    assert_eq!(records.iter().filter(|record| record.code == "proxy-access-granted").count(), 1);
}

#[tokio::test]
async fn a_preflight_of_another_page_is_one_of_an_unknown_proxy_where_the_node_refuses_credentials_too() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    // Credentials that this node cannot run are looked for in every header.
    let refused =
        |n: u8| fleet::Resource { needs: vec!["teleport".to_owned()], ..fixture::caller(n, 1, &[n]) };
    all.extend([refused(3), refused(4)]);
    let proxy = fleet::ProxyResource { cors: Some(named()), ..fixture::proxy_message(1, &[1, 3], 1, 2) };
    all.push(fixture::resource(proxy_key(1), proxy.encode_to_vec()));
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    // The credential of the proxy that is refused is told so, and with it that there is one.
    assert_eq!(edge.send(&ask("GET", PATH, &with_key(3))).await.status, 503);
    assert_eq!(edge.record().await.code, "proxy-closed");
    // No more than have records of their own.
    for key in [String::new(), with_key(1), with_key(3), with_key(4), with_key(3).repeat(2)] {
        for origin in ["https://evil.com", "null"] {
            let ask = |path: &str| {
                preflight(path, origin, "GET", "x-a")
                    .replace("host: edge\r\n", &format!("host: edge\r\n{key}"))
            };
            let known = edge.send(&ask(PATH)).await;
            let record = edge.record().await;
            assert_eq!((&*record.code, &*record.reason), ("proxy-access-denied", "origin"));
            let unknown = edge.send(&ask("/api/acme.nobody/x")).await;
            assert_eq!(known.status, 401);
            assert_eq!(known.without_id_and_date(), unknown.without_id_and_date());
        }
    }
    assert_eq!(upstream.count(), 0);
}
