//! The use cases: one transaction each, and the invariants that span nouns.
//!
//! Callers are authorized before they come here; statuses are made after. Nothing here opens a secret: it
//! could not.

mod credential;
mod error;
mod fields;
mod installation;
mod node;
mod node_token;
mod org;
mod page;
mod proxy;
mod region;
mod request;
mod target;
mod token;

use std::sync::Arc;

use rr_contract::seam::{Seams, draw};

use crate::authz::{Principal, Rule};
use crate::publish::Publisher;
use crate::store::{Author, Store, org_row};

pub(crate) use error::{Reason, ServiceError};
pub(crate) use node::NodeView;
pub(crate) use page::{Page, PageRequest};

/// Who calls what; made only by authorization.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    pub(crate) rule: Rule,
}

impl Caller {
    fn author(&self) -> Author {
        Author { token: self.principal.token.clone(), call: self.rule.call }
    }
}

/// Who calls what in which organization; made only by authorization.
#[derive(Debug, Clone)]
pub(crate) struct OrgCaller {
    pub(crate) caller: Caller,
    pub(crate) org: org_row::Model,
}

/// All use cases. Clones share what is beneath.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) store: Store,
    pub(crate) seams: Seams,
    pub(crate) authority_pin: [u8; 32],
    pub(crate) publisher: Arc<Publisher>,
}

impl Services {
    /// An id's bytes.
    fn random(&self) -> [u8; 16] {
        draw(&*self.seams.entropy)
    }
}

/// What a write that publishes answers.
#[derive(Debug)]
pub(crate) struct Changed<T> {
    pub(crate) value: T,
    pub(crate) revision: u64,
}

impl<T> From<crate::store::Written<T>> for Changed<T> {
    fn from(written: crate::store::Written<T>) -> Self {
        Self { value: written.value, revision: written.revision.unwrap_or_default() }
    }
}
