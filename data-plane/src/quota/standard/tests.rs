//! The fields of a reply, read back as structured fields are.

use std::time::Duration;

use super::*;

fn at(seconds: u64) -> Moment {
    Moment::at(Duration::from_secs(seconds), 0)
}

fn state<'a>(policy: Policy<'a>, window: Window, limit: u64, used: u64) -> State<'a> {
    State { policy, window, limit, used }
}

fn fields<'a>(states: impl IntoIterator<Item = State<'a>>) -> (String, String) {
    let mut limits = StandardLimits::default();
    states.into_iter().for_each(|state| limits.add(state));
    let (policy, limit) = limits.fields(&at(86_400 + 30)).expect("there are limits");
    let text = |value: HeaderValue| value.to_str().expect("ASCII").to_owned();
    (text(policy), text(limit))
}

#[test]
fn a_reply_says_policies_and_what_is_left_of_them() {
    let (policy, limit) = fields([
        state(Policy::Proxy, Window::Minute, 100, 20),
        state(Policy::Caller, Window::Day, 5000, 5000),
        state(Policy::MeterOfRequests("logins"), Window::Hour, 10, 12),
    ]);
    assert_eq!(
        policy,
        r#""proxy-minute";q=100;w=60, "caller-day";q=5000;w=86400, "meter-logins-hour";q=10;w=3600"#
    );
    assert_eq!(
        limit,
        r#""proxy-minute";r=80;t=30, "caller-day";r=0;t=86370, "meter-logins-hour";r=0;t=3570"#
    );
}

#[test]
fn values_are_told_in_whole_units_and_a_part_is_not_left() {
    let (policy, limit) =
        fields([state(Policy::MeterOfValues("tokens"), Window::Month, 10_000_000, 2_500_001)]);
    assert_eq!(policy, r#""meter-tokens-month";q=10;w=2678400;requestrocket-unit="value""#);
    assert_eq!(limit, r#""meter-tokens-month";r=7;t=2591970"#);
}

#[test]
fn a_warning_begins_at_exactly_four_fifths() {
    let is_near = |limit, used| {
        let mut limits = StandardLimits::default();
        limits.add(state(Policy::Proxy, Window::Day, limit, used));
        limits.is_near()
    };
    assert!(!is_near(100, 79) && is_near(100, 80) && is_near(100, 200));
    assert!(!is_near(3, 2) && is_near(3, 3) && is_near(1, 1) && !is_near(1, 0));
    assert!(is_near(u64::MAX, u64::MAX) && !is_near(u64::MAX, u64::MAX / 2));
    assert!(!StandardLimits::default().is_near());
}

#[test]
fn without_a_limit_there_is_no_field() {
    assert_eq!(StandardLimits::default().fields(&at(0)), None);
}

#[test]
fn where_there_are_too_many_the_nearest_to_their_limits_stay() {
    let names: Vec<String> = (0..20).map(|n| format!("m{n}")).collect();
    let one = |n: usize| state(Policy::MeterOfRequests(&names[n]), Window::Day, 100, n as u64 * 5);
    let (policy, limit) = fields((0..20).map(one));
    assert_eq!((policy.matches(";q=").count(), limit.matches(";r=").count()), (8, 8));
    for n in 12..20 {
        assert!(limit.contains(&format!("\"meter-m{n}-day\"")), "{limit}");
    }
    let mut limits = StandardLimits::default();
    limits.add(one(19));
    (0..8).for_each(|n| limits.add(one(n)));
    (0..8).for_each(|n| limits.add(one(n)));
    assert!(limits.is_near(), "one that went counts for the warning too");
}

#[test]
fn the_longest_names_and_numbers_fit_and_no_text_breaks_a_field() {
    let long = "x".repeat(63);
    let (policy, limit) =
        fields([(); ITEMS].map(|()| state(Policy::MeterOfValues(&long), Window::Minute, u64::MAX, 0)));
    assert_eq!((policy.matches(&long).count(), limit.matches(&long).count()), (ITEMS, ITEMS));
    assert!(policy.contains(";q=18446744073709;"), "{policy}");
    let (policy, _) = fields([state(Policy::Proxy, Window::Day, u64::MAX, 0)]);
    assert_eq!(policy, r#""proxy-day";q=999999999999999;w=86400"#);
    let (policy, _) = fields([state(Policy::MeterOfRequests("a\"b\\c\nd\u{e9}"), Window::Day, 1, 0)]);
    assert_eq!(policy, r#""meter-abcd-day";q=1;w=86400"#);
}

#[test]
fn an_item_that_does_not_fit_leaves_the_list_whole() {
    let mut buffer = Buffer::default();
    buffer.item(|out| out.write_str(&"a".repeat(ROOM - 5)));
    // The comma fits, and one of the two parts.
    buffer.item(|out| out.write_str("bc").and_then(|()| out.write_str("de")));
    assert_eq!(buffer.value().expect("ASCII").len(), ROOM - 5);
    buffer.item(|out| out.write_str("fgh"));
    assert_eq!(buffer.value().expect("ASCII").len(), ROOM);
}

#[test]
fn the_time_to_wait_is_a_number_of_seconds() {
    assert_eq!(retry_after(2_678_400), "2678400");
}
