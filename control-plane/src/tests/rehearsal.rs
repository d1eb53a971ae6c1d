//! A dry run is let in where the real run is, and refused with the same words where that is refused.

use serde_json::{Value, json};

use super::client::Client;
use super::stream::{Edge, joined};
use super::world::{World, target};

const APPLY: &str = "/v1/orgs/acme:apply";
const ROLLBACK: &str = "/v1/orgs/acme:rollback";

/// `acme` with a proxy and sixty rules of the label `git`, in a region whose one node has no feature at all.
struct Stage {
    world: World,
    operator: Client,
    /// Before there were rules.
    bare: u64,
    /// With all of it.
    whole: u64,
    _edge: Edge,
}

fn rule(n: usize) -> Value {
    json!({"rule": {"name": format!("rule-{n}"), "proxy": "echo", "effect": "EFFECT_DENY"}})
}

impl Stage {
    async fn set() -> Self {
        let world = World::start().await;
        let node = joined(&world).await;
        let operator = world.operator();
        let bare = operator.head().await;
        let rules: Vec<Value> = (0..60).map(rule).collect();
        operator.post(APPLY, json!({"owner": "git", "documents": rules})).await.good();
        let whole = operator.head().await;
        let mut edge = Edge::open(&node, None).await;
        edge.take_well().await;
        Self { world, operator, bare, whole, _edge: edge }
    }

    /// The run as a rehearsal and then as it is meant, at the same revision: both are refused, alike.
    async fn both_refused(&self, path: &str, body: Value, code: &str) {
        let head = self.operator.head().await;
        let mut rehearsal = body.clone();
        rehearsal["dryRun"] = true.into();
        let rehearsed = self.operator.post(path, rehearsal).await;
        assert_eq!(self.operator.head().await, head, "{body}");
        let real = self.operator.post(path, body.clone()).await;
        assert_eq!(self.operator.head().await, head, "{body}");
        assert_eq!(real.json()["code"], code, "{body}: {}", real.text);
        assert_eq!((rehearsed.status, rehearsed.text), (real.status, real.text), "{body}");
    }

    /// Both are let in, and the rehearsal changes nothing.
    async fn both_done(&self, path: &str, body: Value) {
        let head = self.operator.head().await;
        let mut rehearsal = body.clone();
        rehearsal["dryRun"] = true.into();
        self.operator.post(path, rehearsal).await.good();
        assert_eq!(self.operator.head().await, head, "{body}");
        self.operator.post(path, body.clone()).await.good();
        assert_eq!(self.operator.head().await, head + 1, "{body}");
    }
}

#[tokio::test]
async fn a_dry_run_of_a_set_foretells_every_refusal_of_the_real_one() {
    let stage = Stage::set().await;
    let (world, whole) = (&stage.world, stage.whole);
    world.region("us").await;
    let theirs = json!({"owner": "hand", "documents": [{"target": {"name": "t", "baseUrl": "https://a.example.com"}}]});
    stage.operator.post(APPLY, theirs).await.good();
    let pinned = json!({"name": "pinned", "callerCredentials": ["app"], "target": "t",
        "upstreamCredential": "openai", "regions": ["eu"]});
    stage.operator.post("/v1/orgs/acme/proxies", pinned).await.good();
    let used = json!({"owner": "hand", "requestId": "once", "documents": [{"target": {"name": "t", "baseUrl": "https://a.example.com"}}]});
    stage.operator.post(APPLY, used).await.good();
    let proxy = |regions: Value| {
        json!({"documents": [{"proxy": {"name": "echo", "callerCredentials": ["app"], "target": "echo",
            "upstreamCredential": "openai", "regions": regions}}]})
    };
    let bad = json!({"documents": [{"target": {"name": "Bad Name", "baseUrl": "ftp://x"}}]});
    let stale = json!({"expectedRevision": whole.to_string(), "documents": []});
    let elsewhere =
        json!({"documents": [{"target": {"name": "x", "org": "none", "baseUrl": "https://a.example.com"}}]});
    for (body, code) in [
        (bad, "invalid"),
        (elsewhere, "invalid"),
        (stale, "changed"),
        (json!({"plan": "plan_none"}), "not-found"),
        (json!({"requestId": "once", "documents": []}), "invalid"),
        (json!({"owner": "hand", "prune": true, "documents": []}), "in-use"),
        (proxy(json!(["eu", "us"])), "not-sealed-to-region"),
        (proxy(json!(["nowhere"])), "invalid"),
        (json!({"documents": [rule(99)]}), "features-missing"),
        (json!({"owner": "git", "prune": true, "documents": []}), "mass-removal"),
        // One word is not another.
        (json!({"documents": [rule(99)], "allowMassRemoval": true}), "features-missing"),
        (json!({"owner": "git", "prune": true, "documents": [], "allowPartial": true}), "mass-removal"),
    ] {
        stage.both_refused(APPLY, body, code).await;
    }
    stage.both_done(APPLY, json!({"documents": [rule(99)], "allowPartial": true})).await;
    // What was agreed to when it was planned goes with the plan.
    let planned =
        json!({"owner": "git", "prune": true, "documents": [], "allowMassRemoval": true, "dryRun": true});
    let planned = stage.operator.post(APPLY, planned).await.good();
    stage.operator.post(APPLY, json!({"plan": planned["outcome"]["plan"]})).await.good();
    assert_eq!(stage.operator.names("/v1/orgs/acme/rules", "rules").await, ["rule-99"]);
    stage.world.running.stop().await;
}

#[tokio::test]
async fn a_dry_run_of_a_rollback_foretells_every_refusal_of_the_real_one() {
    let stage = Stage::set().await;
    let (bare, whole) = (stage.bare.to_string(), stage.whole.to_string());
    stage.world.target("acme", target("new", "https://n.example.com")).await.expect("is made");
    let ahead = (stage.operator.head().await + 1).to_string();
    for (body, code) in [
        (json!({}), "invalid"),
        (json!({"revision": ahead}), "invalid"),
        (json!({"revision": bare, "expectedRevision": whole}), "changed"),
        (json!({"revision": bare}), "mass-removal"),
        (json!({"revision": bare, "allowPartial": true}), "mass-removal"),
    ] {
        stage.both_refused(ROLLBACK, body, code).await;
    }
    stage.both_done(ROLLBACK, json!({"revision": bare, "allowMassRemoval": true})).await;
    // Rules come back that the node does not understand.
    stage.both_refused(ROLLBACK, json!({"revision": whole}), "features-missing").await;
    stage.both_done(ROLLBACK, json!({"revision": whole, "allowPartial": true})).await;
    // A credential that was deleted does not come back, and what needs it neither.
    let gone = "/v1/orgs/acme/proxies/echo?allowMassRemoval=true";
    stage.operator.delete(gone).await.good();
    stage.operator.delete("/v1/orgs/acme/credentials/openai").await.good();
    stage.both_refused(ROLLBACK, json!({"revision": bare}), "not-restorable").await;
    let partial = json!({"revision": bare, "allowPartial": true, "dryRun": true});
    let listed = stage.operator.post(ROLLBACK, partial).await.good();
    assert_eq!(listed["notRestored"].as_array().map(Vec::len), Some(2), "{listed}");
    stage.world.running.stop().await;
}
