//! Callers with user and password, from `rrctl` to a request: hashed where they are typed, checked beside the traffic, and
//! found nowhere.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use rr_contract::runtime::Tasks;
use rr_integration::caller::{Reply, send};
use rr_integration::sample::{ORG, REGION};

use crate::own_values::Installation;

const FIRST: &str = "k3V9-xq7L_2m-first";
const NEXT: &str = "copper lantern orbit velvet";

/// As `curl -u` sends it.
pub(crate) fn basic(user: &str, password: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("Basic ");
    for three in format!("{user}:{password}").as_bytes().chunks(3) {
        let bits = three.iter().chain([&0; 2]).take(3).fold(0, |bits, byte| (bits << 8) | usize::from(*byte));
        for digit in 0..4 {
            let shift = 18 - 6 * digit;
            text.push(if digit > three.len() { '=' } else { char::from(DIGITS[(bits >> shift) & 63]) });
        }
    }
    text
}

fn said(reply: &Reply) -> (u16, &str) {
    (reply.status.as_u16(), reply.header("requestrocket-proxy-code"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_hashed_where_it_is_typed_rolled_with_an_overlap_and_found_nowhere() {
    let it = Installation::start().await;
    let create = ["credential", "create-caller", "reports", "--kind", "basic", "--user", "ann"];
    let made = it.done(&[&create[..], &["--password-from", "-"]].concat(), FIRST).await;
    assert!(!made.contains("argon2id") && !made.contains("rr_key_"), "{made}");
    it.done(&["proxy", "update", "echo", "--caller", "app", "--caller", "reports"], "").await;
    let (first, next) = (basic("ann", FIRST), basic("ann", NEXT));
    it.answers(&[("authorization", &first)], 200).await;
    let seen = it.upstream.seen().pop().expect("it was asked");
    assert!(!format!("{seen:?}").contains("Basic"), "the upstream's secret is in the header alone: {seen:?}");
    let nobody = it.get(&[]).await;
    for (value, reason) in [
        (basic("ann", "wrong"), "wrong-password"),
        (basic("bob", FIRST), "unknown-user"),
        ("Basic !".to_owned(), "malformed"),
    ] {
        let refused = it.get(&[("authorization", &value)]).await;
        assert_eq!(said(&refused), said(&nobody), "{reason}");
        assert_eq!(refused.header("www-authenticate"), nobody.header("www-authenticate"));
        it.reason(reason).await;
    }

    it.done(&["credential", "roll", "reports", "--overlap", "10s", "--password-from", "-"], NEXT).await;
    it.answers(&[("authorization", &next)], 200).await;
    assert_eq!(it.get(&[("authorization", &first)]).await.status, 200, "the one before is live for a time");
    it.answers(&[("authorization", &first)], 401).await;
    it.reason("superseded").await;
    assert_eq!(it.get(&[("authorization", &next)]).await.status, 200);
    let shown = it.done(&["credential", "show", "reports", "-o", "json"], "").await;
    assert!(shown.contains("\"ann\"") && !shown.contains("argon2id"), "{shown}");
    it.forgets(&[FIRST, NEXT, &first["Basic ".len()..], &next["Basic ".len()..]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weak_password_stays_on_the_machine_and_two_callers_of_a_proxy_have_two_users() {
    let it = Installation::start().await;
    let create = |name: &'static str| {
        ["credential", "create-caller", name, "--kind", "basic", "--user", "ann", "--password-from", "-"]
    };
    for (password, part) in [
        ("hunter2", "12 at least"),
        ("passwordpassword", "bits to guess"),
        ("", "the password of credential weak is empty"),
    ] {
        let said = it.fails(&create("weak"), password).await;
        assert!(said.contains(part) && (password.is_empty() || !said.contains(password)), "{said}");
    }
    it.done(&create("one"), FIRST).await;
    it.done(&create("other"), NEXT).await;
    let both = ["proxy", "update", "echo", "--caller", "one", "--caller", "other"];
    let said = it.fails(&both, "").await;
    assert!(
        said.contains("has user \"ann\", as \"one\" has") && said.contains("credential roll one"),
        "{said}"
    );

    std::fs::write(it.values.path().join("set.password"), format!("{NEXT}\n")).expect("is written");
    let set = "kind: credential\nname: from-file\ncaller: {kind: basic, username: zoe}\n\
        value_from: {file: set.password}\n";
    std::fs::write(it.values.path().join("set.yaml"), set).expect("is written");
    it.done(&["apply", "-f", "set.yaml", "--yes"], "").await;
    it.done(&["proxy", "update", "echo", "--caller", "from-file"], "").await;
    it.answers(&[("authorization", &basic("zoe", NEXT))], 200).await;
    // A hash of the same password is another one each time, so what is there stays.
    let again = it.done(&["apply", "-f", "set.yaml", "--yes", "-o", "json"], "").await;
    assert!(again.contains(r#""unchanged": "1""#), "{again}");
    assert_eq!(it.get(&[("authorization", &basic("zoe", NEXT))]).await.status, 200);
    std::fs::write(it.values.path().join("set.yaml"), set.replace("zoe", "eve")).expect("is written");
    let said = it.fails(&["apply", "-f", "set.yaml", "--yes"], "").await;
    assert!(said.contains("cannot be changed"), "{said}");
    it.forgets(&[FIRST, NEXT]).await;
}

/// Asks a proxy.
async fn ask(edge: SocketAddr, proxy: &str, authorization: &str) -> Reply {
    let request = Request::get(format!("/api/{ORG}.{proxy}/x"))
        .header("host", edge.to_string())
        .header("authorization", authorization)
        .body(Full::<Bytes>::default())
        .expect("a request");
    send(edge, request).await.expect("answered")
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_at_one_proxy_take_nothing_that_callers_of_another_need() {
    const AT_ONCE: usize = 24;
    const EACH: usize = 10;
    let it = Installation::start().await;
    for (name, user, password) in [("one", "ann", FIRST), ("two", "bob", NEXT)] {
        let create = ["credential", "create-caller", name, "--kind", "basic", "--user", user];
        it.done(&[&create[..], &["--password-from", "-"]].concat(), password).await;
    }
    it.sample.api.proxy(ORG, "other", "app", "echo", "secret", REGION).await.expect("a proxy");
    it.done(&["proxy", "update", "other", "--caller", "app", "--caller", "two"], "").await;
    // The last change: what the node has of it, it has of the others.
    it.done(&["proxy", "update", "echo", "--caller", "one"], "").await;
    it.answers(&[("authorization", &basic("ann", FIRST))], 200).await;
    let (key, edge) = (it.sample.key.clone(), it.edge.listen);
    let other = async {
        let mut refused = Vec::new();
        for n in 0..100 {
            let mut asks = vec![(key.clone(), 200), (basic("bob", NEXT), 200)];
            if n % 10 == 0 {
                // One that nobody has tried waits for its turn, and gets it.
                asks.push((basic("bob", &format!("wrong {n}")), 401));
            }
            for (value, status) in asks {
                let reply = ask(edge, "other", &value).await;
                if reply.status != status {
                    refused.push((n, said(&reply).0, said(&reply).1.to_owned()));
                }
            }
        }
        refused
    };
    let tasks = Tasks::new();
    let guesser = |caller: usize| {
        tasks.spawn("guesses", async move {
            let mut answers = Vec::new();
            for n in 0..EACH {
                let reply = ask(edge, "echo", &basic("ann", &format!("guess {caller} {n}"))).await;
                answers.push((said(&reply).0, said(&reply).1.to_owned()));
            }
            answers
        })
    };
    let guessers: Vec<_> = (0..AT_ONCE).map(guesser).collect();
    let refused = other.await;
    let mut flood = Vec::new();
    for guesser in guessers {
        flood.extend(guesser.await.expect("it does not panic"));
    }
    assert_eq!(refused, [], "another proxy's callers are served, each of them");
    assert_eq!(flood.len(), AT_ONCE * EACH);
    for (status, code) in &flood {
        let expected =
            matches!((*status, &**code), (401, "proxy-access-denied") | (429, "too-many-passwords"));
        assert!(expected, "{status} {code}");
    }
    assert!(flood.iter().any(|(status, _)| *status == 401), "guesses are checked");
    // A password that was good before is good in the midst of it, and afterwards.
    assert_eq!(ask(edge, "echo", &basic("ann", FIRST)).await.status, 200);
    it.forgets(&[FIRST, NEXT]).await;
}
