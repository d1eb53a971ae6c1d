//! Meters: which requests count, and what is read out of responses.

use proptest::prelude::*;

use rr_domain::model::id::ProxyId;
use rr_domain::model::meter::{Fold, Place, Reading, Value};
use rr_domain::model::pattern::Pattern;
use rr_domain::model::request_match::{BodyCheck, PairCheck, RequestMatch};

use super::super::request::RequestBody;
use super::*;

mod streams;

fn meter(counts: Counts, only_when: RequestMatch) -> CompiledMeter {
    let meter = Meter {
        proxy: ProxyId::from_random([1; 16]),
        name: "m".parse().expect("a name"),
        active: true,
        counts,
        only_when,
        limits: Windows::default(),
        per_caller: false,
    };
    CompiledMeter::compile(MeterId::from_random([1; 16]), &meter, &mut Patterns::default()).expect("compiles")
}

fn value(place: Place) -> Counts {
    let fold = if let Place::Header(_) = place { Fold::Sum } else { Fold::Last };
    values(vec![Reading { place, fold }])
}

fn values(readings: Vec<Reading>) -> Counts {
    Counts::Value(Value { readings, reserve: 0, on_missing: None })
}

fn path(path: &str) -> Place {
    Place::Body(vec![path.parse().expect("a path")])
}

/// What a meter reads in a response that has come whole.
fn reading(meter: &CompiledMeter, headers: &HeaderMap, body: &[u8]) -> Result<Amount, ReadingError> {
    let mut tally = meter.tally();
    meter.read_headers(headers, &mut tally);
    meter.read_document(body, &mut tally)?;
    meter.total(&tally)
}

/// What a meter says of a request, its body looked at where the head leaves it open.
fn applies(meter: &CompiledMeter, method: &str, body: RequestBody<'_>) -> Applies {
    let headers = HeaderMap::new();
    let head = meter.applies(
        &RequestView { method, path: "/", query: &[], headers: &headers, body },
        &mut HeadWork::default(),
    );
    match (head, body) {
        (Applies::NeedsBody, RequestBody::Read(body)) => {
            at_once(async |pace| meter.applies_to(body, pace).await)
        }
        (said, _) => said,
    }
}

fn of_body(path: &str, body: &str) -> Result<String, ReadingError> {
    let meter = meter(value(self::path(path)), RequestMatch::default());
    reading(&meter, &HeaderMap::new(), body.as_bytes()).map(|amount| amount.to_string())
}

#[test]
fn a_head_that_is_too_much_work_for_all_meters_together_is_refused() {
    let heavy = Pattern::new("a[a-z]{3000}[^a-z]", Default::default()).expect("a pattern");
    let check = PairCheck { name: None, value: Some(heavy), absent: false };
    let meter = meter(Counts::Requests, RequestMatch { headers: vec![check], ..RequestMatch::default() });
    let mut headers = HeaderMap::new();
    headers.insert("x", "a".repeat(2_400).parse().expect("a value"));
    let (query, body) = (&[], RequestBody::Unread);
    let view = RequestView { method: "GET", path: "/", query, headers: &headers, body };
    let mut work = HeadWork::default();
    assert_eq!(meter.applies(&view, &mut work), Applies::No);
    assert_eq!(meter.applies(&view, &mut work), Applies::Unreadable(JsonError::TooMuch));
    assert_eq!(meter.applies(&view, &mut HeadWork::default()), Applies::No);
}

#[test]
fn a_number_is_read_exactly_and_several_are_added() {
    for (body, wanted) in [
        (r#"{"u":{"t":12}}"#, "12"),
        (r#"{"u":{"t":0.1},"u":{"t":0.2}}"#, "0.3"),
        (r#"{"u":{"t":1.50e2}}"#, "150"),
        (r#"{"u":{"t":-0.0}}"#, "0"),
        (r#"{"u":{"t":0e999999999999999999999}}"#, "0"),
        (r#"{"u":{"t":0.0000001}}"#, "0.000001"),
        (r#"{"u":{"t":1e-99999999999999999999}}"#, "0.000001"),
        (r#"{"u":{"t":18446744073709.551615}}"#, "18446744073709.551615"),
    ] {
        assert_eq!(of_body("u.t", body).as_deref(), Ok(wanted), "{body}");
    }
    assert_eq!(of_body("*[*].n", r#"{"a":[{"n":1},{"m":5},{"n":2.5}]}"#).as_deref(), Ok("3.5"));
}

#[test]
fn what_is_no_number_from_zero_up_is_not_counted_as_one() {
    for (body, wanted) in [
        (r#"{"u":{}}"#, ReadingError::Missing),
        (r#"{"u":{"t":null}}"#, ReadingError::Missing),
        (r#"{"u":{"t":"12"}}"#, ReadingError::NotANumber),
        (r#"{"u":{"t":[1]}}"#, ReadingError::NotANumber),
        (r#"{"u":{"t":-1}}"#, ReadingError::NotANumber),
        (r#"{"u":{"t":5},"u":{"t":-1}}"#, ReadingError::NotANumber),
        (r#"{"u":{"t":18446744073709.551616}}"#, ReadingError::TooLarge),
        (r#"{"u":{"t":1e14}}"#, ReadingError::TooLarge),
        (r#"{"u":{"t":1e99999999999999999999}}"#, ReadingError::TooLarge),
        (r#"{"u":{"t":9e12},"u":{"t":9.9e12}}"#, ReadingError::TooLarge),
        (r#"{"u""#, ReadingError::Body(JsonError::Syntax(4))),
        (r#"{"u":{"t":5}} x"#, ReadingError::Body(JsonError::Syntax(14))),
    ] {
        assert_eq!(of_body("u.t", body), Err(wanted), "{body}");
    }
}

#[test]
fn of_an_array_the_elements_are_parts_and_count_as_those_of_a_stream() {
    let body = r#"[{"u":{"t":1}},{"u":{"t":3}},{"u":{"t":2}},{},[{"u":{"t":4}}]]"#;
    for (fold, wanted) in [(Fold::Last, 2), (Fold::Max, 3), (Fold::Sum, 6)] {
        for at in ["u.t", "*.u.t"] {
            let meter = meter(values(vec![Reading { place: path(at), fold }]), RequestMatch::default());
            let read = reading(&meter, &HeaderMap::new(), body.as_bytes());
            assert_eq!(read, Ok(Amount::whole(wanted)), "{fold:?} {at}");
        }
    }
}

#[test]
fn a_header_is_read_like_a_body_and_its_values_are_added() {
    let meter = meter(value(Place::Header(http::HeaderName::from_static("x-cost"))), RequestMatch::default());
    let reading = |values: &[&str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("x-cost", value.parse().expect("a value"));
        }
        assert!(!meter.reads_response_body());
        let mut tally = meter.tally();
        meter.read_headers(&headers, &mut tally);
        meter.total(&tally).map(Amount::millionths)
    };
    assert_eq!(reading(&["1.5", "2"]), Ok(3_500_000));
    assert_eq!(reading(&[]), Err(ReadingError::Missing));
    for bad in ["", "x", "1,2", "+1", "1e", "0x10", ".5", "5.", "NaN", "--1", "1e+-1"] {
        assert_eq!(reading(&[bad]), Err(ReadingError::NotANumber), "{bad}");
    }
}

#[test]
fn a_condition_on_the_body_decides_which_requests_count() {
    let value = Pattern::new("^gpt-", Default::default()).expect("a pattern");
    let check = BodyCheck { path: "model".parse().expect("a path"), value: Some(value), absent: false };
    let when =
        RequestMatch { methods: vec!["POST".to_owned()], body: vec![check], ..RequestMatch::default() };
    let meter = meter(Counts::Requests, when);
    let applies = |method, body| applies(&meter, method, body);
    assert_eq!(applies("GET", RequestBody::Unread), Applies::No);
    assert_eq!(applies("POST", RequestBody::Unread), Applies::NeedsBody);
    assert_eq!(applies("POST", RequestBody::Read(br#"{"model":"gpt-5"}"#)), Applies::Yes);
    assert_eq!(applies("POST", RequestBody::Read(br#"{"model":"other"}"#)), Applies::No);
    assert_eq!(applies("POST", RequestBody::Read(b"")), Applies::No);
    assert!(matches!(applies("POST", RequestBody::Read(b"{")), Applies::Unreadable(_)));
    assert_eq!(meter.total(&meter.tally()), Ok(Amount::whole(1)));
}

#[test]
fn for_a_meter_one_occurrence_is_enough_and_of_a_batch_one_element() {
    let value = Pattern::new("^x$", Default::default()).expect("a pattern");
    let said = |absent: bool, body: &str| {
        let check = BodyCheck { path: "m".parse().expect("a path"), value: Some(value.clone()), absent };
        let meter = meter(Counts::Requests, RequestMatch { body: vec![check], ..RequestMatch::default() });
        applies(&meter, "POST", RequestBody::Read(body.as_bytes()))
    };
    for (body, here, gone) in [
        (r#"{"m":"x"}"#, Applies::Yes, Applies::No),
        (r#"{"m":"x","m":"y"}"#, Applies::Yes, Applies::No),
        (r#"{"m":"y","M":"x"}"#, Applies::Yes, Applies::No),
        (r#"{"m":"y"}"#, Applies::No, Applies::Yes),
        (r#"[{"m":"y"},{"m":"x"}]"#, Applies::Yes, Applies::Yes),
        (r#"[{"m":"x"},{"m":"x"}]"#, Applies::Yes, Applies::No),
        ("[]", Applies::No, Applies::Yes),
    ] {
        assert_eq!((said(false, body), said(true, body)), (here, gone), "{body}");
    }
}

#[test]
fn a_long_document_is_read_with_rests_and_one_that_takes_too_long_has_no_number() {
    let read_from = |body: String| {
        let counts = values(vec![Reading { place: path("n"), fold: Fold::Sum }]);
        let meter = meter(counts, RequestMatch::default());
        let (mut rests, mut tally) = (0, meter.tally());
        let mut pace = Pace::new(async || rests += 1);
        let read = std::pin::pin!(meter.read_document_at(body.as_bytes(), &mut tally, &mut pace))
            .poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        let std::task::Poll::Ready(read) = read else { panic!("nothing is waited for but rests") };
        (read.and_then(|()| meter.total(&tally)), rests)
    };
    let read = |values: usize| read_from(format!("[{}]", vec![r#"{"n":1}"#; values].join(",")));
    // All of it is gone over, whatever it is.
    let text = format!(r#"{{"m":"{}"}}"#, "x".repeat(200_000));
    assert_eq!(read_from(text), (Err(ReadingError::Missing), 1));
    assert_eq!(read(10), (Ok(Amount::whole(10)), 0));
    let (reading, rests) = read(10_000);
    assert_eq!(reading, Ok(Amount::whole(10_000)));
    assert!(rests >= 3, "{rests}");
    assert_eq!(read(4_000_000).0, Err(ReadingError::Body(JsonError::TooMuch)));
}

proptest! {
    #[test]
    fn a_whole_number_is_itself_however_it_is_written(number in 0..10_000_000_u64, zeros in 0..6_usize) {
        let padded = "0".repeat(zeros);
        for text in [
            format!("{number}"),
            format!("{number}.{padded}0"),
            format!("{number}{padded}e-{zeros}"),
            format!("{number}E+0"),
        ] {
            prop_assert_eq!(Amount::parse(&text), Ok(Amount::whole(number)), "{}", text);
        }
    }

    #[test]
    fn what_is_printed_is_read_back(millionths: u64) {
        let amount = Amount::of_millionths(millionths);
        prop_assert_eq!(Amount::parse(&amount.to_string()), Ok(amount));
    }

    #[test]
    fn no_text_panics(text in "[-+0-9.eE]{0,24}|\\PC{0,8}") {
        if let Ok(amount) = Amount::parse(&text) {
            prop_assert_eq!(Amount::parse(&amount.to_string()), Ok(amount));
        }
    }
}
