//! Who gets a region's next key, and from whom a node takes one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::*;
use crate::model::id::InstallationId;
use crate::seal::node_token::{NodeToken, NodeTokenDraft};
use rr_seam::SystemEntropy;

struct World {
    region: RegionKeys,
    token: NodeToken,
    token_wire: fleet::NodeTokenStatement,
    node: OpeningKey,
    proof: fleet::NodeProof,
}

fn far() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1 << 33)
}

fn statement(keys: &RegionKeys) -> RegionStatement {
    keys.statement(UNIX_EPOCH, far())
}

fn world() -> World {
    let region = RegionKeys::generate(RegionId::from_random([1; 16]), &SystemEntropy);
    let draft = NodeTokenDraft::draw(&SystemEntropy);
    let token_wire = draft.statement(&region, InstallationId::from_random([2; 16]), 3, far());
    let token = draft.finish([0; 32]);
    let node = OpeningKey::generate();
    let csr = b"a certificate request";
    let proof = fleet::NodeProof {
        node_key: node.sealing_key().to_bytes().to_vec(),
        csr_hash: blake3::hash(csr).as_bytes().to_vec(),
        vouch: token.keys().vouch(&node.sealing_key(), csr),
    };
    World { region, token, token_wire, node, proof }
}

impl World {
    fn recipient(&self) -> Result<Recipient, Unproven> {
        Recipient::node(self.token_wire.clone(), &self.proof, &statement(&self.region))
    }
}

#[test]
fn a_node_and_a_token_open_the_next_key_and_nobody_else_does() {
    let mut world = world();
    world.region.rotate();
    let now = statement(&world.region);
    let node = world.region.grant(&world.recipient().expect("is proven"));
    let opened = open(&node, &now, &world.node, 1).expect("opens");
    assert_eq!((opened.epoch(), opened.region()), (2, world.region.region()));
    assert_eq!(opened.key().sealing_key(), *now.sealing_key());

    let token = Recipient::token(world.token_wire.clone(), &now).expect("is proven");
    let token = world.region.grant(&token);
    assert!(open(&token, &now, world.token.keys().open_key(), 1).is_ok());
    assert_eq!(open(&token, &now, &world.node, 1).err(), Some(GrantRefused::Unseal));
    assert_eq!(open(&node, &now, &OpeningKey::generate(), 1).err(), Some(GrantRefused::Unseal));
}

#[test]
fn a_node_for_which_no_token_of_the_region_vouches_gets_no_key() {
    let world = world();
    assert!(world.recipient().is_ok());

    let mut other = self::world();
    other.proof = world.proof.clone();
    assert_eq!(other.recipient().err(), Some(Unproven::Vouch), "another region's token");

    let mut slipped = self::world();
    slipped.proof.node_key = OpeningKey::generate().sealing_key().to_bytes().to_vec();
    assert_eq!(slipped.recipient().err(), Some(Unproven::Vouch), "a key of its own beside a good vouch");

    let mut of_before = self::world();
    of_before.proof.vouch.clear();
    assert_eq!(of_before.recipient().err(), Some(Unproven::None));

    let mut forged = self::world();
    forged.token_wire.vouch_key = self::world().token_wire.vouch_key;
    assert_eq!(forged.recipient().err(), Some(Unproven::Token), "a token that the region did not sign");
    assert_eq!(Recipient::token(forged.token_wire, &statement(&forged.region)).err(), Some(Unproven::Token));
}

#[test]
fn whoever_was_left_out_once_is_known_by_key_whatever_its_name_is() {
    let mut world = world();
    let node = world.recipient().expect("is proven");
    let token = Recipient::token(world.token_wire.clone(), &statement(&world.region)).expect("is proven");
    assert!(!world.region.excludes(&node) && !world.region.excludes(&token));
    world.region.exclude(&node);
    assert!(world.region.excludes(&node));
    assert!(!world.region.excludes(&token));

    // Whoever knows the text of a token vouches for a key of its own making.
    let made_up = OpeningKey::generate().sealing_key();
    world.proof = fleet::NodeProof {
        node_key: made_up.to_bytes().to_vec(),
        csr_hash: blake3::hash(b"anything").as_bytes().to_vec(),
        vouch: world.token.keys().vouch(&made_up, b"anything"),
    };
    let slipped = world.recipient().expect("the token vouches for it");
    assert!(!world.region.excludes(&slipped));
    world.region.exclude(&token);
    assert!(world.region.excludes(&slipped) && world.region.excludes(&token));
}

#[test]
fn a_key_that_the_region_did_not_sign_an_older_one_and_one_of_elsewhere_are_not_taken() {
    let mut world = world();
    let node = world.recipient().expect("is proven");
    let first = (world.region.grant(&node), statement(&world.region));
    world.region.rotate();
    let now = statement(&world.region);

    // Anybody can seal a key of their own to a node.
    let mut forger = RegionKeys::generate(world.region.region(), &SystemEntropy);
    forger.rotate();
    assert_eq!(open(&forger.grant(&node), &now, &world.node, 1).err(), Some(GrantRefused::Content));

    assert_eq!(
        open(&first.0, &first.1, &world.node, 2).err(),
        Some(GrantRefused::Older { offered: 1, newest: 2 })
    );
    assert_eq!(open(&first.0, &now, &world.node, 1).err(), Some(GrantRefused::Other));
    let mut bent = world.region.grant(&node);
    bent.sealed_key[3] ^= 1;
    assert_eq!(open(&bent, &now, &world.node, 1).err(), Some(GrantRefused::Unseal));
}
