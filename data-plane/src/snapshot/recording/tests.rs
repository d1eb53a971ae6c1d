//! Templates against a slow reference, and which names are never kept.

use proptest::prelude::*;
use rr_contract::model::id::{CredentialId, RegionId, TargetId};
use rr_contract::seal::{Means, SecretSpec, Slot};
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;

use crate::fixture::Region;
use crate::snapshot::Known;

use super::*;

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn compiled(recording: fleet::Recording, callers: &[&'static str]) -> Box<CompiledRecording> {
    let credential = CredentialId::from_random([1; 16]).to_string();
    let proxy = Proxy::try_from(fleet::ProxyResource {
        name: "p".to_owned(),
        caller_credentials: vec![credential.clone()],
        target: TargetId::from_random([1; 16]).to_string(),
        upstream_credential: credential,
        regions: vec![RegionId::from_random([1; 16]).to_string()],
        recording: Some(recording),
        ..fleet::ProxyResource::default()
    });
    let callers = callers.iter().map(|name| HeaderName::from_static(name));
    CompiledRecording::of(&Arc::new(proxy.expect("a proxy")), callers).expect("it says something")
}

fn templates(paths: &[&str]) -> Box<CompiledRecording> {
    compiled(fleet::Recording { path_templates: texts(paths), ..Default::default() }, &[])
}

#[test]
fn a_path_is_recorded_as_the_most_specific_template_whatever_their_order() {
    let mut paths = [
        "/users/{id}",
        "/users/me",
        "/users/{id}/orders/{order}",
        "/users/me/{rest...}",
        "/{any}/list",
        "/files/{rest...}",
        "/a%20b/{id}",
    ];
    for _ in 0..paths.len() {
        paths.rotate_left(1);
        let recording = templates(&paths);
        for (path, wanted) in [
            ("/users/42", Some("/users/{id}")),
            ("/users/42/", Some("/users/{id}")),
            ("/users/me", Some("/users/me")),
            ("/users/%6De", Some("/users/{id}")),
            ("/users/list", Some("/users/{id}")),
            ("/orders/list", Some("/{any}/list")),
            ("/users/42/orders/7", Some("/users/{id}/orders/{order}")),
            ("/users/me/orders/7", Some("/users/me/{rest...}")),
            ("/files/a/b/c", Some("/files/{rest...}")),
            ("/files/a", Some("/files/{rest...}")),
            ("/a%20b/7", Some("/a%20b/{id}")),
            ("/users/a%40b.de", Some("/users/{id}")),
            ("/files", None),
            ("/files/", None),
            ("/users", None),
            ("/users/42/orders", None),
            ("/Users/42", None),
            ("/", None),
            ("", None),
            ("x", None),
        ] {
            // What is normal is decoded already, so that this one comes as `/users/me`.
            let wanted = if path == "/users/%6De" { Some("/users/me") } else { wanted };
            assert_eq!(recording.template(path), wanted, "{path}");
        }
    }
}

#[test]
fn where_the_more_specific_way_ends_the_others_are_tried() {
    let recording = templates(&["/a/b/c", "/a/{x}/d", "/{y}/b/e", "/a/{rest...}", "/{z}/{rest...}"]);
    for (path, wanted) in [
        ("/a/b/c", "/a/b/c"),
        ("/a/b/d", "/a/{x}/d"),
        ("/a/b/e", "/a/{rest...}"),
        ("/q/b/e", "/{y}/b/e"),
        ("/q/b/f", "/{z}/{rest...}"),
    ] {
        assert_eq!(recording.template(path), Some(wanted), "{path}");
    }
}

/// Each template by itself, the slow way.
fn matches(template: &str, path: &str) -> bool {
    let mut path = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    for segment in template.strip_prefix('/').expect("it begins so").split('/') {
        match segment {
            "{rest...}" => return path.next().is_some_and(|segment| !segment.is_empty()),
            "{x}" => {
                if path.next().is_none_or(str::is_empty) {
                    return false;
                }
            }
            text => {
                if path.next() != Some(text) {
                    return false;
                }
            }
        }
    }
    path.next().is_none()
}

/// What says most at the first place where they differ comes first.
fn specificity(template: &str) -> Vec<u8> {
    let rank = |segment| match segment {
        "{rest...}" => 2,
        "{x}" => 1,
        _ => 0,
    };
    template.split('/').skip(1).map(rank).collect()
}

proptest! {
    #[test]
    fn the_tree_finds_what_a_look_at_each_template_finds(
        templates in proptest::collection::btree_set("(/(a|b|c|\\{x\\})){1,4}(/\\{rest\\.\\.\\.\\})?", 1..20),
        path in "(/(a|b|c|d)){1,6}",
    ) {
        let paths: Vec<&str> = templates.iter().map(String::as_str).collect();
        let wanted = paths.iter().filter(|template| matches(template, &path)).min_by_key(|it| specificity(it));
        let recording = self::templates(&paths);
        prop_assert_eq!(recording.template(&path), wanted.copied());
    }
}

#[test]
fn as_many_templates_as_there_can_be_are_looked_at_once_each() {
    // Every way leads on, and none to an end: without a tree there would be more ways than time.
    let deep: Vec<String> =
        (0..31).map(|n| format!("{}/x{}", "/{v}".repeat(n), "/a".repeat(31 - n))).collect();
    let paths: Vec<&str> = deep.iter().map(String::as_str).collect();
    let recording = templates(&paths);
    assert_eq!(recording.template(&"/a".repeat(500)), None);
    assert_eq!(recording.template(&"/x".repeat(32)), None);
}

fn names(
    lists: &CompiledRecording,
    upstream: Option<&UpstreamCredential>,
) -> (Vec<String>, Vec<String>, Vec<String>) {
    let names = lists.names(upstream);
    let headers = |names: &[HeaderName]| names.iter().map(ToString::to_string).collect();
    let query = names.query_parameters.iter().map(ToString::to_string).collect();
    (headers(&names.request_headers), headers(&names.response_headers), query)
}

/// With the upstream's secret in a place of this kind.
fn upstream(slot: Slot) -> Arc<UpstreamCredential> {
    let region = Region::new();
    let origin = "https://api.example.com".parse().expect("an origin");
    let spec = SecretSpec {
        value: Secret::from("sk-secret".to_owned()),
        origins: vec![origin],
        means: Means::sent(slot),
        not_after: None,
        ca: None,
    };
    let sealed = region.seal_spec(2, 1, &spec);
    let all = [
        crate::fixture::org(false),
        crate::fixture::target(1, "https://api.example.com"),
        crate::fixture::caller(1, 1, &[1]),
        crate::fixture::sealed_upstream(2, 1, &sealed),
        crate::fixture::proxy(1, &[1], 1, 2),
    ];
    let snapshot = region.snapshot(&all);
    let proxy = snapshot.proxy("acme.proxy-1").expect("it is there");
    assert!(matches!(proxy.model, Known::Whole(_)));
    Arc::clone(proxy.route.as_ref().expect("it is open").upstream.as_ref().expect("it can be used"))
}

#[test]
fn a_place_of_a_credential_is_not_kept_whoever_named_it() {
    let lists = || {
        let headers = texts(&["x-trace", "x-app-key", "x_app_key", "x-api-key"]);
        let recording = fleet::Recording {
            request_headers: headers.clone(),
            response_headers: headers,
            query_parameters: texts(&["page", "Key"]),
            ..Default::default()
        };
        compiled(recording, &["x-app-key"])
    };
    let header = upstream(Slot::header("x-api-key", "").expect("a slot"));
    let (kept, query) = (texts(&["x-trace"]), texts(&["page", "Key"]));
    assert_eq!(names(&lists(), Some(&header)), (kept, texts(&["x-trace"]), query));
    let parameter = upstream(Slot::query("key").expect("a slot"));
    let kept = texts(&["x-trace", "x-api-key"]);
    assert_eq!(names(&lists(), Some(&parameter)), (kept.clone(), kept, texts(&["page"])));
}

#[test]
fn nothing_is_kept_where_nobody_knows_where_the_secret_goes() {
    let recording = fleet::Recording { request_headers: texts(&["x-trace"]), ..Default::default() };
    assert_eq!(names(&compiled(recording, &[]), None), (vec![], vec![], vec![]));
}
