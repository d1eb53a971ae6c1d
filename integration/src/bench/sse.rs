//! `sse`: how long an event takes from the upstream to the caller, beside no proxy.
//!
//! One thread sends events on all streams in turn, each with the time at which it goes out; callers are on the same clock.
//! So an event of the edge and one of no proxy are never further apart than one pause, whatever the machine does.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::task::block_in_place;

use crate::carriers::{self, Carrier, DIRECT, EDGE, NGINX, SEARCHING};
use crate::machine;
use crate::report::{Report, percentile};
use crate::source::Source;

/// Events that do not count, first of each stream.
const WARM: usize = 50;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rounds.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Events on each stream in a round.
    #[arg(long, default_value_t = 2000)]
    events: usize,
    /// Events a second on each stream.
    #[arg(long, default_value_t = 200)]
    rate: u64,
    /// The processor of the proxies.
    #[arg(long, default_value_t = 0)]
    proxy_processor: usize,
    /// The processor of callers and upstream.
    #[arg(long, default_value_t = 1)]
    load_processor: usize,
}

pub(crate) async fn run(args: Args, report: &mut Report) -> anyhow::Result<()> {
    ensure!(args.rounds > 0 && args.events > 0 && args.rate > 0, "at least one event in one round");
    let (folder, source) = (tempfile::tempdir()?, Source::start(args.load_processor)?);
    let mut all = vec![carriers::direct(&source), carriers::edge(&source, args.proxy_processor)?];
    all.push(carriers::searching_edge(&source, args.proxy_processor, folder.path())?);
    match carriers::nginx(&source, args.proxy_processor, folder.path()).await? {
        Some(nginx) => all.push(nginx),
        None => report.say("nginx is not installed and left out"),
    }
    let (mut halves, mut most) = (vec![Vec::new(); all.len()], vec![Vec::new(); all.len()]);
    for round in 1..=args.rounds {
        let rounds = block_in_place(|| one_round(&args, &source, &all))?;
        for (at, mut micros) in rounds.into_iter().enumerate() {
            micros.sort_by(f64::total_cmp);
            halves[at].push(percentile(&micros, 0.5));
            most[at].push(percentile(&micros, 0.99));
            report.round(&format!("{} p50", all[at].name), round, halves[at][round - 1], "us");
            report.round(&format!("{} p99", all[at].name), round, most[at][round - 1], "us");
        }
    }
    let note = format!("{} events a second on each stream, in turn", args.rate);
    for (at, carrier) in all.iter().enumerate() {
        report.metric("sse", &format!("{} p50", carrier.name), &halves[at], "us", &note);
        report.metric("sse", &format!("{} p99", carrier.name), &most[at], "us", &note);
    }
    let find = |name| all.iter().position(|carrier| carrier.name == name).context("it was started");
    let (edge, direct) = (find(EDGE)?, find(DIRECT)?);
    let added: Vec<f64> =
        halves[edge].iter().zip(&halves[direct]).map(|(edge, direct)| edge - direct).collect();
    report.metric("sse", "added p50", &added, "us", "over no proxy, by round");
    let searching = find(SEARCHING)?;
    let by_search: Vec<f64> =
        halves[searching].iter().zip(&halves[edge]).map(|(with, without)| with - without).collect();
    let note = "over an edge without a secret, by round; asked for: at most 1000";
    report.metric("sse", "search p50", &by_search, "us", note);
    let ratios: Vec<f64> = most[edge].iter().zip(&most[direct]).map(|(edge, direct)| edge / direct).collect();
    report.metric("sse", "p99 by no proxy", &ratios, "", "median of ratios within a round");
    if let Ok(nginx) = find(NGINX) {
        let ratios: Vec<f64> =
            most[edge].iter().zip(&most[nginx]).map(|(edge, nginx)| edge / nginx).collect();
        report.metric("sse", "p99 by nginx", &ratios, "", "median of ratios within a round");
    }
    Ok(())
}

/// The microseconds of each event, by carrier.
fn one_round(args: &Args, source: &Source, all: &[Carrier]) -> anyhow::Result<Vec<Vec<f64>>> {
    let (start, count) = (Instant::now(), args.events + WARM);
    std::thread::scope(|scope| {
        let callers: Vec<_> = all
            .iter()
            .map(|carrier| {
                scope.spawn(move || {
                    machine::pin(args.load_processor)?;
                    hear(carrier, start, count)
                })
            })
            .collect();
        machine::on(args.load_processor, || send(args, source, all.len(), start, count))??;
        callers
            .into_iter()
            .map(|caller| {
                let mut micros = caller.join().expect("a caller does not panic")?;
                Ok(micros.split_off(WARM))
            })
            .collect()
    })
}

#[expect(clippy::disallowed_methods, reason = "the thread has nothing else to do than to wait for its time")]
fn send(args: &Args, source: &Source, streams: usize, start: Instant, count: usize) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_secs(10);
    let mut open = Vec::new();
    while open.len() < streams {
        open.extend(source.take_events());
        ensure!(Instant::now() < until, "not all streams were opened");
        std::thread::sleep(Duration::from_millis(1));
    }
    let pause = Duration::from_secs(1) / u32::try_from(args.rate * streams as u64)?;
    let mut due = Instant::now();
    for n in 0..count {
        for step in 0..streams {
            due += pause;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let (_, stream) = &mut open[(n + step) % streams];
            let event = format!("data: {:020}\n\n", start.elapsed().as_nanos());
            stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())?;
        }
    }
    for (_, mut stream) in open {
        stream.write_all(b"0\r\n\r\n")?;
    }
    Ok(())
}

/// Reads events, and says how long each took.
fn hear(carrier: &Carrier, start: Instant, count: usize) -> anyhow::Result<Vec<f64>> {
    const MARK: &[u8] = b"data: ";
    let mut socket = TcpStream::connect(carrier.http1)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(Duration::from_secs(30)))?;
    socket.write_all(&carrier.head("GET", &format!("/events/{}", carrier.name), ""))?;
    let (mut seen, mut part, mut micros) = (Vec::new(), vec![0; 16 * 1024], Vec::with_capacity(count));
    while micros.len() < count {
        let read = socket.read(&mut part)?;
        let now = start.elapsed().as_nanos();
        ensure!(read > 0, "{} hung up: {}", carrier.name, String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&part[..read]);
        while let Some(at) = seen.windows(MARK.len()).position(|window| window == MARK) {
            let Some(digits) = seen.get(at + MARK.len()..at + MARK.len() + 20) else { break };
            let sent: u128 = std::str::from_utf8(digits)?.parse()?;
            micros.push((now - sent) as f64 / 1e3);
            seen.drain(..at + MARK.len() + 20);
        }
    }
    Ok(micros)
}
