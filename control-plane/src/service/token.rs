//! Tokens of people and services: one can do no more than the one that made it.

use rr_contract::api_key::{self, KeyKind};
use rr_contract::model::id::TokenId;
use rr_contract::seam::draw;
use rr_contract::secret::Secret;
use rr_contract::wire::management::{self, Role};

use super::{Caller, ServiceError, Services, fields};
use crate::authz::Principal;
use crate::store::{self, Txn, token::TokenEntry, token_row};

const GRANTS_MAX: usize = 100;

/// A token just made, and its secret, shown once.
pub(crate) struct CreatedToken {
    pub(crate) entry: TokenEntry,
    pub(crate) secret: Secret,
}

impl Services {
    /// Makes a token.
    pub(crate) async fn token_create(
        &self,
        caller: &Caller,
        token: Option<management::Token>,
    ) -> Result<CreatedToken, ServiceError> {
        let wire = fields::required("token", token)?;
        fields::unset_id("token.id", &wire.id)?;
        let length = wire.name.chars().count();
        if length == 0 || length > 63 || wire.name.chars().any(char::is_control) {
            return Err(ServiceError::field("token.name", "is 1 to 63 characters"));
        }
        if wire.grants.is_empty() || wire.grants.len() > GRANTS_MAX {
            return Err(ServiceError::field("token.grants", format!("has 1 to {GRANTS_MAX}")));
        }
        let expires_at = fields::time_row("token.expires_at", wire.expires_at.as_ref())?;
        if expires_at.is_some_and(|at| at <= self.store.now()) {
            return Err(ServiceError::field("token.expires_at", "is past"));
        }
        let maker = caller.principal.clone();
        outlives(&maker, expires_at)?;
        let (secret, hash) = api_key::make(KeyKind::Token, &draw(&*self.seams.entropy));
        let token = token_row::Model {
            id: TokenId::from_random(self.random()).to_string(),
            name: wire.name,
            hash: hash.as_bytes().to_vec(),
            bootstrap: false,
            expires_at,
            created_at: 0,
            used_at: None,
        };
        let written = self
            .store
            .write(caller.author(), move |txn| {
                Box::pin(async move {
                    let grants = resolve(txn, &maker, &wire.grants).await?;
                    // In the same transaction, so that one bootstrap token never makes two.
                    if maker.bootstrap && !store::token::spend(txn, &maker.token).await? {
                        return Err(ServiceError::BadToken);
                    }
                    let entry =
                        TokenEntry { token: token_row::Model { created_at: txn.now(), ..token }, grants };
                    store::token::create(txn, &entry).await?;
                    Ok::<_, ServiceError>(entry)
                })
            })
            .await?;
        Ok(CreatedToken { entry: written.value, secret })
    }
}

fn outlives(maker: &Principal, expires_at: Option<i64>) -> Result<(), ServiceError> {
    match (maker.expires_at, expires_at) {
        _ if maker.bootstrap => Ok(()),
        (Some(end), Some(at)) if at <= end => Ok(()),
        (Some(_), _) => {
            Err(ServiceError::field("token.expires_at", "is later than that of the token that makes it"))
        }
        (None, _) => Ok(()),
    }
}

async fn resolve(
    txn: &Txn,
    maker: &Principal,
    grants: &[management::Grant],
) -> Result<Vec<(i32, String)>, ServiceError> {
    let mut resolved = Vec::with_capacity(grants.len());
    for (i, grant) in grants.iter().enumerate() {
        let field = |name: &str| format!("token.grants[{i}].{name}");
        let role = grant.role();
        let org = match role {
            Role::Unspecified => return Err(ServiceError::field(field("role"), "is missing or not known")),
            Role::Operator if !grant.org.is_empty() => {
                return Err(ServiceError::field(
                    field("org"),
                    "is there although ROLE_OPERATOR is of the installation",
                ));
            }
            Role::Operator => {
                if !maker.bootstrap && !maker.operator {
                    return Err(too_wide(role, "the installation"));
                }
                String::new()
            }
            Role::Viewer | Role::Editor | Role::Admin | Role::Owner => {
                let found = store::org::by_reference(txn, &grant.org).await?;
                // One that the maker cannot see looks as if there were none.
                let visible = found.filter(|org| maker.bootstrap || maker.role_in(&org.id).is_some());
                let Some(org) = visible else {
                    return Err(ServiceError::field(
                        field("org"),
                        format!("no organization {:?}", grant.org),
                    ));
                };
                if !maker.bootstrap && maker.role_in(&org.id) < Some(role) {
                    return Err(too_wide(role, &org.name));
                }
                org.id
            }
        };
        resolved.push((role.into(), org));
    }
    Ok(resolved)
}

fn too_wide(role: Role, place: &str) -> ServiceError {
    ServiceError::GrantTooWide(format!(
        "{} in {place} is more than the token that makes it has",
        role.as_str_name()
    ))
}
