//! The management API over gRPC, on a real port.

use rr_contract::wire::FieldMask;
use rr_contract::wire::management as wire;
use rr_contract::wire::management::credential_service_client::CredentialServiceClient;
use rr_contract::wire::management::org_service_client::OrgServiceClient;
use rr_contract::wire::management::proxy_service_client::ProxyServiceClient;
use rr_contract::wire::management::revision_service_client::RevisionServiceClient;
use rr_contract::wire::management::target_service_client::TargetServiceClient;
use rr_contract::wire::management::token_service_client::TokenServiceClient;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::world::{World, by, credential_id, proxy, target};

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

fn fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    details
        .bad_request()
        .into_iter()
        .flat_map(|bad| &bad.field_violations)
        .map(|it| it.field.clone())
        .collect()
}

#[tokio::test]
async fn a_proxy_binds_what_is_there_of_the_right_use_and_sealed_to_its_regions() {
    let world = World::start().await;
    let (eu, us) = (world.region("eu").await, world.region("us").await);
    let org = world.furnish(&eu).await;

    let wrong = wire::Proxy {
        caller_credentials: vec!["openai".into(), "nobody".into()],
        target: "nothing".into(),
        upstream_credential: "app".into(),
        ..proxy("second", &["mars"])
    };
    let refused = world.proxy("acme", wrong).await.expect_err("refused");
    assert_eq!(refused.code(), Code::InvalidArgument);
    let mut named = fields(&refused);
    named.sort();
    assert_eq!(
        named,
        [
            "proxy.caller_credentials[0]",
            "proxy.caller_credentials[1]",
            "proxy.regions[0]",
            "proxy.target",
            "proxy.upstream_credential"
        ]
    );

    let refused = world.proxy("acme", proxy("second", &["eu", "us"])).await.expect_err("refused");
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "NOT_SEALED_TO_REGION")
    );
    let remedy = "`rrctl --org acme credential replace-secret openai --target echo`, for region us too";
    assert!(refused.message().contains(remedy), "{}", refused.message());
    let broken = refused.get_error_details().precondition_failure().expect("is there").violations.clone();
    // What the message says, so that a client which shows both does not say it twice.
    assert_eq!((broken.len(), broken[0].description.as_str()), (1, refused.message()));

    let made = world.proxy("acme", proxy("second", &["eu"])).await.expect("is made");
    let made = made.proxy.expect("is there");
    assert_eq!(made.org, org.id);
    assert_eq!(made.urls, ["https://edge.example.com/api/acme.second"]);
    assert_eq!(made.active, Some(true));
    assert_eq!(made.regions, [eu.id.to_string()]);

    // A new secret that forgets a region would break what runs there; one for more regions does not.
    let id = made.upstream_credential.parse().expect("an id");
    let replace = async |version, regions: &[&super::world::Region]| {
        let request = wire::ReplaceSecretRequest {
            org: "acme".into(),
            credential: "openai".into(),
            version,
            sealed: Some(world.seal(&org, id, version, regions).await),
            ..Default::default()
        };
        CredentialServiceClient::new(world.channel.clone()).replace_secret(by(&world.operator, request)).await
    };
    let refused = replace(2, &[&us]).await.expect_err("refused");
    assert_eq!(reason(&refused), "NOT_SEALED_TO_REGION");
    let refused = replace(3, &[&eu]).await.expect_err("refused");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Aborted, "VERSION_CONFLICT"));
    replace(2, &[&eu, &us]).await.expect("is replaced");
    let update = by(
        &world.operator,
        wire::UpdateProxyRequest {
            org: "acme".into(),
            name: "second".into(),
            proxy: Some(wire::Proxy { regions: vec!["us".into()], ..Default::default() }),
            update_mask: None,
            ..Default::default()
        },
    );
    let moved = ProxyServiceClient::new(world.channel.clone()).update_proxy(update).await.expect("is moved");
    assert_eq!(moved.into_inner().proxy.expect("is there").regions, [us.id.to_string()]);
    // Switched off and on by what is said, and never by what is not.
    let switch = async |active| {
        let request = wire::UpdateProxyRequest {
            org: "acme".into(),
            name: "second".into(),
            proxy: Some(wire::Proxy { active, ..Default::default() }),
            update_mask: Some(FieldMask { paths: vec!["active".into()] }),
            ..Default::default()
        };
        let mut client = ProxyServiceClient::new(world.channel.clone());
        client
            .update_proxy(by(&world.operator, request))
            .await
            .map(|it| it.into_inner().proxy.expect("is there"))
    };
    assert_eq!(switch(Some(false)).await.expect("is off").active, Some(false));
    assert_eq!(fields(&switch(None).await.expect_err("refused")), ["proxy.active"]);
    assert_eq!(switch(Some(true)).await.expect("is on").active, Some(true));
    world.running.stop().await;
}

#[tokio::test]
async fn what_a_proxy_uses_cannot_be_deleted_and_the_refusal_names_the_proxy() {
    let world = World::start().await;
    let region = world.region("eu").await;
    world.furnish(&region).await;
    let mut targets = TargetServiceClient::new(world.channel.clone());
    let mut credentials = CredentialServiceClient::new(world.channel.clone());
    let mut proxies = ProxyServiceClient::new(world.channel.clone());
    let delete = |name: &str| {
        let request = wire::DeleteCredentialRequest {
            org: "acme".into(),
            credential: name.into(),
            ..Default::default()
        };
        by(&world.operator, request)
    };
    let target = || {
        by(
            &world.operator,
            wire::DeleteTargetRequest { org: "acme".into(), target: "echo".into(), ..Default::default() },
        )
    };
    let refusals = [
        targets.delete_target(target()).await.expect_err("refused"),
        credentials.delete_credential(delete("app")).await.expect_err("refused"),
        credentials.delete_credential(delete("openai")).await.expect_err("refused"),
    ];
    for refused in refusals {
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "IN_USE"));
        assert!(refused.message().contains("echo"), "{}", refused.message());
    }
    let request = wire::DeleteProxyRequest { org: "acme".into(), proxy: "echo".into(), ..Default::default() };
    proxies.delete_proxy(by(&world.operator, request)).await.expect("is deleted");
    targets.delete_target(target()).await.expect("is deleted");
    credentials.delete_credential(delete("app")).await.expect("is deleted");

    let request = wire::ListRevisionsRequest::default();
    let mut revisions = RevisionServiceClient::new(world.channel.clone());
    let listed = revisions.list_revisions(by(&world.operator, request)).await.expect("lists").into_inner();
    let newest = &listed.revisions[0];
    assert_eq!(newest.call, "CredentialService.DeleteCredential");
    assert!(newest.changes[0].removed && newest.changes[0].kind == "credential");
    let numbers: Vec<u64> = listed.revisions.iter().map(|it| it.revision).collect();
    assert_eq!(numbers, (1..=10).rev().collect::<Vec<_>>());
    world.running.stop().await;
}

#[tokio::test]
async fn the_id_of_an_upstream_credential_is_never_used_again() {
    let world = World::start().await;
    let region = world.region("eu").await;
    let (acme, other) = (world.org("acme").await, world.org("other").await);
    let id = credential_id();
    world.upstream(&acme, "first", id, &[&region]).await.expect("is made");
    for org in [&acme, &other] {
        let refused = world.upstream(org, "second", id, &[&region]).await.expect_err("refused");
        assert_eq!(refused.code(), Code::AlreadyExists);
    }
    let request = wire::DeleteCredentialRequest {
        org: "acme".into(),
        credential: "first".into(),
        ..Default::default()
    };
    let mut client = CredentialServiceClient::new(world.channel.clone());
    client.delete_credential(by(&world.operator, request)).await.expect("is deleted");
    let refused = world.upstream(&acme, "first", id, &[&region]).await.expect_err("refused");
    assert_eq!(refused.code(), Code::AlreadyExists);
    world.running.stop().await;
}

#[tokio::test]
async fn an_organization_that_is_not_there_and_one_of_others_answer_alike() {
    let world = World::start().await;
    world.org("acme").await;
    world.org("theirs").await;
    let grants =
        vec![wire::Grant { role: wire::Role::Viewer.into(), org: "acme".into(), ..Default::default() }];
    let viewer = world.token(&world.operator, "viewer", grants).await.expect("is made");
    let mut client = TargetServiceClient::new(world.channel.clone());
    let mut texts = Vec::new();
    for org in ["theirs", "nowhere"] {
        let request = wire::ListTargetsRequest { org: org.into(), ..Default::default() };
        let refused = client.list_targets(by(&viewer, request)).await.expect_err("refused");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "NOT_FOUND"));
        texts.push(refused.message().replace(org, "it"));
    }
    assert_eq!(texts[0], texts[1]);
    let request = wire::CreateTargetRequest {
        org: "acme".into(),
        target: Some(target("a", "https://a.example")),
        ..Default::default()
    };
    let refused = client.create_target(by(&viewer, request)).await.expect_err("refused");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "ROLE_MISSING"));
    let mut orgs = OrgServiceClient::new(world.channel.clone());
    let listed =
        orgs.list_orgs(by(&viewer, wire::ListOrgsRequest::default())).await.expect("lists").into_inner();
    assert_eq!(listed.orgs.iter().map(|org| org.name.as_str()).collect::<Vec<_>>(), ["acme"]);
    world.running.stop().await;
}

#[tokio::test]
async fn a_token_can_do_no_more_than_its_maker() {
    let world = World::start().await;
    world.org("acme").await;
    world.org("theirs").await;
    let grant = |role: wire::Role, org: &str| {
        vec![wire::Grant { role: role.into(), org: org.into(), ..Default::default() }]
    };
    let admin =
        world.token(&world.operator, "admin", grant(wire::Role::Admin, "acme")).await.expect("is made");
    for (role, org, code) in [
        (wire::Role::Owner, "acme", Code::PermissionDenied),
        (wire::Role::Operator, "", Code::PermissionDenied),
        (wire::Role::Viewer, "theirs", Code::InvalidArgument),
        (wire::Role::Viewer, "nowhere", Code::InvalidArgument),
    ] {
        let refused = world.token(&admin, "more", grant(role, org)).await.expect_err("refused");
        assert_eq!(refused.code(), code, "{role:?} {org}");
    }
    let editor = world.token(&admin, "editor", grant(wire::Role::Editor, "acme")).await.expect("is made");
    let mut client = TokenServiceClient::new(world.channel.clone());
    let me = client.get_self(by(&editor, wire::GetSelfRequest {})).await.expect("is shown").into_inner();
    assert_eq!(me.token.expect("is there").name, "editor");
    // An admin renames its organization, and does not lift its suspension.
    world.suspend("acme", true).await;
    let mut orgs = OrgServiceClient::new(world.channel.clone());
    let update = |paths: &[&str]| wire::UpdateOrgRequest {
        name: "acme".into(),
        org: Some(wire::Org { display_name: "Acme".into(), ..Default::default() }),
        update_mask: Some(FieldMask { paths: paths.iter().map(|it| (*it).to_owned()).collect() }),
        ..Default::default()
    };
    let refused = orgs.update_org(by(&admin, update(&["suspended"]))).await.expect_err("refused");
    assert_eq!(refused.code(), Code::PermissionDenied);
    let renamed =
        orgs.update_org(by(&admin, update(&["display_name"]))).await.expect("is changed").into_inner();
    let org = renamed.org.expect("is there");
    assert!(org.suspended && org.display_name == "Acme");
    world.running.stop().await;
}

#[tokio::test]
async fn a_target_in_the_clear_says_so_and_masks_name_what_they_change() {
    let world = World::start().await;
    world.org("acme").await;
    let refused = world.target("acme", target("echo", "http://api.example.com")).await.expect_err("refused");
    assert_eq!(fields(&refused), ["target.base_url"]);
    let plain = wire::Target { danger_plaintext: true, ..target("echo", "http://api.example.com") };
    world.target("acme", plain).await.expect("is made");
    let mut client = TargetServiceClient::new(world.channel.clone());
    let mut update = async |change: wire::Target, paths: &[&str]| {
        let update_mask = (!paths.is_empty())
            .then(|| FieldMask { paths: paths.iter().map(|it| (*it).to_owned()).collect() });
        let request = wire::UpdateTargetRequest {
            org: "acme".into(),
            name: "echo".into(),
            target: Some(change),
            update_mask,
            ..Default::default()
        };
        client
            .update_target(by(&world.operator, request))
            .await
            .map(|it| it.into_inner().target.expect("is there"))
    };
    let refused = update(wire::Target::default(), &["danger_plaintext"]).await.expect_err("refused");
    assert_eq!(fields(&refused), ["target.base_url"], "it would leave http without the word");
    let refused = update(wire::Target::default(), &["colour"]).await.expect_err("refused");
    assert!(refused.message().contains("colour"));
    let refused = update(wire::Target::default(), &[]).await.expect_err("refused");
    assert_eq!(fields(&refused), ["update_mask"]);
    let changed = update(target("ignored", "https://b.example.com"), &[]).await.expect("is changed");
    assert_eq!((changed.base_url.as_str(), changed.name.as_str()), ("https://b.example.com", "echo"));
    world.running.stop().await;
}

#[tokio::test]
async fn no_answer_holds_a_seal_or_a_hash_and_a_key_is_shown_once() {
    let world = World::start().await;
    let region = world.region("eu").await;
    let org = world.org("acme").await;
    let (caller, key) = world.caller("acme", "app").await;
    assert!(key.starts_with("rr_key_"));
    let made = world.upstream(&org, "openai", credential_id(), &[&region]).await.expect("is made");
    let Some(wire::credential::Usage::Upstream(upstream)) = made.usage else { panic!("another use") };
    assert_eq!((upstream.sealed, upstream.sealed_regions), (None, vec![region.id.to_string()]));
    let request =
        wire::GetCredentialRequest { org: "acme".into(), credential: caller.id, ..Default::default() };
    let mut client = CredentialServiceClient::new(world.channel.clone());
    let shown = client.get_credential(by(&world.operator, request)).await.expect("is shown").into_inner();
    assert!(!format!("{shown:?}").contains(&key));
    world.running.stop().await;
}

#[tokio::test]
async fn a_text_with_a_nul_names_nothing_and_disturbs_nobody() {
    let world = World::start().await;
    let eu = world.region("eu").await;
    world.furnish(&eu).await;
    let odd = wire::Proxy { target: "ec\0ho".into(), ..proxy("second", &["eu"]) };
    let good = world.proxy("acme", proxy("third", &["eu"]));
    let (refused, made) = tokio::join!(world.proxy("acme", odd), good);
    assert_eq!(refused.expect_err("refused").code(), Code::InvalidArgument);
    made.expect("its neighbour is not concerned");
    let mut proxies = ProxyServiceClient::new(world.channel.clone());
    let request = wire::GetProxyRequest { org: "acme".into(), proxy: "a\0".into(), revision: 0 };
    let missing = proxies.get_proxy(by(&world.operator, request)).await.expect_err("is not there");
    assert_eq!(missing.code(), Code::NotFound);
    world.running.stop().await;
}
