//! Public keys as people have them, in PEM, to the document of keys (JWKS) that nodes verify tokens with.
//!
//! Looks at no signature: whoever gives a certificate vouches for the key in it, and its time and its issuer count for
//! nothing. The invariants: what holds a private key gives nothing, and no fault repeats what was read; every key of what
//! comes out is one that [`KeySet`] takes.

use std::fmt::Write as _;

use data_encoding::{BASE64, BASE64URL_NOPAD};

use crate::key_set::{DOCUMENT_MAX, KEYS_MAX, KeySet, KeySetError};

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// A text that gives no public keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// A document of keys that is none.
    #[error(transparent)]
    Document(#[from] KeySetError),
    /// It is longer than a document of keys.
    #[error("is longer than {DOCUMENT_MAX} bytes")]
    TooLong,
    /// Whoever has it can sign.
    #[error(
        "holds a private key, which must not leave its owner: give the public one, as `openssl pkey -in KEY -pubout` writes it"
    )]
    Private,
    /// It is no PEM.
    #[error("is not PEM: a block does not end, or is not base64")]
    Syntax,
    /// It holds none.
    #[error(
        "holds no public key: give a JWKS document, or PEM with `-----BEGIN PUBLIC KEY-----` or `-----BEGIN CERTIFICATE-----`"
    )]
    Empty,
    /// It holds too many.
    #[error("holds more than {KEYS_MAX} keys")]
    TooMany,
    /// A block of another kind.
    #[error(
        "block {0} is neither a public key (SPKI) nor a certificate; `openssl rsa -RSAPublicKey_in -pubout` converts `RSA PUBLIC KEY`"
    )]
    Kind(usize),
    /// It is not what it says.
    #[error("block {0} is no public key and no certificate that can be read")]
    Der(usize),
    /// A key that verifies no token here.
    #[error("block {0} is a key of another kind than RSA, P-256, P-384 and Ed25519")]
    Family(usize),
    /// One of RSA that is short, long, or has an exponent that nobody uses.
    #[error(
        "block {0} is an RSA key of {1} bits: RSA has 2048 to 8192, and an odd exponent of at most 4 bytes"
    )]
    Rsa(usize, usize),
}

/// What nodes verify with, from what somebody has in a file: a document of keys as it is, or one made of PEM.
pub fn read(text: &[u8]) -> Result<String, PublicKeyError> {
    if text.trim_ascii_start().first() != Some(&b'{') {
        return document(text);
    }
    match KeySet::parse(text) {
        Err(KeySetError::OnlyPrivate) => return Err(PublicKeyError::Private),
        Ok(keys) if keys.holds_private => return Err(PublicKeyError::Private),
        keys => keys?,
    };
    // What is read as JSON is text.
    String::from_utf8(text.to_vec()).map_err(|_| PublicKeyError::Syntax)
}

fn document(text: &[u8]) -> Result<String, PublicKeyError> {
    if text.len() > DOCUMENT_MAX {
        return Err(PublicKeyError::TooLong);
    }
    let text = str::from_utf8(text).map_err(|_| PublicKeyError::Syntax)?;
    if text.contains("PRIVATE KEY-----") {
        return Err(PublicKeyError::Private);
    }
    let mut keys = String::new();
    let (mut left, mut number) = (text, 0);
    while let Some((_, rest)) = left.split_once(BEGIN) {
        number += 1;
        if number > KEYS_MAX {
            return Err(PublicKeyError::TooMany);
        }
        let (label, rest) = rest.split_once(DASHES).ok_or(PublicKeyError::Syntax)?;
        let end = format!("{END}{label}{DASHES}");
        let (body, rest) = rest.split_once(&*end).ok_or(PublicKeyError::Syntax)?;
        left = rest;
        let base64: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let der = BASE64.decode(base64.as_bytes()).map_err(|_| PublicKeyError::Syntax)?;
        let spki = match label {
            "PUBLIC KEY" => &*der,
            "CERTIFICATE" => spki_of(&der).ok_or(PublicKeyError::Der(number))?,
            _ => return Err(PublicKeyError::Kind(number)),
        };
        let key = jwk(spki, number)?;
        // As nodes read it.
        if KeySet::parse(format!("{{\"keys\":[{key}]}}").as_bytes()).is_err() {
            return Err(PublicKeyError::Family(number));
        }
        let comma = if keys.is_empty() { "" } else { "," };
        write!(keys, "{comma}{key}").expect("a text takes text");
    }
    if keys.is_empty() { Err(PublicKeyError::Empty) } else { Ok(format!("{{\"keys\":[{keys}]}}")) }
}

/// A public key as a member of a document of keys.
fn jwk(spki: &[u8], number: usize) -> Result<String, PublicKeyError> {
    let broken = PublicKeyError::Der(number);
    let (algorithm, bits) = algorithm_and_bits(spki).ok_or(broken)?;
    let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let point = |curve: &str, length: usize| {
        // Uncompressed: 4, and both coordinates.
        let (first, both) = bits.split_first().ok_or(broken)?;
        if *first != 4 || both.len() != 2 * length {
            return Err(broken);
        }
        let (x, y) = both.split_at(length);
        Ok(format!("{{\"kty\":\"EC\",\"crv\":\"{curve}\",\"x\":\"{}\",\"y\":\"{}\"}}", text(x), text(y)))
    };
    match algorithm {
        (RSA, None) => {
            let (n, e) = modulus_and_exponent(bits).ok_or(broken)?;
            let key = format!("{{\"kty\":\"RSA\",\"n\":\"{}\",\"e\":\"{}\"}}", text(n), text(e));
            let is_good = KeySet::parse(format!("{{\"keys\":[{key}]}}").as_bytes()).is_ok();
            let zeros = n.first().map_or(0, |first| first.leading_zeros() as usize);
            if is_good { Ok(key) } else { Err(PublicKeyError::Rsa(number, n.len() * 8 - zeros)) }
        }
        (EC, Some(P256)) => point("P-256", 32),
        (EC, Some(P384)) => point("P-384", 48),
        (ED25519, None) if bits.len() == 32 => {
            Ok(format!("{{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"{}\"}}", text(bits)))
        }
        _ => Err(PublicKeyError::Family(number)),
    }
}

/// Identifiers of algorithms and of curves, as DER has them.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// The version of a certificate, which the oldest lack.
const VERSION: u8 = 0xa0;

/// Identifier of an algorithm, and of a curve where its parameters are one.
type Named<'d> = (&'d [u8], Option<&'d [u8]>);

/// What kind of key it is, and the key itself.
fn algorithm_and_bits(spki: &[u8]) -> Option<(Named<'_>, &[u8])> {
    let (key, after) = take(spki, SEQUENCE)?;
    let (algorithm, rest) = take(key, SEQUENCE)?;
    let (bits, last) = take(rest, BIT_STRING)?;
    let (named, parameters) = take(algorithm, IDENTIFIER)?;
    let curve = take(parameters, IDENTIFIER).map(|(curve, _)| curve);
    // Whole bytes.
    let bits = bits.strip_prefix(&[0])?;
    (after.is_empty() && last.is_empty()).then_some(((named, curve), bits))
}

fn modulus_and_exponent(bits: &[u8]) -> Option<(&[u8], &[u8])> {
    let (numbers, after) = take(bits, SEQUENCE)?;
    let (n, rest) = take(numbers, INTEGER)?;
    let (e, last) = take(rest, INTEGER)?;
    // DER puts a zero before a number whose first bit is set.
    let bare = |number: &'_ [u8]| number.iter().take_while(|byte| **byte == 0).count();
    (after.is_empty() && last.is_empty()).then(|| (&n[bare(n)..], &e[bare(e)..]))
}

/// The key of a certificate.
fn spki_of(certificate: &[u8]) -> Option<&[u8]> {
    let (certificate, after) = take(certificate, SEQUENCE)?;
    let (mut left, _) = take(certificate, SEQUENCE)?;
    if let Some((_, rest)) = take(left, VERSION) {
        left = rest;
    }
    // Number, algorithm, issuer, time, subject.
    for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE] {
        left = take(left, tag)?.1;
    }
    let (_, rest) = take(left, SEQUENCE)?;
    after.is_empty().then(|| &left[..left.len() - rest.len()])
}

/// The content of the element that comes next, if it has this tag, and what comes behind it.
fn take(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    if *first != tag {
        return None;
    }
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        // No key has a longer one.
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(length - 0x80))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests;
