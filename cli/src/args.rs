//! Global options, and the list of nouns.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::connect::Endpoint;
use crate::print::{Format, Printer};

/// Manages RequestRocket: organizations, regions, targets, credentials, proxies, and what the fleet runs.
#[derive(Parser)]
#[command(name = "rrctl", version, max_term_width = 100, subcommand_required = true)]
pub(crate) struct Args {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    noun: Noun,
}

/// Options that every noun takes.
#[derive(Parser)]
pub(crate) struct Global {
    /// Where the management API is.
    #[arg(
        long,
        global = true,
        env = "RRCTL_ENDPOINT",
        default_value = "http://127.0.0.1:7420",
        value_name = "URL"
    )]
    pub(crate) endpoint: String,
    /// File that holds the token. The token itself can be given in RRCTL_TOKEN, never as an argument.
    #[arg(long, global = true, env = "RRCTL_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Certificate authority (PEM) that the endpoint's certificate must come from; the system's own when not given.
    #[arg(long, global = true, env = "RRCTL_CA_FILE", value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Organization, by name or id.
    #[arg(long, global = true, env = "RRCTL_ORG", value_name = "ORG")]
    pub(crate) org: Option<String>,
    /// How answers are printed.
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

#[derive(Subcommand)]
enum Noun {
    /// Runs both planes, a sample upstream and a sample proxy in this process.
    #[cfg(feature = "dev")]
    Dev(crate::dev::DevArgs),
    /// Organizations: the tenants.
    #[command(subcommand)]
    Org(crate::org::Verb),
    /// Regions: where edge nodes run, and the unit of keys.
    #[command(subcommand)]
    Region(crate::region::Verb),
    /// Targets: upstream APIs.
    #[command(subcommand)]
    Target(crate::target::Verb),
    /// Credentials: what callers present, and what is injected.
    #[command(subcommand)]
    Credential(crate::credential::Verb),
    /// Proxies: what callers call.
    #[command(subcommand)]
    Proxy(crate::proxy::Verb),
    /// Records of requests.
    #[command(subcommand)]
    Request(crate::request::Verb),
    /// Nodes: what the fleet runs, and tokens to join it.
    #[command(subcommand)]
    Node(crate::node::Verb),
    /// Published changes, and who made them.
    #[command(subcommand)]
    Revision(crate::revision::Verb),
    /// Tokens for this API.
    #[command(subcommand)]
    Token(crate::token::Verb),
}

impl Args {
    pub(crate) async fn run(self) -> Result<()> {
        let session = || -> Result<Session> {
            Ok(Session {
                endpoint: Endpoint::parse(&self.global)?,
                org: self.global.org.clone(),
                print: Printer::new(self.global.output),
            })
        };
        match self.noun {
            #[cfg(feature = "dev")]
            Noun::Dev(args) => Box::pin(crate::dev::run(args)).await,
            Noun::Org(verb) => verb.run(session()?).await,
            Noun::Region(verb) => verb.run(session()?).await,
            Noun::Target(verb) => verb.run(session()?).await,
            Noun::Credential(verb) => verb.run(session()?).await,
            Noun::Proxy(verb) => verb.run(session()?).await,
            Noun::Request(verb) => verb.run(session()?).await,
            Noun::Node(verb) => verb.run(session()?).await,
            Noun::Revision(verb) => verb.run(session()?).await,
            Noun::Token(verb) => verb.run(session()?).await,
        }
    }
}

/// What a verb works with.
pub(crate) struct Session {
    pub(crate) endpoint: Endpoint,
    org: Option<String>,
    pub(crate) print: Printer,
}

impl Session {
    /// The organization that was named.
    pub(crate) fn org(&self) -> Result<String> {
        self.org.clone().ok_or_else(|| {
            crate::fault::usage("no organization was named", "give --org NAME or set RRCTL_ORG")
        })
    }
}
