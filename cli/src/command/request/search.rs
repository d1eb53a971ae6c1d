//! Which records are wanted, and the filter that the control plane reads.

use anyhow::Result;
use clap::Args;

use crate::fault;

/// What records have to be; all of it at once.
#[derive(Args)]
pub(crate) struct SearchArgs {
    #[command(flatten)]
    pub(super) requests: RequestArgs,
    /// Only requests to this path, or to all that begin so: `/v1/users/*`.
    #[arg(long, value_name = "PATH", value_parser = path)]
    path: Option<String>,
    /// Only requests to this node, by id.
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
}

/// What requests have to be, whether they are listed or added up.
#[derive(Args)]
pub(crate) struct RequestArgs {
    /// Only requests to this proxy, by name or id.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) proxy: String,
    /// Only requests answered so: `403`, `5xx` or `400-499`.
    #[arg(long, value_name = "STATUS", value_parser = statuses)]
    status: Option<(u16, u16)>,
    /// Only requests decided so, as in `requestrocket-proxy-code`: `rate-limited`.
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// Only requests of this caller credential, by name or id.
    #[arg(long, value_name = "CREDENTIAL")]
    caller: Option<String>,
    /// Only requests that this rule decided, by name or id.
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,
    /// Only requests to nodes of this region, by name or id.
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Only what matches these terms too, joined by ` AND `: of the record `status`, `code`, `path`, `rule`, `region` and
    /// `node`, of its caller `caller`, `tags` and `metadata.NAME`: `tags = gold AND status >= 500`.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TERMS")]
    filter: String,
}

fn path(text: &str) -> Result<String, String> {
    if text.starts_with('/') {
        Ok(text.to_owned())
    } else {
        Err("a path starts with `/`: write /v1/users, or /v1/* for all that begin so".to_owned())
    }
}

fn statuses(text: &str) -> Result<(u16, u16), String> {
    let wrong = || format!("{text:?} is no status; write 403, 5xx or 400-499");
    let number = |text: &str| text.parse().ok().filter(|status| (100..600).contains(status));
    let class =
        text.strip_suffix("xx").and_then(|class| class.parse::<u16>().ok()).filter(|it| (1..=5).contains(it));
    if let Some(class) = class {
        return Ok((class * 100, class * 100 + 99));
    }
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let (from, to) = (number(from).ok_or_else(wrong)?, number(to).ok_or_else(wrong)?);
    if from <= to { Ok((from, to)) } else { Err(wrong()) }
}

impl SearchArgs {
    /// As the control plane reads it.
    pub(super) fn filter(&self) -> Result<String> {
        let mut terms = equal(&[("--path", "path", &self.path), ("--node", "node", &self.node)])?;
        terms.extend(Some(self.requests.filter()?).filter(|rest| !rest.is_empty()));
        Ok(terms.join(" AND "))
    }
}

impl RequestArgs {
    /// As the control plane reads it.
    pub(crate) fn filter(&self) -> Result<String> {
        let mut terms = Vec::new();
        if let Some((from, to)) = self.status {
            terms.push(format!("status >= {from}"));
            terms.push(format!("status <= {to}"));
        }
        terms.extend(equal(&[
            ("--code", "code", &self.code),
            ("--caller", "caller", &self.caller),
            ("--rule", "rule", &self.rule),
            ("--region", "region", &self.region),
        ])?);
        if !self.filter.trim().is_empty() {
            terms.push(self.filter.clone());
        }
        Ok(terms.join(" AND "))
    }
}

/// The terms of flags that were given: each with its field and value.
fn equal(flags: &[(&str, &str, &Option<String>)]) -> Result<Vec<String>> {
    let mut terms = Vec::new();
    for (flag, field, value) in flags {
        let Some(value) = value else { continue };
        // Nothing that is quoted could hold one.
        if value.is_empty() || value.contains('"') || value.contains(" AND ") {
            let what = format!("{flag}: {value:?} is nothing that a record has");
            return Err(fault::usage(&what, &format!("give one {field}")));
        }
        terms.push(format!("{field} = \"{value}\""));
    }
    Ok(terms)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        search: SearchArgs,
    }

    fn filter(words: &[&str]) -> Result<String> {
        Line::try_parse_from(["request"].iter().chain(words))?.search.filter()
    }

    #[test]
    fn flags_and_terms_are_one_filter() {
        for (words, wanted) in [
            (&[][..], ""),
            (&["--status", "403"], "status >= 403 AND status <= 403"),
            (
                &["--status", "5xx", "--filter", "tags = gold"],
                "status >= 500 AND status <= 599 AND tags = gold",
            ),
            (&["--status", "400-404", "--code", "a"], "status >= 400 AND status <= 404 AND code = \"a\""),
            (&["--path", "/v1/*", "--caller", "app"], "path = \"/v1/*\" AND caller = \"app\""),
            (
                &["--rule", "r", "--region", "eu", "--node", "n"],
                "node = \"n\" AND rule = \"r\" AND region = \"eu\"",
            ),
        ] {
            assert_eq!(filter(words).expect("good"), wanted);
        }
        for (words, said) in [
            (&["--status", "6xx"][..], "5xx or 400-499"),
            (&["--status", "404-400"], "5xx or 400-499"),
            (&["--path", "*"], "--path <PATH>"),
            (&["--path", "/a\" AND status = \"1"], "--path"),
            (&["--code", ""], "--code"),
        ] {
            let error = filter(words).err().map(|error| format!("{error:#}")).unwrap_or_default();
            assert!(error.contains(said), "{words:?}: {error}");
        }
    }
}
