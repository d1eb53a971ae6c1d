//! The kinds of upstream credentials that are values: how many there are, where each goes, and how it is put together.
//!
//! Reads no value and seals nothing. What people say of a kind by flags or in a file is judged here, once for both.

use data_encoding::BASE64;
use zeroize::Zeroizing;

use super::means::Means;
use super::slot::Slot;
use crate::model::invalid::Invalid;
use crate::secret::Secret;

/// Kinds whose values are sent as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
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
}

/// What is said of where values go.
#[derive(Debug, Clone, Default)]
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
}

/// The places of the values of one credential.
#[derive(Debug, Clone, PartialEq, Eq)]
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
        fields: &'static [&'static str],
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

impl ValueKind {
    /// As people write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "bearer",
            Self::Jwt => "jwt",
            Self::ApiKey => "api-key",
            Self::Basic => "basic",
            Self::CustomHeaders => "custom-headers",
        }
    }

    /// Where values of this kind go.
    pub fn form(self, said: &Said) -> Result<Form, WrongForm> {
        let Said { header, prefix, query, user, headers } = said;
        let takes: &[&str] = match self {
            Self::Bearer | Self::Jwt => &["header", "prefix"],
            Self::ApiKey => &["header", "prefix", "query"],
            Self::Basic => &["user"],
            Self::CustomHeaders => &["headers"],
        };
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
        let lacks = |needs, fields| Err(WrongForm::Lacks { kind: self.as_str(), needs, fields });
        match self {
            Self::Bearer | Self::Jwt => {
                // A header that was named gets no prefix by default: `Bearer ` belongs to Authorization.
                let bare = if header.is_some() { "" } else { "Bearer " };
                let name = header.as_deref().unwrap_or(http::header::AUTHORIZATION.as_str());
                one("header", Slot::header(name, prefix.as_deref().unwrap_or(bare)))
            }
            Self::ApiKey => match (header, query) {
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
                Some(user) => Ok(Form::Password { user: user.clone() }),
            },
            Self::CustomHeaders if headers.is_empty() => lacks("one or more headers", &["headers"]),
            Self::CustomHeaders => {
                let slots: Result<_, _> = headers.iter().map(|name| Slot::header(name, "")).collect();
                Ok(Form::Several(slots.map_err(|invalid| WrongForm::Invalid { field: "headers", invalid })?))
            }
        }
    }
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
mod tests {
    use super::*;

    fn said(pairs: &[(&str, &str)]) -> Said {
        let mut said = Said::default();
        for (field, text) in pairs {
            let text = (*text).to_owned();
            match *field {
                "header" => said.header = Some(text),
                "prefix" => said.prefix = Some(text),
                "query" => said.query = Some(text),
                "user" => said.user = Some(text),
                _ => said.headers.push(text),
            }
        }
        said
    }

    fn header(name: &str, prefix: &str) -> Form {
        Form::One(Slot::header(name, prefix).expect("a slot"))
    }

    #[test]
    fn each_kind_goes_where_it_is_said_to() {
        use ValueKind::{ApiKey, Basic, Bearer, CustomHeaders, Jwt};
        for (kind, pairs, form) in [
            (Bearer, &[][..], header("authorization", "Bearer ")),
            (Jwt, &[], header("authorization", "Bearer ")),
            (Bearer, &[("prefix", "Token ")], header("authorization", "Token ")),
            (Bearer, &[("header", "X-Auth")], header("x-auth", "")),
            (Jwt, &[("header", "x-jwt"), ("prefix", "JWT ")], header("x-jwt", "JWT ")),
            (ApiKey, &[("header", "x-key")], header("x-key", "")),
            (ApiKey, &[("header", "x-key"), ("prefix", "Key ")], header("x-key", "Key ")),
            (ApiKey, &[("query", "key")], Form::One(Slot::query("key").expect("a slot"))),
            (Basic, &[("user", "ann")], Form::Password { user: "ann".to_owned() }),
            (
                CustomHeaders,
                &[("headers", "x-id"), ("headers", "x-key")],
                Form::Several(vec![
                    Slot::header("x-id", "").expect("a slot"),
                    Slot::header("x-key", "").expect("a slot"),
                ]),
            ),
        ] {
            assert_eq!(kind.form(&said(pairs)), Ok(form), "{kind:?} {pairs:?}");
        }
    }

    #[test]
    fn whatever_does_not_fit_a_kind_is_named() {
        use ValueKind::{ApiKey, Basic, Bearer, CustomHeaders};
        for (kind, pairs, text) in [
            (Bearer, &[("query", "key")][..], "kind bearer has no `query`"),
            (Bearer, &[("user", "ann")], "kind bearer has no `user`"),
            (Bearer, &[("headers", "x")], "kind bearer has no `headers`"),
            (Bearer, &[("header", "host")], "`header`: slot.header: decides how"),
            (ApiKey, &[], "kind api-key needs the header or the parameter"),
            (ApiKey, &[("query", "a b")], "`query`: slot.query: is 1 to 256"),
            (ApiKey, &[("query", "k"), ("prefix", "p")], "kind api-key in the query has no `prefix`"),
            (ApiKey, &[("query", "k"), ("header", "h")], "kind api-key in a header has no `query`"),
            (Basic, &[], "kind basic needs the name of the user"),
            (Basic, &[("user", "a:b")], "`user`: user: is one or more characters"),
            (Basic, &[("user", "")], "`user`: user: is one or more characters"),
            (Basic, &[("user", "a"), ("header", "x")], "kind basic has no `header`"),
            (CustomHeaders, &[], "kind custom-headers needs one or more headers"),
            (CustomHeaders, &[("headers", "te")], "`headers`: slot.header: decides how"),
        ] {
            let wrong = kind.form(&said(pairs)).expect_err("it does not fit").to_string();
            assert!(wrong.starts_with(text), "{kind:?} {pairs:?}: {wrong}");
        }
    }

    #[test]
    fn values_are_placed_one_by_one_and_a_password_behind_its_user() {
        let secret = |text: &str| Secret::from(text.to_owned());
        let form = Form::Password { user: "Aladdin".to_owned() };
        let Placed { value, means } = form.place(vec![secret("open sesame")]).expect("one value");
        // The example of RFC 7617.
        assert_eq!(value.expose(), b"QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(means == Means::sent(Slot::basic()));
        let several =
            || Form::Several(["a", "b"].map(|name| Slot::header(name, "").expect("a slot")).to_vec());
        let Placed { value, means } = several().place(vec![secret("1"), secret("2")]).expect("two values");
        assert_eq!(value.expose(), b"1");
        let more = vec![(secret("2"), Slot::header("b", "").expect("a slot"))];
        assert!(means == Means::Sent { slot: Slot::header("a", "").expect("a slot"), more });
        assert!(several().place(vec![secret("1")]).is_none());
        assert!(Form::One(Slot::bearer()).place(Vec::new()).is_none());
    }
}
