//! What the attacks share: writing into the database of a control plane that is off, which the honest program serves afterwards.
//!
//! The attacker of these tests has everything that lies there, and no secret of an operator or a node.

use std::path::Path;

use prost::Message;
use rr_contract::digest::resource_hash;
use rr_contract::wire::fleet::CredentialResource;
use rr_contract::wire::fleet::{
    Kind, SealedSecret, UpstreamCredential, credential_resource, upstream_credential,
};
use rr_contract::wire::management as mg;
use rr_integration::caller::{Caller, Reply};
use rr_integration::sample::{ORG, REGION, Sample};
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use crate::own_values::Installation;

/// The secret behind proxy `echo`, as the sample seals it for its upstream.
pub(super) const SECRET: &str = "s3cret";
/// One that its owner sealed for where the attacker wants requests to go.
pub(super) const LOOSE: &str = "value-for-anywhere";
/// A region's row among the kinds of resource.
const REGION_ROW: i32 = 8;

/// The database, while the control plane is off.
pub(super) struct Database(SqliteConnection);

impl Database {
    async fn open(file: &Path) -> Self {
        let options = SqliteConnectOptions::new().filename(file);
        Self(SqliteConnection::connect_with(&options).await.expect("opens"))
    }

    /// What nodes are sent of a resource.
    pub(super) async fn published<M: Message + Default>(&mut self, kind: Kind, name: &str) -> M {
        let read = "SELECT b.payload FROM resource r JOIN blob b ON b.hash = r.payload WHERE r.kind = ? AND r.name = ?";
        let (bytes,): (Vec<u8>,) = sqlx::query_as(read)
            .bind(i32::from(kind))
            .bind(name)
            .fetch_one(&mut self.0)
            .await
            .expect("is published");
        M::decode(bytes.as_slice()).expect("decodes")
    }

    /// Publishes something else under its name.
    pub(super) async fn publish(&mut self, kind: Kind, name: &str, payload: &impl Message) {
        let hash = self.blob(payload.encode_to_vec()).await;
        let write = sqlx::query("UPDATE resource SET payload = ? WHERE kind = ? AND name = ?");
        let done = write.bind(hash).bind(i32::from(kind)).bind(name).execute(&mut self.0).await;
        assert_eq!(done.expect("is written").rows_affected(), 1, "{name}");
    }

    /// Publishes it changed.
    pub(super) async fn change<M: Message + Default>(
        &mut self,
        kind: Kind,
        name: &str,
        change: impl FnOnce(&mut M),
    ) {
        let mut payload: M = self.published(kind, name).await;
        change(&mut payload);
        self.publish(kind, name, &payload).await;
    }

    /// What is shown of the sample's region.
    pub(super) async fn region(&mut self) -> mg::Region {
        let read =
            "SELECT b.payload FROM resource r JOIN blob b ON b.hash = r.doc WHERE r.kind = ? AND r.name = ?";
        let (bytes,): (Vec<u8>,) = sqlx::query_as(read)
            .bind(REGION_ROW)
            .bind(REGION)
            .fetch_one(&mut self.0)
            .await
            .expect("is there");
        match mg::Document::decode(bytes.as_slice()).expect("decodes").resource {
            Some(mg::document::Resource::Region(region)) => region,
            other => panic!("no region: {other:?}"),
        }
    }

    /// Shows another one in its place.
    pub(super) async fn show_region(&mut self, region: mg::Region) {
        let document = mg::Document { resource: Some(mg::document::Resource::Region(region)) };
        let hash = self.blob(document.encode_to_vec()).await;
        let write = sqlx::query("UPDATE resource SET doc = ? WHERE kind = ? AND name = ?");
        let done = write.bind(hash).bind(REGION_ROW).bind(REGION).execute(&mut self.0).await;
        assert_eq!(done.expect("is written").rows_affected(), 1);
    }

    /// Any other statement; how many rows it changed.
    pub(super) async fn run(&mut self, statement: &'static str, values: &[&str]) -> u64 {
        let mut query = sqlx::query(statement);
        for value in values {
            query = query.bind(*value);
        }
        query.execute(&mut self.0).await.expect("is written").rows_affected()
    }

    async fn blob(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        let hash = resource_hash(&bytes).to_vec();
        let write = sqlx::query("INSERT OR IGNORE INTO blob (hash, payload) VALUES (?, ?)");
        write.bind(hash.clone()).bind(bytes).execute(&mut self.0).await.expect("is written");
        hash
    }
}

/// `kill -9` of the control plane; somebody writes into its database; it starts again.
pub(super) async fn hold(it: Installation, evil: impl AsyncFnOnce(&mut Database)) -> Installation {
    let Installation { sample, edge, upstream, folder, values } = it;
    let Sample { mut control, api, keys, key, place } = sample;
    control.kill();
    let mut database = Database::open(&control.database()).await;
    evil(&mut database).await;
    database.0.close().await.expect("closes");
    let control = control.restart().await;
    let sample = Sample { control, api, keys, key, place };
    Installation { sample, edge, upstream, folder, values }
}

/// GET through a proxy of the sample's caller.
pub(super) async fn get(it: &Installation, proxy: &str) -> Reply {
    Caller::new(it.edge.listen, &format!("{ORG}.{proxy}"), &it.sample.key).get("/").await
}

/// Whether an upstream was sent this, in whatever place.
pub(super) fn has(upstream: &Upstream, value: &str) -> bool {
    upstream.seen().iter().any(|seen| format!("{seen:?}").contains(value))
}

/// Waits until requests through a proxy come to an upstream with a secret.
pub(super) async fn arrives(it: &Installation, proxy: &str, upstream: &Upstream, secret: &str) {
    let before = upstream.seen().len();
    eventually(&format!("requests of {proxy} arrive with {secret}"), || async {
        let reply = get(it, proxy).await;
        let seen = upstream.seen();
        (reply.status == 200 && seen[before..].iter().any(|seen| format!("{seen:?}").contains(secret)))
            .then_some(())
    })
    .await;
}

/// Requests through a proxy are refused because of the upstream's credential, and the record says so.
pub(super) async fn refused(it: &Installation, proxy: &str, reason: &str) {
    let reply = get(it, proxy).await;
    assert_eq!(reply.status, 502, "{reply:?}");
    assert!(reply.text().contains("credential-unusable") && !reply.text().contains(SECRET), "{reply:?}");
    it.reason(reason).await;
}

/// Waits until `rrctl explain` says of a credential that nodes refuse it, and why.
pub(super) async fn explained(it: &Installation, credential: &str, words: &str) -> String {
    eventually(&format!("credential {credential} is refused: {words}"), || async {
        let said = it.done(&["explain", "credential", credential], "").await;
        said.contains(words).then_some(said)
    })
    .await
}

/// The seal of an upstream credential as nodes are sent it.
pub(super) fn seal(credential: &mut CredentialResource) -> &mut SealedSecret {
    match upstream(credential).kind.as_mut() {
        Some(upstream_credential::Kind::Sealed(sealed)) => sealed,
        other => panic!("no seal: {other:?}"),
    }
}

/// The part of an upstream credential that has its secrets.
pub(super) fn upstream(credential: &mut CredentialResource) -> &mut UpstreamCredential {
    match credential.usage.as_mut() {
        Some(credential_resource::Usage::Upstream(upstream)) => upstream,
        other => panic!("no upstream credential: {other:?}"),
    }
}
