//! Public keys that `openssl` wrote, and what is none.

use proptest::prelude::*;
use rr_domain::model::caller::jwt::Algorithm;

use super::*;
use crate::key_set::Material;

const RSA_2048: &str = "-----BEGIN PUBLIC KEY-----\n\
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAll7hhWgRoKeoe6sMYwaX\n\
kdODntiN4ecIhHwzjGR1lWRzwkWaW1oxtWrGj63HsmR1JjITspZ4+uNU1HZRr7JD\n\
P88DB4mim5azafYfWkEotZq267v4uPfxaLUUaWA1nV5aEEvBUtij6FO/UqXoak/S\n\
f5cWtXMeS935qOdxM0qDV3VAVXrWwshMaYIpLVadlYfXhtjqDb9Ha4Qdub3lHwnz\n\
6KxzGWuw/ytbgYVabQop1n3SXaGSbCef1T0i631qnBpF/KdP3iVPxl2AwVMUP+PI\n\
U3baxwi9fLbjSppwD30IGDCguRa+5a7pTfBncS2JbJcNfgurocVKg2wOVRWB1JpR\n\
GQIDAQAB\n\
-----END PUBLIC KEY-----";
const EC_256: &str = "-----BEGIN PUBLIC KEY-----\n\
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEQJSwDcnfK1NDSkNMBckrFPl0kaAC\n\
kBnSwIbMQc0AjNWs/zIOVTFSzgCSL9TQx/WCSb5nUAG/RMdZLXymrBFIYg==\n\
-----END PUBLIC KEY-----";
const EC_384: &str = "-----BEGIN PUBLIC KEY-----\n\
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEF6jMHp+m8XkUFgNnlDrwQ2qA1P7WBEUw\n\
WWUqg9/b0W+LRNuofrgbEwUuHvkSP+qs6pqcRmzvU7M9Jrm4Cijtyfe1gA4PU8mj\n\
jx1sC9Y//YwhUHcmthFG4zy35FiP2xjU\n\
-----END PUBLIC KEY-----";
const ED_25519: &str = "-----BEGIN PUBLIC KEY-----\n\
MCowBQYDK2VwAyEA4nmDVlsHaSfWNNs9pyutrFsPlXf1GmCfhHUoHbtWV+8=\n\
-----END PUBLIC KEY-----";
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBbDCCAROgAwIBAgIUI1amSVjp70RGLnpIRQ2cFlXRghcwCgYIKoZIzj0EAwIw\n\
DDEKMAgGA1UEAwwBdDAeFw0yNjExMjcwMjI0NTZaFw0zNjExMjQwMjI0NTZaMAwx\n\
CjAIBgNVBAMMAXQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARAlLANyd8rU0NK\n\
Q0wFySsU+XSRoAKQGdLAhsxBzQCM1az/Mg5VMVLOAJIv1NDH9YJJvmdQAb9Ex1kt\n\
fKasEUhio1MwUTAdBgNVHQ4EFgQU+Z3My8sT55CKp1BqHaIPqwQq9AUwHwYDVR0j\n\
BBgwFoAU+Z3My8sT55CKp1BqHaIPqwQq9AUwDwYDVR0TAQH/BAUwAwEB/zAKBggq\n\
hkjOPQQDAgNHADBEAiBbXRypTyoBa+f+wCBAtUhj4Rjo4t/jZnmd8+evxsDZ8gIg\n\
JFMtqzEa35aRSIxLZCvS5Y4RfHOOWU4lP8Vwx3C7vjo=\n\
-----END CERTIFICATE-----";
const RSA_1024: &str = "-----BEGIN PUBLIC KEY-----\n\
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC01VQa8EMWVFMkyTCOW5dacQ6z\n\
AMw1XMIpWIP0ptV2MVrVGjzAE324DpYKzcWgAdHt4sVs3i6Efz1jRJf/kUQbvVC2\n\
vJkPHVrXb3jB7YuYOfVaZ5ckrHWuSglsBNZsUXyMzQ3stECU7PPuoPoabf16uYnK\n\
ZDzx054HwB7FEItHqwIDAQAB\n\
-----END PUBLIC KEY-----";
const EC_521: &str = "-----BEGIN PUBLIC KEY-----\n\
MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQB8kVgBptpf2LcBrrj6JZt29wceKJI\n\
jOobecE6arDQrwUV4NLVukOccBvm3g1hzSNBWUqTxdTpwk5vEKq1a0CZrKEApEGE\n\
0LUqMFLe/BlWkxeBG1GFVMsip1miIUEZk1WVwM37o/et4NzO7qwEs18QxetIO4T/\n\
PrF+ts5Ej5NS+lCcD04=\n\
-----END PUBLIC KEY-----";
const EC_K1: &str = "-----BEGIN PUBLIC KEY-----\n\
MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAEF1/MK/yXoVwrZAjd4uj+XWgvplz39Ss4\n\
CS+5aKygGJhwI8EcViudtuOYmuO+Fx8XJ7ma50YelcJuZkp4J09uZQ==\n\
-----END PUBLIC KEY-----";
const X_25519: &str = "-----BEGIN PUBLIC KEY-----\n\
MCowBQYDK2VuAyEALIluHdKLKMlP+//id7Pnkxi40q2rclNpPl/X3OFyLV8=\n\
-----END PUBLIC KEY-----";
const COMPRESSED: &str = "-----BEGIN PUBLIC KEY-----\n\
MDkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDIgACQJSwDcnfK1NDSkNMBckrFPl0kaAC\n\
kBnSwIbMQc0AjNU=\n\
-----END PUBLIC KEY-----";

fn keys(text: &str) -> Vec<Material> {
    let document = document(text.as_bytes()).expect(text);
    let set = KeySet::parse(document.as_bytes()).expect("a document as nodes take it");
    assert_eq!(set.skipped, 0);
    set.keys.into_iter().map(|key| key.material).collect()
}

#[test]
fn each_family_becomes_the_key_that_its_tokens_are_verified_with() {
    for (text, algorithm) in [
        (RSA_2048, Algorithm::PS512),
        (EC_256, Algorithm::ES256),
        (EC_384, Algorithm::ES384),
        (ED_25519, Algorithm::EdDSA),
        (CERTIFICATE, Algorithm::ES256),
    ] {
        let keys = keys(text);
        assert!(keys.len() == 1 && keys[0].fits(algorithm), "{text}: {keys:?}");
    }
    let Material::Rsa { n, e } = &keys(RSA_2048)[0] else { panic!("a key of RSA") };
    assert_eq!((n.len(), n[0], n[255], &**e), (256, 0x96, 0x19, &[1, 0, 1][..]));
    // The certificate is of the same key.
    assert_eq!(keys(CERTIFICATE), keys(EC_256));
    let Material::P256(point) = &keys(EC_256)[0] else { panic!("a key of P-256") };
    assert_eq!((point.len(), &point[..3], &point[63..]), (65, &[4, 0x40, 0x94][..], &[0x48, 0x62][..]));
}

#[test]
fn a_text_may_hold_several_keys_and_words_between_them() {
    let text = format!("the old one:\r\n{EC_256}\r\nthe new one:\r\n{ED_25519}\n");
    assert_eq!(keys(&text).len(), 2);
    let many = format!("{ED_25519}\n").repeat(KEYS_MAX + 1);
    assert_eq!(document(many.as_bytes()), Err(PublicKeyError::TooMany));
    assert_eq!(document(&vec![b' '; DOCUMENT_MAX + 1]), Err(PublicKeyError::TooLong));
}

#[test]
fn what_verifies_nothing_is_refused_with_the_reason() {
    let labelled = |label: &str| ED_25519.replace("PUBLIC KEY", label);
    for (text, fault) in [
        (String::new(), PublicKeyError::Empty),
        ("{\"keys\":[]}".to_owned(), PublicKeyError::Empty),
        (ED_25519.replace("-----END", "-----"), PublicKeyError::Syntax),
        (ED_25519.replace("MCow", "M!ow"), PublicKeyError::Syntax),
        (ED_25519.replace("MCow", "MCoA"), PublicKeyError::Der(1)),
        (labelled("CERTIFICATE"), PublicKeyError::Der(1)),
        (CERTIFICATE.replace("CERTIFICATE", "PUBLIC KEY"), PublicKeyError::Der(1)),
        (labelled("RSA PUBLIC KEY"), PublicKeyError::Kind(1)),
        (format!("{EC_256}\n{EC_521}"), PublicKeyError::Family(2)),
        (EC_K1.to_owned(), PublicKeyError::Family(1)),
        (X_25519.to_owned(), PublicKeyError::Family(1)),
        (COMPRESSED.to_owned(), PublicKeyError::Der(1)),
        (RSA_1024.to_owned(), PublicKeyError::Rsa(1, 1024)),
    ] {
        assert_eq!(document(text.as_bytes()), Err(fault), "{text}");
    }
}

#[test]
fn a_private_key_gives_nothing_and_is_not_repeated() {
    for label in
        ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY"]
    {
        let private = EC_256.replace("PUBLIC KEY", label);
        for text in [private.clone(), format!("{ED_25519}\n{private}"), format!("{private}\n{ED_25519}")] {
            let fault = document(text.as_bytes()).expect_err(label);
            assert_eq!(fault, PublicKeyError::Private, "{label}");
            assert!(!fault.to_string().contains("QJSwDcnfK1NDSkNMBckrFPl0kaAC"));
        }
    }
}

#[test]
fn a_document_of_keys_stays_as_it_is_unless_it_is_none_or_could_sign() {
    let public = document(EC_256.as_bytes()).expect("a document");
    let spaced = format!("\n {public}\n");
    assert_eq!(read(spaced.as_bytes()), Ok(spaced.clone()));
    assert_eq!(read(EC_256.as_bytes()), Ok(public.clone()));
    assert_eq!(read(b"{}"), Err(PublicKeyError::Document(KeySetError::NoList)));
    for private in [r#"{"kty":"oct","k":"c2VjcmV0"}"#, r#"{"kty":"EC","crv":"P-256","d":"c2VjcmV0"}"#] {
        let both = public.replace("[", &format!("[{private},"));
        let fault = read(both.as_bytes()).expect_err("it could sign");
        assert!(fault == PublicKeyError::Private && !fault.to_string().contains("c2VjcmV0"), "{fault}");
        let alone = format!(r#"{{"keys":[{private}]}}"#);
        assert_eq!(read(alone.as_bytes()), Err(PublicKeyError::Private), "{private}");
    }
}

proptest! {
    #[test]
    fn whatever_the_bytes_are_it_is_a_document_or_a_fault(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for label in ["PUBLIC KEY", "CERTIFICATE"] {
            let text = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----", BASE64.encode(&bytes));
            if let Ok(document) = document(text.as_bytes()) {
                prop_assert!(KeySet::parse(document.as_bytes()).is_ok());
            }
        }
    }

    #[test]
    fn a_key_of_which_a_byte_is_another_is_a_document_or_a_fault(at in 0_usize..91, byte: u8) {
        let body: String = EC_256.lines().filter(|line| !line.starts_with('-')).collect();
        let mut der = BASE64.decode(body.as_bytes()).expect("base64");
        der[at] = byte;
        let text = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", BASE64.encode(&der));
        if let Ok(document) = document(text.as_bytes()) {
            prop_assert!(KeySet::parse(document.as_bytes()).is_ok());
        }
    }
}
