//! Requests for tokens: the grants of OAuth 2 (RFC 6749, RFC 7523), and requests of an operator's own.

use http::{HeaderName, Method};
use rr_wire::fleet;
use rr_wire::fleet::client_credentials;
use rr_wire::fleet::token_grant;

use super::private_key::{Algorithm, PrivateKey};
use super::template::Template;
use super::{header_name, line, listed, parameter};
use crate::model::invalid::{Invalid, Violations};
use crate::model::json_path::JsonPath;
use crate::secret::Secret;

/// Where tokens are asked for: https, or http on a loopback address.
pub use crate::model::caller::jwt::JwksUrl as TokenUrl;

/// How long a token lasts where nobody says it, in seconds.
const LIFETIME: u32 = 300;
const LIFETIME_MAX: u32 = 30 * 24 * 3600;
const PARAMETERS_OF_OURS: [&str; 6] =
    ["grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type", "assertion"];
const CLAIMS_OF_OURS: [&str; 7] = ["iss", "sub", "aud", "iat", "exp", "nbf", "jti"];

/// A request for a token of OAuth 2.
pub struct Grant {
    /// Where it goes.
    pub url: TokenUrl,
    /// How we say who we are.
    pub flow: Flow,
    /// Further parameters.
    pub parameters: Vec<(String, String)>,
}

/// A grant.
pub enum Flow {
    /// `client_credentials`.
    ClientCredentials {
        /// The client.
        client_id: String,
        /// How it proves that it is that client.
        authentication: Authentication,
    },
    /// `urn:ietf:params:oauth:grant-type:jwt-bearer`.
    JwtBearer(Assertion),
}

/// How a client proves who it is.
pub enum Authentication {
    /// `client_secret_basic`.
    Basic,
    /// `client_secret_post`.
    Post,
    /// `private_key_jwt`.
    PrivateKeyJwt(Assertion),
}

/// A token of ours, signed with the value.
pub struct Assertion {
    /// `iss`.
    pub issuer: String,
    /// `sub`.
    pub subject: Option<String>,
    /// `aud`; `None` is the token endpoint.
    pub audience: Option<String>,
    /// `kid`.
    pub key_id: Option<String>,
    /// `None` is the one that fits the key.
    pub algorithm: Option<Algorithm>,
    /// Further claims.
    pub claims: Vec<(String, String)>,
}

/// A request whose answer holds a token.
pub struct TokenRequest {
    /// Where it goes.
    pub url: TokenUrl,
    /// GET or POST.
    pub method: Method,
    /// Its headers.
    pub headers: Vec<(HeaderName, Template<SecretForm>)>,
    /// Its body.
    pub body: Template<SecretForm>,
    /// Where the token stands in the answer.
    pub token_path: JsonPath,
    /// Where it stands how many seconds it lasts.
    pub lifetime_path: Option<JsonPath>,
    /// Seconds that it lasts where the answer does not say it.
    pub lifetime: u32,
    written: fleet::TokenRequest,
}

/// How a value is written into a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretForm {
    /// As it is.
    Plain,
    /// As the inside of a JSON text.
    Json,
    /// As a value of a form.
    Form,
    /// In base64.
    Base64,
}

impl SecretForm {
    const KNOWN: &str = "{secret}, {secret:json}, {secret:form} and {secret:base64}";

    fn of(name: &str) -> Option<Self> {
        match name {
            "secret" => Some(Self::Plain),
            "secret:json" => Some(Self::Json),
            "secret:form" => Some(Self::Form),
            "secret:base64" => Some(Self::Base64),
            _ => None,
        }
    }
}

fn url(faults: &mut Violations, text: &str) -> Option<TokenUrl> {
    if text.is_empty() {
        faults.add("token_url", "is missing");
        return None;
    }
    faults.take("token_url", TokenUrl::try_from(text))
}

fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

impl Grant {
    /// Whether it can be asked for with this value.
    pub(super) fn check(&self, value: &Secret, faults: &mut Violations) {
        let assertion = match &self.flow {
            Flow::JwtBearer(assertion) => assertion,
            Flow::ClientCredentials { authentication: Authentication::PrivateKeyJwt(assertion), .. } => {
                assertion
            }
            Flow::ClientCredentials { .. } => return,
        };
        faults.take("value", PrivateKey::parse(value, assertion.algorithm));
    }

    pub(super) fn to_wire(&self) -> fleet::TokenGrant {
        let flow = match &self.flow {
            Flow::JwtBearer(assertion) => token_grant::Flow::JwtBearer(assertion.to_wire()),
            Flow::ClientCredentials { client_id, authentication } => {
                let authentication = match authentication {
                    Authentication::Basic => client_credentials::Authentication::Basic(fleet::Empty {}),
                    Authentication::Post => client_credentials::Authentication::Post(fleet::Empty {}),
                    Authentication::PrivateKeyJwt(assertion) => {
                        client_credentials::Authentication::PrivateKeyJwt(assertion.to_wire())
                    }
                };
                token_grant::Flow::ClientCredentials(fleet::ClientCredentials {
                    client_id: client_id.clone(),
                    authentication: Some(authentication),
                })
            }
        };
        fleet::TokenGrant {
            url: self.url.as_str().to_owned(),
            flow: Some(flow),
            parameters: self.parameters.iter().map(parameter).collect(),
        }
    }
}

impl TryFrom<fleet::TokenGrant> for Grant {
    type Error = Invalid;

    fn try_from(wire: fleet::TokenGrant) -> Result<Self, Invalid> {
        let mut faults = Violations::default();
        let url = url(&mut faults, &wire.url);
        let parameters = listed(&mut faults, "parameters", wire.parameters, &PARAMETERS_OF_OURS);
        let flow = match wire.flow {
            None => {
                faults.add("flow", "is missing");
                None
            }
            Some(token_grant::Flow::JwtBearer(wire)) => {
                Assertion::parse(wire, None, &mut faults).map(Flow::JwtBearer)
            }
            Some(token_grant::Flow::ClientCredentials(wire)) => {
                let client_id = wire.client_id;
                line(&mut faults, "client_id", &client_id, true);
                let authentication = match wire.authentication {
                    None => {
                        faults.add("authentication", "is missing");
                        None
                    }
                    Some(client_credentials::Authentication::Basic(_)) => Some(Authentication::Basic),
                    Some(client_credentials::Authentication::Post(_)) => Some(Authentication::Post),
                    Some(client_credentials::Authentication::PrivateKeyJwt(wire)) => {
                        let assertion = Assertion::parse(wire, Some(&client_id), &mut faults);
                        assertion.map(Authentication::PrivateKeyJwt)
                    }
                };
                authentication.map(|authentication| Flow::ClientCredentials { client_id, authentication })
            }
        };
        faults.finish(|| Some(Self { url: url?, flow: flow?, parameters }))
    }
}

impl Assertion {
    /// `client`: who it is about where it does not say so.
    fn parse(wire: fleet::Assertion, client: Option<&str>, faults: &mut Violations) -> Option<Self> {
        let fleet::Assertion { mut issuer, subject, audience, key_id, algorithm, claims } = wire;
        let mut subject = given(subject);
        if let Some(client) = client {
            if issuer.is_empty() {
                client.clone_into(&mut issuer);
            }
            subject.get_or_insert_with(|| client.to_owned());
        }
        // That of a client is its id.
        line(faults, "issuer", &issuer, client.is_none());
        line(faults, "subject", subject.as_deref().unwrap_or_default(), false);
        line(faults, if client.is_some() { "assertion_audience" } else { "audience" }, &audience, false);
        line(faults, "key_id", &key_id, false);
        let claims = listed(faults, "claims", claims, &CLAIMS_OF_OURS);
        let known = given(algorithm).map(|name| {
            Algorithm::of(&name).ok_or("is one of RS256, PS256, ES256, ES384 and EdDSA, or left out")
        });
        let algorithm = match known.transpose() {
            Ok(algorithm) => algorithm,
            Err(reason) => {
                faults.add("algorithm", reason);
                return None;
            }
        };
        Some(Self { issuer, subject, audience: given(audience), key_id: given(key_id), algorithm, claims })
    }

    fn to_wire(&self) -> fleet::Assertion {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        fleet::Assertion {
            issuer: self.issuer.clone(),
            subject: text(&self.subject),
            audience: text(&self.audience),
            key_id: text(&self.key_id),
            algorithm: self.algorithm.map(|algorithm| algorithm.as_str().to_owned()).unwrap_or_default(),
            claims: self.claims.iter().map(parameter).collect(),
        }
    }
}

impl TokenRequest {
    pub(super) fn to_wire(&self) -> fleet::TokenRequest {
        self.written.clone()
    }
}

impl TryFrom<fleet::TokenRequest> for TokenRequest {
    type Error = Invalid;

    fn try_from(wire: fleet::TokenRequest) -> Result<Self, Invalid> {
        let mut faults = Violations::default();
        let url = url(&mut faults, &wire.url);
        let method = match wire.method.as_str() {
            "GET" => Some(Method::GET),
            "POST" => Some(Method::POST),
            _ => {
                faults.add("method", "is GET or POST");
                None
            }
        };
        let template = |faults: &mut Violations, field: &str, text: &str| match Template::parse(
            field,
            text,
            SecretForm::KNOWN,
            SecretForm::of,
        ) {
            Ok(template) => Some(template),
            Err(invalid) => {
                invalid.violations().iter().for_each(|it| faults.add(&it.field, &it.reason));
                None
            }
        };
        if wire.headers.len() > super::LISTED_MAX {
            faults.add("headers", format!("has at most {}", super::LISTED_MAX));
        }
        let mut headers = Vec::new();
        for fleet::Parameter { name, text } in &wire.headers {
            let name = header_name(&mut faults, "headers", name);
            if text.chars().any(char::is_control) {
                faults.add("headers", "hold no control characters");
            }
            headers.extend(name.zip(template(&mut faults, "headers", text)));
        }
        let body = match str::from_utf8(&wire.body) {
            Ok(text) => template(&mut faults, "body", text),
            Err(_) => {
                faults.add("body", "is no text");
                None
            }
        };
        if method == Some(Method::GET) && !wire.body.is_empty() {
            faults.add("body", "belongs to method POST");
        }
        let token_path = if wire.token_path.is_empty() {
            faults.add("token_path", "is missing");
            None
        } else {
            faults.take("token_path", wire.token_path.parse::<JsonPath>())
        };
        let lifetime_path = given(wire.lifetime_path.clone())
            .and_then(|path| faults.take("lifetime_path", path.parse::<JsonPath>()));
        if wire.lifetime > LIFETIME_MAX {
            faults.add("lifetime", format!("is at most {LIFETIME_MAX} seconds, 30 days"));
        }
        let lifetime = if wire.lifetime == 0 { LIFETIME } else { wire.lifetime };
        let all = headers.iter().map(|(_, text)| text).chain(&body);
        if faults.is_empty() && all.flat_map(Template::holes).next().is_none() {
            faults.add(
                "body",
                format!("and headers hold none of {}: the value would not be used", SecretForm::KNOWN),
            );
        }
        faults.finish(|| {
            Some(Self {
                url: url?,
                method: method?,
                headers,
                body: body?,
                token_path: token_path?,
                lifetime_path,
                lifetime,
                written: wire,
            })
        })
    }
}

impl Drop for TokenRequest {
    fn drop(&mut self) {
        super::wipe(fleet::secret_plaintext::Means::TokenRequest(std::mem::take(&mut self.written)));
    }
}
