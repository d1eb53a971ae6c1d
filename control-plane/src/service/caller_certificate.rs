//! Callers that are known by their client certificates: what a document says of them when it comes, is rolled, applied or brought
//! back.
//!
//! Checks no bundle of authorities, which the compiler does with the code of nodes. The invariant: the keys that a document shows
//! are those whose hashes are kept, and a name stays what it was.

use rr_contract::client_key::ClientKey;
use rr_contract::model::caller::certificate::SpiffeId;
use rr_contract::model::invalid::Violations;
use rr_contract::wire::management::{self as wire, Credential, credential::Usage};

use super::ServiceError;

/// Whether it is a name rather than a key that counts.
pub(super) fn is_named(caller: &wire::Caller) -> bool {
    caller.certificate.as_ref().is_some_and(|certificate| !certificate.spiffe_id.is_empty())
}

/// The field that says who is meant.
pub(super) fn field_of(credential: &Credential) -> &'static str {
    match &credential.usage {
        Some(Usage::Caller(caller)) if is_named(caller) => "caller.certificate.spiffe_id",
        _ => "caller.value_hash",
    }
}

/// Takes in what is said of certificates by a credential that is about to be made. Returns what is kept of a name; a key has the
/// hash of its value.
pub(super) fn take(
    caller: &mut wire::Caller,
    value_hash: &[u8],
    under: &str,
) -> Result<Option<Vec<u8>>, ServiceError> {
    if caller.kind() != wire::CallerKind::Certificate {
        if caller.certificate.is_none() {
            return Ok(None);
        }
        return Err(ServiceError::field(
            format!("{under}certificate"),
            "must be unset: only the kind CERTIFICATE has it",
        ));
    }
    let said = caller.certificate.get_or_insert_default();
    (said.spki_sha256, said.previous_spki_sha256) = (String::new(), String::new());
    if said.spiffe_id.is_empty() {
        said.spki_sha256 = shown(value_hash);
        return Ok(None);
    }
    if !value_hash.is_empty() {
        return Err(ServiceError::field(
            format!("{under}value_hash"),
            "must be empty: a certificate is known by its key or by its SPIFFE name, not by both",
        ));
    }
    let id = SpiffeId::try_from(&*said.spiffe_id)
        .map_err(|error| ServiceError::field(format!("{under}certificate.spiffe_id"), error.to_string()))?;
    Ok(Some(id.hash().as_bytes().to_vec()))
}

/// Shows the key that counts from now on, and the one before while that counts too.
pub(super) fn roll(caller: &mut wire::Caller, value_hash: &[u8], at_once: bool) {
    let Some(said) = &mut caller.certificate else { return };
    let before = std::mem::replace(&mut said.spki_sha256, shown(value_hash));
    said.previous_spki_sha256 = if at_once { String::new() } else { before };
}

/// Keeps what a set of documents cannot change: keys are rolled, and a name is that of a credential for good.
pub(super) fn keep(said: &mut wire::Caller, was: &wire::Caller, prefix: &str, faults: &mut Violations) {
    if was.kind() != wire::CallerKind::Certificate {
        if said.certificate.is_some() {
            faults.add(
                format!("{prefix}.caller.certificate"),
                "must be unset: only the kind CERTIFICATE has it",
            );
        }
        return;
    }
    let had = was.certificate.clone().unwrap_or_default();
    let said = said.certificate.get_or_insert_default();
    if said.spiffe_id != had.spiffe_id {
        faults.add(
            format!("{prefix}.caller.certificate.spiffe_id"),
            "cannot be changed: create another credential and delete this one",
        );
    }
    (said.spki_sha256, said.previous_spki_sha256) = (had.spki_sha256, had.previous_spki_sha256);
}

/// Keeps the keys of a credential of which an older document is brought back.
pub(super) fn restore(older: &mut wire::Caller, now: &wire::Caller) {
    let (Some(older), Some(now)) = (&mut older.certificate, &now.certificate) else { return };
    older.spki_sha256.clone_from(&now.spki_sha256);
    older.previous_spki_sha256.clone_from(&now.previous_spki_sha256);
}

/// As records have it; empty where it is none.
fn shown(value_hash: &[u8]) -> String {
    ClientKey::try_from(value_hash).map(|key| key.to_string()).unwrap_or_default()
}
