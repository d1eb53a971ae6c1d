//! Tokens of issuers whose keys are not published, from `rrctl` to a request: by a secret that is sealed and found nowhere,
//! and by keys in PEM.

use std::time::SystemTime;

use rcgen::{KeyPair, PKCS_ED25519, SigningKey as _};
use rr_integration::sample::REGION;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::own_values::Installation;

const FIRST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const NEXT: &str = "3f2b8c1d7e544a099c6bd18e2f7a5b30e3b0c44298fc1c149afbf4c8996fb924";

/// Base64 in the alphabet of URLs, without padding.
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte))
            << (8 * (3 - three.len()));
        text.extend((0..=three.len()).map(|at| char::from(ALPHABET[bits >> (18 - 6 * at) & 63])));
    }
    text
}

/// A token for ten minutes, signed by whoever signs.
fn token(algorithm: &str, issuer: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_secs();
    let part = |value: &Value| base64url(value.to_string().as_bytes());
    let claims = json!({"iss": issuer, "aud": "api", "sub": "ann", "exp": now + 600});
    let signed = format!("{}.{}", part(&json!({"alg": algorithm})), part(&claims));
    let signature = base64url(&sign(signed.as_bytes()));
    format!("Bearer {signed}.{signature}")
}

pub(crate) fn hs256(secret: &str, issuer: &str) -> String {
    // RFC 2104.
    let mut key =
        if secret.len() > 64 { Sha256::digest(secret).to_vec() } else { secret.as_bytes().to_vec() };
    key.resize(64, 0);
    let padded = |pad: u8| key.iter().map(|byte| byte ^ pad).collect::<Vec<u8>>();
    token("HS256", issuer, |text| {
        let inner = Sha256::digest([&*padded(0x36), text].concat());
        Sha256::digest([&*padded(0x5c), &inner].concat()).to_vec()
    })
}

/// What `rrctl` needs to take tokens of an issuer.
fn checks<'a>(name: &'a str, algorithm: &'a str) -> [&'a str; 11] {
    [
        "credential",
        "create-caller",
        name,
        "--kind",
        "jwt-verify",
        "--issuer",
        name,
        "--audience",
        "api",
        "--algorithm",
        algorithm,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_secret_verifies_tokens_is_rolled_with_an_overlap_and_found_nowhere() {
    let it = Installation::start().await;
    let fingerprint = format!("{REGION}={}", it.sample.keys.fingerprint());
    let sealing = ["--value-from", "-", "--region", REGION, "--fingerprint", &*fingerprint];
    let create = |more: &[&'static str]| [&checks("cron", "HS256")[..], more].concat();
    // Nothing leaves this machine that is short, weak, or beside public keys.
    for (args, secret, part) in [
        ([&create(&[])[..], &sealing].concat(), &FIRST[..31], "31 bytes long: HS256 needs 32 at least"),
        ([&create(&[])[..], &sealing].concat(), "changemechangemechangemechangeme", "bits to guess"),
        ([&checks("cron", "HS512")[..], &sealing].concat(), &FIRST[..63], "HS512 needs 64 at least"),
        ([&create(&["--algorithm", "RS256"])[..], &sealing].concat(), FIRST, "RS256 is another family"),
        ([&create(&["--jwks-url", "https://i.example"])[..], &sealing].concat(), FIRST, "side by side"),
        (create(&[]), FIRST, "what verifies a token"),
        (create(&["--value-from", "-"]), FIRST, "no region to seal to"),
    ] {
        let said = it.fails(&args, secret).await;
        assert!(said.contains(part) && !said.contains(secret), "{said}");
    }
    let said = it.done(&[&create(&[])[..], &sealing].concat(), FIRST).await;
    assert!(!said.contains(FIRST), "{said}");
    it.done(&["proxy", "update", "echo", "--caller", "app", "--caller", "cron"], "").await;
    let (first, next) = (hs256(FIRST, "cron"), hs256(NEXT, "cron"));
    it.answers(&[("authorization", &first)], 200).await;
    assert_eq!(it.get(&[("authorization", &next)]).await.status, 401);
    it.reason("token-signature").await;
    // The name of the secret's algorithm makes no key of what else is known of the credential.
    assert_eq!(it.get(&[("authorization", &hs256("", "cron"))]).await.status, 401);

    let shown = it.done(&["credential", "show", "cron"], "").await;
    for part in ["cron", "api", "HS256", "shared secret", "sealed to"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let roll = |overlap: &'static str| ["credential", "roll", "cron", "--overlap", overlap];
    let short = it.fails(&[&roll("1h")[..], &sealing].concat(), "short").await;
    assert!(short.contains("HS256 needs 32"), "{short}");
    it.done(&[&roll("15s")[..], &sealing].concat(), NEXT).await;
    it.answers(&[("authorization", &next)], 200).await;
    assert_eq!(it.get(&[("authorization", &first)]).await.status, 200, "the one before is live for a time");
    let third = it.fails(&[&roll("1h")[..], &sealing].concat(), FIRST).await;
    assert!(third.contains("overlap of 0"), "{third}");
    it.answers(&[("authorization", &first)], 401).await;
    assert_eq!(it.get(&[("authorization", &next)]).await.status, 200);
    it.forgets(&[FIRST, NEXT, &base64url(FIRST.as_bytes())]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_bring_a_shared_secret_and_keys_in_pem_and_no_private_key() {
    let it = Installation::start().await;
    let pair = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let (public_pem, private_pem) = (pair.public_key_pem(), pair.serialize_pem());
    let write =
        |name: &str, text: &str| std::fs::write(it.values.path().join(name), text).expect("is written");
    write("batch.pem", &public_pem);
    write("private.pem", &private_pem);
    write("cron.secret", &format!("{FIRST}\n"));
    write(
        "set.yaml",
        "kind: credential\nname: cron\nvalue_from: {file: cron.secret}\ncaller: {kind: jwt-verify, jwt_verify: \
         {issuer: cron, audiences: [api], algorithms: [HS256]}}\n---\nkind: credential\nname: batch\n\
         jwks_from: {file: batch.pem}\ncaller: {kind: jwt-verify, jwt_verify: \
         {issuer: batch, audiences: [api], algorithms: [EdDSA]}}\n",
    );
    let private = [&checks("batch", "EdDSA")[..], &["--public-key", "private.pem"]].concat();
    let said = it.fails(&private, "").await;
    assert!(
        said.contains("private key") && !said.contains(private_pem.lines().nth(1).expect("a line")),
        "{said}"
    );
    let other = [&checks("batch", "RS256")[..], &["--public-key", "batch.pem"]].concat();
    let said = it.fails(&other, "").await;
    assert!(said.contains("--algorithm") && said.contains("no key"), "{said}");

    let fingerprint = format!("{REGION}={}", it.sample.keys.fingerprint());
    let apply = ["apply", "-f", "set.yaml", "--yes", "--region", REGION, "--fingerprint", &*fingerprint];
    let said = it.done(&apply, "").await;
    assert!(said.contains("2 created"), "{said}");
    write("cron.secret", NEXT);
    let again = it.done(&apply, "").await;
    assert!(again.contains("nothing to change: 2 unchanged"), "{again}");
    let callers = ["--caller", "app", "--caller", "cron", "--caller", "batch"];
    it.done(&[&["proxy", "update", "echo"], &callers[..]].concat(), "").await;
    let batch = token("EdDSA", "batch", |text| pair.sign(text).expect("it signs"));
    it.answers(&[("authorization", &batch)], 200).await;
    it.answers(&[("authorization", &hs256(FIRST, "cron"))], 200).await;
    // What is public signs nothing, under either name.
    let public = it.done(&["credential", "show", "batch", "-o", "json"], "").await;
    for (secret, issuer) in [(&*public_pem, "batch"), (NEXT, "cron"), (&public, "batch")] {
        assert_eq!(it.get(&[("authorization", &hs256(secret, issuer))]).await.status, 401);
    }
    it.forgets(&[FIRST, NEXT]).await;
}
