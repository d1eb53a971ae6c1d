//! Whether the proxy takes requests at all: switched on, paid for, and whole on this node.

use rr_contract::model::path::InvalidPath;
use rr_contract::model::proxy::Proxy;

use crate::reply::Denial;
use crate::snapshot::{CompiledCaller, CompiledProxy, Known, Route};

use super::authenticate::Authenticated;
use super::resolve::Path;

/// A request to a proxy that takes requests.
pub(crate) struct Active<'s> {
    pub(super) proxy: &'s CompiledProxy,
    pub(super) model: &'s Proxy,
    pub(super) route: &'s Route,
    pub(super) caller: &'s CompiledCaller,
    /// As it is sent on, without the target's base path.
    pub(super) path: Box<str>,
}

pub(super) fn activate(request: Authenticated<'_>) -> Result<Active<'_>, Denial> {
    let Authenticated { proxy, caller, path, holder: _ } = request;
    if !proxy.is_active() {
        return Err(Denial::Inactive);
    }
    if caller.is_refused {
        return Err(Denial::Closed);
    }
    let (Some(route), Known::Whole(model)) = (&proxy.route, &proxy.model) else {
        return Err(Denial::Closed);
    };
    if route.org.suspended {
        return Err(Denial::Suspended);
    }
    let path = match path {
        Path::Plain(path) => path,
        Path::Opaque(path) if model.opaque_paths => path,
        Path::Opaque(_) => return Err(Denial::Malformed(InvalidPath::Ambiguous)),
    };
    Ok(Active { proxy, model, route, caller, path })
}
