//! A control plane as a process with something to configure, for tests and benches of the fleet stream.
//!
//! Organization `acme`, region `eu`, one proxy `echo` in front of an upstream, and as many bare targets and proxies as
//! are asked for. Bulk goes in by one `apply`.

#![allow(clippy::needless_update, reason = "a request may gain fields, which a sample does not say")]

use std::path::Path;

use anyhow::Context as _;
use rr_contract::seal::region_key::RegionKeys;
use rr_contract::wire::FieldMask;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::fleet_service_client::FleetServiceClient;
use rr_contract::wire::management::apply_request::Part;
use rr_contract::wire::management::apply_service_client::ApplyServiceClient;
use rr_contract::wire::management::org_service_client::OrgServiceClient;
use rr_contract::wire::management::proxy_service_client::ProxyServiceClient;
use rr_contract::wire::management::{self as mg, Document, document::Resource};

use crate::api::Api;
use crate::fleet::{Fleet, Place};
use crate::process::Control;

/// The organization.
pub const ORG: &str = "acme";
/// The region.
pub const REGION: &str = "eu";
/// Documents of one message.
const CHUNK: usize = 500;

/// What a fleet is measured and tested with.
pub struct Sample {
    /// The control plane.
    pub control: Control,
    /// An operator's API.
    pub api: Api,
    /// The region's keys.
    pub keys: RegionKeys,
    /// The key of the caller of every proxy.
    pub key: String,
    /// Where nodes connect.
    pub place: Place,
}

impl Sample {
    /// Starts it in a folder; the upstream's origin is where all proxies lead.
    pub async fn start(folder: &Path, origin: &str, variables: &[(&str, String)]) -> anyhow::Result<Self> {
        let mut all = vec![("RR_CONTROL_TOKEN_RATE", "0".to_owned())];
        all.extend(variables.iter().cloned());
        let control = Control::start_with(&folder.join("control"), &all).await;
        let api = control.bootstrap().await;
        api.org(ORG).await?;
        let keys = api.region(REGION, "").await?;
        api.target(ORG, "echo", origin).await?;
        api.upstream(ORG, "secret", &keys, origin, "s3cret").await?;
        let key = api.caller(ORG, "app").await?;
        api.proxy(ORG, "echo", "app", "echo", "secret", REGION).await?;
        let place = Place::new(control.fleet, &control.state())?;
        Ok(Self { control, api, keys, key, place })
    }

    /// Light nodes of the region, which are not up yet.
    pub async fn fleet(&self, count: usize) -> anyhow::Result<Fleet> {
        let uses = u32::try_from(count)?;
        let token = self.api.node_token(REGION, &self.keys, uses).await?;
        Fleet::join(&self.place, &token, count).await
    }

    /// Light nodes that are up and in step.
    pub async fn fleet_in_step(&self, count: usize) -> anyhow::Result<Fleet> {
        let fleet = self.fleet(count).await?;
        fleet.up();
        fleet.in_step(self.api.revision().await?).await;
        Ok(fleet)
    }

    /// Waits until every connected node serves a revision; whether that came in time.
    pub async fn is_served(&self, revision: u64) -> Result<bool, tonic::Status> {
        let ask = fleet::WaitForRevisionRequest { revision, percent: 100, ..Default::default() };
        let mut stub = FleetServiceClient::new(self.api.connection());
        Ok(stub.wait_for_revision(ask).await?.into_inner().reached)
    }

    /// Switches a proxy on or off. Returns the revision.
    pub async fn set_active(&self, proxy: &str, active: bool) -> Result<u64, tonic::Status> {
        set_active(&self.api, ORG, proxy, active).await
    }

    /// Suspends the organization, or puts it back: one resource of every view.
    pub async fn suspend(&self, suspended: bool) -> Result<u64, tonic::Status> {
        let ask = mg::UpdateOrgRequest {
            name: ORG.to_owned(),
            org: Some(mg::Org { suspended, ..Default::default() }),
            update_mask: Some(FieldMask { paths: vec!["suspended".to_owned()] }),
            ..Default::default()
        };
        let mut stub = OrgServiceClient::new(self.api.connection());
        Ok(stub.update_org(ask).await?.into_inner().revision)
    }

    /// Makes proxies `extra-<n>`, each of a target of its own, by one revision.
    pub async fn grow(&self, origin: &str, proxies: std::ops::Range<usize>) -> anyhow::Result<u64> {
        let target = |n: usize| {
            Resource::Target(mg::Target {
                name: format!("extra-{n}"),
                base_url: format!("{origin}/{n}"),
                danger_plaintext: origin.starts_with("http://"),
                ..Default::default()
            })
        };
        let proxy = |n: usize| {
            Resource::Proxy(mg::Proxy {
                name: format!("extra-{n}"),
                caller_credentials: vec!["app".to_owned()],
                target: format!("extra-{n}"),
                upstream_credential: "secret".to_owned(),
                regions: vec![REGION.to_owned()],
                ..Default::default()
            })
        };
        let documents: Vec<Document> = proxies
            .clone()
            .map(target)
            .chain(proxies.map(proxy))
            .map(|resource| Document { resource: Some(resource) })
            .collect();
        apply(&self.api, ORG, "sample", documents).await
    }
}

/// Switches a proxy of an organization on or off. Returns the revision.
pub async fn set_active(api: &Api, org: &str, proxy: &str, active: bool) -> Result<u64, tonic::Status> {
    let ask = mg::UpdateProxyRequest {
        org: org.to_owned(),
        name: proxy.to_owned(),
        proxy: Some(mg::Proxy { active: Some(active), ..Default::default() }),
        update_mask: Some(FieldMask { paths: vec!["active".to_owned()] }),
        ..Default::default()
    };
    Ok(ProxyServiceClient::new(api.connection()).update_proxy(ask).await?.into_inner().revision)
}

/// Applies a set as one revision, which it returns.
pub async fn apply(api: &Api, org: &str, owner: &str, documents: Vec<Document>) -> anyhow::Result<u64> {
    Ok(apply_for_keys(api, org, owner, documents).await?.revision)
}

/// The same, for the keys of the caller credentials that it makes.
pub async fn apply_for_keys(
    api: &Api,
    org: &str,
    owner: &str,
    documents: Vec<Document>,
) -> anyhow::Result<mg::ApplyOutcome> {
    let count = documents.len() as u64;
    let header = mg::ApplyHeader { org: org.to_owned(), owner: owner.to_owned(), ..Default::default() };
    let chunks: Vec<Vec<Document>> = documents.chunks(CHUNK).map(<[Document]>::to_vec).collect();
    let parts = std::iter::once(Part::Header(header))
        .chain(chunks.into_iter().map(|documents| Part::Chunk(mg::ApplyChunk { documents })))
        .chain(std::iter::once(Part::Commit(mg::ApplyCommit { documents: count })))
        .map(|part| mg::ApplyRequest { part: Some(part) });
    let mut stub = ApplyServiceClient::new(api.connection()).max_decoding_message_size(64 << 20);
    let reply = stub.apply(tokio_stream::iter(parts)).await?;
    reply.into_inner().outcome.context("an outcome")
}
