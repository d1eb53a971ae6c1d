//! Proxies of one edge node that differ in what is decided there: nothing, the whole pipeline, many rules, filters.
//!
//! Each has a caller, a target and an upstream credential of its own, so that rules of one scope bear on no other.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use rr_contract::seal::{Means, SecretSpec, Slot};
use rr_contract::wire::fleet::{self, EchoGuard, Effect, FilterAction};
use rr_contract::wire::management::{self as mg, Document, document::Resource, filter, rule};
use rr_integration::api::spec;
use rr_integration::sample::{ORG, REGION, Sample, apply_for_keys};

use super::SECRET;

/// How many rules each scope has where there are many.
const RULES: usize = 25;
/// 40 bytes.
const LONG_PATH: &str = "/v1/accounts/7f3a9c21/orders/items/b2c4d";

/// What the proxies of a node decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    /// That of a gateway, once as all peers have it and once with the whole pipeline.
    Gateway,
    /// No rules, and 25 in each scope of which none matches, or the last.
    Rules,
    /// A document of 1 MiB, with and without filters, plain and compressed.
    Filter,
    /// A document of 1 KiB, searched for the upstream's secret and not.
    Echo,
    /// The whole pipeline, with each kind of what the upstream is shown.
    Kinds,
    /// Each request with a record, and none.
    Record,
}

/// What the upstream is shown.
#[derive(Debug, Clone, Copy)]
enum Shown {
    Secret,
    Token,
    Aws,
    Hash,
}

/// One proxy.
pub(super) struct Variant {
    pub(super) label: &'static str,
    /// Behind the address of the proxy.
    pub(super) path: &'static str,
    /// Lines of the request beside host and credential.
    pub(super) headers: Vec<String>,
    pub(super) key: String,
}

struct Plan {
    label: &'static str,
    path: &'static str,
    headers: usize,
    /// By scope: caller, upstream credential, proxy, target.
    rules: [Vec<mg::Rule>; 4],
    destroys: &'static [&'static str],
    is_full: bool,
    guard: EchoGuard,
    shown: Shown,
    has_records: bool,
}

impl Plan {
    fn new(label: &'static str, path: &'static str) -> Self {
        Self {
            label,
            path,
            headers: 0,
            rules: Default::default(),
            destroys: &[],
            is_full: false,
            guard: EchoGuard::Mask,
            shown: Shown::Secret,
            has_records: true,
        }
    }

    /// The whole pipeline.
    fn full(label: &'static str) -> Self {
        Self {
            rules: [
                vec![matching(Effect::Allow, Some("^/v1/"), &["GET", "POST"])],
                vec![matching(Effect::Deny, Some("^/admin/"), &[])],
                vec![matching(Effect::Allow, Some("^/v[0-9]+/items(/[a-z0-9-]+)?$"), &[])],
                vec![matching(Effect::Deny, None, &["DELETE"])],
            ],
            is_full: true,
            ..Self::new(label, super::PATH)
        }
    }
}

fn plans(job: Job) -> Vec<Plan> {
    let many = |last: Option<mg::Rule>| {
        let mut rules: [Vec<mg::Rule>; 4] =
            std::array::from_fn(|scope| (0..RULES).map(|n| apart(scope, n)).collect());
        if let Some(last) = last {
            rules[3][RULES - 1] = last;
        }
        rules
    };
    let ruled = |label, rules| Plan { headers: 10, rules, ..Plan::new(label, LONG_PATH) };
    // What is searched is decoded, and these are about filters alone.
    let document = |label, path, destroys| Plan { destroys, guard: EchoGuard::Off, ..Plan::new(label, path) };
    const FIELDS: &[&str] = &["first", "records[*].middle.secret", "last"];
    match job {
        Job::Gateway => vec![Plan::full("full")],
        Job::Kinds => {
            let kind = |label, shown| Plan { guard: EchoGuard::Off, shown, ..Plan::full(label) };
            vec![
                kind("secret", Shown::Secret),
                kind("token", Shown::Token),
                kind("aws", Shown::Aws),
                kind("hash", Shown::Hash),
                Plan::full("guarded"),
            ]
        }
        Job::Rules => vec![
            ruled("none", Default::default()),
            ruled("miss", many(None)),
            ruled("last", many(Some(matching(Effect::Allow, Some("/items/[a-f0-9]{5}$"), &[])))),
        ],
        Job::Record => vec![
            Plan { has_records: false, ..Plan::new("unrecorded", super::PATH) },
            Plan::new("recorded", super::PATH),
        ],
        Job::Echo => vec![
            Plan { guard: EchoGuard::Off, ..Plan::new("unsearched", "/small") },
            Plan::new("searched", "/small"),
        ],
        Job::Filter => vec![
            document("plain", "/document", &[]),
            document("filtered", "/document", FIELDS),
            document("gzip", "/document-gzip", &[]),
            document("gzip filtered", "/document-gzip", FIELDS),
        ],
    }
}

fn matching(effect: Effect, path: Option<&str>, methods: &[&str]) -> mg::Rule {
    let path = path.map(|regex| fleet::Pattern { regex: regex.to_owned(), ..Default::default() });
    let methods = methods.iter().map(|method| (*method).to_owned()).collect();
    let when = fleet::RequestMatch { methods, path, ..Default::default() };
    mg::Rule { effect: effect.into(), when: Some(when), ..Default::default() }
}

/// A rule that denies another path: seven of ten have no literal at their beginning.
fn apart(scope: usize, n: usize) -> mg::Rule {
    let regex = if n % 10 < 7 {
        format!("/[a-z]+-{scope}{n}/[0-9]{{2,}}(/|$)")
    } else {
        format!("^/v{scope}{n}/[a-z]+/private")
    };
    mg::Rule { priority: (RULES - n) as u32, ..matching(Effect::Deny, Some(&regex), &[]) }
}

/// What an upstream is shown, sealed for an origin.
fn credential(shown: Shown, origin: &str) -> anyhow::Result<(mg::UpstreamKind, SecretSpec)> {
    let (kind, means) = match shown {
        Shown::Secret => (mg::UpstreamKind::Bearer, Means::sent(Slot::bearer())),
        Shown::Token => {
            let client = fleet::ClientCredentials {
                client_id: "bench".to_owned(),
                authentication: Some(fleet::client_credentials::Authentication::Basic(fleet::Empty {})),
            };
            let grant = fleet::TokenGrant {
                url: token_endpoint()?,
                flow: Some(fleet::token_grant::Flow::ClientCredentials(client)),
                parameters: Vec::new(),
            };
            let means = Means::Grant { slot: Slot::bearer(), grant: grant.try_into()? };
            (mg::UpstreamKind::Oauth2ClientCredentials, means)
        }
        Shown::Aws => {
            let aws = fleet::AwsSignature {
                access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
                region: "eu-central-1".to_owned(),
                service: "execute-api".to_owned(),
                ..fleet::AwsSignature::default()
            };
            (mg::UpstreamKind::AwsSigv4, Means::Aws(aws.try_into()?))
        }
        Shown::Hash => {
            let header = fleet::Parameter {
                name: "x-signature".to_owned(),
                text: "t={date},v1={signature}".to_owned(),
            };
            let hmac = fleet::HmacSignature {
                text: "{date}.{method}.{target}.{body:sha256}".to_owned(),
                headers: vec![header],
                ..fleet::HmacSignature::default()
            };
            (mg::UpstreamKind::Hmac, Means::Hmac(hmac.try_into()?))
        }
    };
    Ok((kind, spec(origin, SECRET, means)))
}

/// An endpoint that gives a token for a day. It ends with the bench.
fn token_endpoint() -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/token", listener.local_addr()?);
    std::thread::spawn(move || {
        let body = r#"{"access_token":"a-token-of-the-bench-of-more-than-24-characters","expires_in":86400}"#;
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = [0; 4096];
            // The form comes in one piece.
            if stream.read(&mut request).is_ok_and(|length| length > 0) {
                stream.write_all(answer.as_bytes()).ok();
            }
        }
    });
    Ok(url)
}

/// Puts the proxies of a job in.
pub(super) async fn configure(sample: &Sample, origin: &str, job: Job) -> anyhow::Result<Vec<Variant>> {
    let (mut variants, mut documents) = (Vec::new(), Vec::new());
    for plan in plans(job) {
        let name = plan.label.replace(' ', "-");
        let credential = credential(plan.shown, origin)?;
        sample.api.upstream_of(ORG, &format!("up-{name}"), &sample.keys, credential).await?;
        documents.extend(resources(&plan, &name, origin));
        let headers = (0..plan.headers).map(|n| format!("X-Bench-{n}: value of header number {n}"));
        let headers = headers.collect();
        variants.push((name, Variant { label: plan.label, path: plan.path, headers, key: String::new() }));
    }
    let documents = documents.into_iter().map(|resource| Document { resource: Some(resource) }).collect();
    let made = apply_for_keys(&sample.api, ORG, "variants", documents).await?;
    let with_key = variants.into_iter().map(|(name, variant)| {
        let caller = format!("caller-{name}");
        let key = made.keys.iter().find(|made| made.name == caller).map(|made| made.key.clone());
        Variant { key: key.expect("each caller that was made has a key"), ..variant }
    });
    Ok(with_key.collect())
}

fn resources(plan: &Plan, name: &str, origin: &str) -> Vec<Resource> {
    let (caller, target) = (format!("caller-{name}"), format!("target-{name}"));
    let (upstream, proxy) = (format!("up-{name}"), format!("proxy-{name}"));
    let usage = mg::Caller { kind: mg::CallerKind::ApiKey.into(), ..mg::Caller::default() };
    let limits = fleet::Limits { per_minute_per_node: 1_000_000_000, per_day_per_node: 0 };
    let mut all = vec![
        Resource::Credential(mg::Credential {
            name: caller.clone(),
            version: 1,
            usage: Some(mg::credential::Usage::Caller(usage)),
            ..mg::Credential::default()
        }),
        Resource::Target(mg::Target {
            name: target.clone(),
            base_url: origin.to_owned(),
            danger_plaintext: true,
            ..mg::Target::default()
        }),
        Resource::Proxy(mg::Proxy {
            name: proxy.clone(),
            caller_credentials: vec![caller.clone()],
            target: target.clone(),
            upstream_credential: upstream.clone(),
            regions: vec![REGION.to_owned()],
            limits: plan.is_full.then_some(limits),
            echo_guard: plan.guard.into(),
            recording: (!plan.has_records)
                .then(|| fleet::Recording { sample_per_thousand: Some(0), ..fleet::Recording::default() }),
            ..mg::Proxy::default()
        }),
    ];
    let parents = [
        rule::Parent::Credential(caller),
        rule::Parent::Credential(upstream),
        rule::Parent::Proxy(proxy.clone()),
        rule::Parent::Target(target),
    ];
    for (scope, (parent, rules)) in parents.into_iter().zip(&plan.rules).enumerate() {
        all.extend(rules.iter().enumerate().map(|(n, rule)| {
            let name = format!("rule-{name}-{scope}-{n}");
            Resource::Rule(mg::Rule { name, parent: Some(parent.clone()), ..rule.clone() })
        }));
    }
    if !plan.destroys.is_empty() {
        all.push(Resource::Filter(mg::Filter {
            name: format!("filter-{name}"),
            parent: Some(filter::Parent::Proxy(proxy.clone())),
            action: FilterAction::Destroy.into(),
            paths: plan.destroys.iter().map(|path| (*path).to_owned()).collect(),
            ..mg::Filter::default()
        }));
    }
    if plan.is_full {
        let when = fleet::RequestMatch { methods: vec!["GET".to_owned()], ..Default::default() };
        all.push(Resource::Meter(mg::Meter {
            name: format!("meter-{name}"),
            proxy,
            counts: Some(mg::meter::Counts::Requests(fleet::MeterRequests {})),
            only_when: Some(when),
            per_day_per_node: 1_000_000_000,
            ..mg::Meter::default()
        }));
    }
    all
}
