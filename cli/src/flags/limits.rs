//! Limits on requests: flags and text.

use clap::Args;
use rr_contract::wire::fleet;

/// Numbers of requests that each node lets through.
#[derive(Args)]
pub(crate) struct LimitArgs {
    /// Limit of requests per minute at each node; 0 means no limit.
    #[arg(long, value_name = "REQUESTS")]
    per_minute: Option<u64>,
    /// Limit of requests per day at each node; 0 means no limit.
    #[arg(long, value_name = "REQUESTS")]
    per_day: Option<u64>,
}

impl LimitArgs {
    pub(crate) const fn is_given(&self) -> bool {
        self.per_minute.is_some() || self.per_day.is_some()
    }

    /// The old limits with the given ones in place. `None` when no flag was given.
    pub(crate) fn over(&self, there: Option<fleet::Limits>) -> Option<fleet::Limits> {
        if !self.is_given() {
            return None;
        }
        let mut limits = there.unwrap_or_default();
        if let Some(requests) = self.per_minute {
            limits.per_minute_per_node = requests;
        }
        if let Some(requests) = self.per_day {
            limits.per_day_per_node = requests;
        }
        Some(limits)
    }
}

/// Limits as text: `100/minute 5000/day`.
pub(crate) fn text(limits: &[(u64, &str)]) -> String {
    let set = limits.iter().filter(|(requests, _)| *requests > 0);
    set.map(|(requests, span)| format!("{requests}/{span}")).collect::<Vec<_>>().join(" ")
}

/// The limits of a proxy or an organization as text.
pub(crate) fn of(limits: Option<&fleet::Limits>) -> String {
    limits
        .map(|limits| text(&[(limits.per_minute_per_node, "minute"), (limits.per_day_per_node, "day")]))
        .unwrap_or_default()
}
