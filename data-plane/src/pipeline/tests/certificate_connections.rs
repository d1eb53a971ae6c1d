//! Connections and the certificates that they have shown: who is asked, who is sent to another connection, how much of what is
//! wrong is looked at, and how long what is good counts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use rcgen::{SanType, date_time_ymd};
use rr_contract::model::resource::Key;
use rr_contract::seam::Clock;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::Mode;
use rr_contract::wire::fleet::caller_credential::Kind;
use rustls::pki_types::ServerName;
use rustls::{ALL_VERSIONS, ClientConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client_certificate::tests::{Authority, Issued, NAME};
use crate::fixture::{self, Region, credential_key, proxy_key};
use crate::seats::Bounds;
use crate::snapshot::Snapshot;
use crate::sync::changes;

use super::certificate_callers::{
    ALLOWED, PATH, ask, asked, good, keys, name, refused, serving, shows, snapshot,
};
use super::client_certificates::{Asking, EDGE, Identity, ask_with};
use super::edge::{Answer, Edge};
use super::origin::Upstream;
use super::resources;
use super::signed_tokens::{Moved, now, of};
use super::websockets::{self, Raw, read_rest};

async fn connect(asking: &Asking, client: &Arc<ClientConfig>) -> TlsStream<TcpStream> {
    let name = ServerName::try_from(EDGE).expect("a name");
    let connecting = TlsConnector::from(Arc::clone(client)).connect(name, asking.edge.connect().await);
    connecting.await.expect("the edge shakes hands")
}

/// The head of an answer, in lower case, to one more request on a connection.
async fn ask_again(stream: &mut TlsStream<TcpStream>) -> String {
    let head = format!("GET {PATH} HTTP/1.1\r\nhost: {EDGE}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("the edge reads");
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        seen.push(stream.read_u8().await.expect("it answers"));
    }
    let head = String::from_utf8(seen).expect("it is text").to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    let mut body = vec![0; length.trim().parse().expect("a number")];
    stream.read_exact(&mut body).await.expect("it is whole");
    head
}

/// Opens a tunnel by the certificate of a connection.
async fn open_tunnel(
    asking: &Asking,
    upstream: &Raw,
    identity: &Identity,
    headers: &str,
) -> (TlsStream<TcpStream>, TcpStream) {
    let mut near = connect(asking, &shows(asking, identity)).await;
    let request = websockets::upgrade("/api/acme.proxy-1/chat", headers)
        .replace("host: edge\r\n", &format!("host: {EDGE}\r\n"));
    near.write_all(request.as_bytes()).await.expect("the edge reads");
    let mut far = upstream.next().await;
    far.switch("", "").await;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(near.read_u8().await.expect("the head is whole"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    (near, far.stream)
}

/// Both ends of a tunnel are closed, without another byte.
async fn ended(asking: &Asking, (mut near, mut far): (TlsStream<TcpStream>, TcpStream)) {
    let both = timeout(Duration::from_secs(10), async {
        let mut rest = Vec::new();
        let near = near.read_to_end(&mut rest).await.map_or(0, |read| read);
        (near, read_rest(&mut far).await)
    });
    assert_eq!(both.await.expect("it ends"), (0, String::new()));
    assert_eq!(asking.edge.record().await.tunnel_end(), fleet::TunnelEnd::Withdrawn);
}

#[tokio::test]
async fn whoever_was_not_asked_or_shows_too_little_is_sent_to_another_connection_whichever_proxy_it_names() {
    let (root, identity) = (Authority::root("root"), Identity::new());
    let mut asking = serving(&[1], []).await;
    let named: Identity = root.issue(NAME).into();
    let client = shows(&asking, &named);
    let open = async |asking: &Asking| connect(asking, &client).await;
    const PATHS: [&str; 3] = [PATH, "/api/acme.proxy-2/x", "/api/acme.nobody/x"];
    // Before a proxy has such callers, nobody is told of another connection.
    assert_eq!(asked(&asking, &client, PATH, "").await, refused("missing"));
    let (mut unasked, mut keyed) = (Vec::new(), Vec::new());
    for _ in PATHS {
        unasked.push(open(&asking).await);
    }
    let with = |more: Vec<fleet::Resource>, callers: &[u8]| {
        snapshot(&asking.region, &asking.upstream, callers, more)
    };
    let by_key = with(vec![keys(3, &[&identity])], &[1, 3]);
    let by_name = with(vec![keys(3, &[&identity]), name(4, NAME, &root)], &[1, 3, 4]);
    asking.edge.activate(by_key);
    let said = async |mut stream: TlsStream<TcpStream>, path: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nhost: {EDGE}\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("the edge reads");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.expect("the edge answers");
        Answer::parse(&bytes)
    };
    let wanted = {
        let answer = said(unasked.remove(0), PATHS[0]).await;
        assert_eq!((answer.status, answer.json()["code"].clone()), (421, "misdirected".into()));
        answer.without_id_and_date()
    };
    for path in &PATHS[1..] {
        assert_eq!(said(unasked.remove(0), path).await.without_id_and_date(), wanted, "{path}");
    }
    // It was shown, and only its key was kept.
    for _ in PATHS {
        keyed.push(open(&asking).await);
    }
    assert_eq!(ask(&asking, &client, PATH, "").await.status, 401);
    asking.edge.activate(by_name);
    for path in PATHS {
        assert_eq!(said(keyed.remove(0), path).await.without_id_and_date(), wanted, "{path}");
    }
    assert_eq!(ask(&asking, &client, PATH, "").await.status, 200);
    // Without a certificate, a request for another host than was asked for may do better elsewhere.
    let bare = super::client_certificates::client(&asking, ALL_VERSIONS, None);
    for (host, status) in [(EDGE, 401), ("other.example", 421)] {
        for path in PATHS {
            assert_eq!(
                ask_with(&asking, &bare, path, "", EDGE, host).await.0.status,
                status,
                "{host} {path}"
            );
        }
    }
}

#[test]
fn callers_are_asked_as_long_as_one_proxy_knows_callers_by_certificates() {
    let region = Region::new();
    let (mut inventory, mut snapshot) = (region.inventory(), Snapshot::default());
    let (root, identity) = (Authority::root("root"), Identity::new());
    let mut state = |mode, upserts: &[fleet::Resource], removals: &[Key]| {
        inventory.apply(mode, changes(&fixture::body(upserts, removals)), &mut snapshot);
        (snapshot.asks_for_certificates(), snapshot.takes_names())
    };
    let mut base = resources(&region, "http://127.0.0.1:1");
    base.push(keys(3, &[&identity]));
    assert_eq!(state(Mode::Snapshot, &base, &[]), (false, false), "no proxy has the caller");
    let proxy = |callers: &[u8]| fixture::proxy(1, callers, 1, 2);
    assert_eq!(state(Mode::Delta, &[proxy(&[1, 3])], &[]), (true, false));
    // What the credential is changes under the proxy.
    assert_eq!(state(Mode::Delta, &[fixture::caller(3, 1, &[3])], &[]), (false, false));
    assert_eq!(state(Mode::Delta, &[name(3, NAME, &root)], &[]), (true, true));
    assert_eq!(state(Mode::Delta, &[name(3, NAME, &Authority::root("next"))], &[]), (true, true));
    assert_eq!(state(Mode::Delta, &[keys(3, &[&identity])], &[]), (true, false));
    assert_eq!(state(Mode::Delta, &[name(3, NAME, &root)], &[]), (true, true));
    assert_eq!(state(Mode::Delta, &[], &[proxy_key(1), credential_key(3)]), (false, false));
}

#[tokio::test]
async fn a_certificate_counts_on_its_connection_until_it_ends() {
    let root = Authority::root("root");
    let (region, upstream) = (Region::new(), Upstream::echo().await);
    let snapshot = snapshot(&region, &upstream, &[4], [name(4, NAME, &root)]);
    let clock = Arc::new(Moved(now().into()));
    let wall = Arc::clone(&clock) as Arc<dyn Clock>;
    let asking =
        Asking::serving(region, upstream, |door| Edge::start_behind_at(snapshot, ALLOWED, door, wall));
    let ends = SystemTime::from(date_time_ymd(2040, 1, 1));
    let ends = ends.duration_since(SystemTime::UNIX_EPOCH).expect("it is later").as_secs();
    let identity: Identity = root
        .issue_with(|params| {
            params.subject_alt_names = vec![SanType::URI(NAME.try_into().expect("it is ASCII"))];
            params.not_after = date_time_ymd(2040, 1, 1);
        })
        .into();
    let mut stream = connect(&asking, &shows(&asking, &identity)).await;
    for (at, wanted) in [(now(), good(4)), (ends, good(4)), (ends + 1, refused("certificate-expired"))] {
        clock.0.store(at, Ordering::Relaxed);
        let head = ask_again(&mut stream).await;
        let record = asking.edge.record().await;
        assert_eq!((record.reason, record.caller_credential), (wanted.1, wanted.2), "{at}: {head}");
        assert!(head.starts_with(&format!("http/1.1 {}", wanted.0)), "{head}");
    }
}

#[tokio::test]
async fn a_flood_of_names_that_nobody_has_given_is_not_looked_at_beyond_its_rate() {
    let (root, forger) = (Authority::root("root"), Authority::root("root"));
    let (region, upstream) = (Region::new(), Upstream::echo().await);
    let mut all = resources(&region, &upstream.url(""));
    all.extend([name(4, NAME, &root), fixture::proxy(1, &[4], 1, 2), fixture::proxy(2, &[4], 1, 2)]);
    let snapshot = region.snapshot(&all);
    let clock = Arc::new(Moved(now().into()));
    let wall = Arc::clone(&clock) as Arc<dyn Clock>;
    let asking =
        Asking::serving(region, upstream, |door| Edge::start_behind_at(snapshot, ALLOWED, door, wall));
    let forged = shows(&asking, &forger.issue(NAME).into());
    let good_one = shows(&asking, &root.issue(NAME).into());
    let mut open = connect(&asking, &good_one).await;
    assert!(ask_again(&mut open).await.starts_with("http/1.1 200"));
    // Each with a handshake of its own.
    for _ in 0..200 {
        assert_eq!(ask(&asking, &forged, PATH, "").await.status, 401);
    }
    let answer = ask(&asking, &good_one, PATH, "").await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")));
    assert!(ask_again(&mut open).await.starts_with("http/1.1 200"), "it was looked at before");
    assert_eq!(ask(&asking, &good_one, "/api/acme.proxy-2/x", "").await.status, 200, "another proxy");
    clock.0.fetch_add(1, Ordering::Relaxed);
    assert_eq!(ask(&asking, &good_one, PATH, "").await.status, 200, "a second later");
    while asking.edge.record().await.reason != "certificate-flood" {}
    // Those that make a node look at more count for as many: 65 each.
    let Issued { key, der } = forger.issue(NAME);
    let chain = [vec![der], vec![forger.der(); 4]].concat();
    let forged = shows(&asking, &Identity { key, chain });
    for (before, status) in [(3, 200), (1, 429)] {
        for _ in 0..before {
            assert_eq!(ask(&asking, &forged, PATH, "").await.status, 401);
        }
        assert_eq!(ask(&asking, &good_one, PATH, "").await.status, status, "{before}");
    }
}

#[tokio::test]
async fn a_tunnel_ends_with_the_trust_in_its_certificate() {
    let (root, next) = (Authority::root("root"), Authority::root("next"));
    let pinned = Identity::new();
    let upstream = Raw::new().await;
    let region = Region::new();
    let base = |by_name: &Authority, by_key: &Identity| {
        let mut all = websockets::open(&region, &upstream.url());
        all.extend([
            keys(3, &[by_key]),
            name(4, NAME, by_name),
            websockets::proxy(|proxy| {
                proxy.caller_credentials = [3, 4].map(|n| credential_key(n).id_text()).into();
            }),
        ]);
        region.snapshot(&all)
    };
    let both = format!("{}{}", root.pem(), next.pem());
    let rolled = {
        let mut all = websockets::open(&region, &upstream.url());
        let certificate =
            fleet::CallerCertificate { spiffe_id: NAME.to_owned(), ca: both, ..Default::default() };
        all.extend([
            keys(3, &[&pinned]),
            of(4, "", Kind::Certificate(certificate)),
            websockets::proxy(|proxy| {
                proxy.caller_credentials = [3, 4].map(|n| credential_key(n).id_text()).into();
            }),
        ]);
        region.snapshot(&all)
    };
    let (first, without) = (base(&root, &pinned), base(&next, &Identity::new()));
    let echo = Upstream::echo().await;
    let mut asking = Asking::serving(Region::new(), echo, |door| {
        Edge::start_behind(first, ALLOWED, door, Bounds::of(100))
    });
    let mut tunnels = Vec::new();
    for identity in [&pinned, &root.issue(NAME).into()] {
        tunnels.push(open_tunnel(&asking, &upstream, identity, "").await);
    }
    let generation = asking.edge.activate(rolled);
    asking.edge.tells(generation).await;
    // Both go on: the key is the same, and its authority is still one of those that are trusted.
    for (near, far) in &mut tunnels {
        near.write_all(b"up").await.expect("it is open");
        let mut seen = [0; 2];
        far.read_exact(&mut seen).await.expect("it is open");
        assert_eq!(&seen, b"up");
    }
    asking.edge.activate(without);
    for tunnel in tunnels {
        ended(&asking, tunnel).await;
    }
}

/// A worker whose proxy lets tunnels be opened by a name of this authority, and by web pages as `cors` says.
fn tunnelling(region: &Region, upstream: &Raw, root: &Authority, cors: Option<fleet::Cors>) -> Snapshot {
    let mut all = websockets::open(region, &upstream.url());
    all.push(name(4, NAME, root));
    all.push(websockets::proxy(|proxy| {
        proxy.caller_credentials = vec![credential_key(4).id_text()];
        proxy.cors = cors;
    }));
    region.snapshot(&all)
}

#[tokio::test]
async fn a_tunnel_ends_with_its_certificate_though_nothing_changes() {
    let (root, region, upstream) = (Authority::root("root"), Region::new(), Raw::new().await);
    let snapshot = tunnelling(&region, &upstream, &root, None);
    let asking = Asking::serving(region, Upstream::echo().await, |door| {
        Edge::start_behind(snapshot, ALLOWED, door, Bounds::of(100))
    });
    let last = SystemTime::now() + Duration::from_secs(2);
    let identity: Identity = root
        .issue_with(|params| {
            params.subject_alt_names = vec![SanType::URI(NAME.try_into().expect("it is ASCII"))];
            params.not_after = last.into();
        })
        .into();
    let tunnel = open_tunnel(&asking, &upstream, &identity, "").await;
    ended(&asking, tunnel).await;
    assert!(SystemTime::now() >= last);
}

#[tokio::test]
async fn a_tunnel_that_a_page_opened_by_a_certificate_ends_once_the_proxy_takes_no_credentials_of_pages() {
    let (root, region, upstream) = (Authority::root("root"), Region::new(), Raw::new().await);
    let [takes, takes_none] = [true, false].map(|credentials| {
        let origins = vec!["https://app.example".to_owned()];
        let cors = fleet::Cors { origins, credentials, ..Default::default() };
        tunnelling(&region, &upstream, &root, Some(cors))
    });
    let mut asking = Asking::serving(region, Upstream::echo().await, |door| {
        Edge::start_behind(takes, ALLOWED, door, Bounds::of(100))
    });
    let identity: Identity = root.issue(NAME).into();
    let of_page = open_tunnel(&asking, &upstream, &identity, "origin: https://app.example\r\n").await;
    let (mut near, mut far) = open_tunnel(&asking, &upstream, &identity, "").await;
    asking.edge.activate(takes_none);
    ended(&asking, of_page).await;
    // Of no page.
    near.write_all(b"up").await.expect("it is open");
    let mut seen = [0; 2];
    far.read_exact(&mut seen).await.expect("it is open");
    assert_eq!(&seen, b"up");
}
