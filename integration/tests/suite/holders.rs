//! Those who hold tokens of one credential, from `rrctl` to a request: each has the limits of a proxy and of a meter for itself,
//! over a kill of the node too; a token that does not say who holds it is refused; and nothing of the installation says who it was.

use std::time::SystemTime;

use rr_integration::caller::Reply;
use rr_integration::issuer::{AUDIENCE, SigningKey, document};
use rr_integration::process::{Edge, admin};
use rr_integration::wait::eventually;
use serde_json::{Value, json};

use crate::own_values::Installation;

const ISSUER: &str = "https://id.example";
/// Names that nothing else has.
const ANN: &str = "ann-5f1c9a7e2b";
const BOB: &str = "bob-c04e81d36a";
const GUEST: &str = "guest-7d2e95b1f8";

/// A token that says this, beside what all of them do.
fn token(key: &SigningKey, says: &Value) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_secs();
    let mut claims = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "anybody", "exp": now + 600});
    let (all, more) = (claims.as_object_mut().expect("an object"), says.as_object().expect("an object"));
    all.extend(more.clone());
    format!("Bearer {}", key.sign(&claims))
}

/// A token of whoever has this name.
fn of(key: &SigningKey, name: &str) -> String {
    token(key, &json!({"tenant": name}))
}

async fn get(it: &Installation, credential: &str) -> Reply {
    it.get(&[("authorization", credential)]).await
}

/// Has so many requests granted and the next refused, which says why.
async fn granted(it: &Installation, credential: &str, most: usize) -> Value {
    for at in 0..most {
        assert_eq!(get(it, credential).await.status, 200, "{at} of {most}");
    }
    limit(&get(it, credential).await)
}

/// What a refusal says of the limit.
fn limit(reply: &Reply) -> Value {
    assert_eq!((reply.status.as_u16(), reply.header("retry-after").is_empty()), (429, false));
    let body: Value = serde_json::from_slice(&reply.body).expect("JSON");
    assert_eq!(body["code"], "rate-limited");
    body["limit"].clone()
}

async fn metric(edge: &Edge, of: &str) -> Option<f64> {
    let metrics = admin(edge.admin, "/metrics").await.ok()?;
    let line = metrics.text().lines().find(|line| line.starts_with(of))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Waits until what was counted before is on disk.
async fn saved(it: &Installation, key: &SigningKey) {
    const SAVES: &str = "requestrocket_edge_limit_saves_total{outcome=\"done\"";
    // A save that is under way may have begun before the last request; the one after it has not.
    let before = metric(&it.edge, SAVES).await.unwrap_or(0.0);
    let mut guests = 0;
    eventually("two saves end while others come", || {
        guests += 1;
        let guest = of(key, &format!("{GUEST}-{guests}"));
        async move {
            assert_eq!(get(it, &guest).await.status, 200);
            (metric(&it.edge, SAVES).await? >= before + 2.0).then_some(())
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_who_holds_a_token_has_the_limits_of_a_proxy_and_of_a_meter_and_nothing_says_who_it_is() {
    let mut it = Installation::start().await;
    let key = SigningKey::new("k");
    std::fs::write(it.values.path().join("keys.json"), document(&[&key])).expect("it is written");
    let create = ["credential", "create-caller", "users", "--kind", "jwt-verify", "--jwks", "keys.json"];
    let checks = ["--issuer", ISSUER, "--audience", AUDIENCE, "--algorithm", "ES256"];
    it.done(&[&create[..], &checks, &["--identity-claim", "tenant"]].concat(), "").await;
    let callers = ["--caller", "app", "--caller", "users"];
    it.done(&[&["proxy", "update", "echo", "--per-day-per-caller", "2"], &callers[..]].concat(), "").await;
    let (ann, bob, app) = (of(&key, ANN), of(&key, BOB), it.sample.key.clone());
    it.answers(&[("authorization", &of(&key, GUEST))], 200).await;

    // Whoever has used up what is theirs takes nothing from others: not with another token, nor by a new key of their issuer.
    let of_caller = json!({"of": "caller", "window": "day", "limit": 2, "meter": null});
    assert_eq!(granted(&it, &ann, 2).await, of_caller);
    let again = token(&key, &json!({"tenant": ANN, "jti": "2", "sub": "somebody"}));
    assert_eq!(limit(&get(&it, &again).await), of_caller);
    for others in [&bob, &app] {
        assert_eq!(granted(&it, others, 2).await, of_caller);
    }
    assert_eq!(get(&it, &of(&key, &format!("{ANN} "))).await.status, 200, "another name");

    // Nobody is counted with others for want of a name.
    for says in [json!({}), json!({"tenant": null}), json!({"tenant": ""}), json!({"tenant": [BOB]})] {
        let before = it.upstream.seen().len();
        assert_eq!(get(&it, &token(&key, &says)).await.status, 401, "{says}");
        assert_eq!(it.upstream.seen().len(), before, "{says}");
    }
    it.reason("token-claim").await;

    // A node that is killed goes on with what it had counted.
    saved(&it, &key).await;
    it.edge.kill();
    it.edge = it.edge.restart();
    it.edge.ready().await;
    for used_up in [&ann, &bob, &app] {
        assert_eq!(limit(&get(&it, used_up).await), of_caller);
    }

    it.done(&["proxy", "update", "echo", "--per-day-per-caller", "1000"], "").await;
    let create = ["meter", "create", "calls", "--on", "echo", "--requests", "--per-day", "1"];
    it.done(&[&create[..], &["--per-caller", "true"]].concat(), "").await;
    let guest = of(&key, GUEST);
    eventually("the meter counts", || async {
        get(&it, &guest).await.header("ratelimit-policy").contains("meter-calls-day").then_some(())
    })
    .await;
    for caller in [&ann, &bob, &app] {
        let of_meter = granted(&it, caller, 1).await;
        assert_eq!((&of_meter["of"], &of_meter["limit"]), (&json!("meter"), &json!(1)), "{of_meter}");
        assert_eq!((&of_meter["window"], &of_meter["meter"]["name"]), (&json!("day"), &json!("calls")));
    }
    assert_eq!(limit(&get(&it, &again).await)["of"], "meter");

    // How many there are is told, and no name.
    let holders = metric(&it.edge, "requestrocket_edge_limit_keys{kind=\"holder\"").await;
    assert!(holders.is_some_and(|holders| holders >= 3.0), "{holders:?}");
    let metrics = admin(it.edge.admin, "/metrics").await.expect("it answers");
    assert!(!metrics.text().contains(ANN), "{}", metrics.text());
    it.forgets(&[ANN, BOB, GUEST]).await;
}
