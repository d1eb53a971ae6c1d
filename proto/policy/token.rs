//! Signed tokens (JWT, compact form) taken apart: header, claims, what was signed, and the signature.
//!
//! Verifies nothing and knows no time. The invariant: a token has one reading. A member that is there twice, padding, a
//! space or a stray bit in its parts, an extension that has to be understood: refused. Keys and addresses of keys in a
//! header are not looked at.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use data_encoding::BASE64URL_NOPAD;

use crate::json::{JsonError, Reader, Value};

/// The longest token, in bytes.
pub const TOKEN_MAX: usize = 8 * 1024;
/// The longest name of a key, in bytes.
pub const KID_MAX: usize = 256;
/// The longest claim that says who holds a token, in bytes.
pub const IDENTITY_MAX: usize = 256;
/// The last second of the year 9999. What ends later has no end that anybody meant.
const SECONDS_MAX: f64 = 253_402_300_799.0;
/// Types of tokens that are taken: plain ones, OAuth 2 access tokens (RFC 9068), and the other name that SPIFFE gives.
const TYPES: [&str; 3] = ["JWT", "at+jwt", "JOSE"];

/// A token that is not one, or not one for callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is longer than any.
    #[error("is longer than {TOKEN_MAX} bytes")]
    TooLong,
    /// It does not have three parts of base64url without padding.
    #[error("has not three parts of base64url without padding")]
    Form,
    /// Header or claims are no object of JSON.
    #[error("header or claims: {0}")]
    Json(#[from] JsonError),
    /// A member is there twice.
    #[error("a member of header or claims is there twice")]
    Twice,
    /// A member has another type than it has to have.
    #[error("`{0}` has another form than it has to have")]
    Member(&'static str),
    /// It is a token for something else.
    #[error("`typ` is none of JWT, at+jwt and JOSE")]
    Type,
    /// It says that extensions have to be understood.
    #[error("header has extensions (`crit`, `b64`), and none is understood")]
    Critical,
}

/// A token, taken apart.
#[derive(Debug)]
pub struct Token<'t> {
    /// What the signature is of.
    pub signed: &'t [u8],
    /// The signature.
    pub signature: Vec<u8>,
    /// `alg`.
    pub algorithm: String,
    /// `kid`.
    pub kid: Option<String>,
    /// What it says.
    pub claims: Claims,
}

/// What a token says.
#[derive(Debug)]
pub struct Claims {
    document: Vec<u8>,
    members: BTreeMap<String, Range<usize>>,
    /// `iss`.
    pub issuer: Option<String>,
    /// `aud`: one or several.
    pub audiences: Vec<String>,
    /// `exp`.
    pub expires: Option<SystemTime>,
    /// `nbf`.
    pub not_before: Option<SystemTime>,
    /// `iat`.
    pub issued: Option<SystemTime>,
}

/// Who holds a token, as a claim says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// A text.
    Text(String),
    /// A number, as it is written.
    Number(String),
}

impl<'t> Token<'t> {
    /// Takes a token apart.
    pub fn parse(text: &'t [u8]) -> Result<Self, TokenError> {
        if text.len() > TOKEN_MAX {
            return Err(TokenError::TooLong);
        }
        let mut dots = text.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at);
        let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
            return Err(TokenError::Form);
        };
        if first == 0 || second == first + 1 {
            return Err(TokenError::Form);
        }
        let (header, claims) = (decode(&text[..first])?, decode(&text[first + 1..second])?);
        // Nothing, where a token says that it needs none; then nothing verifies it.
        let signature = decode(&text[second + 1..])?;
        let (algorithm, kid) = header_of(&header)?;
        let signed = &text[..second];
        Ok(Self { signed, signature, algorithm, kid, claims: Claims::read(claims)? })
    }
}

fn decode(part: &[u8]) -> Result<Vec<u8>, TokenError> {
    BASE64URL_NOPAD.decode(part).map_err(|_| TokenError::Form)
}

fn header_of(document: &[u8]) -> Result<(String, Option<String>), TokenError> {
    let members = members(document)?;
    if members.contains_key("crit") || members.contains_key("b64") {
        return Err(TokenError::Critical);
    }
    let text = |name: &'static str| match members.get(name) {
        None => Ok(None),
        Some(at) => text_at(document, at).map(Some).ok_or(TokenError::Member(name)),
    };
    if let Some(said) = text("typ")? {
        let bare = match said.split_at_checked("application/".len()) {
            Some((before, bare)) if before.eq_ignore_ascii_case("application/") => bare,
            _ => &said,
        };
        if !TYPES.iter().any(|known| known.eq_ignore_ascii_case(bare)) {
            return Err(TokenError::Type);
        }
    }
    let kid = text("kid")?;
    if kid.as_ref().is_some_and(|kid| kid.len() > KID_MAX) {
        return Err(TokenError::Member("kid"));
    }
    Ok((text("alg")?.ok_or(TokenError::Member("alg"))?, kid))
}

impl Claims {
    fn read(document: Vec<u8>) -> Result<Self, TokenError> {
        let members = members(&document)?;
        let time = |name: &'static str| match members.get(name) {
            None => Ok(None),
            Some(at) => time_at(&document, at).map(Some).ok_or(TokenError::Member(name)),
        };
        let (expires, not_before, issued) = (time("exp")?, time("nbf")?, time("iat")?);
        let issuer = match members.get("iss") {
            None => None,
            Some(at) => Some(text_at(&document, at).ok_or(TokenError::Member("iss"))?),
        };
        if let Some(at) = members.get("sub") {
            text_at(&document, at).ok_or(TokenError::Member("sub"))?;
        }
        let audiences = match members.get("aud") {
            None => Vec::new(),
            Some(at) => {
                let mut audiences = Vec::new();
                let are_texts = each_text(&document, at, |text| match text {
                    Some(text) => {
                        audiences.push(text.to_owned());
                        true
                    }
                    None => false,
                });
                if !are_texts {
                    return Err(TokenError::Member("aud"));
                }
                audiences
            }
        };
        Ok(Self { members, issuer, audiences, expires, not_before, issued, document })
    }

    /// The text of a claim, if it is one.
    pub fn text(&self, name: &str) -> Option<String> {
        text_at(&self.document, self.members.get(name)?)
    }

    /// Who holds the token, by a claim. `None`: it is not there, is neither text nor number, is empty, or is longer than
    /// [`IDENTITY_MAX`].
    pub fn identity(&self, name: &str) -> Option<Identity> {
        let (_, value) = value_at(&self.document, self.members.get(name)?)?;
        let is_good = |text: &str| (1..=IDENTITY_MAX).contains(&text.len());
        match value {
            Value::Text(text) => Some(text.unescaped())
                .filter(|text| is_good(text))
                .map(|text| Identity::Text(text.into_owned())),
            Value::Number(digits) => is_good(digits).then(|| Identity::Number(digits.to_owned())),
            Value::Object | Value::Array | Value::Word(_) => None,
        }
    }

    /// Whether a claim is there.
    pub fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// Whether a claim is one of these texts, or a list that holds one.
    pub fn holds(&self, name: &str, values: &[String]) -> bool {
        self.any(name, |text| values.iter().any(|value| value == text))
    }

    /// Whether a claim that lists words holds one of these: words of a text, or elements of a list.
    pub fn has_word(&self, name: &str, words: &[String]) -> bool {
        self.any(name, |text| text.split(' ').any(|said| words.iter().any(|word| word == said)))
    }

    fn any(&self, name: &str, mut fits: impl FnMut(&str) -> bool) -> bool {
        let Some(at) = self.members.get(name) else { return false };
        let mut found = false;
        each_text(&self.document, at, |text| {
            found = text.is_some_and(&mut fits);
            !found
        });
        found
    }
}

/// The members of an object, each with the place of its value.
fn members(document: &[u8]) -> Result<BTreeMap<String, Range<usize>>, TokenError> {
    let mut reader = Reader::new(document)?;
    let Value::Object = reader.value()? else { return Err(JsonError::Syntax(0).into()) };
    let mut members = BTreeMap::new();
    while let Some(key) = reader.member(members.is_empty())? {
        let start = reader.position();
        reader.pass()?;
        if members.insert(key.unescaped().into_owned(), start..reader.at()).is_some() {
            return Err(TokenError::Twice);
        }
    }
    reader.end()?;
    Ok(members)
}

/// A value that was read before.
fn value_at<'d>(document: &'d [u8], at: &Range<usize>) -> Option<(Reader<'d>, Value<'d>)> {
    let mut reader = Reader::new(&document[at.clone()]).ok()?;
    let value = reader.value().ok()?;
    Some((reader, value))
}

fn text_at(document: &[u8], at: &Range<usize>) -> Option<String> {
    match value_at(document, at)?.1 {
        Value::Text(text) => Some(text.unescaped().into_owned()),
        Value::Object | Value::Array | Value::Number(_) | Value::Word(_) => None,
    }
}

/// Shows a text, or each element of a list: `None` for one that is no text. Ends when it is told to, and says whether
/// it went to the end.
fn each_text(document: &[u8], at: &Range<usize>, mut goes_on: impl FnMut(Option<&str>) -> bool) -> bool {
    let Some((mut reader, value)) = value_at(document, at) else { return goes_on(None) };
    match value {
        Value::Text(text) => goes_on(Some(&text.unescaped())),
        Value::Array => {
            let mut first = true;
            while let Ok(true) = reader.element(first) {
                first = false;
                let text = if reader.is_before_container() {
                    reader.pass().ok().and(None)
                } else {
                    match reader.value() {
                        Ok(Value::Text(text)) => Some(text.unescaped()),
                        _ => None::<Cow<'_, str>>,
                    }
                };
                if !goes_on(text.as_deref()) {
                    return false;
                }
            }
            true
        }
        Value::Object | Value::Number(_) | Value::Word(_) => goes_on(None),
    }
}

/// Seconds since 1970, with their fractions.
fn time_at(document: &[u8], at: &Range<usize>) -> Option<SystemTime> {
    let Value::Number(digits) = value_at(document, at)?.1 else { return None };
    let seconds: f64 = digits.parse().ok()?;
    if !(0.0..=SECONDS_MAX).contains(&seconds) {
        return None;
    }
    Some(SystemTime::UNIX_EPOCH + Duration::try_from_secs_f64(seconds).ok()?)
}

#[cfg(test)]
mod tests;
