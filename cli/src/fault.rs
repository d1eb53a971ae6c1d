//! Errors as the user reads them: a sentence, every flag or field at fault, and the remedy; and the exit code.

use std::fmt;
use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::excerpt::Faults;
use crate::field::Flags;
use crate::harmless;

/// An error of usage: exit code 2.
#[derive(Debug)]
struct Usage {
    what: String,
    remedy: String,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

impl std::error::Error for Usage {}

/// An error of usage: the fault and its remedy.
pub(crate) fn usage(what: &str, remedy: &str) -> anyhow::Error {
    Usage { what: what.to_owned(), remedy: remedy.to_owned() }.into()
}

/// An answer that the output has told already: exit code 1, and nothing is said.
#[derive(Debug)]
struct Told;

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the output says it")
    }
}

impl std::error::Error for Told {}

/// The end of a command whose output is the answer, where the answer is no: a difference, a fault of a file.
pub(crate) fn told() -> anyhow::Error {
    Told.into()
}

/// A failure where 1 is an answer: exit code 2.
#[derive(Debug)]
struct Failed(anyhow::Error);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for Failed {}

/// The result of a command whose exit code 1 is an answer, so that whatever else goes wrong is 2.
pub(crate) fn answered(result: anyhow::Result<()>) -> anyhow::Result<()> {
    result.map_err(|error| if error.is::<Told>() { error } else { Failed(error).into() })
}

/// An operation that ended too early: the fault and its remedy.
pub(crate) fn ended(what: &str, remedy: &str) -> anyhow::Error {
    anyhow::anyhow!("{what}; {remedy}")
}

/// An invalid TOML file: file, line and fault in one line.
pub(crate) fn toml(path: &Path, text: &str, error: &toml::de::Error) -> anyhow::Error {
    let start = error.span().map_or(0, |span| span.start);
    let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
    let what = error.message().lines().next().unwrap_or_default();
    anyhow::anyhow!("{}, line {line}: {what}; correct or remove the file", path.display())
}

/// The control plane did not answer a connection.
pub(crate) fn unreachable(
    endpoint: &tonic::transport::Uri,
    error: &tonic::transport::Error,
    hint: &str,
) -> anyhow::Error {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let cause = cause.to_string();
    // By its name in the TLS library: the error itself is wrapped in one of input and output.
    let hint = if cause.contains("UnknownIssuer") {
        "no authority that is trusted here issued its certificate: name that authority's file with --ca-file; where the authority \
         was replaced, an operator has its new one (`rrctl authority show --out FILE`), and so has the control plane's state folder"
    } else {
        hint
    };
    anyhow::anyhow!("cannot reach the control plane at {endpoint} ({cause}); {hint}")
}

/// Prints an error and returns the exit code.
pub(crate) fn report(error: &anyhow::Error, flags: &Flags) -> ExitCode {
    if error.is::<Told>() {
        return ExitCode::FAILURE;
    }
    if let Some(Failed(error)) = error.downcast_ref() {
        report(error, flags);
        return ExitCode::from(2);
    }
    let faults = error.downcast_ref::<Faults>().filter(|_| std::io::stderr().is_terminal());
    let text = match faults {
        Some(faults) => faults.drawn(std::env::var_os("NO_COLOR").is_none_or(|said| said.is_empty())),
        None => harmless::lines(&text(error, flags)).into_owned(),
    };
    crate::print::error(&text);
    if error.is::<Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
}

fn text(error: &anyhow::Error, flags: &Flags) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        match cause.downcast_ref::<Status>() {
            Some(status) => {
                parts.push(of_status(status, flags));
                break;
            }
            None => parts.push(cause.to_string()),
        }
    }
    parts.join(": ")
}

fn of_status(status: &Status, flags: &Flags) -> String {
    let mut text = harmless::one_line(status.message()).into_owned();
    let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    let said: Vec<String> = violations.iter().map(|it| fault_of(&it.field, &it.description)).collect();
    let named: Vec<String> = violations
        .iter()
        .map(|it| {
            let place = flags.filling(&it.field);
            fault_of(place.as_ref().unwrap_or(&it.field), &flags.in_text(&it.description))
        })
        .collect();
    // The message is the violations in one line. A long one was cut, and ends with a mark.
    if !violations.is_empty() && said.join("; ").starts_with(text.trim_end_matches('…')) {
        text = match named.as_slice() {
            [one] => one.clone(),
            all => format!("{} faults\n  {}", all.len(), all.join("\n  ")),
        };
    } else {
        named.iter().for_each(|fault| text.push_str(&format!("\n  {fault}")));
    }
    for violation in
        status.get_details_precondition_failure().map(|failure| failure.violations).unwrap_or_default()
    {
        // The message of a single one has it already.
        if !text.contains(&violation.description) {
            text.push_str(&format!("\n  {}", fault_of(&violation.subject, &violation.description)));
        }
    }
    let hint = match status.code() {
        Code::Unauthenticated => {
            "; `rrctl login` keeps a token for later; --token-file and RRCTL_TOKEN give one"
        }
        Code::Unavailable => "; try again",
        // Another kind of port answers like this.
        Code::Internal | Code::Unknown => "; is --endpoint the management port of a control plane?",
        _ => "",
    };
    if text.is_empty() {
        text = format!("{:?}", status.code());
    }
    // The one field that a refusal names as a remedy.
    if let Some(flag) = flags.filling("cascade") {
        text = text.replace("`cascade`", &format!("`{flag}`"));
    }
    text + hint
}

/// A field, a flag or a resource, and its fault.
fn fault_of(subject: &str, fault: &str) -> String {
    let fault = harmless::one_line(fault);
    if subject.is_empty() { fault.into_owned() } else { format!("{}: {fault}", harmless::one_line(subject)) }
}

/// Whether a failed call certainly changed nothing. After a lost answer that is not known.
pub(crate) fn is_certainly_undone(error: &anyhow::Error) -> bool {
    let code = error.downcast_ref::<Status>().map(Status::code);
    code.is_some_and(|code| {
        matches!(
            code,
            Code::InvalidArgument
                | Code::NotFound
                | Code::AlreadyExists
                | Code::PermissionDenied
                | Code::ResourceExhausted
                | Code::FailedPrecondition
                | Code::Aborted
                | Code::OutOfRange
                | Code::Unimplemented
                | Code::Unauthenticated
        )
    })
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn said(code: Code, text: &str, details: ErrorDetails) -> String {
        of_status(&Status::with_error_details(code, text, details), &Flags::default())
    }

    #[test]
    fn several_faults_have_a_line_each_and_one_stays_a_sentence() {
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("proxy.target", "is missing");
        assert_eq!(
            said(Code::InvalidArgument, "proxy.target: is missing", details.clone()),
            "proxy.target: is missing"
        );
        details.add_bad_request_violation("proxy.regions", "has 1 to 100");
        let text =
            said(Code::InvalidArgument, "proxy.target: is missing; proxy.regions: has 1 to 100", details);
        assert_eq!(text, "2 faults\n  proxy.target: is missing\n  proxy.regions: has 1 to 100");
    }

    #[test]
    fn what_the_message_says_is_not_said_again_with_its_resource() {
        let refused = |first: &str, second: &str| {
            let mut details = ErrorDetails::new();
            details.add_precondition_failure_violation("NOT_SEALED_FOR_TARGET", "proxies/p1", first);
            details.add_precondition_failure_violation("NOT_SEALED_FOR_TARGET", "proxies/p2", second);
            said(Code::FailedPrecondition, "the secret misses p1 (2 proxies in all)", details)
        };
        let text = refused("the secret misses p1", "the secret misses p2");
        assert_eq!(text, "the secret misses p1 (2 proxies in all)\n  proxies/p2: the secret misses p2");
        // What it does not say is told.
        assert!(refused("another reason", "the secret misses p2").contains("proxies/p1: another reason"));
    }
}
