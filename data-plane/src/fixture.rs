//! What tests configure: a region with its keys, and resources as the control plane would send them.

use std::sync::Arc;

use prost::Message as _;
use rr_contract::api_key::{self, KeyKind};
use rr_contract::digest::resource_hash;
use rr_contract::model::id::{
    CredentialId, FilterId, InstallationId, MeterId, OrgId, ProxyId, RegionId, RuleId, TargetId,
};
use rr_contract::model::resource::{Key, ResourceId};
use rr_contract::model::time::wire_duration;
use rr_contract::seal::region_key::RegionKeys;
use rr_contract::seal::{Means, SealContext, SealedSecret, SecretSpec, Slot};
use rr_contract::seam::{Clock as _, Disk, SystemClock, SystemEntropy, Volatile};
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;

use crate::quota::Quotas;
use crate::snapshot::{Snapshot, Standings, Vault};
use crate::sync::inventory::Inventory;
use crate::sync::{AuditHead, Position};

pub(crate) const INSTALLATION: InstallationId = InstallationId::from_random([1; 16]);
pub(crate) const REGION: RegionId = RegionId::from_random([2; 16]);
pub(crate) const ORG: OrgId = OrgId::from_random([3; 16]);

pub(crate) fn target_key(n: u8) -> Key {
    Key::new(ORG, ResourceId::Target(TargetId::from_random([n; 16])))
}

pub(crate) fn credential_key(n: u8) -> Key {
    Key::new(ORG, ResourceId::Credential(CredentialId::from_random([n; 16])))
}

pub(crate) fn proxy_id(n: u8) -> ProxyId {
    ProxyId::from_random([n; 16])
}

pub(crate) fn proxy_key(n: u8) -> Key {
    Key::new(ORG, ResourceId::Proxy(proxy_id(n)))
}

/// The text of a caller's key.
pub(crate) fn caller_key(n: u8) -> String {
    let (text, _) = api_key::make(KeyKind::Caller, &[n; 32]);
    String::from_utf8(text.expose().to_vec()).expect("a key is ASCII")
}

pub(crate) fn resource(key: Key, payload: Vec<u8>) -> fleet::Resource {
    fleet::Resource {
        key: Some(key.to_wire()),
        revision: 1,
        hash: resource_hash(&payload).to_vec(),
        payload: payload.into(),
        needs: Vec::new(),
    }
}

pub(crate) fn org(suspended: bool) -> fleet::Resource {
    let payload = fleet::OrgResource { name: "acme".to_owned(), suspended };
    resource(Key::org(ORG), payload.encode_to_vec())
}

pub(crate) fn org_key() -> Key {
    Key::org(ORG)
}

/// A credential for an upstream that asks for none.
pub(crate) fn open_upstream(n: u8) -> fleet::Resource {
    let kind = fleet::upstream_credential::Kind::None(fleet::UpstreamNone {});
    let usage = fleet::UpstreamCredential { kind: Some(kind), ..fleet::UpstreamCredential::default() };
    let message = credential(n, 1, fleet::credential_resource::Usage::Upstream(usage));
    resource(credential_key(n), message.encode_to_vec())
}

/// A credential for an upstream, with its secret.
pub(crate) fn sealed_upstream(n: u8, version: u64, sealed: &SealedSecret) -> fleet::Resource {
    let kind = fleet::upstream_credential::Kind::Sealed(sealed.to_wire());
    let usage = fleet::UpstreamCredential { kind: Some(kind), ..fleet::UpstreamCredential::default() };
    let message = credential(n, version, fleet::credential_resource::Usage::Upstream(usage));
    resource(credential_key(n), message.encode_to_vec())
}

pub(crate) fn target(n: u8, base_url: &str) -> fleet::Resource {
    target_with_timeouts(n, base_url, 2_000, 5_000)
}

pub(crate) fn target_with_timeouts(n: u8, base_url: &str, connect: u64, response: u64) -> fleet::Resource {
    let mut payload = target_message(n, base_url);
    (payload.connect_timeout, payload.response_timeout) = (millis(connect), millis(response));
    target_of(n, &payload)
}

pub(crate) fn target_message(n: u8, base_url: &str) -> fleet::TargetResource {
    fleet::TargetResource {
        name: format!("target-{n}"),
        base_url: base_url.to_owned(),
        ..fleet::TargetResource::default()
    }
}

pub(crate) fn target_of(n: u8, message: &fleet::TargetResource) -> fleet::Resource {
    resource(target_key(n), message.encode_to_vec())
}

/// A duration as resources have it.
#[expect(clippy::unnecessary_wraps, reason = "fields of messages are optional")]
pub(crate) fn millis(millis: u64) -> Option<pbjson_types::Duration> {
    Some(wire_duration(std::time::Duration::from_millis(millis)))
}

fn credential(n: u8, version: u64, usage: fleet::credential_resource::Usage) -> fleet::CredentialResource {
    fleet::CredentialResource {
        name: format!("credential-{n}"),
        version,
        not_after: None,
        usage: Some(usage),
        ..fleet::CredentialResource::default()
    }
}

pub(crate) fn caller_message(n: u8, version: u64, keys: &[u8]) -> fleet::CredentialResource {
    let hash = |n: &u8| api_key::make(KeyKind::Caller, &[*n; 32]).1.as_bytes().to_vec();
    let kind = fleet::caller_credential::Kind::ApiKey(fleet::CallerApiKey {
        hashes: keys.iter().map(hash).collect(),
    });
    credential(
        n,
        version,
        fleet::credential_resource::Usage::Caller(fleet::CallerCredential {
            kind: Some(kind),
            ..fleet::CallerCredential::default()
        }),
    )
}

pub(crate) fn caller(n: u8, version: u64, keys: &[u8]) -> fleet::Resource {
    resource(credential_key(n), caller_message(n, version, keys).encode_to_vec())
}

pub(crate) fn proxy(n: u8, callers: &[u8], target: u8, upstream: u8) -> fleet::Resource {
    resource(proxy_key(n), proxy_message(n, callers, target, upstream).encode_to_vec())
}

pub(crate) fn proxy_message(n: u8, callers: &[u8], target: u8, upstream: u8) -> fleet::ProxyResource {
    fleet::ProxyResource {
        name: format!("proxy-{n}"),
        active: true,
        caller_credentials: callers.iter().map(|n| credential_key(*n).id_text()).collect(),
        target: target_key(target).id_text(),
        upstream_credential: credential_key(upstream).id_text(),
        regions: vec![REGION.to_string()],
        ..fleet::ProxyResource::default()
    }
}

pub(crate) fn rule_key(n: u8) -> Key {
    Key::new(ORG, ResourceId::Rule(RuleId::from_random([n; 16])))
}

/// A rule that allows everything.
pub(crate) fn rule_message(n: u8, parent: Key) -> fleet::RuleResource {
    fleet::RuleResource {
        parent: Some(parent.to_wire()),
        name: format!("rule-{n}"),
        effect: fleet::Effect::Allow.into(),
        ..fleet::RuleResource::default()
    }
}

pub(crate) fn rule(n: u8, parent: Key) -> fleet::Resource {
    resource(rule_key(n), rule_message(n, parent).encode_to_vec())
}

/// A rule that no build can run.
pub(crate) fn future_rule(n: u8, parent: Key) -> fleet::Resource {
    fleet::Resource { needs: vec!["teleport".to_owned()], ..rule(n, parent) }
}

/// A rule that denies requests whose path has this pattern; all, where it is empty.
pub(crate) fn deny_path(n: u8, parent: Key, regex: &str) -> fleet::Resource {
    let path = fleet::Pattern { regex: regex.to_owned(), ..fleet::Pattern::default() };
    let when = fleet::RequestMatch { path: Some(path), ..fleet::RequestMatch::default() };
    let message = fleet::RuleResource {
        effect: fleet::Effect::Deny.into(),
        when: Some(when),
        ..rule_message(n, parent)
    };
    resource(rule_key(n), message.encode_to_vec())
}

pub(crate) fn filter(n: u8, parent: Key, action: fleet::FilterAction, paths: &[&str]) -> fleet::Resource {
    filter_of(n, parent, fleet::FilterResource { action: action.into(), ..filter_paths(paths) })
}

/// A filter with these paths and nothing else.
pub(crate) fn filter_paths(paths: &[&str]) -> fleet::FilterResource {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    fleet::FilterResource { paths, ..fleet::FilterResource::default() }
}

/// A filter of a parent.
pub(crate) fn filter_of(n: u8, parent: Key, said: fleet::FilterResource) -> fleet::Resource {
    let (parent, name) = (Some(parent.to_wire()), format!("filter-{n}"));
    let message = fleet::FilterResource { parent, name, ..said };
    let key = Key::new(ORG, ResourceId::Filter(FilterId::from_random([n; 16])));
    resource(key, message.encode_to_vec())
}

/// A filter that redacts the whole of a body.
pub(crate) fn redacts(
    n: u8,
    parent: Key,
    direction: fleet::FilterDirection,
    detectors: &[fleet::Detector],
) -> fleet::Resource {
    let said = fleet::FilterResource {
        action: fleet::FilterAction::Redact.into(),
        detectors: detectors.iter().map(|detector| i32::from(*detector)).collect(),
        direction: direction.into(),
        ..fleet::FilterResource::default()
    };
    filter_of(n, parent, said)
}

/// A meter of requests at a proxy, without a limit.
pub(crate) fn meter_message(n: u8, proxy: u8) -> fleet::MeterResource {
    fleet::MeterResource {
        proxy: proxy_id(proxy).to_string(),
        name: format!("meter-{n}"),
        active: true,
        counts: Some(fleet::meter_resource::Counts::Requests(fleet::MeterRequests {})),
        ..fleet::MeterResource::default()
    }
}

pub(crate) fn meter(n: u8, message: &fleet::MeterResource) -> fleet::Resource {
    let key = Key::new(ORG, ResourceId::Meter(MeterId::from_random([n; 16])));
    resource(key, message.encode_to_vec())
}

/// A region whose operator is the test.
pub(crate) struct Region {
    keys: RegionKeys,
    pub(crate) standings: Standings,
    /// Of all its snapshots, as on a node.
    quotas: Quotas,
}

impl Region {
    pub(crate) fn new() -> Self {
        let (standings, quotas) = (Standings::default(), Quotas::fleeting());
        Self { keys: RegionKeys::generate(REGION, &SystemEntropy), standings, quotas }
    }

    pub(crate) fn keys(&self) -> &RegionKeys {
        &self.keys
    }

    pub(crate) fn fingerprint(&self) -> String {
        self.keys.fingerprint().to_string()
    }

    pub(crate) fn private_key(&self) -> Vec<u8> {
        self.keys.opening_key().key().to_secret().expose().to_vec()
    }

    pub(crate) fn vault(&self) -> Arc<Vault> {
        Vault::new(INSTALLATION, vec![self.keys.opening_key()])
    }

    pub(crate) fn inventory(&self) -> Inventory {
        Inventory::new(self.vault(), self.quotas.clone(), self.standings.clone())
    }

    /// An upstream credential: `value` in `header`, for `origins`.
    pub(crate) fn upstream(
        &self,
        n: u8,
        version: u64,
        value: &str,
        header: &str,
        origins: &[&str],
    ) -> fleet::Resource {
        sealed_upstream(n, version, &self.seal(n, version, value, header, origins, None))
    }

    /// Only the sealed secret of such a credential.
    pub(crate) fn seal(
        &self,
        n: u8,
        version: u64,
        value: &str,
        header: &str,
        origins: &[&str],
        not_after: Option<std::time::SystemTime>,
    ) -> SealedSecret {
        self.seal_for(n, version, value, header, origins, not_after, None)
    }

    /// The same, for a target with certificates of its own.
    #[expect(clippy::too_many_arguments, reason = "each is a part of a seal")]
    pub(crate) fn seal_for(
        &self,
        n: u8,
        version: u64,
        value: &str,
        header: &str,
        origins: &[&str],
        not_after: Option<std::time::SystemTime>,
        ca: Option<[u8; 32]>,
    ) -> SealedSecret {
        let spec = SecretSpec {
            value: Secret::from(value.to_owned()),
            origins: origins.iter().map(|origin| origin.parse().expect("an origin")).collect(),
            means: Means::sent(Slot::header(header, "").expect("a slot")),
            not_after,
            ca,
        };
        self.seal_spec(n, version, &spec)
    }

    /// The sealed secret of a credential, whatever it holds.
    pub(crate) fn seal_spec(&self, n: u8, version: u64, spec: &SecretSpec) -> SealedSecret {
        self.seal_of(ORG, n, version, spec)
    }

    /// The same of an organization's credential.
    pub(crate) fn seal_of(&self, org: OrgId, n: u8, version: u64, spec: &SecretSpec) -> SealedSecret {
        let now = SystemClock.now();
        let ResourceId::Credential(id) = credential_key(n).id else { unreachable!("it is one") };
        let context = SealContext { installation: INSTALLATION, org, credential: id, version };
        let statement = self.keys.statement(now, now + std::time::Duration::from_secs(60));
        SealedSecret::seal(&context, spec, &[&statement], &SystemEntropy).expect("it seals")
    }

    /// A snapshot of these resources.
    pub(crate) fn snapshot(&self, resources: &[fleet::Resource]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        (snapshot.revision, snapshot.ready) = (7, true);
        let changes = crate::sync::changes(&body(resources, &[]));
        self.inventory().apply(fleet::Mode::Snapshot, changes, &mut snapshot);
        snapshot
    }
}

/// An encoded ChunkBody.
pub(crate) fn body(upserts: &[fleet::Resource], removals: &[Key]) -> Vec<u8> {
    fleet::ChunkBody { upserts: upserts.to_vec(), removals: removals.iter().map(Key::to_wire).collect() }
        .encode_to_vec()
}

/// A position at `revision` with the digest of what `inventory` will hold.
pub(crate) fn position(revision: u64, (digest, count): (rr_contract::digest::Digest, u64)) -> Position {
    Position { lineage: [9; 16], revision, region: REGION, digest, count, audit: Some(audit(revision)) }
}

/// The audit head of a revision.
pub(crate) fn audit(revision: u64) -> AuditHead {
    let mut head = [0xa0; 32];
    head[..8].copy_from_slice(&revision.to_be_bytes());
    AuditHead::from(head)
}

/// What is logged meanwhile.
pub(crate) fn log_of(work: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no test panics with it").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let log = Log::default();
    let writer = log.clone();
    // With one subscriber alone, a line that a test on another thread comes to first is off for all threads.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new());
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, work);
    let bytes = log.0.lock().expect("no test panics with it").clone();
    String::from_utf8(bytes).expect("logs are text")
}

pub(crate) mod certificates;
pub(crate) mod demanding;

#[path = "../../integration/src/bench/lkg_faults/disk.rs"]
pub(crate) mod disk;

/// A disk in memory that can be cut, bent and filled up.
#[derive(Default)]
pub(crate) struct MemoryDisk {
    disk: Volatile,
    pub(crate) is_full: std::sync::atomic::AtomicBool,
    /// It takes no new file of last-known-good.
    pub(crate) refuses_states: std::sync::atomic::AtomicBool,
    /// It does not come to an end with what it is to write, and whoever waits for that.
    stalls: std::sync::Mutex<bool>,
    answers: std::sync::Condvar,
}

impl MemoryDisk {
    pub(crate) fn files(
        &self,
    ) -> std::sync::MutexGuard<'_, std::collections::BTreeMap<std::path::PathBuf, Vec<u8>>> {
        self.disk.files()
    }

    /// Has it hang from now on, or answer again.
    pub(crate) fn stall(&self, stalls: bool) {
        *self.stalls.lock().expect("no test panics with it") = stalls;
        self.answers.notify_all();
    }

    fn check_room(&self) -> std::io::Result<()> {
        let stalls = self.stalls.lock().expect("no test panics with it");
        drop(self.answers.wait_while(stalls, |stalls| *stalls).expect("no test panics with it"));
        if self.is_full.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

/// A handle on a [`MemoryDisk`].
#[derive(Clone, Default)]
pub(crate) struct SharedDisk(pub(crate) Arc<MemoryDisk>);

struct MemoryFile(Arc<MemoryDisk>, Box<dyn rr_contract::seam::DiskFile>);

impl rr_contract::seam::DiskFile for MemoryFile {
    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.check_room()?;
        self.1.write_all(bytes)
    }

    fn sync(&mut self) -> std::io::Result<()> {
        self.0.check_room()
    }
}

impl Disk for SharedDisk {
    fn create_dir_all(&self, path: &std::path::Path) -> std::io::Result<()> {
        self.0.disk.create_dir_all(path)
    }

    fn read(&self, path: &std::path::Path) -> std::io::Result<Vec<u8>> {
        self.0.disk.read(path)
    }

    fn append(&self, path: &std::path::Path) -> std::io::Result<Box<dyn rr_contract::seam::DiskFile>> {
        self.0.check_room()?;
        let is_refused = self.0.refuses_states.load(std::sync::atomic::Ordering::Relaxed);
        if is_refused && path.to_string_lossy().ends_with(".new") {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        Ok(Box::new(MemoryFile(Arc::clone(&self.0), self.0.disk.append(path)?)))
    }

    fn replace(&self, path: &std::path::Path, bytes: &[u8]) -> std::io::Result<()> {
        self.0.check_room()?;
        self.0.disk.replace(path, bytes)
    }

    fn list(&self, path: &std::path::Path) -> std::io::Result<Vec<std::path::PathBuf>> {
        self.0.disk.list(path)
    }

    fn rename(&self, from: &std::path::Path, to: &std::path::Path) -> std::io::Result<()> {
        self.0.disk.rename(from, to)
    }

    fn remove(&self, path: &std::path::Path) -> std::io::Result<()> {
        self.0.disk.remove(path)
    }

    fn truncate(&self, path: &std::path::Path, length: u64) -> std::io::Result<()> {
        self.0.disk.truncate(path, length)
    }
}
