//! Rules, limits and meters: flags as they reach the wire, and answers as people read them.

use prost::Message;
use rr_contract::wire::fleet::{Effect, Limits, MeterValue, meter_value::Location};
use rr_contract::wire::management::{self as mg, meter::Counts, rule::Parent};

use super::recorder::{Answers, run};

/// What a command printed, and the request that it made with a call.
async fn asked<M: Message + Default>(line: &str, call: &str, answers: &Answers) -> (String, M) {
    let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let (output, calls) = run(&args, answers.clone()).await;
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    let made = calls.iter().find(|it| it.name == call).unwrap_or_else(|| panic!("{line}: no {call}"));
    let printed = String::from_utf8(output.stdout).expect("text");
    (printed, M::decode(made.message()).expect("decodes"))
}

fn paths(mask: Option<rr_contract::wire::FieldMask>) -> Vec<String> {
    let mut paths = mask.expect("a mask").paths;
    paths.sort();
    paths
}

/// A control plane that is somebody else's.
#[tokio::test]
async fn what_a_control_plane_says_moves_no_cursor_and_adds_no_row() {
    let call = "TargetService.ListTargets";
    let name = "evil\x1b]0;owned\x07\u{9b}2J\nreal  https://real.example".to_owned();
    let target = mg::Target { name, ..mg::Target::default() };
    let list = mg::ListTargetsResponse { targets: vec![target], ..Default::default() };
    let answers = Answers::from([(call, Ok(list.encode_to_vec()))]);
    for (format, rows) in [("table", 2), ("wide", 2), ("name", 1)] {
        let (text, _) =
            asked::<mg::ListTargetsRequest>(&format!("target list -o {format}"), call, &answers).await;
        assert_eq!(text.lines().count(), rows, "{format}: {text:?}");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{format}: {text:?}");
    }
    let (json, _) = asked::<mg::ListTargetsRequest>("target list -o json", call, &answers).await;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert!(json[0]["name"].as_str().is_some_and(|name| name.contains('\x1b')), "programs get what was said");
}

#[tokio::test]
async fn a_rule_observes_and_its_patterns_have_flags() {
    let line = "rule create r --on proxy/p --deny --path ^/admin --body role=^root$ --flags i --observe";
    let (_, made) = asked::<mg::CreateRuleRequest>(line, "RuleService.CreateRule", &Answers::new()).await;
    let rule = made.rule.expect("a rule");
    let when = rule.when.expect("conditions");
    assert!(rule.observe);
    assert_eq!(when.path.expect("a path").flags, "i");
    assert_eq!(when.body[0].value.as_ref().expect("a value").flags, "i");
    let line = "rule update r --observe false";
    let (_, made) = asked::<mg::UpdateRuleRequest>(line, "RuleService.UpdateRule", &Answers::new()).await;
    assert_eq!(paths(made.update_mask), ["observe"]);
    assert!(!made.rule.expect("a rule").observe);
}

#[tokio::test]
async fn a_rule_about_every_request_has_no_condition() {
    let line = "rule create r --on proxy/p --deny --every-request";
    let (_, made) = asked::<mg::CreateRuleRequest>(line, "RuleService.CreateRule", &Answers::new()).await;
    assert_eq!(made.rule.expect("a rule").when, None);
}

#[tokio::test]
async fn a_limit_of_a_proxy_that_is_not_given_stays_and_sizes_have_units() {
    let there = mg::Proxy {
        limits_per_caller: Some(Limits { per_minute_per_node: 1, per_day_per_node: 9 }),
        etag: "e1".into(),
        ..Default::default()
    };
    let reply = mg::GetProxyResponse { proxy: Some(there) };
    let answers = Answers::from([("ProxyService.GetProxy", Ok(reply.encode_to_vec()))]);
    let line = "proxy update p --per-minute-per-caller 6 --per-day-per-address 7 --max-request-bytes 8MiB --observe true";
    let (_, made) = asked::<mg::UpdateProxyRequest>(line, "ProxyService.UpdateProxy", &answers).await;
    let proxy = made.proxy.expect("a proxy");
    assert_eq!(
        paths(made.update_mask),
        ["limits_per_address", "limits_per_caller", "max_request_bytes", "observe"]
    );
    assert_eq!(proxy.limits_per_caller, Some(Limits { per_minute_per_node: 6, per_day_per_node: 9 }));
    assert_eq!(proxy.limits_per_address, Some(Limits { per_minute_per_node: 0, per_day_per_node: 7 }));
    assert_eq!((proxy.max_request_bytes, proxy.observe), (8 << 20, true));
    assert_eq!(proxy.etag, "e1", "of what was read");
}

#[tokio::test]
async fn a_charge_of_a_meter_changes_and_the_rest_of_its_value_stays() {
    let location = Some(Location::BodyPath("usage.total".into()));
    let value = MeterValue { location, reserve: 500, on_missing: None, ..Default::default() };
    let there =
        mg::Meter { counts: Some(Counts::Value(value.clone())), etag: "e1".into(), ..Default::default() };
    let reply = mg::GetMeterResponse { meter: Some(there) };
    let answers = Answers::from([("MeterService.GetMeter", Ok(reply.encode_to_vec()))]);
    let line = "meter update m --on-missing 0";
    let (_, made) = asked::<mg::UpdateMeterRequest>(line, "MeterService.UpdateMeter", &answers).await;
    let meter = made.meter.expect("a meter");
    assert_eq!(meter.counts, Some(Counts::Value(MeterValue { on_missing: Some(0), ..value })));
    assert_eq!((paths(made.update_mask), meter.etag.as_str()), (vec!["value".to_owned()], "e1"));
}

#[tokio::test]
async fn rules_are_listed_as_they_are_reported_with_scope_and_names() {
    let rule = |id: &str, priority: u32, parent: Parent| mg::Rule {
        id: id.into(),
        name: format!("rule-{id}"),
        priority,
        parent: Some(parent),
        effect: Effect::Deny.into(),
        observe: priority == 900,
        ..Default::default()
    };
    let proxy = || Parent::Proxy("px_1".into());
    let rules = vec![
        rule("rl_b", 5, proxy()),
        rule("rl_a", 5, Parent::Credential("cr_1".into())),
        rule("rl_c", 900, proxy()),
    ];
    let rules = mg::ListRulesResponse { rules, ..Default::default() };
    let proxy = mg::Proxy { id: "px_1".into(), name: "echo".into(), ..Default::default() };
    let usage = Some(mg::credential::Usage::Upstream(mg::Upstream::default()));
    let credential = mg::Credential { id: "cr_1".into(), name: "key".into(), usage, ..Default::default() };
    let proxy = mg::GetProxyResponse { proxy: Some(proxy) };
    let credential = mg::GetCredentialResponse { credential: Some(credential) };
    let answers = Answers::from([
        ("RuleService.ListRules", Ok(rules.encode_to_vec())),
        ("ProxyService.GetProxy", Ok(proxy.encode_to_vec())),
        ("CredentialService.GetCredential", Ok(credential.encode_to_vec())),
    ]);
    let call = "RuleService.ListRules";
    let (table, _) = asked::<mg::ListRulesRequest>("rule list", call, &answers).await;
    let lines: Vec<Vec<&str>> = table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..6], ["rule-rl_c", "proxy/echo", "900", "deny", "observe", "every"], "{table}");
    assert_eq!(lines[1][..4], ["rule-rl_a", "credential/key", "5", "deny"], "{table}");
    assert_eq!(lines[2][..4], ["rule-rl_b", "proxy/echo", "5", "deny"], "{table}");
    let (wide, _) = asked::<mg::ListRulesRequest>("rule list --output wide", call, &answers).await;
    let scope = wide.lines().find(|line| line.contains("rule-rl_a")).expect("a row");
    assert!(scope.split_whitespace().any(|cell| cell == "upstream"), "{wide}");
    let (json, _) = asked::<mg::ListRulesRequest>("rule list --output json", call, &answers).await;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json[0]["id"], &json[0]["proxy"]), (&"rl_c".into(), &"px_1".into()), "ids for programs");
    let line = "rule list --order-by name";
    let (table, made) = asked::<mg::ListRulesRequest>(line, call, &answers).await;
    assert_eq!(made.order_by, "name");
    assert!(
        table.lines().nth(1).is_some_and(|line| line.trim_start().starts_with("rule-rl_b")),
        "as it came: {table}"
    );
}

#[tokio::test]
async fn an_operator_is_told_which_proxies_are_above_a_ceiling() {
    let reply = mg::UpdateOrgResponse {
        org: Some(mg::Org { name: "acme".into(), ..Default::default() }),
        proxies_over_ceiling: vec!["one".into(), "two".into()],
        proxies_over_ceiling_count: 5,
        ..Default::default()
    };
    let answers = Answers::from([("OrgService.UpdateOrg", Ok(reply.encode_to_vec()))]);
    let args = ["org", "update", "acme", "--ceiling-per-minute", "10"].map(str::to_owned);
    let (output, calls) = run(&args, answers).await;
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("one, two and 3 more"), "{told}");
    let made = calls.iter().find(|it| it.name == "OrgService.UpdateOrg").expect("a call");
    let made = mg::UpdateOrgRequest::decode(made.message()).expect("decodes");
    let ceilings = made.org.expect("an organization").limit_ceilings;
    assert_eq!(ceilings, Some(Limits { per_minute_per_node: 10, per_day_per_node: 0 }));
}

/// `--filter 'on = p1'` is no field, and `uses = p1` is no word that somebody thinks of.
#[tokio::test]
async fn what_belongs_to_a_parent_is_listed_by_the_flag_that_makes_it() {
    let proxy = mg::Proxy { id: "px_1".into(), name: "p1".into(), ..mg::Proxy::default() };
    let proxy = mg::GetProxyResponse { proxy: Some(proxy) }.encode_to_vec();
    let target = mg::Target { id: "tg_1".into(), name: "t1".into(), ..mg::Target::default() };
    let target = mg::GetTargetResponse { target: Some(target) }.encode_to_vec();
    for (line, filter) in [
        ("rule list", ""),
        ("rule list --on p1", "uses = px_1"),
        ("rule list --on target/t1", "uses = tg_1"),
        ("filter list --on proxy/p1", "uses = px_1"),
        ("rule list --on p1 --filter owner=git", "uses = px_1 AND owner=git"),
    ] {
        let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let answers = Answers::from([
            ("ProxyService.GetProxy", Ok(proxy.clone())),
            ("TargetService.GetTarget", Ok(target.clone())),
        ]);
        let (output, calls) = run(&args, answers).await;
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        let listed = calls.iter().find(|it| it.name.contains(".List")).expect("a list");
        let asked = if line.starts_with("rule") {
            mg::ListRulesRequest::decode(listed.message()).expect("decodes").filter
        } else {
            mg::ListFiltersRequest::decode(listed.message()).expect("decodes").filter
        };
        assert_eq!(asked, filter, "{line}");
    }
    // A name that nothing has is an error, and no empty list.
    let args = ["meter", "list", "--on", "nosuch"].map(str::to_owned);
    let gone = Answers::from([("ProxyService.GetProxy", Err((5, "there is no proxy nosuch")))]);
    let (output, calls) = run(&args, gone).await;
    assert!(String::from_utf8_lossy(&output.stderr).contains("no proxy nosuch"));
    assert!(!output.status.success() && !calls.iter().any(|it| it.name.contains(".List")), "{calls:?}");
}

#[tokio::test]
async fn a_flag_that_makes_no_sense_is_named() {
    for (line, code, part) in [
        ("rule create r --on proxy/p --deny --path a --flags x", 2, "--flags"),
        ("proxy update p --max-response-bytes lots", 2, "8MiB"),
        ("rule create r --on proxy/p --deny --method GET --flags i", 2, "--flags is given without"),
        ("rule create r --on proxy/p --deny", 2, "--every-request"),
        ("rule create r --on proxy/p --deny --flags i", 2, "--every-request"),
        ("meter create m --on p --requests --reserve 5", 2, "--reserve"),
        ("meter create m --on p --requests --only-when-flags i", 2, "--only-when-path"),
        ("meter create m --on p --requests --only-when-body =1", 2, "--only-when-body names"),
    ] {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (output, calls) = run(&args, Answers::new()).await;
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{line}: {told}");
        assert!(told.contains(part) && calls.is_empty(), "{line}: {told}");
    }
}
