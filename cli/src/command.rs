//! The command tree: every command, and the function that it runs.
//!
//! The files below are the commands, one file a noun. The tree alone names all of them.

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
mod metrics;
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
use clap::{Arg, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::field::Flags;
use crate::session::{Global, Session};

/// Ends the help of `rrctl`.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused or failed; a wait: out of time, or a node refuses a resource; a check: a difference
  2  used wrongly, or a question was not answered with yes";

/// Manages RequestRocket: organizations and their members, regions, targets, credentials, proxies, rules, filters,
/// meters, and the nodes of the fleet.
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
    /// Users: the people who have an account in the installation.
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
    Target(Box<target::Verb>),
    /// Credentials: keys of callers, and secrets that are injected for upstreams.
    #[command(subcommand)]
    Credential(credential::Verb),
    /// Proxies: the addresses that callers call.
    #[command(subcommand)]
    Proxy(proxy::Verb),
    /// Rules: which requests are allowed.
    #[command(subcommand)]
    Rule(rule::Verb),
    /// Filters: which fields of a response callers see.
    #[command(subcommand)]
    Filter(filter::Verb),
    /// Meters: counts at a proxy, and limits on them.
    #[command(subcommand)]
    Meter(meter::Verb),
    /// Changes the organization to the state that files describe, as one revision.
    Apply(Box<apply::ApplyArgs>),
    /// Writes the organization as a file for `rrctl apply`, without secrets.
    Export(export::ExportArgs),
    /// Records of the requests of callers.
    #[command(subcommand)]
    Request(request::Verb),
    /// Metrics: what requests add up to, over time.
    #[command(subcommand)]
    Metrics(metrics::Verb),
    /// Nodes: their state, and tokens with which machines join the fleet.
    #[command(subcommand)]
    Node(node::Verb),
    /// Shows for each region how many nodes are up to date, and what waits for a decision.
    Fleet,
    /// Shows which nodes run which version of a resource, and why any of them does not run the published one.
    Explain(fleet::ExplainArgs),
    /// Revisions: published changes, their authors, and whether nodes run them.
    #[command(subcommand)]
    Revision(revision::Verb),
    /// The audit: the author of each change, and whether history was rewritten.
    #[command(subcommand)]
    Audit(audit::Verb),
    /// Notifications: events that need attention.
    #[command(subcommand)]
    Notification(notification::Verb),
    /// Tokens for the management API.
    #[command(subcommand)]
    Token(token::Verb),
    /// Shows the user or service that the token belongs to, and its roles.
    Whoami,
}

impl Args {
    /// Reads the command line, and the flags that were typed. Ends the process if the line is wrong or asks for help.
    pub(crate) fn read() -> (Self, Flags) {
        let mut tree = with_negatives(Self::command());
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
            Noun::Metrics(verb) => Box::pin(verb.run(session()?)).await,
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

/// Takes a negative number as the value of the option before it, so that its error names the option and the bounds.
fn with_negatives(tree: Command) -> Command {
    let has_value = |arg: &Arg| arg.get_long().is_some() && arg.get_action().takes_values();
    tree.mut_args(|arg| if has_value(&arg) { arg.allow_negative_numbers(true) } else { arg })
        .mut_subcommands(with_negatives)
}

#[cfg(test)]
mod tests;
