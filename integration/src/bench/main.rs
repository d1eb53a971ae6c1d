//! `bench`: every figure that the README quotes; and `fixtures`, for what tests from outside.
//!
//! `cargo run --release -p rr-integration --bin bench -- <name>` prints every round and a table; with `--json`,
//! one object a line instead: `{"bench":…,"metric":…,"value":…,"unit":…,"n":…,"spread":…,"note":…}`.

mod fixtures;
mod generate;
mod management;
mod memory;
mod report;
#[cfg(feature = "store")]
mod revisions;

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
    /// Measures nothing: an installation for tests from outside, held until standard input ends.
    Fixtures(fixtures::Args),
    /// Size of the standard load, and how long it takes to make and to parse.
    Generate(generate::Args),
    /// One large organization: applied, applied unchanged, read; and what memory it takes.
    Management(management::Args),
    /// Publishing by many writers beside bare commits of the same engine.
    #[cfg(feature = "store")]
    Revisions(revisions::Args),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut report = Report::new(args.json);
    match args.bench {
        Bench::Memory(args) => memory::run(args, &mut report).await?,
        Bench::Management(args) => management::run(args, &mut report).await?,
        #[cfg(feature = "store")]
        Bench::Revisions(args) => revisions::run(args, &mut report).await?,
        Bench::Fixtures(args) => return fixtures::run(args).await,
        Bench::Generate(args) => generate::run(&args, &mut report)?,
    }
    report.finish()
}
