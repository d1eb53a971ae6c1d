//! Whose token is it: found among those that this worker has verified, or verified now.
//!
//! Waits for nothing: who needs a turn to look at a signature, or a key that its issuer may publish, is told so. The
//! invariants: a signature is looked at only of a token that a credential of this proxy would take otherwise; at most
//! [`CANDIDATES`] credentials are asked, whoever's token it is; a token that none would take costs the same at every proxy,
//! and where there is none.

use std::hint::black_box;
use std::sync::Arc;
use std::time::SystemTime;

use rr_contract::api_key::hash_foreign;
use rr_contract::policy::token::{Token, TokenError};

use crate::holder::Holder;
use crate::jwt::{Fault, Signed, Tokens, Turn, Verified};
use crate::report::Reason;
use crate::snapshot::{CompiledProxy, Snapshot};

use super::super::presented::Presented;
use super::{Found, NOWHERE, Named, On};

/// Credentials of one proxy that are asked for one issuer's token.
const CANDIDATES: usize = 8;

/// Finds the credential of a token. `None`: it is no token, or of an issuer of whom this proxy takes none.
pub(super) fn find<'s>(
    presented: &Presented<'_>,
    proxy: Option<&CompiledProxy>,
    snapshot: &'s Snapshot,
    tokens: &Tokens,
    turn: Option<&Turn<'_>>,
    now: SystemTime,
) -> Option<Result<Found<'s>, Reason>> {
    if let Some(named) = proxy.and_then(|proxy| seen(presented, proxy, snapshot, tokens, now)) {
        return Some(Ok(Found::Caller(named)));
    }
    verify(presented, proxy, snapshot, tokens, turn, now)
}

/// A token that was verified here before.
fn seen<'s>(
    presented: &Presented<'_>,
    proxy: &CompiledProxy,
    snapshot: &'s Snapshot,
    tokens: &Tokens,
    now: SystemTime,
) -> Option<Named<'s>> {
    tokens.seen(proxy.id, presented.hash?, now, |verified| {
        let caller = snapshot.token_caller(proxy.org_id, verified.credential)?;
        let checks = caller.checks.as_ref()?;
        let counts = verified.has_passed(checks)
            && checks.generation() == Some(verified.generation)
            && proxy.admits(&caller.credential)
            && caller.is_presented(presented.header, presented.word);
        counts.then_some(Named { caller, holder: verified.holder })
    })
}

#[cold]
fn verify<'s>(
    presented: &Presented<'_>,
    proxy: Option<&CompiledProxy>,
    snapshot: &'s Snapshot,
    tokens: &Tokens,
    turn: Option<&Turn<'_>>,
    now: SystemTime,
) -> Option<Result<Found<'s>, Reason>> {
    if presented.value.iter().filter(|byte| **byte == b'.').count() != 2 {
        return None;
    }
    let bad = |fault| Some(Err(Reason::Token(fault)));
    tokens.reads();
    let token = match Token::parse(presented.value) {
        Ok(token) => token,
        Err(TokenError::Type | TokenError::Critical) => return bad(Fault::Type),
        Err(_) => return bad(Fault::Malformed),
    };
    // Longer ones do not parse.
    let hash = presented.hash?;
    // Those of SPIFFE need not say it.
    let issuer = token.claims.issuer.as_deref().unwrap_or_default();
    let Some(proxy) = proxy else {
        // The look-up of its takers.
        black_box(snapshot.caller(NOWHERE, &hash_foreign(issuer.as_bytes())).is_some());
        return None;
    };
    let (mut furthest, mut issuer_of, mut is_misplaced) = (None, None, false);
    for id in snapshot.takers(proxy, issuer).take(CANDIDATES) {
        let caller = snapshot.token_caller(proxy.org_id, id)?;
        if !caller.is_presented(presented.header, presented.word) {
            is_misplaced = true;
            continue;
        }
        let checks = caller.checks.as_ref()?;
        // Before the keys are looked at: they may become others meanwhile.
        let generation = checks.generation();
        let fetched = checks.fetched_from().map(|issuer| (issuer, issuer.ended()));
        let passed = match checks.claims(&token, now) {
            Ok(_) if !tokens.may_look((proxy.id, Signed::Token), now) => Err(Fault::Flood),
            Ok(algorithm) => {
                let Some(turn) = turn else { return Some(Ok(Found::Waits(On::Turn))) };
                let looked = checks.signature(&token, algorithm, now);
                if looked == Err(Fault::Signature) {
                    tokens.was_wrong((proxy.id, Signed::Token), checks.work(&token, algorithm), now);
                }
                if matches!(looked, Ok(_) | Err(Fault::Signature)) {
                    turn.looked();
                }
                looked
            }
            Err(fault) => Err(fault),
        };
        match passed {
            Ok(key_ends) => {
                let credential = caller.credential;
                // It has an end, or it had not passed.
                let ends = checks.ends(&token)?;
                let until = key_ends.map_or(ends, |key_ends| key_ends.min(ends));
                let holder = checks.identity(&token).map(|identity| Holder::of(credential, &identity));
                if let Some(generation) = generation {
                    let checks = Arc::downgrade(checks);
                    tokens.remember(
                        proxy.id,
                        hash,
                        Verified { credential, checks, generation, until, holder },
                    );
                }
                return Some(Ok(Found::Caller(Named { caller, holder })));
            }
            Err(fault) => {
                // It may have published another key by now, whatever other credentials make of the token.
                if matches!(fault, Fault::Stale | Fault::Key) && issuer_of.is_none() {
                    issuer_of = fetched.map(|(issuer, ended)| (Arc::clone(issuer), ended));
                }
                furthest = furthest.max(Some(fault));
            }
        }
    }
    match (furthest, issuer_of) {
        (Some(fault), Some((issuer, ended))) => Some(Ok(Found::Waits(On::Keys(issuer, ended, fault)))),
        (Some(fault), None) => bad(fault),
        (None, _) => is_misplaced.then_some(Err(Reason::Misplaced)),
    }
}
