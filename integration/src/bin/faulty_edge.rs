//! `faulty-edge`: the edge with a fault in it. With `RR_FAULT=on`, a worker that begins to run on a configuration with a
//! proxy that has `abort-here` in its address ends the process, and with `hang-here` it hangs.
//!
//! Takes the settings of `rr-edge`. What counts as lived through is told in milliseconds by `RR_FAULT_PROVE_MS`.

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use rr_contract::runtime::{Shutdown, observe};
use rr_contract::seam::Seams;
use rr_contract::secret::Secret;
use rr_data_plane::config::NODE_TOKEN_VARIABLE;
use rr_data_plane::{Config, Hooks, Probe, Settings};

/// An edge with a fault in it.
#[derive(Parser)]
#[command(name = "faulty-edge")]
struct Arguments {
    #[command(flatten)]
    settings: Settings,
}

struct Fault;

impl Probe for Fault {
    fn first_run(&self, worker: usize, revision: u64, is_there: &dyn Fn(&str) -> bool) {
        if is_there("abort-here") {
            tracing::error!(worker, revision, "fault: ends the process");
            observe::flush_lines();
            std::process::abort();
        }
        if is_there("hang-here") {
            tracing::error!(worker, revision, "fault: hangs");
            loop {
                std::thread::park();
            }
        }
    }
}

fn hooks() -> anyhow::Result<Hooks> {
    let mut hooks = Hooks::default();
    if std::env::var("RR_FAULT").is_ok_and(|said| said == "on") {
        hooks.probe = Arc::new(Fault);
    }
    if let Ok(millis) = std::env::var("RR_FAULT_PROVE_MS") {
        hooks.prove_for = Duration::from_millis(millis.parse()?);
    }
    Ok(hooks)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Arguments { settings } = Arguments::parse();
    let token = std::env::var(NODE_TOKEN_VARIABLE).ok().map(Secret::from);
    let observability = observe::start("rr-edge", &settings.observe.clone())?;
    let config = Config::resolve(settings, token)?;
    let shutdown = Shutdown::on_signals()?;
    let start = rr_data_plane::start_with(config, Seams::real(), observability, hooks()?);
    let Some(running) = shutdown.stop().cut(start).await else { return Ok(()) };
    let mut running = running?;
    let failed = shutdown.stop().cut(running.failed()).await;
    running.stop().await;
    failed.map_or(Ok(()), |error| Err(error.into()))
}
