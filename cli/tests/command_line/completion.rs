//! What a press of the tab key offers: the values of the argument, each of its own kind, and options after a `-` alone.

use prost::Message as _;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential::Usage;

use super::recorder::{Answers, run_with};

fn named(name: &str, usage: Usage) -> mg::Credential {
    mg::Credential { name: name.into(), usage: Some(usage), ..mg::Credential::default() }
}

fn answers() -> Answers {
    let proxies = ["pay", "partner"].map(|name| mg::Proxy { name: name.into(), ..mg::Proxy::default() });
    let credentials = vec![
        named("app", Usage::Caller(mg::Caller::default())),
        named("pay-token", Usage::Upstream(mg::Upstream::default())),
    ];
    let targets = vec![mg::Target { name: "github".into(), ..mg::Target::default() }];
    let tokens = ["ci", "old"].map(|name| mg::Token {
        name: name.into(),
        revoked_at: (name == "old").then(Default::default),
        ..mg::Token::default()
    });
    let members = vec![mg::Member { name: "ann".into(), ..mg::Member::default() }];
    let notifications = vec![mg::Notification { id: "no_1".into(), ..mg::Notification::default() }];
    let revisions = [8, 7].map(|revision| mg::Revision { revision, ..mg::Revision::default() });
    macro_rules! reply {
        ($response:ident { $field:ident }) => {
            Ok(mg::$response { $field: $field.into(), ..Default::default() }.encode_to_vec())
        };
    }
    Answers::from([
        ("ProxyService.ListProxies", reply!(ListProxiesResponse { proxies })),
        ("CredentialService.ListCredentials", reply!(ListCredentialsResponse { credentials })),
        ("TargetService.ListTargets", reply!(ListTargetsResponse { targets })),
        ("TokenService.ListTokens", reply!(ListTokensResponse { tokens })),
        ("MemberService.ListMembers", reply!(ListMembersResponse { members })),
        ("NotificationService.ListNotifications", reply!(ListNotificationsResponse { notifications })),
        ("RevisionService.ListRevisions", reply!(ListRevisionsResponse { revisions })),
    ])
}

/// What is offered for the last word of a line.
async fn offered(line: &str, shell: &str) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let contexts = "[contexts.prod]\nendpoint = 'http://127.0.0.1:1'\n";
    std::fs::write(folder.path().join("contexts.toml"), contexts).expect("a file");
    let args: Vec<String> = ["--"].into_iter().chain(line.split(' ')).map(str::to_owned).collect();
    let last = args.len() - 2;
    let (output, _) = run_with(&args, answers(), |command| {
        command.env("COMPLETE", shell).env("_CLAP_COMPLETE_INDEX", last.to_string()).env("_CLAP_IFS", "\n");
        command.env("RRCTL_CONFIG_DIR", folder.path());
    })
    .await;
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").lines().map(|it| it.trim().to_owned()).collect()
}

#[tokio::test]
async fn the_tab_key_offers_what_an_argument_takes() {
    for (line, all) in [
        ("rrctl proxy list -o ", &["table", "wide", "json", "yaml", "name", "jsonpath="][..]),
        ("rrctl --context ", &["prod"]),
        ("rrctl context use ", &["prod"]),
        ("rrctl rule create x --on p", &["proxy/pay", "proxy/partner"]),
        ("rrctl rule create x --on target/", &["target/github"]),
        ("rrctl meter create x --on ", &["proxy/pay", "proxy/partner"]),
        ("rrctl proxy list --sort up", &["updated_at"]),
        ("rrctl token revoke ", &["ci"]),
        ("rrctl explain pro", &["proxy"]),
        ("rrctl explain proxy ", &["pay", "partner"]),
        ("rrctl explain credentials ", &["app", "pay-token"]),
        ("rrctl explain target/", &["target/github"]),
        ("rrctl notification show ", &["no_1"]),
        ("rrctl member update ", &["ann"]),
        ("rrctl revision show ", &["8", "7"]),
        ("rrctl proxy show ", &["pay", "partner"]),
        ("rrctl proxy show pa", &["pay", "partner"]),
        ("rrctl proxy create x --caller ", &["app"]),
        ("rrctl proxy create x --upstream ", &["pay-token"]),
        ("rrctl credential roll ", &["app"]),
        ("rrctl credential show ", &["app", "pay-token"]),
        // A name of another kind is none.
        ("rrctl proxy show app", &[]),
    ] {
        assert_eq!(offered(line, "bash").await, all, "{line}");
    }
}

#[tokio::test]
async fn options_are_offered_after_a_dash_and_where_nothing_else_can_be_typed() {
    for shell in ["bash", "fish"] {
        let dashed = offered("rrctl proxy show -", shell).await;
        assert!(dashed.iter().any(|it| it.starts_with("--at")), "{shell}: {dashed:?}");
        let bare = offered("rrctl proxy show ", shell).await;
        assert!(bare.iter().all(|it| !it.starts_with('-')) && bare.len() == 2, "{shell}: {bare:?}");
    }
    let rest = offered("rrctl rule create x ", "bash").await;
    assert!(rest.iter().any(|it| it == "--on"), "{rest:?}");
}
