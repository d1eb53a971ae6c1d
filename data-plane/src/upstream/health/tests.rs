//! The upstream is the test itself, and sees what it is asked.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

use rr_contract::outbound::{AddressGuard, DnsNames, Outbound, Resolver};
use rr_contract::runtime::Shutdown;
use rr_contract::seam::SystemEntropy;
use rr_contract::wire::fleet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::{LocalSet, yield_now};

use crate::fixture::{self, Region, millis};
use crate::snapshot::Snapshot;
use crate::upstream::Trust;

use super::*;

const SOON: Duration = Duration::from_secs(20);

/// Answers with a status that changes.
struct Told {
    url: String,
    status: Arc<AtomicU16>,
    seen: Arc<Mutex<Vec<String>>>,
}

async fn told(tasks: &Tasks) -> Told {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/base", listener.local_addr().expect("it is bound"));
    let (status, seen): (Arc<AtomicU16>, Arc<Mutex<Vec<String>>>) =
        (Arc::new(AtomicU16::new(200)), Arc::default());
    let (says, noted) = (Arc::clone(&status), Arc::clone(&seen));
    tasks.spawn_local("upstream", async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("it listens");
            let mut head = vec![0; 4096];
            let count = stream.read(&mut head).await.expect("it is asked");
            noted
                .lock()
                .expect("no test panics with it")
                .push(String::from_utf8_lossy(&head[..count]).into());
            let status = says.load(Ordering::Relaxed);
            let answer = format!("HTTP/1.1 {status} Told\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.expect("it reads");
        }
    });
    Told { url, status, seen }
}

fn snapshot(region: &Region, urls: &[&str], check: fleet::HealthCheck) -> Snapshot {
    let mut target = fixture::target_message(1, urls[0]);
    target.more_base_urls = urls[1..].iter().map(|url| (*url).to_owned()).collect();
    target.health_check = Some(check);
    let all = [
        fixture::org(false),
        fixture::target_of(1, &target),
        fixture::caller(1, 1, &[1]),
        fixture::open_upstream(2),
        fixture::proxy(1, &[1], 1, 2),
    ];
    region.snapshot(&all)
}

fn check() -> fleet::HealthCheck {
    fleet::HealthCheck {
        path: "/up?deep=1".to_owned(),
        interval: millis(1_000),
        timeout: millis(900),
        unhealthy_after: 1,
        healthy_after: 1,
        max_status: 399,
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            yield_now().await;
        }
    };
    assert!(timeout(SOON, waiting).await.is_ok(), "{what}");
}

/// Runs the checker beside a test.
async fn beside(allowed: &str, region: &Region, tasks: Tasks, test: impl Future<Output = ()>) {
    let guard = AddressGuard::new(vec![allowed.parse().expect("a network")]);
    let resolver = Resolver::new(Arc::new(DnsNames::system()));
    let connections = Connections::new(
        Outbound::new(guard, resolver, None),
        Trust::new(None),
        Arc::default(),
        tasks.clone(),
        SOCKETS,
    );
    let shutdown = Shutdown::new();
    let checks =
        run(region.standings.clone(), connections, Arc::new(SystemEntropy), tasks.clone(), shutdown.stop());
    tokio::select! {
        () = checks => unreachable!("nobody stops it"),
        () = test => {}
    }
}

#[tokio::test]
async fn base_urls_of_the_configuration_are_asked_without_a_credential_and_no_others() {
    let (region, tasks) = (Region::new(), Tasks::new());
    let test = async {
        let (one, two) = (told(&tasks).await, told(&tasks).await);
        let snapshot = snapshot(&region, &[&one.url, &two.url], check());
        let numbers = || region.standings.numbers();
        let checks = async {
            until("both are asked", || numbers().checks_passed >= 2).await;
            assert_eq!((numbers().available, numbers().unhealthy), (2, 0));
            two.status.store(400, Ordering::Relaxed);
            until("one is unhealthy", || numbers().unhealthy == 1).await;
            two.status.store(204, Ordering::Relaxed);
            until("it is healthy again", || numbers().unhealthy == 0).await;
            for told in [&one, &two] {
                let seen = told.seen.lock().expect("no test panics with it").clone();
                assert!(
                    seen.iter().all(|seen| seen.starts_with("GET /base/up?deep=1 HTTP/1.1\r\n")),
                    "{seen:?}"
                );
                assert!(!seen.concat().to_lowercase().contains("authorization"), "{seen:?}");
            }
            drop(snapshot);
            assert!(region.standings.watched().is_empty(), "a target that is gone is not asked any longer");
        };
        beside("127.0.0.0/8", &region, tasks.clone(), checks).await;
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn no_check_goes_where_no_request_may() {
    let (region, tasks) = (Region::new(), Tasks::new());
    let test = async {
        let one = told(&tasks).await;
        let _snapshot = snapshot(&region, &[&one.url], check());
        let checks = async {
            until("the guard refuses it", || region.standings.numbers().unhealthy == 1).await;
            assert!(one.seen.lock().expect("no test panics with it").is_empty());
        };
        beside("10.0.0.0/8", &region, tasks.clone(), checks).await;
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_base_url_that_does_not_answer_a_check_in_its_time_is_unhealthy() {
    let (region, tasks) = (Region::new(), Tasks::new());
    let test = async {
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", silent.local_addr().expect("it is bound"));
        let _snapshot = snapshot(&region, &[&url], fleet::HealthCheck { timeout: millis(50), ..check() });
        let checks = async {
            until("its time is over", || region.standings.numbers().unhealthy == 1).await;
            assert_eq!(region.standings.numbers().checks_passed, 0);
        };
        beside("127.0.0.0/8", &region, tasks.clone(), checks).await;
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_check_that_is_taken_away_leaves_nothing_behind() {
    let (region, tasks) = (Region::new(), Tasks::new());
    let test = async {
        let one = told(&tasks).await;
        one.status.store(500, Ordering::Relaxed);
        let checked = snapshot(&region, &[&one.url, "http://127.0.0.1:1/base"], check());
        let checks = async {
            until("both are unhealthy", || region.standings.numbers().unhealthy == 2).await;
        };
        beside("127.0.0.0/8", &region, tasks.clone(), checks).await;
        let mut target = fixture::target_message(1, &one.url);
        target.more_base_urls = vec!["http://127.0.0.1:1/base".to_owned()];
        let mut inventory = region.inventory();
        let changes = crate::sync::changes(&fixture::body(&[fixture::target_of(1, &target)], &[]));
        inventory.apply(fleet::Mode::Delta, changes, &mut Snapshot::default());
        assert_eq!(region.standings.numbers().unhealthy, 0);
        assert!(region.standings.watched().is_empty());
        drop(checked);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_connection_on_which_a_base_url_was_asked_is_closed_whether_it_answered_or_not() {
    for answer in ["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", ""] {
        let (region, tasks) = (Region::new(), Tasks::new());
        let test = async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let url = format!("http://{}", listener.local_addr().expect("it is bound"));
            let _snapshot = snapshot(&region, &[&url], check());
            let checks = async {
                for _ in 0..2 {
                    let (mut stream, _) = listener.accept().await.expect("it listens");
                    let mut head = vec![0; 4096];
                    assert!(stream.read(&mut head).await.expect("it is asked") > 0);
                    stream.write_all(answer.as_bytes()).await.expect("it reads");
                    assert_eq!(stream.read(&mut head).await.expect("it is closed"), 0);
                }
            };
            let soon = async { timeout(SOON, checks).await.expect("it is asked again on another") };
            beside("127.0.0.0/8", &region, tasks.clone(), soon).await;
        };
        LocalSet::new().run_until(test).await;
    }
}

#[test]
fn one_organization_leaves_places_to_the_others() {
    let (places, org) = (Rc::new(Places::default()), |n| OrgId::from_random([n; 16]));
    let own: Vec<_> = (0..100).filter_map(|_| Places::take(&places, org(1))).collect();
    assert_eq!(own.len(), BY_ORG);
    let others: Vec<_> = (2..200).filter_map(|n| Places::take(&places, org(n))).collect();
    assert_eq!(own.len() + others.len(), AT_ONCE);
    drop(own);
    assert!(Places::take(&places, org(1)).is_some() && !places.are_taken());
    drop(others);
    assert!(places.0.borrow().is_empty(), "nothing stays of who is not asked");
}

#[test]
fn whoever_was_left_without_a_place_is_asked_first_the_next_time() {
    let mut left = 0;
    let mut round = |all: usize, places: usize| {
        let mut asked = Vec::new();
        in_turn((0..all).collect(), &mut left, |one| {
            let has_room = asked.len() < places;
            asked.extend(has_room.then_some(one));
            has_room
        });
        asked
    };
    assert_eq!([round(5, 2), round(5, 2), round(5, 2)], [[0, 1], [2, 3], [4, 0]]);
    // Where there is room for all, the order is nobody's loss; some may have gone since.
    assert_eq!((round(5, 5), round(5, 5)), (vec![1, 2, 3, 4, 0], vec![1, 2, 3, 4, 0]));
    assert_eq!((round(1, 1), round(0, 1), round(3, 1), round(3, 1)), (vec![0], vec![], vec![0], vec![1]));
}

#[test]
fn nodes_that_start_together_do_not_ask_together_and_none_waits_long_before_it_asks_first() {
    let hourly = HealthCheck {
        path: "/up".into(),
        interval: Duration::from_secs(3600),
        timeout: Duration::from_secs(1),
        unhealthy_after: 1,
        healthy_after: 1,
        max_status: 399,
    };
    let all: Vec<_> = (0..100).map(|_| waits(&hourly, &SystemEntropy)).collect();
    assert!(all.iter().all(|(first, _)| *first <= FIRST_MAX));
    let (least, most) = (Duration::from_secs(3240), Duration::from_secs(3960));
    assert!(all.iter().all(|(_, next)| (least..=most).contains(next)));
    for n in 1..all.len() {
        assert!(all[n].0 != all[0].0 && all[n].1 != all[0].1);
    }
}
