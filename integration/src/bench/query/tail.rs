//! From a request at a real edge to its message of TailRequests.

use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::request_service_client::RequestServiceClient;
use rr_integration::caller::{Caller, Kept};
use rr_integration::process::Edge;
use rr_integration::sample::{ORG, REGION, Sample};
use rr_integration::wait::{DEADLINE, eventually};
use tokio::time::timeout;

/// Milliseconds from when each request was sent, one after the other.
pub(crate) async fn delays(sample: &Sample, folder: &Path, requests: usize) -> anyhow::Result<Vec<f64>> {
    let token = sample.api.node_token(REGION, &sample.keys, 1).await?;
    let edge = Edge::start(&folder.join("edge"), sample.control.fleet, token.to_secret().expose());
    edge.ready().await;
    let caller = Caller::new(edge.listen, &format!("{ORG}.echo"), &sample.key);
    eventually("the first call is answered", || async {
        (caller.try_get("/").await.ok()?.status == 200).then_some(())
    })
    .await;
    let ask = mg::TailRequestsRequest { org: ORG.to_owned(), ..mg::TailRequestsRequest::default() };
    let mut coming =
        RequestServiceClient::new(sample.api.connection()).tail_requests(ask).await?.into_inner();
    let (mut kept, path) = (Kept::connect(edge.listen).await?, format!("/api/{ORG}.echo/"));
    let mut took = Vec::with_capacity(requests);
    for _ in 0..requests {
        let sent = Instant::now();
        let reply = kept.get(&path, &sample.key).await?;
        let id = reply.header("requestrocket-request-id").to_owned();
        loop {
            let message = timeout(DEADLINE, coming.message()).await.context("no message in time")??;
            let message = message.context("the tail ended")?;
            if message.request.and_then(|it| it.record).is_some_and(|record| record.id == id) {
                break;
            }
        }
        took.push(sent.elapsed().as_secs_f64() * 1e3);
    }
    Ok(took)
}
