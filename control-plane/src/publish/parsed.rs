//! Published resources, parsed: what the index, views and transactions are made of.
//!
//! The parser is the costly part, and needs no index: no lock is held over it.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use rr_contract::model::id::RegionId;
use rr_contract::model::resource::Key;
use tracing::error;

use crate::payload::Payload;
use crate::store::history::{News, PublishedChange};

/// A published resource.
#[derive(Debug, Clone)]
pub(super) struct ParsedResource {
    pub(super) revision: u64,
    pub(super) payload: Payload,
}

impl ParsedResource {
    /// Out of what the database has.
    pub(super) fn of(key: &Key, revision: u64, bytes: Bytes) -> Self {
        let payload = Payload::parse(key, bytes.clone()).unwrap_or_else(|error| {
            // It was parsed before it was stored, so this build is older than what wrote it, or stricter.
            error!(resource = %key, %error, "a published resource cannot be parsed: this control plane is older than the one that wrote it, or takes less; update the control plane, or correct the resource");
            Payload::opaque(bytes)
        });
        Self { revision, payload }
    }

    /// The same, now that it is known which revision it became.
    fn published_as(&self, revision: u64) -> Self {
        Self { revision, payload: self.payload.clone() }
    }

    /// What has to be held for this to be sent.
    pub(super) fn held_by(&self, key: Key) -> Key {
        self.payload.parent().unwrap_or(key)
    }
}

/// Resources that were parsed before they were written, by revision and key.
pub(super) type ParsedBefore = HashMap<(u64, Key), Arc<ParsedResource>>;

/// What came after a revision, ready to be taken in.
pub(super) struct ParsedNews {
    pub(super) changes: Vec<(Key, u64, Option<Arc<ParsedResource>>)>,
    pub(super) removals: Vec<(u64, u64)>,
    pub(super) regions: Vec<(RegionId, u64)>,
    pub(super) to: Option<(u64, [u8; 32])>,
}

impl ParsedNews {
    /// The costly part, which needs no index. What this replica wrote itself was parsed before: of the same bytes, the
    /// same comes out again.
    pub(super) fn of(news: News, before: &ParsedBefore) -> Self {
        let parsed = |change: PublishedChange| {
            let PublishedChange { key, revision, payload } = change;
            let resource = payload.map(|payload| match before.get(&(revision, key)) {
                Some(known) if *known.payload.bytes() == payload => known.published_as(revision),
                _ => ParsedResource::of(&key, revision, payload),
            });
            (key, revision, resource.map(Arc::new))
        };
        let News { changes, removals, regions, to } = news;
        Self { changes: changes.into_iter().map(parsed).collect(), removals, regions, to }
    }
}
