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

use tokio::time::sleep;

/// How long an attempt has before the next begins beside it.
pub(crate) const NEXT_AFTER: Duration = Duration::from_millis(250);

/// Attempts that go on at once. A zone with many silent addresses must not open a socket for each of them in every
/// connection; the oldest attempt gives way, after some seconds.
const AT_ONCE: usize = 8;

/// Addresses in the order of attempts: the families take turns, IPv6 first.
pub(crate) fn in_turn(addresses: impl IntoIterator<Item = IpAddr>, port: u16) -> Vec<SocketAddr> {
    let (v6, v4): (Vec<IpAddr>, Vec<IpAddr>) = addresses.into_iter().partition(IpAddr::is_ipv6);
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    let mut turns = Vec::with_capacity(v6.len() + v4.len());
    loop {
        let before = turns.len();
        turns.extend(v6.next().into_iter().chain(v4.next()).map(|ip| SocketAddr::from((ip, port))));
        if turns.len() == before {
            return turns;
        }
    }
}

/// Attempts one address after the other, the next when one failed or took `next_after`. The first that succeeds ends
/// the others; if all fail, the last failure is told.
pub(crate) async fn race<T, F>(
    addresses: &[SocketAddr],
    next_after: Duration,
    attempt: impl Fn(SocketAddr) -> F,
) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut left = addresses.iter();
    let mut running = VecDeque::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        let next = left.next();
        if let Some(address) = next {
            if running.len() == AT_ONCE {
                running.pop_front();
            }
            running.push_back(Box::pin(attempt(*address)));
        }
        if running.is_empty() {
            return Err(last);
        }
        let is_last = next.is_none() || left.len() == 0;
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

/// The outcome of the first attempt that ends, which is taken out.
async fn first_to_end<F: Future>(running: &mut VecDeque<Pin<Box<F>>>) -> F::Output {
    poll_fn(|cx| {
        for index in 0..running.len() {
            if let Poll::Ready(outcome) = running[index].as_mut().poll(cx) {
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
