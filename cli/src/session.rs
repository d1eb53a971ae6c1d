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
    /// URL of the management API.
    #[arg(
        long,
        global = true,
        env = "RRCTL_ENDPOINT",
        default_value = "http://127.0.0.1:7420",
        value_name = "URL"
    )]
    endpoint: String,
    /// File that holds the token. RRCTL_TOKEN can hold the token itself; no flag takes it.
    #[arg(long, global = true, env = "RRCTL_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// PEM file of the certificate authority that signed the endpoint's certificate; the authorities of the system when
    /// not given.
    #[arg(long, global = true, env = "RRCTL_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Organization, by name or id.
    #[arg(long, global = true, env = "RRCTL_ORG", value_name = "ORG")]
    org: Option<String>,
    /// Format of the output.
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
    /// Reads the token. Does not connect.
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
