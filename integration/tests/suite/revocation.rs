//! `rrctl node revoke` with real programs: what the node does, what is left on its disk, and what its operator is told.
//!
//! A region that one organization has, with a node that joined there, is here too: that is whom one revokes nodes of.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use rr_contract::model::id::RegionId;
use rr_contract::seal::region_key::RegionKeys;
use rr_contract::seam::{SystemEntropy, draw};
use rr_contract::wire::management as mg;
use rr_contract::wire::management::region_service_client::RegionServiceClient;
use rr_integration::caller::Caller;
use rr_integration::process::Edge;
use rr_integration::sample::Sample;
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;
use rr_integration::world::{ORG, REGION};

use crate::own_values::rrctl;

/// The exit code after which a supervisor does not start the program again.
const REVOKED: i32 = 3;

struct Installation {
    folder: tempfile::TempDir,
    sample: Sample,
    edge: Edge,
    _upstream: Upstream,
}

impl Installation {
    /// With one node, whose token lets more join.
    async fn start() -> Self {
        let (folder, upstream) = (tempfile::tempdir().expect("a folder"), Upstream::start().await);
        let sample = Sample::start(folder.path(), &upstream.url(), &[]).await.expect("a sample");
        let token = sample.api.node_token(REGION, &sample.keys, 5).await.expect("a token").to_secret();
        let edge = Edge::start(&folder.path().join("edge"), sample.control.fleet, token.expose());
        edge.ready().await;
        Self { folder, sample, edge, _upstream: upstream }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("edge/state")
    }

    async fn node(&self) -> String {
        self.sample.api.nodes().await.expect("are listed").pop().expect("it joined").id
    }

    /// What `rrctl` says when it succeeds.
    async fn done(&self, args: &[&str]) -> String {
        let mut command = rrctl(&self.sample.control, &self.sample.api, self.folder.path(), args);
        command.stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output().expect("rrctl runs"));
        let output = output.await.expect("joins");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    async fn ends(&mut self) -> i32 {
        let edge = std::cell::RefCell::new(&mut self.edge);
        let ended = || {
            let ended = edge.borrow_mut().process.ended();
            async move { ended }
        };
        eventually("the node ends", ended).await.code().expect("by itself")
    }

    async fn serves(&self) {
        let caller = Caller::new(self.edge.listen, &format!("{ORG}.echo"), &self.sample.key);
        eventually("the node serves", || async {
            caller.try_get("/").await.ok().filter(|reply| reply.status == 200).map(drop)
        })
        .await;
    }
}

/// Paths of files below a folder.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path.file_name().expect("a name").to_string_lossy().into_owned());
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let there = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &there);
        } else {
            std::fs::copy(&path, &there).expect("copies");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_node_removes_its_keys_and_ends_for_good_and_its_operator_is_told_what_it_could_read() {
    let mut it = Installation::start().await;
    it.serves().await;
    let node = it.node().await;
    let asked = rrctl(&it.sample.control, &it.sample.api, it.folder.path(), &["node", "revoke", &node])
        .stdin(Stdio::null())
        .output()
        .expect("rrctl runs");
    assert!(!asked.status.success(), "it asks first");
    assert!(String::from_utf8_lossy(&asked.stderr).contains("--yes"));
    assert!(it.edge.process.ended().is_none());

    let said = it.done(&["node", "revoke", &node, "--yes"]).await;
    assert!(said.contains(&format!("revoked node {node} at revision ")), "{said}");
    assert!(said.contains("could read the secrets of 1 credential:") && said.contains("acme ("), "{said}");
    assert!(
        said.contains(&format!("`rrctl region rotate-key eu --exclude {node} --now --region-key FILE`")),
        "{said}"
    );
    assert!(said.contains("still lets nodes join: `rrctl node token revoke eu nt_"), "{said}");
    assert_eq!(it.ends().await, REVOKED);
    assert_eq!(files(&it.state()), ["edge.lock", "revoked"]);
    let log = it.edge.process.log();
    assert!(log.contains("this node was revoked"), "{log}");
    let listed = it.done(&["node", "show", &node]).await;
    assert!(listed.contains("revoked"), "{listed}");

    // A supervisor that starts it all the same: it does not join again with the token that it had, which has uses left.
    it.edge = it.edge.restart();
    assert_eq!(it.ends().await, REVOKED);
    assert_eq!(it.sample.api.nodes().await.expect("are listed").len(), 1);

    // With another token the machine is another node.
    let said = it.done(&["node", "revoke", &node, "--yes", "--with-token"]).await;
    assert!(said.contains("was revoked already") || said.contains("at revision"), "{said}");
    assert!(said.contains("is revoked"), "{said}");
    let token = it.sample.api.node_token(REGION, &it.sample.keys, 1).await.expect("a token").to_secret();
    std::fs::write(it.folder.path().join("edge/token"), token.expose()).expect("writes");
    it.edge = it.edge.restart();
    it.edge.ready().await;
    it.serves().await;
    let nodes = it.sample.api.nodes().await.expect("are listed");
    assert_eq!(nodes.len(), 2);
    assert!(nodes.iter().any(|it| it.id != node && it.connected));
    assert!(!files(&it.state()).contains(&"revoked".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_off_when_it_was_revoked_hears_of_it_and_one_killed_while_it_removed_its_keys_goes_on()
 {
    let mut it = Installation::start().await;
    it.serves().await;
    let node = it.node().await;
    it.edge.kill();
    let before = it.folder.path().join("before");
    copy(&it.state(), &before);
    it.done(&["node", "revoke", &node, "--yes"]).await;
    it.edge = it.edge.restart();
    assert_eq!(it.ends().await, REVOKED);
    assert_eq!(files(&it.state()), ["edge.lock", "revoked"]);

    // As after a kill in the middle: the mark is there, its key is gone, the rest is not.
    copy(&before, &it.state());
    std::fs::remove_file(it.state().join("node.key")).expect("removes");
    it.sample.control.kill();
    it.edge = it.edge.restart();
    assert_eq!(it.ends().await, REVOKED);
    assert_eq!(files(&it.state()), ["edge.lock", "revoked"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_of_one_organization_is_served_by_a_node_that_joined_there_and_is_nobody_elses() {
    let it = Installation::start().await;
    let api = &it.sample.api;
    let keys = RegionKeys::generate(RegionId::from_random(draw(&SystemEntropy)), &SystemEntropy);
    let now = std::time::SystemTime::now();
    let region = mg::Region {
        id: keys.region().to_string(),
        name: "ded".to_owned(),
        dedicated_to: ORG.to_owned(),
        key: Some(keys.statement(now, now + std::time::Duration::from_secs(90 * 86_400)).to_wire()),
        ..mg::Region::default()
    };
    let mut stub = RegionServiceClient::new(api.connection());
    stub.create_region(mg::CreateRegionRequest { region: Some(region) }).await.expect("is made");
    let token = api.node_token("ded", &keys, 1).await.expect("a token").to_secret();
    let dedicated = Edge::start(&it.folder.path().join("ded"), it.sample.control.fleet, token.expose());
    let origin = it._upstream.url();
    api.upstream(ORG, "ded-secret", &keys, &origin, "upstream-secret-dedicated").await.expect("is sealed");
    let key = api.caller(ORG, "ded-app").await.expect("is made");
    api.proxy(ORG, "ded", "ded-app", "echo", "ded-secret", "ded").await.expect("is made");
    dedicated.ready().await;
    let there = Caller::new(dedicated.listen, &format!("{ORG}.ded"), &key);
    eventually("the node of the region serves", || async {
        there.try_get("/").await.ok().filter(|reply| reply.status == 200).map(drop)
    })
    .await;
    let nodes = api.nodes().await.expect("are listed");
    assert!(nodes.iter().any(|node| node.region == "ded" && node.connected));
    // The node of the shared region knows nothing of it, and the other way round.
    let elsewhere = Caller::new(it.edge.listen, &format!("{ORG}.ded"), &key);
    assert_ne!(elsewhere.get("/").await.status, 200);
    let shared = Caller::new(dedicated.listen, &format!("{ORG}.echo"), &it.sample.key);
    assert_ne!(shared.get("/").await.status, 200);
    // An organization that it is not dedicated to cannot have a proxy there.
    api.org("other").await.expect("is made");
    api.target("other", "echo", &origin).await.expect("is made");
    let refused = api.upstream("other", "secret", &keys, &origin, "upstream-secret-other").await;
    refused.map(drop).expect_err("it cannot seal to it");
}
