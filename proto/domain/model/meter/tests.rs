//! Meters on the wire: what parses, and every fault of what does not.

use fleet::meter_resource::Counts as WireCounts;
use fleet::meter_value::Location;

use super::*;

fn wire(counts: Option<WireCounts>) -> fleet::MeterResource {
    fleet::MeterResource {
        proxy: ProxyId::from_random([1; 16]).to_string(),
        name: "tokens".to_owned(),
        active: true,
        counts,
        only_when: None,
        per_minute_per_node: 1,
        per_hour_per_node: 0,
        per_day_per_node: u64::MAX,
        per_month_per_node: 0,
        per_caller: false,
    }
}

fn value(location: Option<Location>) -> Option<WireCounts> {
    Some(WireCounts::Value(fleet::MeterValue {
        location,
        reserve: 1,
        on_missing: Some(0),
        ..Default::default()
    }))
}

fn fields(wire: fleet::MeterResource) -> Vec<String> {
    fields_of(Meter::try_from(wire))
}

fn fields_of(parsed: Result<Meter, Invalid>) -> Vec<String> {
    let invalid = parsed.expect_err("it is wrong");
    invalid.violations().iter().map(|violation| violation.field.clone()).collect()
}

#[test]
fn what_is_read_is_written_as_the_same() {
    for (counts, per_caller) in [
        (Some(WireCounts::Requests(fleet::MeterRequests {})), false),
        (value(Some(Location::BodyPath("usage.total_tokens".to_owned()))), true),
        (value(Some(Location::Header("x-cost".to_owned()))), false),
    ] {
        let when = fleet::RequestMatch { methods: vec!["POST".to_owned()], ..Default::default() };
        let meter = fleet::MeterResource { only_when: Some(when), per_caller, ..wire(counts) };
        let meter = Meter::try_from(meter).expect("a meter");
        assert_eq!(meter.per_caller, per_caller);
        assert_eq!(Meter::try_from(meter.to_wire()), Ok(meter));
    }
}

#[test]
fn every_fault_is_told_at_once_and_each_with_its_field() {
    let when = fleet::RequestMatch { methods: vec!["post".to_owned()], ..Default::default() };
    let wrong = fleet::MeterResource {
        proxy: "x".to_owned(),
        name: "a.b".to_owned(),
        only_when: Some(when),
        ..wire(value(Some(Location::BodyPath("a[1]".to_owned()))))
    };
    assert_eq!(fields(wrong), ["proxy", "name", "value.body_path", "only_when.methods[0]"]);
    assert_eq!(fields(wire(None)), ["counts"]);
    assert_eq!(fields(wire(value(None))), ["value.location"]);
    for name in ["X-Cost", "", "a b", "a:"] {
        assert_eq!(fields(wire(value(Some(Location::Header(name.to_owned()))))), ["value.header"], "{name}");
    }
}

#[test]
fn a_limit_on_a_number_says_what_a_response_without_it_is_charged() {
    let value = |on_missing| {
        let location = Some(Location::Header("x-cost".to_owned()));
        Some(WireCounts::Value(fleet::MeterValue { location, reserve: 0, on_missing, ..Default::default() }))
    };
    assert_eq!(fields(wire(value(None))), ["value.on_missing"]);
    assert!(Meter::try_from(wire(value(Some(0)))).is_ok());
    let unlimited = fleet::MeterResource { per_minute_per_node: 0, per_day_per_node: 0, ..wire(value(None)) };
    assert!(Meter::try_from(unlimited).is_ok(), "without a limit nothing has to be charged");
}

#[test]
fn a_meter_that_reserves_more_than_a_limit_would_let_nothing_pass_and_is_refused() {
    let reserving = |reserve, (minute, day)| {
        let location = Some(Location::BodyPath("usage.total".to_owned()));
        let value = fleet::MeterValue { location, reserve, on_missing: Some(0), ..Default::default() };
        let counts = Some(WireCounts::Value(value));
        Meter::try_from(fleet::MeterResource {
            per_minute_per_node: minute,
            per_day_per_node: day,
            ..wire(counts)
        })
    };
    for good in [(5, (0, 0)), (5, (5, 0)), (5, (0, 5)), (0, (1, 1))] {
        assert!(reserving(good.0, good.1).is_ok(), "{good:?}");
    }
    let refused = reserving(600, (900, 500)).expect_err("more than a day");
    assert_eq!(
        refused.to_string(),
        "value.reserve: is 600, above the limit of 500 a day: no request would ever pass; reserve at most 500, or raise the limit"
    );
    assert_eq!(fields_of(reserving(6, (5, 9))), ["value.reserve"]);
}
