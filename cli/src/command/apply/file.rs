//! The files of an apply: YAML or JSON, several documents each.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rr_contract::file::value_from::ValueFrom;
use rr_contract::policy::public_key;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential::Usage;
use rr_contract::wire::management::document::Resource;
use serde::Deserialize;
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

use super::{format, mistake};
use crate::fault;

/// A document and its location.
pub(super) struct FileDocument {
    pub(super) document: mg::Document,
    pub(super) location: Location,
    /// The source of the value of a credential, which is sealed or hashed here.
    pub(super) value_from: Option<ValueFrom>,
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
pub(super) struct Location {
    pub(super) file: PathBuf,
    /// Its line, or its number where lines are not known.
    pub(super) at: At,
    /// How many documents of the file are before it.
    pub(super) nth: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum At {
    Line(u64),
    Document(usize),
}

impl Location {
    /// The folder at which paths in the document start.
    pub(super) fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new(""))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            At::Line(line) => write!(f, "{}, line {line}", self.file.display()),
            At::Document(n) => write!(f, "{}, document {n}", self.file.display()),
        }
    }
}

/// Reads files, and the files of folders in the order of their names.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<FileDocument>> {
    let mut found = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("read documents from standard input")?;
            found.extend(yaml(Path::new("standard input"), &text)?);
            continue;
        }
        let files = if path.is_dir() { of_folder(path)? } else { vec![path.clone()] };
        for file in files {
            let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
            found.extend(parse(&file, &text)?);
        }
    }
    Ok(found)
}

fn of_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder).with_context(|| format!("read folder {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("read folder {}", folder.display()))?.path();
        if path.is_dir() {
            found.extend(of_folder(&path)?);
        } else if ending(&path).is_some() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
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

pub(super) fn parse(file: &Path, text: &str) -> Result<Vec<FileDocument>> {
    match ending(file) {
        Some(Ending::Yaml) => yaml(file, text),
        Some(Ending::Json) => json(file, text),
        None => Err(fault::usage(
            &format!("{} ends in neither .yaml, .yml nor .json", file.display()),
            "rename it, or give it on standard input with `-f -`",
        )),
    }
}

fn yaml(file: &Path, text: &str) -> Result<Vec<FileDocument>> {
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
    let mut found = Vec::new();
    for value in values {
        let location =
            Location { file: file.to_owned(), at: At::Line(value.referenced.line()), nth: found.len() };
        documents(value.value, location, &mut found)
            .map_err(|error| mistake::of(file, text).unwrap_or(error))?;
    }
    Ok(found)
}

/// The fault in one line, without an excerpt of the file.
fn fault_of(file: &Path, error: &serde_saphyr::Error) -> anyhow::Error {
    let text = error.without_snippet().to_string();
    let what = text.lines().next().unwrap_or_default();
    match error.location() {
        Some(at) => anyhow::anyhow!("{}, line {}: {what}", file.display(), at.line()),
        None => anyhow::anyhow!("{}: {what}", file.display()),
    }
}

fn json(file: &Path, text: &str) -> Result<Vec<FileDocument>> {
    let mut found = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        let value = value.with_context(|| file.display().to_string())?;
        let location =
            Location { file: file.to_owned(), at: At::Document(found.len() + 1), nth: found.len() };
        documents(value, location, &mut found).map_err(|error| mistake::of(file, text).unwrap_or(error))?;
    }
    Ok(found)
}

/// A document, or a list of documents.
fn documents(value: Value, location: Location, found: &mut Vec<FileDocument>) -> Result<()> {
    match value {
        Value::Null => Ok(()),
        Value::Array(items) => {
            for item in items {
                let (at, nth) = (At::Document(found.len() + 1), found.len());
                found.push(document(item, Location { file: location.file.clone(), at, nth })?);
            }
            Ok(())
        }
        value => {
            found.push(document(value, location)?);
            Ok(())
        }
    }
}

fn document(value: Value, location: Location) -> Result<FileDocument> {
    let Value::Object(mut fields) = value else {
        bail!("{location}: a document is `kind` and its fields");
    };
    let value_from =
        value_from(&mut fields).map_err(|error| anyhow::anyhow!("{location}: value_from: {error}"))?;
    let jwks_from: Option<JwksFrom> = fields
        .remove("jwks_from")
        .map(serde_json::from_value)
        .transpose()
        .map_err(|error| anyhow::anyhow!("{location}: jwks_from: {error}"))?;
    let mut document = format::document(fields).map_err(|error| anyhow::anyhow!("{location}: {error}"))?;
    if let Some(from) = jwks_from {
        put_keys(&mut document, &from, &location).with_context(|| format!("{location}: jwks_from"))?;
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
        bail!("stands beside the keys of `jwt_verify`: leave one out");
    }
    let path = location.folder().join(&from.file);
    let text = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    verify.jwks = public_key::read(&text).with_context(|| path.display().to_string())?;
    Ok(())
}

fn value_from(fields: &mut Map<String, Value>) -> Result<Option<ValueFrom>, serde_json::Error> {
    fields.remove("value_from").map(serde_json::from_value).transpose()
}

#[cfg(test)]
mod tests {
    use rr_contract::model::invalid::Violation;
    use rr_contract::wire::fleet;

    use super::*;

    fn names(found: &[FileDocument]) -> Vec<(&str, &str)> {
        found.iter().map(|one| format::label(&one.document)).collect()
    }

    #[test]
    fn the_example_of_the_manual_is_read() {
        let manual = include_str!("../../../../docs/apply.md");
        let example = manual.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
        let found = parse(Path::new("example.yaml"), example.expect("an example")).expect("documents");
        let kinds: Vec<&str> = names(&found).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(
            kinds,
            ["target", "credential", "credential", "proxy", "rule", "rule", "filter", "meter", "meter"]
        );
        assert_eq!(found.iter().filter(|one| one.value_from.is_some()).count(), 1);
    }

    #[test]
    fn every_example_of_the_manual_is_read_and_its_conditions_are_good() {
        let manual = include_str!("../../../../docs/apply.md");
        let examples: Vec<&str> =
            manual.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert_eq!(examples.len(), 7);
        let (mut conditions, mut shapes, mut targets) = (0, 0, 0);
        for example in examples {
            for one in parse(Path::new("example.yaml"), example).expect("documents") {
                // Alone, a rule has no parent and a proxy no target, which are faults of other fields.
                let invalid = match one.document.resource {
                    Some(Resource::Rule(rule)) => {
                        conditions += usize::from(rule.when.is_some());
                        let wire = fleet::RuleResource { when: rule.when, ..fleet::RuleResource::default() };
                        rr_contract::model::rule::Rule::try_from(wire).expect_err("it has no parent")
                    }
                    Some(Resource::Proxy(proxy)) => {
                        let mg::Proxy { rewrite, cors, forwarded, retry, .. } = proxy;
                        shapes += usize::from(rewrite.is_some() && cors.is_some() && forwarded == 1);
                        let default = fleet::ProxyResource::default();
                        let wire = fleet::ProxyResource { rewrite, cors, forwarded, retry, ..default };
                        rr_contract::model::proxy::Proxy::try_from(wire).expect_err("it has no target")
                    }
                    Some(Resource::Target(target)) => {
                        targets += usize::from(target.health_check.is_some());
                        let wire = fleet::TargetResource {
                            base_url: target.base_url,
                            more_base_urls: target.more_base_urls,
                            balance: target.balance,
                            total_timeout: target.total_timeout,
                            outlier_ejection: target.outlier_ejection,
                            health_check: target.health_check,
                            circuit_breaker: target.circuit_breaker,
                            ..fleet::TargetResource::default()
                        };
                        rr_contract::model::target::Target::try_from(wire).expect_err("it has no name")
                    }
                    _ => continue,
                };
                let is_shown = |it: &&Violation| {
                    let elsewhere =
                        ["parent", "name", "effect", "caller_credentials", "target", "upstream", "regions"];
                    !elsewhere.iter().any(|field| it.field.starts_with(field))
                };
                let wrong: Vec<_> = invalid.violations().iter().filter(is_shown).collect();
                assert!(wrong.is_empty(), "{}: {wrong:?}", one.location);
            }
        }
        assert_eq!((conditions, shapes, targets), (11, 1, 1));
    }

    #[test]
    fn a_file_holds_several_documents_and_a_json_file_a_list() {
        let text = "---\n# nothing\n---\nkind: target\nname: a\n---\nkind: target\nname: b\n";
        let found = parse(Path::new("x.yaml"), text).expect("documents");
        assert_eq!(names(&found), [("target", "a"), ("target", "b")]);
        assert_eq!(found[1].location.to_string(), "x.yaml, line 7");
        let text =
            r#"[{"kind":"target","name":"a"},{"kind":"target","name":"b"}] {"kind":"proxy","name":"c"}"#;
        let found = parse(Path::new("x.json"), text).expect("documents");
        assert_eq!(names(&found), [("target", "a"), ("target", "b"), ("proxy", "c")]);
    }

    #[test]
    fn numbers_and_truths_of_yaml_come_as_such_and_texts_stay_texts() {
        let text = "kind: proxy\nname: '8'\nactive: false\ndeny_status: 403\nlimits: {per_day_per_node: 5}\n";
        let found = parse(Path::new("x.yaml"), text).expect("documents");
        let Some(Resource::Proxy(proxy)) = &found[0].document.resource else { panic!("another kind") };
        assert_eq!((proxy.name.as_str(), proxy.active, proxy.deny_status), ("8", Some(false), 403));
        assert_eq!(proxy.limits.map(|limits| limits.per_day_per_node), Some(5));
    }

    #[test]
    fn what_is_wrong_is_named_with_file_and_line() {
        for (name, text, parts) in [
            ("x.yaml", "kind: target\nname: [\n", ["x.yaml, line", ""]),
            (
                "x.yaml",
                "kind: target\nname: a\n---\nkind: target\nbas_url: b\n",
                ["x.yaml, line 5", "bas_url"],
            ),
            ("x.yaml", "kind: target\nname: a\nname: b\n", ["x.yaml, line 3", "name"]),
            ("x.yaml", "just text\n", ["x.yaml, line 1", "kind"]),
            ("x.yaml", "kind: credential\nvalue_from: {envy: A}\n", ["x.yaml, line 2", "envy"]),
            (
                "x.json",
                "{\"kind\": \"rule\",\n\"effect\": \"maybe\"}",
                ["x.json, line 2: effect", "allow or deny"],
            ),
            // Not one YAML document, so lines are not known.
            ("x.json", "{\"kind\": \"rule\"} {\"kind\": 1}", ["x.json, document 2", "kind"]),
            ("x.json", "{", ["x.json", ""]),
            ("x.toml", "a = 1", ["x.toml", ".yaml"]),
        ] {
            let error = format!("{:#}", parse(Path::new(name), text).err().expect(text));
            for part in parts {
                assert!(error.contains(part), "{text:?}: no {part:?} in {error}");
            }
            assert!(error.lines().count() == 1, "{error}");
        }
    }

    #[test]
    fn a_file_that_grows_without_end_when_read_is_refused() {
        let mut text = "kind: target\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            let references = vec![format!("*a{}", n - 1); 10].join(", ");
            text.push_str(&format!("a{n}: &a{n} [{references}]\n"));
        }
        assert!(parse(Path::new("x.yaml"), &text).is_err());
    }

    proptest::proptest! {
        #[test]
        fn what_export_writes_is_read_as_the_same_document(
            notes in "\\PC{0,40}|[ \\-:#'\"\\[\\]{}&*!|>%@`~?,\\t\\n\\r]{0,12}|true|null|~|0x1f|1e3|2027-01-31|<<|\\.nan",
            priority in 0..1000_u32,
        ) {
            let path = Some(fleet::Pattern { regex: notes.clone(), ..Default::default() });
            let when = Some(fleet::RequestMatch { path, ..Default::default() });
            let rule = mg::Rule { name: "a".into(), notes, priority, when, ..mg::Rule::default() };
            let document = mg::Document { resource: Some(Resource::Rule(rule)) };
            let written = format::Exported::new(&document).expect("fields");
            let text = format!("# head\n---\n{}", serde_saphyr::to_string(&written).expect("YAML"));
            let found = parse(Path::new("x.yaml"), &text).expect("documents");
            proptest::prop_assert_eq!(found.len(), 1);
            proptest::prop_assert_eq!(&found[0].document, &document, "{}", text);
        }
    }

    #[test]
    fn a_folder_is_read_in_the_order_of_names_and_other_files_are_left() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in [
            ("b.yaml", "kind: target\nname: b"),
            ("a.json", r#"{"kind":"target","name":"a"}"#),
            ("c.md", "# no"),
        ] {
            std::fs::write(folder.path().join(name), text).expect("a file");
        }
        let found = read(&[folder.path().to_owned()]).expect("documents");
        assert_eq!(names(&found), [("target", "a"), ("target", "b")]);
    }
}
