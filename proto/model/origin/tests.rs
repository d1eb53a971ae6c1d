//! What a base URL may be, and which origins cover it.

use super::*;

fn url(text: &str) -> BaseUrl {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn check(origin: &str, target: &str, covered: bool) {
    let origin: Origin = origin.parse().unwrap_or_else(|error| panic!("{origin}: {error}"));
    assert_eq!(origin.covers(&url(target)), covered, "{origin} against {target}");
    assert_eq!(origin.to_string().parse(), Ok(origin));
}

#[test]
fn a_base_url_is_kept_without_its_last_slash_and_with_its_port() {
    let base = url("https://API.example.com:8443/v1/");
    assert_eq!(base.to_string(), "https://api.example.com:8443/v1");
    assert_eq!((base.port(), base.path()), (8443, "/v1"));
    assert_eq!(url("https://a.example").authority(), "a.example");
}

#[test]
fn each_way_a_base_url_can_be_wrong_has_its_own_text() {
    for (text, wanted) in [
        ("https://", InvalidBaseUrl::NoHost),
        ("https:///v1", InvalidBaseUrl::NoHost),
        ("https:v1", InvalidBaseUrl::NoHost),
        ("ftp://a.example", InvalidBaseUrl::Scheme("ftp".into())),
        ("https://u:p@a.example", InvalidBaseUrl::UserInfo),
        ("https://a.example/?x=1", InvalidBaseUrl::Query),
        ("https://a.example/#x", InvalidBaseUrl::Query),
    ] {
        assert_eq!(text.parse::<BaseUrl>(), Err(wanted), "{text}");
    }
    assert!(matches!("api.example.com".parse::<BaseUrl>(), Err(InvalidBaseUrl::Syntax(_))));
}

#[test]
fn a_secret_goes_only_where_scheme_host_and_port_agree() {
    check("https://a.example.com", "https://a.example.com/v1", true);
    check("https://a.example.com", "http://a.example.com", false);
    check("https://a.example.com", "https://a.example.com:444", false);
    check("https://a.example.com", "https://b.example.com", false);
    check("http://127.0.0.1:9000", "http://127.0.0.1:9000/x", true);
}

#[test]
fn a_wildcard_covers_what_is_below_it_and_not_the_suffix_itself() {
    check("https://*.example.com", "https://a.example.com", true);
    check("https://*.example.com", "https://a.b.example.com", true);
    check("https://*.example.com", "https://example.com", false);
    check("https://*.example.com", "https://evilexample.com", false);
    for bad in ["https://*", "https://*.com", "https://a.*.com", "https://*.1.2.3.4", "https://a.example/x"] {
        assert!(bad.parse::<Origin>().is_err(), "{bad}");
    }
}
