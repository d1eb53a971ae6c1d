//! Limits of the management port: how often, how long, how much and how many at once.
//!
//! The same for gRPC and REST, and in front of both: nothing here knows a message or the store. What a
//! listener bounds for all ports is in `runtime::patience`.

use std::net::IpAddr;
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use tokio::time::Instant;

pub(crate) mod held;
mod rate;
mod room;

use rate::Rates;
use room::{Bounds, Room};

pub(crate) use room::Portion;

/// The largest body of an ordinary call: a sealed secret and what is around it.
pub(crate) const BODY_MOST: usize = 1024 * 1024;
/// The largest body of a call that takes a whole configuration, and the largest gRPC message.
pub(crate) const LARGE_MOST: usize = 4 * 1024 * 1024;
/// Open streams of health and reflection, which need no token.
const FOREIGN_STREAMS: usize = 64;
/// One caller may have this part of all open streams.
const STREAM_SHARES: usize = 4;

/// Bounds that a person may set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Calls a second of one token, and of all callers without a good one at one address. 0 means any number.
    pub token_rate: u32,
    /// How many of them may come at once.
    pub token_burst: u32,
    /// How long a call may take.
    pub call: Duration,
    /// How long a call may take that takes a whole configuration.
    pub large_call: Duration,
    /// Open streams of all callers. One may have a quarter of them.
    pub streams: usize,
    /// Open connections of all callers.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            token_rate: 50,
            token_burst: 200,
            call: Duration::from_secs(30),
            large_call: Duration::from_secs(120),
            streams: 1000,
            connections: 4096,
        }
    }
}

/// What a call costs us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Ordinary,
    /// Takes a whole configuration.
    Large,
    /// Answers for as long as the caller listens.
    Stream,
    /// None of our calls: health, reflection, and what does not exist. Proves nothing about a token.
    Foreign,
}

impl Class {
    /// What one message may take in memory when it is decoded.
    pub(crate) const fn heavy(self) -> usize {
        16 * self.body()
    }

    /// The largest body, and the largest gRPC message.
    pub(crate) const fn body(self) -> usize {
        match self {
            Self::Large => LARGE_MOST,
            Self::Ordinary | Self::Stream | Self::Foreign => BODY_MOST,
        }
    }
}

/// Why the throttle refused a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("too many calls: try again in {} s", seconds(*.0))]
    Rate(Duration),
    #[error("too many streams are open: try again later")]
    Streams,
    #[error("the call exceeded its deadline")]
    Deadline,
    #[error("too much data is being received at once: try again later")]
    Room,
}

/// Whole seconds, rounded up: what `Retry-After` holds.
pub(crate) fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// The caller, as far as headers and address tell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Presented {
    token: Option<[u8; 32]>,
    address: Option<IpAddr>,
}

impl Presented {
    pub(crate) fn of(headers: &HeaderMap, address: Option<IpAddr>) -> Self {
        let token = headers.get(AUTHORIZATION).map(|value| *blake3::hash(value.as_bytes()).as_bytes());
        Self { token, address: address.map(network) }
    }

    /// The network of the caller's address.
    pub(crate) fn network(&self) -> String {
        self.address.map_or_else(String::new, |address| address.to_string())
    }
}

/// A holder of one IPv6 address has all of its /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let mut bytes = address.octets();
            bytes[8..].fill(0);
            IpAddr::from(bytes)
        }
    }
}

/// The counts of one port.
#[derive(Debug)]
pub(crate) struct Throttle {
    limits: Limits,
    /// Of tokens that authentication let in: others could be made up without end.
    tokens: Rates<[u8; 32]>,
    strangers: Rates<Option<IpAddr>>,
    streams: Room,
    foreign: Room,
    bytes: Room,
}

impl Throttle {
    pub(crate) fn new(limits: Limits) -> Self {
        let rates = || (limits.token_rate, limits.token_burst);
        Self {
            tokens: Rates::new(rates()),
            strangers: Rates::new(rates()),
            streams: streams(limits.streams),
            foreign: streams(FOREIGN_STREAMS),
            bytes: Room::of_bytes(),
            limits,
        }
    }

    /// Counts a call. A token has its own count once it was authenticated; until then its address counts.
    pub(crate) fn enter(&self, who: &Presented, now: Instant) -> Result<(), Refusal> {
        let known = who.token.and_then(|token| self.tokens.take_known(&token, now));
        known.unwrap_or_else(|| self.strangers.take(who.address, now)).map_err(Refusal::Rate)
    }

    /// Notes whether a caller was authenticated.
    pub(crate) fn judged(&self, who: &Presented, good: bool, now: Instant) {
        match who.token {
            Some(token) if good => self.tokens.know(token, now),
            Some(token) => self.tokens.forget(&token),
            None => {}
        }
    }

    /// A place for a call that may stay open.
    pub(crate) fn place(&self, class: Class, caller: &str) -> Result<Option<Portion>, Refusal> {
        let places = match class {
            Class::Ordinary | Class::Large => return Ok(None),
            Class::Stream => &self.streams,
            Class::Foreign => &self.foreign,
        };
        let place = places.portion(caller);
        place.grow(1)?;
        Ok(Some(place))
    }

    /// The memory that a call will hold of what its caller sends.
    pub(crate) fn portion(&self, caller: &str) -> Portion {
        self.bytes.portion(caller)
    }

    /// How long a call may take until the head of its answer, given what the caller said.
    pub(crate) fn limit(&self, class: Class, said: Option<Duration>) -> Duration {
        let ours = match class {
            Class::Large => self.limits.large_call,
            Class::Ordinary | Class::Stream | Class::Foreign => self.limits.call,
        };
        said.map_or(ours, |said| said.min(ours))
    }
}

/// Places for open streams, of which no caller has them all.
fn streams(all: usize) -> Room {
    Room::new(Bounds { all, each: all.div_ceil(STREAM_SHARES), free: 0, full: Refusal::Streams })
}

/// What `grpc-timeout` says: at most eight digits and a unit.
pub(crate) fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.is_empty() || number.len() > 8 || !number.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
