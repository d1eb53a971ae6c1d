//! Whether the limits of the proxy and its meters have room for a request.
//!
//! Counts in `quota`. The invariant: a request that is refused here has consumed nothing.

use std::net::IpAddr;

use rr_contract::policy::meter::Applies;
use rr_contract::policy::request::{QueryPair, RequestView};

use crate::quota::Moment;
use crate::reply::Denial;
use crate::snapshot::RunningMeter;

use super::activate::Active;
use super::authorize::{Authorized, pairs, view};
use super::caller_body::CallerBody;
use super::charges::Charges;
use super::clean::Cleaned;
use super::settle::Draft;

/// A request that may go to its target.
pub(crate) struct Admitted<'s> {
    pub(super) request: Active<'s>,
    pub(super) cleaned: Cleaned,
    pub(super) body: CallerBody,
}

/// What is known of a request once its meters have looked at its head.
pub(super) enum Counted<'s> {
    Admitted(Admitted<'s>),
    /// Whether a meter is about it depends on the body.
    NeedsBody(Authorized<'s>),
}

pub(super) fn admit<'s>(
    authorized: Authorized<'s>,
    peer: IpAddr,
    draft: &mut Draft,
) -> Result<Counted<'s>, Denial> {
    let Authorized { request, cleaned, body } = authorized;
    let meters = &request.route.policy.meters;
    if request.route.quota.is_none() && meters.is_empty() {
        return Ok(Counted::Admitted(Admitted { request, cleaned, body }));
    }
    let Some(applying) = about(meters, &request, &cleaned, &body)? else {
        return Ok(Counted::NeedsBody(Authorized { request, cleaned, body }));
    };
    let at = draft.moment();
    let mut charges = Charges::begin(at);
    charge_limits(&request, peer, &at, &mut charges)?;
    for running in applying {
        charges.meter(running, &at)?;
    }
    draft.charged(charges);
    Ok(Counted::Admitted(Admitted { request, cleaned, body }))
}

/// Reads the body, and has the meters look again.
pub(super) async fn with_body<'s>(
    waiting: Authorized<'s>,
    peer: IpAddr,
    draft: &mut Draft,
) -> Result<Admitted<'s>, Denial> {
    let Authorized { request, cleaned, body } = waiting;
    let body = body.read(&cleaned.parts.headers, draft).await?;
    match admit(Authorized { request, cleaned, body }, peer, draft)? {
        Counted::Admitted(admitted) => Ok(admitted),
        // It was read, so nothing more will come.
        Counted::NeedsBody(_) => Err(Denial::Unreadable),
    }
}

/// The meters that are about a request; `None` where one has to look at its body first.
fn about<'s>(
    meters: &'s [RunningMeter],
    request: &Active<'_>,
    cleaned: &Cleaned,
    body: &CallerBody,
) -> Result<Option<Vec<&'s RunningMeter>>, Denial> {
    let active = || meters.iter().filter(|running| running.meter.active);
    let mut about = Vec::new();
    if active().next().is_none() {
        return Ok(Some(about));
    }
    let reads_query = active().any(|running| running.meter.condition().reads_query());
    let query: Vec<QueryPair<'_>> = if reads_query { pairs(cleaned) } else { Vec::new() };
    let look = |view: &RequestView<'_>| {
        for running in active() {
            match running.meter.applies(view) {
                Applies::Yes => about.push(running),
                Applies::No => {}
                Applies::NeedsBody => return Ok(None),
                Applies::Unreadable(_) => return Err(Denial::Unreadable),
            }
        }
        Ok(Some(about))
    };
    view(&request.path, cleaned, &query, body, look).unwrap_or(Err(Denial::Unreadable))
}

fn charge_limits(
    request: &Active<'_>,
    peer: IpAddr,
    at: &Moment,
    charges: &mut Charges,
) -> Result<(), Denial> {
    let Some(quota) = &request.route.quota else { return Ok(()) };
    let model = request.model;
    if !model.limits.is_none() {
        charges.proxy(quota, &model.limits, at)?;
    }
    if !model.limits_per_caller.is_none() {
        charges.caller(quota, request.caller.credential, &model.limits_per_caller, at)?;
    }
    if !model.limits_per_address.is_none() {
        charges.address(quota, peer, &model.limits_per_address, at)?;
    }
    Ok(())
}
