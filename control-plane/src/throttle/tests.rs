//! The calls that the throttle lets through.

use super::*;

fn headers(name: &'static str, value: &str) -> HeaderMap {
    HeaderMap::from_iter([(
        http::HeaderName::from_static(name),
        http::HeaderValue::try_from(value).expect("a value"),
    )])
}

fn who(token: &str, address: &str) -> Presented {
    let headers = if token.is_empty() { HeaderMap::new() } else { headers("authorization", token) };
    Presented::of(&headers, Some(address.parse().expect("an address")))
}

fn passed(throttle: &Throttle, who: &Presented, now: Instant) -> usize {
    (0..1000).take_while(|_| throttle.enter(who, now).is_ok()).count()
}

#[test]
fn a_token_that_was_let_in_counts_for_itself_and_one_made_up_for_its_address() {
    let throttle = Throttle::new(Limits { token_rate: 1, token_burst: 10, ..Limits::default() });
    let now = Instant::now();
    let (good, other) = (who("Bearer good", "10.0.0.1"), who("Bearer other", "10.0.0.1"));
    for known in [&good, &other] {
        throttle.judged(known, true, now);
    }
    assert_eq!(passed(&throttle, &good, now), 10);
    assert_eq!(passed(&throttle, &other, now), 10);
    let made_up: usize =
        (0..100).filter(|n| throttle.enter(&who(&format!("Bearer {n}"), "10.0.0.1"), now).is_ok()).count();
    assert_eq!(made_up, 10, "all together");
    assert_eq!(passed(&throttle, &who("", "10.0.0.1"), now), 0);
    assert_eq!(passed(&throttle, &who("", "10.0.0.2"), now), 10);
}

#[test]
fn a_token_that_is_not_good_any_more_counts_for_its_address_again() {
    let throttle = Throttle::new(Limits { token_rate: 1, token_burst: 10, ..Limits::default() });
    let (now, token) = (Instant::now(), who("Bearer good", "10.0.0.1"));
    throttle.judged(&token, true, now);
    assert_eq!(passed(&throttle, &who("", "10.0.0.1"), now), 10);
    assert_eq!(passed(&throttle, &token, now), 10);
    throttle.judged(&token, false, now);
    assert_eq!(passed(&throttle, &token, now), 0);
}

#[test]
fn all_of_a_network_of_version_6_is_one_address() {
    let throttle = Throttle::new(Limits { token_rate: 1, token_burst: 10, ..Limits::default() });
    let now = Instant::now();
    assert_eq!(passed(&throttle, &who("", "2001:db8::1"), now), 10);
    assert_eq!(passed(&throttle, &who("", "2001:db8::ffff:1"), now), 0);
    assert_eq!(passed(&throttle, &who("", "2001:db8:0:1::1"), now), 10);
}

#[test]
fn streams_have_places_and_calls_that_need_no_token_have_others() {
    let throttle = Throttle::new(Limits { streams: 1, ..Limits::default() });
    let first = throttle.place(Class::Stream, "a").expect("is free");
    assert_eq!(throttle.place(Class::Stream, "b").expect_err("is taken"), Refusal::Streams);
    assert!(throttle.place(Class::Foreign, "b").expect("is free").is_some());
    assert!(throttle.place(Class::Ordinary, "b").expect("needs none").is_none());
    drop(first);
    assert!(throttle.place(Class::Stream, "b").is_ok());
}

/// One organization's watches kept those of all others out.
#[test]
fn one_caller_has_a_quarter_of_the_streams() {
    let throttle = Throttle::new(Limits { streams: 8, ..Limits::default() });
    let take = |caller| throttle.place(Class::Stream, caller);
    let kept = [take("a"), take("a")].map(|place| place.expect("is within the share"));
    assert_eq!(take("a").expect_err("is more than that"), Refusal::Streams);
    let others = ["b", "b", "c", "c", "d", "d"].map(|caller| take(caller).expect("has a share"));
    assert_eq!(take("e").expect_err("all are taken"), Refusal::Streams);
    drop((kept, others));
    assert!(take("a").is_ok());
}

#[test]
fn the_shorter_of_two_times_counts_and_nonsense_is_no_time() {
    let throttle = Throttle::new(Limits::default());
    for (said, wanted) in [
        ("1S", Duration::from_secs(1)),
        ("100m", Duration::from_millis(100)),
        ("5u", Duration::from_micros(5)),
        ("7n", Duration::from_nanos(7)),
        ("1H", Duration::from_secs(30)),
        ("2M", Duration::from_secs(30)),
        ("", Duration::from_secs(30)),
        ("S", Duration::from_secs(30)),
        ("-1S", Duration::from_secs(30)),
        ("123456789S", Duration::from_secs(30)),
    ] {
        let said_at = grpc_timeout(&headers("grpc-timeout", said));
        assert_eq!(throttle.limit(Class::Ordinary, said_at), wanted, "{said}");
    }
    assert_eq!(throttle.limit(Class::Large, None), Duration::from_secs(120));
    assert_eq!(Class::Large.body(), 4 * Class::Ordinary.body());
}
