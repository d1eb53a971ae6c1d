//! Every observable event of this plane: its log line and its metric together, so that the two cannot
//! drift. Labels come from closed sets.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, UpDownCounter};
use rr_contract::runtime::observe::Observability;
use rr_contract::wire::fleet::Mode;
use tracing::{debug, info, warn};

use crate::kind::Kind;
use crate::throttle::Refusal;

/// The instruments. Clones share them.
#[derive(Clone)]
pub(crate) struct Events {
    calls: Counter<u64>,
    revisions: Counter<u64>,
    nodes: UpDownCounter<i64>,
    joins: Counter<u64>,
    renewals: Counter<u64>,
    verdicts: Counter<u64>,
    records: Counter<u64>,
    connections: Counter<u64>,
    refusals: Counter<u64>,
    surveys: Counter<u64>,
    transactions: Counter<u64>,
    transaction_bytes: Counter<u64>,
    troubles: Counter<u64>,
    withdrawals: Counter<u64>,
}

/// Where the configuration stands here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    /// The newest revision here.
    pub(crate) revision: u64,
    /// Nodes with an open stream here that do not run what their region is sent.
    pub(crate) behind: u64,
    /// Since the database last answered.
    pub(crate) silent: Duration,
}

/// What became of an attempt to join.
#[derive(Debug, Clone, Copy)]
pub(crate) enum JoinOutcome {
    Admitted,
    Refused,
    Failed,
}

/// What became of an attempt to renew a certificate.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RenewalOutcome {
    Granted,
    Refused,
    Failed,
}

/// What became of a transaction at a node.
#[derive(Debug, Clone, Copy)]
pub(crate) enum VerdictOutcome {
    Active,
    Partial,
    Refused,
    Silent,
}

/// Why a node is not brought to where its region is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitReason {
    /// It ended there.
    CrashedThere,
    /// Others did, and a person has to release it.
    Held,
}

/// What became of a version that enough nodes refuse.
#[derive(Debug, Clone, Copy)]
pub(crate) enum WithdrawalOutcome {
    /// An older one is published again.
    Withdrawn,
    /// A person has to look.
    Left,
    /// One of so many that it is the nodes that changed.
    Many,
}

/// What became of a record.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RecordOutcome {
    Stored,
    /// Of a proxy that the reporting region never served, or of none.
    Foreign,
    /// Reported as lost by a node.
    Lost,
    /// In a batch that did not decode.
    Poison,
}

/// Why a connection was not served.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ConnectionOutcome {
    Accepted,
    /// Over the limit of connections.
    Limit,
    Handshake,
    /// It asked for nothing, or did not read what it had asked for.
    Stalled,
    /// It showed no certificate where one is expected, and its time was over or its place another's.
    Stranger,
}

impl Events {
    pub(crate) fn new(observability: &Observability) -> Self {
        observability.count_lost_lines("rr-control", "requestrocket_control_log_lines_lost_total");
        let meter = observability.meter("rr-control");
        let counter =
            |name: &'static str, text: &'static str| meter.u64_counter(name).with_description(text).build();
        let records = counter("requestrocket_control_records_total", "Records of requests by outcome");
        for outcome in ["lost", "poison"] {
            // The first one is an increase only where there was a 0 before.
            records.add(0, &[KeyValue::new("outcome", outcome)]);
        }
        Self {
            calls: counter("requestrocket_control_calls_total", "Management calls by outcome"),
            revisions: counter("requestrocket_control_revisions_total", "Revisions taken into the index"),
            nodes: meter
                .i64_up_down_counter("requestrocket_control_nodes")
                .with_description("Nodes with an open stream here")
                .build(),
            joins: counter("requestrocket_control_joins_total", "Attempts to join by outcome"),
            renewals: counter(
                "requestrocket_control_renewals_total",
                "Attempts of nodes to renew their certificates by outcome",
            ),
            verdicts: counter("requestrocket_control_verdicts_total", "Answers of nodes to transactions"),
            records,
            surveys: counter("requestrocket_control_surveys_total", "Nodes asked what they hold"),
            transactions: counter("requestrocket_control_transactions_total", "Transactions sent by mode"),
            transaction_bytes: counter(
                "requestrocket_control_transaction_bytes_total",
                "Bytes of transactions sent by mode",
            ),
            troubles: counter("requestrocket_control_node_troubles_total", "What went wrong with nodes"),
            withdrawals: counter(
                "requestrocket_control_withdrawals_total",
                "Versions that enough nodes refuse by what became of them",
            ),
            connections: counter("requestrocket_control_connections_total", "Connections by outcome"),
            refusals: counter("requestrocket_control_refusals_total", "Management calls not let through"),
        }
    }

    /// Shows where the configuration stands, for as long as somebody knows.
    pub(crate) fn show(
        observability: &Observability,
        standing: impl Fn() -> Option<Standing> + Clone + Send + Sync + 'static,
    ) {
        let meter = observability.meter("rr-control");
        let gauge =
            |name: &'static str, text: &'static str| meter.u64_observable_gauge(name).with_description(text);
        let of = standing.clone();
        gauge("requestrocket_control_revision", "Newest revision that this replica has")
            .with_callback(move |observer| of().iter().for_each(|it| observer.observe(it.revision, &[])))
            .build();
        let of = standing.clone();
        gauge(
            "requestrocket_control_nodes_behind",
            "Nodes with an open stream here that do not run what their region is sent",
        )
        .with_callback(move |observer| of().iter().for_each(|it| observer.observe(it.behind, &[])))
        .build();
        meter
            .f64_observable_gauge("requestrocket_control_database_silent_seconds")
            .with_description("Time since the database last answered; it is asked each second")
            .with_callback(move |observer| {
                standing().iter().for_each(|it| observer.observe(it.silent.as_secs_f64(), &[]));
            })
            .build();
    }

    /// Shows which stores of records answer. Their names come from settings and regions, of which there are tens.
    pub(crate) fn show_record_stores(
        observability: &Observability,
        standing: impl Fn() -> Vec<(String, bool)> + Send + Sync + 'static,
    ) {
        let text = "Whether a record store answers: 0 also for one that regions use and settings do not name";
        observability
            .meter("rr-control")
            .u64_observable_gauge("requestrocket_control_record_store_up")
            .with_description(text)
            .with_callback(move |observer| {
                for (name, answers) in standing() {
                    observer.observe(answers.into(), &[KeyValue::new("record_store", name)]);
                }
            })
            .build();
    }

    /// A version is refused by enough nodes of a region. The revision is the one that followed, if any.
    pub(crate) fn withdrawal(&self, outcome: WithdrawalOutcome, region: &str, subject: &str, revision: u64) {
        let label = match outcome {
            WithdrawalOutcome::Withdrawn => "withdrawn",
            WithdrawalOutcome::Left => "left",
            WithdrawalOutcome::Many => "many",
        };
        self.withdrawals.add(1, &[KeyValue::new("outcome", label)]);
        warn!(outcome = label, region.id = region, resource = subject, revision, "version refused by nodes");
    }

    /// A management call ended.
    pub(crate) fn call(&self, call: &'static str, outcome: Option<Kind>) {
        let label = match outcome {
            None => "ok",
            Some(Kind::NotFound) => "not_found",
            Some(Kind::AlreadyThere) => "already_there",
            Some(Kind::Invalid) => "invalid",
            Some(Kind::Refused) => "refused",
            Some(Kind::Unauthenticated) => "unauthenticated",
            Some(Kind::Forbidden) => "forbidden",
            Some(Kind::Conflict) => "conflict",
            Some(Kind::Limited) => "limited",
            Some(Kind::Unavailable) => "unavailable",
            Some(Kind::Bug) => "bug",
        };
        self.calls.add(1, &[KeyValue::new("call", call), KeyValue::new("outcome", label)]);
        debug!(call, outcome = label, "call ended");
    }

    /// A management call was not let through. Debug, for an attacker would write the log full.
    pub(crate) fn refused(&self, refusal: Refusal) {
        let label = match refusal {
            Refusal::Rate(_) => "rate",
            Refusal::Streams => "streams",
            Refusal::Deadline => "deadline",
            Refusal::Room => "room",
        };
        self.refusals.add(1, &[KeyValue::new("reason", label)]);
        debug!(reason = label, "management call not let through");
    }

    /// Revisions were taken into the index.
    pub(crate) fn published(&self, revision: u64, count: u64) {
        self.revisions.add(count, &[]);
        debug!(revision, count, "revisions taken");
    }

    /// A node's stream opened.
    pub(crate) fn node_connected(&self, node: &str, region: &str, address: &str, build: &str) {
        self.nodes.add(1, &[]);
        info!(node.id = node, region.id = region, address, build, "node connected");
    }

    /// A node's stream ended.
    pub(crate) fn node_gone(&self, node: &str, reason: &str) {
        self.nodes.add(-1, &[]);
        info!(node.id = node, reason, "node disconnected");
    }

    /// A node stands where our history cannot have brought it.
    pub(crate) fn node_diverged(&self, node: &str, theirs: u64, ours: u64) {
        warn!(node.id = node, node.revision = theirs, revision = ours, "node diverged, sending it nothing");
    }

    /// Two processes claim to be one node.
    pub(crate) fn node_clash(&self, node: &str, there: &str, newcomer: &str) {
        self.trouble("clash");
        warn!(
            node.id = node,
            there,
            newcomer,
            "a second process connected with the identity of a connected node and was refused; was its disk copied?"
        );
    }

    /// A node ended on a place, and went back.
    pub(crate) fn node_crashed(&self, node: &str, revision: u64) {
        self.trouble("crash");
        warn!(node.id = node, revision, "node crashed on a revision and went back to the one before");
    }

    /// A node runs what our history does not have there.
    pub(crate) fn node_strayed(&self, node: &str, revision: u64) {
        self.trouble("strayed");
        warn!(
            node.id = node,
            revision, "node runs other content than its revision has, asking it what it holds"
        );
    }

    /// A node is not brought further.
    pub(crate) fn node_waits(&self, node: &str, revision: u64, why: WaitReason) {
        let label = match why {
            WaitReason::CrashedThere => "crashed_there",
            WaitReason::Held => "held",
        };
        self.trouble(label);
        warn!(node.id = node, revision, reason = label, "node is not sent the current revision");
    }

    /// A diverged node is brought to our history by a person's word.
    pub(crate) fn node_adopted(&self, node: &str, theirs: u64, ours: u64) {
        info!(node.id = node, node.revision = theirs, revision = ours, "diverged node adopted");
    }

    /// A node is asked what it holds.
    pub(crate) fn asked(&self, node: &str) {
        self.surveys.add(1, &[]);
        debug!(node.id = node, "asking node what it holds");
    }

    /// A transaction was handed to a stream.
    pub(crate) fn sent(&self, mode: Mode, bytes: usize) {
        let label = match mode {
            Mode::Delta => "delta",
            Mode::Snapshot => "snapshot",
            Mode::Reconcile => "reconcile",
            Mode::Unspecified => "unspecified",
        };
        self.transactions.add(1, &[KeyValue::new("mode", label)]);
        self.transaction_bytes.add(bytes as u64, &[KeyValue::new("mode", label)]);
    }

    /// A node's stream was not opened, because too many opened just before.
    pub(crate) fn stream_not_let_in(&self) {
        self.trouble("gate");
    }

    fn trouble(&self, what: &'static str) {
        self.troubles.add(1, &[KeyValue::new("what", what)]);
    }

    /// A machine tried to become a node.
    pub(crate) fn join(&self, outcome: JoinOutcome, token: &str, node: &str) {
        let label = match outcome {
            JoinOutcome::Admitted => "admitted",
            JoinOutcome::Refused => "refused",
            JoinOutcome::Failed => "failed",
        };
        self.joins.add(1, &[KeyValue::new("outcome", label)]);
        info!(outcome = label, node_token.id = token, node.id = node, "join");
    }

    /// A node came for its next certificate.
    pub(crate) fn renewal(&self, outcome: RenewalOutcome, node: &str, reason: &str) {
        let label = match outcome {
            RenewalOutcome::Granted => "granted",
            RenewalOutcome::Refused => "refused",
            RenewalOutcome::Failed => "failed",
        };
        self.renewals.add(1, &[KeyValue::new("outcome", label)]);
        match outcome {
            RenewalOutcome::Granted => debug!(node.id = node, "certificate renewed"),
            RenewalOutcome::Refused | RenewalOutcome::Failed => {
                info!(outcome = label, node.id = node, reason, "certificate not renewed");
            }
        }
    }

    /// A node and its copy both renew. Serials and addresses: of the last that was issued, and of the one that was shown.
    pub(crate) fn node_copy(&self, node: &str, serials: [&str; 2], addresses: [&str; 2]) {
        self.trouble("copy");
        warn!(
            node.id = node,
            serial = serials[0],
            there = addresses[0],
            shown = serials[1],
            newcomer = addresses[1],
            "a process came to renew with a certificate that was renewed since, and was refused; was the disk of the node copied?"
        );
    }

    /// A node's certificate is newer than the last that the database knows.
    pub(crate) fn node_ahead(&self, node: &str, serial: &str) {
        self.trouble("serial_ahead");
        warn!(
            node.id = node,
            serial,
            "a node renewed a certificate that this database does not know, though its authority issued it; was the database restored from a backup?"
        );
    }

    /// A node answered a transaction, or did not.
    pub(crate) fn verdict(&self, outcome: VerdictOutcome, node: &str, revision: u64, refused: usize) {
        let label = match outcome {
            VerdictOutcome::Active => "active",
            VerdictOutcome::Partial => "partial",
            VerdictOutcome::Refused => "refused",
            VerdictOutcome::Silent => "silent",
        };
        self.verdicts.add(1, &[KeyValue::new("outcome", label)]);
        match outcome {
            VerdictOutcome::Active => debug!(node.id = node, revision, "transaction active"),
            VerdictOutcome::Partial | VerdictOutcome::Refused | VerdictOutcome::Silent => {
                warn!(
                    node.id = node,
                    revision,
                    outcome = label,
                    refused,
                    "node did not take the whole transaction"
                );
            }
        }
    }

    /// Records came in.
    pub(crate) fn records(&self, outcome: RecordOutcome, count: u64, node: &str) {
        if count == 0 {
            return;
        }
        let label = match outcome {
            RecordOutcome::Stored => "stored",
            RecordOutcome::Foreign => "foreign",
            RecordOutcome::Lost => "lost",
            RecordOutcome::Poison => "poison",
        };
        self.records.add(count, &[KeyValue::new("outcome", label)]);
        match outcome {
            RecordOutcome::Stored | RecordOutcome::Foreign => {
                debug!(node.id = node, count, outcome = label, "records taken");
            }
            RecordOutcome::Lost | RecordOutcome::Poison => {
                warn!(node.id = node, count, outcome = label, "records lost");
            }
        }
    }

    /// A connection came in.
    pub(crate) fn connection(&self, port: &'static str, outcome: ConnectionOutcome) {
        let label = match outcome {
            ConnectionOutcome::Accepted => "accepted",
            ConnectionOutcome::Limit => "limit",
            ConnectionOutcome::Handshake => "handshake",
            ConnectionOutcome::Stalled => "stalled",
            ConnectionOutcome::Stranger => "stranger",
        };
        self.connections.add(1, &[KeyValue::new("port", port), KeyValue::new("outcome", label)]);
    }
}
