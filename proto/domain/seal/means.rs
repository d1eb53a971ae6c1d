//! The means by which a secret opens an upstream: sent as it is, exchanged for a token, or used to sign or to show who we are.
//!
//! Sends and signs nothing, [`private_key`] apart. The invariant: all that decides where the secret, or what is derived from
//! it, may go stands here, is sealed with it, and is judged alike by those who seal and those who open.

mod certificate;
pub mod private_key;
mod sign;
pub mod template;
mod token;

use rr_wire::fleet;
use rr_wire::fleet::secret_plaintext::Means as Wire;

use crate::model::feature;
use crate::model::header;
use crate::model::invalid::{Invalid, Violations};
use crate::secret::Secret;

use super::slot::Slot;

pub use certificate::{CertificateChain, InvalidPair};
pub use sign::{AwsSignature, DateForm, Hash, HmacSignature, Hole, TextForm};
pub use token::{Assertion, Authentication, Flow, Grant, SecretForm, TokenRequest, TokenUrl};

/// Values beside the first.
const MORE_MAX: usize = 15;
/// Parameters, claims or headers of one kind.
const LISTED_MAX: usize = 32;
/// The longest text of a name, a claim, a parameter.
const TEXT_MAX: usize = 4096;

/// How that which goes to an upstream is made of a secret.
pub enum Means {
    /// The value itself, in its place, and further ones.
    Sent {
        /// The place of the value.
        slot: Slot,
        /// Further values, each in a place of its own.
        more: Vec<(Secret, Slot)>,
    },
    /// A token of OAuth 2.
    Grant {
        /// The place of the token.
        slot: Slot,
        /// The request for it.
        grant: Grant,
    },
    /// A token that a request of its own gets.
    Request {
        /// The place of the token.
        slot: Slot,
        /// The request for it.
        request: TokenRequest,
    },
    /// A signature as AWS asks for.
    Aws(AwsSignature),
    /// A keyed hash.
    Hmac(HmacSignature),
    /// A client certificate, whose key the value is.
    Certificate(CertificateChain),
}

/// A secret's means on the wire.
pub(super) struct OnWire {
    pub(super) slot: Option<fleet::Slot>,
    pub(super) more: Vec<fleet::SlottedValue>,
    pub(super) means: Option<Wire>,
}

impl Means {
    /// One value that is sent as it is.
    pub fn sent(slot: Slot) -> Self {
        Self::Sent { slot, more: Vec::new() }
    }

    /// The features that a node needs for it.
    pub(super) fn needs(&self) -> Vec<&'static str> {
        let mut needs = Vec::new();
        match self {
            Self::Sent { slot, more } => {
                if std::iter::once(slot).chain(more.iter().map(|(_, slot)| slot)).any(is_in_query) {
                    needs.push(feature::UPSTREAM_QUERY);
                }
                if !more.is_empty() {
                    needs.push(feature::UPSTREAM_SEVERAL);
                }
            }
            Self::Grant { .. } => needs.push(feature::UPSTREAM_OAUTH2),
            Self::Request { .. } => needs.push(feature::UPSTREAM_CUSTOM_TOKEN),
            Self::Aws(_) => needs.push(feature::UPSTREAM_AWS_SIGV4),
            Self::Hmac(_) => needs.push(feature::UPSTREAM_HMAC),
            Self::Certificate(_) => needs.push(feature::UPSTREAM_CLIENT_CERTIFICATE),
        }
        needs
    }

    /// Whether the value can be used by these means.
    pub(super) fn check(&self, value: &Secret, faults: &mut Violations) {
        match self {
            Self::Sent { slot, more } => sent(value, slot, more, faults),
            Self::Grant { grant, .. } => grant.check(value, faults),
            Self::Request { .. } => {}
            Self::Aws(_) => {
                if !value.expose().iter().all(u8::is_ascii_graphic) {
                    faults
                        .add("value", "holds a space or a control character, which no secret access key has");
                }
            }
            Self::Hmac(hmac) => {
                if hmac.key(value).is_none() {
                    faults.add("value", format!("is no key in {}", hmac.key_form().as_str()));
                }
            }
            Self::Certificate(chain) => {
                faults.take("value", chain.with_key(value));
            }
        }
    }

    /// As they were sealed.
    pub(super) fn from_wire(
        wire: Option<Wire>,
        slot: Option<fleet::Slot>,
        more: Vec<(Secret, Option<fleet::Slot>)>,
    ) -> Result<Self, Invalid> {
        let needed = || Invalid::field("slot", "is missing");
        let place = |slot: Option<fleet::Slot>| Slot::try_from(slot.ok_or_else(needed)?);
        if wire.is_some() && !more.is_empty() {
            return Err(Invalid::field("more", "stands beside values alone that are sent as they are"));
        }
        let without_place = |means| match slot {
            None => Ok(means),
            Some(_) => Err(Invalid::field("slot", "stands beside what has no place in the request")),
        };
        match wire {
            None => {
                let more = more.into_iter().map(|(value, slot)| Ok((value, place(slot)?)));
                Ok(Self::Sent { slot: place(slot)?, more: more.collect::<Result<_, Invalid>>()? })
            }
            Some(Wire::TokenGrant(grant)) => Ok(Self::Grant { slot: place(slot)?, grant: grant.try_into()? }),
            Some(Wire::TokenRequest(request)) => {
                Ok(Self::Request { slot: place(slot)?, request: request.try_into()? })
            }
            Some(Wire::AwsSignature(aws)) => without_place(Self::Aws(aws.try_into()?)),
            Some(Wire::HmacSignature(hmac)) => without_place(Self::Hmac(hmac.try_into()?)),
            Some(Wire::ClientCertificate(chain)) => without_place(Self::Certificate(chain.try_into()?)),
        }
    }

    /// To be sealed. What comes out holds secrets in the clear.
    pub(super) fn to_wire(&self) -> OnWire {
        let placed = |slot: &Slot, means| OnWire { slot: Some(slot.to_wire()), more: Vec::new(), means };
        let bare = |means| OnWire { slot: None, more: Vec::new(), means: Some(means) };
        match self {
            Self::Sent { slot, more } => {
                OnWire { more: more.iter().map(slotted).collect(), ..placed(slot, None) }
            }
            Self::Grant { slot, grant } => placed(slot, Some(Wire::TokenGrant(grant.to_wire()))),
            Self::Request { slot, request } => placed(slot, Some(Wire::TokenRequest(request.to_wire()))),
            Self::Aws(aws) => bare(Wire::AwsSignature(aws.to_wire())),
            Self::Hmac(hmac) => bare(Wire::HmacSignature(hmac.to_wire())),
            Self::Certificate(chain) => bare(Wire::ClientCertificate(chain.to_wire())),
        }
    }
}

impl PartialEq for Means {
    fn eq(&self, other: &Self) -> bool {
        let (one, other) = (self.to_wire(), other.to_wire());
        let is_same = (&one.slot, &one.more, &one.means) == (&other.slot, &other.more, &other.means);
        one.wipe();
        other.wipe();
        is_same
    }
}

impl OnWire {
    /// Drops it, and leaves no secret behind.
    fn wipe(self) {
        self.more.into_iter().for_each(|more| drop(Secret::new(more.value)));
        self.means.into_iter().for_each(wipe);
    }
}

/// Drops means, and leaves no secret behind.
pub fn wipe(means: Wire) {
    match means {
        Wire::AwsSignature(aws) => drop(Secret::new(aws.session_token)),
        Wire::TokenRequest(request) => {
            drop(Secret::new(request.body));
            request.headers.into_iter().for_each(|header| drop(Secret::from(header.text)));
        }
        Wire::TokenGrant(_) | Wire::HmacSignature(_) | Wire::ClientCertificate(_) => {}
    }
}

fn slotted((value, slot): &(Secret, Slot)) -> fleet::SlottedValue {
    fleet::SlottedValue { value: value.expose().to_vec(), slot: Some(slot.to_wire()) }
}

fn is_in_query(slot: &Slot) -> bool {
    matches!(slot, Slot::Query { .. })
}

fn sent(value: &Secret, slot: &Slot, more: &[(Secret, Slot)], faults: &mut Violations) {
    let values = || std::iter::once((value, slot)).chain(more.iter().map(|(value, slot)| (value, slot)));
    for (i, (value, slot)) in values().enumerate() {
        let field = if i == 0 { "value".to_owned() } else { format!("more[{}]", i - 1) };
        if !slot.takes(value.expose()) {
            let what = "holds bytes that no header can carry; a line end at its end is a common cause";
            faults.add(&field, what);
        }
        if values().take(i).any(|(_, other)| other.is_same_place(slot)) {
            faults.add(&field, "goes where another value goes");
        }
    }
    if more.len() > MORE_MAX {
        faults.add("more", format!("has at most {MORE_MAX}"));
    }
}

/// A text that people wrote, of one line.
fn line(faults: &mut Violations, field: &str, text: &str, is_needed: bool) {
    if is_needed && text.is_empty() {
        faults.add(field, "is missing");
    }
    if text.len() > TEXT_MAX || text.chars().any(char::is_control) {
        faults.add(field, format!("is at most {TEXT_MAX} bytes, without control characters"));
    }
}

/// Named texts, none of them under a name that is ours to write.
fn listed(
    faults: &mut Violations,
    field: &str,
    listed: Vec<fleet::Parameter>,
    ours: &[&str],
) -> Vec<(String, String)> {
    if listed.len() > LISTED_MAX {
        faults.add(field, format!("has at most {LISTED_MAX}"));
    }
    for fleet::Parameter { name, text } in &listed {
        line(faults, field, name, true);
        line(faults, field, text, false);
        if ours.contains(&name.as_str()) {
            faults.add(field, format!("holds `{name}`, which is written by the node"));
        }
    }
    listed.into_iter().map(|parameter| (parameter.name, parameter.text)).collect()
}

/// Headers that are set, and none that decides how the request is framed.
fn header_name(faults: &mut Violations, field: &str, name: &str) -> Option<http::HeaderName> {
    let found = faults.take(field, name.parse::<http::HeaderName>());
    if found.as_ref().is_some_and(header::is_framing) {
        faults.add(field, format!("holds `{name}`, which decides how the request is framed"));
    }
    found
}

fn parameter((name, text): &(String, String)) -> fleet::Parameter {
    fleet::Parameter { name: name.clone(), text: text.clone() }
}

#[cfg(test)]
mod tests;
