//! The end of a caller credential, for every kind: set, shown, taken away and kept, by `rrctl`.

use rr_contract::wire::management as mg;

use crate::own_values::Installation;
use crate::passwords::basic;

const VALUE: &str = "6c1f0b7e52d94a3880e1d7c4b9a2f365";
const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJlbmQifQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c";
const PASSWORD: &str = "harbor violet anchor meadow";
/// The public key of RFC 7517, appendix A.1.
const KEYS: &str = r#"{"keys": [{"kty": "EC", "crv": "P-256", "kid": "1", "use": "sig",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#;

/// Which of these credentials have an end.
async fn ends(it: &Installation, names: &[&str]) -> Vec<bool> {
    let list = it.done(&["credential", "list", "-o", "json"], "").await;
    let list: Vec<mg::Credential> = serde_json::from_str(&list).expect("JSON");
    let of = |name: &&str| list.iter().find(|it| it.name == **name).expect("is listed").not_after.is_some();
    names.iter().map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_set_changed_and_kept_for_callers_of_every_kind() {
    let it = Installation::start().await;
    std::fs::write(it.values.path().join("keys.json"), KEYS).expect("is written");
    let issuer = ["--kind", "jwt-verify", "--jwks", "keys.json", "--issuer", "https://id.example.com"];
    let issuer = [&issuer[..], &["--audience", "api", "--algorithm", "ES256"]].concat();
    let kinds: [(&str, &[&str], &str); 5] = [
        ("key", &[], ""),
        ("own", &["--kind", "bearer", "--value-from", "-"], VALUE),
        ("fixed", &["--kind", "jwt", "--value-from", "-"], TOKEN),
        ("user", &["--kind", "basic", "--user", "ann", "--password-from", "-"], PASSWORD),
        ("issuer", &issuer, ""),
    ];
    let names = kinds.map(|(name, ..)| name);
    let mut key = String::new();
    for (name, kind, value) in kinds {
        let create = ["credential", "create-caller", name, "--not-after", "1d"];
        let said = it.done(&[&create[..], kind].concat(), value).await;
        if name == "key" {
            said.trim().clone_into(&mut key);
        }
    }
    assert_eq!(ends(&it, &names).await, [true; 5]);
    for name in names {
        it.done(&["credential", "update", name, "--no-end"], "").await;
    }
    assert_eq!(ends(&it, &names).await, [false; 5]);
    let callers: Vec<&str> = names.iter().flat_map(|name| ["--caller", *name]).collect();
    it.done(&[&["proxy", "update", "echo"], &callers[..]].concat(), "").await;
    let (own, user) = (format!("Bearer {VALUE}"), basic("ann", PASSWORD));
    let presented = [&*key, &own, TOKEN, &user];
    for header in presented {
        it.answers(&[("authorization", header)], 200).await;
    }
    for name in names {
        it.done(&["credential", "update", name, "--not-after", "1s"], "").await;
    }
    assert_eq!(ends(&it, &names).await, [true; 5]);
    // By the node's own clock, without another revision.
    for header in presented {
        it.answers(&[("authorization", header)], 401).await;
    }
    it.reason("expired").await;
}
