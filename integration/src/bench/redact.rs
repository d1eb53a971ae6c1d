//! `redact`: how fast all detectors go over texts of 64 KiB, as a filter over a document and as the scan alone.
//!
//! What a node runs, without the node: no decoding, no connection. Several kinds of text, because what a text is like says
//! how much of it has to be looked at twice.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use rr_contract::model::detector::Detectors;
use rr_contract::model::filter::{Action, Direction, Filter, Redact};
use rr_contract::model::id::{FilterId, OrgId, TargetId};
use rr_contract::model::resource::{Key, ResourceId};
use rr_contract::policy::detect::Scan;
use rr_contract::policy::filter::{CompiledFilter, FilterChain, FilterStage};
use rr_contract::policy::pattern::Patterns;
use rr_integration::fleet_100k::Dice;

use crate::report::Report;

/// How long each text is, in bytes.
const LENGTH: usize = 64 * 1024;
/// How many bytes are scanned at once, as a filter does.
const STEP: usize = 16 * 1024;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rounds.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// How often a round goes over each text.
    #[arg(long, default_value_t = 400)]
    times: usize,
    /// The same seed gives the same texts.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// A kind of text, and the document that has it.
struct Sample {
    name: &'static str,
    text: String,
    document: String,
    /// Whether something is to be found in it.
    has_finds: bool,
}

impl Sample {
    /// A document with one long text.
    fn one(name: &'static str, text: String, has_finds: bool) -> Self {
        let document = serde_json::json!({ "id": 7, "text": text }).to_string();
        Self { name, text, document, has_finds }
    }
}

pub(crate) fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    ensure!(args.rounds > 0 && args.times > 0, "at least one round of one pass");
    let mut dice = Dice::new(args.seed);
    let samples = [
        Sample::one("prose", prose(&mut dice, false), false),
        Sample::one("logs", logs(&mut dice), false),
        short_texts(&mut dice),
        Sample::one("prose with personal data", prose(&mut dice, true), true),
    ];
    let (stage, none) = (stage()?, FilterStage::default());
    let chain =
        FilterChain { redacts_only: false, upstream: &none, target: &stage, caller: &none, proxy: &none };
    for sample in &samples {
        let taken = chain.apply(sample.document.as_bytes())?.taken;
        ensure!(!sample.has_finds || taken > 0, "something is found in {}", sample.name);
        report.say(&format!("{}: {taken} finds in {} bytes", sample.name, sample.document.len()));
    }
    let mut speeds = vec![[Vec::new(), Vec::new()]; samples.len()];
    for round in 0..=args.rounds {
        for step in 0..samples.len() {
            let at = (step + round) % samples.len();
            let sample = &samples[at];
            let filter = time(args.times, sample.document.len(), || {
                let mut pass = chain.begin(black_box(sample.document.as_bytes()))?;
                while !pass.advance()? {}
                Ok(pass.finish().taken)
            })?;
            let scan = time(args.times, sample.text.len(), || Ok(scan(black_box(sample.text.as_bytes()))))?;
            // The first round warms.
            if round > 0 {
                for (which, (label, speed)) in [("filter", filter), ("scan", scan)].into_iter().enumerate() {
                    report.round(&format!("{label}, {}", sample.name), round, speed, "MB/s");
                    speeds[at][which].push(speed);
                }
            }
        }
    }
    for (sample, [filter, scan]) in samples.iter().zip(&speeds) {
        let note = "all detectors over a document of 64 KiB; asked for: at least 200";
        report.metric("redact", &format!("filter, {}", sample.name), filter, "MB/s", note);
        let note = "all detectors over the text alone";
        report.metric("redact", &format!("scan, {}", sample.name), scan, "MB/s", note);
    }
    Ok(())
}

/// Megabytes that are gone over in a second. A byte of a microsecond is one.
fn time(times: usize, bytes: usize, mut pass: impl FnMut() -> anyhow::Result<u64>) -> anyhow::Result<f64> {
    let since = Instant::now();
    for _ in 0..times {
        black_box(pass()?);
    }
    Ok((bytes * times) as f64 / (since.elapsed().as_secs_f64() * 1e6))
}

/// How much all detectors find in a text.
fn scan(text: &[u8]) -> u64 {
    let (mut scan, mut count) = (Scan::new(Detectors::all()), 0);
    while !scan.advance(text, STEP, &mut |_, _| count += 1) {}
    count
}

/// A filter that looks for all that there is, everywhere.
fn stage() -> anyhow::Result<FilterStage> {
    let target = ResourceId::Target(TargetId::from_random([2; 16]));
    let redact = Redact { mask: "***".to_owned(), detectors: Detectors::all(), patterns: Vec::new() };
    let filter = Filter {
        parent: Key::new(OrgId::from_random([1; 16]), target),
        name: "redact".parse()?,
        action: Action::Redact(redact),
        paths: Vec::new(),
        order: 0,
        direction: Direction::Response,
    };
    let id = FilterId::from_random([3; 16]);
    let compiled = CompiledFilter::compile(id, &filter, &mut Patterns::default())?;
    Ok(FilterStage::new(vec![Arc::new(compiled)]))
}

const WORDS: [&str; 24] = [
    "the",
    "customer",
    "of",
    "an",
    "order",
    "that",
    "was",
    "returned",
    "in",
    "November",
    "has",
    "not",
    "been",
    "refunded",
    "yet",
    "because",
    "its",
    "invoice",
    "cannot",
    "be",
    "found",
    "Grüße",
    "isn't",
    "well-known",
];

/// Sentences; with personal data, one find in about two hundred bytes.
fn prose(dice: &mut Dice, with_data: bool) -> String {
    const DATA: [&str; 6] = [
        "ann.smith@example.com",
        "+49 30 1234567",
        "4111 1111 1111 1111",
        "DE89 3704 0044 0532 0130 00",
        "sk_live_4fX92bQz71LmTw83",
        "415-555-2671",
    ];
    let mut text = String::with_capacity(LENGTH);
    while text.len() < LENGTH {
        for _ in 0..8 + dice.below(10) {
            text.push_str(WORDS[dice.below(WORDS.len())]);
            text.push(' ');
        }
        if with_data && dice.below(2) == 0 {
            text.push_str(DATA[dice.below(DATA.len())]);
            text.push(' ');
        }
        text.push_str(&format!("{}. ", dice.below(2000)));
    }
    text
}

/// Lines of a log: times, addresses, ids and durations.
fn logs(dice: &mut Dice) -> String {
    let mut text = String::with_capacity(LENGTH);
    while text.len() < LENGTH {
        let (second, minute, number) = (dice.below(60), dice.below(60), dice.roll());
        text.push_str(&format!(
            "2026-11-29T04:{minute:02}:{second:02}.{:03}Z INFO 10.{}.{}.{} GET /v1/orders/{} 200 {}us bytes={} id={:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}\n",
            dice.below(1000),
            dice.below(256),
            dice.below(256),
            dice.below(256),
            100_000 + dice.below(900_000),
            dice.below(1_000_000),
            dice.below(100_000),
            number as u32,
            (number >> 32) as u16,
            (number >> 48) & 0xfff,
            (number >> 12) & 0xfff,
            dice.roll() & 0xffff_ffff_ffff,
        ));
    }
    text
}

/// A document of many short texts and numbers; looked at as one text, it is what is written.
fn short_texts(dice: &mut Dice) -> Sample {
    let mut text = String::from("[");
    while text.len() < LENGTH {
        let (one, other) = (WORDS[dice.below(WORDS.len())], WORDS[dice.below(WORDS.len())]);
        text.push_str(&format!(
            r#"{{"id":{},"name":"{one} {other}","state":"open","price":{}.{:02},"at":"2026-11-{:02}"}},"#,
            dice.below(1_000_000),
            dice.below(500),
            dice.below(100),
            1 + dice.below(28),
        ));
    }
    text.pop();
    text.push(']');
    Sample { name: "many short texts", document: text.clone(), text, has_finds: false }
}
