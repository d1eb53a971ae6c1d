//! The fields in which two versions of a document differ, each with the value before and after.
//!
//! Tells no value of a credential, only its version. Long texts are cut. Who may see a document is decided elsewhere.

use rr_wire::management as mg;
use rr_wire::management::credential::Usage;
use rr_wire::management::document::Resource;
use serde_json::{Map, Value};

use super::Exported;

/// How many characters of a value are told.
const TEXT_MAX: usize = 200;
/// How many characters are kept before the first that differs.
const CONTEXT: usize = 20;
/// Fields that the control plane works out, and that no document in a file has.
pub const COMPUTED: [&str; 10] = [
    "id",
    "org",
    "etag",
    "created_at",
    "updated_at",
    "created_by",
    "last_used_at",
    "urls",
    "nodes",
    "over_ceiling",
];

/// The fields that differ, in the order of their names.
pub fn between(before: &mg::Document, after: &mg::Document) -> Vec<mg::FieldChange> {
    let mut found = Vec::new();
    let (was, is) = (fields(before), fields(after));
    inside("", &was, &is, &mut found);
    found.sort_by(|a, b| a.field.cmp(&b.field));
    found
}

/// The fields of a document. The version of a credential stands in the place of its value.
fn fields(document: &mg::Document) -> Map<String, Value> {
    // Every message of the schemas has a JSON form.
    let mut fields = Exported::new(document).map(|written| written.fields).unwrap_or_default();
    fields.retain(|name, _| !COMPUTED.contains(&name.as_str()));
    if let Some(Resource::Credential(credential)) = &document.resource {
        fields.remove("version");
        fields.insert(MARKER.to_owned(), Value::String(marker(credential)));
    }
    fields
}

/// The field that stands for the value of a credential.
const MARKER: &str = "value";

/// Says which value a credential has, and nothing of it.
fn marker(credential: &mg::Credential) -> String {
    let is_hashed = match &credential.usage {
        Some(Usage::Caller(caller)) => caller.sealed_regions.is_empty(),
        Some(Usage::Upstream(_)) | None => false,
    };
    let how = if is_hashed { "hashed" } else { "sealed" };
    format!("({how}, version {})", credential.version)
}

fn inside(
    path: &str,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    found: &mut Vec<mg::FieldChange>,
) {
    for name in before.keys().chain(after.keys().filter(|name| !before.contains_key(*name))) {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        value(path, before.get(name), after.get(name), found);
    }
}

fn value(path: String, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<mg::FieldChange>) {
    let none = Map::new();
    match (before, after) {
        (before, after) if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => inside(&path, before, after, found),
        (Some(Value::Object(before)), None) if !before.is_empty() => inside(&path, before, &none, found),
        (None, Some(Value::Object(after))) if !after.is_empty() => inside(&path, &none, after, found),
        (Some(Value::Array(before)), Some(Value::Array(after)))
            if before.len() == after.len() && before.iter().chain(after).all(Value::is_object) =>
        {
            for (i, (before, after)) in before.iter().zip(after).enumerate() {
                value(format!("{path}[{i}]"), Some(before), Some(after), found);
            }
        }
        (before, after) => {
            let is_marker = path == MARKER;
            let text = |value: &Value| match value {
                Value::String(text) if is_marker => text.clone(),
                value => value.to_string(),
            };
            let (before, after) = cut(before.map(text), after.map(text));
            found.push(mg::FieldChange { field: path, before, after });
        }
    }
}

/// Both texts, cut so that the place where they differ is seen.
fn cut(before: Option<String>, after: Option<String>) -> (Option<String>, Option<String>) {
    let is_long = |text: &Option<String>| text.as_ref().is_some_and(|text| text.chars().count() > TEXT_MAX);
    if !is_long(&before) && !is_long(&after) {
        return (before, after);
    }
    let same = match (&before, &after) {
        (Some(before), Some(after)) => before.chars().zip(after.chars()).take_while(|(a, b)| a == b).count(),
        _ => 0,
    };
    let from = same.saturating_sub(CONTEXT);
    let shown = |text: String| {
        let mut rest = text.chars().skip(from);
        let part: String = rest.by_ref().take(TEXT_MAX).collect();
        let (head, tail) = (if from > 0 { "…" } else { "" }, if rest.next().is_some() { "…" } else { "" });
        format!("{head}{part}{tail}")
    };
    (before.map(shown), after.map(shown))
}

#[cfg(test)]
mod tests {
    use rr_wire::fleet;

    use super::*;

    fn told(before: impl Into<Resource>, after: impl Into<Resource>) -> Vec<String> {
        let document = |resource| mg::Document { resource: Some(resource) };
        let found = between(&document(before.into()), &document(after.into()));
        let side = |text: Option<String>| text.unwrap_or_else(|| "unset".to_owned());
        found
            .into_iter()
            .map(|one| format!("{}: {} -> {}", one.field, side(one.before), side(one.after)))
            .collect()
    }

    fn target(base_url: &str, test_path: &str) -> Resource {
        Resource::Target(mg::Target {
            base_url: base_url.into(),
            test_path: test_path.into(),
            ..mg::Target::default()
        })
    }

    #[test]
    fn a_difference_names_the_fields_that_differ_and_no_other() {
        assert_eq!(
            told(target("http://a", ""), target("http://b", "/x")),
            [r#"base_url: "http://a" -> "http://b""#, r#"test_path: unset -> "/x""#]
        );
        assert!(told(target("http://a", "/x"), target("http://a", "/x")).is_empty());
    }

    #[test]
    fn what_the_control_plane_works_out_is_no_difference() {
        let proxy = |id: &str, nodes| {
            Resource::Proxy(mg::Proxy { id: id.into(), etag: id.into(), nodes, ..mg::Proxy::default() })
        };
        assert!(told(proxy("a", 1), proxy("b", 2)).is_empty());
    }

    #[test]
    fn fields_within_fields_are_told_by_their_paths_and_enums_as_files_have_them() {
        let rule = |regex: &str, effect: fleet::Effect, names: &[&str]| {
            let pattern = |regex: &str| fleet::Pattern { regex: regex.into(), ..Default::default() };
            let check =
                |name: &&str| fleet::PairCheck { name: Some(pattern(name)), ..fleet::PairCheck::default() };
            let when = fleet::RequestMatch {
                path: (!regex.is_empty()).then(|| pattern(regex)),
                headers: names.iter().map(check).collect(),
                ..Default::default()
            };
            Resource::Rule(mg::Rule { effect: effect.into(), when: Some(when), ..mg::Rule::default() })
        };
        assert_eq!(
            told(rule("^/a", fleet::Effect::Allow, &["x"]), rule("^/b", fleet::Effect::Deny, &["y"])),
            [
                r#"effect: "allow" -> "deny""#,
                r#"when.headers[0].name.regex: "x" -> "y""#,
                r#"when.path.regex: "^/a" -> "^/b""#
            ]
        );
        assert_eq!(
            told(rule("", fleet::Effect::Allow, &[]), rule("^/b", fleet::Effect::Allow, &["y"])),
            [r#"when.headers: unset -> [{"name":{"regex":"y"}}]"#, r#"when.path.regex: unset -> "^/b""#]
        );
    }

    #[test]
    fn of_the_value_of_a_credential_the_version_is_told() {
        let credential = |version, usage| {
            Resource::Credential(mg::Credential { version, usage: Some(usage), ..mg::Credential::default() })
        };
        let upstream = || Usage::Upstream(mg::Upstream::default());
        let caller = || Usage::Caller(mg::Caller::default());
        assert_eq!(
            told(credential(3, upstream()), credential(4, upstream())),
            ["value: (sealed, version 3) -> (sealed, version 4)"]
        );
        assert_eq!(
            told(credential(1, caller()), credential(2, caller())),
            ["value: (hashed, version 1) -> (hashed, version 2)"]
        );
    }

    #[test]
    fn a_long_text_is_cut_around_the_place_where_it_differs() {
        let long = "x".repeat(5000);
        let found = told(target(&format!("{long}a{long}"), ""), target(&format!("{long}b{long}"), ""));
        let [one] = found.as_slice() else { panic!("{found:?}") };
        assert!(one.len() < 2 * TEXT_MAX + 60 && one.contains("xa") && one.contains("xb"), "{one}");
        assert!(one.starts_with("base_url: …") && one.ends_with('…'), "{one}");
        let found = told(target("", ""), target(&long, ""));
        assert!(found[0].ends_with('…') && found[0].len() < TEXT_MAX + 40, "{found:?}");
    }
}
