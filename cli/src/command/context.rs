//! `rrctl context`: the control planes that the user works with, kept in the configuration folder.
//!
//! Calls nobody; `rrctl login` makes a context, and so does `rrctl dev`.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::context::{Chosen, Context, Contexts, Folder, Why};
use crate::print::{Printer, Row, note};
use crate::session::{self, Global};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Lists the contexts; the one that counts here is marked with the reason.
    List,
    /// Shows a context; the one that counts here when none is named.
    Show {
        /// Name.
        context: Option<String>,
    },
    /// Uses a context wherever no other one is named and the working folder has none.
    Use {
        /// Name.
        context: String,
    },
    /// Changes a context.
    Update {
        /// Name.
        context: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Deletes a context, with the copies of its token and of its authority.
    Delete {
        /// Name.
        context: String,
    },
}

#[derive(Args)]
pub(crate) struct Settings {
    /// Organization that commands work in when none is named.
    #[arg(long = "set-org", value_name = "ORG")]
    set_org: Option<String>,
    /// File of fingerprints that secrets are sealed by.
    #[arg(long = "set-regions-file", value_name = "FILE")]
    set_regions_file: Option<PathBuf>,
}

impl Verb {
    pub(crate) fn run(self, global: &Global) -> Result<()> {
        let folder = Folder::needed()?;
        let print = Printer::new(global.output);
        match self {
            Self::List => {
                let chosen = session::chosen(global)?;
                let contexts = folder.read()?.contexts;
                print
                    .list(&contexts.into_iter().map(|it| Listed::of(it, chosen.as_ref())).collect::<Vec<_>>())
            }
            Self::Show { context } => {
                let chosen = session::chosen(global)?;
                let contexts = folder.read()?;
                let name = match (context, &chosen) {
                    (Some(name), _) => name,
                    (None, Some(chosen)) => chosen.name.clone(),
                    (None, None) => return Err(nothing(global)),
                };
                let context = contexts.contexts.get(&name).ok_or_else(|| contexts.unknown(&name))?;
                print.one(&Listed::of((name, context.clone()), chosen.as_ref()))
            }
            Self::Use { context: name } => {
                let used = folder.change(|all| {
                    let context = known(all, &name)?.clone();
                    all.used = Some(name.clone());
                    Ok(context)
                })?;
                if let Some(other) = session::chosen(global)?.filter(|it| it.name != name) {
                    note(&format!("here {} counts all the same, because {}", other.name, reason(other.why)));
                }
                print.done(&format!("using {name} ({})", used.endpoint), &used)
            }
            Self::Update { context: name, settings } => {
                let changed = folder.change(|all| {
                    let context = known(all, &name)?;
                    if let Some(org) = settings.set_org {
                        context.org = Some(org).filter(|org| !org.is_empty());
                    }
                    if let Some(file) = settings.set_regions_file {
                        context.regions_file = Some(std::path::absolute(file)?);
                    }
                    Ok(context.clone())
                })?;
                print.one(&Listed::of((name, changed), None))
            }
            Self::Delete { context: name } => {
                let gone = folder.change(|all| {
                    let gone = all.contexts.remove(&name).ok_or_else(|| all.unknown(&name))?;
                    all.used.take_if(|used| *used == name);
                    Ok(gone)
                })?;
                // Fingerprints stay: they are what the user was told, and nobody tells them again.
                folder.remove_files_of(&gone);
                print.done(&format!("deleted {name}"), &gone)
            }
        }
    }
}

fn known<'a>(all: &'a mut Contexts, name: &str) -> Result<&'a mut Context> {
    if !all.contexts.contains_key(name) {
        return Err(all.unknown(name));
    }
    Ok(all.contexts.entry(name.to_owned()).or_default())
}

fn nothing(global: &Global) -> anyhow::Error {
    let endpoint = global.endpoint.as_deref();
    let what = endpoint.map_or_else(
        || "no context counts here".to_owned(),
        |endpoint| format!("no context counts, because the endpoint {endpoint} was given"),
    );
    crate::fault::usage(&what, "`rrctl context list` shows them, and `rrctl context use NAME` chooses one")
}

const fn reason(why: Why) -> &'static str {
    match why {
        Why::Named => "it is named by --context or RRCTL_CONTEXT",
        Why::Folder => "`rrctl dev` runs in this folder",
        Why::Used => "it is used",
    }
}

/// A context, and whether it counts here.
#[derive(Serialize)]
struct Listed {
    name: String,
    counts: &'static str,
    #[serde(flatten)]
    context: Context,
}

impl Listed {
    fn of((name, context): (String, Context), chosen: Option<&Chosen>) -> Self {
        let chosen = chosen.filter(|it| it.name == name);
        let counts = chosen.map_or("", |it| match it.why {
            Why::Named => "named",
            Why::Folder => "folder",
            Why::Used => "used",
        });
        Self { name, counts, context }
    }
}

impl Row for Listed {
    const COLUMNS: &'static [&'static str] =
        &["name", "counts", "endpoint", "org", "folders", "token file", "ca file", "regions file"];
    const WIDE: &'static [&'static str] = &["token file", "ca file", "regions file"];

    fn cells(&self) -> Vec<String> {
        let path =
            |path: &Option<PathBuf>| path.as_ref().map(|it| it.display().to_string()).unwrap_or_default();
        let Context { endpoint, ca_file, org, token_file, regions_file, folders } = &self.context;
        vec![
            self.name.clone(),
            self.counts.to_owned(),
            endpoint.clone(),
            org.clone().unwrap_or_default(),
            folders.iter().map(|it| it.display().to_string()).collect::<Vec<_>>().join(" "),
            path(token_file),
            path(ca_file),
            path(regions_file),
        ]
    }
}
