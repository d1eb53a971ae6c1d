//! What spans nouns: which resources fit together, and who may change which.

use std::collections::BTreeSet;

use rr_contract::model::invalid::Violations;
use rr_contract::wire::management::{self as wire, Document, Role, credential::Usage, document};

use super::directory::{self, Directory};
use super::error::Precondition;
use super::scope::Place;
use super::{OrgCaller, Reason, ServiceError};
use crate::authz::{self, Principal};
use crate::document::{Part, Resource};
use crate::noun::Noun;
use crate::store::{Stored, Txn, resource_row};

/// Whether a token that is for some resources only is for this one, or for what it belongs to.
pub(super) fn is_for<R: Resource>(principal: &Principal, found: &mut Stored<R>) -> bool {
    let listed = |id: &str| principal.resources.iter().any(|allowed| allowed == id);
    principal.resources.is_empty()
        || listed(&found.row.id)
        || found.document.links().iter().any(|link| link.part == Part::Parent && listed(link.to))
}

/// Whether a caller may have made this: a token that is for some resources only makes what belongs to them.
pub(super) fn may_make<R: Resource>(at: &OrgCaller, made: &mut Stored<R>) -> Result<(), ServiceError> {
    if is_for(&at.caller.principal, made) {
        return Ok(());
    }
    Err(ServiceError::Call("what belongs to other resources"))
}

/// A token that is for some resources puts no others to use: what a resource would name and did not name before is one
/// of those, or looks as if there were none. Regions are no resources of an organization and no token is narrowed to
/// some of them.
pub(super) async fn may_name<R: Resource>(
    txn: &Txn,
    place: Place<'_>,
    before: Option<R>,
    mut after: R,
) -> Result<(), ServiceError> {
    let allowed = &place.principal.resources;
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
    let directory = directory::around(txn, place.id, &mut after).await?;
    let mut faults = Violations::default();
    for link in after.links().into_iter().filter(|link| Noun::CONFIGURATION.contains(&link.noun)) {
        let Some(id) = directory.id_of(link.noun, link.to) else { continue };
        if !allowed.iter().any(|it| it == id) && !named.contains(&(link.part, id.to_owned())) {
            let field = format!("{}.{}", R::NOUN.text(), link.field);
            faults.add(field, format!("no {} {:?}", link.noun.title(), link.to));
        }
    }
    Ok(faults.finish(|| Some(()))?)
}

/// Whether a caller may take away what uses another thing along with that.
pub(super) fn may_take(
    place: Place<'_>,
    org: Option<&wire::Org>,
    noun: Noun,
    row: &resource_row::Model,
) -> Result<(), ServiceError> {
    if !place.principal.resources.is_empty() && !place.principal.resources.contains(&row.id) {
        return Err(ServiceError::Call("everything that would go along"));
    }
    if delete_call(noun).is_some_and(|rule| !place.principal.is_for(rule.call)) {
        return Err(ServiceError::Call("everything that would go along"));
    }
    may_change(place.principal, org, noun, row)
}

/// The call that removes a resource which can stand in the way of another one's removal.
fn delete_call(noun: Noun) -> Option<authz::Rule> {
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

/// Whether a caller may take out of a proxy the mention of a thing that goes.
pub(super) fn may_detach(
    place: Place<'_>,
    org: Option<&wire::Org>,
    row: &resource_row::Model,
) -> Result<(), ServiceError> {
    let resources = &place.principal.resources;
    let narrow = !resources.is_empty() && !resources.contains(&row.id);
    if narrow || !place.principal.is_for(authz::UPDATE_PROXY.call) {
        return Err(ServiceError::Call("everything that would change along"));
    }
    may_change(place.principal, org, Noun::Proxy, row)
}

/// Whether what is not shared may be changed or put to use: by who made it, by admins and by owners.
fn is_theirs(principal: &Principal, org: &wire::Org, noun: Noun, caller: bool, maker: &str) -> bool {
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

/// Whether a caller may change a resource, as far as sharing and the narrowness of his token go.
pub(super) fn may_change(
    principal: &Principal,
    org: Option<&wire::Org>,
    noun: Noun,
    row: &resource_row::Model,
) -> Result<(), ServiceError> {
    let Some(org) = org else { return Ok(()) };
    // Which use a credential has, its row does not say: both switches must be on for what another made.
    let both =
        [true, false].into_iter().all(|caller| is_theirs(principal, org, noun, caller, &row.created_by));
    if both {
        return Ok(());
    }
    Err(ServiceError::NotShared { noun: noun.title(), name: row.name.clone() })
}

/// Notes what does not fit.
pub(super) fn check(
    place: Place<'_>,
    org: Option<&wire::Org>,
    directory: &Directory,
    document: &Document,
    prefix: &str,
    faults: &mut Violations,
) -> Result<(), ServiceError> {
    match (&document.resource, org) {
        (Some(document::Resource::Proxy(proxy)), Some(org)) => {
            check_proxy(place.principal, org, directory, proxy, prefix, faults);
        }
        (Some(document::Resource::Credential(credential)), Some(org)) => {
            if let Some(Usage::Upstream(upstream)) = &credential.usage {
                let fields = (0..)
                    .zip(&upstream.sealed_regions)
                    .map(|(i, region)| (format!("{prefix}.upstream.sealed_regions[{i}]"), region));
                check_regions(org, directory, fields, faults);
            }
        }
        _ => {}
    }
    Ok(())
}

fn check_proxy(
    principal: &Principal,
    org: &wire::Org,
    directory: &Directory,
    proxy: &wire::Proxy,
    prefix: &str,
    faults: &mut Violations,
) {
    let shared = |noun, caller, id: &str| {
        let maker =
            directory.get(noun, id).and_then(|known| known.row.as_ref()).map(|row| row.created_by.as_str());
        // What is only about to be made is made by whoever asks.
        maker.is_none_or(|maker| is_theirs(principal, org, noun, caller, maker))
    };
    let unshared = "is not shared: who made it, an admin or an owner may put it into a proxy";
    for (i, id) in proxy.caller_credentials.iter().enumerate() {
        let field = format!("{prefix}.caller_credentials[{i}]");
        match directory.credential(id) {
            Some(wire::Credential { usage: Some(Usage::Caller(_)), .. })
                if shared(Noun::Credential, true, id) => {}
            Some(wire::Credential { usage: Some(Usage::Caller(_)), .. }) => faults.add(field, unshared),
            Some(other) => faults
                .add(field, format!("{:?} is an upstream credential; callers need caller ones", other.name)),
            // Noted when it was resolved.
            None => {}
        }
    }
    let field = format!("{prefix}.upstream_credential");
    match directory.credential(&proxy.upstream_credential) {
        Some(wire::Credential { usage: Some(Usage::Upstream(_)), .. })
            if shared(Noun::Credential, false, &proxy.upstream_credential) => {}
        Some(wire::Credential { usage: Some(Usage::Upstream(_)), .. }) => faults.add(field, unshared),
        Some(other) => faults.add(
            field,
            format!("{:?} is a caller credential; what is injected is an upstream one", other.name),
        ),
        None => {}
    }
    if directory.get(Noun::Target, &proxy.target).is_some() && !shared(Noun::Target, false, &proxy.target) {
        faults.add(format!("{prefix}.target"), unshared);
    }
    let fields =
        (0..).zip(&proxy.regions).map(|(i, region): (usize, _)| (format!("{prefix}.regions[{i}]"), region));
    check_regions(org, directory, fields, faults);
}

/// Shared regions may be used as far as the organization is allowed to; its own always.
fn check_regions<'a>(
    org: &wire::Org,
    directory: &Directory,
    regions: impl Iterator<Item = (String, &'a String)>,
    faults: &mut Violations,
) {
    for (field, id) in regions {
        let Some(region) = directory.region(id) else { continue };
        let own = region.dedicated_to == org.id;
        if !own && !org.allowed_regions.is_empty() && !org.allowed_regions.contains(id) {
            faults.add(field, format!("the organization may not use region {:?}", region.name));
        }
    }
}

/// A proxy is served only where its upstream credential can be opened.
pub(super) fn sealed_everywhere(
    org: Option<&wire::Org>,
    directory: &Directory,
    document: &Document,
) -> Result<(), ServiceError> {
    let Some(document::Resource::Proxy(proxy)) = &document.resource else { return Ok(()) };
    let missing = not_sealed_to(directory, proxy);
    if missing.is_empty() {
        return Ok(());
    }
    let credential =
        directory.credential(&proxy.upstream_credential).map_or("", |credential| credential.name.as_str());
    let org = org.map_or("", |org| org.name.as_str());
    let remedy = |region: &str| {
        format!("`rrctl --org {org} credential replace-secret {credential}` for region {region} too")
    };
    Err(ServiceError::Refused {
        reason: Reason::NotSealedToRegion,
        text: format!(
            "credential {credential:?} is not sealed to region {}; seal it anew with {}",
            missing.join(", "),
            missing.iter().map(|region| remedy(region)).collect::<Vec<_>>().join(", and ")
        ),
        preconditions: missing
            .iter()
            .map(|region| Precondition {
                subject: format!("credentials/{}", proxy.upstream_credential),
                text: format!(
                    "credential {credential:?} is not sealed to region {region:?}; run: {}",
                    remedy(region)
                ),
            })
            .collect(),
    })
}

/// The names of the regions of a proxy that its upstream credential is not sealed to.
pub(super) fn not_sealed_to(directory: &Directory, proxy: &wire::Proxy) -> Vec<String> {
    let Some(Usage::Upstream(upstream)) =
        directory.credential(&proxy.upstream_credential).and_then(|credential| credential.usage.as_ref())
    else {
        return Vec::new();
    };
    if upstream.kind() == wire::UpstreamKind::None {
        return Vec::new();
    }
    proxy
        .regions
        .iter()
        .filter(|region| !upstream.sealed_regions.contains(region))
        .map(|id| directory.region(id).map_or_else(|| id.clone(), |region| region.name.clone()))
        .collect()
}
