//! Which permissions count, and for how long.

use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, PublicKeyData as _, SigningKey as _};
use rr_contract::model::id::{InstallationId, RegionId};
use rr_contract::trial::Claims;
use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};

use crate::fixture::{INSTALLATION, ORG, REGION, Region, proxy_id};
use crate::identity;

use super::*;

/// A clock whose hand the test moves, in seconds.
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now(&self) -> SystemTime {
        second(self.0.load(Ordering::Relaxed))
    }
}

/// An authority, and who trusts it.
pub(crate) struct Authority {
    key: KeyPair,
    certificate: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate").der().clone();
        Self { key, certificate }
    }

    pub(crate) fn node(&self) -> Arc<Identity> {
        Arc::new(identity::fixture(Region::new().keys(), vec![self.certificate.clone()]))
    }

    pub(crate) fn permits(&self, claims: &Claims) -> String {
        trial::text(claims.encode(), self.signature(claims), self.pin())
    }

    fn signature(&self, claims: &Claims) -> Vec<u8> {
        self.key.sign(&trial::signed(&claims.encode())).expect("a signature")
    }

    fn pin(&self) -> Vec<u8> {
        Sha256::digest(self.key.subject_public_key_info()).to_vec()
    }
}

/// A permission for proxy 1 that is made at this time.
pub(crate) fn claims(issued_at: SystemTime, nonce: u8) -> Claims {
    Claims {
        installation: INSTALLATION,
        org: ORG,
        proxy: proxy_id(1),
        region: REGION,
        issued_at,
        not_after: issued_at + LASTS,
        nonce: [nonce; 16],
    }
}

fn second(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(second)
}

/// A node that started at 1000 s, whose clock shows 1100 s.
struct World {
    authority: Authority,
    hand: Arc<Hand>,
    trials: Trials,
}

impl World {
    fn new() -> Self {
        let authority = Authority::new();
        let hand = Arc::new(Hand(AtomicU64::new(1000)));
        let trials = Trials::new(Arc::<Hand>::clone(&hand));
        let node = authority.node();
        trials.joined(move || Arc::clone(&node));
        let world = Self { authority, hand, trials };
        world.turn(1100);
        world
    }

    fn turn(&self, second: u64) {
        self.hand.0.store(second, Ordering::Relaxed);
    }

    fn shown(&self, text: &str) -> Result<Option<Trial>, TrialFault> {
        self.trials.shown(&headers(&[text]))
    }
}

fn headers(shown: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for text in shown {
        headers.append(HEADER, HeaderValue::from_str(text).expect("a value"));
    }
    headers
}

#[test]
fn a_permission_counts_once_for_its_proxy_and_until_it_is_over() {
    let world = World::new();
    assert_eq!(world.trials.shown(&HeaderMap::new()), Ok(None));
    let text = world.authority.permits(&claims(second(1090), 1));
    let trial = world.shown(&text).expect("it is good").expect("it is shown");
    assert_eq!((trial.org, trial.proxy), (ORG, proxy_id(1)));
    assert_eq!(world.shown(&text), Err(TrialFault::Used));
    let next = world.authority.permits(&claims(second(1090), 2));
    world.turn(1149);
    assert!(world.shown(&next).is_ok());
    let last = world.authority.permits(&claims(second(1090), 3));
    world.turn(1150);
    assert_eq!(world.shown(&last), Err(TrialFault::Over));
}

#[test]
fn what_is_for_others_early_long_or_from_before_the_start_does_not_count() {
    let world = World::new();
    let good = claims(second(1090), 1);
    for (claims, fault) in [
        (Claims { installation: InstallationId::from_random([9; 16]), ..good }, TrialFault::Installation),
        (Claims { region: RegionId::from_random([9; 16]), ..good }, TrialFault::Region),
        (Claims { issued_at: second(1161), not_after: second(1221), ..good }, TrialFault::Early),
        (Claims { not_after: second(1151), ..good }, TrialFault::Early),
        (Claims { issued_at: second(1039), not_after: second(1099), ..good }, TrialFault::Over),
    ] {
        assert_eq!(world.shown(&world.authority.permits(&claims)), Err(fault));
    }
    world.turn(1010);
    let before = world.authority.permits(&claims(second(999), 1));
    assert_eq!(world.shown(&before), Err(TrialFault::Before));
    assert_eq!(world.shown("%"), Err(TrialFault::Malformed));
    let text = world.authority.permits(&claims(second(1010), 1));
    assert_eq!(world.trials.shown(&headers(&[&text, &text])), Err(TrialFault::Malformed));
    assert!(world.shown(&text).is_ok(), "two at once use none up");
}

#[test]
fn a_node_without_a_control_plane_explains_nothing() {
    let world = World::new();
    let alone = Trials::new(Arc::<Hand>::clone(&world.hand));
    let text = world.authority.permits(&claims(second(1110), 1));
    assert_eq!(alone.shown(&headers(&[&text])), Err(TrialFault::Alone));
}

#[test]
fn signatures_of_others_do_not_count_and_are_not_looked_at_without_end() {
    let world = World::new();
    let (stranger, good) = (Authority::new(), claims(second(1090), 1));
    for _ in 0..WRONG_MAX {
        assert_eq!(world.shown(&stranger.permits(&good)), Err(TrialFault::Signature));
    }
    // By the name of the root that is trusted, with another key.
    let forged = trial::text(good.encode(), stranger.signature(&good), world.authority.pin());
    assert_eq!(world.shown(&forged), Err(TrialFault::Busy));
    world.turn(1101);
    assert_eq!(world.shown(&forged), Err(TrialFault::Signature));
    let changed = Claims { proxy: proxy_id(2), ..good };
    let changed = trial::text(changed.encode(), world.authority.signature(&good), world.authority.pin());
    assert_eq!(world.shown(&changed), Err(TrialFault::Signature));
    assert!(world.shown(&world.authority.permits(&good)).is_ok());
}

#[test]
fn only_so_many_permissions_are_in_use_at_once() {
    let mut seen = Seen::default();
    let (now, until) = (second(1000), second(1060));
    for number in 0..USED_MAX as u128 {
        seen.use_up(number.to_be_bytes(), until, now).expect("it has room");
    }
    assert_eq!(seen.use_up([0xff; 16], until, now), Err(TrialFault::Busy));
    assert_eq!(seen.use_up(0_u128.to_be_bytes(), until, now), Err(TrialFault::Used));
    seen.use_up([0xff; 16], second(1120), until).expect("the others are over");
    assert_eq!(seen.used.len(), 1);
}
