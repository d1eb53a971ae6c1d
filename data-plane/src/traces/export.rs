//! Empties the queues of traces, and sends them to the collector.
//!
//! Runs beside the workers, and is the only one that waits for the collector. A collector that is away or does not keep
//! up costs traces: those that it was sent in vain are counted here, those that found the queue full where they were
//! made. Nothing is sent twice.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::InstrumentationScope;
use rr_contract::model::id::NodeId;
use rr_contract::runtime::observe::Spans;
use rr_contract::runtime::{Stop, chain};
use tokio::sync::mpsc::Receiver;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

use super::RawTrace;
use super::spans::{self, Place};

const SEND_EVERY: Duration = Duration::from_millis(500);
/// Traces that are sent at once.
const BATCH: usize = 256;
/// How long the last ones may take at a stop.
const LAST: Duration = Duration::from_secs(2);

/// How many traces left this node, and how many were lost on the way.
#[derive(Debug, Default)]
pub(crate) struct TraceTally {
    sent: AtomicU64,
    failed: AtomicU64,
}

impl TraceTally {
    /// Traces that the collector took, and that it did not.
    pub(crate) fn numbers(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

/// What sends them.
pub(crate) struct Exporter {
    pub(crate) spans: Spans,
    pub(crate) queues: Vec<Receiver<Box<RawTrace>>>,
    pub(crate) tally: Arc<TraceTally>,
    /// Set once the node has joined.
    pub(crate) node: Arc<OnceLock<NodeId>>,
    pub(crate) region: Arc<OnceLock<String>>,
}

impl Exporter {
    /// Sends until `stop`, and then what is left.
    pub(crate) async fn run(mut self, stop: Stop) {
        let scope = InstrumentationScope::builder("rr-edge").build();
        let mut ticks = interval(SEND_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_failing = false;
        while stop.cut(ticks.tick()).await.is_some() {
            // As many as there are, or a collector that is slow would have none of the newest.
            while let Some(batch) = self.take() {
                let traces = batch.len() as u64;
                if stop.cut(self.send(batch, &scope, &mut is_failing)).await.is_none() {
                    // It may have been taken, and nobody will know.
                    self.tally.failed.fetch_add(traces, Ordering::Relaxed);
                    break;
                }
            }
        }
        let last = async {
            while let Some(batch) = self.take() {
                self.send(batch, &scope, &mut is_failing).await;
            }
        };
        // Whatever was not taken by then is counted by nobody's metrics any more.
        timeout(LAST, last).await.ok();
    }

    fn take(&mut self) -> Option<Vec<RawTrace>> {
        let mut batch = Vec::new();
        for queue in &mut self.queues {
            while batch.len() < BATCH
                && let Ok(trace) = queue.try_recv()
            {
                batch.push(*trace);
            }
        }
        (!batch.is_empty()).then_some(batch)
    }

    async fn send(&self, batch: Vec<RawTrace>, scope: &InstrumentationScope, is_failing: &mut bool) {
        let traces = batch.len() as u64;
        let place = self.node.get().zip(self.region.get());
        let place = place.map(|(node, region)| Place { node: node.to_string(), region: region.clone() });
        let mut made = Vec::with_capacity(batch.len() * 2);
        for trace in batch {
            spans::add(trace, place.as_ref(), scope, &mut made);
        }
        match self.spans.send(made).await {
            Ok(()) => {
                self.tally.sent.fetch_add(traces, Ordering::Relaxed);
                if std::mem::take(is_failing) {
                    info!("collector takes traces again");
                }
            }
            Err(error) => {
                self.tally.failed.fetch_add(traces, Ordering::Relaxed);
                if !std::mem::replace(is_failing, true) {
                    warn!(error = %chain(&error), "collector takes no traces; they are dropped and counted; check --otlp-endpoint");
                }
            }
        }
    }
}
