//! What a person says (`Settings`: flags, environment, a TOML file) and what it means (`Config`).
//!
//! Opens nothing. Secrets come as paths of files, never as values of flags.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use clap::Args;
use rr_contract::runtime::observe::ObserveArgs;
use serde::Deserialize;

use crate::store::{DatabaseAddress, InvalidDatabase};

const STATE_DIR: &str = "rr-control-state";
const DATABASE_FILE: &str = "control.db";
const DRAIN: Duration = Duration::from_secs(30);

/// Every setting, said or not. Flags win over environment, and that over the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Folder for the authority's key, the bootstrap token and, without another one, the database
    /// [default: rr-control-state]
    #[arg(long, env = "RR_CONTROL_STATE_DIR", value_name = "FOLDER")]
    pub state_dir: Option<PathBuf>,
    /// sqlite://path or postgres://user@host/name [default: control.db in the state folder]
    #[arg(long, env = "RR_CONTROL_DATABASE", value_name = "URL", hide_env_values = true)]
    pub database: Option<String>,
    /// File whose first line is the database's URL, for one that holds a password
    #[arg(long, env = "RR_CONTROL_DATABASE_FILE", value_name = "FILE")]
    pub database_file: Option<PathBuf>,
    /// Address of the management API, gRPC and REST [default: 127.0.0.1:7420]
    #[arg(long, env = "RR_CONTROL_MANAGEMENT", value_name = "ADDRESS")]
    pub management: Option<SocketAddr>,
    /// Names by which the management API is reached, for its certificate; may be said several times
    #[arg(
        long = "management-name",
        env = "RR_CONTROL_MANAGEMENT_NAME",
        value_name = "NAME",
        value_delimiter = ','
    )]
    #[serde(rename = "management-name")]
    pub management_names: Vec<String>,
    /// Address that edge nodes connect to [default: 127.0.0.1:7421]
    #[arg(long, env = "RR_CONTROL_FLEET", value_name = "ADDRESS")]
    pub fleet: Option<SocketAddr>,
    /// Address of health, readiness and metrics [default: 127.0.0.1:7422]
    #[arg(long, env = "RR_CONTROL_ADMIN", value_name = "ADDRESS")]
    pub admin: Option<SocketAddr>,
    /// How many seconds a stop waits for open calls [default: 30]
    #[arg(long, env = "RR_CONTROL_DRAIN", value_name = "SECONDS")]
    pub drain: Option<u64>,
    /// Write a new bootstrap token at this start, for who lost every token
    #[arg(long)]
    #[serde(skip)]
    pub new_bootstrap_token: bool,
    /// Logs and telemetry; in a file, the table `observe`
    #[command(flatten)]
    pub observe: ObserveArgs,
}

/// Settings that make no sense. Its text names the thing, its place and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {cause}; is the path right?", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why; part of the text, so no source.
        cause: io::Error,
    },
    /// The file is not TOML, or holds something unknown.
    #[error("{}, line {line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong, with the key.
        message: String,
    },
    /// The database's address is none.
    #[error("database (--database) is {cause}")]
    Database {
        /// What is right; part of the text, so no source.
        cause: InvalidDatabase,
    },
    /// The database was said twice.
    #[error("database is said twice: use --database or --database-file, not both")]
    DatabaseTwice,
    /// Two ports are one.
    #[error("--{one} and --{two} are both {address}: choose another for one of them")]
    SamePort {
        /// A flag.
        one: &'static str,
        /// Another.
        two: &'static str,
        /// What both say.
        address: SocketAddr,
    },
    /// A name that no certificate can hold.
    #[error("--management-name {name:?} is not a host name or an address")]
    Name {
        /// The name.
        name: String,
    },
    /// Settings that are not listened to.
    #[error("--drain is {seconds} s: it is 0 to 3600")]
    Drain {
        /// What was said.
        seconds: u64,
    },
}

/// What the control plane is to do.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder for the authority's key and the bootstrap token.
    pub state_dir: PathBuf,
    /// Where everything is stored.
    pub database: DatabaseAddress,
    /// Management API. TLS unless it is loopback.
    pub management: SocketAddr,
    /// Names for its certificate.
    pub management_names: Vec<String>,
    /// For edge nodes. Always TLS.
    pub fleet: SocketAddr,
    /// Health, readiness, metrics.
    pub admin: SocketAddr,
    /// How long a stop waits for open calls.
    pub drain: Duration,
    /// Writes a bootstrap token although there are tokens.
    pub new_bootstrap_token: bool,
}

impl Settings {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            fs::read_to_string(path).map_err(|cause| ConfigError::Read { path: path.to_owned(), cause })?;
        toml::from_str(&text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
            // One line, and only the first: what follows draws the place in the file.
            let message = error.message().lines().next().unwrap_or_default().to_owned();
            let key = key_at(&text, line);
            let message = if message.contains(&key) { message } else { format!("{key}: {message}") };
            ConfigError::Syntax { path: path.to_owned(), line, message }
        })
    }

    /// These settings, with those of `other` where nothing is said here.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        // A database said in one place, either way, hides both ways of the other.
        let (database, database_file) = if self.database.is_some() || self.database_file.is_some() {
            (self.database, self.database_file)
        } else {
            (other.database, other.database_file)
        };
        Self {
            state_dir: self.state_dir.or(other.state_dir),
            database,
            database_file,
            management: self.management.or(other.management),
            management_names: if self.management_names.is_empty() {
                other.management_names
            } else {
                self.management_names
            },
            fleet: self.fleet.or(other.fleet),
            admin: self.admin.or(other.admin),
            drain: self.drain.or(other.drain),
            new_bootstrap_token: self.new_bootstrap_token,
            observe: self.observe.or(other.observe),
        }
    }
}

impl Config {
    /// What settings mean, with defaults for what is not said.
    pub fn resolve(settings: Settings) -> Result<Self, ConfigError> {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let state_dir = settings.state_dir.unwrap_or_else(|| PathBuf::from(STATE_DIR));
        let said = match (settings.database, settings.database_file) {
            (Some(_), Some(_)) => return Err(ConfigError::DatabaseTwice),
            (Some(url), None) => Some(url),
            (None, Some(path)) => {
                let text = fs::read_to_string(&path).map_err(|cause| ConfigError::Read { path, cause })?;
                Some(text.lines().next().unwrap_or_default().trim().to_owned())
            }
            (None, None) => None,
        };
        let database = match said {
            Some(url) => url.parse().map_err(|cause| ConfigError::Database { cause })?,
            None => DatabaseAddress::Sqlite(state_dir.join(DATABASE_FILE)),
        };
        let config = Self {
            state_dir,
            database,
            management: settings.management.unwrap_or_else(|| local(7420)),
            management_names: settings.management_names,
            fleet: settings.fleet.unwrap_or_else(|| local(7421)),
            admin: settings.admin.unwrap_or_else(|| local(7422)),
            new_bootstrap_token: settings.new_bootstrap_token,
            drain: match settings.drain {
                None => DRAIN,
                Some(seconds @ 0..=3600) => Duration::from_secs(seconds),
                Some(seconds) => return Err(ConfigError::Drain { seconds }),
            },
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let ports = [("management", self.management), ("fleet", self.fleet), ("admin", self.admin)];
        for (i, (one, address)) in ports.iter().enumerate() {
            for (two, other) in &ports[i + 1..] {
                if address == other && address.port() != 0 {
                    return Err(ConfigError::SamePort { one, two, address: *address });
                }
            }
        }
        for name in &self.management_names {
            let host = name.split('.').all(|label| {
                !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            });
            if !host && name.parse::<std::net::IpAddr>().is_err() {
                return Err(ConfigError::Name { name: name.clone() });
            }
        }
        Ok(())
    }
}

/// The key that stands on a line; the whole line when there is none.
fn key_at(text: &str, line: usize) -> String {
    let line = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    line.split('=').next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("control.toml");
        fs::write(&path, text).expect("writes");
        Settings::read(&path).expect_err("refused").to_string()
    }

    #[test]
    fn a_file_is_refused_on_one_line_with_its_name_the_line_and_the_key() {
        for (text, line, key) in [
            ("state-dir = \"a\"\nmanagment = \"127.0.0.1:1\"\n", "line 2", "managment"),
            ("\nmanagement = \"nowhere\"\n", "line 2", "management"),
            ("drain = \"long\"\n", "line 1", "drain"),
        ] {
            let refused = refusal(text);
            assert!(refused.contains("control.toml"), "{refused}");
            assert!(refused.contains(line) && refused.contains(key), "{refused}");
            assert!(!refused.contains('\n'), "{refused}");
        }
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let flags = Settings { drain: Some(1), ..Settings::default() };
        let file: Settings = toml::from_str("drain = 2\nadmin = \"127.0.0.1:9\"\n").expect("good");
        let config = Config::resolve(flags.or(file)).expect("good");
        assert_eq!(config.drain, Duration::from_secs(1));
        assert_eq!(config.admin.port(), 9);
        assert_eq!(config.management.port(), 7420);
    }

    #[test]
    fn one_address_for_two_ports_is_refused_by_the_names_of_both() {
        let address = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 7000)));
        let refused =
            Config::resolve(Settings { management: address, admin: address, ..Settings::default() })
                .expect_err("refused")
                .to_string();
        assert!(refused.contains("--management") && refused.contains("--admin"), "{refused}");
    }

    #[test]
    fn a_database_is_shown_without_its_password() {
        let address: DatabaseAddress =
            "postgres://user:pass@db.example/rr?sslmode=require".parse().expect("good");
        assert_eq!(address.to_string(), "postgres://db.example/rr");
        assert!("mysql://x".parse::<DatabaseAddress>().is_err());
    }
}
