//! `management`: one organization of 10,000 proxies and credentials and 50,000 rules, applied to a real `rr-control`
//! as one revision, applied again unchanged, and read.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, ensure};
use rr_contract::model::id::{CredentialId, InstallationId, OrgId};
use rr_contract::model::origin::Origin;
use rr_contract::seal::region_key::RegionKeys;
use rr_contract::seal::{Means, SealContext, SealedSecret, SecretSpec, Slot};
use rr_contract::seam::SystemEntropy;
use rr_contract::secret::Secret;
use rr_contract::wire::management::apply_request::Part;
use rr_contract::wire::management::apply_service_client::ApplyServiceClient;
use rr_contract::wire::management::installation_service_client::InstallationServiceClient;
use rr_contract::wire::management::proxy_service_client::ProxyServiceClient;
use rr_contract::wire::management::rule_service_client::RuleServiceClient;
use rr_contract::wire::management::{self as mg, Document, document::Resource};
use rr_integration::api::{Api, Connection};
use rr_integration::fleet_100k::Dice;
use rr_integration::fleet_100k::documents::{FULL, Size, documents};
use rr_integration::postgres::Postgres;
use rr_integration::process::Control;

use crate::report::Report;

const ORG: &str = "acme";
const REGION: &str = "eu";
/// Documents of one message.
const CHUNK: usize = 500;
/// What upstream secrets of a load that nobody calls are sealed for.
pub(crate) const ORIGIN: &str = "https://api.upstream.example";
const MIB: f64 = 1_048_576.0;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The same seed gives the same organization.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// `sqlite` or `postgres`; both when not given.
    #[arg(long)]
    engine: Option<String>,
    /// Calls of each kind of read.
    #[arg(long, default_value_t = 2000)]
    reads: usize,
    /// Part of the full organization, in percent.
    #[arg(long, default_value_t = 100)]
    percent: usize,
}

pub(crate) async fn run(args: Args, report: &mut Report) -> anyhow::Result<()> {
    let wanted = |engine: &str| args.engine.as_deref().is_none_or(|said| said == engine);
    if wanted("sqlite") {
        engine(&args, "sqlite", None, report).await?;
    }
    if wanted("postgres") {
        let server =
            Postgres::start().context("no `postgres` and `initdb` in PATH or /usr/lib/postgresql")?;
        engine(&args, "postgres", Some(&server), report).await?;
    }
    Ok(())
}

async fn engine(
    args: &Args,
    engine: &str,
    server: Option<&Postgres>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    // Reads are measured one after the other, not against the bound of one token.
    let mut variables = vec![("RR_CONTROL_TOKEN_RATE", "0".to_owned())];
    variables.extend(server.map(|server| ("RR_CONTROL_DATABASE", server.address())));
    let control = Control::start_with(&folder.path().join("control"), &variables).await;
    let api = control.bootstrap().await;
    let keys = api.region(REGION, "").await?;
    let org: OrgId = api.org(ORG).await?.id.parse()?;
    let size = Size {
        targets: (FULL.targets * args.percent / 100).max(1),
        credentials: (FULL.credentials * args.percent / 100).max(3),
        proxies: (FULL.proxies * args.percent / 100).max(1),
        rules: FULL.rules * args.percent / 100,
    };
    let mut set = documents(args.seed, REGION, size);
    seal(&api, &keys, org, ORIGIN, &mut set).await?;
    let bytes: usize = set.iter().map(prost::Message::encoded_len).sum();
    let metric = |name: &str| format!("{engine} {name}");
    report.metric("management", &metric("documents"), &[set.len() as f64], "", "");
    report.metric("management", &metric("size of the set"), &[bytes as f64 / MIB], "MiB", "encoded");

    let before = control.process.resident()? as f64 / MIB;
    let spent = control.process.processor_time()?;
    let (outcome, took) = apply(&api, set.clone()).await?;
    let busy = control.process.processor_time()? - spent;
    ensure!(outcome.created == set.len() as u64, "not all was made: {}", outcome.created);
    let first = outcome.revision;
    report.metric("management", &metric("apply"), &[took], "s", "one revision; asked for: at most 30 s");

    report.metric("management", &metric("apply, processor"), &[busy], "s", "of rr-control alone");

    let (mut again, mut busy) = (Vec::new(), Vec::new());
    for round in 1..=5 {
        let spent = control.process.processor_time()?;
        let (outcome, took) = apply(&api, set.clone()).await?;
        busy.push(control.process.processor_time()? - spent);
        ensure!(outcome.revision == 0 && outcome.unchanged == set.len() as u64, "not unchanged");
        report.round(&metric("apply unchanged"), round, took, "s");
        again.push(took);
    }
    report.metric("management", &metric("apply unchanged"), &again, "s", "asked for: at most 3 s");
    report.metric("management", &metric("apply unchanged, processor"), &busy, "s", "of rr-control alone");

    reads(args, &api, size, &metric, report).await?;

    ensure!(api.revision().await? == first, "something else wrote");
    let resident = control.process.resident()? as f64 / MIB;
    let peak = control.process.peak()? as f64 / MIB;
    let note = format!("of rr-control after all of it, {before:.0} before; asked for: at most 400 MiB");
    report.metric("management", &metric("resident"), &[resident], "MiB", &note);
    report.metric("management", &metric("resident at most"), &[peak], "MiB", "");
    Ok(())
}

async fn reads(
    args: &Args,
    api: &Api,
    size: Size,
    metric: &impl Fn(&str) -> String,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut dice = Dice::new(args.seed);
    let mut proxies = ProxyServiceClient::new(api.connection());
    let mut rules = RuleServiceClient::new(api.connection());
    let mut took = Vec::with_capacity(args.reads);
    for n in 0..args.reads {
        let started = Instant::now();
        if n % 2 == 0 {
            let proxy = format!("proxy-{}", dice.below(size.proxies));
            proxies.get_proxy(mg::GetProxyRequest { org: ORG.to_owned(), proxy, revision: 0 }).await?;
        } else {
            let rule = format!("rule-{}", dice.below(size.rules));
            rules.get_rule(mg::GetRuleRequest { org: ORG.to_owned(), rule, revision: 0 }).await?;
        }
        took.push(started.elapsed());
    }
    percentiles("get by name", &took, "asked for: p99 at most 5 ms", metric, report);

    let (mut token, mut took) = (String::new(), Vec::new());
    while took.len() < args.reads / 4 {
        let ask = mg::ListRulesRequest {
            org: ORG.to_owned(),
            page_size: 100,
            page_token: std::mem::take(&mut token),
            ..Default::default()
        };
        let started = Instant::now();
        let page = rules.list_rules(ask).await?.into_inner();
        took.push(started.elapsed());
        token = page.next_page_token;
    }
    percentiles("page of 100 rules", &took, "asked for: at most 20 ms", metric, report);

    let mut took = Vec::new();
    while took.len() < args.reads / 4 {
        let ask = mg::ListProxiesRequest {
            org: ORG.to_owned(),
            page_size: 100,
            page_token: std::mem::take(&mut token),
            ..Default::default()
        };
        let started = Instant::now();
        let page = proxies.list_proxies(ask).await?.into_inner();
        took.push(started.elapsed());
        token = page.next_page_token;
    }
    percentiles("page of 100 proxies", &took, "asked for: at most 20 ms", metric, report);
    Ok(())
}

fn percentiles(
    what: &str,
    took: &[Duration],
    note: &str,
    metric: &impl Fn(&str) -> String,
    report: &mut Report,
) {
    let mut sorted: Vec<f64> = took.iter().map(|took| took.as_secs_f64() * 1e3).collect();
    sorted.sort_by(f64::total_cmp);
    let at = |percent: usize| sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)];
    let note = format!("{} calls over gRPC, one after the other; {note}", sorted.len());
    report.metric("management", &metric(&format!("{what} p50")), &[at(50)], "ms", &note);
    report.metric("management", &metric(&format!("{what} p99")), &[at(99)], "ms", &note);
}

pub(crate) async fn apply(api: &Api, set: Vec<Document>) -> anyhow::Result<(mg::ApplyOutcome, f64)> {
    let connection: Connection = api.connection();
    let count = set.len() as u64;
    let header = mg::ApplyHeader { org: ORG.to_owned(), owner: "bench".to_owned(), ..Default::default() };
    let chunks: Vec<Vec<Document>> = set.chunks(CHUNK).map(<[Document]>::to_vec).collect();
    let parts = std::iter::once(Part::Header(header))
        .chain(chunks.into_iter().map(|documents| Part::Chunk(mg::ApplyChunk { documents })))
        .chain(std::iter::once(Part::Commit(mg::ApplyCommit { documents: count })))
        .map(|part| mg::ApplyRequest { part: Some(part) });
    let started = Instant::now();
    let reply = ApplyServiceClient::new(connection)
        .max_decoding_message_size(64 << 20)
        .apply(tokio_stream::iter(parts))
        .await?;
    let took = started.elapsed().as_secs_f64();
    Ok((reply.into_inner().outcome.context("an outcome")?, took))
}

/// Seals every upstream credential of a set for an origin, as `rrctl apply` does.
pub(crate) async fn seal(
    api: &Api,
    keys: &RegionKeys,
    org: OrgId,
    origin: &str,
    set: &mut [Document],
) -> anyhow::Result<()> {
    let mut stub = InstallationServiceClient::new(api.connection());
    let installation: InstallationId =
        stub.get_installation(mg::GetInstallationRequest {}).await?.into_inner().id.parse()?;
    let now = SystemTime::now();
    let statement = keys.statement(now, now + Duration::from_secs(86_400));
    for (n, document) in set.iter_mut().enumerate() {
        let Some(Resource::Credential(credential)) = &mut document.resource else { continue };
        let Some(mg::credential::Usage::Upstream(upstream)) = &mut credential.usage else { continue };
        let id: CredentialId = credential.id.parse()?;
        let context = SealContext { installation, org, credential: id, version: 1 };
        let spec = SecretSpec {
            value: Secret::from(format!("upstream-value-{n}")),
            origins: vec![origin.parse::<Origin>()?],
            means: Means::sent(Slot::bearer()),
            not_after: None,
            ca: None,
        };
        let sealed = SealedSecret::seal(&context, &spec, &[&statement], &SystemEntropy)?;
        upstream.sealed = Some(sealed.to_wire());
    }
    Ok(())
}
