//! Records of requests, to be read.

use rr_contract::wire::management;

use super::{OrgCaller, Page, PageRequest, ServiceError, Services, fields};
use crate::store::{self, request::RequestFilter, request_row};

impl Services {
    /// Newest first.
    pub(crate) async fn request_list(
        &self,
        at: &OrgCaller,
        request: &management::ListRequestsRequest,
    ) -> Result<Page<request_row::Model>, ServiceError> {
        let page = PageRequest::parse(request.page_size, &request.page_token)?;
        let behind = match page.cursor::<2>()? {
            Some([at, id]) => {
                let at = at.parse().map_err(|_| {
                    ServiceError::field(
                        "page_token",
                        "is not valid: pass the `next_page_token` of the previous page",
                    )
                })?;
                Some((at, id.to_owned()))
            }
            None => None,
        };
        let proxy = match request.proxy.as_str() {
            "" => None,
            reference => Some(self.show::<management::Proxy>(at, reference, 0).await?.row.id),
        };
        let filter = RequestFilter {
            org: at.org.id.clone(),
            proxy,
            after: fields::time_row("after", request.after.as_ref())?,
            before: fields::time_row("before", request.before.as_ref())?,
            behind,
        };
        let rows = store::request::list(&self.store, filter, page.limit()).await?;
        Ok(page.cut(rows, |row| vec![row.received_at.to_string(), row.id.clone()]))
    }

    /// By id.
    pub(crate) async fn request_show(
        &self,
        at: &OrgCaller,
        id: &str,
    ) -> Result<request_row::Model, ServiceError> {
        store::request::by_id(&self.store, &at.org.id, id)
            .await?
            .ok_or_else(|| ServiceError::NotFound { noun: "request", name: id.to_owned() })
    }
}
