//! Every REST call of the OpenAPI document: without a token, with a viewer's, and with a viewer's of another org.

use rr_contract::wire::management as wire;
use serde_json::{Value, json};

use super::client::Client;
use super::world::World;
use crate::authz::{Least, Permission, TABLE};

/// One operation of the document.
struct Operation {
    /// As `GET`.
    method: String,
    template: String,
    permission: Permission,
    /// A body that its schema takes.
    body: Option<Value>,
}

impl Operation {
    /// The path with a value for each variable.
    fn path(&self, value: impl Fn(&str) -> String) -> String {
        let mut path = String::new();
        let mut rest = self.template.as_str();
        while let Some((before, behind)) = rest.split_once('{') {
            let (name, after) = behind.split_once('}').expect("a template");
            path.push_str(before);
            path.push_str(&value(name));
            rest = after;
        }
        path + rest
    }

    async fn call(&self, client: &Client, path: &str) -> super::rest::Answer {
        match &self.body {
            Some(body) => client.send(&self.method, path, body.clone()).await,
            None if self.method == "DELETE" => client.delete(path).await,
            None => client.get(path).await,
        }
    }

    fn changes(&self) -> bool {
        self.method != "GET"
    }
}

async fn operations(world: &World) -> Vec<Operation> {
    let document = world.client("").get("/openapi.json").await.good();
    let mut operations = Vec::new();
    for (template, methods) in document["paths"].as_object().expect("an object") {
        for (method, operation) in methods.as_object().expect("an object") {
            let id = operation["operationId"].as_str().expect("a text");
            let call = id.splitn(3, '_').take(2).collect::<Vec<_>>().join(".");
            let permission = *TABLE.iter().find(|it| it.call == call).expect("stands in the table");
            let content = &operation["requestBody"]["content"]["application/json"];
            let body = (!content.is_null()).then(|| {
                let example = &content["examples"]["whole"]["value"];
                if example.is_null() { json!({}) } else { example.clone() }
            });
            let method = method.to_ascii_uppercase();
            operations.push(Operation { method, template: template.clone(), permission, body });
        }
    }
    assert!(operations.len() >= TABLE.len() - 2, "all but the stream of Apply: {}", operations.len());
    operations
}

/// Something of every kind, all of `acme`.
struct Furnished {
    token: String,
    node_token: String,
}

impl Furnished {
    fn name(&self, variable: &str) -> String {
        match variable {
            "org" => "acme",
            "target" | "proxy" | "resource" => "echo",
            "kind" => "proxy",
            "credential" => "app",
            "region" => "private",
            "rule" | "filter" | "meter" => "first",
            "user" | "member" => "alice",
            "token" => &self.token,
            "node_token" => &self.node_token,
            "revision" => "1",
            _ => "nt_1",
        }
        .to_owned()
    }

    /// Like a name of the above, of nothing.
    fn ghost(&self, variable: &str) -> String {
        match variable {
            "token" => "tk_00000000000000000000000000",
            "node_token" => "nt_00000000000000000000000000",
            "revision" => "999999",
            "kind" => "proxy",
            _ => "ghost",
        }
        .to_owned()
    }
}

async fn furnish(world: &World) -> Furnished {
    let region = world.region("eu").await;
    world.furnish(&region).await;
    let private = world.dedicated_region("private", "acme").await;
    let node_token = world.node_token(&private, 1).await.id().to_string();
    let operator = world.operator();
    let post = async |path: &str, body| operator.post(&format!("/v1/orgs/acme/{path}"), body).await.good();
    post("rules", json!({"name": "first", "proxy": "echo", "effect": "EFFECT_DENY"})).await;
    let filter =
        json!({"name": "first", "target": "echo", "action": "FILTER_ACTION_DESTROY", "paths": ["a"]});
    post("filters", filter).await;
    post("meters", json!({"name": "first", "proxy": "echo", "requests": {}, "perHourPerNode": "5"})).await;
    world.user("alice", "acme", "ROLE_OWNER").await;
    let listed = operator.get("/v1/tokens").await.good();
    let token = listed["tokens"].as_array().expect("a list").iter().find(|it| it["name"] == "alice");
    let token = token.expect("is there")["id"].as_str().expect("a text").to_owned();
    Furnished { token, node_token }
}

#[tokio::test]
async fn no_call_is_answered_without_a_token_that_is_good() {
    let world = World::start().await;
    let furnished = furnish(&world).await;
    let unknown = rr_contract::api_key::make(rr_contract::api_key::KeyKind::Token, &[7; 32]).0;
    let unknown = String::from_utf8_lossy(unknown.expose()).into_owned();
    for operation in operations(&world).await {
        let path = operation.path(|variable| furnished.name(variable));
        for token in ["", unknown.as_str(), "nonsense"] {
            let answer = operation.call(&world.client(token), &path).await;
            assert_eq!(answer.status, 401, "{} {path} {token}: {}", operation.method, answer.text);
        }
    }
    world.running.stop().await;
}

/// Whether only who operates a region may ask.
fn of_nodes(template: &str) -> bool {
    ["/v1/node", "/v1/regionStates"].iter().any(|it| template.starts_with(it))
}

/// Tokens are the exception: everybody may make a token that can do no more than their own.
#[tokio::test]
async fn a_viewer_reads_what_viewers_may_and_changes_nothing() {
    let world = World::start().await;
    let furnished = furnish(&world).await;
    let viewer = world.service(wire::Role::Viewer, "acme").await;
    let before = world.installation().await.revision;
    for operation in operations(&world).await {
        let path = operation.path(|variable| furnished.name(variable));
        let answer = operation.call(&viewer, &path).await;
        let what = format!("{} {path}: {} {}", operation.method, answer.status, answer.text);
        let own = ["/v1/tokens", "/v1/self/"].iter().any(|it| operation.template.starts_with(it));
        let missing =
            ["notification", "request"].iter().any(|it| path.ends_with("nt_1") && what.contains(it));
        match operation.permission.least {
            Least::Anybody | Least::AnybodyOrBootstrap if operation.changes() && own => {
                assert!(matches!(answer.status, 400 | 403 | 404), "{what}");
            }
            // Nodes are for those who operate a region.
            _ if operation.changes() || of_nodes(&operation.template) => {
                assert_eq!(answer.status, 403, "{what}");
            }
            _ if own || missing => assert!(matches!(answer.status, 200 | 404), "{what}"),
            Least::Anybody
            | Least::AnybodyOrBootstrap
            | Least::InOrg(wire::Role::Viewer)
            | Least::InOrgOrOperator(wire::Role::Viewer) => assert_eq!(answer.status, 200, "{what}"),
            Least::InOrg(_) | Least::InOrgOrOperator(_) | Least::InRegion | Least::Operator => {
                assert_eq!(answer.status, 403, "{what}");
            }
        }
    }
    assert_eq!(world.installation().await.revision, before);
    world.running.stop().await;
}

#[tokio::test]
async fn who_is_of_another_organization_cannot_tell_what_is_there_from_what_is_not() {
    let world = World::start().await;
    let furnished = furnish(&world).await;
    world.org("theirs").await;
    let stranger = world.service(wire::Role::Viewer, "theirs").await;
    let before = world.installation().await.revision;
    for operation in operations(&world).await {
        // Everybody may wait for a revision: the head's number is no secret, and regions are only those one sees.
        if !operation.template.contains('{') || operation.template.ends_with("{revision}:wait") {
            continue;
        }
        let there = operation.path(|variable| furnished.name(variable));
        let nowhere = operation.path(|variable| furnished.ghost(variable));
        let (mut found, missed) =
            (operation.call(&stranger, &there).await, operation.call(&stranger, &nowhere).await);
        for variable in ["org", "region", "user", "token", "node_token", "revision"] {
            if operation.template.contains(&format!("{{{variable}}}")) {
                let (name, ghost) = (furnished.name(variable), furnished.ghost(variable));
                found.text = found.text.replace(&format!("{name:?}"), &format!("{ghost:?}"));
                found.text = found.text.replace(&format!("\\\"{name}\\\""), &format!("\\\"{ghost}\\\""));
            }
        }
        let what = format!("{} {there}", operation.method);
        assert_eq!((found.status, found.text), (missed.status, missed.text.clone()), "{what}");
        assert!(matches!(missed.status, 403 | 404), "{what}: {}", missed.text);
        if operation.template.starts_with("/v1/orgs/{org}") && !operation.template.ends_with(":undelete") {
            assert_eq!(missed.status, 404, "{what}");
        }
    }
    // Nor do lists tell.
    for (path, plural) in [("/v1/orgs", "orgs"), ("/v1/regions", "regions"), ("/v1/tokens", "tokens")] {
        let names = stranger.names(path, plural).await;
        let known = ["theirs", "eu", "ROLE_VIEWER-theirs"];
        assert!(names.iter().all(|name| known.contains(&name.as_str())), "{path}: {names:?}");
    }
    stranger.get("/v1/nodes").await.refused(403, "role-missing");
    assert_eq!(world.installation().await.revision, before);
    world.running.stop().await;
}
