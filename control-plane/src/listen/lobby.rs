//! Connections that show no certificate where one is expected: who joins has none yet, and so has everybody else.
//!
//! They last for a while, are shown out when they ask for nothing, and have places of their own. The invariant:
//! however many of them come, they take no place of a connection with a certificate, and who waits in the middle of a
//! call is not shown out for a newcomer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// What a connection without a certificate may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strangers {
    /// How long one may last.
    pub(crate) lasts: Duration,
    /// How long one may ask for nothing.
    pub(crate) idle: Duration,
    /// How many may be there at once.
    pub(crate) most: usize,
}

/// The places of one port.
pub(super) struct Lobby {
    pub(super) bounds: Strangers,
    /// In their handshake: whether they have a certificate is not known yet.
    pub(super) arriving: Crowd,
    pub(super) staying: Crowd,
}

impl Lobby {
    pub(super) fn new(bounds: Strangers, connections: usize) -> Self {
        Self { bounds, arriving: Crowd::new(connections), staying: Crowd::new(bounds.most) }
    }
}

/// A bounded number of guests. Of those that are idle, the one that came first makes room.
#[derive(Clone)]
pub(super) struct Crowd(Arc<Inner>);

struct Inner {
    most: usize,
    guests: Mutex<Guests>,
}

#[derive(Default)]
struct Guests {
    next: u64,
    /// In the order in which they came.
    there: BTreeMap<u64, Arc<State>>,
}

struct State {
    calls: Mutex<Calls>,
    changed: Notify,
    out: Notify,
}

struct Calls {
    open: usize,
    /// Since when none is.
    idle: Instant,
}

/// One connection's place, given back when it is dropped.
pub(super) struct Guest {
    crowd: Crowd,
    number: u64,
    state: Arc<State>,
}

/// A call that a guest made, until it is dropped.
pub(super) struct Call(Arc<State>);

impl Crowd {
    fn new(most: usize) -> Self {
        Self(Arc::new(Inner { most, guests: Mutex::default() }))
    }

    fn guests(&self) -> MutexGuard<'_, Guests> {
        self.0.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one in, at the cost of an idle one where there is no room; nobody where none is idle.
    pub(super) fn enter(&self) -> Option<Guest> {
        let mut guests = self.guests();
        if guests.there.len() >= self.0.most {
            let number = *guests.there.iter().find(|(_, state)| state.calls().open == 0)?.0;
            if let Some(state) = guests.there.remove(&number) {
                state.out.notify_one();
            }
        }
        let number = guests.next;
        guests.next += 1;
        let state = Arc::new(State {
            calls: Mutex::new(Calls { open: 0, idle: Instant::now() }),
            changed: Notify::new(),
            out: Notify::new(),
        });
        guests.there.insert(number, Arc::clone(&state));
        drop(guests);
        Some(Guest { crowd: self.clone(), number, state })
    }
}

impl State {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// Ends when a newcomer has the place.
    pub(super) async fn shown_out(&self) {
        self.state.out.notified().await;
    }

    /// Ends when no call was open for so long.
    pub(super) async fn idle(&self, most: Duration) {
        loop {
            let until = {
                let calls = self.state.calls();
                (calls.open == 0).then_some(calls.idle + most)
            };
            match until {
                Some(until) if until <= Instant::now() => return,
                Some(until) => sleep_until(until).await,
                None => self.state.changed.notified().await,
            }
        }
    }

    /// Who makes calls over this connection.
    pub(super) fn caller(&self) -> Caller {
        Caller(Arc::clone(&self.state))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.crowd.guests().there.remove(&self.number);
    }
}

/// Counts the calls of a guest.
#[derive(Clone)]
pub(super) struct Caller(Arc<State>);

impl Caller {
    pub(super) fn call(&self) -> Call {
        self.0.calls().open += 1;
        Call(Arc::clone(&self.0))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut calls = self.0.calls();
        calls.open -= 1;
        calls.idle = Instant::now();
        drop(calls);
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_of_those_that_are_idle_makes_room_and_nobody_who_is_in_a_call() {
        let crowd = Crowd::new(2);
        let enter = async || {
            tokio::time::advance(Duration::from_secs(1)).await;
            crowd.enter()
        };
        let (first, second) = (enter().await.expect("room"), enter().await.expect("room"));
        let call = first.caller().call();
        let third = enter().await.expect("the second is idle");
        assert!(second.shown_out().now_or_never().is_some());
        assert!(first.shown_out().now_or_never().is_none());
        // One that was shown out takes nobody's place with it when it goes.
        drop(second);
        let other = third.caller().call();
        assert!(enter().await.is_none(), "all are in a call");
        drop(call);
        assert!(enter().await.is_some());
        assert!(first.shown_out().now_or_never().is_some());
        drop(other);
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_is_idle_from_the_end_of_its_last_call() {
        let crowd = Crowd::new(1);
        let guest = crowd.enter().expect("room");
        let most = Duration::from_secs(10);
        let call = guest.caller().call();
        tokio::time::advance(most * 3).await;
        assert!(guest.idle(most).now_or_never().is_none());
        let start = Instant::now();
        let ends = async {
            tokio::time::sleep(most).await;
            drop(call);
        };
        let both = async { tokio::join!(guest.idle(most), ends) };
        tokio::time::timeout(most * 10, both).await.expect("it is idle at some time");
        assert_eq!(start.elapsed(), most * 2);
    }
}
