//! From a token to a caller that is permitted to make a call: what every call does first, over either protocol.
//!
//! A caller is authenticated before the handler runs, from the head of the request alone: nothing of a body is read
//! before. The handler checks the permission, because it knows what the request names. A handler that runs without a
//! principal refuses the call.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use http::header::{AUTHORIZATION, USER_AGENT};
use rr_contract::api_key::{self, KeyKind};
use rr_contract::wire::management::Region;
use tonic::Request;
use tracing::info;

use super::Api;
use crate::authz::{self, Denied, Named, Permission, Principal, permit};
use crate::service::{self, Caller, OrgCaller, OrgRow, ServiceError};
use crate::store::{Consent, Stored};

/// How many characters of a user agent are kept.
const USER_AGENT_MOST: usize = 200;

tokio::task_local! {
    /// The authenticated caller of the call that runs. A stream that goes on after its call has answered, as a watch
    /// does, is outside of it: its [`Watcher`] is authenticated again.
    static PRINCIPAL: Principal;
}

/// The head of a request, as authentication reads it.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) headers: &'a HeaderMap,
    /// The remote address of the connection.
    pub(super) address: Option<String>,
}

/// Finds the caller from the head of a request.
pub(super) trait Authenticate: Send + Sync {
    /// The caller; an error where the request has no valid token.
    fn authenticate<'a>(
        &'a self,
        head: &'a Head<'_>,
        permission: Permission,
    ) -> BoxFuture<'a, Result<Principal, ServiceError>>;
}

/// The caller of a stream, to be authenticated again while the stream lasts: a lost right ends it.
#[derive(Debug, Clone)]
pub(super) struct Watcher {
    headers: HeaderMap,
    address: String,
}

/// Runs a call of an authenticated caller.
pub(super) fn with_principal<F: Future>(principal: Principal, call: F) -> impl Future<Output = F::Output> {
    PRINCIPAL.scope(principal, call)
}

impl Authenticate for Api {
    fn authenticate<'a>(
        &'a self,
        head: &'a Head<'_>,
        permission: Permission,
    ) -> BoxFuture<'a, Result<Principal, ServiceError>> {
        self.look_up(head.headers, head.address.as_deref().unwrap_or_default(), permission).boxed()
    }
}

impl Api {
    /// For calls that act on no organization and no region.
    pub(super) fn enter(&self, permission: Permission) -> Result<Caller, ServiceError> {
        self.permitted_caller(principal()?, permission)
    }

    /// For calls that act on an organization, which the request's own field names by name or id.
    pub(super) async fn enter_org<M>(
        &self,
        request: &Request<M>,
        permission: Permission,
        org: impl Fn(&M) -> &str,
    ) -> Result<OrgCaller, ServiceError> {
        self.permitted_in_org(principal()?, permission, org(request.get_ref())).await
    }

    /// The caller of a stream, which goes on when its call has answered.
    pub(super) fn watcher<M>(&self, request: &Request<M>) -> Result<Watcher, ServiceError> {
        let headers = request.metadata().as_ref().clone();
        Ok(Watcher { headers, address: principal()?.address })
    }

    /// [`enter`](Self::enter), for a stream that goes on.
    pub(super) async fn enter_again(
        &self,
        watcher: &Watcher,
        permission: Permission,
    ) -> Result<Caller, ServiceError> {
        let principal = self.look_up(&watcher.headers, &watcher.address, permission).await?;
        self.permitted_caller(principal, permission)
    }

    /// [`enter_org`](Self::enter_org), for a stream that goes on.
    pub(super) async fn enter_org_again(
        &self,
        watcher: &Watcher,
        permission: Permission,
        org: &str,
    ) -> Result<OrgCaller, ServiceError> {
        let principal = self.look_up(&watcher.headers, &watcher.address, permission).await?;
        self.permitted_in_org(principal, permission, org).await
    }

    /// For calls that act on a region, which the request's own field names by name or id.
    pub(super) async fn enter_region<M>(
        &self,
        request: &Request<M>,
        permission: Permission,
        region: impl Fn(&M) -> &str,
    ) -> Result<(Caller, Stored<Region>), ServiceError> {
        let principal = principal()?;
        if principal.bootstrap {
            return Err(ServiceError::BootstrapOnly);
        }
        let reference = region(request.get_ref());
        let region = self.services.region_show(&principal, reference).await?;
        let dedicated = Some(region.document.dedicated_to.as_str()).filter(|org| !org.is_empty());
        self.permitted(&principal, permission, Named::Region(&region.row.id, dedicated), reference)?;
        Ok((self.caller(principal, permission), region))
    }

    fn caller(&self, principal: Principal, permission: Permission) -> Caller {
        Caller { principal, permission, consent: Consent::default(), ceilings: self.services.ceilings }
    }

    fn permitted_caller(&self, principal: Principal, permission: Permission) -> Result<Caller, ServiceError> {
        self.permitted(&principal, permission, Named::Nothing, "")?;
        Ok(self.caller(principal, permission))
    }

    async fn permitted_in_org(
        &self,
        principal: Principal,
        permission: Permission,
        reference: &str,
    ) -> Result<OrgCaller, ServiceError> {
        if principal.bootstrap {
            return Err(ServiceError::BootstrapOnly);
        }
        let mut found = service::scope::org(&self.services.store, reference).await?;
        if found.is_none() && principal.operator {
            found = self.deleted(permission, reference).await?;
        }
        // An organization that does not exist and one of others get the same answer from here on.
        let Some(org) = found else {
            return Err(self.refused(&principal, permission, Denied::Invisible, reference));
        };
        self.permitted(&principal, permission, Named::Org(&org.id), reference)?;
        Ok(OrgCaller { caller: self.caller(principal, permission), org })
    }

    /// A deleted organization, of which operators see that it was and nothing else.
    async fn deleted(&self, permission: Permission, reference: &str) -> Result<Option<OrgRow>, ServiceError> {
        let Some(org) = service::scope::deleted_org(&self.services.store, reference).await? else {
            return Ok(None);
        };
        if permission == authz::GET_ORG {
            return Ok(Some(org));
        }
        Err(ServiceError::Deleted { name: org.document.name, id: org.id })
    }

    fn permitted(
        &self,
        principal: &Principal,
        permission: Permission,
        named: Named<'_>,
        reference: &str,
    ) -> Result<(), ServiceError> {
        permit(principal, permission, named)
            .map_err(|denied| self.refused(principal, permission, denied, reference))
    }

    fn refused(
        &self,
        principal: &Principal,
        permission: Permission,
        denied: Denied,
        reference: &str,
    ) -> ServiceError {
        let error = refusal(denied, permission, reference);
        self.attempts.note(principal, permission.call, error.reason().as_str());
        error
    }

    async fn look_up(
        &self,
        headers: &HeaderMap,
        address: &str,
        permission: Permission,
    ) -> Result<Principal, ServiceError> {
        let found = match presented(headers) {
            Some(hash) => self.services.principal(&hash).await?,
            None => None,
        };
        match found {
            Some(principal) => {
                let user_agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
                let user_agent = user_agent.unwrap_or_default().chars().take(USER_AGENT_MOST).collect();
                Ok(Principal { address: address.to_owned(), user_agent, ..principal })
            }
            None => {
                info!(call = permission.call, peer = address, "call without a valid token");
                let presented = headers.get(AUTHORIZATION).is_some_and(|value| !value.is_empty());
                Err(if presented { ServiceError::BadToken } else { ServiceError::Unauthenticated })
            }
        }
    }
}

/// The authenticated caller of the call that runs.
fn principal() -> Result<Principal, ServiceError> {
    PRINCIPAL.try_with(Clone::clone).map_err(|_outside| ServiceError::Unauthenticated)
}

fn presented(headers: &HeaderMap) -> Option<api_key::KeyHash> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let key = match value.split_at_checked(7) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"bearer ") => rest,
        _ => value,
    };
    api_key::hash(KeyKind::Token, key).or_else(|| api_key::hash(KeyKind::Bootstrap, key))
}

fn refusal(denied: Denied, permission: Permission, org: &str) -> ServiceError {
    match denied {
        Denied::Invisible => ServiceError::NotFound { noun: "organization", name: org.to_owned() },
        Denied::Least(least) => ServiceError::Role(least),
        Denied::Bootstrap => ServiceError::BootstrapOnly,
        Denied::Call => ServiceError::Call(permission.call),
    }
}
