//! How targets stand at this node: which of their base URLs get requests, and whether the target gets any.
//!
//! Counts and judges, and sends nothing. All workers share it through atomics, and a target that changes keeps it. The
//! invariants: whatever fails, there is a base URL to choose; a request that ends without a verdict, because its caller
//! went away soon or this node could not send it, counts for nothing and holds nothing.

mod budget;
mod circuit;
mod endpoint;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use rr_contract::model::resilience::{Balance, CircuitBreaker, OutlierEjection};
use tokio::time::Instant;
use tracing::warn;

pub(crate) use self::budget::Budget;
pub(crate) use self::circuit::{Circuit, Pass, StillOpen};
pub(crate) use self::endpoint::{AtEndpoint, Endpoint};

/// How often the log says the same of one base URL or circuit, at the most: an organization decides how soon they
/// change.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// What an upstream made of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    /// 502, 503, 504, or no answer.
    Failure,
}

/// What happened since the start, for metrics.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) ejections: AtomicU64,
    pub(crate) openings: AtomicU64,
    pub(crate) retries: AtomicU64,
    /// Retries that the budget of their proxy had no room for.
    pub(crate) unaffordable: AtomicU64,
    pub(crate) checks_passed: AtomicU64,
    pub(crate) checks_failed: AtomicU64,
}

impl Tally {
    pub(crate) fn count(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// How a target stands.
pub(crate) struct Standing {
    /// In the order of its base URLs; 32 at most.
    endpoints: Box<[Arc<Endpoint>]>,
    balance: Balance,
    /// Whose turn it is.
    turn: AtomicUsize,
    ejection: Option<OutlierEjection>,
    /// Of those that eject at the same time, each sees what the one before did.
    ejecting: Mutex<()>,
    circuit: Option<(CircuitBreaker, Arc<Circuit>)>,
    tally: Arc<Tally>,
}

impl Standing {
    pub(crate) fn new(
        endpoints: Box<[Arc<Endpoint>]>,
        balance: Balance,
        ejection: Option<OutlierEjection>,
        circuit: Option<(CircuitBreaker, Arc<Circuit>)>,
        tally: Arc<Tally>,
    ) -> Self {
        let (turn, ejecting) = (AtomicUsize::default(), Mutex::default());
        // No time that it is told is before that.
        LazyLock::force(&BASE);
        Self { endpoints, balance, turn, ejection, ejecting, circuit, tally }
    }

    pub(crate) fn endpoint(&self, index: u8) -> &Arc<Endpoint> {
        &self.endpoints[usize::from(index)]
    }

    pub(crate) fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    #[cfg(test)]
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Which base URL the next request goes to: one of those that its secret is `sealed` for, as bits, where there is
    /// one; of these one that is neither ejected nor unhealthy, or any, where all are; and one that was not `tried`, as
    /// bits, where there is one.
    pub(crate) fn choose(&self, now: Instant, tried: u32, sealed: u32, mut draw: impl FnMut() -> u32) -> u8 {
        if self.endpoints.len() == 1 {
            return 0;
        }
        let (mut all, mut good, now) = (0_u32, 0_u32, millis(now));
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            all |= 1 << index;
            good |= u32::from(endpoint.is_available(now)) << index;
        }
        let all = if all & sealed == 0 { all } else { all & sealed };
        let among = if good & all == 0 { all } else { good & all };
        let among = if among & !tried == 0 { among } else { among & !tried };
        let count = among.count_ones() as usize;
        if self.balance == Balance::RoundRobin || count == 1 {
            // A retry takes no turn: of two base URLs, the turn of the one that works would lead the next request to the
            // one that does not.
            let turn = if tried == 0 { self.turn.fetch_add(1, Ordering::Relaxed) } else { draw() as usize };
            return nth(among, turn % count);
        }
        let first = draw() as usize % count;
        // Another one, each as likely.
        let second = (first + 1 + draw() as usize % (count - 1)) % count;
        let (first, second) = (nth(among, first), nth(among, second));
        let waits = |index: u8| self.endpoints[usize::from(index)].under_way();
        if waits(second) < waits(first) { second } else { first }
    }

    /// Whether a request may be sent now.
    pub(crate) fn admit(&self, now: Instant) -> Result<Option<Pass<'_>>, StillOpen> {
        self.circuit
            .as_ref()
            .map(|(breaker, circuit)| circuit.admit(breaker.open_for, millis(now)))
            .transpose()
    }

    /// A request that `pass` let through to a base URL, and that `begun` then, came to this.
    pub(crate) fn ended(
        &self,
        index: u8,
        pass: Option<Pass<'_>>,
        outcome: Outcome,
        begun: Instant,
        now: Instant,
    ) {
        let (begun, now) = (millis(begun), millis(now));
        if let (Some(pass), Some((breaker, _))) = (pass, &self.circuit)
            && pass.ended(outcome, breaker, now)
        {
            Tally::count(&self.tally.openings);
        }
        let Some(ejection) = &self.ejection else { return };
        match outcome {
            Outcome::Success => self.endpoint(index).succeeded(now),
            Outcome::Failure => self.failed(index, ejection, begun, now),
        }
    }

    /// The address guard has refused where a base URL leads. That is a failure of the base URL; the circuit breaker
    /// learns nothing of it, so that callers go on to be told why.
    pub(crate) fn guarded(&self, index: u8, begun: Instant, now: Instant) {
        if let Some(ejection) = &self.ejection {
            self.failed(index, ejection, millis(begun), millis(now));
        }
    }

    fn failed(&self, index: u8, ejection: &OutlierEjection, begun: u64, now: u64) {
        let endpoint = self.endpoint(index);
        if endpoint.failed(begun) >= ejection.consecutive_failures {
            self.eject(endpoint, ejection, now);
        }
    }

    /// Ejects a base URL, unless too many are out already.
    fn eject(&self, endpoint: &Arc<Endpoint>, ejection: &OutlierEjection, now: u64) {
        let _turn = self.ejecting.lock().unwrap_or_else(PoisonError::into_inner);
        let others = || self.endpoints.iter().filter(|other| !Arc::ptr_eq(other, endpoint));
        let (ejected, good) = (
            others().filter(|other| other.is_ejected(now)).count(),
            others().filter(|other| other.is_available(now)).count(),
        );
        let most = (self.endpoints.len() * ejection.max_ejected_percent as usize / 100).max(1);
        if good == 0 || ejected + 1 > most || endpoint.is_ejected(now) {
            return;
        }
        let lasts = endpoint.eject(ejection.ejection_time, now);
        Tally::count(&self.tally.ejections);
        if let Some(held) = endpoint.may_tell() {
            warn!(target_id = %endpoint.target(), endpoint = endpoint.name(), ?lasts, held, "base URL ejected: requests to it failed in a row");
        }
    }
}

/// Where bit number `n` of those that are set is.
fn nth(mut bits: u32, n: usize) -> u8 {
    for _ in 0..n {
        bits &= bits - 1;
    }
    // Of 32 bits.
    bits.trailing_zeros() as u8
}

static BASE: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Time as atomics hold it; never 0.
pub(crate) fn millis(now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(*BASE).as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests;
