//! The use cases: one write each, and the invariants that span nouns.
//!
//! Callers are authorized before they come here; statuses are made after. Nothing here opens a sealed secret: it
//! could not. One that comes in the clear is sealed in `plain_secret` and known nowhere else.

mod access;
mod account;
mod adopt;
mod apply;
mod attestation;
mod audit;
mod authority;
mod caller_certificate;
mod caller_value;
mod ceiling;
mod compatibility;
mod credential;
mod destination;
mod directory;
mod draft;
mod error;
mod etag;
mod explain;
mod exposition;
mod fields;
mod history;
mod installation;
mod list_filter;
mod metrics;
mod node;
mod node_token;
pub(crate) mod notification;
mod org;
mod page;
mod plain_secret;
mod plan;
mod preview;
mod principal;
mod proxy;
mod record_filter;
pub(crate) mod region;
mod region_key;
mod removal;
mod request;
mod reseal;
mod resource;
mod rewrap;
mod rights;
mod rollback;
pub(crate) mod scope;
mod sealed_value;
mod target_test;
mod token;
mod trial;
mod wait;
pub(crate) mod withdraw;

use std::sync::Arc;

use rr_contract::runtime::Stop;
use rr_contract::seam::{Seams, draw};
use rr_contract::wire::fleet::Limits;
use rr_contract::wire::management::Org;

use crate::authority::Authority;
use crate::authz::{Permission, Principal};
use crate::publish::Publisher;
use crate::store::{Author, Consent, RecordStores, Store, resource_row};

use ceiling::Ceilings;

pub(crate) use apply::{ApplyOrder, DOCUMENTS_MOST};
pub(crate) use audit::{AuditQuery, ExportCursor};
pub(crate) use error::{Reason, ServiceError};
pub(crate) use etag::shown;
pub(crate) use node::NodeQuery;
pub(crate) use org::purge_at;
pub(crate) use page::{Page, PageRequest};
pub(crate) use plain_secret::Plain;
pub(crate) use plan::Plan;
pub(crate) use removal::Removal;
pub(crate) use resource::ListRequest;
pub(crate) use target_test::{TestBounds, TrialBounds};

/// An authorized caller, with the call that it makes; made only by authorization.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    pub(crate) permission: Permission,
    /// The consent that the request gives beforehand.
    pub(crate) consent: Consent,
    /// The highest limits that the installation lets any proxy have.
    pub(crate) ceilings: Limits,
}

impl Caller {
    pub(crate) fn author(&self) -> Author {
        let principal = &self.principal;
        Author {
            token: principal.token.clone(),
            user: principal.user.clone(),
            name: principal.name.clone(),
            address: principal.address.clone(),
            user_agent: principal.user_agent.clone(),
            call: self.permission.call,
            consent: self.consent,
            rehearsal: false,
        }
    }
}

/// An organization that exists and is not deleted.
#[derive(Debug, Clone)]
pub(crate) struct OrgRow {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) row: resource_row::Model,
    pub(crate) document: Org,
}

/// An authorized caller in an organization; made only by authorization.
#[derive(Debug, Clone)]
pub(crate) struct OrgCaller {
    pub(crate) caller: Caller,
    pub(crate) org: OrgRow,
}

impl OrgCaller {
    fn author(&self) -> Author {
        self.caller.author()
    }

    /// What proxies of the organization may have, as it is now.
    fn ceilings<'a>(&self, org: &'a Org) -> Ceilings<'a> {
        Ceilings::new(self.caller.ceilings, org)
    }
}

/// All use cases. Clones share the store and the publisher.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) store: Store,
    /// Where records of requests are.
    pub(crate) records: RecordStores,
    pub(crate) seams: Seams,
    pub(crate) authority: Arc<Authority>,
    pub(crate) publisher: Arc<Publisher>,
    /// The highest limits that any proxy may have.
    pub(crate) ceilings: Limits,
    /// Who tests targets.
    pub(crate) tests: TestBounds,
    /// Who has requests explained.
    pub(crate) trials: TrialBounds,
    /// Ends calls that wait.
    pub(crate) stop: Stop,
}

impl Services {
    /// An id's bytes.
    fn random(&self) -> [u8; 16] {
        draw(&*self.seams.entropy)
    }
}
