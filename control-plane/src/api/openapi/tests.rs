//! The document against the schemas and the routes.

use super::*;

fn operations() -> Vec<(String, String, Value)> {
    let document: Value = serde_json::from_slice(&DOCUMENT).expect("JSON");
    let paths = document["paths"].as_object().expect("paths").clone();
    paths
        .into_iter()
        .flat_map(|(path, item)| {
            let item = item.as_object().expect("a path item").clone();
            item.into_iter().map(move |(method, operation)| (path.clone(), method, operation))
        })
        .collect()
}

#[test]
fn every_route_is_an_operation_with_an_id_of_its_own_and_security() {
    let operations = operations();
    assert_eq!(operations.len(), ROUTES.iter().count());
    let ids: BTreeSet<&str> = operations.iter().filter_map(|(.., it)| it["operationId"].as_str()).collect();
    assert_eq!(ids.len(), operations.len());
    assert!(ids.contains("ProxyService_CreateProxy") && ids.contains("RequestService_ListRequests_2"));
    for (path, method, operation) in &operations {
        assert_eq!(operation["security"], json!([{"token": []}]), "{method} {path}");
        assert!(operation["description"].as_str().is_some_and(|text| text.len() > 4), "{method} {path}");
    }
}

#[test]
fn paths_that_differ_in_the_name_of_a_variable_are_one() {
    let document: Value = serde_json::from_slice(&DOCUMENT).expect("JSON");
    let item = document["paths"]["/v1/orgs/{org}/proxies/{proxy}"].as_object().expect("a path item");
    assert!(["get", "patch", "delete"].iter().all(|method| item.contains_key(*method)));
    let shapes: BTreeSet<String> = ROUTES.iter().map(Route::shape).collect();
    assert_eq!(document["paths"].as_object().map(Map::len), Some(shapes.len()));
    for (path, method, operation) in operations() {
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let named = parameters.iter().filter(|it| it["in"] == "path").count();
        assert_eq!(named, path.matches('{').count(), "{method} {path}");
        for parameter in parameters.iter().filter(|it| it["in"] == "path") {
            let name = parameter["name"].as_str().expect("a name");
            assert!(path.contains(&format!("{{{name}}}")), "{method} {path}");
        }
    }
}

#[test]
fn whatever_is_referred_to_is_there_and_objects_are_closed() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => {
                found.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
                object.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document: Value = serde_json::from_slice(&DOCUMENT).expect("JSON");
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 20);
    for reference in found {
        let pointer = reference.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let target = &document["components"]["schemas"]["Target"];
    assert_eq!(target["additionalProperties"], false);
    assert_eq!(target["properties"]["connectTimeout"]["pattern"], r"^-?[0-9]{1,12}(\.[0-9]{1,9})?s$");
    assert_eq!(target["description"], "An upstream API.");
    let version = &document["components"]["schemas"]["Credential"]["properties"]["version"];
    assert_eq!(version["type"], "string");
    let whole = &document["paths"]["/v1/orgs/{org}/credentials/{credential}:replaceSecret"]["post"]["requestBody"]
        ["content"]["application/json"]["schema"]["properties"];
    assert!(whole["sealed"].is_object() && whole["org"].is_null(), "{whole}");
}

#[test]
fn bounds_are_those_that_are_enforced() {
    let document: Value = serde_json::from_slice(&DOCUMENT).expect("JSON");
    let field = |path: &str| document.pointer(&format!("/components/schemas/{path}")).expect(path);
    for path in ["Rule/properties/priority", "Filter/properties/order"] {
        assert_eq!((&field(path)["minimum"], &field(path)["maximum"]), (&json!(0), &json!(1000)), "{path}");
    }
    assert_eq!(field("Proxy/properties/denyStatus")["enum"], json!([0, 400, 403]));
}

#[test]
fn masks_name_the_fields_that_a_call_changes_and_choices_exclude_each_other() {
    let (.., operation) = operations()
        .into_iter()
        .find(|(.., operation)| operation["operationId"] == "TargetService_UpdateTarget")
        .expect("is there");
    let parameters = operation["parameters"].as_array().expect("parameters");
    let mask = parameters.iter().find(|it| it["name"] == "updateMask").expect("is there");
    let pattern = mask["schema"]["pattern"].as_str().expect("a pattern");
    assert!(pattern.contains("baseUrl|dangerPlaintext"), "{pattern}");
    let document: Value = serde_json::from_slice(&DOCUMENT).expect("JSON");
    let credential = &document["components"]["schemas"]["Credential"];
    assert_eq!(credential["not"]["anyOf"], json!([{"required": ["caller", "upstream"]}]));
    assert_eq!(credential["properties"]["createdAt"]["readOnly"], true);
}
