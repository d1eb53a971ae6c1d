//! Published keys (JWKS): which of a document can verify signatures of tokens.
//!
//! Verifies nothing. The invariant: a key has one family, told by its own members, and no token can make it another.
//! A key that cannot be used is left out and counted; the others stay.

use std::collections::BTreeMap;

use data_encoding::BASE64URL_NOPAD;
use rr_domain::model::caller::jwt::Algorithm;
use rr_domain::model::invalid::Invalid;

use crate::json::{JsonError, Reader, Value};
use crate::token::KID_MAX;

/// The longest document, in bytes.
pub const DOCUMENT_MAX: usize = 256 * 1024;
/// How many keys a document has at most.
pub const KEYS_MAX: usize = 100;
/// Bytes of the shortest and the longest modulus of RSA: 2048 and 8192 bits.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;

/// A document that holds no keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// It is longer than any.
    #[error("is longer than {DOCUMENT_MAX} bytes")]
    TooLong,
    /// It is no JSON, or not of the form.
    #[error("is no document of keys")]
    Json(#[from] JsonError),
    /// It has no list of keys.
    #[error("has no list `keys`, or two")]
    NoList,
    /// It has too many.
    #[error("has more than {KEYS_MAX} keys")]
    TooMany,
    /// None can be used.
    #[error("has no key that verifies signatures: RSA of 2048 to 8192 bits, P-256, P-384 or Ed25519")]
    NoneUsable,
    /// None can be used, and one of them signs.
    #[error("holds a private key, and no key that verifies signatures: give public keys only")]
    OnlyPrivate,
}

/// The keys of a document that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySet {
    /// At least one, in their order.
    pub keys: Vec<PublishedKey>,
    /// How many cannot be used.
    pub skipped: usize,
    /// Whether one of those is not public: whoever reads the document could sign with it.
    pub holds_private: bool,
}

/// A key that verifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedKey {
    /// Its name.
    pub kid: Option<String>,
    /// The one algorithm that it is for, where it says so.
    pub algorithm: Option<Algorithm>,
    /// The key.
    pub material: Material,
}

/// The public half of a key, by family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Material {
    /// Modulus and exponent, big-endian, without zeros in front.
    Rsa {
        /// The modulus.
        n: Vec<u8>,
        /// The exponent.
        e: Vec<u8>,
    },
    /// A point, uncompressed.
    P256(Vec<u8>),
    /// A point, uncompressed.
    P384(Vec<u8>),
    /// 32 bytes.
    Ed25519(Vec<u8>),
}

impl Material {
    /// Whether a key of this family can have made a signature of that algorithm.
    pub const fn fits(&self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => false,
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512 => matches!(self, Self::Rsa { .. }),
            Algorithm::ES256 => matches!(self, Self::P256(_)),
            Algorithm::ES384 => matches!(self, Self::P384(_)),
            Algorithm::EdDSA => matches!(self, Self::Ed25519(_)),
        }
    }
}

/// Checks that keys which a credential brings verify tokens of its algorithms: the field at fault, below the credential,
/// and what is wrong with it.
pub fn check<S: AsRef<str>>(document: &str, algorithms: &[S]) -> Result<(), Invalid> {
    let fault = |name: &str, what: String| Invalid::field(format!("caller.jwt_verify.{name}"), what);
    let keys = KeySet::parse(document.as_bytes()).map_err(|error| fault("jwks", error.to_string()))?;
    if keys.holds_private {
        return Err(fault("jwks", "holds a key that signs: give public keys only".to_owned()));
    }
    match keys.lacks(algorithms) {
        Some(i) => {
            let what = format!("is {}, which no key of `jwks` verifies", algorithms[i].as_ref());
            Err(fault(&format!("algorithms[{i}]"), what))
        }
        None => Ok(()),
    }
}

impl KeySet {
    /// Which of some algorithms no key of it verifies: its place among them. One that is unknown, or of a shared secret, is
    /// for others to refuse.
    pub fn lacks<S: AsRef<str>>(&self, algorithms: &[S]) -> Option<usize> {
        algorithms.iter().position(|name| {
            let verifies = |key: &PublishedKey, algorithm| {
                key.algorithm.is_none_or(|only| only == algorithm) && key.material.fits(algorithm)
            };
            let algorithm = Algorithm::of(name.as_ref()).filter(|algorithm| !algorithm.is_symmetric());
            algorithm.is_some_and(|algorithm| !self.keys.iter().any(|key| verifies(key, algorithm)))
        })
    }

    /// Reads a document.
    pub fn parse(document: &[u8]) -> Result<Self, KeySetError> {
        if document.len() > DOCUMENT_MAX {
            return Err(KeySetError::TooLong);
        }
        let mut reader = Reader::new(document)?;
        let Value::Object = reader.value()? else { return Err(KeySetError::NoList) };
        let (mut first, mut set) = (true, None);
        while let Some(name) = reader.member(first)? {
            first = false;
            if name.unescaped() != "keys" {
                reader.pass()?;
                continue;
            }
            if set.replace(read_list(&mut reader)?).is_some() {
                return Err(KeySetError::NoList);
            }
        }
        reader.end()?;
        let set = set.ok_or(KeySetError::NoList)?;
        match set {
            KeySet { keys, holds_private: true, .. } if keys.is_empty() => Err(KeySetError::OnlyPrivate),
            KeySet { keys, .. } if keys.is_empty() => Err(KeySetError::NoneUsable),
            set => Ok(set),
        }
    }
}

fn read_list(reader: &mut Reader<'_>) -> Result<KeySet, KeySetError> {
    let Value::Array = reader.value()? else { return Err(KeySetError::NoList) };
    let mut set = KeySet { keys: Vec::new(), skipped: 0, holds_private: false };
    let mut count = 0;
    while reader.element(count == 0)? {
        count += 1;
        if count > KEYS_MAX {
            return Err(KeySetError::TooMany);
        }
        let members = read_members(reader)?;
        set.holds_private |= members.as_ref().is_some_and(is_private);
        match members.and_then(|members| usable(&members)) {
            Some(key) => set.keys.push(key),
            None => set.skipped += 1,
        }
    }
    Ok(set)
}

/// A member of a key, as far as it is looked at.
enum Member {
    Text(String),
    Texts(Vec<String>),
    Other,
}

type Members = BTreeMap<String, Member>;

/// `None`: no object, or one with a member twice.
fn read_members(reader: &mut Reader<'_>) -> Result<Option<Members>, KeySetError> {
    if !reader.is_before_container() {
        reader.pass()?;
        return Ok(None);
    }
    let (mut members, mut is_good) = (Members::new(), true);
    let Value::Object = reader.value()? else {
        let mut first = true;
        while reader.element(first)? {
            first = false;
            reader.pass()?;
        }
        return Ok(None);
    };
    let mut first = true;
    while let Some(name) = reader.member(first)? {
        first = false;
        let name = name.unescaped().into_owned();
        let member = match name.as_str() {
            "key_ops" => read_texts(reader)?,
            _ if reader.is_before_container() => {
                reader.pass()?;
                Member::Other
            }
            _ => match reader.value()? {
                Value::Text(text) => Member::Text(text.unescaped().into_owned()),
                Value::Object | Value::Array | Value::Number(_) | Value::Word(_) => Member::Other,
            },
        };
        is_good &= members.insert(name, member).is_none();
    }
    Ok(is_good.then_some(members))
}

fn read_texts(reader: &mut Reader<'_>) -> Result<Member, KeySetError> {
    if !reader.is_before_list() {
        reader.pass()?;
        return Ok(Member::Other);
    }
    let mut texts = Vec::new();
    reader.value()?;
    while reader.element(texts.is_empty())? {
        let text = if reader.is_before_container() {
            reader.pass()?;
            String::new()
        } else {
            match reader.value()? {
                Value::Text(text) => text.unescaped().into_owned(),
                Value::Object | Value::Array | Value::Number(_) | Value::Word(_) => String::new(),
            }
        };
        texts.push(text);
    }
    Ok(Member::Texts(texts))
}

/// Whether whoever reads the document could sign with a key.
fn is_private(members: &Members) -> bool {
    members.contains_key("d") || members.contains_key("k")
}

fn usable(members: &Members) -> Option<PublishedKey> {
    let text = |name: &str| match members.get(name) {
        Some(Member::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let is_text_or_absent = |name: &str| members.get(name).is_none_or(|it| matches!(it, Member::Text(_)));
    if !["use", "alg", "kid"].into_iter().all(is_text_or_absent) {
        return None;
    }
    // Of what a SPIFFE trust domain publishes, the keys of its tokens.
    if text("use").is_some_and(|usage| !["sig", "jwt-svid"].contains(&usage)) {
        return None;
    }
    match members.get("key_ops") {
        None => {}
        Some(Member::Texts(operations)) if operations.iter().any(|it| it == "verify") => {}
        Some(_) => return None,
    }
    if is_private(members) {
        return None;
    }
    let bytes = |name| BASE64URL_NOPAD.decode(text(name)?.as_bytes()).ok();
    let material = match (text("kty")?, text("crv")) {
        ("RSA", _) => rsa(bytes("n")?, bytes("e")?)?,
        ("EC", Some("P-256")) => Material::P256(point(&bytes("x")?, &bytes("y")?, 32)?),
        ("EC", Some("P-384")) => Material::P384(point(&bytes("x")?, &bytes("y")?, 48)?),
        ("OKP", Some("Ed25519")) => Material::Ed25519(bytes("x").filter(|x| x.len() == 32)?),
        _ => return None,
    };
    let algorithm = match text("alg") {
        None => None,
        Some(name) => Some(Algorithm::of(name).filter(|algorithm| material.fits(*algorithm))?),
    };
    let kid = text("kid").map(str::to_owned);
    if kid.as_ref().is_some_and(|kid| kid.len() > KID_MAX) {
        return None;
    }
    Some(PublishedKey { kid, algorithm, material })
}

fn rsa(n: Vec<u8>, e: Vec<u8>) -> Option<Material> {
    let bare = |mut number: Vec<u8>| {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        number.drain(..zeros);
        number
    };
    let (n, e) = (bare(n), bare(e));
    // All bits of the shortest modulus count.
    let is_long_enough = n.len() > *MODULUS.start() || n.first().is_some_and(|byte| *byte >= 0x80);
    let is_odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
    let is_good = MODULUS.contains(&n.len()) && is_long_enough && is_odd(&n);
    // At least 3, and short enough that verifying is cheap.
    let is_exponent = is_odd(&e) && e.len() <= 4 && e != [1];
    (is_good && is_exponent).then_some(Material::Rsa { n, e })
}

fn point(x: &[u8], y: &[u8], length: usize) -> Option<Vec<u8>> {
    if x.len() != length || y.len() != length {
        return None;
    }
    let mut point = Vec::with_capacity(1 + 2 * length);
    point.push(4);
    point.extend_from_slice(x);
    point.extend_from_slice(y);
    Some(point)
}

#[cfg(test)]
mod tests;
