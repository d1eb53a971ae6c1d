//! One request as the worker records it: ids and numbers, so that recording is cheap.
//!
//! Texts are formatted on the spool's thread. There is no field that a query, a header or a body would fit in.

use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use rr_contract::model::id::{CredentialId, MeterId, OrgId, ProxyId, RequestId, RuleId, TargetId};
use rr_contract::model::time::{timestamp, wire_duration};
use rr_contract::policy::verdict::Scope;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::{Effect, LimitKind, Window};

use crate::outcome::Code;

/// One request.
pub(crate) struct RawRecord {
    pub(crate) id: RequestId,
    pub(crate) received_at: SystemTime,
    pub(crate) org: Option<OrgId>,
    pub(crate) proxy: Option<ProxyId>,
    pub(crate) caller: Option<CredentialId>,
    pub(crate) target: Option<TargetId>,
    pub(crate) upstream: Option<CredentialId>,
    pub(crate) method: Method,
    pub(crate) path: Box<str>,
    /// `None`: the caller disconnected before the response.
    pub(crate) status: Option<StatusCode>,
    pub(crate) upstream_status: Option<StatusCode>,
    pub(crate) code: Option<Code>,
    pub(crate) duration: Duration,
    pub(crate) upstream_duration: Option<Duration>,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) revision: u64,
    pub(crate) aborted: bool,
    /// `None`: the rules were not asked.
    pub(crate) rules: Option<RuleOutcome>,
    pub(crate) observed: Option<RuleOutcome>,
    /// Those that matched, the first of them.
    pub(crate) matched: Vec<RuleId>,
    pub(crate) limits: Vec<LimitState>,
    pub(crate) meters: Vec<MeterState>,
    pub(crate) filters: Option<FilterEffect>,
    pub(crate) decide_duration: Option<Duration>,
    pub(crate) filter_duration: Option<Duration>,
    /// How many requests it stands for.
    pub(crate) count: u64,
    /// Why the credential was refused.
    pub(crate) reason: Option<Reason>,
}

/// Why a credential was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// There is none.
    Missing,
    /// There are two.
    Ambiguous,
    /// It is nobody's.
    Unknown,
    /// Its time is over.
    Expired,
    /// The proxy does not take it.
    NotAdmitted,
}

impl Reason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Ambiguous => "ambiguous",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::NotAdmitted => "not-admitted",
        }
    }
}

/// What rules said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RuleOutcome {
    /// Unspecified: they could not say.
    pub(crate) effect: Effect,
    pub(crate) scope: Option<Scope>,
    pub(crate) rule: Option<RuleId>,
}

/// How far a limit was used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LimitState {
    pub(crate) kind: LimitKind,
    pub(crate) window: Window,
    pub(crate) limit: u64,
    pub(crate) used: u64,
}

/// What a meter counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MeterState {
    pub(crate) meter: MeterId,
    /// In millionths.
    pub(crate) charged: u64,
    pub(crate) missing: bool,
    pub(crate) exceeded: Option<Window>,
}

/// What filters did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FilterEffect {
    pub(crate) filters: u32,
    pub(crate) values: u64,
    pub(crate) bytes_before: u64,
}

impl RawRecord {
    /// A request of which nothing is known yet but that it came.
    pub(crate) fn new(id: RequestId, received_at: SystemTime, method: Method, revision: u64) -> Self {
        Self {
            id,
            received_at,
            org: None,
            proxy: None,
            caller: None,
            target: None,
            upstream: None,
            method,
            path: Box::default(),
            status: None,
            upstream_status: None,
            code: None,
            duration: Duration::ZERO,
            upstream_duration: None,
            request_bytes: 0,
            response_bytes: 0,
            revision,
            aborted: true,
            rules: None,
            observed: None,
            matched: Vec::new(),
            limits: Vec::new(),
            meters: Vec::new(),
            filters: None,
            decide_duration: None,
            filter_duration: None,
            count: 1,
            reason: None,
        }
    }

    pub(crate) fn into_record(self) -> fleet::Record {
        fn number(status: Option<StatusCode>) -> u32 {
            status.map_or(0, |status| status.as_u16().into())
        }
        fleet::Record {
            id: self.id.text(),
            received_at: Some(timestamp(self.received_at)),
            org: self.org.as_ref().map(OrgId::text).unwrap_or_default(),
            proxy: self.proxy.as_ref().map(ProxyId::text).unwrap_or_default(),
            caller_credential: self.caller.as_ref().map(CredentialId::text).unwrap_or_default(),
            target: self.target.as_ref().map(TargetId::text).unwrap_or_default(),
            upstream_credential: self.upstream.as_ref().map(CredentialId::text).unwrap_or_default(),
            method: self.method.as_str().to_owned(),
            path: self.path.into_string(),
            status: number(self.status),
            upstream_status: number(self.upstream_status),
            code: self.code.unwrap_or(Code::CallerGone).as_str().to_owned(),
            duration: Some(wire_duration(self.duration)),
            upstream_duration: self.upstream_duration.map(wire_duration),
            request_bytes: self.request_bytes,
            response_bytes: self.response_bytes,
            revision: self.revision,
            aborted: self.aborted,
            rules: self.rules.map(RuleOutcome::to_wire),
            observed: self.observed.map(RuleOutcome::to_wire),
            matched_rules: self.matched.iter().map(ToString::to_string).collect(),
            limits: self.limits.into_iter().map(LimitState::to_wire).collect(),
            meters: self.meters.into_iter().map(MeterState::to_wire).collect(),
            filters: self.filters.map(|effect| fleet::FilterEffect {
                filters: effect.filters,
                values: effect.values,
                bytes_before: effect.bytes_before,
            }),
            decide_duration: self.decide_duration.map(wire_duration),
            filter_duration: self.filter_duration.map(wire_duration),
            // Unset means one.
            count: if self.count == 1 { 0 } else { self.count },
            reason: self.reason.map(Reason::as_str).unwrap_or_default().to_owned(),
        }
    }
}

impl RuleOutcome {
    fn to_wire(self) -> fleet::RuleOutcome {
        let scope = match self.scope {
            None => fleet::Scope::Unspecified,
            Some(Scope::Caller) => fleet::Scope::Caller,
            Some(Scope::Upstream) => fleet::Scope::Upstream,
            Some(Scope::Proxy) => fleet::Scope::Proxy,
            Some(Scope::Target) => fleet::Scope::Target,
        };
        let rule = self.rule.map(|id| id.to_string()).unwrap_or_default();
        fleet::RuleOutcome { effect: self.effect.into(), scope: scope.into(), rule }
    }
}

impl LimitState {
    fn to_wire(self) -> fleet::LimitState {
        fleet::LimitState {
            kind: self.kind.into(),
            window: self.window.into(),
            limit: self.limit,
            used: self.used,
        }
    }
}

impl MeterState {
    fn to_wire(self) -> fleet::MeterState {
        fleet::MeterState {
            meter: self.meter.to_string(),
            charged_millionths: self.charged,
            missing: self.missing,
            exceeded: self.exceeded.unwrap_or(Window::Unspecified).into(),
        }
    }
}
