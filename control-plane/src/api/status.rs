//! The only place where an error becomes a status, with what a program needs to act on it.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use rr_contract::runtime::chain;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use tracing::{error, warn};

use crate::authz::Rule;
use crate::guard::Refusal;
use crate::kind::Kind;
use crate::service::ServiceError;
use crate::store::{NotAdmitted, Obstacle};

/// In `ErrorInfo.domain`.
pub(super) const DOMAIN: &str = "requestrocket";
/// After which an outage is worth another try.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The status of a failed call. Causes go to the log, never to the caller.
pub(super) fn of(rule: Rule, failure: &ServiceError) -> Status {
    let kind = failure.kind();
    let text = match kind {
        Kind::Bug => {
            error!(call = rule.call, error = %chain(failure), "call failed by a fault of ours");
            "internal error; the log of the control plane says more".to_owned()
        }
        Kind::Unavailable => {
            let applied = match failure {
                ServiceError::Store(store) if !store.certainly_not_applied() => {
                    "; whether the change was made is not known: read it again first"
                }
                _ => "",
            };
            warn!(call = rule.call, error = %chain(failure), "call failed by an outage");
            format!("{failure}{applied}")
        }
        _ => failure.to_string(),
    };
    Status::with_error_details(code(kind), text, details(rule, failure))
}

/// The status of a call that the guard let not through.
pub(super) fn of_refusal(refusal: Refusal) -> Status {
    let (code, reason, retry) = match refusal {
        Refusal::Rate(wait) => (Code::ResourceExhausted, "RATE_LIMITED", Some(wait)),
        Refusal::Streams => (Code::ResourceExhausted, "TOO_MANY_STREAMS", Some(RETRY_AFTER)),
        Refusal::Deadline => (Code::DeadlineExceeded, "DEADLINE_EXCEEDED", None),
    };
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, DOMAIN, HashMap::new());
    if let Some(wait) = retry {
        details.set_retry_info(Some(wait));
    }
    Status::with_error_details(code, refusal.to_string(), details)
}

/// The end of a stream that would have gone on.
pub(super) fn stopping() -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info("UNAVAILABLE", DOMAIN, HashMap::new());
    details.set_retry_info(Some(RETRY_AFTER));
    Status::with_error_details(Code::Unavailable, "the control plane is stopping", details)
}

fn code(kind: Kind) -> Code {
    match kind {
        Kind::NotFound => Code::NotFound,
        Kind::AlreadyThere => Code::AlreadyExists,
        Kind::Invalid => Code::InvalidArgument,
        Kind::Refused => Code::FailedPrecondition,
        Kind::Unauthenticated => Code::Unauthenticated,
        Kind::Forbidden => Code::PermissionDenied,
        Kind::Conflict => Code::Aborted,
        Kind::Limited => Code::ResourceExhausted,
        Kind::Unavailable => Code::Unavailable,
        Kind::Bug => Code::Internal,
    }
}

fn details(rule: Rule, failure: &ServiceError) -> ErrorDetails {
    let mut details = ErrorDetails::new();
    let metadata = HashMap::from([("call".to_owned(), rule.call.to_owned())]);
    details.set_error_info(failure.reason().as_str(), DOMAIN, metadata);
    match failure {
        ServiceError::Invalid(invalid) => {
            for violation in invalid.violations() {
                details.add_bad_request_violation(&violation.field, &violation.reason);
            }
        }
        ServiceError::Stale { given, current, value, .. } => {
            let current_value = serde_json::to_string(value).unwrap_or_default();
            let metadata = HashMap::from([
                ("call".to_owned(), rule.call.to_owned()),
                ("given".to_owned(), given.clone()),
                ("current".to_owned(), current.clone()),
                ("current_value".to_owned(), current_value),
            ]);
            details.set_error_info(failure.reason().as_str(), DOMAIN, metadata);
        }
        ServiceError::NotAdmitted(refusal) => {
            let mut metadata = refused_at(refusal);
            metadata.insert("call".to_owned(), rule.call.to_owned());
            details.set_error_info(failure.reason().as_str(), DOMAIN, metadata);
        }
        ServiceError::Refused { reason, preconditions, .. } => {
            for precondition in preconditions {
                details.add_precondition_failure_violation(
                    reason.as_str(),
                    &precondition.subject,
                    &precondition.text,
                );
            }
        }
        _ if failure.kind() == Kind::Unavailable => {
            details.set_retry_info(Some(RETRY_AFTER));
        }
        _ => {}
    }
    details
}

/// What a program has to know of a region at which a write was stopped.
fn refused_at(refusal: &NotAdmitted) -> HashMap<String, String> {
    let mut metadata = vec![("region", refusal.name.clone()), ("region_id", refusal.region.clone())];
    match &refusal.obstacle {
        Obstacle::Features { nodes, count } => {
            let ids: Vec<&str> = nodes.iter().map(|(id, _)| id.as_str()).collect();
            let lacks: BTreeSet<&str> =
                nodes.iter().flat_map(|(_, lacks)| lacks).map(String::as_str).collect();
            metadata.push(("nodes", ids.join(",")));
            metadata.push(("node_count", count.to_string()));
            metadata.push(("features", lacks.into_iter().collect::<Vec<_>>().join(",")));
        }
        Obstacle::MassRemoval { removals, held } => {
            metadata.push(("removals", removals.to_string()));
            metadata.push(("held", held.to_string()));
        }
        Obstacle::Diverged { node, revision, elsewhere: _, count } => {
            metadata.push(("nodes", node.clone()));
            metadata.push(("node_count", count.to_string()));
            metadata.push(("revision", revision.to_string()));
        }
    }
    metadata.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
