//! `rr-edge`: arguments in, exit code out. 1: it could not start or go on; 2: it was told wrongly; 3: it was revoked.

use std::fmt::Write as _;
use std::io::{Write as _, stderr, stdout};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;
use rr_contract::runtime::{AdminToken, Shutdown, chain, memory, observe};
use rr_contract::seam::Seams;
use rr_contract::secret::Secret;
use rr_data_plane::config::NODE_TOKEN_VARIABLE;
use rr_data_plane::standalone::{self, Overview, Standalone};
use rr_data_plane::{Config, Running, Settings, StartError};
use zeroizing_alloc::ZeroAlloc;

/// Whatever is freed is wiped: open secrets, keys, and pieces of requests that bore them.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<MiMalloc> = ZeroAlloc(MiMalloc);

/// The exit code of a node that was revoked.
const REVOKED: u8 = 3;
/// How many addresses a start shows.
const SHOWN: usize = 20;

/// RequestRocket's edge: swaps callers' credentials for upstreams' secrets.
#[derive(Parser)]
#[command(name = "rr-edge", version)]
struct Arguments {
    /// TOML file with the same settings as the flags; flags and environment variables take precedence
    #[arg(long, env = "RR_EDGE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the settings, and the file of --standalone, and exit
    #[arg(long)]
    check: bool,
    /// Make a key for a caller of a --standalone file, write it into this new file, and exit
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "check"])]
    make_key: Option<PathBuf>,
    /// For debugging: leave the memory of this process to debuggers, core dumps and swap, and with it every open secret and
    /// the region's key
    #[arg(long, env = "RR_EDGE_DEBUGGABLE")]
    debuggable: bool,
    #[command(flatten)]
    settings: Settings,
}

fn main() -> ExitCode {
    let Arguments { config, check, make_key, debuggable, settings } = Arguments::parse();
    // Before a secret is read.
    let memory = memory::guard(debuggable, !check);
    if let Some(path) = make_key {
        return make(&path);
    }
    let token = std::env::var(NODE_TOKEN_VARIABLE).ok().map(Secret::from);
    let file = config.map_or_else(|| Ok(Settings::default()), |path| Settings::read(&path));
    let said = file.map(|file| settings.or(file));
    match said.and_then(|said| Ok((said.observe.clone(), Config::resolve(said, token)?))) {
        Err(error) => refuse(&error, 2),
        Ok((_, config)) if check => checked(&config),
        Ok((observe, config)) => match run(config, &observe, &memory) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => refuse(&*error, code(&error)),
        },
    }
}

/// A node that was revoked is not to be started again: supervisors are told by a code of its own.
fn code(error: &anyhow::Error) -> u8 {
    if matches!(error.downcast_ref(), Some(StartError::Revoked { .. })) { REVOKED } else { 1 }
}

fn refuse(error: &(dyn std::error::Error + 'static), code: u8) -> ExitCode {
    observe::say(&format!("error: {}", chain(error)));
    ExitCode::from(code)
}

fn make(path: &Path) -> ExitCode {
    match standalone::make_key(path, &Seams::real()) {
        Ok(()) => {
            // If stdout is closed, the exit code still tells.
            writeln!(stdout(), "{} holds a new key; value_from: {{file: …}} names it", path.display()).ok();
            ExitCode::SUCCESS
        }
        Err(error) => {
            observe::say(&format!("error: make --make-key {}: {}", path.display(), chain(&error)));
            ExitCode::FAILURE
        }
    }
}

fn checked(config: &Config) -> ExitCode {
    let file = match &config.standalone {
        Some(settings) => match standalone::check(settings, &Seams::real()) {
            Ok(counts) => format!("{} is valid: {}\n", settings.file.display(), counts),
            Err(error) => return refuse(&error, 1),
        },
        None => String::new(),
    };
    if let Some(Err(error)) = config.callers.tls.as_ref().map(|tls| tls.check(&Seams::real())) {
        return refuse(&error, 1);
    }
    let token = |path: &PathBuf| AdminToken::open(path, Seams::real().disk);
    if let Some(Err(error)) = config.admin_token_file.as_ref().map(token) {
        return refuse(&error, 1);
    }
    // If stdout is closed, the exit code still tells.
    writeln!(stdout(), "{file}settings are valid; callers would be served on {}", config.listen).ok();
    ExitCode::SUCCESS
}

#[tokio::main(flavor = "current_thread")]
async fn run(config: Config, observe: &observe::ObserveArgs, memory: &memory::Guarded) -> anyhow::Result<()> {
    let observability = observe::start("rr-edge", observe)?;
    let shutdown = Shutdown::on_signals()?;
    let settings = config.standalone.clone();
    // Records have standard output for themselves.
    let is_taken = config.records.as_deref() == Some(Path::new("-"));
    let scheme = if config.callers.tls.is_some() { "https" } else { "http" };
    let start = rr_data_plane::start(config, Seams::real(), observability.clone());
    let Some(running) = shutdown.stop().cut(start).await else { return Ok(()) };
    let mut running = running?;
    // Not before: a start that fails says one line, that of its failure.
    memory.tell();
    tracing::info!(listen = %running.listen(), admin = %running.admin(), "started");
    if let Some(settings) = settings {
        announce(&settings, &running, scheme, is_taken);
    }
    let failed = shutdown.stop().cut(running.failed()).await;
    running.stop().await;
    tokio::task::spawn_blocking(move || observability.shutdown()).await?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// Says to the person who started a node without a control plane what it serves, and how to call it.
fn announce(settings: &Standalone, running: &Running, scheme: &str, is_taken: bool) {
    let Some(overview) = running.overview() else { return };
    let callers = format!("{scheme}://{}", running.listen());
    let text = served(settings, overview, &callers, running.admin());
    // A reader that is gone is no error.
    let said =
        if is_taken { stderr().write_all(text.as_bytes()) } else { stdout().write_all(text.as_bytes()) };
    said.ok();
}

fn served(settings: &Standalone, overview: &Overview, callers: &str, admin: SocketAddr) -> String {
    let mut text = String::new();
    let org = &settings.org;
    let mut line = |line: std::fmt::Arguments<'_>| writeln!(text, "{line}").expect("a text takes all of it");
    if let Some(fault) = &overview.fault {
        line(format_args!("The last content that could be served is served; the file cannot be: {fault}\n"));
    } else {
        line(format_args!("{} is served without a control plane:\n", overview.file.display()));
        for address in overview.addresses.iter().take(SHOWN) {
            line(format_args!("  {callers}/api/{org}.{}  ->  {}", address.proxy, address.target));
        }
        if let Some(more @ 1..) = overview.addresses.len().checked_sub(SHOWN) {
            line(format_args!("  and {more} more"));
        }
        if let Some(first) = overview.addresses.first() {
            line(format_args!("\nCall the first:\n"));
            if first.key == "$KEY" {
                line(format_args!("  KEY=the key whose hash stands in the file"));
            }
            line(format_args!(
                "  curl -H \"Authorization: {}\" {callers}/api/{org}.{}/\n",
                first.key, first.proxy
            ));
        }
    }
    line(format_args!("How it stands:  curl http://{admin}/config"));
    line(format_args!(
        "A change of the file is taken within two seconds, or at once on SIGHUP. Ctrl-C stops it."
    ));
    text
}
