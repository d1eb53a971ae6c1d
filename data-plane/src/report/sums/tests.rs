//! Sums of requests: what they have in common, and what becomes of them where nobody takes them.

use rr_contract::model::id::RequestId;
use rr_contract::wire::fleet::KeptPlace;

use crate::report::{KeptValue, Reason, RuleOutcome};
use crate::scrub::{Path, Value};

use super::*;

const NOW: u64 = 1_800_000_000;

fn proxy(n: u32) -> ProxyId {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&n.to_be_bytes());
    ProxyId::from_random(id)
}

fn record(second: u64) -> RawRecord {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
    RawRecord {
        org: Some(OrgId::from_random([1; 16])),
        proxy: Some(proxy(1)),
        caller: Some(CredentialId::from_random([2; 16])),
        status: Some(StatusCode::OK),
        code: Some(Code::Granted),
        duration: Duration::from_micros(5),
        request_bytes: 10,
        response_bytes: 20,
        aborted: false,
        ..RawRecord::new(RequestId::from_random([7; 16]), at, http::Method::GET, 9)
    }
}

fn requests(sums: &[fleet::Sum]) -> u64 {
    sums.iter().map(|sum| sum.requests).sum()
}

#[test]
fn whatever_callers_and_upstreams_write_makes_no_further_sum() {
    let mut sums = Sums::default();
    for n in 0..1000_u16 {
        let text = format!("/written-by-a-caller-{n}");
        let value = KeptValue {
            place: KeptPlace::Query,
            name: text.as_str().into(),
            value: Value::of(text.as_bytes()),
        };
        sums.add(&RawRecord {
            method: http::Method::from_bytes(format!("METHOD-{n}").as_bytes()).expect("a method"),
            path: Path::of(&text),
            kept: vec![value],
            endpoint: Some(text.into()),
            reason: Some(if n % 2 == 0 { Reason::Unknown } else { Reason::Missing }),
            client_key: Some([n.to_be_bytes()[1]; 32]),
            // An upstream may answer with any number.
            status: Some(StatusCode::from_u16(600 + n % 400).expect("a status")),
            upstream_status: Some(StatusCode::from_u16(100 + n % 900).expect("a status")),
            ..record(NOW)
        });
    }
    let told = sums.take(MOST);
    // One for each class of status.
    assert_eq!((told.len(), requests(&told)), (4, 1000), "{told:?}");
    assert!(!format!("{told:?}").contains("caller-"));
}

#[test]
fn requests_that_are_alike_are_one_sum_and_any_difference_makes_another() {
    let meter = MeterId::from_random([4; 16]);
    let metered =
        |charged, missing, exceeded| MeterState { meter, charged, missing, partial: false, exceeded };
    let mut sums = Sums::default();
    sums.add(&RawRecord { meters: vec![metered(7, false, None)], ..record(NOW) });
    sums.add(&RawRecord {
        meters: vec![metered(5, true, Some(Window::Hour))],
        duration: Duration::from_millis(9),
        aborted: true,
        ..record(NOW + 59)
    });
    let mut told = sums.take(9);
    let sum = told.pop().expect("there is one");
    assert!(told.is_empty(), "{told:?}");
    let key = (sum.minute, &*sum.code, sum.status, sum.revision, sum.observed_denial, &*sum.rule);
    assert_eq!(key, (NOW / 60, "proxy-access-granted", 200, 9, false, ""));
    let amounts = (sum.requests, sum.aborted, sum.request_bytes, sum.response_bytes);
    assert_eq!(amounts, (2, 1, 20, 40));
    assert_eq!((sum.micros, sum.longest_micros), (9_005, 9_000));
    let latencies = Latencies::decode(&sum.latencies).expect("a histogram");
    assert_eq!((latencies.count(), latencies.quantile(0.5)), (2, Some(Duration::from_micros(5))));
    let metered = fleet::MeterSum { meter: meter.text(), charged_millionths: 12, missing: 1, exceeded: 1 };
    assert_eq!(sum.meters, [metered]);

    let rule = Some(RuleId::from_random([3; 16]));
    let outcome = |effect| Some(RuleOutcome { effect, scope: None, rule });
    for other in [
        record(NOW + 60),
        RawRecord { proxy: Some(proxy(2)), ..record(NOW) },
        RawRecord { caller: None, ..record(NOW) },
        RawRecord { status: Some(StatusCode::CREATED), ..record(NOW) },
        RawRecord { status: None, ..record(NOW) },
        RawRecord { code: Some(Code::RuleDenied), ..record(NOW) },
        RawRecord { revision: 10, ..record(NOW) },
        RawRecord { rules: outcome(Effect::Allow), ..record(NOW) },
        RawRecord { observed: outcome(Effect::Deny), ..record(NOW) },
    ] {
        sums.add(&record(NOW));
        sums.add(&other);
        assert_eq!(sums.take(9).len(), 2);
    }
    // An observed permission is no news.
    sums.add(&record(NOW));
    sums.add(&RawRecord { observed: outcome(Effect::Allow), ..record(NOW) });
    assert_eq!(sums.take(9).len(), 1);
}

#[test]
fn statuses_that_an_upstream_makes_up_are_one_of_each_class() {
    let mut sums = Sums::default();
    for status in 100..1000 {
        sums.add(&RawRecord { status: StatusCode::from_u16(status).ok(), ..record(NOW) });
    }
    let told = sums.take(usize::MAX);
    assert!(told.len() < 80, "{}", told.len());
    assert_eq!(requests(&told), 900);
    assert!(told.iter().any(|sum| sum.status == 404) && told.iter().all(|sum| sum.status != 299));
}

#[test]
fn what_was_written_and_read_again_is_the_same_sum() {
    let rule = Some(RuleId::from_random([3; 16]));
    let full = RawRecord {
        rules: Some(RuleOutcome { effect: Effect::Allow, scope: None, rule }),
        observed: Some(RuleOutcome { effect: Effect::Deny, scope: None, rule }),
        meters: vec![MeterState {
            meter: MeterId::from_random([4; 16]),
            charged: 3,
            missing: true,
            partial: false,
            exceeded: Some(Window::Day),
        }],
        ..record(NOW)
    };
    let mut sums = Sums::default();
    sums.add(&full);
    let told = sums.take(1);
    sums.put_back(&told[0]);
    assert_eq!(sums.take(1), told);
    sums.put_back(&told[0]);
    sums.put_back(&told[0]);
    assert_eq!(requests(&sums.take(9)), 2);
    // Of a later edition, whose code has no name here.
    sums.put_back(&fleet::Sum { code: "of-tomorrow".into(), ..told[0].clone() });
    assert_eq!(requests(&sums.take(9)), 1);
    sums.put_back(&fleet::Sum { proxy: "nobody".into(), ..told[0].clone() });
    assert_eq!(sums.len(), 0, "no proxy's");
}

#[test]
fn however_long_nobody_takes_them_none_is_lost_and_they_have_a_bound() {
    let mut sums = Sums::default();
    let all = 3 * MOST as u64;
    for minute in 0..all {
        sums.add(&record(NOW + minute * 60));
        assert!(sums.len() <= MOST, "{}", sums.len());
    }
    let told = sums.take(usize::MAX);
    assert_eq!(requests(&told), all);
    assert!(told.iter().all(|sum| sum.status == 200), "an hour is coarse enough: 205 of them");
    // More proxies than there is room for.
    for minute in 0..3 {
        for n in 0..2 * MOST as u32 {
            sums.add(&RawRecord { proxy: Some(proxy(n)), ..record(NOW + minute * 60) });
            assert!(sums.len() <= 4 * MOST, "{}", sums.len());
        }
    }
    let told = sums.take(usize::MAX);
    assert_eq!(requests(&told), 6 * MOST as u64);
    let first: Vec<_> = told.iter().filter(|sum| sum.proxy == proxy(0).text()).collect();
    let of_day = first.iter().find(|sum| sum.minute % 1440 == 0).expect("some were put together");
    assert_eq!((of_day.status, &*of_day.code), (0, ""));
    assert!(of_day.requests > 1, "{first:?}");
}
