//! Tokens of users and services: a token allows no more than the token that created it.

use rr_contract::api_key::{self, KeyHash, KeyKind};
use rr_contract::model::id::TokenId;
use rr_contract::model::time;
use rr_contract::seam::draw;
use rr_contract::secret::Secret;
use rr_contract::wire::management::{self as wire, Role, Token};

use super::draft::{Draft, restage, stage};
use super::etag::same_etag;
use super::scope::{self, Scope};
use super::{Caller, Page, PageRequest, ServiceError, Services, fields};
use crate::authz::{Principal, TABLE, service_of};
use crate::noun::Noun;
use crate::store::resource::{Query, Sort};
use crate::store::{self, Reader, StoreError, Stored, Txn, Written, time_of, token_row};
use crate::word;

const GRANTS_MAX: usize = 100;
/// How many tokens are read at once where one is looked for by name.
const READ: u64 = 1_000;
/// How many calls, and how many resources, a token may be narrowed to: they are read with each call.
const NARROWED_MAX: usize = 100;

/// A token just made, and its secret, shown once.
pub(crate) struct CreatedToken {
    pub(crate) stored: Stored<Token>,
    /// None where the caller drew it and sent only its hash.
    pub(crate) secret: Option<Secret>,
}

impl Services {
    /// Creates a token with a secret that is drawn here, or with one whose hash the caller sends. Such a caller stores the
    /// secret before the call, so that nothing is lost with the response.
    pub(crate) async fn token_create(
        &self,
        caller: Caller,
        token: Option<Token>,
        secret_hash: &[u8],
    ) -> Result<Written<CreatedToken>, ServiceError> {
        let mut wire = fields::required("token", token)?;
        fields::unset_id("token.id", &wire.id)?;
        let length = wire.name.chars().count();
        if length == 0 || length > 63 || wire.name.chars().any(char::is_control) {
            return Err(ServiceError::field(
                "token.name",
                "must be 1 to 63 characters, none of them a control character",
            ));
        }
        if wire.user.is_empty() == wire.grants.is_empty() || wire.grants.len() > GRANTS_MAX {
            return Err(ServiceError::field(
                "token.grants",
                format!("must have 1 to {GRANTS_MAX} entries for a service, and none for a user"),
            ));
        }
        let expires_at = fields::time_row("token.expires_at", wire.expires_at.as_ref())?;
        if expires_at.is_some_and(|at| at <= self.store.now()) {
            return Err(ServiceError::field("token.expires_at", "is in the past"));
        }
        wire.revoked_at = None;
        outlives(&caller.principal, expires_at)?;
        narrower(&caller.principal, &wire)?;
        let (secret, hash) = if secret_hash.is_empty() {
            let (secret, hash) = api_key::make(KeyKind::Token, &draw(&*self.seams.entropy));
            (Some(secret), hash)
        } else {
            let hash = KeyHash::try_from(secret_hash)
                .map_err(|error| ServiceError::field("secret_hash", error.to_string()))?;
            (None, hash)
        };
        wire.id = TokenId::from_random(self.random()).to_string();
        let row = token_row::Model {
            id: wire.id.clone(),
            hash: hash.as_bytes().to_vec(),
            bootstrap: false,
            expires_at,
            created_at: 0,
            used_at: None,
            revoked_at: None,
        };
        let written = self
            .store
            .write(caller.author(), move |txn| {
                Box::pin(async move {
                    let maker = &caller.principal;
                    may_grant(txn, maker, &mut wire).await?;
                    // The store runs one write after the other, so that one bootstrap token never makes two.
                    if maker.bootstrap && store::token::is_spent(txn, &maker.token).await? {
                        return Err(ServiceError::BadToken);
                    }
                    // One secret opens one token. This reveals nothing to a caller that does not know the secret.
                    if store::token::by_hash(txn, &hash).await?.is_some() {
                        return Err(ServiceError::field(
                            "secret_hash",
                            "is the hash of another token: draw a new secret",
                        ));
                    }
                    let scope = Scope { org: "", principal: maker, ceilings: None };
                    let draft = Draft { wire, secret: None, before: None };
                    let stored = stage(txn, scope, None, draft).await?;
                    if maker.bootstrap {
                        store::token::spend(txn, &maker.token);
                    }
                    let row = token_row::Model { created_at: txn.now(), ..row };
                    store::token::create(txn, row);
                    Ok::<_, ServiceError>(stored)
                })
            })
            .await?;
        let value = CreatedToken { stored: written.value, secret };
        Ok(Written { value, revision: written.revision })
    }

    /// By id or name, if the caller may see it.
    pub(crate) async fn token_show(
        &self,
        caller: &Caller,
        reference: &str,
    ) -> Result<Stored<Token>, ServiceError> {
        visible(&self.store, &caller.principal, reference).await
    }

    /// The tokens that the caller may see, by id.
    pub(crate) async fn token_list(
        &self,
        caller: &Caller,
        page_size: i32,
        page_token: &str,
    ) -> Result<Page<Stored<Token>>, ServiceError> {
        let page = PageRequest::parse(page_size, page_token)?;
        let mut behind = page.cursor::<1>()?.map(|[id]| (id.to_owned(), id.to_owned()));
        let wanted = page.limit();
        let mut found: Vec<Stored<Token>> = Vec::new();
        loop {
            let query = Query { sort: Sort::Name, behind: behind.clone(), limit: wanted, ..Query::default() };
            let rows = store::resource::list(&self.store, Noun::Token, query).await?;
            let last = (rows.len() as u64) < wanted;
            behind = rows.last().map(|row| (row.name.clone(), row.id.clone()));
            let tokens: Vec<Stored<Token>> = store::resource::with_documents(&self.store, rows).await?;
            found.extend(tokens.into_iter().filter(|token| is_visible(&caller.principal, token)));
            if last || found.len() as u64 >= wanted {
                break;
            }
        }
        found.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
        Ok(page.cut(found, |token| vec![token.row.id.clone()]))
    }

    /// Revokes a token. Its row stays.
    pub(crate) async fn token_revoke(
        &self,
        caller: Caller,
        reference: String,
        etag: String,
    ) -> Result<Written<()>, ServiceError> {
        let written = self
            .store
            .write(caller.author(), move |txn| {
                Box::pin(async move {
                    let found = visible(txn, &caller.principal, &reference).await?;
                    same_etag(&found, &etag)?;
                    if found.document.revoked_at.is_some() {
                        return Ok(());
                    }
                    may_revoke(txn, &caller.principal, &found).await?;
                    let revoked_at = Some(time::timestamp(time_of(txn.now())));
                    let id = found.row.id.clone();
                    restage(txn, found.row, Token { revoked_at, ..found.document }, id.clone())?;
                    store::token::revoke(txn, &id);
                    Ok::<_, ServiceError>(())
                })
            })
            .await?;
        Ok(written)
    }
}

/// A caller sees the tokens that it created, those of its user, and those whose every grant is in an organization where
/// it is an admin.
fn is_visible(principal: &Principal, token: &Stored<Token>) -> bool {
    let document = &token.document;
    let in_mine = |grant: &wire::Grant| principal.role_in(&grant.org) >= Some(Role::Admin);
    principal.operator
        || token.row.id == principal.token
        || token.row.created_by == principal.maker()
        || (!principal.user.is_empty() && document.user == principal.user)
        || (!document.grants.is_empty() && document.grants.iter().all(in_mine))
}

/// A caller revokes only rights that it could grant, except for tokens that it created; an organization keeps an owner.
async fn may_revoke(txn: &Txn, principal: &Principal, token: &Stored<Token>) -> Result<(), ServiceError> {
    let own = principal.operator
        || token.row.id == principal.token
        || token.row.created_by == principal.maker()
        || (!principal.user.is_empty() && token.document.user == principal.user);
    for grant in &token.document.grants {
        if grant.org.is_empty() {
            continue;
        }
        if !own && principal.role_in(&grant.org) < Some(grant.role()) {
            return Err(too_wide(grant.role(), &grant.org));
        }
        if super::access::owns(&token.document, &grant.org, txn.now()) {
            super::access::stays_owned_without(txn, &grant.org, &token.row).await?;
        }
    }
    Ok(())
}

/// A token that the caller may see, by id, or by a name that one such token has. Names may repeat: of those that have one, a
/// token that is not revoked comes first.
async fn visible(
    db: &impl Reader,
    principal: &Principal,
    reference: &str,
) -> Result<Stored<Token>, ServiceError> {
    if let Some(row) = store::resource::by_id(db, Noun::Token, reference).await? {
        let token = store::resource::with_document::<Token>(db, row).await?;
        if is_visible(principal, &token) {
            return Ok(token);
        }
    }
    let mut found = named(db, principal, reference).await?;
    if found.iter().any(|token| token.document.revoked_at.is_none()) {
        found.retain(|token| token.document.revoked_at.is_none());
    }
    if found.len() > 1 {
        let ids: Vec<&str> = found.iter().map(|token| token.row.id.as_str()).collect();
        return Err(ServiceError::ambiguous("token", "tokens", &ids));
    }
    found.pop().ok_or_else(|| ServiceError::NotFound { noun: "token", name: reference.to_owned() })
}

/// The tokens with a name that the caller may see.
async fn named(
    db: &impl Reader,
    principal: &Principal,
    name: &str,
) -> Result<Vec<Stored<Token>>, StoreError> {
    let (mut found, mut behind) = (Vec::new(), None);
    loop {
        let query = Query { behind, limit: READ, ..Query::default() };
        let rows = store::resource::list(db, Noun::Token, query).await?;
        let last = (rows.len() as u64) < READ;
        behind = rows.last().map(|row| (row.name.clone(), row.id.clone()));
        let mut tokens: Vec<Stored<Token>> = store::resource::with_documents(db, rows).await?;
        tokens.retain(|token| token.document.name == name && is_visible(principal, token));
        found.append(&mut tokens);
        if last {
            return Ok(found);
        }
    }
}

fn outlives(maker: &Principal, expires_at: Option<i64>) -> Result<(), ServiceError> {
    match (maker.expires_at, expires_at) {
        _ if maker.bootstrap => Ok(()),
        (Some(end), Some(at)) if at <= end => Ok(()),
        (Some(_), _) => Err(ServiceError::field(
            "token.expires_at",
            "is later than the expiry of the token that creates it",
        )),
        (None, _) => Ok(()),
    }
}

/// Any organization: a key needs one, and whether an id is well formed does not depend on it.
fn noun_org() -> String {
    Noun::Org.id([0; 16])
}

/// A token that is narrow makes none that is wider.
fn narrower(maker: &Principal, wire: &Token) -> Result<(), ServiceError> {
    for (field, listed) in [("token.calls", &wire.calls), ("token.resources", &wire.resources)] {
        let mut once = listed.clone();
        once.sort();
        once.dedup();
        if listed.len() > NARROWED_MAX || once.len() != listed.len() {
            return Err(ServiceError::field(
                field,
                format!("must have at most {NARROWED_MAX} entries, each once"),
            ));
        }
    }
    for (i, call) in wire.calls.iter().enumerate() {
        let known = match call.strip_suffix(".*") {
            Some(service) => TABLE.iter().any(|it| service_of(it.call) == service),
            None => TABLE.iter().any(|it| it.call == call),
        };
        if !known {
            return Err(ServiceError::field(
                format!("token.calls[{i}]"),
                format!("names no call: {call:?} is not like `ProxyService.GetProxy` or `ProxyService.*`"),
            ));
        }
    }
    for (i, id) in wire.resources.iter().enumerate() {
        let is_id = |noun: &Noun| id.starts_with(noun.prefix()) && noun.key(&noun_org(), id).is_some();
        if !Noun::CONFIGURATION.iter().any(is_id) {
            return Err(ServiceError::field(
                format!("token.resources[{i}]"),
                "is not the id of a target, credential, proxy, rule, filter or meter",
            ));
        }
    }
    let calls_wider = !maker.calls.is_empty()
        && (wire.calls.is_empty()
            || !wire.calls.iter().all(|call| maker.calls.contains(call) || maker.is_for(call)));
    if calls_wider {
        return Err(ServiceError::field("token.calls", "allows more than the token that creates it"));
    }
    let resources_wider = !maker.resources.is_empty()
        && (wire.resources.is_empty() || !wire.resources.iter().all(|id| maker.resources.contains(id)));
    if resources_wider {
        return Err(ServiceError::field("token.resources", "allows more than the token that creates it"));
    }
    Ok(())
}

/// A maker grants only what it has; an organization or region that it may not see is not found.
async fn may_grant(txn: &Txn, maker: &Principal, wire: &mut Token) -> Result<(), ServiceError> {
    if !wire.user.is_empty() {
        let user = store::resource::find(txn, Noun::User, "", &wire.user).await?;
        let user = user.filter(|user| maker.operator || user.id == maker.user);
        let Some(user) = user.filter(|_| !maker.bootstrap) else {
            return Err(ServiceError::field(
                "token.user",
                format!("names user {:?}, which was not found", wire.user),
            ));
        };
        wire.user = user.id;
    }
    for (i, grant) in wire.grants.iter_mut().enumerate() {
        let field = |name: &str| format!("token.grants[{i}].{name}");
        let role = grant.role();
        let (in_org, in_region) = match role {
            Role::Unspecified => return Err(ServiceError::field(field("role"), "is missing or not known")),
            Role::Operator => (false, false),
            Role::RegionOperator => (false, true),
            Role::Viewer | Role::Editor | Role::Admin | Role::Owner => (true, false),
        };
        if !in_org && !grant.org.is_empty() {
            let text = format!("must be empty: {} is not granted for an organization", word::role(role));
            return Err(ServiceError::field(field("org"), text));
        }
        if !in_region && !grant.region.is_empty() {
            let text = format!("must be empty: {} is not granted for a region", word::role(role));
            return Err(ServiceError::field(field("region"), text));
        }
        if in_org {
            let found = scope::org(txn, &grant.org).await?;
            let visible = found.filter(|org| maker.bootstrap || maker.role_in(&org.id).is_some());
            let Some(org) = visible else {
                return Err(ServiceError::field(
                    field("org"),
                    format!("names organization {:?}, which was not found", grant.org),
                ));
            };
            if !maker.bootstrap && maker.role_in(&org.id) < Some(role) {
                return Err(too_wide(role, &org.name));
            }
            grant.org = org.id;
        } else if in_region {
            let found = super::region::by_reference(txn, &grant.region).await?;
            let visible = found.filter(|region| maker.bootstrap || super::region::is_visible(maker, region));
            let Some(region) = visible else {
                return Err(ServiceError::field(
                    field("region"),
                    format!("names region {:?}, which was not found", grant.region),
                ));
            };
            if !maker.bootstrap && !maker.operator && !maker.regions.contains(&region.row.id) {
                return Err(too_wide(role, &region.row.name));
            }
            grant.region = region.row.id;
        } else if !maker.bootstrap && !maker.operator {
            return Err(too_wide(role, "the installation"));
        }
    }
    Ok(())
}

fn too_wide(role: Role, place: &str) -> ServiceError {
    ServiceError::GrantTooWide(format!(
        "a token cannot grant {} in {place}: the token that creates it has a lower role there",
        word::role(role)
    ))
}
