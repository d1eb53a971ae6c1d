//! What is wrong with the documents of a file, each fault with its line and field.
//!
//! Asked where a file was refused: which documents are taken is decided elsewhere. Repeats no value of the file but a
//! kind.

use std::path::Path;

use rr_contract::file::document::{Credential, Filter, Meter, Proxy, Rule, Target};
use rr_contract::file::node::{self, Mistake, Node};
use serde::Deserialize;

use super::format::KINDS;

/// How many faults are told at once.
const TOLD_MAX: usize = 10;

/// The faults of a text; `None` where none is found, or where the text is no YAML.
pub(super) fn of(file: &Path, text: &str) -> Option<anyhow::Error> {
    let nodes = node::documents(text).ok()?;
    let mut faults: Vec<(u64, String)> = nodes.iter().flat_map(of_document).collect();
    faults.sort_by_key(|(line, _)| *line);
    let told = faults.iter().take(TOLD_MAX).map(|(line, what)| format!("line {line}: {what}"));
    let mut told = told.collect::<Vec<_>>().join("; ");
    if let Some(more @ 1..) = faults.len().checked_sub(TOLD_MAX) {
        told.push_str(&format!("; and {more} more"));
    }
    (!faults.is_empty()).then(|| anyhow::anyhow!("{}, {told}", file.display()))
}

fn of_document(node: &Node) -> Vec<(u64, String)> {
    let one = |line: u64, what: String| vec![(line, what)];
    match node.text("kind") {
        Some("target") => read::<Target>(node, |_| Vec::new()),
        Some("credential") => read::<Credential>(node, |it| {
            let mut twice =
                only_one(node, &[("caller", it.caller.is_some()), ("upstream", it.upstream.is_some())]);
            if !it.key_hashes.is_empty() {
                let what = "key_hashes: is for a node without a control plane; leave it out";
                twice.push((node.line_of("key_hashes"), what.to_owned()));
            }
            twice
        }),
        Some("proxy") => read::<Proxy>(node, |_| Vec::new()),
        Some("rule") => read::<Rule>(node, |it| parents(node, [&it.proxy, &it.target, &it.credential])),
        Some("filter") => read::<Filter>(node, |it| parents(node, [&it.proxy, &it.target, &it.credential])),
        Some("meter") => read::<Meter>(node, |it| {
            let counts =
                only_one(node, &[("requests", it.requests.is_some()), ("value", it.value.is_some())]);
            let Some(value) = &it.value else { return counts };
            let places =
                [("value.body_path", value.body_path.is_some()), ("value.header", value.header.is_some())];
            counts.into_iter().chain(only_one(node, &places)).collect()
        }),
        Some(kind) => one(node.line_of("kind"), format!("kind {kind:?} is not {KINDS}")),
        None if node.is_document() => one(node.line, format!("kind is missing: give {KINDS}")),
        None => one(node.line, "a document is `kind` and its fields".to_owned()),
    }
}

/// The fault of a document that does not read, or those that are found in one that does.
fn read<'de, T: Deserialize<'de>>(
    node: &'de Node,
    find: impl FnOnce(T) -> Vec<(u64, String)>,
) -> Vec<(u64, String)> {
    match node.read::<T>() {
        Ok(document) => find(document),
        Err(mistake @ Mistake { line, .. }) => vec![(line.unwrap_or(node.line), mistake.to_string())],
    }
}

fn parents(node: &Node, [proxy, target, credential]: [&Option<String>; 3]) -> Vec<(u64, String)> {
    let given =
        [("proxy", proxy.is_some()), ("target", target.is_some()), ("credential", credential.is_some())];
    only_one(node, &given)
}

/// The fault of fields that exclude each other, at the second of them.
fn only_one(node: &Node, fields: &[(&str, bool)]) -> Vec<(u64, String)> {
    let given: Vec<&str> = fields.iter().filter(|(_, is_given)| *is_given).map(|(field, _)| *field).collect();
    let Some(second) = given.get(1) else { return Vec::new() };
    let all: Vec<&str> = fields.iter().map(|(field, _)| *field).collect();
    vec![(node.line_of(second), format!("{second}: give only one of {}", all.join(", ")))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_its_line_and_field_and_says_what_would_be_right() {
        for (text, told) in [
            (
                "kind: meter\nname: m\nper_day_per_node: -1\n",
                "line 3: per_day_per_node: must be a whole number from 0 to 18446744073709551615",
            ),
            (
                "kind: meter\nvalue:\n  header: x\n  reserve: many\n",
                "line 4: value.reserve: must be a whole number from 0 to",
            ),
            (
                "kind: target\nidle_timeout: 2m\n",
                "line 2: idle_timeout: must be a duration in seconds, like 1.5s",
            ),
            (
                "kind: target\nhealth_check:\n  interval: 5\n",
                "line 3: health_check.interval: must be a duration in seconds, like 1.5s",
            ),
            ("kind: target\nhttp_version: 2\n", "line 2: http_version: must be a string: put it in quotes"),
            ("kind: rule\n\nwhen:\n  path: ^/admin\n", "line 4: when.path: must be fields, as { … }"),
            (
                "kind: rule\nproxy: p\ntarget: t\n",
                "line 3: target: give only one of proxy, target, credential",
            ),
            ("kind: rule\neffect: maybe\n", "line 2: effect: must be allow or deny"),
            ("kind: filter\nname: f\nacton: mask\n", "line 3: there is no field acton; the fields are"),
            ("kind: meter\nrequests: {}\nvalue: {}\n", "line 3: value: give only one of requests, value"),
            ("kind: meter\nvalue:\n  body_path: a\n  header: b\n", "line 4: value.header: give only one of"),
            (
                "kind: credential\ncaller: {}\nupstream: {}\n",
                "line 3: upstream: give only one of caller, upstream",
            ),
            ("kind: credential\ncaller: {}\nkey_hashes: [ab]\n", "line 3: key_hashes: is for a node without"),
            ("kind: proxy\nname: a\nactive: perhaps\n", "line 3: active: must be a boolean"),
            ("name: a\nkind: tarject\n", "line 2: kind \"tarject\" is not target, credential"),
            ("name: a\n", "line 1: kind is missing"),
            ("just text\n", "line 1: a document is `kind` and its fields"),
        ] {
            let error = of(Path::new("x.yaml"), text).expect(text).to_string();
            assert!(error.starts_with(&format!("x.yaml, {told}")), "{error}");
            assert!(
                !error.contains("perhaps") && !error.contains("many") && !error.contains("maybe"),
                "{error}"
            );
        }
    }

    #[test]
    fn all_faults_are_told_in_their_order_up_to_ten() {
        let text = "kind: rule\neffect: x\n---\n".repeat(12) + "kind: target\nname: a\n";
        let error = of(Path::new("x.yaml"), &text).expect("faults").to_string();
        assert!(error.contains("line 2: effect") && error.contains("; line 29: effect"), "{error}");
        assert!(error.ends_with("; and 2 more") && !error.contains("line 32:"), "{error}");
        assert!(of(Path::new("x.yaml"), "kind: target\nname: a\n").is_none());
    }
}
