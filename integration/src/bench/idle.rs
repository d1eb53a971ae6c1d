//! `idle`: what an idle caller connection costs a node. A real process, alone with a file; HTTP/1.1, with and without TLS.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rcgen::{CertificateParams, KeyPair};
use rr_contract::runtime::{Tasks, descriptors};
use rr_integration::process::{Port, Process, admin, program};
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::report::Report;

const NAME: &str = "edge.example";
/// What a node of one worker keeps of its descriptors for itself: files, look-ups and dials.
const RESERVE: u64 = 2_600;
/// Opened first, so that what is made once is not counted.
const WARM: usize = 200;
/// Opened at once.
const WAVE: usize = 32;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Idle connections; fewer if the limit of open files is less than twice that.
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// Nodes measured of each kind, one after the other.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

pub(crate) async fn run(args: Args, report: &mut Report) -> anyhow::Result<()> {
    let most = usize::try_from(descriptors::raise().saturating_sub(RESERVE) / 2)?.saturating_sub(WARM);
    let connections = args.connections.min(most);
    for (kind, tls, asks) in [
        ("idle, fresh", false, false),
        ("idle after a request", false, true),
        ("idle, fresh, TLS", true, false),
        ("idle after a request, TLS", true, true),
    ] {
        let mut all = Vec::new();
        for round in 1..=args.rounds {
            let kib = measure(connections, tls, asks).await?;
            report.round(kind, round, kib, "KiB");
            all.push(kib);
        }
        let note = format!("resident memory of rr-edge, by {connections} connections of HTTP/1.1");
        report.metric("idle", kind, &all, "KiB", &note);
    }
    Ok(())
}

/// KiB a connection.
async fn measure(connections: usize, tls: bool, asks: bool) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let upstream = Upstream::start_forgetful().await;
    let node = Node::start(folder.path(), &upstream.url(), connections + WARM, tls).await?;
    let _warm = node.open(WARM, asks).await?;
    let before = node.settled().await?;
    let _idle = node.open(connections, asks).await?;
    let after = node.settled().await?;
    let metrics = admin(node.admin, "/metrics").await?;
    let is_cut = |line: &&str| {
        line.starts_with("requestrocket_edge_caller_connections_cut_total") && !line.ends_with(" 0")
    };
    if let Some(line) = metrics.text().lines().find(is_cut) {
        bail!("connections were closed: {line}");
    }
    Ok((after as f64 - before as f64) / 1024.0 / connections as f64)
}

struct Node {
    process: Process,
    admin: SocketAddr,
    way: Way,
    _ports: [Port; 2],
}

/// How a caller gets to it.
#[derive(Clone)]
struct Way {
    listen: SocketAddr,
    connector: Option<TlsConnector>,
    request: Vec<u8>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Node {
    async fn start(folder: &Path, upstream: &str, connections: usize, tls: bool) -> anyhow::Result<Self> {
        let made =
            Command::new(program("rr-edge")).current_dir(folder).args(["--make-key", "key"]).output()?;
        if !made.status.success() {
            bail!("--make-key: {made:?}");
        }
        write(&folder.join("gateway.yaml"), &gateway(upstream))?;
        let ports = [Port::reserve(), Port::reserve()];
        let [listen, admin] = ports.each_ref().map(Port::address);
        let mut command = Command::new(program("rr-edge"));
        // One worker: the kernel does not share connections out evenly, and none is to be closed.
        command.current_dir(folder).args(["--standalone", "gateway.yaml", "--workers", "1"]);
        command.args(["--listen", &listen.to_string(), "--admin", &admin.to_string()]);
        command.args(["--allow-upstream", "127.0.0.0/8", "--connection-limit", &connections.to_string()]);
        let mut connector = None;
        if tls {
            let key = KeyPair::generate()?;
            let certificate = CertificateParams::new(vec![NAME.to_owned()])?.self_signed(&key)?;
            write(&folder.join("tls.crt"), &certificate.pem())?;
            write(&folder.join("tls.key"), &key.serialize_pem())?;
            command.args(["--tls-certificate", "tls.crt", "--tls-key", "tls.key"]);
            connector = Some(trusting(certificate.der())?);
        }
        let process = Process::start(&mut command, &folder.join("log"));
        eventually("the node is ready", || async {
            (self::admin(admin, "/readyz").await.ok()?.status == 200).then_some(())
        })
        .await;
        let key = fs::read_to_string(folder.join("key"))?;
        let request = format!(
            "GET /api/local.echo/ HTTP/1.1\r\nhost: {NAME}\r\nauthorization: Bearer {}\r\n\r\n",
            key.trim()
        );
        let way = Way { listen, connector, request: request.into_bytes() };
        Ok(Self { process, admin, way, _ports: ports })
    }

    /// Opens connections, and leaves them. Some at a time: one that has asked for nothing has 15 s.
    async fn open(&self, connections: usize, asks: bool) -> anyhow::Result<Vec<Box<dyn Stream>>> {
        let (mut all, tasks) = (Vec::with_capacity(connections), Tasks::new());
        while all.len() < connections {
            let wave = (all.len()..connections).take(WAVE);
            let wave: Vec<_> = wave.map(|_| tasks.spawn("caller", self.way.clone().connect(asks))).collect();
            for opening in wave {
                all.push(opening.await??);
            }
        }
        Ok(all)
    }

    /// Its memory, once nothing changes it any more.
    async fn settled(&self) -> anyhow::Result<u64> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(self.process.resident()?)
    }
}

impl Way {
    async fn connect(self, asks: bool) -> anyhow::Result<Box<dyn Stream>> {
        let socket = TcpStream::connect(self.listen).await?;
        let mut stream: Box<dyn Stream> = match &self.connector {
            None => Box::new(socket),
            Some(connector) => Box::new(connector.connect(ServerName::try_from(NAME)?, socket).await?),
        };
        if asks {
            stream.write_all(&self.request).await?;
            answered(&mut stream).await?;
        }
        Ok(stream)
    }
}

/// Reads one answer with a length.
async fn answered(stream: &mut Box<dyn Stream>) -> anyhow::Result<()> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 2048]);
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            bail!("closed after {:?}", String::from_utf8_lossy(&bytes));
        }
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        if !head.starts_with("HTTP/1.1 200") {
            bail!("answered {head:?}");
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.context("an answer without a length")?.parse()?;
        if body.len() >= length {
            return Ok(());
        }
    }
}

fn trusting(certificate: &CertificateDer<'static>) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(TlsConnector::from(Arc::new(builder.with_root_certificates(roots).with_no_client_auth())))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(())
}

fn gateway(upstream: &str) -> String {
    format!(
        "\
kind: target
name: echo
base_url: {upstream}
danger_plaintext: true
---
kind: credential
name: open
upstream: {{kind: none}}
---
kind: credential
name: app
caller: {{kind: api-key}}
value_from: {{file: key}}
---
kind: proxy
name: echo
target: echo
caller_credentials: [app]
upstream_credential: open
"
    )
}
