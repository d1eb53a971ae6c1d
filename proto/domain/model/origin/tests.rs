//! What a base URL may be, and which origins cover it.

use proptest::prelude::*;

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
    // The same host and port in the clear: the port alone does not tell them apart.
    check("https://a.example.com", "http://a.example.com:443", false);
    check("http://a.example.com:443", "https://a.example.com", false);
    check("https://*.example.com:8443", "http://a.example.com:8443", false);
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

#[test]
fn a_text_that_two_parsers_could_read_as_two_hosts_is_refused() {
    for text in [
        r"https://host\@evil.example",
        r"https://\evil.example",
        r"https:\\evil.example",
        "https://\t/evil.example",
        "https://good\n.example",
        " https://a.example",
        "https://a.example ",
        "https://a.example/a b",
        "https://a.example/\u{a0}",
    ] {
        assert_eq!(text.parse::<BaseUrl>(), Err(InvalidBaseUrl::Character), "{text:?}");
        assert!(text.parse::<Origin>().is_err(), "{text:?}");
    }
    for text in ["https://@evil.example", "https://:@evil.example", "https://good.example@evil.example"] {
        assert_eq!(text.parse::<BaseUrl>(), Err(InvalidBaseUrl::UserInfo), "{text}");
    }
}

#[test]
fn a_host_that_would_print_as_a_wildcard_is_no_base_url() {
    let long = format!("https://{}.example", "a".repeat(64));
    for text in [
        "https://*.example.com",
        "https://%2a.example.com",
        "https://a..example",
        "https://a'b.example",
        &long,
    ] {
        assert_eq!(text.parse::<BaseUrl>(), Err(InvalidBaseUrl::Host), "{text}");
    }
    assert!("https://%2a.example.com".parse::<Origin>().is_err());
    assert!("https://a.example://*.".parse::<Origin>().is_err());
}

#[test]
fn spellings_of_one_host_are_one_host() {
    assert_eq!(url("https://ex%61mple.com."), url("HTTPS://EXAMPLE.com.:443/"));
    assert_eq!(url("https://b\u{fc}cher.example").to_string(), "https://xn--bcher-kva.example");
    check("https://127.0.0.1", "https://0x7f.1", true);
    check("https://[::1]:8443", "https://[0:0::1]:8443", true);
    check("https://127.0.0.1", "https://[::ffff:127.0.0.1]", false);
    check("https://a.example.com", "https://a.example.com.", false);
    check("https://*.example.com", "https://a.example.com.", false);
}

#[test]
fn a_base_url_whose_escapes_make_it_too_long_is_refused() {
    let text = format!("https://a.example/{}", "\u{fc}".repeat(600));
    assert_eq!(text.parse::<BaseUrl>(), Err(InvalidBaseUrl::TooLong));
}

fn hostile() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("https://".to_owned()),
        Just("http://".to_owned()),
        Just("*.".to_owned()),
        Just("://*.".to_owned()),
        Just("@".to_owned()),
        Just(":".to_owned()),
        Just("/".to_owned()),
        Just("\\".to_owned()),
        Just(".".to_owned()),
        Just("example.com".to_owned()),
        Just("%2a".to_owned()),
        Just("%2e".to_owned()),
        Just("[::1]".to_owned()),
        Just("127.1".to_owned()),
        Just("443".to_owned()),
        "[a-zA-Z0-9-]{1,8}",
        "\\PC{1,4}",
        any::<char>().prop_map(String::from),
    ];
    (any::<bool>(), proptest::collection::vec(part, 0..8))
        .prop_map(|(scheme, parts)| format!("{}{}", if scheme { "https://" } else { "" }, parts.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_parses_prints_as_itself(text in hostile()) {
        if let Ok(base) = text.parse::<BaseUrl>() {
            prop_assert_eq!(base.to_string().parse::<BaseUrl>(), Ok(base.clone()));
            let origin = Origin::of(&base);
            prop_assert_eq!(origin.to_string().parse::<Origin>(), Ok(origin.clone()));
            prop_assert!(origin.covers(&base));
            prop_assert!(base.authority().parse::<http::uri::Authority>().is_ok());
        }
        if let Ok(origin) = text.parse::<Origin>() {
            prop_assert_eq!(origin.to_string().parse::<Origin>(), Ok(origin));
        }
    }

    #[test]
    fn no_origin_covers_another_host(one in hostile(), two in hostile()) {
        if let (Ok(origin), Ok(base)) = (one.parse::<Origin>(), two.parse::<BaseUrl>())
            && origin.covers(&base)
        {
            let theirs = base.host().to_string();
            let host = match origin.to_string().split_once("://*") {
                Some((_, suffix)) => theirs.ends_with(suffix.split(':').next().unwrap_or_default()),
                None => Origin::of(&base) == origin,
            };
            prop_assert!(host && base.scheme() == origin.scheme && base.port() == origin.port);
        }
    }

    #[test]
    fn a_wildcard_covers_exactly_the_names_with_more_labels_before_its_own(
        mine in proptest::collection::vec("[ab]{1,2}", 2..4),
        theirs in proptest::collection::vec("[ab]{1,2}", 1..6),
    ) {
        let origin: Origin = format!("https://*.{}", mine.join(".")).parse().expect("an origin");
        let base = url(&format!("https://{}", theirs.join(".")));
        prop_assert_eq!(origin.covers(&base), theirs.len() > mine.len() && theirs.ends_with(&mine));
    }
}
