//! Which of several addresses answers first (RFC 8305).
//!
//! Judges no address and bounds no time in all: the caller does both. The invariant: when one attempt has won, or
//! nobody waits any longer, no other goes on.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long an attempt has before the next begins beside it.
pub(crate) const NEXT_AFTER: Duration = Duration::from_millis(250);

/// Attempts that go on at once. A zone with many silent addresses must not open a socket for each of them in every
/// connection.
const AT_ONCE: u32 = 8;

/// Of addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    #[default]
    V6,
}

impl Family {
    pub(crate) fn of(address: IpAddr) -> Self {
        if address.is_ipv6() { Self::V6 } else { Self::V4 }
    }
}

/// An attempt that goes on, and its place among all that do. The first needs none: its caller has one for it.
struct Attempt<F, P> {
    future: Pin<Box<F>>,
    since: Instant,
    place: Option<P>,
}

/// Addresses in the order of attempts: the families take turns, IPv4 first where that is `preferred`.
pub(crate) fn in_turn(
    addresses: impl IntoIterator<Item = IpAddr>,
    port: u16,
    preferred: Family,
) -> Vec<SocketAddr> {
    let (first, second): (Vec<IpAddr>, Vec<IpAddr>) =
        addresses.into_iter().partition(|ip| Family::of(*ip) == preferred);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turns = Vec::with_capacity(first.len() + second.len());
    loop {
        let before = turns.len();
        turns.extend(first.next().into_iter().chain(second.next()).map(|ip| SocketAddr::from((ip, port))));
        if turns.len() == before {
            return turns;
        }
    }
}

/// Attempts one address after the other, the next when one failed or took `next_after`. The first that succeeds ends
/// the others; if all fail, the last failure is told. An attempt beside others begins where `spare` has a place for it,
/// or else when the oldest gives way, after some seconds.
pub(crate) async fn race<T, F, P>(
    addresses: &[SocketAddr],
    next_after: Duration,
    spare: &impl Fn() -> Option<P>,
    attempt: impl Fn(SocketAddr) -> F,
) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut left = addresses.iter();
    let mut running = VecDeque::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if left.len() > 0
            && let Some(place) = place(&mut running, next_after, spare)
            && let Some(address) = left.next()
        {
            let future = Box::pin(attempt(*address));
            running.push_back(Attempt { future, since: Instant::now(), place });
        }
        if running.is_empty() {
            return Err(last);
        }
        let is_last = left.len() == 0;
        tokio::select! {
            biased;
            ended = first_to_end(&mut running) => match ended {
                Ok(won) => return Ok(won),
                Err(error) => last = error,
            },
            () = sleep(next_after), if !is_last => {}
        }
    }
}

/// What one more attempt goes on with, if it may begin now.
fn place<F, P>(
    running: &mut VecDeque<Attempt<F, P>>,
    next_after: Duration,
    spare: &impl Fn() -> Option<P>,
) -> Option<Option<P>> {
    let Some(oldest) = running.front() else { return Some(None) };
    let had_time = oldest.since.elapsed() >= AT_ONCE * next_after;
    if running.len() < AT_ONCE as usize
        && let Some(place) = spare()
    {
        return Some(Some(place));
    }
    if had_time { running.pop_front().map(|oldest| oldest.place) } else { None }
}

/// The outcome of the first attempt that ends, which is taken out.
async fn first_to_end<F: Future, P>(running: &mut VecDeque<Attempt<F, P>>) -> F::Output {
    poll_fn(|cx| {
        for index in 0..running.len() {
            if let Poll::Ready(outcome) = running[index].future.as_mut().poll(cx) {
                running.remove(index);
                return Poll::Ready(outcome);
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests;
