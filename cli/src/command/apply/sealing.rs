//! Values of credentials in an apply: secrets for upstreams and those that verify tokens are sealed here when the credential
//! is created, and not changed afterwards; values of callers are hashed.
//!
//! A secret cannot be compared with the sealed one, so an existing one stays until `rrctl credential replace-secret` or, of
//! a caller credential, `roll`. The
//! hash of a caller's value can: the control plane refuses another one than the credential has, because a file does not say
//! how long the value before is to be accepted; `rrctl credential roll` does. A password has another hash each time, so an
//! existing one stays like a sealed secret.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use rr_contract::file::value_from::{Source, Unmade, ValueFrom, Wanted};
use rr_contract::model::id::CredentialId;
use rr_contract::seal::form::{Form, Said, SecretKind, WrongForm};
use rr_contract::seam::{SystemEntropy, draw};
use rr_contract::secret::Secret;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential::Usage;
use rr_contract::wire::management::document::Resource;

use super::super::credential::sealing::Destination;
use super::super::set::file::{FileDocument, Location};
use super::super::set::reach;
use crate::authority;
use crate::command::credential::value::Hashed;
use crate::command::credential::{self, sealing, secret_args, value};
use crate::command::{region, target};
use crate::connect::Connection;
use crate::flags::page::Listing;
use crate::flags::trust::TrustArgs;
use crate::print::note;
use crate::prompt;

/// Said of a value that belongs to nothing.
const NEEDS: &str = "needs a credential with `upstream` of a kind that has a secret, or with `caller` of kind api-key, bearer, basic, jwt, certificate, or jwt-verify without keys";

/// Hashes the values of callers, and seals the secrets of upstream credentials that do not exist yet.
pub(super) async fn seal(
    written: &mut [FileDocument],
    connection: &Connection,
    org: &str,
    trust: &TrustArgs,
) -> Result<()> {
    let asks_what_is_there = written.iter_mut().any(|one| {
        one.value_from.is_some()
            && caller(&mut one.document).is_none_or(|(_, caller)| caller.kind() == mg::CallerKind::Basic)
    });
    let there = if asks_what_is_there {
        credential::list(connection.clone(), org, &Listing::default()).await?
    } else {
        Vec::new()
    };
    let there: BTreeSet<String> = there.into_iter().map(|credential| credential.name).collect();
    for one in written.iter_mut() {
        let Some((name, caller)) = caller(&mut one.document) else { continue };
        let Some(from) = one.value_from.take() else { continue };
        let location = &one.location;
        if caller.kind() == mg::CallerKind::Basic && there.contains(name) {
            note(&format!("the password of {name} is not changed; `rrctl credential roll` replaces it"));
            continue;
        }
        let hashed = hash(caller, &from, location).with_context(|| location.to_string())?;
        (caller.value_hash, caller.password_hash) = (hashed.value_hash, hashed.password_hash);
    }
    if written.iter().all(|one| one.value_from.is_none()) {
        return Ok(());
    }
    // Targets in the files name the origins of secrets, and who vouches for them: the user wrote them. Those of the
    // control plane are not trusted.
    let targets: BTreeMap<String, mg::Target> = written
        .iter()
        .filter_map(|one| match &one.document.resource {
            Some(Resource::Target(target)) => Some((target.name.clone(), target.clone())),
            _ => None,
        })
        .collect();
    let mut targets_there = None;
    let mut statements = None;
    for one in written {
        let Some(from) = one.value_from.take() else { continue };
        let location = one.location.clone();
        if let Some((credential, algorithms)) = shared(&mut one.document) {
            let name = &credential.name;
            if there.contains(name) {
                note(&format!("the secret of {name} is not changed; `rrctl credential roll` replaces it"));
                continue;
            }
            let value = value_of_caller(&from, &location)
                .and_then(|value| value::check_shared(&value, &algorithms).map(|()| value))
                .with_context(|| location.to_string())?;
            note(&format!(
                "credential {name}: {}; sealing the secret that verifies its tokens",
                read_from(&from)
            ));
            let id = CredentialId::from_random(draw(&SystemEntropy));
            let sealed = sealing::seal_shared(connection, org, (id, 1), value, trust).await?;
            credential.id = id.to_string();
            if let Some(Usage::Caller(caller)) = &mut credential.usage {
                caller.sealed = Some(sealed);
            }
            continue;
        }
        let (credential, kind) =
            upstream(&mut one.document).with_context(|| format!("{location}: value_from {NEEDS}"))?;
        if there.contains(&credential.name) {
            note(&format!(
                "the secret of {} is not changed; `rrctl credential replace-secret` replaces it",
                credential.name
            ));
            if targets_there.is_none() {
                targets_there = Some(target::list(connection.clone(), org, &Listing::default()).await?);
            }
            for name in changed_ca(&from, &targets, targets_there.as_deref().unwrap_or_default()) {
                note(&format!(
                    "  the certificates (`ca`) of target {name} change: the secret goes there only when it has been \
                     sealed for them, with `rrctl credential replace-secret {} --target {name}` after the apply",
                    credential.name
                ));
            }
            continue;
        }
        let form = form(kind, &from, &location).with_context(|| location.to_string())?;
        secret_args::warn(&from);
        let destination = destination(&from, &targets, &location).with_context(|| location.to_string())?;
        if statements.is_none() {
            statements = Some(trust.choose(&region::list(connection.clone()).await?)?);
        }
        let id = CredentialId::from_random(draw(&SystemEntropy));
        let context = sealing::context(connection, org, id, 1).await?;
        note(&format!("credential {}: {}", credential.name, read_from(&from)));
        destination.announce().with_context(|| location.to_string())?;
        destination.warn(targets.values());
        let values = values(kind, &from, &location).with_context(|| location.to_string())?;
        let spec = destination.spec(form, values)?;
        let (sealed, label) = sealing::seal(&context, &spec, statements.as_deref().unwrap_or_default())?;
        credential.id = id.to_string();
        if let Some(Usage::Upstream(upstream)) = &mut credential.usage {
            (upstream.sealed, upstream.label) = (Some(sealed), Some(label));
        }
    }
    Ok(())
}

/// Checks what a document says of its value without sending or sealing it. What cannot be read here, where that is so: then the
/// value itself is not looked at.
pub(in crate::command) fn check(
    one: &mut FileDocument,
    targets: &BTreeMap<String, mg::Target>,
) -> Result<Option<String>> {
    let Some(from) = one.value_from.take() else { return Ok(None) };
    let location = one.location.clone();
    if from.headers.is_empty() {
        is_one_place(from.env.as_deref(), from.file.as_deref(), "value_from")?;
    }
    let unread = unread(&from, &location);
    if let Some((_, caller)) = caller(&mut one.document) {
        is_of_caller(&from)?;
        return unread
            .map_or_else(|| hash(caller, &from, &location).map(|_| None), |unread| Ok(Some(unread)));
    }
    if let Some((_, algorithms)) = shared(&mut one.document) {
        is_of_caller(&from)?;
        if unread.is_none() {
            value::check_shared(&value_of_caller(&from, &location)?, &algorithms)?;
        }
        return Ok(unread);
    }
    let (_, kind) = upstream(&mut one.document).context(NEEDS)?;
    let destination = destination(&from, targets, &location)?;
    match unread {
        None => drop(destination.spec(form(kind, &from, &location)?, values(kind, &from, &location)?)?),
        Some(_) => kind.check_groups(&from.groups()).map_err(|wrong| anyhow!("{}", wrong.in_file()))?,
    }
    Ok(unread)
}

/// Where the values of a credential are read, as whoever agrees to the plan has to know.
fn read_from(from: &ValueFrom) -> String {
    let main = Source { env: from.env.clone(), file: from.file.clone() };
    let session = from.aws.as_ref().and_then(|aws| aws.session_token.as_ref());
    let sources = std::iter::once(&main).chain(from.headers.values()).chain(session);
    let one = |source: &Source| match (&source.env, &source.file) {
        (Some(name), _) => Some(format!("variable {name}")),
        (None, Some(file)) => Some(format!("file {}", file.display())),
        (None, None) => None,
    };
    format!("reads {}", sources.filter_map(one).collect::<Vec<_>>().join(", "))
}

/// What of a value is not on this machine.
fn unread(from: &ValueFrom, location: &Location) -> Option<String> {
    let main = Source { env: from.env.clone(), file: from.file.clone() };
    let session = from.aws.as_ref().and_then(|aws| aws.session_token.as_ref());
    std::iter::once(&main).chain(from.headers.values()).chain(session).find_map(|source| {
        if let Some(name) = &source.env
            && std::env::var_os(name).is_none_or(|text| text.is_empty())
        {
            return Some(format!("environment variable {name} is not set, so the value was not looked at"));
        }
        // One that may not be named is a fault when it is read.
        let file = location.path(source.file.as_ref()?).ok()?;
        (!file.exists())
            .then(|| format!("file {} is not there, so the value was not looked at", file.display()))
    })
}

/// The caller credential of a document and its name, if it has a value that is hashed.
fn caller(document: &mut mg::Document) -> Option<(&str, &mut mg::Caller)> {
    let Some(Resource::Credential(credential)) = &mut document.resource else { return None };
    match &mut credential.usage {
        Some(Usage::Caller(caller)) => Some((&*credential.name, caller)).filter(|(_, caller)| {
            matches!(
                caller.kind(),
                mg::CallerKind::ApiKey
                    | mg::CallerKind::Bearer
                    | mg::CallerKind::Jwt
                    | mg::CallerKind::Basic
                    | mg::CallerKind::Certificate
            )
        }),
        _ => None,
    }
}

/// The credential of a document whose tokens a shared secret verifies, and their algorithms.
fn shared(document: &mut mg::Document) -> Option<(&mut mg::Credential, Vec<String>)> {
    let Some(Resource::Credential(credential)) = &mut document.resource else { return None };
    let Some(Usage::Caller(caller)) = &credential.usage else { return None };
    let verify = caller.jwt_verify.as_ref()?;
    let is_shared =
        caller.kind() == mg::CallerKind::JwtVerify && verify.jwks_url.is_empty() && verify.jwks.is_empty();
    let algorithms = verify.algorithms.clone();
    is_shared.then_some((credential, algorithms))
}

fn hash(caller: &mg::Caller, from: &ValueFrom, location: &Location) -> Result<Hashed> {
    value::hash(caller.kind(), &caller.username, &value_of_caller(from, location)?)
}

/// Whether a source says nothing that a caller's value does not have.
fn is_of_caller(from: &ValueFrom) -> Result<()> {
    if !from.is_bare() {
        bail!(
            "value_from takes env or file for a caller; header and prefix belong into `caller`, and a caller's value is \
             sent nowhere"
        );
    }
    Ok(())
}

/// Whether a source names one place.
fn is_one_place(env: Option<&str>, file: Option<&Path>, what: &str) -> Result<()> {
    if env.is_some() == file.is_some() {
        bail!("{what} names one place: give either `env` or `file`");
    }
    Ok(())
}

/// The value of a caller, which goes nowhere.
fn value_of_caller(from: &ValueFrom, location: &Location) -> Result<Secret> {
    is_of_caller(from)?;
    read(from.env.as_deref(), from.file.as_deref(), "value_from", location)
}

/// The credential of a document and its kind, if a secret can be sealed for it.
fn upstream(document: &mut mg::Document) -> Option<(&mut mg::Credential, SecretKind)> {
    let Some(Resource::Credential(credential)) = &mut document.resource else { return None };
    let Some(Usage::Upstream(upstream)) = &credential.usage else { return None };
    let kind = SecretKind::of(upstream.kind())?;
    Some((credential, kind))
}

/// Where the values of a credential go.
fn form(kind: SecretKind, from: &ValueFrom, location: &Location) -> Result<Form> {
    let in_file = |wrong: WrongForm| anyhow!("value_from: {}", wrong.in_file());
    kind.check_groups(&from.groups()).map_err(in_file)?;
    let means = from.means(|wanted| match wanted {
        Wanted::Secret(source) => {
            let value = read(source.env.as_deref(), source.file.as_deref(), "it", location)?;
            Ok(value.expose().to_vec())
        }
        Wanted::File(file) => {
            let file = location.path(file)?;
            std::fs::read(&file).with_context(|| format!("read {}", file.display()))
        }
    });
    let means = means.map_err(|unmade| match unmade {
        Unmade::Unread(field, error) => error.context(format!("value_from.{field}")),
        Unmade::Field(field, what) => anyhow!("value_from.{field} {what}"),
    })?;
    let said = Said {
        header: from.header.clone(),
        prefix: from.prefix.clone(),
        query: from.query.clone(),
        user: from.user.clone(),
        headers: from.headers.keys().cloned().collect(),
        groups: from.groups(),
        means,
    };
    kind.form(said).map_err(in_file)
}

/// The values of a credential, as many as its form has places.
fn values(kind: SecretKind, from: &ValueFrom, location: &Location) -> Result<Vec<Secret>> {
    if kind != SecretKind::CustomHeaders {
        return Ok(vec![read(from.env.as_deref(), from.file.as_deref(), "value_from", location)?]);
    }
    if from.env.is_some() || from.file.is_some() {
        bail!(
            "value_from of kind custom-headers names the place of each value in `headers`: leave out `env` and `file` beside them"
        );
    }
    let one = |(name, source): (&String, &Source)| {
        let what = format!("value_from.headers.{name}");
        read(source.env.as_deref(), source.file.as_deref(), &what, location)
    };
    from.headers.iter().map(one).collect()
}

/// The targets that a secret goes to and whose certificates are others than those that are there.
fn changed_ca<'f>(
    from: &'f ValueFrom,
    written: &BTreeMap<String, mg::Target>,
    there: &[mg::Target],
) -> Vec<&'f str> {
    let changes = |name: &&str| {
        let written = written.get(*name);
        let there = there.iter().find(|target| target.name == **name);
        written.zip(there).is_some_and(|(written, there)| {
            // Texts that cannot be read are refused elsewhere.
            let hash = |text: &str| authority::of(text).ok().flatten().map(|ca| *ca.hash());
            hash(&written.ca) != hash(&there.ca)
        })
    };
    from.targets.iter().map(String::as_str).filter(changes).collect()
}

fn destination(
    from: &ValueFrom,
    targets: &BTreeMap<String, mg::Target>,
    location: &Location,
) -> Result<Destination> {
    let ca = match &from.ca {
        Some(file) => {
            let (_, ca) = authority::read(&location.path(file)?)?;
            Some((format!("value_from.ca ({})", file.display()), ca))
        }
        None => None,
    };
    let mut destination = Destination::new(sealing::parse_origins(&from.origins)?, ca);
    for name in &from.targets {
        let target = targets
            .get(name)
            .with_context(|| format!("target {name} is not in the files; write its origin into `origins`"))?;
        destination.add(target)?;
    }
    if destination.is_nowhere() {
        bail!("no origin was given that the secret may be sent to; add `origins` or `targets` to value_from");
    }
    Ok(destination)
}

/// Reads a value from the one place that is named for it.
fn read(env: Option<&str>, file: Option<&Path>, what: &str, location: &Location) -> Result<Secret> {
    is_one_place(env, file, what)?;
    if let Some(file) = file {
        return prompt::read_new("value", Some(&location.path(file)?), "file");
    }
    let name = env.unwrap_or_default();
    reach::variable(name).map_err(anyhow::Error::msg)?;
    let text = std::env::var(name).ok().filter(|text| !text.is_empty());
    let text =
        text.with_context(|| format!("environment variable {name} is not set; set it to the secret"))?;
    Ok(Secret::from(text))
}

#[cfg(test)]
mod tests;
