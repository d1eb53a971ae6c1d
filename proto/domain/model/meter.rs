//! Meters: what of a proxy's traffic is counted, and how much of it there may be.

use std::num::NonZeroU64;

use http::HeaderName;

use rr_wire::fleet;

use super::header;
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
}

/// What a meter counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counts {
    /// One for each request.
    Requests,
    /// A number in the response's body.
    BodyValue(JsonPath),
    /// A number in a header of the response.
    HeaderValue(HeaderName),
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

impl Meter {
    /// For the wire.
    pub fn to_wire(&self) -> fleet::MeterResource {
        use fleet::meter_resource::Counts as Wire;
        use fleet::meter_value::Location;

        let value = |location| Wire::Value(fleet::MeterValue { location: Some(location) });
        let counts = match &self.counts {
            Counts::Requests => Wire::Requests(fleet::MeterRequests {}),
            Counts::BodyValue(path) => value(Location::BodyPath(path.to_string())),
            Counts::HeaderValue(name) => value(Location::Header(name.as_str().to_owned())),
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
        faults.finish(|| {
            Some(Self {
                proxy: proxy?,
                name: name?,
                active: wire.active,
                counts: counts?,
                only_when: only_when?,
                limits,
            })
        })
    }
}

fn counts(faults: &mut Violations, wire: Option<fleet::meter_resource::Counts>) -> Option<Counts> {
    use fleet::meter_resource::Counts as Wire;
    use fleet::meter_value::Location;

    match wire {
        Some(Wire::Requests(_)) => Some(Counts::Requests),
        Some(Wire::Value(fleet::MeterValue { location: Some(Location::BodyPath(path)) })) => {
            faults.take("value.body_path", path.parse()).map(Counts::BodyValue)
        }
        Some(Wire::Value(fleet::MeterValue { location: Some(Location::Header(name)) })) => {
            faults.take("value.header", header::parse(&name)).map(Counts::HeaderValue)
        }
        Some(Wire::Value(fleet::MeterValue { location: None })) => {
            faults.add("value.location", "is neither a path nor a header");
            None
        }
        None => {
            faults.add("counts", "is neither requests nor a value");
            None
        }
    }
}

#[cfg(test)]
mod tests;
