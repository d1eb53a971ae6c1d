//! `stream`: very many bytes through one connection, in both directions, over HTTP/1.1 and HTTP/2: how fast, and how much
//! memory the proxy takes more.
//!
//! The upstream speaks HTTP/1.1. nginx does the same without buffers on disk in the same rounds; the figures to quote are
//! medians of ratios within a round. The most memory is that of samples, ten a second.

use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::Request;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rr_contract::runtime::Tasks;
use tokio::task::block_in_place;

use crate::carriers::{self, Carrier, EDGE, NGINX};
use crate::machine;
use crate::report::Report;
use crate::source::{PART, Source};

/// What goes first, so that all buffers are there before memory is looked at.
const WARM: u64 = 256 * 1024 * 1024;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Bytes of each transfer.
    #[arg(long, default_value_t = 10 * 1024)]
    mib: u64,
    /// Rounds.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The processor of the proxies.
    #[arg(long, default_value_t = 0)]
    proxy_processor: usize,
    /// The processor of caller and upstream.
    #[arg(long, default_value_t = 1)]
    load_processor: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Down,
    Up,
}

const WAYS: [(&str, bool, Way); 4] = [
    ("1.1 down", false, Way::Down),
    ("1.1 up", false, Way::Up),
    ("2 down", true, Way::Down),
    ("2 up", true, Way::Up),
];

pub(crate) async fn run(args: Args, report: &mut Report) -> anyhow::Result<()> {
    ensure!(args.mib > 0 && args.rounds > 0, "at least one MiB in one round");
    let (folder, source) = (tempfile::tempdir()?, Source::start(args.load_processor)?);
    let mut all = vec![carriers::edge(&source, args.proxy_processor)?];
    match carriers::nginx(&source, args.proxy_processor, folder.path()).await? {
        Some(nginx) => all.push(nginx),
        None => report.say("nginx is not installed and left out"),
    }
    let bytes = args.mib * 1024 * 1024;
    for (label, is_http2, way) in WAYS {
        let mut rates = vec![Vec::new(); all.len()];
        let mut grown = vec![Vec::new(); all.len()];
        for round in 1..=args.rounds {
            for step in 0..all.len() {
                let at = (step + round) % all.len();
                let carrier = &all[at];
                let pass = |bytes| {
                    block_in_place(|| {
                        machine::on(args.load_processor, || match is_http2 {
                            true => over_http2(carrier, way, bytes),
                            false => over_http1(carrier, way, bytes),
                        })
                    })?
                };
                pass(WARM.min(bytes))?;
                let before = carrier.resident()?;
                let (took, most) = watched(carrier, || pass(bytes))?;
                let rate = bytes as f64 / 1e9 / took.as_secs_f64();
                report.round(&format!("{} {label}", carrier.name), round, rate, "GB/s");
                rates[at].push(rate);
                grown[at].push(most.saturating_sub(before) as f64 / 1024.0 / 1024.0);
            }
        }
        let note = format!("{} MiB a transfer, one connection", args.mib);
        for (at, carrier) in all.iter().enumerate() {
            let name = carrier.name;
            report.metric("stream", &format!("{name} {label}"), &rates[at], "GB/s", &note);
            report.metric(
                "stream",
                &format!("{name} {label} growth"),
                &grown[at],
                "MiB",
                "resident, at the most",
            );
        }
        let find = |name| all.iter().position(|carrier| carrier.name == name);
        if let (Some(edge), Some(nginx)) = (find(EDGE), find(NGINX)) {
            let ratios: Vec<f64> =
                rates[edge].iter().zip(&rates[nginx]).map(|(edge, nginx)| edge / nginx).collect();
            report.metric(
                "stream",
                &format!("{label} by nginx"),
                &ratios,
                "",
                "median of ratios within a round",
            );
        }
    }
    Ok(())
}

/// How long work takes, and the most memory that the carrier had meanwhile.
fn watched(carrier: &Carrier, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<(Duration, u64)> {
    let (is_over, most) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                most.fetch_max(carrier.resident().unwrap_or(0), Ordering::Relaxed);
                std::thread::park_timeout(Duration::from_millis(100));
            }
        });
        let began = Instant::now();
        let done = work();
        let took = began.elapsed();
        most.fetch_max(carrier.resident()?, Ordering::Relaxed);
        is_over.store(true, Ordering::Relaxed);
        watcher.thread().unpark();
        done?;
        Ok((took, most.load(Ordering::Relaxed)))
    })
}

fn over_http1(carrier: &Carrier, way: Way, bytes: u64) -> anyhow::Result<()> {
    let mut socket = TcpStream::connect(carrier.http1)?;
    socket.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut part = vec![b'x'; PART];
    let mut left = bytes;
    match way {
        Way::Down => {
            socket.write_all(&carrier.head("GET", &format!("/bytes/{bytes}"), "connection: close\r\n"))?
        }
        Way::Up => {
            let lines = format!("connection: close\r\ncontent-length: {bytes}\r\n");
            socket.write_all(&carrier.head("POST", "/up", &lines))?;
            while left > 0 {
                let some = PART.min(usize::try_from(left).unwrap_or(usize::MAX));
                socket.write_all(&part[..some])?;
                left -= some as u64;
            }
        }
    }
    let (mut came, mut first) = (0, Vec::new());
    loop {
        let read = socket.read(&mut part)?;
        if read == 0 {
            break;
        }
        if first.len() < 16 {
            first.extend_from_slice(&part[..read.min(16)]);
        }
        came += read as u64;
    }
    ensure!(
        first.starts_with(b"HTTP/1.1 200"),
        "{} answered {:?}",
        carrier.name,
        String::from_utf8_lossy(&first)
    );
    ensure!(way == Way::Up || came > bytes, "{} broke off after {came} bytes", carrier.name);
    Ok(())
}

/// So many bytes.
struct Long(u64);

impl http_body::Body for Long {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        static BYTES: [u8; PART] = [b'x'; PART];
        let some = PART.min(usize::try_from(self.0).unwrap_or(usize::MAX));
        self.0 -= some as u64;
        Poll::Ready((some > 0).then(|| Ok(Frame::data(Bytes::from_static(&BYTES[..some])))))
    }

    fn is_end_stream(&self) -> bool {
        self.0 == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}

fn over_http2(carrier: &Carrier, way: Way, bytes: u64) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = tokio::net::TcpStream::connect(carrier.http2).await?;
        socket.set_nodelay(true)?;
        let mut client = http2::Builder::new(TokioExecutor::new());
        client.initial_stream_window_size(1024 * 1024).initial_connection_window_size(1024 * 1024);
        let (mut sender, connection) = client.handshake(TokioIo::new(socket)).await?;
        let driven = Tasks::new().spawn("caller", connection);
        let Carrier { prefix, key, .. } = carrier;
        let (method, path, body) = match way {
            Way::Down => ("GET", format!("/bytes/{bytes}"), 0),
            Way::Up => ("POST", "/up".to_owned(), bytes),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://edge{prefix}{path}"))
            .header("authorization", key);
        if body > 0 {
            request = request.header("content-length", body);
        }
        let answer = sender.send_request(request.body(Long(body))?).await?;
        ensure!(answer.status() == 200, "{} answered {}", carrier.name, answer.status());
        let (mut answer, mut came) = (answer.into_body(), 0);
        while let Some(frame) = answer.frame().await {
            came += frame?.into_data().ok().context("an answer without trailers")?.len() as u64;
        }
        ensure!(way == Way::Up || came == bytes, "{} sent {came} bytes", carrier.name);
        driven.abort();
        Ok(())
    })
}
