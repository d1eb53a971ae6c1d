//! The only place where an error becomes a status, with the details that a program needs to act on it.
//!
//! The invariant: a status fits into the trailers that every client takes, whatever input it quotes.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use rr_contract::runtime::chain;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use tracing::{error, warn};

use crate::authz::Permission;
use crate::kind::Kind;
use crate::service::ServiceError;
use crate::store::{NotAdmitted, Obstacle};
use crate::throttle::Refusal;

/// In `ErrorInfo.domain`.
pub(super) const DOMAIN: &str = "requestrocket";
/// How long to wait before another try after an outage.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Bytes of a status' text. Three times as many go over the wire where none of them is ASCII, and once more in the
/// details.
const TEXT_MOST: usize = 1200;
/// Bytes of the lists in details, before they are encoded. Clients take 16 KiB of headers.
const LISTED_MOST: usize = 5000;
/// Bytes of one field's path, and of one reason.
pub(super) const FIELD_MOST: usize = 200;
pub(super) const REASON_MOST: usize = 500;

/// The status of a failed call. Causes go to the log, never to the caller.
pub(super) fn of(permission: Permission, failure: &ServiceError) -> Status {
    let kind = failure.kind();
    let text = match kind {
        Kind::Bug => {
            error!(call = permission.call, error = %chain(failure), "call failed with an internal error");
            "internal error: see the log of the control plane".to_owned()
        }
        Kind::Unavailable => {
            let applied = match failure {
                ServiceError::Store(store) if !store.certainly_not_applied() => {
                    "; it is not known whether the change was made: read the resource before you try again"
                }
                _ => "",
            };
            warn!(call = permission.call, error = %chain(failure), "call failed because the store is not available");
            format!("{failure}{applied}")
        }
        _ => failure.to_string(),
    };
    Status::with_error_details(code(kind), cut(&text, TEXT_MOST), details(permission, failure))
}

/// A text that is not longer than so many bytes, and that shows where something is missing.
pub(super) fn cut(text: &str, most: usize) -> String {
    const MARK: &str = "…";
    if text.len() <= most {
        return text.to_owned();
    }
    let room = most.saturating_sub(MARK.len());
    let end = (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    format!("{}{MARK}", &text[..end])
}

/// The first of a list of pairs that fit, cut where one is long, and how many do not.
fn fitting<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> (Vec<(String, String)>, usize) {
    let (mut kept, mut used, mut left_out) = (Vec::new(), 0, 0);
    for (about, reason) in pairs {
        let (about, reason) = (cut(about, FIELD_MOST), cut(reason, REASON_MOST));
        used += about.len() + reason.len();
        if used > LISTED_MOST {
            left_out += 1;
        } else {
            kept.push((about, reason));
        }
    }
    (kept, left_out)
}

/// The status of a call that the throttle refused.
pub(super) fn of_refusal(refusal: Refusal) -> Status {
    let (code, reason, retry) = match refusal {
        Refusal::Rate(wait) => (Code::ResourceExhausted, "RATE_LIMITED", Some(wait)),
        Refusal::Streams => (Code::ResourceExhausted, "TOO_MANY_STREAMS", Some(RETRY_AFTER)),
        Refusal::Deadline => (Code::DeadlineExceeded, "DEADLINE_EXCEEDED", None),
        Refusal::Room => (Code::ResourceExhausted, "TOO_MUCH_AT_ONCE", Some(RETRY_AFTER)),
    };
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, DOMAIN, HashMap::new());
    if let Some(wait) = retry {
        details.set_retry_info(Some(wait));
    }
    Status::with_error_details(code, refusal.to_string(), details)
}

/// The end of a stream when the control plane stops.
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

fn details(permission: Permission, failure: &ServiceError) -> ErrorDetails {
    let mut details = ErrorDetails::new();
    let metadata = HashMap::from([("call".to_owned(), permission.call.to_owned())]);
    details.set_error_info(failure.reason().as_str(), DOMAIN, metadata);
    match failure {
        ServiceError::Invalid(invalid) => {
            let violations = invalid.violations().iter();
            let (kept, left_out) = fitting(violations.map(|it| (it.field.as_str(), it.reason.as_str())));
            for (field, reason) in kept {
                details.add_bad_request_violation(field, reason);
            }
            if left_out > 0 {
                details.add_bad_request_violation("", format!("and {left_out} more"));
            }
        }
        ServiceError::Stale { given, current, value, .. } => {
            let mut metadata = HashMap::from([
                ("call".to_owned(), permission.call.to_owned()),
                ("given".to_owned(), cut(given, FIELD_MOST)),
                ("current".to_owned(), current.clone()),
            ]);
            // A larger one has to be read with its own call.
            let current_value = serde_json::to_string(value).unwrap_or_default();
            if current_value.len() <= LISTED_MOST {
                metadata.insert("current_value".to_owned(), current_value);
            }
            details.set_error_info(failure.reason().as_str(), DOMAIN, metadata);
        }
        ServiceError::NotAdmitted(refusal) => {
            let mut metadata = refused_at(refusal);
            metadata.insert("call".to_owned(), permission.call.to_owned());
            details.set_error_info(failure.reason().as_str(), DOMAIN, metadata);
        }
        ServiceError::Refused { reason, preconditions, .. } => {
            let listed = preconditions.iter().map(|it| (it.subject.as_str(), it.text.as_str()));
            let (kept, left_out) = fitting(listed);
            for (subject, text) in kept {
                details.add_precondition_failure_violation(reason.as_str(), subject, text);
            }
            if left_out > 0 {
                details.add_precondition_failure_violation(
                    reason.as_str(),
                    "",
                    format!("and {left_out} more"),
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

/// The region that a write was refused for, and why.
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
