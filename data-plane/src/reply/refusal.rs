//! Why a request is not passed on or not answered, and what further members its problem has.
//!
//! Decides no status: [`Code`] says what happened, and `reply` what callers are told of it. Causes in here go to the
//! log and the record alone.

use std::time::Duration;

use http::HeaderValue;
use rr_contract::model::id::{MeterId, RuleId};
use rr_contract::model::name::Name;
use rr_contract::model::path::InvalidPath;
use rr_contract::model::proxy::DenyStatus;
use rr_contract::outbound::LookupError;
use rr_contract::policy::json::JsonError;
use rr_contract::policy::meter::Amount;
use rr_contract::policy::validate::Refusal;
use rr_contract::policy::verdict::Scope;
use rr_contract::wire::fleet::LimitKind;
use serde_json::json;

use crate::body::{DecodeError, NoRoom};
use crate::jwt::Fault;
use crate::outcome::Code;
use crate::quota::Exceeded;
use crate::report::{LimitState, MeterState, Reason};
use crate::sign::Unsignable;
use crate::snapshot::upstream::Unusable;
use crate::trials::TrialFault;
use crate::upstream::{CallerFault, SendError};

/// A decision of this node, not a fault.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Denial {
    /// Not a path of this node.
    #[error("path is not below /api/")]
    NotFound,
    /// It came without TLS to a port that has TLS.
    #[error("request without TLS to a port with TLS")]
    OutOfPlace,
    /// Its connection was made to another host, or can show no client certificate where one is wanted.
    #[error("request for another host than its connection was made to")]
    Misdirected,
    /// CONNECT, TRACE, and what is not in upper case or too long.
    #[error("method is refused")]
    Method,
    /// No configuration was ever received.
    #[error("no configuration yet")]
    NotReady,
    /// The path is ambiguous.
    #[error("malformed path")]
    Malformed(#[source] InvalidPath),
    /// The body has a hop-by-hop coding.
    #[error("request body has a transfer coding other than chunked")]
    Coded,
    /// The request names no host, or two.
    #[error("not exactly one Host header")]
    Host,
    /// A value of a header has a space around it, over HTTP/2.
    #[error("space around the value of a header")]
    Spaced,
    /// A trusted proxy does not say whose request it is, or says it in more than one way.
    #[error("header of a trusted proxy does not say who sent the request")]
    Sender,
    /// More headers than a request may have.
    #[error("too many headers")]
    Headers,
    /// The request cannot be sent on as it is.
    #[error("request target is too long")]
    TooLong,
    /// No such proxy.
    #[error("unknown proxy")]
    UnknownProxy,
    /// No, unknown, wrong, expired or foreign credential, or one that was not looked at.
    #[error("missing or invalid credential")]
    BadCredential(Reason),
    /// Switched off.
    #[error("proxy is inactive")]
    Inactive,
    /// The organization is suspended.
    #[error("organization is suspended")]
    Suspended,
    /// Part of its configuration was refused by this node.
    #[error("proxy is closed")]
    Closed,
    /// The body is longer than the proxy takes, or than rules and meters may look at.
    #[error("request body is too long")]
    RequestTooLarge,
    /// The upstream wants the body signed, and it is longer than is.
    #[error("request body is longer than is signed for the upstream")]
    TooLongToSign,
    /// A web page asks what it may send, and may.
    #[error("preflight request is answered by this node")]
    Preflight,
    /// A web page asks for more than it may send.
    #[error("preflight request asks for a method or headers that the proxy does not take")]
    PreflightRefused,
    /// It has passed this node before, or too many edges.
    #[error("request comes back to this node, or has passed too many edges")]
    Loop,
    /// The rules of a scope.
    #[error("rules deny the request")]
    Rule(Box<RuleDenial>),
    /// A rule or a meter must look at the body, and it cannot be read, or at more than may be.
    #[error(
        "request body cannot be read by a rule or a meter that must look at it, or they have too much to look at"
    )]
    Unreadable,
    /// Filters must go over the body, and cannot.
    #[error("request body cannot be filtered")]
    Unfilterable(#[source] Unreadable),
    /// It is not as its proxy or its target says that requests are.
    #[error("request is not as a schema says")]
    NotAsSaid(Box<NotAsSaid>),
    /// A limit or a meter has no room.
    #[error("limit is exceeded")]
    Limited(Box<Limited>),
    /// It asks for a WebSocket as none can begin.
    #[error("malformed request for a WebSocket")]
    BadUpgrade,
    /// The proxy takes no WebSockets.
    #[error("proxy takes no WebSockets")]
    UpgradeNotAllowed,
    /// It asks for a WebSocket for a web page that the proxy does not name.
    #[error("proxy takes no WebSockets from web pages of this origin")]
    Origin,
    /// The proxy looks at bodies, and a tunnel would pass it by.
    #[error("proxy looks at bodies, and nobody has accepted that tunnels pass unread")]
    TunnelUnread,
    /// It asks for a protocol that is not carried.
    #[error("unknown protocol in CONNECT")]
    Protocol,
    /// The node is being stopped, and begins no tunnel.
    #[error("node is stopping")]
    Stopping,
    /// The proxy has as many requests under way as it may have.
    #[error("too many requests of the proxy are under way")]
    TooManyConcurrent,
    /// The body must be looked at or signed, and this node holds as much of bodies as it may.
    #[error("no room to hold the request body")]
    NoRoom,
    /// As many passwords wait to be checked as may, at the proxy or at all of them.
    #[error("too many passwords wait to be checked")]
    TooManyPasswords,
    /// It shows a permission to be explained that does not count.
    #[error("request is not explained")]
    Trial(#[source] TrialFault),
    /// The caller, while its body was read to be looked at or signed.
    #[error("caller did not send the whole request")]
    Caller(#[source] CallerFault),
}

/// Which rule refuses a request.
#[derive(Debug)]
pub(crate) struct RuleDenial {
    pub(crate) status: DenyStatus,
    pub(crate) scope: Scope,
    /// Id, name and notes; `None`: the default of the scope.
    pub(crate) rule: Option<(RuleId, Name, Box<str>)>,
}

/// How a request is not as a schema says.
#[derive(Debug)]
pub(crate) struct NotAsSaid {
    pub(crate) sayer: Sayer,
    pub(crate) refusal: Refusal,
}

/// Whose schema it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sayer {
    Proxy,
    Target,
}

/// Which limit refuses a request, and when there is room again.
#[derive(Debug)]
pub(crate) struct Limited {
    pub(crate) whose: Whose,
    pub(crate) exceeded: Exceeded,
    /// Values of `ratelimit-policy` and `ratelimit`.
    pub(crate) fields: Option<(HeaderValue, HeaderValue)>,
}

/// Whose limit it is.
#[derive(Debug)]
pub(crate) enum Whose {
    Proxy(LimitKind),
    Meter(MeterId, Name),
}

/// A fault on the way to the upstream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// This node's side: no secret can be injected.
    #[error("upstream credential cannot be used")]
    Credential(#[source] Unusable),
    /// The caller's side: its request cannot be signed as the upstream wants it.
    #[error("request cannot be signed for the upstream")]
    Unsignable(#[source] Unsignable),
    /// This node's side: requests to the target failed in a row, and none is sent for so long.
    #[error("circuit breaker of the target is open")]
    CircuitOpen(Duration),
    /// The upstream's side, or the caller's during its body.
    #[error("upstream did not answer the request")]
    Upstream(#[source] SendError),
    /// The upstream's side: it switched protocols, and not as it was asked to.
    #[error("upstream's answer does not open the WebSocket that was asked for")]
    Switch(#[source] BadSwitch),
    /// The upstream's side: its response is longer than the proxy lets through, or than filters may go over.
    #[error("response body is too long")]
    ResponseTooLarge,
    /// The upstream's side, while its response was gathered for filters.
    #[error("response broke off before filters had all of it")]
    Response(#[source] BodyBroken),
    /// The upstream's side: it sent its secret back.
    #[error("upstream sent back the secret that it was sent")]
    Echoed,
    /// This node's side: filters must go over the response, and it holds as much of bodies as it may.
    #[error("no room to hold the response for filters")]
    NoRoom(#[source] NoRoom),
    /// This node's side: the proxy wants a record on disk, and there is none in time.
    #[error("no record of the request could be made sure of in time")]
    RecordUnsure,
    /// The upstream's side: filters, or the search for its secret, cannot go over the response.
    #[error("response cannot be filtered or searched")]
    Unreadable(#[source] Unreadable),
}

/// How a response ended too early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyBroken {
    #[error("upstream broke off its response")]
    Broken(#[source] hyper::Error),
    #[error("upstream sent nothing more of its response")]
    Silent,
    #[error("request took longer than the total timeout of the target")]
    Late,
    #[error("caller sent nothing more of the request body")]
    Stalled,
    #[error("upstream sent back the secret that it was sent")]
    Echoed,
    #[error("response cannot be decoded, to be searched")]
    Undecodable(#[source] DecodeError),
    #[error("part of a stream is too long for filters to go over")]
    PartTooLong,
    #[error("part of a stream is not JSON, which filters would have to go over")]
    Unfiltered(#[source] JsonError),
}

impl BodyBroken {
    /// `None`: it ended by itself.
    pub(crate) fn code(&self) -> Option<Code> {
        match self {
            Self::Broken(_) => None,
            Self::Silent => Some(Code::UpstreamIdle),
            Self::Late => Some(Code::UpstreamTotalTimeout),
            Self::Stalled => Some(Code::RequestTimeout),
            Self::Echoed => Some(Code::SecretEchoed),
            Self::Undecodable(DecodeError::TooLarge) => Some(Code::ResponseTooLarge),
            Self::PartTooLong => Some(Code::ResponseTooLarge),
            Self::Undecodable(DecodeError::Malformed | DecodeError::NoRoom(_)) | Self::Unfiltered(_) => {
                Some(Code::ResponseUnreadable)
            }
        }
    }
}

/// How an answer that switches protocols does not fit its request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadSwitch {
    #[error("`Upgrade` does not name websocket alone")]
    Upgrade,
    #[error("`Connection` does not name upgrade")]
    Connection,
    #[error("`Sec-WebSocket-Accept` does not fit the key")]
    Accept,
    #[error("subprotocol was not offered")]
    Protocol,
    #[error("extension was not offered")]
    Extension,
    #[error("answer is a success that does not switch")]
    Unswitched,
}

/// Why a body cannot be filtered, or a response searched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("content type is not JSON")]
    Type,
    #[error("content coding is not known")]
    Coding,
    #[error("body is a part of a document")]
    Partial,
    #[error("body cannot be decoded")]
    Decoding(#[source] DecodeError),
    #[error("body is not JSON")]
    Json(#[source] JsonError),
}

/// Why a request was not answered by its upstream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error(transparent)]
    Denial(#[from] Denial),
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl Denial {
    fn code(&self) -> Code {
        match self {
            Self::NotFound => Code::NotFound,
            Self::OutOfPlace => Code::HttpOnTlsPort,
            Self::Misdirected => Code::Misdirected,
            Self::Method => Code::MethodRefused,
            Self::NotReady => Code::NotReady,
            Self::Malformed(_) | Self::Coded | Self::Host | Self::Spaced | Self::Sender | Self::TooLong => {
                Code::Malformed
            }
            Self::Headers => Code::HeadersTooMany,
            // Nobody knows whether it is good.
            Self::BadCredential(Reason::Token(Fault::Flood) | Reason::CertificateFlood) => {
                Code::TooManySignatures
            }
            // Alike, so that ids and names cannot be probed.
            Self::UnknownProxy | Self::BadCredential(_) => Code::AccessDenied,
            Self::Inactive => Code::Inactive,
            Self::Suspended => Code::Suspended,
            Self::Closed => Code::Closed,
            Self::RequestTooLarge => Code::RequestTooLarge,
            Self::TooLongToSign => Code::TooLargeToSign,
            Self::Preflight => Code::Preflight,
            Self::PreflightRefused => Code::PreflightRefused,
            Self::Loop => Code::LoopDetected,
            Self::Rule(_) => Code::RuleDenied,
            Self::Unreadable => Code::RequestUnreadable,
            Self::Unfilterable(_) => Code::RequestUnfilterable,
            Self::NotAsSaid(_) => Code::RequestInvalid,
            Self::Limited(_) => Code::RateLimited,
            Self::BadUpgrade => Code::UpgradeMalformed,
            Self::UpgradeNotAllowed => Code::UpgradeNotAllowed,
            Self::Origin => Code::OriginRefused,
            Self::TunnelUnread => Code::TunnelUnread,
            Self::Protocol => Code::ProtocolUnknown,
            Self::Stopping => Code::Stopping,
            Self::TooManyConcurrent => Code::TooManyConcurrent,
            Self::NoRoom => Code::TooManyBodies,
            Self::TooManyPasswords => Code::TooManyPasswords,
            Self::Trial(_) => Code::TrialRefused,
            Self::Caller(fault) => of_caller(*fault),
        }
    }
}

fn of_caller(fault: CallerFault) -> Code {
    match fault {
        CallerFault::Gone => Code::CallerGone,
        CallerFault::Malformed => Code::Malformed,
        CallerFault::Stalled => Code::RequestTimeout,
        CallerFault::TooLong => Code::RequestTooLarge,
    }
}

impl Failure {
    fn code(&self) -> Code {
        match self {
            Self::Credential(_) => Code::CredentialUnusable,
            Self::Unsignable(_) => Code::Unsignable,
            Self::CircuitOpen(_) => Code::CircuitOpen,
            Self::Switch(_) => Code::UpgradeRefused,
            Self::ResponseTooLarge => Code::ResponseTooLarge,
            Self::NoRoom(_) => Code::TooManyBodies,
            Self::Echoed => Code::SecretEchoed,
            Self::RecordUnsure => Code::RecordUnsure,
            Self::Response(broken) => broken.code().unwrap_or(Code::UpstreamUnreachable),
            Self::Unreadable(_) => Code::ResponseUnreadable,
            Self::Upstream(error) => of_sending(error),
        }
    }
}

/// What it is called that a request could not be sent, or was not answered.
pub(crate) fn of_sending(error: &SendError) -> Code {
    match error {
        SendError::Guarded => Code::UpstreamRefused,
        SendError::Busy | SendError::Resolve(LookupError::Crowded) => Code::UpstreamBusy,
        SendError::ConnectTimeout | SendError::ResponseTimeout | SendError::Resolve(LookupError::Silent) => {
            Code::UpstreamTimeout
        }
        SendError::TotalTimeout { .. } => Code::UpstreamTotalTimeout,
        SendError::Caller(fault) => of_caller(*fault),
        SendError::Resolve(LookupError::Failed(_) | LookupError::CutOff)
        | SendError::Connect(_)
        | SendError::Tls(_)
        | SendError::Trust(_)
        | SendError::Version(_)
        | SendError::ClientCertificate(_)
        | SendError::Broken(_)
        | SendError::Switched
        | SendError::Coded => Code::UpstreamUnreachable,
    }
}

impl Refused {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Denial(denial) => denial.code(),
            Self::Failure(failure) => failure.code(),
        }
    }
}

impl RuleDenial {
    /// The scope, and the rule unless the scope's default denies.
    pub(super) fn member(&self) -> String {
        let scope = scope_name(self.scope);
        let rule = self
            .rule
            .as_ref()
            .map(|(id, name, notes)| json!({"id": id.to_string(), "name": name.as_str(), "notes": notes}));
        format!(r#","scope":"{scope}","rule":{}"#, rule.unwrap_or(serde_json::Value::Null))
    }
}

impl NotAsSaid {
    /// Whose schema, where in the request, and by which keyword.
    pub(super) fn member(&self) -> String {
        let scope = match self.sayer {
            Sayer::Proxy => "proxy",
            Sayer::Target => "target",
        };
        let Refusal { parameter, pointer, keyword, schema } = &self.refusal;
        let mut violation = json!({"pointer": pointer, "keyword": keyword, "schema": schema});
        if let Some(parameter) = parameter {
            violation["parameter"] = json!(parameter);
        }
        format!(r#","scope":"{scope}","violation":{violation}"#)
    }
}

impl Limited {
    /// As a record keeps it.
    pub(crate) fn states(&self) -> (Option<LimitState>, Option<MeterState>) {
        let Exceeded { window, limit, used, .. } = self.exceeded;
        match &self.whose {
            Whose::Proxy(kind) => {
                (Some(LimitState { kind: *kind, window: window.to_wire(), limit, used }), None)
            }
            Whose::Meter(id, _) => {
                let exceeded = Some(window.to_wire());
                (None, Some(MeterState { meter: *id, charged: 0, missing: false, partial: false, exceeded }))
            }
        }
    }

    /// The limit that has no room, and what it is a limit of.
    pub(super) fn member(&self) -> String {
        let Exceeded { window, limit, .. } = self.exceeded;
        let (of, limit, meter) = match &self.whose {
            // Meters count in millionths.
            Whose::Meter(id, name) => {
                let meter = json!({"id": id.to_string(), "name": name.as_str()});
                ("meter", Amount::of_millionths(limit).rounded_up(), Some(meter))
            }
            Whose::Proxy(kind) => (kind_name(*kind), limit, None),
        };
        let limit = json!({"of": of, "window": window.as_str(), "limit": limit, "meter": meter});
        format!(r#","limit":{limit}"#)
    }
}

/// As callers and records name it.
fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Caller => "caller",
        Scope::Upstream => "upstream",
        Scope::Proxy => "proxy",
        Scope::Target => "target",
    }
}

/// As callers are told whose limit it is.
fn kind_name(kind: LimitKind) -> &'static str {
    match kind {
        LimitKind::Unspecified | LimitKind::Proxy => "proxy",
        LimitKind::Caller => "caller",
        LimitKind::Address => "address",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Window;

    #[test]
    fn a_refusal_by_a_limit_says_of_what_the_limit_is() {
        let meter = || Whose::Meter(MeterId::from_random([1; 16]), "tokens".parse().expect("a name"));
        for (whose, of) in [
            (Whose::Proxy(LimitKind::Proxy), "proxy"),
            (Whose::Proxy(LimitKind::Caller), "caller"),
            (Whose::Proxy(LimitKind::Address), "address"),
            (meter(), "meter"),
        ] {
            let exceeded = Exceeded { window: Window::Minute, limit: 2_000_000, used: 1, retry_after: 1 };
            let member = Limited { whose, exceeded, fields: None }.member();
            let body: serde_json::Value =
                serde_json::from_str(&format!("{{\"code\":\"rate-limited\"{member}}}")).expect("JSON");
            assert_eq!(body["limit"]["of"], of);
            assert_eq!(body["limit"]["meter"].is_null(), of != "meter");
            assert_eq!(body["limit"]["limit"], if of == "meter" { 2 } else { 2_000_000 });
        }
    }
}
