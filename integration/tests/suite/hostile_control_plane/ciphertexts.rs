//! What is inside a seal is to be another: the header, the token URL, a secret that belongs elsewhere. The attacker has the
//! ciphertexts and the public key of the region, which is all that it takes to seal a secret of one's own.

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use prost::Message as _;
use rr_contract::digest::resource_hash;
use rr_contract::seal::{Means, SealContext, SealedSecret, Slot};
use rr_contract::seam::SystemEntropy;
use rr_contract::wire::fleet::{self, CredentialResource, Kind};
use rr_integration::api::spec;
use rr_integration::process::Edge;
use rr_integration::sample::{ORG, REGION};
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;

use super::stage::{Database, SECRET, arrives, explained, has, hold, refused, seal};
use crate::own_values::Installation;

const OTHER: &str = "second-value-of-another";
const OAUTH: &str = "client-value-of-ours";

/// What can be made of two seals without any key: each part of one in the other.
fn mixtures(
    ours: &fleet::SealedSecret,
    theirs: &fleet::SealedSecret,
) -> Vec<(&'static str, fleet::SealedSecret)> {
    let flipped = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    let last = ours.ciphertext.len() - 1;
    let is = |change: &dyn Fn(&mut fleet::SealedSecret)| {
        let mut sealed = ours.clone();
        change(&mut sealed);
        sealed
    };
    vec![
        ("first bit", is(&|it| it.ciphertext = flipped(&it.ciphertext, 0))),
        ("last bit", is(&|it| it.ciphertext = flipped(&it.ciphertext, last))),
        ("nonce", is(&|it| it.nonce = flipped(&it.nonce, 0))),
        (
            "their content",
            is(&|it| {
                it.ciphertext.clone_from(&theirs.ciphertext);
                it.nonce.clone_from(&theirs.nonce);
            }),
        ),
        (
            "their content and commitment",
            is(&|it| {
                it.ciphertext.clone_from(&theirs.ciphertext);
                it.nonce.clone_from(&theirs.nonce);
                it.key_commitment.clone_from(&theirs.key_commitment);
            }),
        ),
        ("their key", is(&|it| it.wraps.clone_from(&theirs.wraps))),
        (
            "their key and commitment",
            is(&|it| {
                it.wraps.clone_from(&theirs.wraps);
                it.key_commitment.clone_from(&theirs.key_commitment);
            }),
        ),
    ]
}

/// The attacker's own seal under the name and version of a credential: the public key of the region is all that it takes.
pub(super) async fn forged(
    it: &Installation,
    (credential, version): (&str, u64),
    spec: &rr_contract::seal::SecretSpec,
) -> fleet::SealedSecret {
    let made = it.done(&["credential", "show", credential, "-o", "json"], "").await;
    let made: serde_json::Value = serde_json::from_str(&made).expect("JSON");
    let id = made["id"].as_str().expect("an id").parse().expect("an id");
    let org = it.done(&["org", "show", ORG, "-o", "json"], "").await;
    let org: serde_json::Value = serde_json::from_str(&org).expect("JSON");
    let context = SealContext {
        installation: it.sample.api.installation().await.expect("answers"),
        org: org["id"].as_str().expect("an id").parse().expect("an id"),
        credential: id,
        version,
    };
    let now = std::time::SystemTime::now();
    let statement = it.sample.keys.statement(now, now + std::time::Duration::from_secs(3600));
    SealedSecret::seal(&context, spec, &[&statement], &SystemEntropy).expect("seals").to_wire()
}

/// Puts each mixture in the place of a credential's seal; all are refused by the node, which goes on with what it had.
async fn each_is_refused(
    mut it: Installation,
    credential: &str,
    theirs: &fleet::SealedSecret,
    proxy: &str,
    secret: &str,
) -> Installation {
    let mut original = CredentialResource::default();
    it = hold(it, async |database| original = database.published(Kind::Credential, credential).await).await;
    let ours = seal(&mut original).clone();
    for (which, mixture) in mixtures(&ours, theirs) {
        let mut payload = original.clone();
        *seal(&mut payload) = mixture;
        it = hold(it, async |database| database.publish(Kind::Credential, credential, &payload).await).await;
        let hash = resource_hash(&payload.encode_to_vec()).to_vec();
        eventually(&format!("the node refuses what has {which}"), || async {
            let nodes = it.sample.api.nodes().await.ok()?;
            let mut refusals = nodes.iter().flat_map(|node| &node.standing);
            refusals.any(|it| it.wanted == hash && it.why() == fleet::Why::Unseal).then_some(())
        })
        .await;
        let said = explained(&it, credential, "(unseal)").await;
        assert!(said.contains("an older version runs in its place"), "{which}: {said}");
        arrives(&it, proxy, &it.upstream, secret).await;
    }
    it = hold(it, async |database| database.publish(Kind::Credential, credential, &original).await).await;
    eventually("nothing is refused any more", || async {
        let said = it.done(&["explain", "credential", credential], "").await;
        (!said.contains("(unseal)")).then_some(())
    })
    .await;
    it
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_goes_into_no_other_header() {
    let it = Installation::start().await;
    arrives(&it, "echo", &it.upstream, SECRET).await;
    let elsewhere = Slot::header("x-shown-to-everybody", "").expect("a header");
    let theirs =
        forged(&it, ("secret", 1), &spec(&it.upstream.url(), "of-the-attacker", Means::sent(elsewhere)))
            .await;
    let it = each_is_refused(it, "secret", &theirs, "echo", SECRET).await;
    // What the attacker sealed is what the attacker has: as a whole it would open, and sends no secret of ours.
    let it = hold(it, async |database| {
        let replace = |credential: &mut CredentialResource| *seal(credential) = theirs;
        database.change(Kind::Credential, "secret", replace).await;
    })
    .await;
    arrives(&it, "echo", &it.upstream, "of-the-attacker").await;
    let last = it.upstream.seen().pop().expect("it arrived");
    assert!(!format!("{last:?}").contains(SECRET), "{last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_gets_tokens_goes_to_no_other_token_url() {
    let issuer = |token: &'static str| {
        let answer = format!(r#"{{"access_token":"{token}","expires_in":3600}}"#);
        Upstream::start_with(move |_| Response::new(Full::from(Bytes::from(answer.clone()))))
    };
    let (honest, evil) = (issuer("token-of-ours").await, issuer("token-of-theirs").await);
    let it = Installation::start().await;
    let (origin, fingerprint) = (it.upstream.url(), format!("{REGION}={}", it.sample.keys.fingerprint()));
    let sealing =
        ["--origin", &*origin, "--region", REGION, "--fingerprint", &*fingerprint, "--value-file", "-"];
    let oauth = |name: &'static str| {
        ["credential", "create-upstream", name, "--kind", "oauth2", "--client-id", "edge"]
    };
    for (name, issuer, value) in [("tokens", &honest, OAUTH), ("theirs", &evil, "client-value-of-theirs")] {
        let url = format!("{}/token", issuer.url());
        it.done(&[&oauth(name)[..], &["--token-url", &url], &sealing].concat(), value).await;
        it.sample.api.proxy(ORG, name, "app", "echo", name, REGION).await.expect("is made");
    }
    arrives(&it, "tokens", &it.upstream, "token-of-ours").await;
    // The other issuer would be asked: it is where another secret says.
    arrives(&it, "theirs", &it.upstream, "token-of-theirs").await;
    let asked = evil.seen().len();
    let mut theirs = CredentialResource::default();
    let it = hold(it, async |database| theirs = database.published(Kind::Credential, "theirs").await).await;
    let it = each_is_refused(it, "tokens", seal(&mut theirs), "tokens", "token-of-ours").await;
    let it = hold(it, async |database| {
        let swap = |credential: &mut CredentialResource| *seal(credential) = seal(&mut theirs).clone();
        database.change(Kind::Credential, "tokens", swap).await;
    })
    .await;
    explained(&it, "tokens", "(unseal)").await;
    arrives(&it, "tokens", &it.upstream, "token-of-ours").await;
    assert_eq!(evil.seen().len(), asked, "nobody asked the attacker for a token");
    let basic = data_encoding::BASE64.encode(format!("edge:{OAUTH}").as_bytes());
    assert!(has(&honest, &basic) && !has(&evil, &basic) && !has(&evil, OAUTH));
}

/// Puts the seal of each of two credentials into the other.
async fn swap(database: &mut Database) {
    let mut first: CredentialResource = database.published(Kind::Credential, "secret").await;
    let mut second: CredentialResource = database.published(Kind::Credential, "second").await;
    std::mem::swap(seal(&mut first), seal(&mut second));
    database.publish(Kind::Credential, "secret", &first).await;
    database.publish(Kind::Credential, "second", &second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_ciphertexts_that_change_places_open_nowhere() {
    let (it, other) = (Installation::start().await, Upstream::start().await);
    let api = &it.sample.api;
    // Both may go to either: only whose they are tells them apart.
    let mut both = spec(&other.url(), OTHER, Means::sent(Slot::bearer()));
    both.origins.push(it.upstream.url().parse().expect("an origin"));
    let kind = rr_contract::wire::management::UpstreamKind::Bearer;
    api.target(ORG, "second", &other.url()).await.expect("is made");
    api.upstream_of(ORG, "second", &it.sample.keys, (kind, both)).await.expect("is sealed");
    api.proxy(ORG, "second", "app", "second", "second", REGION).await.expect("is made");
    arrives(&it, "echo", &it.upstream, SECRET).await;
    arrives(&it, "second", &other, OTHER).await;

    let it = hold(it, swap).await;
    for credential in ["secret", "second"] {
        let said = explained(&it, credential, "(unseal)").await;
        assert!(said.contains("an older version runs in its place"), "{said}");
    }
    // The node goes on with what it had.
    arrives(&it, "echo", &it.upstream, SECRET).await;
    arrives(&it, "second", &other, OTHER).await;

    // One that never had anything else has nothing to go on with.
    let token = it.sample.api.node_token(REGION, &it.sample.keys, 1).await.expect("a token").to_secret();
    let late = Edge::start(&it.folder().join("late"), it.sample.control.fleet, token.expose());
    late.ready().await;
    let (early, seen) = (it.edge, (it.upstream.seen().len(), other.seen().len()));
    let it = Installation { edge: late, ..it };
    refused(&it, "echo", "sealed").await;
    refused(&it, "second", "sealed").await;
    assert_eq!(seen, (it.upstream.seen().len(), other.seen().len()), "nobody was sent anything");
    assert!(!has(&other, SECRET) && !has(&it.upstream, OTHER));

    // Back in their places they open.
    let it = hold(it, swap).await;
    arrives(&it, "echo", &it.upstream, SECRET).await;
    arrives(&it, "second", &other, OTHER).await;
    drop(early);
}
