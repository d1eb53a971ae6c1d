//! The kinds of upstream credentials with a secret: how many values there are, where each goes, what is made of them.
//!
//! Reads no value and seals nothing. What people say of a kind by flags or in a file is judged here, once for both.

use std::fmt;

use data_encoding::BASE64;
use rr_wire::fleet;
#[cfg(feature = "management")]
use rr_wire::management::UpstreamKind;
use zeroize::Zeroizing;

use super::means::Means;
use super::slot::Slot;
use crate::model::invalid::Invalid;
use crate::secret::Secret;

/// Kinds that have a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretKind {
    /// One value, in `Authorization: Bearer` unless it is said otherwise.
    Bearer,
    /// The same with a token that nobody looks into.
    Jwt,
    /// One value in a header or a parameter of the query.
    ApiKey,
    /// A password, behind the user's name (RFC 7617).
    Basic,
    /// Several values, each in a header of its own.
    CustomHeaders,
    /// The secret of a client, or its private key; a token goes in its place.
    Oauth2,
    /// The private key of a service account; a token goes in its place.
    JwtBearer,
    /// A value in a request; a token goes in its place.
    CustomToken,
    /// A secret access key.
    AwsSigv4,
    /// The key of a hash.
    Hmac,
    /// The private key of a certificate.
    ClientCertificate,
}

/// What is said of where values go, and what is done with them.
#[derive(Default)]
pub struct Said {
    /// The header of the value.
    pub header: Option<String>,
    /// What stands before the value in its header.
    pub prefix: Option<String>,
    /// The parameter of the query that is the value's.
    pub query: Option<String>,
    /// Whose password it is.
    pub user: Option<String>,
    /// Headers of several values.
    pub headers: Vec<String>,
    /// The groups in which more is said: `oauth2`, `aws`…
    pub groups: Vec<&'static str>,
    /// What the first of them says.
    pub means: Option<fleet::secret_plaintext::Means>,
}

/// The places of the values of one credential.
#[derive(PartialEq)]
pub enum Form {
    /// One value.
    One(Slot),
    /// A password.
    Password {
        /// Whose it is.
        user: String,
    },
    /// As many values as places; at least one.
    Several(Vec<Slot>),
    /// One value, of which something is made.
    Made(Box<Means>),
}

/// Values, each with its place.
pub struct Placed {
    /// The first one.
    pub value: Secret,
    /// Its place, and further ones.
    pub means: Means,
}

/// Something that is said of a kind and does not fit it. Fields are named as files have them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongForm {
    /// The kind needs more.
    #[error("kind {kind} needs {needs}")]
    Lacks {
        /// The kind.
        kind: &'static str,
        /// What it needs.
        needs: &'static str,
        /// The fields that would say it.
        fields: Vec<&'static str>,
    },
    /// The kind has none of these.
    #[error("kind {kind} has no `{field}`")]
    Extra {
        /// The kind.
        kind: &'static str,
        /// What was said.
        field: &'static str,
    },
    /// It stands for something that cannot be.
    #[error("`{field}`: {invalid}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        invalid: Invalid,
    },
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(slot) => write!(f, "One({slot:?})"),
            Self::Password { user } => write!(f, "Password({user:?})"),
            Self::Several(slots) => write!(f, "Several({slots:?})"),
            // It may hold a secret.
            Self::Made(_) => f.write_str("Made"),
        }
    }
}

impl WrongForm {
    /// The same for whoever wrote it into a file, with the remedy.
    pub fn in_file(&self) -> String {
        match self {
            Self::Lacks { fields, .. } => {
                let fields: Vec<String> = fields.iter().map(|field| format!("`{field}`")).collect();
                format!("{self}; add {} to value_from", fields.join(" or "))
            }
            Self::Extra { .. } | Self::Invalid { .. } => self.to_string(),
        }
    }
}

impl SecretKind {
    /// The kind of an upstream credential, if it has a secret.
    #[cfg(feature = "management")]
    pub fn of(kind: UpstreamKind) -> Option<Self> {
        match kind {
            UpstreamKind::Bearer => Some(Self::Bearer),
            UpstreamKind::ApiKey => Some(Self::ApiKey),
            UpstreamKind::Basic => Some(Self::Basic),
            UpstreamKind::Jwt => Some(Self::Jwt),
            UpstreamKind::CustomHeaders => Some(Self::CustomHeaders),
            UpstreamKind::Oauth2ClientCredentials => Some(Self::Oauth2),
            UpstreamKind::JwtBearer => Some(Self::JwtBearer),
            UpstreamKind::CustomToken => Some(Self::CustomToken),
            UpstreamKind::AwsSigv4 => Some(Self::AwsSigv4),
            UpstreamKind::Hmac => Some(Self::Hmac),
            UpstreamKind::ClientCertificate => Some(Self::ClientCertificate),
            UpstreamKind::Unspecified | UpstreamKind::None => None,
        }
    }

    /// As people write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "bearer",
            Self::Jwt => "jwt",
            Self::ApiKey => "api-key",
            Self::Basic => "basic",
            Self::CustomHeaders => "custom-headers",
            Self::Oauth2 => "oauth2-client-credentials",
            Self::JwtBearer => "jwt-bearer",
            Self::CustomToken => "custom-token",
            Self::AwsSigv4 => "aws-sigv4",
            Self::Hmac => "hmac",
            Self::ClientCertificate => "client-certificate",
        }
    }

    /// The group that says what is made of its value, and what is needed of it; `None`: the value is sent as it is.
    pub const fn group(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Bearer | Self::Jwt | Self::ApiKey | Self::Basic | Self::CustomHeaders => None,
            Self::Oauth2 => Some(("oauth2", "the URL of the token endpoint and the client's id")),
            Self::JwtBearer => Some(("jwt_bearer", "the URL of the token endpoint and the issuer")),
            Self::CustomToken => {
                Some(("custom_token", "the URL that gives tokens and where the token is in the answer"))
            }
            Self::AwsSigv4 => Some(("aws", "the access key id, the region and the service")),
            Self::Hmac => Some(("hmac", "the text that is signed and the headers that are set")),
            Self::ClientCertificate => Some(("certificate", "the certificate")),
        }
    }

    /// What its value is, for a prompt.
    pub const fn value(self) -> &'static str {
        match self {
            Self::Bearer | Self::Jwt | Self::ApiKey | Self::CustomHeaders | Self::CustomToken => "value",
            Self::Basic => "password",
            Self::Oauth2 => "client secret or private key",
            Self::JwtBearer | Self::ClientCertificate => "private key",
            Self::AwsSigv4 => "secret access key",
            Self::Hmac => "key",
        }
    }

    /// Whether these groups are those of the kind: to be asked before what a group names is read.
    pub fn check_groups(self, groups: &[&'static str]) -> Result<(), WrongForm> {
        let own = self.group();
        match groups.iter().find(|field| own.is_none_or(|(own, _)| own != **field)) {
            Some(field) => Err(WrongForm::Extra { kind: self.as_str(), field }),
            None => Ok(()),
        }
    }

    /// Where values of this kind go.
    pub fn form(self, said: Said) -> Result<Form, WrongForm> {
        let Said { header, prefix, query, user, headers, groups, means } = said;
        let takes: &[&str] = match self {
            Self::Bearer | Self::Jwt => &["header", "prefix"],
            Self::ApiKey => &["header", "prefix", "query"],
            Self::Basic => &["user"],
            Self::CustomHeaders => &["headers"],
            Self::Oauth2 | Self::JwtBearer | Self::CustomToken => &["header", "prefix", "query"],
            Self::AwsSigv4 | Self::Hmac | Self::ClientCertificate => &[],
        };
        let group = self.group();
        for (field, is_said) in [
            ("header", header.is_some()),
            ("prefix", prefix.is_some()),
            ("query", query.is_some()),
            ("user", user.is_some()),
            ("headers", !headers.is_empty()),
        ] {
            if is_said && !takes.contains(&field) {
                return Err(WrongForm::Extra { kind: self.as_str(), field });
            }
        }
        self.check_groups(&groups)?;
        let lacks = |needs, fields: &[&'static str]| {
            Err(WrongForm::Lacks { kind: self.as_str(), needs, fields: fields.to_vec() })
        };
        if let Some((group, needs)) = group {
            let Some(means) = means else { return lacks(needs, &[group]) };
            let is_token = matches!(self, Self::Oauth2 | Self::JwtBearer | Self::CustomToken);
            let slot = match is_token {
                true => Some(token_slot(header.as_deref(), prefix.as_deref(), query.as_deref())?.to_wire()),
                false => None,
            };
            let means = Means::from_wire(Some(means), slot, Vec::new());
            let means = means.map_err(|invalid| WrongForm::Invalid { field: group, invalid })?;
            return Ok(Form::Made(Box::new(means)));
        }
        match self {
            Self::Bearer | Self::Jwt => {
                Ok(Form::One(token_slot(header.as_deref(), prefix.as_deref(), None)?))
            }
            Self::ApiKey => match (&header, &query) {
                (Some(name), None) => {
                    one("header", Slot::header(name, prefix.as_deref().unwrap_or_default()))
                }
                (None, Some(_)) if prefix.is_some() => {
                    Err(WrongForm::Extra { kind: "api-key in the query", field: "prefix" })
                }
                (None, Some(name)) => one("query", Slot::query(name)),
                (Some(_), Some(_)) => Err(WrongForm::Extra { kind: "api-key in a header", field: "query" }),
                (None, None) => lacks(
                    "the header or the parameter of the query that the value goes into",
                    &["header", "query"],
                ),
            },
            Self::Basic => match user {
                None => lacks("the name of the user", &["user"]),
                Some(user) if user.is_empty() || user.contains(|c: char| c == ':' || c.is_control()) => {
                    let invalid = Invalid::field(
                        "user",
                        "is one or more characters, none of them a colon or a control character",
                    );
                    Err(WrongForm::Invalid { field: "user", invalid })
                }
                Some(user) => Ok(Form::Password { user }),
            },
            Self::CustomHeaders if headers.is_empty() => lacks("one or more headers", &["headers"]),
            _ => {
                let slots: Result<_, _> = headers.iter().map(|name| Slot::header(name, "")).collect();
                Ok(Form::Several(slots.map_err(|invalid| WrongForm::Invalid { field: "headers", invalid })?))
            }
        }
    }
}

/// The place of a token.
fn token_slot(header: Option<&str>, prefix: Option<&str>, query: Option<&str>) -> Result<Slot, WrongForm> {
    if let Some(query) = query {
        let other = header.map(|_| "header").or(prefix.map(|_| "prefix"));
        if let Some(field) = other {
            return Err(WrongForm::Extra { kind: "with a token in the query", field });
        }
        return Slot::query(query).map_err(|invalid| WrongForm::Invalid { field: "query", invalid });
    }
    // A header that was named gets no prefix by default: `Bearer ` belongs to Authorization.
    let bare = if header.is_some() { "" } else { "Bearer " };
    let name = header.unwrap_or(http::header::AUTHORIZATION.as_str());
    let slot = Slot::header(name, prefix.unwrap_or(bare));
    slot.map_err(|invalid| WrongForm::Invalid { field: "header", invalid })
}

fn one(field: &'static str, slot: Result<Slot, Invalid>) -> Result<Form, WrongForm> {
    slot.map(Form::One).map_err(|invalid| WrongForm::Invalid { field, invalid })
}

impl Form {
    /// Puts values into their places: the first one, and further ones. There are as many as [`Form::Several`] has places, or
    /// one.
    pub fn place(self, values: Vec<Secret>) -> Option<Placed> {
        let slots = match self {
            Self::One(slot) => vec![slot],
            Self::Password { user } => {
                let [password]: [Secret; 1] = values.try_into().ok()?;
                let value = basic(&user, &password);
                return Some(Placed { value, means: Means::sent(Slot::basic()) });
            }
            Self::Several(slots) => slots,
            Self::Made(means) => {
                let [value]: [Secret; 1] = values.try_into().ok()?;
                return Some(Placed { value, means: *means });
            }
        };
        if values.len() != slots.len() {
            return None;
        }
        let mut placed = values.into_iter().zip(slots);
        let (value, slot) = placed.next()?;
        Some(Placed { value, means: Means::Sent { slot, more: placed.collect() } })
    }
}

/// User and password as RFC 7617 has them.
fn basic(user: &str, password: &Secret) -> Secret {
    let mut plain = Zeroizing::new(Vec::with_capacity(user.len() + 1 + password.len()));
    plain.extend_from_slice(user.as_bytes());
    plain.push(b':');
    plain.extend_from_slice(password.expose());
    Secret::new(BASE64.encode(&plain).into_bytes())
}

#[cfg(test)]
mod tests;
