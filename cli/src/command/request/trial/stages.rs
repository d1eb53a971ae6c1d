//! The stages of a request as rows: what each decided, in words, with names and the text of rules.
//!
//! Asks the control plane for names alone: what was decided, the node has told.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use rr_contract::wire::fleet::{Record, RequestStage, TrialField, TrialStage};
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential_service_client::CredentialServiceClient;
use rr_contract::wire::management::meter_service_client::MeterServiceClient;
use rr_contract::wire::management::rule_service_client::RuleServiceClient;
use serde::Serialize;

use super::answer::Told;
use crate::command::request::row;
use crate::connect::Connection;
use crate::fault;
use crate::flags::matching;
use crate::harmless;
use crate::print::{Row, count, note, plain};
use crate::session::Session;

/// How much of a body is shown.
const SHOWN: usize = 2 * 1024;

/// What is known by id.
#[derive(Default)]
pub(super) struct Known {
    names: BTreeMap<String, String>,
    rules: BTreeMap<String, mg::Rule>,
}

/// All of it, as data.
#[derive(Serialize)]
struct Tried {
    region: String,
    node: String,
    status: u32,
    headers: Vec<Header>,
    stages: Vec<TrialStage>,
    /// As `rrctl request show` has it.
    record: mg::Request,
    /// The rules that are named in it, as they are now.
    rules: Vec<mg::Rule>,
    body_bytes: u64,
    /// The beginning of it, where it is text.
    body: Option<String>,
    broken_off: bool,
    /// The time was over before the end.
    unfinished: bool,
}

#[derive(Serialize)]
struct Header {
    name: String,
    value: String,
}

/// One line.
#[derive(Serialize)]
pub(super) struct Line {
    stage: String,
    ms: String,
    decision: String,
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["stage", "ms", "decision"];
    const WHOLE: &'static [&'static str] = &["stage", "ms"];

    fn cells(&self) -> Vec<String> {
        vec![self.stage.clone(), self.ms.clone(), self.decision.clone()]
    }
}

/// Prints what was told.
pub(super) async fn show(
    session: &Session,
    connection: &Connection,
    org: &str,
    region: String,
    told: Told,
    took: Duration,
) -> Result<()> {
    let Told { head, body, body_bytes, trailers, end } = told;
    let unfinished = end.is_none();
    let end = end.unwrap_or_default();
    let stages = if unfinished { head.stages.clone() } else { end.stages };
    let record = end.record.unwrap_or_default();
    let known = find(connection, org, &record).await;
    let text = String::from_utf8(body).ok();
    let node = head.node.clone();
    if session.print.is_data() {
        let header = |field: TrialField| Header {
            name: field.name,
            value: String::from_utf8_lossy(&field.value).into_owned(),
        };
        return session.print.data(&Tried {
            region,
            node: node.clone(),
            status: head.status,
            headers: head.fields.into_iter().chain(trailers).map(header).collect(),
            stages,
            record: mg::Request {
                record: Some(record),
                node,
                names: known.names.into_iter().collect(),
                ..mg::Request::default()
            },
            rules: known.rules.into_values().collect(),
            body_bytes,
            body: text,
            broken_off: end.broken_off,
            unfinished,
        });
    }
    session.print.list(&lines(&stages, &record, &known))?;
    let id = head.fields.iter().find(|field| field.name == "requestrocket-request-id");
    let id = id.map(|field| String::from_utf8_lossy(&field.value).into_owned()).unwrap_or_default();
    note(&format!(
        "HTTP {} after {:.1} ms from node {node} in {region}; the record is {id}",
        head.status,
        took.as_secs_f64() * 1000.0
    ));
    match text {
        _ if body_bytes == 0 => {}
        Some(text) if text.len() as u64 == body_bytes && text.len() <= SHOWN => note(&harmless::lines(&text)),
        Some(text) => {
            let shown: String = text.chars().take(SHOWN).collect();
            note(&format!("{}…", harmless::lines(&shown)));
            note(&format!("the body has {}; --out FILE keeps all of it", count(body_bytes, "byte")));
        }
        None => {
            note(&format!("the body has {} and is no text; --out FILE keeps it", count(body_bytes, "byte")))
        }
    }
    if end.broken_off {
        note("the response broke off here, as it would have for a caller");
    }
    if unfinished {
        return Err(fault::ended(
            "the response went on after the time of --timeout; what was decided until its head is above",
            &format!(
                "`rrctl request show {id}` has the rest once it has ended, if the proxy keeps its record"
            ),
        ));
    }
    Ok(())
}

/// Names, and rules, as far as whoever asks may see them; the others keep their ids.
async fn find(connection: &Connection, org: &str, record: &Record) -> Known {
    let mut known = Known::default();
    let mut rules: Vec<&String> = record.matched_rules.iter().collect();
    rules.extend([&record.rules, &record.observed].into_iter().flatten().map(|said| &said.rule));
    rules.sort();
    rules.dedup();
    for id in rules.into_iter().filter(|id| !id.is_empty()) {
        let ask = mg::GetRuleRequest { org: org.to_owned(), rule: id.clone(), revision: 0 };
        if let Ok(reply) = RuleServiceClient::new(connection.clone()).get_rule(ask).await
            && let Some(rule) = reply.into_inner().rule
        {
            known.names.insert(rule.id.clone(), rule.name.clone());
            known.rules.insert(rule.id.clone(), rule);
        }
    }
    let credentials = [&record.caller_credential, &record.upstream_credential];
    for id in credentials.into_iter().filter(|id| !id.is_empty()) {
        let ask = mg::GetCredentialRequest { org: org.to_owned(), credential: id.clone(), revision: 0 };
        if let Ok(reply) = CredentialServiceClient::new(connection.clone()).get_credential(ask).await
            && let Some(found) = reply.into_inner().credential
        {
            known.names.insert(found.id, found.name);
        }
    }
    for state in &record.meters {
        let ask = mg::GetMeterRequest { org: org.to_owned(), meter: state.meter.clone(), revision: 0 };
        if let Ok(reply) = MeterServiceClient::new(connection.clone()).get_meter(ask).await
            && let Some(found) = reply.into_inner().meter
        {
            known.names.insert(found.id, found.name);
        }
    }
    known
}

/// The stages, and behind `authorize` the rules that matched.
fn lines(stages: &[TrialStage], record: &Record, known: &Known) -> Vec<Line> {
    let mut lines = Vec::new();
    for stage in stages {
        let took = Duration::from_micros(stage.took_us);
        let name = plain(stage.stage().as_str_name(), "REQUEST_STAGE_").replace('-', " ");
        let said = decision(stage.stage(), record, known);
        let decision = match (stage.refused, said.is_empty()) {
            (false, _) => said,
            (true, true) => refusal(stage, record),
            (true, false) => format!("{}; {said}", refusal(stage, record)),
        };
        lines.push(Line { stage: name, ms: format!("{:.3}", took.as_secs_f64() * 1000.0), decision });
        if stage.stage() == RequestStage::Authorize {
            lines.extend(record.matched_rules.iter().map(|id| Line {
                stage: String::new(),
                ms: String::new(),
                decision: rule(id, known),
            }));
        }
    }
    lines
}

/// `refused: missing or invalid credential (expired)`.
fn refusal(stage: &TrialStage, record: &Record) -> String {
    if record.reason.is_empty() {
        format!("refused: {}", stage.reason)
    } else {
        format!("refused: {} ({})", stage.reason, record.reason)
    }
}

/// `rule no-delete: deny where DELETE and path ~ ^/v1`.
fn rule(id: &str, known: &Known) -> String {
    let Some(rule) = known.rules.get(id) else { return format!("rule {id}, which cannot be seen") };
    let effect = plain(rule.effect().as_str_name(), "EFFECT_");
    let observes = if rule.observe { ", observing" } else { "" };
    let notes = if rule.notes.is_empty() { String::new() } else { format!(" ({})", rule.notes) };
    format!("rule {}: {effect}{observes} where {}{notes}", rule.name, matching::text(rule.when.as_ref()))
}

fn decision(stage: RequestStage, record: &Record, known: &Known) -> String {
    let name = |id: &str| known.names.get(id).map_or(id, String::as_str).to_owned();
    let each = |parts: Vec<String>| parts.join(", ");
    match stage {
        RequestStage::Resolve => format!("{} {}", record.method, record.path),
        RequestStage::Authenticate if !record.caller_credential.is_empty() => {
            format!("caller {}", name(&record.caller_credential))
        }
        RequestStage::Authorize => {
            let said = record.rules.as_ref().map(|said| row::outcome(said, &name)).unwrap_or_default();
            match &record.observed {
                None => said,
                Some(observed) => format!("{said}; would {}", row::outcome(observed, &name)),
            }
        }
        RequestStage::Admit => each(record.limits.iter().map(row::limit).collect()),
        RequestStage::FilterResponse => record.filters.as_ref().map(row::filtered).unwrap_or_default(),
        RequestStage::Inject if !record.upstream_credential.is_empty() => {
            format!("credential {}", name(&record.upstream_credential))
        }
        RequestStage::Forward => {
            let mut parts = Vec::new();
            if record.upstream_status != 0 {
                parts.push(format!("upstream answered {}", record.upstream_status));
            }
            if record.attempts > 1 {
                parts.push(format!("after {} attempts", record.attempts));
            }
            if !record.endpoint.is_empty() {
                parts.push(format!("at {}", record.endpoint));
            }
            parts.join(" ")
        }
        RequestStage::Settle => {
            let mut parts = vec![format!("{} {}", record.status, record.code)];
            parts.push(format!("{} out", count(record.response_bytes, "byte")));
            parts.extend(record.meters.iter().map(|state| row::meter(state, &name)));
            each(parts)
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use rr_contract::wire::fleet::{Effect, RequestMatch, RuleOutcome, Scope};

    use super::*;

    #[test]
    fn stages_say_what_they_decided_and_the_rules_that_matched_their_text() {
        let rule = mg::Rule {
            id: "rl_1".to_owned(),
            name: "no-delete".to_owned(),
            effect: Effect::Deny.into(),
            when: Some(RequestMatch { methods: vec!["DELETE".to_owned()], ..RequestMatch::default() }),
            notes: "ask first".to_owned(),
            ..mg::Rule::default()
        };
        let mut known = Known::default();
        known.names.insert("rl_1".to_owned(), "no-delete".to_owned());
        known.rules.insert("rl_1".to_owned(), rule);
        let record = Record {
            method: "DELETE".to_owned(),
            path: "/v1".to_owned(),
            rules: Some(RuleOutcome {
                effect: Effect::Deny.into(),
                scope: Scope::Proxy.into(),
                rule: "rl_1".to_owned(),
            }),
            matched_rules: vec!["rl_1".to_owned(), "rl_2".to_owned()],
            code: "rule-denied".to_owned(),
            status: 400,
            ..Record::default()
        };
        let stage = |stage: RequestStage, reason: &str| TrialStage {
            stage: stage.into(),
            took_us: 1_250,
            refused: !reason.is_empty(),
            reason: reason.to_owned(),
            ..TrialStage::default()
        };
        let stages = [
            stage(RequestStage::Resolve, ""),
            stage(RequestStage::Authorize, "rules deny the request"),
            stage(RequestStage::Settle, ""),
        ];
        let lines: Vec<Vec<String>> = lines(&stages, &record, &known).iter().map(Line::cells).collect();
        assert_eq!(
            lines,
            [
                ["resolve", "1.250", "DELETE /v1"],
                ["authorize", "1.250", "refused: rules deny the request; deny by no-delete of proxy"],
                ["", "", "rule no-delete: deny where DELETE (ask first)"],
                ["", "", "rule rl_2, which cannot be seen"],
                ["settle", "1.250", "400 rule-denied, 0 bytes out"],
            ]
        );
    }
}
