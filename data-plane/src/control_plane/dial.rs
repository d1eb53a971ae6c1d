//! Sockets to the control plane as a trait, so that a simulation can cut and delay them.

use std::future::Future;
use std::io;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::ControlPlaneAddress;

/// What a connection is, whatever carries it.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Socket for T {}

/// A socket that is being opened.
pub type Dialing<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Socket>>> + Send + 'a>>;

/// Opens sockets to the control plane.
pub trait Dial: Send + Sync + 'static {
    /// Opens one.
    fn dial<'a>(&'a self, address: &'a ControlPlaneAddress) -> Dialing<'a>;
}

/// The system's TCP.
#[derive(Debug, Clone, Copy)]
pub struct TcpDial;

impl Dial for TcpDial {
    fn dial<'a>(&'a self, address: &'a ControlPlaneAddress) -> Dialing<'a> {
        Box::pin(async move {
            let stream = TcpStream::connect((address.host(), address.port())).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Socket>)
        })
    }
}
