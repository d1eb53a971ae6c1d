//! Who may open a connection, and how long the others wait.

use std::task::Context;

use super::*;

fn known_to_speak_it() -> Streams {
    let streams = Streams::default();
    streams.spoken.set(true);
    streams
}

#[tokio::test]
async fn a_wait_for_a_stream_ends_after_its_own_time() {
    let streams = known_to_speak_it();
    let _all: Vec<_> = (0..CONNECTIONS_MAX).map(|_| streams.dial()).collect();
    assert!(!streams.may_dial());
    let until = Instant::now() + Duration::from_millis(20);
    assert!(!streams.wait(until).await);
    assert!(Instant::now() >= until);
    assert_eq!(streams.waiting.get(), 0);
}

#[tokio::test]
async fn one_more_than_may_wait_is_refused_at_once() {
    let streams = known_to_speak_it();
    let until = Instant::now() + STREAM_WAIT;
    let mut context = Context::from_waker(std::task::Waker::noop());
    let mut waiting: Vec<_> = (0..WAITING_MAX).map(|_| Box::pin(streams.wait(until))).collect();
    for wait in &mut waiting {
        assert!(wait.as_mut().poll(&mut context).is_pending());
    }
    assert!(!streams.wait(until).await);
    drop(waiting);
    assert_eq!(streams.waiting.get(), 0);
}

#[test]
fn a_second_connection_is_opened_when_more_wait_than_one_takes() {
    let streams = known_to_speak_it();
    assert!(streams.may_dial());
    let first = streams.dial();
    streams.waiting.set(STREAMS_MAX - 1);
    assert!(!streams.may_dial());
    streams.waiting.set(STREAMS_MAX);
    assert!(streams.may_dial());
    // The peer was seen to take four.
    streams.expected.set(4);
    streams.waiting.set(3);
    assert!(!streams.may_dial());
    streams.waiting.set(4);
    assert!(streams.may_dial());
    streams.waiting.set(0);
    drop(first);
    assert!(streams.may_dial());
}

#[test]
fn what_all_streams_may_hold_fits_the_connection() {
    assert!(u64::from(CONNECTION_WINDOW) >= STREAMS_MAX as u64 * u64::from(STREAM_WINDOW));
}
