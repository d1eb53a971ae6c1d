//! Encoded documents and payloads on their way from a write to the index: hashed once, parsed once.
//!
//! Knows no store and no index. The invariant: the hash is that of the bytes, and what is said of a payload was read out of
//! these bytes by the parser of nodes.

use std::sync::Arc;

use bytes::Bytes;
use rr_contract::digest::{ResourceHash, resource_hash};
use rr_contract::model::proxy::Proxy;
use rr_contract::model::resource::{InvalidPayload, Key, Model, ResourceId};

/// Bytes and their hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hashed {
    bytes: Bytes,
    hash: ResourceHash,
}

impl Hashed {
    /// The costly part.
    pub(crate) fn of(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { hash: resource_hash(&bytes), bytes }
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(crate) fn hash(&self) -> &ResourceHash {
        &self.hash
    }
}

/// What nodes are sent of a resource, and what it says about where it goes.
#[derive(Debug, Clone)]
pub(crate) struct Payload {
    content: Hashed,
    needs: Vec<&'static str>,
    proxy: Option<Arc<Proxy>>,
    parent: Option<Key>,
}

impl Payload {
    /// Parses with the code that nodes parse with.
    pub(crate) fn parse(key: &Key, bytes: impl Into<Bytes>) -> Result<Self, InvalidPayload> {
        let bytes = bytes.into();
        let model = Model::parse(key, &bytes)?;
        let needs = model.needs();
        let (mut proxy, mut parent) = (None, None);
        match model {
            Model::Proxy(found) => proxy = Some(Arc::new(found)),
            child @ (Model::Rule(_) | Model::Filter(_) | Model::Meter(_)) => {
                parent = child.refs(key).into_iter().find(|key| key.id != ResourceId::Org);
            }
            Model::Org(_) | Model::Target(_) | Model::Credential(_) => {}
        }
        Ok(Self { content: Hashed::of(bytes), needs, proxy, parent })
    }

    /// Bytes that nobody here understands: they say nothing, and are sent as they are.
    pub(crate) fn opaque(bytes: impl Into<Bytes>) -> Self {
        Self { content: Hashed::of(bytes), needs: Vec::new(), proxy: None, parent: None }
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.content.bytes
    }

    pub(crate) fn hash(&self) -> &ResourceHash {
        &self.content.hash
    }

    /// What a reader must understand.
    pub(crate) fn needs(&self) -> &[&'static str] {
        &self.needs
    }

    /// Of a proxy: what decides where it and what it refers to is sent.
    pub(crate) fn proxy(&self) -> Option<&Arc<Proxy>> {
        self.proxy.as_ref()
    }

    /// Of a rule, filter or meter: what it belongs to, and goes wherever that goes.
    pub(crate) fn parent(&self) -> Option<Key> {
        self.parent
    }
}
