//! Who gives way, and for what.

use bytes::Bytes;
use http_body_util::Full;
use rr_contract::runtime::patience::{Asked, Watched};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn seats(bounds: Bounds) -> (Seats, Arc<Counters>) {
    let counters: Arc<Counters> = Arc::default();
    (Seats::new(bounds, Arc::clone(&counters)), counters)
}

/// Strangers are old enough to go at once.
fn of(connections: usize) -> Bounds {
    Bounds { grace: Duration::ZERO, ..Bounds::of(connections) }
}

fn take(seats: &Seats) -> SeatPermit {
    seats.take().unwrap_or_else(|Full| panic!("there is a permit"))
}

/// Which of them were told to leave.
fn left(all: &[&SeatPermit]) -> Vec<bool> {
    all.iter().map(|permit| permit.seat().leaves.get()).collect()
}

#[tokio::test]
async fn strangers_give_way_before_callers_and_the_longest_idle_before_others() {
    let (seats, counters) = seats(of(4));
    let (known, other, first, second) = (take(&seats), take(&seats), take(&seats), take(&seats));
    drop(other.seat().begin());
    drop(known.seat().begin());
    let third = take(&seats);
    assert_eq!(left(&[&known, &other, &first, &second, &third]), [false, false, true, false, false]);
    let busy = second.seat().begin();
    let _fourth = take(&seats);
    assert!(left(&[&third])[0], "the only stranger that is idle");
    drop(third.seat().begin());
    let fresh = take(&seats);
    let asks = fresh.seat().begin();
    let _fifth = take(&seats);
    assert_eq!(left(&[&known, &other, &second, &fresh]), [false, true, false, false], "idle for longest");
    assert_eq!(counters.cut_for(Cut::Shed), 5 - 1);
    drop((busy, asks));
}

#[tokio::test]
async fn a_stranger_that_has_just_come_goes_after_whoever_is_idle() {
    let (seats, _) = seats(Bounds { grace: HOUR, ..Bounds::of(2) });
    let (known, fresh) = (take(&seats), take(&seats));
    drop(known.seat().begin());
    let _next = take(&seats);
    assert_eq!(left(&[&known, &fresh]), [true, false]);
}

#[tokio::test]
async fn who_has_a_request_under_way_or_an_answer_on_its_way_never_gives_way() {
    let (seats, counters) = seats(of(2));
    let (busy, writing) = (take(&seats), take(&seats));
    let under_way = busy.seat().begin();
    writing.seat().waits(true);
    assert_eq!(seats.take().err(), Some(Full));
    let body = under_way.clone();
    drop(under_way);
    assert_eq!(seats.take().err(), Some(Full), "its body is still read");
    drop(body);
    let _next = take(&seats);
    assert_eq!(left(&[&busy, &writing]), [true, false]);
    assert_eq!((counters.cut_for(Cut::Full), counters.cut_for(Cut::Shed)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn who_has_asked_may_be_idle_for_a_while_between_two_requests() {
    let (seats, counters) = seats(of(4));
    let (idle, asks, begins) = (take(&seats), take(&seats), take(&seats));
    let under_way = asks.seat().begin();
    drop((idle.seat().begin(), begins.seat().begin()));
    let after = async |seconds| {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        seats.sweep();
        left(&[&idle, &asks, &begins])
    };
    seats.sweep();
    assert_eq!(after(59).await, [false; 3]);
    drop(idle.seat().begin());
    begins.seat().read(10);
    assert_eq!(after(1).await, [false; 3], "a new rest, a request, and a head that has begun");
    assert_eq!(after(10).await, [false; 3]);
    assert_eq!(after(50).await, [true, false, true], "the head is late, for its own reason");
    assert_eq!((counters.cut_for(Cut::Shed), counters.cut_for(Cut::Late)), (0, 1));
    drop(under_way);
}

#[tokio::test(start_paused = true)]
async fn a_connection_over_http2_may_be_idle_for_as_long_as_it_answers_pings() {
    let (seats, _) = seats(of(4));
    let (over_http2, over_http1) = (take(&seats), take(&seats));
    over_http2.seat().speaks_http2();
    drop((over_http2.seat().begin(), over_http1.seat().begin()));
    for _ in 0..2 {
        seats.sweep();
        tokio::time::advance(Duration::from_secs(60)).await;
    }
    seats.sweep();
    assert_eq!(left(&[&over_http2, &over_http1]), [false, true]);
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_head_ends_with_its_request() {
    let (seats, _) = seats(of(4));
    let permit = take(&seats);
    drop(permit.seat().begin());
    permit.seat().read(100);
    tokio::time::advance(Duration::from_secs(10)).await;
    drop(permit.seat().begin());
    tokio::time::advance(Duration::from_secs(10)).await;
    seats.sweep();
    assert_eq!(left(&[&permit]), [false], "it is idle for ten seconds, and has sent nothing of a next head");
}

#[tokio::test]
async fn a_connection_that_leaves_makes_room_and_counts_once_and_its_bytes_no_more() {
    let (seats, counters) = seats(Bounds { heads: 1000, ..of(2) });
    let (leaves, stays) = (take(&seats), take(&seats));
    leaves.seat().read(900);
    leaves.seat().leave(Cut::Stalled);
    leaves.seat().leave(Cut::Stalled);
    leaves.seat().gave_up();
    assert_eq!(counters.cut_for(Cut::Stalled), 1);
    leaves.seat().read(900);
    stays.seat().read(900);
    let _next = take(&seats);
    assert_eq!(left(&[&stays]), [false]);
    let seat = Rc::clone(stays.seat());
    drop((leaves, stays));
    seat.read(900);
    assert_eq!((seats.0.heads.get(), counters.cut_for(Cut::Heads), counters.cut_for(Cut::Shed)), (0, 0, 0));
}

#[tokio::test]
async fn who_was_chosen_to_give_way_and_asks_meanwhile_is_idle_for_shorter_than_others() {
    let (seats, _) = seats(of(3));
    let (first, second, third) = (take(&seats), take(&seats), take(&seats));
    for permit in [&first, &second, &third] {
        drop(permit.seat().begin());
    }
    let next = take(&seats);
    drop(next.seat().begin());
    assert_eq!(left(&[&first, &second, &third]), [true, false, false]);
    // It was next.
    drop(second.seat().begin());
    let _last = take(&seats);
    assert_eq!(left(&[&second, &third]), [false, true]);
}

#[tokio::test]
async fn who_was_chosen_because_it_does_not_read_and_reads_meanwhile_stays() {
    let (seats, _) = seats(Bounds { patience: Duration::ZERO, ..of(2) });
    let (first, second) = (take(&seats), take(&seats));
    let _under_way = [first.seat().begin(), second.seat().begin()];
    first.seat().waits(true);
    second.seat().waits(true);
    let next = take(&seats);
    let _asks = next.seat().begin();
    let stuck = if first.seat().leaves.get() { &second } else { &first };
    assert!(!stuck.seat().leaves.get());
    stuck.seat().waits(false);
    assert_eq!(seats.take().err(), Some(Full));
    assert_eq!(left(&[stuck]), [false]);
}

#[tokio::test]
async fn a_place_is_free_again_once_its_connection_is_gone() {
    let (seats, counters) = seats(of(1));
    for _ in 0..10 {
        drop(take(&seats));
    }
    let first = take(&seats);
    let second = take(&seats);
    drop(first);
    assert!(!seats.has_room());
    drop(second);
    assert!(seats.has_room() && seats.0.seats.borrow().is_empty());
    assert_eq!(counters.cut_for(Cut::Shed), 1);
}

#[tokio::test]
async fn the_largest_unfinished_head_goes_when_all_together_hold_too_much() {
    let (seats, counters) = seats(Bounds { heads: 1000, ..of(10) });
    let (small, large, busy) = (take(&seats), take(&seats), take(&seats));
    small.seat().read(300);
    large.seat().read(600);
    let under_way = busy.seat().begin();
    busy.seat().read(5000);
    assert_eq!(counters.cut_for(Cut::Heads), 0, "a body is no head");
    small.seat().read(200);
    assert_eq!(left(&[&small, &large, &busy]), [false, true, false]);
    // A head that came whole holds nothing any more.
    drop((small.seat().begin(), under_way));
    assert_eq!((seats.0.heads.get(), counters.cut_for(Cut::Heads)), (0, 1));
}

#[tokio::test]
async fn of_those_who_do_not_read_the_longest_go_when_there_are_too_many() {
    let (seats, counters) = seats(Bounds { stalled: 1, patience: HOUR, ..of(10) });
    let (first, second, reads) = (take(&seats), take(&seats), take(&seats));
    let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds));
    for (permit, seconds) in [(&first, 10), (&second, 20)] {
        permit.seat().stuck_since.set(ago(seconds));
    }
    reads.seat().waits(true);
    if first.seat().stuck_since.get().is_none() || second.seat().stuck_since.get().is_none() {
        // A machine that has just started has no such time behind it.
        return;
    }
    seats.sweep();
    assert_eq!(left(&[&first, &second, &reads]), [false, true, false]);
    assert_eq!(counters.cut_for(Cut::Stalled), 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_many_unread_answers_takes_no_time_from_one_that_reads_slowly() {
    let (seats, counters) = seats(Bounds { stalled: 4, ..of(10) });
    let (many, slow, first) = (take(&seats), take(&seats), take(&seats));
    let all = [&many, &slow, &first];
    all.iter().for_each(|permit| permit.seat().speaks_http2());
    let _under_way = all.map(|permit| permit.seat().begin());
    let oldest = unasked(&first, 1);
    let reads = unasked(&slow, 1);
    tokio::time::advance(Duration::from_secs(3)).await;
    let unread = unasked(&many, 8);
    tokio::time::advance(Duration::from_secs(6)).await;
    seats.sweep();
    assert_eq!(counters.cut_for(Cut::Stalled), 6);
    let is_left = |(stream, _): &(Rc<Stream>, Watched<Full<Bytes>>)| stream.asked.borrow().is_some();
    assert!(
        oldest.iter().chain(&reads).all(is_left) && unread.iter().filter(|one| is_left(one)).count() == 2
    );
    // Their patience is the same.
    tokio::time::advance(Duration::from_secs(21)).await;
    seats.sweep();
    assert!(!oldest.iter().chain(&reads).any(is_left));
}

#[tokio::test]
async fn an_idle_http2_connection_that_answers_pings_is_not_held_to_send_a_head() {
    let (seats, _) = seats(Bounds { head: Duration::ZERO, ..of(10) });
    let permit = take(&seats);
    permit.seat().speaks_http2();
    drop(permit.seat().begin());
    for _ in 0..100 {
        permit.seat().read(17);
        seats.sweep();
    }
    assert_eq!((left(&[&permit]), seats.0.heads.get()), (vec![false], 0));
}

/// Streams whose answers nobody asks for.
fn unasked(permit: &SeatPermit, count: usize) -> Vec<(Rc<Stream>, Watched<Full<Bytes>>)> {
    let open = |_| {
        let body = Watched::new(Full::new(Bytes::from_static(b"denied")));
        let stream = permit.seat().stream();
        stream.answers(Arc::clone(body.asked()));
        (stream, body)
    };
    (0..count).map(open).collect()
}

#[tokio::test]
async fn answers_that_are_not_asked_for_go_when_there_are_too_many() {
    let (seats, counters) = seats(Bounds { streams: 16, ..of(10) });
    let permit = take(&seats);
    permit.seat().speaks_http2();
    let open = unasked(&permit, 16);
    assert_eq!((seats.0.streams.get(), counters.cut_for(Cut::Stalled)), (16, 0));
    let _next = permit.seat().stream();
    assert_eq!(counters.cut_for(Cut::Stalled), 2);
    drop(open);
    assert_eq!(seats.0.streams.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn of_the_answers_that_are_not_asked_for_those_go_that_wait_for_longest() {
    let (seats, _) = seats(Bounds { streams: 16, ..of(10) });
    let permit = take(&seats);
    permit.seat().speaks_http2();
    let now = Instant::now();
    let open: Vec<_> = (0..16_u32)
        .map(|n| {
            let (stream, asked) = (permit.seat().stream(), Asked::unwatched());
            asked.waits(Some(now + Duration::from_secs(1) * (16 - n)));
            stream.answers(asked);
            stream
        })
        .collect();
    let _next = permit.seat().stream();
    let ended: Vec<bool> = open.iter().map(|stream| stream.asked.borrow().is_none()).collect();
    assert_eq!(ended, [vec![false; 14], vec![true; 2]].concat());
}

#[tokio::test]
async fn however_many_streams_wait_for_upstreams_no_answer_on_its_way_is_ended_for_them() {
    let (seats, counters) = seats(Bounds { streams: 16, ..of(10) });
    let (many, other) = (take(&seats), take(&seats));
    many.seat().speaks_http2();
    other.seat().speaks_http2();
    // A piece of each was written, and its caller's window is full for a moment.
    let downloads = unasked(&other, 13);
    let _waiting: Vec<_> = (0..100).map(|_| many.seat().stream()).collect();
    seats.sweep();
    assert_eq!(counters.cut_for(Cut::Stalled), 0);
    // Beyond the bound those go that wait for longest.
    let _unread = unasked(&many, 5);
    seats.sweep();
    assert_eq!(counters.cut_for(Cut::Stalled), 4);
    assert!(downloads[..4].iter().all(|(stream, _)| stream.asked.borrow().is_none()));
}

#[tokio::test]
async fn a_pass_over_all_streams_is_not_made_for_each_that_is_opened() {
    let (seats, _) = seats(Bounds { streams: 16, ..of(10) });
    let permit = take(&seats);
    permit.seat().speaks_http2();
    let (mut open, mut passes, mut before) = (Vec::new(), 0, seats.0.look_at.get());
    for _ in 0..1000 {
        open.push(permit.seat().stream());
        passes += usize::from(std::mem::replace(&mut before, seats.0.look_at.get()) != before);
    }
    assert!((1..=1000 / 2).contains(&passes), "{passes}");
    // However few they are, the sweep looks.
    drop(open.split_off(20));
    seats.sweep();
    assert_eq!(seats.0.look_at.get(), 20 + 2);
}

#[tokio::test]
async fn who_does_not_read_keeps_no_place_from_who_asks() {
    let (seats, counters) = seats(Bounds { patience: Duration::ZERO, ..of(3) });
    let (stuck, unread, waits) = (take(&seats), take(&seats), take(&seats));
    stuck.seat().waits(true);
    unread.seat().speaks_http2();
    let mut under_way = vec![unread.seat().begin(), waits.seat().begin()];
    let body = Watched::new(Full::new(Bytes::from_static(b"denied")));
    let stream = unread.seat().stream();
    stream.answers(Arc::clone(body.asked()));
    let first = take(&seats);
    under_way.push(first.seat().begin());
    let second = take(&seats);
    under_way.push(second.seat().begin());
    assert_eq!(left(&[&stuck, &unread, &waits, &first, &second]), [true, true, false, false, false]);
    assert_eq!((seats.take().err(), counters.cut_for(Cut::Stalled)), (Some(Full), 2));
}
