//! `rr-edge`: arguments in, exit code out. 1: it could not start or go on; 2: it was told wrongly.

use std::io::{Write as _, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use rr_contract::runtime::{Shutdown, chain, observe};
use rr_contract::seam::Seams;
use rr_contract::secret::Secret;
use rr_data_plane::config::NODE_TOKEN_VARIABLE;
use rr_data_plane::{Config, Settings};

/// A request takes and gives back a dozen pieces of memory, some on another thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// RequestRocket's edge: swaps callers' credentials for upstreams' secrets.
#[derive(Parser)]
#[command(name = "rr-edge", version)]
struct Arguments {
    /// TOML file with the same settings as the flags; flags and environment variables take precedence
    #[arg(long, env = "RR_EDGE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the settings and exit
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    settings: Settings,
}

fn main() -> ExitCode {
    let Arguments { config, check, settings } = Arguments::parse();
    let token = std::env::var(NODE_TOKEN_VARIABLE).ok().map(Secret::from);
    let file = config.map_or_else(|| Ok(Settings::default()), |path| Settings::read(&path));
    let said = file.map(|file| settings.or(file));
    match said.and_then(|said| Ok((said.observe.clone(), Config::resolve(said, token)?))) {
        Err(error) => refuse(&error, 2),
        Ok((_, config)) if check => {
            // If stdout is closed, the exit code still tells.
            writeln!(stdout(), "settings are valid; callers would be served on {}", config.listen).ok();
            ExitCode::SUCCESS
        }
        Ok((observe, config)) => match run(config, &observe) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => refuse(&*error, 1),
        },
    }
}

fn refuse(error: &(dyn std::error::Error + 'static), code: u8) -> ExitCode {
    observe::say(&format!("error: {}", chain(error)));
    ExitCode::from(code)
}

#[tokio::main(flavor = "current_thread")]
async fn run(config: Config, observe: &observe::ObserveArgs) -> anyhow::Result<()> {
    let observability = observe::start("rr-edge", observe)?;
    let shutdown = Shutdown::on_signals()?;
    let start = rr_data_plane::start(config, Seams::real(), observability.clone());
    let Some(running) = shutdown.stop().cut(start).await else { return Ok(()) };
    let mut running = running?;
    tracing::info!(listen = %running.listen(), admin = %running.admin(), "started");
    let failed = shutdown.stop().cut(running.failed()).await;
    running.stop().await;
    tokio::task::spawn_blocking(move || observability.shutdown()).await?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}
