//! Outcome codes of requests: stable names for callers, records and metrics.
//!
//! Status and text for callers are in `reply`.

/// Stable names of outcomes: for callers, records and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Granted,
    HttpOnTlsPort,
    NotFound,
    Misdirected,
    MethodRefused,
    NotReady,
    Malformed,
    HeadersTooMany,
    AccessDenied,
    RuleDenied,
    RequestUnreadable,
    RequestTooLarge,
    RateLimited,
    TooManyConcurrent,
    ResponseTooLarge,
    ResponseUnreadable,
    Inactive,
    Suspended,
    Closed,
    CredentialUnusable,
    UpstreamRefused,
    UpstreamBusy,
    CircuitOpen,
    UpstreamUnreachable,
    UpstreamTimeout,
    UpstreamTotalTimeout,
    UpstreamIdle,
    RequestTimeout,
    CallerGone,
    UpgradeMalformed,
    UpgradeNotAllowed,
    TunnelUnread,
    ProtocolUnknown,
    UpgradeRefused,
    Stopping,
    LoopDetected,
    Preflight,
    PreflightRefused,
    OriginRefused,
    TooManyBodies,
}

impl Code {
    pub(crate) const ALL: [Self; 40] = [
        Self::Granted,
        Self::HttpOnTlsPort,
        Self::NotFound,
        Self::Misdirected,
        Self::MethodRefused,
        Self::NotReady,
        Self::Malformed,
        Self::HeadersTooMany,
        Self::AccessDenied,
        Self::RuleDenied,
        Self::RequestUnreadable,
        Self::RequestTooLarge,
        Self::RateLimited,
        Self::TooManyConcurrent,
        Self::ResponseTooLarge,
        Self::ResponseUnreadable,
        Self::Inactive,
        Self::Suspended,
        Self::Closed,
        Self::CredentialUnusable,
        Self::UpstreamRefused,
        Self::UpstreamBusy,
        Self::CircuitOpen,
        Self::UpstreamUnreachable,
        Self::UpstreamTimeout,
        Self::UpstreamTotalTimeout,
        Self::UpstreamIdle,
        Self::RequestTimeout,
        Self::CallerGone,
        Self::UpgradeMalformed,
        Self::UpgradeNotAllowed,
        Self::TunnelUnread,
        Self::ProtocolUnknown,
        Self::UpgradeRefused,
        Self::Stopping,
        Self::LoopDetected,
        Self::Preflight,
        Self::PreflightRefused,
        Self::OriginRefused,
        Self::TooManyBodies,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "proxy-access-granted",
            Self::HttpOnTlsPort => "http-on-tls-port",
            Self::NotFound => "not-found",
            Self::Misdirected => "misdirected",
            Self::MethodRefused => "method-refused",
            Self::NotReady => "not-ready",
            Self::Malformed => "malformed-request",
            Self::HeadersTooMany => "too-many-headers",
            Self::AccessDenied => "proxy-access-denied",
            Self::RuleDenied => "rule-denied",
            Self::RequestUnreadable => "request-unreadable",
            Self::RequestTooLarge => "request-too-large",
            Self::RateLimited => "rate-limited",
            Self::TooManyConcurrent => "too-many-concurrent",
            Self::ResponseTooLarge => "response-too-large",
            Self::ResponseUnreadable => "response-not-json",
            Self::Inactive => "proxy-inactive",
            Self::Suspended => "billing-suspended",
            Self::Closed => "proxy-closed",
            Self::CredentialUnusable => "credential-unusable",
            Self::UpstreamRefused => "upstream-refused",
            Self::UpstreamBusy => "upstream-busy",
            Self::CircuitOpen => "circuit-open",
            Self::UpstreamUnreachable => "upstream-unreachable",
            Self::UpstreamTimeout => "upstream-timeout",
            Self::UpstreamTotalTimeout => "upstream-total-timeout",
            Self::UpstreamIdle => "upstream-idle",
            Self::RequestTimeout => "request-timeout",
            Self::CallerGone => "caller-gone",
            Self::UpgradeMalformed => "malformed-upgrade",
            Self::UpgradeNotAllowed => "upgrade-not-allowed",
            Self::TunnelUnread => "tunnel-unread",
            Self::ProtocolUnknown => "protocol-unknown",
            Self::UpgradeRefused => "upgrade-refused",
            Self::Stopping => "node-stopping",
            Self::LoopDetected => "loop-detected",
            Self::Preflight => "preflight",
            Self::PreflightRefused => "preflight-refused",
            Self::OriginRefused => "origin-refused",
            Self::TooManyBodies => "too-many-bodies",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_listed_in_the_order_of_their_numbers() {
        for (index, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(code as usize, index);
        }
    }
}
