//! When an open secret is taken out of memory, and what goes with it.

use super::*;

/// A credential at its version 2, with the version before, and what knows which are open.
fn both(region: &Region, ends: Ends, tokens: &TokenSources) -> UpstreamCredential {
    let origins = ["https://api.example.com"];
    let before = region.seal(2, 1, "before", "x-before", &origins, None);
    let secret = region.seal(2, 2, "sk", "x-api-key", &origins, ends.sealed);
    let previous = Some(Box::new((before, ends.both)));
    let upstream = Upstream::Sealed { secret, needs: Vec::new(), previous };
    let ResourceId::Credential(id) = credential_key(2).id else { unreachable!("it is one") };
    let opening = Opening { vault: &region.vault(), tokens };
    UpstreamCredential::new(ORG, id, 2, ends.said, Effect::Allow, upstream, opening)
}

/// When a credential ends by its own word and by its seal's, and when two at a time end.
#[derive(Clone, Copy)]
struct Ends {
    said: Option<SystemTime>,
    sealed: Option<SystemTime>,
    both: SystemTime,
}

fn is_open(credential: &UpstreamCredential) -> bool {
    let Kind::Sealed(sealed) = &credential.kind else { panic!("it is sealed") };
    sealed.is_open()
}

#[test]
fn an_open_secret_is_taken_out_of_memory_when_its_end_has_come_whoever_set_that() {
    let (region, base) = (Region::new(), "https://api.example.com");
    let end = UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    for (said, sealed) in [(Some(end), None), (None, Some(end)), (Some(end + SECOND), Some(end))] {
        let tokens = TokenSources::default();
        let credential = both(&region, Ends { said, sealed, both: end + 9 * SECOND }, &tokens);
        assert_eq!(used(&credential, base, end), Ok(()));
        tokens.opened().look(end);
        assert!(is_open(&credential), "it is not over yet");
        // A request that is under way has it until it is gone.
        let base_url = base.parse().expect("a base URL");
        let held = credential.injection(&base_url, None, None, end).expect("it is good");
        tokens.opened().look(end + SECOND);
        assert!(!is_open(&credential), "{said:?} {sealed:?}");
        assert!(held.values().is_some());
        assert_eq!(used(&credential, base, end + SECOND), Err(Unusable::Expired));
        assert!(!is_open(&credential), "no request opens it again");
        assert_eq!(credential.ends(), Some(end));
        assert!(credential.in_use().is_some_and(|used| used.is_over() && used.values().is_none()));
        // It is not one look at the clock that decides for good.
        assert_eq!(used(&credential, base, end), Ok(()));
        assert!(is_open(&credential));
    }
}

#[test]
fn the_version_before_is_taken_out_of_memory_when_two_at_a_time_end() {
    let (region, base) = (Region::new(), "https://api.example.com");
    let end = UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    let tokens = TokenSources::default();
    let credential = both(&region, Ends { said: None, sealed: None, both: end }, &tokens);
    let before = credential.previous(end).expect("both are live");
    assert_eq!((used(&credential, base, end), used(before, base, end)), (Ok(()), Ok(())));
    tokens.opened().look(end + SECOND);
    assert!(is_open(&credential) && !is_open(before));
    assert!(credential.previous(end + SECOND).is_none());
}

#[test]
fn of_more_secrets_than_may_be_open_the_one_used_longest_ago_gives_way_and_opens_again() {
    let (region, base) = (Region::new(), "https://api.example.com");
    let tokens = TokenSources::opening_at_most(2);
    let ends = Ends { said: None, sealed: None, both: UNIX_EPOCH };
    let [one, two, three] = [(); 3].map(|()| both(&region, ends, &tokens));
    let minute = |n: u64| UNIX_EPOCH + Duration::from_secs(60 * n);
    for (credential, at) in [(&one, 1), (&two, 2), (&one, 3), (&three, 4)] {
        assert_eq!(used(credential, base, minute(at)), Ok(()));
    }
    assert_eq!([&one, &two, &three].map(is_open), [true, false, true]);
    assert_eq!(used(&two, base, minute(5)), Ok(()));
    assert_eq!([&one, &two, &three].map(is_open), [false, true, true]);
}

#[test]
fn a_token_is_taken_out_of_memory_with_the_secret_that_it_was_got_with() {
    let (region, tokens) = (Region::new(), TokenSources::default());
    let end = UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    let means = Means::Grant { slot: Slot::bearer(), grant: grant("https://issuer.example/token", basic()) };
    let spec = SecretSpec {
        value: Secret::from("client".to_owned()),
        origins: vec!["https://api.example.com".parse().expect("an origin")],
        means,
        not_after: Some(end),
        ca: None,
    };
    let ResourceId::Credential(id) = credential_key(2).id else { unreachable!("it is one") };
    let needs = vec![feature::UPSTREAM_OAUTH2.to_owned()];
    let upstream = Upstream::Sealed { secret: region.seal_spec(2, 1, &spec), needs, previous: None };
    let opening = Opening { vault: &region.vault(), tokens: &tokens };
    let credential = UpstreamCredential::new(ORG, id, 1, None, Effect::Allow, upstream, opening);
    let source = credential.token_source().expect("it gets tokens");
    source.has("token-1", end);
    let base = "https://api.example.com";
    assert_eq!(used(&credential, base, end), Ok(()));
    tokens.opened().look(end + SECOND);
    assert!(!source.has_token(end) && source.slot().is_none());
    assert_eq!(used(&credential, base, end + SECOND), Err(Unusable::Expired));
    // What its issuer gives now comes too late.
    source.has("token-2", end);
    assert!(!source.has_token(end));
}
