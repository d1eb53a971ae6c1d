//! Tells of limits that are nearly used up, as the records of a batch say.
//!
//! Of meters records say what each request was charged and not how much of the limit is used, so that they are not told
//! of before a request exceeds one. Counts are of each node.

use std::collections::BTreeMap;

use prost::Message;
use rr_contract::wire::fleet::{LimitKind, LimitState};

use crate::notice::{self, NearLimit};
use crate::noun::Noun;
use crate::store::{StoreError, Txn, notification, request_row, resource};

/// What is read of a record: the rest of it is passed over.
#[derive(Clone, PartialEq, Message)]
struct Counted {
    #[prost(message, repeated, tag = "22")]
    limits: Vec<LimitState>,
}

/// Whether there is anything to tell.
pub(super) fn is_any(records: &[request_row::Model]) -> bool {
    records.iter().filter(|record| !notice::is_limited(record)).any(|record| {
        let counted = Counted::decode(record.record.as_slice()).unwrap_or_default();
        counted.limits.iter().any(|limit| notice::near_since(limit, record.received_at).is_some())
    })
}

/// Tells, once for each window, proxy and limit. One over the limit is told by another notification.
pub(super) async fn tell(txn: &Txn, records: &[request_row::Model]) -> Result<(), StoreError> {
    let mut near: BTreeMap<_, (LimitState, &request_row::Model)> = BTreeMap::new();
    for record in records.iter().filter(|record| !notice::is_limited(record)) {
        // What does not decode was not written by this build.
        let counted = Counted::decode(record.record.as_slice()).unwrap_or_default();
        for limit in counted.limits {
            let Some(from) = notice::near_since(&limit, record.received_at) else { continue };
            let key = (record.org.as_str(), record.proxy.as_str(), limit.kind, limit.window, from);
            let most = near.entry(key).or_insert((limit, record));
            if most.0.used < limit.used {
                *most = (limit, record);
            }
        }
    }
    let mut rows = Vec::with_capacity(near.len());
    for ((org, proxy, _, _, from), (limit, record)) in near {
        // What was removed meanwhile is named by its id.
        let name = async |noun, id: &str| -> Result<String, StoreError> {
            let row = resource::by_id(txn, noun, id).await?;
            Ok(row.map_or_else(|| id.to_owned(), |row| row.name))
        };
        let caller = match limit.kind() {
            LimitKind::Caller => name(Noun::Credential, &record.caller).await?,
            LimitKind::Proxy | LimitKind::Address | LimitKind::Unspecified => String::new(),
        };
        let of = NearLimit {
            org,
            proxy: (proxy, &name(Noun::Proxy, proxy).await?),
            limit: &limit,
            from,
            node: &record.node,
            caller: &caller,
        };
        rows.push(notice::limit_near(txn.now(), &of));
    }
    notification::insert(txn, &rows).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use rr_contract::wire::fleet::{Record, Window};

    use super::*;

    #[test]
    fn the_limits_of_a_record_are_read_from_where_nodes_write_them() {
        let (kind, window) = (LimitKind::Caller.into(), Window::Day.into());
        let limits = vec![LimitState { kind, window, limit: 100, used: 80 }];
        let record = Record { id: "rq".to_owned(), limits: limits.clone(), revision: 7, ..Record::default() };
        let counted = Counted::decode(record.encode_to_vec().as_slice()).expect("decodes");
        assert_eq!(counted.limits, limits);
    }
}
