//! What the rules of the four scopes say of a request.
//!
//! Evaluates nothing itself: that is the contract's evaluator, which the control plane checks writes with. Reads a
//! body only where the verdict depends on it. The invariant: a request that a rule must look at and cannot is refused.

use rr_contract::model::path;
use rr_contract::policy::pace::Pace;
use rr_contract::policy::request::{QueryPair, RequestBody, RequestView, decode_query};
use rr_contract::policy::verdict::{CompiledRule, Decision, Scope, Scopes, Verdict};
use tokio::task::yield_now;

use crate::reply::{Denial, RuleDenial};

use super::activate::Active;
use super::caller_body::CallerBody;
use super::clean::Cleaned;
use super::rewrite::Rewritten;
use super::settle::Draft;

/// A request that the rules let pass.
pub(crate) struct Authorized<'s> {
    pub(super) request: Active<'s>,
    pub(super) cleaned: Box<Cleaned>,
    pub(super) body: CallerBody,
}

/// What is known of a request once the rules have looked at its head.
pub(super) enum Looked<'s> {
    Passes(Authorized<'s>),
    /// The verdict depends on the body.
    NeedsBody(Authorizing<'s>),
}

/// A request that rules have to see more of.
pub(super) struct Authorizing<'s> {
    request: Active<'s>,
    cleaned: Box<Cleaned>,
    body: CallerBody,
}

pub(super) fn authorize<'s>(
    rewritten: Rewritten<'s>,
    body: CallerBody,
    draft: &mut Draft,
) -> Result<Looked<'s>, Denial> {
    let Rewritten { request, cleaned } = rewritten;
    let scopes = scopes(&request);
    if scopes.allows_all() {
        draft.allowed();
        return Ok(Looked::Passes(Authorized { request, cleaned, body }));
    }
    let decision = {
        let (path, query) = (path::for_rules(&request.path), query(&scopes, &cleaned));
        scopes.decide(&view(&path, &cleaned, &query, &body).ok_or(Denial::Unreadable)?)
    };
    if let (Verdict::NeedsBody, CallerBody::Unread { .. }) = (&decision.verdict, &body) {
        return Ok(Looked::NeedsBody(Authorizing { request, cleaned, body }));
    }
    conclude(&decision, &request, draft)?;
    Ok(Looked::Passes(Authorized { request, cleaned, body }))
}

/// Reads the body, and has the rules look again.
pub(super) async fn with_body<'s>(
    waiting: Authorizing<'s>,
    draft: &mut Draft,
) -> Result<Authorized<'s>, Denial> {
    let Authorizing { request, cleaned, body } = waiting;
    let body = body.read(&cleaned.parts.headers, draft).await?;
    let scopes = scopes(&request);
    let decision = {
        let (path, query) = (path::for_rules(&request.path), query(&scopes, &cleaned));
        let view = view(&path, &cleaned, &query, &body).ok_or(Denial::Unreadable)?;
        scopes.decide_at(&mut Pace::new(yield_now), &view).await
    };
    conclude(&decision, &request, draft)?;
    Ok(Authorized { request, cleaned, body })
}

/// The rules that are about a request.
pub(super) fn scopes<'s>(request: &Active<'s>) -> Scopes<'s> {
    Scopes {
        caller: &request.caller.policy.rules,
        upstream: &request.route.upstream_policy.rules,
        proxy: &request.route.policy.rules,
        target: &request.route.target_policy.rules,
    }
}

/// Whether the rules let a request pass that they let pass before, and that has no body.
pub(super) async fn allows_still(request: &Active<'_>, cleaned: &Cleaned) -> bool {
    let scopes = scopes(request);
    if scopes.allows_all() {
        return true;
    }
    let (path, query) = (path::for_rules(&request.path), query(&scopes, cleaned));
    let (method, headers) = (cleaned.parts.method.as_str(), &cleaned.parts.headers);
    let view = RequestView { method, path: &path, query: &query, headers, body: RequestBody::Read(&[]) };
    let decision = scopes.decide_at(&mut Pace::new(yield_now), &view).await;
    matches!(decision.verdict, Verdict::Allow { .. })
}

fn conclude(decision: &Decision<'_>, request: &Active<'_>, draft: &mut Draft) -> Result<(), Denial> {
    draft.decided(decision);
    match decision.verdict {
        Verdict::Allow { .. } => Ok(()),
        Verdict::Deny { scope, by } => Err(denial(request, scope, by)),
        Verdict::NeedsBody | Verdict::Unreadable(_) => Err(Denial::Unreadable),
    }
}

/// What the rules are to see of the query.
fn query<'c>(scopes: &Scopes<'_>, cleaned: &'c Cleaned) -> Vec<QueryPair<'c>> {
    if scopes.reads_query() { pairs(cleaned) } else { Vec::new() }
}

/// The pairs of the query, decoded.
pub(super) fn pairs(cleaned: &Cleaned) -> Vec<QueryPair<'_>> {
    cleaned.query.as_deref().map(decode_query).unwrap_or_default()
}

/// A request as it is sent on, for rules and meters; `None` where its body cannot be decoded.
pub(super) fn view<'v>(
    path: &'v str,
    cleaned: &'v Cleaned,
    query: &'v [QueryPair<'v>],
    body: &'v CallerBody,
) -> Option<RequestView<'v>> {
    let (method, headers) = (cleaned.parts.method.as_str(), &cleaned.parts.headers);
    Some(RequestView { method, path, query, headers, body: body.view()? })
}

fn denial(request: &Active<'_>, scope: Scope, by: Option<&CompiledRule>) -> Denial {
    Denial::Rule(Box::new(RuleDenial {
        status: request.model.deny_status,
        scope,
        rule: by.map(|rule| (rule.id, rule.name.clone(), rule.notes.clone())),
    }))
}
