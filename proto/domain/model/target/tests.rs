//! Which targets there can be.

use super::*;

fn wire() -> fleet::TargetResource {
    fleet::TargetResource {
        name: "t".to_owned(),
        base_url: "https://a.example/v1".to_owned(),
        ..fleet::TargetResource::default()
    }
}

fn faults(wire: fleet::TargetResource) -> Vec<String> {
    let invalid = Target::try_from(wire).expect_err("it is refused");
    invalid.violations().iter().map(|violation| violation.field.clone()).collect()
}

fn seconds(seconds: i64) -> Option<pbjson_types::Duration> {
    Some(pbjson_types::Duration { seconds, nanos: 0 })
}

#[test]
fn a_target_that_says_little_gets_the_values_of_the_schema() {
    let target = Target::try_from(wire()).expect("it is valid");
    assert_eq!(target.idle_timeout, Duration::from_secs(300));
    assert_eq!((target.total_timeout, target.balance), (None, Balance::RoundRobin));
    assert_eq!((target.base_urls().count(), target.wire), (1, Wire::default()));
}

#[test]
fn further_base_urls_differ_in_host_and_port_alone() {
    let with = |urls: &[&str]| fleet::TargetResource {
        more_base_urls: urls.iter().map(|&url| url.to_owned()).collect(),
        ..wire()
    };
    let target = Target::try_from(with(&["https://b.example/v1", "https://a.example:8443/v1"]));
    assert_eq!(target.expect("it is valid").base_urls().count(), 3);
    for urls in [
        ["http://b.example/v1"],
        ["https://b.example"],
        ["https://b.example/v2"],
        ["https://a.example/v1"],
        ["https://a.example:443/v1"],
        ["b"],
    ] {
        assert_eq!(faults(with(&urls)), ["more_base_urls[0]"], "{urls:?}");
    }
    assert_eq!(faults(with(&["https://b.example/v1"; 2])), ["more_base_urls[1]"]);
    assert_eq!(faults(with(&["https://b.example/v1"; 32])), ["more_base_urls"]);
}

#[test]
fn every_value_out_of_bounds_is_named() {
    let bad = fleet::TargetResource {
        idle_timeout: seconds(0),
        total_timeout: seconds(86_401),
        balance: 9,
        ca: "x".to_owned(),
        min_tls: "1.1".to_owned(),
        http_version: "3".to_owned(),
        ..wire()
    };
    let mut found = faults(bad);
    found.sort();
    assert_eq!(found, ["balance", "ca", "http_version", "idle_timeout", "min_tls", "total_timeout"]);
}

#[test]
fn what_is_for_tls_needs_tls() {
    let plain = fleet::TargetResource {
        base_url: "http://a.example".to_owned(),
        min_tls: "1.3".to_owned(),
        ..wire()
    };
    assert_eq!(faults(plain), ["min_tls"]);
}
