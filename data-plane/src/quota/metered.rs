//! What a meter has counted: of all requests that it is about, or of each caller apart.
//!
//! Reads no numbers: the pipeline says how much. The invariant: a charge is settled where it was made.

use std::sync::Arc;

use rr_contract::model::id::{CredentialId, MeterId};
use rr_contract::model::meter::Windows;

use super::Quota as _;
use super::changed::Id;
use super::counter::{Charge, Counter, Exceeded};
use super::keyed::KeyCharge;
use super::keys::Keys;
use super::moment::{Moment, Window};
use crate::holder::Holder;

/// Whose request it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller {
    pub(crate) credential: CredentialId,
    /// Who holds its token, where holders are told apart.
    pub(crate) holder: Option<Holder>,
}

/// The counts of a meter.
#[derive(Debug, Clone)]
pub(crate) enum Metered {
    /// Of its whole proxy.
    Whole(Arc<Counter>),
    /// Of each caller.
    ByCaller(Arc<CallersMetered>),
}

/// The counts of callers at one meter.
#[derive(Debug)]
pub(crate) struct CallersMetered {
    pub(super) meter: MeterId,
    /// Of those that are not counted apart.
    pub(super) others: Counter,
    pub(super) keys: Arc<Keys>,
}

/// What was charged to a meter.
#[derive(Debug, Clone, Copy)]
pub(crate) enum MeterCharge {
    Whole(Charge),
    Caller(KeyCharge),
    Holder(KeyCharge),
    /// There is no limit, and nobody asks for the counts of single callers.
    Nowhere,
}

impl MeterCharge {
    /// What was used of a window with this charge, at the time of it.
    pub(crate) const fn used(&self, window: Window) -> u64 {
        match self {
            Self::Whole(charge) => charge.used(window),
            Self::Caller(charge) | Self::Holder(charge) => charge.used(window),
            Self::Nowhere => 0,
        }
    }
}

impl Metered {
    /// Charges an amount, if no limit would be passed.
    pub(crate) fn charge(
        &self,
        caller: Caller,
        amount: u64,
        limits: &Windows,
        at: &Moment,
    ) -> Result<MeterCharge, Exceeded> {
        let by = match self {
            Self::Whole(counter) => return counter.charge(amount, limits, at).map(MeterCharge::Whole),
            Self::ByCaller(_) if *limits == Windows::default() => return Ok(MeterCharge::Nowhere),
            Self::ByCaller(by) => by,
        };
        match caller.holder {
            None => {
                let id = Id::MeterCaller(by.meter, caller.credential);
                by.keys.meter_callers.charge(id, amount, limits, &by.others, at).map(MeterCharge::Caller)
            }
            Some(holder) => {
                let id = Id::MeterHolder(by.meter, holder);
                by.keys.meter_holders.charge(id, amount, limits, &by.others, at).map(MeterCharge::Holder)
            }
        }
    }

    /// Puts what the charged amount came to in its place.
    pub(crate) fn settle(&self, charge: MeterCharge, amount: u64) {
        match (self, charge) {
            (Self::Whole(counter), MeterCharge::Whole(charge)) => counter.settle(charge, amount),
            (Self::ByCaller(by), MeterCharge::Caller(charge)) => {
                by.keys.meter_callers.settle(charge, amount, &by.others);
            }
            (Self::ByCaller(by), MeterCharge::Holder(charge)) => {
                by.keys.meter_holders.settle(charge, amount, &by.others);
            }
            // A charge goes with the meter that made it.
            (_, _) => {}
        }
    }

    /// Takes a charge back.
    pub(crate) fn give_back(&self, charge: MeterCharge) {
        self.settle(charge, 0);
    }
}

#[cfg(test)]
mod tests;
