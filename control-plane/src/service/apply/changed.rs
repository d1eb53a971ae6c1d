//! What an apply says of its updates: the fields that differ, with references by name.
//!
//! Decides no change. The invariant: an answer stays small whatever the documents hold.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message as _;
use rr_contract::document;
use rr_contract::wire::management::{self as wire, Document};

use crate::document::{Resource as _, each};
use crate::noun::Noun;
use crate::service::ServiceError;
use crate::service::directory::Directory;
use crate::store::{self, StoreError, Txn, resource_row};

/// How many fields one change tells.
const FIELDS: usize = 50;
/// How many bytes of fields one answer tells.
const ROOM: usize = 256 * 1024;

/// An update that the answer lists.
pub(super) struct Updated {
    /// Where it is listed.
    pub(super) at: usize,
    /// The hash of the document that is stored.
    pub(super) before: Vec<u8>,
    pub(super) after: Bytes,
}

/// Adds the fields of updates to the answer.
pub(super) async fn tell(
    txn: &Txn,
    directory: &Directory,
    gone: &[(Noun, resource_row::Model)],
    updates: Vec<Updated>,
    outcome: &mut wire::ApplyOutcome,
) -> Result<(), ServiceError> {
    if updates.is_empty() {
        return Ok(());
    }
    let gone: HashMap<&str, &str> = gone.iter().map(|(_, row)| (&*row.id, &*row.name)).collect();
    let read = |bytes: &[u8]| {
        let mut document = Document::decode(bytes).map_err(|_| StoreError::Damaged("blob"))?;
        name(&mut document, directory, &gone);
        Ok::<_, StoreError>(document)
    };
    let stored =
        store::resource::blobs(txn, updates.iter().map(|update| update.before.clone()).collect()).await?;
    let mut room = ROOM;
    for update in updates {
        let before = stored.get(&update.before).ok_or(StoreError::Damaged("blob"))?;
        let mut fields = document::between(&read(before)?, &read(&update.after)?);
        let found = fields.len();
        fields.truncate(FIELDS);
        let mut told = 0;
        for field in &fields {
            let Some(rest) = room.checked_sub(field.encoded_len()) else { break };
            (room, told) = (rest, told + 1);
        }
        fields.truncate(told);
        let Some(change) = outcome.changes.get_mut(update.at) else { continue };
        change.more_fields = u32::try_from(found - told).unwrap_or(u32::MAX);
        change.fields = fields;
    }
    Ok(())
}

/// Turns ids of resources into names. The id of what is no longer there stays.
fn name(document: &mut Document, directory: &Directory, gone: &HashMap<&str, &str>) {
    let Some(resource) = &mut document.resource else { return };
    each!(resource, resource => for link in resource.links() {
        let known = directory.get(link.noun, link.to).map(|known| known.name.as_str());
        if let Some(name) = known.or_else(|| gone.get(link.to.as_str()).copied()) {
            name.clone_into(link.to);
        }
    });
}
