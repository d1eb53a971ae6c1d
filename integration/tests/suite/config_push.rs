//! Changes reach a connected node by themselves.

use http::StatusCode;
use rr_contract::wire::FieldMask;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::proxy_service_client::ProxyServiceClient;
use rr_integration::wait::eventually;
use rr_integration::world::{ORG, World};

async fn set_active(world: &World, active: bool) {
    let ask = mg::UpdateProxyRequest {
        org: ORG.to_owned(),
        name: "echo".to_owned(),
        proxy: Some(mg::Proxy { active: Some(active), ..mg::Proxy::default() }),
        update_mask: Some(FieldMask { paths: vec!["active".to_owned()] }),
        ..Default::default()
    };
    ProxyServiceClient::new(world.api.connection()).update_proxy(ask).await.expect("update");
    world.in_step().await;
}

#[tokio::test]
async fn a_proxy_that_is_switched_off_answers_403_and_one_switched_on_answers_again() {
    let world = World::start().await;
    let caller = world.caller_of("echo");
    set_active(&world, false).await;
    let reply = caller.get("/").await;
    assert_eq!(
        (reply.status, reply.header("requestrocket-proxy-code")),
        (StatusCode::FORBIDDEN, "proxy-inactive")
    );
    set_active(&world, true).await;
    assert_eq!(caller.get("/").await.status, StatusCode::OK);
    world.end().await;
}

#[tokio::test]
async fn a_suspended_organization_answers_402() {
    let world = World::start().await;
    let ask = mg::UpdateOrgRequest {
        name: ORG.to_owned(),
        org: Some(mg::Org { suspended: true, ..mg::Org::default() }),
        update_mask: Some(FieldMask { paths: vec!["suspended".to_owned()] }),
        ..Default::default()
    };
    mg::org_service_client::OrgServiceClient::new(world.api.connection())
        .update_org(ask)
        .await
        .expect("update");
    world.in_step().await;
    let reply = world.caller_of("echo").get("/").await;
    assert_eq!(reply.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(reply.header("requestrocket-proxy-code"), "billing-suspended");
    world.end().await;
}

#[tokio::test]
async fn a_new_secret_is_used_without_a_failed_request() {
    let world = World::start().await;
    let ask =
        mg::GetCredentialRequest { org: ORG.to_owned(), credential: "echo-secret".to_owned(), revision: 0 };
    let mut stub = mg::credential_service_client::CredentialServiceClient::new(world.api.connection());
    let credential = stub.get_credential(ask).await.expect("found").into_inner().credential.expect("found");
    let caller = world.caller_of("echo");
    let origin = world.upstream.url();
    world
        .api
        .replace_secret(ORG, &credential, &world.keys, &origin, "second-secret")
        .await
        .expect("replaced");
    eventually("the second secret is used", || async {
        assert_eq!(caller.get("/").await.status, 200);
        let seen = world.upstream.seen();
        (seen.last()?.headers["authorization"] == "Bearer second-secret").then_some(())
    })
    .await;
    let again = world.api.replace_secret(ORG, &credential, &world.keys, &origin, "third").await;
    assert_eq!(again.expect_err("version 2 is taken").code(), tonic::Code::Aborted);
    world.end().await;
}

#[tokio::test]
async fn a_deleted_proxy_is_gone_and_what_it_used_can_be_deleted_only_then() {
    let world = World::start().await;
    let mut targets = mg::target_service_client::TargetServiceClient::new(world.api.connection());
    let target =
        mg::DeleteTargetRequest { org: ORG.to_owned(), target: "echo".to_owned(), ..Default::default() };
    let refused = targets.delete_target(target.clone()).await.expect_err("a proxy uses it");
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
    let mut proxies = ProxyServiceClient::new(world.api.connection());
    let proxy =
        mg::DeleteProxyRequest { org: ORG.to_owned(), proxy: "echo".to_owned(), ..Default::default() };
    proxies.delete_proxy(proxy).await.expect("deleted");
    targets.delete_target(target).await.expect("nobody uses it any more");
    world.in_step().await;
    assert_eq!(world.caller_of("echo").get("/").await.status, 401);
    world.end().await;
}
