//! Calls of InstallationService and RevisionService.

use rr_contract::wire::management as wire;
use tonic::{Request, Response, Status};

use super::Api;
use crate::authz;
use crate::service::PageRequest;

#[tonic::async_trait]
impl wire::installation_service_server::InstallationService for Api {
    async fn get_installation(
        &self,
        _request: Request<wire::GetInstallationRequest>,
    ) -> Result<Response<wire::GetInstallationResponse>, Status> {
        let result = async {
            self.enter(authz::GET_INSTALLATION)?;
            let head = self.services.installation().await?;
            Ok(wire::GetInstallationResponse {
                id: head.installation.to_string(),
                lineage: head.lineage.to_vec(),
                revision: head.revision,
                audit: head.audit.to_vec(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                authority_pin: self.services.authority.pin().to_vec(),
                limit_ceilings: Some(self.services.ceilings),
            })
        };
        self.answer(authz::GET_INSTALLATION, result.await)
    }
}

#[tonic::async_trait]
impl wire::revision_service_server::RevisionService for Api {
    async fn list_revisions(
        &self,
        request: Request<wire::ListRevisionsRequest>,
    ) -> Result<Response<wire::ListRevisionsResponse>, Status> {
        let result = async {
            self.enter(authz::LIST_REVISIONS)?;
            let request = request.into_inner();
            let page = PageRequest::parse(request.page_size, &request.page_token)?;
            let page = self.services.revision_list(&page).await?;
            Ok(wire::ListRevisionsResponse { revisions: page.items, next_page_token: page.next })
        };
        self.answer(authz::LIST_REVISIONS, result.await)
    }

    async fn get_revision(
        &self,
        request: Request<wire::GetRevisionRequest>,
    ) -> Result<Response<wire::GetRevisionResponse>, Status> {
        let result = async {
            self.enter(authz::GET_REVISION)?;
            let revision = self.services.revision_show(request.get_ref().revision).await?;
            Ok(wire::GetRevisionResponse { revision: Some(revision) })
        };
        self.answer(authz::GET_REVISION, result.await)
    }

    async fn diff_revisions(
        &self,
        request: Request<wire::DiffRevisionsRequest>,
    ) -> Result<Response<wire::DiffRevisionsResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::DIFF_REVISIONS, |request| &request.org).await?;
            let request = request.into_inner();
            self.services.revision_diff(&at, request).await
        };
        self.answer(authz::DIFF_REVISIONS, result.await)
    }

    async fn rollback_org(
        &self,
        request: Request<wire::RollbackOrgRequest>,
    ) -> Result<Response<wire::RollbackOrgResponse>, Status> {
        let result = async {
            let at = self
                .enter_org(&request, authz::ROLLBACK_ORG, |request| &request.org)
                .await?
                .agreeing(request.get_ref());
            let request = request.into_inner();
            self.services.org_rollback(at, request).await
        };
        self.answer(authz::ROLLBACK_ORG, result.await)
    }
}
