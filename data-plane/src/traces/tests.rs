//! What callers say of traces, what upstreams are told, and which requests are traced.

use http::header::HeaderName;
use opentelemetry::InstrumentationScope;
use opentelemetry::trace::Status;
use rr_contract::wire::fleet;

use crate::fixture::{self, Region, target_message, target_of};

use super::context::put;
use super::spans;
use super::*;

const SAID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
    };
    let mut headers = HeaderMap::new();
    pairs.iter().map(pair).for_each(|(name, value)| _ = headers.append(name, value));
    headers
}

fn share(percent: f64) -> TraceShare {
    percent.try_into().expect("it is from 0 to 100")
}

fn tracer_of(percent: f64, per_second: u32) -> (Tracer, Receiver<Box<RawTrace>>, Arc<Counters>) {
    let counters = Arc::new(Counters::default());
    let settings = TraceSettings { share: share(percent), per_second, paths: false };
    let (tracer, queue) = tracer(settings, 1, Arc::clone(&counters));
    (tracer, queue, counters)
}

fn begin(tracer: &Tracer, headers: &HeaderMap, at: Instant) -> Option<Box<Trace>> {
    tracer.begin(headers, at, ("http", Version::HTTP_11), || [0x5a; 24])
}

fn over_rate(counters: &Counters) -> u64 {
    crate::counters::Totals::of(std::iter::once(counters)).traces_over_rate
}

#[test]
fn what_a_caller_says_of_traces_counts_if_it_is_exactly_right() {
    let said = Context::of(&headers(&[("traceparent", SAID)])).expect("it is right");
    assert!(said.is_sampled());
    for later in ["01-", "cc-"] {
        let later = [later, &SAID[3..], "-what-will-be"].concat();
        assert!(Context::of(&headers(&[("traceparent", &later)])).is_some(), "{later}");
    }
    for wrong in [
        "".to_owned(),
        SAID[..54].to_owned(),
        format!("{SAID}-more"),
        format!("cc{}.more", &SAID[2..]),
        SAID.replacen("00", "ff", 1),
        SAID.replace("0af7", "0AF7"),
        SAID.replace("0af7", "0zf7"),
        SAID.replace("-b7", "_b7"),
        format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
        format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", "0".repeat(16)),
    ] {
        assert_eq!(Context::of(&headers(&[("traceparent", &wrong)])), None, "{wrong:?}");
    }
    assert_eq!(Context::of(&headers(&[("traceparent", SAID), ("traceparent", SAID)])), None, "there are two");
    assert_eq!(Context::of(&headers(&[("tracestate", "a=1")])), None, "it says nothing by itself");
}

#[test]
fn a_state_goes_on_as_one_and_only_within_its_bounds() {
    let of = |states: &[&str]| {
        let mut pairs = vec![("traceparent", SAID)];
        pairs.extend(states.iter().map(|state| ("tracestate", *state)));
        Context::of(&headers(&pairs)).expect("the parent is right").state
    };
    assert_eq!(of(&["a=1", "b=2"]).expect("a state"), "a=1,b=2");
    let long = format!("a={}", "x".repeat(510));
    assert!(of(&[&long]).is_some());
    assert_eq!(of(&[&long, "b"]), None);
    assert_eq!(of(&[&["a=1"; 33].join(",")]), None);
}

#[test]
fn an_upstream_is_told_in_the_place_of_what_was_told_before() {
    let mut told = headers(&[("traceparent", SAID), ("tracestate", "a=1")]);
    put(&mut told, [0xab; 16], [0xcd; 8], 1, None);
    assert_eq!(told, headers(&[("traceparent", &format!("00-{}-{}-01", "ab".repeat(16), "cd".repeat(8)))]));
}

#[test]
fn a_request_is_traced_as_its_caller_says_and_otherwise_by_share() {
    let now = Instant::now();
    let (unsaid, traced) = (HeaderMap::new(), headers(&[("traceparent", SAID)]));
    let untraced = headers(&[("traceparent", &SAID.replace("-01", "-00"))]);
    let (all, _queue, _) = tracer_of(100.0, 100);
    let (none, _queue, counters) = tracer_of(0.0, 100);
    assert!(begin(&all, &unsaid, now).is_some() && begin(&none, &unsaid, now).is_none());
    assert!(begin(&all, &untraced, now).is_none() && begin(&none, &untraced, now).is_none());
    for tracer in [&all, &none] {
        let trace = begin(tracer, &traced, now).expect("it is traced");
        let own = trace.own.expect("it has a span");
        assert_eq!(own.trace[..2], [0x0a, 0xf7], "it belongs to the trace of the caller");
        assert_eq!(own.span, [0x5a; 8]);
    }
    assert_eq!(over_rate(&counters), 0, "what is not of the share is no loss");
}

#[test]
fn a_share_is_the_share_of_ids_that_are_drawn() {
    let sampler = Sampler::new(share(25.0), 1, 1);
    let drawn = (0..=255_u8).filter(|first| {
        let mut id = [7; 16];
        id[8] = *first;
        sampler.draws(&id)
    });
    assert_eq!(drawn.count(), 64);
    assert!(Sampler::new(TraceShare::ALL, 1, 1).draws(&[0xff; 16]));
    assert!(!Sampler::new(share(0.0), 1, 1).draws(&[0; 16]));
    assert!(["-1", "100.5", "NaN", "half"].iter().all(|text| text.parse::<TraceShare>().is_err()));
    assert_eq!("12.5".parse::<TraceShare>().expect("a share").to_string(), "12.5");
}

#[test]
fn callers_have_no_more_traced_than_half_of_what_a_second_takes() {
    let now = Instant::now();
    let (tracer, _queue, counters) = tracer_of(100.0, 10);
    let (asked, unasked) = (headers(&[("traceparent", SAID)]), HeaderMap::new());
    let count = |headers, at| (0..50).filter(|_| begin(&tracer, headers, at).is_some()).count();
    assert_eq!(count(&asked, now), 5);
    assert_eq!(count(&unasked, now), 5, "the others have the rest");
    assert_eq!(over_rate(&counters), 90);
    assert_eq!(count(&unasked, now + Duration::from_secs(2)), 10);
}

#[test]
fn a_trace_that_finds_no_room_is_counted_and_nobody_waits() {
    let (tracer, queue, counters) = tracer_of(100.0, u32::MAX);
    let id = RequestId::from_random([1; 16]);
    let record = RawRecord::new(id, SystemTime::UNIX_EPOCH, Method::GET, 1);
    for _ in 0..CAPACITY + 3 {
        let trace = begin(&tracer, &HeaderMap::new(), Instant::now()).expect("it is traced");
        tracer.end(*trace, &record);
    }
    let totals = crate::counters::Totals::of(std::iter::once(&*counters));
    assert_eq!((queue.len(), totals.traces_dropped), (CAPACITY, 3));
}

#[test]
fn workers_share_what_a_second_takes() {
    let settings = TraceSettings { share: TraceShare::ALL, per_second: 10, paths: false };
    let (tracer, _queue) = tracer(settings, 2, Arc::default());
    let now = Instant::now();
    assert_eq!((0..50).filter(|_| begin(&tracer, &HeaderMap::new(), now).is_some()).count(), 5);
}

/// A target as a node has it.
fn target(trace_context: bool) -> Arc<CompiledTarget> {
    let (region, url) = (Region::new(), "http://127.0.0.1:9");
    let snapshot = region.snapshot(&[
        fixture::org(false),
        target_of(1, &fleet::TargetResource { trace_context, ..target_message(1, url) }),
        fixture::caller(1, 1, &[1]),
        region.upstream(2, 1, "sk", "x-api-key", &[url]),
        fixture::proxy(1, &[1], 1, 2),
    ]);
    let proxy = snapshot.proxy("acme.proxy-1").expect("it is there");
    Arc::clone(&proxy.route.as_ref().expect("it is open").target)
}

#[test]
fn however_often_a_request_is_sent_it_has_so_many_spans_and_its_upstream_is_told_where_the_target_says_so() {
    let (tracer, ..) = tracer_of(100.0, 100);
    for is_told in [true, false] {
        let target = target(is_told);
        let mut trace = begin(&tracer, &HeaderMap::new(), Instant::now()).expect("it is traced");
        for n in 0..=u8::try_from(ATTEMPTS_MAX).expect("few") {
            let mut headers = HeaderMap::new();
            trace.attempt(&target, &mut headers, Duration::ZERO, || [n + 1; 8]);
            let told = Context::of(&headers).map(|told| (told.trace[0], told.parent));
            assert_eq!(told, is_told.then_some((0x5a, [n + 1; 8])));
        }
        assert_eq!(trace.own.expect("it has a span").attempts.len(), ATTEMPTS_MAX);
    }
}

#[test]
fn a_caller_that_leaves_is_no_fault_and_an_answer_that_breaks_off_is_one() {
    let (tracer, mut queue, _) = tracer_of(100.0, 100);
    let id = RequestId::from_random([1; 16]);
    let record = |code, status, aborted| RawRecord {
        code,
        status,
        aborted,
        ..RawRecord::new(id, SystemTime::UNIX_EPOCH, Method::GET, 1)
    };
    let (granted, ok) = (Some(Code::Granted), Some(StatusCode::OK));
    for (record, fault) in [
        (record(granted, ok, false), None),
        (record(granted, Some(StatusCode::NOT_FOUND), false), None),
        (record(None, None, true), None),
        (record(Some(Code::CallerGone), None, true), None),
        (record(granted, ok, true), Some("200")),
        (record(granted, Some(StatusCode::BAD_GATEWAY), false), Some("502")),
        (
            record(Some(Code::RecordUnsure), Some(StatusCode::SERVICE_UNAVAILABLE), false),
            Some("record-unsure"),
        ),
    ] {
        let trace = begin(&tracer, &HeaderMap::new(), Instant::now()).expect("it is traced");
        tracer.end(*trace, &record);
        let mut out = Vec::new();
        let scope = InstrumentationScope::builder("test").build();
        spans::add(*queue.try_recv().expect("it ended"), None, &scope, &mut out);
        let [span] = &out[..] else { panic!("{out:?}") };
        assert_eq!(span.status == Status::Unset, fault.is_none(), "{span:?}");
        let kind = span.attributes.iter().find(|it| it.key.as_str() == "error.type");
        assert_eq!(kind.map(|it| it.value.to_string()).as_deref(), fault);
    }
}
