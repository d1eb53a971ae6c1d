//! The command tree: every command, and the function that it runs.
//!
//! The files below are the commands, one file a noun. The tree alone names all of them.

mod apply;
mod attached;
mod audit;
mod authority;
mod change;
mod complete;
mod context;
mod credential;
#[cfg(feature = "dev")]
mod dev;
mod diff;
mod doctor;
mod examples;
mod export;
mod filter;
mod fleet;
mod history;
mod init;
mod lists;
mod login;
mod member;
mod meter;
mod metrics;
mod names;
mod node;
mod notification;
mod org;
mod preview;
mod proxy;
mod region;
mod request;
mod revision;
mod rule;
mod schema;
mod set;
mod target;
mod tip;
mod token;
mod tree;
mod user;
mod validate;
mod version;
mod wait;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::CompleteEnv;

use crate::fault;
use crate::field::Flags;
use crate::print::Printer;
use crate::session::{Global, Session};

/// Ends the help of `rrctl`.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused or failed; a wait: out of time, or a node refuses a resource; a check: a difference
  2  used wrongly, or a question was not answered with yes; `diff`: refused or failed, because 1 is a difference";

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
    /// Asks which API to call, makes what a first call needs, and prints the call.
    #[command(after_help = init::EXAMPLES)]
    Init(Box<init::InitArgs>),
    /// Tries a token at a control plane and keeps both as a context.
    #[command(after_help = login::EXAMPLES)]
    Login(login::LoginArgs),
    /// Contexts: the control planes that you work with.
    #[command(subcommand)]
    Context(context::Verb),
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
    /// Checks files as nodes would, without a control plane.
    Validate(validate::ValidateArgs),
    /// Prints the JSON Schema of the documents in files, for editors.
    Schema,
    /// Shows what an apply of the files would change, field by field.
    Diff(diff::DiffArgs),
    /// Changes the organization to the state that files describe, as one revision.
    Apply(Box<apply::ApplyArgs>),
    /// Previews: sets that stand beside the real ones for a while; `rrctl apply --preview` makes them.
    #[command(subcommand)]
    Preview(preview::Verb),
    /// Writes the organization as a file for `rrctl apply`, without secrets.
    Export(export::ExportArgs),
    /// Records of the requests of callers.
    #[command(subcommand)]
    Request(request::Verb),
    /// Metrics: what requests add up to, over time.
    #[command(subcommand)]
    Metrics(metrics::Verb),
    /// The certificate authority of the fleet: its roots, and how one takes the place of another.
    #[command(subcommand)]
    Authority(authority::Verb),
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
    /// Shows the versions of this program, of the control plane and of the nodes.
    Version,
    /// Looks at everything that commands need: files, connection, clock, versions, fingerprints, nodes.
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(doctor::DoctorArgs),
    /// Prints the completions of a shell, or writes the pages of the manual.
    #[command(after_help = complete::EXAMPLES)]
    Completion(complete::CompletionArgs),
}

impl Args {
    /// Reads the command line, and the flags that were typed. Ends the process if the line is wrong or asks for help.
    pub(crate) fn read() -> (Self, Flags) {
        let mut tree = Self::tree();
        let line: Vec<String> = std::env::args_os().map(|it| it.to_string_lossy().into_owned()).collect();
        let typed = tree.try_get_matches_from_mut(std::env::args_os());
        let typed = typed.unwrap_or_else(|error| tip::with(error, &tree, &line).exit());
        let mut args = Self::from_arg_matches(&typed).unwrap_or_else(|error| error.format(&mut tree).exit());
        match tree::named_org(&tree, &typed) {
            Ok(Some(org)) => args.global.org = Some(org),
            Ok(None) => {}
            Err(text) => tree.error(ErrorKind::ArgumentConflict, text).exit(),
        }
        (args, Flags::of(&tree, &typed))
    }

    /// Answers a shell that asks for completions, and ends the process; does nothing if none asks.
    pub(crate) fn complete() {
        if std::env::var_os(complete::ASKED).is_some() {
            CompleteEnv::with_factory(|| complete::of_line(Self::tree())).complete();
        }
    }

    fn tree() -> Command {
        tree::finish(Self::command())
    }

    pub(crate) async fn run(self) -> Result<()> {
        let global = self.global;
        match self.noun {
            #[cfg(feature = "dev")]
            Noun::Dev(args) => Box::pin(dev::run(args)).await,
            Noun::Org(verb) => Box::pin(verb.run(Session::open(global)?)).await,
            Noun::User(verb) => Box::pin(verb.run(Session::open(global)?)).await,
            Noun::Member(verb) => Box::pin(verb.run(Session::open(global)?)).await,
            Noun::Region(verb) => Box::pin(verb.run(Session::open(global)?)).await,
            Noun::Target(verb) => Box::pin(verb.run(Session::open(global)?)).await,
            Noun::Credential(verb) => Box::pin(verb.run(Session::open(global)?)).await,
            Noun::Proxy(verb) => Box::pin(verb.run(Session::open(global)?)).await,
            Noun::Rule(verb) => Box::pin(verb.run(Session::open(global)?)).await,
            Noun::Filter(verb) => Box::pin(verb.run(Session::open(global)?)).await,
            Noun::Meter(verb) => Box::pin(verb.run(Session::open(global)?)).await,
            Noun::Validate(args) => args.run(Printer::new(global.output)),
            Noun::Schema => schema::run(),
            Noun::Diff(args) => {
                fault::answered(Box::pin(async { args.run(Session::open(global)?).await }).await)
            }
            Noun::Apply(args) => Box::pin(args.run(Session::open(global)?, validate::read)).await,
            Noun::Preview(verb) => Box::pin(verb.run(Session::open(global)?)).await,
            Noun::Export(args) => Box::pin(args.run(Session::open(global)?)).await,
            Noun::Request(verb) => Box::pin(verb.run(Session::open(global)?)).await,
            Noun::Metrics(verb) => Box::pin(verb.run(Session::open(global)?)).await,
            Noun::Authority(verb) => Box::pin(verb.run(Session::open(global)?)).await,
            Noun::Node(verb) => Box::pin(verb.run(Session::open(global)?)).await,
            Noun::Fleet => Box::pin(fleet::states(Session::open(global)?)).await,
            Noun::Explain(args) => Box::pin(args.run(Session::open(global)?)).await,
            Noun::Revision(verb) => Box::pin(verb.run(Session::open(global)?)).await,
            Noun::Audit(verb) => Box::pin(verb.run(Session::open(global)?)).await,
            Noun::Notification(verb) => Box::pin(verb.run(Session::open(global)?)).await,
            Noun::Token(verb) => Box::pin(verb.run(Session::open(global)?)).await,
            Noun::Whoami => token::whoami(Session::open(global)?).await,
            Noun::Init(args) => Box::pin(args.run(Session::open(global)?)).await,
            Noun::Login(args) => Box::pin(args.run(global)).await,
            Noun::Context(verb) => verb.run(&global),
            Noun::Version => Box::pin(version::run(global)).await,
            Noun::Doctor(args) => Box::pin(args.run(global)).await,
            Noun::Completion(args) => args.run(Self::tree()),
        }
    }
}

#[cfg(test)]
mod tests;
