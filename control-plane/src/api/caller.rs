//! From a token to who calls, and whether he may: what every call does first.

use rr_contract::api_key::{self, KeyKind};
use rr_contract::wire::management::Role;
use tonic::Request;
use tonic::metadata::MetadataMap;
use tracing::info;

use super::Api;
use crate::authz::{Denied, Principal, Rule, permit};
use crate::service::{Caller, OrgCaller, ServiceError};
use crate::store::{self, token::TokenEntry};

impl Api {
    /// For calls that act on no organization.
    pub(super) async fn enter<M>(&self, request: &Request<M>, rule: Rule) -> Result<Caller, ServiceError> {
        let principal = self.principal(request.metadata(), rule).await?;
        permit(&principal, rule, None).map_err(|denied| refusal(denied, ""))?;
        Ok(Caller { principal, rule })
    }

    /// For calls that act on an organization, which the request's own field names by name or id.
    pub(super) async fn enter_org<M>(
        &self,
        request: &Request<M>,
        rule: Rule,
        org: impl Fn(&M) -> &str,
    ) -> Result<OrgCaller, ServiceError> {
        let principal = self.principal(request.metadata(), rule).await?;
        let reference = org(request.get_ref());
        if principal.bootstrap {
            return Err(ServiceError::BootstrapOnly);
        }
        let found = store::org::by_reference(&self.services.store, reference).await?;
        // One that is not there and one that is another's get the same answer from here on.
        let Some(org) = found else { return Err(refusal(Denied::Invisible, reference)) };
        permit(&principal, rule, Some(&org.id)).map_err(|denied| refusal(denied, reference))?;
        Ok(OrgCaller { caller: Caller { principal, rule }, org })
    }

    async fn principal(&self, metadata: &MetadataMap, rule: Rule) -> Result<Principal, ServiceError> {
        let found = match presented(metadata) {
            Some(hash) => store::token::by_hash(&self.services.store, &hash).await?,
            None => None,
        };
        let now = self.services.store.now();
        let live = found.filter(|entry| entry.token.expires_at.is_none_or(|end| now < end));
        // A bootstrap token that was used is no token any more.
        let live = live.filter(|entry| !entry.token.bootstrap || entry.token.used_at.is_none());
        match live {
            Some(entry) => Ok(principal(entry)),
            None => {
                let peer = metadata
                    .get(super::PEER.as_str())
                    .and_then(|peer| peer.to_str().ok())
                    .unwrap_or_default();
                info!(call = rule.call, peer, "call without a valid token");
                let presented = metadata.get("authorization").is_some_and(|value| !value.is_empty());
                Err(if presented { ServiceError::BadToken } else { ServiceError::Unauthenticated })
            }
        }
    }
}

fn presented(metadata: &MetadataMap) -> Option<api_key::KeyHash> {
    let value = metadata.get("authorization")?.as_bytes();
    let key = match value.split_at_checked(7) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"bearer ") => rest,
        _ => value,
    };
    api_key::hash(KeyKind::Token, key).or_else(|| api_key::hash(KeyKind::Bootstrap, key))
}

fn principal(entry: TokenEntry) -> Principal {
    let mut principal = Principal {
        token: entry.token.id,
        name: entry.token.name,
        bootstrap: entry.token.bootstrap,
        operator: false,
        orgs: Vec::new(),
        expires_at: entry.token.expires_at,
        created_at: entry.token.created_at,
    };
    for (role, org) in entry.grants {
        match Role::try_from(role) {
            Ok(Role::Operator) if org.is_empty() => principal.operator = true,
            Ok(role @ (Role::Viewer | Role::Editor | Role::Admin | Role::Owner)) if !org.is_empty() => {
                principal.orgs.push((org, role));
            }
            // A grant that this build does not understand grants nothing.
            Ok(_) | Err(_) => {}
        }
    }
    principal
}

fn refusal(denied: Denied, org: &str) -> ServiceError {
    match denied {
        Denied::Invisible => ServiceError::NotFound { noun: "organization", name: org.to_owned() },
        Denied::Least(least) => ServiceError::Role(least),
        Denied::Bootstrap => ServiceError::BootstrapOnly,
    }
}
