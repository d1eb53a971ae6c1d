//! What a caller presents: the one claim of a request, read once, with the one hash that finds its credential.
//!
//! Looks nothing up, and takes nothing away. The invariant: a caller does not choose which of two claims counts. Where a
//! proxy's callers use several headers, a claim in two of them is none; a header that none of them uses is no claim
//! beside one that they use.

use std::ops::Deref;

use http::HeaderName;
use http::header::AUTHORIZATION;
use http::request::Parts;
use rr_contract::api_key::{self, KeyHash, KeyKind};
use rr_contract::model::caller::VALUE_MAX;
use zeroize::Zeroizing;

use crate::report::Reason;
use crate::snapshot::{CallerHeaders, CompiledProxy};

use super::query;

/// The text that counts, and where it stands.
pub(super) struct Claim<'r> {
    /// `None`: in `Authorization`, or in the parameter of that name.
    header: Option<&'r HeaderName>,
    text: Text<'r>,
}

enum Text<'r> {
    Header(&'r [u8]),
    Query(Zeroizing<Vec<u8>>),
}

impl Deref for Text<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Header(text) => text,
            Self::Query(text) => text,
        }
    }
}

/// A claim taken apart.
pub(super) struct Presented<'c> {
    pub(super) header: Option<&'c HeaderName>,
    /// What stands before the value.
    pub(super) word: Option<&'c [u8]>,
    pub(super) value: &'c [u8],
    /// `None`: longer than any value that a hash finds.
    pub(super) hash: Option<KeyHash>,
}

/// What a value looks like whose credential no hash finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// User and password, behind `Basic`. No value that a hash finds stands behind that word.
    Password,
    /// Three parts with dots between them, as signed tokens have them.
    Token,
    /// Anything else.
    Value,
}

/// The one claim of a request to a proxy.
#[inline]
pub(super) fn claim<'r>(parts: &'r Parts, proxy: Option<&'r CompiledProxy>) -> Result<Claim<'r>, Reason> {
    match proxy.and_then(|proxy| proxy.caller_headers.as_deref()) {
        None => in_authorization(parts),
        Some(headers) => in_one_of(headers, parts),
    }
}

fn in_authorization(parts: &Parts) -> Result<Claim<'_>, Reason> {
    let mut values = parts.headers.get_all(AUTHORIZATION).iter();
    if let Some(value) = values.next() {
        // Two headers are two claims; which one counts must not depend on the reader.
        let text = Text::Header(value.as_bytes());
        return if values.next().is_none() {
            Ok(Claim { header: None, text })
        } else {
            Err(Reason::Ambiguous)
        };
    }
    let mut values = parts.uri.query().into_iter().flat_map(query::credentials);
    let text = values.next().ok_or(Reason::Missing)?;
    if values.next().is_some() {
        return Err(Reason::Ambiguous);
    }
    Ok(Claim { header: None, text: Text::Query(text) })
}

fn in_one_of<'r>(headers: &'r CallerHeaders, parts: &'r Parts) -> Result<Claim<'r>, Reason> {
    let values = |name| parts.headers.get_all(name).iter().map(move |value| (name, value));
    let mut own = headers.own.iter().flat_map(values);
    let Some((name, value)) = own.next() else { return in_authorization(parts) };
    let is_alone = own.next().is_none()
        && (!headers.authorization || matches!(in_authorization(parts), Err(Reason::Missing)));
    if !is_alone {
        return Err(Reason::Ambiguous);
    }
    Ok(Claim { header: Some(name), text: Text::Header(value.as_bytes()) })
}

impl Claim<'_> {
    pub(super) fn read(&self) -> Presented<'_> {
        let (header, text) = (self.header, &*self.text);
        if let Some(hash) = api_key::hash_unsummed(KeyKind::Caller, text) {
            return Presented { header, word: None, value: text, hash: Some(hash) };
        }
        let (word, value) = match text.iter().position(|byte| *byte == b' ') {
            Some(at) => (Some(&text[..at]), text[at..].trim_ascii()),
            None => (None, text),
        };
        // A look-up tells junk from keys, so the checksum of what is found need not be read.
        let hash = api_key::hash_unsummed(KeyKind::Caller, value)
            .or_else(|| (value.len() <= VALUE_MAX).then(|| api_key::hash_foreign(value)));
        Presented { header, word, value, hash }
    }
}

impl Presented<'_> {
    /// What it looks like.
    pub(super) fn form(&self) -> Form {
        if self.word.is_some_and(|word| word.eq_ignore_ascii_case(b"basic")) {
            return Form::Password;
        }
        let is_base64url = |part: &[u8]| {
            !part.is_empty() && part.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        let mut parts = self.value.split(|byte| *byte == b'.');
        let is_token = parts.by_ref().take(3).filter(|part| is_base64url(part)).count() == 3;
        if is_token && parts.next().is_none() { Form::Token } else { Form::Value }
    }
}

#[cfg(test)]
mod tests {
    use rr_contract::api_key::hash_foreign;

    use super::*;

    fn read(text: &str, check: impl FnOnce(&Presented<'_>)) {
        let claim = Claim { header: None, text: Text::Header(text.as_bytes()) };
        check(&claim.read());
    }

    #[test]
    fn a_value_is_what_stands_behind_the_first_word() {
        for (text, word, value) in [
            ("v", None, "v"),
            ("Bearer v", Some("Bearer"), "v"),
            ("Token  v ", Some("Token"), "v"),
            ("Token v w", Some("Token"), "v w"),
            ("", None, ""),
            ("Bearer ", Some("Bearer"), ""),
        ] {
            read(text, |presented| {
                assert_eq!(presented.word, word.map(str::as_bytes), "{text:?}");
                assert_eq!(presented.hash, Some(hash_foreign(value.as_bytes())), "{text:?}");
            });
        }
    }

    #[test]
    fn a_key_of_ours_has_the_hash_of_one_with_a_word_before_it_and_without() {
        let (key, hash) = api_key::make(KeyKind::Caller, &[7; 32]);
        let key = str::from_utf8(key.expose()).expect("it is ASCII");
        for text in [key.to_owned(), format!("Bearer {key}"), format!("bearer   {key}")] {
            read(&text, |presented| assert_eq!(presented.hash, Some(hash), "{text}"));
        }
    }

    #[test]
    fn a_value_longer_than_any_is_not_hashed() {
        read(&"v".repeat(VALUE_MAX), |presented| assert!(presented.hash.is_some()));
        read(&"v".repeat(VALUE_MAX + 1), |presented| assert_eq!(presented.hash, None));
    }

    #[test]
    fn passwords_and_signed_tokens_are_told_by_their_form() {
        for (text, form) in [
            ("Basic dTpw", Form::Password),
            ("basic dTpw", Form::Password),
            ("Bearer a.b-c.d_e", Form::Token),
            ("a.b.c", Form::Token),
            ("Bearer a.b", Form::Value),
            ("Bearer a.b.c.d", Form::Value),
            ("Bearer a..c", Form::Value),
            ("Bearer a.b=.c", Form::Value),
            ("Basic", Form::Value),
            ("v", Form::Value),
        ] {
            read(text, |presented| assert_eq!(presented.form(), form, "{text}"));
        }
    }
}
