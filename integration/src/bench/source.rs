//! An upstream of the bench itself: sends as many bytes as it is asked for, takes as many as it is sent, and sends events
//! with the time at which they went out.
//!
//! A thread a connection. Paths end with `/bytes/N`, `/events/NAME`, or anything else for a short answer.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;

use crate::machine;

/// What goes at once.
pub(crate) const PART: usize = 256 * 1024;

/// Streams of events, by name.
type Events = Arc<Mutex<Vec<(String, TcpStream)>>>;

/// A running upstream. It ends with the bench.
pub(crate) struct Source {
    address: SocketAddr,
    events: Events,
}

impl Source {
    /// Starts it on a processor.
    pub(crate) fn start(processor: usize) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, events) = (listener.local_addr()?, Events::default());
        let opened = Arc::clone(&events);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let events = Arc::clone(&opened);
                // Whoever hangs up has had what it wanted.
                std::thread::spawn(move || {
                    machine::pin(processor).and_then(|()| serve(socket, &events)).ok()
                });
            }
        });
        Ok(Self { address, events })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The streams of events that were opened since this was last asked.
    pub(crate) fn take_events(&self) -> Vec<(String, TcpStream)> {
        std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn serve(mut socket: TcpStream, events: &Events) -> anyhow::Result<()> {
    socket.set_nodelay(true)?;
    let (mut buffer, mut filled) = (vec![0; PART], 0);
    loop {
        let end = loop {
            if let Some(end) = buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            let read = socket.read(&mut buffer[filled..])?;
            if read == 0 {
                return Ok(());
            }
            filled += read;
        };
        let head = String::from_utf8_lossy(&buffer[..end]).to_lowercase();
        let path = head.split(' ').nth(1).context("a path")?;
        if let Some((_, name)) = path.split_once("/events/") {
            socket.write_all(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
            )?;
            events.lock().unwrap_or_else(PoisonError::into_inner).push((name.to_owned(), socket));
            return Ok(());
        }
        let count = path.split_once("/bytes/").map(|(_, count)| count.parse()).transpose()?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<u64>().ok());
        let (mut left, early) = (length.unwrap_or(0), filled - end);
        left = left.saturating_sub(early as u64);
        while left > 0 {
            let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = socket.read(&mut buffer[..most])?;
            anyhow::ensure!(read > 0, "a request broke off");
            left -= read as u64;
        }
        filled = 0;
        send(&mut socket, if length.is_some() { 128 } else { count.unwrap_or(128) })?;
    }
}

fn send(socket: &mut TcpStream, count: u64) -> anyhow::Result<()> {
    static BYTES: [u8; PART] = [b'x'; PART];
    socket.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {count}\r\n\r\n").as_bytes())?;
    let mut left = count;
    while left > 0 {
        let some = PART.min(usize::try_from(left).unwrap_or(usize::MAX));
        socket.write_all(&BYTES[..some])?;
        left -= some as u64;
    }
    Ok(())
}
