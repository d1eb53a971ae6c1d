//! Which keys a node takes, and that it has them after a restart.

use std::time::{Duration, UNIX_EPOCH};

use rr_contract::seal::grant::Recipient;
use rr_contract::seal::node_token::{NodeTokenDraft, csr_hash};
use rr_contract::seal::region_key::RegionKeys;
use rr_contract::seam::SystemEntropy;

use super::*;
use crate::fixture::{INSTALLATION, REGION, SharedDisk};

/// A node that joined at the first epoch, and whoever rotates its region.
struct World {
    region: RegionKeys,
    token: fleet::NodeTokenStatement,
    proof: fleet::NodeProof,
    own_key: OpeningKey,
    first: RegionOpeningKey,
    seams: Seams,
}

impl World {
    fn new() -> Self {
        let region = RegionKeys::generate(REGION, &SystemEntropy);
        let draft = NodeTokenDraft::draw(&SystemEntropy);
        let token = draft.statement(&region, INSTALLATION, 1, UNIX_EPOCH + Duration::from_secs(1 << 33));
        let own_key = OpeningKey::generate();
        let node_key = own_key.sealing_key();
        let proof = fleet::NodeProof {
            node_key: node_key.to_bytes().to_vec(),
            csr_hash: csr_hash(b"request").to_vec(),
            vouch: draft.finish([0; 32]).keys().vouch(&node_key, b"request"),
        };
        let first = region.opening_key();
        let seams = Seams { disk: std::sync::Arc::new(SharedDisk::default()), ..Seams::real() };
        Self { region, token, proof, own_key, first, seams }
    }

    fn ring(&self) -> KeyRing {
        let identity = Identity {
            node: rr_contract::model::id::NodeId::from_random([4; 16]),
            installation: INSTALLATION,
            region: self.first.clone(),
            fingerprint: self.region.fingerprint(),
            later: Vec::new(),
            attested: std::sync::Arc::default(),
            own_key: self.own_key.clone(),
            chain: Vec::new(),
            private_key: Secret::new(Vec::new()),
            trust: Vec::new(),
        };
        let node_key = Secret::new(vec![9; 32]);
        KeyRing::of(&identity, Path::new("state"), &node_key, self.seams.clone()).expect("reads")
    }

    fn rotate(&mut self) -> fleet::RegionKey {
        self.region.rotate();
        self.given(&self.region)
    }

    /// The newest key of some keys, sealed to this node.
    fn given(&self, keys: &RegionKeys) -> fleet::RegionKey {
        let signed = self.region.statement(UNIX_EPOCH, UNIX_EPOCH + Duration::from_secs(1 << 33));
        let to = Recipient::node(self.token.clone(), &self.proof, &signed).expect("is proven");
        let statement = keys.statement(UNIX_EPOCH, UNIX_EPOCH + Duration::from_secs(1 << 33));
        fleet::RegionKey { statement: Some(statement.to_wire()), grant: Some(keys.grant(&to)) }
    }
}

#[test]
fn a_key_that_was_taken_and_kept_is_there_after_a_restart() {
    let mut world = World::new();
    let mut ring = world.ring();
    assert_eq!((ring.newest(), ring.kept()), (1, 1));
    let given = world.rotate();
    assert!(ring.take(&given).expect("is taken").is_some());
    assert_eq!((ring.newest(), ring.kept()), (2, 1), "nothing is said of it before it is on disk");
    ring.keep().expect("writes");
    assert_eq!(ring.kept(), 2);
    assert!(ring.take(&given).expect("is known").is_none());

    let again = world.ring();
    assert_eq!((again.kept(), again.keys().len()), (2, 2));
    assert_eq!(again.keys()[1].key().sealing_key(), world.region.opening_key().key().sealing_key());
}

#[test]
fn keys_of_another_region_of_a_forger_and_of_before_are_not_taken() {
    let mut world = World::new();
    let old = world.given(&world.region);
    let new = world.rotate();
    let mut ring = world.ring();
    ring.take(&new).expect("is taken");

    let mut forger = RegionKeys::generate(REGION, &SystemEntropy);
    (0..3).for_each(|_| forger.rotate());
    let refused = ring.take(&world.given(&forger)).err().expect("the region did not sign it");
    assert!(matches!(refused, KeyRefused::Grant(GrantRefused::Stranger)), "{refused:?}");

    let refused = ring.take(&old).err().expect("is older");
    assert!(
        matches!(refused, KeyRefused::Grant(GrantRefused::Older { offered: 1, newest: 2 })),
        "{refused:?}"
    );

    world.region.rotate();
    let mut bent = world.given(&forger);
    bent.statement = world.given(&world.region).statement;
    let refused = ring.take(&bent).err().expect("another key than the signed one");
    assert!(matches!(refused, KeyRefused::Grant(_)), "{refused:?}");
    assert!(ring.take(&fleet::RegionKey::default()).is_err());
    assert_eq!((ring.newest(), ring.kept()), (2, 1));
}

#[test]
fn keys_of_another_identity_in_the_same_folder_are_not_taken_for_its_own() {
    let mut world = World::new();
    let given = world.rotate();
    let mut ring = world.ring();
    ring.take(&given).expect("is taken");
    ring.keep().expect("writes");
    world.own_key = OpeningKey::generate();
    assert_eq!(world.ring().newest(), 1);
}
