//! A record as a row of a table: names in the place of ids, and what each stage decided in words.

use pbjson_types::Duration;
use rr_contract::model::time::duration;
use rr_contract::wire::fleet::{
    Effect, FilterEffect, KeptValue, LimitState, MeterState, Record, RuleOutcome,
};
use rr_contract::wire::management as mg;

use crate::command::credential::pairs;
use crate::print::{Row, count, plain, time};

impl Row for mg::Request {
    const COLUMNS: &'static [&'static str] = &[
        "received",
        "method",
        "proxy",
        "path",
        "status",
        "code",
        "caller",
        "id",
        "rules",
        "reason",
        "ms",
        "upstream",
        "caller tags",
        "caller metadata",
        "count",
        "observed",
        "matched",
        "limits",
        "meters",
        "filters",
        "bytes in",
        "bytes out",
        "ms to decide",
        "ms upstream",
        "endpoint",
        "attempts",
        "interim",
        "ended",
        "client key",
        "echo",
        "path is",
        "kept",
        "ms to filter",
        "revision",
        "node",
    ];
    const WIDE: &'static [&'static str] = &[
        "caller tags",
        "caller metadata",
        "observed",
        "matched",
        "limits",
        "meters",
        "filters",
        "bytes in",
        "bytes out",
        "ms to decide",
        "ms upstream",
        "endpoint",
        "attempts",
        "interim",
        "ended",
        "client key",
        "echo",
        "path is",
        "kept",
        "ms to filter",
    ];
    const WHOLE: &'static [&'static str] = &["status", "code", "id"];

    fn cells(&self) -> Vec<String> {
        let record = self.record.clone().unwrap_or_default();
        let name = |id: &str| self.names.get(id).map_or(id, String::as_str).to_owned();
        let said = |it: &Option<RuleOutcome>| it.as_ref().map(|it| outcome(it, &name)).unwrap_or_default();
        let each = |cells: Vec<String>| cells.join(", ");
        let upstream =
            if record.upstream_status == 0 { "-".to_owned() } else { record.upstream_status.to_string() };
        vec![
            time(record.received_at.as_ref()),
            record.method.clone(),
            name(&record.proxy),
            record.path.clone(),
            record.status.to_string(),
            record.code.clone(),
            name(&record.caller_credential),
            record.id.clone(),
            said(&record.rules),
            record.reason.clone(),
            millis(record.duration.as_ref()),
            upstream,
            self.caller_tags.join(" "),
            pairs(self.caller_metadata.iter()),
            record.count.max(1).to_string(),
            said(&record.observed),
            each(record.matched_rules.iter().map(|id| name(id)).collect()),
            each(record.limits.iter().map(limit).collect()),
            each(record.meters.iter().map(|state| meter(state, &name)).collect()),
            record.filters.as_ref().map(filtered).unwrap_or_default(),
            record.request_bytes.to_string(),
            record.response_bytes.to_string(),
            millis(record.decide_duration.as_ref()),
            millis(record.upstream_duration.as_ref()),
            record.endpoint.clone(),
            counted(record.attempts),
            counted(record.interim_responses),
            ended(&record),
            hex(&record.client_key),
            plain(record.echo().as_str_name(), "ECHO_OUTCOME_"),
            each(record.path_changes().map(|it| plain(it.as_str_name(), "PATH_CHANGE_")).collect()),
            record.kept_values.iter().map(kept).collect::<Vec<_>>().join("; "),
            millis(record.filter_duration.as_ref()),
            record.revision.to_string(),
            self.node.clone(),
        ]
    }
}

/// `query page=7`; `request header x-key (masked)`.
fn kept(kept: &KeptValue) -> String {
    let place = plain(kept.place().as_str_name(), "KEPT_PLACE_").replace('-', " ");
    let KeptValue { name, value, masked, cut, place: _ } = kept;
    match (masked, cut) {
        (true, _) => format!("{place} {name} (masked)"),
        (false, true) => format!("{place} {name}={value} (cut)"),
        (false, false) => format!("{place} {name}={value}"),
    }
}

fn counted(number: u32) -> String {
    if number == 0 { String::new() } else { number.to_string() }
}

/// `cut short`; of a tunnel also by whom, `by upstream`.
fn ended(record: &Record) -> String {
    let by = plain(record.tunnel_end().as_str_name(), "TUNNEL_END_");
    let by = Some(by).filter(|by| !by.is_empty()).map(|by| format!("by {by}"));
    let cut = record.aborted.then(|| "cut short".to_owned());
    by.into_iter().chain(cut).collect::<Vec<_>>().join(", ")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(in crate::command) fn millis(took: Option<&Duration>) -> String {
    let took = took.and_then(|took| duration(took).ok());
    took.map(|took| format!("{:.1}", took.as_secs_f64() * 1000.0)).unwrap_or_default()
}

/// `deny by no-delete of proxy`; `unreadable` where the rules could not say.
pub(super) fn outcome(said: &RuleOutcome, name: &impl Fn(&str) -> String) -> String {
    let effect = match said.effect() {
        Effect::Unspecified => return "unreadable".to_owned(),
        effect => plain(effect.as_str_name(), "EFFECT_"),
    };
    let scope = plain(said.scope().as_str_name(), "SCOPE_");
    match (said.rule.as_str(), scope.is_empty()) {
        ("", true) => format!("{effect} by default"),
        ("", false) => format!("{effect} by default of {scope}"),
        (rule, true) => format!("{effect} by {}", name(rule)),
        (rule, false) => format!("{effect} by {} of {scope}", name(rule)),
    }
}

/// `caller 7 of 60/minute`.
pub(super) fn limit(state: &LimitState) -> String {
    let kind = plain(state.kind().as_str_name(), "LIMIT_KIND_");
    let window = plain(state.window().as_str_name(), "WINDOW_");
    format!("{kind} {} of {}/{window}", state.used, state.limit)
}

/// `tokens +512`; with why it charged what it did.
pub(super) fn meter(state: &MeterState, name: &impl Fn(&str) -> String) -> String {
    let missing = match (state.missing, state.partial) {
        (true, _) => " (number missing)",
        (false, true) => " (broke off)",
        (false, false) => "",
    };
    let window = plain(state.exceeded().as_str_name(), "WINDOW_");
    let exceeded =
        if window.is_empty() { String::new() } else { format!(" (over its limit of the {window})") };
    format!("{} +{}{missing}{exceeded}", name(&state.meter), amount(state.charged_millionths))
}

/// Millionths as a number without noughts at the end.
pub(in crate::command) fn amount(millionths: u64) -> String {
    let (whole, part) = (millionths / 1_000_000, millionths % 1_000_000);
    if part == 0 {
        return whole.to_string();
    }
    let part = format!("{part:06}");
    format!("{whole}.{}", part.trim_end_matches('0'))
}

pub(super) fn filtered(effect: &FilterEffect) -> String {
    let filters = count(u64::from(effect.filters), "filter");
    format!("{filters} took {} of {}", count(effect.values, "value"), count(effect.bytes_before, "byte"))
}

#[cfg(test)]
mod tests {
    use rr_contract::wire::fleet::{EchoOutcome, KeptPlace, LimitKind, PathChange, Scope, TunnelEnd, Window};

    use super::*;

    fn cell(request: &mg::Request, column: &str) -> String {
        let at = mg::Request::COLUMNS.iter().position(|it| *it == column).expect(column);
        request.cells()[at].clone()
    }

    #[test]
    fn a_row_says_what_each_stage_decided_with_names() {
        let said = |effect: Effect, rule: &str| RuleOutcome {
            effect: effect.into(),
            scope: Scope::Proxy.into(),
            rule: rule.to_owned(),
        };
        let meter = |exceeded: Window, missing| MeterState {
            meter: "mt_1".to_owned(),
            charged_millionths: 1_500_000,
            missing,
            partial: !missing && exceeded == Window::Unspecified,
            exceeded: exceeded.into(),
        };
        let record = Record {
            proxy: "px_1".to_owned(),
            caller_credential: "cr_9".to_owned(),
            rules: Some(said(Effect::Deny, "rl_1")),
            observed: Some(said(Effect::Unspecified, "")),
            matched_rules: vec!["rl_1".to_owned(), "rl_gone".to_owned()],
            limits: vec![LimitState {
                kind: LimitKind::Caller.into(),
                window: Window::Minute.into(),
                limit: 60,
                used: 7,
            }],
            meters: vec![
                meter(Window::Unspecified, true),
                meter(Window::Day, false),
                meter(Window::Unspecified, false),
            ],
            filters: Some(FilterEffect { filters: 1, values: 2, bytes_before: 300 }),
            decide_duration: Some(Duration { seconds: 0, nanos: 250_000 }),
            count: 12,
            endpoint: "a.example:443".to_owned(),
            attempts: 2,
            interim_responses: 3,
            tunnel_end: TunnelEnd::Upstream.into(),
            aborted: true,
            client_key: vec![0xab, 0x01],
            echo: EchoOutcome::Masked.into(),
            path_changes: vec![PathChange::Masked.into(), PathChange::Cut.into()],
            kept_values: vec![
                KeptValue {
                    place: KeptPlace::Query.into(),
                    name: "page".to_owned(),
                    value: "7".to_owned(),
                    ..KeptValue::default()
                },
                KeptValue {
                    place: KeptPlace::RequestHeader.into(),
                    name: "x-key".to_owned(),
                    masked: true,
                    ..KeptValue::default()
                },
            ],
            reason: "not-admitted".to_owned(),
            ..Record::default()
        };
        let names = [("px_1", "echo"), ("rl_1", "no-delete"), ("mt_1", "tokens")];
        let names = names.map(|(id, name)| (id.to_owned(), name.to_owned())).into();
        let request = mg::Request { record: Some(record), names, ..mg::Request::default() };
        for (column, text) in [
            ("proxy", "echo"),
            ("caller", "cr_9"),
            ("reason", "not-admitted"),
            ("echo", "masked"),
            ("path is", "masked, cut"),
            ("kept", "query page=7; request header x-key (masked)"),
            ("rules", "deny by no-delete of proxy"),
            ("observed", "unreadable"),
            ("matched", "no-delete, rl_gone"),
            ("limits", "caller 7 of 60/minute"),
            (
                "meters",
                "tokens +1.5 (number missing), tokens +1.5 (over its limit of the day), tokens +1.5 (broke off)",
            ),
            ("filters", "1 filter took 2 values of 300 bytes"),
            ("ms to decide", "0.2"),
            ("ms to filter", ""),
            ("count", "12"),
            ("endpoint", "a.example:443"),
            ("attempts", "2"),
            ("interim", "3"),
            ("ended", "by upstream, cut short"),
            ("client key", "ab01"),
        ] {
            assert_eq!(cell(&request, column), text, "{column}");
        }
    }

    #[test]
    fn what_only_a_default_said_names_its_scope_and_an_amount_has_no_noughts() {
        let name = |id: &str| id.to_owned();
        let default =
            RuleOutcome { effect: Effect::Deny.into(), scope: Scope::Target.into(), rule: String::new() };
        assert_eq!(outcome(&default, &name), "deny by default of target");
        let allowed = RuleOutcome { effect: Effect::Allow.into(), ..RuleOutcome::default() };
        assert_eq!(outcome(&allowed, &name), "allow by default");
        assert_eq!([0, 1, 2_000_000, 2_340_000].map(amount), ["0", "0.000001", "2", "2.34"]);
    }

    #[test]
    fn a_refusal_has_its_reason_in_every_table() {
        assert!(mg::Request::COLUMNS.contains(&"reason") && !mg::Request::WIDE.contains(&"reason"));
    }

    #[test]
    fn a_column_that_only_wide_tables_have_is_a_column() {
        assert!(mg::Request::WIDE.iter().all(|it| mg::Request::COLUMNS.contains(it)));
    }
}
