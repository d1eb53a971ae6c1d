//! `revisions`: how fast many writers publish, beside bare durable commits of one row by as many clients on the
//! same engine, in turns. What is published is checked: a gap or a wrong order is a panic.

mod writers;

use rr_control_plane::DatabaseAddress;
use rr_integration::postgres::Postgres;

use crate::report::Report;

use writers::Revisions;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often each side has its turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Writers, and bare clients.
    #[arg(long, default_value_t = 16)]
    writers: u32,
    /// Writes of each in a round; one in ten is given up.
    #[arg(long, default_value_t = 2000)]
    each: u64,
    /// `sqlite` or `postgres`; both when not given.
    #[arg(long)]
    engine: Option<String>,
}

pub(crate) async fn run(args: Args, report: &mut Report) -> anyhow::Result<()> {
    let wanted = |engine: &str| args.engine.as_deref().is_none_or(|said| said == engine);
    if wanted("sqlite") {
        let folder = tempfile::tempdir()?;
        let address = DatabaseAddress::Sqlite(folder.path().join("bench.db"));
        engine(&args, "sqlite", &address, report).await?;
    }
    if wanted("postgres") {
        let Some(server) = Postgres::start() else {
            anyhow::bail!("no `postgres` and `initdb` in PATH or /usr/lib/postgresql");
        };
        engine(&args, "postgres", &DatabaseAddress::Postgres(server.address()), report).await?;
    }
    Ok(())
}

async fn engine(
    args: &Args,
    engine: &str,
    address: &DatabaseAddress,
    report: &mut Report,
) -> anyhow::Result<()> {
    let revisions = Revisions::open(address, args.writers).await?;
    let writers = u64::from(args.writers);
    // Neither side pays for the first connections.
    revisions.bare(writers, 20).await?;
    revisions.published(writers, 20).await?;
    let (mut bare, mut published, mut ratio) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=args.rounds {
        bare.push(revisions.bare(writers, args.each).await?.rate());
        published.push(revisions.published(writers, args.each).await?.rate());
        ratio.push(published[round - 1] / bare[round - 1]);
        report.round(&format!("{engine} bare"), round, bare[round - 1], "1/s");
        report.round(&format!("{engine} published"), round, published[round - 1], "1/s");
    }
    revisions.close().await;
    let note = format!("{} clients, one row a transaction", args.writers);
    report.metric("revisions", &format!("{engine} bare commits"), &bare, "1/s", &note);
    let note = format!("{} writers, gapless, seen once and in order by a tailer", args.writers);
    report.metric("revisions", &format!("{engine} revisions"), &published, "1/s", &note);
    report.metric("revisions", &format!("{engine} ratio"), &ratio, "", "asked for: at least 0.4");
    Ok(())
}
