//! Whose time it is, and what form a request has.

use std::future::pending;

use rr_contract::model::id::{OrgId, TargetId};
use rr_contract::model::target::Target;
use rr_contract::wire::fleet;

use crate::fixture::ORG;

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

fn target(org: OrgId, base_url: &str) -> CompiledTarget {
    let wire = fleet::TargetResource {
        name: "target".to_owned(),
        base_url: base_url.to_owned(),
        ..fleet::TargetResource::default()
    };
    let target = Target::try_from(wire).expect("a target");
    CompiledTarget::new(org, TargetId::from_random([1; 16]), target).expect("it can be sent to")
}

#[test]
fn a_request_that_an_http1_connection_gave_back_is_whole_on_http2() {
    let target = target(ORG, "https://api.example.com:8443/v1");
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
    fit(&mut over_http1, true, &target, true);
    assert_eq!(over_http1.uri(), straight.uri());
    assert_eq!(over_http1.uri().to_string(), "https://api.example.com:8443/v1/x?a=1");
    assert_eq!((over_http1.version(), over_http1.headers()), (straight.version(), straight.headers()));
    assert_eq!(straight.headers()[TE], "trailers");
    assert!(!straight.headers().contains_key(HOST));
}

#[test]
fn two_organizations_never_share_a_connection() {
    let pool = |org: u8, base_url: &str| target(OrgId::from_random([org; 16]), base_url).pool;
    assert_eq!(pool(1, "https://a.example/v1"), pool(1, "https://a.example/v2"));
    assert_ne!(pool(1, "https://a.example"), pool(2, "https://a.example"));
    assert_ne!(pool(1, "https://a.example"), pool(1, "http://a.example:443"));
}

#[tokio::test]
async fn a_body_that_is_sent_again_is_not_whole_before_it_was_sent_again() {
    let mut first = RequestBody::of(b"body", Instant::now());
    let again = first.again();
    let passage = first.passage();
    first.begin(Instant::now());
    assert!(!passage.is_whole());
    assert_eq!(first.read(9).await.as_deref(), Ok(&b"body"[..]));
    assert!(passage.is_whole());
    // Its connection must not be used again if it is answered before.
    again.begin(Instant::now());
    assert!(!passage.is_whole() && again.is_intact());
}
