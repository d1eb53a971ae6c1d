//! Counters of one worker, written by it alone and read for metrics.
//!
//! Plain stores instead of atomic additions: there is one writer, and a request must not pay for metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rr_contract::runtime::observe::LATENCY_SECONDS;

use crate::outcome::Code;

const BUCKETS: usize = LATENCY_SECONDS.len() + 1;

/// Why a caller's connection, or an answer on one, was ended before its caller ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The limit was reached, and no connection was idle.
    Full,
    /// It was idle, and a new connection needed its seat.
    Shed,
    /// No complete request head came in time.
    Late,
    /// Incomplete heads held too much memory, and this one held the most.
    Heads,
    /// Its caller did not read the response.
    Stalled,
    /// It failed to agree on TLS.
    Handshake,
    /// A proxy in front of this node did not say whose connection it is.
    ProxyHeader,
}

impl Cut {
    const ALL: [Self; 7] =
        [Self::Full, Self::Shed, Self::Late, Self::Heads, Self::Stalled, Self::Handshake, Self::ProxyHeader];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Shed => "shed",
            Self::Late => "late",
            Self::Heads => "heads",
            Self::Stalled => "stalled",
            Self::Handshake => "handshake",
            Self::ProxyHeader => "proxy-header",
        }
    }
}

/// Why a body is held whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gathered {
    /// Rules or meters look at a request's.
    Request,
    /// Filters go over a response's.
    Response,
    /// Meters read a number in a copy of a response's.
    Copy,
}

impl Gathered {
    const ALL: [Self; 3] = [Self::Request, Self::Response, Self::Copy];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
            Self::Copy => "copy",
        }
    }
}

/// Counters of one worker.
#[derive(Default)]
pub(crate) struct Counters {
    began: Count,
    ended: Count,
    by_code: ByCode,
    seconds: [Count; BUCKETS],
    nanoseconds: Count,
    connections_opened: Count,
    connections_reused: Count,
    tunnels_opened: Count,
    tunnels_closed: Count,
    records_dropped: Count,
    accepted: Count,
    cut: [Count; Cut::ALL.len()],
    gathered_bytes: Count,
    not_gathered: [Count; Gathered::ALL.len()],
    echoes_masked: Count,
    echoes_refused: Count,
    other_tokens: Count,
    previous_secrets: Count,
    traces_over_rate: Count,
    traces_dropped: Count,
}

#[derive(Default)]
struct Count(AtomicU64);

/// One of each code.
struct ByCode([Count; Code::ALL.len()]);

impl Default for ByCode {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Count::default()))
    }
}

impl Count {
    fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(crate) fn request_began(&self) {
        self.began.add(1);
    }

    pub(crate) fn request_ended(&self, code: Option<Code>, duration: Duration) {
        self.ended.add(1);
        self.by_code.0[code.unwrap_or(Code::CallerGone) as usize].add(1);
        let seconds = duration.as_secs_f64();
        let bucket = LATENCY_SECONDS.partition_point(|bound| *bound < seconds);
        self.seconds[bucket].add(1);
        self.nanoseconds.add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn connection_opened(&self) {
        self.connections_opened.add(1);
    }

    pub(crate) fn connection_reused(&self) {
        self.connections_reused.add(1);
    }

    pub(crate) fn tunnel_opened(&self) {
        self.tunnels_opened.add(1);
    }

    pub(crate) fn tunnel_closed(&self) {
        self.tunnels_closed.add(1);
    }

    pub(crate) fn record_dropped(&self) {
        self.records_dropped.add(1);
    }

    pub(crate) fn records_lost(&self) -> u64 {
        self.records_dropped.get()
    }

    pub(crate) fn accepted(&self) {
        self.accepted.add(1);
    }

    pub(crate) fn cut(&self, why: Cut) {
        self.cut[why as usize].add(1);
    }

    /// So many bytes of bodies are held whole.
    pub(crate) fn gathered(&self, bytes: usize) {
        self.gathered_bytes.set(bytes as u64);
    }

    /// There was no room to hold a body whole.
    pub(crate) fn not_gathered(&self, what: Gathered) {
        self.not_gathered[what as usize].add(1);
    }

    /// An upstream sent its secret back.
    pub(crate) fn echoed(&self, refused: bool) {
        let count = if refused { &self.echoes_refused } else { &self.echoes_masked };
        count.add(1);
    }

    /// A request is sent once more with another token, or with the secret before.
    pub(crate) fn sent_again(&self, with_previous: bool) {
        let count = if with_previous { &self.previous_secrets } else { &self.other_tokens };
        count.add(1);
    }

    /// A request was not traced because so many are.
    pub(crate) fn trace_over_rate(&self) {
        self.traces_over_rate.add(1);
    }

    /// A trace found no room among those that wait for the collector.
    pub(crate) fn trace_dropped(&self) {
        self.traces_dropped.add(1);
    }

    /// How many were ended for this.
    #[cfg(test)]
    pub(crate) fn cut_for(&self, why: Cut) -> u64 {
        self.cut[why as usize].get()
    }
}

/// The sums over all workers, computed when metrics are read.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Totals {
    pub(crate) active: u64,
    pub(crate) by_code: Vec<(&'static str, u64)>,
    /// Cumulative, as Prometheus wants them; the last one is without bound.
    pub(crate) seconds: Vec<(f64, u64)>,
    pub(crate) seconds_sum: f64,
    pub(crate) connections_opened: u64,
    pub(crate) connections_reused: u64,
    pub(crate) tunnels_opened: u64,
    pub(crate) tunnels_open: u64,
    pub(crate) records_dropped: u64,
    pub(crate) accepted: u64,
    pub(crate) cut: Vec<(&'static str, u64)>,
    pub(crate) gathered_bytes: u64,
    pub(crate) not_gathered: Vec<(&'static str, u64)>,
    pub(crate) echoes_masked: u64,
    pub(crate) echoes_refused: u64,
    pub(crate) other_tokens: u64,
    pub(crate) previous_secrets: u64,
    pub(crate) traces_over_rate: u64,
    pub(crate) traces_dropped: u64,
}

impl Totals {
    pub(crate) fn of<'a>(workers: impl Iterator<Item = &'a Counters> + Clone) -> Self {
        let sum =
            |read: fn(&Counters) -> &Count| workers.clone().map(|worker| read(worker).get()).sum::<u64>();
        let mut below = 0;
        let seconds = (0..BUCKETS)
            .map(|bucket| {
                below += workers.clone().map(|worker| worker.seconds[bucket].get()).sum::<u64>();
                (LATENCY_SECONDS.get(bucket).copied().unwrap_or(f64::INFINITY), below)
            })
            .collect();
        Self {
            active: sum(|worker| &worker.began).saturating_sub(sum(|worker| &worker.ended)),
            by_code: Code::ALL
                .into_iter()
                .map(|code| {
                    let count = workers.clone().map(|worker| worker.by_code.0[code as usize].get()).sum();
                    (code.as_str(), count)
                })
                .collect(),
            seconds,
            seconds_sum: Duration::from_nanos(sum(|worker| &worker.nanoseconds)).as_secs_f64(),
            connections_opened: sum(|worker| &worker.connections_opened),
            connections_reused: sum(|worker| &worker.connections_reused),
            tunnels_opened: sum(|worker| &worker.tunnels_opened),
            tunnels_open: sum(|worker| &worker.tunnels_opened)
                .saturating_sub(sum(|worker| &worker.tunnels_closed)),
            records_dropped: sum(|worker| &worker.records_dropped),
            accepted: sum(|worker| &worker.accepted),
            cut: Cut::ALL
                .into_iter()
                .map(|why| {
                    let count = workers.clone().map(|worker| worker.cut[why as usize].get()).sum();
                    (why.as_str(), count)
                })
                .collect(),
            gathered_bytes: sum(|worker| &worker.gathered_bytes),
            echoes_masked: sum(|worker| &worker.echoes_masked),
            echoes_refused: sum(|worker| &worker.echoes_refused),
            other_tokens: sum(|worker| &worker.other_tokens),
            previous_secrets: sum(|worker| &worker.previous_secrets),
            traces_over_rate: sum(|worker| &worker.traces_over_rate),
            traces_dropped: sum(|worker| &worker.traces_dropped),
            not_gathered: Gathered::ALL
                .into_iter()
                .map(|what| {
                    let count = workers.clone().map(|worker| worker.not_gathered[what as usize].get()).sum();
                    (what.as_str(), count)
                })
                .collect(),
        }
    }
}
