//! Rounds, and what they come to: the median, and the spread from least to most.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use serde::Serialize;

/// One metric of one bench.
#[derive(Serialize)]
struct Line {
    bench: &'static str,
    metric: String,
    value: f64,
    unit: &'static str,
    n: usize,
    spread: f64,
    note: String,
}

/// Gathers metrics and prints them.
pub(crate) struct Report {
    json: bool,
    lines: Vec<Line>,
}

impl Report {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, lines: Vec::new() }
    }

    /// One round of a metric, printed as it comes.
    pub(crate) fn round(&self, metric: &str, round: usize, value: f64, unit: &str) {
        if !self.json {
            println!("round {round}: {metric} {value:.3} {unit}");
        }
    }

    /// What a reader has to know about the figures.
    pub(crate) fn say(&self, text: &str) {
        if !self.json {
            println!("{text}");
        }
    }

    /// A metric by all its rounds.
    pub(crate) fn metric(
        &mut self,
        bench: &'static str,
        metric: &str,
        rounds: &[f64],
        unit: &'static str,
        note: &str,
    ) {
        let mut sorted = rounds.to_vec();
        sorted.sort_by(f64::total_cmp);
        let value = match sorted.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => sorted[n / 2],
            n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
        };
        let spread = sorted.last().zip(sorted.first()).map_or(0.0, |(most, least)| most - least);
        self.lines.push(Line {
            bench,
            metric: metric.to_owned(),
            value,
            unit,
            n: rounds.len(),
            spread,
            note: note.to_owned(),
        });
    }

    /// p50, p99 and the most of many samples, as three metrics.
    pub(crate) fn percentiles(
        &mut self,
        bench: &'static str,
        metric: &str,
        samples: &[f64],
        unit: &'static str,
        note: &str,
    ) {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let note = format!("{} samples; {note}", sorted.len());
        for (name, part) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
            let value = percentile(&sorted, part);
            self.metric(bench, &format!("{metric} {name}"), &[value], unit, &note);
        }
    }

    /// Prints the table, or the lines.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        for line in &self.lines {
            if self.json {
                println!("{}", serde_json::to_string(line)?);
            } else {
                println!(
                    "{:10} {:32} {:>12.3} {:8} n={} spread={:.3} {}",
                    line.bench, line.metric, line.value, line.unit, line.n, line.spread, line.note
                );
            }
        }
        Ok(())
    }
}

/// A percentile of samples in order: the least that is not below that part of them.
pub(crate) fn percentile(sorted: &[f64], part: f64) -> f64 {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
}
