//! What was stored once has to open for ever: bytes written by an earlier build.
//!
//! A failure here means that stored bytes changed their meaning. The remedy is a new version number beside
//! the old, never new bytes in this file. A kind, a format or a version that comes later gets bytes of its own, of the build
//! that brings it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use data_encoding::HEXLOWER;
use prost::Message as _;

use super::node_token::NodeToken;
use super::region_key::RegionOpeningKey;
use super::storage::StorageKey;
use super::{Means, OpeningKey, SealContext, SealedSecret, Slot, key_file};
use crate::api_key::{KeyKind, make};
use crate::digest::{ViewDigest, resource_hash};
use crate::model::id::{CredentialId, InstallationId, OrgId, RegionId, TargetId};
use crate::model::resource::{Key, ResourceId};
use crate::secret::Secret;
use rr_wire::fleet;

mod kinds;

const SEALED: &str = "CAEQARoYz0n6FMl6loJCyDB+1HHHdKJ73FTX+w3bIlHvb4WSb89Zjm93qYpcNGpNEiuh14WHZADSj7nUyyaQRLiSslS6DkuUmhebki6UW9HGjbRoYTMLUxPGGm+8MfJp13G4nYbQRYE4J/UQ96K1lWoqIBlKfBf1+IIGFFk/xliUbwRZsOSPUMwLInDW6JgwGV7xMnUKHXJnXzA1MG0yZ2ExODUwbTJnYTE4NTBtMmdhMTg1EAEaIDgfGea4Yiwi6qXmKvRU0sJQPJEIfJxLqpeg4Wa2i289IjDYtTnl7ZFDoBm7y5BZshkceC5y5tpqpkaw2rVNQzGJydSSVeEJPTTen+CtSKbVksU=";
const KEY_FILE: &str = "ewogICJmb3JtYXQiOiAicmVxdWVzdHJvY2tldCByZWdpb24ga2V5IDEiLAogICJwcm90ZWN0aW9uIjogImRldiIsCiAgInJlZ2lvbiI6ICJyZ18wNTBtMmdhMTg1MG0yZ2ExODUwbTJnYTE4NSIsCiAgImVwb2NoIjogMSwKICAiZmluZ2VycHJpbnQiOiAiYTRkNS04ZTllLWQ4ZWQtYjhjZC01ZmFmLTMwOGEtYzYyZi0xM2ZjIiwKICAibm9uY2UiOiAidUlLOW9FN3J4bWIzdDVIcTdiemhlTnpLUjFaUUJaQ2EiLAogICJrZXlzIjogImhJYmhNNXNJMm13NVBlWmcrWHVJNWhMc29XVHRoTWtkR2FvQTZoTENwUFgxaENOR0tZdWVHcmw5cEh4UkxEVTdGejNLTzBKQ1V5L0RON2JINlZXUmxrSUJsbEg3V0pPQm5pYlJrdWNIakNZPSIKfQo=";
const PROTECTED_KEY_FILE: &str = "ewogICJmb3JtYXQiOiAicmVxdWVzdHJvY2tldCByZWdpb24ga2V5IDEiLAogICJwcm90ZWN0aW9uIjogInBhc3NwaHJhc2UiLAogICJyZWdpb24iOiAicmdfMDUwbTJnYTE4NTBtMmdhMTg1MG0yZ2ExODUiLAogICJlcG9jaCI6IDEsCiAgImZpbmdlcnByaW50IjogImE5NjYtMTA4NC1jZmZhLTFlNDYtMWVjMi0zODhmLWM2YWYtOGRjZSIsCiAgImFyZ29uMiI6IHsKICAgICJzYWx0IjogIkZhT3ZVSTVlNTVkTmFVQzIwWGFycnc9PSIsCiAgICAia2liIjogNjU1MzYsCiAgICAicGFzc2VzIjogMywKICAgICJsYW5lcyI6IDEKICB9LAogICJub25jZSI6ICJMVEdCYXpuZ2F0bzk4VlEybi9haTl6WHJMY1JtbjdLUyIsCiAgImtleXMiOiAiNXc1MW1vZHdUU0VITWJWczhrWjF5RTh4NkVOZmVTWEswZ1BlZERoNStpRjZYTkZMUnZYaE5lNlU0YVZ2VHR5MDNFdlJEazJsOHZHUk5zOWlwZkVqQ3FNVzhsN0QzVnJVeEhEZG01dDRNZEk9Igp9Cg==";
const PROTECTED_FINGERPRINT: &str = "a966-1084-cffa-1e46-1ec2-388f-c6af-8dce";
const TOKEN: &str = "rrn1.nt_4vrjdwgxf1gf0a5t7m0twwk4ze.8fd0f52051e05820494aa2120064960d0ab518f1ca9a0d3e2ff44989165ebf51.0707070707070707070707070707070707070707070707070707070707070707";
const STATEMENT: &str = "Ch1udF80dnJqZHdneGYxZ2YwYTV0N20wdHd3azR6ZRIdcmdfMDUwbTJnYTE4NTBtMmdhMTg1MG0yZ2ExODUaIIWircUl7G+hg+5W/LA+QXLwuvhY+jfuTM5H/Hvx6VC5IiBoHzspWf+X+pcKOWSvWrVkXZw3oOanjxolxnG1QPQBZyogH85240T46UBlXdyTzUk+Z192Uxsqs873EMaHUjG/huQwAToGCIDm/okHQAFKIDHWzaJcwo5HwctlUMbMRvNbWUyvFcXW3CP7+vNWxghbUpQBdezRh0H/obiF/4nZRuwmgFFh15uDOSYZSA2Fd+so5cfpQlDXYmBa/7wjI7kYwgjCAnSHjHdmDkp2W/cP//TZogxJWFfdNfRxja1iMiQmaj1ZJ+zPNygv4eVWicjIshBsAJXblUO4BIdkh0kR2OBWvduhzVCQq+NdrT7u+b/hf8BDezqdBSoNU5/CQVpydB/2LCvftlpASi2rJd5jMzZ9LWoxJeQfXH1kst8yeOzbnY5h7gwYMPVyLEztcp/lwIqybyNnK/7/uBGq/xtptQKXSdxccILgBQ==";
const FRAME: &str = "fZO1ZfqlHKqmOqbFw1YkXVyMNxvdUgJClcxOi6ZpucJ6jzKWbp+ae8ireszw";

fn bytes(text: &str) -> Vec<u8> {
    BASE64.decode(text).expect("base64")
}

#[test]
fn a_secret_sealed_by_the_first_build_opens() {
    let key = OpeningKey::derive(&[7; 32]);
    let sealed = fleet::SealedSecret::decode(bytes(SEALED).as_slice()).expect("decodes");
    let context = SealContext {
        installation: InstallationId::from_random([1; 16]),
        org: OrgId::from_random([2; 16]),
        credential: CredentialId::from_random([3; 16]),
        version: 4,
    };
    let opened = SealedSecret::try_from(sealed)
        .expect("its form is right")
        .open(&context, &[RegionOpeningKey::new(RegionId::from_random([5; 16]), 1, key)])
        .expect("opens");
    assert_eq!(opened.value().expose(), b"s3cr3t");
    assert_eq!(opened.origins()[0].to_string(), "https://*.example.com:8443");
    assert!(opened.means() == &Means::sent(Slot::header("x-api-key", "Token ").expect("a slot")));
    assert!(opened.not_after().is_some());
}

#[test]
fn a_key_file_of_the_first_build_opens_with_the_same_fingerprint() {
    let keys = key_file::read_dev(&Secret::new(bytes(KEY_FILE))).expect("opens");
    assert_eq!(keys.fingerprint().to_string(), "a4d5-8e9e-d8ed-b8cd-5faf-308a-c62f-13fc");
    assert_eq!(keys.region(), RegionId::from_random([5; 16]));
}

#[test]
fn a_key_file_under_a_passphrase_opens_with_the_same_fingerprint() {
    let file = Secret::new(bytes(PROTECTED_KEY_FILE));
    let keys = key_file::read(&file, Some(&Secret::from("correct horse".to_owned()))).expect("opens");
    assert_eq!(keys.fingerprint().to_string(), PROTECTED_FINGERPRINT);
    assert_eq!(keys.region(), RegionId::from_random([5; 16]));
}

#[test]
fn a_node_token_of_the_first_build_opens_its_statement() {
    let token: NodeToken = TOKEN.parse().expect("a token");
    let statement = fleet::NodeTokenStatement::decode(bytes(STATEMENT).as_slice()).expect("decodes");
    let grant = token.keys().open(&statement).expect("opens");
    assert_eq!(grant.installation, InstallationId::from_random([1; 16]));
    assert_eq!(
        HEXLOWER.encode(token.keys().auth()),
        "cfbb1e4b77ba0debc7698df14fa7b919a9167da5e6122044288d1932e521de03"
    );
}

#[test]
fn hashes_are_what_they_were() {
    let key = Key::new(OrgId::from_random([1; 16]), ResourceId::Target(TargetId::from_random([2; 16])));
    let mut view = ViewDigest::default();
    view.add(&key, &resource_hash(b"payload"));
    assert_eq!(
        HEXLOWER.encode(&view.digest()),
        "38f741a04beb6b7c7c82cf3aa101d4112a1f7067ca672d96a16bd41a65c8d3a9"
    );
    let (text, hash) = make(KeyKind::Caller, &[9; 32]);
    assert!(text.expose().starts_with(b"rr_key_0909") && text.expose().ends_with(b"c59229ec"));
    assert_eq!(
        HEXLOWER.encode(hash.as_bytes()),
        "def5bf8b10576e45c218074b6aa945cdf3ac17ac0ddda7b96d66403bad1dad2d"
    );
    let (_, hash) = make(KeyKind::Token, &[9; 32]);
    assert_eq!(
        HEXLOWER.encode(hash.as_bytes()),
        "b1d61ce0e995a0c0172f835fa9fbf632296d9e7698b6608574b54b9db073a420"
    );
}

#[test]
fn a_frame_of_the_first_build_opens() {
    let key = StorageKey::derive(&Secret::new(vec![6; 32]), "frozen");
    assert_eq!(key.open(b"place", &bytes(FRAME)).expect("opens").as_slice(), b"frame");
}
