//! A key is to go elsewhere: to another host, port or scheme, under another `Host`, or to whom other certificates vouch for.
//!
//! Beside each stands a secret whose owner sealed it for that very place: by the same change it arrives there.

use std::net::SocketAddr;

use rr_contract::model::tls::CaBundle;
use rr_contract::seal::{Means, Slot};
use rr_contract::wire::fleet::{Kind, ProxyResource, Rewrite, TargetResource};
use rr_contract::wire::management::UpstreamKind;
use rr_integration::api::spec;
use rr_integration::relay::switch::Switch;
use rr_integration::sample::{ORG, REGION};
use rr_integration::secure::Secure;
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;

use super::stage::{LOOSE, SECRET, arrives, get, has, hold, refused};
use crate::own_values::Installation;

/// Makes proxy `loose`, like `echo` but for a secret that is sealed for another origin.
async fn with_loose(it: &Installation, origin: &str) {
    let api = &it.sample.api;
    api.upstream(ORG, "loose", &it.sample.keys, origin, LOOSE).await.expect("is sealed");
    api.proxy(ORG, "loose", "app", "echo", "loose", REGION).await.expect("is made");
}

/// The control plane says that the target is at the attacker's.
async fn moves_to(evil: &Upstream, it: Installation) -> Installation {
    with_loose(&it, &evil.url()).await;
    arrives(&it, "echo", &it.upstream, SECRET).await;
    let there = evil.url();
    let it = hold(it, async |database| {
        database.change(Kind::Target, "echo", |target: &mut TargetResource| target.base_url = there).await;
    })
    .await;
    arrives(&it, "loose", evil, LOOSE).await;
    refused(&it, "echo", "other-origin").await;
    assert!(!has(evil, SECRET), "the secret came to the attacker");
    it
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_goes_to_no_other_port_and_people_see_why() {
    let evil = Upstream::start().await;
    let it = moves_to(&evil, Installation::start().await).await;
    let said = it.done(&["request", "list"], "").await;
    assert!(said.contains("credential-unusable") && said.contains("other-origin"), "{said}");
    // What was changed was the way, and nothing else.
    let back = it.upstream.url();
    let it = hold(it, async |database| {
        database.change(Kind::Target, "echo", |target: &mut TargetResource| target.base_url = back).await;
    })
    .await;
    arrives(&it, "echo", &it.upstream, SECRET).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_goes_to_no_other_host() {
    let it = Installation::start().await;
    let other = SocketAddr::new([127, 0, 0, 2].into(), it.upstream.address().port());
    let evil = Upstream::start_at(other).await;
    moves_to(&evil, it).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_goes_to_no_further_host_of_its_target() {
    let evil = Upstream::start().await;
    let it = Installation::start().await;
    with_loose(&it, &evil.url()).await;
    let there = evil.url();
    let it = hold(it, async |database| {
        let more = |target: &mut TargetResource| target.more_base_urls = vec![there];
        database.change(Kind::Target, "echo", more).await;
    })
    .await;
    // Hosts take turns: of several requests, some go to either.
    arrives(&it, "loose", &evil, LOOSE).await;
    let before = it.upstream.seen().len();
    for _ in 0..16 {
        get(&it, "echo").await;
    }
    assert!(it.upstream.seen().len() > before, "its own host still gets it");
    assert!(!has(&evil, SECRET), "the secret came to the attacker");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_goes_out_under_no_other_host_name() {
    let it = Installation::start().await;
    with_loose(&it, "http://evil.example").await;
    may_go_to_both(&it).await;
    let it = hold(it, async |database| {
        for name in ["echo", "loose"] {
            let host = |proxy: &mut ProxyResource| {
                proxy.rewrite = Some(Rewrite { host: "evil.example".to_owned(), ..Rewrite::default() });
            };
            database.change(Kind::Proxy, name, host).await;
        }
    })
    .await;
    eventually("the loose one goes out under that name", || async {
        let is_served = get(&it, "loose").await.status == 200;
        let seen = it.upstream.seen().pop()?;
        let is_it = seen.headers["host"] == "evil.example"
            && seen.headers["authorization"] == format!("Bearer {LOOSE}");
        (is_served && is_it).then_some(())
    })
    .await;
    refused(&it, "echo", "other-host").await;
}

/// The loose secret may go to the upstream, too.
async fn may_go_to_both(it: &Installation) {
    let means = Means::sent(Slot::bearer());
    let mut both = spec(&it.upstream.url(), LOOSE, means);
    both.origins.push("http://evil.example".parse().expect("an origin"));
    let api = &it.sample.api;
    api.upstream_of(ORG, "both", &it.sample.keys, (UpstreamKind::Bearer, both)).await.expect("is sealed");
    it.done(&["proxy", "update", "loose", "--upstream", "both"], "").await;
}

/// Two upstreams over TLS behind one port, each vouched for by an authority of its own, and one without TLS.
struct Front {
    ours: Secure,
    theirs: Secure,
    honest: Upstream,
    evil: Upstream,
    plain: Upstream,
    switch: Switch,
}

impl Front {
    async fn start() -> Self {
        let (ours, theirs) = (Secure::new(), Secure::new());
        let (honest, evil) = (Upstream::start_secure(&ours).await, Upstream::start_secure(&theirs).await);
        let switch = Switch::start(&[honest.address()]).await.expect("a port");
        Self { ours, theirs, honest, evil, plain: Upstream::start().await, switch }
    }

    fn origin(&self, scheme: &str) -> String {
        format!("{scheme}://localhost:{}", self.switch.address.port())
    }

    /// Proxies `tls`, whose secret is sealed for the honest one, and `loose`, whose secret is for another.
    async fn serve(&self, it: &Installation, loose: (&str, Option<&Secure>)) {
        let (origin, ca) = (self.origin("https"), self.ours.file("ca.pem"));
        it.done(&["target", "create", "tls", "--base-url", &origin, "--ca", &ca], "").await;
        let api = &it.sample.api;
        let (other, authority) = loose;
        for (name, value, origin, authority) in
            [("tls", SECRET, &*origin, Some(&self.ours)), ("loose", LOOSE, other, authority)]
        {
            let mut spec = spec(origin, value, Means::sent(Slot::bearer()));
            spec.ca = authority.map(hash);
            let sealed = (UpstreamKind::Bearer, spec);
            api.upstream_of(ORG, name, &it.sample.keys, sealed).await.expect("is sealed");
            api.proxy(ORG, name, "app", "tls", name, REGION).await.expect("is made");
        }
        arrives(it, "tls", &self.honest, SECRET).await;
    }
}

fn pem(secure: &Secure) -> String {
    std::fs::read_to_string(secure.file("ca.pem")).expect("a file")
}

fn hash(secure: &Secure) -> rr_contract::model::tls::CaHash {
    *pem(secure).parse::<CaBundle>().expect("a certificate").hash()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_sealed_for_tls_goes_nowhere_without_it() {
    let (front, it) = (Front::start().await, Installation::start().await);
    let clear = front.origin("http");
    front.serve(&it, (&clear, None)).await;
    front.switch.point(&[front.plain.address()]);
    let it = hold(it, async |database| {
        let change = |target: &mut TargetResource| {
            target.base_url = clear;
            target.ca.clear();
        };
        database.change(Kind::Target, "tls", change).await;
    })
    .await;
    arrives(&it, "loose", &front.plain, LOOSE).await;
    refused(&it, "tls", "other-origin").await;
    assert!(!has(&front.plain, SECRET), "the secret came to the attacker");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_goes_to_nobody_for_whom_other_certificates_vouch() {
    let (front, it) = (Front::start().await, Installation::start().await);
    front.serve(&it, (&front.origin("https"), Some(&front.theirs))).await;
    // A machine in the middle alone: TLS fails.
    front.switch.point(&[front.evil.address()]);
    let reply = get(&it, "tls").await;
    assert_eq!(reply.status, 502, "{reply:?}");
    assert!(reply.text().contains("upstream"), "{reply:?}");
    assert!(front.evil.seen().is_empty());
    // With the control plane's help, that names its authority; or any that nodes trust.
    let theirs = pem(&front.theirs);
    let it = hold(it, async |database| {
        database.change(Kind::Target, "tls", |target: &mut TargetResource| target.ca = theirs).await;
    })
    .await;
    arrives(&it, "loose", &front.evil, LOOSE).await;
    refused(&it, "tls", "other-ca").await;
    assert!(!has(&front.evil, SECRET), "the secret came to the attacker");
    let it = hold(it, async |database| {
        database.change(Kind::Target, "tls", |target: &mut TargetResource| target.ca.clear()).await;
    })
    .await;
    eventually("the loose one is refused, too", || async {
        (get(&it, "loose").await.status == 502).then_some(())
    })
    .await;
    refused(&it, "tls", "other-ca").await;
    assert!(!has(&front.evil, SECRET), "the secret came to the attacker");
}
