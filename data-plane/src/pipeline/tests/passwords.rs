//! Callers with user and password: how they are let in, and each way to be wrong.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::BASE64;
use prost::Message as _;
use rr_contract::model::time::timestamp;
use rr_contract::password::{PasswordHash, Scratch};
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::caller_credential::Kind;
use rr_contract::wire::fleet::credential_resource::Usage;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::fixture::{Region, caller_key, credential_key, proxy, resource};

use super::callers::{Ask, message};
use super::edge::{Answer, Edge};
use super::origin::Upstream;
use super::websockets::{Raw, open, read_head, read_rest, read_text, upgrade};
use super::{get, resources, with_key};

pub(super) fn basic(user: &str, passwords: &[&str]) -> Kind {
    let hash = |password: &&str| {
        let password = Secret::new(password.as_bytes().to_vec());
        PasswordHash::make(&password, [7; 16], &mut Scratch::default()).to_phc()
    };
    Kind::Basic(fleet::CallerBasic {
        user: user.to_owned(),
        password_hashes: passwords.iter().map(hash).collect(),
    })
}

fn user(n: u8, header: &str, kind: Kind) -> fleet::Resource {
    resource(credential_key(n), message(n, header, kind).encode_to_vec())
}

fn encoded(text: &str) -> String {
    BASE64.encode(text.as_bytes())
}

pub(super) fn with(text: &str) -> String {
    format!("authorization: Basic {}\r\n", encoded(text))
}

#[tokio::test]
async fn a_user_is_let_in_with_the_password_and_in_no_other_way() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    let mut expired = message(6, "", basic("old", &["expired password"]));
    expired.not_after = Some(timestamp(UNIX_EPOCH));
    all.extend([
        user(3, "", basic("ann", &["newer password", "older password"])),
        user(4, "x-own", basic("zoë", &["pässword: ✓ of zoë"])),
        user(5, "", basic("bob", &["password of bob"])),
        resource(credential_key(6), expired.encode_to_vec()),
        proxy(1, &[1, 3, 4, 6], 1, 2),
        proxy(2, &[5], 1, 2),
        proxy(3, &[1], 1, 2),
    ]);
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let ask = Ask::new(&edge, &upstream).await;
    let (path, ann) = ("/api/acme.proxy-1/x", with("ann:newer password"));
    let zoe = encoded("zoë:pässword: ✓ of zoë");
    for (headers, caller, value) in [
        (&*ann, 3, encoded("ann:newer password")),
        (&ann, 3, encoded("ann:newer password")),
        (&ann.replace("Basic", "bASIC  "), 3, encoded("ann:newer password")),
        (&with("ann:older password"), 3, encoded("ann:older password")),
        (&format!("x-own: Basic {zoe}\r\n"), 4, zoe.clone()),
        (&with_key(1), 1, caller_key(1)),
    ] {
        ask.serves((path, headers), caller, &value).await;
    }
    let query = format!("{path}?Authorization=Basic%20{}&a=1", encoded("ann:newer password"));
    ask.serves((&query, ""), 3, &encoded("ann:newer password")).await;
    assert_eq!(upstream.last().target, "/x?a=1");
    ask.serves(("/api/acme.proxy-2/x", &with("bob:password of bob")), 5, &encoded("bob:password of bob"))
        .await;
    let long = with(&format!("ann:{}", "x".repeat(1_100)));
    for (headers, reason) in [
        (&*with("ann:wrong password"), "wrong-password"),
        (&with("ann:wrong password"), "wrong-password"),
        (&with("ann:"), "wrong-password"),
        (&with("ann:newer password\n"), "wrong-password"),
        (&with("ann:NEWER PASSWORD"), "wrong-password"),
        (&with("nobody:newer password"), "unknown-user"),
        (&with("nobody:newer password"), "unknown-user"),
        (&with("Ann:newer password"), "unknown-user"),
        (&with(" ann:newer password"), "unknown-user"),
        (&with(":newer password"), "unknown-user"),
        (&with(&format!("{}:x", "n".repeat(200))), "unknown-user"),
        (&with("bob:password of bob"), "not-admitted"),
        (&with("old:expired password"), "expired"),
        (&with("old:wrong password"), "wrong-password"),
        (&with("zoë:pässword: ✓ of zoë"), "misplaced"),
        (&ann.replace("authorization", "x-own"), "misplaced"),
        (&with("ann newer password"), "malformed"),
        (&ann.replace("\r\n", "=\r\n"), "malformed"),
        (&ann.replace("\r\n", ",x\r\n"), "malformed"),
        ("authorization: Basic ann:newer password\r\n", "malformed"),
        (&long, "malformed"),
        ("authorization: Basic\r\n", "unknown"),
        ("authorization: Basic \r\n", "unknown"),
        (&ann.replace("Basic", "Bearer"), "unknown"),
        (&ann.replace("Basic ", ""), "unknown"),
        (&format!("{ann}{ann}"), "ambiguous"),
        (&format!("{ann}x-own: Basic {zoe}\r\n"), "ambiguous"),
    ] {
        ask.refuses((path, headers), reason).await;
    }
    // Where nobody has a password, none is looked at.
    for headers in [&*ann, &with("ann:wrong password"), "authorization: Basic !\r\n"] {
        ask.refuses(("/api/acme.proxy-3/x", headers), "unknown-user").await;
    }
    let nobodys = edge.send(&get("/api/acme.nobody/x", &ann)).await.without_id_and_date();
    assert_eq!(nobodys, edge.send(&get("/api/acme.nobody/x", "")).await.without_id_and_date());
}

#[tokio::test]
async fn two_credentials_of_one_organization_may_have_one_user_at_proxies_of_their_own() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    all.extend([
        user(3, "", basic("ann", &["password of three"])),
        user(4, "", basic("ann", &["password of four"])),
        proxy(1, &[3], 1, 2),
        proxy(2, &[4], 1, 2),
    ]);
    let mut edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let (three, four) = (with("ann:password of three"), with("ann:password of four"));
    {
        let ask = Ask::new(&edge, &upstream).await;
        ask.serves(("/api/acme.proxy-1/x", &three), 3, "password").await;
        ask.serves(("/api/acme.proxy-2/x", &four), 4, "password").await;
        ask.refuses(("/api/acme.proxy-1/x", &four), "wrong-password").await;
        ask.refuses(("/api/acme.proxy-2/x", &three), "wrong-password").await;
    }
    all.retain(|resource| resource.key.as_ref() != Some(&credential_key(3).to_wire()));
    all.push(proxy(1, &[4], 1, 2));
    edge.activate(region.snapshot(&all));
    let ask = Ask::new(&edge, &upstream).await;
    ask.serves(("/api/acme.proxy-1/x", &four), 4, "password").await;
    ask.refuses(("/api/acme.proxy-1/x", &three), "wrong-password").await;
}

#[tokio::test]
async fn of_two_live_passwords_the_older_one_ends_by_itself() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let later = SystemTime::now() + Duration::from_secs(3_600);
    for (end, is_over) in [(later, false), (UNIX_EPOCH, true)] {
        let mut all = resources(&region, &upstream.url(""));
        let mut ann = message(3, "", basic("ann", &["newer password", "older password"]));
        if let Some(Usage::Caller(caller)) = &mut ann.usage {
            caller.previous_not_after = Some(timestamp(end));
        }
        all.extend([resource(credential_key(3), ann.encode_to_vec()), proxy(1, &[3], 1, 2)]);
        let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
        let ask = Ask::new(&edge, &upstream).await;
        let path = "/api/acme.proxy-1/x";
        ask.serves((path, &with("ann:newer password")), 3, "password").await;
        if is_over {
            ask.refuses((path, &with("ann:older password")), "superseded").await;
        } else {
            ask.serves((path, &with("ann:older password")), 3, "password").await;
        }
    }
}

#[tokio::test]
async fn a_password_that_was_let_in_is_not_once_its_credential_says_another_one() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    all.extend([user(3, "", basic("ann", &["first password"])), proxy(1, &[3], 1, 2)]);
    let mut edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let (path, first) = ("/api/acme.proxy-1/x", with("ann:first password"));
    for _ in 0..2 {
        Ask::new(&edge, &upstream).await.serves((path, &first), 3, "password").await;
    }
    // Even where its version did not count up.
    all.push(user(3, "", basic("ann", &["second password"])));
    edge.activate(region.snapshot(&all));
    {
        let ask = Ask::new(&edge, &upstream).await;
        ask.refuses((path, &first), "wrong-password").await;
        ask.serves((path, &with("ann:second password")), 3, "password").await;
    }
    all.push(proxy(1, &[1], 1, 2));
    edge.activate(region.snapshot(&all));
    let ask = Ask::new(&edge, &upstream).await;
    ask.refuses((path, &with("ann:second password")), "unknown-user").await;
}

#[tokio::test]
async fn where_too_many_passwords_wait_the_next_is_refused_and_nobody_else() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    all.extend([
        user(3, "", basic("ann", &["first password"])),
        proxy(1, &[1, 3], 1, 2),
        proxy(2, &[1], 1, 2),
    ]);
    let edge = Edge::start_checking_no_password(region.snapshot(&all), &["127.0.0.0/8"]);
    let path = "/api/acme.proxy-1/x";
    let mut waiting = Vec::new();
    for n in 0..8 {
        let mut caller = edge.connect().await;
        let request = get(path, &with(&format!("ann:{n}")));
        caller.write_all(request.as_bytes()).await.expect("the edge reads");
        waiting.push(caller);
    }
    edge.has_passwords_waiting(8).await;
    let answer: Answer = edge.send(&get(path, &with("ann:one more"))).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")));
    assert_eq!(answer.json()["code"], "too-many-passwords");
    let record = edge.record().await;
    assert_eq!((&*record.code, &*record.caller_credential), ("too-many-passwords", ""));
    assert_eq!(edge.send(&get(path, &with_key(1))).await.status, 200);
    assert_eq!(edge.send(&get("/api/acme.proxy-2/x", &with("ann:x"))).await.status, 401);
    drop(waiting);
    edge.has_passwords_waiting(0).await;
}

#[tokio::test]
async fn a_wrong_password_is_checked_whoever_it_is_for() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    all.extend([
        user(3, "", basic("ann", &["first password"])),
        user(4, "x-own", basic("zoe", &["first password"])),
        user(5, "", basic("bob", &["first password"])),
        proxy(1, &[3, 4], 1, 2),
    ]);
    let edge = Edge::start_checking_no_password(region.snapshot(&all), &["127.0.0.0/8"]);
    let own = with("zoe:wrong").replace("authorization", "x-own");
    let mut waiting = Vec::new();
    // There, not there, at another proxy alone, and in a header that is another's.
    for headers in [with("ann:wrong"), with("nobody:wrong"), with("bob:wrong"), with("zoe:wrong"), own] {
        let mut caller = edge.connect().await;
        caller.write_all(get("/api/acme.proxy-1/x", &headers).as_bytes()).await.expect("the edge reads");
        waiting.push(caller);
        let count = waiting.len();
        let caller = waiting.last_mut().expect("one was put there");
        tokio::select! {
            () = edge.has_passwords_waiting(count) => {}
            answer = Answer::read_one(caller) => panic!("{headers} is answered unchecked: {answer:?}"),
        }
    }
    drop(waiting);
    edge.has_passwords_waiting(0).await;
}

#[tokio::test]
async fn a_tunnel_of_a_user_lasts_as_long_as_the_password() {
    let upstream = Raw::new().await;
    let region = Region::new();
    let with_ann = |all: &mut Vec<fleet::Resource>, passwords: &[&str]| {
        all.push(user(3, "", basic("ann", passwords)));
        all.push(super::websockets::proxy(|proxy| {
            proxy.caller_credentials = vec![credential_key(3).id_text()];
        }));
    };
    let mut all = open(&region, &upstream.url());
    with_ann(&mut all, &["first password"]);
    let mut edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let mut near = edge.connect().await;
    let request = upgrade("/api/acme.proxy-1/chat", &with("ann:first password"));
    near.write_all(request.as_bytes()).await.expect("the edge reads");
    let mut came = upstream.next().await;
    came.switch("", "").await;
    assert!(read_head(&mut near).await.starts_with("HTTP/1.1 101 "));
    with_ann(&mut all, &["second password", "first password"]);
    let generation = edge.activate(region.snapshot(&all));
    edge.tells(generation).await;
    for text in ["still", "there"] {
        came.stream.write_all(text.as_bytes()).await.expect("it is open");
        read_text(&mut near, text).await;
    }
    with_ann(&mut all, &["second password"]);
    edge.activate(region.snapshot(&all));
    let soon = Duration::from_secs(10);
    assert_eq!(timeout(soon, read_rest(&mut near)).await.expect("it ends"), "");
    assert_eq!(edge.record().await.tunnel_end(), fleet::TunnelEnd::Withdrawn);
}
