//! What of a path or of a value goes into a record: nothing that looks like a secret, and not more than fits.
//!
//! Knows no proxy. The invariants: what was masked leaves nothing of itself; a secret across the place where a text is cut
//! is masked; no text is longer than its bound, and no more is looked at than a bound; a path without anything to mask costs
//! one look and one copy.

use std::borrow::Cow;

use memchr::memchr2;
use rr_contract::model::recording::MASKED;
use rr_contract::policy::detect;
use rr_contract::policy::request::decode;

/// Bytes of a path that go into a record.
pub(crate) const PATH_MAX: usize = 1024;
/// Bytes of a value that do.
pub(crate) const VALUE_MAX: usize = 256;
/// How far beyond what is kept is looked at: as far as it takes to tell a secret that begins before.
const BEYOND: usize = 512;

/// A path as records have it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) text: Box<str>,
    /// It is the template that the path matches.
    pub(crate) is_template: bool,
    /// A segment of it is masked.
    pub(crate) is_masked: bool,
    /// Its end is missing.
    pub(crate) is_cut: bool,
}

/// A value as records have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value {
    /// Empty where it is masked.
    pub(crate) text: Box<str>,
    pub(crate) is_masked: bool,
    /// Its end is missing.
    pub(crate) is_cut: bool,
}

impl Path {
    /// Of a normalised path.
    pub(crate) fn of(path: &str) -> Self {
        let (kept, looked_at) =
            (path.floor_char_boundary(PATH_MAX), path.floor_char_boundary(PATH_MAX + BEYOND));
        let is_cut = kept < path.len();
        // Most paths have neither, and then no short segment has to be looked at.
        let has_signs = memchr2(b'@', b'%', path.as_bytes()).is_some();
        let mut masked = String::new();
        // Of the path, what is in `masked` already, and where the segment begins that is looked at.
        let (mut copied, mut at) = (0, 0);
        for segment in path[..looked_at].split('/') {
            if at >= kept {
                break;
            }
            if (has_signs || segment.len() >= detect::WITHOUT_AT_MIN) && is_secret(segment.as_bytes()) {
                masked.push_str(&path[copied..at]);
                masked.push_str(MASKED);
                copied = at + segment.len();
            }
            at += segment.len() + 1;
        }
        if copied == 0 {
            return Self { text: path[..kept].into(), is_cut, ..Self::default() };
        }
        masked.push_str(path.get(copied..kept).unwrap_or_default());
        let fits = masked.floor_char_boundary(PATH_MAX);
        Self {
            text: masked[..fits].into(),
            is_template: false,
            is_masked: true,
            is_cut: is_cut || fits < masked.len(),
        }
    }

    /// The template that a path matches. It is ours, so there is nothing to look for.
    pub(crate) fn template(text: &str) -> Self {
        Self { text: text.into(), is_template: true, ..Self::default() }
    }

    /// Of a path of which nobody knows here how much may be kept.
    pub(crate) fn withheld() -> Self {
        Self { text: ["/", MASKED].concat().into(), is_masked: true, ..Self::default() }
    }
}

impl Value {
    /// Of a header, or of a parameter that was decoded.
    pub(crate) fn of(value: &[u8]) -> Self {
        if is_secret(&value[..value.len().min(VALUE_MAX + BEYOND)]) {
            return Self::masked();
        }
        let text = String::from_utf8_lossy(&value[..value.len().min(VALUE_MAX + BEYOND)]);
        let text = if text.contains(is_unseen) {
            Cow::Owned(text.chars().map(|c| if is_unseen(c) { ' ' } else { c }).collect())
        } else {
            text
        };
        let kept = &text[..text.floor_char_boundary(VALUE_MAX)];
        Self { text: kept.into(), is_masked: false, is_cut: kept.len() < text.len() }
    }

    /// Of one of which nothing may be kept.
    pub(crate) fn masked() -> Self {
        Self { text: Box::default(), is_masked: true, is_cut: false }
    }
}

/// Whether a character changes how others are shown, or is not shown: control characters, and what turns, joins and hides text.
fn is_unseen(c: char) -> bool {
    let changes_others = matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
    );
    changes_others || c.is_control()
}

/// Whether a text is to be masked, as it is written or as an upstream would decode it: the address of a page holds a query,
/// for one.
fn is_secret(text: &[u8]) -> bool {
    if detect::first(text).is_some() {
        return true;
    }
    if !text.contains(&b'%') {
        return false;
    }
    match str::from_utf8(text) {
        Ok(text) => detect::first(&decode(text)).is_some(),
        Err(_) => detect::first(&decode(&String::from_utf8_lossy(text))).is_some(),
    }
}

#[cfg(test)]
mod tests;
