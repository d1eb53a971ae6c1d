//! `rr-control`: arguments in, exit code out.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use data_encoding::HEXLOWER;
use rr_contract::runtime::{Shutdown, chain, observe};
use rr_contract::seam::Seams;
use rr_control_plane::{Config, ConfigError, Restored, Settings};

/// The C library keeps what a large apply took for a while, and gives little of it back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The control plane of RequestRocket.
#[derive(Parser)]
#[command(name = "rr-control", version)]
struct Cli {
    /// TOML file with settings; flags and environment variables override it
    #[arg(long, env = "RR_CONTROL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the settings, print the result, and do nothing else
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    task: Option<Task>,
}

/// Tasks other than running the control plane
#[derive(Subcommand)]
enum Task {
    /// Declare that the database was restored from a backup, before a control plane runs on it again
    ///
    /// Give it the same settings as the control plane, and stop every replica first. The history goes on under another
    /// name: nodes that saw more than the backup has keep what they run, keys that were revoked since stay revoked
    /// there, and nothing is sent to them until `rrctl revision adopt` is run for their region.
    Restore,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = if error.is::<ConfigError>() { 2 } else { 1 };
            observe::say(&format!("error: {}", chain(error.as_ref())));
            ExitCode::from(code)
        }
    }
}

#[tokio::main]
async fn run(cli: Cli) -> anyhow::Result<()> {
    let file = cli.config.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
    let settings = cli.settings.or(file);
    let observe = settings.observe.clone();
    let config = Config::resolve(settings)?;
    if cli.check {
        writeln!(io::stdout(), "settings are good: management on {}", config.management)?;
        return Ok(());
    }
    if let Some(Task::Restore) = cli.task {
        let done = rr_control_plane::restore(&config, &Seams::real()).await?;
        return Ok(tell(&done)?);
    }
    let observability = observe::start("rr-control", &observe)?;
    let shutdown = Shutdown::on_signals()?;
    let running = rr_control_plane::start(config, Seams::real(), observability.clone()).await?;
    shutdown.stop().requested().await;
    running.stop().await;
    tokio::task::spawn_blocking(move || observability.shutdown()).await?;
    Ok(())
}

fn tell(done: &Restored) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "the backup ended at revision {} of history {}", done.newest, HEXLOWER.encode(&done.was))?;
    writeln!(
        out,
        "it goes on with revision {} of history {}",
        done.revision,
        HEXLOWER.encode(&done.lineage)
    )?;
    writeln!(out, "next: start the control plane; nodes keep what they run and are sent nothing")?;
    writeln!(out, "then, for each region that `rrctl fleet` shows as diverged:")?;
    writeln!(out, "  rrctl revision adopt --region REGION --dry-run   lists what would differ")?;
    writeln!(out, "  rrctl revision adopt --region REGION             goes on with this history there")
}
