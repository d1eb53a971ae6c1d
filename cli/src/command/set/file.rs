//! The files of a set: YAML or JSON, several documents each.
//!
//! Judges no value. The invariant: every document that cannot be read is told, of every file.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rr_contract::document as written;
use rr_contract::file::node;
use rr_contract::file::value_from::ValueFrom;
use rr_contract::policy::public_key;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential::Usage;
use rr_contract::wire::management::document::Resource;
use serde::Deserialize;
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

use super::fill::Fill;
use super::mistake;
use super::reach::Reach;
use crate::excerpt::Fault;
use crate::fault;

/// A document and its location.
pub(in crate::command) struct FileDocument {
    pub(in crate::command) document: mg::Document,
    pub(in crate::command) location: Location,
    /// The source of the value of a credential, which is sealed or hashed here.
    pub(in crate::command) value_from: Option<ValueFrom>,
}

/// The source of the keys of an issuer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JwksFrom {
    /// A JWKS document, or PEM; a path starts at the folder of the document.
    file: PathBuf,
}

/// The place of a document: a file, and a line in it.
#[derive(Debug, Clone)]
pub(in crate::command) struct Location {
    pub(in crate::command) file: PathBuf,
    /// Its line, or its number where lines are not known.
    pub(in crate::command) at: At,
    /// How many documents of the file are before it.
    pub(in crate::command) nth: usize,
    reach: Arc<Reach>,
}

#[derive(Debug, Clone, Copy)]
pub(in crate::command) enum At {
    Line(u64),
    Document(usize),
}

impl Location {
    /// A file that the document names: its path starts at the folder of the document.
    pub(in crate::command) fn path(&self, file: &Path) -> Result<PathBuf> {
        self.reach.file(&self.file.parent().unwrap_or(Path::new("")).join(file))
    }

    /// A fault of the document as a whole.
    fn fault(&self, field: &str, what: impl fmt::Display) -> Fault {
        match self.at {
            At::Line(line) => Fault::new(&self.file, Some(line), field, what),
            At::Document(n) => Fault::new(&self.file, None, field, format_args!("document {n}: {what}")),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            At::Line(line) => write!(f, "{}:{line}", self.file.display()),
            At::Document(n) => write!(f, "{}, document {n}", self.file.display()),
        }
    }
}

/// A file that was read.
pub(super) struct Text {
    pub(super) file: PathBuf,
    pub(super) text: String,
}

/// Reads files, and the files of folders in the order of their names. Links in folders may not lead out of them.
pub(super) fn texts(paths: &[PathBuf], reach: &Reach) -> Result<Vec<Text>> {
    let mut found = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("read documents from standard input")?;
            found.push(Text { file: PathBuf::from("standard input"), text });
            continue;
        }
        if !path.try_exists().unwrap_or(true) {
            let here = std::env::current_dir().map(|here| here.display().to_string()).unwrap_or_default();
            return Err(fault::ended(
                &format!("there is no file or folder {}", path.display()),
                &format!("give one that is there; the working folder is {here}"),
            ));
        }
        let files = if path.is_dir() {
            let (mut files, mut seen) = (Vec::new(), BTreeSet::new());
            of_folder(path, reach, &mut seen, &mut files)?;
            files.sort();
            files
        } else {
            vec![path.clone()]
        };
        for file in files {
            if ending(&file).is_none() {
                return Err(fault::usage(
                    &format!("{} ends in neither .yaml, .yml nor .json", file.display()),
                    "rename it, or give it on standard input with `-f -`",
                ));
            }
            let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
            found.push(Text { file, text });
        }
    }
    Ok(found)
}

/// The files of a folder and of those below it, each folder once: links can make circles.
fn of_folder(
    folder: &Path,
    reach: &Reach,
    seen: &mut BTreeSet<PathBuf>,
    found: &mut Vec<PathBuf>,
) -> Result<()> {
    let unread = || format!("read folder {}", folder.display());
    if !seen.insert(folder.canonicalize().with_context(unread)?) {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder).with_context(unread)? {
        let path = entry.with_context(unread)?.path();
        if path.is_dir() {
            of_folder(&reach.file(&path)?, reach, seen, found)?;
        } else if ending(&path).is_some() {
            found.push(reach.file(&path)?);
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Ending {
    Yaml,
    Json,
}

fn ending(path: &Path) -> Option<Ending> {
    match path.extension()?.to_str()? {
        "yaml" | "yml" => Some(Ending::Yaml),
        "json" => Some(Ending::Json),
        _ => None,
    }
}

/// The documents of a file, or all of its faults.
#[cfg(test)]
pub(super) fn parse(
    file: &Path,
    text: &str,
    fill: &Fill,
    reach: &Arc<Reach>,
) -> Result<Vec<FileDocument>, Vec<Fault>> {
    let (found, faults) = taken(file, text, fill, reach);
    if faults.is_empty() { Ok(found) } else { Err(faults) }
}

/// The documents of a file that can be read, and the faults of the others.
pub(super) fn taken(
    file: &Path,
    text: &str,
    fill: &Fill,
    reach: &Arc<Reach>,
) -> (Vec<FileDocument>, Vec<Fault>) {
    let values = match ending(file) {
        Some(Ending::Json) => json(file, text, reach),
        // So is standard input.
        Some(Ending::Yaml) | None => yaml(file, text, reach),
    };
    let values = match values {
        Ok(values) => values,
        Err(fault) => return (Vec::new(), vec![fault]),
    };
    let (mut found, mut faults) = (Vec::with_capacity(values.len()), Vec::new());
    for (mut value, location) in values {
        if let Err(what) = fill.value(&mut value) {
            faults.push(location.fault("", what));
            continue;
        }
        match document(value, location) {
            Ok(document) => found.push(document),
            Err(fault) => faults.push(fault),
        }
    }
    if !faults.is_empty() {
        // Read again with the line of each field.
        let better = mistake::of(file, text, fill);
        if !better.is_empty() {
            faults = better;
        }
    }
    (found, faults)
}

/// Each document of a text with its place; those that are empty are left out.
type Values = Vec<(Value, Location)>;

fn yaml(file: &Path, text: &str, reach: &Arc<Reach>) -> Result<Values, Fault> {
    let options = serde_saphyr::options! {
        // A written file may be long; one that expands to more than its size stays refused.
        budget: serde_saphyr::budget! {
            max_documents: 1_000_000,
            max_nodes: 50_000_000,
            max_events: 200_000_000,
        },
    };
    let values: Vec<Spanned<Value>> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|error| fault_of(file, &error))?;
    let mut found = Vec::with_capacity(values.len());
    for value in values {
        add(&mut found, (file, reach), At::Line(value.referenced.line()), value.value);
    }
    Ok(found)
}

/// The fault in one line, without an excerpt of the file.
fn fault_of(file: &Path, error: &serde_saphyr::Error) -> Fault {
    let (field, what) = node::no_yaml(error);
    Fault::new(file, error.location().map(|at| at.line()), &field, what)
}

fn json(file: &Path, text: &str, reach: &Arc<Reach>) -> Result<Values, Fault> {
    let mut found = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        let value = value.map_err(|error| {
            let line = u64::try_from(error.line()).ok().filter(|line| *line > 0);
            Fault::new(file, line, "", error)
        })?;
        let at = At::Document(found.len() + 1);
        add(&mut found, (file, reach), at, value);
    }
    Ok(found)
}

/// A document, or a list of documents.
fn add(found: &mut Values, (file, reach): (&Path, &Arc<Reach>), at: At, value: Value) {
    let mut put = |at: Option<At>, value| {
        let nth = found.len();
        let at = at.unwrap_or(At::Document(nth + 1));
        found.push((value, Location { file: file.to_owned(), at, nth, reach: Arc::clone(reach) }));
    };
    match value {
        Value::Null => {}
        Value::Array(items) => items.into_iter().for_each(|item| put(None, item)),
        value => put(Some(at), value),
    }
}

fn document(value: Value, location: Location) -> Result<FileDocument, Fault> {
    let Value::Object(mut fields) = value else {
        return Err(location.fault("", "a document is `kind` and its fields"));
    };
    let value_from = value_from(&mut fields).map_err(|error| location.fault("value_from", error))?;
    let jwks_from: Option<JwksFrom> = fields
        .remove("jwks_from")
        .map(serde_json::from_value)
        .transpose()
        .map_err(|error| location.fault("jwks_from", error))?;
    let mut document = written::document(fields).map_err(|error| location.fault("", error))?;
    if let Some(from) = jwks_from {
        put_keys(&mut document, &from, &location)
            .map_err(|error| location.fault("jwks_from", format_args!("{error:#}")))?;
    }
    Ok(FileDocument { document, location, value_from })
}

/// Puts the keys of an issuer into the credential that takes its tokens.
fn put_keys(document: &mut mg::Document, from: &JwksFrom, location: &Location) -> Result<()> {
    let verify = match &mut document.resource {
        Some(Resource::Credential(mg::Credential { usage: Some(Usage::Caller(caller)), .. })) => {
            caller.jwt_verify.as_mut()
        }
        _ => None,
    };
    let verify = verify.context("is for a credential with `caller` of kind jwt-verify and `jwt_verify`")?;
    if !(verify.jwks.is_empty() && verify.jwks_url.is_empty()) {
        anyhow::bail!("stands beside the keys of `jwt_verify`: leave one out");
    }
    let path = location.path(&from.file)?;
    let text = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    verify.jwks = public_key::read(&text).with_context(|| path.display().to_string())?;
    Ok(())
}

fn value_from(fields: &mut Map<String, Value>) -> Result<Option<ValueFrom>, serde_json::Error> {
    fields.remove("value_from").map(serde_json::from_value).transpose()
}

#[cfg(test)]
mod tests;
