//! Records of requests: sent by a node, read by its organizations.

use futures_util::StreamExt as _;
use prost::Message as _;
use rr_contract::wire::fleet::telemetry_service_client::TelemetryServiceClient;
use rr_contract::wire::management::request_service_client::RequestServiceClient;
use rr_contract::wire::{fleet, management};

use super::stream::joined;
use super::world::{World, by};

#[tokio::test]
async fn records_of_a_node_can_be_read_and_those_of_proxies_that_it_does_not_serve_are_dropped() {
    let world = World::start().await;
    let node = joined(&world).await;
    let request = management::ListProxiesRequest { org: "acme".into(), ..Default::default() };
    let mut proxies = management::proxy_service_client::ProxyServiceClient::new(world.channel.clone());
    let proxies =
        proxies.list_proxies(by(&world.operator, request)).await.expect("lists").into_inner().proxies;
    let record = |id: &str, proxy: &str, second: i64| fleet::Record {
        id: id.into(),
        org: proxies[0].org.clone(),
        proxy: proxy.into(),
        received_at: Some(pbjson_types::Timestamp { seconds: second, nanos: 0 }),
        status: 200,
        ..Default::default()
    };
    let batch = fleet::Batch {
        records: vec![
            record("rq_1", &proxies[0].id, 100),
            record("rq_2", &proxies[0].id, 200),
            record("rq_3", "px_other", 300),
        ],
        dropped: Vec::new(),
    };
    let body = batch.encode_to_vec();
    let upload = |sequence, body: Vec<u8>| {
        let crc32 = crc32fast::hash(&body);
        fleet::UploadRequest { spool: vec![3; 16], sequence, body, crc32 }
    };
    let damaged = fleet::UploadRequest { crc32: 1, ..upload(2, body.clone()) };
    let uploads = vec![upload(2, body.clone()), upload(1, body.clone()), upload(1, body), damaged];
    let mut client = TelemetryServiceClient::new(node.channel.clone());
    let stream = tokio_stream::iter(uploads);
    let answers: Vec<_> = client
        .upload(stream)
        .await
        .expect("opens")
        .into_inner()
        .map(|it| it.expect("is good"))
        .collect()
        .await;
    let said: Vec<_> = answers.iter().map(|it| (it.through, it.expected, it.poison.len())).collect();
    assert_eq!(said, [(0, 1, 0), (1, 0, 0), (1, 0, 0), (2, 0, 1)]);
    let request = management::ListRequestsRequest { org: "acme".into(), page_size: 1, ..Default::default() };
    let mut client = RequestServiceClient::new(world.channel.clone());
    let page = client.list_requests(by(&world.operator, request.clone())).await.expect("lists").into_inner();
    assert_eq!(page.requests[0].record.as_ref().expect("is there").id, "rq_2", "newest first");
    assert_eq!(page.requests[0].node, node.id);
    let request = management::ListRequestsRequest { page_token: page.next_page_token, ..request };
    let page = client.list_requests(by(&world.operator, request)).await.expect("lists").into_inner();
    assert_eq!(page.requests[0].record.as_ref().expect("is there").id, "rq_1");
    assert!(page.next_page_token.is_empty());
    world.running.stop().await;
}
