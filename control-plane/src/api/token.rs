//! Calls of TokenService.

use rr_contract::wire::management as wire;
use rr_contract::wire::management::token_service_server::TokenService;
use tonic::{Request, Response, Status};

use super::{Api, encode};
use crate::authz::{self, Principal};
use crate::store::token::TokenEntry;

#[tonic::async_trait]
impl TokenService for Api {
    async fn create_token(
        &self,
        request: Request<wire::CreateTokenRequest>,
    ) -> Result<Response<wire::CreateTokenResponse>, Status> {
        let result = async {
            let caller = self.enter(&request, authz::CREATE_TOKEN).await?;
            let made = self.services.token_create(&caller, request.into_inner().token).await?;
            // Shown this once: from here on only its hash is kept.
            let secret = String::from_utf8_lossy(made.secret.expose()).into_owned();
            Ok(wire::CreateTokenResponse { token: Some(encode(made.entry)), secret })
        };
        self.answer(authz::CREATE_TOKEN, result.await)
    }

    async fn get_self(
        &self,
        request: Request<wire::GetSelfRequest>,
    ) -> Result<Response<wire::GetSelfResponse>, Status> {
        let result = async {
            let caller = self.enter(&request, authz::GET_SELF).await?;
            Ok(wire::GetSelfResponse { token: Some(encode_self(caller.principal)) })
        };
        self.answer(authz::GET_SELF, result.await)
    }
}

fn encode(entry: TokenEntry) -> wire::Token {
    wire::Token {
        id: entry.token.id,
        name: entry.token.name,
        grants: entry.grants.into_iter().map(|(role, org)| wire::Grant { role, org }).collect(),
        expires_at: encode::maybe_at(entry.token.expires_at),
        created_at: encode::at(entry.token.created_at),
    }
}

fn encode_self(principal: Principal) -> wire::Token {
    let operator =
        principal.operator.then(|| wire::Grant { role: wire::Role::Operator.into(), org: String::new() });
    let orgs = principal.orgs.into_iter().map(|(org, role)| wire::Grant { role: role.into(), org });
    wire::Token {
        id: principal.token,
        name: principal.name,
        grants: operator.into_iter().chain(orgs).collect(),
        expires_at: encode::maybe_at(principal.expires_at),
        created_at: encode::at(principal.created_at),
    }
}
