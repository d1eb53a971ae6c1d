//! Where a batch is stored: in the store of records that its region names, or in the central database.
//!
//! What is not of records (last uses of callers, notifications) is written in the central database either way: in the same
//! transaction where records go there, too, and otherwise before them. It is the same however often it is written, so a batch
//! that comes again after a fault in between counts nothing twice. The invariant: a batch is acknowledged only by the store
//! that holds the cursor of its spool.

use super::{near, tell_of_limits};
use crate::notice;
use crate::store::cursor::Spool;
use crate::store::request::{self, Ingest, Ingested, Served};
use crate::store::{RecordStore, RecordStores, StoreError, caller_use};

/// Stores a batch where records of its region go.
pub(crate) async fn place(records: &RecordStores, batch: Ingest) -> Result<Ingested, StoreError> {
    match place_once(records, batch).await {
        // What is known here of the region is old.
        Ok(Ingested::Elsewhere) | Err(StoreError::Moved) => {
            records.forget();
            Err(StoreError::Moved)
        }
        outcome => outcome,
    }
}

async fn place_once(records: &RecordStores, mut batch: Ingest) -> Result<Ingested, StoreError> {
    let placement = records.placement(&batch.region).await?;
    batch.since = placement.since;
    let to = if placement.since > 0 {
        let spool = Spool { node: batch.node.clone(), spool: batch.spool.clone() };
        records.bring(&placement, &spool).await?
    } else {
        records.get(&placement.store)?
    };
    if to.is_central() {
        return to.central().note(move |txn| Box::pin(async move { super::ingest(txn, batch).await })).await;
    }
    // Read by itself: a proxy that was served once stays so.
    let served = request::served(to.central(), &batch).await?;
    let batch = tell(&to, batch, &served).await?;
    to.take(batch, served).await
}

/// Writes what follows from a batch in the central database. Gives the batch back.
async fn tell(to: &RecordStore, mut batch: Ingest, served: &Served) -> Result<Ingest, StoreError> {
    let (region, uses) = (batch.region.clone(), std::mem::take(&mut batch.uses));
    let records = std::mem::take(&mut batch.records).into_iter();
    let (accepted, foreign): (Vec<_>, Vec<_>) =
        records.partition(|row| served.contains(&(row.org.clone(), row.proxy.clone())));
    batch.records = foreign;
    // Most batches say nothing that is written there, and the central database is spared a transaction.
    if uses.is_empty() && !accepted.iter().any(notice::is_limited) && !near::is_any(&accepted) {
        batch.records.extend(accepted);
        return Ok(batch);
    }
    let told = to.central().note(move |txn| {
        Box::pin(async move {
            caller_use::advance(txn, &region, uses).await?;
            tell_of_limits(txn, &accepted).await?;
            near::tell(txn, &accepted).await?;
            Ok::<_, StoreError>(accepted)
        })
    });
    batch.records.extend(told.await?);
    Ok(batch)
}
