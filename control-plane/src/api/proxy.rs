//! Calls of ProxyService.

use rr_contract::wire::management as wire;
use tonic::{Request, Response, Status};

use super::Api;
use super::crud::{removal, removed};
use crate::authz;
use crate::service::ListRequest;

#[tonic::async_trait]
impl wire::proxy_service_server::ProxyService for Api {
    async fn create_proxy(
        &self,
        request: Request<wire::CreateProxyRequest>,
    ) -> Result<Response<wire::CreateProxyResponse>, Status> {
        let result = async {
            let at = self
                .enter_org(&request, authz::CREATE_PROXY, |request| &request.org)
                .await?
                .agreeing(request.get_ref());
            let request = request.into_inner();
            let org = at.org.clone();
            let made = self.services.create(at, request.proxy).await?;
            let proxy = self.services.proxies_shown(&org, vec![made.value]).await?.pop();
            Ok(wire::CreateProxyResponse { proxy, revision: made.revision.unwrap_or_default() })
        };
        self.answer(authz::CREATE_PROXY, result.await)
    }

    async fn get_proxy(
        &self,
        request: Request<wire::GetProxyRequest>,
    ) -> Result<Response<wire::GetProxyResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::GET_PROXY, |request| &request.org).await?;
            let request = request.into_inner();
            let found = self.services.show(&at, &request.proxy, request.revision).await?;
            let proxy = self.services.proxies_shown(&at.org, vec![found]).await?.pop();
            Ok(wire::GetProxyResponse { proxy })
        };
        self.answer(authz::GET_PROXY, result.await)
    }

    async fn list_proxies(
        &self,
        request: Request<wire::ListProxiesRequest>,
    ) -> Result<Response<wire::ListProxiesResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::LIST_PROXIES, |request| &request.org).await?;
            let request = request.into_inner();
            let list = ListRequest {
                page_size: request.page_size,
                page_token: request.page_token,
                filter: request.filter,
                order_by: request.order_by,
                ..ListRequest::default()
            };
            let page = self.services.list(&at, list).await?;
            let proxies = self.services.proxies_shown(&at.org, page.items).await?;
            Ok(wire::ListProxiesResponse { proxies, next_page_token: page.next })
        };
        self.answer(authz::LIST_PROXIES, result.await)
    }

    async fn update_proxy(
        &self,
        request: Request<wire::UpdateProxyRequest>,
    ) -> Result<Response<wire::UpdateProxyResponse>, Status> {
        let result = async {
            let at = self
                .enter_org(&request, authz::UPDATE_PROXY, |request| &request.org)
                .await?
                .agreeing(request.get_ref());
            let request = request.into_inner();
            let org = at.org.clone();
            let changed = self.services.update(at, request.name, request.proxy, request.update_mask).await?;
            let proxy = self.services.proxies_shown(&org, vec![changed.value]).await?.pop();
            Ok(wire::UpdateProxyResponse { proxy, revision: changed.revision.unwrap_or_default() })
        };
        self.answer(authz::UPDATE_PROXY, result.await)
    }

    async fn delete_proxy(
        &self,
        request: Request<wire::DeleteProxyRequest>,
    ) -> Result<Response<wire::DeleteProxyResponse>, Status> {
        let result = async {
            let at = self
                .enter_org(&request, authz::DELETE_PROXY, |request| &request.org)
                .await?
                .agreeing(request.get_ref());
            let request = request.into_inner();
            let wanted = removal!(request, proxy, cascade: Vec::new());
            let gone = self.services.delete::<wire::Proxy>(at, wanted).await?;
            Ok(removed!(DeleteProxyResponse, gone))
        };
        self.answer(authz::DELETE_PROXY, result.await)
    }
}
