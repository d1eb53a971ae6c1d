//! `revoke`: from the reply to the call that revokes a caller's key to its refusal by the last of very many nodes, each a
//! process of its own that is asked; and to the answer of the call that says which nodes enforce it.

use std::time::{Duration, Instant};

use anyhow::ensure;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::fleet_service_client::FleetServiceClient;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential_service_client::CredentialServiceClient;
use rr_contract::wire::management::proxy_service_client::ProxyServiceClient;
use rr_integration::caller::Kept;
use rr_integration::process::Edge;
use rr_integration::sample::{ORG, REGION, Sample};
use rr_integration::upstream::Upstream;

use crate::load;
use crate::report::Report;

/// How many nodes start at once.
const AT_ONCE: usize = 8;
const LIMIT: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Nodes, each a process.
    #[arg(long, default_value_t = 200)]
    nodes: usize,
    /// Keys that are revoked while nodes are asked, and as many while nobody asks, one after the other.
    #[arg(long, default_value_t = 20)]
    keys: usize,
}

pub(crate) async fn run(args: Args, report: &mut Report) -> anyhow::Result<()> {
    load::enough_files(args.nodes * 8)?;
    let (folder, upstream) = (tempfile::tempdir()?, Upstream::start_forgetful().await);
    let sample = Sample::start(folder.path(), &upstream.url(), &[]).await?;
    let token = sample.api.node_token(REGION, &sample.keys, u32::try_from(args.nodes)?).await?;
    let mut edges = Vec::with_capacity(args.nodes);
    while edges.len() < args.nodes {
        let from = edges.len();
        for n in from..args.nodes.min(from + AT_ONCE) {
            let place = folder.path().join(format!("edge-{n}"));
            let one = [("RR_EDGE_WORKERS", "1".to_owned())];
            let text = token.to_secret();
            edges.push(Edge::start_with(&place, sample.control.fleet, text.expose(), &one));
        }
        for edge in &edges[from..] {
            edge.ready().await;
        }
    }
    let mut lines = Vec::with_capacity(args.nodes);
    for edge in &edges {
        lines.push(Kept::connect(edge.listen).await?);
    }
    let (mut last, mut told, mut sweeps) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=2 * args.keys {
        let key = victim(&sample, round).await?;
        let path = format!("/api/{ORG}.proxy-{round}/");
        for line in &mut lines {
            ensure!(line.get(&path, &key).await?.status == 200, "the key counts before it is revoked");
        }
        let revision = revoke(&sample, round).await?;
        let replied = Instant::now();
        if round % 2 == 0 {
            let took = refused(&mut lines, &path, &key, replied).await?.as_secs_f64() * 1e3;
            report.round("refused by the last node", round, took, "ms");
            last.push(took);
        } else {
            let ask = fleet::WaitForRevisionRequest { revision, percent: 100, ..Default::default() };
            let mut stub = FleetServiceClient::new(sample.api.connection());
            let answer = stub.wait_for_revision(ask).await?.into_inner();
            told.push(replied.elapsed().as_secs_f64() * 1e3);
            let enforcing: u32 = answer.regions.iter().map(|region| region.reached).sum();
            ensure!(answer.reached && enforcing as usize == args.nodes, "{answer:?}");
            let asked = Instant::now();
            for line in &mut lines {
                ensure!(line.get(&path, &key).await?.status == 401, "a node that is told of refuses the key");
            }
            sweeps.push(asked.elapsed().as_secs_f64() * 1e3);
            report.round("all nodes told", round, told[told.len() - 1], "ms");
        }
    }
    let note = format!("of {} `rr-edge`, asked without a pause; asked for: at most 250 ms", args.nodes);
    report.percentiles("revoke", "refused by the last", &last, "ms", &note);
    let note =
        "WaitForRevision names each, and each refuses when it is asked then; asked for: at most 250 ms";
    report.percentiles("revoke", "all nodes told", &told, "ms", note);
    report.percentiles("revoke", "a round of questions", &sweeps, "ms", "to ask all of them once, in turn");
    Ok(())
}

/// A key of a proxy that others may call, too; every node has it.
async fn victim(sample: &Sample, round: usize) -> anyhow::Result<String> {
    let name = format!("victim-{round}");
    let key = sample.api.caller(ORG, &name).await?;
    let proxy = mg::Proxy {
        name: format!("proxy-{round}"),
        caller_credentials: vec!["app".to_owned(), name],
        target: "echo".to_owned(),
        upstream_credential: "secret".to_owned(),
        regions: vec![REGION.to_owned()],
        ..mg::Proxy::default()
    };
    let ask = mg::CreateProxyRequest { org: ORG.to_owned(), proxy: Some(proxy), ..Default::default() };
    let revision =
        ProxyServiceClient::new(sample.api.connection()).create_proxy(ask).await?.into_inner().revision;
    ensure!(sample.is_served(revision).await?, "not all nodes have the key");
    Ok(key)
}

async fn revoke(sample: &Sample, round: usize) -> anyhow::Result<u64> {
    let ask = mg::DeleteCredentialRequest {
        org: ORG.to_owned(),
        credential: format!("victim-{round}"),
        cascade: vec![format!("proxies/proxy-{round}")],
        ..Default::default()
    };
    let reply = CredentialServiceClient::new(sample.api.connection()).delete_credential(ask).await?;
    Ok(reply.into_inner().revision)
}

/// Asks all nodes at once, each until it refuses; how long the last one took.
async fn refused(lines: &mut [Kept], path: &str, key: &str, since: Instant) -> anyhow::Result<Duration> {
    let each = lines.iter_mut().map(|line| async move {
        loop {
            match line.get(path, key).await?.status.as_u16() {
                401 => return anyhow::Ok(since.elapsed()),
                200 => ensure!(since.elapsed() < LIMIT, "a node still takes the key"),
                other => anyhow::bail!("a node answered {other}"),
            }
        }
    });
    let all = futures_util::future::try_join_all(each).await?;
    Ok(all.into_iter().max().unwrap_or_default())
}
