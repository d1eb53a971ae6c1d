//! What limits and meters count: how much of it there was in a minute, an hour, a day and a month, and whether there
//! may be more.
//!
//! Decides nothing about requests: the pipeline charges, and refuses where a charge is refused. Knows neither rules
//! nor records. Windows are those of the calendar, in UTC. Counts are of this node; a quota that the fleet shares
//! would be another [`Quota`].
//!
//! The invariants: a charge is in all of its windows or in none; no charge leads above a limit; a caller that is
//! alone is never refused below one; no request waits for another, but for the moment in which a key is put down for
//! the first time; the number of addresses and of holders of tokens that are counted apart has a bound.
//!
//! *Clocks.* A request's [`Moment`] comes from a [`QuotaClock`], which goes on by the monotonic clock when the wall
//! clock jumps, and follows the wall clock once it has held for five minutes. A clock that is wrong for less than
//! that changes no count. Forwards, windows end that have ended by the new time. Backwards, each count goes on in the
//! window of the new time, so no window lasts longer than its kind. A node that starts with a clock behind its own
//! files takes the time of the files first.
//!
//! *Restarts.* Counts of days and months come back ([`QuotaLog`]). Those of minutes and hours begin at 0: after a
//! restart a caller may have what a minute or an hour allows once more.

mod cell;
mod changed;
mod clock;
mod counter;
mod keyed;
mod log;
mod moment;
mod registry;
mod saver;
mod standard;
mod under_way;

use rr_contract::model::meter::Windows;

pub(crate) use self::clock::QuotaClock;
pub(crate) use self::counter::{Charge, Counter, Exceeded};
pub(crate) use self::keyed::KeyCharge;
pub(crate) use self::log::QuotaLog;
pub(crate) use self::moment::{Moment, Window};
pub(crate) use self::registry::{ProxyQuota, Quotas};
pub(crate) use self::saver::QuotaSaver;
pub(crate) use self::standard::{Policy, StandardLimits, State, retry_after};
pub(crate) use self::under_way::UnderWay;

/// How much there may be of what is counted. The seam for quotas that more than one node shares.
///
/// Amounts have whatever unit their limits have: requests, or millionths of what a meter reads.
pub(crate) trait Quota {
    /// Charges an amount to all windows, or to none where a limit would be passed in one.
    fn charge(&self, amount: u64, limits: &Windows, at: &Moment) -> Result<Charge, Exceeded>;

    /// Puts what the charged amount came to in its place: more or less, and above a limit where it was more. A window
    /// that has ended since the charge is left alone.
    fn settle(&self, charge: Charge, amount: u64);

    /// Takes a charge back. A window that has ended since is left alone.
    fn give_back(&self, charge: Charge) {
        self.settle(charge, 0);
    }

    /// What is charged in the window that holds `at`. Where a later one was charged already, what that one has.
    #[cfg(test)]
    fn used(&self, window: Window, at: &Moment) -> u64;
}
