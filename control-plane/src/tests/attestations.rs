//! Attestations of a region: kept when they are about what is there, and no older than the one before.

use std::time::SystemTime;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rr_contract::model::id::CredentialId;
use rr_contract::seal::attestation::{Newest, Versions};
use rr_contract::seal::region_key::RegionKeys;
use rr_contract::seam::SystemEntropy;
use rr_contract::wire::management as wire;
use serde_json::{Value, json};

use super::client::Client;
use super::world::{Region, World};

const REGION: &str = "/v1/regions/eu";

async fn versions(client: &Client, more: &str) -> Versions {
    let listed = client.get(&format!("{REGION}/secretVersions?pageSize=1{more}")).await.good();
    let mut found = Vec::new();
    let mut page = listed;
    loop {
        for item in page["secrets"].as_array().into_iter().flatten() {
            let id: CredentialId = item["credential"].as_str().expect("a text").parse().expect("an id");
            let version = item["version"].as_str().expect("a text").parse().expect("a number");
            let content = BASE64_STANDARD.decode(item["content"].as_str().expect("a text")).expect("base64");
            found.push((id, Newest { version, content: content.try_into().expect("32 bytes") }));
        }
        let Some(next) = page["nextPageToken"].as_str().filter(|it| !it.is_empty()) else { break };
        page = client.get(&format!("{REGION}/secretVersions?pageSize=1&pageToken={next}{more}")).await.good();
    }
    Versions::new(found)
}

fn signed(keys: &mut RegionKeys, versions: &Versions) -> Value {
    json!({"attestation": keys.attest(versions, SystemTime::now()).to_wire()})
}

#[tokio::test]
async fn an_attestation_is_kept_only_if_the_region_signed_it_of_what_is_there_and_it_follows_the_last() {
    let world = World::start().await;
    let Region { mut keys, .. } = {
        let eu = world.region("eu").await;
        world.furnish(&eu).await;
        eu
    };
    let operator = world.operator();
    assert!(versions(&operator, "&attested=true").await.is_empty(), "none was made");
    let present = versions(&operator, "").await;
    assert_eq!(present.iter().map(|(_, newest)| newest.version).collect::<Vec<_>>(), [1]);

    let mut other = RegionKeys::generate(keys.region(), &SystemEntropy);
    let forged = operator.post(&format!("{REGION}:attest"), signed(&mut other, &present)).await;
    assert_eq!(forged.faults(), ["attestation"]);
    assert_eq!(operator.post(&format!("{REGION}:attest"), json!({})).await.faults(), ["attestation"]);
    // A secret came after it was listed: the list is of a moment that is over.
    let (id, newest) = present.iter().next().expect("one secret");
    for stale in [(CredentialId::from_random([1; 16]), newest), (id, Newest { content: [1; 32], ..newest })] {
        let stale = signed(&mut keys, &Versions::new([stale]));
        operator.post(&format!("{REGION}:attest"), stale).await.refused(409, "changed");
    }

    let good = signed(&mut keys, &present);
    let head = operator.head().await;
    let done = operator.post(&format!("{REGION}:attest"), good.clone()).await.good();
    assert_eq!(
        (&done["region"]["attestation"], done["region"]["attestation"]["counter"].as_str()),
        (&good["attestation"], Some("3"))
    );
    assert_eq!(operator.head().await, head + 1, "it is a revision");
    assert_eq!(versions(&operator, "&attested=true").await, present);
    // The same once more is no news, and an update leaves it.
    operator.post(&format!("{REGION}:attest"), good.clone()).await.refused(409, "version-conflict");
    operator.patch(REGION, json!({"displayName": "Europe"})).await.good();
    assert_eq!(operator.get(REGION).await.good()["region"]["attestation"], good["attestation"]);
    let viewer = world.service(wire::Role::Viewer, "acme").await;
    viewer.get(&format!("{REGION}/secretVersions")).await.refused(403, "role-missing");
    viewer.post(&format!("{REGION}:attest"), good).await.refused(403, "role-missing");
    world.running.stop().await;
}
