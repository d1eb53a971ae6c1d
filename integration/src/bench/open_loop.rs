//! An open loop of callers: requests are due at random times, whether or not those before have been answered.
//!
//! A request's time counts from when it was due, so that one that is held up holds up the figures of all behind it.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use rr_integration::fleet_100k::Dice;

use crate::line::Line;
use crate::machine;
use crate::peers::Peer;

/// How it is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenLoop {
    pub(crate) processor: usize,
    pub(crate) connections: usize,
    /// Requests a second.
    pub(crate) rate: u64,
    /// The same seed gives the same times.
    pub(crate) seed: u64,
}

/// Left out of the figures: connections and caches are new.
const WARM: Duration = Duration::from_secs(1);

impl OpenLoop {
    /// Asks for so long, after a second that does not count. Returns microseconds, in order.
    pub(crate) fn run(self, peer: &Peer, time: Duration) -> anyhow::Result<Vec<f64>> {
        let due = self.due(WARM + time);
        let (next, request) = (AtomicUsize::new(0), peer.request());
        let start = Instant::now() + Duration::from_millis(50);
        let mut all: Vec<f64> = thread::scope(|scope| {
            let callers: Vec<_> = (0..self.connections)
                .map(|_| scope.spawn(|| self.caller(peer, &request, &due, &next, start)))
                .collect();
            let each = callers.into_iter().map(|caller| caller.join().expect("a caller does not panic"));
            anyhow::Ok(each.collect::<Result<Vec<_>, _>>()?.concat())
        })?;
        all.sort_by(f64::total_cmp);
        Ok(all)
    }

    /// Poisson arrivals: the pauses between them are exponential.
    fn due(self, time: Duration) -> Vec<Duration> {
        const STEPS: usize = 1 << 30;
        let mut dice = Dice::new(self.seed);
        let (mut due, mut at) = (Vec::new(), 0.0);
        while at < time.as_secs_f64() {
            due.push(Duration::from_secs_f64(at));
            let part = (dice.below(STEPS) + 1) as f64 / STEPS as f64;
            at -= part.ln() / self.rate as f64;
        }
        due
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the thread has nothing else to do than to wait for its time"
    )]
    fn caller(
        self,
        peer: &Peer,
        request: &[u8],
        due: &[Duration],
        next: &AtomicUsize,
        start: Instant,
    ) -> anyhow::Result<Vec<f64>> {
        machine::pin(self.processor)?;
        // The system would otherwise wake it up to 50 µs late.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1000))?;
        let (mut line, mut micros) = (Line::connect(peer.address, peer.tls.as_ref())?, Vec::new());
        while let Some(due) = due.get(next.fetch_add(1, Ordering::Relaxed)) {
            let at = start + *due;
            thread::sleep(at.saturating_duration_since(Instant::now()));
            let status = line.ask(request)?;
            ensure!(status == 200, "{} answered {status}", peer.name);
            if *due >= WARM {
                micros.push(at.elapsed().as_secs_f64() * 1e6);
            }
        }
        Ok(micros)
    }
}
