//! Where each kind of value goes, and what becomes of what a caller put there.

use rr_contract::seal::SecretSpec;
use rr_contract::seal::form::{Placed, Said, SecretKind};
use rr_contract::secret::Secret;

use crate::fixture::{self, Region};

use super::edge::Edge;
use super::origin::Upstream;
use super::{get, resources, with_key};

const PATH: &str = "/api/acme.proxy-1/x";

/// An edge whose proxy 1 injects these values.
fn edge_with(upstream: &Upstream, kind: SecretKind, said: Said, values: &[&str]) -> Edge {
    let (region, url) = (Region::new(), upstream.url(""));
    let values = values.iter().map(|value| Secret::from((*value).to_owned())).collect();
    let form = kind.form(said).expect("a form");
    let Placed { value, means } = form.place(values).expect("a value for each place");
    let origins = vec![url.parse().expect("an origin")];
    let spec = SecretSpec { value, means, origins, not_after: None, ca: None };
    let mut all = resources(&region, &url);
    all[3] = fixture::sealed_upstream(2, 1, &region.seal_spec(2, 1, &spec));
    Edge::start(region.snapshot(&all), &["127.0.0.0/8"])
}

fn said(field: &str, text: &str) -> Said {
    let text = Some(text.to_owned());
    match field {
        "header" => Said { header: text, ..Said::default() },
        "query" => Said { query: text, ..Said::default() },
        "user" => Said { user: text, ..Said::default() },
        _ => Said::default(),
    }
}

#[tokio::test]
async fn each_kind_of_value_is_where_the_upstream_looks_for_it() {
    for (kind, said, header, wanted) in [
        (SecretKind::Bearer, said("", ""), "authorization", "Bearer s3cr3t"),
        (SecretKind::Jwt, said("", ""), "authorization", "Bearer s3cr3t"),
        (SecretKind::ApiKey, said("header", "x-key"), "x-key", "s3cr3t"),
        (SecretKind::Basic, said("user", "ann"), "authorization", "Basic YW5uOnMzY3IzdA=="),
    ] {
        let upstream = Upstream::echo().await;
        let edge = edge_with(&upstream, kind, said, &["s3cr3t"]);
        let headers = format!("{}x-key: mine\r\nX_Key: mine\r\n", with_key(1));
        assert_eq!(edge.send(&get(PATH, &headers)).await.status, 200);
        let seen = upstream.last();
        assert_eq!(seen.all(header), [wanted], "{kind:?}");
        // To many a server, one and the same header.
        assert_eq!(seen.header("x_key").is_some(), header != "x-key", "{kind:?}");
    }
}

#[tokio::test]
async fn a_value_in_the_query_takes_the_place_of_all_that_bear_its_name_and_of_nothing_else() {
    let upstream = Upstream::echo().await;
    let edge = edge_with(&upstream, SecretKind::ApiKey, said("query", "key"), &["s3cr3t +/="]);
    for (query, wanted) in [
        ("", "/x?key=s3cr3t%20%2B%2F%3D"),
        ("?a=1&b=%20", "/x?a=1&b=%20&key=s3cr3t%20%2B%2F%3D"),
        ("?key=mine", "/x?key=s3cr3t%20%2B%2F%3D"),
        ("?a=1&KEY=mine&%6bey=mine&key&keys=2", "/x?a=1&keys=2&key=s3cr3t%20%2B%2F%3D"),
    ] {
        let answer = edge.send(&get(&format!("{PATH}{query}"), &with_key(1))).await;
        assert_eq!(answer.status, 200, "{query}");
        let seen = upstream.last();
        assert_eq!(seen.target, wanted, "{query}");
        assert!(seen.header("authorization").is_none());
        let record = format!("{:?}", edge.record().await);
        assert!(!record.contains("s3cr3t"), "{record}");
    }
}

#[tokio::test]
async fn several_values_go_together_and_each_takes_its_place() {
    let upstream = Upstream::echo().await;
    let said = Said { headers: vec!["x-id".to_owned(), "x-key".to_owned()], ..Said::default() };
    let edge = edge_with(&upstream, SecretKind::CustomHeaders, said, &["app", "s3cr3t"]);
    let headers = format!("{}x-id: mine\r\nx-key: mine\r\nx-other: mine\r\n", with_key(1));
    assert_eq!(edge.send(&get(PATH, &headers)).await.status, 200);
    let seen = upstream.last();
    let all = ["x-id", "x-key", "x-other"].map(|name| seen.header(name).unwrap_or_default().to_owned());
    assert_eq!(all, ["app", "s3cr3t", "mine"]);
}
