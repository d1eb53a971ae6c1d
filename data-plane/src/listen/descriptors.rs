//! How file descriptors are divided between callers and the node itself, and the log lines when they run out.
//!
//! Opens nothing. The invariant: however many callers come, some are left for what this node lives on: records
//! and configuration on disk, the way to the control plane, the admin port; and for dials, look-ups and health checks, of
//! which there may be so many at once whatever organizations do.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rr_contract::outbound::LOOK_UPS;
use rr_contract::runtime::Seldom;
use tracing::{info, warn};

use crate::upstream::{DIALS_A_WORKER, health};

/// Default limit of caller connections.
const CONNECTIONS: usize = 20_000;
/// Files, the admin port, the stream, the upload, and what the program came with.
const RESERVE: usize = 128;
/// Look-ups of names, of all workers: each asks for two families, again and again, of two servers.
const RESERVE_LOOK_UPS: usize = LOOK_UPS * 12;
/// A worker's own: its runtime, its listener, connections that it dials.
const RESERVE_A_WORKER: usize = 16 + DIALS_A_WORKER;
const LOG_EVERY: Duration = Duration::from_secs(60);

/// How many connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// Of callers, on all workers together.
    pub(crate) callers: usize,
    /// Of callers on each worker.
    pub(crate) a_worker: usize,
    /// To upstreams, of each worker.
    pub(crate) upstreams_a_worker: usize,
    short: Option<Short>,
}

/// The limit of open files does not allow as many as wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Short {
    limit: usize,
    needed: usize,
    /// The number was configured.
    asked: bool,
}

impl Descriptors {
    /// Shares out `limit` descriptors: at most half of what is not reserved is for callers, since a request under
    /// way takes another one for its upstream; but one connection of HTTP/2 has many requests under way, so those to
    /// upstreams are bounded by the rest. `said` is the configured limit.
    pub(crate) fn share(limit: u64, workers: usize, said: Option<usize>) -> Self {
        let connections = said.unwrap_or(CONNECTIONS);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let fixed = RESERVE + RESERVE_LOOK_UPS + health::SOCKETS;
        let reserve = fixed.saturating_add(RESERVE_A_WORKER.saturating_mul(workers));
        // A limit that the reserve would use up is divided all the same: a node without callers is useless.
        let open = limit.saturating_sub(reserve).max(limit / 4);
        let callers = connections.min(open / 2).max(workers);
        let needed = connections.saturating_mul(2).saturating_add(reserve);
        let short = (callers < connections).then_some(Short { limit, needed, asked: said.is_some() });
        let upstreams_a_worker = (open.saturating_sub(callers) / workers).max(1);
        Self { callers, a_worker: callers.div_ceil(workers), upstreams_a_worker, short }
    }

    /// Logs that there are fewer than wanted. Called once the start has succeeded: a failed start logs its reason
    /// and nothing else.
    pub(crate) fn tell(&self) {
        let connections = self.callers;
        match self.short {
            None => {}
            Some(Short { limit, needed, asked: true }) => warn!(
                connections,
                open_files = limit,
                needed,
                "the limit of open files allows fewer caller connections than --connection-limit; raise it to `needed` (LimitNOFILE= of the service, or `ulimit -n`)"
            ),
            Some(Short { limit, needed, asked: false }) => {
                info!(
                    connections,
                    open_files = limit,
                    needed,
                    "the limit of open files allows fewer caller connections than the default"
                );
            }
        }
    }
}

/// Rate-limited log lines that a flood of callers would repeat. Shared by all workers.
#[derive(Debug)]
pub(crate) struct Notices {
    full: Seldom,
    not_accepted: Seldom,
}

impl Notices {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { full: Seldom::every(LOG_EVERY), not_accepted: Seldom::every(LOG_EVERY) })
    }

    /// A worker has reached its limit; either an idle connection was closed, or none was idle.
    pub(crate) fn full(&self, connections: usize, made_room: bool) {
        let Some(held) = self.full.may() else { return };
        if made_room {
            warn!(
                connections,
                held, "a worker has reached its limit of caller connections; closing idle ones"
            );
        } else {
            warn!(
                connections,
                held,
                "a caller was refused: a worker has reached its limit of caller connections and none is idle; raise --connection-limit or add nodes"
            );
        }
    }

    /// A connection could not be accepted.
    pub(crate) fn not_accepted(&self, error: &io::Error) {
        if let Some(held) = self.not_accepted.may() {
            warn!(
                %error,
                held,
                "cannot accept a connection; if the process is out of file descriptors, raise the limit of open files (LimitNOFILE= of the service, or `ulimit -n`)"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_get_at_most_half_of_what_is_not_reserved() {
        let share = |limit, workers, said| Descriptors::share(limit, workers, said).callers;
        assert_eq!(share(1 << 20, 2, None), 20_000);
        assert_eq!(share(1 << 20, 2, Some(100_000)), 100_000);
        assert_eq!(share(16_384, 2, None), (16_384 - 128 - 160 * 12 - 128 - 2 * (16 + 512)) / 2);
        assert_eq!(share(1024, 2, None), 128);
        assert_eq!(share(1024, 2, Some(100)), 100);
        assert_eq!(share(64, 2, None), 8);
        assert_eq!(share(1, 4, None), 4);
        assert_eq!(Descriptors::share(1024, 2, Some(101)).a_worker, 51);
    }

    #[test]
    fn what_callers_leave_is_for_upstreams() {
        let share = |limit, workers, said| Descriptors::share(limit, workers, said).upstreams_a_worker;
        assert_eq!(share(1024, 1, None), 128);
        assert_eq!(share(1024, 2, Some(6)), 125);
        assert_eq!(share(16_384, 2, None), (16_384 - 128 - 160 * 12 - 128 - 2 * (16 + 512)) / 4);
        assert_eq!(share(1, 4, None), 1);
    }
}
