//! The metrics of this plane: names and meanings.
//!
//! Nothing is counted here. Workers count for themselves, and a scrape adds up, so a request pays for a plain
//! store. Labels come from closed lists: a caller cannot make a new one.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use rr_contract::runtime::observe::Observability;

use crate::caller_tls::CertificateBoard;
use crate::counters::{Counters, Totals};
use crate::quota::Quotas;
use crate::report::{LinesHandle, Tally};
use crate::snapshot::Standings;
use crate::sync::{Board, Position};
use crate::traces::TraceTally;

/// What is shown beside the counts of workers.
pub(crate) struct Shown {
    pub(crate) board: Board,
    pub(crate) quotas: Quotas,
    pub(crate) standings: Standings,
    pub(crate) tally: Tally,
    /// How large the spool may become; none where there is no spool.
    pub(crate) spool_quota: Option<u64>,
}

/// Registers everything. The callbacks live as long as the meter's provider.
pub(crate) fn register(meter: &Meter, workers: Vec<Arc<Counters>>, shown: Shown) {
    let Shown { board, quotas, standings, tally, spool_quota } = shown;
    let workers: Arc<[Arc<Counters>]> = workers.into();
    requests(meter, &workers);
    latency(meter, &workers);
    connections(meter, &workers);
    bodies(meter, &workers);
    sent_again(meter, &workers);
    echoes(meter, &workers);
    configuration(meter, board);
    limits(meter, quotas);
    upstreams(meter, standings);
    records(meter, tally, spool_quota);
}

/// Of the certificates for callers.
pub(crate) fn certificates(meter: &Meter, board: CertificateBoard) {
    let label = |certificate: &Path| KeyValue::new("certificate", certificate.display().to_string());
    let of = board.clone();
    meter
        .u64_observable_gauge("requestrocket_edge_tls_certificate_expires_timestamp_seconds")
        .with_description("Until when the certificate that callers are shown is valid")
        .with_callback(move |observer| {
            for facts in of.read() {
                observer.observe(seconds(Some(facts.expires)), &[label(&facts.certificate)]);
            }
        })
        .build();
    meter
        .u64_observable_gauge("requestrocket_edge_tls_certificate_refused_timestamp_seconds")
        .with_description(
            "Since when the files of a certificate hold what cannot be served; 0 while they do not",
        )
        .with_callback(move |observer| {
            for facts in board.read() {
                observer.observe(seconds(facts.refused_since), &[label(&facts.certificate)]);
            }
        })
        .build();
}

/// Of the log of lines, where there is one.
pub(crate) fn lines(meter: &Meter, lines: Option<LinesHandle>) {
    meter
        .u64_observable_counter("requestrocket_edge_record_lines_lost_total")
        .with_description("Records that have no line in the file of --records")
        .with_callback(move |observer| observer.observe(lines.as_ref().map_or(0, LinesHandle::dropped), &[]))
        .build();
}

/// Of traces, where a collector takes them or not.
pub(crate) fn traces(meter: &Meter, workers: Vec<Arc<Counters>>, tally: Arc<TraceTally>) {
    let of: Workers = workers.into();
    meter
        .u64_observable_counter("requestrocket_edge_traces_total")
        .with_description("Traces of requests: sent to the collector, lost on the way, or not made because there were so many")
        .with_callback(move |observer| {
            let (totals, (sent, failed)) = (totals(&of), tally.numbers());
            for (outcome, count) in [
                ("sent", sent),
                ("failed", failed),
                ("queue_full", totals.traces_dropped),
                ("over_rate", totals.traces_over_rate),
            ] {
                observer.observe(count, &[KeyValue::new("outcome", outcome)]);
            }
        })
        .build();
}

/// Since 1970; 0 for a time that there is not.
fn seconds(at: Option<SystemTime>) -> u64 {
    at.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map_or(0, |since| since.as_secs())
}

/// Of the process, whichever plane wrote them.
pub(crate) fn log_lines(observability: &Observability) {
    observability.count_lost_lines("rr-edge", "requestrocket_edge_log_lines_lost_total");
}

type Workers = Arc<[Arc<Counters>]>;

fn totals(workers: &Workers) -> Totals {
    Totals::of(workers.iter().map(|counters| &**counters))
}

fn requests(meter: &Meter, workers: &Workers) {
    let of = Arc::clone(workers);
    meter
        .u64_observable_counter("requestrocket_edge_requests_total")
        .with_description("Completed requests by outcome code")
        .with_callback(move |observer| {
            let totals = totals(&of);
            for (code, count) in &totals.by_code {
                observer.observe(*count, &[KeyValue::new("code", *code)]);
            }
        })
        .build();
    let of = Arc::clone(workers);
    meter
        .u64_observable_gauge("requestrocket_edge_requests_active")
        .with_description("Requests in progress")
        .with_callback(move |observer| observer.observe(totals(&of).active, &[]))
        .build();
}

/// A histogram of our own: the library's would be written by every request.
fn latency(meter: &Meter, workers: &Workers) {
    let of = Arc::clone(workers);
    meter
        .u64_observable_counter("requestrocket_edge_request_seconds_bucket")
        .with_description("Requests that took at most `le` seconds, including the body")
        .with_callback(move |observer| {
            for (bound, count) in totals(&of).seconds {
                let le = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
                observer.observe(count, &[KeyValue::new("le", le)]);
            }
        })
        .build();
    let of = Arc::clone(workers);
    meter
        .f64_observable_counter("requestrocket_edge_request_seconds_sum")
        .with_description("Total duration of all requests in seconds")
        .with_callback(move |observer| observer.observe(totals(&of).seconds_sum, &[]))
        .build();
}

fn connections(meter: &Meter, workers: &Workers) {
    let of = Arc::clone(workers);
    meter
        .u64_observable_counter("requestrocket_edge_caller_connections_total")
        .with_description("Connections accepted from callers")
        .with_callback(move |observer| observer.observe(totals(&of).accepted, &[]))
        .build();
    let of = Arc::clone(workers);
    meter
        .u64_observable_counter("requestrocket_edge_caller_connections_cut_total")
        .with_description(
            "Caller connections, and responses on them, that the node closed to stay within its limits, by reason",
        )
        .with_callback(move |observer| {
            for (reason, count) in totals(&of).cut {
                observer.observe(count, &[KeyValue::new("reason", reason)]);
            }
        })
        .build();
    let of = Arc::clone(workers);
    meter
        .u64_observable_counter("requestrocket_edge_upstream_checkouts_total")
        .with_description("Upstream connections used for requests, newly opened or reused")
        .with_callback(move |observer| {
            let totals = totals(&of);
            observer.observe(totals.connections_opened, &[KeyValue::new("connection", "opened")]);
            observer.observe(totals.connections_reused, &[KeyValue::new("connection", "reused")]);
        })
        .build();
    let of = Arc::clone(workers);
    meter
        .u64_observable_counter("requestrocket_edge_tunnels_total")
        .with_description("WebSockets opened")
        .with_callback(move |observer| observer.observe(totals(&of).tunnels_opened, &[]))
        .build();
    let of = Arc::clone(workers);
    meter
        .u64_observable_gauge("requestrocket_edge_tunnels_open")
        .with_description("WebSockets open")
        .with_callback(move |observer| observer.observe(totals(&of).tunnels_open, &[]))
        .build();
}

fn bodies(meter: &Meter, workers: &Workers) {
    let of = Arc::clone(workers);
    meter
        .u64_observable_gauge("requestrocket_edge_gathered_bytes")
        .with_description("Bytes of bodies held because rules, filters or meters see them whole")
        .with_callback(move |observer| observer.observe(totals(&of).gathered_bytes, &[]))
        .build();
    let of = Arc::clone(workers);
    meter
        .u64_observable_counter("requestrocket_edge_gathered_refused_total")
        .with_description("Bodies that there was no room to hold whole, by what they are")
        .with_callback(move |observer| {
            for (what, count) in totals(&of).not_gathered {
                observer.observe(count, &[KeyValue::new("what", what)]);
            }
        })
        .build();
}

fn sent_again(meter: &Meter, workers: &Workers) {
    let of = Arc::clone(workers);
    meter
        .u64_observable_counter("requestrocket_edge_sent_again_total")
        .with_description("Requests that were sent once more since the upstream did not take what it was shown, by what it is shown then")
        .with_callback(move |observer| {
            let totals = totals(&of);
            observer.observe(totals.other_tokens, &[KeyValue::new("shown", "another-token")]);
            observer.observe(totals.previous_secrets, &[KeyValue::new("shown", "previous-secret")]);
        })
        .build();
}

fn echoes(meter: &Meter, workers: &Workers) {
    let of = Arc::clone(workers);
    meter
        .u64_observable_counter("requestrocket_edge_secrets_echoed_total")
        .with_description("Responses in which an upstream sent back the secret that it was sent, by outcome")
        .with_callback(move |observer| {
            let totals = totals(&of);
            observer.observe(totals.echoes_masked, &[KeyValue::new("outcome", "masked")]);
            observer.observe(totals.echoes_refused, &[KeyValue::new("outcome", "refused")]);
        })
        .build();
}

fn configuration(meter: &Meter, board: Board) {
    let of = board.clone();
    meter
        .u64_observable_gauge("requestrocket_edge_config_revision")
        .with_description("Revision of the configuration: running, served by all workers, on disk")
        .with_callback(move |observer| {
            let facts = of.read();
            let revision = |position: Option<Position>| position.map_or(0, |position| position.revision);
            observer.observe(revision(facts.running), &[KeyValue::new("state", "running")]);
            observer.observe(revision(facts.serving), &[KeyValue::new("state", "serving")]);
            observer.observe(revision(facts.on_disk), &[KeyValue::new("state", "on_disk")]);
        })
        .build();
    let of = board.clone();
    meter
        .u64_observable_gauge("requestrocket_edge_config_refused")
        .with_description("Resources that this node refuses")
        .with_callback(move |observer| observer.observe(of.read().refusals as u64, &[]))
        .build();
    let of = board.clone();
    meter
        .f64_observable_gauge("requestrocket_edge_config_apply_seconds")
        .with_description("Duration of the last configuration transaction by step")
        .with_callback(move |observer| {
            let Some(timing) = of.read().timing else { return };
            let steps = [
                ("check", timing.check_us),
                ("compile", timing.compile_us),
                ("disk", timing.disk_us),
                ("swap", timing.swap_us),
            ];
            for (step, micros) in steps {
                observer.observe(f64::from(micros) / 1e6, &[KeyValue::new("step", step)]);
            }
        })
        .build();
    let of = board.clone();
    meter
        .u64_observable_gauge("requestrocket_edge_draining")
        .with_description("1 while the node is out of service by an operator's request")
        .with_callback(move |observer| observer.observe(of.read().draining.into(), &[]))
        .build();
    let of = board.clone();
    meter
        .u64_observable_gauge("requestrocket_edge_history_rewritten")
        .with_description(
            "1 once the control plane has sent a different audit head for the revision of this node",
        )
        .with_callback(move |observer| observer.observe(of.read().is_history_rewritten.into(), &[]))
        .build();
    let of = board.clone();
    meter
        .u64_observable_gauge("requestrocket_edge_disk_set_back")
        .with_description(
            "1 while the node runs an older configuration than before its restart because its disk lost data",
        )
        .with_callback(move |observer| observer.observe(of.read().is_set_back.into(), &[]))
        .build();
    let of = board.clone();
    meter
        .u64_observable_gauge("requestrocket_edge_disk_stalled")
        .with_description("1 while a write of the configuration to disk is overdue")
        .with_callback(move |observer| observer.observe(of.read().is_disk_stalled.into(), &[]))
        .build();
    let of = board.clone();
    meter
        .u64_observable_gauge("requestrocket_edge_file_timestamp_seconds")
        .with_description(
            "Without a control plane: when the file came into force, and since when it cannot be served; 0 while it can",
        )
        .with_callback(move |observer| {
            let Some(file) = of.read().file else { return };
            observer.observe(seconds(file.loaded_at), &[KeyValue::new("state", "loaded")]);
            observer.observe(seconds(file.refused_since), &[KeyValue::new("state", "refused")]);
        })
        .build();
    meter
        .u64_observable_gauge("requestrocket_edge_control_plane_connected")
        .with_description("1 while the stream to the control plane is open")
        .with_callback(move |observer| observer.observe(board.read().connected.into(), &[]))
        .build();
}

fn limits(meter: &Meter, quotas: Quotas) {
    let of = quotas.clone();
    meter
        .u64_observable_gauge("requestrocket_edge_limit_keys")
        .with_description(
            "Caller credentials, holders of tokens and addresses whose requests are counted apart",
        )
        .with_callback(move |observer| {
            let numbers = of.numbers();
            observer.observe(numbers.callers, &[KeyValue::new("kind", "caller")]);
            observer.observe(numbers.holders, &[KeyValue::new("kind", "holder")]);
            observer.observe(numbers.addresses, &[KeyValue::new("kind", "address")]);
        })
        .build();
    let of = quotas.clone();
    meter
        .u64_observable_counter("requestrocket_edge_limit_overflows_total")
        .with_description(
            "Requests counted together with others because too many addresses, holders of tokens or callers are counted",
        )
        .with_callback(move |observer| observer.observe(of.numbers().overflows, &[]))
        .build();
    let of = quotas.clone();
    meter
        .u64_observable_counter("requestrocket_edge_limit_saves_total")
        .with_description("Saves of the counts of limits and meters, by outcome")
        .with_callback(move |observer| {
            let numbers = of.numbers();
            observer.observe(numbers.saves, &[KeyValue::new("outcome", "done")]);
            observer.observe(numbers.saves_failed, &[KeyValue::new("outcome", "failed")]);
        })
        .build();
    let of = quotas.clone();
    meter
        .u64_observable_counter("requestrocket_edge_limit_file_damaged_total")
        .with_description("Damaged parts found in the file of counts")
        .with_callback(move |observer| observer.observe(of.numbers().damaged, &[]))
        .build();
    meter
        .u64_observable_counter("requestrocket_edge_clock_jumps_total")
        .with_description("Jumps of the wall clock against the monotonic clock")
        .with_callback(move |observer| observer.observe(quotas.numbers().clock_jumps, &[]))
        .build();
}

fn upstreams(meter: &Meter, standings: Standings) {
    let of = standings.clone();
    meter
        .u64_observable_gauge("requestrocket_edge_endpoints")
        .with_description(
            "Base URLs of targets that have several, a circuit breaker or health checks, by state",
        )
        .with_callback(move |observer| {
            let numbers = of.numbers();
            observer.observe(numbers.available, &[KeyValue::new("state", "available")]);
            observer.observe(numbers.ejected, &[KeyValue::new("state", "ejected")]);
            observer.observe(numbers.unhealthy, &[KeyValue::new("state", "unhealthy")]);
        })
        .build();
    let of = standings.clone();
    meter
        .u64_observable_gauge("requestrocket_edge_issuers_away")
        .with_description("Issuers whose tokens are refused because their keys cannot be fetched")
        .with_callback(move |observer| observer.observe(of.issuers().away_count(), &[]))
        .build();
    let of = standings.clone();
    meter
        .u64_observable_counter("requestrocket_edge_upstream_tokens_total")
        .with_description("Access tokens for upstreams that issuers were asked for, by outcome")
        .with_callback(move |observer| {
            let (got, failed) = of.tokens().numbers();
            observer.observe(got, &[KeyValue::new("outcome", "got")]);
            observer.observe(failed, &[KeyValue::new("outcome", "failed")]);
        })
        .build();
    let of = standings.clone();
    meter
        .u64_observable_counter("requestrocket_edge_secrets_opened_total")
        .with_description(
            "Sealed secrets that were opened: each once, and again where it was taken out of memory",
        )
        .with_callback(move |observer| observer.observe(of.tokens().opened().opened(), &[]))
        .build();
    let of = standings.clone();
    meter
        .u64_observable_gauge("requestrocket_edge_circuits_open")
        .with_description("Targets whose circuit breaker is open")
        .with_callback(move |observer| observer.observe(of.numbers().circuits_open, &[]))
        .build();
    let of = standings.clone();
    meter
        .u64_observable_counter("requestrocket_edge_upstream_failures_total")
        .with_description("What requests that failed in a row led to")
        .with_callback(move |observer| {
            let numbers = of.numbers();
            observer.observe(numbers.ejections, &[KeyValue::new("led_to", "ejection")]);
            observer.observe(numbers.openings, &[KeyValue::new("led_to", "open_circuit")]);
        })
        .build();
    let of = standings.clone();
    meter
        .u64_observable_counter("requestrocket_edge_retries_total")
        .with_description("Retries that the policies of proxies asked for: sent, or over the budget")
        .with_callback(move |observer| {
            let numbers = of.numbers();
            observer.observe(numbers.retries, &[KeyValue::new("outcome", "sent")]);
            observer.observe(numbers.unaffordable, &[KeyValue::new("outcome", "over_budget")]);
        })
        .build();
    meter
        .u64_observable_counter("requestrocket_edge_health_checks_total")
        .with_description("Health checks of base URLs by outcome")
        .with_callback(move |observer| {
            let numbers = standings.numbers();
            observer.observe(numbers.checks_passed, &[KeyValue::new("outcome", "passed")]);
            observer.observe(numbers.checks_failed, &[KeyValue::new("outcome", "failed")]);
        })
        .build();
}

fn records(meter: &Meter, tally: Tally, quota: Option<u64>) {
    if let Some(quota) = quota {
        meter
            .u64_observable_gauge("requestrocket_edge_spool_limit_bytes")
            .with_description("Bytes of records that may wait for upload before records are dropped")
            .with_callback(move |observer| observer.observe(quota, &[]))
            .build();
    }
    let of = tally.clone();
    meter
        .u64_observable_gauge("requestrocket_edge_spool_bytes")
        .with_description("Bytes of records waiting for upload")
        .with_callback(move |observer| observer.observe(of.bytes(), &[]))
        .build();
    let of = tally.clone();
    meter
        .u64_observable_counter("requestrocket_edge_spool_damaged_total")
        .with_description("Damaged parts found in the record spool")
        .with_callback(move |observer| observer.observe(of.damaged(), &[]))
        .build();
    meter
        .u64_observable_counter("requestrocket_edge_records_dropped_total")
        .with_description("Records dropped since the start")
        .with_callback(move |observer| observer.observe(tally.dropped(), &[]))
        .build();
}
