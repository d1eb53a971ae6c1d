//! Calls of TokenService.

use rr_contract::wire::management as wire;
use tonic::{Request, Response, Status};

use super::Api;
use crate::authz;
use crate::service::shown;

#[tonic::async_trait]
impl wire::token_service_server::TokenService for Api {
    async fn create_token(
        &self,
        request: Request<wire::CreateTokenRequest>,
    ) -> Result<Response<wire::CreateTokenResponse>, Status> {
        let result = async {
            let caller = self.enter(authz::CREATE_TOKEN)?;
            let request = request.into_inner();
            let made = self.services.token_create(caller, request.token, &request.secret_hash).await?;
            // Shown this once: from here on only its hash is kept.
            let secret = made
                .value
                .secret
                .as_ref()
                .map(|secret| String::from_utf8_lossy(secret.expose()).into_owned());
            Ok(wire::CreateTokenResponse {
                token: Some(shown(made.value.stored)),
                secret: secret.unwrap_or_default(),
                revision: made.revision.unwrap_or_default(),
            })
        };
        self.answer(authz::CREATE_TOKEN, result.await)
    }

    async fn get_token(
        &self,
        request: Request<wire::GetTokenRequest>,
    ) -> Result<Response<wire::GetTokenResponse>, Status> {
        let result = async {
            let caller = self.enter(authz::GET_TOKEN)?;
            let request = request.into_inner();
            let found = self.services.token_show(&caller, &request.token).await?;
            Ok(wire::GetTokenResponse { token: Some(shown(found)) })
        };
        self.answer(authz::GET_TOKEN, result.await)
    }

    async fn list_tokens(
        &self,
        request: Request<wire::ListTokensRequest>,
    ) -> Result<Response<wire::ListTokensResponse>, Status> {
        let result = async {
            let caller = self.enter(authz::LIST_TOKENS)?;
            let request = request.into_inner();
            let page = self.services.token_list(&caller, request.page_size, &request.page_token).await?;
            let tokens = page.items.into_iter().map(shown).collect();
            Ok(wire::ListTokensResponse { tokens, next_page_token: page.next })
        };
        self.answer(authz::LIST_TOKENS, result.await)
    }

    async fn delete_token(
        &self,
        request: Request<wire::DeleteTokenRequest>,
    ) -> Result<Response<wire::DeleteTokenResponse>, Status> {
        let result = async {
            let caller = self.enter(authz::DELETE_TOKEN)?;
            let request = request.into_inner();
            let gone = self.services.token_revoke(caller, request.token, request.etag).await?;
            Ok(wire::DeleteTokenResponse { revision: gone.revision.unwrap_or_default() })
        };
        self.answer(authz::DELETE_TOKEN, result.await)
    }

    async fn get_self(
        &self,
        _request: Request<wire::GetSelfRequest>,
    ) -> Result<Response<wire::GetSelfResponse>, Status> {
        let result = async {
            let caller = self.enter(authz::GET_SELF)?;
            self.services.self_shown(&caller).await
        };
        self.answer(authz::GET_SELF, result.await)
    }
}
