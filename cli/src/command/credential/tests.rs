//! What tables say of credentials.

use super::*;

fn cell<T: Row>(item: &T, heading: &str) -> String {
    let at = T::COLUMNS.iter().position(|column| *column == heading).expect("a column");
    item.cells().swap_remove(at)
}

#[test]
fn a_caller_that_was_never_used_says_so_and_what_can_have_no_use_says_nothing() {
    let caller = mg::Credential {
        usage: Some(Usage::Caller(mg::Caller::default())),
        last_used_at: None,
        ..mg::Credential::default()
    };
    assert_eq!(cell(&caller, "last used"), "never");
    let at = Some(pbjson_types::Timestamp { seconds: 1_764_000_000, nanos: 0 });
    let used = mg::Credential { last_used_at: at, ..caller.clone() };
    assert_eq!(cell(&used, "last used"), "2025-11-24T16:00Z");
    let upstream =
        mg::Credential { usage: Some(Usage::Upstream(mg::Upstream::default())), ..mg::Credential::default() };
    assert_eq!(cell(&upstream, "last used"), "");
    let past = Past(caller);
    assert_eq!((cell(&past, "last used"), cell(&past, "use")), (String::new(), "caller".to_owned()));
}

#[test]
fn a_table_says_where_a_credential_stands_whose_it_is_and_what_its_tokens_have_to_hold() {
    let of = |caller: mg::Caller| mg::Credential {
        usage: Some(Usage::Caller(caller)),
        ..mg::Credential::default()
    };
    let bearer = |header: &str, prefix: &str| {
        let mut caller =
            mg::Caller { header: header.to_owned(), prefix: prefix.to_owned(), ..mg::Caller::default() };
        caller.set_kind(mg::CallerKind::Bearer);
        cell(&of(caller), "presented in")
    };
    assert_eq!(bearer("", ""), "Authorization");
    assert_eq!(bearer("", "Token"), "Authorization: Token");
    assert_eq!(bearer("x-key", ""), "x-key");
    assert_eq!(bearer("x-key", "Token"), "x-key: Token");
    let ann = of(mg::Caller { username: "ann".to_owned(), ..mg::Caller::default() });
    assert_eq!(cell(&ann, "user"), "ann");
    let checks = mg::JwtVerify {
        subject: "spiffe://example.org/payments".to_owned(),
        scopes: vec!["read".to_owned(), "write".to_owned()],
        leeway: Some(pbjson_types::Duration { seconds: 5, nanos: 0 }),
        identity_claim: "sub".to_owned(),
        ..mg::JwtVerify::default()
    };
    let tokens = of(mg::Caller { jwt_verify: Some(checks), ..mg::Caller::default() });
    for (heading, shown) in [
        ("subject", "spiffe://example.org/payments"),
        ("scopes", "read write"),
        ("leeway", "5 s"),
        ("identity claim", "sub"),
    ] {
        assert_eq!(cell(&tokens, heading), shown);
    }
    let upstream =
        mg::Credential { usage: Some(Usage::Upstream(mg::Upstream::default())), ..mg::Credential::default() };
    assert_eq!(cell(&upstream, "presented in"), "");
}

#[test]
fn a_file_without_public_keys_is_refused_with_what_to_give_and_a_private_key_stays_where_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let told = |text: &str| {
        let path = folder.path().join("keys");
        std::fs::write(&path, text).expect("a file");
        caller::read_keys("--jwks", &path).expect_err("it has none").to_string()
    };
    for text in ["", "no keys"] {
        let told = told(text);
        assert!(told.contains("holds no public key; give a JWKS document, or"), "{told}");
    }
    let private = r#"{"keys":[{"kty":"EC","crv":"P-256","d":"c2VjcmV0"}]}"#;
    let told = told(private);
    assert!(told.contains("holds a private key") && told.ends_with("nothing of the file was sent"), "{told}");
    assert!(!told.contains("c2VjcmV0"), "{told}");
}
