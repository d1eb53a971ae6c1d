//! Lists: pages that hold while others write, filters and orders.

use serde_json::json;
use url::form_urlencoded;

use super::client::Client;
use super::world::{World, target};

const TARGETS: &str = "/v1/orgs/acme/targets";

/// A query with these parameters.
fn list(parameters: &[(&str, &str)]) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    format!("{TARGETS}?{}", query.replace('+', "%20"))
}

async fn named(client: &Client, filter: &str) -> Vec<String> {
    client.names(&list(&[("filter", filter)]), "targets").await
}

#[tokio::test]
async fn what_stays_is_listed_once_each_whatever_others_make_and_delete_meanwhile() {
    for order in ["name", "name desc", "created_at", "updated_at desc"] {
        let world = World::start().await;
        world.org("acme").await;
        let operator = world.operator();
        let make = async |name: &str| {
            world.target("acme", target(name, "https://a.example.com")).await.expect("is made")
        };
        for n in 0..9 {
            make(&format!("t{n}")).await;
        }
        let (mut seen, mut token, mut page) = (Vec::new(), String::new(), 0);
        loop {
            let query = list(&[("orderBy", order), ("pageSize", "2"), ("pageToken", &token)]);
            let listed = operator.get(&query).await.good();
            let items = listed["targets"].as_array().cloned().unwrap_or_default();
            seen.extend(items.iter().map(|it| it["name"].as_str().expect("a text").to_owned()));
            token = listed["nextPageToken"].as_str().unwrap_or_default().to_owned();
            if token.is_empty() {
                break;
            }
            // One that was seen goes, as the last of a page too; others come on either side.
            if page < 3 {
                let gone = seen.last().expect("is there").clone();
                operator.delete(&format!("{TARGETS}/{gone}")).await.good();
                make(&format!("a{page}")).await;
                make(&format!("z{page}")).await;
            }
            page += 1;
        }
        let mut old: Vec<String> = seen.iter().filter(|name| name.starts_with('t')).cloned().collect();
        old.sort();
        assert_eq!(old, (0..9).map(|n| format!("t{n}")).collect::<Vec<_>>(), "{order}");
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count, "{order}: nothing twice");
        world.running.stop().await;
    }
}

#[tokio::test]
async fn a_filter_selects_by_name_label_time_and_what_is_used() {
    let world = World::start().await;
    let region = world.region("eu").await;
    world.furnish(&region).await;
    let operator = world.operator();
    for (name, owner) in [("pay-in", "ci"), ("pay-out", "ci"), ("pray", "others")] {
        let made = json!({"name": name, "owner": owner, "baseUrl": "https://a.example.com"});
        operator.post(TARGETS, made).await.good();
    }
    assert_eq!(named(&operator, "").await, ["echo", "pay-in", "pay-out", "pray"]);
    assert_eq!(named(&operator, "name = pay-*").await, ["pay-in", "pay-out"]);
    assert_eq!(named(&operator, "owner = ci AND name = \"pay-out\"").await, ["pay-out"]);
    assert_eq!(named(&operator, "owner != ci").await, ["echo", "pray"]);
    assert_eq!(named(&operator, "name > pay-in AND name <= pray").await, ["pay-out", "pray"]);
    let at = operator.get(&format!("{TARGETS}/pay-out")).await.good()["target"]["createdAt"].clone();
    let at = at.as_str().expect("a text");
    assert_eq!(named(&operator, &format!("created_at >= {at}")).await, ["pay-out", "pray"]);
    assert_eq!(named(&operator, &format!("created_at < {at}")).await, ["echo", "pay-in"]);
    let newest = list(&[("orderBy", "created_at desc"), ("pageSize", "1")]);
    assert_eq!(operator.names(&newest, "targets").await, ["pray"]);
    operator.patch(&format!("{TARGETS}/echo"), json!({"baseUrl": "https://b.example.com"})).await.good();
    let changed = list(&[("orderBy", "updated_at desc"), ("pageSize", "1")]);
    assert_eq!(operator.names(&changed, "targets").await, ["echo"]);
    let used = async |by: &str| {
        let query = form_urlencoded::byte_serialize(format!("uses={by}").as_bytes()).collect::<String>();
        operator.names(&format!("/v1/orgs/acme/proxies?filter={query}"), "proxies").await
    };
    assert_eq!((used("app").await, used("eu").await), (vec!["echo".to_owned()], vec!["echo".to_owned()]));
    assert!(used("pray").await.is_empty() && used("nothing").await.is_empty());
    // With its kind: a target of this name is there, and a caller is not.
    assert_eq!(used("target/echo").await, ["echo"]);
    assert_eq!(
        (used("credential/app").await, used("targets/app").await),
        (vec!["echo".to_owned()], Vec::new())
    );
    world.running.stop().await;
}

#[tokio::test]
async fn a_list_that_is_asked_for_wrongly_is_refused_with_the_field() {
    let world = World::start().await;
    world.org("acme").await;
    let operator = world.operator();
    for name in ["a", "b"] {
        world.target("acme", target(name, "https://a.example.com")).await.expect("is made");
    }
    for filter in [
        "colour = red",
        "name",
        "name ~ a",
        "name = a%",
        "created_at > yesterday",
        "uses != a",
        "uses = colour/a",
        "name = a OR name = b",
    ] {
        assert_eq!(operator.get(&list(&[("filter", filter)])).await.faults(), ["filter"], "{filter}");
    }
    for order in ["colour", "name up", "name desc, created_at"] {
        assert_eq!(operator.get(&list(&[("orderBy", order)])).await.faults(), ["order_by"], "{order}");
    }
    let first = operator.get(&list(&[("pageSize", "1")])).await.good();
    let token = first["nextPageToken"].as_str().expect("a text");
    let other = list(&[("pageToken", token), ("orderBy", "created_at")]);
    assert_eq!(operator.get(&other).await.faults(), ["page_token"]);
    assert_eq!(operator.get(&list(&[("pageToken", "junk")])).await.faults(), ["page_token"]);
    assert_eq!(operator.get(&list(&[("pageSize", "1001")])).await.faults(), ["page_size"]);
    world.running.stop().await;
}
