//! No request leads inwards, however the host of its target is spelled, whatever name servers answer later, and wherever
//! an upstream redirects to.

#[path = "../../../../proto/outbound/inward_hosts.rs"]
mod inward_hosts;
#[expect(dead_code, reason = "the tests of the package that it belongs to use more of it")]
#[path = "../../../../proto/outbound/dns/name_server.rs"]
mod name_server;

use std::net::IpAddr;
use std::sync::Arc;

use rr_contract::model::origin::BaseUrl;
use rr_contract::outbound::DnsNames;
use rr_contract::runtime::Tasks;
use tokio::time::timeout;

use crate::upstream::Trust;

use super::*;

use self::inward_hosts::{Inward, inward_hosts};
use self::name_server::{NameServer, Reply};

/// The first of the targets that the rows of the list are.
const FIRST: u8 = 20;

/// An edge with a target for each row that is a base URL, in their order, to this port, and by a name server that knows
/// the names among them.
async fn edge(rows: &[Inward], port: u16, allowed: &[&str]) -> (NameServer, Edge) {
    let server = NameServer::start().await;
    let region = Region::new();
    let mut all = vec![org(false), caller(1, 1, &[1]), fixture::open_upstream(2)];
    for (row, n) in rows.iter().zip(FIRST..) {
        all.push(target(n, &format!("http://{}:{port}", row.host)));
        all.push(proxy(n, &[1], n, 2));
        if !row.addresses.is_empty() {
            let name = row.host.trim_end_matches('.').to_lowercase();
            server.says(&name, &[Reply::Addresses(row.addresses.clone(), 60)]);
        }
    }
    let names = Arc::new(DnsNames::asking(vec![server.address()]));
    let edge = Edge::start_asking(region.snapshot(&all), allowed, Trust::new(None), names);
    (server, edge)
}

/// Listens on every IPv4 address of this machine.
async fn listen() -> (u16, TcpListener) {
    let listener = TcpListener::bind("0.0.0.0:0").await.expect("a free port");
    (listener.local_addr().expect("it is bound").port(), listener)
}

fn base_urls() -> Vec<Inward> {
    let mut rows = inward_hosts();
    assert!(rows.len() >= 60, "{}", rows.len());
    rows.retain(|row| {
        let url: Result<BaseUrl, _> = format!("http://{}:80", row.host).parse();
        assert_eq!(url.is_err(), row.is_no_url, "{}: {url:?}", row.host);
        !row.is_no_url
    });
    rows
}

#[tokio::test]
async fn every_spelling_of_a_host_that_leads_inwards_is_refused() {
    let rows = base_urls();
    let (port, listener) = listen().await;
    let (_server, edge) = edge(&rows, port, &[]).await;
    for (row, n) in rows.iter().zip(FIRST..) {
        let answer = edge.send(&get(&format!("/api/acme.proxy-{n}/"), &with_key(1))).await;
        let code = answer.header("requestrocket-proxy-code");
        assert_eq!((answer.status, code), (502, Some("upstream-refused")), "{}: {answer:?}", row.host);
    }
    assert!(timeout(Duration::ZERO, listener.accept()).await.is_err(), "somebody was connected to");
}

#[tokio::test]
async fn an_exception_opens_what_it_names_and_no_other_row() {
    let rows = base_urls();
    // Nobody listens there.
    let (_server, edge) = edge(&rows, 1, &["127.0.0.0/8"]).await;
    let (mut open, mut shut) = (0, 0);
    for (row, n) in rows.iter().zip(FIRST..) {
        let url: BaseUrl = format!("http://{}", row.host).parse().expect("it is one");
        let addresses = match url.host() {
            url::Host::Ipv4(ip) => vec![IpAddr::from(*ip)],
            url::Host::Ipv6(ip) => vec![IpAddr::from(*ip)],
            url::Host::Domain(_) => row.addresses.clone(),
        };
        let is_opened = |ip: &IpAddr| ip.to_canonical().is_ipv4() && ip.to_canonical().is_loopback();
        let is_opened = addresses.iter().any(is_opened);
        let answer = edge.send(&get(&format!("/api/acme.proxy-{n}/"), &with_key(1))).await;
        let expected = if is_opened { "upstream-unreachable" } else { "upstream-refused" };
        assert_eq!(answer.header("requestrocket-proxy-code"), Some(expected), "{}: {answer:?}", row.host);
        *if is_opened { &mut open } else { &mut shut } += 1;
    }
    assert!(open > 20 && shut > 60, "{open} {shut}");
}

#[tokio::test]
async fn a_name_that_moves_inwards_is_not_followed_and_each_connection_is_judged_anew() {
    let upstream = Upstream::abrupt().await;
    let port: u16 =
        upstream.authority().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let inward = TcpListener::bind(("127.0.0.2", port)).await.expect("nobody else is there");
    let server = NameServer::start().await;
    // First where it may be, and as soon as that answer has to be asked for again, inwards.
    let first = Reply::Addresses(vec![[127, 0, 0, 1].into()], 0);
    server.says("moves.test", &[first, Reply::Addresses(vec![[127, 0, 0, 2].into()], 0)]);
    let region = Region::new();
    let snapshot = region.snapshot(&resources(&region, &format!("http://moves.test:{port}")));
    let names = Arc::new(DnsNames::asking(vec![server.address()]));
    let edge = Edge::start_asking(snapshot, &["127.0.0.1/32"], Trust::new(None), names);
    let mut served = 0;
    let moved = async {
        loop {
            let answer = edge.send(&get("/api/acme.proxy-1/", &with_key(1))).await;
            match (answer.status, answer.header("requestrocket-proxy-code")) {
                (200, _) => served += 1,
                (502, Some("upstream-refused")) => break,
                _ => panic!("it is answered or refused: {answer:?}"),
            }
        }
    };
    timeout(Duration::from_secs(20), moved).await.expect("an answer is not good for longer than a second");
    assert!(served > 0 && upstream.connections() == served);
    assert!(timeout(Duration::ZERO, inward.accept()).await.is_err(), "it was followed inwards");
}

#[tokio::test]
async fn a_redirect_goes_to_the_caller_and_nobody_follows_it() {
    let upstream = Upstream::told().await;
    let inward = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let to = format!("http://{}/latest/meta-data", inward.local_addr().expect("it is bound"));
    let edge = edge_to(&upstream.url("")).await;
    for status in [301, 302, 303, 307, 308] {
        let headers = format!("{}x-status: {status}\r\nx-answer-location: {to}\r\n", with_key(1));
        let answer = edge.send(&get("/api/acme.proxy-1/", &headers)).await;
        assert_eq!((answer.status, answer.header("location")), (status, Some(&*to)), "{answer:?}");
    }
    assert_eq!(upstream.count(), 5);
    assert!(timeout(Duration::ZERO, inward.accept()).await.is_err(), "it was followed");
}
