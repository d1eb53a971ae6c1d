//! Requests that explain themselves, by `rrctl request try`, on a whole installation.

use rr_integration::wait::eventually;
use serde_json::Value;

use crate::own_values::Installation;

/// `rrctl request try` at the node, with the sample's key on standard input.
async fn tried(it: &Installation, args: &[&str]) -> String {
    let edge = format!("http://{}", it.edge.listen);
    let all = [&["request", "try"], args, &["--edge-url", &edge, "--caller-key-file", "-"]].concat();
    it.told(&all, &it.sample.key).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_prints_its_stages_and_the_rule_that_denied_it_to_an_editor_alone() {
    let it = Installation::start().await;
    let key = format!("Bearer {}", it.sample.key);
    eventually("the node serves", || async {
        (it.get(&[("authorization", &key)]).await.status == 200).then_some(())
    })
    .await;
    let said = tried(&it, &["echo", "GET", "/x"]).await;
    for stage in ["resolve", "authenticate", "authorize", "admit", "inject", "forward", "settle"] {
        assert!(said.contains(&format!("\n{stage} ")), "{stage}: {said}");
    }
    assert!(said.contains("caller app") && said.contains("upstream answered 200"), "{said}");
    assert!(said.contains("HTTP 200 after") && !said.contains(&it.sample.key), "{said}");

    let rule = "rule create no-delete --on proxy/echo --priority 10 --deny --method DELETE --notes";
    let rule: Vec<&str> = rule.split(' ').chain(["ask first"]).collect();
    it.done(&rule, "").await;
    // The rule is on its way.
    let denied =
        async || Some(tried(&it, &["echo", "DELETE", "/x"]).await).filter(|said| said.contains("deny by"));
    let said = eventually("the rule decides", denied).await;
    assert!(said.contains("refused: rules deny the request; deny by no-delete of proxy"), "{said}");
    assert!(said.contains("rule no-delete: deny where DELETE (ask first)"), "{said}");
    assert!(!said.contains("\nforward "), "{said}");

    let data: Value =
        serde_json::from_str(&tried(&it, &["echo", "DELETE", "/x", "-o", "json"]).await).expect("JSON");
    assert_eq!((&data["status"], &data["record"]["record"]["code"]), (&400.into(), &"rule-denied".into()));
    assert_eq!(data["rules"][0]["name"], "no-delete");
    let stages = data["stages"].as_array().expect("stages");
    let refuses = stages.iter().find(|stage| stage["refused"] == true).expect("one refuses");
    assert_eq!(refuses["stage"], "REQUEST_STAGE_AUTHORIZE");

    let problem = it.get(&[("authorization", &key), ("requestrocket-trial", "made-up")]).await;
    assert_eq!(problem.status, 403);
}
