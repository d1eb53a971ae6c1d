//! The request for a token: that of a grant of OAuth 2 (RFC 6749, 7523), and one that an operator wrote.
//!
//! Sends nothing. The invariant: the secret stands where its seal says.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use rr_contract::seal::means::private_key::PrivateKey;
use rr_contract::seal::means::{Assertion, Authentication, Flow, Grant, SecretForm, TokenRequest};
use rr_contract::seam::{Seams, draw};
use rr_contract::secret::Secret;
use serde_json::{Map, Value};
use url::form_urlencoded;
use zeroize::Zeroizing;

use crate::values::sensitive;

use super::source::Asked;

/// How long a token of ours counts that says who we are.
const ASSERTION: Duration = Duration::from_secs(300);
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A request for a token.
pub(super) struct Question {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// A secret of which no request can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unaskable {
    #[error("private key does not sign")]
    Key,
    #[error("secret cannot stand in a header of the request")]
    Header,
    #[error("secret is no text, and cannot stand in JSON")]
    Text,
}

/// A form in the making. Wiped: it may hold a secret.
struct Form(Zeroizing<String>);

impl Form {
    fn add(&mut self, name: &str, value: &[u8]) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        for part in form_urlencoded::byte_serialize(name.as_bytes()) {
            self.0.push_str(part);
        }
        self.0.push('=');
        for part in form_urlencoded::byte_serialize(value) {
            self.0.push_str(part);
        }
    }
}

pub(super) fn question(asked: &Asked, secret: &Secret, seams: &Seams) -> Result<Question, Unaskable> {
    match asked {
        Asked::Grant(grant) => of_grant(grant, secret, seams),
        Asked::Request(request) => of_request(request, secret),
    }
}

fn of_grant(grant: &Grant, secret: &Secret, seams: &Seams) -> Result<Question, Unaskable> {
    let (mut headers, mut form) = (HeaderMap::new(), Form(Zeroizing::new(String::with_capacity(1024))));
    headers.insert(ACCEPT, JSON);
    headers.insert(CONTENT_TYPE, FORM);
    let audience = grant.url.as_str();
    match &grant.flow {
        Flow::ClientCredentials { client_id, authentication } => {
            form.add("grant_type", b"client_credentials");
            match authentication {
                Authentication::Basic => {
                    headers.insert(AUTHORIZATION, basic(client_id, secret)?);
                }
                Authentication::Post => {
                    form.add("client_id", client_id.as_bytes());
                    form.add("client_secret", secret.expose());
                }
                Authentication::PrivateKeyJwt(assertion) => {
                    form.add("client_id", client_id.as_bytes());
                    let kind = b"urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                    form.add("client_assertion_type", kind);
                    form.add("client_assertion", signed(assertion, audience, secret, seams)?.expose());
                }
            }
        }
        Flow::JwtBearer(assertion) => {
            form.add("grant_type", b"urn:ietf:params:oauth:grant-type:jwt-bearer");
            form.add("assertion", signed(assertion, audience, secret, seams)?.expose());
        }
    }
    for (name, text) in &grant.parameters {
        form.add(name, text.as_bytes());
    }
    let body = Bytes::from_owner(form.0);
    Ok(Question { method: Method::POST, headers, body })
}

/// Id and secret as RFC 6749 has them in 2.3.1: each as in a form, then in base64.
fn basic(client_id: &str, secret: &Secret) -> Result<HeaderValue, Unaskable> {
    let mut plain = Zeroizing::new(String::with_capacity(client_id.len() + 3 * secret.len() + 1));
    for part in form_urlencoded::byte_serialize(client_id.as_bytes()) {
        plain.push_str(part);
    }
    plain.push(':');
    for part in form_urlencoded::byte_serialize(secret.expose()) {
        plain.push_str(part);
    }
    let encoded = Zeroizing::new(BASE64.encode(plain.as_bytes()));
    let text = Zeroizing::new([b"Basic ", encoded.as_bytes()].concat());
    sensitive(text).ok_or(Unaskable::Header)
}

/// A token of ours.
fn signed(
    assertion: &Assertion,
    endpoint: &str,
    secret: &Secret,
    seams: &Seams,
) -> Result<Secret, Unaskable> {
    let key = PrivateKey::parse(secret, assertion.algorithm).map_err(|_| Unaskable::Key)?;
    let now = seams.clock.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut claims = Map::new();
    let mut claim = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    claim("iss", assertion.issuer.as_str().into());
    if let Some(subject) = &assertion.subject {
        claim("sub", subject.as_str().into());
    }
    claim("aud", assertion.audience.as_deref().unwrap_or(endpoint).into());
    claim("iat", now.into());
    claim("exp", (now + ASSERTION.as_secs()).into());
    claim("jti", HEXLOWER.encode(&draw::<16>(&*seams.entropy)).into());
    for (name, text) in &assertion.claims {
        claim(name, text.as_str().into());
    }
    key.token(assertion.key_id.as_deref(), &claims).ok_or(Unaskable::Key)
}

fn of_request(request: &TokenRequest, secret: &Secret) -> Result<Question, Unaskable> {
    let mut fault = None;
    let mut fill = |form: &SecretForm, out: &mut Vec<u8>| {
        if let Err(unaskable) = written(*form, secret, out) {
            fault = Some(unaskable);
        }
    };
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, JSON);
    for (name, text) in &request.headers {
        headers.insert(name.clone(), sensitive(text.fill(&mut fill)).ok_or(Unaskable::Header)?);
    }
    let body = request.body.fill(&mut fill);
    if !body.is_empty() && !headers.contains_key(CONTENT_TYPE) {
        let is_json = matches!(body.first(), Some(b'{' | b'['));
        headers.insert(CONTENT_TYPE, if is_json { JSON } else { FORM });
    }
    let body = Bytes::from_owner(body);
    fault.map_or(Ok(Question { method: request.method.clone(), headers, body }), Err)
}

/// Writes a secret in a form.
fn written(form: SecretForm, secret: &Secret, out: &mut Vec<u8>) -> Result<(), Unaskable> {
    match form {
        SecretForm::Plain => out.extend_from_slice(secret.expose()),
        SecretForm::Base64 => {
            out.extend_from_slice(Zeroizing::new(BASE64.encode(secret.expose())).as_bytes());
        }
        SecretForm::Form => {
            form_urlencoded::byte_serialize(secret.expose())
                .for_each(|part| out.extend_from_slice(part.as_bytes()));
        }
        SecretForm::Json => {
            let text = str::from_utf8(secret.expose()).map_err(|_| Unaskable::Text)?;
            let quoted = Zeroizing::new(serde_json::to_string(text).map_err(|_| Unaskable::Text)?);
            // The text that holds it has the quotes.
            out.extend_from_slice(&quoted.as_bytes()[1..quoted.len() - 1]);
        }
    }
    Ok(())
}
