//! Who gives way, and for what.

use bytes::Bytes;
use http_body_util::Full;
use rr_contract::runtime::patience::Watched;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn places(bounds: Bounds) -> (Places, Arc<Counters>) {
    let counters: Arc<Counters> = Arc::default();
    (Places::new(bounds, Arc::clone(&counters)), counters)
}

/// Strangers are old enough to go at once.
fn of(connections: usize) -> Bounds {
    Bounds { grace: Duration::ZERO, ..Bounds::of(connections) }
}

fn take(places: &Places) -> Place {
    places.take().unwrap_or_else(|Full| panic!("there is a place"))
}

/// Which of them were told to leave.
fn left(all: &[&Place]) -> Vec<bool> {
    all.iter().map(|place| place.seat().leaves.get()).collect()
}

#[tokio::test]
async fn strangers_give_way_before_callers_and_the_longest_idle_before_others() {
    let (places, counters) = places(of(4));
    let (known, other, first, second) = (take(&places), take(&places), take(&places), take(&places));
    drop(other.seat().begin());
    drop(known.seat().begin());
    let third = take(&places);
    assert_eq!(left(&[&known, &other, &first, &second, &third]), [false, false, true, false, false]);
    let busy = second.seat().begin();
    let _fourth = take(&places);
    assert!(left(&[&third])[0], "the only stranger that is idle");
    drop(third.seat().begin());
    let fresh = take(&places);
    let asks = fresh.seat().begin();
    let _fifth = take(&places);
    assert_eq!(left(&[&known, &other, &second, &fresh]), [false, true, false, false], "idle for longest");
    assert_eq!(counters.cut_for(Cut::Shed), 5 - 1);
    drop((busy, asks));
}

#[tokio::test]
async fn a_stranger_that_has_just_come_goes_after_whoever_is_idle() {
    let (places, _) = places(Bounds { grace: HOUR, ..Bounds::of(2) });
    let (known, fresh) = (take(&places), take(&places));
    drop(known.seat().begin());
    let _next = take(&places);
    assert_eq!(left(&[&known, &fresh]), [true, false]);
}

#[tokio::test]
async fn who_has_a_request_under_way_or_an_answer_on_its_way_never_gives_way() {
    let (places, counters) = places(of(2));
    let (busy, writing) = (take(&places), take(&places));
    let under_way = busy.seat().begin();
    writing.seat().waits(true);
    assert_eq!(places.take().err(), Some(Full));
    let body = under_way.clone();
    drop(under_way);
    assert_eq!(places.take().err(), Some(Full), "its body is still read");
    drop(body);
    let _next = take(&places);
    assert_eq!(left(&[&busy, &writing]), [true, false]);
    assert_eq!((counters.cut_for(Cut::Full), counters.cut_for(Cut::Shed)), (2, 1));
}

#[tokio::test]
async fn a_place_is_free_again_once_its_connection_is_gone() {
    let (places, counters) = places(of(1));
    for _ in 0..10 {
        drop(take(&places));
    }
    let first = take(&places);
    let second = take(&places);
    drop(first);
    assert!(!places.has_room());
    drop(second);
    assert!(places.has_room() && places.0.seats.borrow().is_empty());
    assert_eq!(counters.cut_for(Cut::Shed), 1);
}

#[tokio::test]
async fn the_largest_unfinished_head_goes_when_all_together_hold_too_much() {
    let (places, counters) = places(Bounds { heads: 1000, ..of(10) });
    let (small, large, busy) = (take(&places), take(&places), take(&places));
    small.seat().read(300);
    large.seat().read(600);
    let under_way = busy.seat().begin();
    busy.seat().read(5000);
    assert_eq!(counters.cut_for(Cut::Heads), 0, "a body is no head");
    small.seat().read(200);
    assert_eq!(left(&[&small, &large, &busy]), [false, true, false]);
    // A head that came whole holds nothing any more.
    drop((small.seat().begin(), under_way));
    assert_eq!((places.0.heads.get(), counters.cut_for(Cut::Heads)), (0, 1));
}

#[tokio::test]
async fn of_those_who_do_not_read_the_longest_go_when_there_are_too_many() {
    let (places, counters) = places(Bounds { stalled: 1, patience: HOUR, ..of(10) });
    let (first, second, reads) = (take(&places), take(&places), take(&places));
    let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds));
    for (place, seconds) in [(&first, 20), (&second, 10)] {
        place.seat().stuck_since.set(ago(seconds));
    }
    reads.seat().waits(true);
    if first.seat().stuck_since.get().is_none() || second.seat().stuck_since.get().is_none() {
        // A machine that has just started has no such time behind it.
        return;
    }
    places.sweep();
    assert_eq!(left(&[&first, &second, &reads]), [true, false, false]);
    assert_eq!(counters.cut_for(Cut::Stalled), 1);
}

#[tokio::test]
async fn an_idle_http2_connection_that_answers_pings_is_not_held_to_send_a_head() {
    let (places, _) = places(Bounds { head: Duration::ZERO, ..of(10) });
    let place = take(&places);
    place.seat().speaks_http2();
    drop(place.seat().begin());
    for _ in 0..100 {
        place.seat().read(17);
        places.sweep();
    }
    assert_eq!((left(&[&place]), places.0.heads.get()), (vec![false], 0));
}

#[tokio::test]
async fn answers_that_are_not_asked_for_go_when_too_many_are_open() {
    let (places, counters) = places(Bounds { streams: 16, ..of(10) });
    let place = take(&places);
    place.seat().speaks_http2();
    let open: Vec<_> = (0..16)
        .map(|_| {
            let body = Watched::new(Full::new(Bytes::from_static(b"denied")));
            let stream = place.seat().stream();
            stream.answers(Arc::clone(body.asked()));
            (stream, body)
        })
        .collect();
    assert_eq!((places.0.streams.get(), counters.cut_for(Cut::Stalled)), (16, 0));
    let _next = place.seat().stream();
    assert_eq!(counters.cut_for(Cut::Stalled), 2);
    drop(open);
    assert_eq!(places.0.streams.get(), 1);
}

#[tokio::test]
async fn who_does_not_read_keeps_no_place_from_who_asks() {
    let (places, counters) = places(Bounds { patience: Duration::ZERO, ..of(3) });
    let (stuck, unread, waits) = (take(&places), take(&places), take(&places));
    stuck.seat().waits(true);
    unread.seat().speaks_http2();
    let mut under_way = vec![unread.seat().begin(), waits.seat().begin()];
    let body = Watched::new(Full::new(Bytes::from_static(b"denied")));
    let stream = unread.seat().stream();
    stream.answers(Arc::clone(body.asked()));
    let first = take(&places);
    under_way.push(first.seat().begin());
    let second = take(&places);
    under_way.push(second.seat().begin());
    assert_eq!(left(&[&stuck, &unread, &waits, &first, &second]), [true, true, false, false, false]);
    assert_eq!((places.take().err(), counters.cut_for(Cut::Stalled)), (Some(Full), 2));
}
