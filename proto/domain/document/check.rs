//! Faults of fields that nodes are not sent. The model judges the others.

use rr_wire::management::credential::Usage;
use rr_wire::management::{CallerKind, Credential, Target};

use crate::api_key::{self, KeyKind};
use crate::model::invalid::Violations;
use crate::model::origin::{BaseUrl, Scheme};

/// The most tags, and the most pairs of metadata.
const LABELS_MAX: usize = 16;
const LABEL_MAX: usize = 63;
const METADATA_MAX: usize = 256;
/// Said of what is no label.
pub const LABEL: &str = "is not 1 to 63 of `a-z`, `0-9`, `-`, `_` and `.`";

/// Checks a target.
pub fn target(target: &Target, faults: &mut Violations) {
    let plain = target.base_url.parse::<BaseUrl>().is_ok_and(|url| url.scheme() == Scheme::Http);
    if plain && !target.danger_plaintext {
        faults.add(
            "base_url",
            "is plain HTTP, which sends secrets in the clear: use https, or set danger_plaintext",
        );
    }
}

/// Checks a credential.
pub fn credential(credential: &Credential, faults: &mut Violations) {
    match &credential.usage {
        None => faults.add("usage", "is missing: set `caller` or `upstream`"),
        Some(Usage::Caller(caller)) if caller.kind() != CallerKind::Bearer && !caller.prefix.is_empty() => {
            faults.add("caller.prefix", "stands before the value of kind BEARER alone: leave it empty");
        }
        Some(Usage::Caller(_) | Usage::Upstream(_)) => {}
    }
    if credential.tags.len() > LABELS_MAX {
        faults.add("tags", format!("has more than {LABELS_MAX}"));
    }
    for (i, tag) in credential.tags.iter().enumerate() {
        if !is_label(tag) {
            faults.add(format!("tags[{i}]"), LABEL);
        }
    }
    if credential.metadata.len() > LABELS_MAX {
        faults.add("metadata", format!("has more than {LABELS_MAX}"));
    }
    for (name, value) in &credential.metadata {
        if !is_label(name) {
            faults.add("metadata", format!("has a name that {LABEL}"));
        } else if !is_metadata(value) {
            let what = format!("is 1 to {METADATA_MAX} characters without control characters, and no key");
            faults.add(format!("metadata.{name}"), what);
        }
    }
}

/// Whether a text is a label: a tag, or a name of metadata.
pub fn is_label(text: &str) -> bool {
    let good = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    (1..=LABEL_MAX).contains(&text.len()) && text.bytes().all(good)
}

/// Whoever reads records reads it, so it is no place for a key.
fn is_metadata(text: &str) -> bool {
    (1..=METADATA_MAX).contains(&text.chars().count())
        && !text.chars().any(char::is_control)
        && [KeyKind::Caller, KeyKind::Token]
            .iter()
            .all(|kind| api_key::hash(*kind, text.as_bytes()).is_none())
}

/// Checks the label of a set.
pub fn owner(owner: &str, field: &str, faults: &mut Violations) {
    let good = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'.' | b'/' | b':');
    if owner.len() > 63 || !owner.bytes().all(good) {
        faults.add(field, "must be at most 63 characters of `a-z`, `0-9`, `-`, `.`, `/` and `:`");
    }
}
