//! Who opens an envelope, who does not, and what is never sealed.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::feature;
use crate::seal::Slot;
use crate::seal::region_key::RegionKeys;
use rr_seam::SystemEntropy;

fn context() -> SealContext {
    SealContext {
        installation: InstallationId::from_random([1; 16]),
        org: OrgId::from_random([2; 16]),
        credential: CredentialId::from_random([3; 16]),
        version: 1,
    }
}

fn keys(n: u8) -> RegionKeys {
    RegionKeys::generate(RegionId::from_random([n; 16]), &SystemEntropy)
}

fn statement(keys: &RegionKeys) -> RegionStatement {
    let now = std::time::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    keys.statement(now, now + Duration::from_secs(86_400))
}

fn spec() -> SecretSpec {
    SecretSpec {
        value: Secret::from("s3cr3t".to_owned()),
        origins: vec!["https://api.example.com".parse().expect("an origin")],
        means: Means::sent(Slot::bearer()),
        not_after: None,
        ca: None,
    }
}

fn seal(keys: &[&RegionKeys]) -> SealedSecret {
    let statements: Vec<RegionStatement> = keys.iter().map(|keys| statement(keys)).collect();
    let statements: Vec<&RegionStatement> = statements.iter().collect();
    SealedSecret::seal(&context(), &spec(), &statements, &SystemEntropy).expect("seals")
}

#[test]
fn each_region_that_it_is_sealed_to_opens_it_and_no_other() {
    let (eu, us, ap) = (keys(1), keys(2), keys(3));
    let sealed = seal(&[&eu, &us]);
    for region in [&eu, &us] {
        let opened = sealed.open(&context(), &[region.opening_key()]).expect("opens");
        assert_eq!(opened.value().expose(), b"s3cr3t");
        assert!(opened.means() == &Means::sent(Slot::bearer()));
        assert_eq!(opened.origins()[0].to_string(), "https://api.example.com");
    }
    assert_eq!(sealed.open(&context(), &[ap.opening_key()]).err(), Some(OpenError::NoWrap));
    let impostor = RegionKeys::generate(eu.region(), &SystemEntropy);
    assert_eq!(sealed.open(&context(), &[impostor.opening_key()]).err(), Some(OpenError::Wrap));
}

#[test]
fn a_ciphertext_moved_to_another_credential_org_version_or_installation_does_not_open() {
    let eu = keys(1);
    let sealed = seal(&[&eu]);
    let moved = [
        SealContext { credential: CredentialId::from_random([9; 16]), ..context() },
        SealContext { org: OrgId::from_random([9; 16]), ..context() },
        SealContext { version: 2, ..context() },
        SealContext { installation: InstallationId::from_random([9; 16]), ..context() },
    ];
    for context in moved {
        assert_eq!(sealed.open(&context, &[eu.opening_key()]).err(), Some(OpenError::Wrap));
    }
}

#[test]
fn any_flipped_bit_is_seen() {
    let eu = keys(1);
    let wire = seal(&[&eu]).to_wire();
    let fields: [fn(&mut fleet::SealedSecret) -> &mut Vec<u8>; 5] = [
        |wire| &mut wire.nonce,
        |wire| &mut wire.ciphertext,
        |wire| &mut wire.key_commitment,
        |wire| &mut wire.wraps[0].encapsulated,
        |wire| &mut wire.wraps[0].sealed_key,
    ];
    for field in fields {
        let mut bent = wire.clone();
        let bytes = field(&mut bent);
        let at = bytes.len() / 2;
        bytes[at] ^= 0x10;
        let bent: SealedSecret = bent.try_into().expect("its form is still right");
        assert!(bent.open(&context(), &[eu.opening_key()]).is_err());
    }
}

#[test]
fn several_values_go_into_places_of_their_own_and_are_sealed_within_the_bounds_of_one() {
    let (keys, header) = (keys(1), |name| Slot::header(name, "").expect("a slot"));
    let query = |name| Slot::query(name).expect("a slot");
    let more = |more: Vec<(&str, Slot)>| SecretSpec {
        means: Means::Sent {
            slot: Slot::bearer(),
            more: more.into_iter().map(|(value, slot)| (Secret::from(value.to_owned()), slot)).collect(),
        },
        ..spec()
    };
    let seal = |spec: &SecretSpec| SealedSecret::seal(&context(), spec, &[&statement(&keys)], &SystemEntropy);
    assert!(seal(&more(vec![("a", header("x-id")), ("b c\n", query("key"))])).is_ok());
    let long = "x".repeat(VALUE_MAX - 2);
    let names: Vec<String> = (0..=15).map(|n| format!("x-{n}")).collect();
    let many = names.iter().map(|name| ("v", Slot::header(name, "").expect("a slot"))).collect();
    for wrong in [
        more(vec![("a", header("Authorization"))]),
        more(vec![("a", header("x_id")), ("b", header("x-id"))]),
        more(vec![("a", query("key")), ("b", query("Key"))]),
        more(vec![("", header("x-id"))]),
        more(vec![("a\n", header("x-id"))]),
        more(vec![(&long, header("x-id"))]),
        more(many),
    ] {
        assert!(matches!(seal(&wrong), Err(SealError::Invalid(_))), "{:?}", wrong.label());
    }
}

#[test]
fn the_label_of_a_seal_says_where_it_goes_and_who_cannot_open_it() {
    let label = spec().label();
    assert_eq!(
        (label.origins.as_slice(), label.needs.len()),
        (&["https://api.example.com".to_owned()][..], 0)
    );
    let query = Means::sent(Slot::query("key").expect("a slot"));
    let query = SecretSpec { means: query, ca: Some([7; 32]), ..spec() };
    assert_eq!(query.label().needs, [feature::UPSTREAM_QUERY]);
    assert_eq!(query.label().ca_hash, [7; 32]);
    let second = (Secret::from("b".to_owned()), Slot::query("key").expect("a slot"));
    let several = Means::Sent { slot: Slot::bearer(), more: vec![second] };
    let several = SecretSpec { means: several, ..spec() };
    assert_eq!(several.label().needs, [feature::UPSTREAM_QUERY, feature::UPSTREAM_SEVERAL]);
}

#[test]
fn a_secret_without_origins_regions_or_a_value_a_header_can_carry_is_not_sealed() {
    let eu = keys(1);
    let eu = statement(&eu);
    let none = SecretSpec { origins: Vec::new(), ..spec() };
    let newline = SecretSpec { value: Secret::from("abc\n".to_owned()), ..spec() };
    for spec in [none, newline] {
        assert!(SealedSecret::seal(&context(), &spec, &[&eu], &SystemEntropy).is_err());
    }
    assert!(SealedSecret::seal(&context(), &spec(), &[], &SystemEntropy).is_err());
}

/// Seals bytes that need not be a `SecretPlaintext` of this build.
fn seal_bytes(keys: &RegionKeys, plaintext: &[u8]) -> SealedSecret {
    let (key, nonce, aad) = ([1; 32], [2; 24], context().aad());
    let info = wrap_info(keys.region(), 1);
    let wrap = hpke_seal(statement(keys).sealing_key(), None, &info, &aad, &key).expect("seals");
    SealedSecret::new(fleet::SealedSecret {
        envelope: ENVELOPE,
        suite: SUITE,
        nonce: nonce.to_vec(),
        ciphertext: XChaCha20Poly1305::new((&key).into())
            .encrypt((&nonce).into(), Payload { msg: plaintext, aad: &aad })
            .expect("seals"),
        key_commitment: commitment(&key, &aad).to_vec(),
        wraps: vec![fleet::Wrap {
            region: keys.region().to_string(),
            epoch: 1,
            encapsulated: wrap.encapsulated,
            sealed_key: wrap.ciphertext,
            suite: 0,
        }],
    })
}

#[test]
fn a_field_that_this_build_does_not_know_keeps_the_secret_shut() {
    let eu = keys(1);
    let known = fleet::SecretPlaintext {
        value: b"s3cr3t".to_vec(),
        origins: vec!["https://api.example.com".to_owned()],
        slot: Some(fleet::Slot { header: "authorization".to_owned(), ..fleet::Slot::default() }),
        not_after: None,
        padding: Vec::new(),
        ca_hash: Vec::new(),
        more: Vec::new(),
        means: None,
    };
    let mut bytes = known.encode_to_vec();
    assert!(seal_bytes(&eu, &bytes).open(&context(), &[eu.opening_key()]).is_ok());
    // Field 15, say the one network that it may be sent from.
    bytes.extend_from_slice(&[15 << 3 | 2, 1, 7]);
    assert_eq!(seal_bytes(&eu, &bytes).open(&context(), &[eu.opening_key()]).err(), Some(OpenError::Content));
    // The same inside the slot: its tag and length, then the message with one field more.
    let mut slot =
        fleet::Slot { header: "authorization".to_owned(), ..fleet::Slot::default() }.encode_to_vec();
    slot.extend_from_slice(&[15 << 3, 1]);
    let mut bytes = fleet::SecretPlaintext { slot: None, ..known }.encode_to_vec();
    bytes.extend_from_slice(&[3 << 3 | 2, slot.len() as u8]);
    bytes.extend_from_slice(&slot);
    assert_eq!(seal_bytes(&eu, &bytes).open(&context(), &[eu.opening_key()]).err(), Some(OpenError::Content));
}

#[test]
fn what_verifies_tokens_is_one_value_that_goes_nowhere() {
    let eu = keys(1);
    let opened = |origins: Vec<String>, more: Vec<fleet::SlottedValue>| {
        let slot = Some(fleet::Slot { header: "authorization".to_owned(), ..fleet::Slot::default() });
        let plain = fleet::SecretPlaintext {
            value: vec![7; 32],
            origins,
            slot,
            more,
            ..fleet::SecretPlaintext::default()
        };
        seal_bytes(&eu, &plain.encode_to_vec()).open(&context(), &[eu.opening_key()]).expect("opens")
    };
    let slot = Some(fleet::Slot { query: "key".to_owned(), ..fleet::Slot::default() });
    let more = fleet::SlottedValue { value: b"v".to_vec(), slot };
    assert!(opened(Vec::new(), Vec::new()).is_shared());
    assert!(!opened(vec!["https://api.example.com".to_owned()], Vec::new()).is_shared());
    assert!(!opened(Vec::new(), vec![more]).is_shared());
}

#[test]
fn a_region_is_sealed_to_once() {
    let eu = keys(1);
    let statement = statement(&eu);
    assert!(SealedSecret::seal(&context(), &spec(), &[&statement, &statement], &SystemEntropy).is_err());
    let mut twice = seal(&[&eu]).to_wire();
    twice.wraps.push(twice.wraps[0].clone());
    assert!(SealedSecret::try_from(twice).is_err());
    let mut many = seal(&[&eu]).to_wire();
    many.wraps = vec![many.wraps[0].clone(); 1_000_000];
    let invalid = SealedSecret::try_from(many).expect_err("too many");
    assert_eq!(invalid.violations().len(), 1);
}

#[test]
fn the_largest_secret_that_can_be_sealed_is_one_that_can_be_stored() {
    let eu = keys(1);
    let labels = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
    let origin: Origin = format!("https://{labels}:12345").parse().expect("an origin");
    let spec = SecretSpec {
        value: Secret::new(vec![b'x'; VALUE_MAX]),
        origins: vec![origin; ORIGINS_MAX],
        means: Means::sent(Slot::header(&"x".repeat(256), &"y".repeat(64)).expect("a slot")),
        not_after: Some(std::time::UNIX_EPOCH + Duration::from_secs(1 << 50)),
        ca: Some([7; 32]),
    };
    let sealed = SealedSecret::seal(&context(), &spec, &[&statement(&eu)], &SystemEntropy).expect("seals");
    let stored = SealedSecret::try_from(sealed.to_wire()).expect("its form is right");
    assert!(stored.open(&context(), &[eu.opening_key()]).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_sealed_comes_out(
        value in "[!-~]{1,200}",
        hosts in proptest::collection::vec("(\\*\\.)?[a-z]{1,9}\\.[a-z]{1,9}\\.example(:[1-9][0-9]{0,3})?", 1..5),
        header in "x-[a-z0-9-]{1,20}",
        prefix in "[ -~]{0,64}",
        not_after in proptest::option::of(0_u64..253_402_300_800),
        ca in proptest::option::of(proptest::array::uniform32(0_u8..)),
        more in proptest::collection::vec((any::<bool>(), "[!-~]{1,40}"), 0..5),
    ) {
        let eu = keys(1);
        let origins: Vec<Origin> =
            hosts.iter().map(|host| format!("https://{host}").parse().expect("an origin")).collect();
        let other = |(i, (in_query, value)): (usize, &(bool, String))| {
            let slot = if *in_query { Slot::query(&format!("p{i}")) } else { Slot::header(&format!("y-{i}"), "Key ") };
            (Secret::from(value.clone()), slot.expect("a slot"))
        };
        let spec = SecretSpec {
            value: Secret::from(value.clone()),
            origins: origins.clone(),
            means: Means::Sent {
                slot: Slot::header(&header, &prefix).expect("a slot"),
                more: more.iter().enumerate().map(other).collect(),
            },
            not_after: not_after.map(|seconds| std::time::UNIX_EPOCH + Duration::from_secs(seconds)),
            ca,
        };
        let sealed = SealedSecret::seal(&context(), &spec, &[&statement(&eu)], &SystemEntropy).expect("seals");
        let stored = fleet::SealedSecret::decode(sealed.to_wire().encode_to_vec().as_slice()).expect("decodes");
        let stored = SealedSecret::try_from(stored).expect("its form is right");
        let opened = stored.open(&context(), &[eu.opening_key()]).expect("opens");
        prop_assert_eq!(opened.value().expose(), value.as_bytes());
        prop_assert_eq!(opened.origins(), origins.as_slice());
        prop_assert_eq!(opened.not_after(), spec.not_after);
        prop_assert!(opened.means() == &spec.means);
    }

    #[test]
    fn bytes_that_nobody_sealed_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let eu = keys(1);
        if let Ok(wire) = fleet::SealedSecret::decode(bytes.as_slice()) {
            prop_assert!(SealedSecret::try_from(wire).is_err());
        }
        // Authentic, and still not a message: a region's key is public.
        prop_assert!(seal_bytes(&eu, &bytes).open(&context(), &[eu.opening_key()]).is_err());
    }
}

#[test]
fn no_bit_of_what_is_stored_can_be_flipped_unseen() {
    let eu = keys(1);
    let sealed = seal(&[&eu]);
    let encoded = sealed.to_wire().encode_to_vec();
    for bit in 0..encoded.len() * 8 {
        let mut bent = encoded.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        let opened = fleet::SealedSecret::decode(bent.as_slice())
            .ok()
            .and_then(|wire| SealedSecret::try_from(wire).ok())
            .and_then(|sealed| sealed.open(&context(), &[eu.opening_key()]).ok());
        assert!(opened.is_none(), "bit {bit}");
    }
}

#[test]
fn the_length_of_a_short_value_does_not_show() {
    let eu = keys(1);
    let eu = statement(&eu);
    let length = |value: &str| {
        let spec = SecretSpec { value: Secret::from(value.to_owned()), ..spec() };
        let sealed = SealedSecret::seal(&context(), &spec, &[&eu], &SystemEntropy).expect("seals");
        sealed.to_wire().ciphertext.len()
    };
    assert_eq!(length("a"), length(&"a".repeat(40)));
    assert!(length("a") < length(&"a".repeat(400)));
}

#[test]
fn a_wrap_of_a_suite_from_the_future_disturbs_nobody_else() {
    let (eu, us) = (keys(1), keys(2));
    let mut wire = seal(&[&eu, &us]).to_wire();
    wire.wraps[1].suite = 9;
    wire.wraps[1].encapsulated = vec![0; 1120];
    let sealed: SealedSecret = wire.try_into().expect("its form is right");
    assert!(sealed.open(&context(), &[eu.opening_key()]).is_ok());
    assert_eq!(sealed.open(&context(), &[us.opening_key()]).err(), Some(OpenError::NoWrap));
}
