//! An older version of a secret comes back: as it was, under another number, or in the place of the one before.

use http::Response;
use http_body_util::Full;
use rr_contract::seal::attestation::{Newest, Versions};
use rr_contract::seal::node_token::NodeToken;
use rr_contract::seal::{Means, Slot};
use rr_contract::wire::fleet::{CredentialResource, Kind, TargetResource};
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential_service_client::CredentialServiceClient;
use rr_contract::wire::management::region_key_service_client::RegionKeyServiceClient;
use rr_integration::api::spec;
use rr_integration::process::Edge;
use rr_integration::sample::{ORG, REGION};
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;

use super::ciphertexts::forged;
use super::stage::{SECRET, arrives, explained, get, has, hold, refused, seal, upstream};
use crate::own_values::Installation;

const NEXT: &str = "the-value-after-it";

/// What the control plane published of the sample's secret.
async fn published(it: Installation) -> (Installation, CredentialResource) {
    let mut found = CredentialResource::default();
    let it = hold(it, async |database| found = database.published(Kind::Credential, "secret").await).await;
    (it, found)
}

/// The sample's secret is replaced, and a node that knows the new one is asked to go back.
async fn replaced() -> (Installation, CredentialResource) {
    let it = Installation::start().await;
    arrives(&it, "echo", &it.upstream, SECRET).await;
    let (it, before) = published(it).await;
    let ask = mg::GetCredentialRequest { org: ORG.to_owned(), credential: "secret".to_owned(), revision: 0 };
    let mut stub = CredentialServiceClient::new(it.sample.api.connection());
    let credential =
        stub.get_credential(ask).await.expect("is there").into_inner().credential.expect("is there");
    let (api, origin) = (&it.sample.api, it.upstream.url());
    api.replace_secret(ORG, &credential, &it.sample.keys, &origin, NEXT).await.expect("is replaced");
    arrives(&it, "echo", &it.upstream, NEXT).await;
    (it, before)
}

/// Sends requests; the upstream sees the new secret alone.
async fn goes_on(it: &Installation) {
    let before = it.upstream.seen().len();
    arrives(it, "echo", &it.upstream, NEXT).await;
    let seen = it.upstream.seen();
    assert!(!seen[before..].iter().any(|seen| format!("{seen:?}").contains(SECRET)), "the old one was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_had_a_newer_version_takes_no_older_one_and_says_so() {
    let (it, before) = Box::pin(replaced()).await;
    let mut it = hold(it, async |database| database.publish(Kind::Credential, "secret", &before).await).await;
    let said = explained(&it, "secret", "(stale)").await;
    assert!(said.contains("version 1 is older than version 2, which this node had before"), "{said}");
    assert!(said.contains("an older version runs in its place"), "{said}");
    goes_on(&it).await;
    // It remembers over a `kill -9`, too.
    it.edge.kill();
    it.edge = it.edge.restart();
    it.edge.ready().await;
    explained(&it, "secret", "(stale)").await;
    goes_on(&it).await;

    // A node that never had the newer one takes it: what is served is whole, and only what the node remembers tells.
    let at = it.upstream.seen().len();
    let token = token(&it).await;
    let (early, it) = Box::pin(late(it, token)).await;
    arrives(&it, "echo", &it.upstream, SECRET).await;
    assert!(it.upstream.seen().len() > at);
    drop(early);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_under_a_newer_number_does_not_open() {
    let (it, before) = Box::pin(replaced()).await;
    let mut it = it;
    for version in [2, 3] {
        let renumbered = CredentialResource { version, ..before.clone() };
        it = hold(it, async |database| database.publish(Kind::Credential, "secret", &renumbered).await).await;
        explained(&it, "secret", "refuses it").await;
        goes_on(&it).await;
    }
    // With the number that it was sealed for, beside what belongs there, nothing is refused.
    let (it, _) = published(it).await;
    let mut right = CredentialResource { version: 2, ..before };
    let sealed = it.sample.api.everything(ORG).await.expect("answers");
    assert!(!sealed.is_empty());
    let ask = mg::GetSealedSecretRequest { org: ORG.to_owned(), credential: "secret".to_owned() };
    let mut stub = CredentialServiceClient::new(it.sample.api.connection());
    *seal(&mut right) =
        stub.get_sealed_secret(ask).await.expect("is shown").into_inner().sealed.expect("is there");
    let it = hold(it, async |database| database.publish(Kind::Credential, "secret", &right).await).await;
    eventually("nothing is refused any more", || async {
        let said = it.done(&["explain", "credential", "secret"], "").await;
        (!said.contains("refuses it")).then_some(())
    })
    .await;
    goes_on(&it).await;
    assert!(has(&it.upstream, SECRET), "it was there before");
}

/// A token for a node that knows nothing but what it is told.
async fn token(it: &Installation) -> NodeToken {
    it.sample.api.node_token(REGION, &it.sample.keys, 1).await.expect("a token")
}

/// A node that joins with it, in the place of the one that was there.
async fn late(it: Installation, token: NodeToken) -> (Edge, Installation) {
    let folder = it.folder().join(token.id().to_string());
    let late = Edge::start(&folder, it.sample.control.fleet, token.to_secret().expose());
    late.ready().await;
    let early = it.edge;
    (early, Installation { edge: late, ..it })
}

/// The region attests what there is now.
async fn attest(it: &mut Installation) {
    let mut stub = RegionKeyServiceClient::new(it.sample.api.connection());
    let region = REGION.to_owned();
    let ask =
        mg::ListSecretVersionsRequest { region: region.clone(), page_size: 1_000, ..Default::default() };
    let listed = stub.list_secret_versions(ask).await.expect("answers").into_inner().secrets;
    let versions = Versions::new(listed.into_iter().map(|secret| {
        let content = secret.content.try_into().expect("32 bytes");
        (secret.credential.parse().expect("an id"), Newest { version: secret.version, content })
    }));
    let attestation = Some(it.sample.keys.attest(&versions, std::time::SystemTime::now()).to_wire());
    stub.attest_region(mg::AttestRegionRequest { region, attestation }).await.expect("is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_before_does_not_come_back_beside_a_forged_one() {
    // A place that the first version could go to, and the next one cannot. It takes no secret, which makes nodes try both.
    let former = Upstream::start_with(|_| {
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = http::StatusCode::UNAUTHORIZED;
        answer
    })
    .await;
    let it = Installation::start().await;
    let api = &it.sample.api;
    let mut both = spec(&it.upstream.url(), SECRET, Means::sent(Slot::bearer()));
    both.origins.push(former.url().parse().expect("an origin"));
    let both = (mg::UpstreamKind::Bearer, both);
    let made = api.upstream_of(ORG, "narrowed", &it.sample.keys, both).await.expect("is sealed");
    api.proxy(ORG, "narrowed", "app", "echo", "narrowed", REGION).await.expect("is made");
    arrives(&it, "narrowed", &it.upstream, SECRET).await;
    let mut before = CredentialResource::default();
    let it = hold(it, async |database| before = database.published(Kind::Credential, "narrowed").await).await;
    let (api, origin) = (&it.sample.api, it.upstream.url());
    api.replace_secret(ORG, &made, &it.sample.keys, &origin, NEXT).await.expect("is replaced");
    arrives(&it, "narrowed", &it.upstream, NEXT).await;
    let mut it = it;
    let naive = token(&it).await;
    attest(&mut it).await;
    let aware = token(&it).await;

    // The attacker seals a second version for that place, and puts the first one beside it.
    let theirs = spec(&former.url(), "of-the-attacker", Means::sent(Slot::bearer()));
    let theirs = forged(&it, ("narrowed", 2), &theirs).await;
    let first = seal(&mut before).clone();
    let there = former.url();
    let it = hold(it, async |database| {
        let change = |credential: &mut CredentialResource| {
            *seal(credential) = theirs;
            let parts = upstream(credential);
            parts.previous_sealed = Some(first);
            let far = std::time::SystemTime::now() + std::time::Duration::from_secs(86_400);
            parts.previous_not_after = Some(rr_contract::model::time::timestamp(far));
        };
        database.change(Kind::Credential, "narrowed", change).await;
        database.change(Kind::Target, "echo", |target: &mut TargetResource| target.base_url = there).await;
    })
    .await;
    let said = explained(&it, "narrowed", "(stale)").await;
    assert!(said.contains("another secret than the region attested or this node first had"), "{said}");
    refused(&it, "narrowed", "other-origin").await;
    assert!(!has(&former, SECRET), "the first version was sent");

    // A node that never had the second version of its owner knows which one was attested.
    let (early, it) = Box::pin(late(it, aware)).await;
    refused(&it, "narrowed", "no-version").await;
    assert!(!has(&former, SECRET), "the first version was sent");
    drop(early);

    // One that does not know, as its token is older than the attestation, which is kept from it, sends the first one there.
    let it = hold(it, async |database| {
        assert_eq!(database.run("DELETE FROM region_attestation", &[]).await, 1);
    })
    .await;
    let (early, it) = Box::pin(late(it, naive)).await;
    eventually("the first version is sent", || async {
        get(&it, "narrowed").await;
        has(&former, SECRET).then_some(())
    })
    .await;
    drop(early);
}
