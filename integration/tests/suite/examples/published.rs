//! Answers in JSON against the OpenAPI document of the control plane, which names every message.
//!
//! Knows which verb prints which message; a list prints an array of them.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use rr_integration::caller::send;
use serde_json::{Value, json};

use super::place::Place;

/// The document of a control plane.
pub(super) struct Published(Value);

/// Verbs that print another message than the noun's. Those that show a key once print the noun's where it goes into a file, as
/// in every example.
const OTHER: &[(&str, &str)] = &[
    ("authority show", "GetAuthorityResponse"),
    ("org diff", "[Difference"),
    ("org rollback", "RollbackOrgResponse"),
    ("member remove", "DeleteMemberResponse"),
    ("node token revoke", "DeleteNodeTokenResponse"),
    ("token revoke", "DeleteTokenResponse"),
    ("node why", "Node"),
    ("node token create", "NodeToken"),
    ("node revoke", "RevokeNodeResponse"),
    ("node drain", "DrainNodeResponse"),
    ("node undrain", "DrainNodeResponse"),
    ("node accounts", "QueryAccountsResponse"),
    ("fleet", "[RegionState"),
    ("explain", "ExplainResourceResponse"),
    ("whoami", "GetSelfResponse"),
    ("apply", "ApplyOutcome"),
    ("diff", "ApplyOutcome"),
    ("preview delete", "ApplyOutcome"),
    ("metrics query", "QueryMetricsResponse"),
    ("target test", "[TargetTest"),
    ("revision wait", "[RegionProgress"),
    ("audit list", "[AuditEntry"),
    ("audit refused", "[RefusedAttempt"),
    ("notification read", "MarkNotificationsReadResponse"),
];

impl Published {
    pub(super) async fn fetch(place: &Place) -> Self {
        let to = place.management();
        let request = Request::get("/openapi.json").header("host", to.to_string());
        let reply =
            send(to, request.body(Full::<Bytes>::default()).expect("a request")).await.expect("answered");
        Self(serde_json::from_slice(&reply.body).expect("JSON"))
    }

    /// The message that a verb prints; `[` before it: a list of them.
    fn message(verb: &str) -> String {
        if let Some((_, message)) = OTHER.iter().find(|(other, _)| *other == verb) {
            return (*message).to_owned();
        }
        let (noun, verb) = verb.rsplit_once(' ').unwrap_or((verb, ""));
        let noun: String = noun.split(' ').map(capital).collect();
        match verb {
            "list" => format!("[{noun}"),
            "delete" => format!("Delete{noun}Response"),
            _ => noun,
        }
    }

    /// Why an answer is none of the message that the verb prints.
    pub(super) fn misfit(&self, verb: &str, answer: &Value) -> Option<String> {
        let message = Self::message(verb);
        let (is_list, message) =
            message.strip_prefix('[').map_or((false, message.as_str()), |message| (true, message));
        if self.0["components"]["schemas"][message].is_null() {
            return Some(format!("no message {message} is published"));
        }
        let one = json!({ "$ref": format!("#/components/schemas/{message}") });
        let mut schema = if is_list { json!({ "type": "array", "items": one }) } else { one };
        schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
        schema["components"] = self.0["components"].clone();
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        let faults = validator.iter_errors(answer);
        let faults: Vec<String> =
            faults.map(|fault| format!("{}: {fault}", fault.instance_path())).take(3).collect();
        (!faults.is_empty()).then(|| format!("is no {message}: {}", faults.join("; ")))
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
