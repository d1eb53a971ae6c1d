//! When a secret is used, and where.

mod ends;

use std::time::{Duration, UNIX_EPOCH};

use rr_contract::model::resource::ResourceId;

use rr_contract::model::effect::Effect;
use rr_contract::seal::{Means, SecretSpec, Slot};
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;

use super::*;
use crate::access_token::tests::{basic, grant};
use crate::fixture::demanding::{ClientPair, authority};
use crate::fixture::{ORG, Region, credential_key};

const SECOND: Duration = Duration::from_secs(1);

fn credential(
    region: &Region,
    not_after: Option<SystemTime>,
    sealed_not_after: Option<SystemTime>,
) -> UpstreamCredential {
    let sealed = region.seal(2, 1, "sk", "x-api-key", &["https://api.example.com"], sealed_not_after);
    let ResourceId::Credential(id) = credential_key(2).id else { unreachable!("it is one") };
    UpstreamCredential::new(
        ORG,
        id,
        1,
        not_after,
        Effect::Allow,
        sealed_upstream(sealed),
        Opening { vault: &region.vault(), tokens: &TokenSources::default() },
    )
}

fn sealed_upstream(secret: SealedSecret) -> Upstream {
    Upstream::Sealed { secret, needs: Vec::new(), previous: None }
}

fn used(credential: &UpstreamCredential, target: &str, now: SystemTime) -> Result<(), Unusable> {
    credential.injection(&target.parse().expect("a base URL"), None, None, now).map(|_| ())
}

#[test]
fn a_credential_is_not_used_past_its_end_whoever_set_that() {
    let region = Region::new();
    let end = UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    let target = "https://api.example.com/v1";
    for (not_after, sealed) in [(Some(end), None), (None, Some(end)), (Some(end), Some(end + SECOND))] {
        let credential = credential(&region, not_after, sealed);
        assert_eq!(used(&credential, target, end), Ok(()));
        assert_eq!(used(&credential, target, end + SECOND), Err(Unusable::Expired));
        // It is not one look at the clock that decides for good.
        assert_eq!(used(&credential, target, end), Ok(()));
    }
    assert_eq!(used(&credential(&region, None, None), target, end + SECOND), Ok(()));
}

#[test]
fn a_credential_for_an_open_upstream_has_an_end_too() {
    let region = Region::new();
    let end = UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    let ResourceId::Credential(id) = credential_key(2).id else { unreachable!("it is one") };
    let credential = UpstreamCredential::new(
        ORG,
        id,
        1,
        Some(end),
        Effect::Allow,
        Upstream::None,
        Opening { vault: &region.vault(), tokens: &TokenSources::default() },
    );
    assert_eq!(used(&credential, "https://api.example.com", end), Ok(()));
    assert_eq!(used(&credential, "https://api.example.com", end + SECOND), Err(Unusable::Expired));
}

#[test]
fn a_secret_that_is_put_into_a_header_is_not_printed_with_it() {
    let region = Region::new();
    let (credential, target) = (credential(&region, None, None), "https://api.example.com");
    let target = target.parse().expect("a base URL");
    let Ok(Injection::Secret(secret)) = credential.injection(&target, None, None, UNIX_EPOCH) else {
        panic!("it is sealed for it")
    };
    let [(_, value)] = secret.values().expect("values").headers() else { panic!("it is one header") };
    assert_eq!((value.as_bytes(), value.is_sensitive()), (&b"sk"[..], true));
    assert!(!format!("{value:?}").contains("sk"));
}

#[test]
fn a_secret_sealed_for_tls_does_not_go_out_in_the_clear_on_the_same_port() {
    let region = Region::new();
    let credential = credential(&region, None, None);
    let now = UNIX_EPOCH + SECOND;
    assert_eq!(used(&credential, "https://api.example.com:443/v1", now), Ok(()));
    assert_eq!(used(&credential, "http://api.example.com:443/v1", now), Err(Unusable::Origin));
}

#[test]
fn a_secret_goes_only_where_the_certificates_of_its_seal_vouch() {
    let region = Region::new();
    let base = "https://api.example.com".parse().expect("a base URL");
    let now = UNIX_EPOCH;
    let (ours, other) = ([1; 32], [2; 32]);
    for (sealed, given, wanted) in [
        (None, None, Ok(())),
        (Some(ours), Some(ours), Ok(())),
        (None, Some(ours), Err(Unusable::Ca)),
        (Some(ours), None, Err(Unusable::Ca)),
        (Some(ours), Some(other), Err(Unusable::Ca)),
    ] {
        let secret = region.seal_for(2, 1, "sk", "x-api-key", &["https://api.example.com"], None, sealed);
        let ResourceId::Credential(id) = credential_key(2).id else { unreachable!("it is one") };
        let credential = UpstreamCredential::new(
            ORG,
            id,
            1,
            None,
            Effect::Allow,
            sealed_upstream(secret),
            Opening { vault: &region.vault(), tokens: &TokenSources::default() },
        );
        assert_eq!(credential.injection(&base, given.as_ref(), None, now).map(|_| ()), wanted);
    }
}

#[test]
fn a_secret_goes_out_under_no_host_that_its_seal_does_not_name() {
    let region = Region::new();
    let base = "https://ours.front.example/v1".parse().expect("a base URL");
    let origins = ["https://ours.front.example", "https://also.example:8443", "http://plain.example"];
    let secret = region.seal(2, 1, "sk", "x-api-key", &origins, None);
    let ResourceId::Credential(id) = credential_key(2).id else { unreachable!("it is one") };
    let vault = region.vault();
    let credential = UpstreamCredential::new(
        ORG,
        id,
        1,
        None,
        Effect::Allow,
        sealed_upstream(secret),
        Opening { vault: &vault, tokens: &TokenSources::default() },
    );
    let open = UpstreamCredential::new(
        ORG,
        id,
        1,
        None,
        Effect::Allow,
        Upstream::None,
        Opening { vault: &vault, tokens: &TokenSources::default() },
    );
    for (host, wanted) in [
        ("ours.front.example", Ok(())),
        ("also.example:8443", Ok(())),
        ("theirs.front.example", Err(Unusable::Host)),
        ("also.example", Err(Unusable::Host)),
        ("ours.front.example:8443", Err(Unusable::Host)),
        // Sealed for plain HTTP alone.
        ("plain.example", Err(Unusable::Host)),
    ] {
        let sent = SentHost::new(&host.parse().expect("an authority"));
        let injected = credential.injection(&base, None, Some(&sent), UNIX_EPOCH).map(|_| ());
        assert_eq!(injected, wanted, "{host}");
        assert!(open.injection(&base, None, Some(&sent), UNIX_EPOCH).is_ok(), "there is no secret");
    }
}

#[test]
fn values_are_looked_for_in_answers_unless_they_are_short_or_passwords() {
    let region = Region::new();
    let ResourceId::Credential(id) = credential_key(2).id else { unreachable!("it is one") };
    let long = "a-value-of-32-characters-at-all!";
    let header = |prefix: &str| Slot::header("authorization", prefix).expect("a slot");
    for (value, slot, is_guarded) in [
        (long, header("Bearer "), true),
        (long, header(""), true),
        (long, Slot::query("key").expect("a slot"), true),
        (&long[..23], header("Bearer "), false),
        (&long[..24], header("Bearer "), true),
        (long, header("Basic "), false),
        (long, header("basic  "), false),
    ] {
        let spec = SecretSpec {
            value: Secret::from(value.to_owned()),
            origins: vec!["https://api.example.com".parse().expect("an origin")],
            means: Means::sent(slot),
            not_after: None,
            ca: None,
        };
        let upstream = sealed_upstream(region.seal_spec(2, 1, &spec));
        let credential = UpstreamCredential::new(
            ORG,
            id,
            1,
            None,
            Effect::Allow,
            upstream,
            Opening { vault: &region.vault(), tokens: &TokenSources::default() },
        );
        let needles = needles(&credential);
        assert_eq!(needles.is_some(), is_guarded, "{value}");
        let masked = needles.and_then(|needles| needles.masked(format!("Bearer {value}").as_bytes()));
        assert_eq!(masked.is_some_and(|masked| masked.ends_with(b"****")), is_guarded);
    }
    let open = UpstreamCredential::new(
        ORG,
        id,
        1,
        None,
        Effect::Allow,
        Upstream::None,
        Opening { vault: &region.vault(), tokens: &TokenSources::default() },
    );
    assert!(needles(&open).is_none());
}

fn needles(credential: &UpstreamCredential) -> Option<Arc<Needles>> {
    let base = "https://api.example.com".parse().expect("a base URL");
    credential.injection(&base, None, None, UNIX_EPOCH).expect("it is sealed for it").needles().cloned()
}

fn of_means(region: &Region, value: &str, means: Means) -> UpstreamCredential {
    let spec = SecretSpec {
        value: Secret::from(value.to_owned()),
        origins: ["https://api.example.com", "http://plain.example"]
            .map(|origin| origin.parse().expect("an origin"))
            .into(),
        means,
        not_after: None,
        ca: None,
    };
    let ResourceId::Credential(id) = credential_key(2).id else { unreachable!("it is one") };
    let upstream = sealed_upstream(region.seal_spec(2, 1, &spec));
    UpstreamCredential::new(
        ORG,
        id,
        1,
        None,
        Effect::Allow,
        upstream,
        Opening { vault: &region.vault(), tokens: &TokenSources::default() },
    )
}

#[test]
fn what_signs_or_is_shown_puts_nothing_into_a_request_and_only_what_is_sent_of_it_is_looked_for() {
    let region = Region::new();
    let (key, token) = ("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "a-session-token-of-any-length/+=");
    let aws = fleet::AwsSignature {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        region: "us-east-1".to_owned(),
        service: "s3".to_owned(),
        session_token: token.as_bytes().to_vec(),
        ..fleet::AwsSignature::default()
    };
    let hmac = fleet::HmacSignature {
        text: "{method}".to_owned(),
        headers: vec![fleet::Parameter { name: "x-sig".to_owned(), text: "{signature}".to_owned() }],
        key_encoding: "hex".to_owned(),
        ..fleet::HmacSignature::default()
    };
    let hex = "000102030405060708090a0b0c0d0e0f101112131415161718";
    let pair = ClientPair::new("ours", &authority("ours"));
    let shown = pair.spec("https://api.example.com", None).means;
    let base = "https://api.example.com".parse().expect("a base URL");
    for (value, means, signs, sent) in [
        (key, Means::Aws(aws.try_into().expect("a form")), true, Some(token)),
        (hex, Means::Hmac(hmac.try_into().expect("a form")), true, None),
        (&pair.key, shown, false, None),
    ] {
        let credential = of_means(&region, value, means);
        let injection = credential.injection(&base, None, None, UNIX_EPOCH).expect("it is sealed for it");
        assert!(injection.values().is_none());
        assert_eq!(matches!(injection, Injection::Signature(_)), signs);
        assert_eq!((injection.signer().is_some(), credential.shown().is_some()), (signs, !signs));
        let needles = injection.needles();
        assert_eq!(needles.is_some(), sent.is_some());
        if let (Some(needles), Some(sent)) = (needles, sent) {
            assert!(needles.masked(sent.as_bytes()).is_some() && needles.masked(value.as_bytes()).is_none());
        }
        let plain = used(&credential, "http://plain.example", UNIX_EPOCH);
        assert_eq!(plain, if signs { Ok(()) } else { Err(Unusable::Plain) });
    }
}

#[test]
fn certificates_are_told_apart_by_credential_version_and_chain_and_by_nothing_else() {
    let region = Region::new();
    let clients = authority("ours");
    let (one, two) = (ClientPair::new("one", &clients), ClientPair::new("two", &clients));
    let id = |n: u8, version: u64, pair: &ClientPair| {
        let sealed = region.seal_spec(n, version, &pair.spec("https://api.example.com", None));
        let ResourceId::Credential(id) = credential_key(n).id else { unreachable!("it is one") };
        let vault = region.vault();
        let upstream = sealed_upstream(sealed);
        let made = UpstreamCredential::new(
            ORG,
            id,
            version,
            None,
            Effect::Allow,
            upstream,
            Opening { vault: &vault, tokens: &TokenSources::default() },
        );
        made.shown().expect("it is one").id()
    };
    let ids = [id(2, 1, &one), id(2, 2, &one), id(2, 1, &two), id(3, 1, &one)];
    for (i, one) in ids.iter().enumerate() {
        assert!(!ids[i + 1..].contains(one), "{i}");
    }
    assert_eq!(id(2, 1, &one), ids[0], "sealed again, it is the same");
}

#[test]
fn seals_of_one_version_share_no_token_and_one_that_says_it_gets_some_has_a_source_before_it_is_open() {
    let region = Region::new();
    let tokens = TokenSources::default();
    let ResourceId::Credential(id) = credential_key(2).id else { unreachable!("it is one") };
    let made = |value: &str, needs: &[&str]| {
        let means =
            Means::Grant { slot: Slot::bearer(), grant: grant("https://issuer.example/token", basic()) };
        let spec = SecretSpec {
            value: Secret::from(value.to_owned()),
            origins: vec!["https://api.example.com".parse().expect("an origin")],
            means,
            not_after: None,
            ca: None,
        };
        let secret = region.seal_spec(2, 1, &spec);
        let needs = needs.iter().map(|need| (*need).to_owned()).collect();
        let upstream = Upstream::Sealed { secret, needs, previous: None };
        let opening = Opening { vault: &region.vault(), tokens: &tokens };
        UpstreamCredential::new(ORG, id, 1, None, Effect::Allow, upstream, opening)
    };
    let (ours, theirs) = (made("ours", &[feature::UPSTREAM_OAUTH2]), made("ours", &[]));
    assert_eq!(tokens.all().len(), 1, "the other one says nothing of it");
    let of = |credential: &UpstreamCredential| credential.token_source().expect("it gets tokens");
    assert!(!Arc::ptr_eq(&of(&ours), &of(&theirs)));
    assert_eq!(tokens.all().len(), 2);
}

#[test]
fn where_a_secret_stands_is_known_of_each_means_and_of_the_version_before() {
    let region = Region::new();
    let value = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    let places = |means: Means| {
        let slots = of_means(&region, value, means).slots().expect("its seal opens");
        let headers: Vec<String> = slots.headers.iter().map(ToString::to_string).collect();
        (headers, slots.parameters)
    };
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let header = Slot::header("x-token", "Bearer ").expect("a slot");
    let query = Slot::query("tok").expect("a slot");
    let tokens = |slot| Means::Grant { slot, grant: grant("https://issuer.example/token", basic()) };
    assert_eq!(places(Means::sent(header.clone())), (texts(&["x-token"]), vec![]));
    assert_eq!(places(tokens(header.clone())), (texts(&["x-token"]), vec![]));
    assert_eq!(places(tokens(query.clone())), (vec![], texts(&["tok"])));
    let aws = fleet::AwsSignature {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        region: "us-east-1".to_owned(),
        service: "s3".to_owned(),
        ..fleet::AwsSignature::default()
    };
    let (headers, parameters) = places(Means::Aws(aws.try_into().expect("a form")));
    for name in ["authorization", "x-amz-security-token"] {
        assert!(headers.iter().any(|it| it == name), "{name} of {headers:?}");
    }
    for name in ["x-amz-signature", "x-amz-security-token"] {
        assert!(parameters.iter().any(|it| it.eq_ignore_ascii_case(name)), "{name} of {parameters:?}");
    }
    let hmac = fleet::HmacSignature {
        text: "{method}".to_owned(),
        headers: vec![fleet::Parameter { name: "x-sig".to_owned(), text: "{signature}".to_owned() }],
        ..fleet::HmacSignature::default()
    };
    assert_eq!(places(Means::Hmac(hmac.try_into().expect("a form"))), (texts(&["x-sig"]), vec![]));
    // Its version before goes elsewhere, and is sent as long as both are live.
    let spec = |slot| SecretSpec {
        value: Secret::from(value.to_owned()),
        origins: vec!["https://api.example.com".parse().expect("an origin")],
        means: Means::sent(slot),
        not_after: None,
        ca: None,
    };
    let ResourceId::Credential(id) = credential_key(2).id else { unreachable!("it is one") };
    let before = (region.seal_spec(2, 1, &spec(query)), UNIX_EPOCH + SECOND);
    let secret = region.seal_spec(2, 2, &spec(header));
    let upstream = Upstream::Sealed { secret, needs: Vec::new(), previous: Some(Box::new(before)) };
    let opening = Opening { vault: &region.vault(), tokens: &TokenSources::default() };
    let both = UpstreamCredential::new(ORG, id, 2, None, Effect::Allow, upstream, opening);
    let slots = both.slots().expect("its seal opens");
    assert_eq!((slots.headers.len(), slots.parameters), (1, texts(&["tok"])));
}
