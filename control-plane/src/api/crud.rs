//! The five calls that nouns of an organization have in common, written once.
//!
//! The arguments of the macro are the differences between nouns.

/// The order of a removal call: all of them have the same fields.
macro_rules! removal {
    ($request:ident, $field:ident, cascade: $cascade:expr) => {
        $crate::service::Removal {
            reference: $request.$field,
            etag: $request.etag,
            cascade: $cascade,
            dry_run: $request.dry_run,
            expected_plan: $request.expected_plan,
        }
    };
}
pub(super) use removal;

/// The response of a removal call.
macro_rules! removed {
    ($response:ident, $gone:ident) => {
        wire::$response {
            revision: $gone.revision.unwrap_or_default(),
            plan: $gone.value.digest(),
            change_count: $gone.value.counts().0,
            irreversible: $gone.value.counts().1,
            changes: $gone.value.into_listed(),
        }
    };
}
pub(super) use removed;

/// `impl` of a noun's service: create, get, list, update and delete as [`crate::service::resource`] has them.
macro_rules! crud {
    (
        $service:ident in $server:ident, $message:ident, $field:ident, $plural:ident,
        create: $create:ident $create_request:ident $create_response:ident $create_permission:ident,
        get: $get:ident $get_request:ident $get_response:ident $get_permission:ident,
        list: $list:ident $list_request:ident $list_response:ident $list_permission:ident,
        update: $update:ident $update_request:ident $update_response:ident $update_permission:ident,
        delete: $delete:ident $delete_request:ident $delete_response:ident $delete_permission:ident,
        cascade: |$request:ident| $cascade:expr,
        $(more: { $($more:tt)* },)?
    ) => {
        #[tonic::async_trait]
        impl wire::$server::$service for Api {
            async fn $create(
                &self,
                request: Request<wire::$create_request>,
            ) -> Result<Response<wire::$create_response>, Status> {
                let result = async {
                    let at = self
                        .enter_org(&request, authz::$create_permission, |request| &request.org)
                        .await?
                        .agreeing(request.get_ref());
                    let made = self.services.create(at, request.into_inner().$field).await?;
                    Ok(wire::$create_response { $field: Some(shown(made.value)), revision: made.revision.unwrap_or_default() })
                };
                self.answer(authz::$create_permission, result.await)
            }

            async fn $get(
                &self,
                request: Request<wire::$get_request>,
            ) -> Result<Response<wire::$get_response>, Status> {
                let result = async {
                    let at = self.enter_org(&request, authz::$get_permission, |request| &request.org).await?;
                    let request = request.into_inner();
                    let found =
                        self.services.show::<wire::$message>(&at, &request.$field, request.revision).await?;
                    Ok(wire::$get_response { $field: Some(shown(found)) })
                };
                self.answer(authz::$get_permission, result.await)
            }

            async fn $list(
                &self,
                request: Request<wire::$list_request>,
            ) -> Result<Response<wire::$list_response>, Status> {
                let result = async {
                    let at = self.enter_org(&request, authz::$list_permission, |request| &request.org).await?;
                    let request = request.into_inner();
                    let request = ListRequest {
                        page_size: request.page_size,
                        page_token: request.page_token,
                        filter: request.filter,
                        order_by: request.order_by,
                        ..ListRequest::default()
                    };
                    let page = self.services.list::<wire::$message>(&at, request).await?;
                    Ok(wire::$list_response {
                        $plural: page.items.into_iter().map(shown).collect(),
                        next_page_token: page.next,
                    })
                };
                self.answer(authz::$list_permission, result.await)
            }

            async fn $update(
                &self,
                request: Request<wire::$update_request>,
            ) -> Result<Response<wire::$update_response>, Status> {
                let result = async {
                    let at = self
                        .enter_org(&request, authz::$update_permission, |request| &request.org)
                        .await?
                        .agreeing(request.get_ref());
                    let request = request.into_inner();
                    let changed =
                        self.services.update(at, request.name, request.$field, request.update_mask).await?;
                    Ok(wire::$update_response {
                        $field: Some(shown(changed.value)),
                        revision: changed.revision.unwrap_or_default(),
                    })
                };
                self.answer(authz::$update_permission, result.await)
            }

            async fn $delete(
                &self,
                request: Request<wire::$delete_request>,
            ) -> Result<Response<wire::$delete_response>, Status> {
                let result = async {
                    let at = self
                        .enter_org(&request, authz::$delete_permission, |request| &request.org)
                        .await?
                        .agreeing(request.get_ref());
                    let $request = request.into_inner();
                    let wanted = $crate::api::crud::removal!($request, $field, cascade: $cascade);
                    let gone = self.services.delete::<wire::$message>(at, wanted).await?;
                    Ok($crate::api::crud::removed!($delete_response, gone))
                };
                self.answer(authz::$delete_permission, result.await)
            }

            $($($more)*)?
        }
    };
}
pub(super) use crud;
