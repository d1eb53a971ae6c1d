//! The order of attempts, and what becomes of those that do not win.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;

use tokio::time::Instant;

use super::*;

/// An attempt that goes on.
struct Held(Rc<Cell<usize>>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

fn socket(n: u8) -> SocketAddr {
    ([192, 0, 2, n], 443).into()
}

/// There is a place for every attempt.
#[expect(clippy::unnecessary_wraps, reason = "others have none")]
fn free() -> Option<()> {
    Some(())
}

#[test]
fn families_take_turns_and_ipv6_begins_unless_ipv4_was_faster() {
    let all = || addresses(&["192.0.2.1", "192.0.2.2", "2001:db8::1", "192.0.2.3"]);
    let texts = |first| in_turn(all(), 443, first).iter().map(ToString::to_string).collect::<Vec<String>>();
    assert_eq!(
        texts(Family::default()),
        ["[2001:db8::1]:443", "192.0.2.1:443", "192.0.2.2:443", "192.0.2.3:443"]
    );
    assert_eq!(texts(Family::V4), ["192.0.2.1:443", "[2001:db8::1]:443", "192.0.2.2:443", "192.0.2.3:443"]);
    assert!(in_turn([], 443, Family::V4).is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_next_attempt_begins_after_a_quarter_of_a_second_or_at_a_failure() {
    let begun = Instant::now();
    let attempts = RefCell::new(Vec::new());
    let attempt = |address: SocketAddr| {
        attempts.borrow_mut().push((address, begun.elapsed().as_millis()));
        async move {
            match address {
                silent if silent == socket(1) => pending().await,
                refused if refused == socket(2) => Err(io::ErrorKind::ConnectionRefused.into()),
                good => Ok(good),
            }
        }
    };
    let all = [socket(1), socket(2), socket(3), socket(4)];
    let won = race(&all, NEXT_AFTER, &free, attempt).await.expect("the third is good");
    assert_eq!(won, socket(3));
    assert_eq!(*attempts.borrow(), [(socket(1), 0), (socket(2), 250), (socket(3), 250)]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_was_overtaken_may_still_win_and_the_others_end() {
    let open = Rc::new(Cell::new(0));
    let attempt = |address: SocketAddr| {
        open.set(open.get() + 1);
        let held = Held(Rc::clone(&open));
        async move {
            sleep(if address == socket(1) { 2 * NEXT_AFTER } else { Duration::MAX }).await;
            drop(held);
            Ok(address)
        }
    };
    let won = race(&[socket(1), socket(2), socket(3)], NEXT_AFTER, &free, attempt).await;
    assert_eq!(won.expect("the first is slow"), socket(1));
    assert_eq!(open.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn when_all_fail_the_last_failure_is_told() {
    let attempt = |address: SocketAddr| async move {
        sleep(Duration::from_millis(if address == socket(1) { 1 } else { 100 })).await;
        let kind = if address == socket(1) {
            io::ErrorKind::ConnectionReset
        } else {
            io::ErrorKind::ConnectionRefused
        };
        Err::<(), _>(io::Error::from(kind))
    };
    let error = race(&[socket(1), socket(2)], NEXT_AFTER, &free, attempt).await.expect_err("none is good");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    let none = race(&[], NEXT_AFTER, &free, attempt).await.expect_err("there is none");
    assert_eq!(none.kind(), io::ErrorKind::AddrNotAvailable);
}

#[tokio::test(start_paused = true)]
async fn however_many_addresses_are_silent_few_attempts_go_on_at_once() {
    let begun = RefCell::new(0);
    let (open, most) = (Rc::new(Cell::new(0)), Cell::new(0));
    let attempt = |address: SocketAddr| {
        *begun.borrow_mut() += 1;
        open.set(open.get() + 1);
        most.set(most.get().max(open.get()));
        let held = Held(Rc::clone(&open));
        async move {
            let _held = held;
            if address == socket(30) { Ok(address) } else { pending().await }
        }
    };
    let all: Vec<SocketAddr> = (0..40).map(socket).collect();
    assert_eq!(race(&all, NEXT_AFTER, &free, attempt).await.expect("one is good"), socket(30));
    assert_eq!((*begun.borrow(), open.get()), (31, 0));
    assert_eq!(most.get(), AT_ONCE as usize);
}

#[tokio::test(start_paused = true)]
async fn without_a_place_for_more_one_attempt_goes_on_and_gives_way_after_some_seconds() {
    let (begun, open) = (RefCell::new(Vec::new()), Rc::new(Cell::new(0)));
    let (start, places) = (Instant::now(), Cell::new(1_u32));
    let attempt = |address: SocketAddr| {
        begun.borrow_mut().push(start.elapsed().as_millis());
        open.set(open.get() + 1);
        let (held, open) = (Held(Rc::clone(&open)), open.get());
        async move {
            let _held = held;
            assert!(open <= 2, "{open}");
            if address == socket(3) { Ok(address) } else { pending().await }
        }
    };
    // One place beside the first, which is kept by whoever begins when the oldest gives way.
    let spare = || places.replace(0).checked_sub(1);
    let all = [socket(0), socket(1), socket(2), socket(3)];
    assert_eq!(race(&all, NEXT_AFTER, &spare, attempt).await.expect("one is good"), socket(3));
    assert_eq!(*begun.borrow(), [0, 250, 2000, 2250]);
}
