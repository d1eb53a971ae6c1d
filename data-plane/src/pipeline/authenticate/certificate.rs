//! Whose certificate is it: the one that the connection has shown, where the request itself claims nothing.
//!
//! Waits for nothing. The invariants: a claim in the request counts alone, so a certificate is never a second one; whoever might
//! show one on another connection is told so alike for every proxy, known or not; what a browser brings by itself counts for no web
//! page that the proxy does not name.

use std::hint::black_box;
use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderName;
use http::header::ORIGIN;
use http::request::Parts;

use crate::client_certificate::{Flaw, Named, Shown, Trust};
use crate::jwt::{Signed, Tokens};
use crate::reply::Denial;
use crate::report::Reason;
use crate::snapshot::{CompiledCaller, CompiledProxy, Snapshot};

use super::super::cors;
use super::super::hop::Hop;
use super::{org_of, unclaimed};

/// Set by browsers, never by pages: where a request comes from. `none`: from the user.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The credential of a request that claims nothing.
#[cold]
pub(super) fn ask<'s>(
    proxy: Option<&CompiledProxy>,
    snapshot: &'s Snapshot,
    tokens: &Tokens,
    (parts, hop): (&Parts, &Hop),
    now: SystemTime,
) -> Result<&'s CompiledCaller, Denial> {
    let Some(shown) = hop.shown() else {
        let refused = unclaimed(Reason::Missing, org_of(proxy), snapshot);
        let can_show = snapshot.asks_for_certificates()
            && hop.tls.as_ref().is_some_and(|tls| !tls.was_asked || tls.is_of_another_host(parts));
        return Err(if can_show { Denial::Misdirected } else { Denial::BadCredential(refused) });
    };
    let found = find(shown, proxy, snapshot, Some(tokens), now);
    // It was shown before anybody asked for a name.
    if found.is_err() && shown.name().is_none() && snapshot.takes_names() {
        return Err(Denial::Misdirected);
    }
    let caller = found.map_err(Denial::BadCredential)?;
    if proxy.is_some_and(|proxy| !is_of_no_other_page(proxy, parts)) {
        return Err(Denial::BadCredential(Reason::Origin));
    }
    Ok(caller)
}

/// Whether no web page has sent it, or one that may.
fn is_of_no_other_page(proxy: &CompiledProxy, parts: &Parts) -> bool {
    let headers = &parts.headers;
    if headers.contains_key(ORIGIN) {
        return cors::takes_certificate(proxy, headers.get_all(ORIGIN));
    }
    headers.get_all(FETCH_SITE).iter().all(|site| site.as_bytes() == b"none")
}

/// The credential of a certificate at a proxy: by its key, or by its name and who has issued it.
pub(super) fn find<'s>(
    shown: &Shown,
    proxy: Option<&CompiledProxy>,
    snapshot: &'s Snapshot,
    tokens: Option<&Tokens>,
    now: SystemTime,
) -> Result<&'s CompiledCaller, Reason> {
    let org = org_of(proxy);
    let by_key = snapshot.caller(org, &shown.hash).filter(|caller| caller.is_shown());
    let Some(proxy) = proxy.filter(|proxy| proxy.takes_certificates) else {
        black_box(by_key.is_some());
        return Err(Reason::Missing);
    };
    if let Some(caller) = by_key.filter(|caller| proxy.admits(&caller.credential)) {
        return Ok(caller);
    }
    let refused = if by_key.is_some() { Reason::NotAdmitted } else { Reason::CertificateUnknown };
    let hash = match shown.name() {
        Some(Named::One(hash)) => hash,
        Some(Named::Unclear) if by_key.is_none() => return Err(Reason::CertificateName),
        _ => return Err(refused),
    };
    let by_name = snapshot.caller(org, &hash).filter(|caller| caller.is_shown());
    let Some(caller) = by_name else { return Err(refused) };
    // Whoever has issued it: nothing is looked at for a proxy that does not take it.
    if !proxy.admits(&caller.credential) {
        return Err(Reason::NotAdmitted);
    }
    let Some(trust) = &caller.trust else { return Err(refused) };
    let verdict = match shown.known(trust, now) {
        Some(verdict) => verdict,
        None => judge(shown, trust, proxy, tokens, now)?,
    };
    match verdict {
        Ok(()) => Ok(caller),
        Err(Flaw::Expired) => Err(Reason::CertificateExpired),
        Err(Flaw::Early) => Err(Reason::CertificateEarly),
        Err(Flaw::Chain) => Err(Reason::CertificateChain),
    }
}

/// Looks at signatures, of which those that are wrong take a bounded part of a worker, as those of tokens do.
fn judge(
    shown: &Shown,
    trust: &Arc<Trust>,
    proxy: &CompiledProxy,
    tokens: Option<&Tokens>,
    now: SystemTime,
) -> Result<Result<(), Flaw>, Reason> {
    if tokens.is_some_and(|tokens| !tokens.may_look((proxy.id, Signed::Certificate), now)) {
        return Err(Reason::CertificateFlood);
    }
    let verdict = shown.judge(trust, now);
    if let (Err(_), Some(tokens)) = (verdict, tokens) {
        tokens.was_wrong((proxy.id, Signed::Certificate), shown.work(trust), now);
    }
    Ok(verdict)
}
