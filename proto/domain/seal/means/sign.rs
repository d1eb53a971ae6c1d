//! Signatures of requests: that of AWS, and keyed hashes over a text that an operator wrote.
//!
//! Signs nothing: the node does, last of all.

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use http::HeaderName;
use rr_wire::fleet;

use super::template::Template;
use super::{header_name, line};
use crate::model::invalid::{Invalid, Violations};
use crate::secret::Secret;

const HEADERS_MAX: usize = 16;
/// Holes of a text. Each may stand for a header of 64 KiB, which is hashed where others wait.
const HOLES_MAX: usize = 64;
/// The longest session token, in bytes.
const SESSION_TOKEN_MAX: usize = 16 * 1024;

/// What a signature of AWS needs beside the secret access key.
pub struct AwsSignature {
    /// The public half of the key.
    pub access_key_id: String,
    /// As it is signed.
    pub region: String,
    /// As it is signed.
    pub service: String,
    /// Of temporary credentials.
    pub session_token: Option<Secret>,
    /// The body is not part of the signature.
    pub unsigned_payload: bool,
}

/// A keyed hash, and where it goes.
pub struct HmacSignature {
    /// The hash.
    pub hash: Hash,
    /// What is signed.
    pub text: Template<Hole>,
    /// How the signature is written.
    pub encoding: TextForm,
    /// How a date is written.
    pub date: DateForm,
    /// Headers that are set.
    pub headers: Vec<(HeaderName, Template<Hole>)>,
    key_form: TextForm,
    written: fleet::HmacSignature,
}

/// A hash function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named after what it is")]
pub enum Hash {
    Sha1,
    Sha256,
    Sha512,
}

/// How bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextForm {
    /// As they are.
    Raw,
    /// In lower case.
    Hex,
    /// With padding.
    Base64,
    /// For URLs, without padding.
    Base64Url,
}

/// How a time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateForm {
    /// Seconds since 1970.
    Unix,
    /// Milliseconds since 1970.
    UnixMillis,
    /// `2026-11-27T09:00:00Z`.
    Rfc3339,
    /// `Fri, 27 Nov 2026 09:00:00 GMT`.
    Http,
}

/// A part of a request that a text stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named after what it stands for")]
pub enum Hole {
    Method,
    Host,
    Path,
    Query,
    Target,
    Date,
    Nonce,
    Body,
    BodyHash(TextForm),
    Header(HeaderName),
    Signature,
}

impl Hole {
    const KNOWN: &str = "{method}, {host}, {path}, {query}, {target}, {date}, {nonce}, {body}, {body:sha256}, \
                         {body:sha256:base64} and {header:NAME}";

    /// In the text that is signed.
    fn signed(name: &str) -> Option<Self> {
        match name {
            "method" => Some(Self::Method),
            "host" => Some(Self::Host),
            "path" => Some(Self::Path),
            "query" => Some(Self::Query),
            "target" => Some(Self::Target),
            "date" => Some(Self::Date),
            "nonce" => Some(Self::Nonce),
            "body" => Some(Self::Body),
            "body:sha256" => Some(Self::BodyHash(TextForm::Hex)),
            "body:sha256:base64" => Some(Self::BodyHash(TextForm::Base64)),
            _ => name.strip_prefix("header:")?.parse().ok().map(Self::Header),
        }
    }

    /// In a header that is set.
    fn set(name: &str) -> Option<Self> {
        match name {
            "signature" => Some(Self::Signature),
            "date" => Some(Self::Date),
            "nonce" => Some(Self::Nonce),
            "body:sha256" => Some(Self::BodyHash(TextForm::Hex)),
            "body:sha256:base64" => Some(Self::BodyHash(TextForm::Base64)),
            _ => None,
        }
    }

    /// Whether the whole body has to be at hand for it.
    pub fn reads_body(&self) -> bool {
        matches!(self, Self::Body | Self::BodyHash(_))
    }
}

impl TextForm {
    /// As people write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Hex => "hex",
            Self::Base64 => "base64",
            Self::Base64Url => "base64url",
        }
    }

    /// Writes bytes.
    pub fn encode(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Raw => bytes.to_vec(),
            Self::Hex => HEXLOWER.encode(bytes).into_bytes(),
            Self::Base64 => BASE64.encode(bytes).into_bytes(),
            Self::Base64Url => BASE64URL_NOPAD.encode(bytes).into_bytes(),
        }
    }
}

/// One of these by its name, or the first where nothing is said.
fn one_of<T: Copy>(faults: &mut Violations, field: &str, text: &str, all: &[(&str, T)]) -> Option<T> {
    let found = match text {
        "" => all.first(),
        text => all.iter().find(|(name, _)| *name == text),
    };
    if found.is_none() {
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        faults.add(field, format!("is one of {}", names.join(", ")));
    }
    found.map(|(_, one)| *one)
}

impl AwsSignature {
    pub(super) fn to_wire(&self) -> fleet::AwsSignature {
        fleet::AwsSignature {
            access_key_id: self.access_key_id.clone(),
            region: self.region.clone(),
            service: self.service.clone(),
            session_token: self.session_token.as_ref().map(|it| it.expose().to_vec()).unwrap_or_default(),
            unsigned_payload: self.unsigned_payload,
        }
    }
}

impl TryFrom<fleet::AwsSignature> for AwsSignature {
    type Error = Invalid;

    fn try_from(wire: fleet::AwsSignature) -> Result<Self, Invalid> {
        let session_token = Secret::new(wire.session_token);
        let mut faults = Violations::default();
        for (field, text) in
            [("access_key_id", &wire.access_key_id), ("region", &wire.region), ("service", &wire.service)]
        {
            let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
            if text.is_empty() || text.len() > 128 || !text.bytes().all(is_plain) {
                faults.add(field, "is 1 to 128 letters, digits and `-_.`");
            }
        }
        let is_token = session_token.expose().iter().all(u8::is_ascii_graphic);
        if !is_token || session_token.len() > SESSION_TOKEN_MAX {
            faults.add("session_token", format!("is at most {SESSION_TOKEN_MAX} visible characters"));
        }
        if wire.unsigned_payload && wire.service != "s3" {
            faults.add("unsigned_payload", "is for service s3 alone: others refuse such requests");
        }
        faults.finish(|| {
            Some(Self {
                access_key_id: wire.access_key_id,
                region: wire.region,
                service: wire.service,
                session_token: (!session_token.is_empty()).then_some(session_token),
                unsigned_payload: wire.unsigned_payload,
            })
        })
    }
}

impl HmacSignature {
    /// The key that a value stands for; `None` where it stands for none.
    pub fn key(&self, value: &Secret) -> Option<Secret> {
        let text = value.expose();
        let key = match self.key_form {
            TextForm::Raw => text.to_vec(),
            TextForm::Hex => HEXLOWER_PERMISSIVE.decode(text).ok()?,
            TextForm::Base64 | TextForm::Base64Url => BASE64.decode(text).ok()?,
        };
        (!key.is_empty()).then(|| Secret::new(key))
    }

    pub(super) fn key_form(&self) -> TextForm {
        self.key_form
    }

    /// Whether the whole body has to be at hand to sign.
    pub fn reads_body(&self) -> bool {
        let texts = std::iter::once(&self.text).chain(self.headers.iter().map(|(_, text)| text));
        texts.flat_map(Template::holes).any(Hole::reads_body)
    }

    pub(super) fn to_wire(&self) -> fleet::HmacSignature {
        self.written.clone()
    }
}

impl TryFrom<fleet::HmacSignature> for HmacSignature {
    type Error = Invalid;

    fn try_from(wire: fleet::HmacSignature) -> Result<Self, Invalid> {
        let mut faults = Violations::default();
        let hashes = [("sha256", Hash::Sha256), ("sha512", Hash::Sha512), ("sha1", Hash::Sha1)];
        let hash = one_of(&mut faults, "hash", &wire.hash, &hashes);
        let forms = [TextForm::Hex, TextForm::Base64, TextForm::Base64Url].map(|it| (it.as_str(), it));
        let encoding = one_of(&mut faults, "encoding", &wire.encoding, &forms);
        let forms = [TextForm::Raw, TextForm::Hex, TextForm::Base64].map(|it| (it.as_str(), it));
        let key_form = one_of(&mut faults, "key_encoding", &wire.key_encoding, &forms);
        let dates = [
            ("unix", DateForm::Unix),
            ("unix-ms", DateForm::UnixMillis),
            ("rfc3339", DateForm::Rfc3339),
            ("http", DateForm::Http),
        ];
        let date = one_of(&mut faults, "date", &wire.date, &dates);
        if wire.text.is_empty() {
            faults.add("text", "is missing");
        }
        let text = faults.take("", Template::parse("text", &wire.text, Hole::KNOWN, Hole::signed));
        let holes = |is: fn(&&Hole) -> bool| text.iter().flat_map(Template::holes).filter(is).count();
        if holes(|_| true) > HOLES_MAX {
            faults.add("text", format!("has at most {HOLES_MAX} holes"));
        }
        if holes(|hole| **hole == Hole::Body) > 1 {
            faults.add("text", "holds {body} more than once");
        }
        if wire.headers.is_empty() || wire.headers.len() > HEADERS_MAX {
            faults.add("headers", format!("has 1 to {HEADERS_MAX}"));
        }
        let mut headers = Vec::new();
        for fleet::Parameter { name, text } in &wire.headers {
            line(&mut faults, "headers", text, true);
            let name = header_name(&mut faults, "headers", name);
            let known = "{signature}, {date}, {nonce}, {body:sha256} and {body:sha256:base64}";
            let text = faults.take("", Template::parse("headers", text, known, Hole::set));
            if name.is_some() && headers.iter().any(|(other, _)| Some(other) == name.as_ref()) {
                faults.add("headers", "has a name twice");
            }
            headers.extend(name.zip(text));
        }
        let signs =
            |(_, text): &(HeaderName, Template<Hole>)| text.holes().any(|hole| *hole == Hole::Signature);
        if faults.is_empty() && !headers.iter().any(signs) {
            faults.add("headers", "have no {signature}: nothing of the request would be signed");
        }
        faults.finish(|| {
            Some(Self {
                hash: hash?,
                text: text?,
                encoding: encoding?,
                date: date?,
                headers,
                key_form: key_form?,
                written: wire,
            })
        })
    }
}
