//! Whose time it is, and what form a request has.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::pending;
use std::task::{Context, Waker};

use bytes::Bytes;
use http::uri::Authority;
use http_body_util::BodyExt as _;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rr_contract::model::id::{OrgId, TargetId};
use rr_contract::model::target::Target;
use rr_contract::model::tls::{HttpVersion, MinTls, Wire};
use rr_contract::runtime::Tasks;
use rr_contract::wire::fleet;
use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::mpsc;

use crate::body::{BodyBudget, Held, Whole};
use crate::counters::Gathered;
use crate::fixture::ORG;
use crate::seats::{Bounds, Seats};

use super::request_body::Carrier;
use super::*;

#[tokio::test]
async fn a_caller_that_stops_in_the_middle_has_a_limit_of_its_own_and_the_blame() {
    let wait = async |turn, ago| {
        let passage = Passage::since(turn, ago);
        let answer = pin!(pending::<()>());
        in_turn(&passage, Duration::from_millis(10), None, &mut Deadline::default(), answer).await
    };
    let stalled = wait(Turn::Caller, CALLER_IDLE).await;
    assert!(matches!(stalled, Err(SendError::Caller(CallerFault::Stalled))));
    let late = wait(Turn::Upstream, Duration::ZERO).await;
    assert!(matches!(late, Err(SendError::ResponseTimeout)));
}

#[tokio::test(start_paused = true)]
async fn a_slow_upload_to_an_upstream_with_little_time_costs_few_looks() {
    let looks = Cell::new(0);
    let answer = pin!(poll_fn(|_| -> Poll<()> {
        looks.set(looks.get() + 1);
        Poll::Pending
    }));
    let passage = Passage::since(Turn::Caller, Duration::ZERO);
    let (little, mut deadline) = (Duration::from_millis(1), Deadline::default());
    let wait = in_turn(&passage, little, None, &mut deadline, answer);
    assert!(timeout(Duration::from_secs(10), wait).await.is_err(), "it is the caller's turn");
    assert!(looks.get() <= 102, "{}", looks.get());
}

fn target(base_url: &str) -> CompiledTarget {
    let wire = fleet::TargetResource {
        name: "target".to_owned(),
        base_url: base_url.to_owned(),
        ..fleet::TargetResource::default()
    };
    let target = Target::try_from(wire).expect("a target");
    CompiledTarget::new(ORG, TargetId::from_random([1; 16]), target).expect("it can be sent to")
}

#[test]
fn a_request_that_an_http1_connection_gave_back_is_whole_on_http2() {
    let target = target("https://api.example.com:8443/v1");
    let request = || {
        let mut request = Request::new(());
        *request.uri_mut() = "https://api.example.com:8443/v1/x?a=1".parse().expect("a URI");
        request.headers_mut().insert(HOST, target.host.clone());
        request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
        request
    };
    let mut straight = request();
    fit(&mut straight, true, &target, true);
    let mut over_http1 = request();
    fit(&mut over_http1, false, &target, true);
    assert_eq!((over_http1.uri().to_string(), over_http1.headers().get(TE)), ("/v1/x?a=1".to_owned(), None));
    over_http1.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    fit(&mut over_http1, true, &target, true);
    assert_eq!(over_http1.uri(), straight.uri());
    assert_eq!(over_http1.uri().to_string(), "https://api.example.com:8443/v1/x?a=1");
    assert_eq!((over_http1.version(), over_http1.headers()), (straight.version(), straight.headers()));
    assert_eq!(straight.headers()[TE], "trailers");
    assert!(!straight.headers().contains_key(HOST));
}

#[tokio::test]
async fn a_host_of_the_proxys_own_stays_whichever_protocol_a_request_goes_in_and_when_it_goes_again() {
    let target = target("https://api.example.com:8443/v1");
    let seats = Seats::new(Bounds::of(1), Arc::default());
    let permit = seats.take().unwrap_or_else(|_| panic!("there is room"));
    let nothing = Whole::new(Bytes::new(), Held::ample());
    let body = RequestBody::gathered(nothing, permit.seat().begin(), Instant::now());
    let mut request = Request::new(body);
    *request.uri_mut() = "/v1/x".parse().expect("a URI");
    let authority: Authority = "own.example".parse().expect("an authority");
    request.extensions_mut().insert(SentHost::new(&authority));
    for is_http2 in [true, false, true] {
        fit(&mut request, is_http2, &target, false);
        request = again(&mut request);
        let (authority, host) = (request.uri().authority(), request.headers().get(HOST));
        let host = host.map(HeaderValue::as_bytes);
        let wanted = if is_http2 { (Some("own.example"), None) } else { (None, Some(&b"own.example"[..])) };
        assert_eq!((authority.map(Authority::as_str), host), wanted);
    }
}

#[test]
fn what_differs_in_who_is_at_either_end_or_in_how_they_speak_never_shares_a_connection() {
    let org = |n: u8| OrgId::from_random([n; 16]);
    let key = |org, base_url: &str, wire: &Wire| {
        Hashed::from(PoolKey::new(org, &base_url.parse().expect("a base URL"), wire))
    };
    let (plain, base) = (Wire::default(), "https://a.example");
    assert_eq!(key(org(1), "https://a.example/v1", &plain), key(org(1), "https://a.example:443/v2", &plain));
    let ca = |name| Some(certificate(name).parse().expect("a certificate"));
    let others = [
        key(org(1), base, &plain),
        key(org(2), base, &plain),
        key(org(1), "http://a.example:443", &plain),
        key(org(1), "https://a.example:8443", &plain),
        key(org(1), "https://b.example", &plain),
        key(org(1), base, &Wire { ca: ca("one"), ..plain.clone() }),
        key(org(1), base, &Wire { ca: ca("two"), ..plain.clone() }),
        key(org(1), base, &Wire { min_tls: MinTls::V1_3, ..plain.clone() }),
        key(org(1), base, &Wire { http: HttpVersion::V1_1, ..plain.clone() }),
        key(org(1), base, &Wire { http: HttpVersion::V2, ..plain.clone() }),
        key(org(1), base, &plain).key().showing([1; 32]).into(),
        key(org(1), base, &plain).key().showing([2; 32]).into(),
        key(org(2), base, &plain).key().showing([1; 32]).into(),
    ];
    for (i, one) in others.iter().enumerate() {
        assert!(others[i + 1..].iter().all(|other| one != other), "{one:?}");
    }
}

/// PEM of a certificate that vouches for others.
fn certificate(name: &str) -> String {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.self_signed(&rcgen::KeyPair::generate().expect("a key")).expect("a certificate").pem()
}

#[tokio::test]
async fn a_body_that_is_sent_again_is_not_whole_before_it_was_sent_again() {
    let mut first = RequestBody::of(b"body", Instant::now());
    let again = first.again();
    let passage = first.passage();
    first.begin(Instant::now());
    assert!(!passage.is_whole());
    assert_eq!(first.read(9, &mut Held::ample()).await.as_deref(), Ok(&b"body"[..]));
    assert!(passage.is_whole());
    // Its connection must not be used again if it is answered before.
    again.begin(Instant::now());
    assert!(!passage.is_whole() && again.claim());
}

/// Counts what a body says to its carrier.
#[derive(Default)]
struct Told {
    asked: Cell<u32>,
    moved: Cell<u32>,
}

impl Carrier for Told {
    fn is_asked(self: Rc<Self>) {
        self.asked.update(|asked| asked + 1);
    }

    fn moves(&self) {
        self.moved.update(|moved| moved + 1);
    }
}

#[tokio::test]
async fn each_part_of_an_upload_moves_what_it_goes_out_on_and_waiting_for_one_does_not() {
    let tasks = Tasks::new();
    let seats = Seats::new(Bounds::of(1), Arc::default());
    let permit = seats.take().unwrap_or_else(|_| panic!("there is room"));
    let (incoming, mut caller) = upload(&tasks).await;
    let mut body = RequestBody::new(incoming, 9, Rc::default(), permit.seat().begin(), Instant::now());
    let told = Rc::<Told>::default();
    let carrier: Rc<Told> = Rc::clone(&told);
    body.hold(carrier);
    let counts = || (told.asked.get(), told.moved.get());
    assert!(pin!(body.frame()).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(counts(), (1, 0));
    for part in 1..=2 {
        caller.write_all(b"bo").await.expect("it reads");
        assert!(body.frame().await.expect("a part").is_ok());
        assert_eq!(counts().1, part);
    }
    tasks.abort();
}

#[tokio::test]
async fn a_body_that_was_gathered_goes_out_in_parts_and_is_let_go_with_the_last_one_of_the_last_attempt() {
    let seats = Seats::new(Bounds::of(1), Arc::default());
    let permit = seats.take().unwrap_or_else(|_| panic!("there is room"));
    let budget = BodyBudget::new(usize::MAX, Arc::default());
    let mut held = budget.hold(ORG, Gathered::Request);
    let text: Vec<u8> = (0..200_000).map(|at| (at / 7) as u8).collect();
    held.hold(text.len()).expect("there is room");
    let whole = Whole::new(text.clone().into(), held);
    let mut first = RequestBody::gathered(whole, permit.seat().begin(), Instant::now());
    let again = first.again();
    let (told, passage) = (Rc::<Told>::default(), first.passage());
    let carrier: Rc<Told> = Rc::clone(&told);
    first.hold(carrier);
    first.frame().await.expect("a part").expect("it is there");
    drop(first.again());
    for mut body in [first, again] {
        body.begin(Instant::now());
        let mut sent = Vec::new();
        while !body.is_end_stream() {
            assert!(!passage.is_whole());
            let rest = body.size_hint().exact().expect("its length is known");
            let part = body.frame().await.expect("a part").expect("it is there");
            let part = part.into_data().expect("it is data");
            assert!(part.len() <= 64 * 1024 && rest - part.len() as u64 == body.size_hint().lower());
            sent.extend_from_slice(&part);
        }
        assert!(text.ends_with(&sent) && passage.is_whole());
        assert!(body.frame().await.is_none());
    }
    assert_eq!((told.moved.get(), budget.held()), (4, 0));
}

/// The body of an upload as it comes, and the caller that sends it.
async fn upload(tasks: &Tasks) -> (Incoming, DuplexStream) {
    let (mut caller, edge) = duplex(1024);
    let (tell, mut told) = mpsc::channel(1);
    let service = service_fn(move |request: Request<Incoming>| {
        let tell = tell.clone();
        async move {
            tell.send(request.into_body()).await.ok();
            pending::<()>().await;
            Ok::<_, Infallible>(Response::new(String::new()))
        }
    });
    tasks.spawn("caller", http1::Builder::new().serve_connection(TokioIo::new(edge), service));
    caller.write_all(b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n").await.expect("it reads");
    (told.recv().await.expect("a request"), caller)
}

#[tokio::test]
async fn one_attempt_reads_an_upload_and_it_is_the_last_that_claimed_it() {
    let tasks = Tasks::new();
    let seats = Seats::new(Bounds::of(1), Arc::default());
    let permit = seats.take().unwrap_or_else(|_| panic!("there is room"));
    let body = |incoming| RequestBody::new(incoming, 9, Rc::default(), permit.seat().begin(), Instant::now());
    let (incoming, mut caller) = upload(&tasks).await;
    let mut first = body(incoming);
    let mut second = first.again();
    // Two ways to send the second again, of which one is taken.
    let (inner, outer) = (second.again(), second.again());
    assert!(second.claim() && inner.claim() && outer.claim(), "nothing of it has come");
    caller.write_all(b"body").await.expect("it reads");
    for superseded in [&mut first, &mut second] {
        let frame = superseded.frame().await.expect("it breaks off");
        assert!(frame.is_err(), "it belongs to another attempt");
    }
    drop((first, second, inner));
    assert_eq!(outer.read(9, &mut Held::ample()).await.as_deref(), Ok(&b"body"[..]));

    let (incoming, mut caller) = upload(&tasks).await;
    let mut first = body(incoming);
    let second = first.again();
    caller.write_all(b"bo").await.expect("it reads");
    assert!(first.frame().await.expect("a frame").is_ok());
    assert!(!second.claim(), "a part of it is gone");
    assert!(second.passage().fault().is_none());
    tasks.abort();
}

#[tokio::test]
async fn an_attempt_that_is_over_does_not_say_whose_turn_it_is() {
    let tasks = Tasks::new();
    let seats = Seats::new(Bounds::of(1), Arc::default());
    let permit = seats.take().unwrap_or_else(|_| panic!("there is room"));
    let (incoming, _caller) = upload(&tasks).await;
    let mut first = RequestBody::new(incoming, 9, Rc::default(), permit.seat().begin(), Instant::now());
    let mut last = first.again();
    assert!(last.claim());
    assert!(pin!(last.frame()).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let passage = last.passage();
    assert_eq!(passage.turn().0, Turn::Caller);
    drop(first);
    assert_eq!(passage.turn().0, Turn::Caller);
    drop(last);
    assert_eq!(passage.turn().0, Turn::Upstream, "nobody asks the caller for more");
    tasks.abort();
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_read_before_it_is_sent_is_not_waited_for_any_longer() {
    let tasks = Tasks::new();
    let seats = Seats::new(Bounds::of(1), Arc::default());
    let permit = seats.take().unwrap_or_else(|_| panic!("there is room"));
    let (incoming, mut caller) = upload(&tasks).await;
    caller.write_all(b"bo").await.expect("it reads");
    let body = RequestBody::new(incoming, 9, Rc::default(), permit.seat().begin(), Instant::now());
    let start = Instant::now();
    let mut held = Held::ample();
    let read = timeout(10 * CALLER_IDLE, body.read(9, &mut held)).await.expect("it has a bound");
    assert_eq!(read, Err(ReadFault::Caller(CallerFault::Stalled)));
    assert!(start.elapsed() >= CALLER_IDLE);
    tasks.abort();
}
