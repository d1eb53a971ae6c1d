//! What every command works with: the options that all of them take, the endpoint, the organization and the printer.
//!
//! Knows no command: the command tree is above it.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::connect::{self, Endpoint};
use crate::fault;
use crate::print::{Format, Printer};

/// Options that every command takes.
#[derive(Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Where the management API is.
    #[arg(
        long,
        global = true,
        env = "RRCTL_ENDPOINT",
        default_value = "http://127.0.0.1:7420",
        value_name = "URL"
    )]
    endpoint: String,
    /// File that holds the token. The token itself can be given in RRCTL_TOKEN, never as an argument.
    #[arg(long, global = true, env = "RRCTL_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Certificate authority (PEM) that the endpoint's certificate must come from; the system's own when not given.
    #[arg(long, global = true, env = "RRCTL_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Organization, by name or id.
    #[arg(long, global = true, env = "RRCTL_ORG", value_name = "ORG")]
    org: Option<String>,
    /// How answers are printed.
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// What a command works with.
pub(crate) struct Session {
    pub(crate) endpoint: Endpoint,
    org: Option<String>,
    pub(crate) print: Printer,
}

impl Session {
    /// Reads the token; connects to nobody yet.
    pub(crate) fn open(global: Global) -> Result<Self> {
        let token = connect::token(global.token_file.as_deref())?;
        Ok(Self {
            endpoint: Endpoint::new(&global.endpoint, token, global.ca_file.as_deref())?,
            org: global.org,
            print: Printer::new(global.output),
        })
    }

    /// The organization that was named.
    pub(crate) fn org(&self) -> Result<String> {
        self.org
            .clone()
            .ok_or_else(|| fault::usage("no organization was named", "give --org NAME or set RRCTL_ORG"))
    }
}
