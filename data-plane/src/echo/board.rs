//! Which secrets upstreams have sent back lately, as the control plane is told.
//!
//! Keeps ids and times. Bounded: what there is no room for is in records and counters all the same.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rr_contract::model::id::{CredentialId, OrgId, ProxyId};
use tracing::warn;

/// How many are told at once.
const TOLD_MOST: usize = 20;
/// For how long.
const TOLD_FOR: Duration = Duration::from_secs(3600);

/// A secret that was sent back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Echoed {
    pub(crate) org: OrgId,
    pub(crate) credential: CredentialId,
    /// Through which proxy it was seen first.
    pub(crate) proxy: ProxyId,
    /// When it was.
    pub(crate) at: SystemTime,
    pub(crate) refused: bool,
}

/// Those of the last hour.
#[derive(Clone, Default)]
pub(crate) struct Echoes(Arc<Mutex<Vec<Echoed>>>);

impl Echoes {
    /// Notes one that was seen.
    pub(crate) fn note(&self, echoed: Echoed) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        forget(&mut told, echoed.at);
        if told.iter().any(|other| other.credential == echoed.credential) {
            return;
        }
        if told.len() >= TOLD_MOST {
            return;
        }
        told.push(echoed);
        drop(told);
        let Echoed { org, credential, proxy, refused, .. } = echoed;
        warn!(%org, %credential, %proxy, refused, "an upstream sent back the secret that it was sent; further ones of this credential are not logged for an hour");
    }

    /// Those that are told now.
    pub(crate) fn told(&self, now: SystemTime) -> Vec<Echoed> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        forget(&mut told, now);
        told.clone()
    }
}

fn forget(told: &mut Vec<Echoed>, now: SystemTime) {
    // A clock that was set back lets them go, too.
    told.retain(|echoed| now.duration_since(echoed.at).is_ok_and(|age| age < TOLD_FOR));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_told_once_an_hour_and_no_more_than_twenty_at_once() {
        let echoes = Echoes::default();
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let of = |n: u8, seconds| Echoed {
            org: OrgId::from_random([1; 16]),
            credential: CredentialId::from_random([n; 16]),
            proxy: ProxyId::from_random([1; 16]),
            at: at(seconds),
            refused: false,
        };
        echoes.note(of(1, 100));
        echoes.note(of(1, 200));
        assert_eq!(echoes.told(at(200)), [of(1, 100)]);
        for n in 2..50 {
            echoes.note(of(n, 300));
        }
        assert_eq!(echoes.told(at(300)).len(), TOLD_MOST);
        assert_eq!(echoes.told(at(3700)).len(), TOLD_MOST - 1, "its hour is over");
        echoes.note(of(1, 3700));
        assert!(echoes.told(at(3700)).contains(&of(1, 3700)));
        assert!(echoes.told(at(1)).is_empty(), "the clock was set back");
    }
}
