//! What becomes of a node that follows a file: at its start, at changes, and with files that cannot be served.

use std::time::SystemTime;

use rr_contract::runtime::Readiness;
use tokio::time::Instant;

use crate::current::{Reader, cell};
use crate::snapshot::{Injection, Snapshot};
use crate::sync::Board;
use crate::sync::apply::Applier;
use crate::sync::inventory::Inventory;
use crate::sync::journal::{Journal, Scribe};

use super::*;

/// A node that follows the file, without sockets.
struct Node {
    follower: Follower,
    reader: Reader<Snapshot>,
    board: Board,
}

async fn node(place: &Place, state: &Path, own: Own) -> Result<Node, String> {
    let key = Secret::new(vec![1; 32]);
    let loader = Arc::new(Loader::new(place.settings(), own, Seams::real()).expect("no region key"));
    let empty = || {
        Inventory::new(
            loader.vault(),
            crate::quota::Quotas::fleeting(),
            crate::snapshot::Standings::default(),
        )
    };
    let region = loader.own().region();
    let (journal, recovered) = Journal::start(state, &key, Seams::real(), region, empty);
    let (inventory, snapshot, position) = match recovered {
        Some(found) => (found.inventory, found.snapshot, Some(found.position)),
        None => (empty(), Snapshot::default(), None),
    };
    let (activator, mut readers) = cell(snapshot, 1);
    let scribe = Scribe::start(journal).expect("a thread");
    let applier = Applier::new(region, inventory, activator, scribe, position);
    let (board, readiness) = (Board::default(), Readiness::new());
    let configured = readiness.register("configuration");
    let mut follower = Follower::new(loader, applier, Seams::real(), board.clone(), configured);
    let begun = follower.begin().await.map_err(|fault| chain(&fault).to_string())?;
    if begun.is_ok() {
        assert!(readiness.pending().is_empty());
    }
    Ok(Node { follower, reader: readers.remove(0).start(), board })
}

impl Node {
    fn serves(&self, address: &str) -> bool {
        self.reader.view().proxy(address).is_some_and(|proxy| proxy.route.is_some())
    }

    fn refused_since(&self) -> Option<SystemTime> {
        self.board.read().file.and_then(|file| file.refused_since)
    }

    /// What is injected into a request to the target of `local.echo`, or to another one.
    fn injected(&self, to: Option<&str>) -> Option<String> {
        let view = self.reader.view();
        let route = view.proxy("local.echo")?.route.as_ref()?;
        let base = to.map_or_else(|| route.target.base.clone(), |to| to.parse().expect("a URL"));
        match route.upstream.as_ref()?.injection(&base, None, None, SystemClock.now()).ok()? {
            Injection::Secret(used) => {
                let secret = used.values().expect("values");
                let headers = secret.headers().iter();
                let header =
                    headers.map(|(name, value)| format!("{name}: {}", value.to_str().expect("it is text")));
                let all: Vec<String> =
                    header.chain(secret.pairs().iter().map(|pair| pair.text.to_string())).collect();
                Some(all.join(", "))
            }
            Injection::Nothing | Injection::Token(_) | Injection::Signature(_) => None,
        }
    }
}

#[tokio::test]
async fn a_value_goes_to_its_origins_and_nowhere_else() {
    let place = Place::new(GATEWAY);
    let state = tempfile::tempdir().expect("a folder");
    let own = Own::generate(String::new(), &Seams::real());
    let node = node(&place, state.path(), own).await.expect("it starts");
    assert_eq!(node.injected(None).as_deref(), Some("authorization: Bearer s3cr3t"));
    assert_eq!(node.injected(Some("https://evil.example")), None);
}

#[tokio::test]
async fn a_value_for_a_target_goes_to_each_of_its_base_urls() {
    let further = "base_url: https://echo.example/base\nmore_base_urls: ['https://echo2.example/base']";
    let place = Place::new(&GATEWAY.replace("base_url: https://echo.example/base", further));
    let state = tempfile::tempdir().expect("a folder");
    let own = Own::generate(String::new(), &Seams::real());
    let node = node(&place, state.path(), own).await.expect("it starts");
    for base_url in ["https://echo.example/base", "https://echo2.example/base"] {
        assert!(node.injected(Some(base_url)).is_some(), "{base_url}");
    }
    assert_eq!(node.injected(Some("https://echo3.example/base")), None);
}

#[tokio::test]
async fn a_change_is_taken_once_the_file_has_settled_and_a_broken_file_changes_nothing() {
    let place = Place::new(GATEWAY);
    let state = tempfile::tempdir().expect("a folder");
    let own = Own::generate(String::new(), &Seams::real());
    let mut node = node(&place, state.path(), own).await.expect("it starts");
    assert!(node.serves("local.echo") && node.refused_since().is_none());
    let revision = |node: &Node| node.board.read().running.map(|at| at.revision);
    assert_eq!(revision(&node), Some(1));

    place.write(&GATEWAY.replace("name: echo\ntarget", "name: other\ntarget"));
    node.follower.look().await;
    assert!(node.serves("local.echo"), "it may still be written to");
    node.follower.look().await;
    assert!(node.serves("local.other") && !node.serves("local.echo"));
    assert_eq!(revision(&node), Some(2));

    for broken in ["kind: proxy\nname: [", "", "kind: target\n"] {
        place.write(broken);
        node.follower.look().await;
        node.follower.look().await;
        assert!(node.serves("local.other") && node.refused_since().is_some(), "{broken:?}");
    }
    let since = node.refused_since();
    assert!(node.board.read().file.and_then(|file| file.refused_line).is_some());
    fs::remove_file(place.path("gateway.yaml")).expect("it is ours");
    node.follower.look().await;
    node.follower.look().await;
    assert!(node.serves("local.other"));
    assert_eq!(node.refused_since(), since, "it says since when");

    place.write(GATEWAY);
    node.follower.look().await;
    node.follower.look().await;
    assert!(node.serves("local.echo") && node.refused_since().is_none());
    assert_eq!(revision(&node), Some(3));
}

#[tokio::test]
async fn a_value_that_changed_in_its_own_file_is_taken_when_the_file_that_names_it_is_loaded() {
    let place = Place::new(GATEWAY);
    let state = tempfile::tempdir().expect("a folder");
    let own = Own::generate(String::new(), &Seams::real());
    let mut node = node(&place, state.path(), own).await.expect("it starts");
    fs::write(place.path("value"), "other").expect("a file");
    node.follower.look().await;
    node.follower.look().await;
    assert_eq!(node.injected(None).as_deref(), Some("authorization: Bearer s3cr3t"));
    place.write(&format!("{GATEWAY}# again\n"));
    node.follower.look().await;
    node.follower.look().await;
    assert_eq!(node.injected(None).as_deref(), Some("authorization: Bearer other"));
}

#[tokio::test]
async fn each_of_several_values_is_taken_when_it_changed() {
    let several = "value_from: {headers: {x-id: {file: id}, x-key: {file: value}}, targets: [echo]}";
    let file = GATEWAY.replace("{kind: bearer}", "{kind: custom-headers}");
    let file = file.replace("value_from: {file: value, targets: [echo]}", several);
    let place = Place::new(&file);
    fs::write(place.path("id"), "app-1").expect("a file");
    let state = tempfile::tempdir().expect("a folder");
    let own = Own::generate(String::new(), &Seams::real());
    let mut node = node(&place, state.path(), own).await.expect("it starts");
    assert_eq!(node.injected(None).as_deref(), Some("x-id: app-1, x-key: s3cr3t"));
    for (changed, wanted) in [("value", "x-id: app-1, x-key: next"), ("id", "x-id: next, x-key: next")] {
        fs::write(place.path(changed), "next").expect("a file");
        place.write(&format!("{file}# {changed} changed\n"));
        node.follower.look().await;
        node.follower.look().await;
        assert_eq!(node.injected(None).as_deref(), Some(wanted));
    }
}

#[tokio::test]
async fn a_start_with_a_broken_file_goes_on_with_what_was_served_and_a_first_start_fails() {
    let place = Place::new("kind: proxy\n");
    let state = tempfile::tempdir().expect("a folder");
    let key = Secret::new(vec![1; 32]);
    let own = Own::generate(String::new(), &Seams::real());
    own.write(state.path(), &key, &Seams::real()).expect("it is written");
    let own = || Own::read(state.path(), &key, &Seams::real()).expect("it is there");
    let fault = node(&place, state.path(), own()).await.err().expect("there is nothing to serve");
    assert!(fault.contains("gateway.yaml:1: "), "{fault}");
    place.write(GATEWAY);
    drop(node(&place, state.path(), own()).await.expect("it starts"));
    for broken in ["kind: proxy\n", "["] {
        place.write(broken);
        let node = node(&place, state.path(), own()).await.expect("it goes on");
        assert!(node.serves("local.echo") && node.refused_since().is_some());
        assert_eq!(node.injected(None).as_deref(), Some("authorization: Bearer s3cr3t"));
    }
    place.write(GATEWAY);
    let node = node(&place, state.path(), own()).await.expect("it starts");
    let facts = node.board.read();
    assert_eq!(facts.running.map(|at| at.revision), Some(1), "the same content is the same revision");
    assert!(facts.file.is_some_and(|file| file.loaded_at.is_some() && file.refused_since.is_none()));
}

#[tokio::test]
async fn a_credential_that_was_taken_out_can_come_back() {
    let place = Place::new(GATEWAY);
    let state = tempfile::tempdir().expect("a folder");
    let own = Own::generate(String::new(), &Seams::real());
    let mut node = node(&place, state.path(), own).await.expect("it starts");
    let more = format!(
        "{GATEWAY}---\nkind: credential\nname: second\ncaller: {{kind: api-key}}\nvalue_from: {{file: second.key}}\n"
    );
    make_key(&place.path("second.key"), &Seams::real()).expect("a key");
    let key = fs::read(place.path("second.key")).expect("a key");
    let hash = api_key::hash(KeyKind::Caller, key.trim_ascii_end()).expect("a key");
    for text in [more.as_str(), GATEWAY, more.as_str()] {
        place.write(text);
        node.follower.look().await;
        node.follower.look().await;
        let view = node.reader.view();
        let org = view.proxy(view.addresses().next().expect("a proxy")).expect("it is there").org_id;
        assert_eq!(view.caller(org, &hash).is_some(), text == more);
    }
    let begun = Instant::now();
    node.follower.tend().await;
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn whoever_takes_most_of_the_file_out_means_it() {
    let more: String = (0..200)
        .map(|n| format!("---\nkind: target\nname: t{n}\nbase_url: https://t{n}.example\n"))
        .collect();
    let place = Place::new(&format!("{GATEWAY}{more}"));
    let state = tempfile::tempdir().expect("a folder");
    let own = Own::generate(String::new(), &Seams::real());
    let mut node = node(&place, state.path(), own).await.expect("it starts");
    assert_eq!(node.board.read().running.map(|at| at.count), Some(205));
    place.write(GATEWAY);
    node.follower.look().await;
    node.follower.look().await;
    assert_eq!(node.board.read().running.map(|at| at.count), Some(5));
    assert!(node.serves("local.echo") && node.refused_since().is_none());
}
