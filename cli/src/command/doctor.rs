//! `rrctl doctor`: looks at everything that a command needs, from the files of the user to the disks of the nodes.
//!
//! Changes nothing. A check that needs one before it which failed is left out. What may not be seen with the token is no
//! fault, and is said.

mod local;
mod remote;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::connect::TokenFile;
use crate::context::Folder;
use crate::fault;
use crate::print::{Printer, Row, count};
use crate::session::{self, Global, Session};

pub(super) const EXAMPLES: &str = "\
Examples:
  rrctl doctor
  rrctl doctor -o json | jq '.[] | select(.verdict != \"ok\")'";

#[derive(Args)]
pub(crate) struct DoctorArgs {
    /// Key file of a region whose mode is looked at, too.
    #[arg(long, env = "RRCTL_REGION_KEY", value_name = "FILE")]
    region_key: Option<std::path::PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// It works, and somebody should look at it.
    Warning,
    Failed,
    /// It could not be looked at.
    Unknown,
}

/// What was found of one thing.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    found: String,
    /// What to do; empty where nothing is to be done.
    remedy: String,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, found: found.into(), remedy: String::new() }
    }

    fn warning(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warning, found: found.into(), remedy: remedy.into() }
    }

    fn failed(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Failed, found: found.into(), remedy: remedy.into() }
    }

    fn unknown(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Unknown, found: found.into(), remedy: String::new() }
    }
}

impl DoctorArgs {
    pub(crate) async fn run(self, global: Global) -> Result<()> {
        let print = Printer::new(global.output);
        let mut findings = Vec::new();
        let chosen = match session::chosen(&global) {
            Ok(chosen) => chosen,
            Err(error) => {
                findings.push(Finding::failed("context", format!("{error:#}"), "see `rrctl context list`"));
                return tell(print, &findings);
            }
        };
        findings.extend(Folder::of_user()?.and_then(|folder| local::contexts(&folder.contexts_file())));
        findings.push(local::context(chosen.as_ref(), global.endpoint.as_deref()));
        let context = chosen.map(|it| it.context).unwrap_or_default();
        let token_file = session::token_file(&global, &context)?;
        findings.extend(local::files(token_file.as_ref().map(TokenFile::path), self.region_key.as_deref()));
        findings.extend(local::dev_folder(&context));
        let is_told = findings.iter().any(|it| it.check == local::TOKEN && it.verdict == Verdict::Failed);
        match Session::open(global) {
            Ok(session) => {
                findings.extend(local::fingerprints(session.regions_file()));
                findings.extend(remote::look(&session).await);
            }
            Err(_) if is_told => {}
            Err(error) => findings.push(Finding::failed("endpoint", format!("{error:#}"), "")),
        }
        tell(print, &findings)
    }
}

fn tell(print: Printer, findings: &[Finding]) -> Result<()> {
    print.list(findings)?;
    let failed = findings.iter().filter(|it| it.verdict == Verdict::Failed).count();
    let remedy = match failed {
        0 => return Ok(()),
        1 => "its remedy is in the table",
        _ => "their remedies are in the table",
    };
    Err(fault::ended(&format!("{} failed", count(failed as u64, "check")), remedy))
}

impl Row for Finding {
    const COLUMNS: &'static [&'static str] = &["check", "verdict", "found", "remedy"];
    const WHOLE: &'static [&'static str] = &["verdict"];

    fn cells(&self) -> Vec<String> {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Failed => "failed",
            Verdict::Unknown => "unknown",
        };
        vec![self.check.to_owned(), verdict.to_owned(), self.found.clone(), self.remedy.clone()]
    }
}
