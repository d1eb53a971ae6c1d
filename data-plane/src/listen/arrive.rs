//! What happens between a connection's first byte and its first request: the PROXY header, TLS, which HTTP it speaks.
//!
//! Serves no request. The invariant: from an address that has to say whose connection it is, nothing else is read
//! before it has; and on a port with TLS nothing is served without.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use crate::caller_tls::{BUFFER_MAX, ServerTls};
use crate::client_certificate::Shown;
use crate::counters::Cut;
use crate::current::Reader;
use crate::pipeline::{Hop, HopTls, Networks, Trusted, holds};
use crate::seats::{CallerSocket, Seat};
use crate::worker::Worker;

use super::proxy_header::{self, ProxyHeaderError};

/// A record of TLS that begins a handshake.
const HANDSHAKE: u8 = 0x16;
/// A key, a proof that the handshake is that of both sides, and the heads of their records: 158 bytes of TLS 1.2 with
/// P-384, fewer of TLS 1.3.
const LAST_FLIGHT: usize = 192;
/// Before each certificate, and behind it.
const CERTIFICATE_HEAD: usize = 8;
/// By RSA with 4096 bits, and the heads of a message and a record more.
const SIGNATURE: usize = 640;
/// An HTTP/2 client without TLS opens with `PRI * HTTP/2.0`, in one piece; no method of HTTP/1.1 that we take begins
/// so.
const HTTP2: [u8; 4] = *b"PRI ";

/// How one worker lets connections in.
pub(crate) struct Door {
    /// `None`: no TLS.
    pub(crate) tls: Option<Reader<ServerTls>>,
    pub(crate) neighbours: Neighbours,
}

/// Whose word counts, on all workers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Neighbours {
    /// Whoever has to begin with a PROXY header.
    pub(crate) proxy_protocol_from: Networks,
    /// Who is believed about senders of requests.
    pub(crate) trusted: Trusted,
}

/// A connection that is ready for requests.
pub(super) struct Arrived {
    pub(super) stream: CallerStream,
    pub(super) hop: Rc<Hop>,
}

impl Door {
    /// `None`: nothing can be served on it, and why is counted.
    pub(super) async fn arrive(
        &self,
        mut socket: CallerSocket,
        mut peer: IpAddr,
        seat: &Seat,
        worker: &Worker,
    ) -> Option<Arrived> {
        let failed = |why, error: &dyn std::error::Error| {
            // What the node itself ends is counted where it does.
            worker.counters.cut(why);
            debug!(%error, "connection ended before its first request");
        };
        let Neighbours { proxy_protocol_from, trusted } = &self.neighbours;
        if !proxy_protocol_from.is_empty() && holds(proxy_protocol_from, peer) {
            let said = proxy_header::read(&mut socket).await;
            if matches!(said, Err(ProxyHeaderError::Nothing)) {
                return None;
            }
            let said = said.inspect_err(|error| failed(Cut::ProxyHeader, error)).ok()?;
            peer = said.unwrap_or(peer);
            seat.has_arrived();
        }
        let mut hop = Hop::new(peer, trusted);
        let mut first = [0; HTTP2.len()];
        let seen = match socket.peek(&mut first).await {
            Ok(seen) => &first[..seen],
            Err(error) => {
                debug!(%error, "connection ended before its first byte");
                return None;
            }
        };
        hop.is_http2 = *seen == HTTP2;
        let Some(tls) = &self.tls else {
            return Some(Arrived { stream: CallerStream::Plain(socket), hop: Rc::new(hop) });
        };
        if seen.first().is_some_and(u8::is_ascii_uppercase) {
            hop.is_out_of_place = true;
            return Some(Arrived { stream: CallerStream::Plain(socket), hop: Rc::new(hop) });
        }
        if seen.first() != Some(&HANDSHAKE) {
            if !seen.is_empty() {
                failed(Cut::Handshake, &io::Error::from(io::ErrorKind::InvalidData));
            }
            return None;
        }
        let was_asked = worker.view().asks_for_certificates();
        let config = tls.view().config(was_asked);
        // Boxed, so that a connection without TLS, or that has not begun it, does not hold the room for it.
        let handshake = Box::pin(
            TlsAcceptor::from(config)
                .accept_with(socket, |connection| connection.set_buffer_limit(Some(BUFFER_MAX))),
        );
        let stream = handshake.await.inspect_err(|error| failed(Cut::Handshake, error)).ok()?;
        seat.has_arrived();
        let (socket, shaken) = stream.get_ref();
        let shown = shaken.peer_certificates().unwrap_or_default();
        // What came behind the handshake with its end lies in the library, and does not pass the socket again.
        seat.read(socket.last_run().saturating_sub(last_flight_max(shown)));
        hop.is_http2 = shaken.alpn_protocol() == Some(b"h2");
        let name = shaken.server_name().map(|name| name.to_ascii_lowercase().into());
        // The whole of it only where somebody may ask who has issued it.
        let shown = Shown::new(shown, worker.view().takes_names()).map(Rc::new);
        hop.tls = Some(HopTls { name, shown, was_asked });
        Some(Arrived { stream: CallerStream::Tls(Box::new(stream)), hop: Rc::new(hop) })
    }

    /// Lets go of certificates that are no longer served.
    pub(super) fn tick(&self) {
        if let Some(tls) = &self.tls {
            tls.tick();
        }
    }
}

/// The most that a caller sends behind the last word of this node and still belongs to the handshake.
fn last_flight_max(shown: &[CertificateDer<'_>]) -> usize {
    let certificates = shown.iter().map(|certificate| certificate.len() + CERTIFICATE_HEAD);
    LAST_FLIGHT + certificates.sum::<usize>() + if shown.is_empty() { 0 } else { SIGNATURE }
}

/// A caller's connection, with or without TLS.
pub(super) enum CallerStream {
    Plain(CallerSocket),
    Tls(Box<TlsStream<CallerSocket>>),
}

macro_rules! either {
    ($stream:expr, $inner:ident => $do:expr) => {
        match $stream.get_mut() {
            CallerStream::Plain(socket) => {
                let $inner = Pin::new(socket);
                $do
            }
            CallerStream::Tls(stream) => {
                let $inner = Pin::new(&mut **stream);
                $do
            }
        }
    };
}

impl AsyncRead for CallerStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, inner => inner.poll_read(context, buffer))
    }
}

impl AsyncWrite for CallerStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, inner => inner.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, inner => inner.poll_write_vectored(context, buffers))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, inner => inner.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, inner => inner.poll_shutdown(context))
    }
}
