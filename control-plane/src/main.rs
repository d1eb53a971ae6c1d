//! `rr-control`: arguments in, exit code out.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use rr_contract::runtime::{Shutdown, chain, observe};
use rr_contract::seam::Seams;
use rr_control_plane::{Config, ConfigError, Settings};

/// The C library keeps what a large apply took for a while, and gives little of it back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The control plane of RequestRocket.
#[derive(Parser)]
#[command(name = "rr-control", version)]
struct Cli {
    /// TOML file with settings; flags and environment win over it
    #[arg(long, env = "RR_CONTROL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the settings, say so, and do nothing else
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    settings: Settings,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = if error.is::<ConfigError>() { 2 } else { 1 };
            writeln!(io::stderr(), "error: {}", chain(error.as_ref())).ok();
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
    let observability = observe::start("rr-control", &observe)?;
    let shutdown = Shutdown::on_signals()?;
    let running = rr_control_plane::start(config, Seams::real(), observability.clone()).await?;
    shutdown.stop().requested().await;
    running.stop().await;
    tokio::task::spawn_blocking(move || observability.shutdown()).await?;
    Ok(())
}
