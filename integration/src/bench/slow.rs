//! `slow`: what callers cost that do not read, or send a byte a second, and how a caller that behaves fares meanwhile.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::task::block_in_place;

use crate::carriers::{self, Carrier};
use crate::line::Line;
use crate::machine;
use crate::report::Report;
use crate::source::Source;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Callers that do not read their answers; as many that are slow with their heads, and with their bodies.
    #[arg(long, default_value_t = 200)]
    callers: usize,
    /// The length of an answer that is not read.
    #[arg(long, default_value_t = 100)]
    mib: u64,
    /// Seconds in quiet, and seconds meanwhile.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Requests a second of the caller that behaves.
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// The processor of the edge.
    #[arg(long, default_value_t = 0)]
    proxy_processor: usize,
    /// The processor of callers and upstream.
    #[arg(long, default_value_t = 1)]
    load_processor: usize,
}

pub(crate) async fn run(args: Args, report: &mut Report) -> anyhow::Result<()> {
    ensure!(args.seconds > 0 && args.rate > 0, "at least one request in one second");
    let source = Source::start(args.load_processor)?;
    let edge = carriers::edge(&source, args.proxy_processor)?;
    block_in_place(|| {
        let quiet = behave(&args, &edge)?;
        let before = edge.resident()?;
        let is_over = AtomicBool::new(false);
        let (meanwhile, most, open) = std::thread::scope(|scope| -> anyhow::Result<_> {
            let deaf = deaf(&args, &edge)?;
            rest(&edge)?;
            let slow = scope.spawn(|| dribble(&args, &edge, &is_over));
            let watcher = scope.spawn(|| {
                let mut most = 0;
                while !is_over.load(Ordering::Relaxed) {
                    most = most.max(edge.resident().unwrap_or(0));
                    std::thread::park_timeout(Duration::from_millis(100));
                }
                most
            });
            let meanwhile = behave(&args, &edge);
            is_over.store(true, Ordering::Relaxed);
            let most = watcher.join().expect("it does not panic");
            let open = slow.join().expect("it does not panic")?;
            drop(deaf);
            Ok((meanwhile?, most, open))
        })?;
        let note = format!("{} requests a second of a caller that behaves", args.rate);
        report.percentiles("slow", "quiet", &quiet, "us", &note);
        report.percentiles("slow", "meanwhile", &meanwhile, "us", &note);
        let grown = most.saturating_sub(before) as f64 / 1024.0 / 1024.0;
        let note = format!(
            "{} callers that do not read {} MiB, {0} slow heads, {0} slow bodies",
            args.callers, args.mib
        );
        report.metric("slow", "growth", &[grown], "MiB", &note);
        report.metric("slow", "slow callers left", &[open as f64], "", "of those that send a byte a second");
        Ok(())
    })
}

/// Microseconds of requests at a steady pace, each from when it was due.
#[expect(clippy::disallowed_methods, reason = "the thread has nothing else to do than to wait for its time")]
fn behave(args: &Args, edge: &Carrier) -> anyhow::Result<Vec<f64>> {
    machine::on(args.load_processor, || {
        let (mut line, request) = (Line::connect(edge.http1, None)?, edge.head("GET", "/short", ""));
        let mut micros = Vec::new();
        let (began, pause) = (Instant::now(), Duration::from_secs(1) / args.rate);
        let mut due = began;
        while due - began < Duration::from_secs(args.seconds) {
            due += pause;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let status = line.ask(&request)?;
            ensure!(status == 200, "answered {status}");
            micros.push(due.elapsed().as_secs_f64() * 1e6);
        }
        Ok(micros)
    })?
}

/// Callers that take the beginning of a long answer, and no more.
fn deaf(args: &Args, edge: &Carrier) -> anyhow::Result<Vec<TcpStream>> {
    let path = format!("/bytes/{}", args.mib * 1024 * 1024);
    (0..args.callers)
        .map(|_| {
            let mut socket = TcpStream::connect(edge.http1)?;
            socket.write_all(&edge.head("GET", &path, ""))?;
            socket.set_read_timeout(Some(Duration::from_secs(10)))?;
            socket.read_exact(&mut [0; 1024])?;
            Ok(socket)
        })
        .collect()
}

/// Waits until all buffers are full, which is work like any other: until the edge has nearly nothing to do.
#[expect(clippy::disallowed_methods, reason = "the thread has nothing else to do")]
fn rest(edge: &Carrier) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let before = machine::spent(edge.process())?;
        std::thread::sleep(Duration::from_millis(500));
        if machine::spent(edge.process())?.since(before).total() < 0.025 {
            return Ok(());
        }
        ensure!(Instant::now() < until, "the edge works although nobody reads");
    }
}

/// Callers that send a byte a second of their heads, or of their bodies. Returns how many were not cut off.
fn dribble(args: &Args, edge: &Carrier, is_over: &AtomicBool) -> anyhow::Result<usize> {
    let body = edge.head("POST", "/slow", "content-length: 100000\r\n");
    let mut sockets = Vec::new();
    for begun in [&b"GET /api/"[..], &body] {
        for _ in 0..args.callers {
            let mut socket = TcpStream::connect(edge.http1)?;
            socket.write_all(begun)?;
            sockets.push(socket);
        }
    }
    // Each has its turn once a second, and not all at once.
    let mut turn = 0;
    while !is_over.load(Ordering::Relaxed) {
        std::thread::park_timeout(Duration::from_millis(50));
        let mut at = 0;
        // One that was cut off is not asked again.
        sockets.retain_mut(|socket| {
            at += 1;
            at % 20 != turn || socket.write_all(b"x").is_ok()
        });
        turn = (turn + 1) % 20;
    }
    Ok(sockets.len())
}
