//! `seal`: what it takes to open a secret, how often a node opens one, and `rrctl region rotate-key` with very many secrets.

use std::time::{Instant, SystemTime};

use anyhow::{Context as _, ensure};
use rr_contract::model::id::{CredentialId, InstallationId, OrgId, RegionId};
use rr_contract::seal::region_key::RegionKeys;
use rr_contract::seal::{Means, SealContext, SealedSecret, Slot};
use rr_contract::seam::{SystemEntropy, draw};
use rr_contract::wire::management::{self as mg, Document, credential::Usage, document::Resource};
use rr_integration::api::spec;
use rr_integration::caller::Kept;
use rr_integration::desk::{rrctl_in, write_keys};
use rr_integration::process::{Edge, admin};
use rr_integration::sample::{self, ORG, REGION, Sample};
use rr_integration::upstream::Upstream;

use crate::report::Report;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Secrets that are opened one by one.
    #[arg(long, default_value_t = 2000)]
    opens: usize,
    /// Requests with one secret.
    #[arg(long, default_value_t = 10_000)]
    requests: usize,
    /// Credentials whose secrets are sealed to the next key.
    #[arg(long, default_value_t = 10_000)]
    credentials: usize,
}

pub(crate) async fn run(args: Args, report: &mut Report) -> anyhow::Result<()> {
    open(args.opens, report)?;
    let (folder, upstream) = (tempfile::tempdir()?, Upstream::start_forgetful().await);
    let sample = Sample::start(folder.path(), &upstream.url(), &[]).await?;
    let token = sample.api.node_token(REGION, &sample.keys, 1).await?;
    let edge = Edge::start(&folder.path().join("edge"), sample.control.fleet, token.to_secret().expose());
    edge.ready().await;
    ask(&edge, &sample, args.requests, report).await?;
    again(&args, &sample, folder.path(), report).await
}

/// Each secret once, as a node opens it.
fn open(count: usize, report: &mut Report) -> anyhow::Result<()> {
    let keys = RegionKeys::generate(RegionId::from_random(draw(&SystemEntropy)), &SystemEntropy);
    let now = SystemTime::now();
    let statement = keys.statement(now, now + std::time::Duration::from_secs(3600));
    let context = |n: usize| SealContext {
        installation: InstallationId::from_random([1; 16]),
        org: OrgId::from_random([2; 16]),
        credential: CredentialId::from_random((n as u128).to_be_bytes()),
        version: 1,
    };
    let spec = spec(
        "https://api.example.com",
        "a secret of a usual length, 48 bytes of it..",
        Means::sent(Slot::bearer()),
    );
    let seal = |n| SealedSecret::seal(&context(n), &spec, &[&statement], &SystemEntropy);
    let sealed: Vec<SealedSecret> = (0..count).map(seal).collect::<Result<_, _>>()?;
    let opening = keys.opening_keys();
    let mut took = Vec::with_capacity(count);
    for (n, sealed) in sealed.iter().enumerate() {
        let start = Instant::now();
        std::hint::black_box(sealed.open(&context(n), &opening)?);
        took.push(start.elapsed().as_secs_f64() * 1e6);
    }
    report.percentiles("seal", "open", &took, "µs", "a secret, on one thread; asked for: at most 200 µs");
    Ok(())
}

/// How many secrets a node opens for requests with one.
async fn ask(edge: &Edge, sample: &Sample, requests: usize, report: &mut Report) -> anyhow::Result<()> {
    let path = format!("/api/{ORG}.echo/");
    let mut kept = Kept::connect(edge.listen).await?;
    ensure!(kept.get(&path, &sample.key).await?.status == 200, "the first request is answered");
    let before = opened(edge).await?;
    for _ in 0..requests {
        ensure!(kept.get(&path, &sample.key).await?.status == 200, "requests are answered");
    }
    let each = (opened(edge).await? - before) / requests as f64;
    let note = format!("over {requests} requests after the first; asked for: 0");
    report.metric("seal", "opened a request", &[each], "", &note);
    Ok(())
}

async fn opened(edge: &Edge) -> anyhow::Result<f64> {
    let reply = admin(edge.admin, "/metrics").await?;
    let metrics = reply.text();
    let line = metrics.lines().find(|line| line.starts_with("requestrocket_edge_secrets_opened_total"));
    let line = line.context("the node counts what it opens")?;
    Ok(line.split_whitespace().last().context("a number")?.parse()?)
}

/// The whole of `rrctl region rotate-key`, with a node that is connected.
async fn again(
    args: &Args,
    sample: &Sample,
    folder: &std::path::Path,
    report: &mut Report,
) -> anyhow::Result<()> {
    let installation = sample.api.installation().await?;
    let org = sample.api.org_id(ORG).await?;
    let now = SystemTime::now();
    let statement = sample.keys.statement(now, now + std::time::Duration::from_secs(3600));
    let mut documents = Vec::with_capacity(args.credentials);
    for n in 0..args.credentials {
        let credential = CredentialId::from_random(draw(&SystemEntropy));
        let context = SealContext { installation, org, credential, version: 1 };
        let spec =
            spec("https://api.example.com", &format!("secret number {n}"), Means::sent(Slot::bearer()));
        let sealed = SealedSecret::seal(&context, &spec, &[&statement], &SystemEntropy)?.to_wire();
        let kind = mg::UpstreamKind::Bearer.into();
        let upstream = mg::Upstream { kind, sealed: Some(sealed), ..mg::Upstream::default() };
        documents.push(Document {
            resource: Some(Resource::Credential(mg::Credential {
                id: credential.to_string(),
                name: format!("many-{n}"),
                usage: Some(Usage::Upstream(upstream)),
                ..mg::Credential::default()
            })),
        });
    }
    sample::apply(&sample.api, ORG, "many", documents).await?;
    write_keys(&sample.keys, &folder.join("eu.key"));
    let mut command = rrctl_in(folder, sample.control.management, sample.api.token());
    command.args(["region", "rotate-key", REGION, "--region-key", "eu.key", "--yes"]);
    let start = Instant::now();
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let took = start.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "rrctl: {said}");
    let said = [String::from_utf8_lossy(&output.stdout).into_owned(), said].concat();
    let wanted = format!("{} secrets sealed again", args.credentials + 1);
    ensure!(said.contains(&wanted) && said.contains("are retired"), "{said}");
    let note = format!(
        "`rrctl region rotate-key`, {} credentials, until the key before is retired; asked for: at most 30 s",
        args.credentials
    );
    report.metric("seal", "sealed again", &[took], "s", &note);
    Ok(())
}
