//! `bench`: every figure that the README quotes; and `fixtures`, for what tests from outside.
//!
//! `cargo run --release -p rr-integration --bin bench -- <name>` prints every round and a table; with `--json`,
//! one object a line instead: `{"bench":…,"metric":…,"value":…,"unit":…,"n":…,"spread":…,"note":…}`.

mod apply;
mod caller_kinds;
mod callers;
mod carriers;
mod churn;
mod closed_loop;
mod coldstart;
mod configured;
mod fixtures;
mod floods;
mod generate;
mod herd;
mod idle;
mod latency;
mod line;
mod lkg_faults;
mod load;
mod machine;
mod management;
mod memory;
mod open_loop;
mod peers;
mod propagation;
mod proxy;
mod query;
mod reconnect;
mod redact;
mod renewals;
mod report;
mod revisions;
mod revoke;
mod rotation;
mod routes;
mod seal;
mod sets;
mod slow;
mod source;
mod sse;
mod stages;
mod stream;
mod stream_meter;
mod telemetry;
mod telemetry_outage;
mod validate;

use clap::{Parser, Subcommand};

use report::Report;
use tokio::task::block_in_place;

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
    /// A write's reply to the first request that it decides; to the last of many nodes; bytes of a change.
    Propagation(propagation::Args),
    /// Thousands of nodes: memory of each, and all of them back after an outage.
    Herd(herd::Args),
    /// Thousands of nodes whose certificates have ended come at once to renew them.
    Renewals(renewals::Args),
    /// Opening secrets, and sealing very many to a region's next key.
    Seal(seal::Args),
    /// A steady load while every secret in its way changes.
    Rotation(rotation::Args),
    /// A caller's key is revoked, until the last of very many nodes refuses it.
    Revoke(revoke::Args),
    /// What a node is sent that missed something, or holds something else.
    Reconnect(reconnect::Args),
    /// Changes without end under load, beside the same load in quiet.
    Churn(churn::Args),
    /// What one change of the standard load costs a node, and what reading what is in force does.
    Apply(apply::Args),
    /// A node with the standard load on disk and no control plane: until it answers for every proxy; memory.
    Coldstart(coldstart::Args),
    /// Resident memory of a connected edge node without proxies.
    Memory(memory::Args),
    /// What an idle connection of a caller takes of a node's memory, with and without TLS.
    Idle(idle::Args),
    /// Measures nothing: an installation for tests from outside, held until standard input ends.
    Fixtures(fixtures::Args),
    /// Size of the standard load, and how long it takes to make and to parse.
    Generate(generate::Args),
    /// Processor time of a request, beside nginx, HAProxy, Envoy and a lean proxy in the same rounds.
    Proxy(proxy::Args),
    /// Finding one of 30,000 proxies by its name, beside one of ten.
    Routes(routes::Args),
    /// What 25 rules in each scope take of a request.
    Rules(stages::Args),
    /// What each kind of caller takes of a request, tokens above all, on a node with 10,000 of mixed kinds.
    Jwt(callers::Args),
    /// How callers fare while another proxy is asked with wrong passwords, or with wrong signatures.
    Floods(floods::Args),
    /// How fast filters go over a document, decoding included.
    Filter(stages::Args),
    /// How fast all detectors go over texts of 64 KiB.
    Redact(redact::Args),
    /// How long it takes to hold a body of 2 KiB against a schema of 20 KiB.
    Validate(validate::Args),
    /// What the search for the upstream's secret takes of a request with 1 KiB of JSON.
    Echo(stages::Args),
    /// What a record of a request takes, beside nginx.
    Record(stages::Args),
    /// What tokens, signatures and the search for the secret take of a request with the whole pipeline.
    Kinds(stages::Args),
    /// Very many bytes through one connection, and the memory of it, beside nginx.
    Stream(stream::Args),
    /// How long a server-sent event takes through the edge, beside no proxy.
    Sse(sse::Args),
    /// What a meter of a stream's numbers takes, beside the same stream without one.
    StreamMeter(stream_meter::Args),
    /// What callers cost that do not read or send a byte a second, and how others fare meanwhile.
    Slow(slow::Args),
    /// How long requests take at a moderate load, beside the same.
    Latency(latency::Args),
    /// Faults on the disk under last-known-good.
    LkgFaults(lkg_faults::Args),
    /// One large organization: applied, applied unchanged, read; and what memory it takes.
    Management(management::Args),
    /// `rrctl validate`, `diff` and `apply --dry-run` of the files of a large organization that does not change.
    Sets(sets::Args),
    /// Metrics and records of a day of ten million requests, read; and what follows them live.
    Query(query::Args),
    /// How many records a second a node's spool takes, and a control plane of one node.
    Telemetry(telemetry::Args),
    /// What becomes of records and sums where the control plane is away, the node is killed, or its disk has no room.
    TelemetryOutage(telemetry_outage::Args),
    /// Publishing by many writers beside bare commits of the same engine.
    Revisions(revisions::Args),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut report = Report::new(args.json);
    match args.bench {
        Bench::Propagation(args) => propagation::run(args, &mut report).await?,
        Bench::Herd(args) => herd::run(args, &mut report).await?,
        Bench::Renewals(args) => renewals::run(args, &mut report).await?,
        Bench::Seal(args) => seal::run(args, &mut report).await?,
        Bench::Rotation(args) => rotation::run(args, &mut report).await?,
        Bench::Revoke(args) => revoke::run(args, &mut report).await?,
        Bench::Reconnect(args) => reconnect::run(args, &mut report).await?,
        Bench::Churn(args) => churn::run(args, &mut report).await?,
        // The node in it waits for its disk, on a runtime of its own.
        Bench::Apply(args) => block_in_place(|| apply::run(&args, &mut report))?,
        Bench::Coldstart(args) => coldstart::run(args, &mut report).await?,
        Bench::Idle(args) => idle::run(args, &mut report).await?,
        Bench::Memory(args) => memory::run(args, &mut report).await?,
        Bench::Proxy(args) => proxy::run(args, &mut report).await?,
        Bench::Routes(args) => block_in_place(|| routes::run(&args, &mut report))?,
        Bench::Rules(args) => stages::rules(args, &mut report).await?,
        Bench::Floods(args) => floods::run(args, &mut report).await?,
        Bench::Jwt(args) => callers::run(args, &mut report).await?,
        Bench::Filter(args) => stages::filter(args, &mut report).await?,
        Bench::Redact(args) => block_in_place(|| redact::run(&args, &mut report))?,
        Bench::Validate(args) => block_in_place(|| validate::run(&args, &mut report))?,
        Bench::Record(args) => stages::record(args, &mut report).await?,
        Bench::Echo(args) => stages::echo(args, &mut report).await?,
        Bench::Kinds(args) => stages::kinds(args, &mut report).await?,
        Bench::Stream(args) => stream::run(args, &mut report).await?,
        Bench::Sse(args) => sse::run(args, &mut report).await?,
        Bench::StreamMeter(args) => stream_meter::run(args, &mut report).await?,
        Bench::Slow(args) => slow::run(args, &mut report).await?,
        Bench::Latency(args) => latency::run(args, &mut report).await?,
        Bench::LkgFaults(args) => block_in_place(|| lkg_faults::run(&args, &mut report))?,
        Bench::Management(args) => management::run(args, &mut report).await?,
        Bench::Sets(args) => sets::run(args, &mut report).await?,
        Bench::Query(args) => query::run(args, &mut report).await?,
        Bench::Telemetry(args) => telemetry::run(args, &mut report).await?,
        Bench::TelemetryOutage(args) => {
            // What differs is to be seen beside the rest.
            let outcome = telemetry_outage::run(args, &mut report).await;
            report.finish()?;
            return outcome;
        }
        Bench::Revisions(args) => revisions::run(args, &mut report).await?,
        Bench::Fixtures(args) => return fixtures::run(args).await,
        Bench::Generate(args) => generate::run(&args, &mut report)?,
    }
    report.finish()
}
