//! The documents of a set, parsed: each with its noun and name, and after the documents that it refers to.

use std::collections::HashSet;

use rr_contract::model::invalid::Violations;
use rr_contract::seal::SealedSecret;
use rr_contract::wire::management::{Document, credential::Usage, document};

use crate::compile::add_under;
use crate::document::{Resource, each};
use crate::noun::Noun;
use crate::service::ServiceError;
use crate::service::draft::named;

/// One document of a set.
pub(super) struct Item {
    /// As it was sent.
    pub(super) at: usize,
    pub(super) noun: Noun,
    pub(super) name: String,
    pub(super) document: Document,
    /// Of a credential.
    pub(super) sealed: Option<SealedSecret>,
}

/// The documents, each after those that it refers to.
pub(super) fn parse(documents: Vec<Document>) -> Result<Vec<Item>, ServiceError> {
    let mut faults = Violations::default();
    let mut items = Vec::with_capacity(documents.len());
    for (at, mut document) in documents.into_iter().enumerate() {
        let prefix = format!("documents[{at}]");
        let Some(resource) = &mut document.resource else {
            faults.add(prefix, "holds no resource");
            continue;
        };
        let (noun, name) = each!(resource, resource => identity(resource));
        if !Noun::CONFIGURATION.contains(&noun) {
            faults.add(
                prefix,
                format!("is of kind {}, which a set cannot hold: create it with its own call", noun.text()),
            );
            continue;
        }
        if name.is_empty() {
            faults.add(
                format!("{prefix}.{}.name", noun.text()),
                "is missing: a set identifies its resources by name",
            );
            continue;
        }
        let mut sealed = None;
        if let document::Resource::Credential(credential) = resource
            && let Some(Usage::Upstream(upstream)) = &mut credential.usage
            && let Some(wire) = upstream.sealed.clone()
        {
            match SealedSecret::try_from(wire) {
                Ok(secret) => sealed = Some(secret),
                Err(invalid) => {
                    add_under(&format!("{prefix}.credential.upstream.sealed"), &invalid, &mut faults)
                }
            }
        }
        items.push(Item { at, noun, name, document, sealed });
    }
    let mut seen = HashSet::with_capacity(items.len());
    for item in &items {
        if !seen.insert((item.noun, item.name.as_str())) {
            let field = format!("documents[{}].{}.name", item.at, item.noun.text());
            faults.add(field, format!("names {} {:?} a second time", item.noun.title(), item.name));
        }
    }
    faults.finish(|| Some(()))?;
    items.sort_by_key(|item| item.noun);
    Ok(items)
}

fn identity<R: Resource>(resource: &mut R) -> (Noun, String) {
    let fields = resource.fields();
    let name = fields.name.map(|name| name.clone()).unwrap_or_default();
    let name = if name.is_empty() && !fields.id.is_empty() {
        named(resource);
        resource.fields().name.map(|name| name.clone()).unwrap_or_default()
    } else {
        name
    };
    (R::NOUN, name)
}
