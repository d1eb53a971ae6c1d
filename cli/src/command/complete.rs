//! Completions, with names from the control plane; and the pages of the manual.
//!
//! A shell asks this program at each press of the tab key: with COMPLETE set, it prints candidates and does nothing else.
//! Which argument takes what is said here; `values` finds it.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Arg, Args, Command, ValueEnum};
use clap_complete::engine::ArgValueCompleter;
use clap_complete::env::Shells;

use crate::print::{line_out, note};

mod values;

use self::values::Wanted;

/// The variable by which a shell asks for candidates.
pub(crate) const ASKED: &str = "COMPLETE";
/// The variable by which a shell says which word is completed.
const INDEX: &str = "_CLAP_COMPLETE_INDEX";

pub(super) const EXAMPLES: &str = "\
Examples:
  rrctl completion bash >> ~/.bashrc
  rrctl completion zsh > ~/.zfunc/_rrctl
  rrctl completion fish > ~/.config/fish/completions/rrctl.fish
  rrctl completion powershell >> $PROFILE
  rrctl completion man --out ~/.local/share/man/man1";

#[derive(Args)]
pub(crate) struct CompletionArgs {
    /// Shell; `man` writes the pages of the manual.
    #[arg(value_enum)]
    shell: Shell,
    /// Folder for the pages of the manual.
    #[arg(long, value_name = "FOLDER", required_if_eq("shell", "man"))]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    Powershell,
    Man,
}

impl CompletionArgs {
    pub(crate) fn run(self, tree: Command) -> Result<()> {
        if let (Shell::Man, Some(folder)) = (self.shell, self.out) {
            std::fs::create_dir_all(&folder).with_context(|| format!("make folder {}", folder.display()))?;
            clap_mangen::generate_to(tree, &folder)
                .with_context(|| format!("write pages to {}", folder.display()))?;
            note(&format!("wrote the pages to {}", folder.display()));
            return Ok(());
        }
        let name = match self.shell {
            Shell::Bash => "bash",
            Shell::Zsh => "zsh",
            Shell::Fish => "fish",
            Shell::Powershell | Shell::Man => "powershell",
        };
        let shells = Shells::builtins();
        let shell = shells.completer(name).context("the shell is known")?;
        let mut script = Vec::new();
        shell.write_registration(ASKED, "rrctl", "rrctl", "rrctl", &mut script)?;
        line_out(std::str::from_utf8(script.trim_ascii_end())?)
    }
}

/// What an argument of a command takes, by the path of the command and the id of the argument.
fn wanted(path: &str, id: &str) -> Option<Wanted> {
    Some(match (path, id) {
        ("rrctl credential roll", "credential") | (_, "caller" | "callers") => Wanted::Caller,
        ("rrctl credential replace-secret", "credential") | (_, "upstream") => Wanted::Upstream,
        ("rrctl node token revoke", "token") => return None,
        ("rrctl explain", "kind") => Wanted::Explained,
        ("rrctl explain", "name") => Wanted::OfKind,
        ("rrctl meter create" | "rrctl meter list", "on") => Wanted::OneOf(&["proxy"]),
        (_, "on") => Wanted::OneOf(&["proxy", "target", "credential"]),
        ("rrctl apply", "preview") => return None,
        (_, "at" | "revision" | "from" | "to" | "expect") => Wanted::Revision,
        (_, "org") => Wanted::Org,
        (_, "region" | "regions") => Wanted::Region,
        (_, "target") => Wanted::Target,
        (_, "credential") => Wanted::Credential,
        (_, "proxy") => Wanted::Proxy,
        (_, "rule") => Wanted::Rule,
        (_, "filter") if !has_terms(path) => Wanted::Filter,
        (_, "meter") => Wanted::Meter,
        (_, "node") => Wanted::Node,
        (_, "user") => Wanted::User,
        (_, "member") => Wanted::Member,
        (_, "token") => Wanted::Token,
        (_, "preview") => Wanted::Preview,
        (_, "notification" | "notifications") => Wanted::Notification,
        (_, "context") => Wanted::Context,
        (_, "order_by") => Wanted::Order,
        (_, "output") => Wanted::Format,
        _ => return None,
    })
}

/// Whether `--filter` of a command takes terms: of a list, of records and of metrics.
fn has_terms(path: &str) -> bool {
    !path.starts_with("rrctl filter ") || path.ends_with(" list")
}

/// An argument that offers what there is.
pub(super) fn offering(path: &str, arg: Arg) -> Arg {
    match wanted(path, arg.get_id().as_str()) {
        Some(wanted) => {
            arg.add(ArgValueCompleter::new(move |typed: &OsStr| values::beginning(wanted, typed)))
        }
        None => arg,
    }
}

/// The tree as it is completed: options are offered after a `-`, or where nothing else can be typed.
pub(super) fn of_line(tree: Command) -> Command {
    let line: Vec<OsString> = std::env::args_os().collect();
    let index = std::env::var(INDEX).ok().and_then(|index| index.parse().ok());
    if begins_option(&line, index) { tree } else { without_options(tree) }
}

/// Whether the word that is completed begins with `-`. The words stand behind `--`; without an index it is the last one.
fn begins_option(line: &[OsString], index: Option<usize>) -> bool {
    let Some(start) = line.iter().position(|word| word == "--") else { return false };
    let words = &line[start + 1..];
    let word = words.get(index.unwrap_or(words.len().saturating_sub(1)));
    word.is_some_and(|word| word.as_encoded_bytes().starts_with(b"-"))
}

fn without_options(command: Command) -> Command {
    let is_option = |arg: &Arg| arg.get_long().is_some() || arg.get_short().is_some();
    command
        .mut_args(|arg| if is_option(&arg) { arg.hide(true) } else { arg })
        .disable_help_flag(true)
        .disable_version_flag(true)
        .mut_subcommands(without_options)
}

#[cfg(test)]
mod tests;
