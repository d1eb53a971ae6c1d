//! `stream-meter`: what a meter of a stream's numbers takes of the processor, beside the same stream without one.
//!
//! Two nodes, each on the same processor, pass the same events in turns: as models send them, each in a write of its own,
//! and many in one write, as a fast upstream's come. The figure to quote is the median of ratios within a round.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::task::block_in_place;

use crate::carriers::{self, Carrier};
use crate::machine;
use crate::report::Report;
use crate::source::Source;

/// An event of a chat completion, as most are.
const EVENT: &str = "data: {\"id\":\"chatcmpl-9\",\"object\":\"chat.completion.chunk\",\"created\":1732838400,\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\"finish_reason\":null}],\"usage\":null}\n\n";
/// The last.
const LAST: &str = "data: {\"id\":\"chatcmpl-9\",\"choices\":[],\"usage\":{\"prompt_tokens\":13,\"completion_tokens\":29,\"total_tokens\":42}}\n\ndata: [DONE]\n\n";
/// How many go in a write of many.
const TOGETHER: usize = 256;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rounds.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Events of a stream, each in a write of its own.
    #[arg(long, default_value_t = 60_000)]
    events: usize,
    /// Events of a stream of which many go in one write.
    #[arg(long, default_value_t = 4_000_000)]
    many: usize,
    /// The processor of the nodes.
    #[arg(long, default_value_t = 0)]
    proxy_processor: usize,
    /// The processor of caller and upstream.
    #[arg(long, default_value_t = 1)]
    load_processor: usize,
}

pub(crate) async fn run(args: Args, report: &mut Report) -> anyhow::Result<()> {
    ensure!(args.rounds > 0 && args.events > 0 && args.many > 0, "at least one event in one round");
    let source = Source::start(args.load_processor)?;
    let without = carriers::edge(&source, args.proxy_processor)?;
    let with = carriers::metering_edge(&source, args.proxy_processor)?;
    for (label, events, together) in [("one by one", args.events, 1), ("many at once", args.many, TOGETHER)] {
        let mut micros = [Vec::new(), Vec::new()];
        for round in 0..=args.rounds {
            for step in 0..2 {
                let at = (step + round) % 2;
                let carrier = [&without, &with][at];
                let took = block_in_place(|| {
                    machine::on(args.load_processor, || pass(&source, carrier, events, together))
                })??;
                // The first round warms.
                if round > 0 {
                    report.round(&format!("{} {label}", carrier.name), round, took, "us");
                    micros[at].push(took);
                }
            }
        }
        let note = format!("processor time of an event of {} bytes, {events} a round", EVENT.len());
        for (at, carrier) in [&without, &with].into_iter().enumerate() {
            report.metric("stream-meter", &format!("{} {label}", carrier.name), &micros[at], "us", &note);
        }
        let ratios: Vec<f64> =
            micros[1].iter().zip(&micros[0]).map(|(with, without)| with / without).collect();
        let note = "median of ratios within a round; asked for: at most 1.1";
        report.metric("stream-meter", &format!("{label}, by no meter"), &ratios, "", note);
    }
    let said = with.records().await.context("the node with a meter has records")?;
    let exact = said.iter().filter(|record| record["meters"][0]["charged_millionths"] == 42_000_000).count();
    ensure!(exact == said.len(), "{exact} of {} records have the number", said.len());
    Ok(())
}

/// Passes one stream; the microseconds of the processor that the node takes for an event.
fn pass(source: &Source, carrier: &Carrier, events: usize, together: usize) -> anyhow::Result<f64> {
    let mut caller = TcpStream::connect(carrier.http1)?;
    caller.set_read_timeout(Some(Duration::from_secs(30)))?;
    caller.write_all(&carrier.head("GET", &format!("/events/{}", carrier.name), "connection: close\r\n"))?;
    let until = Instant::now() + Duration::from_secs(10);
    let mut upstream = loop {
        if let Some((_, upstream)) = source.take_events().pop() {
            break upstream;
        }
        ensure!(Instant::now() < until, "{} asked for no stream", carrier.name);
        std::thread::park_timeout(Duration::from_millis(1));
    };
    let before = carrier.processor_time()?;
    let reading = std::thread::spawn(move || -> anyhow::Result<u64> {
        let (mut part, mut came) = (vec![0; 256 * 1024], 0);
        loop {
            let read = caller.read(&mut part)?;
            if read == 0 {
                return Ok(came);
            }
            came += read as u64;
        }
    });
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let some = chunk(&EVENT.repeat(together));
    for _ in 0..events / together {
        upstream.write_all(some.as_bytes())?;
    }
    upstream.write_all(format!("{}0\r\n\r\n", chunk(LAST)).as_bytes())?;
    let came = reading.join().map_err(|_| anyhow::anyhow!("the caller panicked"))??;
    let sent = (events / together * together * EVENT.len()) as u64;
    ensure!(came > sent, "{} broke off after {came} bytes of {sent}", carrier.name);
    Ok((carrier.processor_time()? - before) * 1e6 / events as f64)
}
