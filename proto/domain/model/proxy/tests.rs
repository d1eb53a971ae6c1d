//! Proxies on the wire: what parses, and every fault of what does not.

use super::*;

fn credential(n: u8) -> String {
    CredentialId::from_random([n; 16]).to_string()
}

fn region(n: u8) -> String {
    RegionId::from_random([n; 16]).to_string()
}

fn wire() -> fleet::ProxyResource {
    fleet::ProxyResource {
        name: "payments".to_owned(),
        caller_credentials: vec![credential(1)],
        target: TargetId::from_random([1; 16]).to_string(),
        upstream_credential: credential(2),
        regions: vec![region(1)],
        ..fleet::ProxyResource::default()
    }
}

fn faults(wire: fleet::ProxyResource) -> Vec<String> {
    let invalid = Proxy::try_from(wire).expect_err("it is wrong");
    invalid.violations().iter().map(|violation| violation.field.clone()).collect()
}

#[test]
fn every_fault_is_told_at_once_and_each_with_its_field() {
    let wrong = fleet::ProxyResource {
        name: "Payments".to_owned(),
        caller_credentials: vec![credential(1), "nobody".to_owned(), credential(1)],
        target: credential(1),
        upstream_credential: String::new(),
        regions: Vec::new(),
        default_effect: 9,
        deny_status: 401,
        echo_guard: 9,
        recording: Some(fleet::Recording { sample_per_thousand: Some(1001), ..Default::default() }),
        ..wire()
    };
    assert_eq!(
        faults(wrong),
        [
            "name",
            "caller_credentials[1]",
            "caller_credentials[2]",
            "target",
            "upstream_credential",
            "regions",
            "default_effect",
            "deny_status",
            "echo_guard",
            "recording.sample_per_thousand",
        ]
    );
}

#[test]
fn a_refusal_is_400_or_403_and_nothing_else() {
    for (said, wanted) in [(0, 400), (400, 400), (403, 403)] {
        let proxy = Proxy::try_from(fleet::ProxyResource { deny_status: said, ..wire() }).expect("a proxy");
        assert_eq!(proxy.deny_status.code(), wanted);
    }
    for said in [1, 200, 401, 404, 429, 500, 65_936, u32::MAX] {
        assert_eq!(faults(fleet::ProxyResource { deny_status: said, ..wire() }), ["deny_status"], "{said}");
    }
}

#[test]
fn a_proxy_has_1_to_100_callers_and_regions_and_none_twice() {
    let of = |callers: u8, regions: u8| fleet::ProxyResource {
        caller_credentials: (0..callers).map(credential).collect(),
        regions: (0..regions).map(region).collect(),
        ..wire()
    };
    assert!(Proxy::try_from(of(100, 100)).is_ok() && Proxy::try_from(of(1, 1)).is_ok());
    assert_eq!(faults(of(0, 0)), ["caller_credentials", "regions"]);
    assert_eq!(faults(of(101, 101)), ["caller_credentials", "regions"]);
    let twice = fleet::ProxyResource { regions: vec![region(1), region(2), region(1)], ..wire() };
    assert_eq!(faults(twice), ["regions[2]"]);
}

#[test]
fn a_limit_of_either_kind_makes_a_proxy_limited_and_zero_means_none() {
    let of = |change: fn(&mut fleet::ProxyResource, Option<fleet::Limits>), minute, day| {
        let mut wire = wire();
        change(&mut wire, Some(fleet::Limits { per_minute_per_node: minute, per_day_per_node: day }));
        Proxy::try_from(wire).expect("a proxy")
    };
    let kinds: [fn(&mut fleet::ProxyResource, Option<fleet::Limits>); 3] = [
        |wire, limits| wire.limits = limits,
        |wire, limits| wire.limits_per_caller = limits,
        |wire, limits| wire.limits_per_address = limits,
    ];
    for change in kinds {
        assert!(!of(change, 0, 0).is_limited());
        assert!(of(change, 1, 0).is_limited() && of(change, 0, 1).is_limited());
    }
    let zero = Proxy::try_from(wire()).expect("a proxy");
    assert_eq!((zero.max_request_bytes, zero.max_response_bytes, zero.is_limited()), (None, None, false));
}

#[test]
fn a_secret_that_comes_back_is_masked_unless_the_proxy_says_otherwise() {
    for (said, wanted) in
        [(0, EchoGuard::Mask), (1, EchoGuard::Mask), (2, EchoGuard::Refuse), (3, EchoGuard::Off)]
    {
        let proxy = Proxy::try_from(fleet::ProxyResource { echo_guard: said, ..wire() }).expect("a proxy");
        assert_eq!(proxy.echo_guard, wanted);
    }
}
