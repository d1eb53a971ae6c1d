//! Names to ids: the resources that a write refers to, looked up together.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use prost::Message as _;
use rr_contract::model::invalid::Violations;
use rr_contract::wire::management::{self as wire, Document, document};

use super::ServiceError;
use crate::document::{Part, Resource};
use crate::noun::Noun;
use crate::store::{self, Reader, StoreError, resource_row};

/// The resources that a write refers to, by name and by id.
#[derive(Debug, Default)]
pub(super) struct Directory {
    org: String,
    rows: HashMap<(Noun, String), Known>,
    names: HashMap<(Noun, String), String>,
}

/// Something that can be referred to.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) name: String,
    /// None for a resource that is not stored yet.
    pub(super) row: Option<resource_row::Model>,
    /// Of credentials and regions: others are not looked into.
    document: Option<Document>,
}

/// References by noun.
pub(super) type References = BTreeMap<Noun, BTreeSet<String>>;

/// Which nouns belong to no organization.
pub(super) const fn is_global(noun: Noun) -> bool {
    matches!(noun, Noun::Org | Noun::Region | Noun::User | Noun::Token | Noun::NodeToken)
}

/// Adds the references of a resource.
pub(super) fn note<R: Resource>(resource: &mut R, references: &mut References) {
    for link in resource.links() {
        references.entry(link.noun).or_default().insert(link.to.clone());
    }
}

impl Directory {
    /// The resources that these references name in an organization, or in the installation.
    pub(super) async fn of(db: &impl Reader, org: &str, references: References) -> Result<Self, StoreError> {
        let mut directory = Self { org: org.to_owned(), ..Self::default() };
        for (noun, references) in references {
            let references: Vec<String> = references.into_iter().filter(|it| !it.is_empty()).collect();
            let within = if is_global(noun) { "" } else { org };
            let rows = store::resource::find_all(db, noun, within, &references).await?;
            directory.add(db, noun, rows).await?;
        }
        Ok(directory)
    }

    /// Everything of an organization that can be configured, and all regions.
    pub(super) async fn whole(db: &impl Reader, org: &str) -> Result<Self, StoreError> {
        let mut directory = Self { org: org.to_owned(), ..Self::default() };
        for noun in Noun::CONFIGURATION {
            let rows = store::resource::all(db, noun, org).await?;
            directory.add(db, noun, rows).await?;
        }
        let rows = store::resource::all(db, Noun::Region, "").await?;
        directory.add(db, Noun::Region, rows).await?;
        Ok(directory)
    }

    async fn add(
        &mut self,
        db: &impl Reader,
        noun: Noun,
        rows: Vec<resource_row::Model>,
    ) -> Result<(), StoreError> {
        let documents = if matches!(noun, Noun::Credential | Noun::Region) {
            store::resource::blobs(db, rows.iter().map(|row| row.doc.clone()).collect()).await?
        } else {
            HashMap::new()
        };
        for row in rows {
            let document = match documents.get(&row.doc) {
                Some(bytes) => {
                    Some(Document::decode(bytes.as_slice()).map_err(|_| StoreError::Damaged("blob"))?)
                }
                None => None,
            };
            self.names.insert((noun, row.name.clone()), row.id.clone());
            let known = Known { name: row.name.clone(), document, row: Some(row.clone()) };
            self.rows.insert((noun, row.id), known);
        }
        Ok(())
    }

    /// Adds a resource that the write creates or changes.
    pub(super) fn announce(&mut self, noun: Noun, id: &str, name: &str, document: Option<Document>) {
        self.names.insert((noun, name.to_owned()), id.to_owned());
        let row = self.rows.remove(&(noun, id.to_owned())).and_then(|known| known.row);
        let known = Known { name: name.to_owned(), row, document };
        self.rows.insert((noun, id.to_owned()), known);
    }

    /// Removes a resource that the write removes.
    pub(super) fn forget(&mut self, noun: Noun, id: &str) {
        if let Some(known) = self.rows.remove(&(noun, id.to_owned())) {
            self.names.remove(&(noun, known.name));
        }
    }

    /// The id of the resource with this name or id.
    pub(super) fn id_of(&self, noun: Noun, reference: &str) -> Option<&str> {
        if reference.starts_with(noun.prefix()) {
            return self.rows.get_key_value(&(noun, reference.to_owned())).map(|((_, id), _)| id.as_str());
        }
        self.names.get(&(noun, reference.to_owned())).map(String::as_str)
    }

    /// By id.
    pub(super) fn get(&self, noun: Noun, id: &str) -> Option<&Known> {
        self.rows.get(&(noun, id.to_owned()))
    }

    pub(super) fn credential(&self, id: &str) -> Option<&wire::Credential> {
        match &self.get(Noun::Credential, id)?.document.as_ref()?.resource {
            Some(document::Resource::Credential(credential)) => Some(credential),
            _ => None,
        }
    }

    pub(super) fn region(&self, id: &str) -> Option<&wire::Region> {
        match &self.get(Noun::Region, id)?.document.as_ref()?.resource {
            Some(document::Resource::Region(region)) => Some(region),
            _ => None,
        }
    }

    /// Everything of a noun that is there, by id.
    pub(super) fn rows(&self, noun: Noun) -> impl Iterator<Item = &resource_row::Model> {
        self.rows.iter().filter(move |((of, _), _)| *of == noun).filter_map(|(_, known)| known.row.as_ref())
    }

    /// Turns every name in a resource into an id, and adds those that were not found to the faults.
    pub(super) fn resolve<R: Resource>(&self, resource: &mut R, prefix: &str, faults: &mut Violations) {
        let hidden = |noun, id: &str| {
            // A region that is dedicated to another organization is none.
            noun == Noun::Region
                && !self.org.is_empty()
                && self
                    .region(id)
                    .is_some_and(|region| !region.dedicated_to.is_empty() && region.dedicated_to != self.org)
        };
        for link in resource.links() {
            match self.id_of(link.noun, link.to) {
                Some(id) if !hidden(link.noun, id) => *link.to = id.to_owned(),
                _ => {
                    let field = format!("{prefix}.{}", link.field);
                    if link.to.is_empty() {
                        faults.add(field, missing(link.part));
                    } else {
                        faults.add(
                            field,
                            format!("names {} {:?}, which was not found", link.noun.title(), link.to),
                        );
                    }
                    *link.to = stand_in(link.noun, link.to);
                }
            }
        }
    }
}

/// Said of a reference that is empty.
fn missing(part: Part) -> &'static str {
    match part {
        Part::Upstream => {
            "is missing: name one; `rrctl credential create-upstream NAME --kind none` makes one that adds nothing"
        }
        _ => "is missing",
    }
}

/// An id for a reference that was not found, so that the other fields are checked all the same.
fn stand_in(noun: Noun, reference: &str) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&blake3::hash(reference.as_bytes()).as_bytes()[..16]);
    noun.id(bytes)
}

/// Looks up the references of one resource.
pub(super) async fn around<R: Resource>(
    db: &impl Reader,
    org: &str,
    resource: &mut R,
) -> Result<Directory, ServiceError> {
    let mut references = References::new();
    note(resource, &mut references);
    Ok(Directory::of(db, org, references).await?)
}
