//! `rr-control`: arguments in, exit code out.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use data_encoding::HEXLOWER;
use mimalloc::MiMalloc;
use rr_contract::runtime::{Shutdown, chain, memory, observe};
use rr_contract::seam::Seams;
use rr_control_plane::{BackupMade, BackupOrder, Config, ConfigError, RestoreOrder, Restored, Settings};
use zeroizing_alloc::ZeroAlloc;

/// The C library keeps what a large apply took for a while, and gives little of it back. Whatever is freed is wiped: a request
/// can hold a value in the clear, and leaves no piece of it behind.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<MiMalloc> = ZeroAlloc(MiMalloc);

/// The control plane of RequestRocket.
#[derive(Parser)]
#[command(name = "rr-control", version)]
struct Cli {
    /// TOML file with settings; flags and environment variables override it
    #[arg(long, global = true, env = "RR_CONTROL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the settings, print the result, and do nothing else
    #[arg(long)]
    check: bool,
    /// For debugging: leave the memory of this process to debuggers and core dumps, and with it the authority's key and
    /// whatever a request holds in the clear
    #[arg(long, global = true, env = "RR_CONTROL_DEBUGGABLE")]
    debuggable: bool,
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    task: Option<Task>,
}

/// Tasks other than running the control plane
#[derive(Subcommand)]
enum Task {
    /// Copy the database into a new folder, while control planes run on it or not
    ///
    /// Give it the same settings as the control plane, those below before or behind the verb. The copy is of one state, and its
    /// audit chain is checked. The folder is there whole or not at all. The digest that it prints says later which backup it was.
    Backup {
        /// New folder for the backup
        folder: PathBuf,
        /// Copy the authority's key and certificate too: who has them can pose as the control plane to nodes
        #[arg(long)]
        with_authority: bool,
        /// Program that copies a PostgreSQL database: of the server's version or newer
        #[arg(long, value_name = "PROGRAM", default_value = "pg_dump")]
        pg_dump: PathBuf,
    },
    /// Bring a backup back, or declare that the database was restored by other means, before a control plane runs on it
    ///
    /// Give it the same settings as the control plane, those below before or behind the verb, and stop every replica first. The history goes on under another
    /// name: nodes that saw more than the backup has keep what they run, keys that were revoked since stay revoked
    /// there, and nothing is sent to them until `rrctl revision adopt` is run for their region.
    Restore {
        /// Folder of a backup, which is put where the settings say; without it, the database is there already
        folder: Option<PathBuf>,
        /// Program that fills a PostgreSQL database: of the server's version or newer
        #[arg(long, value_name = "PROGRAM", default_value = "pg_restore")]
        pg_restore: PathBuf,
        /// Go on although the audit chain of the database does not hold
        #[arg(long)]
        accept_audit: bool,
        /// Digest that the backup printed when it was made, kept apart from it: any other backup is refused
        #[arg(long, value_name = "DIGEST", value_parser = digest, requires = "folder")]
        expect_digest: Option<String>,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Before a secret is read. Swapped it may be: what is locked is never given back, and it has no upstream's secret.
    let memory = memory::guard(cli.debuggable, false);
    match run(cli, &memory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = if error.is::<ConfigError>() { 2 } else { 1 };
            observe::say(&format!("error: {}", chain(error.as_ref())));
            ExitCode::from(code)
        }
    }
}

#[tokio::main]
async fn run(cli: Cli, memory: &memory::Guarded) -> anyhow::Result<()> {
    let file = cli.config.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
    let settings = cli.settings.or(file);
    let observe = settings.observe.clone();
    let config = Config::resolve(settings)?;
    if cli.check {
        writeln!(io::stdout(), "settings are good: management on {}", config.management)?;
        return Ok(());
    }
    match cli.task {
        Some(Task::Backup { folder, with_authority, pg_dump }) => {
            let order = BackupOrder { folder, with_authority, pg_dump };
            let made = rr_control_plane::backup(&config, &Seams::real(), &order).await?;
            return Ok(tell_backup(&config, &order, &made)?);
        }
        Some(Task::Restore { folder, pg_restore, accept_audit, expect_digest }) => {
            let order = RestoreOrder { folder, pg_restore, accept_audit, expect_digest };
            let done = rr_control_plane::restore(&config, &Seams::real(), &order).await?;
            return Ok(tell(&config, &done)?);
        }
        None => {}
    }
    let observability = observe::start("rr-control", &observe)?;
    memory.tell();
    let shutdown = Shutdown::on_signals()?;
    let running = rr_control_plane::start(config, Seams::real(), observability.clone()).await?;
    shutdown.stop().requested().await;
    running.stop().await;
    tokio::task::spawn_blocking(move || observability.shutdown()).await?;
    Ok(())
}

/// The digest of a backup, as hex digits.
fn digest(text: &str) -> Result<String, String> {
    let text = text.to_ascii_lowercase();
    let is_one = text.len() == 64 && HEXLOWER.decode(text.as_bytes()).is_ok();
    if is_one { Ok(text) } else { Err("64 hex digits, as `rr-control backup` prints them".to_owned()) }
}

/// What was copied, and what was not.
fn tell_backup(config: &Config, order: &BackupOrder, made: &BackupMade) -> io::Result<()> {
    let mut out = io::stdout();
    let (folder, state) = (order.folder.display(), config.state_dir.display());
    writeln!(
        out,
        "{folder} holds {} up to revision {} of history {}, {} bytes",
        config.database,
        made.revision,
        HEXLOWER.encode(&made.lineage),
        made.bytes
    )?;
    writeln!(out, "its audit chain holds from the first revision on")?;
    writeln!(out, "digest {}: keep it elsewhere, for `rr-control restore --expect-digest`", made.digest)?;
    if order.with_authority {
        writeln!(out, "it holds the authority's key: keep it as you keep that key")?;
    } else {
        writeln!(
            out,
            "not in it: authority.key and authority.crt of {state}, without which every node has to join again"
        )?;
    }
    if !made.elsewhere.is_empty() {
        writeln!(out, "not in it: what is in the record stores {}", made.elsewhere.join(", "))?;
    }
    writeln!(out, "not in it: key files of regions, and what nodes hold")
}

fn tell(config: &Config, done: &Restored) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "the backup ended at revision {} of history {}", done.newest, HEXLOWER.encode(&done.was))?;
    writeln!(
        out,
        "it goes on with revision {} of history {}",
        done.revision,
        HEXLOWER.encode(&done.lineage)
    )?;
    if done.authority == Some(false) {
        writeln!(
            out,
            "before the start: put authority.key and authority.crt into {}, which the backup does not hold",
            config.state_dir.display()
        )?;
    }
    writeln!(out, "next: start the control plane; nodes keep what they run and are sent nothing")?;
    writeln!(out, "then, for each region that `rrctl fleet` shows as diverged:")?;
    writeln!(out, "  rrctl revision adopt --region REGION --dry-run   lists what would differ")?;
    writeln!(out, "  rrctl revision adopt --region REGION             goes on with this history there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_a_task_stand_before_or_behind_its_verb() {
        let settings = [["--state-dir", "d"], ["--database", "sqlite://x"], ["--config", "c.toml"]].concat();
        for verb in [vec!["backup", "b"], vec!["restore", "b"]] {
            let before = [vec!["rr-control"], settings.clone(), verb.clone()].concat();
            let behind = [vec!["rr-control"], verb, settings.clone()].concat();
            for said in [before, behind] {
                let cli = Cli::try_parse_from(&said).expect("is understood");
                let settings = cli.settings;
                assert_eq!(settings.state_dir, Some(PathBuf::from("d")), "{said:?}");
                assert_eq!(settings.database.as_deref(), Some("sqlite://x"), "{said:?}");
                assert_eq!(cli.config, Some(PathBuf::from("c.toml")), "{said:?}");
            }
        }
    }

    #[test]
    fn a_digest_is_64_hex_digits_of_a_backup() {
        let good = "AB".repeat(32);
        let cli = Cli::try_parse_from(["rr-control", "restore", "b", "--expect-digest", &good]);
        let Ok(Cli { task: Some(Task::Restore { expect_digest, .. }), .. }) = cli else {
            panic!("a restore")
        };
        assert_eq!(expect_digest, Some("ab".repeat(32)));
        for wrong in [vec!["b", "--expect-digest", "ab"], vec!["--expect-digest", &good]] {
            let said = [vec!["rr-control", "restore"], wrong].concat();
            assert!(Cli::try_parse_from(&said).is_err(), "{said:?}");
        }
    }
}
