//! Sockets that listen: bound before anything else is done, so that a start that cannot succeed leaves
//! nothing behind.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// A storm of reconnecting callers silently overflows a short queue.
const BACKLOG: i32 = 4096;

/// An address that cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("listen on {address} ({flag})")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// The flag that sets it.
    pub flag: &'static str,
    /// The error of the operating system.
    #[source]
    pub source: io::Error,
}

/// One listener a worker, all on one port.
pub(crate) fn proxy(address: SocketAddr, workers: usize) -> Result<Vec<TcpListener>, BindError> {
    let failed = |source| BindError { address, flag: "--listen", source };
    // With SO_REUSEPORT a second process would get half of the first one's callers instead of an error, so
    // the port is first taken without it.
    let probe = open(address, false).map_err(failed)?;
    let bound = probe.local_addr().map_err(failed)?;
    let address = bound.as_socket().unwrap_or(address);
    drop(probe);
    let listeners = (0..workers).map(|_| {
        let socket = open(address, true)?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    });
    listeners.collect::<Result<_, _>>().map_err(failed)
}

/// The listener of the admin port.
pub(crate) fn admin(address: SocketAddr) -> Result<TcpListener, BindError> {
    let bind = || {
        let socket = open(address, false)?;
        socket.listen(128)?;
        Ok(socket.into())
    };
    bind().map_err(|source| BindError { address, flag: "--admin", source })
}

fn open(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_one_port_and_nobody_else_gets_it() {
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let listeners = proxy(any, 3).expect("a free port");
        let address = listeners[0].local_addr().expect("it is bound");
        assert!(listeners.iter().all(|listener| listener.local_addr().expect("it is bound") == address));
        let error = proxy(address, 1).expect_err("the port is taken");
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(error.to_string(), format!("listen on {address} (--listen)"));
    }
}
