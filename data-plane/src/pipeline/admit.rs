//! Whether the proxy takes requests at all: switched on, paid for, and whole on this node.

use rr_contract::model::id::CredentialId;

use crate::reply::Denial;
use crate::snapshot::{CompiledProxy, Route};

use super::authenticate::Authenticated;

/// A request that may go to its target.
pub(crate) struct Admitted<'s> {
    pub(super) proxy: &'s CompiledProxy,
    pub(super) route: &'s Route,
    pub(super) caller: CredentialId,
    pub(super) path: Box<str>,
}

pub(super) fn admit(request: Authenticated<'_>) -> Result<Admitted<'_>, Denial> {
    let Authenticated { proxy, caller, is_refused, path } = request;
    if !proxy.is_active() {
        return Err(Denial::Inactive);
    }
    if is_refused {
        return Err(Denial::Closed);
    }
    let route = proxy.route.as_ref().ok_or(Denial::Closed)?;
    if route.org.suspended {
        return Err(Denial::Suspended);
    }
    Ok(Admitted { proxy, route, caller, path })
}
