//! Checks of tokens that callers present: whose they are, who signed them, and for whom.
//!
//! The keys decide which algorithms there may be; a token never does.

use std::time::Duration;

use url::Host;

use crate::model::invalid::Violations;
use crate::model::origin::{BaseUrl, InvalidBaseUrl, Scheme};
use crate::model::sealed::SealedSecret;
use crate::model::time;
use rr_wire::fleet;

/// How many audiences, claims, and values of a claim may be named, each.
pub const NAMED_MAX: usize = 16;
/// The longest issuer, audience, claim or value of one, in bytes.
pub const TEXT_MAX: usize = 512;
/// The longest document of keys that is given, in bytes. A resource has to be sent in one piece.
pub const DOCUMENT_MAX: usize = 128 * 1024;
/// How far clocks may be apart when the credential does not say.
pub const LEEWAY: Duration = Duration::from_secs(30);
/// How far apart they may be at most.
pub const LEEWAY_MAX: Duration = Duration::from_secs(300);

/// What a SPIFFE id begins with.
const SPIFFE: &str = "spiffe://";
/// Of a name that is none of `Algorithm`.
pub(super) const UNKNOWN: &str = "is none that is known: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA are, and of a \
     shared secret HS256, HS384 and HS512";

/// Checks of a token.
#[derive(Debug, Clone, PartialEq)]
pub struct JwtVerify {
    /// What its signature is verified with.
    pub keys: VerifyingKeys,
    /// `iss`. Empty: tokens without it, which say by their `sub` whose they are.
    pub issuer: String,
    /// `aud` holds one of these.
    pub audiences: Vec<String>,
    /// What its header may name; all of the family of `keys`.
    pub algorithms: Vec<Algorithm>,
    /// How far clocks may be apart.
    pub leeway: Duration,
    /// Claims that it must have.
    pub required_claims: Vec<RequiredClaim>,
    /// The claim by which those who hold tokens are told apart. `None`: they are one caller.
    pub identity_claim: Option<String>,
}

/// Where verifying keys come from.
#[derive(Debug, Clone, PartialEq)]
pub enum VerifyingKeys {
    /// Fetched from there.
    Jwks(JwksUrl),
    /// A document of keys, as it was given. Which of them can be used, `policy` says.
    Given(Box<str>),
    /// A secret.
    Shared {
        /// Sealed for the version of the credential.
        newest: Box<SealedSecret>,
        /// Sealed for the version before, while both are live.
        previous: Option<Box<SealedSecret>>,
    },
}

/// Where keys are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwksUrl {
    base: BaseUrl,
    text: String,
}

/// A text that keys are not fetched from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJwksUrl {
    /// It is no URL of a document.
    #[error(transparent)]
    Url(#[from] InvalidBaseUrl),
    /// Who is on the way could put their own keys there.
    #[error("is not https; only a loopback address may be http")]
    Plaintext,
}

/// A signature of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the name that it has in a token's header")]
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

/// A claim that a token must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredClaim {
    /// At the top of the token.
    pub name: String,
    /// One of these; empty means any.
    pub values: Vec<String>,
}

impl JwksUrl {
    /// Scheme, host and port; the path lacks its query.
    pub fn base(&self) -> &BaseUrl {
        &self.base
    }

    /// The whole.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl TryFrom<&str> for JwksUrl {
    type Error = InvalidJwksUrl;

    fn try_from(text: &str) -> Result<Self, InvalidJwksUrl> {
        let (document, query) =
            text.split_once('?').map_or((text, ""), |(document, query)| (document, query));
        if !query.bytes().all(|b| b.is_ascii_graphic() && b != b'#' && b != b'\\') {
            return Err(InvalidBaseUrl::Query.into());
        }
        let base: BaseUrl = document.parse()?;
        let loopback = match base.host() {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        };
        if base.scheme() == Scheme::Http && !loopback {
            return Err(InvalidJwksUrl::Plaintext);
        }
        Ok(Self { base, text: text.to_owned() })
    }
}

impl Algorithm {
    pub(super) const ALL: [Self; 12] = [
        Self::HS256,
        Self::HS384,
        Self::HS512,
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    /// As in a token's header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    /// By its name in a token's header, or in a document of keys.
    pub fn of(name: &str) -> Option<Self> {
        // The newer name says which of two curves it is; only this one is known here.
        if name == "Ed25519" {
            return Some(Self::EdDSA);
        }
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    /// Whether who can verify can also sign.
    pub const fn is_symmetric(self) -> bool {
        self.secret_min().is_some()
    }

    /// The shortest secret that may be shared for it, in bytes: as long as what it makes (RFC 7518, section 3.2).
    pub const fn secret_min(self) -> Option<usize> {
        match self {
            Self::HS256 => Some(32),
            Self::HS384 => Some(48),
            Self::HS512 => Some(64),
            Self::RS256
            | Self::RS384
            | Self::RS512
            | Self::PS256
            | Self::PS384
            | Self::PS512
            | Self::ES256
            | Self::ES384
            | Self::EdDSA => None,
        }
    }
}

pub(super) fn parse(faults: &mut Violations, mut wire: fleet::CallerJwtVerify) -> Option<JwtVerify> {
    use fleet::caller_jwt_verify::Keys;

    const FIELD: &str = "caller.jwt_verify";
    let keys = match wire.keys {
        Some(Keys::JwksUrl(url)) => {
            faults.take(format!("{FIELD}.jwks_url"), url.as_str().try_into()).map(VerifyingKeys::Jwks)
        }
        Some(Keys::SharedSecret(sealed)) => {
            let newest = faults.take(format!("{FIELD}.shared_secret"), SealedSecret::try_from(sealed));
            let previous = match wire.previous_shared_secret.take() {
                None => Some(None),
                Some(sealed) => faults
                    .take(format!("{FIELD}.previous_shared_secret"), SealedSecret::try_from(sealed))
                    .map(|sealed| Some(Box::new(sealed))),
            };
            newest
                .map(Box::new)
                .zip(previous)
                .map(|(newest, previous)| VerifyingKeys::Shared { newest, previous })
        }
        Some(Keys::Jwks(document)) => {
            let is_good = (1..=DOCUMENT_MAX).contains(&document.len());
            if !is_good {
                faults.add(format!("{FIELD}.jwks"), format!("is 1 to {DOCUMENT_MAX} bytes"));
            }
            is_good.then(|| VerifyingKeys::Given(document.into()))
        }
        None => {
            faults.add(format!("{FIELD}.keys"), "is neither a JWKS URL, nor keys, nor a shared secret");
            None
        }
    };
    if wire.previous_shared_secret.is_some() {
        faults.add(format!("{FIELD}.previous_shared_secret"), "stands beside no secret that came after it");
    }
    // SPIFFE says who it is in `sub`, whose trust domain is that of the keys.
    let issuer = if wire.issuer.is_empty() && wire.required_claims.iter().any(is_spiffe_id) {
        Some(())
    } else if wire.issuer.is_empty() {
        faults.add(
            format!("{FIELD}.issuer"),
            "is missing: give the `iss` of its tokens, which only those have none of whose `sub` has to be a SPIFFE id",
        );
        None
    } else {
        check_text(faults, &format!("{FIELD}.issuer"), &wire.issuer)
    };
    let audiences = texts(faults, &format!("{FIELD}.audiences"), &wire.audiences, 1);
    let algorithms =
        parse_algorithms(faults, &format!("{FIELD}.algorithms"), &wire.algorithms, keys.as_ref());
    let leeway = match &wire.leeway {
        None => Some(LEEWAY),
        Some(leeway) => faults.take(format!("{FIELD}.leeway"), time::duration(leeway)),
    };
    if leeway.is_some_and(|leeway| leeway > LEEWAY_MAX) {
        faults.add(format!("{FIELD}.leeway"), format!("is over {} s", LEEWAY_MAX.as_secs()));
    }
    if wire.required_claims.len() > NAMED_MAX {
        faults.add(format!("{FIELD}.required_claims"), format!("has more than {NAMED_MAX}"));
        return None;
    }
    let mut claims = Vec::new();
    for (i, claim) in wire.required_claims.into_iter().enumerate() {
        let name = check_text(faults, &format!("{FIELD}.required_claims[{i}].name"), &claim.name);
        let values = texts(faults, &format!("{FIELD}.required_claims[{i}].values"), &claim.values, 0);
        if let (Some(()), Some(values)) = (name, values) {
            claims.push(RequiredClaim { name: claim.name, values });
        }
    }
    let names_identity = !wire.identity_claim.is_empty();
    if names_identity {
        check_text(faults, &format!("{FIELD}.identity_claim"), &wire.identity_claim)?;
    }
    issuer?;
    Some(JwtVerify {
        keys: keys?,
        issuer: wire.issuer,
        audiences: audiences?,
        algorithms: algorithms?,
        leeway: leeway?,
        required_claims: claims,
        identity_claim: names_identity.then_some(wire.identity_claim),
    })
}

fn is_spiffe_id(claim: &fleet::RequiredClaim) -> bool {
    claim.name == "sub" && !claim.values.is_empty() && claim.values.iter().all(|id| id.starts_with(SPIFFE))
}

fn parse_algorithms(
    faults: &mut Violations,
    field: &str,
    wire: &[String],
    keys: Option<&VerifyingKeys>,
) -> Option<Vec<Algorithm>> {
    if wire.is_empty() {
        faults.add(field, "names none; a token does not choose its own");
        return None;
    }
    let mut algorithms = Vec::new();
    let mut good = true;
    for (i, name) in wire.iter().enumerate() {
        let found = Algorithm::of(name);
        // One secret for both families would let a public key sign tokens.
        let fault = match (found, keys) {
            (None, _) => UNKNOWN,
            (Some(found), _) if algorithms.contains(&found) => "is there twice",
            (Some(found), Some(VerifyingKeys::Jwks(_) | VerifyingKeys::Given(_))) if found.is_symmetric() => {
                "is not one that published keys verify"
            }
            (Some(found), Some(VerifyingKeys::Shared { .. })) if !found.is_symmetric() => {
                "is not one that a shared secret verifies"
            }
            (Some(found), _) => {
                algorithms.push(found);
                continue;
            }
        };
        faults.add(format!("{field}[{i}]"), fault);
        good = false;
    }
    good.then_some(algorithms)
}

fn texts(faults: &mut Violations, field: &str, wire: &[String], least: usize) -> Option<Vec<String>> {
    if wire.len() < least || wire.len() > NAMED_MAX {
        let what = if wire.is_empty() { "is missing: give" } else { "has" };
        faults.add(field, format!("{what} {least} to {NAMED_MAX}"));
        return None;
    }
    let mut good = true;
    for (i, text) in wire.iter().enumerate() {
        good &= check_text(faults, &format!("{field}[{i}]"), text).is_some();
    }
    good.then(|| wire.to_vec())
}

fn check_text(faults: &mut Violations, field: &str, text: &str) -> Option<()> {
    if text.is_empty() || text.len() > TEXT_MAX || text.chars().any(char::is_control) {
        faults.add(field, format!("is 1 to {TEXT_MAX} bytes without control characters"));
        return None;
    }
    Some(())
}
