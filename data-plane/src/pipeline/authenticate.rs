//! Whose key is it, and may it call this proxy.
//!
//! Looks at the `Authorization` header, or else at the parameter of that name; takes nothing away, which is
//! `inject`'s work. An unknown proxy costs what a wrong key costs. The key itself is compared by the hash of
//! 256 random bits, so there is nothing that timing could give away.

use std::time::SystemTime;

use http::header::{AUTHORIZATION, HeaderName};
use http::request::Parts;
use rr_contract::api_key::{self, KeyHash, KeyKind};

use crate::reply::Denial;
use crate::report::Reason;
use crate::snapshot::{CompiledCaller, CompiledProxy, Snapshot};

use super::hop::Hop;
use super::query;
use super::resolve::{Path, Resolved};

/// A request whose caller may call the proxy.
pub(crate) struct Authenticated<'s> {
    pub(super) proxy: &'s CompiledProxy,
    /// Where this node cannot run the credential, its owner is known, and nothing else.
    pub(super) caller: &'s CompiledCaller,
    pub(super) path: Path,
}

pub(super) fn authenticate<'s>(
    resolved: Resolved<'s>,
    snapshot: &'s Snapshot,
    parts: &Parts,
    hop: &Hop,
    now: SystemTime,
) -> Result<Authenticated<'s>, Denial> {
    let presented = presented(parts);
    // The look-up tells junk from keys, so the checksum of what is found need not be read.
    let caller = presented.ok().flatten().and_then(|hash| snapshot.caller(&hash));
    let caller = caller.filter(|caller| caller.refused.is_none()).or_else(|| refused(parts, snapshot));
    let proxy = resolved.proxy.ok_or(Denial::UnknownProxy)?;
    let bad = |reason| Err(Denial::BadCredential(reason));
    let Some(caller) = caller else {
        return bad(presented.err().unwrap_or(Reason::Unknown));
    };
    admit(caller, proxy, now).map_err(Denial::BadCredential)?;
    // Only now: nobody without a good key learns what the proxy wants.
    if proxy.wants_certificate() && hop.client_key().is_none() {
        let can_show_elsewhere =
            hop.tls.as_ref().is_some_and(|tls| !tls.was_asked || tls.is_of_another_host(parts));
        return if can_show_elsewhere { Err(Denial::Misdirected) } else { bad(Reason::NoCertificate) };
    }
    Ok(Authenticated { proxy, caller, path: resolved.path })
}

/// Whether the holder of a credential may call a proxy at this time.
pub(super) fn admit(caller: &CompiledCaller, proxy: &CompiledProxy, now: SystemTime) -> Result<(), Reason> {
    if caller.not_after.is_some_and(|end| now > end) {
        return Err(Reason::Expired);
    }
    if caller.org != proxy.org_id || !proxy.admits(&caller.credential) {
        return Err(Reason::NotAdmitted);
    }
    Ok(())
}

/// What a request that was let in is found by again.
pub(super) fn key_of(parts: &Parts) -> Option<KeyHash> {
    presented(parts).ok().flatten()
}

/// The owner of a presented credential that this node cannot run, as far as a hash identifies it: passwords and
/// tokens that need verification identify nobody.
fn refused<'s>(parts: &Parts, snapshot: &'s Snapshot) -> Option<&'s CompiledCaller> {
    if !snapshot.refuses_callers() {
        return None;
    }
    let in_headers = parts.headers.iter().find_map(|(name, value)| shown(snapshot, name, value.as_bytes()));
    in_headers.or_else(|| shown(snapshot, &AUTHORIZATION, &query::credential(parts.uri.query()?)?))
}

fn shown<'s>(snapshot: &'s Snapshot, header: &HeaderName, text: &[u8]) -> Option<&'s CompiledCaller> {
    let of = |hash: KeyHash, scheme: Option<&[u8]>| {
        let fits = |caller: &&CompiledCaller| {
            caller.refused.as_ref().is_some_and(|refused| refused.fits(header, scheme))
        };
        snapshot.caller(&hash).filter(fits)
    };
    if let Some(hash) = api_key::hash(KeyKind::Caller, bare(text)) {
        return of(hash, None);
    }
    let behind = text
        .iter()
        .position(|byte| *byte == b' ')
        .and_then(|at| of(api_key::hash_foreign(text[at..].trim_ascii()), Some(&text[..at])));
    behind.or_else(|| of(api_key::hash_foreign(text), None))
}

/// The hash of what is presented; `None` for what cannot be a key of ours.
fn presented(parts: &Parts) -> Result<Option<KeyHash>, Reason> {
    let mut values = parts.headers.get_all(AUTHORIZATION).iter();
    if let Some(value) = values.next() {
        // Two headers are two claims; which one counts must not depend on the reader.
        return if values.next().is_none() { Ok(key(value.as_bytes())) } else { Err(Reason::Ambiguous) };
    }
    let credential = parts.uri.query().and_then(query::credential).ok_or(Reason::Missing)?;
    Ok(key(&credential))
}

fn key(text: &[u8]) -> Option<KeyHash> {
    api_key::hash_unsummed(KeyKind::Caller, bare(text))
}

/// A key without the word before it.
fn bare(text: &[u8]) -> &[u8] {
    const SCHEME: &[u8] = b"bearer ";
    match text.split_at_checked(SCHEME.len()) {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case(SCHEME) => key.trim_ascii(),
        _ => text,
    }
}
