//! Old secrets for new nodes: whoever holds the control plane gives a node that never had the newer version an older one.
//!
//! The database is set back as its holder would: all of it, or all but what a joining node looks at.

use std::path::{Path, PathBuf};

use rr_contract::seal::node_token::NodeToken;
use rr_contract::wire::fleet;
use rr_integration::caller::Caller;
use rr_integration::desk::Desk;
use rr_integration::process::{Edge, copy_database};
use rr_integration::wait::eventually;
use rr_integration::world::{ORG, REGION, UPSTREAM_SECRET, World};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

const NEWER: &str = "the newer value";
const ATTEST: [&str; 5] = ["region", "attest", REGION, "--region-key", "eu.key"];

/// The database as it was, and as it became.
struct Evil {
    folder: tempfile::TempDir,
    database: PathBuf,
}

impl Evil {
    /// Keeps the database as it is. Ends with the control plane running.
    async fn keep(world: &mut World) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let database = world.control_plane.state().join("control.db");
        let evil = Self { folder, database };
        world.control_plane.stop().await;
        copy_database(&evil.database, &evil.old());
        world.control_plane.restart().await;
        evil
    }

    fn old(&self) -> PathBuf {
        self.folder.path().join("old.db")
    }

    /// Brings it back, but for some tables, which stay as they are.
    async fn set_back(&self, world: &mut World, but: &[&str]) {
        let new = self.folder.path().join("new.db");
        world.control_plane.stop().await;
        copy_database(&self.database, &new);
        copy_database(&self.old(), &self.database);
        self.take(&new, but).await;
        world.control_plane.restart().await;
    }

    /// Brings some tables back, and nothing else.
    async fn set_back_only(&self, world: &mut World, tables: &[&str]) {
        world.control_plane.stop().await;
        self.take(&self.old(), tables).await;
        world.control_plane.restart().await;
    }

    /// Takes tables of another database.
    async fn take(&self, from: &Path, tables: &[&str]) {
        // As whoever holds the file, who keeps to no rule of it.
        let options = SqliteConnectOptions::new().filename(&self.database).foreign_keys(false);
        let mut database = SqliteConnection::connect_with(&options).await.expect("opens");
        sqlx::query("ATTACH ? AS other")
            .bind(from.display().to_string())
            .execute(&mut database)
            .await
            .expect("is attached");
        for table in tables {
            let statement = format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM other.{table}");
            database.execute(AssertSqlSafe(statement)).await.expect("is taken");
        }
        database.close().await.expect("closes");
    }
}

/// A token that `rrctl` made.
async fn token(world: &World, desk: &Desk, file: &str) -> NodeToken {
    let args = ["node", "token", "create", REGION, "--region-key", "eu.key", "--uses", "3", "--out", file];
    desk.done(world, &args).await;
    let text = std::fs::read_to_string(desk.folder().join(file)).expect("is written");
    text.parse().expect("a token")
}

async fn replace(world: &World, value: &str) {
    let credential = world.api.credential(ORG, "echo-secret").await.expect("is there");
    let url = world.upstream.url();
    world.api.replace_secret(ORG, &credential, &world.keys, &url, value).await.expect("is replaced");
}

fn start(world: &World, folder: &Path, token: &NodeToken) -> Edge {
    Edge::start(folder, world.control_plane.fleet, token.to_secret().expose())
}

/// What a node says of the secret that it refuses.
async fn refusal(world: &World) -> Option<fleet::Refusal> {
    let nodes = world.api.nodes().await.ok()?;
    nodes.into_iter().flat_map(|node| node.standing).find(|refusal| refusal.detail.contains("attested"))
}

/// What the process said when it ended by itself.
async fn gives_up(edge: &mut Edge) -> String {
    let status = eventually("the node gives up", || {
        let ended = edge.process.ended();
        async move { ended }
    })
    .await;
    assert_eq!(status.code(), Some(1));
    edge.process.log()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_joins_takes_no_secret_before_the_version_that_was_attested() {
    let mut world = World::start().await;
    // While its database is exchanged.
    world.log.announce("control plane cannot be reached");
    let desk = Desk::of(&world);
    let folder = tempfile::tempdir().expect("a folder");
    // Of before: it knows of no attestation.
    let naive = token(&world, &desk, "naive.token").await;
    let evil = Evil::keep(&mut world).await;
    replace(&world, NEWER).await;
    let said = desk.done(&world, &ATTEST).await;
    assert!(said.contains("attested 1 secret of region eu as number 1"), "{said}");
    let aware = token(&world, &desk, "aware.token").await;
    world.node.stop().await;

    evil.set_back(&mut world, &["region_attestation", "node_token"]).await;
    let edge = start(&world, &folder.path().join("aware"), &aware);
    let refused = eventually("the node refuses the old secret", || refusal(&world)).await;
    assert!(
        refused.detail.contains("version 1 is older than version 2, which the region attested"),
        "{refused:?}"
    );
    let reply = Caller::new(edge.listen, &format!("{ORG}.echo"), &world.caller_key).get("/").await;
    assert_eq!(reply.status, 502, "{}", reply.text());
    assert!(world.upstream.seen().is_empty(), "nothing went to the upstream");

    // Started anew, it still knows.
    let edge = edge.restart();
    eventually("the node refuses the old secret again", || refusal(&world)).await;
    assert_eq!(
        Caller::new(edge.listen, &format!("{ORG}.echo"), &world.caller_key).get("/").await.status,
        502
    );
    drop(edge);

    // The check would see it: without what was attested, the old secret is served.
    evil.set_back(&mut world, &["node_token"]).await;
    let edge = start(&world, &folder.path().join("naive"), &naive);
    edge.ready().await;
    let reply = Caller::new(edge.listen, &format!("{ORG}.echo"), &world.caller_key).get("/").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(format!("{:?}", world.upstream.seen()).contains(UPSTREAM_SECRET));
    drop(edge);
    world.log.announce("did not take the whole transaction");
    world.log.announce("diverged");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_was_set_back_before_an_attestation_admits_nobody_until_its_region_attests_again()
 {
    let mut world = World::start().await;
    // While its database is exchanged.
    world.log.announce("control plane cannot be reached");
    let desk = Desk::of(&world);
    let folder = tempfile::tempdir().expect("a folder");
    let evil = Evil::keep(&mut world).await;
    replace(&world, NEWER).await;
    desk.done(&world, &ATTEST).await;
    let aware = token(&world, &desk, "aware.token").await;

    evil.set_back(&mut world, &["node_token"]).await;
    let mut edge = start(&world, folder.path(), &aware);
    let log = gives_up(&mut edge).await;
    assert!(log.contains("number 1 was made") && log.contains("rrctl region attest"), "{log}");

    // Nor does the operator's own program go on as if nothing had happened.
    let create = ["node", "token", "create", REGION, "--region-key", "eu.key", "--out", "other.token"];
    for args in [&create[..], &ATTEST] {
        let output = desk.rrctl(&world, args).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.contains("set back") && said.contains("--after-restore"), "{args:?}: {said}");
    }
    let said = desk.done(&world, &[&ATTEST[..], &["--after-restore"]].concat()).await;
    assert!(said.contains("as number 2"), "{said}");
    let edge = edge.restart();
    edge.ready().await;
    drop(edge);
    world.log.announce("did not take the whole transaction");
    world.log.announce("diverged");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attestation_is_held_against_the_one_before_it() {
    let mut world = World::start().await;
    // While its database is exchanged.
    world.log.announce("control plane cannot be reached");
    let desk = Desk::of(&world);
    let evil = Evil::keep(&mut world).await;
    replace(&world, NEWER).await;
    desk.done(&world, &ATTEST).await;
    // All that is attested stays, and the secret is older.
    evil.set_back_only(&mut world, &["secret"]).await;
    let output = desk.rrctl(&world, &ATTEST).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("version 1, and 2 was attested") && said.contains("not to be trusted"), "{said}");
    assert_eq!(desk.keys("eu.key").attested(), 1, "nothing was signed");
    world.log.announce("did not take the whole transaction");
    world.log.announce("diverged");
    world.end().await;
}
