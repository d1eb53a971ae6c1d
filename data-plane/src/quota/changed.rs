//! Names of counters, and which of them have changed since they were last saved.
//!
//! Counts nothing. A counter is put down once between two saves, by the request that changes it first; the lists are
//! many, so that no two requests are likely to want the same one. The invariant: what is not put down has not changed.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rr_contract::model::id::{CredentialId, MeterId, ProxyId};

use super::cell::Counted;
use super::moment::{Moment, Window};
use crate::holder::Holder;

const LISTS: usize = 64;

/// The name of a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Id {
    /// All requests of a proxy.
    Proxy(ProxyId),
    /// A meter.
    Meter(MeterId),
    /// The requests of a caller credential.
    Caller(ProxyId, CredentialId),
    /// The requests of who holds a token.
    Holder(ProxyId, Holder),
    /// The requests from an address.
    Address(ProxyId, Address),
    /// The requests of callers that are not counted apart.
    OtherCallers(ProxyId),
    /// The requests of holders that are not counted apart.
    OtherHolders(ProxyId),
    /// The requests from addresses that are not counted apart.
    OtherAddresses(ProxyId),
}

/// An IPv4 address, or the first 64 bits of an IPv6 address: what one caller may be given whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Address(pub(super) [u8; 16]);

/// What is on disk of a counter. Terms are of the first era.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) day: Counted,
    pub(super) month: Option<Counted>,
}

impl Saved {
    /// Whether anything is counted in a window that is not over.
    pub(super) fn is_running(&self, now: &Moment) -> bool {
        let is_on = |counted: &Counted, window| {
            // By the calendar: what is on disk knows no eras.
            counted.count > 0 && counted.term.index() >= now.term(window).index()
        };
        is_on(&self.day, Window::Day) || self.month.is_some_and(|month| is_on(&month, Window::Month))
    }
}

/// Counters that have changed.
#[derive(Debug)]
pub(super) struct Changed([Mutex<Vec<Id>>; LISTS]);

impl Default for Changed {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl Changed {
    /// Puts a counter down. The lists keep their room, so this allocates only while they grow.
    pub(super) fn add(&self, id: Id) {
        self.list(usize::from(id.last_byte()) % LISTS).push(id);
    }

    /// Moves all into `ids`.
    pub(super) fn take(&self, ids: &mut Vec<Id>) {
        for list in 0..LISTS {
            ids.append(&mut self.list(list));
        }
    }

    fn list(&self, list: usize) -> MutexGuard<'_, Vec<Id>> {
        self.0[list].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Id {
    /// Differs where names differ at random, but for addresses, whose sender chooses it: that costs a wait of some
    /// nanoseconds.
    fn last_byte(&self) -> u8 {
        match self {
            Self::Proxy(id) | Self::OtherCallers(id) | Self::OtherHolders(id) | Self::OtherAddresses(id) => {
                id.as_bytes()[15]
            }
            Self::Meter(id) => id.as_bytes()[15],
            Self::Caller(_, id) => id.as_bytes()[15],
            Self::Holder(_, holder) => holder.as_bytes()[15],
            Self::Address(proxy, Address(bytes)) => proxy.as_bytes()[15] ^ bytes[7] ^ bytes[15],
        }
    }
}
