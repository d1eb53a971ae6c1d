//! The signature of a request, for upstreams that want one.
//!
//! Makes none itself. The invariants: nothing changes a request once it is signed; each attempt is signed by itself, for the
//! base URL that it goes to and with the time of now; a body that is part of the signature is held whole, within the bounds
//! of all that is.

use std::time::SystemTime;

use http::Request;

use crate::reply::{Failure, Refused};
use crate::sign::{NONCE, Signer};
use crate::snapshot::upstream::Unusable;
use crate::snapshot::{CompiledTarget, SentHost, UpstreamCredential};
use crate::upstream::RequestBody;
use crate::worker::Worker;

use super::inject::Injected;
use super::settle::Draft;

/// Whether the body of a request has to be read before it can be sent.
pub(super) fn reads_body(request: &Injected<'_>, now: SystemTime) -> bool {
    if request.body.is_none() {
        return false;
    }
    let Some(credential) = request.route.upstream.as_deref() else { return false };
    let reads = |credential: &UpstreamCredential| {
        credential.in_use().is_some_and(|used| used.signer().is_some_and(Signer::reads_body))
    };
    reads(credential) || credential.previous(now).is_some_and(reads)
}

/// Reads it.
pub(super) async fn with_body<'s>(mut request: Injected<'s>, draft: &Draft) -> Result<Injected<'s>, Refused> {
    request.body = request.body.read_to_sign(draft).await?;
    Ok(request)
}

/// Signs a request that goes to the target at one of its base URLs, if what it is shown is a signature.
pub(super) fn sign(
    request: &mut Request<RequestBody>,
    credential: Option<&UpstreamCredential>,
    target: &CompiledTarget,
    worker: &Worker,
) -> Result<(), Failure> {
    let Some(used) = credential.and_then(UpstreamCredential::in_use) else { return Ok(()) };
    // Its end came since it was judged: nothing goes out without what it should bear.
    if used.is_over() {
        return Err(Failure::Credential(Unusable::Expired));
    }
    // All others pay for no more than this look.
    let Some(signer) = used.signer() else { return Ok(()) };
    sign_at(request, signer, target, worker.clock.now(), worker.draw())
}

/// The same at this time.
pub(super) fn sign_at(
    request: &mut Request<RequestBody>,
    signer: &Signer,
    target: &CompiledTarget,
    now: SystemTime,
    nonce: [u8; NONCE],
) -> Result<(), Failure> {
    // As it is sent.
    let host = request.extensions().get::<SentHost>().map_or(&target.host, |sent| &sent.value).clone();
    signer.sign(request, &host, RequestBody::whole, now, nonce).map_err(Failure::Unsignable)
}
