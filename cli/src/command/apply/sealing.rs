//! Secrets of upstream credentials in an apply: sealed here when the credential is created, and not changed afterwards.
//!
//! A secret cannot be compared with the sealed one, so an existing one stays until `rrctl credential replace-secret`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use rr_contract::model::id::CredentialId;
use rr_contract::model::origin::Origin;
use rr_contract::seal::{SecretSpec, Slot};
use rr_contract::seam::{SystemEntropy, draw};
use rr_contract::secret::Secret;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential::Usage;
use rr_contract::wire::management::document::Resource;

use super::file::{FileDocument, Location, ValueFrom};
use crate::command::credential::{self, sealing};
use crate::command::region;
use crate::connect::Connection;
use crate::flags::page::Listing;
use crate::flags::trust::TrustArgs;
use crate::print::note;
use crate::prompt;

/// Seals the secrets of credentials that do not exist yet.
pub(super) async fn seal(
    written: &mut [FileDocument],
    connection: &Connection,
    org: &str,
    trust: &TrustArgs,
) -> Result<()> {
    if written.iter().all(|one| one.value_from.is_none()) {
        return Ok(());
    }
    // Targets in the files name the origins of secrets: the user wrote them. Those of the control plane are not trusted.
    let targets: BTreeMap<String, Vec<String>> = written
        .iter()
        .filter_map(|one| match &one.document.resource {
            Some(Resource::Target(target)) => {
                let base_urls = std::iter::once(&target.base_url).chain(&target.more_base_urls);
                Some((target.name.clone(), base_urls.cloned().collect()))
            }
            _ => None,
        })
        .collect();
    let there = credential::list(connection.clone(), org, &Listing::default()).await?;
    let there: BTreeSet<String> = there.into_iter().map(|credential| credential.name).collect();
    let mut statements = None;
    for one in written {
        let Some(from) = one.value_from.take() else { continue };
        let location = one.location.clone();
        let credential = upstream(&mut one.document).with_context(|| {
            format!("{location}: value_from needs a credential with `upstream` of kind bearer or api-key")
        })?;
        if there.contains(&credential.name) {
            note(&format!(
                "the secret of {} is not changed; `rrctl credential replace-secret` replaces it",
                credential.name
            ));
            continue;
        }
        let spec = spec(credential, &from, &targets, &location).with_context(|| location.to_string())?;
        if statements.is_none() {
            statements = Some(trust.choose(&region::list(connection.clone()).await?)?);
        }
        let id = CredentialId::from_random(draw(&SystemEntropy));
        let context = sealing::context(connection, org, id, 1).await?;
        note(&format!("credential {}:", credential.name));
        sealing::announce(&spec.origins);
        let sealed = sealing::seal(&context, &spec, statements.as_deref().unwrap_or_default())?;
        credential.id = id.to_string();
        if let Some(Usage::Upstream(upstream)) = &mut credential.usage {
            upstream.sealed = Some(sealed);
        }
    }
    Ok(())
}

/// The credential of a document, if a secret can be sealed for it.
fn upstream(document: &mut mg::Document) -> Option<&mut mg::Credential> {
    let Some(Resource::Credential(credential)) = &mut document.resource else { return None };
    match &credential.usage {
        Some(Usage::Upstream(upstream))
            if matches!(upstream.kind(), mg::UpstreamKind::Bearer | mg::UpstreamKind::ApiKey) =>
        {
            Some(credential)
        }
        _ => None,
    }
}

fn spec(
    credential: &mg::Credential,
    from: &ValueFrom,
    targets: &BTreeMap<String, Vec<String>>,
    location: &Location,
) -> Result<SecretSpec> {
    let bearer = matches!(&credential.usage, Some(Usage::Upstream(upstream)) if upstream.kind() == mg::UpstreamKind::Bearer);
    if !bearer && from.header.is_none() {
        bail!("kind api-key needs the header that the secret goes into; add `header` to value_from");
    }
    let slot = sealing::slot(from.header.as_deref(), from.prefix.as_deref(), Slot::bearer())?;
    let mut origins: Vec<Origin> = sealing::parse_origins(&from.origins)?;
    for name in &from.targets {
        let base_urls = targets
            .get(name)
            .with_context(|| format!("target {name} is not in the files; write its origin into `origins`"))?;
        for base_url in base_urls {
            origins.push(sealing::origin_of(base_url).with_context(|| format!("base URL of target {name}"))?);
        }
    }
    if origins.is_empty() {
        bail!("no origin was given that the secret may be sent to; add `origins` or `targets` to value_from");
    }
    Ok(SecretSpec { value: read(from, location)?, origins, slot, not_after: None, ca: None })
}

fn read(from: &ValueFrom, location: &Location) -> Result<Secret> {
    match (&from.env, &from.file) {
        (Some(name), None) => {
            let text = std::env::var(name).ok().filter(|text| !text.is_empty());
            let text = text
                .with_context(|| format!("environment variable {name} is not set; set it to the secret"))?;
            Ok(Secret::from(text))
        }
        (None, Some(file)) => prompt::read_new("value", Some(&location.folder().join(file)), "file"),
        _ => bail!("value_from names one place: give either `env` or `file`"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    /// Reads one credential, and targets beside it, from a file in a folder that holds a value.
    fn spec_of(value_from: &str) -> Result<SecretSpec> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("value"), "s3cr3t\n").expect("a file");
        let path = folder.path().join("x.yaml");
        let text =
            format!("kind: credential\nname: c\nupstream: {{kind: bearer}}\nvalue_from: {value_from}\n");
        std::fs::write(&path, text).expect("a file");
        let mut written = file::read(&[path]).expect("a document").remove(0);
        let from = written.value_from.take().expect("a value");
        let location = written.location.clone();
        let targets = BTreeMap::from([(
            "echo".to_owned(),
            vec!["https://echo.example/base".to_owned(), "https://echo2.example/base".to_owned()],
        )]);
        spec(upstream(&mut written.document).expect("an upstream credential"), &from, &targets, &location)
    }

    #[test]
    fn a_value_goes_where_the_files_say_and_nowhere_else() {
        let spec =
            spec_of("{file: value, targets: [echo], origins: ['https://api.example:8443']}").expect("a spec");
        let origins: Vec<String> = spec.origins.iter().map(ToString::to_string).collect();
        assert_eq!(origins.len(), 3);
        assert!(origins[0].contains("api.example") && origins[1].contains("echo.example"), "{origins:?}");
        assert!(origins[2].contains("echo2.example"), "a secret is sealed for each base URL: {origins:?}");
        assert_eq!(spec.value.expose(), b"s3cr3t");
        assert_eq!(spec.slot.prefix(), "Bearer ");
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
