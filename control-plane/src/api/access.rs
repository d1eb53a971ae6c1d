//! Calls of UserService and MemberService.

use rr_contract::wire::management as wire;
use tonic::{Request, Response, Status};

use super::Api;
use crate::authz;
use crate::service::{ListRequest, shown};

#[tonic::async_trait]
impl wire::user_service_server::UserService for Api {
    async fn create_user(
        &self,
        request: Request<wire::CreateUserRequest>,
    ) -> Result<Response<wire::CreateUserResponse>, Status> {
        let result = async {
            let caller = self.enter(authz::CREATE_USER)?;
            let request = request.into_inner();
            let made = self.services.user_create(caller, request.user).await?;
            Ok(wire::CreateUserResponse {
                user: Some(shown(made.value)),
                revision: made.revision.unwrap_or_default(),
            })
        };
        self.answer(authz::CREATE_USER, result.await)
    }

    async fn get_user(
        &self,
        request: Request<wire::GetUserRequest>,
    ) -> Result<Response<wire::GetUserResponse>, Status> {
        let result = async {
            let caller = self.enter(authz::GET_USER)?;
            let request = request.into_inner();
            let found = self.services.user_show(&caller, &request.user).await?;
            Ok(wire::GetUserResponse { user: Some(shown(found)) })
        };
        self.answer(authz::GET_USER, result.await)
    }

    async fn list_users(
        &self,
        request: Request<wire::ListUsersRequest>,
    ) -> Result<Response<wire::ListUsersResponse>, Status> {
        let result = async {
            let caller = self.enter(authz::LIST_USERS)?;
            let request = request.into_inner();
            let list = ListRequest {
                page_size: request.page_size,
                page_token: request.page_token,
                filter: request.filter,
                order_by: request.order_by,
                ..ListRequest::default()
            };
            let page = self.services.user_list(&caller, list).await?;
            let users = page.items.into_iter().map(shown).collect();
            Ok(wire::ListUsersResponse { users, next_page_token: page.next })
        };
        self.answer(authz::LIST_USERS, result.await)
    }

    async fn update_user(
        &self,
        request: Request<wire::UpdateUserRequest>,
    ) -> Result<Response<wire::UpdateUserResponse>, Status> {
        let result = async {
            let caller = self.enter(authz::UPDATE_USER)?;
            let request = request.into_inner();
            let changed =
                self.services.user_update(caller, request.name, request.user, request.update_mask).await?;
            Ok(wire::UpdateUserResponse {
                user: Some(shown(changed.value)),
                revision: changed.revision.unwrap_or_default(),
            })
        };
        self.answer(authz::UPDATE_USER, result.await)
    }

    async fn delete_user(
        &self,
        request: Request<wire::DeleteUserRequest>,
    ) -> Result<Response<wire::DeleteUserResponse>, Status> {
        let result = async {
            let caller = self.enter(authz::DELETE_USER)?;
            let request = request.into_inner();
            let gone = self.services.user_delete(caller, request.user, request.etag).await?;
            Ok(wire::DeleteUserResponse { revision: gone.revision.unwrap_or_default() })
        };
        self.answer(authz::DELETE_USER, result.await)
    }
}

#[tonic::async_trait]
impl wire::member_service_server::MemberService for Api {
    async fn create_member(
        &self,
        request: Request<wire::CreateMemberRequest>,
    ) -> Result<Response<wire::CreateMemberResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::CREATE_MEMBER, |request| &request.org).await?;
            let request = request.into_inner();
            let made = self.services.member_create(at, request.member).await?;
            Ok(wire::CreateMemberResponse {
                member: Some(shown(made.value)),
                revision: made.revision.unwrap_or_default(),
            })
        };
        self.answer(authz::CREATE_MEMBER, result.await)
    }

    async fn get_member(
        &self,
        request: Request<wire::GetMemberRequest>,
    ) -> Result<Response<wire::GetMemberResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::GET_MEMBER, |request| &request.org).await?;
            let request = request.into_inner();
            let found = self.services.member_show(&at, &request.member).await?;
            Ok(wire::GetMemberResponse { member: Some(shown(found)) })
        };
        self.answer(authz::GET_MEMBER, result.await)
    }

    async fn list_members(
        &self,
        request: Request<wire::ListMembersRequest>,
    ) -> Result<Response<wire::ListMembersResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::LIST_MEMBERS, |request| &request.org).await?;
            let request = request.into_inner();
            let list = ListRequest {
                page_size: request.page_size,
                page_token: request.page_token,
                filter: request.filter,
                order_by: request.order_by,
                ..ListRequest::default()
            };
            let page = self.services.member_list(&at, list).await?;
            let members = page.items.into_iter().map(shown).collect();
            Ok(wire::ListMembersResponse { members, next_page_token: page.next })
        };
        self.answer(authz::LIST_MEMBERS, result.await)
    }

    async fn update_member(
        &self,
        request: Request<wire::UpdateMemberRequest>,
    ) -> Result<Response<wire::UpdateMemberResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::UPDATE_MEMBER, |request| &request.org).await?;
            let request = request.into_inner();
            let changed =
                self.services.member_update(at, request.name, request.member, request.update_mask).await?;
            Ok(wire::UpdateMemberResponse {
                member: Some(shown(changed.value)),
                revision: changed.revision.unwrap_or_default(),
            })
        };
        self.answer(authz::UPDATE_MEMBER, result.await)
    }

    async fn delete_member(
        &self,
        request: Request<wire::DeleteMemberRequest>,
    ) -> Result<Response<wire::DeleteMemberResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::DELETE_MEMBER, |request| &request.org).await?;
            let request = request.into_inner();
            let gone = self.services.member_delete(at, request.member, request.etag).await?;
            Ok(wire::DeleteMemberResponse { revision: gone.revision.unwrap_or_default() })
        };
        self.answer(authz::DELETE_MEMBER, result.await)
    }
}
