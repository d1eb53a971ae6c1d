//! What every command works with: the options that all of them take, the endpoint, the organization and the printer.
//!
//! An option counts before its variable, and both before the context. An endpoint that was given uses no context: the token
//! of one control plane goes to no other. Knows no command: the command tree is above it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::connect::{self, Endpoint, TokenFile};
use crate::context::{Chosen, Context, Folder};
use crate::fault;
use crate::print::{Format, Printer};

/// Where the control plane of this machine listens.
const HERE: &str = "http://127.0.0.1:7420";

/// Options that every command takes.
#[derive(Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// URL of the management API. Without it that of the context, and without a context http://127.0.0.1:7420.
    #[arg(long, global = true, env = "RRCTL_ENDPOINT", value_name = "URL", hide_short_help = true)]
    pub(crate) endpoint: Option<String>,
    /// Context to use, from `rrctl context list`. Without it that of the working folder, where `rrctl dev` has run, or the
    /// one chosen with `rrctl context use`. RRCTL_CONTEXT can name it.
    #[arg(long, global = true, value_name = "CONTEXT", hide_short_help = true)]
    context: Option<String>,
    /// File that holds the token. RRCTL_TOKEN can hold the token itself; no flag takes it.
    #[arg(long, global = true, env = "RRCTL_TOKEN_FILE", value_name = "FILE", hide_short_help = true)]
    pub(crate) token_file: Option<PathBuf>,
    /// PEM file of the certificate authority that signed the endpoint's certificate; the authorities of the system when
    /// not given.
    #[arg(long, global = true, env = "RRCTL_CA_FILE", value_name = "FILE", hide_short_help = true)]
    pub(crate) ca_file: Option<PathBuf>,
    /// Organization, by name or id. A resource can name it as well: `proxy show acme.pay`.
    #[arg(long, global = true, env = "RRCTL_ORG", value_name = "ORG", hide_short_help = true)]
    pub(crate) org: Option<String>,
    /// Format of the output: table, wide (with ids and details), json, yaml, name, or jsonpath=PATH, as
    /// `jsonpath='$[*].name'`.
    #[arg(
        long,
        short,
        global = true,
        default_value = "table",
        value_name = "FORMAT",
        hide_short_help = true
    )]
    pub(crate) output: Format,
    /// Shows each call on standard error, as a line for `grpcurl`, and how long it took. Tokens, keys and sealed values are
    /// left out.
    #[arg(long, global = true, hide_short_help = true)]
    verbose: bool,
}

impl Global {
    /// The options of a line that is still typed, and of the environment.
    pub(crate) fn of_line(line: impl Iterator<Item = OsString>) -> Self {
        let line: Vec<String> = line.map(|word| word.to_string_lossy().into_owned()).collect();
        let typed = |flag: &str| typed(&line, flag).filter(|value| !value.is_empty());
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            endpoint: typed("--endpoint").or_else(|| set("RRCTL_ENDPOINT")),
            context: typed("--context"),
            token_file: typed("--token-file").or_else(|| set("RRCTL_TOKEN_FILE")).map(PathBuf::from),
            ca_file: typed("--ca-file").or_else(|| set("RRCTL_CA_FILE")).map(PathBuf::from),
            org: typed("--org").or_else(|| set("RRCTL_ORG")),
            output: Format::Table,
            verbose: false,
        }
    }
}

/// The value of a flag on a line that is still typed: `--flag VALUE` or `--flag=VALUE`.
fn typed(line: &[String], flag: &str) -> Option<String> {
    line.iter().take_while(|word| *word != "--").enumerate().find_map(|(at, word)| {
        match word.strip_prefix(flag)? {
            "" => line.get(at + 1).cloned(),
            rest => rest.strip_prefix('=').map(str::to_owned),
        }
    })
}

/// What a command works with.
pub(crate) struct Session {
    pub(crate) endpoint: Endpoint,
    org: Option<String>,
    regions_file: PathBuf,
    pub(crate) print: Printer,
}

impl Session {
    /// Reads the context and the token. Does not connect.
    pub(crate) fn open(global: Global) -> Result<Self> {
        let chosen = chosen(&global)?;
        let context = chosen.as_ref().map_or_else(Context::default, |it| it.context.clone());
        let url = global.endpoint.as_deref().unwrap_or(match context.endpoint.as_str() {
            "" => HERE,
            endpoint => endpoint,
        });
        let token = connect::token(token_file(&global, &context)?.as_ref())?;
        let regions_file = match context.regions_file {
            Some(file) => file,
            None => Folder::of_user()?.map_or_else(PathBuf::new, |folder| folder.regions_of(url)),
        };
        let ca = global.ca_file.as_deref().or(context.ca_file.as_deref());
        let endpoint = Endpoint::new(url, token, ca)?.with_verbose(global.verbose);
        Ok(Self {
            endpoint: match &chosen {
                Some(chosen) => endpoint.with_hint(hint(chosen)),
                None => endpoint,
            },
            org: global.org.or(context.org),
            regions_file,
            print: Printer::new(global.output),
        })
    }

    /// The organization that was named.
    pub(crate) fn org(&self) -> Result<String> {
        self.org.clone().ok_or_else(|| {
            fault::usage(
                "no organization was named",
                "give --org NAME, set RRCTL_ORG, or name it with the resource, as ORG.NAME",
            )
        })
    }

    /// The file of fingerprints that counts where none is named.
    pub(crate) fn regions_file(&self) -> &Path {
        &self.regions_file
    }
}

/// The file of the token that counts. One that was named by hand and lies in the configuration folder is kept, too.
pub(crate) fn token_file(global: &Global, context: &Context) -> Result<Option<TokenFile>> {
    let Some(named) = &global.token_file else {
        return Ok(context.token_file.clone().map(TokenFile::Kept));
    };
    let is_kept = Folder::of_user()?.is_some_and(|folder| folder.holds(named));
    Ok(Some(if is_kept { TokenFile::Kept(named.clone()) } else { TokenFile::Named(named.clone()) }))
}

/// What to look at where nobody answers at the endpoint of a context.
fn hint(chosen: &Chosen) -> String {
    let name = &chosen.name;
    match chosen.context.folders.first() {
        Some(folder) => {
            format!("context {name} is that of `rrctl dev` in {}: is it running there?", folder.display())
        }
        None => format!(
            "is it running? `rrctl context show {name}` shows the context, and `rrctl context list` the others"
        ),
    }
}

/// The context that counts; none where an endpoint was given.
pub(crate) fn chosen(global: &Global) -> Result<Option<Chosen>> {
    let named = match &global.context {
        Some(name) => Some(name.clone()),
        None => connect::variable("RRCTL_CONTEXT")?,
    };
    if global.endpoint.is_some() {
        if let Some(name) = named {
            return Err(fault::usage(
                &format!("both an endpoint and the context {name} were given"),
                "leave out --context and RRCTL_CONTEXT, or --endpoint and RRCTL_ENDPOINT",
            ));
        }
        return Ok(None);
    }
    let Some(folder) = Folder::of_user()? else {
        return match named {
            Some(_) => Folder::needed().map(|_| None),
            None => Ok(None),
        };
    };
    let here = std::env::current_dir().and_then(|here| here.canonicalize()).ok();
    folder.read().context("read the contexts")?.choose(named.as_deref(), here.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_of_a_line_that_is_typed_is_found_in_both_forms() {
        let line =
            ["rrctl", "--endpoint=https://a:1", "--org", "acme", "--organic", "x", "--", "--context=evil"];
        let line = line.map(str::to_owned);
        assert_eq!(typed(&line, "--endpoint").as_deref(), Some("https://a:1"));
        assert_eq!(typed(&line, "--org").as_deref(), Some("acme"));
        assert_eq!(typed(&line, "--context"), None);
        assert_eq!(typed(&["--org".to_owned()], "--org"), None);
    }
}
