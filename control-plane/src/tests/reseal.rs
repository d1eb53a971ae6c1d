//! Seals that are read back and get further regions: the same content for more of them, and nothing else.

use std::time::{Duration, SystemTime};

use rr_contract::model::id::{CredentialId, InstallationId, OrgId};
use rr_contract::seal::{SealContext, SealedSecret};
use rr_contract::wire::{fleet, management as wire};
use serde_json::{Value, json};

use super::client::Client;
use super::world::{Region, World};

const UP: &str = "/v1/orgs/acme/credentials/openai";

async fn world() -> (World, Client, Region, wire::Org) {
    let world = World::start().await;
    let eu = world.region("eu").await;
    let org = world.furnish(&eu).await;
    let operator = world.operator();
    (world, operator, eu, org)
}

/// A seal with wraps for further regions, as `rrctl` makes them.
async fn more(world: &World, org: &wire::Org, seal: &Value, has: &Region, regions: &[&Region]) -> Value {
    let text = |name: &str| seal[name].as_str().expect("a text").to_owned();
    let installation: InstallationId = world.installation().await.id.parse().expect("an id");
    let org: OrgId = org.id.parse().expect("an id");
    let credential: CredentialId = text("credential").parse().expect("an id");
    let version = text("version").parse().expect("a number");
    let mut wire: fleet::SealedSecret = serde_json::from_value(seal["sealed"].clone()).expect("a seal");
    let sealed: SealedSecret = wire.clone().try_into().expect("a seal");
    let now = SystemTime::now();
    let statements: Vec<_> =
        regions.iter().map(|it| it.keys.statement(now, now + Duration::from_secs(86_400))).collect();
    let context = SealContext { installation, org, credential, version };
    let wraps = sealed.rewrap(&context, &[has.keys.opening_key()], &statements.iter().collect::<Vec<_>>());
    wire.wraps.extend(wraps.expect("opens"));
    json!({"version": text("version"), "sealed": wire})
}

#[tokio::test]
async fn a_seal_is_shown_to_those_who_may_replace_it_and_gets_regions_and_nothing_else() {
    let (world, operator, eu, org) = world().await;
    let us = world.region("us").await;
    world.org("other").await;
    let foreign = world.dedicated_region("foreign", "other").await;
    let seal = operator.get(&format!("{UP}/sealedSecret")).await.good();
    let viewer = world.service(wire::Role::Viewer, "acme").await;
    viewer.get(&format!("{UP}/sealedSecret")).await.refused(403, "role-missing");
    let added = more(&world, &org, &seal, &eu, &[&us]).await;
    viewer.post(&format!("{UP}:reseal"), added.clone()).await.refused(403, "role-missing");

    let changed = |change: &dyn Fn(&mut Value)| {
        let mut body = added.clone();
        change(&mut body);
        body
    };
    let elsewhere = more(&world, &org, &seal, &eu, &[&foreign]).await;
    for (body, field) in [
        (changed(&|it| it["sealed"]["ciphertext"] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".into()), "sealed"),
        (changed(&|it| it["sealed"]["nonce"] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".into()), "sealed"),
        (changed(&|it| it["sealed"] = seal["sealed"].clone()), "sealed.wraps"),
        (changed(&|it| it["previousSealed"] = seal["sealed"].clone()), "previous_sealed"),
        (elsewhere, "sealed.wraps[1].region"),
        (changed(&|it| it["sealed"]["wraps"][1]["epoch"] = 9.into()), "sealed.wraps[1].epoch"),
    ] {
        assert_eq!(operator.post(&format!("{UP}:reseal"), body).await.faults(), [field]);
    }
    // The wraps that there are stay, in front; and the version is the present one.
    let fewer = changed(&|it| drop(it["sealed"]["wraps"].as_array_mut().expect("a list").remove(0)));
    operator.post(&format!("{UP}:reseal"), fewer).await.refused(409, "version-conflict");
    let later = changed(&|it| it["version"] = "2".into());
    operator.post(&format!("{UP}:reseal"), later).await.refused(409, "version-conflict");

    let head = operator.head().await;
    let done = operator.post(&format!("{UP}:reseal"), added.clone()).await.good();
    let regions = done["credential"]["upstream"]["sealedRegions"].as_array().expect("a list");
    assert!(regions.len() == 2 && done["credential"]["version"] == "1", "{done}");
    assert_eq!(operator.head().await, head + 1, "it is a revision");
    operator.patch("/v1/orgs/acme/proxies/echo", json!({"regions": ["eu", "us"]})).await.good();
    // Somebody else, who read it before.
    let late = more(&world, &org, &seal, &eu, &[&us]).await;
    operator.post(&format!("{UP}:reseal"), late).await.refused(409, "version-conflict");
    let caller = operator.get("/v1/orgs/acme/credentials/app/sealedSecret").await;
    assert_eq!(caller.faults(), ["credential"]);
    world.running.stop().await;
}
