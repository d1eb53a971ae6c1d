//! Calls of CredentialService.

use rr_contract::wire::management as wire;
use rr_contract::wire::management::credential_service_server::CredentialService;
use tonic::{Request, Response, Status};

use super::{Api, encode};
use crate::service::PageRequest;
use crate::store::credential_row;
use crate::{authz, compile};

#[tonic::async_trait]
impl CredentialService for Api {
    async fn create_credential(
        &self,
        request: Request<wire::CreateCredentialRequest>,
    ) -> Result<Response<wire::CreateCredentialResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::CREATE_CREDENTIAL, |request| &request.org).await?;
            let made = self.services.credential_create(at, request.into_inner().credential).await?;
            // Shown this once: from here on only its hash is kept.
            let key = made.value.key.map(|key| String::from_utf8_lossy(key.expose()).into_owned());
            Ok(wire::CreateCredentialResponse {
                credential: Some(encode(made.value.row)),
                key: key.unwrap_or_default(),
                revision: made.revision,
            })
        };
        self.answer(authz::CREATE_CREDENTIAL, result.await)
    }

    async fn get_credential(
        &self,
        request: Request<wire::GetCredentialRequest>,
    ) -> Result<Response<wire::GetCredentialResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::GET_CREDENTIAL, |request| &request.org).await?;
            let found = self.services.credential_show(&at, &request.get_ref().credential).await?;
            Ok(wire::GetCredentialResponse { credential: Some(encode(found)) })
        };
        self.answer(authz::GET_CREDENTIAL, result.await)
    }

    async fn list_credentials(
        &self,
        request: Request<wire::ListCredentialsRequest>,
    ) -> Result<Response<wire::ListCredentialsResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::LIST_CREDENTIALS, |request| &request.org).await?;
            let request = request.into_inner();
            let page = PageRequest::parse(request.page_size, &request.page_token)?;
            let page = self.services.credential_list(&at, &page).await?;
            let credentials = page.items.into_iter().map(encode).collect();
            Ok(wire::ListCredentialsResponse { credentials, next_page_token: page.next })
        };
        self.answer(authz::LIST_CREDENTIALS, result.await)
    }

    async fn replace_secret(
        &self,
        request: Request<wire::ReplaceSecretRequest>,
    ) -> Result<Response<wire::ReplaceSecretResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::REPLACE_SECRET, |request| &request.org).await?;
            let changed = self.services.secret_replace(at, request.into_inner()).await?;
            Ok(wire::ReplaceSecretResponse {
                credential: Some(encode(changed.value)),
                revision: changed.revision,
            })
        };
        self.answer(authz::REPLACE_SECRET, result.await)
    }

    async fn delete_credential(
        &self,
        request: Request<wire::DeleteCredentialRequest>,
    ) -> Result<Response<wire::DeleteCredentialResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::DELETE_CREDENTIAL, |request| &request.org).await?;
            let gone = self.services.credential_delete(at, request.into_inner().credential).await?;
            Ok(wire::DeleteCredentialResponse { revision: gone.revision })
        };
        self.answer(authz::DELETE_CREDENTIAL, result.await)
    }
}

/// Neither the seal nor a hash goes out: nobody who reads configuration needs them.
fn encode(row: credential_row::Model) -> wire::Credential {
    use wire::credential::Usage;

    let usage = if row.usage == compile::USAGE_CALLER {
        Usage::Caller(wire::Caller { kind: row.kind })
    } else {
        let sealed_regions = compile::sealed_regions(&row);
        Usage::Upstream(wire::Upstream { kind: row.kind, sealed: None, sealed_regions })
    };
    wire::Credential {
        id: row.id,
        org: row.org,
        name: row.name,
        version: encode::number(row.version),
        not_after: encode::maybe_at(row.not_after),
        usage: Some(usage),
        created_at: encode::at(row.created_at),
        updated_at: encode::at(row.updated_at),
    }
}
