//! What is left of a caller credential's values where a later position has fewer of them, or ends them earlier.

use super::*;

type Values<'v> = (&'v str, Option<i64>, Option<i64>);

fn time(seconds: Option<i64>) -> Option<Timestamp> {
    seconds.map(|seconds| Timestamp { seconds, nanos: 0 })
}

fn credential(
    kind: fn(Vec<Vec<u8>>) -> CallerKind,
    (values, previous, end): Values<'_>,
) -> fleet::CredentialResource {
    let hashes = values.bytes().map(|value| vec![value; 32]).collect();
    let caller = fleet::CallerCredential {
        kind: Some(kind(hashes)),
        header: "x-own".to_owned(),
        previous_not_after: time(previous),
    };
    fleet::CredentialResource {
        not_after: time(end),
        usage: Some(Usage::Caller(caller)),
        ..fleet::CredentialResource::default()
    }
}

/// A kind of credential with these hashes.
type Kind = fn(Vec<Vec<u8>>) -> CallerKind;

const KINDS: [Kind; 4] = [
    |hashes| CallerKind::ApiKey(fleet::CallerApiKey { hashes }),
    |hashes| CallerKind::Bearer(fleet::CallerBearer { hashes, prefix: "Key".to_owned() }),
    |hashes| CallerKind::Jwt(fleet::CallerJwt { hashes }),
    |hashes| CallerKind::Certificate(fleet::CallerCertificate { hashes, ..Default::default() }),
];

#[test]
fn what_is_left_ends_when_it_ends_there() {
    let cases: [(Values<'_>, Values<'_>, Option<Values<'_>>); 10] = [
        // Rolled there: the one that is the newest here ends.
        (("a", None, None), ("ba", Some(5), None), Some(("a", None, Some(5)))),
        (("a", None, Some(3)), ("ba", Some(5), None), Some(("a", None, Some(3)))),
        (("a", None, None), ("ba", None, None), Some(("a", None, None))),
        // Rolled there at once.
        (("a", None, None), ("b", None, None), None),
        (("ba", Some(5), None), ("b", None, None), Some(("b", None, None))),
        // Rolled twice.
        (("ba", Some(5), None), ("cb", Some(9), None), Some(("b", None, Some(9)))),
        (("ab", Some(5), None), ("b", None, None), Some(("b", None, Some(5)))),
        (("ab", Some(5), None), ("cb", Some(9), None), Some(("b", None, Some(5)))),
        // Ended earlier there, and not later.
        (("ba", Some(5), None), ("ba", Some(3), None), Some(("ba", Some(3), None))),
        (("ba", Some(5), None), ("ba", Some(9), None), Some(("ba", Some(5), None))),
    ];
    for kind in KINDS {
        for (own, theirs, left) in cases {
            let mut narrowed = credential(kind, own);
            let is_left = keep_values(&mut narrowed, &credential(kind, theirs));
            assert_eq!(is_left, left.is_some(), "{own:?} {theirs:?}");
            if let Some(left) = left {
                assert_eq!(narrowed, credential(kind, left), "{own:?} {theirs:?}");
            }
        }
    }
}

#[test]
fn nothing_is_left_of_a_kind_that_no_hash_identifies() {
    let basic = |_| CallerKind::Basic(fleet::CallerBasic::default());
    let one = ("a", None, None);
    assert!(!keep_values(&mut credential(basic, one), &credential(KINDS[0], one)));
    assert!(!keep_values(&mut credential(KINDS[0], one), &credential(basic, one)));
}
