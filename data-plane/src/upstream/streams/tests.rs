//! Whether there are enough connections.

use super::*;

#[test]
fn a_second_connection_is_opened_when_more_wait_than_one_takes() {
    let streams = Streams::default();
    assert!(streams.want_more(1, 0));
    assert!(!streams.want_more(STREAMS_MAX - 1, 1));
    assert!(streams.want_more(STREAMS_MAX, 1));
    // The peer was seen to take four.
    streams.expected.set(4);
    assert!(!streams.want_more(3, 1));
    assert!(streams.want_more(4, 1));
    assert!(!streams.want_more(1_000_000, CONNECTIONS_MAX));
}

#[test]
fn what_all_streams_may_hold_fits_the_connection() {
    assert!(u64::from(CONNECTION_WINDOW) >= STREAMS_MAX as u64 * u64::from(STREAM_WINDOW));
}
