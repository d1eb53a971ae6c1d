//! One request as the worker records it: ids and numbers, so that recording is cheap.
//!
//! Texts are formatted on the spool's thread. There is no field that a query, a header or a body would fit in.

use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use rr_contract::model::id::{CredentialId, OrgId, ProxyId, RequestId, TargetId};
use rr_contract::model::time::{timestamp, wire_duration};
use rr_contract::wire::fleet;

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
}

impl RawRecord {
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
            ..fleet::Record::default()
        }
    }
}
