//! Which requests of a worker are traced.
//!
//! A caller that says that it traces its request is followed, and one that says that it does not too; of the others a share
//! is drawn. The invariant: in a second no more are traced than the settings say, and those that callers ask for are at
//! most half of them.

use std::cell::Cell;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::context::TraceId;

const SECOND: Duration = Duration::from_secs(1);
const MILLIONTHS: u32 = 1_000_000;

/// A share of requests, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "f64")]
pub struct TraceShare(u32);

/// No share.
#[derive(Debug, thiserror::Error)]
#[error("not a number of percent from 0 to 100")]
pub struct InvalidShare;

impl TraceShare {
    /// Every request.
    pub const ALL: Self = Self(MILLIONTHS);
}

impl TryFrom<f64> for TraceShare {
    type Error = InvalidShare;

    fn try_from(percent: f64) -> Result<Self, InvalidShare> {
        if !(0.0..=100.0).contains(&percent) {
            return Err(InvalidShare);
        }
        // Within bounds, and rounded.
        Ok(Self((percent * f64::from(MILLIONTHS / 100)).round() as u32))
    }
}

impl FromStr for TraceShare {
    type Err = InvalidShare;

    fn from_str(text: &str) -> Result<Self, InvalidShare> {
        text.parse::<f64>().map_err(|_| InvalidShare)?.try_into()
    }
}

impl fmt::Display for TraceShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (f64::from(self.0) / f64::from(MILLIONTHS / 100)).fmt(f)
    }
}

pub(super) struct Sampler {
    share: TraceShare,
    /// In a second, of all, and of those that callers ask for.
    most: (u32, u32),
    left: Cell<(u32, u32)>,
    since: Cell<Instant>,
}

impl Sampler {
    /// Of one of so many workers, which share no count.
    pub(super) fn new(share: TraceShare, per_second: u32, workers: usize) -> Self {
        let workers = u32::try_from(workers.max(1)).unwrap_or(u32::MAX);
        let most = per_second.div_ceil(workers);
        let most = (most, most.div_ceil(2));
        Self { share, most, left: Cell::new(most), since: Cell::new(Instant::now()) }
    }

    /// Whether a request with this id is of the share.
    pub(super) fn draws(&self, trace: &TraceId) -> bool {
        let drawn = u64::from_be_bytes(*trace.last_chunk().expect("it is longer"));
        u128::from(drawn) * u128::from(MILLIONTHS) < u128::from(self.share.0) << u64::BITS
    }

    /// Whether there is room for one more in this second, which is taken.
    pub(super) fn has_room(&self, is_asked: bool, now: Instant) -> bool {
        if now.duration_since(self.since.get()) >= SECOND {
            self.since.set(now);
            self.left.set(self.most);
        }
        let (all, asked) = self.left.get();
        let left = (all.checked_sub(1), asked.checked_sub(is_asked.into()));
        let (Some(all), Some(asked)) = left else { return false };
        self.left.set((all, asked));
        true
    }
}
