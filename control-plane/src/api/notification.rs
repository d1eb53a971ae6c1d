//! Calls of NotificationService.

use std::time::Duration;

use futures_util::stream::BoxStream;
use rr_contract::wire::management as wire;
use tonic::{Request, Response, Status};

use super::Api;
use super::watch::Watch;
use crate::authz;
use crate::service::PageRequest;
use crate::service::notification::Marks;

/// How often a watch reads new notifications.
const LOOK: Duration = Duration::from_secs(1);

#[tonic::async_trait]
impl wire::notification_service_server::NotificationService for Api {
    async fn list_notifications(
        &self,
        request: Request<wire::ListNotificationsRequest>,
    ) -> Result<Response<wire::ListNotificationsResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::LIST_NOTIFICATIONS, |request| &request.org).await?;
            let request = request.into_inner();
            let page = PageRequest::parse(request.page_size, &request.page_token)?;
            let page = self.services.notification_list(&at.org.id, request.unread, &page).await?;
            Ok(wire::ListNotificationsResponse { notifications: page.items, next_page_token: page.next })
        };
        self.answer(authz::LIST_NOTIFICATIONS, result.await)
    }

    async fn get_notification(
        &self,
        request: Request<wire::GetNotificationRequest>,
    ) -> Result<Response<wire::GetNotificationResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::GET_NOTIFICATION, |request| &request.org).await?;
            let found = self.services.notification_show(&at.org.id, &request.get_ref().notification).await?;
            Ok(wire::GetNotificationResponse { notification: Some(found) })
        };
        self.answer(authz::GET_NOTIFICATION, result.await)
    }

    async fn mark_notifications_read(
        &self,
        request: Request<wire::MarkNotificationsReadRequest>,
    ) -> Result<Response<wire::MarkNotificationsReadResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::MARK_NOTIFICATIONS_READ, |request| &request.org).await?;
            let wire::MarkNotificationsReadRequest { org: _, notifications, all, through } =
                request.into_inner();
            let marks = Marks::parse(notifications, all, through.as_ref(), self.services.store.now())?;
            let marked = self.services.notification_mark(&at.org.id, marks).await?;
            Ok(wire::MarkNotificationsReadResponse { marked })
        };
        self.answer(authz::MARK_NOTIFICATIONS_READ, result.await)
    }

    type WatchNotificationsStream = BoxStream<'static, Result<wire::WatchNotificationsResponse, Status>>;

    async fn watch_notifications(
        &self,
        request: Request<wire::WatchNotificationsRequest>,
    ) -> Result<Response<Self::WatchNotificationsStream>, Status> {
        let entered = async {
            let at = self.enter_org(&request, authz::WATCH_NOTIFICATIONS, |request| &request.org).await?;
            Ok((at, self.watcher(&request)?))
        };
        let (at, watcher) = match entered.await {
            Ok(entered) => entered,
            Err(error) => return self.answer(authz::WATCH_NOTIFICATIONS, Err(error)),
        };
        let watch = Watch { watcher, permission: authz::WATCH_NOTIFICATIONS, org: at.org.id, every: LOOK };
        let from = (self.services.store.now(), String::new());
        let messages = self.watch(watch, from, async |api, at, mut cursor| {
            let news = api.services.notification_news(&at.org.id, &mut cursor).await?;
            let message =
                |notification| wire::WatchNotificationsResponse { notification: Some(notification) };
            Ok((news.into_iter().map(message).collect(), cursor))
        });
        self.answer(authz::WATCH_NOTIFICATIONS, Ok(messages))
    }

    async fn list_installation_notifications(
        &self,
        request: Request<wire::ListInstallationNotificationsRequest>,
    ) -> Result<Response<wire::ListInstallationNotificationsResponse>, Status> {
        let result = async {
            self.enter(authz::LIST_INSTALLATION_NOTIFICATIONS)?;
            let request = request.into_inner();
            let page = PageRequest::parse(request.page_size, &request.page_token)?;
            let page = self.services.notification_list("", request.unread, &page).await?;
            Ok(wire::ListInstallationNotificationsResponse {
                notifications: page.items,
                next_page_token: page.next,
            })
        };
        self.answer(authz::LIST_INSTALLATION_NOTIFICATIONS, result.await)
    }

    async fn mark_installation_notifications_read(
        &self,
        request: Request<wire::MarkInstallationNotificationsReadRequest>,
    ) -> Result<Response<wire::MarkInstallationNotificationsReadResponse>, Status> {
        let result = async {
            self.enter(authz::MARK_INSTALLATION_NOTIFICATIONS_READ)?;
            let wire::MarkInstallationNotificationsReadRequest { notifications, all, through } =
                request.into_inner();
            let marks = Marks::parse(notifications, all, through.as_ref(), self.services.store.now())?;
            let marked = self.services.notification_mark("", marks).await?;
            Ok(wire::MarkInstallationNotificationsReadResponse { marked })
        };
        self.answer(authz::MARK_INSTALLATION_NOTIFICATIONS_READ, result.await)
    }

    async fn list_my_notifications(
        &self,
        request: Request<wire::ListMyNotificationsRequest>,
    ) -> Result<Response<wire::ListMyNotificationsResponse>, Status> {
        let result = async {
            let caller = self.enter(authz::LIST_MY_NOTIFICATIONS)?;
            let request = request.into_inner();
            let page = PageRequest::parse(request.page_size, &request.page_token)?;
            let listed = self.services.notification_list_mine(&caller.principal, request.unread, &page);
            let page = listed.await?;
            Ok(wire::ListMyNotificationsResponse { notifications: page.items, next_page_token: page.next })
        };
        self.answer(authz::LIST_MY_NOTIFICATIONS, result.await)
    }

    async fn mark_my_notifications_read(
        &self,
        request: Request<wire::MarkMyNotificationsReadRequest>,
    ) -> Result<Response<wire::MarkMyNotificationsReadResponse>, Status> {
        let result = async {
            let caller = self.enter(authz::MARK_MY_NOTIFICATIONS_READ)?;
            let wire::MarkMyNotificationsReadRequest { notifications, all, through } = request.into_inner();
            let marks = Marks::parse(notifications, all, through.as_ref(), self.services.store.now())?;
            let marked = self.services.notification_mark_mine(&caller.principal, marks).await?;
            Ok(wire::MarkMyNotificationsReadResponse { marked })
        };
        self.answer(authz::MARK_MY_NOTIFICATIONS_READ, result.await)
    }
}
