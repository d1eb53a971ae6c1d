//! Calls of AuditService.

use futures_util::stream::BoxStream;
use rr_contract::model::time;
use rr_contract::wire::management as wire;
use tonic::{Request, Response, Status};

use super::{Api, status};
use crate::authz;
use crate::service::{AuditQuery, ExportCursor, PageRequest};
use crate::store::time_of;

#[tonic::async_trait]
impl wire::audit_service_server::AuditService for Api {
    async fn list_audit_entries(
        &self,
        request: Request<wire::ListAuditEntriesRequest>,
    ) -> Result<Response<wire::ListAuditEntriesResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::LIST_AUDIT_ENTRIES, |request| &request.org).await?;
            let request = request.into_inner();
            let page = PageRequest::parse(request.page_size, &request.page_token)?;
            let query = AuditQuery {
                resource: request.resource,
                actor: request.actor,
                after: request.after,
                before: request.before,
            };
            let page = self.services.audit_list(Some(&at), query, &page).await?;
            Ok(wire::ListAuditEntriesResponse { entries: page.items, next_page_token: page.next })
        };
        self.answer(authz::LIST_AUDIT_ENTRIES, result.await)
    }

    async fn list_installation_audit_entries(
        &self,
        request: Request<wire::ListInstallationAuditEntriesRequest>,
    ) -> Result<Response<wire::ListInstallationAuditEntriesResponse>, Status> {
        let result = async {
            self.enter(authz::LIST_INSTALLATION_AUDIT_ENTRIES)?;
            let request = request.into_inner();
            let page = PageRequest::parse(request.page_size, &request.page_token)?;
            let query = AuditQuery {
                resource: request.resource,
                actor: request.actor,
                after: request.after,
                before: request.before,
            };
            let page = self.services.audit_list(None, query, &page).await?;
            Ok(wire::ListInstallationAuditEntriesResponse { entries: page.items, next_page_token: page.next })
        };
        self.answer(authz::LIST_INSTALLATION_AUDIT_ENTRIES, result.await)
    }

    type ExportAuditStream = BoxStream<'static, Result<wire::ExportAuditResponse, Status>>;

    async fn export_audit(
        &self,
        request: Request<wire::ExportAuditRequest>,
    ) -> Result<Response<Self::ExportAuditStream>, Status> {
        let result = async {
            self.enter(authz::EXPORT_AUDIT)?;
            let request = request.into_inner();
            let head = self.services.installation().await?.revision;
            ExportCursor::new(request.from, request.to, head)
        };
        let cursor = match result.await {
            Ok(cursor) => cursor,
            Err(error) => return self.answer(authz::EXPORT_AUDIT, Err(error)),
        };
        let (services, stop) = (self.services.clone(), self.stop.clone());
        let batches = futures_util::stream::unfold(Some(cursor), move |cursor| {
            let (services, stop) = (services.clone(), stop.clone());
            async move {
                let mut cursor = cursor?;
                let read = tokio::select! {
                    () = stop.requested() => return Some((vec![Err(status::stopping())], None)),
                    read = services.audit_export(&mut cursor) => read,
                };
                match read {
                    Ok(entries) if entries.is_empty() => None,
                    Ok(entries) => {
                        let messages = entries
                            .into_iter()
                            .map(|entry| Ok(wire::ExportAuditResponse { entry: Some(entry) }));
                        Some((messages.collect(), Some(cursor)))
                    }
                    Err(error) => Some((vec![Err(status::of(authz::EXPORT_AUDIT, &error))], None)),
                }
            }
        });
        let messages =
            futures_util::StreamExt::flat_map(batches, |batch: Vec<_>| futures_util::stream::iter(batch));
        self.answer(authz::EXPORT_AUDIT, Ok(Box::pin(messages) as Self::ExportAuditStream))
    }

    async fn list_refused_attempts(
        &self,
        request: Request<wire::ListRefusedAttemptsRequest>,
    ) -> Result<Response<wire::ListRefusedAttemptsResponse>, Status> {
        let result = async {
            self.enter(authz::LIST_REFUSED_ATTEMPTS)?;
            let request = request.into_inner();
            let page = PageRequest::parse(request.page_size, &request.page_token)?;
            let page = self.services.refused_list(request.actor, &page).await?;
            let attempts = page.items.into_iter().map(|row| wire::RefusedAttempt {
                minute: Some(time::timestamp(time_of(row.minute))),
                token: row.token,
                user: row.user,
                call: row.call,
                reason: row.reason,
                count: row.count.unsigned_abs(),
                address: row.address,
            });
            Ok(wire::ListRefusedAttemptsResponse { attempts: attempts.collect(), next_page_token: page.next })
        };
        self.answer(authz::LIST_REFUSED_ATTEMPTS, result.await)
    }
}
