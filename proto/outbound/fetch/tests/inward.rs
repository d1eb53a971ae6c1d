//! No fetch leads inwards, however its host is spelled.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::super::super::dns::DnsNames;
use super::super::super::dns::name_server::{NameServer, Reply};
use super::super::super::inward_hosts::inward_hosts;
use super::*;

/// A client by a name server that knows the names of the list.
async fn fetch(allowed: &[&str]) -> (NameServer, Fetch) {
    let server = NameServer::start().await;
    for row in inward_hosts().iter().filter(|row| !row.addresses.is_empty()) {
        let name = row.host.trim_end_matches('.').to_lowercase();
        server.says(&name, &[Reply::Addresses(row.addresses.clone(), 60)]);
    }
    let allowed = allowed.iter().map(|net| net.parse().expect("a network")).collect();
    let names = Arc::new(DnsNames::asking(vec![server.address()]));
    let outbound = Outbound::new(AddressGuard::new(allowed), Resolver::new(names), None);
    (server, Fetch::new(outbound, Vec::new()).in_plaintext_too())
}

/// Listens on every address of this machine that a row could reach.
async fn listen() -> (u16, Vec<TcpListener>) {
    loop {
        let v4 = TcpListener::bind("0.0.0.0:0").await.expect("a free port");
        let port = v4.local_addr().expect("it is bound").port();
        // Somebody else may have the other half of the port, or the machine no such addresses.
        match TcpListener::bind(("::1", port)).await {
            Ok(v6) => return (port, vec![v4, v6]),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(_) => return (port, vec![v4]),
        }
    }
}

#[tokio::test]
async fn every_spelling_of_a_host_that_leads_inwards_is_refused() {
    let rows = inward_hosts();
    assert!(rows.len() >= 60, "{}", rows.len());
    let (_server, fetch) = fetch(&[]).await;
    let (port, listeners) = listen().await;
    for row in rows {
        for scheme in ["http", "https"] {
            let url: Result<FetchUrl, _> = format!("{scheme}://{}:{port}/latest/meta-data", row.host).parse();
            assert_eq!(url.is_err(), row.is_no_url, "{}: {url:?}", row.host);
            let Ok(url) = url else { continue };
            let refused = fetch.get(org(), &url, HeaderMap::new(), BOUNDS).await;
            let is_guarded = matches!(refused, Err(FetchError::Outbound(OutboundError::Guarded)));
            assert!(is_guarded, "{}: {refused:?}", row.host);
        }
    }
    for listener in listeners {
        assert!(timeout(Duration::ZERO, listener.accept()).await.is_err(), "somebody was connected to");
    }
}

#[tokio::test]
async fn an_exception_opens_what_it_names_and_no_other_row() {
    let opened: ipnet::IpNet = "127.0.0.0/8".parse().expect("a network");
    let (_server, fetch) = fetch(&["127.0.0.0/8"]).await;
    let is_opened = |ip: &IpAddr| opened.contains(&ip.to_canonical());
    let (mut open, mut shut) = (0, 0);
    for row in inward_hosts().into_iter().filter(|row| !row.is_no_url) {
        // Nobody listens there, or whoever does is no name server of these.
        let url: FetchUrl = format!("http://{}:1/", row.host).parse().expect("it is one");
        let addresses = match url.host() {
            Host::Ipv4(ip) => vec![IpAddr::from(*ip)],
            Host::Ipv6(ip) => vec![IpAddr::from(*ip)],
            Host::Domain(_) => row.addresses,
        };
        let answer = fetch.get(org(), &url, HeaderMap::new(), BOUNDS).await;
        let is_guarded = matches!(answer, Err(FetchError::Outbound(OutboundError::Guarded)));
        assert_eq!(is_guarded, !addresses.iter().any(is_opened), "{}: {answer:?}", row.host);
        *if is_guarded { &mut shut } else { &mut open } += 1;
    }
    assert!(open > 20 && shut > 60, "{open} {shut}");
}
