//! Formats of the output, and values in those that programs read.

use std::str::FromStr;

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;
use serde_json_path::JsonPath;

use crate::harmless;

/// A format of the output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Format {
    /// Table, with names. Ids are shown where there is no name.
    Table,
    /// Table, with names, ids and details.
    Wide,
    /// JSON: messages as the REST API has them; a list is one array.
    Json,
    /// The same in YAML.
    Yaml,
    /// The name of each resource, or its id where it has no name, a line each.
    Name,
    /// What a JSONPath finds in the JSON, a line each. Parsed once and kept to the end of the process.
    Path(&'static JsonPath),
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "table" => Self::Table,
            "wide" => Self::Wide,
            "json" => Self::Json,
            "yaml" => Self::Yaml,
            "name" => Self::Name,
            _ => {
                let path = text.strip_prefix("jsonpath=").ok_or(
                    "a format is table, wide, json, yaml, name, or jsonpath=PATH, as jsonpath='$[*].name'",
                )?;
                Self::Path(Box::leak(Box::new(json_path(path)?)))
            }
        })
    }
}

/// A JSONPath of RFC 9535; braces around it, and a missing `$`, are taken as other tools write them.
fn json_path(text: &str) -> Result<JsonPath, String> {
    let bare = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    let whole = match bare.chars().next() {
        Some('$') => bare.to_owned(),
        Some('.' | '[') => format!("${bare}"),
        _ => format!("$.{bare}"),
    };
    JsonPath::parse(&whole).map_err(|error| format!("{whole:?} is not a JSONPath: {error}"))
}

impl Format {
    /// Whether it is for programs: no sentence is put beside the data.
    pub(crate) const fn is_data(self) -> bool {
        !matches!(self, Self::Table | Self::Wide)
    }

    /// A value in a format of data. A table has none.
    pub(super) fn text<T: Serialize + ?Sized>(self, value: &T) -> Result<String> {
        Ok(match self {
            Self::Table | Self::Wide | Self::Json => serde_json::to_string_pretty(value)?,
            Self::Yaml => serde_saphyr::to_string(&serde_json::to_value(value)?)?.trim_end().to_owned(),
            Self::Name => {
                let names = names(&serde_json::to_value(value)?);
                names.iter().map(|name| harmless::one_line(name)).collect::<Vec<_>>().join("\n")
            }
            Self::Path(path) => {
                let value = serde_json::to_value(value)?;
                path.query(&value).all().into_iter().map(bare).collect::<Vec<_>>().join("\n")
            }
        })
    }

    /// What to look at where a path finds nothing in a value that has something.
    pub(super) fn hint<T: Serialize + ?Sized>(self, value: &T) -> Result<Option<String>> {
        let Self::Path(path) = self else { return Ok(None) };
        let value = serde_json::to_value(value)?;
        let is_empty = value.as_array().is_some_and(Vec::is_empty);
        if is_empty || !path.query(&value).all().is_empty() {
            return Ok(None);
        }
        let form = if value.is_array() { "a list is one array, as in $[*].name; " } else { "" };
        Ok(Some(format!(
            "the path finds nothing here: {form}`-o json` shows all, and leaves out what is not set"
        )))
    }

    /// A value of a stream: JSON on one line, YAML as a document of its own.
    pub(super) fn line<T: Serialize + ?Sized>(self, value: &T) -> Result<String> {
        Ok(match self {
            Self::Json => serde_json::to_string(value)?,
            Self::Yaml => format!("---\n{}", self.text(value)?),
            _ => self.text(value)?,
        })
    }
}

/// A text without quotes, anything else as JSON.
fn bare(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Names, or ids, of a resource or of each of a list. What has neither, at its top or one below, has no line.
fn names(value: &Value) -> Vec<String> {
    if let Value::Array(items) = value {
        return items.iter().flat_map(names).collect();
    }
    let text = |value: &Value, fields: [&str; 2]| {
        let text = fields.iter().find_map(|field| value.get(field)?.as_str().filter(|text| !text.is_empty()));
        text.map(str::to_owned)
    };
    const OWN: [&str; 2] = ["name", "id"];
    let below = || value.as_object()?.values().find_map(|below| text(below, OWN));
    // What has neither is known by the revision that it is, or the region that it is about.
    let other = || text(value, ["revision", "region"]);
    text(value, OWN).or_else(below).or_else(other).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(format: &str, value: &Value) -> String {
        format.parse::<Format>().expect(format).text(value).expect("a text")
    }

    #[test]
    fn a_format_is_one_of_six_and_another_is_named_with_all_of_them() {
        for text in ["table", "wide", "json", "yaml", "name", "jsonpath=$.a"] {
            assert!(text.parse::<Format>().is_ok(), "{text}");
        }
        let error = "xml".parse::<Format>().expect_err("no format");
        assert!(["table", "wide", "json", "yaml", "name", "jsonpath"].iter().all(|it| error.contains(it)));
        let error = "jsonpath=$[".parse::<Format>().expect_err("no path");
        assert!(error.contains("is not a JSONPath"), "{error}");
    }

    #[test]
    fn a_path_finds_values_and_is_taken_as_other_tools_write_it() {
        let value = json!([{"name": "a", "limits": {"perDay": 5}}, {"name": "b"}]);
        for path in ["$[*].name", "{$[*].name}", "[*].name", "{[*].name}"] {
            assert_eq!(shown(&format!("jsonpath={path}"), &value), "a\nb", "{path}");
        }
        assert_eq!(shown("jsonpath=$[0].limits", &value), r#"{"perDay":5}"#);
        assert_eq!(shown("jsonpath={.name}", &value[0]), "a");
        assert_eq!(shown("jsonpath=name", &value[0]), "a");
        assert_eq!(shown("jsonpath=$[*].nothing", &value), "");
    }

    #[test]
    fn a_path_that_finds_nothing_is_told_unless_there_is_nothing() {
        let hint = |path: &str, value: &Value| {
            format!("jsonpath={path}").parse::<Format>().expect(path).hint(value).expect("no fault")
        };
        let list = json!([{"name": "a"}]);
        assert!(hint(".items[*].name", &list).is_some_and(|hint| hint.contains("$[*].name")));
        assert!(hint("$.nope", &list[0]).is_some());
        assert_eq!(hint("$[*].name", &list), None);
        assert_eq!(hint("$[*].name", &json!([])), None);
    }

    #[test]
    fn a_resource_is_named_by_its_name_or_else_by_its_id() {
        assert_eq!(shown("name", &json!([{"name": "a", "id": "tg_1"}, {"id": "tg_2"}])), "a\ntg_2");
        assert_eq!(shown("name", &json!({"region": "rg_1", "record": {"id": "rq_1"}})), "rq_1");
        assert_eq!(shown("name", &json!([{"revision": "7"}, {"region": "eu"}])), "7\neu");
        assert_eq!(shown("name", &json!([{"count": 1}])), "");
    }

    #[test]
    fn yaml_holds_what_json_holds() {
        let value = json!([{"name": "a", "active": true, "note": "8"}]);
        let text = shown("yaml", &value);
        let read: Value = serde_saphyr::from_str(&text).expect("YAML");
        assert_eq!(read, value, "{text}");
        let stream = Format::Yaml.line(&value[0]).expect("a document");
        assert!(stream.starts_with("---\n"), "{stream}");
    }
}
