//! What the control plane says of regions, against `rrctl`: other keys at first contact, a region of the attacker's, an old epoch.
//! Nothing is sealed, and `rrctl` says why.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, SystemTime};

use rr_contract::seal::key_file;
use rr_contract::seal::region_key::RegionKeys;
use rr_contract::seam::SystemEntropy;
use rr_contract::secret::Secret;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential_service_client::CredentialServiceClient;
use rr_integration::sample::{ORG, REGION};

use super::stage::hold;
use crate::own_values::Installation;

pub(super) const KEY: [&str; 4] = ["--region-key", "eu.key", "--passphrase-file", "pass"];

/// Puts the key file of the sample's region where `rrctl` runs.
pub(super) fn key_file(it: &Installation) {
    let phrase = Secret::from("correct horse".to_owned());
    let text = key_file::write(&it.sample.keys, &phrase, &SystemEntropy);
    let mut options = std::fs::OpenOptions::new();
    let path = it.values.path().join("eu.key");
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).expect("a new file");
    file.write_all(text.expose()).expect("is written");
    std::fs::write(it.values.path().join("pass"), phrase.expose()).expect("is written");
}

/// Notes the fingerprint of the sample's region as a checked-in file has it.
fn regions_file(it: &Installation) {
    let text = format!("[{REGION}]\nfingerprint = \"{}\"\nepoch = 1\n", it.sample.keys.fingerprint());
    std::fs::write(it.values.path().join("regions.toml"), text).expect("is written");
}

fn statement(keys: &RegionKeys) -> rr_contract::wire::fleet::RegionKeyStatement {
    let now = SystemTime::now();
    keys.statement(now, now + Duration::from_secs(86_400)).to_wire()
}

/// The regions that a credential is sealed to, or none where there is no such credential.
async fn sealed_to(it: &Installation, credential: &str) -> Option<Vec<String>> {
    let ask = mg::GetSealedSecretRequest { org: ORG.to_owned(), credential: credential.to_owned() };
    let mut stub = CredentialServiceClient::new(it.sample.api.connection());
    let found = stub.get_sealed_secret(ask).await.ok()?.into_inner().sealed?;
    Some(found.wraps.into_iter().map(|wrap| format!("{} {}", wrap.region, wrap.epoch)).collect())
}

fn create<'a>(name: &'a str, origin: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["credential", "create-upstream", name, "--origin", origin, "--value-file", "-"], more].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_attackers_own_keys_in_the_place_of_a_regions_are_not_sealed_to() {
    let it = Installation::start().await;
    key_file(&it);
    regions_file(&it);
    let theirs = RegionKeys::generate(it.sample.keys.region(), &SystemEntropy);
    let it = hold(it, async |database| {
        let region = database.region().await;
        database.show_region(mg::Region { key: Some(statement(&theirs)), ..region }).await;
    })
    .await;
    let origin = it.upstream.url();
    let given = format!("{REGION}={}", it.sample.keys.fingerprint());
    let shown = theirs.fingerprint().to_string();
    for (name, more) in
        [("given", &["--fingerprint", &*given][..]), ("checked-in", &["--regions-file", "regions.toml"])]
    {
        let said = it.fails(&create(name, &origin, more), "value").await;
        assert!(said.contains("nothing was sealed") && said.contains(&shown), "{said}");
        assert_eq!(sealed_to(&it, name).await, None);
    }
    // Nobody said anything about the region before: the answer of the control plane alone does not count.
    let said = it.fails(&create("first", &origin, &["--region", REGION]), "value").await;
    assert!(said.contains(&format!("the fingerprint of region {REGION} was not given")), "{said}");
    assert_eq!(sealed_to(&it, "first").await, None);
    // Whoever has the key file is told what to think of the control plane.
    for args in [&["region", "rotate-key", REGION, "--yes"][..], &["region", "renew-key", REGION]] {
        let said = it.fails(&[args, &KEY].concat(), "").await;
        assert!(said.contains("fingerprint") && said.contains(&shown), "{args:?}: {said}");
    }
    // A person whom the attacker talks into it seals to the attacker: this is what the fingerprint stands against.
    let planted = format!("{REGION}={shown}");
    it.done(&create("planted", &origin, &["--fingerprint", &planted]), "value").await;
    let region = theirs.region().to_string();
    assert_eq!(sealed_to(&it, "planted").await, Some(vec![format!("{region} 1")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_the_attacker_adds_gets_no_secret() {
    let it = Installation::start().await;
    key_file(&it);
    regions_file(&it);
    let theirs = it.sample.api.region("us", "").await.expect("is made");
    let origin = it.upstream.url();
    let ours = Some(vec![format!("{} 1", it.sample.keys.region())]);
    let file = ["--regions-file", "regions.toml"];
    it.done(&create("new", &origin, &file), "value").await;
    assert_eq!(sealed_to(&it, "new").await, ours, "nobody named it");
    // Named by mistake, or because a proxy is to be there: its fingerprint is missing.
    let said = it.fails(&create("named", &origin, &[&file[..], &["--region", "us"]].concat()), "value").await;
    assert!(said.contains("the fingerprint of region us was not given"), "{said}");
    let reseal = ["credential", "reseal", "new", "--region", "us"];
    let said = it.fails(&[&reseal[..], &file, &KEY].concat(), "").await;
    assert!(said.contains("the fingerprint of region us was not given"), "{said}");
    let proxy = ["proxy", "update", "echo", "--region", REGION, "--region", "us"];
    let said = it.fails(&[&proxy[..], &KEY].concat(), "").await;
    assert!(said.contains("fingerprint of region us was not given"), "{said}");
    for name in ["new", "secret"] {
        assert_eq!(sealed_to(&it, name).await, ours, "{name}");
    }
    // Given, it goes through.
    let given = format!("us={}", theirs.fingerprint());
    it.done(&[&reseal[..], &["--fingerprint", &given], &KEY].concat(), "").await;
    assert_eq!(sealed_to(&it, "new").await.expect("is there").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_an_older_epoch_is_not_sealed_to_once_a_later_one_was_seen() {
    let it = Installation::start().await;
    key_file(&it);
    regions_file(&it);
    let mut former = mg::Region::default();
    let it = hold(it, async |database| former = database.region().await).await;
    let origin = it.upstream.url();
    let file = ["--regions-file", "regions.toml"];
    it.done(&create("before", &origin, &file), "value").await;
    it.done(&[&["region", "rotate-key", REGION, "--yes", "--now"][..], &file, &KEY].concat(), "").await;
    it.done(&create("after", &origin, &file), "value").await;
    let region = it.sample.keys.region().to_string();
    assert_eq!(sealed_to(&it, "after").await, Some(vec![format!("{region} 2")]));
    let it = hold(it, async |database| database.show_region(former).await).await;
    let said = it.fails(&create("late", &origin, &file), "value").await;
    assert!(said.contains("offers epoch 1 of region eu, but epoch 2 was seen before"), "{said}");
    assert_eq!(sealed_to(&it, "late").await, None);
    // On a machine that saw nothing since, it would be taken.
    regions_file(&it);
    it.done(&create("late", &origin, &file), "value").await;
    assert_eq!(sealed_to(&it, "late").await, Some(vec![format!("{region} 1")]));
}
