//! From a document to its operations.
//!
//! Reads what requests are held against, and passes over the rest: servers, responses, callbacks, webhooks, security. The
//! invariant: a member of a path, an operation or a parameter that is not known is a fault.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderName;
use rr_domain::model::validation::Unlisted;

use super::super::schema::{DocumentIs, Fault, survey};
use super::super::tree::Tree;
use super::content::{self, Content};
use super::document::{Document, Place, told};
use super::kinds::KindsOf;
use super::parameter::{self, In, Parameter, Said};
use super::paths::{Hole, Paths};
use super::schemas::Schemas;
use super::{Compiled, Operation, Operations};

/// Parameters of an operation.
const PARAMETERS_MAX: usize = 256;

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

const ITEM: [&str; 5] = ["$ref", "summary", "description", "servers", "parameters"];

const OPERATION: [&str; 12] = [
    "tags",
    "summary",
    "description",
    "externalDocs",
    "operationId",
    "parameters",
    "requestBody",
    "responses",
    "callbacks",
    "deprecated",
    "security",
    "servers",
];

/// Says how to make a document of this version of an older one.
const CONVERT: &str =
    "convert it, for example with `npx @scalar/cli document upgrade FILE --output openapi.json`";

/// The dialects of schemas that are understood: the second one adds annotations.
const DIALECTS: [&str; 2] =
    ["https://json-schema.org/draft/2020-12/schema", "https://spec.openapis.org/oas/3.1/dialect/base"];

/// What a document says of a body: types, each with its schema.
type Types<'t> = Vec<(String, Option<Place<'t>>)>;

#[derive(Default)]
struct Reading<'t> {
    paths: Paths,
    items: Vec<Vec<(Box<str>, usize)>>,
    operations: Vec<Seen<'t>>,
    /// By the place of what says it, which several operations may refer to.
    parameters: HashMap<usize, Option<Said<'t>>>,
    bodies: HashMap<usize, Option<Types<'t>>>,
    roots: Vec<Place<'t>>,
}

/// An operation, before schemas were surveyed.
struct Seen<'t> {
    /// Each with the place of what says it.
    parameters: Vec<(usize, Said<'t>)>,
    holes: Arc<[Hole]>,
    body: Option<Place<'t>>,
    at: String,
}

pub(super) fn compile(root: &Tree<'_>, unlisted: Unlisted) -> Result<Compiled, Vec<Fault>> {
    let mut document = Document::new(root);
    is_understood(&mut document)?;
    let mut reading = Reading::default();
    for (template, item) in
        document.root().get("paths").into_iter().flat_map(|paths| paths.members().collect::<Vec<_>>())
    {
        if !template.starts_with("x-") {
            reading.item(&mut document, template, item);
        }
    }
    if !reading.paths.are_few() {
        document.fault(
            "/paths",
            "has so many templates beside each other that a path is not told apart in few steps",
        );
    }
    if reading.operations.is_empty() && document.faults.is_empty() {
        document.fault("/paths", "lists no operation, and requests are held against nothing else");
    }
    if !document.faults.is_empty() {
        return Err(document.faults);
    }
    let roots: Vec<_> = reading.roots.iter().map(|place| (place.tree, place.at.clone())).collect();
    let surveyed = survey(root, DocumentIs::OpenApi, &roots)?;
    for top in &surveyed.tops {
        let Some(schema) = root.at(top) else { continue };
        if let Err(error) = jsonschema::draft202012::meta::validate(&schema.to_value()) {
            let Fault { at, what } = super::super::of_schema(&error);
            document.fault(&format!("{top}{at}"), what);
        }
    }
    let compiled = reading.finish(&mut document);
    let (mut operations, schemas) = compiled;
    if !document.faults.is_empty() {
        return Err(document.faults);
    }
    let schema = schemas.to_value(root);
    operations.labels = schemas.labels;
    operations.unlisted = unlisted;
    Ok(Compiled { operations, schema, cost: surveyed.cost })
}

/// Whether the document is of the version that is read.
fn is_understood(document: &mut Document<'_>) -> Result<(), Vec<Fault>> {
    let root = document.root();
    let fault = |at: &str, what: String| Err(vec![Fault { at: at.to_owned(), what }]);
    if let Some(version) = root.get("swagger") {
        let version = told(version.tree.text().unwrap_or("2.0"));
        return fault("/swagger", format!("is {version}; documents are of OpenAPI 3.1: {CONVERT}"));
    }
    let Some(version) = root.get("openapi").and_then(|version| version.tree.text()) else {
        return fault("", "is no OpenAPI document: it has no `openapi: 3.1.…`".to_owned());
    };
    match version.strip_prefix("3.1.") {
        Some(rest) if !rest.is_empty() => {}
        _ => {
            let remedy = if version.starts_with("3.0") { CONVERT } else { "write it for that version" };
            return fault(
                "/openapi",
                format!("is {}; documents are of OpenAPI 3.1: {remedy}", told(version)),
            );
        }
    }
    if let Some(dialect) = root.get("jsonSchemaDialect")
        && !dialect.tree.text().is_some_and(|dialect| DIALECTS.contains(&dialect.trim_end_matches('#')))
    {
        let what = format!("is another dialect than {:?}: leave it out", DIALECTS[0]);
        return fault("/jsonSchemaDialect", what);
    }
    match root.get("paths").map(|paths| paths.tree) {
        Some(Tree::Object(_)) => Ok(()),
        Some(_) => fault("/paths", "is no object".to_owned()),
        None => fault("", "has no `paths`, and requests are held against nothing else".to_owned()),
    }
}

impl<'t> Reading<'t> {
    fn item(&mut self, document: &mut Document<'t>, template: &str, place: Place<'t>) {
        let number = u32::try_from(self.items.len()).expect("documents are bounded, so paths are");
        let holes: Arc<[Hole]> = match self.paths.add(template, number) {
            Ok(holes) => holes.into(),
            Err(what) => return document.fault(&place.at, what),
        };
        self.items.push(Vec::new());
        let at = place.at.clone();
        if place.get("$ref").is_some()
            && place.members().any(|(key, _)| METHODS.contains(&key) || key == "parameters")
        {
            return document.fault(&at, "has members beside its `$ref`: put them where it leads to");
        }
        let Some(place) = document.object(place) else { return };
        document.known(&place, "a path", &[&ITEM[..], &METHODS[..]].concat());
        let shared = self.parameters(document, &place);
        for (key, operation) in place.members().filter(|(key, _)| METHODS.contains(key)) {
            if !matches!(operation.tree, Tree::Object(_)) {
                document.fault(&operation.at, "is no object");
                continue;
            }
            document.known(&operation, "an operation", &OPERATION);
            let mut parameters = self.parameters(document, &operation);
            let is_own = |of: &Said<'_>, all: &[(usize, Said<'_>)]| {
                all.iter().any(|(_, own)| own.stands == of.stands && own.name == of.name)
            };
            for (id, said) in &shared {
                if !is_own(said, &parameters) {
                    parameters.push((*id, said.clone()));
                }
            }
            if parameters.len() > PARAMETERS_MAX {
                document.fault(&operation.at, format!("has more than {PARAMETERS_MAX} parameters"));
            }
            for (_, said) in parameters.iter().filter(|(_, said)| said.stands == In::Path) {
                if !holes.iter().any(|hole| hole.name == said.name) {
                    let what = format!(
                        "has a parameter {:?} of the path, which {} does not have",
                        said.name,
                        told(template)
                    );
                    document.fault(&operation.at, what);
                }
            }
            let body = operation.get("requestBody").and_then(|body| self.body(document, body));
            self.items[number as usize].push((key.to_ascii_uppercase().into(), self.operations.len()));
            self.operations.push(Seen { parameters, holes: Arc::clone(&holes), body, at: operation.at });
        }
    }

    fn parameters(&mut self, document: &mut Document<'t>, place: &Place<'t>) -> Vec<(usize, Said<'t>)> {
        let Some(list) = place.get("parameters") else { return Vec::new() };
        if !matches!(list.tree, Tree::List(_)) {
            document.fault(&list.at, "is no list");
        }
        let mut all: Vec<(usize, Said<'t>)> = Vec::new();
        for place in list.items() {
            let at = place.at.clone();
            let Some(place) = document.object(place) else { continue };
            let known = self.parameters.get(&place.id()).cloned();
            let said = known.unwrap_or_else(|| {
                let said = parameter::said(document, &place);
                self.roots.extend(said.iter().map(|said| said.schema.clone()));
                self.parameters.insert(place.id(), said.clone());
                said
            });
            let Some(said) = said else { continue };
            if all.iter().any(|(_, other)| other.stands == said.stands && other.name == said.name) {
                document.fault(&at, format!("is the second parameter {:?} in this place", said.name));
            }
            all.push((place.id(), said));
        }
        all
    }

    fn body(&mut self, document: &mut Document<'t>, place: Place<'t>) -> Option<Place<'t>> {
        let place = document.object(place)?;
        if !self.bodies.contains_key(&place.id()) {
            let said = content::said(document, &place, &mut self.roots);
            self.bodies.insert(place.id(), said);
        }
        Some(place)
    }

    fn finish(mut self, document: &mut Document<'t>) -> (Operations, Schemas) {
        let (mut schemas, mut kinds) = (Schemas::default(), KindsOf::default());
        let mut parameters: HashMap<usize, Arc<Parameter>> = HashMap::new();
        let mut contents: HashMap<usize, Arc<Content>> = HashMap::new();
        let mut operations = Vec::with_capacity(self.operations.len());
        for seen in self.operations {
            let (mut path, mut query, mut headers) = (Vec::new(), Vec::new(), Vec::new());
            for (id, said) in seen.parameters {
                let known = parameters
                    .entry(id)
                    .or_insert_with(|| Arc::new(Parameter::new(document, &said, &mut kinds, &mut schemas)));
                let parameter = Arc::clone(known);
                match said.stands {
                    In::Path => {
                        let Some(hole) = seen.holes.iter().find(|hole| hole.name == said.name) else {
                            continue;
                        };
                        if parameter.is_list() && !hole.is_whole() {
                            document.fault(
                                &seen.at,
                                format!("has a list {:?} in a part of a segment", said.name),
                            );
                        }
                        path.push((hole.clone(), parameter));
                    }
                    In::Query => query.push(parameter),
                    In::Header => {
                        let name = HeaderName::from_bytes(said.name.as_bytes());
                        headers.push((name.expect("its name was read as one"), parameter));
                    }
                }
            }
            query.sort_by(|one, other| one.name.cmp(&other.name));
            let content = seen.body.map(|place| {
                let content = contents.entry(place.id()).or_insert_with(|| {
                    let said = self.bodies.remove(&place.id()).flatten().unwrap_or_default();
                    Arc::new(Content::new(document, &place, said, &mut schemas))
                });
                Arc::clone(content)
            });
            operations.push(Operation { path, query, headers, content });
        }
        let (paths, items) = (self.paths, self.items);
        let operations =
            Operations { paths, items, operations, labels: Vec::new(), unlisted: Unlisted::Refuse };
        (operations, schemas)
    }
}
