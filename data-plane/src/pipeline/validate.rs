//! Whether a request is as its proxy and its target say that requests are.
//!
//! Judges nothing itself: that is the contract's validator, which the control plane checks documents with. Stands behind
//! the rules, so that nobody learns of a schema by requests that they deny, and before limits and meters: a request that is
//! refused here has consumed nothing. The invariant: what validates for long does so on no worker.

use std::sync::Arc;

use http::Method;
use rr_contract::policy::request::RequestBody as BodyView;
use rr_contract::policy::validate::{Effort, Head, Look, Refusal, Stopped, Validator};

use crate::reply::{Denial, NotAsSaid, Sayer};
use crate::validations::{NoThread, ValidationThreads};

use super::activate::Active;
use super::authorize::Authorized;
use super::caller_body::CallerBody;
use super::clean::Cleaned;
use super::settle::Draft;

/// A request that is as it has to be.
pub(crate) struct Validated<'s> {
    pub(super) request: Active<'s>,
    pub(super) cleaned: Box<Cleaned>,
    pub(super) body: CallerBody,
}

/// Few proxies say anything: the others are not kept.
pub(super) fn validate(authorized: Authorized<'_>) -> Result<Validated<'_>, Authorized<'_>> {
    if sayers(&authorized.request).next().is_some() {
        return Err(authorized);
    }
    let Authorized { request, cleaned, body } = authorized;
    Ok(Validated { request, cleaned, body })
}

/// Holds a request against what is said of it, and reads its body for that.
pub(super) async fn look<'s>(
    authorized: Authorized<'s>,
    threads: &ValidationThreads,
    draft: &Draft,
) -> Result<Validated<'s>, Denial> {
    let Authorized { request, cleaned, mut body } = authorized;
    for (sayer, validator) in sayers(&request) {
        let refused = |refusal| Denial::NotAsSaid(Box::new(NotAsSaid { sayer, refusal }));
        if !is_about_body(validator, &cleaned.parts.method, &body).map_err(refused)? {
            continue;
        }
        body = body.read(&cleaned.parts.headers, draft).await?;
        // That there is none may be known by now.
        if !is_about_body(validator, &cleaned.parts.method, &body).map_err(refused)? {
            continue;
        }
        let Some(BodyView::Read(decoded)) = body.view() else {
            return Err(refused(Refusal::ours("", "unreadable")));
        };
        match validator.body(decoded, Effort::AtOnce) {
            Ok(()) => {}
            Err(Stopped::Refused(refusal)) => return Err(refused(refusal)),
            Err(Stopped::TooMuch) => {
                let decoded = body.decoded().ok_or_else(|| refused(Refusal::ours("", "unreadable")))?;
                match threads.run(Arc::clone(validator), decoded).await.map_err(|NoThread| Denial::NoRoom)? {
                    Ok(()) => {}
                    Err(Stopped::Refused(refusal)) => return Err(refused(refusal)),
                    Err(Stopped::TooMuch) => return Err(refused(Refusal::ours("", "too-much-work"))),
                }
            }
        }
    }
    Ok(Validated { request, cleaned, body })
}

/// Who says what the request has to be like.
fn sayers<'s>(request: &Active<'s>) -> impl Iterator<Item = (Sayer, &'s Arc<Validator>)> + use<'s> {
    let of_proxy = request.route.validator.as_ref().map(|validator| (Sayer::Proxy, validator));
    let of_target = request.route.target.validator.as_ref().map(|validator| (Sayer::Target, validator));
    of_proxy.into_iter().chain(of_target)
}

fn is_about_body(validator: &Validator, method: &Method, body: &CallerBody) -> Result<bool, Refusal> {
    match validator.look(Head { method: method.as_str(), has_body: !body.is_empty() }) {
        Look::Passes => Ok(false),
        Look::Body => Ok(true),
        Look::Refused(refusal) => Err(refusal),
    }
}
