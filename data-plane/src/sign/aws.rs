//! Signature version 4 of AWS, in headers.
//!
//! `aws-sigv4` makes the canonical text and the signature; this says what is signed. The invariants: of the caller's headers
//! those are signed that AWS wants signed or that decide what a request does, and none that somebody on the way may change;
//! the path that is signed is the path that is sent, written as AWS writes it.

use std::borrow::Cow;

use aws_credential_types::Credentials;
use aws_lc_rs::digest;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningParams, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use http::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HOST, RANGE};
use http::{HeaderMap, HeaderName};
use rr_contract::seal::means::AwsSignature;
use rr_contract::secret::Secret;

use super::{Rest, Unsignable, put};

/// The headers of a signature.
pub(super) static NAMES: [HeaderName; 4] = [
    AUTHORIZATION,
    HeaderName::from_static("x-amz-date"),
    HeaderName::from_static("x-amz-content-sha256"),
    HeaderName::from_static("x-amz-security-token"),
];
/// The same in a query. AWS refuses a request that is signed in both ways.
pub(super) static PARAMETERS: [&str; 8] = [
    "x-amz-algorithm",
    "x-amz-content-sha256",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-signedheaders",
];
/// All headers that begin so are signed.
const AMZ: &str = "x-amz-";
/// And these, beside `Host`.
static SIGNED: [HeaderName; 4] = [CONTENT_TYPE, HeaderName::from_static("content-md5"), DATE, RANGE];

/// What begins so says that a body is in chunks of AWS's own, and how these are signed.
const CHUNKS: &[u8] = b"STREAMING-";
/// They are not.
const UNSIGNED_CHUNKS: &[u8] = b"STREAMING-UNSIGNED-PAYLOAD-TRAILER";

/// How a body is signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Payload {
    /// By its hash.
    #[default]
    Hash,
    /// Not at all.
    Unsigned,
    /// Not at all, and it is in chunks of AWS's own, which is said in the place of the hash: whoever stores it without
    /// knowing that would store the chunks' lengths as well.
    UnsignedChunks,
}

/// A secret access key with what it signs for.
pub(super) struct Aws {
    credentials: Credentials,
    region: String,
    service: String,
    unsigned_payload: bool,
    settings: SigningSettings,
}

impl Aws {
    pub(super) fn new(key: &Secret, form: AwsSignature) -> Option<Self> {
        let text = |secret: &Secret| String::from_utf8(secret.expose().to_vec()).ok();
        let token = form.session_token.as_ref().map(text);
        let token = if let Some(token) = token { Some(token?) } else { None };
        let credentials = Credentials::new(form.access_key_id, text(key)?, token, None, "sealed");
        let mut settings = SigningSettings::default();
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.excluded_headers = None;
        if is_s3(&form.service) {
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        }
        let (region, service) = (form.region, form.service);
        Some(Self { credentials, region, service, unsigned_payload: form.unsigned_payload, settings })
    }

    pub(super) fn reads_body(&self) -> bool {
        !self.unsigned_payload
    }

    /// How the body of a request with these headers, as a caller wrote them, is signed.
    pub(super) fn payload(&self, headers: &HeaderMap) -> Result<Payload, Unsignable> {
        let said = headers.get_all(&NAMES[2]).iter();
        match said.map(|value| value.as_bytes()).find(|said| said.starts_with(CHUNKS)) {
            None if self.unsigned_payload => Ok(Payload::Unsigned),
            None => Ok(Payload::Hash),
            Some(UNSIGNED_CHUNKS) if self.unsigned_payload => Ok(Payload::UnsignedChunks),
            Some(_) => Err(Unsignable::Chunks),
        }
    }

    pub(super) fn sign(
        &self,
        rest: &Rest<'_>,
        payload: Payload,
        headers: &mut HeaderMap,
    ) -> Result<(), Unsignable> {
        let body = match payload {
            Payload::Unsigned => SignableBody::UnsignedPayload,
            Payload::UnsignedChunks => SignableBody::StreamingUnsignedPayloadTrailer,
            Payload::Hash => {
                let hash = digest::digest(&digest::SHA256, rest.body.ok_or(Unsignable::Body)?);
                SignableBody::Precomputed(HEXLOWER.encode(hash.as_ref()))
            }
        };
        let query = rest.query();
        // What is no text would be signed as another one than is sent.
        if std::str::from_utf8(&unescaped(query)).is_err() {
            return Err(Unsignable::Query);
        }
        let path = rest.path();
        let path = if is_s3(&self.service) { once_encoded(path) } else { Cow::Borrowed(path) };
        let target = if query.is_empty() { path } else { Cow::Owned(format!("{path}?{query}")) };
        let mut signed = vec![(HOST.as_str(), rest.host)];
        for (name, value) in &*headers {
            if name.as_str().starts_with(AMZ) || SIGNED.contains(name) {
                signed.push((name.as_str(), value.to_str().map_err(|_| Unsignable::Header(name.clone()))?));
            }
        }
        let request = SignableRequest::new(rest.method, target, signed.into_iter(), body)
            .map_err(|_| Unsignable::Query)?;
        let identity = self.credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(&self.service)
            .time(rest.now)
            .settings(self.settings.clone())
            .build()
            .expect("each of them is given");
        let params = SigningParams::from(params);
        let output = sign(request, &params).map_err(|_| Unsignable::Value)?;
        let (made, _) = output.into_parts().0.into_parts();
        for header in made {
            put(headers, HeaderName::from_static(header.name()), header.value().as_bytes())?;
        }
        Ok(())
    }
}

/// Whether a service takes paths as they are sent, escapes and all.
fn is_s3(service: &str) -> bool {
    service == "s3" || service.starts_with("s3-") || service == "s3express"
}

/// A path in which just that is escaped which AWS escapes, as S3 writes it to compare signatures.
fn once_encoded(path: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    if path.bytes().all(is_plain) {
        return Cow::Borrowed(path);
    }
    let mut text = String::with_capacity(path.len() + 16);
    for byte in unescaped(path) {
        if is_plain(byte) {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push_str(&data_encoding::HEXUPPER.encode(&[byte]));
        }
    }
    Cow::Owned(text)
}

/// A text with the bytes that its escapes stand for.
fn unescaped(text: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, tail @ ..] = rest {
        let digits = if *first == b'%' { tail.get(..2) } else { None };
        let mut byte = [0];
        match digits {
            Some(digits) if HEXLOWER_PERMISSIVE.decode_mut(digits, &mut byte).is_ok() => {
                out.push(byte[0]);
                rest = &tail[2..];
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
