//! Calls of ProxyService.

use rr_contract::wire::management as wire;
use rr_contract::wire::management::proxy_service_server::ProxyService;
use tonic::{Request, Response, Status};

use super::{Api, encode};
use crate::authz;
use crate::service::{PageRequest, ServiceError};
use crate::store::org_row;
use crate::store::proxy::ProxyRow;

#[tonic::async_trait]
impl ProxyService for Api {
    async fn create_proxy(
        &self,
        request: Request<wire::CreateProxyRequest>,
    ) -> Result<Response<wire::CreateProxyResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::CREATE_PROXY, |request| &request.org).await?;
            let org = at.org.clone();
            let made = self.services.proxy_create(at, request.into_inner().proxy).await?;
            let proxy = Some(self.encode_proxy(&org, made.value).await?);
            Ok(wire::CreateProxyResponse { proxy, revision: made.revision })
        };
        self.answer(authz::CREATE_PROXY, result.await)
    }

    async fn get_proxy(
        &self,
        request: Request<wire::GetProxyRequest>,
    ) -> Result<Response<wire::GetProxyResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::GET_PROXY, |request| &request.org).await?;
            let found = self.services.proxy_show(&at, &request.get_ref().proxy).await?;
            Ok(wire::GetProxyResponse { proxy: Some(self.encode_proxy(&at.org, found).await?) })
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
            let page = PageRequest::parse(request.page_size, &request.page_token)?;
            let page = self.services.proxy_list(&at, &page).await?;
            let urls = self.services.proxy_urls(&at.org, &page.items).await?;
            let proxies = page.items.into_iter().zip(urls).map(|(row, urls)| encode(row, urls)).collect();
            Ok(wire::ListProxiesResponse { proxies, next_page_token: page.next })
        };
        self.answer(authz::LIST_PROXIES, result.await)
    }

    async fn update_proxy(
        &self,
        request: Request<wire::UpdateProxyRequest>,
    ) -> Result<Response<wire::UpdateProxyResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::UPDATE_PROXY, |request| &request.org).await?;
            let org = at.org.clone();
            let request = request.into_inner();
            let changed =
                self.services.proxy_update(at, request.name, request.proxy, request.update_mask).await?;
            let proxy = Some(self.encode_proxy(&org, changed.value).await?);
            Ok(wire::UpdateProxyResponse { proxy, revision: changed.revision })
        };
        self.answer(authz::UPDATE_PROXY, result.await)
    }

    async fn delete_proxy(
        &self,
        request: Request<wire::DeleteProxyRequest>,
    ) -> Result<Response<wire::DeleteProxyResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::DELETE_PROXY, |request| &request.org).await?;
            let gone = self.services.proxy_delete(at, request.into_inner().proxy).await?;
            Ok(wire::DeleteProxyResponse { revision: gone.revision })
        };
        self.answer(authz::DELETE_PROXY, result.await)
    }
}

impl Api {
    async fn encode_proxy(&self, org: &org_row::Model, row: ProxyRow) -> Result<wire::Proxy, ServiceError> {
        let urls = self.services.proxy_urls(org, std::slice::from_ref(&row)).await?.pop().unwrap_or_default();
        Ok(encode(row, urls))
    }
}

fn encode(row: ProxyRow, urls: Vec<String>) -> wire::Proxy {
    wire::Proxy {
        id: row.proxy.id,
        org: row.proxy.org,
        name: row.proxy.name,
        active: Some(row.proxy.active),
        caller_credentials: row.callers,
        target: row.proxy.target,
        upstream_credential: row.proxy.upstream_credential,
        regions: row.regions,
        urls,
        created_at: encode::at(row.proxy.created_at),
        updated_at: encode::at(row.proxy.updated_at),
    }
}
