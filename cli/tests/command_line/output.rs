//! Formats of the output: names in tables, ids in wide ones, whole messages as JSON.

use prost::Message as _;
use rr_contract::wire::{fleet, management as mg};

use super::recorder::{Answers, run};

/// What a list prints in a format.
async fn printed(args: &[&str], format: &str, answers: &Answers) -> String {
    let args: Vec<String> = args.iter().chain(&["--output", format]).map(|it| (*it).to_owned()).collect();
    let (output, _) = run(&args, answers.clone()).await;
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test]
async fn a_table_shows_names_and_a_wide_one_ids_too() {
    let target = mg::Target { id: "tg_1".into(), name: "echo".into(), ..mg::Target::default() };
    let targets = mg::ListTargetsResponse { targets: vec![target], ..Default::default() };
    let member =
        mg::Member { id: "me_1".into(), name: "ada".into(), user: "us_1".into(), ..Default::default() };
    let members = mg::ListMembersResponse { members: vec![member], ..Default::default() };
    let revision =
        mg::Revision { revision: 7, author: "tk_1".into(), actor: "ada".into(), ..Default::default() };
    let revisions = mg::ListRevisionsResponse { revisions: vec![revision], ..Default::default() };
    let actor =
        mg::Actor { token: "tk_1".into(), user: "us_1".into(), name: "ada".into(), ..Default::default() };
    let entry = mg::AuditEntry { revision: 7, actor: Some(actor), ..Default::default() };
    let entries = mg::ListAuditEntriesResponse { entries: vec![entry], ..Default::default() };
    let state = fleet::RegionState { region: "eu".into(), id: "rg_1".into(), ..Default::default() };
    let states = fleet::ListRegionStatesResponse { regions: vec![state] };
    let answers = Answers::from([
        ("TargetService.ListTargets", Ok(targets.encode_to_vec())),
        ("MemberService.ListMembers", Ok(members.encode_to_vec())),
        ("RevisionService.ListRevisions", Ok(revisions.encode_to_vec())),
        ("AuditService.ListAuditEntries", Ok(entries.encode_to_vec())),
        ("FleetService.ListRegionStates", Ok(states.encode_to_vec())),
    ]);
    for (args, name, ids, others) in [
        // A wide one also says how a target is spoken to, and what is done when it fails.
        (&["target", "list"] as &[&str], "echo", &["tg_1"] as &[&str], 13),
        (&["member", "list"], "ada", &["me_1", "us_1"], 0),
        // And whether it can be gone back to.
        (&["revision", "list"], "ada", &["tk_1"], 1),
        (&["audit", "list"], "ada", &["tk_1", "us_1"], 0),
        (&["fleet"], "eu", &["rg_1"], 0),
    ] {
        let table = printed(args, "table", &answers).await;
        let wide = printed(args, "wide", &answers).await;
        let json = printed(args, "json", &answers).await;
        assert!(table.contains(name) && wide.contains(name), "{table}{wide}");
        for id in ids {
            assert!(!table.contains(id) && wide.contains(id) && json.contains(id), "{table}{wide}{json}");
        }
        let columns = |text: &str| {
            text.lines().next().unwrap_or_default().split("  ").filter(|it| !it.is_empty()).count()
        };
        assert_eq!(columns(&wide), columns(&table) + ids.len() + others, "{table}{wide}");
    }
}

#[tokio::test]
async fn what_has_no_name_is_shown_by_its_id() {
    let node = fleet::Node { id: "nd_1".into(), ..fleet::Node::default() };
    let nodes = fleet::ListNodesResponse { nodes: vec![node], ..Default::default() };
    let answers = Answers::from([("FleetService.ListNodes", Ok(nodes.encode_to_vec()))]);
    assert!(printed(&["node", "list"], "table", &answers).await.contains("nd_1"));
}

#[tokio::test]
async fn one_resource_is_shown_with_its_id() {
    let target = mg::Target { id: "tg_1".into(), name: "echo".into(), ..mg::Target::default() };
    let reply = mg::GetTargetResponse { target: Some(target) };
    let answers = Answers::from([("TargetService.GetTarget", Ok(reply.encode_to_vec()))]);
    assert!(printed(&["target", "show", "echo"], "table", &answers).await.contains("tg_1"));
}

#[tokio::test]
async fn one_resource_has_a_line_for_each_value_and_all_lines_when_wide() {
    let target = mg::Target { id: "tg_1".into(), name: "echo".into(), ..mg::Target::default() };
    let reply = mg::GetTargetResponse { target: Some(target) };
    let answers = Answers::from([("TargetService.GetTarget", Ok(reply.encode_to_vec()))]);
    let has = |text: &str, field: &str| text.lines().any(|line| line.split("  ").next() == Some(field));
    let table = printed(&["target", "show", "echo"], "table", &answers).await;
    assert!(has(&table, "name") && !has(&table, "owner") && !has(&table, "test path"), "{table}");
    let wide = printed(&["target", "show", "echo"], "wide", &answers).await;
    assert!(has(&wide, "name") && has(&wide, "owner") && has(&wide, "test path"), "{wide}");
}

/// What a verb says on standard output and on standard error.
async fn said(args: &[&str], answers: &Answers) -> (String, String) {
    let args: Vec<String> = args.iter().map(|it| (*it).to_owned()).collect();
    let (output, _) = run(&args, answers.clone()).await;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{args:?}: {err}");
    (out, err)
}

#[tokio::test]
async fn a_write_says_in_one_way_what_was_written_and_as_which_revision() {
    let target = Some(mg::Target { id: "tg_1".into(), name: "echo".into(), ..mg::Target::default() });
    let created = mg::CreateTargetResponse { target: target.clone(), revision: 7 };
    let updated = mg::UpdateTargetResponse { target, revision: 8 };
    let deleted = mg::DeleteRuleResponse { revision: 9, ..Default::default() };
    let answers = Answers::from([
        ("TargetService.CreateTarget", Ok(created.encode_to_vec())),
        ("TargetService.UpdateTarget", Ok(updated.encode_to_vec())),
        ("RuleService.DeleteRule", Ok(deleted.encode_to_vec())),
    ]);
    let create = ["target", "create", "echo", "--base-url", "https://api.example"];
    let (out, err) = said(&create, &answers).await;
    assert!(out.contains("tg_1") && err == "created target echo at revision 7\n", "{out}{err}");
    let (_, err) = said(&["target", "update", "echo", "--owner", "ci"], &answers).await;
    assert_eq!(err, "updated target echo at revision 8\n");
    let (out, _) = said(&["rule", "delete", "no-delete"], &answers).await;
    assert_eq!(out, "deleted rule no-delete at revision 9\n");
    // A program reads the revision in the answer.
    let (_, err) = said(&[&create[..], &["-o", "json"]].concat(), &answers).await;
    assert_eq!(err, "");
}

#[tokio::test]
async fn tables_have_names_where_the_api_has_ids_and_words_where_it_has_constants() {
    use mg::credential::Usage;

    let region = mg::Region { id: "rg_1".into(), name: "eu".into(), ..mg::Region::default() };
    let regions = mg::ListRegionsResponse { regions: vec![region], ..Default::default() };
    let upstream = mg::Upstream { sealed_regions: vec!["rg_1".into()], ..mg::Upstream::default() };
    let credential = mg::Credential {
        id: "cr_1".into(),
        name: "key".into(),
        usage: Some(Usage::Upstream(upstream)),
        ..mg::Credential::default()
    };
    let credentials = mg::ListCredentialsResponse { credentials: vec![credential], ..Default::default() };
    let token = mg::Token { id: "tk_1".into(), name: "ci".into(), ..mg::Token::default() };
    let token = mg::GetTokenResponse { token: Some(token) };
    let joining = mg::NodeToken {
        id: "nt_1".into(),
        region: "rg_1".into(),
        created_by: "tk_1".into(),
        ..mg::NodeToken::default()
    };
    let joining = mg::ListNodeTokensResponse { node_tokens: vec![joining], ..Default::default() };
    let change =
        mg::Change { kind: "token".into(), id: "tk_1".into(), created: true, ..mg::Change::default() };
    let revision = mg::Revision { revision: 7, changes: vec![change], ..mg::Revision::default() };
    let revisions = mg::ListRevisionsResponse { revisions: vec![revision], ..Default::default() };
    let refused = mg::RefusedAttempt {
        token: "tk_1".into(),
        reason: "ROLE_MISSING".into(),
        ..mg::RefusedAttempt::default()
    };
    let refused = mg::ListRefusedAttemptsResponse { attempts: vec![refused], ..Default::default() };
    let answers = Answers::from([
        ("RegionService.ListRegions", Ok(regions.encode_to_vec())),
        ("CredentialService.ListCredentials", Ok(credentials.encode_to_vec())),
        ("TokenService.GetToken", Ok(token.encode_to_vec())),
        ("NodeTokenService.ListNodeTokens", Ok(joining.encode_to_vec())),
        ("RevisionService.ListRevisions", Ok(revisions.encode_to_vec())),
        ("AuditService.ListRefusedAttempts", Ok(refused.encode_to_vec())),
    ]);
    for (args, shown, raw) in [
        (&["credential", "list"] as &[&str], &["eu"] as &[&str], &["rg_1"] as &[&str]),
        (&["node", "token", "list", "eu"], &["eu", "ci"], &["rg_1", "tk_1"]),
        (&["revision", "list"], &["+token ci"], &["tk_1"]),
        (&["audit", "refused"], &["ci", "role-missing"], &["tk_1", "ROLE_MISSING"]),
    ] {
        let table = printed(args, "table", &answers).await;
        let json = printed(args, "json", &answers).await;
        assert!(shown.iter().all(|it| table.contains(it)), "{args:?}: {table}");
        assert!(!raw.iter().any(|it| table.contains(it)), "{args:?}: {table}");
        // Programs read what the API says.
        assert!(raw.iter().all(|it| json.contains(it)), "{args:?}: {json}");
    }
}
