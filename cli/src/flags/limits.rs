//! Limits on requests: flags and text.

use clap::Args;
use rr_contract::wire::fleet::Limits;
use rr_contract::wire::management::Proxy;

use super::count;

/// Numbers of requests that each node lets through.
#[derive(Args)]
pub(crate) struct LimitArgs {
    /// Limit of requests per minute at each node; 0 means no limit.
    #[arg(long, value_name = "REQUESTS", value_parser = count::whole)]
    per_minute: Option<u64>,
    /// Limit of requests per day at each node; 0 means no limit.
    #[arg(long, value_name = "REQUESTS", value_parser = count::whole)]
    per_day: Option<u64>,
}

/// Numbers of requests that each node lets through of one caller or one address.
#[derive(Args)]
pub(crate) struct KeyedLimitArgs {
    /// Limit of requests of one caller credential, or of each who holds its tokens (--identity-claim), per minute at
    /// each node; 0 means no limit.
    #[arg(long, value_name = "REQUESTS", value_parser = count::whole)]
    per_minute_per_caller: Option<u64>,
    /// Limit of requests of one caller credential, or of each who holds its tokens (--identity-claim), per day at
    /// each node; 0 means no limit.
    #[arg(long, value_name = "REQUESTS", value_parser = count::whole)]
    per_day_per_caller: Option<u64>,
    /// Limit of requests from one address per minute at each node; 0 means no limit.
    #[arg(long, value_name = "REQUESTS", value_parser = count::whole)]
    per_minute_per_address: Option<u64>,
    /// Limit of requests from one address per day at each node; 0 means no limit.
    #[arg(long, value_name = "REQUESTS", value_parser = count::whole)]
    per_day_per_address: Option<u64>,
}

/// The limits that proxies of an organization may have at most.
#[derive(Args)]
pub(crate) struct CeilingArgs {
    /// Highest limit of requests per minute that a proxy may have; 0 means any. Operators only.
    #[arg(long, value_name = "REQUESTS", value_parser = count::whole)]
    ceiling_per_minute: Option<u64>,
    /// Highest limit of requests per day that a proxy may have; 0 means any. Operators only.
    #[arg(long, value_name = "REQUESTS", value_parser = count::whole)]
    ceiling_per_day: Option<u64>,
}

/// The old limits with the given ones in place. `None` when none was given.
fn over(there: Option<Limits>, per_minute: Option<u64>, per_day: Option<u64>) -> Option<Limits> {
    if per_minute.is_none() && per_day.is_none() {
        return None;
    }
    let there = there.unwrap_or_default();
    Some(Limits {
        per_minute_per_node: per_minute.unwrap_or(there.per_minute_per_node),
        per_day_per_node: per_day.unwrap_or(there.per_day_per_node),
    })
}

impl LimitArgs {
    pub(crate) const fn is_given(&self) -> bool {
        self.per_minute.is_some() || self.per_day.is_some()
    }

    /// The old limits with the given ones in place. `None` when no flag was given.
    pub(crate) fn over(&self, there: Option<Limits>) -> Option<Limits> {
        over(there, self.per_minute, self.per_day)
    }
}

impl KeyedLimitArgs {
    pub(crate) const fn is_given(&self) -> bool {
        self.per_minute_per_caller.is_some()
            || self.per_day_per_caller.is_some()
            || self.per_minute_per_address.is_some()
            || self.per_day_per_address.is_some()
    }

    /// The old limits by caller with the given ones in place. `None` when no flag was given.
    pub(crate) fn over_callers(&self, there: Option<Limits>) -> Option<Limits> {
        over(there, self.per_minute_per_caller, self.per_day_per_caller)
    }

    /// The old limits by address with the given ones in place. `None` when no flag was given.
    pub(crate) fn over_addresses(&self, there: Option<Limits>) -> Option<Limits> {
        over(there, self.per_minute_per_address, self.per_day_per_address)
    }
}

impl CeilingArgs {
    pub(crate) const fn is_given(&self) -> bool {
        self.ceiling_per_minute.is_some() || self.ceiling_per_day.is_some()
    }

    /// The old ceilings with the given ones in place. `None` when no flag was given.
    pub(crate) fn over(&self, there: Option<Limits>) -> Option<Limits> {
        over(there, self.ceiling_per_minute, self.ceiling_per_day)
    }
}

/// Limits as text: `100/minute 5000/day`.
pub(crate) fn text(limits: &[(u64, &str)]) -> String {
    let set = limits.iter().filter(|(requests, _)| *requests > 0);
    set.map(|(requests, span)| format!("{requests}/{span}")).collect::<Vec<_>>().join(" ")
}

/// The limits of a proxy or an organization as text.
pub(crate) fn of(limits: Option<&Limits>) -> String {
    limits
        .map(|limits| text(&[(limits.per_minute_per_node, "minute"), (limits.per_day_per_node, "day")]))
        .unwrap_or_default()
}

/// The limits of a proxy as text: of all its requests, of each caller, of each address, and of those under way.
pub(crate) fn of_proxy(proxy: &Proxy) -> String {
    let mut all = of(proxy.limits.as_ref());
    if proxy.over_ceiling {
        let what = if all.is_empty() { "no limit" } else { all.as_str() };
        all = format!("{what} (over the ceiling)");
    }
    let keyed = [("caller", proxy.limits_per_caller), ("address", proxy.limits_per_address)];
    let keyed = keyed.map(|(key, limits)| (key, of(limits.as_ref())));
    let keyed = keyed.into_iter().filter(|(_, text)| !text.is_empty());
    let keyed = keyed.map(|(key, text)| format!("each {key} {text}"));
    let all = Some(all).filter(|text| !text.is_empty());
    let under_way = proxy.max_concurrent_requests_per_node;
    let under_way = (under_way > 0).then(|| format!("{under_way} at a time"));
    all.into_iter().chain(keyed).chain(under_way).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(per_minute_per_node: u64, per_day_per_node: u64) -> Limits {
        Limits { per_minute_per_node, per_day_per_node }
    }

    #[test]
    fn a_limit_that_is_not_given_stays_as_it_was() {
        assert_eq!(over(Some(limits(5, 7)), None, None), None);
        assert_eq!(over(Some(limits(5, 7)), Some(6), None), Some(limits(6, 7)));
        assert_eq!(over(Some(limits(5, 7)), None, Some(0)), Some(limits(5, 0)));
        assert_eq!(over(None, None, Some(9)), Some(limits(0, 9)));
    }

    #[test]
    fn limits_say_of_whose_requests_they_are_and_whether_a_ceiling_is_below() {
        let proxy = |all, caller, address, over_ceiling| Proxy {
            limits: Some(all),
            limits_per_caller: Some(caller),
            limits_per_address: Some(address),
            over_ceiling,
            ..Proxy::default()
        };
        let none = limits(0, 0);
        for (proxy, shown) in [
            (proxy(limits(60, 0), limits(5, 100), none, false), "60/minute, each caller 5/minute 100/day"),
            (proxy(none, none, limits(1, 0), false), "each address 1/minute"),
            (
                proxy(limits(60, 0), limits(5, 0), none, true),
                "60/minute (over the ceiling), each caller 5/minute",
            ),
            (proxy(none, none, none, true), "no limit (over the ceiling)"),
            (
                Proxy { max_concurrent_requests_per_node: 9, ..proxy(limits(60, 0), none, none, false) },
                "60/minute, 9 at a time",
            ),
            (Proxy::default(), ""),
        ] {
            assert_eq!(of_proxy(&proxy), shown);
        }
    }
}
