//! What carries long bodies and streams of events: the edge alone, nginx where it is installed, and nothing at all.
//!
//! Each is one process of one thread, pinned to one processor. No keys but one, and no records beside a file.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use rr_integration::process::{Port, Process};
use rr_integration::standalone::{Behind, Standalone};
use rr_integration::wait::eventually;
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use crate::machine;
use crate::source::Source;

/// The name of the edge.
pub(crate) const EDGE: &str = "rr-edge";
/// The name of the edge that searches answers for the upstream's secret.
pub(crate) const SEARCHING: &str = "rr-edge-searching";
/// The name of the edge that reads numbers in streams.
pub(crate) const METERING: &str = "rr-edge-metering";
/// The name of nginx.
pub(crate) const NGINX: &str = "nginx";
/// The name of no proxy.
pub(crate) const DIRECT: &str = "direct";

/// What stands between a caller and the source.
pub(crate) struct Carrier {
    pub(crate) name: &'static str,
    /// For HTTP/1.1, and for HTTP/2 without TLS.
    pub(crate) http1: SocketAddr,
    pub(crate) http2: SocketAddr,
    /// What stands before paths of the source.
    pub(crate) prefix: &'static str,
    pub(crate) key: String,
    held: Held,
}

enum Held {
    Edge(Box<Standalone>),
    Nginx(Process, #[expect(dead_code, reason = "held for its drop")] [Port; 2]),
    Nothing,
}

impl Carrier {
    /// Resident memory in bytes; of nothing, none.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        Ok(match &self.held {
            Held::Edge(node) => node.process.resident()?,
            Held::Nginx(process, _) => process.resident()?,
            Held::Nothing => 0,
        })
    }

    /// Seconds of the processor that the edge has taken.
    pub(crate) fn processor_time(&self) -> anyhow::Result<f64> {
        match &self.held {
            Held::Edge(node) => Ok(node.process.processor_time()?),
            Held::Nginx(..) | Held::Nothing => anyhow::bail!("{} is no edge", self.name),
        }
    }

    /// The records of the edge, once there are some.
    pub(crate) async fn records(&self) -> Option<Vec<serde_json::Value>> {
        match &self.held {
            Held::Edge(node) => Some(node.records(1).await),
            Held::Nginx(..) | Held::Nothing => None,
        }
    }

    /// Its process; of nothing, this one.
    pub(crate) fn process(&self) -> u32 {
        match &self.held {
            Held::Edge(node) => node.process.id(),
            Held::Nginx(process, _) => process.id(),
            Held::Nothing => std::process::id(),
        }
    }

    /// The head of a request, with lines that end it or go on.
    pub(crate) fn head(&self, method: &str, path: &str, lines: &str) -> Vec<u8> {
        let Self { prefix, key, .. } = self;
        format!("{method} {prefix}{path} HTTP/1.1\r\nhost: edge\r\nauthorization: {key}\r\n{lines}\r\n")
            .into_bytes()
    }
}

/// No proxy.
pub(crate) fn direct(source: &Source) -> Carrier {
    let (http1, http2) = (source.address(), source.address());
    Carrier { name: DIRECT, http1, http2, prefix: "", key: "none".to_owned(), held: Held::Nothing }
}

/// The edge.
pub(crate) fn edge(source: &Source, processor: usize) -> anyhow::Result<Carrier> {
    let behind = Behind::new("source", &format!("http://{}", source.address()));
    started(EDGE, behind, "", processor)
}

/// The edge, with a secret for the upstream in a file, which it searches answers for.
pub(crate) fn searching_edge(source: &Source, processor: usize, folder: &Path) -> anyhow::Result<Carrier> {
    let file = folder.join("value");
    std::fs::write(&file, "a-secret-of-the-bench-that-no-event-holds")?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
    let behind = Behind::new("source", &format!("http://{}", source.address())).upstream("token");
    let more = format!(
        "---\nkind: credential\nname: token\nupstream: {{kind: bearer}}\nvalue_from: {{file: {}, targets: [source]}}\n",
        file.display()
    );
    started(SEARCHING, behind, &more, processor)
}

/// The edge, with a meter of the tokens that models say they took.
pub(crate) fn metering_edge(source: &Source, processor: usize) -> anyhow::Result<Carrier> {
    let behind = Behind::new("source", &format!("http://{}", source.address()));
    let more = "---\nkind: meter\nname: tokens\nproxy: source\nvalue: {body_path: usage.total_tokens}\n";
    started(METERING, behind, more, processor)
}

fn started(name: &'static str, behind: Behind, more: &str, processor: usize) -> anyhow::Result<Carrier> {
    let runtime = Handle::current();
    let start = || runtime.block_on(Standalone::start_with(&[behind], more, &[]));
    let node = block_in_place(|| machine::on(processor, start))?;
    let (address, key) = (node.listen(), node.key().to_owned());
    let held = Held::Edge(Box::new(node));
    Ok(Carrier { name, http1: address, http2: address, prefix: "/api/local.source", key, held })
}

/// nginx, if it is installed.
pub(crate) async fn nginx(
    source: &Source,
    processor: usize,
    folder: &Path,
) -> anyhow::Result<Option<Carrier>> {
    let Some(program) = machine::installed(NGINX) else { return Ok(None) };
    let ports = [Port::reserve(), Port::reserve()];
    let [http1, http2] = ports.each_ref().map(Port::address);
    let (here, upstream) = (folder.display(), source.address());
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path {here}/{what};"))
        .join(" ");
    let text = format!(
        "daemon off; master_process off; pid {here}/pid; error_log {here}/error.log;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ {temporary} access_log off; client_max_body_size 0; proxy_buffering off; proxy_request_buffering off;\n\
         upstream up {{ server {upstream}; keepalive 64; }}\n\
         server {{ listen {http1}; listen {http2} http2;\n\
         location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }} }}\n"
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, text)?;
    let mut command = Command::new(program);
    command.arg("-p").arg(folder).arg("-c").arg(&file);
    let process = machine::on(processor, || Process::start(&mut command, &folder.join("log")))?;
    eventually("nginx listens", || async { tokio::net::TcpStream::connect(http2).await.ok() }).await;
    let held = Held::Nginx(process, ports);
    Ok(Some(Carrier { name: NGINX, http1, http2, prefix: "", key: "none".to_owned(), held }))
}
