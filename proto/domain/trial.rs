//! Permissions to have a request explained: how they are written, signed and read.
//!
//! Signs and verifies nothing: that is the authority's, and the node's that trusts it. The invariant: what is signed for a
//! trial can be nothing else that the authority signs, for a certificate begins with another byte.

use std::time::{Duration, SystemTime};

use data_encoding::BASE64URL_NOPAD;
use prost::Message as _;
use rr_wire::fleet;

use crate::model::id::{InstallationId, OrgId, ProxyId, RegionId};
use crate::model::time::{system_time, timestamp};

/// The header that shows a permission.
pub const HEADER: &str = "requestrocket-trial";
/// The type of an answer that explains its request.
pub const MEDIA_TYPE: &str = "application/vnd.requestrocket.trial";
/// How long a permission is good.
pub const LASTS: Duration = Duration::from_secs(60);
/// What comes before the claims in what is signed.
const CONTEXT: &[u8] = b"requestrocket request trial v1\0";
/// The longest header.
const TEXT_MAX: usize = 1024;

/// What a permission is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claims {
    /// Whose authority signed it.
    pub installation: InstallationId,
    /// Of the proxy.
    pub org: OrgId,
    /// The proxy whose requests are explained.
    pub proxy: ProxyId,
    /// Where.
    pub region: RegionId,
    /// From then on.
    pub issued_at: SystemTime,
    /// Until then.
    pub not_after: SystemTime,
    /// Tells it from all others.
    pub nonce: [u8; 16],
}

/// A permission that was read, and whose signature nobody has looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unverified {
    /// What it says that it is for.
    pub claims: Claims,
    /// The bytes of the claims, as they came.
    encoded: Vec<u8>,
    /// In DER.
    pub signature: Vec<u8>,
    /// SHA-256 of the public key of whoever signed it.
    pub root: Vec<u8>,
}

/// A text that is no permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a permission")]
pub struct NoPermission;

impl Claims {
    /// The message of the claims.
    pub fn encode(&self) -> Vec<u8> {
        let Self { installation, org, proxy, region, issued_at, not_after, nonce } = self;
        fleet::TrialClaims {
            installation: installation.to_string(),
            org: org.to_string(),
            proxy: proxy.to_string(),
            region: region.to_string(),
            issued_at: Some(timestamp(*issued_at)),
            not_after: Some(timestamp(*not_after)),
            nonce: nonce.to_vec(),
        }
        .encode_to_vec()
    }

    fn decode(encoded: &[u8]) -> Option<Self> {
        let said = fleet::TrialClaims::decode(encoded).ok()?;
        Some(Self {
            installation: said.installation.parse().ok()?,
            org: said.org.parse().ok()?,
            proxy: said.proxy.parse().ok()?,
            region: said.region.parse().ok()?,
            issued_at: system_time(said.issued_at.as_ref()?).ok()?,
            not_after: system_time(said.not_after.as_ref()?).ok()?,
            nonce: said.nonce.try_into().ok()?,
        })
    }
}

/// What is signed of claims.
pub fn signed(claims: &[u8]) -> Vec<u8> {
    [CONTEXT, claims].concat()
}

/// A permission as the header shows it.
pub fn text(claims: Vec<u8>, signature: Vec<u8>, root: Vec<u8>) -> String {
    BASE64URL_NOPAD.encode(&fleet::TrialPermission { claims, signature, root }.encode_to_vec())
}

impl Unverified {
    /// Reads what the header shows.
    pub fn read(text: &[u8]) -> Result<Self, NoPermission> {
        if text.len() > TEXT_MAX {
            return Err(NoPermission);
        }
        let bytes = BASE64URL_NOPAD.decode(text).map_err(|_| NoPermission)?;
        let said = fleet::TrialPermission::decode(bytes.as_slice()).map_err(|_| NoPermission)?;
        let claims = Claims::decode(&said.claims).ok_or(NoPermission)?;
        Ok(Self { claims, encoded: said.claims, signature: said.signature, root: said.root })
    }

    /// What its signature is over.
    pub fn signed(&self) -> Vec<u8> {
        signed(&self.encoded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        Claims {
            installation: InstallationId::from_random([1; 16]),
            org: OrgId::from_random([2; 16]),
            proxy: ProxyId::from_random([3; 16]),
            region: RegionId::from_random([4; 16]),
            issued_at: at,
            not_after: at + LASTS,
            nonce: [5; 16],
        }
    }

    #[test]
    fn a_permission_is_read_as_it_was_written() {
        let encoded = claims().encode();
        let text = text(encoded.clone(), vec![7; 72], vec![8; 32]);
        assert!(text.len() < TEXT_MAX, "{} bytes", text.len());
        let read = Unverified::read(text.as_bytes()).expect("a permission");
        assert_eq!(read.claims, claims());
        assert_eq!((read.signature.as_slice(), read.root.as_slice()), (&[7; 72][..], &[8; 32][..]));
        assert_eq!(read.signed(), signed(&encoded));
    }

    #[test]
    fn what_is_signed_is_no_certificate() {
        // A certificate is a sequence.
        assert_ne!(signed(&claims().encode())[0], 0x30);
    }

    #[test]
    fn what_is_no_permission_is_refused() {
        let whole = text(claims().encode(), vec![7; 72], vec![8; 32]);
        let no_claims = text(Vec::new(), vec![7; 72], vec![8; 32]);
        let long = "A".repeat(TEXT_MAX + 1);
        for bad in ["", "%", &whole[1..], &format!("{whole}="), &no_claims, &long] {
            assert_eq!(Unverified::read(bad.as_bytes()), Err(NoPermission), "{bad}");
        }
    }
}
