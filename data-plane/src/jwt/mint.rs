//! An issuer of tokens, for tests: keys of every family, the document that publishes them, and tokens as it or a forger
//! makes them.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use data_encoding::BASE64URL_NOPAD;
use rr_contract::model::caller::jwt::Algorithm;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::caller_credential::Kind;
use rr_contract::wire::fleet::caller_jwt_verify::Keys;
use serde_json::{Value, json};

/// `iss` of all tokens.
pub(crate) const ISSUER: &str = "https://issuer.example";
/// `aud` of all tokens.
pub(crate) const AUDIENCE: &str = "api";

/// A key that signs.
pub(crate) enum Key {
    Rsa(Box<RsaKeyPair>),
    P256(Box<EcdsaKeyPair>),
    P384(Box<EcdsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
    Secret(Vec<u8>),
}

impl Key {
    pub(crate) fn p256() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        Self::P256(Box::new(pair.expect("a key")))
    }

    pub(crate) fn p384() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING);
        Self::P384(Box::new(pair.expect("a key")))
    }

    pub(crate) fn ed25519() -> Self {
        Self::Ed25519(Box::new(Ed25519KeyPair::generate().expect("a key")))
    }

    pub(crate) fn rsa() -> Self {
        Self::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key")))
    }

    /// As it is published; a secret as nobody should.
    pub(crate) fn published(&self, kid: &str) -> Value {
        let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let point = |curve: &str, pair: &EcdsaKeyPair| {
            let (x, y) = pair.public_key().as_ref()[1..].split_at(pair.public_key().as_ref().len() / 2);
            json!({"kty": "EC", "crv": curve, "x": text(x), "y": text(y), "kid": kid, "use": "sig"})
        };
        match self {
            Self::Rsa(pair) => {
                let key = pair.public_key();
                let n = key.modulus().big_endian_without_leading_zero();
                let e = key.exponent().big_endian_without_leading_zero();
                json!({"kty": "RSA", "n": text(n), "e": text(e), "kid": kid})
            }
            Self::P256(pair) => point("P-256", pair),
            Self::P384(pair) => point("P-384", pair),
            Self::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref()), "kid": kid})
            }
            Self::Secret(secret) => json!({"kty": "oct", "k": text(secret), "kid": kid}),
        }
    }

    fn sign(&self, algorithm: Algorithm, text: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let how: &'static dyn RsaEncoding = match algorithm {
                    Algorithm::RS384 => &RSA_PKCS1_SHA384,
                    Algorithm::RS512 => &RSA_PKCS1_SHA512,
                    Algorithm::PS256 => &RSA_PSS_SHA256,
                    Algorithm::PS384 => &RSA_PSS_SHA384,
                    Algorithm::PS512 => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(how, &random, text, &mut signature).expect("it signs");
                signature
            }
            Self::P256(pair) | Self::P384(pair) => {
                pair.sign(&random, text).expect("it signs").as_ref().to_vec()
            }
            Self::Ed25519(pair) => pair.sign(text).as_ref().to_vec(),
            Self::Secret(secret) => {
                let how = match algorithm {
                    Algorithm::HS384 => hmac::HMAC_SHA384,
                    Algorithm::HS512 => hmac::HMAC_SHA512,
                    _ => hmac::HMAC_SHA256,
                };
                hmac::sign(&hmac::Key::new(how, secret), text).as_ref().to_vec()
            }
        }
    }

    /// A token with this header, whatever it says, signed as `algorithm` has it.
    pub(crate) fn token_as(&self, algorithm: Algorithm, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = BASE64URL_NOPAD.encode(&self.sign(algorithm, signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// A token as an issuer makes it.
    pub(crate) fn token(&self, algorithm: Algorithm, kid: &str, claims: &Value) -> String {
        self.token_as(algorithm, &json!({"alg": algorithm.as_str(), "typ": "JWT", "kid": kid}), claims)
    }
}

/// Claims of a token that is good from a second on for five minutes, with changes; `null` takes one out.
pub(crate) fn claims(from: u64, changes: &Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "iat": from, "nbf": from, "exp": from + 300,
        "scope": "read write", "tenant": "t1",
    });
    for (name, value) in changes.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    claims.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
    claims
}

/// The document that publishes keys.
pub(crate) fn document(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// A credential that takes tokens of the issuer, with changes.
pub(crate) fn verify(
    keys: Keys,
    algorithms: &[&str],
    change: impl FnOnce(&mut fleet::CallerJwtVerify),
) -> Kind {
    let mut verify = fleet::CallerJwtVerify {
        keys: Some(keys),
        issuer: ISSUER.to_owned(),
        audiences: vec![AUDIENCE.to_owned()],
        algorithms: algorithms.iter().map(|name| (*name).to_owned()).collect(),
        leeway: None,
        required_claims: Vec::new(),
        identity_claim: String::new(),
        previous_shared_secret: None,
    };
    change(&mut verify);
    Kind::JwtVerify(verify)
}
