//! What a person says (`Settings`: flags, environment, a TOML file) and what it means (`Config`).
//!
//! Opens nothing. Secrets come as paths of files, never as values of flags.

mod record_stores;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use clap::Args;
use rr_contract::runtime::observe::ObserveArgs;
use rr_contract::wire::fleet;
use serde::Deserialize;

use crate::authority::{InvalidKeySource, KEY_FILE, KeySource};
use crate::store::{DatabaseAddress, InvalidDatabase, RecordAddress};
use crate::throttle::Limits;

const STATE_DIR: &str = "rr-control-state";
const DATABASE_FILE: &str = "control.db";
const DRAIN: Duration = Duration::from_secs(30);
/// A quarter: what nobody missed for that long is not rolled back any more.
const KEEP_HISTORY_DAYS: u32 = 90;
const FLEET_STREAM_RATE: u32 = 500;
/// Longer than a session waits for an answer, which says more clearly what is the matter.
const FLEET_PATIENCE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// Every setting, said or not. Flags win over environment, and that over the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Folder for the authority's key, the bootstrap token and, without another one, the database
    /// [default: rr-control-state]
    #[arg(long, global = true, env = "RR_CONTROL_STATE_DIR", value_name = "FOLDER")]
    pub state_dir: Option<PathBuf>,
    /// Where the key of the certificate authority is: file:PATH, fd:NUMBER or exec:PROGRAM, a program that signs with it;
    /// while it is replaced, given once for each of the two [default: authority.key in the state folder]
    #[arg(
        long = "authority-key",
        global = true,
        env = "RR_CONTROL_AUTHORITY_KEY",
        value_name = "SOURCE",
        value_delimiter = ','
    )]
    #[serde(rename = "authority-key")]
    pub authority_keys: Vec<String>,
    /// sqlite://path or postgres://user@host/name [default: control.db in the state folder]
    #[arg(long, global = true, env = "RR_CONTROL_DATABASE", value_name = "URL", hide_env_values = true)]
    pub database: Option<String>,
    /// File whose first line is the database's URL, for one that holds a password
    #[arg(long, global = true, env = "RR_CONTROL_DATABASE_FILE", value_name = "FILE")]
    pub database_file: Option<PathBuf>,
    /// NAME=URL of a further database that regions may keep records of requests in, by its name; may be given several times
    #[arg(
        long = "record-store",
        global = true,
        env = "RR_CONTROL_RECORD_STORE",
        value_name = "NAME=URL",
        value_delimiter = ',',
        hide_env_values = true
    )]
    #[serde(rename = "record-store")]
    pub record_stores: Vec<String>,
    /// NAME=FILE of such a database, whose URL is the first line of the file, for one that holds a password
    #[arg(
        long = "record-store-file",
        global = true,
        env = "RR_CONTROL_RECORD_STORE_FILE",
        value_name = "NAME=FILE",
        value_delimiter = ','
    )]
    #[serde(rename = "record-store-file")]
    pub record_store_files: Vec<String>,
    /// Address of the management API, gRPC and REST [default: 127.0.0.1:7420]
    #[arg(long, env = "RR_CONTROL_MANAGEMENT", value_name = "ADDRESS")]
    pub management: Option<SocketAddr>,
    /// Names by which the management API is reached, for its certificate; may be given several times
    #[arg(
        long = "management-name",
        env = "RR_CONTROL_MANAGEMENT_NAME",
        value_name = "NAME",
        value_delimiter = ','
    )]
    #[serde(rename = "management-name")]
    pub management_names: Vec<String>,
    /// PEM file with the management API's certificate and those above it
    /// [default: one of the installation's own authority; without TLS on loopback]
    #[arg(long, env = "RR_CONTROL_MANAGEMENT_TLS_CERTIFICATE", value_name = "FILE")]
    pub management_tls_certificate: Option<PathBuf>,
    /// PEM file with the key of that certificate
    #[arg(long, env = "RR_CONTROL_MANAGEMENT_TLS_KEY", value_name = "FILE")]
    pub management_tls_key: Option<PathBuf>,
    /// Address that edge nodes connect to [default: 127.0.0.1:7421]
    #[arg(long, env = "RR_CONTROL_FLEET", value_name = "ADDRESS")]
    pub fleet: Option<SocketAddr>,
    /// How many streams of nodes may open per second; 0 means no limit [default: 500]
    #[arg(long, env = "RR_CONTROL_FLEET_STREAM_RATE", value_name = "STREAMS")]
    pub fleet_stream_rate: Option<u32>,
    /// Address of health, readiness and metrics [default: 127.0.0.1:7422]
    #[arg(long, env = "RR_CONTROL_ADMIN", value_name = "ADDRESS")]
    pub admin: Option<SocketAddr>,
    /// File with a token of 32 or more characters, which then every request to the admin port but /healthz has to show as
    /// `Authorization: Bearer`; needed where the admin port is not on loopback
    #[arg(long, env = "RR_CONTROL_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// How many seconds a stop waits for open calls to finish [default: 30]
    #[arg(long, env = "RR_CONTROL_DRAIN", value_name = "SECONDS")]
    pub drain: Option<u64>,
    /// How many calls per second one token may make; 0 means no limit [default: 50]
    #[arg(long, env = "RR_CONTROL_TOKEN_RATE", value_name = "CALLS")]
    pub token_rate: Option<u32>,
    /// How many calls of one token may come at once, above its rate [default: 200]
    #[arg(long, env = "RR_CONTROL_TOKEN_BURST", value_name = "CALLS")]
    pub token_burst: Option<u32>,
    /// How many seconds a management call may take; four times as many for Apply [default: 30]
    #[arg(long, env = "RR_CONTROL_CALL_TIMEOUT", value_name = "SECONDS")]
    pub call_timeout: Option<u64>,
    /// How many streaming calls of the management API may be open, a quarter of them by one caller [default: 1000]
    #[arg(long, env = "RR_CONTROL_STREAM_LIMIT", value_name = "STREAMS")]
    pub stream_limit: Option<usize>,
    /// How many connections of the management API may be open [default: 4096]
    #[arg(long, env = "RR_CONTROL_CONNECTION_LIMIT", value_name = "CONNECTIONS")]
    pub connection_limit: Option<usize>,
    /// How many days back a rollback can go; the audit is kept for ever [default: 90]
    #[arg(long, env = "RR_CONTROL_KEEP_HISTORY_DAYS", value_name = "DAYS")]
    pub keep_history_days: Option<u32>,
    /// Highest limit of requests per minute that a proxy of any organization may have; 0 means any [default: 0]
    #[arg(long, env = "RR_CONTROL_LIMIT_CEILING_PER_MINUTE", value_name = "REQUESTS")]
    pub limit_ceiling_per_minute: Option<u64>,
    /// Highest limit of requests per day that a proxy of any organization may have; 0 means any [default: 0]
    #[arg(long, env = "RR_CONTROL_LIMIT_CEILING_PER_DAY", value_name = "REQUESTS")]
    pub limit_ceiling_per_day: Option<u64>,
    /// Write a new bootstrap token at this start, for an installation whose tokens are all lost
    #[arg(long)]
    #[serde(skip)]
    pub new_bootstrap_token: bool,
    /// Accept the clock of this machine at this start, although it is more than 7 days ahead of the database;
    /// until then nothing is removed by age
    #[arg(long)]
    #[serde(skip)]
    pub accept_clock: bool,
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
    /// The authority's key is nowhere.
    #[error("{cause}: it is {said:?}")]
    AuthorityKey {
        /// What was said.
        said: String,
        /// What is right; part of the text, so no source.
        cause: InvalidKeySource,
    },
    /// The database was said twice.
    #[error("the database is given twice: use --database or --database-file, not both")]
    DatabaseTwice,
    /// A record store is said badly. What was said may hold a password, and is not repeated.
    #[error("record store {name:?} (--record-store, --record-store-file) {reason}")]
    RecordStore {
        /// Its name, or where in the list it stands.
        name: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// Two ports are one.
    #[error("--{one} and --{two} are both {address}: choose another for one of them")]
    SamePort {
        /// One of the two flags.
        one: &'static str,
        /// The other flag.
        two: &'static str,
        /// What both say.
        address: SocketAddr,
    },
    /// Anybody could read metrics.
    #[error(
        "--admin {admin} is not on loopback, and whoever reaches it would be answered: pass --admin-token-file FILE, or an address of 127.0.0.0/8"
    )]
    AdminOpen {
        /// What was said.
        admin: SocketAddr,
    },
    /// A name that no certificate can hold.
    #[error("--management-name {name:?} is not a host name or an address")]
    Name {
        /// The name.
        name: String,
    },
    /// Half of what TLS needs.
    #[error(
        "--management-tls-certificate and --management-tls-key are needed together: {missing} is missing"
    )]
    HalfTls {
        /// The flag that was not said.
        missing: &'static str,
    },
    /// A bound that would let nothing through, or is none.
    #[error("--{flag} is {said}: it is {least} to {most}")]
    Limit {
        /// The flag.
        flag: &'static str,
        /// What was said.
        said: u64,
        /// The least that it can be.
        least: u64,
        /// The most that it can be.
        most: u64,
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
    /// Where the authority's keys are: one, or two while it is replaced.
    pub authority_keys: Vec<KeySource>,
    /// Where everything is stored.
    pub database: DatabaseAddress,
    /// Where regions may keep records of requests, by name.
    pub record_stores: BTreeMap<String, RecordAddress>,
    /// Management API. TLS unless it is loopback.
    pub management: SocketAddr,
    /// Names for its certificate.
    pub management_names: Vec<String>,
    /// Its certificate, where it is not of our own authority.
    pub management_tls: Option<ManagementTls>,
    /// What callers of it may take.
    pub limits: Limits,
    /// For edge nodes. Always TLS.
    pub fleet: SocketAddr,
    /// How many of their streams may open a second; 0 for any number.
    pub fleet_stream_rate: u32,
    /// How long a node may take nothing of what is written to it. No setting: a node on a slow link takes something.
    pub fleet_patience: Duration,
    /// Health, readiness, metrics.
    pub admin: SocketAddr,
    /// Holds the token of that port; there is one unless the port is on loopback.
    pub admin_token_file: Option<PathBuf>,
    /// How long a stop waits for open calls.
    pub drain: Duration,
    /// How far back history can be gone.
    pub keep_history: Duration,
    /// The highest limits that proxies may have. 0 means any.
    pub limit_ceilings: fleet::Limits,
    /// Writes a bootstrap token although there are tokens.
    pub new_bootstrap_token: bool,
    /// A person says that the clock is right, however far it is ahead of everything in the database.
    pub accept_clock: bool,
}

/// A certificate that somebody else issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagementTls {
    /// PEM file: the certificate, then those above it.
    pub certificate: PathBuf,
    /// PEM file.
    pub key: PathBuf,
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
        // The same of record stores, all together.
        let (record_stores, record_store_files) =
            if self.record_stores.is_empty() && self.record_store_files.is_empty() {
                (other.record_stores, other.record_store_files)
            } else {
                (self.record_stores, self.record_store_files)
            };
        Self {
            state_dir: self.state_dir.or(other.state_dir),
            authority_keys: if self.authority_keys.is_empty() {
                other.authority_keys
            } else {
                self.authority_keys
            },
            database,
            database_file,
            record_stores,
            record_store_files,
            management: self.management.or(other.management),
            management_names: if self.management_names.is_empty() {
                other.management_names
            } else {
                self.management_names
            },
            management_tls_certificate: self.management_tls_certificate.or(other.management_tls_certificate),
            management_tls_key: self.management_tls_key.or(other.management_tls_key),
            token_rate: self.token_rate.or(other.token_rate),
            token_burst: self.token_burst.or(other.token_burst),
            call_timeout: self.call_timeout.or(other.call_timeout),
            stream_limit: self.stream_limit.or(other.stream_limit),
            connection_limit: self.connection_limit.or(other.connection_limit),
            fleet: self.fleet.or(other.fleet),
            fleet_stream_rate: self.fleet_stream_rate.or(other.fleet_stream_rate),
            admin: self.admin.or(other.admin),
            admin_token_file: self.admin_token_file.or(other.admin_token_file),
            drain: self.drain.or(other.drain),
            keep_history_days: self.keep_history_days.or(other.keep_history_days),
            limit_ceiling_per_minute: self.limit_ceiling_per_minute.or(other.limit_ceiling_per_minute),
            limit_ceiling_per_day: self.limit_ceiling_per_day.or(other.limit_ceiling_per_day),
            new_bootstrap_token: self.new_bootstrap_token,
            accept_clock: self.accept_clock,
            observe: self.observe.or(other.observe),
        }
    }
}

impl Config {
    /// What settings mean, with defaults for what is not said.
    pub fn resolve(settings: Settings) -> Result<Self, ConfigError> {
        let limits = limits(&settings)?;
        let management_tls = match (settings.management_tls_certificate, settings.management_tls_key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some(ManagementTls { certificate, key }),
            (Some(_), None) => return Err(ConfigError::HalfTls { missing: "--management-tls-key" }),
            (None, Some(_)) => return Err(ConfigError::HalfTls { missing: "--management-tls-certificate" }),
        };
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let state_dir = settings.state_dir.unwrap_or_else(|| PathBuf::from(STATE_DIR));
        let mut authority_keys = Vec::new();
        for said in settings.authority_keys {
            let source = said.parse().map_err(|cause| ConfigError::AuthorityKey { said, cause })?;
            authority_keys.push(source);
        }
        if authority_keys.is_empty() {
            authority_keys.push(KeySource::File(state_dir.join(KEY_FILE)));
        }
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
        let record_stores =
            record_stores::resolve(&database, &settings.record_stores, &settings.record_store_files)?;
        let config = Self {
            state_dir,
            authority_keys,
            database,
            record_stores,
            management: settings.management.unwrap_or_else(|| local(7420)),
            management_names: settings.management_names,
            management_tls,
            limits,
            fleet: settings.fleet.unwrap_or_else(|| local(7421)),
            fleet_stream_rate: settings.fleet_stream_rate.unwrap_or(FLEET_STREAM_RATE),
            fleet_patience: FLEET_PATIENCE,
            admin: settings.admin.unwrap_or_else(|| local(7422)),
            admin_token_file: settings.admin_token_file,
            keep_history: DAY * keep_history_days(settings.keep_history_days.unwrap_or(KEEP_HISTORY_DAYS))?,
            limit_ceilings: fleet::Limits {
                per_minute_per_node: settings.limit_ceiling_per_minute.unwrap_or_default(),
                per_day_per_node: settings.limit_ceiling_per_day.unwrap_or_default(),
            },
            new_bootstrap_token: settings.new_bootstrap_token,
            accept_clock: settings.accept_clock,
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
        if !self.admin.ip().to_canonical().is_loopback() && self.admin_token_file.is_none() {
            return Err(ConfigError::AdminOpen { admin: self.admin });
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

fn within(flag: &'static str, said: u64, least: u64, most: u64) -> Result<u64, ConfigError> {
    if (least..=most).contains(&said) {
        return Ok(said);
    }
    Err(ConfigError::Limit { flag, said, least, most })
}

/// At least one: replicas follow each other by the history that is kept.
fn keep_history_days(said: u32) -> Result<u32, ConfigError> {
    within("keep-history-days", said.into(), 1, 36_500)?;
    Ok(said)
}

fn limits(settings: &Settings) -> Result<Limits, ConfigError> {
    let mut limits = Limits::default();
    if let Some(said) = settings.token_rate {
        within("token-rate", said.into(), 0, 1_000_000)?;
        limits.token_rate = said;
    }
    if let Some(said) = settings.token_burst {
        within("token-burst", said.into(), 1, 1_000_000)?;
        limits.token_burst = said;
    }
    if let Some(said) = settings.call_timeout {
        limits.call = Duration::from_secs(within("call-timeout", said, 1, 3600)?);
        limits.large_call = limits.call * 4;
    }
    if let Some(said) = settings.stream_limit {
        within("stream-limit", said as u64, 1, 1_000_000)?;
        limits.streams = said;
    }
    if let Some(said) = settings.connection_limit {
        within("connection-limit", said as u64, 1, 1_000_000)?;
        limits.connections = said;
    }
    Ok(limits)
}

/// The key that stands on a line; the whole line when there is none.
fn key_at(text: &str, line: usize) -> String {
    let line = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    line.split('=').next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests;
