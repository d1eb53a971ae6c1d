//! The command tree: every noun and verb, and what each of them runs.

mod apply;
mod audit;
mod credential;
#[cfg(feature = "dev")]
mod dev;
mod export;
mod filter;
mod fleet;
mod history;
mod member;
mod meter;
mod node;
mod notification;
mod org;
mod proxy;
mod region;
mod request;
mod revision;
mod rule;
mod target;
mod token;
mod user;
mod wait;

use anyhow::Result;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::field::Flags;
use crate::session::{Global, Session};

/// What the shell is told.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused or failed; of a wait also: not in time, or a node refuses something; of a check: something does not fit
  2  used wrongly, or nobody agreed to what has to be agreed to";

/// Manages RequestRocket: organizations and their people, regions, targets, credentials, proxies, rules, filters,
/// meters, and what the fleet runs.
#[derive(Parser)]
#[command(name = "rrctl", version, max_term_width = 100, subcommand_required = true, after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    noun: Noun,
}

#[derive(Subcommand)]
enum Noun {
    /// Runs both planes, a sample upstream and a sample proxy in this process.
    #[cfg(feature = "dev")]
    Dev(dev::DevArgs),
    /// Organizations: the tenants.
    #[command(subcommand)]
    Org(org::Verb),
    /// Users: the people of the installation.
    #[command(subcommand)]
    User(user::Verb),
    /// Members: the users of an organization and their roles.
    #[command(subcommand)]
    Member(member::Verb),
    /// Regions: where edge nodes run, and the unit of keys.
    #[command(subcommand)]
    Region(region::Verb),
    /// Targets: upstream APIs.
    #[command(subcommand)]
    Target(target::Verb),
    /// Credentials: what callers present, and what is injected.
    #[command(subcommand)]
    Credential(credential::Verb),
    /// Proxies: what callers call.
    #[command(subcommand)]
    Proxy(proxy::Verb),
    /// Rules: which requests may pass.
    #[command(subcommand)]
    Rule(rule::Verb),
    /// Filters: what callers see of a response.
    #[command(subcommand)]
    Filter(filter::Verb),
    /// Meters: what is counted at a proxy, and how much of it is let through.
    #[command(subcommand)]
    Meter(meter::Verb),
    /// Makes the organization what files say, as one revision.
    Apply(Box<apply::ApplyArgs>),
    /// Writes the organization as a file for apply, without secrets.
    Export(export::ExportArgs),
    /// Records of requests.
    #[command(subcommand)]
    Request(request::Verb),
    /// Nodes: what the fleet runs, and tokens to join it.
    #[command(subcommand)]
    Node(node::Verb),
    /// Shows regions, with how far their nodes are and what waits for a person.
    Fleet,
    /// Says who runs which version of a resource, and why not the published one.
    Explain(fleet::ExplainArgs),
    /// Published changes, who made them, and how far they have come.
    #[command(subcommand)]
    Revision(revision::Verb),
    /// The audit: who changed what, and whether history was rewritten.
    #[command(subcommand)]
    Audit(audit::Verb),
    /// Notifications: what somebody should look at.
    #[command(subcommand)]
    Notification(notification::Verb),
    /// Tokens for this API.
    #[command(subcommand)]
    Token(token::Verb),
    /// Shows who you are and what you may do.
    Whoami,
}

impl Args {
    /// Reads the command line, and the flags that were typed. Ends the process if the line is wrong or asks for help.
    pub(crate) fn read() -> (Self, Flags) {
        let mut tree = Self::command();
        let typed = tree.get_matches_mut();
        let args = Self::from_arg_matches(&typed).unwrap_or_else(|error| error.format(&mut tree).exit());
        (args, Flags::of(&tree, &typed))
    }

    pub(crate) async fn run(self) -> Result<()> {
        let session = || Session::open(self.global);
        match self.noun {
            #[cfg(feature = "dev")]
            Noun::Dev(args) => Box::pin(dev::run(args)).await,
            Noun::Org(verb) => Box::pin(verb.run(session()?)).await,
            Noun::User(verb) => Box::pin(verb.run(session()?)).await,
            Noun::Member(verb) => Box::pin(verb.run(session()?)).await,
            Noun::Region(verb) => Box::pin(verb.run(session()?)).await,
            Noun::Target(verb) => Box::pin(verb.run(session()?)).await,
            Noun::Credential(verb) => Box::pin(verb.run(session()?)).await,
            Noun::Proxy(verb) => Box::pin(verb.run(session()?)).await,
            Noun::Rule(verb) => Box::pin(verb.run(session()?)).await,
            Noun::Filter(verb) => Box::pin(verb.run(session()?)).await,
            Noun::Meter(verb) => Box::pin(verb.run(session()?)).await,
            Noun::Apply(args) => Box::pin(args.run(session()?)).await,
            Noun::Export(args) => Box::pin(args.run(session()?)).await,
            Noun::Request(verb) => Box::pin(verb.run(session()?)).await,
            Noun::Node(verb) => Box::pin(verb.run(session()?)).await,
            Noun::Fleet => Box::pin(fleet::states(session()?)).await,
            Noun::Explain(args) => Box::pin(args.run(session()?)).await,
            Noun::Revision(verb) => Box::pin(verb.run(session()?)).await,
            Noun::Audit(verb) => Box::pin(verb.run(session()?)).await,
            Noun::Notification(verb) => Box::pin(verb.run(session()?)).await,
            Noun::Token(verb) => Box::pin(verb.run(session()?)).await,
            Noun::Whoami => token::whoami(session()?).await,
        }
    }
}

#[cfg(test)]
mod tests;
