//! What filters leave of a document, of a request or of a response.
//!
//! Knows no heads but for what they say of the bytes, and no stage. Gives way to other tasks between slices.

use std::borrow::Cow;

use http::HeaderMap;
use rr_contract::policy::filter::FilterChain;
use rr_contract::policy::json::JsonError;
use tokio::task::yield_now;
use tokio::time::Instant;

use crate::body::{Coding, NoRoom, Whole};
use crate::reply::Unreadable;

use super::settle::Draft;
use super::tee::may_be_json;

/// Why filters did not go over a document.
pub(super) enum NotFiltered {
    Json(JsonError),
    NoRoom(NoRoom),
}

/// What filters leave of a document: itself, where they take nothing. Says whether they took something.
pub(super) async fn go_over(
    document: Whole,
    chain: &FilterChain<'_>,
    draft: &mut Draft,
    began: Instant,
) -> Result<(Whole, bool), NotFiltered> {
    let mut of_left = document.another();
    let mut pass = chain.begin(document.bytes()).map_err(NotFiltered::Json)?;
    loop {
        let is_done = pass.advance().map_err(NotFiltered::Json)?;
        of_left.hold(pass.copies()).map_err(NotFiltered::NoRoom)?;
        if is_done {
            break;
        }
        yield_now().await;
    }
    let filtered = pass.finish();
    draft.filtered(&filtered, began.elapsed());
    let Cow::Owned(mut left) = filtered.document else { return Ok((document, false)) };
    of_left.fit_copy(&mut left);
    Ok((Whole::new(left.into(), of_left), true))
}

/// The coding of a body that filters can go over, by its head.
pub(super) fn coding(headers: &HeaderMap) -> Result<Coding, Unreadable> {
    if !may_be_json(headers) {
        return Err(Unreadable::Type);
    }
    Coding::of(headers).map_err(|_| Unreadable::Coding)
}
