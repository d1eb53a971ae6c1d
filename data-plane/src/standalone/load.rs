//! From the file to resources that all of this version can run, or to the faults of the file.
//!
//! Reads, compiles, seals, and tries the whole in an inventory of its own. Changes nothing, so it may run on any
//! thread and as often as one likes. The invariant: what comes out is taken whole by a node that holds nothing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message as _;
use rr_contract::digest::{Digest, resource_hash};
use rr_contract::model::caller::jwt::VerifyingKeys;
use rr_contract::model::caller::{Caller, CallerKind};
use rr_contract::model::credential::{self as model, Credential};
use rr_contract::model::invalid::Invalid;
use rr_contract::model::resource::{InvalidPayload, Key, Model, ResourceId};
use rr_contract::runtime::chain;
use rr_contract::seal::key_file::{self, KeyFileError};
use rr_contract::seal::region_key::RegionOpeningKey;
use rr_contract::seal::{SealContext, SealedSecret};
use rr_contract::seam::{Exposure, Seams};
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::Mode;
use rr_contract::wire::fleet::caller_credential;
use rr_contract::wire::fleet::caller_jwt_verify::Keys;
use rr_contract::wire::fleet::credential_resource::Usage;
use rr_contract::wire::fleet::upstream_credential::Kind;

use crate::quota::Quotas;
use crate::snapshot::{Snapshot, Standings, Vault};
use crate::sync::inventory::Inventory;
use crate::sync::transaction::{Change, Changes, Offered};

use super::Standalone;
use super::compile::{Address, Counts, Draft, Home, compile};
use super::fault::{Faults, FileFault};
use super::message::{Body, Entry};
use super::node::{self, Node};
use super::own::Own;
use super::secret::{Place, Sealer};

/// The key of a region that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegionKeyError {
    /// A file cannot be read.
    #[error("read {flag} {path}", path = path.display())]
    Read {
        /// The flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Others can get at it.
    #[error("--region-key {0}")]
    Open(Exposure),
    /// It needs a passphrase, or another passphrase, or is none.
    #[error("open --region-key {path}; its passphrase comes from --region-passphrase-file", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: KeyFileError,
    },
}

/// Payloads by key: what a node holds.
pub(crate) type Held = HashMap<Key, Arc<[u8]>>;

/// Loads the file.
pub(crate) struct Loader {
    settings: Standalone,
    own: Own,
    keys: Vec<RegionOpeningKey>,
    vault: Arc<Vault>,
    seams: Seams,
}

/// The resources of a file.
pub(super) struct Offer {
    pub(super) resources: Vec<(Key, Offered)>,
    /// The lines of their documents.
    lines: HashMap<Key, u64>,
    counts: Counts,
    addresses: Vec<Address>,
}

/// The content of a file, of which nothing is refused.
pub(crate) struct Loaded {
    pub(super) resources: Vec<(Key, Offered)>,
    pub(super) digest: Digest,
    pub(super) count: u64,
    pub(super) counts: Counts,
    pub(super) addresses: Vec<Address>,
}

impl Loader {
    /// Opens the region key, if there is one.
    pub(crate) fn new(settings: Standalone, own: Own, seams: Seams) -> Result<Self, RegionKeyError> {
        let mut keys = vec![own.opening.clone()];
        keys.extend(region_key(&settings, &seams)?);
        let vault = Vault::new(settings.installation.unwrap_or(own.installation), keys.clone());
        Ok(Self { settings, own, keys, vault, seams })
    }

    pub(crate) fn own(&self) -> &Own {
        &self.own
    }

    pub(crate) fn settings(&self) -> &Standalone {
        &self.settings
    }

    /// What opens the secrets of this node.
    pub(crate) fn vault(&self) -> Arc<Vault> {
        Arc::clone(&self.vault)
    }

    /// Loads the file. `held`: what the node holds, whose seals stay where their values did.
    pub(crate) fn load(&self, held: &Held) -> Result<Loaded, FileFault> {
        let Offer { resources, lines, counts, addresses } = self.offer(held)?;
        let mut faults = Faults::default();
        let (digest, count) = self.try_out(&resources, &lines, &mut faults);
        faults.finish(&self.settings.file)?;
        Ok(Loaded { resources, digest, count, counts, addresses })
    }

    /// What a control plane would offer in the place of the file.
    pub(super) fn offer(&self, held: &Held) -> Result<Offer, FileFault> {
        let path = &self.settings.file;
        let mut faults = Faults::default();
        let nodes = match node::documents(&self.read()?) {
            Ok(nodes) => nodes,
            Err(mistake) => {
                faults.mistake(1, &mistake);
                return Err(faults.of(path));
            }
        };
        let home = Home { org: &self.settings.org, region: self.own.region() };
        let place = Place { folder: path.parent().unwrap_or(Path::new("")), disk: &*self.seams.disk };
        let Draft { entries, counts, addresses } = compile(nodes, &home, &place, &mut faults);
        let mut offer = Offer { resources: Vec::new(), lines: HashMap::new(), counts, addresses };
        for Entry { key, body, node } in entries {
            let payload = self.seal(&key, body, node.as_ref(), held, &mut faults);
            offer.lines.insert(key, node.as_ref().map_or(1, |node| node.line));
            match self.parse(&key, &payload) {
                Ok(needs) => {
                    let hash = resource_hash(&payload);
                    let offered = Offered { hash, revision: 0, payload: payload.into(), needs };
                    offer.resources.push((key, offered));
                }
                Err(fault) => note(fault, node.as_ref(), &mut faults),
            }
        }
        faults.finish(path)?;
        Ok(offer)
    }

    fn read(&self) -> Result<String, FileFault> {
        let path = || self.settings.file.clone();
        let failed = |source| FileFault::Read { path: path(), source };
        let bytes = self.seams.disk.read_private(&self.settings.file).map_err(failed)?;
        let bytes = bytes.map_err(FileFault::Open)?;
        String::from_utf8(bytes)
            .map_err(|error| failed(std::io::Error::new(std::io::ErrorKind::InvalidData, error.utf8_error())))
    }

    /// The payload of an entry, its value sealed.
    fn seal(&self, key: &Key, body: Body, node: Option<&Node>, held: &Held, faults: &mut Faults) -> Vec<u8> {
        let (mut message, value) = match body {
            Body::Payload(payload) => return payload,
            Body::Value(value) => *value,
        };
        let (statement, entropy) = (&self.own.statement, &*self.seams.entropy);
        let sealer = Sealer { statement, keys: &self.keys, entropy };
        let held = held.get(key).map(|payload| &**payload);
        let context = self.context(key, message.version);
        let sealed = context.map(|context| sealer.seal(&context, value, held));
        match (sealed, node) {
            (Some(Ok(sealed)), _) => put(&mut message, sealed),
            (Some(Err(what)), Some(node)) => faults.field(node, "value_from", what),
            // Without a value, the payload is refused in what follows.
            (Some(Err(_)) | None, _) => {}
        }
        message.encode_to_vec()
    }

    /// The features that a payload needs. A secret that came sealed is opened once, to see that it can be.
    fn parse(&self, key: &Key, payload: &[u8]) -> Result<Vec<String>, InvalidPayload> {
        let model = Model::parse(key, payload)?;
        if let Model::Credential(Credential { usage, version, .. }) = &model
            && let Some((field, sealed)) = sealed_of(usage)
            && !self.is_own(sealed)
            && let Some(context) = self.context(key, *version)
            && let Err(error) = sealed.open(&context, &self.keys)
        {
            let what = format!("{error}; give the key of the region with --region-key, and --installation");
            return Err(InvalidPayload::Invalid(Invalid::field(field, what)));
        }
        Ok(model.needs().into_iter().map(str::to_owned).collect())
    }

    /// What a secret of this credential is bound to.
    fn context(&self, key: &Key, version: u64) -> Option<SealContext> {
        let ResourceId::Credential(credential) = key.id else { return None };
        let installation = self.settings.installation.unwrap_or(self.own.installation);
        Some(SealContext { installation, org: key.org, credential, version })
    }

    /// Whether it was sealed here.
    fn is_own(&self, sealed: &SealedSecret) -> bool {
        sealed.regions().eq([self.own.region()])
    }

    /// Takes the whole into an inventory that nobody uses, and notes what would be refused.
    fn try_out(
        &self,
        resources: &[(Key, Offered)],
        lines: &HashMap<Key, u64>,
        faults: &mut Faults,
    ) -> (Digest, u64) {
        let mut inventory = Inventory::new(self.vault(), Quotas::fleeting(), Standings::default());
        let changes: Changes =
            resources.iter().map(|(key, offered)| (*key, Change::Upsert(offered.clone()))).collect();
        let result = inventory.after(Mode::Snapshot, &changes);
        inventory.apply(Mode::Snapshot, changes, &mut Snapshot::default());
        for refusal in inventory.standing() {
            let key = refusal.key.as_ref().and_then(|key| Key::try_from(key).ok());
            let line = key.and_then(|key| lines.get(&key)).copied().unwrap_or(1);
            faults.add(line, refusal.detail);
        }
        result
    }
}

/// Puts a sealed value where its credential has it.
fn put(message: &mut fleet::CredentialResource, sealed: fleet::SealedSecret) {
    match &mut message.usage {
        Some(Usage::Caller(caller)) => {
            if let Some(caller_credential::Kind::JwtVerify(verify)) = &mut caller.kind {
                verify.keys = Some(Keys::SharedSecret(sealed));
            }
        }
        _ => {
            let kind = Some(Kind::Sealed(sealed));
            let upstream = fleet::UpstreamCredential { kind, ..fleet::UpstreamCredential::default() };
            message.usage = Some(Usage::Upstream(upstream));
        }
    }
}

/// The sealed value of a credential, and the field that holds it.
fn sealed_of(usage: &model::Usage) -> Option<(&'static str, &SealedSecret)> {
    match usage {
        model::Usage::Upstream(model::Upstream::Sealed { secret, .. }) => Some(("upstream.sealed", secret)),
        model::Usage::Caller(Caller { kind: CallerKind::JwtVerify(verify), .. }) => match &verify.keys {
            VerifyingKeys::Shared { newest, .. } => Some(("caller.sealed", newest)),
            VerifyingKeys::Jwks(_) | VerifyingKeys::Given(_) => None,
        },
        model::Usage::Upstream(model::Upstream::None) | model::Usage::Caller(_) => None,
    }
}

fn note(fault: InvalidPayload, node: Option<&Node>, faults: &mut Faults) {
    match (fault, node) {
        (InvalidPayload::Invalid(invalid), Some(node)) => faults.invalid(node, &invalid),
        (fault, node) => faults.add(node.map_or(1, |node| node.line), chain(&fault).to_string()),
    }
}

fn region_key(settings: &Standalone, seams: &Seams) -> Result<Option<RegionOpeningKey>, RegionKeyError> {
    let Some(path) = &settings.region_key else { return Ok(None) };
    let failed = |flag, path: &PathBuf| {
        let path = path.clone();
        move |source| RegionKeyError::Read { flag, path, source }
    };
    let text = seams.disk.read_private(path).map_err(failed("--region-key", path))?;
    let text = Secret::new(text.map_err(RegionKeyError::Open)?);
    let passphrase = match &settings.region_passphrase {
        Some(path) => {
            let text = seams.disk.read(path).map_err(failed("--region-passphrase-file", path))?;
            let text = Secret::new(text);
            Some(Secret::new(text.expose().trim_ascii_end().to_vec()))
        }
        None => None,
    };
    let keys = key_file::read(&text, passphrase.as_ref());
    let keys = keys.map_err(|source| RegionKeyError::File { path: path.clone(), source })?;
    Ok(Some(keys.opening_key()))
}
