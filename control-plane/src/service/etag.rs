//! The etag of a resource, which callers are shown, and which a change can name to be made to that state alone.

use data_encoding::HEXLOWER;
use rr_contract::model::time;

use super::ServiceError;
use crate::document::Resource;
use crate::store::{Stored, resource_row, time_of};

/// The etag of a stored state: it differs whenever the document differs.
fn etag(row: &resource_row::Model) -> String {
    HEXLOWER.encode(&row.doc[..row.doc.len().min(12)])
}

/// Refuses a change of another state than the one that the caller has seen.
pub(super) fn same_etag<R: Resource>(found: &Stored<R>, given: &str) -> Result<(), ServiceError> {
    let current = etag(&found.row);
    // As HTTP writes it, too.
    let bare = given.trim_start_matches("W/").trim_matches('"');
    if bare.is_empty() || bare == current {
        return Ok(());
    }
    Err(ServiceError::Stale {
        noun: R::NOUN.title(),
        name: found.row.name.clone(),
        given: given.to_owned(),
        current,
        value: Box::new(shown(found.clone()).wrap()),
    })
}

/// A resource as callers see it.
pub(crate) fn shown<R: Resource>(stored: Stored<R>) -> R {
    let Stored { row, mut document } = stored;
    let at = |micros| Some(time::timestamp(time_of(micros)));
    let fields = document.fields();
    *fields.etag = etag(&row);
    *fields.created_at = at(row.created_at);
    if let Some(updated_at) = fields.updated_at {
        *updated_at = at(row.updated_at);
    }
    *fields.created_by = row.created_by;
    document
}
