//! What a worker remembers of tokens, and for how long.

use std::time::Duration;

use rr_contract::api_key::hash_foreign;
use rr_contract::model::caller::jwt::{JwtVerify, VerifyingKeys};
use serde_json::json;

use crate::jwt::mint::{Key as SigningKey, document};

use super::*;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn checks() -> Arc<Checks> {
    let keys = document(&[SigningKey::ed25519().published("k"), json!({})]);
    let model = JwtVerify {
        keys: VerifyingKeys::Given(keys.into()),
        issuer: "i".to_owned(),
        audiences: Vec::new(),
        algorithms: Vec::new(),
        leeway: Duration::ZERO,
        required_claims: Vec::new(),
        identity_claim: None,
    };
    let made = Checks::new(model, None, |_| panic!("nothing is fetched"), |_, _| panic!("nothing is sealed"));
    Arc::new(made.expect("checks"))
}

fn verified_by(checks: &Arc<Checks>, until: u64) -> Verified {
    let (credential, checks) = (CredentialId::from_random([1; 16]), Arc::downgrade(checks));
    Verified { credential, checks, generation: 0, until: at(until), holder: None }
}

fn verified(until: u64) -> Verified {
    verified_by(&checks(), until)
}

fn proxy(n: u8) -> ProxyId {
    ProxyId::from_random([n; 16])
}

fn known(_: &Verified) -> Option<()> {
    Some(())
}

#[test]
fn a_token_is_remembered_at_its_proxy_until_it_ends() {
    let (tokens, hash) = (Tokens::default(), hash_foreign(b"token"));
    tokens.remember(proxy(1), hash, verified(100));
    assert!(tokens.seen(proxy(1), hash, at(99), known).is_some());
    assert!(tokens.seen(proxy(1), hash, at(100), known).is_none());
    assert!(tokens.seen(proxy(2), hash, at(99), known).is_none());
    assert!(tokens.seen(proxy(1), hash_foreign(b"other"), at(99), known).is_none());
    // In the older generation, too.
    let others = verified(200);
    for n in 0..GENERATION {
        tokens.remember(proxy(2), hash_foreign(&n.to_be_bytes()), others.clone());
    }
    assert!(!tokens.seen.borrow().young.contains_key(&(proxy(1), hash)));
    assert!(tokens.seen(proxy(1), hash, at(100), known).is_none());
}

#[test]
fn checks_go_with_their_credential_however_long_a_token_is_remembered_and_no_others_are_taken_for_them() {
    let (tokens, hash) = (Tokens::default(), hash_foreign(b"token"));
    let gone = checks();
    tokens.remember(proxy(1), hash, verified_by(&gone, 100));
    let passed = |checks: &Arc<Checks>| {
        tokens.seen(proxy(1), hash, at(1), |it| it.has_passed(checks).then_some(())).is_some()
    };
    assert!(passed(&gone));
    assert_eq!(Arc::strong_count(&gone), 1, "nothing else keeps them");
    drop(gone);
    // Whatever the allocator gives out again.
    for _ in 0..100 {
        assert!(!passed(&checks()));
    }
}

#[test]
fn however_many_tokens_come_few_are_remembered_and_those_in_use_stay() {
    let (tokens, one) = (Tokens::default(), verified(100));
    let used = hash_foreign(b"used");
    tokens.remember(proxy(1), used, one.clone());
    for n in 0..20_000_u32 {
        tokens.remember(proxy(1), hash_foreign(&n.to_be_bytes()), one.clone());
        if n % 1_000 == 0 {
            assert!(tokens.seen(proxy(1), used, at(1), known).is_some(), "after {n}");
        }
        let seen = tokens.seen.borrow();
        assert!(seen.young.len() + seen.old.len() <= 2 * GENERATION);
    }
}

fn tokens_of(n: u8) -> (ProxyId, Signed) {
    (proxy(n), Signed::Token)
}

#[test]
fn wrong_signatures_of_a_proxy_are_looked_at_up_to_a_rate_and_those_of_others_go_on() {
    let tokens = Tokens::default();
    for _ in 0..WRONG_MAX {
        assert!(tokens.may_look(tokens_of(1), at(5)));
        tokens.was_wrong(tokens_of(1), 1, at(5));
    }
    assert!(!tokens.may_look(tokens_of(1), at(5)));
    assert!(tokens.may_look(tokens_of(2), at(5)));
    assert!(tokens.may_look((proxy(1), Signed::Certificate), at(5)), "those of certificates go on");
    assert!(tokens.may_look(tokens_of(1), at(6)));
    tokens.was_wrong(tokens_of(1), 1, at(6));
    assert!(tokens.may_look(tokens_of(1), at(6)));
    // One that was tried with several keys counts as several.
    tokens.was_wrong(tokens_of(1), WRONG_MAX - 1, at(6));
    assert!(!tokens.may_look(tokens_of(1), at(6)));
}

#[test]
fn however_many_proxies_have_wrong_signatures_few_are_counted() {
    let tokens = Tokens::default();
    for n in 0..3_000_u32 {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        tokens.was_wrong((ProxyId::from_random(id), Signed::Token), 1, at(5));
        assert!(tokens.wrong.borrow().by.len() <= PROXIES);
    }
}
