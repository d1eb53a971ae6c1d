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
        (&["target", "list"] as &[&str], "echo", &["tg_1"] as &[&str], 12),
        (&["member", "list"], "ada", &["me_1", "us_1"], 0),
        (&["revision", "list"], "ada", &["tk_1"], 0),
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
