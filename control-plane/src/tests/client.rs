//! One caller over REST: what a test says and hears, in one line a call.

use std::net::SocketAddr;

use bytes::Bytes;
use rr_contract::wire::management as wire;
use serde_json::{Value, json};

use super::rest::{Answer, send};
use super::world::World;

/// Somebody with a token.
#[derive(Clone)]
pub(super) struct Client {
    address: SocketAddr,
    pub(super) token: String,
}

impl World {
    pub(super) fn client(&self, token: &str) -> Client {
        Client { address: self.running.management(), token: token.to_owned() }
    }

    /// The operator, who also owns the organizations that the test makes.
    pub(super) fn operator(&self) -> Client {
        self.client(&self.operator)
    }

    /// A service with one role in one organization.
    pub(super) async fn service(&self, role: wire::Role, org: &str) -> Client {
        let grants = vec![wire::Grant { role: role.into(), org: org.into(), ..Default::default() }];
        let name = format!("{}-{org}", role.as_str_name());
        self.client(&self.token(&self.operator, &name, grants).await.expect("is made"))
    }

    /// A user with a token, and a member of an organization where a role is said.
    pub(super) async fn user(&self, name: &str, org: &str, role: &str) -> Client {
        let operator = self.operator();
        operator.post("/v1/users", json!({"name": name})).await.good();
        if !role.is_empty() {
            let member = json!({"user": name, "role": role});
            operator.post(&format!("/v1/orgs/{org}/members"), member).await.good();
        }
        let made = operator.post("/v1/tokens", json!({"name": name, "user": name})).await.good();
        self.client(made["secret"].as_str().expect("is there"))
    }
}

impl Client {
    pub(super) async fn get(&self, path: &str) -> Answer {
        send(self.address, "GET", path, &self.token, "", Bytes::new()).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, body).await
    }

    pub(super) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send("PATCH", path, body).await
    }

    pub(super) async fn delete(&self, path: &str) -> Answer {
        send(self.address, "DELETE", path, &self.token, "", Bytes::new()).await
    }

    pub(super) async fn send(&self, method: &str, path: &str, body: Value) -> Answer {
        send(self.address, method, path, &self.token, "application/json", body.to_string().into()).await
    }

    /// The names in a list.
    pub(super) async fn names(&self, path: &str, plural: &str) -> Vec<String> {
        let listed = self.get(path).await.good();
        let items = listed[plural].as_array().cloned().unwrap_or_default();
        items.iter().map(|it| it["name"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// The newest revision.
    pub(super) async fn head(&self) -> u64 {
        number(&self.get("/v1/installation").await.good()["revision"])
    }
}

/// A 64-bit number, which JSON has as a text; what is left out is 0.
pub(super) fn number(value: &Value) -> u64 {
    value.as_str().map_or(0, |text| text.parse().expect("a number"))
}

impl Answer {
    /// What a call that was done answered.
    #[track_caller]
    pub(super) fn good(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        self.json()
    }

    /// The problem of a call that was refused.
    #[track_caller]
    pub(super) fn refused(self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        let problem = self.json();
        assert_eq!(problem["code"], code, "{}", self.text);
        problem
    }

    /// The fields at fault of a call whose input was refused, in order.
    #[track_caller]
    pub(super) fn faults(self) -> Vec<String> {
        let problem = self.refused(400, "invalid");
        let errors = problem["errors"].as_array().expect("a list");
        let mut fields: Vec<String> =
            errors.iter().map(|it| it["field"].as_str().expect("a text").to_owned()).collect();
        fields.sort();
        fields
    }
}
