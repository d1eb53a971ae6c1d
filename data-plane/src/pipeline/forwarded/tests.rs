//! Whose word counts.

use std::sync::Arc;

use http::HeaderValue;

use super::TrustedHeader::{Forwarded, XForwardedFor};
use super::*;

/// A connection from this address, where 10.0.0.0/8 and fd00::/8 are trusted.
pub(super) fn hop(header: TrustedHeader, peer: &str) -> Hop {
    let trusted = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().expect("a network"));
    let trusted = Trusted { proxies: Arc::from(trusted), header };
    Hop::new(peer.parse().expect("an address"), &trusted)
}

type Line = (&'static str, &'static str);

/// Whose request it is; `None`: it cannot be read.
fn sent(header: TrustedHeader, peer: &str, lines: &[Line]) -> Option<(String, &'static str)> {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
        map.append(HeaderName::from_static(name), value);
    }
    match sender(&hop(header, peer), &map) {
        Ok(sender) => Some((sender.address.to_string(), sender.scheme())),
        Err(Denial::Sender) => None,
        Err(other) => panic!("{other}"),
    }
}

/// Who is behind a proxy at 10.0.0.1.
fn address(header: TrustedHeader, lines: &[Line]) -> Option<String> {
    sent(header, "10.0.0.1", lines).map(|(address, _)| address)
}

fn of_list(list: &'static str) -> Option<String> {
    address(XForwardedFor, &[("x-forwarded-for", list)])
}

fn of_elements(elements: &'static str) -> Option<String> {
    address(Forwarded, &[("forwarded", elements)])
}

#[test]
fn nobody_but_a_trusted_proxy_is_believed() {
    let said = [
        ("x-forwarded-for", "198.51.100.7"),
        ("forwarded", "for=198.51.100.7;proto=https"),
        ("x-forwarded-proto", "https"),
        ("x-real-ip", "198.51.100.7"),
    ];
    let nonsense = [("x-forwarded-for", ""), ("forwarded", "for=\""), ("x-forwarded-proto", "ftp")];
    for header in [XForwardedFor, Forwarded] {
        for peer in ["192.0.2.1", "2001:db8::1"] {
            for said in [&said[..], &nonsense] {
                assert_eq!(sent(header, peer, said), Some((peer.to_owned(), "http")));
            }
        }
        assert_eq!(sent(header, "::ffff:10.0.0.1", &said), Some(("198.51.100.7".to_owned(), "https")));
        assert_eq!(address(header, &[("x-real-ip", "198.51.100.7")]).as_deref(), Some("10.0.0.1"));
    }
}

#[test]
fn the_first_address_from_the_right_that_is_not_trusted_is_the_callers() {
    for (list, caller) in [
        ("198.51.100.7", "198.51.100.7"),
        ("6.6.6.6, 198.51.100.7", "198.51.100.7"),
        ("6.6.6.6, 198.51.100.7, 10.9.9.9,10.1.1.1", "198.51.100.7"),
        ("10.2.2.2, 10.1.1.1", "10.2.2.2"),
        ("198.51.100.7:4711", "198.51.100.7"),
        ("2001:db8::7, fd00::1", "2001:db8::7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
    ] {
        assert_eq!(of_list(list).as_deref(), Some(caller), "{list}");
    }
    for (elements, caller) in [
        ("for=198.51.100.7", "198.51.100.7"),
        ("for=6.6.6.6, for=198.51.100.7;by=10.0.0.1, For=\"10.9.9.9:80\"", "198.51.100.7"),
        ("for=\"[2001:db8::7]:4711\";host=\"a,b;for=6.6.6.6\"", "2001:db8::7"),
        (";for=198.51.100.7; ;", "198.51.100.7"),
    ] {
        assert_eq!(of_elements(elements).as_deref(), Some(caller), "{elements}");
    }
}

#[test]
fn what_stands_left_of_the_caller_is_not_looked_at() {
    for list in ["garbage, 198.51.100.7", "\u{e9}, 198.51.100.7", ",198.51.100.7"] {
        assert_eq!(of_list(list).as_deref(), Some("198.51.100.7"), "{list}");
    }
    for elements in ["nonsense, for=198.51.100.7", "for=\"\\\",\"\u{e9}, for=198.51.100.7"] {
        assert_eq!(of_elements(elements).as_deref(), Some("198.51.100.7"), "{elements}");
    }
    let lines = [("forwarded", "for=\""), ("forwarded", "for=198.51.100.7")];
    assert_eq!(address(Forwarded, &lines).as_deref(), Some("198.51.100.7"));
}

#[test]
fn several_lines_are_one_list() {
    for (lines, caller) in [
        (["6.6.6.6", "198.51.100.7, 10.0.0.2"], Some("198.51.100.7")),
        (["6.6.6.6, 198.51.100.7", "10.0.0.2"], Some("198.51.100.7")),
        (["", "198.51.100.7"], Some("198.51.100.7")),
        (["", "10.0.0.2"], None),
        (["198.51.100.7", ""], None),
    ] {
        assert_eq!(address(XForwardedFor, &lines.map(|line| ("x-forwarded-for", line))).as_deref(), caller);
    }
    let lines = ["for=6.6.6.6, for=198.51.100.7;proto=https", "for=10.0.0.2;proto=http"];
    let sent = sent(Forwarded, "10.0.0.1", &lines.map(|line| ("forwarded", line)));
    assert_eq!(sent, Some(("198.51.100.7".to_owned(), "https")));
}

#[test]
fn of_the_other_header_nothing_is_read() {
    for (name, value) in [
        ("forwarded", "for=6.6.6.6;proto=https"),
        ("forwarded", "for=198.51.100.7"),
        ("forwarded", "for=\""),
        ("x-real-ip", "6.6.6.6"),
    ] {
        let lines = [("x-forwarded-for", "198.51.100.7"), (name, value)];
        assert_eq!(sent(XForwardedFor, "10.0.0.1", &lines), Some(("198.51.100.7".to_owned(), "http")));
        assert_eq!(address(XForwardedFor, &lines[1..]).as_deref(), Some("10.0.0.1"));
    }
    let lines = [
        ("forwarded", "for=198.51.100.7"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-for", ""),
    ];
    assert_eq!(sent(Forwarded, "10.0.0.1", &lines), Some(("198.51.100.7".to_owned(), "http")));
    assert_eq!(sent(Forwarded, "10.0.0.1", &lines[1..]), Some(("10.0.0.1".to_owned(), "http")));
}

#[test]
fn a_sender_that_cannot_be_read_is_nobody() {
    for list in [
        "",
        "unknown",
        "198.51.100.7, garbage",
        "garbage, 10.0.0.2",
        "198.51.100.7,",
        "198.51.100.7,,10.0.0.2",
        "198.51.100.7 10.0.0.2",
        "1.2.3",
        "198.51.100.7, \u{e9}",
        "\"198.51.100.7\"",
    ] {
        assert_eq!(of_list(list), None, "{list}");
    }
    for elements in [
        "",
        "for=unknown",
        "for=_hidden",
        "for=198.51.100.7;for=6.6.6.6",
        "for=198.51.100.7;proto=http;proto=https",
        "for=198.51.100.7;host=a;host=b",
        "for=198.51.100.7;proto=ftp",
        "proto=https",
        "for=\"198.51.100.7",
        "for=\"198.51.100.7\\\"\"",
        "for=6.6.6.6;by=\"x, for=198.51.100.7;by=\"y\"",
        "for=198.51.100.7, nonsense",
        "198.51.100.7",
        "for=198.51.100.7,",
    ] {
        assert_eq!(of_elements(elements), None, "{elements}");
    }
}

#[test]
fn the_scheme_is_what_the_nearest_proxy_says() {
    let list = ("x-forwarded-for", "198.51.100.7");
    let scheme = |lines: &[Line]| sent(XForwardedFor, "10.0.0.1", lines).map(|(_, scheme)| scheme);
    assert_eq!(scheme(&[list]), Some("http"));
    for (said, wanted) in [
        ("http, HTTPS", Some("https")),
        ("wss", Some("https")),
        ("https, http", Some("http")),
        ("ws", Some("http")),
        ("https, ftp", None),
        ("https,", None),
    ] {
        assert_eq!(scheme(&[list, ("x-forwarded-proto", said)]), wanted, "{said}");
        assert_eq!(scheme(&[("x-forwarded-proto", said)]), wanted, "{said}");
    }
    let lines = [("x-forwarded-proto", "https"), ("x-forwarded-proto", "http")];
    assert_eq!(scheme(&lines), Some("http"));
    let lines = [("forwarded", "for=198.51.100.7;proto=https, for=10.0.0.3;proto=http")];
    assert_eq!(sent(Forwarded, "10.0.0.1", &lines), Some(("198.51.100.7".to_owned(), "https")));
}
