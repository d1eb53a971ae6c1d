//! `jwt`: what each kind of caller costs a node that knows ten thousand of mixed kinds, beside a node that knows one key.
//!
//! Both are standalone nodes of one worker with the same upstream, asked in turn by the same closed loop. The figures to
//! quote are differences within a round: what a request with a token takes over one with a key.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rr_integration::issuer::SigningKey;
use rr_integration::standalone::Standalone;
use tokio::task::block_in_place;

use crate::caller_kinds::{self, Asked, ISSUER};
use crate::line::Line;
use crate::machine;
use crate::peers::Upstream;
use crate::proxy::order;
use crate::report::Report;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rounds.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of each sample.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Connections of callers.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Tokens of a sample that no node has seen.
    #[arg(long, default_value_t = 15_000)]
    tokens: usize,
    /// The processor of the nodes.
    #[arg(long, default_value_t = 0)]
    proxy_processor: usize,
    /// The processor of load and upstream.
    #[arg(long, default_value_t = 1)]
    load_processor: usize,
}

/// What is asked of one node, in turn.
struct Variant {
    label: &'static str,
    address: SocketAddr,
    process: u32,
    requests: Requests,
}

enum Requests {
    /// Again and again.
    Known(Vec<Vec<u8>>),
    /// Other ones in each sample, each once.
    New(SigningKey),
}

pub(crate) async fn run(args: Args, report: &mut Report) -> anyhow::Result<()> {
    ensure!(args.rounds > 0 && args.seconds > 0, "at least one round of one second");
    let folder = tempfile::tempdir()?;
    let upstream = Upstream::start(folder.path(), args.load_processor, None)?;
    let url = format!("http://{}", upstream.address());
    let (one, asked_one) = caller_kinds::one(&url, args.proxy_processor).await?;
    let (many, asked) = caller_kinds::many(&url, args.proxy_processor).await?;
    let variant = |node: &Standalone, label, requests| Variant {
        label,
        address: node.listen(),
        process: node.process.id(),
        requests,
    };
    let Asked { keys, bearers, fixed, passwords, tokens, mixed, key } = asked;
    let variants = [
        variant(&one, "one key", Requests::Known(asked_one)),
        variant(&many, "keys", Requests::Known(keys)),
        variant(&many, "own values", Requests::Known(bearers)),
        variant(&many, "fixed tokens", Requests::Known(fixed)),
        variant(&many, "passwords seen", Requests::Known(passwords)),
        variant(&many, "tokens seen", Requests::Known(tokens)),
        variant(&many, "all kinds", Requests::Known(mixed)),
        variant(&many, "tokens first", Requests::New(key)),
    ];
    block_in_place(|| measure(&args, &variants, report))
}

fn measure(args: &Args, variants: &[Variant], report: &mut Report) -> anyhow::Result<()> {
    for variant in variants {
        if let Requests::Known(requests) = &variant.requests {
            // Slow once, where a password is checked.
            ask(args, variant, requests, Ends::AfterAll)?;
        }
    }
    let mut all = vec![Vec::new(); variants.len()];
    for round in 1..=args.rounds {
        for at in order(variants.len(), round) {
            let variant = &variants[at];
            let micros = match &variant.requests {
                Requests::Known(requests) => {
                    let until = Instant::now() + Duration::from_secs(args.seconds);
                    ask(args, variant, requests, Ends::At(until))?
                }
                Requests::New(key) => {
                    let token = |n: usize| key.token(ISSUER, &format!("{round}-{n}"), 3600);
                    let requests: Vec<_> =
                        (0..args.tokens).map(|n| caller_kinds::bearer_request(0, &token(n))).collect();
                    ask(args, variant, &requests, Ends::AfterAll)?
                }
            };
            report.round(variant.label, round, micros, "us");
            all[at].push(micros);
        }
    }
    let base = all[0].clone();
    report.metric(
        "jwt",
        variants[0].label,
        &base,
        "us",
        "processor time of a request, a node with one caller",
    );
    for (variant, micros) in variants.iter().zip(&all).skip(1) {
        let over: Vec<f64> = micros.iter().zip(&base).map(|(one, base)| one - base).collect();
        let note = match variant.label {
            "tokens first" => "never seen, ES256: over one key in the same round; asked for: at most 150",
            "tokens seen" => "over one key in the same round; asked for: at most 3",
            _ => "a node with 10,000 callers of mixed kinds: over one key in the same round",
        };
        report.metric("jwt", variant.label, &over, "us", note);
    }
    Ok(())
}

/// When a closed loop ends.
#[derive(Clone, Copy)]
enum Ends {
    At(Instant),
    /// Each was asked once.
    AfterAll,
}

/// Processor time of the node for a request, in microseconds.
fn ask(args: &Args, variant: &Variant, requests: &[Vec<u8>], ends: Ends) -> anyhow::Result<f64> {
    let (next, before) = (AtomicUsize::new(0), machine::spent(variant.process)?);
    let count: u64 = thread::scope(|scope| {
        let callers: Vec<_> = (0..args.connections)
            .map(|_| scope.spawn(|| caller(args.load_processor, variant, requests, &next, ends)))
            .collect();
        let counts = callers.into_iter().map(|caller| caller.join().expect("a caller does not panic"));
        counts.sum::<anyhow::Result<u64>>()
    })?;
    ensure!(count > 0, "{} answered nothing", variant.label);
    Ok(machine::spent(variant.process)?.since(before).total() * 1e6 / count as f64)
}

fn caller(
    processor: usize,
    variant: &Variant,
    requests: &[Vec<u8>],
    next: &AtomicUsize,
    ends: Ends,
) -> anyhow::Result<u64> {
    machine::pin(processor)?;
    let (mut line, mut count) = (Line::connect(variant.address, None)?, 0);
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        let is_over = match ends {
            Ends::At(until) => Instant::now() >= until,
            Ends::AfterAll => n >= requests.len(),
        };
        if is_over {
            return Ok(count);
        }
        let request = requests.get(n % requests.len()).context("a request")?;
        let status = line.ask(request)?;
        ensure!(status == 200, "{} was answered {status}", variant.label);
        count += 1;
    }
}
