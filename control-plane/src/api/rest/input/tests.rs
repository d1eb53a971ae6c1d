//! What a request may hold, on the schemas as they are and on one made up.

use http::HeaderValue;
use http::header::IF_MATCH;

use super::*;
use crate::api::route::{Found, ROUTES, Routes};
use crate::api::schema::Schema;

fn route(method: Method, path: &str) -> &'static Route {
    match ROUTES.find(&method, path) {
        Found::Route(route) => route,
        Found::Methods(_) | Found::Nothing => panic!("{method} {path}"),
    }
}

fn input(method: Method, target: &str, body: &str) -> Result<Input, Invalid> {
    let route = route(method, target.split('?').next().expect("a path"));
    read(route, target, &HeaderMap::new(), body.as_bytes())
}

/// Field and reason of everything that is refused.
fn refused(method: Method, target: &str, body: &str) -> Vec<(String, String)> {
    match input(method, target, body) {
        Ok(_) => Vec::new(),
        Err(invalid) => invalid.violations().iter().map(|it| (it.field.clone(), it.reason.clone())).collect(),
    }
}

fn fields(method: Method, target: &str, body: &str) -> Vec<String> {
    refused(method, target, body).into_iter().map(|(field, _)| field).collect()
}

#[test]
fn a_call_with_a_body_takes_a_mask_alone() {
    let target = "/v1/orgs/acme/targets";
    for name in ["target.base_url", "target.baseUrl", "target", "baseUrl", "org", "anything", ""] {
        let named = [name.to_owned()];
        assert_eq!(fields(Method::POST, &format!("{target}?{name}=x"), "{}"), named);
        assert_eq!(fields(Method::PATCH, &format!("{target}/echo?updateMask=a&{name}=x"), "{}"), named);
    }
    assert_eq!(fields(Method::POST, &format!("{target}?target%2Ebase_url=x"), "{}"), ["target.base_url"]);
    assert_eq!(fields(Method::PATCH, &format!("{target}/e?%74arget.baseUrl=x"), "{}"), ["target.baseUrl"]);
    for good in ["echo?updateMask=baseUrl", "echo?update%5Fmask=base_url", "echo?updateMask=a,b.c", "echo?"] {
        assert!(fields(Method::PATCH, &format!("{target}/{good}"), "{}").is_empty(), "{good}");
    }
}

#[test]
fn options_of_a_write_stand_beside_its_own_fields_and_come_to_the_call_in_their_message() {
    let put = |method: Method, target: &str, body: &str| {
        let route = route(method, target.split('?').next().expect("a path"));
        let input = read(route, target, &HeaderMap::new(), body.as_bytes()).expect("is taken");
        let body = input.body.map(|body| serde_json::from_slice::<Value>(&body).expect("JSON"));
        (input.target, body)
    };
    let path = "/v1/orgs/acme/targets/echo";
    let (target, body) =
        put(Method::DELETE, &format!("{path}?allow%5Fpartial=true&etag=a&allowMassRemoval=false"), "");
    assert_eq!(target, format!("{path}?options.allow%5Fpartial=true&etag=a&options.allowMassRemoval=false"));
    assert_eq!(body, None);
    let (target, _) = put(Method::PATCH, &format!("{path}?updateMask=owner&allowPartial=true"), "{}");
    assert_eq!(target, format!("{path}?updateMask=owner&options.allowPartial=true"));
    let path = "/v1/orgs/acme:undelete";
    let (_, body) = put(Method::POST, path, r#"{"allowPartial": true, "allow_mass_removal": true}"#);
    let wanted = serde_json::json!({"options": {"allowPartial": true, "allow_mass_removal": true}});
    assert_eq!(body, Some(wanted));
    assert_eq!(put(Method::POST, path, "{}").1, None, "is passed on as it came");
    // One spelling of each.
    assert_eq!(fields(Method::POST, path, r#"{"options": {"allowPartial": true}}"#), ["options"]);
    assert_eq!(
        fields(Method::POST, path, r#"{"allowPartial": true, "allow_partial": true}"#),
        ["allow_partial"]
    );
    let target = "/v1/orgs/acme/targets/echo?options.allowPartial=true";
    assert_eq!(fields(Method::DELETE, target, ""), ["options.allowPartial"]);
}

#[test]
fn what_the_path_says_is_not_said_again() {
    assert_eq!(fields(Method::GET, "/v1/orgs/acme/targets/echo?org=evil", ""), ["org"]);
    assert_eq!(fields(Method::DELETE, "/v1/orgs/acme/targets/echo?%74arget=other", ""), ["target"]);
    assert_eq!(fields(Method::GET, "/v1/orgs/acme/proxies/echo/requests?proxy=other", ""), ["proxy"]);
    assert!(fields(Method::GET, "/v1/orgs/acme/requests?proxy=echo", "").is_empty());
    let body = r#"{"org": "evil", "version": "2"}"#;
    let path = "/v1/orgs/acme/credentials/up:replaceSecret";
    assert_eq!(fields(Method::POST, path, body), ["org"]);
}

#[test]
fn a_query_is_of_the_kinds_that_the_schema_says() {
    let list = |query: &str| fields(Method::GET, &format!("/v1/orgs/acme/requests?{query}"), "");
    for good in [
        "pageSize=1&page_token=x",
        "pageSize=-1",
        "after=2026-01-02T03:04:05Z",
        "after=2026-01-02T03:04:05.5%2B01:00",
    ] {
        assert!(list(good).is_empty(), "{good}");
    }
    for bad in
        ["pageSize=", "pageSize=1.0", "pageSize=2147483648", "pageSize=%2B1", "pageSize=01", "pageSize=a"]
    {
        assert_eq!(list(bad), ["page_size"], "{bad}");
    }
    assert_eq!(list("after=yesterday&before=2026-01-02"), ["after", "before"]);
    assert_eq!(list("pageSize=1&page_size=2"), ["page_size"]);
    assert_eq!(list("pageToken=a%00b"), ["page_token"]);
}

#[test]
fn a_body_is_refused_with_every_field_that_is_not_what_the_schema_says() {
    let path = "/v1/orgs/acme/targets";
    let body =
        r#"{"name": 1, "nmae": "x", "danger_plaintext": "true", "connectTimeout": "5", "baseUrl": null}"#;
    assert_eq!(
        fields(Method::POST, path, body),
        [
            "target.base_url",
            "target.connect_timeout",
            "target.danger_plaintext",
            "target.name",
            "target.nmae"
        ]
    );
    for (body, reason) in [
        ("", "the body is not JSON"),
        ("{", "the body is not JSON"),
        ("[]", "the body is not a JSON object"),
        ("null", "the body is not a JSON object"),
        (r#"{"name": "a\u0000b"}"#, "contains a NUL character"),
        (r#"{"baseUrl": "a", "base_url": "b"}"#, "is given twice"),
        (r#"{"balance": "random"}"#, "round-robin, least-requests"),
        (r#"{"balance": 1}"#, "the name of a value"),
        (r#"{"idleTimeout": 30}"#, "in quotes, like \"1.5s\""),
        (r#"{"minTls": 1.3}"#, "put it in quotes"),
    ] {
        let refused = refused(Method::POST, path, body);
        assert!(refused.len() == 1 && refused[0].1.contains(reason), "{body}: {refused:?}");
    }
}

#[test]
fn numbers_of_64_bits_names_of_enums_bytes_and_choices_have_one_form() {
    let path = "/v1/orgs/acme/credentials";
    let good = r#"{"version": "18446744073709551615", "caller": {"kind": "CALLER_KIND_API_KEY"}}"#;
    assert!(fields(Method::POST, path, good).is_empty());
    for (body, field) in [
        (r#"{"version": 1}"#, "credential.version"),
        (r#"{"version": "18446744073709551616"}"#, "credential.version"),
        (r#"{"version": "-1"}"#, "credential.version"),
        (r#"{"caller": {"kind": 1}}"#, "credential.caller.kind"),
        (r#"{"caller": {"kind": "API_KEY"}}"#, "credential.caller.kind"),
        (r#"{"upstream": {"sealedRegions": "a"}}"#, "credential.upstream.sealed_regions"),
        (r#"{"upstream": {"sealedRegions": ["a", 1]}}"#, "credential.upstream.sealed_regions[1]"),
        (r#"{"notAfter": "2026-01-02 03:04:05Z"}"#, "credential.not_after"),
    ] {
        assert_eq!(fields(Method::POST, path, body), [field], "{body}");
    }
    let two = refused(Method::POST, path, r#"{"caller": {}, "upstream": {}}"#);
    assert!(two.len() == 1 && two[0].1.contains("(usage)"), "{two:?}");
}

#[test]
fn a_value_of_an_enum_may_have_its_short_name_and_one_that_is_none_is_told_which_there_are() {
    let path = "/v1/orgs/acme/credentials";
    for kind in ["api-key", "CALLER_KIND_API_KEY"] {
        let taken =
            input(Method::POST, path, &format!(r#"{{"caller": {{"kind": "{kind}"}}}}"#)).expect("good");
        let body = taken.body.map(|body| String::from_utf8_lossy(&body).into_owned());
        let respelled = r#"{"caller":{"kind":"CALLER_KIND_API_KEY"}}"#.to_owned();
        assert_eq!(body, (kind == "api-key").then_some(respelled));
    }
    let wait = "/v1/revisions/7:wait";
    let waited = input(Method::GET, &format!("{wait}?stage=proven&percent=50"), "").expect("good");
    assert_eq!(waited.target, format!("{wait}?stage=STAGE_PROVEN&percent=50"));
    let applied = r#"{"documents": [{"rule": {"name": "a", "effect": "deny"}}]}"#;
    let applied = input(Method::POST, "/v1/orgs/acme:apply", applied).expect("good").body.expect("respelled");
    assert!(String::from_utf8_lossy(&applied).contains("EFFECT_DENY"));
    let names = "api-key, bearer, basic, jwt, jwt-verify, certificate";
    for said in [r#""apikey""#, r#""API_KEY""#, "1"] {
        let refused = refused(Method::POST, path, &format!(r#"{{"caller": {{"kind": {said}}}}}"#));
        assert!(refused.len() == 1 && refused[0].0 == "credential.caller.kind", "{refused:?}");
        assert!(refused[0].1.ends_with(names), "{refused:?}");
    }
}

#[test]
fn an_update_with_a_name_that_is_none_is_refused() {
    let path = "/v1/orgs/acme/targets/echo";
    assert_eq!(fields(Method::PATCH, path, r#"{"name": ""}"#), ["target.name"]);
    assert!(fields(Method::PATCH, path, r#"{"name": "other"}"#).is_empty());
    assert!(
        fields(Method::POST, "/v1/orgs/acme/targets", r#"{"name": ""}"#).is_empty(),
        "the domain says it"
    );
}

#[test]
fn a_call_that_takes_no_body_is_sent_none_and_no_path_holds_a_zero() {
    assert_eq!(fields(Method::DELETE, "/v1/orgs/acme/targets/echo", "{}"), [""]);
    assert_eq!(fields(Method::GET, "/v1/orgs/acme/targets/a%00b", ""), [""]);
}

/// A call of each kind that has an etag somewhere, and where `If-Match` puts it.
#[test]
fn if_match_says_the_etag_where_the_call_takes_it() {
    let routes: &'static Routes = Box::leak(Box::new(Routes::of(Box::leak(Box::new(Schema::with_etags())))));
    let read = |method: Method, target: &str, body: &str, etag: &str| {
        let path = target.split('?').next().expect("a path");
        let Found::Route(route) = routes.find(&method, path) else { panic!("{method} {path}") };
        let headers = HeaderMap::from_iter([(IF_MATCH, HeaderValue::try_from(etag).expect("a value"))]);
        read(route, target, &headers, body.as_bytes())
    };
    let text =
        |input: &Input| String::from_utf8_lossy(input.body.as_deref().unwrap_or_default()).into_owned();

    let deleted = read(Method::DELETE, "/v1/things/a", "", "\"e 1\"").expect("good");
    assert_eq!(deleted.target, "/v1/things/a?etag=e%201");
    let patched =
        read(Method::PATCH, "/v1/things/a?updateMask=b", r#"{"text": "x"}"#, "\"e1\"").expect("good");
    assert_eq!(patched.target, "/v1/things/a?updateMask=b");
    assert_eq!(text(&patched), r#"{"etag":"e1","text":"x"}"#);
    let any = read(Method::PATCH, "/v1/things/a", "{}", "*").expect("good");
    assert!(any.body.is_none());
    assert!(read(Method::PATCH, "/v1/things/a", r#"{"etag": "e1"}"#, "\"e1\"").is_ok());
    for (method, target, body, etag) in [
        (Method::DELETE, "/v1/things/a?etag=e2", "", "\"e1\""),
        (Method::PATCH, "/v1/things/a", r#"{"etag": "e2"}"#, "\"e1\""),
        (Method::PATCH, "/v1/things/a", "{}", "e1"),
        (Method::PATCH, "/v1/things/a", "{}", "W/\"e1\""),
        (Method::PATCH, "/v1/things/a", "{}", "\"e1\", \"e2\""),
        (Method::POST, "/v1/things/a:poke", "{}", "\"e1\""),
    ] {
        assert!(read(method, target, body, etag).is_err(), "{target} {body} {etag}");
    }
}
