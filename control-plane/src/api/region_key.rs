//! Calls of RegionKeyService.

use rr_contract::wire::management as wire;
use tonic::{Request, Response, Status};

use super::Api;
use crate::authz;
use crate::service::{PageRequest, shown};

#[tonic::async_trait]
impl wire::region_key_service_server::RegionKeyService for Api {
    async fn list_key_holders(
        &self,
        request: Request<wire::ListKeyHoldersRequest>,
    ) -> Result<Response<wire::ListKeyHoldersResponse>, Status> {
        let result = async {
            let (_, region) =
                self.enter_region(&request, authz::LIST_KEY_HOLDERS, |request| &request.region).await?;
            let request = request.into_inner();
            let page = PageRequest::parse(request.page_size, &request.page_token)?;
            let page = self.services.key_holders(&region, &page).await?;
            Ok(wire::ListKeyHoldersResponse { holders: page.items, next_page_token: page.next })
        };
        self.answer(authz::LIST_KEY_HOLDERS, result.await)
    }

    async fn rotate_region_key(
        &self,
        request: Request<wire::RotateRegionKeyRequest>,
    ) -> Result<Response<wire::RotateRegionKeyResponse>, Status> {
        let result = async {
            let (caller, region) =
                self.enter_region(&request, authz::ROTATE_REGION_KEY, |request| &request.region).await?;
            let done = self.services.region_key_rotate(caller, region, request.into_inner()).await?;
            Ok(wire::RotateRegionKeyResponse {
                region: Some(shown(done.value)),
                revision: done.revision.unwrap_or_default(),
            })
        };
        self.answer(authz::ROTATE_REGION_KEY, result.await)
    }

    async fn renew_region_key(
        &self,
        request: Request<wire::RenewRegionKeyRequest>,
    ) -> Result<Response<wire::RenewRegionKeyResponse>, Status> {
        let result = async {
            let (caller, region) =
                self.enter_region(&request, authz::RENEW_REGION_KEY, |request| &request.region).await?;
            let done = self.services.region_key_renew(caller, region, request.into_inner().key).await?;
            Ok(wire::RenewRegionKeyResponse {
                region: Some(shown(done.value)),
                revision: done.revision.unwrap_or_default(),
            })
        };
        self.answer(authz::RENEW_REGION_KEY, result.await)
    }

    async fn list_sealed_secrets(
        &self,
        request: Request<wire::ListSealedSecretsRequest>,
    ) -> Result<Response<wire::ListSealedSecretsResponse>, Status> {
        let result = async {
            let (_, region) =
                self.enter_region(&request, authz::LIST_SEALED_SECRETS, |request| &request.region).await?;
            let request = request.into_inner();
            let page = PageRequest::parse(request.page_size, &request.page_token)?;
            let (page, total) = self.services.sealed_secrets(&region, &page).await?;
            Ok(wire::ListSealedSecretsResponse { secrets: page.items, next_page_token: page.next, total })
        };
        self.answer(authz::LIST_SEALED_SECRETS, result.await)
    }

    async fn rewrap_secrets(
        &self,
        request: Request<wire::RewrapSecretsRequest>,
    ) -> Result<Response<wire::RewrapSecretsResponse>, Status> {
        let result = async {
            let (caller, region) =
                self.enter_region(&request, authz::REWRAP_SECRETS, |request| &request.region).await?;
            let done = self.services.secrets_rewrap(caller, region, request.into_inner().secrets).await?;
            Ok(wire::RewrapSecretsResponse { taken: done.value, revision: done.revision.unwrap_or_default() })
        };
        self.answer(authz::REWRAP_SECRETS, result.await)
    }

    async fn list_secret_versions(
        &self,
        request: Request<wire::ListSecretVersionsRequest>,
    ) -> Result<Response<wire::ListSecretVersionsResponse>, Status> {
        let result = async {
            let (_, region) =
                self.enter_region(&request, authz::LIST_SECRET_VERSIONS, |request| &request.region).await?;
            let request = request.into_inner();
            let page = PageRequest::parse(request.page_size, &request.page_token)?;
            let page = self.services.secret_versions(&region, request.attested, &page).await?;
            Ok(wire::ListSecretVersionsResponse { secrets: page.items, next_page_token: page.next })
        };
        self.answer(authz::LIST_SECRET_VERSIONS, result.await)
    }

    async fn attest_region(
        &self,
        request: Request<wire::AttestRegionRequest>,
    ) -> Result<Response<wire::AttestRegionResponse>, Status> {
        let result = async {
            let (caller, region) =
                self.enter_region(&request, authz::ATTEST_REGION, |request| &request.region).await?;
            let done = self.services.region_attest(caller, region, request.into_inner().attestation).await?;
            Ok(wire::AttestRegionResponse {
                region: Some(shown(done.value)),
                revision: done.revision.unwrap_or_default(),
            })
        };
        self.answer(authz::ATTEST_REGION, result.await)
    }

    async fn retire_region_keys(
        &self,
        request: Request<wire::RetireRegionKeysRequest>,
    ) -> Result<Response<wire::RetireRegionKeysResponse>, Status> {
        let result = async {
            let (caller, region) =
                self.enter_region(&request, authz::RETIRE_REGION_KEYS, |request| &request.region).await?;
            let now = request.into_inner().now;
            let done = self.services.region_keys_retire(caller.author(), &region, now).await?;
            Ok(wire::RetireRegionKeysResponse {
                left: done.value,
                revision: done.revision.unwrap_or_default(),
            })
        };
        self.answer(authz::RETIRE_REGION_KEYS, result.await)
    }
}
