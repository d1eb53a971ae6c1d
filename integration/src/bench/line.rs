//! A caller's connection on a thread of its own: it asks, waits for the whole answer, and asks again.
//!
//! Reads no more of HTTP than a status, a content length and that many bytes, because it shares the machine with what
//! is measured.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(10);

/// With TLS or without it.
trait Socket: Read + Write + Send {}

impl<S: Read + Write + Send> Socket for S {}

/// One connection.
pub(crate) struct Line {
    socket: Box<dyn Socket>,
    buffer: Vec<u8>,
}

impl Line {
    /// Connects, and speaks TLS where there is a configuration for it.
    pub(crate) fn connect(address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(LIMIT))?;
        let buffer = vec![0; 16 * 1024];
        let Some(config) = tls else { return Ok(Self { socket: Box::new(socket), buffer }) };
        let connection = ClientConnection::new(Arc::clone(config), "localhost".try_into()?)?;
        Ok(Self { socket: Box::new(StreamOwned::new(connection, socket)), buffer })
    }

    /// Sends a whole request and reads its whole answer. Returns the status.
    pub(crate) fn ask(&mut self, request: &[u8]) -> anyhow::Result<u16> {
        self.socket.write_all(request)?;
        self.socket.flush()?;
        let mut filled = 0;
        loop {
            if filled == self.buffer.len() {
                self.buffer.resize(2 * filled, 0);
            }
            let read = self.socket.read(&mut self.buffer[filled..])?;
            ensure!(read > 0, "it hung up");
            filled += read;
            let seen = &self.buffer[..filled];
            let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let head = std::str::from_utf8(&seen[..end])?;
            if filled >= end + 4 + length(head)? {
                let status = head.split(' ').nth(1).context("a status")?;
                return Ok(status.parse()?);
            }
        }
    }
}

fn length(head: &str) -> anyhow::Result<usize> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    length.context("an answer without a length")?.1.trim().parse().context("a length")
}
