//! The upstream behind all peers: nginx that answers 200 and 128 bytes, or the bench itself where there is none.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use rr_integration::process::{Port, Process};
use rr_integration::secure::Secure;

use crate::machine;

use super::{Peer, document, nginx};

const BODY: &str = "{\"items\":[1,2,3],\"note\":\"an answer of one hundred and twenty-eight bytes, which is what many calls of an interface bring back\"}\n";

/// An upstream that is up.
pub(crate) struct Upstream {
    address: SocketAddr,
    process: Option<(Process, Port)>,
}

impl Upstream {
    pub(crate) const NAME: &str = "direct";

    pub(crate) fn start(folder: &Path, processor: usize, tls: Option<&Secure>) -> anyhow::Result<Self> {
        let Some(program) = machine::installed("nginx") else {
            ensure!(tls.is_none(), "an upstream with TLS needs nginx");
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let address = listener.local_addr()?;
            // Ends with the bench.
            std::thread::spawn(move || serve(&listener, processor));
            return Ok(Self { address, process: None });
        };
        let (folder, port) = (folder.join("upstream"), Port::reserve());
        std::fs::create_dir_all(&folder)?;
        let listens = match tls {
            None => format!("listen {} backlog=4096;", port.address()),
            Some(tls) => format!("listen {} ssl backlog=4096; {}", port.address(), nginx::offers(tls)),
        };
        let text = format!(
            "{}\nhttp {{ {} access_log off; keepalive_requests 1000000000; keepalive_timeout 3600s;\n  \
             server {{ {listens} root {}; location / {{ default_type application/json; return 200 '{}'; }}\n  \
             location = /document {{ default_type application/json; }}\n  \
             location = /small {{ default_type application/json; }}\n  \
             location = /document-gzip {{ default_type application/json; add_header Content-Encoding gzip; }} }}\n}}\n",
            nginx::head(&folder),
            nginx::paths(&folder),
            folder.display(),
            BODY,
        );
        let document = document::text();
        std::fs::write(folder.join("small"), document::small())?;
        std::fs::write(folder.join("document"), &document)?;
        std::fs::write(folder.join("document-gzip"), document::gzip(&document)?)?;
        let file = folder.join("nginx.conf");
        std::fs::write(&file, text)?;
        let mut command = Command::new(program);
        command.arg("-p").arg(&folder).arg("-c").arg(&file);
        let process = machine::on(processor, || Process::start(&mut command, &folder.join("log")))?;
        Ok(Self { address: port.address(), process: Some((process, port)) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The first of its processes; `None`: this one.
    pub(crate) fn process(&self) -> Option<u32> {
        self.process.as_ref().map(|(process, _)| process.id())
    }

    /// As if it were a proxy, to be asked without one between.
    pub(crate) fn direct(&self) -> Peer {
        let process = self.process().unwrap_or_else(std::process::id);
        let (name, path, key) = (Self::NAME.to_owned(), super::PATH.to_owned(), "none".to_owned());
        Peer {
            name,
            address: self.address,
            path,
            key,
            process,
            headers: Vec::new(),
            tls: None,
            _held: Box::new(()),
        }
    }
}

/// A thread a connection: there are few, and none does more than to answer.
fn serve(listener: &TcpListener, processor: usize) {
    for socket in listener.incoming().flatten() {
        std::thread::spawn(move || {
            // Whoever hangs up has been answered.
            machine::pin(processor).and_then(|()| answer(socket)).ok();
        });
    }
}

fn answer(mut socket: TcpStream) -> anyhow::Result<()> {
    let reply = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    socket.set_nodelay(true)?;
    let (mut buffer, mut filled) = (vec![0; 16 * 1024], 0);
    loop {
        let read = socket.read(&mut buffer[filled..])?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        // One request at a time, none with a body.
        if buffer[..filled].ends_with(b"\r\n\r\n") {
            filled = 0;
            socket.write_all(reply.as_bytes())?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_as_long_as_the_page_of_figures_says() {
        assert_eq!(BODY.len(), 128);
        assert!(!BODY.contains('\''), "it stands in quotes in a configuration");
    }
}
