//! Callers that requests could not tell apart: two with one value, and two of one proxy with one user.
//!
//! Looks at messages, and judges nothing else of them. The invariant: of a file that passes, each value is one
//! credential's and counts once, whatever the order of the documents, and a proxy knows each user once.

use std::collections::HashMap;

use prost::Message as _;
use rr_contract::model::resource::ResourceId;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::caller_credential::Kind;
use rr_contract::wire::fleet::credential_resource::Usage;

use super::fault::Faults;
use super::message::{Body, Entry};
use super::node::Node;

/// Notes every two callers that are alike, with the names of both.
pub(super) fn check(entries: &[Entry], faults: &mut Faults) {
    let mut values: HashMap<Vec<u8>, (String, u64)> = HashMap::new();
    let mut users: HashMap<String, (String, String)> = HashMap::new();
    for (id, payload, node) in documents(entries, |id| matches!(id, ResourceId::Credential(_))) {
        let Ok(fleet::CredentialResource { name, usage: Some(Usage::Caller(caller)), .. }) =
            fleet::CredentialResource::decode(payload)
        else {
            continue;
        };
        let hashes = match caller.kind {
            Some(Kind::ApiKey(key)) => key.hashes,
            Some(Kind::Bearer(bearer)) => bearer.hashes,
            Some(Kind::Jwt(jwt)) => jwt.hashes,
            Some(Kind::Basic(basic)) => {
                users.insert(id, (name, basic.user));
                continue;
            }
            // A name is one credential's as a key is.
            Some(Kind::Certificate(certificate)) if !certificate.spiffe_id.is_empty() => {
                vec![certificate.spiffe_id.into_bytes()]
            }
            Some(Kind::Certificate(certificate)) => certificate.hashes,
            Some(Kind::JwtVerify(_)) | None => continue,
        };
        for hash in hashes {
            let Some((other, line)) = values.insert(hash, (name.clone(), node.line)) else { continue };
            let what = if line == node.line {
                format!("credential {name:?} has one value twice: leave one of them out")
            } else {
                format!(
                    "credential {name:?} has a value that credential {other:?} in line {line} has: give each a value \
                     of its own"
                )
            };
            faults.add(node.line, what);
        }
    }
    if users.len() < 2 {
        return;
    }
    for (_, payload, node) in documents(entries, |id| matches!(id, ResourceId::Proxy(_))) {
        let Ok(proxy) = fleet::ProxyResource::decode(payload) else { continue };
        let mut seen: HashMap<&str, (&str, &str)> = HashMap::new();
        for (at, id) in proxy.caller_credentials.iter().enumerate() {
            let Some((name, user)) = users.get(id) else { continue };
            // One that stands there twice is a fault of another kind.
            if let Some((_, other)) = seen.insert(user, (id, name)).filter(|(other, _)| *other != id) {
                let what = format_args!(
                    "{name:?} has user {user:?}, as {other:?} has: leave one of them out, or make a credential with \
                     another user"
                );
                faults.field(node, &format!("caller_credentials[{at}]"), what);
            }
        }
    }
}

/// The payloads of one kind, with the texts of their ids, in the order of the file.
fn documents(
    entries: &[Entry],
    is_meant: impl Fn(&ResourceId) -> bool,
) -> impl Iterator<Item = (String, &[u8], &Node)> {
    entries.iter().filter_map(move |entry| match (&entry.body, &entry.node) {
        (Body::Payload(payload), Some(node)) if is_meant(&entry.key.id) => {
            Some((entry.key.id_text(), &**payload, node))
        }
        _ => None,
    })
}
