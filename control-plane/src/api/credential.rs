//! Calls of CredentialService.
//!
//! A secret in the clear is taken out of its request before anything else is done with that.

use rr_contract::wire::management as wire;
use tonic::{Request, Response, Status};

use super::Api;
use super::crud::{removal, removed};
use super::seen;
use crate::authz;
use crate::service::{ListRequest, Plain, ServiceError, shown};

#[tonic::async_trait]
impl wire::credential_service_server::CredentialService for Api {
    async fn create_credential(
        &self,
        mut request: Request<wire::CreateCredentialRequest>,
    ) -> Result<Response<wire::CreateCredentialResponse>, Status> {
        let plain = plain_of(request.get_mut().credential.as_mut());
        let value_seen = seen::is_seen(plain.as_ref());
        let result = async {
            let at = self
                .enter_org(&request, authz::CREATE_CREDENTIAL, |request| &request.org)
                .await?
                .agreeing(request.get_ref());
            let request = request.into_inner();
            let made = self.services.credential_create(at, request.credential, plain).await?;
            // Shown this once: from here on only its hash is kept.
            let key = made.value.key.as_ref().map(|key| String::from_utf8_lossy(key.expose()).into_owned());
            Ok(wire::CreateCredentialResponse {
                credential: Some(shown(made.value.stored)),
                key: key.unwrap_or_default(),
                revision: made.revision.unwrap_or_default(),
                value_seen,
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
            let request = request.into_inner();
            let found = self.services.show(&at, &request.credential, request.revision).await?;
            let credential = match request.revision {
                0 => self.services.credentials_shown(vec![found]).await?.pop(),
                _ => Some(shown(found)),
            };
            Ok(wire::GetCredentialResponse { credential })
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
            let list = ListRequest {
                page_size: request.page_size,
                page_token: request.page_token,
                filter: request.filter,
                order_by: request.order_by,
                ..ListRequest::default()
            };
            let page = self.services.list(&at, list).await?;
            let credentials = self.services.credentials_shown(page.items).await?;
            Ok(wire::ListCredentialsResponse { credentials, next_page_token: page.next })
        };
        self.answer(authz::LIST_CREDENTIALS, result.await)
    }

    async fn update_credential(
        &self,
        mut request: Request<wire::UpdateCredentialRequest>,
    ) -> Result<Response<wire::UpdateCredentialResponse>, Status> {
        let plain = plain_of(request.get_mut().credential.as_mut());
        let value_seen = seen::is_seen(plain.as_ref());
        let result = async {
            let at = self
                .enter_org(&request, authz::UPDATE_CREDENTIAL, |request| &request.org)
                .await?
                .agreeing(request.get_ref());
            if value_seen {
                let what = "is not taken by an update: `:replaceSecret` and `:roll` take the next secret";
                return Err(ServiceError::field("credential.plain", what));
            }
            let request = request.into_inner();
            let changed =
                self.services.update(at, request.name, request.credential, request.update_mask).await?;
            Ok(wire::UpdateCredentialResponse {
                credential: self.services.credentials_shown(vec![changed.value]).await?.pop(),
                revision: changed.revision.unwrap_or_default(),
            })
        };
        self.answer(authz::UPDATE_CREDENTIAL, result.await)
    }

    async fn replace_secret(
        &self,
        mut request: Request<wire::ReplaceSecretRequest>,
    ) -> Result<Response<wire::ReplaceSecretResponse>, Status> {
        let plain = Plain::out_of(&mut request.get_mut().plain);
        let value_seen = seen::is_seen(plain.as_ref());
        let result = async {
            let at = self
                .enter_org(&request, authz::REPLACE_SECRET, |request| &request.org)
                .await?
                .agreeing(request.get_ref());
            let request = request.into_inner();
            let changed = self.services.secret_replace(at, request, plain).await?;
            Ok(wire::ReplaceSecretResponse {
                credential: Some(shown(changed.value)),
                revision: changed.revision.unwrap_or_default(),
                value_seen,
            })
        };
        self.answer(authz::REPLACE_SECRET, result.await)
    }

    async fn get_sealed_secret(
        &self,
        request: Request<wire::GetSealedSecretRequest>,
    ) -> Result<Response<wire::GetSealedSecretResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::GET_SEALED_SECRET, |request| &request.org).await?;
            self.services.sealed_secret(&at, &request.get_ref().credential).await
        };
        self.answer(authz::GET_SEALED_SECRET, result.await)
    }

    async fn reseal_secret(
        &self,
        request: Request<wire::ResealSecretRequest>,
    ) -> Result<Response<wire::ResealSecretResponse>, Status> {
        let result = async {
            let at = self
                .enter_org(&request, authz::RESEAL_SECRET, |request| &request.org)
                .await?
                .agreeing(request.get_ref());
            let changed = self.services.secret_reseal(at, request.into_inner()).await?;
            Ok(wire::ResealSecretResponse {
                credential: self.services.credentials_shown(vec![changed.value]).await?.pop(),
                revision: changed.revision.unwrap_or_default(),
            })
        };
        self.answer(authz::RESEAL_SECRET, result.await)
    }

    async fn roll_credential(
        &self,
        mut request: Request<wire::RollCredentialRequest>,
    ) -> Result<Response<wire::RollCredentialResponse>, Status> {
        let plain = Plain::out_of(&mut request.get_mut().plain);
        let value_seen = seen::is_seen(plain.as_ref());
        let result = async {
            let at = self
                .enter_org(&request, authz::ROLL_CREDENTIAL, |request| &request.org)
                .await?
                .agreeing(request.get_ref());
            let request = request.into_inner();
            let rolled = self.services.credential_roll(at, request, plain).await?;
            let key = rolled.value.key.as_ref();
            let key = key.map(|key| String::from_utf8_lossy(key.expose()).into_owned());
            Ok(wire::RollCredentialResponse {
                credential: self.services.credentials_shown(vec![rolled.value.stored]).await?.pop(),
                key: key.unwrap_or_default(),
                revision: rolled.revision.unwrap_or_default(),
                value_seen,
            })
        };
        self.answer(authz::ROLL_CREDENTIAL, result.await)
    }

    async fn delete_credential(
        &self,
        request: Request<wire::DeleteCredentialRequest>,
    ) -> Result<Response<wire::DeleteCredentialResponse>, Status> {
        let result = async {
            let at = self
                .enter_org(&request, authz::DELETE_CREDENTIAL, |request| &request.org)
                .await?
                .agreeing(request.get_ref());
            let request = request.into_inner();
            let wanted = removal!(request, credential, cascade: request.cascade);
            let gone = self.services.delete::<wire::Credential>(at, wanted).await?;
            Ok(removed!(DeleteCredentialResponse, gone))
        };
        self.answer(authz::DELETE_CREDENTIAL, result.await)
    }
}

/// The secret in the clear of a credential that is written.
fn plain_of(credential: Option<&mut wire::Credential>) -> Option<Plain> {
    credential.and_then(|credential| Plain::out_of(&mut credential.plain))
}
