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
use super::file::{FileDocument, Location};
use crate::authority;
use crate::command::credential::upstream::secret_kind;
use crate::command::credential::value::Hashed;
use crate::command::credential::{self, sealing, value};
use crate::command::{region, target};
use crate::connect::Connection;
use crate::flags::page::Listing;
use crate::flags::trust::TrustArgs;
use crate::print::note;
use crate::prompt;

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
            note(&format!("credential {name}: sealing the secret that verifies its tokens"));
            let id = CredentialId::from_random(draw(&SystemEntropy));
            let sealed = sealing::seal_shared(connection, org, (id, 1), value, trust).await?;
            credential.id = id.to_string();
            if let Some(Usage::Caller(caller)) = &mut credential.usage {
                caller.sealed = Some(sealed);
            }
            continue;
        }
        let (credential, kind) = upstream(&mut one.document).with_context(|| {
            format!(
                "{location}: value_from needs a credential with `upstream` of a kind that has a secret, or with `caller` of kind api-key, bearer, basic, jwt, certificate, or jwt-verify without keys"
            )
        })?;
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
        let destination = destination(&from, &targets, &location).with_context(|| location.to_string())?;
        if statements.is_none() {
            statements = Some(trust.choose(&region::list(connection.clone()).await?)?);
        }
        let id = CredentialId::from_random(draw(&SystemEntropy));
        let context = sealing::context(connection, org, id, 1).await?;
        note(&format!("credential {}:", credential.name));
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

/// The value of a caller, which goes nowhere.
fn value_of_caller(from: &ValueFrom, location: &Location) -> Result<Secret> {
    if !from.is_bare() {
        bail!(
            "value_from takes env or file for a caller; header and prefix belong into `caller`, and a caller's value is \
             sent nowhere"
        );
    }
    read(from.env.as_deref(), from.file.as_deref(), "value_from", location)
}

/// The credential of a document and its kind, if a secret can be sealed for it.
fn upstream(document: &mut mg::Document) -> Option<(&mut mg::Credential, SecretKind)> {
    let Some(Resource::Credential(credential)) = &mut document.resource else { return None };
    let Some(Usage::Upstream(upstream)) = &credential.usage else { return None };
    let kind = secret_kind(upstream.kind())?;
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
            let file = location.folder().join(file);
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
            let (_, ca) = authority::read(&location.folder().join(file))?;
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
    match (env, file) {
        (Some(name), None) => {
            let text = std::env::var(name).ok().filter(|text| !text.is_empty());
            let text = text
                .with_context(|| format!("environment variable {name} is not set; set it to the secret"))?;
            Ok(Secret::from(text))
        }
        (None, Some(file)) => prompt::read_new("value", Some(&location.folder().join(file)), "file"),
        _ => bail!("{what} names one place: give either `env` or `file`"),
    }
}

#[cfg(test)]
mod tests {
    use rr_contract::seal::{Means, SecretSpec, Slot};

    use super::super::file;
    use super::*;

    /// Reads one credential, and targets beside it, from a file in a folder that holds a value and certificates.
    fn spec_of(value_from: &str) -> Result<SecretSpec> {
        spec_of_kind("bearer", value_from)
    }

    fn spec_of_kind(kind: &str, value_from: &str) -> Result<SecretSpec> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("value"), "s3cr3t\n").expect("a file");
        std::fs::write(folder.path().join("schemed"), "bearer s3cr3t\n").expect("a file");
        let path = folder.path().join("x.yaml");
        let text =
            format!("kind: credential\nname: c\nupstream: {{kind: {kind}}}\nvalue_from: {value_from}\n");
        std::fs::write(&path, text).expect("a file");
        let mut written = file::read(&[path]).expect("a document").remove(0);
        let from = written.value_from.take().expect("a value");
        let location = written.location.clone();
        std::fs::write(folder.path().join("ca.pem"), authority::OURS).expect("a file");
        let target = |name: &str, ca: &str| {
            let base_url = format!("https://{name}.example/base");
            let target =
                mg::Target { name: name.to_owned(), base_url, ca: ca.to_owned(), ..mg::Target::default() };
            (name.to_owned(), target)
        };
        let mut several = target("several", "");
        several.1.more_base_urls = vec!["https://second.example/base".to_owned()];
        let targets = BTreeMap::from([target("echo", ""), target("private", authority::OURS), several]);
        let (_, kind) = upstream(&mut written.document).expect("an upstream credential");
        let (form, destination) = (form(kind, &from, &location)?, destination(&from, &targets, &location)?);
        destination.announce()?;
        destination.spec(form, values(kind, &from, &location)?)
    }

    #[test]
    fn a_value_is_sealed_for_the_certificates_of_its_targets_or_of_a_file() {
        let ca: rr_contract::model::tls::CaBundle = authority::OURS.parse().expect("a certificate");
        for (value_from, wanted) in [
            ("{file: value, targets: [echo]}", None),
            ("{file: value, targets: [private]}", Some(*ca.hash())),
            ("{file: value, ca: ca.pem, origins: ['https://a.example']}", Some(*ca.hash())),
            ("{file: value, ca: ca.pem, targets: [private]}", Some(*ca.hash())),
        ] {
            assert_eq!(spec_of(value_from).expect("a spec").ca, wanted, "{value_from}");
        }
        for (value_from, part) in [
            ("{file: value, targets: [echo, private]}", "make a credential for each"),
            ("{file: value, ca: ca.pem, targets: [echo]}", "make a credential for each"),
            ("{file: value, ca: value, origins: ['https://a.example']}", "no certificate"),
            ("{file: value, ca: ca.pem, origins: ['http://a.example']}", "no certificate vouches"),
        ] {
            let error = spec_of(value_from).err().map(|error| format!("{error:#}")).unwrap_or_default();
            assert!(error.contains(part), "{value_from}: {error:?}");
        }
    }

    #[test]
    fn a_value_goes_wherever_its_target_lives() {
        let spec = spec_of("{file: value, targets: [several]}").expect("a spec");
        let origins: Vec<String> = spec.origins.iter().map(ToString::to_string).collect();
        assert!(origins.len() == 2 && origins[1].contains("second.example"), "{origins:?}");
    }

    #[test]
    fn a_value_of_a_caller_goes_nowhere_and_becomes_its_hash() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("own"), "9f86d081884c7d659a2feaa0c55ad015\n").expect("a file");
        let path = folder.path().join("x.yaml");
        let of = |value_from: &str| {
            let text =
                format!("kind: credential\nname: c\ncaller: {{kind: bearer}}\nvalue_from: {value_from}\n");
            std::fs::write(&path, text).expect("a file");
            let mut written = file::read(std::slice::from_ref(&path)).expect("a document").remove(0);
            let from = written.value_from.take().expect("a value");
            let (_, caller) = caller(&mut written.document).expect("a caller");
            hash(caller, &from, &written.location).map(|hashed| hashed.value_hash.len())
        };
        assert_eq!(of("{file: own}").ok(), Some(32));
        for more in
            ["origins: ['https://a.example']", "targets: [t]", "ca: ca.pem", "header: x-own", "prefix: Key"]
        {
            let error = of(&format!("{{file: own, {more}}}")).expect_err(more).to_string();
            assert!(error.contains("a caller's value is sent nowhere"), "{error}");
        }
    }

    #[test]
    fn a_target_whose_certificates_change_is_named() {
        let target =
            |ca: &str| mg::Target { name: "a".to_owned(), ca: ca.to_owned(), ..mg::Target::default() };
        let from: ValueFrom = serde_json::from_str(r#"{"targets": ["a", "b"]}"#).expect("a value");
        for (written, there, changes) in [
            ("", "", false),
            (authority::OURS, "", true),
            ("", authority::OURS, true),
            (authority::OURS, authority::OURS, false),
        ] {
            let written = BTreeMap::from([("a".to_owned(), target(written))]);
            assert_eq!(!changed_ca(&from, &written, &[target(there)]).is_empty(), changes);
        }
    }

    #[test]
    fn a_value_goes_where_the_files_say_and_nowhere_else() {
        let spec =
            spec_of("{file: value, targets: [echo], origins: ['https://api.example:8443']}").expect("a spec");
        let origins: Vec<String> = spec.origins.iter().map(ToString::to_string).collect();
        assert_eq!(origins.len(), 2);
        assert!(origins[0].contains("api.example") && origins[1].contains("echo.example"), "{origins:?}");
        assert_eq!(spec.value.expose(), b"s3cr3t");
        assert!(spec.means == Means::sent(Slot::bearer()));
    }

    #[test]
    fn a_token_with_the_word_of_its_header_before_it_is_no_value_where_that_is_put_there() {
        let said = |value_from: &str| {
            let spec = spec_of(&format!("{{file: schemed, origins: ['https://a.example'], {value_from}}}"));
            spec.err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert!(said("").contains("begins with `Bearer `"));
        assert_eq!(said("header: x-token"), "");
    }

    #[test]
    fn each_kind_of_value_goes_where_the_file_says() {
        let to = "origins: ['https://a.example']";
        let sealed = |kind: &str, value_from: &str| {
            let spec = spec_of_kind(kind, &format!("{{{value_from}, {to}}}")).expect("a spec");
            let plain = |secret: &Secret| String::from_utf8_lossy(secret.expose()).into_owned();
            let Means::Sent { slot, more } = &spec.means else { panic!("not sent as it is") };
            let more: Vec<_> = more.iter().map(|(value, slot)| (plain(value), slot.clone())).collect();
            (plain(&spec.value), slot.clone(), more)
        };
        let header = |name: &str| Slot::header(name, "").expect("a slot");
        assert_eq!(sealed("jwt", "file: value"), ("s3cr3t".to_owned(), Slot::bearer(), Vec::new()));
        let query = Slot::query("key").expect("a slot");
        assert_eq!(sealed("api-key", "file: value, query: key"), ("s3cr3t".to_owned(), query, Vec::new()));
        let basic = ("YW5uOnMzY3IzdA==".to_owned(), Slot::basic(), Vec::new());
        assert_eq!(sealed("basic", "file: value, user: ann"), basic);
        assert_eq!(
            sealed("custom-headers", "headers: {x-a: {file: value}, x-b: {file: value}}"),
            ("s3cr3t".to_owned(), header("x-a"), vec![("s3cr3t".to_owned(), header("x-b"))])
        );
        for (kind, value_from, part) in [
            ("api-key", "file: value", "add `header` or `query` to value_from"),
            ("basic", "file: value", "add `user` to value_from"),
            ("bearer", "file: value, query: key", "value_from: kind bearer has no `query`"),
            ("custom-headers", "file: value", "add `headers` to value_from"),
            ("custom-headers", "file: value, headers: {x-a: {file: value}}", "leave out `env` and `file`"),
            ("custom-headers", "headers: {x-a: {}}", "value_from.headers.x-a names one place"),
        ] {
            let wrong = spec_of_kind(kind, &format!("{{{value_from}, {to}}}")).err();
            let wrong = wrong.map(|error| format!("{error:#}")).unwrap_or_default();
            assert!(wrong.contains(part), "{kind} {value_from}: {wrong}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (value_from, part) in [
            ("{file: value}", "origins"),
            ("{file: value, targets: [other]}", "target other"),
            ("{origins: ['https://a.example']}", "env"),
            ("{env: A, file: value, origins: ['https://a.example']}", "one place"),
            ("{env: RRCTL_TEST_NEVER_SET, origins: ['https://a.example']}", "RRCTL_TEST_NEVER_SET"),
            ("{file: nowhere, origins: ['https://a.example']}", "nowhere"),
        ] {
            let error = spec_of(value_from).err().map(|error| format!("{error:#}")).unwrap_or_default();
            assert!(error.contains(part), "{value_from}: {error:?}");
        }
    }
}
