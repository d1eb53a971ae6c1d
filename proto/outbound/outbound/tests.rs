//! What is judged is what is connected to.

use std::net::Ipv4Addr;
use std::sync::Mutex;

use tokio::net::TcpListener;

use super::super::names::{Found, Lookup, Names};
use super::*;

const LONG: Duration = Duration::from_secs(20);

/// Gives one answer after the other, whatever the name, and the last from then on. None is good for longer than the
/// resolver insists on.
struct Turns(Mutex<Vec<Vec<IpAddr>>>);

impl Names for Turns {
    fn look_up<'n>(&'n self, _: &'n str) -> Lookup<'n> {
        let mut turns = self.0.lock().expect("no panic");
        let addresses = if turns.len() > 1 { turns.remove(0) } else { turns[0].clone() };
        Box::pin(async move { Ok(Found { addresses, good_for: Duration::ZERO }) })
    }
}

fn outbound(allowed: &[&str], turns: &[&[[u8; 4]]]) -> Arc<Outbound> {
    let turn = |turn: &&[[u8; 4]]| turn.iter().copied().map(IpAddr::from).collect();
    outbound_to(allowed, turns.iter().map(turn).collect())
}

fn outbound_to(allowed: &[&str], turns: Vec<Vec<IpAddr>>) -> Arc<Outbound> {
    let allowed = allowed.iter().map(|net| net.parse().expect("a network")).collect();
    let turns = Turns(Mutex::new(turns));
    Outbound::new(AddressGuard::new(allowed), Resolver::new(Arc::new(turns)), None)
}

fn name() -> Host {
    Host::Domain("api.example".to_owned())
}

fn org() -> OrgId {
    OrgId::from_random([1; 16])
}

fn addresses(judged: &Judged) -> &[SocketAddr] {
    match &judged.0 {
        Way::Addresses(order) => order.addresses(),
        other => panic!("it is no list of addresses: {other:?}"),
    }
}

#[tokio::test]
async fn of_a_names_addresses_those_are_left_that_the_guard_lets_through() {
    let out = outbound(&[], &[&[[127, 0, 0, 1], [8, 8, 8, 8], [10, 0, 0, 1], [1, 1, 1, 1]]]);
    let judged = out.judge(org(), &name(), 443).await.expect("two are public");
    assert_eq!(addresses(&judged), [([8, 8, 8, 8], 443).into(), ([1, 1, 1, 1], 443).into()]);
    let out = outbound(&[], &[&[[127, 0, 0, 1], [10, 0, 0, 1]]]);
    let refused = out.judge(org(), &name(), 443).await;
    assert!(matches!(refused, Err(OutboundError::Guarded)), "{refused:?}");
    for literal in [Host::Ipv4(Ipv4Addr::LOCALHOST), Host::Ipv6("::1".parse().expect("an address"))] {
        let refused = out.judge(org(), &literal, 443).await;
        assert!(matches!(refused, Err(OutboundError::Guarded)), "{literal}: {refused:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_moves_inwards_after_it_was_judged_is_not_followed() {
    // First public, then loopback: what was judged is connected to, and the next connection is judged anew.
    let out = outbound(&["127.0.0.2/32"], &[&[[127, 0, 0, 2]], &[[127, 0, 0, 1]]]);
    let good = TcpListener::bind("127.0.0.2:0").await.expect("a free port");
    let port = good.local_addr().expect("it is bound").port();
    let inward = TcpListener::bind(("127.0.0.1", port)).await.expect("nobody else is there");
    let first = out.judge(org(), &name(), port).await.expect("it is opened");
    tokio::time::advance(Duration::from_secs(2)).await;
    let second = out.judge(org(), &name(), port).await;
    assert!(matches!(second, Err(OutboundError::Guarded)), "{second:?}");
    let stream = out.connect(&first, LONG, || Some(())).await.expect("somebody listens");
    assert_eq!(stream.peer_addr().expect("it is connected").ip(), IpAddr::from([127, 0, 0, 2]));
    assert!(timeout(Duration::ZERO, inward.accept()).await.is_err());
}

#[tokio::test]
async fn an_address_that_refuses_makes_way_for_the_next() {
    let listener = TcpListener::bind("127.0.0.2:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let out = outbound(&["127.0.0.0/8"], &[&[[127, 0, 0, 1], [127, 0, 0, 2]]]);
    let judged = out.judge(org(), &name(), port).await.expect("it is opened");
    let stream = out.connect(&judged, LONG, || Some(())).await.expect("one of them listens");
    assert_eq!(stream.peer_addr().expect("it is connected").ip(), IpAddr::from([127, 0, 0, 2]));
}

#[tokio::test]
async fn a_connection_that_leads_back_to_this_machine_is_refused_unless_it_is_opened() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    // As if it had been judged by its number alone.
    let judged = Judged(Way::Addresses(Order::fixed(vec![address])));
    let refused = outbound(&[], &[&[]]).connect(&judged, LONG, || Some(())).await;
    assert!(matches!(refused, Err(OutboundError::Guarded)), "{refused:?}");
    assert!(outbound(&["127.0.0.1/32"], &[&[]]).connect(&judged, LONG, || Some(())).await.is_ok());
}

/// An IPv6 address of this machine at which connections hang: its queue is full. `None`: the machine has none.
fn hanging() -> Option<(TcpListener, SocketAddr, Vec<std::net::TcpStream>)> {
    let socket = tokio::net::TcpSocket::new_v6().ok()?;
    socket.bind("[::1]:0".parse().expect("an address")).ok()?;
    let listener = socket.listen(0).expect("it is bound");
    let address = listener.local_addr().expect("it is bound");
    let shortly = Duration::from_millis(100);
    let fill = || std::net::TcpStream::connect_timeout(&address, shortly).ok();
    Some((listener, address, std::iter::from_fn(fill).take(64).collect()))
}

#[tokio::test(start_paused = true)]
async fn ipv6_that_leads_nowhere_waits_for_its_turn_until_it_has_another_chance() {
    let (own, other): (IpAddr, IpAddr) = (Ipv4Addr::LOCALHOST.into(), std::net::Ipv6Addr::LOCALHOST.into());
    for hangs in [true, false] {
        let Some((queue, address, _filled)) = hanging() else { return };
        if !hangs {
            drop(queue);
        }
        let listener = TcpListener::bind((own, address.port())).await.expect("nobody else is there");
        let out = outbound_to(&["127.0.0.1/32", "::1/128"], vec![vec![other, own]]);
        let judge = async || out.judge(org(), &name(), address.port()).await.expect("both are opened");
        let begins = async || addresses(&judge().await)[0].ip();
        let connect = async || out.connect(&judge().await, LONG, || Some(())).await;
        assert_eq!(begins().await, other);
        for _ in 0..2 {
            let stream = connect().await.expect("somebody listens");
            assert_eq!(stream.peer_addr().expect("it is connected").ip(), own);
            assert_eq!(begins().await, own, "hangs: {hangs}");
            // Its answer is another one by then, and a success does not make it last longer.
            tokio::time::advance(Duration::from_secs(299)).await;
        }
        assert_eq!(begins().await, own);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(begins().await, other, "it has another chance");
        // Where IPv4 leads nowhere any longer, what was learned is of no use.
        connect().await.expect("somebody listens");
        assert_eq!(begins().await, own);
        drop(listener);
        assert!(connect().await.is_err());
        assert_eq!(begins().await, other);
    }
}

#[tokio::test]
async fn of_a_name_whose_ipv6_is_as_good_nothing_is_learned() {
    let (own, other): (IpAddr, IpAddr) = (Ipv4Addr::LOCALHOST.into(), std::net::Ipv6Addr::LOCALHOST.into());
    let Ok(listener) = TcpListener::bind((other, 0)).await else { return };
    let port = listener.local_addr().expect("it is bound").port();
    let out = outbound_to(&["127.0.0.1/32", "::1/128"], vec![vec![own, other]]);
    for _ in 0..2 {
        let judged = out.judge(org(), &name(), port).await.expect("both are opened");
        assert_eq!(addresses(&judged)[0].ip(), other);
        let stream = out.connect(&judged, LONG, || Some(())).await.expect("somebody listens");
        assert_eq!(stream.peer_addr().expect("it is connected").ip(), other);
    }
}
