//! One record as one line of JSON: the fields of `Record` under their own names, those that are unset left out.
//!
//! Numbers are numbers, times and durations are texts as in the JSON form of the schemas, enums are their names in
//! lower case without the prefix. A node is not built with that form, so the fields are listed here again;
//! `standalone_schema` in the system tests holds both lists against each other.

use data_encoding::HEXLOWER;
use pbjson_types::{Duration, Timestamp};
use rr_contract::wire::fleet;
use serde::{Serialize, Serializer};

#[derive(Serialize)]
struct Record<'a> {
    id: &'a str,
    received_at: &'a Option<Timestamp>,
    #[serde(skip_serializing_if = "str::is_empty")]
    org: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    proxy: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    caller_credential: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    target: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    upstream_credential: &'a str,
    method: &'a str,
    path: &'a str,
    status: u32,
    #[serde(skip_serializing_if = "is_zero")]
    upstream_status: u32,
    code: &'a str,
    duration: &'a Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_duration: &'a Option<Duration>,
    request_bytes: u64,
    response_bytes: u64,
    revision: u64,
    aborted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<RuleOutcome<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed: Option<RuleOutcome<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    matched_rules: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    limits: Vec<LimitState>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    meters: Vec<MeterState<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filters: Option<FilterEffect>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decide_duration: &'a Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter_duration: &'a Option<Duration>,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    count: u64,
    #[serde(skip_serializing_if = "is_zero")]
    attempts: u32,
    #[serde(skip_serializing_if = "is_zero")]
    interim_responses: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    endpoint: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tunnel_end: Option<Short>,
    #[serde(skip_serializing_if = "String::is_empty")]
    client_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    echo: Option<Short>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    path_changes: Vec<Short>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kept_values: Vec<KeptValue<'a>>,
}

#[derive(Serialize)]
struct KeptValue<'a> {
    place: Short,
    name: &'a str,
    value: &'a str,
    masked: bool,
    cut: bool,
}

#[derive(Serialize)]
struct RuleOutcome<'a> {
    effect: Short,
    scope: Short,
    #[serde(skip_serializing_if = "str::is_empty")]
    rule: &'a str,
}

#[derive(Serialize)]
struct LimitState {
    kind: Short,
    window: Short,
    limit: u64,
    used: u64,
}

#[derive(Serialize)]
struct MeterState<'a> {
    meter: &'a str,
    charged_millionths: u64,
    missing: bool,
    partial: bool,
    exceeded: Short,
}

#[derive(Serialize)]
struct FilterEffect {
    filters: u32,
    values: u64,
    bytes_before: u64,
}

#[derive(Serialize)]
struct Loss<'a> {
    dropped: Dropped<'a>,
}

#[derive(Serialize)]
struct Dropped<'a> {
    records: u64,
    from: &'a Option<Timestamp>,
    to: &'a Option<Timestamp>,
    reason: &'a str,
}

/// The name of a value of an enum, and its prefix.
struct Short(&'static str, &'static str);

impl Serialize for Short {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(name, prefix) = *self;
        serializer.serialize_str(&name.strip_prefix(prefix).unwrap_or(name).to_lowercase())
    }
}

fn is_zero<N: Default + PartialEq>(number: &N) -> bool {
    *number == N::default()
}

fn outcome(outcome: &fleet::RuleOutcome) -> RuleOutcome<'_> {
    RuleOutcome {
        effect: Short(outcome.effect().as_str_name(), "EFFECT_"),
        scope: Short(outcome.scope().as_str_name(), "SCOPE_"),
        rule: &outcome.rule,
    }
}

/// Adds the line of a record.
pub(super) fn record(record: &fleet::Record, out: &mut Vec<u8>) {
    let limit = |state: &fleet::LimitState| LimitState {
        kind: Short(state.kind().as_str_name(), "LIMIT_KIND_"),
        window: Short(state.window().as_str_name(), "WINDOW_"),
        limit: state.limit,
        used: state.used,
    };
    let meters = record.meters.iter().map(|state| MeterState {
        meter: &state.meter,
        charged_millionths: state.charged_millionths,
        missing: state.missing,
        partial: state.partial,
        exceeded: Short(state.exceeded().as_str_name(), "WINDOW_"),
    });
    let kept = record.kept_values.iter().map(|kept| KeptValue {
        place: Short(kept.place().as_str_name(), "KEPT_PLACE_"),
        name: &kept.name,
        value: &kept.value,
        masked: kept.masked,
        cut: kept.cut,
    });
    let filters = record.filters.as_ref().map(|effect| FilterEffect {
        filters: effect.filters,
        values: effect.values,
        bytes_before: effect.bytes_before,
    });
    add(
        &Record {
            id: &record.id,
            received_at: &record.received_at,
            org: &record.org,
            proxy: &record.proxy,
            caller_credential: &record.caller_credential,
            target: &record.target,
            upstream_credential: &record.upstream_credential,
            method: &record.method,
            path: &record.path,
            status: record.status,
            upstream_status: record.upstream_status,
            code: &record.code,
            duration: &record.duration,
            upstream_duration: &record.upstream_duration,
            request_bytes: record.request_bytes,
            response_bytes: record.response_bytes,
            revision: record.revision,
            aborted: record.aborted,
            rules: record.rules.as_ref().map(outcome),
            observed: record.observed.as_ref().map(outcome),
            matched_rules: &record.matched_rules,
            limits: record.limits.iter().map(limit).collect(),
            meters: meters.collect(),
            filters,
            decide_duration: &record.decide_duration,
            filter_duration: &record.filter_duration,
            reason: &record.reason,
            count: record.count,
            attempts: record.attempts,
            interim_responses: record.interim_responses,
            endpoint: &record.endpoint,
            tunnel_end: (record.tunnel_end != 0)
                .then(|| Short(record.tunnel_end().as_str_name(), "TUNNEL_END_")),
            client_key: HEXLOWER.encode(&record.client_key),
            echo: (record.echo != 0).then(|| Short(record.echo().as_str_name(), "ECHO_OUTCOME_")),
            path_changes: record
                .path_changes()
                .map(|change| Short(change.as_str_name(), "PATH_CHANGE_"))
                .collect(),
            kept_values: kept.collect(),
        },
        out,
    );
}

/// Adds the line that says that records are missing.
pub(super) fn dropped(dropped: &fleet::Dropped, out: &mut Vec<u8>) {
    let fleet::Dropped { records, from, to, reason } = dropped;
    add(&Loss { dropped: Dropped { records: *records, from, to, reason } }, out);
}

fn add(line: &impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(&mut *out, line).expect("texts, numbers, and times that the model made, serialize");
    out.push(b'\n');
}
