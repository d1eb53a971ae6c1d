//! The counters of a process that are made when a key is seen first, of limits and of meters.
//!
//! One place for each kind of key, so that those who can be any number take no place of those who are configured. The
//! invariant: a name that begins with a key is counted in one place.

use std::sync::Arc;

use super::changed::{Changed, Id, Saved};
use super::keyed::Keyed;
use super::moment::Moment;

/// Of all proxies and meters.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) callers: Keyed,
    pub(super) holders: Keyed,
    pub(super) addresses: Keyed,
    /// Of meters.
    pub(super) meter_callers: Keyed<4>,
    pub(super) meter_holders: Keyed<4>,
}

impl Keys {
    pub(super) fn new(callers: usize, holders: usize, addresses: usize, changed: &Arc<Changed>) -> Self {
        Self {
            callers: Keyed::new(callers, changed),
            holders: Keyed::new(holders, changed),
            addresses: Keyed::new(addresses, changed),
            meter_callers: Keyed::new(callers, changed),
            meter_holders: Keyed::new(holders, changed),
        }
    }

    /// Takes out keys that are over, of a part of them a call.
    pub(super) fn sweep(&self, at: &Moment) {
        self.callers.sweep(at);
        self.holders.sweep(at);
        self.addresses.sweep(at);
        self.meter_callers.sweep(at);
        self.meter_holders.sweep(at);
    }

    /// How many requests were counted together with others because there were too many keys.
    pub(super) fn overflows(&self) -> u64 {
        let of_limits = self.callers.overflows() + self.holders.overflows() + self.addresses.overflows();
        of_limits + self.meter_callers.overflows() + self.meter_holders.overflows()
    }

    /// What is to be on disk of one; `None` if it is gone, or is no key.
    pub(super) fn save(&self, id: Id) -> Option<Saved> {
        match id {
            Id::Caller(..) => self.callers.save(id),
            Id::Holder(..) => self.holders.save(id),
            Id::Address(..) => self.addresses.save(id),
            Id::MeterCaller(..) => self.meter_callers.save(id),
            Id::MeterHolder(..) => self.meter_holders.save(id),
            Id::Proxy(_)
            | Id::Meter(_)
            | Id::OtherCallers(_)
            | Id::OtherHolders(_)
            | Id::OtherAddresses(_)
            | Id::MeterOthers(_) => None,
        }
    }

    /// All that is to be on disk.
    pub(super) fn save_all(&self, mut each: impl FnMut(Id, Saved)) {
        self.callers.save_all(&mut each);
        self.holders.save_all(&mut each);
        self.addresses.save_all(&mut each);
        self.meter_callers.save_all(&mut each);
        self.meter_holders.save_all(&mut each);
    }

    /// Goes on with what was saved. `false`: it is no key.
    pub(super) fn load(&self, id: Id, saved: &Saved, is_worth_it: bool) -> bool {
        match id {
            Id::Caller(..) => self.callers.load(id, saved, is_worth_it),
            Id::Holder(..) => self.holders.load(id, saved, is_worth_it),
            Id::Address(..) => self.addresses.load(id, saved, is_worth_it),
            Id::MeterCaller(..) => self.meter_callers.load(id, saved, is_worth_it),
            Id::MeterHolder(..) => self.meter_holders.load(id, saved, is_worth_it),
            Id::Proxy(_)
            | Id::Meter(_)
            | Id::OtherCallers(_)
            | Id::OtherHolders(_)
            | Id::OtherAddresses(_)
            | Id::MeterOthers(_) => return false,
        }
        true
    }
}
