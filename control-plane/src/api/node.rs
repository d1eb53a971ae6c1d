//! Calls of FleetService.

use prost::Message as _;
use rr_contract::wire::fleet as wire;
use rr_contract::wire::fleet::fleet_service_server::FleetService;
use tonic::{Request, Response, Status};

use super::{Api, encode};
use crate::authz;
use crate::service::{NodeView, PageRequest};

#[tonic::async_trait]
impl FleetService for Api {
    async fn list_nodes(
        &self,
        request: Request<wire::ListNodesRequest>,
    ) -> Result<Response<wire::ListNodesResponse>, Status> {
        let result = async {
            let caller = self.enter(&request, authz::LIST_NODES).await?;
            let request = request.into_inner();
            let page = PageRequest::parse(request.page_size, &request.page_token)?;
            let page = self.services.node_list(&caller.principal, &request.region, &page).await?;
            let nodes = page.items.into_iter().map(encode).collect();
            Ok(wire::ListNodesResponse { nodes, next_page_token: page.next })
        };
        self.answer(authz::LIST_NODES, result.await)
    }
}

fn encode(view: NodeView) -> wire::Node {
    let connected = view.live.is_some();
    let (status, address, build, seen_at, diverged) = match view.live {
        Some(live) => (live.status, live.address, live.build, live.last_seen_at, live.diverged),
        None => {
            // What was written by another build may not decode; then nothing is known.
            let status = wire::Status::decode(view.row.status.as_slice()).unwrap_or_default();
            (status, String::new(), view.row.build, view.row.last_seen_at, false)
        }
    };
    wire::Node {
        id: view.row.id,
        region: view.region,
        build,
        connected,
        address,
        desired: Some(view.desired),
        running: status.running,
        serving: status.serving,
        on_disk: status.on_disk,
        standing: status.standing,
        joined_at: encode::at(view.row.joined_at),
        last_seen_at: encode::at(seen_at),
        certificate_not_after: encode::at(view.row.certificate_not_after),
        spool_bytes: status.spool_bytes,
        records_dropped: status.records_dropped,
        diverged,
        history_rewritten: status.history_rewritten,
    }
}
