//! What is wrong with the documents of a file, each fault with its line and field.
//!
//! Asked where a file was refused: which documents are taken is decided elsewhere. Repeats no value of the file but a
//! kind.

use std::path::Path;

use rr_contract::document::KINDS;
use rr_contract::file::document::{Credential, Filter, Meter, Proxy, Rule, Target};
use rr_contract::file::node::{self, Mistake, Node};
use serde::de::DeserializeOwned;

use super::VALUE_FROM;
use super::fill::Fill;
use crate::excerpt::Fault;

/// The most faults of one document.
const TOLD_MAX: usize = 50;

/// The line of a fault, its field, and what is wrong.
type Found = (u64, String, String);

/// The faults of a text; none where none is found, or where the text is no YAML.
pub(super) fn of(file: &Path, text: &str, fill: &Fill) -> Vec<Fault> {
    let mut faults: Vec<Found> = Vec::new();
    for mut node in node::documents(text).unwrap_or_default() {
        let unset = fill.node(&mut node);
        // A text that stands for a variable is none that could be read.
        if unset.is_empty() {
            faults.extend(of_document(&node));
        }
        faults.extend(unset.into_iter().map(|(line, what)| (line, String::new(), what)));
    }
    faults.sort_by_key(|(line, ..)| *line);
    faults.into_iter().map(|(line, field, what)| Fault::new(file, Some(line), &field, what)).collect()
}

fn of_document(node: &Node) -> Vec<Found> {
    let one = |line: u64, field: &str, what: String| vec![(line, field.to_owned(), what)];
    match node.text("kind") {
        Some("target") => read::<Target>(node, |_| Vec::new()),
        Some("credential") => read::<Credential>(node, |it| {
            let mut twice =
                only_one(node, &[("caller", it.caller.is_some()), ("upstream", it.upstream.is_some())]);
            if !it.key_hashes.is_empty() {
                let what = "is for a node without a control plane; leave it out".to_owned();
                twice.push((node.line_of("key_hashes"), "key_hashes".to_owned(), what));
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
            let places = [
                ("value.body_path", value.body_path.is_some()),
                ("value.header", value.header.is_some()),
                ("value.readings", !value.readings.is_empty()),
            ];
            counts.into_iter().chain(only_one(node, &places)).collect()
        }),
        Some(kind) => one(node.line_of("kind"), "", format!("kind {kind:?} is not {KINDS}")),
        None if node.is_document() => one(node.line, "", format!("kind is missing: give {KINDS}")),
        None => one(node.line, "", "a document is `kind` and its fields".to_owned()),
    }
}

/// All that is wrong with a document: what does not read is taken out, and the rest is read again.
fn read<T: DeserializeOwned>(node: &Node, find: impl FnOnce(T) -> Vec<Found>) -> Vec<Found> {
    let (mut rest, mut found) = (node.clone(), Vec::new());
    // Each turn takes something out.
    loop {
        match rest.read::<T>() {
            Ok(document) => {
                found.extend(find(document));
                return found;
            }
            Err(mistake) => {
                let at = mistake.removable();
                found.push((
                    mistake.line.unwrap_or(node.line),
                    mistake.path().to_owned(),
                    said(&mistake, &at),
                ));
                if found.len() >= TOLD_MAX || !rest.remove(&at) {
                    return found;
                }
            }
        }
    }
}

/// What is wrong, and where a secret belongs that somebody wrote into a file.
fn said(mistake: &Mistake, at: &str) -> String {
    const SECRETS: [&str; 6] = ["value", "secret", "token", "password", "key", "api_key"];
    let (of, field) = at.rsplit_once('.').unwrap_or(("", at));
    let is_secret = SECRETS.contains(&field) && matches!(of, "caller" | "upstream");
    if is_secret && mistake.what().starts_with("there is no field") {
        return format!("there is no field {field}, because files hold no secrets: {VALUE_FROM}");
    }
    mistake.what().to_owned()
}

fn parents(node: &Node, [proxy, target, credential]: [&Option<String>; 3]) -> Vec<Found> {
    let given =
        [("proxy", proxy.is_some()), ("target", target.is_some()), ("credential", credential.is_some())];
    only_one(node, &given)
}

/// The fault of fields that exclude each other, at the second of them.
fn only_one(node: &Node, fields: &[(&str, bool)]) -> Vec<Found> {
    let given: Vec<&str> = fields.iter().filter(|(_, is_given)| *is_given).map(|(field, _)| *field).collect();
    let Some(second) = given.get(1) else { return Vec::new() };
    let all: Vec<&str> = fields.iter().map(|(field, _)| *field).collect();
    vec![(node.line_of(second), (*second).to_owned(), format!("give only one of {}", all.join(", ")))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_its_line_and_field_and_says_what_would_be_right() {
        for (text, told) in [
            (
                "kind: meter\nname: m\nper_day_per_node: -1\n",
                "3: per_day_per_node: must be a whole number from 0 to 18446744073709551615",
            ),
            (
                "kind: meter\nvalue:\n  header: x\n  reserve: many\n",
                "4: value.reserve: must be a whole number from 0 to",
            ),
            ("kind: target\nidle_timeout: 2m\n", "2: idle_timeout: must be a duration in seconds, like 1.5s"),
            (
                "kind: target\nhealth_check:\n  interval: 5\n",
                "3: health_check.interval: must be a duration in seconds, like 1.5s",
            ),
            (
                "kind: target\nhttp_version: 2\n",
                "2: http_version: must be a string, and YAML takes what stands here for a number",
            ),
            ("kind: rule\n\nwhen:\n  path: ^/admin\n", "4: when.path: must be fields, as { … }"),
            ("kind: rule\nproxy: p\ntarget: t\n", "3: target: give only one of proxy, target, credential"),
            ("kind: rule\neffect: maybe\n", "2: effect: must be allow or deny"),
            ("kind: filter\nname: f\nacton: mask\n", "3: there is no field acton; the fields are"),
            ("kind: meter\nrequests: {}\nvalue: {}\n", "3: value: give only one of requests, value"),
            ("kind: meter\nvalue:\n  body_path: a\n  header: b\n", "4: value.header: give only one of"),
            (
                "kind: credential\ncaller: {}\nupstream: {}\n",
                "3: upstream: give only one of caller, upstream",
            ),
            ("kind: credential\ncaller: {}\nkey_hashes: [ab]\n", "3: key_hashes: is for a node without"),
            ("kind: proxy\nname: a\nactive: perhaps\n", "3: active: must be a boolean"),
            ("name: a\nkind: tarject\n", "2: kind \"tarject\" is not target, credential"),
            ("name: a\n", "1: kind is missing"),
            ("just text\n", "1: a document is `kind` and its fields"),
        ] {
            let faults = of(Path::new("x.yaml"), text, &Fill::nothing());
            let [fault] = faults.as_slice() else { panic!("{text}: {faults:?}") };
            let error = fault.to_string();
            assert!(error.starts_with(&format!("x.yaml:{told}")), "{error}");
            assert!(
                !error.contains("perhaps") && !error.contains("many") && !error.contains("maybe"),
                "{error}"
            );
        }
    }

    /// One at a time, each run found the next.
    #[test]
    fn an_unknown_field_hides_no_other_fault_of_its_document() {
        let text =
            "kind: rule\nname: y\nnme: a\neffect: maybe\nwhen:\n  path: ^/a\n  pth: b\nproxy: p\ntarget: t\n";
        let faults = of(Path::new("x.yaml"), text, &Fill::nothing());
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        let starts = [
            "x.yaml:2: name: must be a string, and YAML takes what stands here for true or false",
            "x.yaml:3: there is no field nme",
            "x.yaml:4: effect: must be allow or deny",
            "x.yaml:6: when.path: must be fields",
            "x.yaml:7: when: there is no field pth",
            "x.yaml:9: target: give only one of",
        ];
        assert_eq!(told.len(), starts.len(), "{told:#?}");
        for (told, start) in told.iter().zip(starts) {
            assert!(told.starts_with(start), "{told}");
        }
    }

    #[test]
    fn a_secret_in_a_file_is_told_where_it_belongs_and_not_repeated() {
        for (field, is_secret) in
            [("value", true), ("password", true), ("api_key", true), ("vlaue", false), ("colour", false)]
        {
            let text = format!("kind: credential\nname: c\nupstream:\n  kind: bearer\n  {field}: hunter2\n");
            let faults = of(Path::new("x.yaml"), &text, &Fill::nothing());
            let [fault] = faults.as_slice() else { panic!("{faults:?}") };
            assert_eq!(fault.what.contains("`value_from:"), is_secret, "{fault}");
            assert!(!fault.to_string().contains("hunter2") && fault.line == Some(5), "{fault}");
        }
    }

    #[test]
    fn all_faults_are_told_in_their_order() {
        let text = "kind: rule\neffect: x\n---\n".repeat(12) + "kind: target\nname: a\n";
        let faults = of(Path::new("x.yaml"), &text, &Fill::nothing());
        let lines: Vec<u64> = faults.iter().filter_map(|fault| fault.line).collect();
        assert_eq!(lines, (0..12).map(|n| 2 + 3 * n).collect::<Vec<u64>>());
        assert!(of(Path::new("x.yaml"), "kind: target\nname: a\n", &Fill::nothing()).is_empty());
    }

    #[test]
    fn a_variable_that_is_not_set_has_the_line_at_which_it_stands() {
        let text = "kind: target\nname: a\nbase_url: ${TEST_NEVER_SET}\nca: ${TEST_NOR_THIS}\n";
        let faults = of(Path::new("x.yaml"), text, &Fill::environment());
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("x.yaml:3: environment variable TEST_NEVER_SET is not set"), "{told:?}");
        assert!(told[1].starts_with("x.yaml:4: "), "{told:?}");
    }
}
