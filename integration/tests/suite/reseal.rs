//! A secret for a further region without its value: by itself, with the proxy that needs it there, and with a set of files. A node
//! of that region then sends it.

use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential_service_client::CredentialServiceClient;
use rr_integration::caller::Caller;
use rr_integration::process::Edge;
use rr_integration::sample::ORG;
use rr_integration::wait::eventually;

use crate::own_values::Installation;

const FIRST: &str = "sk-first-9f86d081884c7d65";
const NEXT: &str = "sk-next-3f2b8c1d7e544a09";
const KEY: [&str; 4] = ["--region-key", "near.key", "--passphrase-file", "pass"];

/// The regions of each seal that a credential has.
async fn seals(it: &Installation, name: &str) -> Vec<usize> {
    let ask = mg::GetSealedSecretRequest { org: ORG.to_owned(), credential: name.to_owned() };
    let mut stub = CredentialServiceClient::new(it.sample.api.connection());
    let found = stub.get_sealed_secret(ask).await.expect("is shown").into_inner();
    [found.sealed, found.previous_sealed].into_iter().flatten().map(|seal| seal.wraps.len()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_is_added_to_a_secret_without_its_value_and_its_nodes_send_it() {
    let it = Installation::start().await;
    std::fs::write(it.values.path().join("pass"), "correct horse").expect("a file");
    for region in ["near", "far"] {
        let file = format!("{region}.key");
        let create = ["region", "create", region, "--key-file", &file, "--no-recovery-copy"];
        it.done(&[&create[..], &["--passphrase-file", "pass"]].concat(), "").await;
    }
    let origin = it.upstream.url();
    let here = ["--origin", &*origin, "--region", "near", "--value-file", "-"];
    for name in ["alone", "moved", "filed"] {
        it.done(&[&["credential", "create-upstream", name], &here[..]].concat(), FIRST).await;
    }
    let replace = ["credential", "replace-secret", "alone", "--overlap", "1h"];
    it.done(&[&replace[..], &here].concat(), NEXT).await;
    assert_eq!(seals(&it, "alone").await, [1, 1]);

    // The refusal says which credential it is, and both ways out of it.
    let proxy = |verb: &'static str, name: &'static str| ["proxy", verb, name, "--region", "near"];
    let made = ["--caller", "app", "--target", "echo", "--upstream"];
    for name in ["alone", "moved"] {
        it.done(&[&proxy("create", name)[..], &made, &[name]].concat(), "").await;
    }
    let said = it.fails(&[&proxy("update", "alone")[..], &["--region", "far"]].concat(), "").await;
    let remedy = format!("rrctl --org {ORG} credential reseal alone --region far --region-key FILE");
    assert!(said.contains(&remedy) && said.contains("replace-secret alone"), "{said}");

    let reseal = ["credential", "reseal", "alone", "--region", "far"];
    let wrong = ["--region-key", "far.key", "--passphrase-file", "pass"];
    let said = it.fails(&[&reseal[..], &wrong].concat(), "").await;
    assert!(said.contains("of region far") && said.contains("key file of one of near"), "{said}");
    let said = it.done(&[&reseal[..], &KEY, &["-o", "json"]].concat(), "").await;
    assert!(said.contains("\"version\": \"2\""), "the version stays: {said}");
    assert_eq!(seals(&it, "alone").await, [2, 2], "the secret before, too");
    let said = it.fails(&[&reseal[..], &KEY].concat(), "").await;
    assert!(said.contains("sealed to these regions already"), "{said}");
    it.done(&[&proxy("update", "alone")[..], &["--region", "far"]].concat(), "").await;

    // With the key file at hand, the same command does both.
    it.done(&[&proxy("update", "moved")[..], &["--region", "far"], &KEY].concat(), "").await;
    let set = "kind: proxy\nname: filed\ncaller_credentials: [app]\ntarget: echo\nupstream_credential: filed\n\
        regions: [near, far]\n";
    std::fs::write(it.values.path().join("set.yaml"), set).expect("a file");
    let apply = ["apply", "-f", "set.yaml"];
    let said = it.fails(&[&apply[..], &["--yes"]].concat(), "").await;
    assert!(said.contains("credential reseal filed --region far"), "{said}");
    let said = it.fails(&[&apply[..], &KEY].concat(), "").await;
    assert!(said.contains("cannot ask whether to seal"), "{said}");
    assert_eq!(seals(&it, "filed").await, [1], "nothing is sealed that nobody agreed to");
    it.done(&[&apply[..], &["--yes"], &KEY].concat(), "").await;
    assert_eq!([seals(&it, "moved").await, seals(&it, "filed").await], [[2], [2]]);

    let token = ["node", "token", "create", "far", "--region-key", "far.key", "--out", "far.token"];
    it.done(&[&token[..], &["--passphrase-file", "pass"]].concat(), "").await;
    let token = std::fs::read(it.values.path().join("far.token")).expect("it was written");
    let edge = Edge::start(&it.values.path().join("far"), it.sample.control.fleet, token.trim_ascii());
    edge.ready().await;
    for (name, value) in [("alone", NEXT), ("moved", FIRST), ("filed", FIRST)] {
        let caller = Caller::new(edge.listen, &format!("{ORG}.{name}"), &it.sample.key);
        eventually(&format!("{name} is served in the other region"), || async {
            let answered = caller.try_get("/").await.ok()?.status == 200;
            let seen = it.upstream.seen();
            let sent = &seen.last()?.headers["authorization"];
            (answered && *sent == format!("Bearer {value}").as_str()).then_some(())
        })
        .await;
    }
}
