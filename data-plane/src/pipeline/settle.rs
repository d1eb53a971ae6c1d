//! The end of a request: its meters come to their numbers, and its record is written.
//!
//! Waits only where a proxy wants a record of the request on disk before it goes on; elsewhere a record that finds no room is counted
//! and dropped. The invariant: each request leaves exactly one
//! record or one count, and settles what was charged for it, whichever way its future or its body ends, because all
//! of it happens in `drop`.

mod trace;
mod trial;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use rr_contract::model::id::OrgId;
use rr_contract::policy::filter::Filtered;
use rr_contract::policy::stream::{Framing, Look, Unit};
use rr_contract::policy::verdict::{CompiledRule, Decision, Observed, Scope, Verdict};
use rr_contract::wire::fleet::{EchoOutcome, Effect, TunnelEnd};
use tokio::time::{Instant, timeout};

use crate::body::Held;
use crate::counters::Gathered;
use crate::echo::Echoed;
use crate::holder::Holder;
use crate::outcome::Code;
use crate::quota::{Moment, UnderWay};
use crate::reply::{Denial, Failure, Refused};
use crate::report::{KeptValue, RawRecord, Reason, RuleOutcome};
use crate::seats::Busy;
use crate::snapshot::CompiledProxy;
use crate::snapshot::upstream::Unusable;
use crate::standing::AtEndpoint;
use crate::traces::Trace;
use crate::upstream::SendError;
use crate::worker::Worker;

use super::activate::Active;
use super::authenticate::Authenticated;
use super::charges::{Charges, Done};
use super::hop::Hop;
use super::keep;
use super::resolve::Resolved;

pub(super) use self::trial::Explanation;

/// How long a request waits until a record of it is on disk.
const SURE_WITHIN: Duration = Duration::from_secs(1);

/// What filters did with more of a stream.
#[derive(Default)]
pub(super) struct Did {
    /// How many ran, told once.
    pub(super) filters: u32,
    pub(super) values: u64,
    pub(super) bytes: u64,
}

/// A record in the making.
pub(crate) struct Draft {
    worker: Rc<Worker>,
    busy: Busy,
    started: Instant,
    request_bytes: Rc<Cell<u64>>,
    /// `None` once it was handed over.
    record: Option<Box<RawRecord>>,
    /// What was charged for it.
    charges: Charges,
    /// Who holds the token, where holders are counted apart.
    holder: Option<Holder>,
    /// Where its proxy counts them.
    under_way: Option<UnderWay>,
    /// Rules or limits decide about it, and are not done.
    is_deciding: bool,
    /// The upstream may have begun to work for it.
    is_asked: bool,
    /// It had all of the request, and did not answer in time.
    is_unheard: bool,
    /// Where it is under way, if that is counted.
    at_endpoint: Option<AtEndpoint>,
    /// It became a tunnel.
    is_tunnel: bool,
    /// Its proxy wants a record of it on disk before it goes on.
    is_durable: bool,
    /// Set where it is traced, or its upstream is told what its caller says of traces.
    trace: Option<Box<Trace>>,
    /// Set where it is to be explained.
    tried: Option<Box<trial::Tried>>,
}

impl Draft {
    pub(super) fn begin(worker: &Rc<Worker>, busy: Busy, revision: u64, method: &Method) -> Self {
        worker.counters.request_began();
        let record = RawRecord::new(worker.next_request_id(), worker.clock.now(), method.clone(), revision);
        let record = Box::new(record);
        Self {
            worker: Rc::clone(worker),
            busy,
            started: Instant::now(),
            request_bytes: Rc::default(),
            record: Some(record),
            charges: Charges::default(),
            holder: None,
            under_way: None,
            is_deciding: false,
            is_asked: false,
            is_unheard: false,
            at_endpoint: None,
            is_tunnel: false,
            is_durable: false,
            trace: None,
            tried: None,
        }
    }

    fn kept(&self) -> &RawRecord {
        self.record.as_ref().expect("a record is taken in drop alone")
    }

    fn record(&mut self) -> &mut RawRecord {
        self.record.as_mut().expect("a record is taken in drop alone")
    }

    pub(super) fn request_id(&mut self) -> HeaderValue {
        HeaderValue::from_maybe_shared(Bytes::from(self.record().id.text()))
            .expect("an id is letters, digits and an underscore")
    }

    pub(super) fn received_at(&mut self) -> SystemTime {
        self.record().received_at
    }

    pub(super) fn request_bytes(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.request_bytes)
    }

    pub(super) fn busy(&self) -> Busy {
        self.busy.clone()
    }

    /// What the connection has shown.
    pub(super) fn came_over(&mut self, hop: &Hop) {
        if let Some(shown) = hop.shown() {
            self.record().client_key = Some(*shown.key.as_bytes());
        }
    }

    /// It is one of the requests that a proxy has under way, until its end.
    pub(super) fn is_under_way(&mut self, under_way: UnderWay) {
        self.under_way = Some(under_way);
    }

    /// Which proxy the request names.
    pub(super) fn addressed(&mut self, proxy: Option<&CompiledProxy>) {
        if let Some(proxy) = proxy {
            self.is_durable = proxy.keeping().is_some_and(|keeping| keeping.durable);
            let record = self.record();
            record.org = Some(proxy.org_id);
            record.proxy = Some(proxy.id);
            record.sample = proxy.keeping().and_then(|keeping| keeping.sample_per_thousand);
        }
    }

    pub(super) fn resolved(&mut self, request: &Resolved<'_>) {
        if let Some(proxy) = request.proxy {
            self.goes_on_as(proxy, request.path.as_str());
        }
    }

    /// Why no credential of it counts.
    pub(super) fn is_of_another_page(&mut self) {
        self.record().reason = Some(Reason::Origin);
    }

    /// The proxy changes its path.
    pub(super) fn goes_on_as(&mut self, proxy: &CompiledProxy, path: &str) {
        self.record().path = keep::path(proxy, path);
    }

    /// What the record is to hold of headers and parameters, beside what it holds.
    pub(super) fn keeps(&mut self, values: Vec<KeptValue>) {
        let kept = &mut self.record().kept;
        if kept.is_empty() {
            *kept = values;
        } else {
            kept.extend(values);
        }
    }

    /// What is told of a refusal to operators alone.
    pub(super) fn refused(&mut self, refused: &Refused) {
        self.decision_ended();
        self.ends_by(refused);
        self.is_unheard = matches!(
            refused,
            Refused::Failure(Failure::Upstream(
                SendError::ResponseTimeout | SendError::TotalTimeout { is_asked: true }
            ))
        );
        if refused.code() == Code::SecretEchoed {
            self.echoed(true);
        }
        if let Refused::Failure(Failure::NoRoom(_)) = refused {
            // The answer has come, and its caller may have seen to it that there is no room.
            self.unread();
        }
        let record = self.record();
        let denial = match refused {
            Refused::Denial(denial) => denial,
            Refused::Failure(Failure::Credential(unusable)) => {
                record.reason = Some(reason(*unusable));
                return;
            }
            Refused::Failure(_) => return,
        };
        match denial {
            Denial::BadCredential(reason) => record.reason = Some(*reason),
            Denial::Sender => record.reason = Some(Reason::Sender),
            Denial::Limited(limited) => {
                let (state, meter) = limited.states();
                record.limits.extend(state);
                record.meters.extend(meter);
            }
            _ => {}
        }
    }

    /// The upstream sent its secret back, which was masked, or for which the answer was `refused`.
    pub(super) fn echoed(&mut self, refused: bool) {
        let record = self.record();
        if record.echo.is_some() {
            return;
        }
        record.echo = Some(if refused { EchoOutcome::Refused } else { EchoOutcome::Masked });
        let ids = (record.org, record.upstream, record.proxy);
        self.worker.counters.echoed(refused);
        if let (Some(org), Some(credential), Some(proxy)) = ids {
            let at = self.worker.clock.now();
            self.worker.echoes.note(Echoed { org, credential, proxy, at, refused });
        }
    }

    pub(super) fn authenticated(&mut self, request: &Authenticated<'_>) {
        let record = self.record();
        record.caller = Some(request.caller.credential);
        let at = record.received_at;
        self.worker.caller_came(request.caller, at);
        self.holder = request.holder;
    }

    /// Who holds the token, where holders are counted apart. No record says it.
    pub(super) fn holder(&self) -> Option<Holder> {
        self.holder
    }

    /// There was nothing that the rules could say.
    pub(super) fn allowed(&mut self) {
        self.record().rules = Some(RuleOutcome { effect: Effect::Allow, scope: None, rule: None });
    }

    /// What the rules said.
    pub(super) fn decided(&mut self, decision: &Decision<'_>) {
        let record = self.record();
        record.rules = Some(outcome(&decision.verdict));
        record.observed = decision.observed.as_ref().map(observed);
        record.matched = decision.matched.iter().map(|rule| rule.id).collect();
        self.is_deciding = true;
    }

    pub(super) fn admitted(&mut self, request: &Active<'_>) {
        self.decision_ended();
        let record = self.record();
        record.target = Some(request.route.target.id);
        record.upstream = request.proxy.upstream_credential();
    }

    /// Whether a record of it has to be on disk before it goes on, and nobody has waited for that. Of requests whose caller was let
    /// in: others could have the disk written to by whoever likes.
    pub(super) fn has_to_be_sure(&self) -> bool {
        self.is_durable && self.kept().caller.is_some() && !self.kept().has_begun
    }

    /// Waits until it is on disk that the request came, and what was decided.
    pub(super) async fn make_sure(&mut self) -> Result<(), Failure> {
        let record = self.record();
        // Whether or not it comes to that: what takes the place of nothing does no harm.
        record.has_begun = true;
        let beginning = Box::new(record.beginning());
        match timeout(SURE_WITHIN, self.worker.begin(beginning)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Failure::RecordUnsure),
        }
    }

    /// The same for a request that is refused: by what it is refused in the end.
    pub(super) async fn made_sure(&mut self, refused: Refused) -> Refused {
        self.record().code = Some(refused.code());
        match self.make_sure().await {
            Ok(()) => refused,
            Err(failure) => failure.into(),
        }
    }

    /// When the request began, as limits count it.
    pub(super) fn moment(&self) -> Moment {
        self.worker.quota_clock.moment(self.started)
    }

    /// What was charged, to be settled at the end.
    pub(super) fn charged(&mut self, charges: Charges) {
        self.charges = charges;
        self.is_deciding = true;
    }

    /// Takes the time once, whichever of rules and limits there were.
    fn decision_ended(&mut self) {
        if std::mem::take(&mut self.is_deciding) {
            let took = self.started.elapsed();
            self.record().decide_duration = Some(took);
        }
    }

    pub(super) fn charges(&self) -> &Charges {
        &self.charges
    }

    /// Whether a meter reads its number from the response's body.
    pub(super) fn reads_bodies(&self) -> bool {
        self.charges.read_bodies()
    }

    /// Has meters read their numbers from the head of the response.
    pub(super) fn read_headers(&mut self, headers: &HeaderMap) {
        self.charges.read_headers(headers);
    }

    /// Has meters read their numbers from the response's document; `None` where there is none.
    pub(super) fn read_values(&mut self, document: Option<&[u8]>) {
        self.charges.read_document(document);
    }

    /// Has meters read their numbers from a part of a stream.
    pub(super) fn read_unit(&mut self, framing: Framing, unit: Unit<'_>) {
        self.charges.read_unit(framing, unit);
    }

    /// No more of a stream comes; `readable`: all of it could be read.
    pub(super) fn read_all(&mut self, readable: bool) {
        self.charges.read_all(readable);
    }

    /// Whether meters read a document of this length in no time.
    pub(super) fn reads_at_once(&self, length: usize) -> bool {
        self.charges.reads_at_once(length)
    }

    /// Has meters read their numbers from a document of any length; `whole`: all of it has come.
    pub(super) async fn read_in_turn(&mut self, document: &[u8], whole: bool) {
        self.charges.read_in_turn(document, whole).await;
    }

    /// The numbers of meters stay unread.
    pub(super) fn unread(&mut self) {
        self.charges.unread();
    }

    /// The right to hold a body of it, of which nothing has come.
    pub(super) fn holds(&self, what: Gathered) -> Held {
        let org = self.kept().org.expect("bodies are looked at for a proxy alone, which has one");
        self.worker.bodies.hold(org, what)
    }

    pub(super) fn org(&self) -> Option<OrgId> {
        self.kept().org
    }

    /// Has meters read their numbers from what came of the response's document.
    pub(super) fn read_broken(&mut self, document: &[u8]) {
        self.charges.read_broken(document);
    }

    /// Filters went over a response of so many bytes.
    pub(super) fn filters_saw(&mut self, before: usize) {
        self.record().filters.get_or_insert_default().bytes_before = before as u64;
    }

    /// What the filters did, of the request or of its response.
    pub(super) fn filtered(&mut self, filtered: &Filtered<'_>, took: Duration) {
        let record = self.record();
        let effect = record.filters.get_or_insert_default();
        effect.filters += filtered.filters;
        effect.values += filtered.taken;
        record.filter_duration = Some(record.filter_duration.unwrap_or_default() + took);
    }

    /// What filters did with more of a stream, and how long they took.
    pub(super) fn filtered_more(&mut self, did: Did, took: Duration) {
        let record = self.record();
        let effect = record.filters.get_or_insert_default();
        effect.filters += did.filters;
        effect.values += did.values;
        effect.bytes_before += did.bytes;
        record.filter_duration = Some(record.filter_duration.unwrap_or_default() + took);
    }

    pub(super) fn method(&self) -> &Method {
        &self.kept().method
    }

    /// When the request's head had come.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// More bytes went to the caller.
    pub(super) fn sent(&mut self, bytes: u64) {
        self.record().response_bytes += bytes;
    }

    /// The request goes out now.
    pub(super) fn asks(&mut self) {
        self.is_asked = true;
    }

    /// It goes out to a base URL with this name, where there are several, and is under way there until it ends.
    pub(super) fn attempts(&mut self, endpoint: Option<&Arc<str>>, at_endpoint: Option<AtEndpoint>) {
        self.asks();
        self.at_endpoint = at_endpoint;
        let record = self.record();
        record.attempts += 1;
        record.endpoint = endpoint.cloned();
    }

    /// It took so long until the answer began, or none came; so many interim answers came before.
    pub(super) fn upstream_took(&mut self, duration: Duration, interim: u32) {
        let record = self.record();
        (record.upstream_duration, record.interim_responses) = (Some(duration), interim);
    }

    pub(super) fn upstream_answered(&mut self, status: StatusCode) {
        self.record().upstream_status = Some(status);
    }

    /// It becomes a tunnel, of which meters learn no more than they know now.
    pub(super) fn opened(&mut self) {
        self.is_tunnel = true;
        self.worker.counters.tunnel_opened();
        std::mem::take(&mut self.charges).settle(Done::All, self.record());
    }

    /// The tunnel has ended; `is_whole`: in the ordinary course.
    pub(super) fn tunnel_ended(&mut self, by: TunnelEnd, is_whole: bool) {
        let record = self.record();
        record.tunnel_end = Some(by);
        record.aborted = !is_whole;
    }

    pub(super) fn worker(&self) -> Rc<Worker> {
        Rc::clone(&self.worker)
    }

    pub(super) fn answered(&mut self, code: Code, status: StatusCode) {
        let record = self.record();
        record.code = Some(code);
        record.status = Some(status);
    }

    /// The response was broken off for this.
    pub(super) fn broken_off(&mut self, code: Code) {
        self.record().code = Some(code);
    }

    pub(super) fn delivered(&mut self) {
        self.record().aborted = false;
    }
}

/// Its meters, at a stream.
impl Look for Draft {
    fn unit(&mut self, framing: Framing, unit: Unit<'_>) {
        self.read_unit(framing, unit);
    }

    fn passes_by(&self, framing: Framing, units: &[u8]) -> bool {
        self.charges.pass_by(framing, units)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let Some(mut record) = self.record.take() else { return };
        record.duration = self.started.elapsed();
        record.request_bytes = self.request_bytes.get();
        if self.is_tunnel {
            self.worker.counters.tunnel_closed();
            // One that was ended from outside: with the node, or because its caller did not read.
            let by = if self.worker.is_stopping() { TunnelEnd::Stop } else { TunnelEnd::Caller };
            record.tunnel_end.get_or_insert(by);
        }
        let done = match record.upstream_status {
            Some(status) if !status.is_success() => Done::Nothing,
            Some(_) if record.aborted => Done::Perhaps,
            Some(_) => Done::All,
            // A caller that leaves before the answer does not leave its cost behind, nor does one that breaks off its
            // request in another way, or whose request takes longer than is waited for: the upstream may have begun.
            None if self.is_asked && (self.is_unheard || is_callers_end(record.code)) => Done::Perhaps,
            None => Done::Nothing,
        };
        std::mem::take(&mut self.charges).settle(done, &mut record);
        self.worker.counters.request_ended(record.code, record.duration);
        if let (Some(trace), Some(tracer)) = (self.trace.take(), &self.worker.tracer) {
            tracer.end(*trace, &record);
        }
        if let Some(tried) = self.tried.take() {
            tried.end(record.duration, (*record).clone());
        }
        self.worker.record(record);
    }
}

/// Why the upstream's credential could not be used.
fn reason(unusable: Unusable) -> Reason {
    match unusable {
        Unusable::Missing => Reason::NoVersion,
        Unusable::Sealed => Reason::Sealed,
        Unusable::Expired => Reason::Ended,
        Unusable::Origin => Reason::OtherOrigin,
        Unusable::Host => Reason::OtherHost,
        Unusable::Ca => Reason::OtherCa,
        Unusable::Token => Reason::NoToken,
        Unusable::Plain => Reason::Plain,
    }
}

/// Whether it was the caller that ended a request without an answer.
fn is_callers_end(code: Option<Code>) -> bool {
    let ends = |code| {
        matches!(code, Code::CallerGone | Code::Malformed | Code::RequestTimeout | Code::RequestTooLarge)
    };
    code.is_none_or(ends)
}

fn outcome(verdict: &Verdict<'_>) -> RuleOutcome {
    match verdict {
        Verdict::Allow { by } => allowed(*by),
        Verdict::Deny { scope, by } => denied(*scope, *by),
        Verdict::NeedsBody | Verdict::Unreadable(_) => UNREADABLE,
    }
}

fn observed(observed: &Observed<'_>) -> RuleOutcome {
    match observed {
        Observed::Allow { by } => allowed(*by),
        Observed::Deny { scope, by } => denied(*scope, *by),
        Observed::Unreadable => UNREADABLE,
    }
}

const UNREADABLE: RuleOutcome = RuleOutcome { effect: Effect::Unspecified, scope: None, rule: None };

fn allowed(by: Option<(Scope, &CompiledRule)>) -> RuleOutcome {
    RuleOutcome {
        effect: Effect::Allow,
        scope: by.map(|(scope, _)| scope),
        rule: by.map(|(_, rule)| rule.id),
    }
}

fn denied(scope: Scope, by: Option<&CompiledRule>) -> RuleOutcome {
    RuleOutcome { effect: Effect::Deny, scope: Some(scope), rule: by.map(|rule| rule.id) }
}
