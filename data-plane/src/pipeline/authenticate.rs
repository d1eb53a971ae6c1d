//! Whose key is it, and may it call this proxy.
//!
//! Looks at the `Authorization` header, or else at the parameter of that name; takes nothing away, which is
//! `inject`'s work. An unknown proxy costs what a wrong key costs. The key itself is compared by the hash of
//! 256 random bits, so there is nothing that timing could give away.

use std::time::SystemTime;

use http::header::AUTHORIZATION;
use http::request::Parts;
use rr_contract::api_key::{self, KeyHash, KeyKind};
use rr_contract::model::id::CredentialId;

use crate::reply::Denial;
use crate::snapshot::{CompiledProxy, Snapshot};

use super::query;
use super::resolve::Resolved;

/// A request of somebody who may call the proxy.
pub(crate) struct Authenticated<'s> {
    pub(super) proxy: &'s CompiledProxy,
    pub(super) caller: CredentialId,
    pub(super) path: Box<str>,
}

pub(super) fn authenticate<'s>(
    resolved: Resolved<'s>,
    snapshot: &'s Snapshot,
    parts: &Parts,
    now: SystemTime,
) -> Result<Authenticated<'s>, Denial> {
    let caller = presented(parts).and_then(|hash| snapshot.caller(&hash));
    let proxy = resolved.proxy.ok_or(Denial::UnknownProxy)?;
    let caller = caller.ok_or(Denial::BadCredential)?;
    let live = caller.not_after.is_none_or(|end| now <= end);
    if !live || caller.org != proxy.org_id || !proxy.admits(&caller.credential) {
        return Err(Denial::BadCredential);
    }
    Ok(Authenticated { proxy, caller: caller.credential, path: resolved.path })
}

fn presented(parts: &Parts) -> Option<KeyHash> {
    let mut values = parts.headers.get_all(AUTHORIZATION).iter();
    if let Some(value) = values.next() {
        // Two of them are two claims; which one counts must not depend on who reads.
        return values.next().is_none().then(|| key(value.as_bytes())).flatten();
    }
    key(&query::credential(parts.uri.query()?)?)
}

fn key(text: &[u8]) -> Option<KeyHash> {
    const SCHEME: &[u8] = b"bearer ";
    let key = match text.split_at_checked(SCHEME.len()) {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case(SCHEME) => key.trim_ascii(),
        _ => text,
    };
    api_key::hash(KeyKind::Caller, key)
}
