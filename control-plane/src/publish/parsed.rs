//! Published resources, parsed: what the index, views and transactions are made of.
//!
//! The parser is the costly part, and needs no index: no lock is held over it.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use rr_contract::digest::{ResourceHash, resource_hash};
use rr_contract::model::proxy::Proxy;
use rr_contract::model::resource::{Key, Model, ResourceId};
use tracing::error;

use crate::store::history::{News, PublishedChange};

/// A published resource, and what its payload says about where it goes.
#[derive(Debug, Clone)]
pub(super) struct ParsedResource {
    pub(super) revision: u64,
    pub(super) hash: ResourceHash,
    pub(super) payload: Bytes,
    /// What a reader must understand.
    pub(super) needs: Vec<&'static str>,
    /// Of a proxy: what decides where it and what it refers to is sent.
    pub(super) proxy: Option<Arc<Proxy>>,
    /// Of a rule, filter or meter: what it belongs to, and goes wherever that goes.
    pub(super) parent: Option<Key>,
}

impl ParsedResource {
    pub(super) fn of(key: &Key, revision: u64, payload: Bytes) -> Self {
        let (mut proxy, mut parent, mut needs) = (None, None, Vec::new());
        match Model::parse(key, &payload) {
            Ok(model) => {
                needs = model.needs();
                match model {
                    Model::Proxy(found) => proxy = Some(Arc::new(found)),
                    child @ (Model::Rule(_) | Model::Filter(_) | Model::Meter(_)) => {
                        parent = child.refs(key).into_iter().find(|key| key.id != ResourceId::Org);
                    }
                    Model::Org(_) | Model::Target(_) | Model::Credential(_) => {}
                }
            }
            Err(error) => {
                // It was parsed before it was stored, so this build is older than what wrote it.
                error!(resource = %key, %error, "published resource not understood");
            }
        }
        Self { revision, hash: resource_hash(&payload), payload, needs, proxy, parent }
    }

    /// The same, now that it is known which revision it became.
    fn published_as(&self, revision: u64) -> Self {
        Self { revision, ..self.clone() }
    }

    /// What has to be held for this to be sent.
    pub(super) fn held_by(&self, key: Key) -> Key {
        self.parent.unwrap_or(key)
    }
}

/// Resources that were parsed before they were written, by revision and key.
pub(super) type ParsedBefore = HashMap<(u64, Key), Arc<ParsedResource>>;

/// What came after a revision, ready to be taken in.
pub(super) struct ParsedNews {
    pub(super) changes: Vec<(Key, u64, Option<Arc<ParsedResource>>)>,
    pub(super) removals: Vec<(u64, u64)>,
    pub(super) to: Option<(u64, [u8; 32])>,
}

impl ParsedNews {
    /// The costly part, which needs no index. What this replica wrote itself was parsed before: of the same bytes, the
    /// same comes out again.
    pub(super) fn of(news: News, before: &ParsedBefore) -> Self {
        let parsed = |change: PublishedChange| {
            let PublishedChange { key, revision, payload } = change;
            let resource = payload.map(|payload| match before.get(&(revision, key)) {
                Some(known) if known.payload == payload => known.published_as(revision),
                _ => ParsedResource::of(&key, revision, payload),
            });
            (key, revision, resource.map(Arc::new))
        };
        Self { changes: news.changes.into_iter().map(parsed).collect(), removals: news.removals, to: news.to }
    }
}
