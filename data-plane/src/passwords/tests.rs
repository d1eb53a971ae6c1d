//! What an attempt costs, who waits for it, and what is known afterwards. Costs are counted hashes, never times.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use data_encoding::BASE64;
use rr_contract::password::Scratch;
use rr_contract::seam::SystemEntropy;
use rr_contract::secret::Secret;

use super::turns::AT_PROXY;
use super::*;

pub(super) fn at(org: u8, proxy: u8) -> At {
    At { org: OrgId::from_random([org; 16]), proxy: ProxyId::from_random([proxy; 16]), rounds: 1 }
}

pub(super) fn claimed(text: &str) -> Claimed {
    Claimed::read(BASE64.encode(text.as_bytes()).as_bytes()).expect("user and password")
}

/// The hashes of these passwords, as a version of a credential.
fn live(version: u64, passwords: &[&str]) -> Arc<Live> {
    let mut scratch = Scratch::default();
    let hashes = passwords.iter().map(|password| {
        PasswordHash::make(&Secret::new(password.as_bytes().to_vec()), [7; 16], &mut scratch)
    });
    Live::new(CredentialId::from_random([1; 16]), version, hashes.collect())
}

/// A node with so many threads, and one worker of it.
fn node(threads: usize) -> (Arc<Passwords>, Checker) {
    let node = Passwords::with_threads(&SystemEntropy, threads);
    let checker = Checker::new(Arc::clone(&node));
    (node, checker)
}

/// What a worker finds, and how many hashes that took.
async fn tries(
    (node, checker): (&Passwords, &Checker),
    at: At,
    live: Option<&Arc<Live>>,
    text: &str,
) -> (Result<Outcome, Crowded>, u64) {
    let before = node.shared.hashed();
    let claimed = claimed(text);
    let outcome = match checker.known(at, live, &claimed) {
        Ok(outcome) => Ok(outcome),
        Err(attempt) => checker.check(attempt, at, live.cloned(), claimed).await,
    };
    (outcome, node.shared.hashed() - before)
}

const GOOD: Result<Outcome, Crowded> = Ok(Outcome::Good(0));
const WRONG: Result<Outcome, Crowded> = Ok(Outcome::Wrong);

#[tokio::test]
async fn a_password_costs_a_hash_once_whether_good_or_wrong_on_every_worker() {
    let (node, checker) = node(1);
    let (ann, other) = (live(1, &["secret"]), Checker::new(Arc::clone(&node)));
    assert_eq!(node.shared.counts(), (0, 0), "no thread before the first password");
    for (text, outcome) in [("ann:secret", GOOD), ("ann:wrong", WRONG)] {
        assert_eq!(tries((&node, &checker), at(1, 1), Some(&ann), text).await, (outcome, 1));
        assert_eq!(tries((&node, &checker), at(1, 1), Some(&ann), text).await, (outcome, 0));
        assert_eq!(tries((&node, &other), at(1, 1), Some(&ann), text).await, (outcome, 0));
    }
    assert_eq!(node.shared.counts(), (1, 0));
}

#[tokio::test]
async fn a_user_who_is_not_there_costs_what_one_costs_who_is() {
    let (node, checker) = node(1);
    let of = (&*node, &checker);
    let (ann, two) = (live(1, &["secret"]), live(1, &["secret", "older"]));
    for rounds in [1, 2] {
        let at = At { rounds, ..at(1, 1) };
        let cost = rounds as u64;
        for text in ["ann:wrong", "ann:again"] {
            assert_eq!(tries(of, at, Some(&ann), text).await, (WRONG, cost));
            assert_eq!(tries(of, at, None, text).await, (WRONG, cost));
            assert_eq!(tries(of, at, Some(&ann), text).await, (WRONG, 0));
            assert_eq!(tries(of, at, None, text).await, (WRONG, 0));
        }
        node.shared.forget();
        checker.known.replace(Known::new(WORKER));
    }
    let at = At { rounds: 2, ..at(1, 1) };
    assert_eq!(tries(of, at, Some(&two), "ann:wrong").await, (WRONG, 2));
    assert_eq!(tries(of, at, Some(&two), "ann:older").await, (Ok(Outcome::Good(1)), 2));
}

#[tokio::test]
async fn two_users_who_are_not_there_cost_a_hash_each() {
    let (node, checker) = node(1);
    for text in ["bob:guess", "eve:guess"] {
        assert_eq!(tries((&node, &checker), at(1, 1), None, text).await, (WRONG, 1), "{text}");
    }
}

#[tokio::test]
async fn what_is_known_at_one_proxy_does_not_tell_who_is_a_user_of_another() {
    let (node, checker) = node(1);
    let ann = live(1, &["secret"]);
    for user in [Some(&ann), None] {
        assert_eq!(tries((&node, &checker), at(1, 1), user, "ann:wrong").await, (WRONG, 1));
        assert_eq!(tries((&node, &checker), at(1, 2), user, "ann:wrong").await, (WRONG, 1));
    }
}

#[tokio::test]
async fn nothing_is_known_of_another_version_of_a_credential() {
    let (node, checker) = node(1);
    let of = (&*node, &checker);
    let (first, same_hash, other) = (live(1, &["secret"]), live(2, &["secret"]), live(2, &["changed"]));
    assert_eq!(tries(of, at(1, 1), Some(&first), "ann:secret").await, (GOOD, 1));
    assert_eq!(tries(of, at(1, 1), Some(&same_hash), "ann:secret").await, (GOOD, 1));
    assert_eq!(tries(of, at(1, 1), Some(&other), "ann:secret").await, (WRONG, 1));
    assert_eq!(tries(of, at(1, 1), Some(&other), "ann:changed").await, (GOOD, 1));
    assert_eq!(tries(of, at(1, 1), None, "ann:secret").await, (WRONG, 1));
}

#[test]
fn what_an_attempt_is_known_by_depends_on_the_nodes_own_key() {
    let (one, other) = (node(0).0, node(0).0);
    let (ann, text) = (live(1, &["secret"]), claimed("ann:secret"));
    let of = |node: &Passwords| node.attempt(at(1, 1), Some(&ann), &text).0;
    assert_eq!(of(&one), of(&one));
    assert_ne!(of(&one), of(&other));
    assert_ne!(of(&one), one.attempt(at(1, 1), Some(&ann), &claimed("anns:ecret")).0);
}

#[tokio::test]
async fn a_line_has_an_end_and_who_leaves_makes_room() {
    // Without a thread, everybody waits.
    let (node, checker) = node(0);
    let ask = |proxy: u8, n: usize| {
        let (at, claimed) = (at(1, proxy), claimed(&format!("ann:{n}")));
        let attempt = checker.known(at, None, &claimed).expect_err("nobody knows it");
        Box::pin(checker.check(attempt, at, None, claimed))
    };
    let mut waiting: Vec<_> = (0..AT_PROXY).map(|n| ask(1, n)).collect();
    for one in &mut waiting {
        assert_eq!(polled(one.as_mut()).await, None);
    }
    assert_eq!(polled(ask(1, 100).as_mut()).await, Some(Err(Crowded)));
    let mut elsewhere = ask(2, 100);
    assert_eq!(polled(elsewhere.as_mut()).await, None);
    assert_eq!(node.shared.counts(), (0, AT_PROXY + 1));
    // Who tries the same takes no place of its own, and keeps the other's when that leaves.
    let mut again = ask(1, 0);
    assert_eq!(polled(again.as_mut()).await, None);
    drop(waiting.remove(0));
    assert_eq!(node.shared.counts(), (0, AT_PROXY + 1));
    drop(again);
    assert_eq!(node.shared.counts(), (0, AT_PROXY));
    let mut next = ask(1, 101);
    assert_eq!(polled(next.as_mut()).await, None);
    drop((waiting, elsewhere, next));
    assert_eq!(node.shared.counts(), (0, 0));
}

#[tokio::test]
async fn many_who_try_the_same_at_once_cost_one_hash() {
    let (node, checker) = node(1);
    let ann = live(1, &["secret"]);
    let asks = (0..100).map(|_| async {
        let claimed = claimed("ann:secret");
        let attempt = checker.known(at(1, 1), Some(&ann), &claimed).expect_err("nobody knows it");
        checker.check(attempt, at(1, 1), Some(Arc::clone(&ann)), claimed).await
    });
    let outcomes = futures_util::future::join_all(asks).await;
    assert_eq!(outcomes, [GOOD; 100]);
    assert_eq!(node.shared.hashed(), 1);
}

#[tokio::test]
async fn there_are_no_more_threads_than_may_be() {
    let (node, checker) = node(2);
    let ann = live(1, &["secret"]);
    let asks = (1..=20).map(|n| {
        let (checker, ann) = (&checker, &ann);
        async move {
            let (at, claimed) = (at(n, n), claimed(&format!("ann:{n}")));
            let attempt = checker.known(at, Some(ann), &claimed).expect_err("nobody knows it");
            checker.check(attempt, at, Some(Arc::clone(ann)), claimed).await
        }
    });
    let outcomes = futures_util::future::join_all(asks).await;
    assert_eq!(outcomes, [WRONG; 20]);
    assert_eq!(node.shared.counts(), (2, 0));
    assert_eq!(node.shared.hashed(), 20);
}

#[tokio::test]
async fn a_node_has_half_as_many_threads_as_processors_and_they_stand_behind_all_others() {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let node = Passwords::new(&SystemEntropy);
    let checker = Checker::new(Arc::clone(&node));
    let asks = (0..=cores).map(|n| {
        let checker = &checker;
        async move {
            let (at, claimed) = (at(1, u8::try_from(n).unwrap_or(u8::MAX)), claimed("ann:wrong"));
            let attempt = checker.known(at, None, &claimed).expect_err("nobody knows it");
            checker.check(attempt, at, None, claimed).await
        }
    });
    assert!(futures_util::future::join_all(asks).await.contains(&WRONG));
    assert_eq!(node.shared.counts().0, (cores / 2).max(1));
    #[cfg(target_os = "linux")]
    assert!(ranks().contains(&10), "{:?}", ranks());
}

/// The ranks of the threads of this process that check passwords.
#[cfg(target_os = "linux")]
fn ranks() -> Vec<i32> {
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux has it");
    let rank = |folder: std::path::PathBuf| {
        let stat = std::fs::read_to_string(folder.join("stat")).ok()?;
        let (name, fields) = stat.rsplit_once(") ")?;
        // Of the fields behind the name, as proc_pid_stat(5) numbers them from 3 on.
        let nice = fields.split(' ').nth(19 - 3)?.parse().ok()?;
        name.ends_with("(passwords").then_some(nice)
    };
    threads.filter_map(|thread| rank(thread.ok()?.path())).collect()
}

#[tokio::test]
async fn the_threads_of_a_node_end_with_the_last_of_its_workers() {
    let shared = Arc::new(Shared::with_patience(1, std::time::Duration::from_hours(1)));
    let node = Arc::new(Passwords { key: Zeroizing::new([7; 32]), shared: Arc::clone(&shared) });
    let checker = Checker::new(Arc::clone(&node));
    assert_eq!(tries((&node, &checker), at(1, 1), None, "ann:wrong").await, (WRONG, 1));
    drop(node);
    assert_eq!(shared.counts().0, 1, "a worker may come with another one");
    drop(checker);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while shared.counts().0 > 0 {
        assert!(std::time::Instant::now() < until, "it waits on");
        std::thread::yield_now();
    }
}

/// Where a future stands.
async fn polled<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
