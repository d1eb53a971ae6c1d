//! A proxy of a test's own: what it is asked, and what is taken from it.

use std::sync::Mutex;

use rr_runtime::{Tasks, chain};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::super::address_guard::AddressGuard;
use super::super::names::{Found, Lookup, NameError, Names};
use super::super::outbound::{Outbound, OutboundError};
use super::*;

const LONG: Duration = Duration::from_secs(20);

/// Knows the proxy, and one upstream.
struct Zone;

impl Names for Zone {
    fn look_up<'n>(&'n self, name: &'n str) -> Lookup<'n> {
        let addresses = match name {
            "proxy.example" => vec![[127, 0, 0, 1].into()],
            "both-proxy.example" => vec![std::net::Ipv6Addr::LOCALHOST.into(), [127, 0, 0, 1].into()],
            "both.example" => vec!["2606:4700::1111".parse().expect("an address"), [1, 1, 1, 1].into()],
            "api.example" => vec![[8, 8, 8, 8].into(), [10, 0, 0, 1].into(), [1, 1, 1, 1].into()],
            "many.example" => (1..=9).map(|n| [1, 1, 1, n].into()).collect(),
            "inward.example" => vec![[10, 0, 0, 1].into()],
            _ => Vec::new(),
        };
        let good_for = Duration::ZERO;
        Box::pin(async move {
            if addresses.is_empty() {
                return Err(NameError::Missing { good_for });
            }
            Ok(Found { addresses, good_for })
        })
    }
}

/// A proxy that answers each `CONNECT` with the next of these texts, and then keeps the connection.
struct Proxy {
    url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn answering(answers: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&heads);
        Tasks::new().spawn("proxy", async move {
            let mut kept = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.expect("loopback");
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.expect("a whole head"));
                }
                seen.lock().expect("no panic").push(String::from_utf8(head).expect("text"));
                stream.write_all(answer.as_bytes()).await.expect("it reads");
                kept.push(stream);
            }
            std::future::pending::<()>().await;
        });
        Self { url: format!("http://proxy.example:{port}"), heads }
    }

    fn asked(&self) -> Vec<String> {
        let heads = self.heads.lock().expect("no panic");
        let target = |head: &String| head.split(' ').nth(1).expect("a target").to_owned();
        heads.iter().map(target).collect()
    }

    fn hop(&self, judges: bool, except: &[&str]) -> NextHop {
        let except: Vec<String> = except.iter().map(|text| (*text).to_owned()).collect();
        NextHop::new(&self.url, None, judges, &except).expect("a next hop")
    }
}

fn over(hop: NextHop) -> Arc<Outbound> {
    Outbound::new(AddressGuard::default(), Resolver::new(Arc::new(Zone)), Some(hop))
}

async fn open(out: &Outbound, host: &str) -> Result<TcpStream, OutboundError> {
    let judged = out.judge(OrgId::from_random([1; 16]), &Host::parse(host).expect("a host"), 443).await?;
    out.connect(&judged, LONG, || Some(())).await
}

#[tokio::test]
async fn the_proxy_is_asked_for_an_address_that_was_judged() {
    let proxy = Proxy::answering(&["HTTP/1.1 200 Connection established\r\n\r\n"]).await;
    let out = over(proxy.hop(false, &[]));
    open(&out, "api.example").await.expect("the proxy opens it");
    assert_eq!(
        *proxy.heads.lock().expect("no panic"),
        ["CONNECT 8.8.8.8:443 HTTP/1.1\r\nHost: 8.8.8.8:443\r\n\r\n"]
    );
    for inward in ["inward.example", "10.0.0.1", "127.0.0.1", "[::1]"] {
        let refused = open(&out, inward).await;
        assert!(matches!(refused, Err(OutboundError::Guarded)), "{inward}: {refused:?}");
    }
    assert_eq!(proxy.asked().len(), 1);
}

#[tokio::test]
async fn a_proxy_that_judges_is_asked_for_the_name_and_addresses_are_judged_here_nevertheless() {
    let proxy = Proxy::answering(&["HTTP/1.0 200\r\nVia: 1.0 proxy\r\n\r\n"]).await;
    let out = over(proxy.hop(true, &[]));
    open(&out, "inward.example").await.expect("the proxy opens it");
    assert_eq!(proxy.asked(), ["inward.example:443"]);
    let refused = open(&out, "10.0.0.1").await;
    assert!(matches!(refused, Err(OutboundError::Guarded)), "{refused:?}");
}

#[tokio::test]
async fn the_next_address_is_asked_for_when_one_fails() {
    let answers = &["HTTP/1.1 502 Bad Gateway\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"];
    let proxy = Proxy::answering(answers).await;
    open(&over(proxy.hop(false, &[])), "api.example").await.expect("the proxy opens the second");
    assert_eq!(proxy.asked(), ["8.8.8.8:443", "1.1.1.1:443"]);
}

#[tokio::test]
async fn of_a_destination_with_many_addresses_the_proxy_is_asked_for_few() {
    const BAD: &str = "HTTP/1.1 502 Bad Gateway\r\n\r\n";
    let proxy = Proxy::answering(&[BAD; 9]).await;
    let refused = open(&over(proxy.hop(false, &[])), "many.example").await;
    assert!(matches!(refused, Err(OutboundError::Connect(_))), "{refused:?}");
    assert_eq!(proxy.asked().len(), DESTINATIONS);
}

#[tokio::test]
async fn what_the_proxy_reaches_over_ipv4_alone_it_is_asked_for_over_ipv4_the_next_time() {
    const BAD: &str = "HTTP/1.1 502 Bad Gateway\r\n\r\n";
    const GOOD: &str = "HTTP/1.1 200 OK\r\n\r\n";
    let proxy = Proxy::answering(&[BAD, GOOD, GOOD, BAD]).await;
    // Nor does anybody listen at its own IPv6 address.
    let url = proxy.url.replace("proxy.example", "both-proxy.example");
    let out = over(NextHop::new(&url, None, false, &[]).expect("a next hop"));
    for _ in 0..2 {
        open(&out, "both.example").await.expect("the proxy reaches it");
    }
    assert_eq!(proxy.asked(), ["[2606:4700::1111]:443", "1.1.1.1:443", "1.1.1.1:443"]);
    let resolver = Resolver::new(Arc::new(Zone));
    let hop = NextHop::new(&url, None, true, &[]).expect("a next hop");
    let org = OrgId::from_random([1; 16]);
    let first = async || hop.addresses(&resolver, org).await.expect("it has two").addresses()[0].is_ipv6();
    assert!(first().await);
    hop.reach_name(&resolver, org, "a:1", &|| Some(())).await.expect_err("it says no");
    assert!(!first().await);
}

#[tokio::test]
async fn credentials_go_to_the_proxy_and_into_no_error() {
    let proxy = Proxy::answering(&["HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"]).await;
    let credentials = Secret::from("user:hunter2\n".to_owned());
    let hop = NextHop::new(&proxy.url, Some(&credentials), true, &[]).expect("a next hop");
    let error = open(&over(hop), "api.example").await.expect_err("it is refused");
    let text = chain(&error).to_string();
    assert!(text.contains("407") && text.contains(&proxy.url) && !text.contains("hunter2"), "{text}");
    let head = proxy.heads.lock().expect("no panic")[0].clone();
    let value = BASE64.encode(b"user:hunter2");
    assert!(head.contains(&format!("\r\nProxy-Authorization: Basic {value}\r\n")), "{head}");
    for bad in ["user", "", "user:a\nb"] {
        let refused = NextHop::new(&proxy.url, Some(&Secret::from(bad.to_owned())), false, &[]);
        assert!(matches!(refused, Err(InvalidNextHop::Credentials)), "{bad:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_plain_yes_is_an_error_with_status_and_proxy() {
    let long: &'static str =
        Box::leak(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(HEAD)).into_boxed_str());
    for (answer, why) in [
        ("HTTP/1.1 403 Forbidden\r\n\r\n", "status 403"),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", "status 403"),
        ("HTTP/1.1 100 Continue\r\n\r\n", "status 100"),
        ("HTTP/1.1 301 Moved\r\nLocation: http://10.0.0.1/\r\n\r\n", "status 301"),
        ("HTTP/1.1 200 OK\r\n\r\nx", "behind the head"),
        ("HTTP/2 200 OK\r\n\r\n", "head of an HTTP answer"),
        ("HTTP/1.1 20 OK\r\n\r\n", "head of an HTTP answer"),
        ("HTTP/1.1 2000\r\n\r\n", "head of an HTTP answer"),
        ("SSH-2.0-OpenSSH\r\n\r\n", "head of an HTTP answer"),
        (long, "head of an HTTP answer"),
    ] {
        let answers: &'static [&'static str] = Box::leak(Box::new([answer]));
        let proxy = Proxy::answering(answers).await;
        let error = open(&over(proxy.hop(true, &[])), "api.example").await.expect_err(answer);
        let text = chain(&error).to_string();
        assert!(text.contains(why) && text.contains(&proxy.url), "{answer:?}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_says_nothing_has_the_time_of_the_connection() {
    let proxy = Proxy::answering(&["HTTP/1.1 2"]).await;
    let opened = timeout(2 * LONG, open(&over(proxy.hop(true, &[])), "api.example")).await;
    assert!(matches!(opened, Ok(Err(OutboundError::TimedOut))), "{opened:?}");
}

#[tokio::test]
async fn exceptions_are_connected_to_without_the_proxy_and_judged_all_the_same() {
    let proxy = Proxy::answering(&["HTTP/1.1 200 OK\r\n\r\n"]).await;
    let upstream = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = upstream.local_addr().expect("it is bound").port();
    let guard = || AddressGuard::new(vec!["127.0.0.0/8".parse().expect("a network")]);
    let org = OrgId::from_random([1; 16]);
    for (except, host) in
        [("127.0.0.0/8", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), (".example", "proxy.example")]
    {
        let hop = proxy.hop(true, &[except]);
        let out = Outbound::new(guard(), Resolver::new(Arc::new(Zone)), Some(hop));
        let judged = out.judge(org, &Host::parse(host).expect("a host"), port).await.expect("it is opened");
        let stream = out.connect(&judged, LONG, || Some(())).await.expect("it listens");
        assert_eq!(stream.peer_addr().expect("it is connected").port(), port);
    }
    let out = over(proxy.hop(true, &["inward.example", "10.0.0.0/8"]));
    for host in ["inward.example", "10.0.0.1"] {
        let refused = open(&out, host).await;
        assert!(matches!(refused, Err(OutboundError::Guarded)), "{host}: {refused:?}");
    }
    assert!(proxy.asked().is_empty());
}

#[test]
fn names_are_excepted_whole_or_below_a_dot() {
    let except = [".corp.example".to_owned(), "API.Example".to_owned()];
    let hop = NextHop::new("http://proxy:3128", None, false, &except).expect("a next hop");
    let excepts = |host: &str| hop.excepts_host(&Host::parse(host).expect("a host"));
    for host in ["a.corp.example", "a.b.corp.example.", "api.example", "api.example."] {
        assert!(excepts(host), "{host}");
    }
    for host in ["corp.example", "xcorp.example", "a.api.example", "127.0.0.1"] {
        assert!(!excepts(host), "{host}");
    }
}

#[test]
fn a_setting_that_cannot_be_meant_is_refused() {
    let new = |url: &str, except: &str| NextHop::new(url, None, false, &[except.to_owned()]);
    for url in ["https://proxy:3128", "http://proxy/path", "socks5://proxy", "proxy:3128", "http://u:p@proxy"]
    {
        assert!(new(url, "a").is_err(), "{url}");
    }
    for except in ["", "10.0.0.0/40", "a b", ".", "http://a"] {
        assert!(new("http://proxy:3128", except).is_err(), "{except:?}");
    }
}
