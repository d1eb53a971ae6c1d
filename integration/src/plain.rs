//! A caller that speaks HTTP/1.1 in bytes of its own, and reads what comes back to the end.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wait::DEADLINE;

/// Whether the other end has closed a connection, and what it sent.
#[derive(Debug)]
pub struct Said {
    /// All bytes that came.
    pub bytes: Vec<u8>,
    /// Whether the connection ended within the time that was given.
    pub ended: bool,
}

impl Said {
    /// The status of each answer, interim answers included, in their order. Panics if it is not a row of whole answers.
    pub fn statuses(&self) -> Vec<u16> {
        let mut statuses = Vec::new();
        let mut rest = &self.bytes[..];
        while !rest.is_empty() {
            let Some(end) = find(rest, b"\r\n\r\n") else { panic!("half a head: {}", self.text()) };
            let head = String::from_utf8_lossy(&rest[..end]).to_lowercase();
            let status = head.strip_prefix("http/1.1 ").or_else(|| head.strip_prefix("http/1.0 "));
            let status = status.and_then(|status| status.get(..3)?.parse().ok());
            let status: u16 = status.unwrap_or_else(|| panic!("no answer: {}", self.text()));
            let mut lines = head.lines();
            let length = lines.find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            rest = &rest[end + 4..];
            // The answer to HEAD says how long a body would be that is not there.
            let has_body = status >= 200 && status != 204 && status != 304 && !rest.starts_with(b"HTTP/1.");
            rest = &rest[if has_body { length.unwrap_or(0).min(rest.len()) } else { 0 }..];
            statuses.push(status);
        }
        statuses
    }

    /// The bytes as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// Where a part begins.
pub fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// Sends pieces one after the other on one connection, and reads until it ends.
///
/// Panics if it does not: the last piece has to bring the end about.
pub async fn converse(to: SocketAddr, pieces: &[&[u8]]) -> Said {
    let mut stream = TcpStream::connect(to).await.expect("it listens");
    stream.set_nodelay(true).expect("a socket takes it");
    for piece in pieces {
        // The connection may be closed in the middle of it, which is an answer, too.
        if stream.write_all(piece).await.is_err() {
            break;
        }
    }
    let said = listen(&mut stream, DEADLINE).await;
    assert!(said.ended, "it is still open after {:?}: {}", pieces.concat(), said.text());
    said
}

/// Reads until the end, or for so long.
pub async fn listen(stream: &mut TcpStream, within: Duration) -> Said {
    let mut bytes = Vec::new();
    let mut part = vec![0; 16 * 1024];
    // An end is an end, however abrupt.
    let read = async {
        while let Ok(count @ 1..) = stream.read(&mut part).await {
            bytes.extend_from_slice(&part[..count]);
        }
    };
    let ended = timeout(within, read).await.is_ok();
    Said { bytes, ended }
}
