//! Calls of FleetService.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::stream::BoxStream;
use rr_contract::wire::fleet as wire;
use rr_contract::wire::fleet::fleet_service_server::FleetService;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tonic::{Request, Response, Status};

use super::caller::Watcher;
use super::{Api, status};
use crate::authz;
use crate::service::{Caller, NodeQuery, PageRequest, ServiceError};

/// How long a watch gathers reports of nodes.
const GATHER: Duration = Duration::from_secs(1);
/// How often it reads again without a local change, for the nodes of other replicas.
const LOOK: Duration = Duration::from_secs(5);

type Changes = BoxStream<'static, Result<wire::WatchNodesResponse, Status>>;

#[tonic::async_trait]
impl FleetService for Api {
    async fn list_nodes(
        &self,
        request: Request<wire::ListNodesRequest>,
    ) -> Result<Response<wire::ListNodesResponse>, Status> {
        let result = async {
            let caller = self.enter(authz::LIST_NODES)?;
            let request = request.into_inner();
            let page = PageRequest::parse(request.page_size, &request.page_token)?;
            let wire::ListNodesRequest { region, only_unhealthy, behind, .. } = request;
            let query = NodeQuery { region, only_unhealthy, behind };
            let page = self.services.node_list(&caller.principal, &query, &page).await?;
            Ok(wire::ListNodesResponse { nodes: page.items, next_page_token: page.next })
        };
        self.answer(authz::LIST_NODES, result.await)
    }

    async fn get_node(
        &self,
        request: Request<wire::GetNodeRequest>,
    ) -> Result<Response<wire::GetNodeResponse>, Status> {
        let result = async {
            let caller = self.enter(authz::GET_NODE)?;
            let node = self.services.node_show(&caller.principal, &request.get_ref().node).await?;
            Ok(wire::GetNodeResponse { node: Some(node) })
        };
        self.answer(authz::GET_NODE, result.await)
    }

    async fn query_accounts(
        &self,
        request: Request<wire::QueryAccountsRequest>,
    ) -> Result<Response<wire::QueryAccountsResponse>, Status> {
        let result = async {
            let caller = self.enter(authz::QUERY_ACCOUNTS)?;
            self.services.accounts(&caller.principal, request.get_ref()).await
        };
        self.answer(authz::QUERY_ACCOUNTS, result.await)
    }

    type WatchNodesStream = Changes;

    async fn watch_nodes(
        &self,
        request: Request<wire::WatchNodesRequest>,
    ) -> Result<Response<Self::WatchNodesStream>, Status> {
        let entered = self.enter(authz::WATCH_NODES).and_then(|caller| Ok((caller, self.watcher(&request)?)));
        let (caller, watcher) = match entered {
            Ok(entered) => entered,
            Err(error) => return self.answer(authz::WATCH_NODES, Err(error)),
        };
        let wire::WatchNodesRequest { region, only_unhealthy } = request.into_inner();
        let query = NodeQuery { region, only_unhealthy, behind: false };
        let mut watch = Watch {
            spoke: self.services.publisher.fleet().spoke(),
            heads: self.services.publisher.heads(),
            api: self.clone(),
            watcher,
            query,
            known: BTreeMap::new(),
        };
        let mut first = match watch.read(&caller).await {
            Ok(nodes) => watch.news(nodes),
            Err(error) => return self.answer(authz::WATCH_NODES, Err(error)),
        };
        first.push(change(wire::watch_nodes_response::Change::Listed(true)));
        let later = futures_util::stream::unfold(Some(watch), |watch: Option<Watch>| async move {
            let mut watch = watch?;
            loop {
                if watch.wait().await.is_err() {
                    return Some((vec![Err(status::stopping())], None));
                }
                match watch.look().await {
                    Ok(nodes) => {
                        let news = watch.news(nodes);
                        if !news.is_empty() {
                            return Some((news, Some(watch)));
                        }
                    }
                    Err(error) => return Some((vec![Err(status::of(authz::WATCH_NODES, &error))], None)),
                }
            }
        });
        let batches = futures_util::StreamExt::chain(futures_util::stream::iter([first]), later);
        let changes =
            futures_util::StreamExt::flat_map(batches, |batch: Vec<_>| futures_util::stream::iter(batch));
        self.answer(authz::WATCH_NODES, Ok(Box::pin(changes) as Changes))
    }

    async fn drain_node(
        &self,
        request: Request<wire::DrainNodeRequest>,
    ) -> Result<Response<wire::DrainNodeResponse>, Status> {
        let result = async {
            let caller = self.enter(authz::DRAIN_NODE)?;
            let wire::DrainNodeRequest { node, undo } = request.into_inner();
            let drained = self.services.node_drain(caller, &node, undo).await?;
            Ok(wire::DrainNodeResponse {
                node: Some(drained.value),
                revision: drained.revision.unwrap_or_default(),
            })
        };
        self.answer(authz::DRAIN_NODE, result.await)
    }

    async fn revoke_node(
        &self,
        request: Request<wire::RevokeNodeRequest>,
    ) -> Result<Response<wire::RevokeNodeResponse>, Status> {
        let result = async {
            let caller = self.enter(authz::REVOKE_NODE)?;
            self.services.node_revoke(caller, request.into_inner()).await
        };
        self.answer(authz::REVOKE_NODE, result.await)
    }

    async fn explain_resource(
        &self,
        request: Request<wire::ExplainResourceRequest>,
    ) -> Result<Response<wire::ExplainResourceResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::EXPLAIN_RESOURCE, |request| &request.org).await?;
            let request = request.get_ref();
            self.services.resource_explain(&at, &request.kind, &request.resource).await
        };
        self.answer(authz::EXPLAIN_RESOURCE, result.await)
    }

    async fn wait_for_revision(
        &self,
        request: Request<wire::WaitForRevisionRequest>,
    ) -> Result<Response<wire::WaitForRevisionResponse>, Status> {
        let result = async {
            let caller = self.enter(authz::WAIT_FOR_REVISION)?;
            self.services.revision_wait(&caller.principal, request.into_inner()).await
        };
        self.answer(authz::WAIT_FOR_REVISION, result.await)
    }

    async fn list_region_states(
        &self,
        _request: Request<wire::ListRegionStatesRequest>,
    ) -> Result<Response<wire::ListRegionStatesResponse>, Status> {
        let result = async {
            let caller = self.enter(authz::LIST_REGION_STATES)?;
            let regions = self.services.region_states(&caller.principal).await?;
            Ok(wire::ListRegionStatesResponse { regions })
        };
        self.answer(authz::LIST_REGION_STATES, result.await)
    }

    async fn adopt_revision(
        &self,
        request: Request<wire::AdoptRevisionRequest>,
    ) -> Result<Response<wire::AdoptRevisionResponse>, Status> {
        let result = async {
            let (caller, region) =
                self.enter_region(&request, authz::ADOPT_REVISION, |request| &request.region).await?;
            self.services.revision_adopt(caller, region, request.into_inner()).await
        };
        self.answer(authz::ADOPT_REVISION, result.await)
    }

    async fn release_revision(
        &self,
        request: Request<wire::ReleaseRevisionRequest>,
    ) -> Result<Response<wire::ReleaseRevisionResponse>, Status> {
        let result = async {
            let (caller, region) =
                self.enter_region(&request, authz::RELEASE_REVISION, |request| &request.region).await?;
            let revision = request.get_ref().revision;
            let released = self.services.revision_release(caller, region, revision).await?;
            Ok(wire::ReleaseRevisionResponse { revision: released.revision.unwrap_or_default() })
        };
        self.answer(authz::RELEASE_REVISION, result.await)
    }
}

/// A watch, and the nodes that it has reported.
struct Watch {
    api: Api,
    watcher: Watcher,
    query: NodeQuery,
    spoke: watch::Receiver<u64>,
    heads: watch::Receiver<u64>,
    known: BTreeMap<String, wire::Node>,
}

impl Watch {
    /// Until there may be something new; an error at the stop.
    async fn wait(&mut self) -> Result<(), ()> {
        let (stop, spoke, heads) = (self.api.stop.clone(), &mut self.spoke, &mut self.heads);
        let something = async {
            tokio::select! {
                _ = spoke.changed() => {}
                _ = heads.changed() => {}
            }
        };
        tokio::select! {
            () = stop.requested() => return Err(()),
            _ = timeout(LOOK, something) => {}
        }
        tokio::select! {
            () = stop.requested() => Err(()),
            () = sleep(GATHER) => Ok(()),
        }
    }

    /// All nodes as they are. A right that is gone ends the watch, too.
    async fn look(&mut self) -> Result<Vec<wire::Node>, ServiceError> {
        let caller = self.api.enter_again(&self.watcher, authz::WATCH_NODES).await?;
        self.read(&caller).await
    }

    async fn read(&mut self, caller: &Caller) -> Result<Vec<wire::Node>, ServiceError> {
        self.spoke.mark_unchanged();
        self.heads.mark_unchanged();
        self.api.services.node_all(&caller.principal, &self.query).await
    }

    /// The differences from what was reported.
    fn news(&mut self, nodes: Vec<wire::Node>) -> Vec<Result<wire::WatchNodesResponse, Status>> {
        use wire::watch_nodes_response::Change;

        let mut known = std::mem::take(&mut self.known);
        let mut news = Vec::new();
        for node in nodes {
            let told = known.remove(&node.id);
            if told.is_none_or(|told| lasting(&told) != lasting(&node)) {
                news.push(change(Change::Node(node.clone())));
            }
            self.known.insert(node.id.clone(), node);
        }
        news.extend(known.into_keys().map(|id| change(Change::Gone(id))));
        news
    }
}

/// Without the fields that change all the time.
fn lasting(node: &wire::Node) -> wire::Node {
    wire::Node { last_seen_at: None, spool_bytes: 0, ..node.clone() }
}

fn change(change: wire::watch_nodes_response::Change) -> Result<wire::WatchNodesResponse, Status> {
    Ok(wire::WatchNodesResponse { change: Some(change) })
}
