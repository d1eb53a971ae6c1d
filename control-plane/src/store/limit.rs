//! Notes, as records come in, that proxies refused requests over a limit: with the records or not at all.

use std::collections::BTreeMap;

use super::entity::request_record;
use super::{StoreError, Txn, notification, resource};
use crate::notice::{self, HOUR};
use crate::noun::Noun;

/// Writes what the records tell and nobody has told: once for each proxy and hour.
pub(super) async fn tell(txn: &Txn, records: &[request_record::Model]) -> Result<(), StoreError> {
    let limited: BTreeMap<(&str, &str, i64), i64> = records
        .iter()
        .filter(|record| notice::is_limited(record))
        .map(|record| {
            let hour = record.received_at.div_euclid(HOUR);
            ((record.org.as_str(), record.proxy.as_str(), hour), record.received_at)
        })
        .collect();
    let mut rows = Vec::with_capacity(limited.len());
    for ((org, proxy, _), received_at) in limited {
        // One that was removed is told of by its id: what it did it did.
        let row = resource::by_id(txn, Noun::Proxy, proxy).await?;
        let name = row.map_or_else(|| proxy.to_owned(), |row| row.name);
        rows.push(notice::limit_reached(txn.now(), org, proxy, &name, received_at));
    }
    notification::insert(txn, &rows).await?;
    Ok(())
}
