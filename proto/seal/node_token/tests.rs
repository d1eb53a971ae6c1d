//! What a node token proves, and what it never gives away.

use std::time::Duration;

use super::*;
use crate::seam::SystemEntropy;

struct Made {
    region: RegionKeys,
    statement: RegionStatement,
    wire: fleet::NodeTokenStatement,
    token: NodeToken,
}

fn made() -> Made {
    let now = std::time::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let region = RegionKeys::generate(RegionId::from_random([1; 16]), &SystemEntropy);
    let statement = region.statement(now, now + Duration::from_secs(86_400));
    let draft = NodeTokenDraft::draw(&SystemEntropy);
    let wire =
        draft.statement(&region, InstallationId::from_random([5; 16]), 1, now + Duration::from_secs(3600));
    Made { region, statement, wire, token: draft.finish([7; 32]) }
}

#[test]
fn the_holder_of_a_token_learns_the_region_key_from_the_seal() {
    let made = made();
    let text = made.token.to_secret();
    let text = std::str::from_utf8(text.expose()).expect("ASCII");
    let token: NodeToken = text.parse().expect("a token");
    let grant = token.keys().open(&made.wire).expect("opens");
    assert_eq!(grant.key.region(), made.region.region());
    assert_eq!(grant.installation, InstallationId::from_random([5; 16]));
    assert_eq!(token.authority_pin(), &[7; 32]);
}

#[test]
fn the_control_plane_can_check_a_joining_node_without_the_secret() {
    let made = made();
    let kept = NodeTokenStatement::parse(made.wire, &made.statement).expect("parses");
    let keys = made.token.keys();
    assert!(kept.admits(keys.auth()));
    assert!(!kept.admits(&[0; 32]));
    let node_key = OpeningKey::generate().sealing_key();
    let vouch = keys.vouch(&node_key, b"csr");
    assert!(kept.vouches(&node_key.to_bytes(), b"csr", &vouch));
    assert!(!kept.vouches(&node_key.to_bytes(), b"another csr", &vouch));
}

#[test]
fn a_statement_that_the_region_did_not_sign_is_refused_by_both_sides() {
    let made = made();
    let mut forged = made.wire.clone();
    forged.uses = 100;
    assert!(NodeTokenStatement::parse(forged.clone(), &made.statement).is_err());
    assert_eq!(made.token.keys().open(&forged).err(), Some(GrantError::Signature));
}

#[test]
fn nothing_that_is_uploaded_holds_the_secret_or_what_opens_the_region_key() {
    let made = made();
    let uploaded = made.wire.encode_to_vec();
    let text = made.token.to_secret();
    let secret = std::str::from_utf8(text.expose()).expect("ASCII").split('.').nth(2).expect("three dots");
    let secret = unhex(secret).expect("hex");
    for hidden in [&secret[..], made.token.keys().auth(), made.token.keys().open.to_secret().expose()] {
        assert!(!uploaded.windows(hidden.len()).any(|window| window == hidden));
    }
}
