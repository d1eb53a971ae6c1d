//! From the hash of a token to the principal: a service with its grants, or a user with memberships.

use rr_contract::api_key::KeyHash;
use rr_contract::wire::management::{self as wire, Member, Role, Token, User};

use super::{Caller, ServiceError, Services, shown};
use crate::authz::Principal;
use crate::document::Part;
use crate::noun::Noun;
use crate::store;

impl Services {
    /// The principal of a token; none when the token is not valid.
    pub(crate) async fn principal(&self, hash: &KeyHash) -> Result<Option<Principal>, ServiceError> {
        let Some(row) = store::token::by_hash(&self.store, hash).await? else { return Ok(None) };
        let now = self.store.now();
        if row.expires_at.is_some_and(|end| now >= end) || row.revoked_at.is_some() {
            return Ok(None);
        }
        if row.bootstrap {
            // It is good for one call.
            let live = row.used_at.is_none();
            let principal = Principal {
                token: row.id,
                name: "bootstrap".to_owned(),
                bootstrap: true,
                expires_at: row.expires_at,
                ..Principal::default()
            };
            return Ok(live.then_some(principal));
        }
        let Some(token) = store::resource::read::<Token>(&self.store, "", &row.id).await? else {
            return Ok(None);
        };
        let token = token.document;
        let mut principal = Principal {
            token: row.id,
            name: token.name.clone(),
            calls: token.calls.clone(),
            resources: token.resources.clone(),
            expires_at: row.expires_at,
            ..Principal::default()
        };
        if token.user.is_empty() {
            grant(&mut principal, &token.grants);
            return Ok(Some(principal));
        }
        let Some(user) = store::resource::read::<User>(&self.store, "", &token.user).await? else {
            return Ok(None);
        };
        if user.document.disabled {
            return Ok(None);
        }
        principal.name.clone_from(&user.document.name);
        principal.operator = user.document.operator;
        let id = &user.row.id;
        let members = store::resource::users_as::<Member>(&self.store, Part::User, Noun::User, id).await?;
        principal.orgs.extend(members.into_iter().map(|(org, member)| (org, member.role())));
        principal.user = user.row.id;
        Ok(Some(principal))
    }

    /// The description of the caller itself.
    pub(crate) async fn self_shown(&self, caller: &Caller) -> Result<wire::GetSelfResponse, ServiceError> {
        let principal = &caller.principal;
        let token = store::resource::read::<Token>(&self.store, "", &principal.token).await?;
        let user = match principal.user.as_str() {
            "" => None,
            id => store::resource::read::<User>(&self.store, "", id).await?,
        };
        let installation = |role: Role| wire::Grant { role: role.into(), ..Default::default() };
        let grants = principal
            .operator
            .then(|| installation(Role::Operator))
            .into_iter()
            .chain(principal.orgs.iter().map(|(org, role)| wire::Grant {
                role: (*role).into(),
                org: org.clone(),
                region: String::new(),
            }))
            .chain(principal.regions.iter().map(|region| wire::Grant {
                role: Role::RegionOperator.into(),
                org: String::new(),
                region: region.clone(),
            }));
        Ok(wire::GetSelfResponse { token: token.map(shown), user: user.map(shown), grants: grants.collect() })
    }
}

fn grant(principal: &mut Principal, grants: &[wire::Grant]) {
    for grant in grants {
        match grant.role() {
            Role::Operator => principal.operator = true,
            Role::RegionOperator => principal.regions.push(grant.region.clone()),
            role @ (Role::Viewer | Role::Editor | Role::Admin | Role::Owner) => {
                principal.orgs.push((grant.org.clone(), role));
            }
            // A grant that this build does not understand grants nothing.
            Role::Unspecified => {}
        }
    }
}

#[cfg(test)]
mod tests;
