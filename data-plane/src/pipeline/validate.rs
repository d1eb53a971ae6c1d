//! Whether a request is as its proxy and its target say that requests are.
//!
//! Judges nothing itself: that is the contract's validator, which the control plane checks documents with. Stands behind
//! the rules, so that nobody learns of a schema by requests that they deny, and before limits and meters: a request that is
//! refused here has consumed nothing. The invariant: what validates for long does so on no worker.

use std::sync::Arc;

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
        let mut look = {
            let head = head(&cleaned, &request.path, !body.is_empty());
            validator.look(head, Effort::AtOnce)
        };
        if look == Look::TooMuch {
            look = at_length(validator, &cleaned, &request.path, &body, threads).await?;
        }
        let wanted = match look {
            Look::Passes => continue,
            Look::Body(wanted) => wanted,
            Look::Refused(refusal) => return Err(refused(refusal)),
            Look::TooMuch => return Err(refused(Refusal::ours("", "too-much-work"))),
        };
        body = body.read(&cleaned.parts.headers, draft).await?;
        let Some(BodyView::Read(decoded)) = body.view() else {
            return Err(refused(Refusal::ours("", "unreadable")));
        };
        match validator.body(wanted, decoded, Effort::AtOnce) {
            Ok(()) => {}
            Err(Stopped::Refused(refusal)) => return Err(refused(refusal)),
            Err(Stopped::TooMuch) => {
                let decoded = body.decoded().ok_or_else(|| refused(Refusal::ours("", "unreadable")))?;
                let validator = Arc::clone(validator);
                let judged = threads.run(move || validator.body(wanted, &decoded, Effort::AtLength));
                match judged.await.map_err(|NoThread| Denial::NoRoom)? {
                    Ok(()) => {}
                    Err(Stopped::Refused(refusal)) => return Err(refused(refusal)),
                    Err(Stopped::TooMuch) => return Err(refused(Refusal::ours("", "too-much-work"))),
                }
            }
        }
    }
    Ok(Validated { request, cleaned, body })
}

/// Looks at a head beside the worker.
async fn at_length(
    validator: &Arc<Validator>,
    cleaned: &Cleaned,
    path: &str,
    body: &CallerBody,
    threads: &ValidationThreads,
) -> Result<Look, Denial> {
    let (validator, cleaned, path) = (Arc::clone(validator), cleaned.clone(), path.to_owned());
    let has_body = !body.is_empty();
    let look = threads.run(move || validator.look(head(&cleaned, &path, has_body), Effort::AtLength));
    look.await.map_err(|NoThread| Denial::NoRoom)
}

/// Who says what the request has to be like.
fn sayers<'s>(request: &Active<'s>) -> impl Iterator<Item = (Sayer, &'s Arc<Validator>)> + use<'s> {
    let of_proxy = request.route.validator.as_ref().map(|validator| (Sayer::Proxy, validator));
    let of_target = request.route.target.validator.as_ref().map(|validator| (Sayer::Target, validator));
    of_proxy.into_iter().chain(of_target)
}

/// A request as it is sent on, but for what the upstream credential adds.
fn head<'r>(cleaned: &'r Cleaned, path: &'r str, has_body: bool) -> Head<'r> {
    let (method, headers) = (cleaned.parts.method.as_str(), &cleaned.parts.headers);
    Head { method, path, query: cleaned.query.as_deref(), headers, has_body }
}
