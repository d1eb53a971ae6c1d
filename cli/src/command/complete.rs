//! Completions, with names from the control plane; and the pages of the manual.
//!
//! A shell asks this program at each press of the tab key: with COMPLETE set, it prints candidates and does nothing else. A
//! control plane that does not answer in a second gives none.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Command, ValueEnum};
use clap_complete::engine::CompletionCandidate;
use clap_complete::env::Shells;

use rr_contract::wire::management as mg;
use rr_contract::wire::management::org_service_client::OrgServiceClient;

use super::{credential, filter, meter, node, proxy, region, rule, target};
use crate::flags::page::Listing;
use crate::print::{line_out, note};
use crate::session::{Global, Session};

/// The variable by which a shell asks for candidates.
pub(crate) const ASKED: &str = "COMPLETE";
/// Organizations that are offered, at most.
const MOST: i32 = 1000;
/// A key press waits no longer.
const PATIENCE: Duration = Duration::from_secs(1);

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

/// Resources that have names to complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noun {
    Org,
    Region,
    Target,
    Credential,
    Proxy,
    Rule,
    Filter,
    Meter,
    Node,
}

/// The resources that an argument names, by its id.
pub(super) fn noun(id: &str) -> Option<Noun> {
    Some(match id {
        "org" => Noun::Org,
        "region" | "regions" => Noun::Region,
        "target" => Noun::Target,
        "credential" | "callers" | "upstream" => Noun::Credential,
        "proxy" => Noun::Proxy,
        "rule" => Noun::Rule,
        "filter" => Noun::Filter,
        "meter" => Noun::Meter,
        "node" => Noun::Node,
        _ => return None,
    })
}

/// The names that begin with what was typed. Silent where there is an error: a line that is typed is no place for one.
pub(super) fn names(noun: Noun, typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else { return Vec::new() };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Vec::new();
    };
    let found = runtime.block_on(async { tokio::time::timeout(PATIENCE, ask(noun)).await });
    let Ok(Ok(found)) = found else { return Vec::new() };
    found.into_iter().filter(|name| name.starts_with(typed)).map(CompletionCandidate::new).collect()
}

async fn ask(noun: Noun) -> Result<Vec<String>> {
    let session = Session::open(Global::of_line(std::env::args_os()))?;
    let connection = session.endpoint.connect().await?;
    let all = Listing::default();
    macro_rules! names {
        ($items:expr) => {
            $items.await?.into_iter().map(|it| it.name).collect()
        };
    }
    Ok(match noun {
        Noun::Org => {
            let mut stub = OrgServiceClient::new(connection);
            let ask = mg::ListOrgsRequest { page_size: MOST, ..Default::default() };
            stub.list_orgs(ask).await?.into_inner().orgs.into_iter().map(|it| it.name).collect()
        }
        Noun::Region => names!(region::list(connection)),
        Noun::Node => node::list(connection, "", false, false).await?.into_iter().map(|it| it.id).collect(),
        Noun::Target => names!(target::list(connection, &session.org()?, &all)),
        Noun::Credential => names!(credential::list(connection, &session.org()?, &all)),
        Noun::Proxy => names!(proxy::list(connection, &session.org()?, &all)),
        Noun::Rule => names!(rule::list(connection, &session.org()?, &all)),
        Noun::Filter => names!(filter::list(connection, &session.org()?, &all)),
        Noun::Meter => names!(meter::list(connection, &session.org()?, &all)),
    })
}
