//! What the label of a seal keeps from being written, and what it does not.

use rr_contract::model::id::CredentialId;
use rr_contract::wire::fleet::{Rewrite, SealLabel};
use rr_contract::wire::management as wire;
use rr_contract::wire::management::credential_service_client::CredentialServiceClient;
use rr_contract::wire::management::proxy_service_client::ProxyServiceClient;
use rr_contract::wire::management::target_service_client::TargetServiceClient;
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::world::{Region, World, by, credential_id, proxy, target};

fn label(origins: &[&str]) -> SealLabel {
    SealLabel { origins: origins.iter().map(|it| (*it).to_owned()).collect(), ..SealLabel::default() }
}

/// An upstream credential `labelled` whose seal says this.
async fn labelled(
    world: &World,
    org: &wire::Org,
    region: &Region,
    label: SealLabel,
) -> Result<(CredentialId, wire::Credential), Status> {
    let id = credential_id();
    let sealed = Some(world.seal(org, id, 1, &[region]).await);
    let kind = wire::UpstreamKind::Bearer.into();
    let upstream = wire::Upstream { kind, sealed, label: Some(label), ..Default::default() };
    Ok((id, world.upstream_of(org, "labelled", id, upstream).await?))
}

fn of(name: &str, target: &str) -> wire::Proxy {
    wire::Proxy {
        target: target.to_owned(),
        upstream_credential: "labelled".to_owned(),
        ..proxy(name, &["eu"])
    }
}

/// The refusal names the place and the remedy.
fn refused<T: std::fmt::Debug>(written: Result<T, Status>, says: &str, remedy: &str) {
    let status = written.expect_err("it is refused");
    let reason = status.get_error_details().error_info().map(|info| info.reason.clone());
    assert_eq!((status.code(), reason.as_deref()), (Code::FailedPrecondition, Some("NOT_SEALED_FOR_TARGET")));
    assert!(status.message().contains(says), "{}", status.message());
    assert!(status.message().contains(remedy), "{}", status.message());
    let details = status.get_error_details();
    let violations = details.precondition_failure().expect("is there").violations.clone();
    // The message is the first of them, by the name of the proxy: one that is refused is not made, and has no id.
    let first = violations.first().expect("is there");
    assert!(status.message().starts_with(&first.description), "{} {first:?}", status.message());
    assert!(first.subject.starts_with("proxies/") && !first.subject.contains("px_"), "{first:?}");
}

#[tokio::test]
async fn a_proxy_whose_target_the_secret_could_not_go_to_is_refused_with_the_remedy() {
    let world = World::start().await;
    let eu = world.region("eu").await;
    let org = world.furnish(&eu).await;
    labelled(&world, &org, &eu, label(&["https://*.example.com"])).await.expect("is made");
    for (name, url) in [("covered", "https://api.example.com/v1"), ("other", "https://api.example.org")] {
        world.target("acme", target(name, url)).await.expect("is made");
    }
    world.proxy("acme", of("good", "covered")).await.expect("is made");
    let remedy = "`rrctl --org acme credential replace-secret labelled --origin https://api.example.org`";
    refused(
        world.proxy("acme", of("bad", "other")).await,
        "is not sealed for https://api.example.org",
        remedy,
    );
    let rewrite = Rewrite { host: "else.example.org".to_owned(), ..Rewrite::default() };
    let elsewhere = wire::Proxy { rewrite: Some(rewrite), ..of("bad", "covered") };
    refused(world.proxy("acme", elsewhere).await, "which the proxy names in `rewrite.host`", "--origin");
    let more_base_urls = vec!["https://second.example.org".to_owned()];
    let second = wire::Target { more_base_urls, ..target("second", "https://api.example.com") };
    world.target("acme", second).await.expect("is made");
    refused(world.proxy("acme", of("bad", "second")).await, "https://second.example.org", "--origin");
    // A proxy that is moved to it.
    let update = wire::UpdateProxyRequest {
        org: "acme".into(),
        name: "good".into(),
        proxy: Some(wire::Proxy { target: "other".into(), ..Default::default() }),
        ..Default::default()
    };
    let mut proxies = ProxyServiceClient::new(world.channel.clone());
    refused(proxies.update_proxy(by(&world.operator, update)).await, "api.example.org", remedy);
}

#[tokio::test]
async fn a_target_and_a_secret_do_not_leave_their_proxies_without_each_other() {
    let world = World::start().await;
    let eu = world.region("eu").await;
    let org = world.furnish(&eu).await;
    let (id, _) = labelled(&world, &org, &eu, label(&["https://api.example.com"])).await.expect("is made");
    world.target("acme", target("covered", "https://api.example.com/v1")).await.expect("is made");
    world.proxy("acme", of("good", "covered")).await.expect("is made");
    let mut targets = TargetServiceClient::new(world.channel.clone());
    let mut moves = async |base_url: &str| {
        let update = wire::UpdateTargetRequest {
            org: "acme".into(),
            name: "covered".into(),
            target: Some(target("covered", base_url)),
            ..Default::default()
        };
        targets.update_target(by(&world.operator, update)).await
    };
    refused(moves("https://api.example.net").await, "proxy \"good\"", "--origin https://api.example.net`");
    moves("https://api.example.com/v2").await.expect("it is the same origin");
    let mut credentials = CredentialServiceClient::new(world.channel.clone());
    let sealed = world.seal(&org, id, 2, &[&eu]).await;
    let mut replace = async |label| {
        let sealed = Some(sealed.clone());
        let request = wire::ReplaceSecretRequest {
            org: "acme".into(),
            credential: "labelled".into(),
            version: 2,
            sealed,
            label,
            ..Default::default()
        };
        credentials.replace_secret(by(&world.operator, request)).await
    };
    let elsewhere = replace(Some(label(&["https://api.example.net"]))).await;
    refused(elsewhere, "is not sealed for https://api.example.com", "--origin https://api.example.com`");
    let private = SealLabel { ca_hash: vec![7; 32], ..label(&["https://api.example.com"]) };
    refused(replace(Some(private)).await, "is sealed for certificates (`ca`)", "without `--ca`");
    let both = label(&["https://api.example.com", "https://api.example.net"]);
    replace(Some(both)).await.expect("it covers both");
    moves("https://api.example.net").await.expect("it is covered now");
}

/// A world with a proxy `good` whose target `covered` its secret goes to, and whoever runs it.
async fn with_a_good_proxy() -> (World, wire::Org, Region, CredentialId) {
    let world = World::start().await;
    let eu = world.region("eu").await;
    let org = world.furnish(&eu).await;
    let (id, _) = labelled(&world, &org, &eu, label(&["https://api.example.com"])).await.expect("is made");
    world.target("acme", target("covered", "https://api.example.com/v1")).await.expect("is made");
    world.proxy("acme", of("good", "covered")).await.expect("is made");
    (world, org, eu, id)
}

#[tokio::test]
async fn a_set_that_moves_a_target_moves_its_proxies_along_or_is_refused() {
    let (world, ..) = with_a_good_proxy().await;
    let operator = world.operator();
    let moved = json!({"target": {"name": "covered", "baseUrl": "https://api.example.net"}});
    let apply = async |documents| operator.post("/v1/orgs/acme:apply", json!({"documents": documents})).await;
    let said = apply(json!([moved])).await.refused(400, "not-sealed-for-target").to_string();
    assert!(said.contains("replace-secret labelled --origin https://api.example.net"), "{said}");
    let elsewhere = json!({"target": {"name": "still", "baseUrl": "https://api.example.com"}});
    let proxy = json!({"proxy": {"name": "good", "callerCredentials": ["app"], "target": "still",
        "upstreamCredential": "labelled", "regions": ["eu"]}});
    apply(json!([moved, elsewhere, proxy])).await.good();
    let back = json!({"proxy": {"name": "good", "callerCredentials": ["app"], "target": "covered",
        "upstreamCredential": "labelled", "regions": ["eu"]}});
    apply(json!([back])).await.refused(400, "not-sealed-for-target");
}

#[tokio::test]
async fn a_set_replaces_a_label_with_its_secret_and_not_without() {
    let (world, org, eu, id) = with_a_good_proxy().await;
    let operator = world.operator();
    let mut targets = TargetServiceClient::new(world.channel.clone());
    let mut moves = async |base_url: &str| {
        let target = Some(target("covered", base_url));
        let update = wire::UpdateTargetRequest {
            org: "acme".into(),
            name: "covered".into(),
            target,
            ..Default::default()
        };
        targets.update_target(by(&world.operator, update)).await
    };
    let document = |version: u64, origin: &str, sealed: Option<serde_json::Value>| {
        let mut upstream = json!({"kind": "UPSTREAM_KIND_BEARER",
            "label": {"origins": [origin, "https://api.example.com"]}});
        if let Some(sealed) = sealed {
            upstream["sealed"] = sealed;
        }
        json!({"credential": {"name": "labelled", "version": version.to_string(), "upstream": upstream}})
    };
    let apply = async |document| operator.post("/v1/orgs/acme:apply", json!({"documents": [document]})).await;
    // What it says without a secret changes nothing: the seal is the one before.
    apply(document(1, "https://api.example.net", None)).await.good();
    refused(moves("https://api.example.net").await, "is not sealed for https://api.example.net", "--origin");
    let sealed = serde_json::to_value(world.seal(&org, id, 2, &[&eu]).await).expect("JSON");
    let wrong = apply(document(2, "api.example.net", Some(sealed.clone()))).await.faults();
    assert_eq!(wrong, ["documents[0].credential.upstream.label.origins[0]"]);
    apply(document(2, "https://api.example.net", Some(sealed))).await.good();
    moves("https://api.example.net").await.expect("it is covered now");
}

#[tokio::test]
async fn a_rollback_to_a_target_that_the_newest_secret_does_not_go_to_is_refused() {
    let (world, org, eu, id) = with_a_good_proxy().await;
    let operator = world.operator();
    let before = operator.head().await;
    let mut credentials = CredentialServiceClient::new(world.channel.clone());
    let mut replace = async |version, label| {
        let sealed = Some(world.seal(&org, id, version, &[&eu]).await);
        let request = wire::ReplaceSecretRequest {
            org: "acme".into(),
            credential: "labelled".into(),
            version,
            sealed,
            label: Some(label),
            ..Default::default()
        };
        credentials.replace_secret(by(&world.operator, request)).await
    };
    replace(2, label(&["https://api.example.com", "https://api.example.net"])).await.expect("is replaced");
    let moved = json!({"baseUrl": "https://api.example.net"});
    operator.patch("/v1/orgs/acme/targets/covered", moved).await.good();
    replace(3, label(&["https://api.example.net"])).await.expect("is replaced");
    let back = json!({"revision": before.to_string()});
    operator.post("/v1/orgs/acme:rollback", back).await.refused(400, "not-sealed-for-target");
}

#[tokio::test]
async fn a_label_without_a_secret_is_nobodys_and_one_of_a_new_secret_is_read_like_the_first() {
    let (world, org, eu, id) = with_a_good_proxy().await;
    let kind = wire::UpstreamKind::None.into();
    let upstream = wire::Upstream { kind, label: Some(label(&["https://a.example"])), ..Default::default() };
    let open = world.upstream_of(&org, "open", credential_id(), upstream).await.expect("is made");
    let Some(wire::credential::Usage::Upstream(open)) = open.usage else { panic!("another use") };
    assert_eq!(open.label, None);
    let request = wire::ReplaceSecretRequest {
        org: "acme".into(),
        credential: "labelled".into(),
        version: 2,
        sealed: Some(world.seal(&org, id, 2, &[&eu]).await),
        label: Some(label(&["nowhere"])),
        ..Default::default()
    };
    let mut credentials = CredentialServiceClient::new(world.channel.clone());
    let status = credentials.replace_secret(by(&world.operator, request)).await.expect_err("it is refused");
    let details = status.get_error_details();
    assert_eq!(details.bad_request().expect("it names fields").field_violations[0].field, "label.origins[0]");
}

#[tokio::test]
async fn a_seal_of_which_nothing_is_said_keeps_nothing_from_being_written() {
    let world = World::start().await;
    let eu = world.region("eu").await;
    let org = world.furnish(&eu).await;
    let (_, made) = labelled(&world, &org, &eu, SealLabel::default()).await.expect("is made");
    assert_eq!(made.version, 1);
    world.target("acme", target("other", "https://api.example.org")).await.expect("is made");
    world.proxy("acme", of("any", "other")).await.expect("is made");
}

#[tokio::test]
async fn a_label_that_cannot_be_read_is_refused_with_its_field() {
    let world = World::start().await;
    let eu = world.region("eu").await;
    let org = world.furnish(&eu).await;
    for (label, field) in [
        (label(&["api.example.com"]), "credential.upstream.label.origins[0]"),
        (label(&vec!["https://a.example"; 33]), "credential.upstream.label.origins"),
        (SealLabel { ca_hash: vec![1], ..SealLabel::default() }, "credential.upstream.label.ca_hash"),
        (
            SealLabel { needs: vec!["upstream.magic.v1".into()], ..SealLabel::default() },
            "credential.upstream.label.needs[0]",
        ),
    ] {
        let status = labelled(&world, &org, &eu, label).await.expect_err("it is refused");
        let details = status.get_error_details();
        let bad = details.bad_request().expect("it names fields");
        assert_eq!(bad.field_violations[0].field, field, "{}", status.message());
    }
}
