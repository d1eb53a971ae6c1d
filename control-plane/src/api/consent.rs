//! The consent of a request: every call that can reach the fleet has the same options.

use rr_contract::wire::management as wire;

use crate::service::{Caller, OrgCaller};
use crate::store::Consent;

/// A request that can reach the fleet.
pub(super) trait Consents {
    fn consent(&self) -> Consent;
}

fn consent(options: wire::WriteOptions) -> Consent {
    let wire::WriteOptions { allow_partial, allow_mass_removal } = options;
    Consent { partial: allow_partial, mass_removal: allow_mass_removal, ..Consent::default() }
}

macro_rules! consents {
    ($($request:ident)*) => {
        $(impl Consents for wire::$request {
            fn consent(&self) -> Consent {
                self.options.map(consent).unwrap_or_default()
            }
        })*
    };
}

consents! {
    CreateOrgRequest CreateTargetRequest CreateCredentialRequest
    CreateProxyRequest CreateRuleRequest CreateFilterRequest
    CreateMeterRequest UpdateOrgRequest UpdateTargetRequest
    UpdateCredentialRequest UpdateProxyRequest UpdateRuleRequest
    UpdateFilterRequest UpdateMeterRequest DeleteOrgRequest
    DeleteTargetRequest DeleteCredentialRequest DeleteProxyRequest
    DeleteRuleRequest DeleteFilterRequest DeleteMeterRequest
    ReplaceSecretRequest ResealSecretRequest RollCredentialRequest UndeleteOrgRequest ApplyHeader
    ApplyOnceRequest RollbackOrgRequest
}

impl Caller {
    /// With the consent of the request.
    pub(super) fn agreeing(mut self, request: &impl Consents) -> Self {
        self.consent = request.consent();
        self
    }
}

impl OrgCaller {
    /// With the consent of the request.
    pub(super) fn agreeing(self, request: &impl Consents) -> Self {
        Self { caller: self.caller.agreeing(request), ..self }
    }
}
