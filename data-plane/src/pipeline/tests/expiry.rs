//! The end of a credential: the moment to which callers of every kind are let in, and not beyond.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use prost::Message as _;
use rr_contract::model::caller::jwt::Algorithm;
use rr_contract::model::time::timestamp;
use rr_contract::wire::fleet::caller_jwt_verify::Keys;
use serde_json::json;

use crate::fixture::{Region, caller_key, credential_key, proxy, resource};
use crate::jwt::mint::{Key, claims, document, verify};

use super::callers::{Ask, api_key, bearer, jwt, message};
use super::edge::Edge;
use super::origin::Upstream;
use super::passwords::{basic, with};
use super::records::Wall;
use super::resources;

/// Seconds after 1970.
const END: u64 = 1_000_000;

#[tokio::test]
async fn callers_of_every_kind_are_let_in_to_the_end_of_their_credential_and_not_beyond() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    let key = caller_key(3);
    let issuer = Key::ed25519();
    let keys = Keys::Jwks(document(&[issuer.published("e")]));
    // By itself, it would be good for longer.
    let token = issuer.token(Algorithm::EdDSA, "e", &claims(END - 9, &json!({"exp": END * 3})));
    let callers = [
        (3, api_key(3), format!("authorization: Bearer {key}\r\n"), &*key),
        (4, bearer("", &["own-value"]), "authorization: Bearer own-value\r\n".to_owned(), "own-value"),
        (
            5,
            bearer("Key", &["worded-value"]),
            "authorization: Key worded-value\r\n".to_owned(),
            "worded-value",
        ),
        (6, jwt("a.b.c"), "authorization: Bearer a.b.c\r\n".to_owned(), "a.b.c"),
        (7, basic("ann", &["password of ann"]), with("ann:password of ann"), "password of ann"),
        (8, verify(keys, &["EdDSA"], |_| {}), format!("authorization: Bearer {token}\r\n"), &*token),
    ];
    for (n, kind, ..) in &callers {
        let mut message = message(*n, "", kind.clone());
        message.not_after = Some(timestamp(UNIX_EPOCH + Duration::from_secs(END)));
        all.push(resource(credential_key(*n), message.encode_to_vec()));
    }
    all.push(proxy(1, &[3, 4, 5, 6, 7, 8], 1, 2));
    let wall = Wall::default();
    let edge = Edge::start_at(region.snapshot(&all), &["127.0.0.0/8"], Arc::new(wall.clone()));
    let ask = Ask::new(&edge, &upstream).await;
    let path = "/api/acme.proxy-1/x";
    for (n, _, headers, value) in &callers {
        for (now, is_over) in [(END - 1, false), (END, false), (END + 1, true), (END * 2, true)] {
            wall.0.store(now, Ordering::Relaxed);
            if is_over {
                ask.refuses((path, headers), "expired").await;
            } else {
                ask.serves((path, headers), *n, value).await;
            }
        }
    }
}
