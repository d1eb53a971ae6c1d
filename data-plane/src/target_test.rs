//! Tests of targets, as the control plane asks for them: the test path is requested with a proxy's upstream credential.
//!
//! Runs on the control thread, over connections that are opened for one test and closed behind it. The invariants: a
//! question names what this node has, and nothing of the request comes from it; nothing of a response but its status and
//! the length of its body goes back; a control plane that asks without end has a bounded number of requests made.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf as _;
use futures_util::stream::{self, StreamExt as _};
use http::Version;
use http_body_util::BodyExt as _;
use rr_contract::model::id::{CredentialId, OrgId, ProxyId, TargetId};
use rr_contract::model::time;
use rr_contract::outbound::Outbound;
use rr_contract::runtime::{Stop, Tasks, chain};
use rr_contract::seam::Seams;
use rr_contract::wire::fleet::{self, TestRefusal, TestStage};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use crate::pipeline::{test_request, wait_for_token};
use crate::reply::{Failure, Refused};
use crate::snapshot::{CompiledTarget, Known, Route, Snapshot};
use crate::sync::TestTargets;
use crate::upstream::{Connections, Course, Phase, SendError, Spans, TlsFacts, Trust};

/// How long a test may take, whatever the control plane says.
const TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT_MAX: Duration = Duration::from_secs(30);
/// How many run at once, all organizations together; of each, one does.
const AT_ONCE: usize = 8;
/// How many begin within a minute, of one organization and of all.
const A_MINUTE: u32 = 30;
const A_MINUTE_IN_ALL: u32 = 120;
const MINUTE: Duration = Duration::from_secs(60);
/// How many base URLs of a target are tested at once.
const BASE_URLS_AT_ONCE: usize = 8;
/// How much of a body is read.
const BODY_MAX: u64 = 1024 * 1024;
/// How much of a reason is told.
const REASON_MAX: usize = 500;

/// Who tests, and how much is being tested.
#[derive(Clone)]
pub(crate) struct TargetTests {
    outbound: Arc<Outbound>,
    trust: Arc<Trust>,
    seams: Seams,
    tasks: Tasks,
    stop: Stop,
    bounds: Rc<RefCell<Bounds>>,
}

impl TargetTests {
    pub(crate) fn new(
        outbound: Arc<Outbound>,
        trust: Arc<Trust>,
        seams: Seams,
        tasks: Tasks,
        stop: Stop,
    ) -> Self {
        Self { outbound, trust, seams, tasks, stop, bounds: Rc::default() }
    }

    async fn run(&self, route: &Route, until: Instant) -> Vec<fleet::BaseUrlTest> {
        let count = u8::try_from(route.target.endpoints().count()).unwrap_or(u8::MAX);
        let tests = (0..count).map(|index| self.one(route, route.target.at(index), until));
        stream::iter(tests).buffered(BASE_URLS_AT_ONCE).collect().await
    }

    async fn one(&self, route: &Route, target: &Arc<CompiledTarget>, until: Instant) -> fleet::BaseUrlTest {
        let mut told =
            fleet::BaseUrlTest { base_url: target.base.to_string(), ..fleet::BaseUrlTest::default() };
        let now = self.seams.clock.now();
        if let Some(source) = route.upstream.as_deref().and_then(|credential| credential.token_source())
            && !source.has_token(now)
        {
            wait_for_token(&source, now, Some(until)).await;
        }
        let request = match test_request(route, target, now, &*self.seams.entropy) {
            Ok(request) => request,
            Err(refused) => {
                let is_credential = matches!(refused, Refused::Failure(Failure::Credential(_)));
                let stage = if is_credential { TestStage::Credential } else { TestStage::Send };
                fails(&mut told, stage, &refused);
                return told;
            }
        };
        // Of this request alone: what it opens is in no pool, and no session of another is taken up again.
        let (outbound, trust) = (Arc::clone(&self.outbound), Arc::clone(&self.trust));
        let connections = Connections::new(outbound, trust, Arc::default(), self.tasks.clone(), 1);
        let mut course = Course::begin();
        let ended = timeout_at(until, async {
            let own = route.shown();
            let sent = connections.test(target, own.as_ref(), request, &mut course);
            let reply = sent.await.map_err(Failed::Send)?;
            told.status = reply.response.status().as_u16().into();
            told.http_version = version(reply.response.version()).to_owned();
            let mut body = reply.response.into_body();
            // The lease goes at the end, and closes the connection.
            let _lease = reply.lease;
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(Failed::Body)?;
                told.body_bytes += frame.data_ref().map_or(0, |data| data.remaining() as u64);
                if told.body_bytes > BODY_MAX {
                    (told.body_bytes, told.body_cut) = (BODY_MAX, true);
                    break;
                }
            }
            course.is_read();
            Ok::<_, Failed>(())
        });
        let ended = ended.await;
        match ended {
            Ok(Ok(())) if told.status >= 400 => {
                told.failed = TestStage::Status.into();
                told.reason = format!("upstream answered with status {}", told.status);
            }
            Ok(Ok(())) => {}
            Ok(Err(Failed::Send(error))) => {
                let stage = stage_of(&error, course.phase);
                fails(&mut told, stage, &Refused::Failure(Failure::Upstream(error)));
            }
            Ok(Err(Failed::Body(error))) => {
                told.failed = TestStage::Body.into();
                told.reason = cut(format!("upstream broke off its response: {}", chain(&error)));
            }
            Err(_) => {
                told.failed = stage_of_phase(course.phase).into();
                told.reason = "the time of the test was over".to_owned();
            }
        }
        told.phases = Some(phases(course.spans, course.total()));
        told.remote_address = course.remote.map(|remote| remote.to_string()).unwrap_or_default();
        told.tls = course.tls.map(|facts| tls(facts, target));
        debug!(target_id = %target.id, failed = told.failed().as_str_name(), "target tested");
        told
    }
}

impl TestTargets for TargetTests {
    fn start(
        &self,
        snapshot: &Snapshot,
        asked: fleet::TestTarget,
        answers: mpsc::Sender<fleet::TargetTested>,
    ) {
        let tests = self.clone();
        let mut answer = fleet::TargetTested {
            // As long as the answer's own: a name of any length is no reason to send as much back.
            test: asked.test.iter().copied().take(16).collect(),
            revision: snapshot.revision,
            ..fleet::TargetTested::default()
        };
        let begun = found(snapshot, &asked).and_then(|(org, route)| {
            let place = Bounds::take(&self.bounds, org, Instant::now()).ok_or(TestRefusal::Busy)?;
            Ok((route, place))
        });
        let until = Instant::now() + within(asked.timeout.as_ref());
        self.tasks.spawn_local("target test", async move {
            let stop = tests.stop.clone();
            let work = async {
                match begun {
                    Ok((route, _place)) => answer.base_urls = tests.run(&route, until).await,
                    Err(refusal) => answer.refusal = refusal.into(),
                }
                answers.send(answer).await.ok();
            };
            stop.cut(work).await;
        });
    }
}

enum Failed {
    Send(SendError),
    Body(hyper::Error),
}

/// What a question is about, as this node has it.
fn found(snapshot: &Snapshot, asked: &fleet::TestTarget) -> Result<(OrgId, Route), TestRefusal> {
    let unknown = TestRefusal::Unknown;
    let org: OrgId = asked.org.parse().map_err(|_| unknown)?;
    let id: ProxyId = asked.proxy.parse().map_err(|_| unknown)?;
    let proxy = snapshot.proxy_by_id(&id).filter(|proxy| proxy.org_id == org).ok_or(unknown)?;
    let (Some(route), Known::Whole(model)) = (&proxy.route, &proxy.model) else { return Err(unknown) };
    let target: Option<TargetId> = asked.target.parse().ok();
    let credential: Option<CredentialId> = asked.upstream_credential.parse().ok();
    if (target, credential) != (Some(model.target), Some(model.upstream_credential)) {
        return Err(TestRefusal::Elsewhere);
    }
    // A proxy that is switched off can be tested before it is switched on.
    if route.org.suspended { Err(TestRefusal::Inactive) } else { Ok((org, route.clone())) }
}

fn within(said: Option<&pbjson_types::Duration>) -> Duration {
    said.and_then(|said| time::duration(said).ok()).map_or(TIMEOUT, |said| said.min(TIMEOUT_MAX))
}

fn fails(told: &mut fleet::BaseUrlTest, stage: TestStage, why: &Refused) {
    told.failed = stage.into();
    why.code().as_str().clone_into(&mut told.code);
    told.reason = cut(chain(why).to_string());
}

fn cut(text: String) -> String {
    if text.len() > REASON_MAX { text.chars().take(REASON_MAX).collect() } else { text }
}

fn stage_of(error: &SendError, phase: Phase) -> TestStage {
    match error {
        SendError::Guarded => TestStage::Guard,
        SendError::Resolve(_) => TestStage::Resolve,
        SendError::Connect(_) | SendError::Busy => TestStage::Connect,
        SendError::Tls(_) | SendError::Trust(_) | SendError::Version(_) | SendError::ClientCertificate(_) => {
            TestStage::Tls
        }
        SendError::ResponseTimeout | SendError::Switched | SendError::Coded => TestStage::Wait,
        SendError::ConnectTimeout
        | SendError::TotalTimeout { .. }
        | SendError::Broken(_)
        | SendError::Caller(_) => stage_of_phase(phase),
    }
}

fn stage_of_phase(phase: Phase) -> TestStage {
    match phase {
        Phase::Resolve => TestStage::Resolve,
        Phase::Connect => TestStage::Connect,
        Phase::Tls => TestStage::Tls,
        Phase::Send => TestStage::Send,
        Phase::Wait => TestStage::Wait,
        Phase::Body => TestStage::Body,
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

fn phases(spans: Spans, total: Duration) -> fleet::TestPhases {
    let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    fleet::TestPhases {
        resolve_us: spans.resolve.map(micros),
        connect_us: spans.connect.map(micros),
        tls_us: spans.tls.map(micros),
        wait_us: spans.wait.map(micros),
        body_us: spans.body.map(micros),
        total_us: Some(micros(total)),
    }
}

fn tls(facts: TlsFacts, target: &CompiledTarget) -> fleet::TestTls {
    fleet::TestTls {
        version: facts.version.to_owned(),
        cipher_suite: facts.cipher_suite,
        alpn: facts.alpn,
        subject: facts.subject,
        issuer: facts.issuer,
        not_after: facts.not_after.map(|seconds| pbjson_types::Timestamp { seconds, nanos: 0 }),
        by_target_ca: target.ca_hash().is_some(),
    }
}

/// How much is tested, and was within the minute.
#[derive(Default)]
struct Bounds {
    running: Vec<OrgId>,
    minute: Option<Instant>,
    begun: HashMap<OrgId, u32>,
}

/// The right to test, until it is dropped.
struct Place {
    bounds: Rc<RefCell<Bounds>>,
    org: OrgId,
}

impl Bounds {
    fn take(bounds: &Rc<RefCell<Self>>, org: OrgId, now: Instant) -> Option<Place> {
        let mut all = bounds.borrow_mut();
        if all.minute.is_none_or(|minute| now.duration_since(minute) >= MINUTE) {
            (all.minute, all.begun) = (Some(now), HashMap::new());
        }
        let own = all.begun.get(&org).copied().unwrap_or_default();
        let is_full = all.running.len() >= AT_ONCE
            || all.running.contains(&org)
            || own >= A_MINUTE
            || all.begun.values().sum::<u32>() >= A_MINUTE_IN_ALL;
        if is_full {
            return None;
        }
        all.running.push(org);
        *all.begun.entry(org).or_default() += 1;
        Some(Place { bounds: Rc::clone(bounds), org })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.bounds.borrow_mut().running.retain(|org| *org != self.org);
    }
}

#[cfg(test)]
mod tests;
