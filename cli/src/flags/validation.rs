//! What requests have to be like: flags and text.
//!
//! Judges no document: the control plane does.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use rr_contract::wire::fleet::validation::What;
use rr_contract::wire::fleet::{UnlistedOperations, Validation};

use super::size;

/// What requests have to be like.
#[derive(Args)]
pub(crate) struct ValidationArgs {
    /// File with a JSON Schema 2020-12 that the body of a request has to meet, as JSON, or as YAML where its name ends with
    /// `.yaml` or `.yml`. Others are refused with 400, and count for no limit.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    validate_schema: Option<PathBuf>,
    /// Method of the requests that the schema is about, as POST; can be repeated. Without one, those of POST, PUT and PATCH,
    /// and any other with a body.
    #[arg(long = "validate-method", value_name = "METHOD", requires = "validate_schema", value_parser = method)]
    validate_methods: Vec<String>,
    /// File with an OpenAPI 3.1 document, as JSON or YAML: a request has to be one of its operations, with parameters of path,
    /// query and headers, and a body, as the operation says. Others are refused with 400, and count for no limit. Paths are
    /// those behind the name of the proxy.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath,
        conflicts_with = "validate_schema")]
    validate_openapi: Option<PathBuf>,
    /// What becomes of requests to operations that the OpenAPI document does not list; `refuse` when never given.
    #[arg(long, value_name = "WHAT", requires = "validate_openapi")]
    validate_unlisted: Option<Unlisted>,
    /// Lets no document say any more what requests have to be like.
    #[arg(long, conflicts_with_all = ["validate_schema", "validate_openapi"])]
    no_validation: bool,
}

/// What becomes of requests to operations that are not listed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Unlisted {
    /// They are refused.
    Refuse,
    /// They pass, and nothing of them is looked at.
    Pass,
}

#[expect(clippy::unnecessary_wraps, reason = "clap wants a parser that can fail")]
fn method(text: &str) -> Result<String, String> {
    Ok(text.to_ascii_uppercase())
}

/// The document in a file, as JSON.
fn document(path: &Path, flag: &str) -> Result<String> {
    let place = || format!("read {flag} {}", path.display());
    let text = std::fs::read_to_string(path).with_context(place)?;
    let ending = path.extension().and_then(|ending| ending.to_str());
    if !matches!(ending, Some("yaml" | "yml")) {
        return Ok(text);
    }
    let value: serde_json::Value = serde_saphyr::from_str(&text).with_context(place)?;
    Ok(value.to_string())
}

impl ValidationArgs {
    /// What was given; an inner `None`: nothing is left. `None` when no flag was given.
    #[expect(clippy::option_option, reason = "a flag that was not given is not one that clears the field")]
    pub(crate) fn given(self) -> Result<Option<Option<Validation>>> {
        if self.no_validation {
            return Ok(Some(None));
        }
        let what = match (self.validate_schema, self.validate_openapi) {
            (Some(schema), _) => What::JsonSchema(document(&schema, "--validate-schema")?),
            (None, Some(openapi)) => What::Openapi(document(&openapi, "--validate-openapi")?),
            (None, None) => return Ok(None),
        };
        let unlisted = match self.validate_unlisted {
            None => UnlistedOperations::Unspecified,
            Some(Unlisted::Refuse) => UnlistedOperations::Refuse,
            Some(Unlisted::Pass) => UnlistedOperations::Pass,
        };
        let methods = self.validate_methods;
        Ok(Some(Some(Validation { what: Some(what), methods, unlisted: unlisted.into() })))
    }
}

/// What says what requests are like, in a few words.
pub(crate) fn text(validation: Option<&Validation>) -> String {
    let Some(validation) = validation else { return String::new() };
    let mut words = match &validation.what {
        Some(What::JsonSchema(schema)) => format!("JSON Schema, {}", size::text(schema.len() as u64)),
        Some(What::Openapi(document)) => format!("OpenAPI, {}", size::text(document.len() as u64)),
        None => String::from("nothing"),
    };
    if !validation.methods.is_empty() {
        words.push_str(", ");
        words.push_str(&validation.methods.join(" "));
    }
    if validation.unlisted() == UnlistedOperations::Pass {
        words.push_str(", others pass");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_from_a_file_and_yaml_becomes_json() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let read = |name: &str| document(&path(name), "--validate-schema");
        std::fs::write(path("a.json"), "{ }").expect("written");
        std::fs::write(path("a.yaml"), "type: object\nrequired: [a]\n").expect("written");
        assert_eq!(read("a.json").expect("read"), "{ }");
        assert_eq!(read("a.yaml").expect("read"), r#"{"required":["a"],"type":"object"}"#);
        let openapi = "paths:\n  /a:\n    get:\n      responses:\n        200: {description: done}\n";
        std::fs::write(path("b.yml"), openapi).expect("written");
        assert_eq!(
            read("b.yml").expect("read"),
            r#"{"paths":{"/a":{"get":{"responses":{"200":{"description":"done"}}}}}}"#
        );
        let error = read("none").expect_err("not there").to_string();
        assert!(error.starts_with("read --validate-schema ") && error.ends_with("none"), "{error}");
    }

    #[test]
    fn a_validation_is_shown_in_a_few_words() {
        let what = Some(What::JsonSchema(" ".repeat(2048)));
        let methods = vec!["POST".to_owned(), "QUERY".to_owned()];
        let said = Validation { what, methods, unlisted: 0 };
        assert_eq!(text(Some(&said)), "JSON Schema, 2KiB, POST QUERY");
        let what = Some(What::Openapi(" ".repeat(2048)));
        let unlisted = UnlistedOperations::Pass.into();
        let said = Validation { what, methods: Vec::new(), unlisted };
        assert_eq!(text(Some(&said)), "OpenAPI, 2KiB, others pass");
        assert_eq!(text(None), "");
    }
}
