//! Ceilings of limits: written under, lowered, and shown.

use rr_contract::wire::fleet::Limits;
use rr_contract::wire::management as wire;
use serde_json::{Value, json};

use super::client::{Client, number};
use super::world::{World, config};

const ORG: &str = "/v1/orgs/acme";
const PROXIES: &str = "/v1/orgs/acme/proxies";

/// A world with `acme`, under ceilings of the installation.
async fn world(per_minute_per_node: u64, per_day_per_node: u64) -> World {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(folder.path());
    config.limit_ceilings = Limits { per_minute_per_node, per_day_per_node };
    let world = World::over(folder, config).await;
    let region = world.region("eu").await;
    world.furnish(&region).await;
    world
}

fn proxy(name: &str, limits: Option<(u64, u64)>) -> Value {
    let mut proxy = json!({"name": name, "callerCredentials": ["app"], "target": "echo",
        "upstreamCredential": "openai", "regions": ["eu"]});
    if let Some((minute, day)) = limits {
        proxy["limits"] = json!({"perMinutePerNode": minute.to_string(), "perDayPerNode": day.to_string()});
    }
    proxy
}

fn limits(proxy: &Value) -> (u64, u64) {
    let limits = &proxy["limits"];
    (number(&limits["perMinutePerNode"]), number(&limits["perDayPerNode"]))
}

async fn ceiling(operator: &Client, minute: u64, day: u64) -> Value {
    let ceilings = json!({"perMinutePerNode": minute.to_string(), "perDayPerNode": day.to_string()});
    operator
        .patch(&format!("{ORG}?updateMask=limit_ceilings"), json!({"limitCeilings": ceilings}))
        .await
        .good()
}

#[tokio::test]
async fn limits_above_the_lower_ceiling_are_refused_with_its_number_and_whose_it_is() {
    let world = world(1000, 20_000).await;
    let operator = world.operator();
    let shown = operator.get("/v1/installation").await.good();
    assert_eq!(number(&shown["limitCeilings"]["perMinutePerNode"]), 1000);
    assert_eq!(number(&shown["limitCeilings"]["perDayPerNode"]), 20_000);
    ceiling(&operator, 100, 0).await;
    let refused = operator.post(PROXIES, proxy("a", Some((101, 20_001)))).await;
    let text = refused.text.clone();
    assert_eq!(
        refused.faults(),
        ["proxy.limits.per_day_per_node", "proxy.limits.per_minute_per_node"],
        "{text}"
    );
    assert!(text.contains(r#"the ceiling of organization \"acme\" is 100 a minute"#), "{text}");
    assert!(text.contains("the ceiling of the installation is 20000 a day"), "{text}");
    let refused = operator.post(PROXIES, proxy("a", Some((0, 5)))).await;
    assert_eq!(refused.faults(), ["proxy.limits.per_minute_per_node"], "no limit is above every ceiling");
    operator.post(PROXIES, proxy("a", Some((100, 20_000)))).await.good();
    // By the other ways to write a proxy too.
    let raised = json!({"limits": {"perMinutePerNode": "100", "perDayPerNode": "20001"}});
    let refused = operator.patch(&format!("{PROXIES}/a?updateMask=limits"), raised).await;
    assert_eq!(refused.faults(), ["proxy.limits.per_day_per_node"]);
    assert_eq!(
        operator.patch(&format!("{PROXIES}/a?updateMask=limits"), json!({})).await.faults(),
        ["proxy.limits.per_day_per_node", "proxy.limits.per_minute_per_node"],
        "nor can limits be taken away"
    );
    let set = json!({"documents": [{"proxy": proxy("b", Some((101, 5)))}]});
    let refused = operator.post(&format!("{ORG}:apply"), set).await;
    assert_eq!(refused.faults(), ["documents[0].proxy.limits.per_minute_per_node"]);
    world.running.stop().await;
}

#[tokio::test]
async fn a_proxy_without_limits_gets_the_default_of_the_organization_or_else_the_ceiling() {
    let world = world(1000, 0).await;
    let operator = world.operator();
    let made = operator.post(PROXIES, proxy("a", None)).await.good();
    assert_eq!(limits(&made["proxy"]), (1000, 0));
    let default = json!({"defaultLimits": {"perMinutePerNode": "60", "perDayPerNode": "500"}});
    operator.patch(&format!("{ORG}?updateMask=default_limits"), default).await.good();
    let made = operator.post(PROXIES, proxy("b", None)).await.good();
    assert_eq!(limits(&made["proxy"]), (60, 500));
    let set = json!({"documents": [{"proxy": proxy("c", None)}]});
    operator.post(&format!("{ORG}:apply"), set).await.good();
    assert_eq!(limits(&operator.get(&format!("{PROXIES}/c")).await.good()["proxy"]), (60, 500));
    // A default that no proxy could have is refused.
    let high = json!({"defaultLimits": {"perMinutePerNode": "1001"}});
    let refused = operator.patch(&format!("{ORG}?updateMask=default_limits"), high.clone()).await;
    assert_eq!(refused.faults(), ["org.default_limits.per_minute_per_node"]);
    let org = json!({"name": "other", "defaultLimits": high["defaultLimits"]});
    assert_eq!(operator.post("/v1/orgs", org).await.faults(), ["org.default_limits.per_minute_per_node"]);
    world.running.stop().await;
}

#[tokio::test]
async fn a_lowered_ceiling_names_the_proxies_above_it_and_stops_none_of_them() {
    let world = world(0, 0).await;
    let operator = world.operator();
    for n in 1..=3_u64 {
        operator.post(PROXIES, proxy(&format!("p{n}"), Some((n * 100, 0)))).await.good();
    }
    let told = ceiling(&operator, 150, 0).await;
    assert_eq!(told["proxiesOverCeiling"], json!(["echo", "p2", "p3"]), "{told}");
    assert_eq!(number(&told["proxiesOverCeilingCount"]), 3);
    let over = async |name: &str| {
        operator.get(&format!("{PROXIES}/{name}")).await.good()["proxy"]["overCeiling"] == true
    };
    assert!(!over("p1").await && over("p2").await && over("echo").await);
    // What leaves the limits alone is not held up by them.
    let path = format!("{PROXIES}/p3?updateMask=active");
    let off = operator.patch(&path, json!({"active": false})).await.good();
    assert_eq!((limits(&off["proxy"]), &off["proxy"]["overCeiling"]), ((300, 0), &json!(true)));
    let path = format!("{PROXIES}/p3?updateMask=limits");
    let kept = json!({"limits": {"perMinutePerNode": "300"}});
    assert_eq!(operator.patch(&path, kept).await.faults(), ["proxy.limits.per_minute_per_node"]);
    let down = operator.patch(&path, json!({"limits": {"perMinutePerNode": "150"}})).await.good();
    assert!(down["proxy"]["overCeiling"].is_null(), "{down}");
    // Nothing else names them.
    let path = format!("{ORG}?updateMask=display_name");
    let told = operator.patch(&path, json!({"displayName": "Acme"})).await.good();
    assert!(told["proxiesOverCeiling"].is_null(), "{told}");
    assert!(ceiling(&operator, 0, 0).await["proxiesOverCeiling"].is_null());
    assert!(!over("p2").await);
    world.running.stop().await;
}

#[tokio::test]
async fn only_an_operator_changes_the_ceilings_of_an_organization() {
    let world = world(0, 0).await;
    let owner = world.service(wire::Role::Owner, "acme").await;
    let path = format!("{ORG}?updateMask=limit_ceilings");
    let raised = json!({"limitCeilings": {"perMinutePerNode": "100000"}});
    owner.patch(&path, raised.clone()).await.refused(403, "role-missing");
    owner.patch(ORG, raised.clone()).await.refused(403, "role-missing");
    world.operator().patch(&path, raised).await.good();
    world.running.stop().await;
}

#[tokio::test]
async fn a_rollback_brings_back_no_limit_above_a_ceiling() {
    let world = world(0, 0).await;
    let operator = world.operator();
    operator.post(PROXIES, proxy("a", Some((500, 0)))).await.good();
    let before = operator.head().await;
    let path = format!("{PROXIES}/a?updateMask=limits");
    operator.patch(&path, json!({"limits": {"perMinutePerNode": "50"}})).await.good();
    ceiling(&operator, 100, 0).await;
    let back = json!({"revision": before.to_string()});
    let refused = operator.post(&format!("{ORG}:rollback"), back.clone()).await;
    assert!(refused.text.contains("limits.per_minute_per_node"), "{}", refused.text);
    assert_eq!(limits(&operator.get(&format!("{PROXIES}/a")).await.good()["proxy"]), (50, 0));
    ceiling(&operator, 0, 0).await;
    operator.post(&format!("{ORG}:rollback"), back).await.good();
    assert_eq!(limits(&operator.get(&format!("{PROXIES}/a")).await.good()["proxy"]), (500, 0));
    world.running.stop().await;
}
