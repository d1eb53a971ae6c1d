//! Headers that a collector wants with each export, from a file: as a rule, they say who sends it.
//!
//! The invariants: the file is open to nobody else; no value is printed, not even in an error.

use std::path::{Path, PathBuf};
use std::{io, str};

use rr_seam::{Disk as _, Exposure, RealDisk};
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};
use zeroize::Zeroizing;

/// The headers cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidHeaders {
    /// The file cannot be read.
    #[error("read --otlp-headers-file {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Others can read it.
    #[error("--otlp-headers-file {0}")]
    Open(Exposure),
    /// A line is no header.
    #[error("line {line} of --otlp-headers-file {path} is not `name: value`", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number.
        line: usize,
    },
    /// They would be seen on the way.
    #[error(
        "--otlp-headers-file needs a collector at https, or on this machine: its headers would go out in the clear"
    )]
    Clear,
    /// There is nobody to send them to.
    #[error("--otlp-headers-file needs --otlp-endpoint")]
    NoCollector,
}

/// The headers of a file: one a line, as `name: value`; empty lines and those that begin with `#` say nothing.
pub(super) fn read(path: &Path) -> Result<MetadataMap, InvalidHeaders> {
    let read = |source| InvalidHeaders::Read { path: path.to_owned(), source };
    let bytes = RealDisk.read_private(path).map_err(read)?.map_err(InvalidHeaders::Open)?;
    let bytes = Zeroizing::new(bytes);
    let mut headers = MetadataMap::new();
    for (line, text) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let text = text.trim_ascii();
        if text.is_empty() || text.starts_with(b"#") {
            continue;
        }
        let header =
            header(text).ok_or_else(|| InvalidHeaders::Line { path: path.to_owned(), line: line + 1 });
        let (name, value) = header?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn header(text: &[u8]) -> Option<(MetadataKey<Ascii>, MetadataValue<Ascii>)> {
    let (name, value) = str::from_utf8(text).ok()?.split_once(':')?;
    let name = name.trim().to_ascii_lowercase().parse().ok()?;
    let mut value: MetadataValue<Ascii> = value.trim().parse().ok()?;
    // Such a value prints as nothing, and HTTP/2 does not index it.
    value.set_sensitive(true);
    Some((name, value))
}
