//! Secrets from a person: by prompt, standard input or file, never by argument.

use std::io::{IsTerminal as _, Read as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use rr_contract::secret::Secret;

use crate::fault;

/// A secret value: from a file (`-` is standard input), or typed twice without echo.
pub(crate) fn read(what: &str, file: Option<&Path>, flag: &str) -> Result<Secret> {
    let text = match file {
        Some(path) if path == Path::new("-") => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).with_context(|| format!("read {what} from standard input"))?;
            text
        }
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("read {what} from {}", path.display()))?,
        None if std::io::stdin().is_terminal() => {
            let first = rpassword::prompt_password(format!("{what}: "))?;
            if first != rpassword::prompt_password(format!("{what}, again: "))? {
                return Err(fault::usage(&format!("the two entries of {what} differ"), "type it again"));
            }
            first
        }
        None => {
            return Err(fault::usage(
                &format!("no {what} was given"),
                &format!("give {flag} FILE, or {flag} - to read standard input"),
            ));
        }
    };
    // An editor puts a line end at the end of a file; no header can carry one.
    let trimmed = text.trim_end_matches(['\r', '\n']).to_owned();
    if trimmed.is_empty() {
        return Err(fault::usage(&format!("{what} is empty"), "give one"));
    }
    Ok(Secret::from(trimmed))
}
