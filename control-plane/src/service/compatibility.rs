//! Whether resources fit those that they refer to: credentials of the right use, shared with the caller and sealed to the
//! regions of the proxy, regions that the organization may use, and limits below its ceilings.

use rr_contract::model::invalid::Violations;
use rr_contract::wire::management::{self as wire, Document, credential::Usage, document};

use super::ceiling::Ceilings;
use super::destination;
use super::directory::Directory;
use super::error::Precondition;
use super::rights::is_theirs;
use super::scope::Scope;
use super::{Reason, ServiceError};
use crate::authz::Principal;
use crate::document::sealed_regions;
use crate::noun::Noun;

/// Adds every reference that does not fit to the faults.
pub(super) fn check(
    scope: Scope<'_>,
    org: Option<&wire::Org>,
    directory: &Directory,
    document: &Document,
    prefix: &str,
    faults: &mut Violations,
) {
    match (&document.resource, org) {
        (Some(document::Resource::Proxy(proxy)), Some(org)) => {
            check_proxy(scope.principal, org, directory, proxy, prefix, faults);
            if let Some(installation) = scope.ceilings {
                let field = format!("{prefix}.limits");
                Ceilings::new(installation, org).check(proxy.limits, &field, faults);
            }
        }
        (Some(document::Resource::Credential(credential)), Some(org)) => {
            let usage =
                if matches!(credential.usage, Some(Usage::Caller(_))) { "caller" } else { "upstream" };
            let fields = (0..)
                .zip(sealed_regions(credential).unwrap_or_default())
                .map(|(i, region): (usize, _)| (format!("{prefix}.{usage}.sealed_regions[{i}]"), region));
            check_regions(org, directory, fields, faults);
        }
        _ => {}
    }
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
        // A resource that is not stored yet is created by the caller.
        maker.is_none_or(|maker| is_theirs(principal, org, noun, caller, maker))
    };
    let unshared =
        "is not shared in the organization: only its creator, an admin or an owner may put it into a proxy";
    for (i, id) in proxy.caller_credentials.iter().enumerate() {
        let field = format!("{prefix}.caller_credentials[{i}]");
        if let Some(other) = same_user(directory, &proxy.caller_credentials[..i], id) {
            faults.add(&field, other);
        }
        match directory.credential(id) {
            Some(wire::Credential { usage: Some(Usage::Caller(_)), .. })
                if shared(Noun::Credential, true, id) => {}
            Some(wire::Credential { usage: Some(Usage::Caller(_)), .. }) => faults.add(field, unshared),
            Some(other) => faults
                .add(field, format!("{:?} is an upstream credential: name a caller credential", other.name)),
            // Noted when it was resolved.
            None => {}
        }
    }
    check_recording(directory, proxy, prefix, faults);
    let field = format!("{prefix}.upstream_credential");
    match directory.credential(&proxy.upstream_credential) {
        Some(wire::Credential { usage: Some(Usage::Upstream(_)), .. })
            if shared(Noun::Credential, false, &proxy.upstream_credential) => {}
        Some(wire::Credential { usage: Some(Usage::Upstream(_)), .. }) => faults.add(field, unshared),
        Some(other) => {
            faults.add(field, format!("{:?} is a caller credential: name an upstream credential", other.name))
        }
        None => {}
    }
    if directory.get(Noun::Target, &proxy.target).is_some() && !shared(Noun::Target, false, &proxy.target) {
        faults.add(format!("{prefix}.target"), unshared);
    }
    let fields =
        (0..).zip(&proxy.regions).map(|(i, region): (usize, _)| (format!("{prefix}.regions[{i}]"), region));
    check_regions(org, directory, fields, faults);
}

/// Records keep no credential, and so no header in which a caller of the proxy presents one. Where the upstream's secret goes,
/// its seal alone says: nodes leave that out.
fn check_recording(directory: &Directory, proxy: &wire::Proxy, prefix: &str, faults: &mut Violations) {
    let Some(recording) = &proxy.recording else { return };
    // Some servers read both spellings as one name.
    let spelled = |name: &str| name.to_ascii_lowercase().replace('_', "-");
    let holder = |name: &str| {
        let carries = |credential: &&wire::Credential| match &credential.usage {
            Some(Usage::Caller(caller)) => {
                !caller.header.is_empty() && spelled(&caller.header) == spelled(name)
            }
            _ => false,
        };
        proxy.caller_credentials.iter().filter_map(|id| directory.credential(id)).find(carries)
    };
    for (list, names) in
        [("request_headers", &recording.request_headers), ("response_headers", &recording.response_headers)]
    {
        for (i, name) in names.iter().enumerate() {
            let Some(credential) = holder(name) else { continue };
            faults.add(
                format!("{prefix}.recording.{list}[{i}]"),
                format!(
                    "{name:?} is where caller credential {:?} is presented, and records hold no credentials: leave it \
                     out; records name the credential that was used",
                    credential.name
                ),
            );
        }
    }
}

/// What is wrong with a caller of a proxy whose user another one of its callers has: whose password it is could not be told.
fn same_user(directory: &Directory, others: &[String], id: &str) -> Option<String> {
    let user = |id: &str| match directory.credential(id)?.usage.as_ref()? {
        Usage::Caller(caller) if caller.kind() == wire::CallerKind::Basic => Some(caller.username.as_str()),
        Usage::Caller(_) | Usage::Upstream(_) => None,
    };
    let name = user(id)?;
    let other = others.iter().filter(|other| *other != id).find(|other| user(other) == Some(name))?;
    let other = directory.credential(other).map_or("", |other| other.name.as_str());
    Some(format!(
        "has user {name:?}, as {other:?} has: leave one of them out, or make a credential with another user; a second \
         password of one user comes with `rrctl credential roll {other} --overlap …`"
    ))
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
            faults.add(field, format!("names region {:?}, which the organization may not use", region.name));
        }
    }
}

/// A proxy is served only where its credentials can be opened.
pub(super) fn sealed_everywhere(
    org: Option<&wire::Org>,
    directory: &Directory,
    document: &Document,
) -> Result<(), ServiceError> {
    let Some(document::Resource::Proxy(proxy)) = &document.resource else { return Ok(()) };
    let missing = not_sealed_to(directory, proxy);
    // One credential at a time: each has a command of its own.
    let Some((first, _)) = missing.first() else { return Ok(()) };
    let missing: Vec<&str> =
        missing.iter().filter(|(id, _)| id == first).map(|(_, region)| region.as_str()).collect();
    let credential = directory.credential(first);
    let is_caller = credential.is_some_and(|it| matches!(it.usage, Some(Usage::Caller(_))));
    let form = credential.map(destination::form).unwrap_or_default();
    let target = directory.get(Noun::Target, &proxy.target).map_or("NAME", |target| target.name.as_str());
    let credential = credential.map_or("", |credential| credential.name.as_str());
    let org = org.map_or("", |org| org.name.as_str());
    let remedy = |region: &str| {
        if is_caller {
            format!("`rrctl --org {org} credential roll {credential} --overlap …` for region {region} too")
        } else {
            format!(
                "`rrctl --org {org} credential replace-secret {credential} --target {target}`{form}, for region {region} \
                 too"
            )
        }
    };
    let said = |region: &str| {
        format!(
            "credential {credential:?} is not sealed to region {region}: with the key file of a region that it is sealed to, \
             `rrctl --org {org} credential reseal {credential} --region {region} --region-key FILE` adds that one; or seal \
             the secret again with {}",
            remedy(region)
        )
    };
    let all: Vec<String> = missing.iter().map(|region| said(region)).collect();
    Err(ServiceError::Refused {
        reason: Reason::NotSealedToRegion,
        text: all.join("; "),
        preconditions: missing
            .iter()
            .map(|region| Precondition { subject: format!("credentials/{first}"), text: said(region) })
            .collect(),
    })
}

/// The ids of the credentials of a proxy whose secrets are not sealed to one of its regions, each with the name of that.
pub(super) fn not_sealed_to(directory: &Directory, proxy: &wire::Proxy) -> Vec<(String, String)> {
    let mut missing = Vec::new();
    for id in std::iter::once(&proxy.upstream_credential).chain(&proxy.caller_credentials) {
        let Some(sealed) = directory.credential(id).and_then(sealed_regions) else { continue };
        let lacks = proxy.regions.iter().filter(|region| !sealed.contains(region));
        missing.extend(lacks.map(|region| {
            let name = directory.region(region).map_or_else(|| region.clone(), |it| it.name.clone());
            (id.clone(), name)
        }));
    }
    missing
}
