//! What is said of a seal beside it.
//!
//! Says nothing of what is inside: nodes go by that. Read where a write is judged by whoever cannot open the seal.

use rr_wire::fleet;

use super::feature;
use super::invalid::{Invalid, Violations};
use super::origin::{BaseUrl, Origin};
use super::sealed::ORIGINS_MAX;
use super::time;
use super::tls::CaHash;

/// What is said of a seal to those who cannot open it.
#[derive(Debug, Clone, PartialEq)]
pub struct SealLabel {
    /// Empty: nothing is said.
    origins: Vec<Origin>,
    ca: Option<CaHash>,
    needs: Vec<&'static str>,
}

/// Why a secret could not go somewhere, by what is said of its seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misses {
    /// It is sealed for other origins.
    Origin,
    /// It is sealed for other certificates.
    Ca,
}

impl SealLabel {
    /// The features that opening it takes.
    pub fn needs(&self) -> &[&'static str] {
        &self.needs
    }

    /// Whether the secret could go to a URL whose certificates `ca` alone can vouch for, if it is given.
    pub fn reaches(&self, url: &BaseUrl, ca: Option<&CaHash>) -> Result<(), Misses> {
        if self.origins.is_empty() {
            return Ok(());
        }
        if !self.origins.iter().any(|origin| origin.covers(url)) {
            return Err(Misses::Origin);
        }
        if self.ca.as_ref() == ca { Ok(()) } else { Err(Misses::Ca) }
    }
}

impl TryFrom<fleet::SealLabel> for SealLabel {
    type Error = Invalid;

    fn try_from(wire: fleet::SealLabel) -> Result<Self, Invalid> {
        let mut faults = Violations::default();
        if wire.origins.len() > ORIGINS_MAX {
            faults.add("origins", format!("has at most {ORIGINS_MAX}"));
            return Err(faults.finish(|| None::<()>).expect_err("a fault was noted above"));
        }
        let origins = wire.origins.iter().enumerate();
        let origins = origins.map(|(i, text)| faults.take(format!("origins[{i}]"), text.parse::<Origin>()));
        let origins: Option<Vec<Origin>> = origins.collect();
        let ca = match wire.ca_hash.as_slice() {
            [] => Some(None),
            hash => faults.take("ca_hash", hash.try_into().map_err(|_| "is 32 bytes")).map(Some),
        };
        if let Some(at) = &wire.not_after {
            faults.take("not_after", time::system_time(at));
        }
        let mut needs = Vec::new();
        for (i, need) in wire.needs.iter().enumerate() {
            match feature::ALL.into_iter().find(|feature| need == feature) {
                Some(feature) => needs.push(feature),
                None => faults
                    .add(format!("needs[{i}]"), format!("{need:?} is no feature that this version knows")),
            }
        }
        faults.finish(|| Some(Self { origins: origins?, ca: ca?, needs }))
    }
}
