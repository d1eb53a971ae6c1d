//! One request as the worker records it: ids and numbers, so that recording is cheap.
//!
//! Texts are formatted on the spool's thread. There is no field that a query, a header or a body would fit in; what a proxy
//! names of them comes as `scrub` leaves it, as paths do.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use rr_contract::model::id::{CredentialId, MeterId, OrgId, ProxyId, RequestId, RuleId, TargetId};
use rr_contract::model::time::{timestamp, wire_duration};
use rr_contract::policy::verdict::Scope;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::{EchoOutcome, Effect, KeptPlace, LimitKind, PathChange, TunnelEnd, Window};
use tokio::sync::oneshot;

use crate::jwt::Fault;
use crate::outcome::Code;
use crate::scrub::{Path, Value};

/// How long the method of a record may be, and so that of a request which goes on.
pub(crate) const METHOD_MAX: usize = 32;

/// How many meters a record names, however many there were: of records that wait to be sent there are thousands.
pub(crate) const METERS_MAX: usize = 16;

/// One request.
#[derive(Clone)]
pub(crate) struct RawRecord {
    pub(crate) id: RequestId,
    pub(crate) received_at: SystemTime,
    pub(crate) org: Option<OrgId>,
    pub(crate) proxy: Option<ProxyId>,
    pub(crate) caller: Option<CredentialId>,
    pub(crate) target: Option<TargetId>,
    pub(crate) upstream: Option<CredentialId>,
    pub(crate) method: Method,
    pub(crate) path: Path,
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
    /// Why the credential or the sender was refused, or the upstream's credential could not be used.
    pub(crate) reason: Option<Reason>,
    /// How often it was sent to the upstream.
    pub(crate) attempts: u32,
    /// Interim responses of the upstream.
    pub(crate) interim_responses: u32,
    /// Host and port of the base URL, where there are several.
    pub(crate) endpoint: Option<Arc<str>>,
    /// Set where it became a tunnel.
    pub(crate) tunnel_end: Option<TunnelEnd>,
    /// Of the client certificate.
    pub(crate) client_key: Option<[u8; 32]>,
    /// Set where the upstream sent its secret back.
    pub(crate) echo: Option<EchoOutcome>,
    /// Of 1000 like it that were granted, how many its proxy wants kept; `None`: all. No record says it.
    pub(crate) sample: Option<u16>,
    /// Who waits until this, which says that the request has begun, is on disk.
    pub(crate) waiting: Waiting,
    /// Another, which this takes the place of, said that it had begun.
    pub(crate) has_begun: bool,
    /// Of headers and parameters that the proxy names.
    pub(crate) kept: Vec<KeptValue>,
}

/// Who waits for a record. A copy of the record keeps nobody waiting.
#[derive(Default)]
pub(crate) struct Waiting(pub(crate) Option<oneshot::Sender<()>>);

impl Clone for Waiting {
    fn clone(&self) -> Self {
        Self(None)
    }
}

/// A value of a header or a parameter.
#[derive(Clone)]
pub(crate) struct KeptValue {
    pub(crate) place: KeptPlace,
    pub(crate) name: Box<str>,
    pub(crate) value: Value,
}

/// Why a credential or a sender was refused, or the upstream's credential could not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// There is none.
    Missing,
    /// There are two.
    Ambiguous,
    /// It is nobody's.
    Unknown,
    /// It is nobody's, and looks like user and password.
    UnknownUser,
    /// There is such a user, with another password.
    WrongPassword,
    /// It stands where user and password do, and is not in their form.
    Malformed,
    /// It is nobody's, and looks like a signed token.
    UnknownToken,
    /// It is a token of an issuer that the proxy takes tokens of, and not a good one.
    Token(Fault),
    /// There is no value, and the connection's certificate is nobody's.
    CertificateUnknown,
    /// The name in it cannot be read in one way.
    CertificateName,
    /// It has ended, or one above it has.
    CertificateExpired,
    /// It has not begun, or one above it has not.
    CertificateEarly,
    /// None of the credential's authorities has issued it for clients.
    CertificateChain,
    /// So much was wrong at the proxy just now that it was not looked at.
    CertificateFlood,
    /// It is good, and in another header or behind another word than its credential says.
    Misplaced,
    /// Its time is over.
    Expired,
    /// A newer value took its place, and the time of both is over.
    Superseded,
    /// The proxy does not take it.
    NotAdmitted,
    /// It is good, and the proxy wants a client certificate beside it.
    NoCertificate,
    /// None counts: a web page asks whether it can call, whose origin the proxy does not name.
    Origin,
    /// None was looked for: a trusted proxy does not say who sent the request.
    Sender,
    /// Of the upstream's, as all that follow: the node has none that it could use.
    NoVersion,
    /// Its seal does not open.
    Sealed,
    /// It has ended.
    Ended,
    /// It is not sealed for the origin of the target.
    OtherOrigin,
    /// It is not sealed for the host that the proxy sends.
    OtherHost,
    /// It is not sealed for the certificates of the target.
    OtherCa,
    /// Its issuer gave no access token.
    NoToken,
    /// It is a client certificate, and the target has no TLS.
    Plain,
}

impl Reason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Ambiguous => "ambiguous",
            Self::Unknown => "unknown",
            Self::UnknownUser => "unknown-user",
            Self::WrongPassword => "wrong-password",
            Self::Malformed => "malformed",
            Self::UnknownToken => "unknown-token",
            Self::Token(fault) => fault.as_str(),
            Self::CertificateUnknown => "certificate-unknown",
            Self::CertificateName => "certificate-name",
            Self::CertificateExpired => "certificate-expired",
            Self::CertificateEarly => "certificate-early",
            Self::CertificateChain => "certificate-chain",
            Self::CertificateFlood => "certificate-flood",
            Self::Misplaced => "misplaced",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
            Self::NotAdmitted => "not-admitted",
            Self::NoCertificate => "no-certificate",
            Self::Origin => "origin",
            Self::Sender => "sender",
            Self::NoVersion => "no-version",
            Self::Sealed => "sealed",
            Self::Ended => "ended",
            Self::OtherOrigin => "other-origin",
            Self::OtherHost => "other-host",
            Self::OtherCa => "other-ca",
            Self::NoToken => "no-token",
            Self::Plain => "no-tls",
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
    /// The response broke off, and told no more.
    pub(crate) partial: bool,
    pub(crate) exceeded: Option<Window>,
}

/// What filters did.
#[derive(Debug, Clone, Copy, Default)]
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
            path: Path::default(),
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
            attempts: 0,
            interim_responses: 0,
            endpoint: None,
            tunnel_end: None,
            client_key: None,
            echo: None,
            sample: None,
            waiting: Waiting::default(),
            has_begun: false,
            kept: Vec::new(),
        }
    }

    /// What is known of it before its end.
    pub(crate) fn beginning(&self) -> Self {
        Self {
            org: self.org,
            proxy: self.proxy,
            caller: self.caller,
            target: self.target,
            upstream: self.upstream,
            path: self.path.clone(),
            code: self.code,
            rules: self.rules,
            observed: self.observed,
            matched: self.matched.clone(),
            reason: self.reason,
            client_key: self.client_key,
            ..Self::new(self.id, self.received_at, self.method.clone(), self.revision)
        }
    }

    /// The record as the wire has it.
    pub(crate) fn into_record(self) -> fleet::Record {
        let mut record = fleet::Record::default();
        self.replace(&mut record);
        record
    }

    /// Writes every field of a record that was used before, whose texts keep their allocations.
    pub(crate) fn replace(self, record: &mut fleet::Record) {
        fn number(status: Option<StatusCode>) -> u32 {
            status.map_or(0, |status| status.as_u16().into())
        }
        fn texts(text: &mut String, append: impl FnOnce(&mut String)) {
            text.clear();
            append(text);
        }
        let Self { id, org, proxy, caller, target, upstream, .. } = &self;
        texts(&mut record.id, |text| id.append_to(text));
        texts(&mut record.org, |text| org.iter().for_each(|id| id.append_to(text)));
        texts(&mut record.proxy, |text| proxy.iter().for_each(|id| id.append_to(text)));
        texts(&mut record.caller_credential, |text| caller.iter().for_each(|id| id.append_to(text)));
        texts(&mut record.target, |text| target.iter().for_each(|id| id.append_to(text)));
        texts(&mut record.upstream_credential, |text| upstream.iter().for_each(|id| id.append_to(text)));
        let method = self.method.as_str();
        texts(&mut record.method, |text| text.push_str(&method[..method.len().min(METHOD_MAX)]));
        texts(&mut record.code, |text| text.push_str(self.code.unwrap_or(Code::CallerGone).as_str()));
        texts(&mut record.reason, |text| text.push_str(self.reason.map_or("", Reason::as_str)));
        // The texts are taken out and put back, so that a field that is added has to be named here.
        *record = fleet::Record {
            id: mem::take(&mut record.id),
            received_at: Some(timestamp(self.received_at)),
            org: mem::take(&mut record.org),
            proxy: mem::take(&mut record.proxy),
            caller_credential: mem::take(&mut record.caller_credential),
            target: mem::take(&mut record.target),
            upstream_credential: mem::take(&mut record.upstream_credential),
            method: mem::take(&mut record.method),
            path_changes: changes(&self.path),
            path: self.path.text.into_string(),
            status: number(self.status),
            upstream_status: number(self.upstream_status),
            code: mem::take(&mut record.code),
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
            reason: mem::take(&mut record.reason),
            // Unset means once.
            attempts: if self.attempts <= 1 { 0 } else { self.attempts },
            interim_responses: self.interim_responses,
            endpoint: self.endpoint.as_deref().unwrap_or_default().to_owned(),
            tunnel_end: self.tunnel_end.unwrap_or(TunnelEnd::Unspecified).into(),
            client_key: self.client_key.map(Vec::from).unwrap_or_default(),
            echo: self.echo.unwrap_or(EchoOutcome::Unspecified).into(),
            kept_values: self.kept.into_iter().map(KeptValue::into_wire).collect(),
        };
    }
}

fn changes(path: &Path) -> Vec<i32> {
    let said = [
        (path.is_template, PathChange::Templated),
        (path.is_masked, PathChange::Masked),
        (path.is_cut, PathChange::Cut),
    ];
    said.into_iter().filter(|(is, _)| *is).map(|(_, change)| change.into()).collect()
}

impl KeptValue {
    fn into_wire(self) -> fleet::KeptValue {
        let Self { place, name, value: Value { text, is_masked, is_cut } } = self;
        fleet::KeptValue {
            place: place.into(),
            name: name.into_string(),
            value: text.into_string(),
            masked: is_masked,
            cut: is_cut,
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
            partial: self.partial,
            exceeded: self.exceeded.unwrap_or(Window::Unspecified).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare() -> RawRecord {
        RawRecord::new(RequestId::from_random([1; 16]), SystemTime::UNIX_EPOCH, Method::GET, 1)
    }

    #[test]
    fn a_record_keeps_nothing_of_the_one_that_it_is_written_over() {
        let full = RawRecord {
            org: Some(OrgId::from_random([2; 16])),
            proxy: Some(ProxyId::from_random([3; 16])),
            caller: Some(CredentialId::from_random([4; 16])),
            target: Some(TargetId::from_random([5; 16])),
            upstream: Some(CredentialId::from_random([6; 16])),
            path: Path { is_masked: true, ..Path::of("/a/long/path") },
            status: Some(StatusCode::OK),
            upstream_status: Some(StatusCode::OK),
            code: Some(Code::Granted),
            upstream_duration: Some(Duration::from_secs(1)),
            rules: Some(RuleOutcome { effect: Effect::Deny, scope: Some(Scope::Proxy), rule: None }),
            matched: vec![RuleId::from_random([7; 16])],
            limits: vec![LimitState { kind: LimitKind::Proxy, window: Window::Minute, limit: 5, used: 5 }],
            meters: vec![MeterState {
                meter: MeterId::from_random([8; 16]),
                charged: 1,
                missing: true,
                partial: true,
                exceeded: None,
            }],
            filters: Some(FilterEffect { filters: 1, values: 2, bytes_before: 3 }),
            decide_duration: Some(Duration::from_millis(1)),
            filter_duration: Some(Duration::from_millis(1)),
            count: 9,
            reason: Some(Reason::Unknown),
            attempts: 2,
            interim_responses: 3,
            endpoint: Some("a:443".into()),
            tunnel_end: Some(TunnelEnd::Caller),
            client_key: Some([9; 32]),
            echo: Some(EchoOutcome::Masked),
            sample: Some(1),
            has_begun: true,
            kept: vec![KeptValue { place: KeptPlace::Query, name: "page".into(), value: Value::of(b"7") }],
            ..bare()
        };
        let mut record = full.into_record();
        bare().replace(&mut record);
        assert_eq!(record, bare().into_record());
    }
}
