//! Reduces a record that a node reports to what may be kept and shown: it reaches the database and, by lists of many
//! records, every reader of them.
//!
//! Trusts nothing. No record is refused for it, or the others of its batch would be lost: texts and lists are cut,
//! and a value that has no form in JSON is left out, for one such record would break every list that holds it.

use std::str::FromStr;

use pbjson_types::Duration;
use rr_contract::model::id::{CredentialId, MeterId, RuleId};
use rr_contract::model::latency::Latencies;
use rr_contract::model::time;
use rr_contract::wire::fleet::{
    EchoOutcome, Effect, KeptPlace, KeptValue, LimitKind, LimitState, MeterState, MeterSum, PathChange,
    Record, RuleOutcome, Scope, Sum, TunnelEnd, Window,
};

use crate::publish::sanitize::text;

/// As many as a node names.
const LISTED: usize = 16;
const ID: usize = 64;
const CODE: usize = 64;
const METHOD: usize = 64;
const PATH: usize = 1024;
/// A name of 253 characters, a colon, and a port.
const ENDPOINT: usize = 259;
/// As many values of each place as a proxy can name.
const KEPT: usize = 3 * LISTED;
const NAME: usize = 128;
const VALUE: usize = 256;
/// Of a hash.
const KEY: usize = 32;
/// The most requests that one record may stand for: a sum of them stays a number for as many records as there can be.
const COUNT: u64 = 1_000_000_000;
/// A petabyte, or thirty years: of what is within, thousands can be added up.
const AMOUNT: u64 = 1_000_000_000_000_000;

/// An id, within bounds.
pub(super) fn id(said: &str) -> String {
    text(said, ID)
}

/// The record, within bounds.
pub(super) fn bounded(said: Record) -> Record {
    // Each field by its name: one that is new does not compile before somebody has bounded it.
    Record {
        id: id(&said.id),
        org: id(&said.org),
        proxy: id(&said.proxy),
        caller_credential: id(&said.caller_credential),
        target: id(&said.target),
        upstream_credential: id(&said.upstream_credential),
        method: text(&said.method, METHOD),
        path: text(&said.path, PATH),
        code: text(&said.code, CODE),
        received_at: said.received_at.filter(|at| time::system_time(at).is_ok()),
        duration: duration(said.duration),
        upstream_duration: duration(said.upstream_duration),
        decide_duration: duration(said.decide_duration),
        filter_duration: duration(said.filter_duration),
        rules: said.rules.map(outcome),
        observed: said.observed.map(outcome),
        matched_rules: said.matched_rules.iter().take(LISTED).map(|said| id(said)).collect(),
        limits: said.limits.into_iter().take(LISTED).map(limit).collect(),
        meters: said.meters.into_iter().take(LISTED).map(meter).collect(),
        count: said.count.min(COUNT),
        reason: text(&said.reason, CODE),
        endpoint: text(&said.endpoint, ENDPOINT),
        tunnel_end: TunnelEnd::try_from(said.tunnel_end).unwrap_or_default().into(),
        echo: EchoOutcome::try_from(said.echo).unwrap_or_default().into(),
        client_key: said.client_key.iter().copied().take(KEY).collect(),
        path_changes: said.path_changes.into_iter().take(LISTED).filter_map(change).collect(),
        kept_values: said.kept_values.into_iter().take(KEPT).map(kept).collect(),
        status: said.status,
        upstream_status: said.upstream_status,
        request_bytes: said.request_bytes,
        response_bytes: said.response_bytes,
        revision: said.revision,
        aborted: said.aborted,
        filters: said.filters,
        attempts: said.attempts,
        interim_responses: said.interim_responses,
    }
}

/// The sum, within bounds. What names a caller, rule or meter that can be none is left out: it would be a series of its own.
pub(super) fn bounded_sum(said: Sum) -> Sum {
    Sum {
        minute: said.minute,
        org: text(&said.org, ID),
        proxy: text(&said.proxy, ID),
        caller_credential: known::<CredentialId>(&said.caller_credential),
        rule: known::<RuleId>(&said.rule),
        observed_denial: said.observed_denial,
        observed_rule: known::<RuleId>(&said.observed_rule),
        status: if said.status < 1000 { said.status } else { 0 },
        code: if is_code(&said.code) { said.code } else { String::new() },
        revision: said.revision,
        requests: said.requests.min(COUNT),
        aborted: said.aborted.min(COUNT),
        request_bytes: said.request_bytes.min(AMOUNT),
        response_bytes: said.response_bytes.min(AMOUNT),
        micros: said.micros.min(AMOUNT),
        longest_micros: said.longest_micros.min(AMOUNT),
        latencies: Latencies::decode(&said.latencies).unwrap_or_default().encode(),
        meters: said
            .meters
            .into_iter()
            .filter(|it| it.meter.parse::<MeterId>().is_ok())
            .take(LISTED)
            .map(metered)
            .collect(),
    }
}

fn metered(said: MeterSum) -> MeterSum {
    MeterSum {
        meter: said.meter,
        charged_millionths: said.charged_millionths.min(AMOUNT),
        missing: said.missing.min(COUNT),
        exceeded: said.exceeded.min(COUNT),
    }
}

/// An id, or nothing.
fn known<I: FromStr + ToString>(said: &str) -> String {
    said.parse::<I>().map(|id| id.to_string()).unwrap_or_default()
}

/// Of any edition.
fn is_code(said: &str) -> bool {
    said.len() <= CODE
        && said.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// How many requests a record stands for, as rows have it.
pub(super) fn count(record: &Record) -> i64 {
    i64::try_from(record.count.clamp(1, COUNT)).unwrap_or(1)
}

fn change(said: i32) -> Option<i32> {
    PathChange::try_from(said).ok().map(Into::into)
}

fn kept(said: KeptValue) -> KeptValue {
    KeptValue {
        place: KeptPlace::try_from(said.place).unwrap_or_default().into(),
        name: text(&said.name, NAME),
        value: text(&said.value, VALUE),
        masked: said.masked,
        cut: said.cut,
    }
}

fn duration(said: Option<Duration>) -> Option<Duration> {
    // A century: what is longer has no form in JSON.
    let sound = |said: &Duration| time::duration(said).is_ok_and(|it| it.as_secs() < 100 * 366 * 86_400);
    said.filter(sound)
}

fn outcome(said: RuleOutcome) -> RuleOutcome {
    RuleOutcome {
        effect: Effect::try_from(said.effect).unwrap_or_default().into(),
        scope: Scope::try_from(said.scope).unwrap_or_default().into(),
        rule: text(&said.rule, ID),
    }
}

fn limit(said: LimitState) -> LimitState {
    LimitState {
        kind: LimitKind::try_from(said.kind).unwrap_or_default().into(),
        window: Window::try_from(said.window).unwrap_or_default().into(),
        ..said
    }
}

fn meter(said: MeterState) -> MeterState {
    MeterState {
        meter: text(&said.meter, ID),
        exceeded: Window::try_from(said.exceeded).unwrap_or_default().into(),
        ..said
    }
}

#[cfg(test)]
mod tests {
    use pbjson_types::Timestamp;
    use rr_contract::wire::fleet::FilterEffect;

    use super::*;

    fn sound() -> Record {
        let outcome = RuleOutcome { effect: 2, scope: 3, rule: "rl_1".to_owned() };
        Record {
            id: "rq_1".to_owned(),
            received_at: Some(Timestamp { seconds: 7, nanos: 5 }),
            duration: Some(Duration { seconds: 0, nanos: 5 }),
            path: "/a".to_owned(),
            rules: Some(outcome.clone()),
            observed: Some(outcome),
            matched_rules: vec!["rl_1".to_owned(), "rl_2".to_owned()],
            limits: vec![LimitState { kind: 1, window: 3, limit: 5, used: 4 }],
            meters: vec![MeterState {
                meter: "mt_1".to_owned(),
                charged_millionths: 1,
                missing: true,
                exceeded: 4,
                partial: true,
            }],
            filters: Some(FilterEffect { filters: 1, values: 2, bytes_before: 3 }),
            decide_duration: Some(Duration { seconds: 0, nanos: 2 }),
            filter_duration: Some(Duration { seconds: 1, nanos: 2 }),
            count: 9,
            reason: "no-certificate".to_owned(),
            endpoint: "a.example:443".to_owned(),
            tunnel_end: 5,
            client_key: vec![7; 32],
            echo: 2,
            attempts: 2,
            interim_responses: 64,
            path_changes: vec![1, 2, 3],
            kept_values: vec![KeptValue {
                place: 3,
                name: "page".to_owned(),
                value: "7".to_owned(),
                masked: true,
                cut: true,
            }],
            ..Record::default()
        }
    }

    #[test]
    fn a_record_as_nodes_send_it_is_kept_as_it_is() {
        assert_eq!(bounded(sound()), sound());
        assert_eq!((count(&sound()), count(&Record::default())), (9, 1), "0 means one");
    }

    #[test]
    fn a_record_of_a_hostile_node_is_cut_and_has_a_form_in_json() {
        let bad = RuleOutcome { effect: 77, scope: -1, rule: "\0".repeat(10_000) };
        let hostile = Record {
            id: "rq\0\x1b[2J".to_owned(),
            received_at: Some(Timestamp { seconds: i64::MAX, nanos: -1 }),
            duration: Some(Duration { seconds: i64::MAX, nanos: 999_999_999 }),
            filter_duration: Some(Duration { seconds: 1, nanos: -1 }),
            path: "/".repeat(100_000),
            rules: Some(bad.clone()),
            observed: Some(bad),
            matched_rules: vec!["r".repeat(1_000); 5_000],
            limits: vec![LimitState { kind: 9, window: 9, limit: u64::MAX, used: u64::MAX }; 5_000],
            meters: vec![MeterState { exceeded: i32::MIN, ..MeterState::default() }; 5_000],
            count: u64::MAX,
            reason: "\u{9b}31m".repeat(10_000),
            endpoint: "\0\x1b[2J".repeat(100_000),
            tunnel_end: 77,
            client_key: vec![7; 1_000_000],
            echo: 77,
            path_changes: vec![77; 5_000],
            kept_values: vec![
                KeptValue { place: 77, value: "\0".repeat(100_000), ..KeptValue::default() };
                5_000
            ],
            ..Record::default()
        };
        assert!(serde_json::to_string(&hostile).is_err(), "or there is nothing to guard against");
        // What a node of a later version may say is no worse.
        let later = bounded(Record { tunnel_end: 6, ..sound() });
        assert_eq!(serde_json::to_value(&later).expect("has a form")["tunnelEnd"], serde_json::Value::Null);
        let kept = bounded(hostile);
        let text = serde_json::to_string(&kept).expect("has a form");
        assert!(text.len() < 48 * 320 + 8_000, "{}", text.len());
        assert!(!text.contains("\\u0000") && !text.contains("\\u001b"), "{text}");
        assert_eq!((kept.matched_rules.len(), kept.limits.len(), kept.meters.len()), (16, 16, 16));
        assert_eq!(
            (kept.path_changes.len(), kept.kept_values.len(), kept.kept_values[0].value.len()),
            (0, 48, 256)
        );
        assert_eq!((kept.received_at, kept.duration, kept.filter_duration), (None, None, None));
        assert_eq!(count(&kept), 1_000_000_000);
        // What has a form is bounded, too.
        let name = "n".repeat(100_000);
        let long = bounded(Record {
            path_changes: vec![1; 5_000],
            kept_values: vec![KeptValue { name, ..KeptValue::default() }],
            ..sound()
        });
        assert_eq!((long.path_changes.len(), long.kept_values[0].name.len()), (16, 128));
    }
}
