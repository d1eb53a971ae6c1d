//! Who of those that wait dials, who has the error, and who has the stream.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::task::LocalSet;

use super::super::SendError;
use super::super::request_body::RequestBody;
use super::super::room::Room;
use super::super::socket::Watch;
use super::dialing::{DIALS_MAX, PATIENCE};
use super::*;

type Driver = http2::Connection<TokioIo<DuplexStream>, RequestBody, LocalExec>;

fn origin(spoken: Spoken) -> Rc<Origin> {
    let kept = Kept::new(Rc::new(Room::new(1_000)));
    Rc::new(Origin::new(Rc::new(kept), spoken, None))
}

fn wait(origin: &Rc<Origin>) -> Waiter {
    origin.wait().expect("there is room to wait")
}

/// What a waiter has been told, if anything.
fn told(waiter: &Waiter) -> Option<News> {
    match pin!(waiter.news()).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(news) => Some(news),
        Poll::Pending => None,
    }
}

fn slot(waiter: &Waiter) -> Option<Slot> {
    match told(waiter)? {
        News::Dial(slot) => Some(slot),
        News::Connection(..) | News::Failed(_) => panic!("it is neither"),
    }
}

/// A connection of HTTP/2 that is up, and whose peer takes this many streams.
async fn up(origin: &Rc<Origin>, streams: usize) -> (Rc<Channel>, Driver, DuplexStream) {
    let (near, far) = tokio::io::duplex(1024);
    let handshake = http2::Builder::new(LocalExec).handshake(TokioIo::new(near));
    let (sender, connection) = handshake.await.expect("it is written into memory");
    let channel = Channel::new(sender, Box::new(move || streams), Watch::default());
    drop(origin.adopt(&channel));
    (channel, connection, far)
}

#[test]
fn the_first_dial_goes_alone_while_it_is_not_known_whether_its_connection_can_be_shared() {
    let origin = origin(Spoken::Unknown);
    let waiters: Vec<_> = (0..200).map(|_| wait(&origin)).collect();
    let alone = slot(&waiters[0]).expect("it dials");
    assert!(waiters.iter().all(|waiter| told(waiter).is_none()));
    // Now it is known.
    origin.speaks_http1();
    drop(alone);
    let slots: Vec<_> = waiters.iter().filter_map(slot).collect();
    assert_eq!(slots.len(), DIALS_MAX);
}

#[tokio::test(start_paused = true)]
async fn dials_that_hang_let_one_more_of_those_who_wait_go_and_then_twice_as_many() {
    for spoken in [Spoken::Unknown, Spoken::Http2] {
        let origin = origin(spoken);
        let waiters: Vec<_> = (0..10).map(|_| wait(&origin)).collect();
        let mut slots: Vec<_> = waiters.iter().filter_map(slot).collect();
        assert_eq!(slots.len(), 1);
        for (after, count) in [(250, 2), (250, 4), (500, 8)] {
            let look = origin.look_again().expect("it is not known yet");
            assert_eq!(look - Instant::now(), Duration::from_millis(after));
            tokio::time::advance(Duration::from_millis(after - 1)).await;
            origin.serve();
            assert!(waiters.iter().all(|waiter| told(waiter).is_none()));
            tokio::time::advance(Duration::from_millis(1)).await;
            origin.serve();
            slots.extend(waiters.iter().filter_map(slot));
            assert_eq!(slots.len(), count);
        }
        // The next begin anew.
        drop((waiters, slots));
        let waiters = [wait(&origin), wait(&origin)];
        let slots: Vec<_> = waiters.iter().filter_map(slot).collect();
        assert_eq!((slots.len(), origin.look_again()), (1, Some(Instant::now() + PATIENCE)));
        origin.speaks_http1();
        assert_eq!(origin.look_again(), None);
    }
}

#[test]
fn each_failure_is_told_to_the_one_that_dialed_and_lets_twice_as_many_of_the_others_go() {
    let origin = origin(Spoken::Unknown);
    let mut waiters: Vec<_> = (0..200).map(|_| wait(&origin)).collect();
    let mut rounds = 0;
    while !waiters.is_empty() {
        rounds += 1;
        let slots: Vec<_> = waiters.iter().filter_map(slot).collect();
        assert!((1..=DIALS_MAX).contains(&slots.len()), "{}", slots.len());
        let (count, before) = (slots.len(), waiters.len());
        for slot in slots {
            slot.end(Err(SendError::ConnectTimeout));
        }
        // Those in front, in their order.
        waiters.retain(|waiter| {
            let told = waiter.place.left();
            let failed = matches!(told, Some(News::Failed(_)));
            if let Some(News::Dial(slot)) = told {
                drop(waiter.place.give(News::Dial(slot)));
            }
            !failed
        });
        assert_eq!(waiters.len(), before - count);
    }
    assert!(rounds < 12, "{rounds}");
    assert_eq!((origin.dialing.count(), origin.queue.len()), (0, 0));
}

#[test]
fn a_right_to_dial_that_was_not_used_is_anothers_and_a_dial_goes_on_without_who_began_it() {
    let origin = origin(Spoken::Http1);
    let mut waiters: Vec<_> = (0..DIALS_MAX + 2).map(|_| wait(&origin)).collect();
    let (last, second_last) = (waiters.pop().expect("one"), waiters.pop().expect("one"));
    let begun = slot(&waiters[0]).expect("it dials");
    assert!(told(&second_last).is_none() && told(&last).is_none());
    // It leaves before it was told.
    drop(waiters.pop());
    let second = slot(&second_last).expect("in its place");
    // It leaves after its dial has begun, which goes on.
    drop(waiters.remove(0));
    assert!(told(&last).is_none());
    assert_eq!(origin.dialing.count(), DIALS_MAX);
    begun.end(Err(SendError::ConnectTimeout));
    let third = slot(&last).expect("there is room for one more");
    drop((last, second_last, waiters, second, third));
    assert_eq!(origin.dialing.count(), 0);
}

#[test]
fn of_dials_that_nobody_is_left_for_one_goes_on_and_those_that_others_need() {
    let origin = origin(Spoken::Http1);
    let mut waiters: Vec<_> = (0..DIALS_MAX).map(|_| wait(&origin)).collect();
    let mut slots: Vec<_> = waiters.iter().filter_map(slot).collect();
    slots.iter().for_each(Slot::connects);
    let is_over =
        |slot: &Slot| pin!(slot.is_surplus()).poll(&mut Context::from_waker(Waker::noop())).is_ready();
    let last = waiters.pop().expect("one waits");
    assert!(!slots.iter().any(is_over));
    // All but one are reset.
    drop(waiters);
    while let Some(at) = slots.iter().position(is_over) {
        drop(slots.remove(at));
    }
    assert_eq!((slots.len(), origin.dialing.count()), (1, 1), "it is for the one who waits");
    drop(last);
    assert!(!is_over(&slots[0]), "the next will want it");
    // A dial that has not had its turn is nobody's spare.
    slots.clear();
    let waiter = wait(&origin);
    let begun = slot(&waiter).expect("it dials");
    drop(waiter);
    assert!(is_over(&begun) && !origin.is_connecting());
    begun.connects();
    assert!(!is_over(&begun) && origin.is_connecting());
    drop(begun);
    assert!(!origin.is_connecting());
}

#[tokio::test]
async fn a_stream_that_comes_free_is_the_firsts_who_waits_and_no_newcomer_passes_it() {
    LocalSet::new().run_until(a_stream_that_comes_free()).await;
}

async fn a_stream_that_comes_free() {
    let origin = origin(Spoken::Http2);
    let (_channel, _connection, _far) = up(&origin, 1).await;
    let Some(first) = origin.checkout() else { panic!("it has a free stream") };
    assert!(origin.checkout().is_none());
    let waiters = [wait(&origin), wait(&origin)];
    // One connection more is under way for them.
    let slots: Vec<_> = waiters.iter().filter_map(slot).collect();
    assert_eq!(slots.len(), 2, "the peer takes one stream a connection");
    drop(first);
    assert!(origin.checkout().is_none(), "it is given already");
    assert!(matches!(told(&waiters[0]), Some(News::Connection(Connection::Http2(_), false))));
    // What was told has been dropped, and so the stream goes on to the next. That one leaves.
    let [_first, second] = waiters;
    drop(second);
    assert!(origin.checkout().is_some());
}

#[tokio::test]
async fn one_more_than_may_wait_for_a_stream_is_refused_at_once() {
    LocalSet::new().run_until(one_more_than_may_wait()).await;
}

async fn one_more_than_may_wait() {
    let origin = origin(Spoken::Http2);
    let waiting: Vec<_> = (0..WAITING_MAX).map(|_| wait(&origin)).collect();
    // While nothing is up it is not known whether streams will be short.
    drop(wait(&origin));
    let (_channel, _connection, _far) = up(&origin, 0).await;
    assert!(origin.wait().is_none());
    drop(waiting);
    assert!(origin.wait().is_some());
}

#[tokio::test]
async fn a_connection_on_which_a_request_was_late_gets_no_further_stream() {
    LocalSet::new().run_until(one_that_was_late()).await;
}

async fn one_that_was_late() {
    let origin = origin(Spoken::Http2);
    let (_channel, _connection, _far) = up(&origin, 4).await;
    let Some(Connection::Http2(late)) = origin.checkout() else { panic!("it has a free stream") };
    assert!(origin.checkout().is_some());
    late.was_late();
    assert!(origin.checkout().is_none() && !origin.is_up());
}
