//! Long output on a terminal: shown through the user's pager.
//!
//! RRCTL_PAGER names it, or else PAGER; `cat` and an empty value mean none. Without either it is `less -FRX`, where that is
//! installed. Output that no terminal shows goes through none.

use std::io::{IsTerminal as _, Write as _};
use std::process::{Command, Stdio};

use anyhow::Result;

use super::line_out;

/// How wide the terminal at standard output is.
pub(super) fn columns() -> Option<usize> {
    let (width, _) = terminal_size::terminal_size_of(std::io::stdout())?;
    Some(usize::from(width.0)).filter(|width| *width > 0)
}

fn rows() -> Option<usize> {
    let (_, height) = terminal_size::terminal_size_of(std::io::stdout())?;
    Some(usize::from(height.0)).filter(|height| *height > 0)
}

/// Prints lines, through a pager where there are more than the terminal has.
pub(super) fn show(lines: &[String]) -> Result<()> {
    let is_long = rows().is_some_and(|rows| lines.len() >= rows) && std::io::stdin().is_terminal();
    if is_long && paged(lines) {
        return Ok(());
    }
    lines.iter().try_for_each(|line| line_out(line))
}

/// Whether a pager took the lines. One that cannot be started took nothing.
fn paged(lines: &[String]) -> bool {
    let named = |name: &str| std::env::var(name).ok();
    let command = named("RRCTL_PAGER").or_else(|| named("PAGER")).unwrap_or_else(|| "less -FRX".to_owned());
    let mut words = command.split_whitespace();
    let Some(program) = words.next().filter(|program| *program != "cat") else { return false };
    let Ok(mut child) = Command::new(program).args(words).stdin(Stdio::piped()).spawn() else {
        return false;
    };
    if let Some(mut input) = child.stdin.take() {
        // A pager that was left before its end has shown what the user wanted to see.
        input.write_all((lines.join("\n") + "\n").as_bytes()).ok();
    }
    child.wait().is_ok()
}
