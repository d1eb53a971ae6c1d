//! What bounds a control plane that asks without end, and what a question can be about.

use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;
use rr_contract::model::origin::Origin;
use rr_contract::model::resource::Key;
use rr_contract::outbound::{AddressGuard, DnsNames, Resolver};
use rr_contract::runtime::Shutdown;
use rr_contract::seal::{Means, SecretSpec, Slot};
use rr_contract::secret::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::access_token::tests::{Endpoint, Following, basic, grant};
use crate::fixture::demanding::{ClientPair, Demanding, authority};
use crate::fixture::{self, Region};

const SECRET: &str = "sk-live-secret";

const ORG: OrgId = OrgId::from_random([1; 16]);
const OTHER: OrgId = OrgId::from_random([2; 16]);

fn org(n: u8) -> OrgId {
    OrgId::from_random([n; 16])
}

#[test]
fn an_organization_has_one_test_at_a_time_and_thirty_a_minute_and_keeps_no_other_from_its_own() {
    let (bounds, now) = (Rc::default(), Instant::now());
    let first = Bounds::take(&bounds, ORG, now).expect("it has room");
    assert!(Bounds::take(&bounds, ORG, now).is_none(), "one is under way");
    drop(Bounds::take(&bounds, OTHER, now).expect("another organization"));
    drop(first);
    for _ in 1..A_MINUTE {
        drop(Bounds::take(&bounds, ORG, now).expect("one after the other"));
    }
    assert!(Bounds::take(&bounds, ORG, now).is_none(), "too many within the minute");
    assert!(Bounds::take(&bounds, OTHER, now).is_some());
    assert!(Bounds::take(&bounds, ORG, now + MINUTE).is_some(), "a minute later");
}

#[test]
fn all_organizations_together_are_bounded_too() {
    let (bounds, now) = (Rc::default(), Instant::now());
    let running: Vec<Place> =
        (0..8).map(|n| Bounds::take(&bounds, org(n), now).expect("there is room")).collect();
    assert!(Bounds::take(&bounds, org(9), now).is_none(), "as many as run at once");
    drop(running);
    for n in 8..A_MINUTE_IN_ALL {
        // Each of another organization.
        let id = u8::try_from(n).expect("few");
        drop(Bounds::take(&bounds, org(id), now).expect("there is room"));
    }
    assert!(Bounds::take(&bounds, org(200), now).is_none(), "as many as begin within a minute");
}

#[test]
fn a_question_about_what_the_node_does_not_have_is_refused() {
    let asked = fleet::TestTarget {
        org: ORG.to_string(),
        proxy: ProxyId::from_random([3; 16]).to_string(),
        target: TargetId::from_random([4; 16]).to_string(),
        ..fleet::TestTarget::default()
    };
    let refused = |asked: &fleet::TestTarget| found(&Snapshot::default(), asked).err();
    assert_eq!(refused(&asked), Some(TestRefusal::Unknown));
    assert_eq!(
        refused(&fleet::TestTarget { org: "acme/../".to_owned(), ..asked }),
        Some(TestRefusal::Unknown)
    );
}

#[test]
fn no_control_plane_makes_a_test_last_longer_than_thirty_seconds() {
    let said = |seconds| Some(pbjson_types::Duration { seconds, nanos: 0 });
    for (said, wanted) in [(None, 10), (said(3), 3), (said(3600), 30), (said(-1), 10)] {
        assert_eq!(within(said.as_ref()), Duration::from_secs(wanted), "{said:?}");
    }
}

#[test]
fn a_time_that_is_over_is_told_of_the_phase_that_it_was_over_in() {
    for (phase, stage) in [
        (Phase::Resolve, TestStage::Resolve),
        (Phase::Connect, TestStage::Connect),
        (Phase::Tls, TestStage::Tls),
        (Phase::Wait, TestStage::Wait),
    ] {
        assert_eq!(stage_of(&SendError::ConnectTimeout, phase), stage);
    }
}

/// An upstream that answers each connection once, as `answer` has it, and what it was sent.
async fn upstream(tasks: &Tasks, answer: &'static [u8]) -> (String, Rc<RefCell<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let seen: Rc<RefCell<Vec<String>>> = Rc::default();
    let noted = Rc::clone(&seen);
    tasks.spawn_local("upstream", async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("it listens");
            let mut head = vec![0; 4096];
            let count = stream.read(&mut head).await.expect("it is asked");
            noted.borrow_mut().push(String::from_utf8_lossy(&head[..count]).into());
            // It may have gone before it has all.
            stream.write_all(answer).await.ok();
        }
    });
    (url, seen)
}

/// What a node tells that has this target behind a proxy, asked by a question that may be changed.
async fn tested(
    tasks: &Tasks,
    target: fleet::TargetResource,
    change: impl FnOnce(&Region, &mut fleet::TestTarget, &mut Vec<fleet::Resource>),
) -> fleet::TargetTested {
    let region = Region::new();
    let origin = Origin::of(&target.base_url.parse().expect("a base URL")).to_string();
    let mut all = vec![
        fixture::org(false),
        fixture::target_of(1, &target),
        fixture::caller(1, 1, &[1]),
        region.upstream(2, 1, SECRET, "x-api-key", &[&origin]),
        fixture::proxy(1, &[1], 1, 2),
    ];
    let id = |key: Key| key.to_wire().id;
    let mut asked = fleet::TestTarget {
        test: vec![7; 16],
        org: fixture::ORG.to_string(),
        proxy: id(fixture::proxy_key(1)),
        target: id(fixture::target_key(1)),
        upstream_credential: id(fixture::credential_key(2)),
        timeout: Some(pbjson_types::Duration { seconds: 5, nanos: 0 }),
    };
    change(&region, &mut asked, &mut all);
    let snapshot = region.snapshot(&all);
    let guard = AddressGuard::new(vec!["127.0.0.0/8".parse().expect("a network")]);
    let outbound = Outbound::new(guard, Resolver::new(Arc::new(DnsNames::system())), None);
    let shutdown = Shutdown::new();
    let tests = TargetTests::new(outbound, Trust::new(None), Seams::real(), tasks.clone(), shutdown.stop());
    let (answers, mut told) = mpsc::channel(1);
    tests.start(&snapshot, asked, answers);
    told.recv().await.expect("an answer in any case")
}

#[tokio::test(flavor = "local")]
async fn the_request_is_the_proxys_and_only_status_and_length_of_its_answer_come_back() {
    let tasks = Tasks::new();
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 14\r\nx-echo: sk-live-secret\r\n\r\nsk-live-secret";
    let (url, seen) = upstream(&tasks, answer).await;
    let target = fleet::TargetResource {
        test_path: "/a/../up?full=1".to_owned(),
        ..fixture::target_message(1, &format!("{url}/base"))
    };
    let told = tested(&tasks, target, |_, _, _| {}).await;
    let sent = seen.borrow().join("");
    assert!(sent.starts_with("GET /base/up?full=1 HTTP/1.1\r\n"), "{sent}");
    assert!(sent.contains(&format!("x-api-key: {SECRET}\r\n")), "{sent}");
    let [one] = &told.base_urls[..] else { panic!("{told:?}") };
    assert_eq!(
        (one.failed(), one.status, one.body_bytes, told.revision),
        (TestStage::Unspecified, 200, 14, 7)
    );
    assert!(!format!("{told:?}").contains(SECRET), "{told:?}");
    let phases = one.phases.expect("it was timed");
    assert!(phases.wait_us.is_some() && phases.tls_us.is_none(), "{phases:?}");
}

#[tokio::test(flavor = "local")]
async fn what_the_question_names_otherwise_than_the_node_has_it_is_not_tested() {
    let tasks = Tasks::new();
    let (url, seen) = upstream(&tasks, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let target = || fixture::target_message(1, &url);
    let other = |n| fixture::target_key(n).to_wire().id;
    let told = tested(&tasks, target(), |_, asked, _| asked.target = other(9)).await;
    assert_eq!(told.refusal(), TestRefusal::Elsewhere);
    let credential = fixture::credential_key(9).to_wire().id;
    let told = tested(&tasks, target(), |_, asked, _| asked.upstream_credential = credential).await;
    assert_eq!(told.refusal(), TestRefusal::Elsewhere);
    let told = tested(&tasks, target(), |_, asked, _| asked.org = OTHER.to_string()).await;
    assert_eq!(told.refusal(), TestRefusal::Unknown, "a proxy of another organization");
    let told = tested(&tasks, target(), |_, _, all| all[0] = fixture::org(true)).await;
    assert_eq!(told.refusal(), TestRefusal::Inactive);
    assert!(seen.borrow().is_empty());
    let told = tested(&tasks, target(), |_, asked, _| asked.test = vec![7; 100_000]).await;
    assert_eq!((told.test.len(), told.refusal()), (16, TestRefusal::Unspecified));
}

#[tokio::test(flavor = "local")]
async fn a_long_body_is_cut_and_one_that_breaks_off_fails() {
    let tasks = Tasks::new();
    let long = {
        let mut long = b"HTTP/1.1 200 OK\r\ncontent-length: 3000000\r\n\r\n".to_vec();
        long.resize(long.len() + 3_000_000, b'a');
        &*Box::leak(long.into_boxed_slice())
    };
    let (url, _) = upstream(&tasks, long).await;
    let told = tested(&tasks, fixture::target_message(1, &url), |_, _, _| {}).await;
    let one = &told.base_urls[0];
    assert_eq!((one.failed(), one.body_bytes, one.body_cut), (TestStage::Unspecified, BODY_MAX, true));
    let (url, _) = upstream(&tasks, b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc").await;
    let told = tested(&tasks, fixture::target_message(1, &url), |_, _, _| {}).await;
    let one = &told.base_urls[0];
    assert_eq!((one.failed(), one.status), (TestStage::Body, 200), "{one:?}");
}

#[tokio::test(flavor = "local")]
async fn the_request_is_signed_as_the_proxys_are() {
    let tasks = Tasks::new();
    let (url, seen) = upstream(&tasks, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let origin = url.clone();
    let told = tested(&tasks, fixture::target_message(1, &url), move |region, _, all| {
        let text =
            fleet::Parameter { name: "x-signature".to_owned(), text: "{signature} {nonce}".to_owned() };
        let form = fleet::HmacSignature {
            text: "{method} {host} {target}".to_owned(),
            headers: vec![text],
            ..fleet::HmacSignature::default()
        };
        let spec = SecretSpec {
            value: Secret::from("key".to_owned()),
            origins: vec![origin.parse().expect("an origin")],
            means: Means::Hmac(form.try_into().expect("a form")),
            not_after: None,
            ca: None,
        };
        all[3] = fixture::sealed_upstream(2, 1, &region.seal_spec(2, 1, &spec));
    })
    .await;
    assert_eq!(told.base_urls[0].status, 200, "{told:?}");
    let sent = seen.borrow().join("");
    let said = sent.lines().find_map(|line| line.strip_prefix("x-signature: ")).expect("it is signed");
    let text = format!("GET {} /", url.strip_prefix("http://").expect("a URL"));
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"key");
    let signature = HEXLOWER.encode(hmac::sign(&key, text.as_bytes()).as_ref());
    let (ours, nonce) = said.split_once(' ').expect("both");
    assert_eq!((ours, nonce.len()), (&*signature, 32));
}

#[tokio::test(flavor = "local")]
async fn the_certificate_is_shown_and_the_upstreams_reason_for_refusing_it_is_told() {
    let tasks = Tasks::new();
    for protocol in [&b"h2"[..], b"http/1.1"] {
        let upstream = Demanding::start(&[protocol], rustls::DEFAULT_VERSIONS, false).await;
        let (ours, stranger) = (upstream.client("ours"), ClientPair::new("stranger", &authority("another")));
        for (pair, failed, reason) in [
            (Some(&ours), TestStage::Unspecified, ""),
            (
                Some(&stranger),
                TestStage::Tls,
                "refuses the client certificate that it is shown, or wants one (UnknownCA)",
            ),
            (None, TestStage::Tls, "wants one (CertificateRequired)"),
        ] {
            let mut target = fixture::target_message(1, &upstream.url());
            target.ca = upstream.own().to_owned();
            let told = tested(&tasks, target, |region, _, all| {
                all[3] = match pair {
                    None => fixture::open_upstream(2),
                    Some(pair) => {
                        let spec = pair.spec(&upstream.url(), Some(upstream.own()));
                        fixture::sealed_upstream(2, 1, &region.seal_spec(2, 1, &spec))
                    }
                };
            })
            .await;
            let one = &told.base_urls[0];
            assert_eq!(one.failed(), failed, "{one:?}");
            assert!(one.reason.contains(reason), "{one:?}");
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_token_is_got_for_the_test_where_there_is_none_yet() {
    let tasks = Tasks::new();
    let (url, seen) = upstream(&tasks, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let issuer = Endpoint::start().await;
    let (origin, token_url, following) = (url.clone(), issuer.url(), Rc::new(RefCell::new(None)));
    let held = Rc::clone(&following);
    let told = tested(&tasks, fixture::target_message(1, &url), move |region, _, all| {
        let tokens = region.standings.tokens().clone();
        *held.borrow_mut() = Some(Following::of(tokens, &Arc::default()));
        let spec = SecretSpec {
            value: Secret::from(SECRET.to_owned()),
            origins: vec![origin.parse().expect("an origin")],
            means: Means::Grant { slot: Slot::bearer(), grant: grant(&token_url, basic()) },
            not_after: None,
            ca: None,
        };
        all[3] = fixture::sealed_upstream(2, 1, &region.seal_spec(2, 1, &spec));
    })
    .await;
    let [one] = &told.base_urls[..] else { panic!("{told:?}") };
    assert_eq!((one.failed(), one.status), (TestStage::Unspecified, 200), "{one:?}");
    assert!(seen.borrow().join("").contains("authorization: Bearer token-1\r\n"));
    assert_eq!(issuer.count(), 1);
}
