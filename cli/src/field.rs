//! The flag or argument of the command line that fills a field of a request.
//!
//! The control plane names fields; the user typed flags. The table comes from the command tree: a flag fills the field
//! that has the flag's id. Only fields that go by another name are listed here. A field without a flag has no entry.

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

/// Fields of requests, below their resource, that are filled by flags with other ids.
pub(crate) const RENAMED: &[(&str, &[&str])] = &[
    ("action", &["retain", "destroy", "mask", "detect", "pattern"]),
    ("after", &["since"]),
    ("before", &["until"]),
    ("caller.basic.user", &["user"]),
    ("caller.certificate.ca", &["ca_bundle"]),
    ("caller.certificate.hashes", &["certificate", "spki_sha256"]),
    ("caller.jwt_verify.required_claims", &["subject", "scopes"]),
    ("caller.jwt_verify.jwks", &["jwks", "public_key"]),
    ("caller.password_hash", &["value_from"]),
    ("caller.sealed", &["value_from"]),
    ("caller.username", &["user"]),
    ("caller.value_hash", &["value_from", "certificate", "spki_sha256"]),
    ("caller_credentials", &["callers"]),
    ("cascade", &["users"]),
    ("cors.credentials", &["cors_credentials"]),
    ("cors.exposed_headers", &["cors_exposed_headers"]),
    ("cors.headers", &["cors_headers"]),
    ("cors.max_age", &["cors_max_age"]),
    ("cors.methods", &["cors_methods"]),
    ("cors.origins", &["cors_origins"]),
    ("counts", &["requests", "value_path", "value_header"]),
    ("credential", &["on"]),
    ("default_limits.per_day_per_node", &["per_day"]),
    ("default_limits.per_minute_per_node", &["per_minute"]),
    ("detectors", &["detect"]),
    ("effect", &["allow", "deny", "effect"]),
    ("expected_revision", &["expect"]),
    ("expires_at", &["expires", "expires_in"]),
    ("grants", &["roles"]),
    ("group_by", &["by"]),
    ("limit_ceilings.per_day_per_node", &["ceiling_per_day"]),
    ("limit_ceilings.per_minute_per_node", &["ceiling_per_minute"]),
    ("limits.per_day_per_node", &["per_day"]),
    ("limits.per_minute_per_node", &["per_minute"]),
    ("limits_per_address.per_day_per_node", &["per_day_per_address"]),
    ("limits_per_address.per_minute_per_node", &["per_minute_per_address"]),
    ("limits_per_caller.per_day_per_node", &["per_day_per_caller"]),
    ("limits_per_caller.per_minute_per_node", &["per_minute_per_caller"]),
    ("mask", &["mask_with"]),
    ("max_concurrent_requests_per_node", &["max_concurrent_requests"]),
    ("only_unhealthy", &["unhealthy"]),
    ("only_when.body.value.flags", &["only_flags"]),
    ("only_when.headers.name.flags", &["only_flags"]),
    ("only_when.headers.value.flags", &["only_flags"]),
    ("only_when.path", &["only_path"]),
    ("only_when.path.flags", &["only_flags"]),
    ("only_when.query.name.flags", &["only_flags"]),
    ("only_when.query.value.flags", &["only_flags"]),
    ("page_size", &["limit"]),
    ("parent", &["on"]),
    ("password_hash", &["value_from"]),
    ("paths", &["retain", "destroy", "mask", "within"]),
    ("patterns", &["pattern"]),
    ("per_day_per_node", &["per_day"]),
    ("per_hour_per_node", &["per_hour"]),
    ("per_minute_per_node", &["per_minute"]),
    ("per_month_per_node", &["per_month"]),
    ("proxy", &["on"]),
    ("recording.durable", &["durable"]),
    ("recording.path_templates", &["record_paths"]),
    ("recording.query_parameters", &["record_query"]),
    ("recording.request_headers", &["record_request_headers"]),
    ("recording.response_headers", &["record_response_headers"]),
    ("resource", &["name"]),
    ("revision", &["at"]),
    ("rewrite.request_headers.remove", &["remove_headers"]),
    ("rewrite.request_headers.set", &["set_headers"]),
    ("sharing", &["share"]),
    ("target", &["on"]),
    ("upstream_credential", &["upstream"]),
    ("validation", &["validate_schema", "validate_openapi", "no_validation"]),
    ("validation.json_schema", &["validate_schema"]),
    ("validation.methods", &["validate_methods"]),
    ("validation.openapi", &["validate_openapi"]),
    ("validation.unlisted", &["validate_unlisted"]),
    ("value", &["value_path", "value_header", "tokens"]),
    ("value_hash", &["value_from", "certificate", "spki_sha256"]),
    ("value.body_path", &["value_path"]),
    ("value.header", &["value_header"]),
    ("value.location", &["value_path", "value_header", "tokens"]),
    ("value.on_missing", &["on_missing"]),
    ("value.readings", &["value_path", "value_header", "tokens"]),
    ("value.reserve", &["reserve"]),
    ("when.body.value.flags", &["flags"]),
    ("when.headers.name.flags", &["flags"]),
    ("when.headers.value.flags", &["flags"]),
    ("when.path.flags", &["flags"]),
    ("when.query.name.flags", &["flags"]),
    ("when.query.value.flags", &["flags"]),
];

/// Fields of messages that one flag holds whole, by the words that the flag has for them.
pub(crate) const WITHIN: &[(&str, &str)] = &[
    ("circuit_breaker.consecutive_failures", "failures"),
    ("circuit_breaker.open_for", "open"),
    ("health_check.healthy_after", "healthy"),
    ("health_check.interval", "interval"),
    ("health_check.max_status", "max-status"),
    ("health_check.path", "path"),
    ("health_check.timeout", "timeout"),
    ("health_check.unhealthy_after", "unhealthy"),
    ("outlier_ejection.consecutive_failures", "failures"),
    ("outlier_ejection.ejection_time", "time"),
    ("outlier_ejection.max_ejected_percent", "percent"),
    ("retry.attempts", "attempts"),
    ("retry.backoff", "backoff"),
    ("retry.budget_percent", "budget"),
    ("retry.max_backoff", "max-backoff"),
    ("retry.statuses", "on"),
];

/// Messages within a resource whose fields have flags of their own.
pub(crate) const FLAT: [&str; 9] = [
    "caller",
    "caller.bearer",
    "caller.certificate",
    "caller.jwt_verify",
    "only_when",
    "recording",
    "rewrite",
    "upstream",
    "when",
];

/// Fields of the set that `rrctl init` makes of its flags.
const OF_INIT: &[(&str, &str)] = &[
    ("documents[0].target.base_url", "url"),
    ("documents[0].target.ca", "ca"),
    ("documents[0].target.danger_plaintext", "danger_plaintext"),
    ("documents[0].target.name", "name"),
    ("documents[2].credential.upstream.kind", "auth"),
    ("documents[2].credential.upstream.sealed", "secret_file"),
    ("documents[3].proxy.regions", "regions"),
];

/// The flags and arguments of the command that was typed.
#[derive(Default)]
pub(crate) struct Flags(Vec<Flag>);

struct Flag {
    id: String,
    /// As it is typed: `--base-url`, or `NAME` for an argument without a flag.
    name: String,
    /// Empty where it was not typed.
    values: Vec<String>,
}

impl Flags {
    /// Those of the subcommand at the end of `typed`. The tree has been built, so that each command knows global options.
    pub(crate) fn of(tree: &Command, typed: &ArgMatches) -> Self {
        let (mut command, mut typed) = (tree, typed);
        while let Some((name, below)) = typed.subcommand() {
            let Some(next) = command.find_subcommand(name) else { break };
            (command, typed) = (next, below);
        }
        let flag =
            |arg: &Arg| Flag { id: arg.get_id().to_string(), name: shown(arg), values: values(arg, typed) };
        Self(command.get_arguments().map(flag).collect())
    }

    /// The flag that fills the field at a path such as `target.base_url` or `proxy.regions[1]`, with its value where it
    /// was typed several times.
    pub(crate) fn filling(&self, path: &str) -> Option<String> {
        if let Some((_, id)) = OF_INIT.iter().find(|(field, _)| *field == path) {
            return self.0.iter().find(|flag| flag.id == *id).map(|flag| flag.name.clone());
        }
        let mut steps: Vec<(&str, Option<usize>)> = path.split('.').map(step).collect();
        if steps.len() > 1 {
            // The resource. An element of a list of resources is written in a file, which no flag fills.
            let (_, index) = steps.remove(0);
            if index.is_some() {
                return None;
            }
        }
        (1..=steps.len()).rev().find_map(|end| {
            let names: Vec<&str> = steps[..end].iter().map(|(name, _)| *name).collect();
            let flag = self.of_field(&names.join("."))?;
            let whole: Vec<&str> = steps.iter().map(|(name, _)| *name).collect();
            if let Some((_, word)) = WITHIN.iter().find(|(field, _)| *field == whole.join(".")) {
                return Some(format!("{}: {word}", flag.name));
            }
            let value = steps[end - 1].1.filter(|_| flag.values.len() > 1).and_then(|at| flag.values.get(at));
            Some(value.map_or_else(|| flag.name.clone(), |value| format!("{} {value}", flag.name)))
        })
    }

    /// A text in which the fields that flags fill are named by the flags. Only a word with `_` is certainly a field.
    pub(crate) fn in_text(&self, text: &str) -> String {
        let is_of_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.');
        let mut said = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(is_of_word) {
            let (before, from) = rest.split_at(start);
            said.push_str(before);
            let (run, behind) = from.split_at(from.find(|c| !is_of_word(c)).unwrap_or(from.len()));
            let word = run.trim_end_matches('.');
            let is_quoted = said.ends_with('`');
            // A part of a longer word, or something that was typed.
            let is_field =
                word.contains('_') && !said.ends_with(|c: char| c.is_alphanumeric() || "-\"".contains(c));
            let flag = self.of_field(word).filter(|flag| is_field && flag.name.starts_with("--"));
            match flag {
                Some(flag) if is_quoted => said.push_str(&flag.name),
                Some(flag) => said.push_str(&format!("`{}`", flag.name)),
                None => said.push_str(word),
            }
            said.push_str(&run[word.len()..]);
            rest = behind;
        }
        said + rest
    }

    /// The one flag of a field: of several, the one that was typed.
    fn of_field(&self, field: &str) -> Option<&Flag> {
        let renamed = RENAMED.iter().find(|(name, _)| *name == field).map_or(&[] as &[&str], |(_, ids)| ids);
        let mut found: Vec<&Flag> =
            self.0.iter().filter(|flag| renamed.contains(&flag.id.as_str())).collect();
        if found.is_empty() {
            let below = FLAT.iter().filter_map(|within| field.strip_prefix(within)?.strip_prefix('.'));
            let own: Vec<&str> = below.chain([field]).collect();
            found = self.0.iter().filter(|flag| own.contains(&flag.id.as_str())).collect();
        }
        if found.len() > 1 {
            found.retain(|flag| !flag.values.is_empty());
        }
        match found.as_slice() {
            [flag] => Some(flag),
            _ => None,
        }
    }
}

/// A step of a path: a field, and the element of its list.
fn step(text: &str) -> (&str, Option<usize>) {
    let parts = text.strip_suffix(']').and_then(|text| text.split_once('['));
    parts.map_or((text, None), |(name, index)| (name, index.parse().ok()))
}

fn shown(arg: &Arg) -> String {
    match (arg.get_long(), arg.get_value_names()) {
        (Some(long), _) => format!("--{long}"),
        (None, Some([name, ..])) => name.to_string(),
        (None, _) => arg.get_id().as_str().to_uppercase(),
    }
}

fn values(arg: &Arg, typed: &ArgMatches) -> Vec<String> {
    let id = arg.get_id().as_str();
    if typed.value_source(id) != Some(ValueSource::CommandLine) {
        return Vec::new();
    }
    typed.get_raw(id).into_iter().flatten().map(|value| value.to_string_lossy().into_owned()).collect()
}
