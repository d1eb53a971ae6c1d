//! Input of the user: secrets by prompt, standard input or file, and answers to questions.
//!
//! No secret is taken from an argument.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use rr_contract::secret::Secret;

use crate::fault;

/// Reads a new secret from a file (`-` is standard input), or from the terminal, typed twice without echo.
pub(crate) fn read_new(what: &str, file: Option<&Path>, flag: &str) -> Result<Secret> {
    read(what, file, flag, |first| {
        if rpassword::prompt_password(format!("{what}, again: "))? == first {
            return Ok(());
        }
        Err(fault::usage(
            &format!("the two entries of the {what} differ"),
            "start again and type the same twice",
        ))
    })
}

/// Reads an existing secret. A wrong one shows at once, so it is typed once.
pub(crate) fn read_known(what: &str, file: Option<&Path>, flag: &str) -> Result<Secret> {
    read(what, file, flag, |_| Ok(()))
}

fn read(
    what: &str,
    file: Option<&Path>,
    flag: &str,
    check_typed: impl FnOnce(&str) -> Result<()>,
) -> Result<Secret> {
    let text = match file {
        Some(path) if path == Path::new("-") => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .with_context(|| format!("read {what} from standard input"))?;
            text
        }
        Some(path) => {
            std::fs::read_to_string(path).with_context(|| format!("read {what} from {}", path.display()))?
        }
        None if std::io::stdin().is_terminal() => {
            let first = rpassword::prompt_password(format!("{what}: "))?;
            check_typed(&first)?;
            first
        }
        None => {
            return Err(fault::usage(
                &format!("no {what} was given"),
                &format!("give {flag} FILE, or {flag} - for standard input"),
            ));
        }
    };
    // Editors end a file with a line feed; no header can carry one.
    let trimmed = text.trim_end_matches(['\r', '\n']).to_owned();
    if trimmed.is_empty() {
        return Err(fault::usage(&format!("the {what} is empty"), "give one that is not"));
    }
    Ok(Secret::from(trimmed))
}

/// Asks a yes-or-no question at the terminal; an error unless the answer is yes. `what` is the error without a terminal.
pub(crate) fn confirm(question: &str, what: &str, remedy: &str) -> Result<()> {
    if !std::io::stdin().is_terminal() {
        return Err(fault::usage(what, remedy));
    }
    crate::print::note(&format!("{question} [y/N]"));
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("read the answer")?;
    match line.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(fault::usage("not confirmed: nothing was changed", remedy)),
    }
}

/// Asks a question at the terminal.
pub(crate) fn ask(question: &str) -> Result<String> {
    let mut stderr = std::io::stderr().lock();
    write!(stderr, "{question}: ").and_then(|()| stderr.flush()).context("ask at the terminal")?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("read the answer")?;
    Ok(line.trim().to_owned())
}
