//! From documents to the payloads that nodes are sent, parsed by the contract's code before they are stored: a node of
//! the same version accepts every payload that this accepts.
//!
//! Knows no database. A credential's secret is given beside its document, which holds none.

use rr_contract::document::payload::{self, Value};
use rr_contract::model::invalid::{Invalid, Violations};
use rr_contract::model::resource::InvalidPayload;
use rr_contract::model::validation::Validation;
use rr_contract::policy::key_set;
use rr_contract::policy::validate;
use rr_contract::wire::management::Document;

use crate::payload::Payload;
use crate::store::secret_row;

/// The payload of a document; none for a resource that nodes are not sent.
pub(crate) fn payload(
    document: &Document,
    secret: Option<&secret_row::Model>,
) -> Result<Option<Payload>, Invalid> {
    let compiled = payload::of(document, &value(secret))?;
    // As nodes read them: a credential that verifies nothing is not stored.
    if let Some(verify) = payload::brings_keys(document) {
        key_set::check(&verify.jwks, &verify.algorithms)?;
    }
    let Some((key, payload)) = compiled else { return Ok(None) };
    match Payload::parse(&key, payload) {
        Ok(payload) => {
            if let Some(validation) = payload::validation(document) {
                validate::check(&Validation::try_from(validation)?)?;
            }
            Ok(Some(payload))
        }
        Err(InvalidPayload::Invalid(invalid)) => Err(invalid),
        Err(other) => Err(Invalid::field("", other.to_string())),
    }
}

/// What a row keeps of a value.
fn value(secret: Option<&secret_row::Model>) -> Value<'_> {
    let Some(secret) = secret else { return Value::default() };
    Value {
        hash: secret.key_hash.as_deref(),
        previous_hash: secret.previous_hash.as_deref(),
        sealed: secret.sealed.as_deref(),
        previous_sealed: secret.previous_sealed.as_deref(),
    }
}

/// The same violations, named as fields of the request that holds the resource.
pub(crate) fn under(prefix: &str, invalid: &Invalid) -> Invalid {
    let mut faults = Violations::default();
    add_under(prefix, invalid, &mut faults);
    match faults.finish(|| None::<std::convert::Infallible>) {
        Ok(never) => match never {},
        Err(invalid) => invalid,
    }
}

/// Notes the same violations, named as fields of the request that holds the resource.
pub(crate) fn add_under(prefix: &str, invalid: &Invalid, faults: &mut Violations) {
    for violation in invalid.violations() {
        let dot = if violation.field.is_empty() { "" } else { "." };
        faults.add(format!("{prefix}{dot}{}", violation.field), violation.reason.clone());
    }
}

#[cfg(test)]
mod tests;
