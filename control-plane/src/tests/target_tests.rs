//! Tests of targets: who has them made, what a node says of them, and what is kept.

use rr_contract::model::feature;
use rr_contract::wire::{fleet, management as wire};
use serde_json::{Value, json};

use super::client::Client;
use super::machine::Node;
use super::stores::{on_both, put, write};
use super::stream::{Edge, joined};
use super::world::{World, target};
use crate::store::target_test;

const TEST: &str = "/v1/orgs/acme/targets/echo:test";

/// A node that can test, and has all that there is.
async fn tester(node: &Node) -> Edge {
    let mut edge = Edge::open_with(node, None, &[feature::TARGET_TEST]).await;
    edge.take_well().await;
    edge
}

/// The one test of an answer.
fn only(answer: &Value) -> &Value {
    let tests = answer["tests"].as_array().expect("a list");
    assert_eq!(tests.len(), 1, "{answer}");
    &tests[0]
}

fn passed(asked: &fleet::TestTarget) -> fleet::TargetTested {
    let one = fleet::BaseUrlTest { base_url: "https://api.example.com".into(), ..Default::default() };
    fleet::TargetTested { test: asked.test.clone(), base_urls: vec![one], ..Default::default() }
}

/// Has the node asked, which answers well.
async fn test(client: &Client, edge: &mut Edge) -> Value {
    let answers = async {
        let asked = edge.asked_to_test().await;
        edge.has_tested(passed(&asked)).await;
    };
    tokio::join!(client.post(TEST, json!({})), answers).0.good()
}

#[tokio::test]
async fn a_node_that_cannot_test_and_one_that_is_silent_are_regions_without_a_result() {
    let world = World::start().await;
    let node = joined(&world).await;
    let operator = world.operator();
    let mut old = Edge::open(&node, None).await;
    old.take_well().await;
    let answer = operator.post(TEST, json!({})).await.good();
    assert_eq!(only(&answer)["refusal"], "TEST_REFUSAL_TOO_OLD", "{answer}");
    drop(old);
    let mut edge = tester(&node).await;
    let (answer, asked) = tokio::join!(operator.post(TEST, json!({"timeout": "0.1s"})), edge.asked_to_test());
    let answer = answer.good();
    let test = only(&answer);
    assert_eq!(test["refusal"], "TEST_REFUSAL_TIMED_OUT", "{test}");
    assert_eq!((&test["node"], test.get("passed")), (&node.id.clone().into(), None));
    assert_eq!((asked.org.starts_with("og_"), asked.test.len()), (true, 16), "{asked:?}");
    world.running.stop().await;
}

#[tokio::test]
async fn a_node_answers_what_it_was_asked_and_in_words_that_speak_to_no_terminal() {
    let world = World::start().await;
    let node = joined(&world).await;
    let operator = world.operator();
    let mut edge = tester(&node).await;
    let answers = async {
        let asked = edge.asked_to_test().await;
        // To no question of ours.
        edge.has_tested(fleet::TargetTested { test: vec![7; 16], ..passed(&asked) }).await;
        let said = "\x1b[2J".repeat(10_000);
        let one = fleet::BaseUrlTest {
            base_url: "https://api.example.com".into(),
            reason: said,
            failed: 99,
            ..Default::default()
        };
        edge.has_tested(fleet::TargetTested { base_urls: vec![one], ..passed(&asked) }).await;
    };
    let answer = tokio::join!(operator.post(TEST, json!({})), answers).0.good();
    let one = &only(&answer)["baseUrls"][0];
    let reason = one["reason"].as_str().expect("text");
    assert!(reason.len() < 10_000 && !reason.contains('\x1b'), "{reason}");
    assert_eq!((&one["failed"], answer.get("passed")), (&"TEST_STAGE_SEND".into(), None), "{answer}");
    for (refusal, reason) in [(fleet::TestRefusal::Busy, "try again"), (fleet::TestRefusal::Unspecified, "")]
    {
        let answers = async {
            let asked = edge.asked_to_test().await;
            let nothing = fleet::TargetTested { base_urls: Vec::new(), ..passed(&asked) };
            edge.has_tested(fleet::TargetTested { refusal: refusal.into(), ..nothing }).await;
        };
        let answer = tokio::join!(operator.post(TEST, json!({})), answers).0.good();
        let test = only(&answer);
        assert_eq!(test.get("passed"), None, "nothing was tested: {test}");
        assert!(test["reason"].as_str().unwrap_or_default().contains(reason), "{test}");
    }
    world.running.stop().await;
}

#[tokio::test]
async fn nobody_has_a_target_tested_that_is_not_shared_or_by_a_proxy_that_the_token_is_not_for() {
    let world = World::start().await;
    let node = joined(&world).await;
    let operator = world.operator();
    let mut edge = tester(&node).await;
    let id = operator.get("/v1/orgs/acme/targets/echo").await.good()["target"]["id"].clone();
    let narrow = json!({
        "name": "narrow",
        "grants": [{"role": "ROLE_EDITOR", "org": "acme"}],
        "resources": [id],
    });
    let narrow = operator.post("/v1/tokens", narrow).await.good();
    let narrow = world.client(narrow["secret"].as_str().expect("is shown"));
    assert_eq!(narrow.post(TEST, json!({})).await.faults(), ["proxy"], "no proxy of its own leads there");
    narrow.post(TEST, json!({"proxy": "echo"})).await.refused(404, "not-found");
    let editor = world.user("edi", "acme", "ROLE_EDITOR").await;
    assert_eq!(only(&test(&editor, &mut edge).await)["askedBy"], "edi");
    let viewer = world.service(wire::Role::Viewer, "acme").await;
    viewer.post(TEST, json!({})).await.refused(403, "role-missing");
    let sharing = json!({"sharing": {"targets": false}});
    operator.patch("/v1/orgs/acme?updateMask=sharing", sharing).await.good();
    editor.post(TEST, json!({})).await.refused(403, "not-shared");
    world.running.stop().await;
}

#[tokio::test]
async fn the_last_test_is_shown_of_proxies_that_still_lead_to_the_target() {
    let world = World::start().await;
    let node = joined(&world).await;
    let operator = world.operator();
    let mut edge = tester(&node).await;
    assert_eq!(only(&test(&operator, &mut edge).await)["passed"], true);
    let tests = "/v1/orgs/acme/targets/echo/tests";
    assert_eq!(only(&operator.get(tests).await.good())["passed"], true);
    world.target("acme", target("other", "https://api.example.com")).await.expect("is made");
    operator.patch("/v1/orgs/acme/proxies/echo", json!({"target": "other"})).await.good();
    let theirs = "/v1/orgs/acme/targets/other/tests";
    for path in [tests, theirs, &format!("{theirs}?proxy=echo")] {
        assert_eq!(operator.get(path).await.good().get("tests"), None, "{path}");
    }
    let named = operator.get(&format!("{tests}?proxy=echo")).await.good();
    assert_eq!(only(&named)["passed"], true, "of a proxy that led there then");
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_claimed_once_and_what_is_kept_goes_with_the_proxy() {
    on_both("target_tests", async |store, _clock| {
        let claim = |before, revision| {
            target_test::claim(&store, "px_1".to_owned(), "rg_1".to_owned(), before, revision)
        };
        assert!(claim(None, 7).await.expect("written"));
        assert!(!claim(None, 7).await.expect("written"), "another replica was first");
        assert!(claim(Some(7), 9).await.expect("written"));
        assert!(!claim(Some(7), 9).await.expect("written"), "another replica was first");
        let test = wire::TargetTest { proxy: "px_1".into(), passed: true, ..Default::default() };
        target_test::keep(&store, "rg_1".to_owned(), test.clone()).await.expect("written");
        let ids = ["px_1".to_owned()];
        let after = target_test::tested_after(&store, &ids).await.expect("read");
        assert_eq!(after.into_values().collect::<Vec<_>>(), [9], "a test takes no change on");
        let proxy = wire::Proxy { name: "p".into(), ..Default::default() };
        write(&store, vec![put("org_1", "px_1", "p", proxy, None)]).await;
        target_test::sweep(&store).await.expect("written");
        assert_eq!(target_test::last(&store, &ids).await.expect("read"), [test], "its proxy is there");
        let gone = wire::TargetTest { proxy: "px_2".into(), ..Default::default() };
        target_test::keep(&store, "rg_1".to_owned(), gone).await.expect("written");
        target_test::sweep(&store).await.expect("written");
        let ids = ["px_2".to_owned()];
        assert!(target_test::last(&store, &ids).await.expect("read").is_empty(), "its proxy is gone");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_asked_what_is_meant_for_it_and_nothing_that_nobody_waits_for() {
    on_both("target_test_questions", async |store, clock| {
        let question = |id: &str, holder: &str| target_test::TestQuestion {
            id: id.to_owned(),
            node: "node".to_owned(),
            holder: holder.to_owned(),
            asked: fleet::TestTarget { org: "org_1".into(), ..Default::default() },
        };
        for it in [question("a", "me"), question("b", "you")] {
            target_test::ask(&store, it).await.expect("written");
        }
        let mine = || target_test::questions(&store, "me");
        assert_eq!(mine().await.expect("read"), [question("a", "me")]);
        let tested = fleet::TargetTested { revision: 5, ..Default::default() };
        assert_eq!(target_test::answered(&store, "a").await.expect("read"), None);
        target_test::answer(&store, "a".to_owned(), tested.clone()).await.expect("written");
        assert_eq!(target_test::answered(&store, "a").await.expect("read"), Some(tested));
        assert!(mine().await.expect("read").is_empty(), "it is answered");
        target_test::ask(&store, question("c", "me")).await.expect("written");
        clock.pass(std::time::Duration::from_secs(61));
        assert!(mine().await.expect("read").is_empty(), "nobody waits for it any more");
        target_test::ask(&store, question("d", "me")).await.expect("written");
        target_test::answer(&store, "c".to_owned(), fleet::TargetTested::default()).await.expect("written");
        assert_eq!(target_test::answered(&store, "c").await.expect("read"), None, "it is forgotten");
        assert_eq!(mine().await.expect("read"), [question("d", "me")]);
    })
    .await;
}
