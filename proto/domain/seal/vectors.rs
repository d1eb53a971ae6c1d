//! Vectors that others published, against the functions that seal and open here.
//!
//! RFC 9180, appendix A.2: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305, in the two modes that are used.
//! Those of XChaCha20-Poly1305 stand in `storage`, beside the function that they are about.

use data_encoding::HEXLOWER;

use super::{OpeningKey, SealingKey, Shared, hpke_open, hpke_seal};
use crate::secret::Secret;

const INFO: &str = "4f6465206f6e2061204772656369616e2055726e";
const AAD: &str = "436f756e742d30";
const PLAINTEXT: &str = "4265617574792069732074727574682c20747275746820626561757479";
const PSK: &str = "0247fd33b913760fa1fa51e1892d9f307fbe65eb171e8132c2af18555a738b82";
const PSK_ID: &str = "456e6e796e20447572696e206172616e204d6f726961";

struct Vector {
    section: &'static str,
    is_psk: bool,
    /// `skRm` and `pkRm`.
    private: &'static str,
    public: &'static str,
    encapsulated: &'static str,
    /// Of sequence number 0.
    ciphertext: &'static str,
}

const VECTORS: [Vector; 2] = [
    Vector {
        section: "A.2.1, base",
        is_psk: false,
        private: "8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb",
        public: "4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a",
        encapsulated: "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a",
        ciphertext: "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28",
    },
    Vector {
        section: "A.2.2, PSK",
        is_psk: true,
        private: "77d114e0212be51cb1d76fa99dd41cfd4d0166b08caa09074430a6c59ef17879",
        public: "13640af826b722fc04feaa4de2f28fbd5ecc03623b317834e7ff4120dbe73062",
        encapsulated: "2261299c3f40a9afc133b969a97f05e95be2c514e54f3de26cbe5644ac735b04",
        ciphertext: "4a177f9c0d6f15cfdf533fb65bf84aecdc6ab16b8b85b4cf65a370e07fc1d78d28fb073214525276f4a89608ff",
    },
];

fn bytes(hex: &str) -> Vec<u8> {
    HEXLOWER.decode(hex.as_bytes()).expect("hexadecimal")
}

fn key(private: &str) -> OpeningKey {
    OpeningKey::try_from(&Secret::new(bytes(private))).expect("a key")
}

fn psk() -> [u8; 32] {
    bytes(PSK).try_into().expect("32 bytes")
}

#[test]
fn what_rfc_9180_published_opens_and_nothing_beside_it() {
    let (psk, name) = (psk(), bytes(PSK_ID));
    let shared = Shared { key: &psk, name: &name };
    for Vector { section, is_psk, private, public, encapsulated, ciphertext } in VECTORS {
        let (own, other) = if is_psk { (Some(&shared), None) } else { (None, Some(&shared)) };
        let key = key(private);
        assert_eq!(HEXLOWER.encode(&key.sealing_key().to_bytes()), public, "{section}");
        let open = |shared, info: &[u8], aad: &[u8], ciphertext: &[u8]| {
            hpke_open(&key, shared, info, aad, &bytes(encapsulated), ciphertext)
        };
        let (info, aad, sealed) = (bytes(INFO), bytes(AAD), bytes(ciphertext));
        let opened = open(own, &info, &aad, &sealed).unwrap_or_else(|| panic!("{section}: does not open"));
        assert_eq!(HEXLOWER.encode(opened.expose()), PLAINTEXT, "{section}");
        assert!(open(other, &info, &aad, &sealed).is_none(), "{section}: the other mode");
        assert!(open(own, b"info", &aad, &sealed).is_none(), "{section}: other info");
        assert!(open(own, &info, b"Count-1", &sealed).is_none(), "{section}: other data");
        let mut bent = sealed.clone();
        bent[0] ^= 1;
        assert!(open(own, &info, &aad, &bent).is_none(), "{section}: bent");
    }
}

#[test]
fn the_keys_of_rfc_9180_follow_from_the_material_that_it_published() {
    // `ikmR` of A.2.1.
    let derived =
        OpeningKey::derive(&bytes("1ac01f181fdf9f352797655161c58b75c656a6cc2716dcb66372da835542e1df"));
    assert_eq!(HEXLOWER.encode(&derived.sealing_key().to_bytes()), VECTORS[0].public);
}

#[test]
fn what_is_sealed_to_a_published_key_opens_as_what_was_published_does() {
    let (psk, name) = (psk(), bytes(PSK_ID));
    let shared = Shared { key: &psk, name: &name };
    for Vector { section, is_psk, private, public, .. } in VECTORS {
        let shared = is_psk.then_some(&shared);
        let to = SealingKey::try_from(bytes(public).as_slice()).expect("a key");
        let sealed = hpke_seal(&to, shared, &bytes(INFO), &bytes(AAD), &bytes(PLAINTEXT)).expect("seals");
        let opened = hpke_open(
            &key(private),
            shared,
            &bytes(INFO),
            &bytes(AAD),
            &sealed.encapsulated,
            &sealed.ciphertext,
        );
        assert_eq!(HEXLOWER.encode(opened.expect("opens").expose()), PLAINTEXT, "{section}");
    }
}
