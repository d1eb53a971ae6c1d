//! Whose word counts.

use std::sync::Arc;

use http::HeaderValue;

use super::*;

/// The caller behind a proxy at 10.0.0.1, where 10.0.0.0/8 and fd00::/8 are trusted.
fn sent(headers: &[(&'static str, &'static str)]) -> (String, bool) {
    sent_from("10.0.0.1", headers)
}

fn sent_from(peer: &str, headers: &[(&'static str, &'static str)]) -> (String, bool) {
    let trusted = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().expect("a network"));
    let hop = Hop::new(peer.parse().expect("an address"), &Arc::from(trusted));
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let Sender { address, is_https } = sender(&hop, &map);
    (address.to_string(), is_https)
}

fn address(name: &'static str, value: &'static str) -> String {
    sent(&[(name, value)]).0
}

#[test]
fn nobody_but_a_trusted_proxy_is_believed() {
    for peer in ["192.0.2.1", "2001:db8::1"] {
        let said = [
            ("x-forwarded-for", "198.51.100.7"),
            ("forwarded", "for=198.51.100.7;proto=https"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "198.51.100.7"),
        ];
        assert_eq!(sent_from(peer, &said), (peer.to_owned(), false));
    }
    assert_eq!(sent_from("::ffff:10.0.0.1", &[("x-forwarded-for", "198.51.100.7")]).0, "198.51.100.7");
}

#[test]
fn the_first_address_from_the_right_that_is_not_trusted_is_the_callers() {
    for (list, caller) in [
        ("198.51.100.7", "198.51.100.7"),
        ("6.6.6.6, 198.51.100.7", "198.51.100.7"),
        ("6.6.6.6, 198.51.100.7, 10.9.9.9,10.1.1.1", "198.51.100.7"),
        ("garbage, 198.51.100.7", "198.51.100.7"),
        ("10.2.2.2, 10.1.1.1", "10.2.2.2"),
        ("198.51.100.7:4711", "198.51.100.7"),
        ("2001:db8::7, fd00::1", "2001:db8::7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
    ] {
        assert_eq!(address("x-forwarded-for", list), caller, "{list}");
    }
    for (elements, caller) in [
        ("for=198.51.100.7", "198.51.100.7"),
        ("for=6.6.6.6, for=198.51.100.7;by=10.0.0.1, For=\"10.9.9.9:80\"", "198.51.100.7"),
        ("for=\"[2001:db8::7]:4711\";host=\"a,b;for=6.6.6.6\"", "2001:db8::7"),
        ("nonsense, for=198.51.100.7", "198.51.100.7"),
    ] {
        assert_eq!(address("forwarded", elements), caller, "{elements}");
    }
    let lines = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "198.51.100.7, 10.0.0.2")];
    assert_eq!(sent(&lines).0, "198.51.100.7");
}

#[test]
fn what_cannot_be_read_in_one_way_leads_to_the_peer() {
    for list in ["", "unknown", "198.51.100.7, garbage", "198.51.100.7,", "198.51.100.7 10.0.0.2", "1.2.3"] {
        assert_eq!(address("x-forwarded-for", list), "10.0.0.1", "{list}");
    }
    for elements in [
        "for=unknown",
        "for=_hidden",
        "for=198.51.100.7;for=6.6.6.6",
        "proto=https",
        "for=\"198.51.100.7",
        "for=\"198.51.100.7\\\"\"",
        "198.51.100.7",
    ] {
        assert_eq!(address("forwarded", elements), "10.0.0.1", "{elements}");
    }
    let two = |other| sent(&[("x-forwarded-for", "198.51.100.7"), ("forwarded", other)]).0;
    assert_eq!(two("for=198.51.100.7"), "198.51.100.7");
    assert_eq!(two("for=6.6.6.6"), "10.0.0.1", "they say two things");
    assert_eq!(two("for=unknown"), "10.0.0.1");
}

#[test]
fn the_scheme_is_what_the_nearest_proxy_says() {
    let list = ("x-forwarded-for", "198.51.100.7");
    assert!(!sent(&[list]).1);
    assert!(sent(&[list, ("x-forwarded-proto", "http, HTTPS")]).1);
    assert!(!sent(&[list, ("x-forwarded-proto", "https, http")]).1);
    assert!(sent(&[("forwarded", "for=198.51.100.7;proto=https, for=10.0.0.3;proto=http")]).1);
}
