//! Streams of news of an organization: looked for again and again, for as long as the caller listens and may.
//!
//! Knows no news. The invariant: the caller's right is looked up before each look.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use tonic::Status;

use super::caller::Watcher;
use super::{Api, status};
use crate::authz::Permission;
use crate::service::{OrgCaller, ServiceError};

/// Who watches what.
pub(super) struct Watch {
    pub(super) watcher: Watcher,
    pub(super) permission: Permission,
    /// Id of the organization.
    pub(super) org: String,
    /// How often somebody looks.
    pub(super) every: Duration,
}

impl Api {
    /// What `news` finds behind `cursor`, which it moves.
    pub(super) fn watch<T, C, F>(
        &self,
        watch: Watch,
        cursor: C,
        news: impl Fn(Self, OrgCaller, C) -> F + Send + Sync + 'static,
    ) -> BoxStream<'static, Result<T, Status>>
    where
        T: Send + 'static,
        C: Send + 'static,
        F: Future<Output = Result<(Vec<T>, C), ServiceError>> + Send,
    {
        let all = (self.clone(), watch, news);
        let batches = stream::unfold(Some((all, cursor)), |state| async {
            let ((api, watch, news), mut cursor) = state?;
            let Watch { watcher, permission, org, every } = &watch;
            loop {
                tokio::select! {
                    () = api.stop.requested() => return Some((vec![Err(status::stopping())], None)),
                    () = tokio::time::sleep(*every) => {}
                }
                // A right that is gone ends the watch, too.
                let found = match api.enter_org_again(watcher, *permission, org).await {
                    Ok(at) => news(api.clone(), at, cursor).await,
                    Err(error) => Err(error),
                };
                match found {
                    Ok((found, behind)) if found.is_empty() => cursor = behind,
                    Ok((found, behind)) => {
                        let found = found.into_iter().map(Ok).collect();
                        return Some((found, Some(((api, watch, news), behind))));
                    }
                    Err(error) => return Some((vec![Err(status::of(*permission, &error))], None)),
                }
            }
        });
        batches.flat_map(|batch: Vec<_>| stream::iter(batch)).boxed()
    }
}
