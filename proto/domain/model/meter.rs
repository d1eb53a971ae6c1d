//! Meters: what of a proxy's traffic is counted, and how much of it there may be.

use std::num::NonZeroU64;

mod value;

use http::HeaderName;

use rr_wire::fleet;

use super::id::ProxyId;
use super::invalid::{Invalid, Violations};
use super::json_path::JsonPath;
use super::name::Name;
use super::request_match::RequestMatch;

/// A meter of a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meter {
    /// Whose traffic.
    pub proxy: ProxyId,
    /// Its name among the meters of its proxy.
    pub name: Name,
    /// Off: it neither counts nor refuses.
    pub active: bool,
    /// What is counted.
    pub counts: Counts,
    /// Of which requests.
    pub only_when: RequestMatch,
    /// How much there may be. None at all: it only observes.
    pub limits: Windows,
    /// Whether each caller is counted apart, and may have so much.
    pub per_caller: bool,
}

/// What a meter counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counts {
    /// One for each request.
    Requests,
    /// A number in each response.
    Value(Value),
}

/// How many numbers a meter may add up, and how many paths may stand for one of them.
pub const READINGS_MAX: usize = 8;

/// A number that is read from each response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The numbers whose sum it is; at least one.
    pub readings: Vec<Reading>,
    /// Charged when a request is admitted, and settled when the number is known.
    pub reserve: u64,
    /// Charged where there is no such number. `None` only where there is no limit either, and means 0.
    pub on_missing: Option<u64>,
}

/// One of the numbers that a meter adds up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Where it stands.
    pub place: Place,
    /// What several of them come to, one from each part of a stream.
    pub fold: Fold,
}

/// Where a number stands in a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the body: at the first of these paths at which there is one. At least one, none twice.
    Body(Vec<JsonPath>),
    /// In a header.
    Header(HeaderName),
}

/// What the numbers of several parts of a stream, or of several headers, come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fold {
    /// The last one: of counts that go on from part to part.
    Last,
    /// The highest.
    Max,
    /// All of them together.
    Sum,
}

/// Limits for each window, at each node. `None` means no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Windows {
    /// A minute.
    pub minute: Option<NonZeroU64>,
    /// An hour.
    pub hour: Option<NonZeroU64>,
    /// A day.
    pub day: Option<NonZeroU64>,
    /// A month.
    pub month: Option<NonZeroU64>,
}

impl Windows {
    /// The lowest limit, and its window.
    fn lowest(&self) -> Option<(NonZeroU64, &'static str)> {
        let all = [(self.minute, "minute"), (self.hour, "hour"), (self.day, "day"), (self.month, "month")];
        all.into_iter().filter_map(|(limit, window)| Some((limit?, window))).min_by_key(|(limit, _)| *limit)
    }
}

impl Meter {
    /// For the wire.
    pub fn to_wire(&self) -> fleet::MeterResource {
        use fleet::meter_resource::Counts as Wire;

        let counts = match &self.counts {
            Counts::Requests => Wire::Requests(fleet::MeterRequests {}),
            Counts::Value(value) => Wire::Value(value.to_wire()),
        };
        let limit = |limit: Option<NonZeroU64>| limit.map_or(0, NonZeroU64::get);
        fleet::MeterResource {
            proxy: self.proxy.to_string(),
            name: self.name.to_string(),
            active: self.active,
            counts: Some(counts),
            only_when: (self.only_when != RequestMatch::default()).then(|| self.only_when.to_wire()),
            per_minute_per_node: limit(self.limits.minute),
            per_hour_per_node: limit(self.limits.hour),
            per_day_per_node: limit(self.limits.day),
            per_month_per_node: limit(self.limits.month),
            per_caller: self.per_caller,
        }
    }
}

impl TryFrom<fleet::MeterResource> for Meter {
    type Error = Invalid;

    fn try_from(wire: fleet::MeterResource) -> Result<Self, Invalid> {
        let mut faults = Violations::default();
        let proxy = faults.take("proxy", wire.proxy.parse());
        let name = faults.take("name", wire.name.parse());
        let counts = counts(&mut faults, wire.counts);
        let only_when = match &wire.only_when {
            Some(when) => RequestMatch::parse(&mut faults, "only_when", when),
            None => Some(RequestMatch::default()),
        };
        let limits = Windows {
            minute: NonZeroU64::new(wire.per_minute_per_node),
            hour: NonZeroU64::new(wire.per_hour_per_node),
            day: NonZeroU64::new(wire.per_day_per_node),
            month: NonZeroU64::new(wire.per_month_per_node),
        };
        let is_limited = limits != Windows::default();
        if let Some(Counts::Value(Value { on_missing: None, .. })) = &counts
            && is_limited
        {
            let reason =
                "is missing: a meter with a limit says what a response without the number is charged";
            faults.add("value.on_missing", reason);
        }
        if let Some(Counts::Value(Value { reserve, .. })) = &counts
            && let Some((limit, window)) = limits.lowest()
            && *reserve > limit.get()
        {
            faults.add(
                "value.reserve",
                format!(
                    "is {reserve}, above the limit of {limit} a {window}: no request would ever pass; reserve at most {limit}, or raise the limit"
                ),
            );
        }
        faults.finish(|| {
            Some(Self {
                proxy: proxy?,
                name: name?,
                active: wire.active,
                counts: counts?,
                only_when: only_when?,
                limits,
                per_caller: wire.per_caller,
            })
        })
    }
}

fn counts(faults: &mut Violations, wire: Option<fleet::meter_resource::Counts>) -> Option<Counts> {
    use fleet::meter_resource::Counts as Wire;

    match wire {
        Some(Wire::Requests(_)) => Some(Counts::Requests),
        Some(Wire::Value(value)) => value::parse(faults, value).map(Counts::Value),
        None => {
            faults.add("counts", "is neither requests nor a value");
            None
        }
    }
}

#[cfg(test)]
mod tests;
