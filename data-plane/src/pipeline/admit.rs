//! Whether the limits of the proxy and its meters have room for a request.
//!
//! Counts in `quota`. The invariant: a request that is refused here has consumed nothing.

use std::net::IpAddr;

use rr_contract::model::path;
use rr_contract::policy::meter::Applies;
use rr_contract::policy::pace::{HeadWork, Pace};
use rr_contract::policy::request::{QueryPair, RequestBody};
use tokio::task::yield_now;

use crate::quota::{Caller, Moment};
use crate::reply::Denial;
use crate::snapshot::RunningMeter;

use super::activate::Active;
use super::authorize::{pairs, view};
use super::caller_body::CallerBody;
use super::charges::Charges;
use super::clean::Cleaned;
use super::settle::Draft;
use super::validate::Validated;

/// A request that may go to its target.
pub(crate) struct Admitted<'s> {
    pub(super) request: Active<'s>,
    pub(super) cleaned: Box<Cleaned>,
    pub(super) body: CallerBody,
}

/// What is known of a request once its meters have looked at its head.
pub(super) enum Counted<'s> {
    Admitted(Admitted<'s>),
    /// Whether a meter is about it depends on the body.
    NeedsBody(Validated<'s>),
}

/// Counts a request among those that the proxy has under way, from here to its end. Before its body is read for rules:
/// that is held meanwhile.
pub(super) fn enter(request: &Active<'_>, draft: &mut Draft) -> Result<(), Denial> {
    if let (Some(most), Some(quota)) = (request.model.max_concurrent, &request.route.quota) {
        draft.is_under_way(quota.enter(most).ok_or(Denial::TooManyConcurrent)?);
    }
    Ok(())
}

pub(super) fn admit<'s>(
    validated: Validated<'s>,
    address: IpAddr,
    draft: &mut Draft,
) -> Result<Counted<'s>, Denial> {
    let Validated { request, cleaned, body } = validated;
    let meters = &request.route.policy.meters;
    if !request.model.is_limited() && meters.is_empty() {
        return Ok(Counted::Admitted(Admitted { request, cleaned, body }));
    }
    let Some(applying) = about(meters, &request, &cleaned, &body)? else {
        return Ok(Counted::NeedsBody(Validated { request, cleaned, body }));
    };
    charge(&request, &applying, address, draft)?;
    Ok(Counted::Admitted(Admitted { request, cleaned, body }))
}

/// Reads the body, and has the meters look again.
pub(super) async fn with_body<'s>(
    waiting: Validated<'s>,
    address: IpAddr,
    draft: &mut Draft,
) -> Result<Admitted<'s>, Denial> {
    let Validated { request, cleaned, body } = waiting;
    let body = body.read(&cleaned.parts.headers, draft).await?;
    let applying = about_body(&request.route.policy.meters, &request, &cleaned, &body).await?;
    charge(&request, &applying, address, draft)?;
    Ok(Admitted { request, cleaned, body })
}

fn charge(
    request: &Active<'_>,
    applying: &[&RunningMeter],
    address: IpAddr,
    draft: &mut Draft,
) -> Result<(), Denial> {
    let at = draft.moment();
    let mut charges = Charges::begin(at);
    let caller = Caller { credential: request.caller.credential, holder: draft.holder() };
    charge_limits(request, (caller, address), &at, &mut charges)?;
    for running in applying {
        charges.meter(running, caller, &at)?;
    }
    draft.charged(charges);
    Ok(())
}

/// The meters that are about a request; `None` where one has to look at its body first.
fn about<'s>(
    meters: &'s [RunningMeter],
    request: &Active<'_>,
    cleaned: &Cleaned,
    body: &CallerBody,
) -> Result<Option<Vec<&'s RunningMeter>>, Denial> {
    let mut about = Vec::new();
    if active(meters).next().is_none() {
        return Ok(Some(about));
    }
    let (path, query) = (path::for_rules(&request.path), query(meters, cleaned));
    let view = view(&path, cleaned, &query, body).ok_or(Denial::Unreadable)?;
    let mut work = HeadWork::default();
    for running in active(meters) {
        match running.meter.applies(&view, &mut work) {
            Applies::Yes => about.push(running),
            Applies::No => {}
            Applies::NeedsBody => return Ok(None),
            Applies::Unreadable(_) => return Err(Denial::Unreadable),
        }
    }
    Ok(Some(about))
}

/// The meters that are about a request whose body was read.
async fn about_body<'s>(
    meters: &'s [RunningMeter],
    request: &Active<'_>,
    cleaned: &Cleaned,
    body: &CallerBody,
) -> Result<Vec<&'s RunningMeter>, Denial> {
    let mut about = Vec::new();
    let (path, query) = (path::for_rules(&request.path), query(meters, cleaned));
    let view = view(&path, cleaned, &query, body).ok_or(Denial::Unreadable)?;
    let RequestBody::Read(document) = view.body else { return Err(Denial::Unreadable) };
    let (mut pace, mut work) = (Pace::new(yield_now), HeadWork::default());
    for running in active(meters) {
        let mut applies = running.meter.applies(&view, &mut work);
        if applies == Applies::NeedsBody {
            applies = running.meter.applies_to(document, &mut pace).await;
        }
        match applies {
            Applies::Yes => about.push(running),
            Applies::No => {}
            Applies::NeedsBody | Applies::Unreadable(_) => return Err(Denial::Unreadable),
        }
    }
    Ok(about)
}

fn active(meters: &[RunningMeter]) -> impl Iterator<Item = &RunningMeter> {
    meters.iter().filter(|running| running.meter.active)
}

/// What the meters are to see of the query.
fn query<'c>(meters: &[RunningMeter], cleaned: &'c Cleaned) -> Vec<QueryPair<'c>> {
    let reads_query = active(meters).any(|running| running.meter.condition().reads_query());
    if reads_query { pairs(cleaned) } else { Vec::new() }
}

fn charge_limits(
    request: &Active<'_>,
    (caller, address): (Caller, IpAddr),
    at: &Moment,
    charges: &mut Charges,
) -> Result<(), Denial> {
    let Some(quota) = &request.route.quota else { return Ok(()) };
    let model = request.model;
    if !model.limits.is_none() {
        charges.proxy(quota, &model.limits, at)?;
    }
    if !model.limits_per_caller.is_none() {
        charges.caller(quota, caller, &model.limits_per_caller, at)?;
    }
    if !model.limits_per_address.is_none() {
        charges.address(quota, address, &model.limits_per_address, at)?;
    }
    Ok(())
}
