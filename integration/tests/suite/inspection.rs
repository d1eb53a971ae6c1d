//! The control plane explains itself: reflection in both versions, and health.

use rr_integration::world::World;
use tokio_stream::StreamExt as _;
use tonic_reflection::pb::{v1, v1alpha};

const SERVICES: [&str; 10] = [
    "requestrocket.management.v1.OrgService",
    "requestrocket.management.v1.RegionService",
    "requestrocket.management.v1.TargetService",
    "requestrocket.management.v1.CredentialService",
    "requestrocket.management.v1.ProxyService",
    "requestrocket.management.v1.RequestService",
    "requestrocket.management.v1.TokenService",
    "requestrocket.management.v1.NodeTokenService",
    "requestrocket.management.v1.InstallationService",
    "requestrocket.fleet.v1.FleetService",
];

#[tokio::test]
async fn both_versions_of_reflection_list_every_service() {
    let world = World::start().await;
    let channel =
        tonic::transport::Endpoint::from_shared(format!("http://{}", world.control_plane.management))
            .expect("a URL")
            .connect()
            .await
            .expect("connects");

    let ask = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let mut stub = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let mut answers =
        stub.server_reflection_info(tokio_stream::once(ask)).await.expect("answers").into_inner();
    let answer = answers.next().await.expect("one answer").expect("no error");
    let Some(v1::server_reflection_response::MessageResponse::ListServicesResponse(list)) =
        answer.message_response
    else {
        panic!("not a list: {answer:?}");
    };
    let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    for service in SERVICES {
        assert!(names.iter().any(|name| name == service), "{service} is not in {names:?}");
    }

    let ask = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
            "requestrocket.management.v1.Proxy".to_owned(),
        )),
    };
    let mut stub = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let mut answers =
        stub.server_reflection_info(tokio_stream::once(ask)).await.expect("answers").into_inner();
    let answer = answers.next().await.expect("one answer").expect("no error");
    assert!(
        matches!(
            answer.message_response,
            Some(v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(_))
        ),
        "{answer:?}"
    );
    world.end().await;
}
