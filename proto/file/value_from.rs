//! The source of a value, where it may go, and what is done with it.
//!
//! Opens no file and judges nothing but which groups are given: what is said of means becomes the message that is sealed, and
//! whoever seals it judges that.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pbjson_types::Duration;
use rr_wire::fleet;
use rr_wire::fleet::client_credentials::Authentication;
use rr_wire::fleet::secret_plaintext::Means;
use rr_wire::fleet::token_grant::Flow;
use serde::Deserialize;

use super::part::part;
use super::spelling::seconds;

part! {
    /// The source of a value, where it may go, and what is done with it.
    ValueFrom {
        env: Option<String>,
        file: Option<PathBuf>,
        origins: Vec<String>,
        targets: Vec<String>,
        ca: Option<PathBuf>,
        header: Option<String>,
        prefix: Option<String>,
        query: Option<String>,
        user: Option<String>,
        headers: BTreeMap<String, Source>,
        oauth2: Option<Oauth2>,
        jwt_bearer: Option<JwtBearer>,
        custom_token: Option<CustomToken>,
        aws: Option<Aws>,
        hmac: Option<Hmac>,
        certificate: Option<Certificate>,
    }
}

part! {
    /// The source of one of several values.
    Source {
        env: Option<String>,
        file: Option<PathBuf>,
    }
}

part! {
    /// A client of an issuer (OAuth 2), and the token that it asks for.
    Oauth2 {
        token_url: String,
        client_id: String,
        /// `basic`, `post` or `private-key-jwt`.
        authentication: String,
        scope: String,
        audience: String,
        resource: String,
        parameters: BTreeMap<String, String>,
        key_id: String,
        algorithm: String,
        assertion_audience: String,
        claims: BTreeMap<String, String>,
    }
}

part! {
    /// A service account, and the token that it asks for.
    JwtBearer {
        token_url: String,
        issuer: String,
        subject: String,
        audience: String,
        key_id: String,
        algorithm: String,
        claims: BTreeMap<String, String>,
        parameters: BTreeMap<String, String>,
    }
}

part! {
    /// A request whose answer holds a token.
    CustomToken {
        token_url: String,
        method: String,
        headers: BTreeMap<String, String>,
        body: String,
        token_path: String,
        lifetime_path: String,
        #[serde(deserialize_with = "seconds")]
        lifetime: Option<Duration>,
    }
}

part! {
    /// A signature of AWS.
    Aws {
        access_key_id: String,
        region: String,
        service: String,
        session_token: Option<Source>,
        unsigned_payload: bool,
    }
}

part! {
    /// A keyed hash of each request.
    Hmac {
        hash: String,
        text: String,
        encoding: String,
        key_encoding: String,
        date: String,
        headers: BTreeMap<String, String>,
    }
}

part! {
    /// The certificate that a private key belongs to.
    Certificate {
        chain: PathBuf,
    }
}

/// Something that means need and that a group names.
pub enum Wanted<'f> {
    /// A secret.
    Secret(&'f Source),
    /// A file that is no secret.
    File(&'f Path),
}

/// Means that cannot be made of what is said.
pub enum Unmade<E> {
    /// What a group names was not read.
    Unread(&'static str, E),
    /// A field is wrong, and why.
    Field(&'static str, &'static str),
}

impl ValueFrom {
    /// The groups that are given.
    pub fn groups(&self) -> Vec<&'static str> {
        let given = [
            ("oauth2", self.oauth2.is_some()),
            ("jwt_bearer", self.jwt_bearer.is_some()),
            ("custom_token", self.custom_token.is_some()),
            ("aws", self.aws.is_some()),
            ("hmac", self.hmac.is_some()),
            ("certificate", self.certificate.is_some()),
        ];
        given.into_iter().filter_map(|(group, is_given)| is_given.then_some(group)).collect()
    }

    /// Whether it says nothing but the place of one value.
    pub fn is_bare(&self) -> bool {
        self.origins.is_empty()
            && self.targets.is_empty()
            && self.ca.is_none()
            && self.header.is_none()
            && self.prefix.is_none()
            && self.query.is_none()
            && self.user.is_none()
            && self.headers.is_empty()
            && self.groups().is_empty()
    }

    /// What the first group that is given says, as it is sealed. `read` gets what it names.
    pub fn means<E>(
        &self,
        read: impl FnOnce(Wanted<'_>) -> Result<Vec<u8>, E>,
    ) -> Result<Option<Means>, Unmade<E>> {
        if let Some(oauth2) = &self.oauth2 {
            return oauth2.means().map(Some).map_err(|(field, what)| Unmade::Field(field, what));
        }
        if let Some(account) = &self.jwt_bearer {
            return Ok(Some(account.means()));
        }
        if let Some(request) = &self.custom_token {
            return request.means().map(Some).map_err(|(field, what)| Unmade::Field(field, what));
        }
        if let Some(hmac) = &self.hmac {
            return Ok(Some(hmac.means()));
        }
        if let Some(aws) = &self.aws {
            let token = aws.session_token.as_ref().map(|source| read(Wanted::Secret(source))).transpose();
            let token = token.map_err(|error| Unmade::Unread("aws.session_token", error))?;
            return Ok(Some(aws.means(token.unwrap_or_default())));
        }
        let Some(certificate) = &self.certificate else { return Ok(None) };
        let chain = read(Wanted::File(&certificate.chain));
        let chain = chain.map_err(|error| Unmade::Unread("certificate.chain", error))?;
        let chain = String::from_utf8(chain).map_err(|_| Unmade::Field("certificate.chain", "is no text"))?;
        Ok(Some(Means::ClientCertificate(fleet::ClientCertificate { chain })))
    }
}

fn parameters<'p>(pairs: impl IntoIterator<Item = (&'p String, &'p String)>) -> Vec<fleet::Parameter> {
    let parameter =
        |(name, text): (&String, &String)| fleet::Parameter { name: name.clone(), text: text.clone() };
    pairs.into_iter().map(parameter).collect()
}

impl Oauth2 {
    fn means(&self) -> Result<Means, (&'static str, &'static str)> {
        let assertion = fleet::Assertion {
            audience: self.assertion_audience.clone(),
            key_id: self.key_id.clone(),
            algorithm: self.algorithm.clone(),
            claims: parameters(&self.claims),
            ..fleet::Assertion::default()
        };
        let authentication = match self.authentication.as_str() {
            "private-key-jwt" => Authentication::PrivateKeyJwt(assertion),
            _ if assertion != fleet::Assertion::default() => {
                return Err((
                    "oauth2.authentication",
                    "is private-key-jwt where a key id, an algorithm, an assertion's audience or claims are given",
                ));
            }
            "" | "basic" => Authentication::Basic(fleet::Empty {}),
            "post" => Authentication::Post(fleet::Empty {}),
            _ => return Err(("oauth2.authentication", "is basic, post or private-key-jwt")),
        };
        let mut further = Vec::new();
        for (name, text) in
            [("scope", &self.scope), ("audience", &self.audience), ("resource", &self.resource)]
        {
            if !text.is_empty() && self.parameters.contains_key(name) {
                return Err((
                    "oauth2.parameters",
                    "hold a scope, an audience or a resource that is given by itself too",
                ));
            }
            if !text.is_empty() {
                further.push(fleet::Parameter { name: name.to_owned(), text: text.clone() });
            }
        }
        further.extend(parameters(&self.parameters));
        let client = fleet::ClientCredentials {
            client_id: self.client_id.clone(),
            authentication: Some(authentication),
        };
        Ok(Means::TokenGrant(fleet::TokenGrant {
            url: self.token_url.clone(),
            flow: Some(Flow::ClientCredentials(client)),
            parameters: further,
        }))
    }
}

impl JwtBearer {
    fn means(&self) -> Means {
        let assertion = fleet::Assertion {
            issuer: self.issuer.clone(),
            subject: self.subject.clone(),
            audience: self.audience.clone(),
            key_id: self.key_id.clone(),
            algorithm: self.algorithm.clone(),
            claims: parameters(&self.claims),
        };
        Means::TokenGrant(fleet::TokenGrant {
            url: self.token_url.clone(),
            flow: Some(Flow::JwtBearer(assertion)),
            parameters: parameters(&self.parameters),
        })
    }
}

impl CustomToken {
    fn means(&self) -> Result<Means, (&'static str, &'static str)> {
        let method = match self.method.as_str() {
            "" if self.body.is_empty() => "GET",
            "" => "POST",
            method => method,
        };
        let lifetime = self.lifetime.as_ref().map_or(0, |lifetime| lifetime.seconds);
        if self.lifetime.as_ref().is_some_and(|lifetime| lifetime.seconds < 1 || lifetime.nanos != 0) {
            return Err(("custom_token.lifetime", "is a whole number of seconds, at least one"));
        }
        Ok(Means::TokenRequest(fleet::TokenRequest {
            url: self.token_url.clone(),
            method: method.to_owned(),
            headers: parameters(&self.headers),
            body: self.body.clone().into_bytes(),
            token_path: self.token_path.clone(),
            lifetime_path: self.lifetime_path.clone(),
            // One that is too long is refused as that.
            lifetime: u32::try_from(lifetime).unwrap_or(u32::MAX),
        }))
    }
}

impl Aws {
    fn means(&self, session_token: Vec<u8>) -> Means {
        Means::AwsSignature(fleet::AwsSignature {
            access_key_id: self.access_key_id.clone(),
            region: self.region.clone(),
            service: self.service.clone(),
            session_token,
            unsigned_payload: self.unsigned_payload,
        })
    }
}

impl Hmac {
    fn means(&self) -> Means {
        Means::HmacSignature(fleet::HmacSignature {
            hash: self.hash.clone(),
            text: self.text.clone(),
            encoding: self.encoding.clone(),
            key_encoding: self.key_encoding.clone(),
            date: self.date.clone(),
            headers: parameters(&self.headers),
        })
    }
}
