//! `rr-edge` with the same job, in one or several builds: as many callers, a sealed secret, records on.
//!
//! A control plane configures it, and is ended before anything is measured: it would take the load's processor, and
//! the others send their logs to nobody either. Records stay in the spool.

use std::path::PathBuf;

use anyhow::Context as _;
use rr_contract::wire::management::{self as mg, Document, document::Resource};
use rr_integration::process::Edge;
use rr_integration::sample::{ORG, REGION, Sample, apply_for_keys};

use crate::machine;

use super::variants::{self, Job};
use super::{PATH, Peer, SECRET, Secured, Stage};

/// As many as one proxy may admit.
const CALLERS: usize = 100;

/// Starts all builds: each a name and a program.
pub(super) async fn start(
    stage: &Stage<'_>,
    builds: &[(String, PathBuf)],
    job: Option<Job>,
) -> anyhow::Result<Vec<Peer>> {
    if builds.is_empty() {
        return Ok(Vec::new());
    }
    let mut origin = format!("http://{}", stage.upstream);
    let mut variables =
        vec![("RR_EDGE_WORKERS", "1".to_owned()), ("RR_EDGE_SPOOL_QUOTA_MIB", "256".to_owned())];
    if let Some(tls) = stage.tls.and_then(Secured::upstream) {
        origin = format!("https://localhost:{}", stage.upstream.port());
        variables.push(("RR_EDGE_UPSTREAM_CA", tls.file("ca.pem")));
    }
    if let Some(tls) = stage.tls.and_then(Secured::caller) {
        variables.push(("RR_EDGE_TLS_CERTIFICATE", tls.file("server.pem")));
        variables.push(("RR_EDGE_TLS_KEY", tls.file("server.key")));
    }
    let folder = stage.folder("sample")?;
    let sample = Sample::start(&folder, &origin, &[]).await?;
    sample.api.upstream(ORG, "bench", &sample.keys, &origin, SECRET).await?;
    let callers = stage.keys.consumers().count();
    let key = configure(&sample, callers).await?;
    let variants = variants::configure(&sample, &origin, job.unwrap_or(Job::Gateway)).await?;
    let token = sample.api.node_token(REGION, &sample.keys, u32::try_from(builds.len())?).await?;
    let path = format!("/api/{ORG}.gate-{}{PATH}", proxies(callers) / 2);
    let mut peers = Vec::new();
    for (name, program) in builds {
        let folder = stage.folder(name)?;
        let program = program.to_str().context("a path that is text")?;
        let (fleet, token) = (sample.control.fleet, token.to_secret());
        let edge = machine::on(stage.processor, || {
            Edge::start_program(program, &folder, fleet, token.expose(), &variables)
        })?;
        edge.ready().await;
        let peer = Peer {
            name: name.clone(),
            address: edge.listen,
            path: path.clone(),
            key: key.clone(),
            process: edge.process.id(),
            headers: Vec::new(),
            tls: stage.caller_tls(),
            _held: Box::new(edge),
        };
        let (address, process) = (peer.address, peer.process);
        // While there is a control plane: it may be ready on less than all.
        peers.push(peer.ready().await?);
        for variant in &variants {
            let peer = Peer {
                name: format!("{name}: {}", variant.label),
                address,
                path: format!("/api/{ORG}.proxy-{}{}", variant.label.replace(' ', "-"), variant.path),
                key: variant.key.clone(),
                process,
                headers: variant.headers.clone(),
                tls: stage.caller_tls(),
                // The first of the same process holds it.
                _held: Box::new(()),
            };
            peers.push(peer.ready().await?);
        }
    }
    Ok(peers)
}

fn proxies(callers: usize) -> usize {
    callers.div_ceil(CALLERS)
}

/// Puts callers and proxies in. Returns the key of a caller in the middle of those of the proxy in the middle.
async fn configure(sample: &Sample, callers: usize) -> anyhow::Result<String> {
    let name = |n: usize| format!("caller-{n}");
    let caller = |n: usize| {
        let caller = mg::Caller { kind: mg::CallerKind::ApiKey.into(), ..mg::Caller::default() };
        let usage = Some(mg::credential::Usage::Caller(caller));
        Resource::Credential(mg::Credential { name: name(n), version: 1, usage, ..mg::Credential::default() })
    };
    let proxy = |n: usize| {
        let admits = n * CALLERS..((n + 1) * CALLERS).min(callers);
        Resource::Proxy(mg::Proxy {
            name: format!("gate-{n}"),
            caller_credentials: admits.map(name).collect(),
            target: "echo".to_owned(),
            upstream_credential: "bench".to_owned(),
            regions: vec![REGION.to_owned()],
            ..mg::Proxy::default()
        })
    };
    let resources = (0..callers).map(caller).chain((0..proxies(callers)).map(proxy));
    let documents = resources.map(|resource| Document { resource: Some(resource) }).collect();
    let made = apply_for_keys(&sample.api, ORG, "bench", documents).await?;
    let gate = proxies(callers) / 2;
    let one = name((gate * CALLERS + CALLERS / 2).min(callers - 1));
    let key = made.keys.into_iter().find(|made| made.name == one);
    Ok(key.context("each caller that was made has a key")?.key)
}
