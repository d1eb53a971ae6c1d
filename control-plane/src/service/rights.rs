//! The rights of a caller on single resources of an organization in which it may act: its token may be limited to some
//! resources, and the organization may share only some kinds among its members.
//!
//! Whether it may make the call at all is decided before, by `authz.rs`.

use std::collections::BTreeSet;

use rr_contract::model::invalid::Violations;
use rr_contract::wire::management::{self as wire, Role};

use super::directory;
use super::scope::Scope;
use super::{OrgCaller, ServiceError};
use crate::authz::{self, Principal};
use crate::document::{Part, Resource};
use crate::noun::Noun;
use crate::store::{Stored, Txn, resource_row};

/// Whether a token that is limited to some resources covers this one, or the one that it belongs to.
pub(super) fn is_for<R: Resource>(principal: &Principal, found: &mut Stored<R>) -> bool {
    let listed = |id: &str| principal.resources.iter().any(|allowed| allowed == id);
    principal.resources.is_empty()
        || listed(&found.row.id)
        || found.document.links().iter().any(|link| link.part == Part::Parent && listed(link.to))
}

/// Whether a caller may create this: a token that is limited to some resources creates only what belongs to them.
pub(super) fn may_make<R: Resource>(at: &OrgCaller, made: &mut Stored<R>) -> Result<(), ServiceError> {
    if is_for(&at.caller.principal, made) {
        return Ok(());
    }
    Err(ServiceError::Call("creating what belongs to resources other than those that it is limited to"))
}

/// A token that is limited to some resources uses no others: a reference that a resource did not have before must be to
/// one of them, and any other is reported as not found. Regions are not resources of an organization, so no token is
/// limited to some of them.
pub(super) async fn may_name<R: Resource>(
    txn: &Txn,
    scope: Scope<'_>,
    before: Option<R>,
    mut after: R,
) -> Result<(), ServiceError> {
    let allowed = &scope.principal.resources;
    if allowed.is_empty() {
        return Ok(());
    }
    let mut before = before;
    let named: BTreeSet<(Part, String)> = before
        .iter_mut()
        .flat_map(|before| {
            before.links().into_iter().map(|link| (link.part, link.to.clone())).collect::<Vec<_>>()
        })
        .collect();
    let directory = directory::around(txn, scope.org, &mut after).await?;
    let mut faults = Violations::default();
    for link in after.links().into_iter().filter(|link| Noun::CONFIGURATION.contains(&link.noun)) {
        let Some(id) = directory.id_of(link.noun, link.to) else { continue };
        if !allowed.iter().any(|it| it == id) && !named.contains(&(link.part, id.to_owned())) {
            let field = format!("{}.{}", R::NOUN.text(), link.field);
            faults.add(field, format!("names {} {:?}, which was not found", link.noun.title(), link.to));
        }
    }
    Ok(faults.finish(|| Some(()))?)
}

/// Whether a caller may remove a user of a resource together with that resource.
pub(super) fn may_take(
    scope: Scope<'_>,
    org: Option<&wire::Org>,
    noun: Noun,
    row: &resource_row::Model,
) -> Result<(), ServiceError> {
    if !scope.principal.resources.is_empty() && !scope.principal.resources.contains(&row.id) {
        return Err(ServiceError::Call("removing everything that `cascade` would remove"));
    }
    if delete_call(noun).is_some_and(|it| !scope.principal.is_for(it.call)) {
        return Err(ServiceError::Call("removing everything that `cascade` would remove"));
    }
    may_change(scope.principal, org, noun, row)
}

/// The call that removes a resource which can stand in the way of another one's removal.
fn delete_call(noun: Noun) -> Option<authz::Permission> {
    match noun {
        Noun::Target => Some(authz::DELETE_TARGET),
        Noun::Credential => Some(authz::DELETE_CREDENTIAL),
        Noun::Proxy => Some(authz::DELETE_PROXY),
        Noun::Org
        | Noun::Rule
        | Noun::Filter
        | Noun::Meter
        | Noun::Region
        | Noun::User
        | Noun::Member
        | Noun::Token
        | Noun::NodeToken => None,
    }
}

/// Whether a caller may remove the reference to a removed credential from a proxy.
pub(super) fn may_detach(
    scope: Scope<'_>,
    org: Option<&wire::Org>,
    row: &resource_row::Model,
) -> Result<(), ServiceError> {
    let resources = &scope.principal.resources;
    let narrow = !resources.is_empty() && !resources.contains(&row.id);
    if narrow || !scope.principal.is_for(authz::UPDATE_PROXY.call) {
        return Err(ServiceError::Call("changing every proxy that `cascade` would change"));
    }
    may_change(scope.principal, org, Noun::Proxy, row)
}

/// Whether a caller may change or use a resource that is not shared: its creator, admins and owners may.
pub(super) fn is_theirs(
    principal: &Principal,
    org: &wire::Org,
    noun: Noun,
    caller: bool,
    maker: &str,
) -> bool {
    let Some(sharing) = &org.sharing else { return true };
    let shared = match noun {
        Noun::Target => sharing.targets,
        Noun::Proxy => sharing.proxies,
        Noun::Credential if caller => sharing.caller_credentials,
        Noun::Credential => sharing.upstream_credentials,
        _ => true,
    };
    shared || maker == principal.maker() || principal.role_in(&org.id) >= Some(Role::Admin)
}

/// Whether a caller may change a resource, as far as sharing goes.
pub(super) fn may_change(
    principal: &Principal,
    org: Option<&wire::Org>,
    noun: Noun,
    row: &resource_row::Model,
) -> Result<(), ServiceError> {
    let Some(org) = org else { return Ok(()) };
    // The row does not tell the use of a credential, so both switches must be on for one that another caller created.
    let both =
        [true, false].into_iter().all(|caller| is_theirs(principal, org, noun, caller, &row.created_by));
    if both {
        return Ok(());
    }
    Err(ServiceError::NotShared { noun: noun.title(), name: row.name.clone() })
}
