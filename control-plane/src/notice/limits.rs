//! What is said of limits that are nearly used up.

use chrono::{DateTime, Datelike as _, NaiveTime, Utc};
use rr_contract::wire::fleet::{LimitKind, LimitState, Window};
use rr_contract::wire::management::NotificationKind;

use super::{About, HOUR, shown};
use crate::store::notification::NotificationRow;
use crate::store::time_of;

/// From which part of a limit on it is nearly used up, in percent.
const NEAR: u64 = 80;
const DAY: i64 = 24 * HOUR;

/// A limit that a proxy has nearly used up at a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NearLimit<'a> {
    pub(crate) org: &'a str,
    /// Id and name.
    pub(crate) proxy: (&'a str, &'a str),
    pub(crate) limit: &'a LimitState,
    /// When the window began.
    pub(crate) from: i64,
    pub(crate) node: &'a str,
    /// Name of the caller credential; empty where none is known.
    pub(crate) caller: &'a str,
}

/// When the window began, of a limit that is nearly used up. None of a minute's: that is over before anybody looks.
pub(crate) fn near_since(limit: &LimitState, received_at: i64) -> Option<i64> {
    if limit.limit == 0 || u128::from(limit.used) * 100 < u128::from(limit.limit) * u128::from(NEAR) {
        return None;
    }
    match limit.window() {
        Window::Hour => Some(received_at.div_euclid(HOUR) * HOUR),
        Window::Day => Some(received_at.div_euclid(DAY) * DAY),
        Window::Month => {
            let day = DateTime::<Utc>::from(time_of(received_at)).date_naive().with_day(1)?;
            Some(day.and_time(NaiveTime::MIN).and_utc().timestamp_micros())
        }
        Window::Minute | Window::Unspecified => None,
    }
}

/// A limit that is nearly used up. Once for each window, proxy and limit.
pub(crate) fn limit_near(now: i64, of: &NearLimit<'_>) -> NotificationRow {
    let NearLimit { org, proxy: (id, name), limit, from, node, caller } = *of;
    let about = About {
        org: org.to_owned(),
        kind: NotificationKind::LimitNear,
        subject: id.to_owned(),
        window: format!("{}:{}:{from}", limit.kind().as_str_name(), limit.window().as_str_name()),
    };
    let (whose, of_whom, flag) = match limit.kind() {
        LimitKind::Caller => {
            let of_whom =
                if caller.is_empty() { " of one caller".to_owned() } else { format!(" of caller {caller}") };
            ("its limit for each caller", of_whom, "-per-caller")
        }
        LimitKind::Address => ("its limit for each address", " from one address".to_owned(), "-per-address"),
        LimitKind::Proxy | LimitKind::Unspecified => ("its limit", String::new(), ""),
    };
    let window = match limit.window() {
        Window::Hour => "hour",
        Window::Month => "month",
        Window::Day | Window::Minute | Window::Unspecified => "day",
    };
    // A limit of another window has no flag.
    let raise = if window == "day" {
        format!("`rrctl proxy update {name} --per-day{flag} REQUESTS`")
    } else {
        format!("`rrctl proxy update {name}`")
    };
    let (used, most) = (limit.used, limit.limit);
    let percent = u128::from(used) * 100 / u128::from(most.max(1));
    about.says(
        now,
        format!("proxy {name} has used {percent} % of {whose} for the {window}"),
        format!(
            "Node {node} has counted {used} of {most} requests{of_whom} through proxy {name} ({id}) in the {window} from \
             {}. Each node counts for itself, and answers what is over the limit with 429. Raise it with {raise}, or let \
             callers ask less often; `rrctl request list --proxy {name} -o wide` shows who asks.",
            shown(from)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-31T23:30:00Z.
    const AT: i64 = 1_769_902_200_000_000;

    fn limit(kind: LimitKind, window: Window, used: u64, limit: u64) -> LimitState {
        LimitState { kind: kind.into(), window: window.into(), limit, used }
    }

    #[test]
    fn a_limit_is_near_from_four_fifths_on_in_an_hour_a_day_or_a_month_and_never_in_a_minute() {
        let near =
            |window, used, most| near_since(&limit(LimitKind::Proxy, window, used, most), AT).map(shown);
        assert_eq!(near(Window::Day, 79, 100), None);
        assert_eq!(near(Window::Day, 80, 100).as_deref(), Some("2026-01-31T00:00:00Z"));
        assert_eq!(near(Window::Hour, 100, 100).as_deref(), Some("2026-01-31T23:00:00Z"));
        assert_eq!(near(Window::Month, 90, 100).as_deref(), Some("2026-01-01T00:00:00Z"));
        assert_eq!(near(Window::Minute, 99, 100), None);
        assert_eq!(near(Window::Day, 5, 0), None, "there is no limit");
        assert!(near(Window::Day, u64::MAX, u64::MAX).is_some());
    }

    #[test]
    fn a_near_limit_is_told_once_a_window_proxy_and_limit_and_names_its_flag() {
        let row = |kind, window, used, proxy, at| {
            let limit = limit(kind, window, used, 1000);
            let from = near_since(&limit, at).expect("is near");
            let proxy = (proxy, "shop");
            limit_near(
                at,
                &NearLimit { org: "og_a", proxy, limit: &limit, from, node: "nd_a", caller: "app" },
            )
        };
        let first = row(LimitKind::Proxy, Window::Day, 831, "px_a", AT);
        assert_eq!(first.title, "proxy shop has used 83 % of its limit for the day");
        assert!(
            first.message.contains("831 of 1000 requests through proxy shop (px_a)"),
            "{}",
            first.message
        );
        assert!(first.message.contains("`rrctl proxy update shop --per-day REQUESTS`"), "{}", first.message);
        assert_eq!(row(LimitKind::Proxy, Window::Day, 990, "px_a", AT + 60_000_000).id, first.id);
        let others = [
            row(LimitKind::Proxy, Window::Day, 831, "px_a", AT + HOUR),
            row(LimitKind::Caller, Window::Day, 831, "px_a", AT),
            row(LimitKind::Address, Window::Day, 831, "px_a", AT),
            row(LimitKind::Proxy, Window::Month, 831, "px_a", AT),
            row(LimitKind::Proxy, Window::Day, 831, "px_b", AT),
        ];
        assert!(others.iter().all(|other| other.id != first.id));
        let [_, caller, address, ..] = others;
        assert!(caller.message.contains("of caller app") && caller.message.contains("--per-day-per-caller "));
        assert!(
            address.message.contains("from one address")
                && address.message.contains("--per-day-per-address ")
        );
    }
}
