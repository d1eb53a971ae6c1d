//! `bench`: every figure that the README quotes.
//!
//! `cargo run --release -p rr-integration --bin bench -- <name>` prints every round and a table; with `--json`,
//! one object a line instead: `{"bench":…,"metric":…,"value":…,"unit":…,"n":…,"spread":…,"note":…}`.

mod generate;
mod memory;
mod report;

use clap::{Parser, Subcommand};

use report::Report;

/// Measures RequestRocket.
#[derive(Parser)]
#[command(name = "bench", version)]
struct Args {
    /// One JSON object a line instead of a table.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// Resident memory of a connected edge node without proxies.
    Memory(memory::Args),
    /// Size of the standard load, and how long it takes to make and to parse.
    Generate(generate::Args),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut report = Report::new(args.json);
    match args.bench {
        Bench::Memory(args) => memory::run(args, &mut report).await?,
        Bench::Generate(args) => generate::run(&args, &mut report)?,
    }
    report.finish()
}
