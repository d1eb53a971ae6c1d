//! The spool's own file: its id, the numbers it may have used, and whether it was closed in an orderly way.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use prost::Message as _;
use rr_contract::model::time;
use rr_contract::seam::Seams;

/// What is known of a spool beside its segments.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Meta {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(bool, tag = "2")]
    clean: bool,
    #[prost(message, optional, tag = "3")]
    alive_at: Option<pbjson_types::Timestamp>,
    /// No number above it was ever given to a batch.
    #[prost(uint64, tag = "4")]
    reserved: u64,
}

impl Meta {
    pub(super) fn new(id: [u8; 16], clean: bool, alive_at: SystemTime, reserved: u64) -> Self {
        Self { id: id.to_vec(), clean, alive_at: Some(time::timestamp(alive_at)), reserved }
    }

    /// `None`: there is no spool, or none that can be gone on with.
    pub(super) fn read(folder: &Path, seams: &Seams) -> Option<Self> {
        let meta = Self::decode(seams.disk.read(&path(folder)).ok()?.as_slice()).ok()?;
        meta.id().is_some().then_some(meta)
    }

    pub(super) fn write(&self, folder: &Path, seams: &Seams) -> io::Result<()> {
        seams.disk.replace(&path(folder), &self.encode_to_vec())
    }

    pub(super) fn id(&self) -> Option<[u8; 16]> {
        self.id.as_slice().try_into().ok()
    }

    pub(super) fn was_closed(&self) -> bool {
        self.clean
    }

    pub(super) fn reserved(&self) -> u64 {
        self.reserved
    }

    pub(super) fn alive_at(&self) -> Option<SystemTime> {
        self.alive_at.as_ref().and_then(|at| time::system_time(at).ok())
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join("spool")
}
