//! One change after another on a node that is configured without a stream, and reads of what is in force.
//!
//! Goes through everything that a stream would but the network, and writes to a disk in memory.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use prost::Message as _;
use rr_contract::digest::resource_hash;
use rr_contract::model::id::RegionId;
use rr_contract::model::resource::Key;
use rr_contract::seam::{Seams, SystemClock, SystemEntropy, Volatile};
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::{Mode, Outcome};
use rr_data_plane::bench::ConfiguredNode;
use rr_integration::fleet::View;
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder as RuntimeBuilder, Runtime};

const REGION: RegionId = RegionId::from_random([0; 16]);
/// What one chunk of the first transaction holds.
const CHUNK: usize = 1024 * 1024;

/// A configured node, and what it holds as the control plane knows it.
pub(crate) struct Driver {
    node: ConfiguredNode,
    view: View,
    revision: u64,
    runtime: Runtime,
}

impl Driver {
    /// Configures a node with these payloads.
    pub(crate) fn new(resources: impl IntoIterator<Item = (Key, Vec<u8>)>) -> Self {
        let seams = Seams {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            disk: Arc::new(Volatile::default()),
        };
        let node = ConfiguredNode::new(Path::new("bench"), &Secret::new(vec![0; 32]), seams, REGION);
        let runtime = RuntimeBuilder::new_current_thread().enable_time().build().expect("a runtime starts");
        let node = node.expect("a thread starts");
        let mut driver = Self { node, view: View::default(), revision: 0, runtime };
        let (mut chunks, mut chunk, mut size) = (Vec::new(), Vec::new(), 0);
        for (key, payload) in resources {
            size += payload.len();
            chunk.push((key, payload));
            if size >= CHUNK {
                chunks.push(std::mem::take(&mut chunk));
                size = 0;
            }
        }
        chunks.push(chunk);
        driver.transact(Mode::Snapshot, chunks);
        driver
    }

    /// Takes each payload as a transaction of its own. Returns the nanoseconds that each took of the processors, on
    /// this thread and on that of the journal, from its first message to the verdict, old versions freed.
    pub(crate) fn apply(&mut self, changes: impl IntoIterator<Item = (Key, Vec<u8>)>) -> Vec<u64> {
        changes.into_iter().map(|change| self.transact(Mode::Delta, vec![vec![change]])).collect()
    }

    /// Reads what is in force so many times, as a request does. Returns the nanoseconds of one read.
    pub(crate) fn read(&self, times: u32) -> f64 {
        let since = Instant::now();
        for _ in 0..times {
            black_box(self.node.read_revision());
        }
        since.elapsed().as_nanos() as f64 / f64::from(times)
    }

    /// Whether a path that names this proxy leads to one.
    pub(crate) fn knows(&self, address: &str) -> bool {
        self.node.knows(address)
    }

    /// What paths name the proxies by.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.node.addresses()
    }

    /// How many resources the node refuses.
    pub(crate) fn refused(&self) -> usize {
        self.node.refusals()
    }

    fn transact(&mut self, mode: Mode, chunks: Vec<Vec<(Key, Vec<u8>)>>) -> u64 {
        self.revision += 1;
        let txn = self.revision.to_be_bytes().to_vec();
        let changed = chunks.iter().flatten().map(|(key, payload)| (*key, Some(resource_hash(payload))));
        self.view = self.view.with(&changed.collect::<Vec<_>>());
        let position = fleet::Position {
            lineage: vec![0; 16],
            revision: self.revision,
            region: REGION.to_string(),
            digest: self.view.digest().to_vec(),
            count: self.view.count(),
            audit: Vec::new(),
        };
        let begin = fleet::Begin {
            txn: txn.clone(),
            mode: mode.into(),
            base: self.node.running().map(|at| at.digest.to_vec()).unwrap_or_default(),
            chunks: chunks.len() as u32,
            ..fleet::Begin::default()
        };
        let chunk = |(index, resources): (usize, Vec<(Key, Vec<u8>)>)| {
            let upserts = resources.into_iter().map(|(key, payload)| resource(&key, payload)).collect();
            let body = fleet::ChunkBody { upserts, removals: Vec::new() }.encode_to_vec();
            let crc32 = crc32fast::hash(&body);
            fleet::Chunk { txn: txn.clone(), index: index as u32, crc32, body: body.into() }
        };
        let chunks: Vec<fleet::Chunk> = chunks.into_iter().enumerate().map(chunk).collect();
        let commit = fleet::Commit { txn: txn.clone(), position: Some(position), ..fleet::Commit::default() };
        let before = processor_time();
        let mut verdict = self.node.begin(begin);
        for chunk in &chunks {
            verdict = verdict.or_else(|| self.node.chunk(chunk));
        }
        let verdict = match verdict {
            Some(verdict) => Some(verdict),
            None => self.runtime.block_on(self.node.commit(&commit)),
        };
        let verdict = verdict.expect("a transaction is answered");
        let took = processor_time() - before;
        assert_ne!(verdict.outcome(), Outcome::Refused, "{:?}", verdict.refusals);
        // A worker lets go of the version before, and the control thread pays for freeing it.
        self.node.tick_worker();
        let before = processor_time();
        self.runtime.block_on(self.node.tend());
        took + (processor_time() - before)
    }
}

fn resource(key: &Key, payload: Vec<u8>) -> fleet::Resource {
    fleet::Resource {
        key: Some(key.to_wire()),
        revision: 1,
        hash: Vec::new(),
        payload: payload.into(),
        needs: Vec::new(),
    }
}

/// Nanoseconds that the threads of this process have had of a processor, exact to the call.
fn processor_time() -> u64 {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    spent.tv_sec as u64 * 1_000_000_000 + spent.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use rr_contract::model::id::{CredentialId, OrgId, TargetId};
    use rr_contract::model::resource::ResourceId;
    use rr_contract::model::time::wire_duration;
    use rr_contract::wire::fleet::{caller_credential, credential_resource};

    use super::*;

    const ORG: OrgId = OrgId::from_random([3; 16]);

    fn org() -> (Key, Vec<u8>) {
        let org = fleet::OrgResource { name: "acme".to_owned(), suspended: false };
        (Key::org(ORG), org.encode_to_vec())
    }

    fn target(base_url: &str) -> (Key, Vec<u8>) {
        let second = Some(wire_duration(std::time::Duration::from_secs(1)));
        let target = fleet::TargetResource {
            name: "target".to_owned(),
            base_url: base_url.to_owned(),
            connect_timeout: second,
            response_timeout: second,
            ..fleet::TargetResource::default()
        };
        (Key::new(ORG, ResourceId::Target(TargetId::from_random([1; 16]))), target.encode_to_vec())
    }

    fn caller() -> (Key, Vec<u8>) {
        let api_key = fleet::CallerApiKey { hashes: vec![vec![1; 32]] };
        let caller = fleet::CallerCredential {
            kind: Some(caller_credential::Kind::ApiKey(api_key)),
            ..fleet::CallerCredential::default()
        };
        let credential = fleet::CredentialResource {
            name: "caller".to_owned(),
            version: 1,
            usage: Some(credential_resource::Usage::Caller(caller)),
            ..fleet::CredentialResource::default()
        };
        (
            Key::new(ORG, ResourceId::Credential(CredentialId::from_random([1; 16]))),
            credential.encode_to_vec(),
        )
    }

    #[test]
    fn changes_are_taken_one_by_one_and_what_is_in_force_is_read() {
        let mut driver = Driver::new([org(), target("https://a.example"), caller()]);
        let took = driver.apply((2..12).map(|n| target(&format!("https://{n}.example"))));
        assert_eq!(took.len(), 10);
        assert!(took.iter().all(|nanos| *nanos > 0));
        assert_eq!((driver.node.read_revision(), driver.refused()), (11, 0));
        assert!(driver.read(1_000) > 0.0);
    }
}
