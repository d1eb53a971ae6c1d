//! Every example of `rrctl --help` and of `docs/` runs, against a real control plane and a real node.
//!
//! Read from the program and from the pages themselves, so that a new example is run without anybody thinking of it. What is
//! changed before a line runs is in `lines`: ids and revisions, which nobody chooses, addresses of this machine, and files in
//! the place of prompts. What a line needs is in `place`. The README's own lines are run by `readme` and `dev`.

mod lines;
mod place;
mod published;

use std::collections::BTreeSet;

use serde_json::Value;

use self::lines::{Line, blocks, of_help};
use self::place::{Ended, Place};
use self::published::Published;

/// Commands that go on until Ctrl-C: they end once they have printed a line.
const WAITING: &[&str] = &["request tail", "node watch", "notification watch"];

/// Lines that cannot do here what they are for: how they end, a part of what they say, and why.
const REFUSED: &[(&str, i32, &str, &str)] = &[
    ("rrctl revision adopt", 1, "nothing to adopt", "`restore` adopts after a real restore"),
    ("rrctl revision release", 1, "is not held", "`crash` has a node that crashes on a revision"),
    ("rrctl credential reseal", 2, "region us", "`reseal` adds a region whose keys are of its own"),
    ("rrctl authority add", 1, "no other key", "`authority_rollover` has a control plane with two keys"),
    ("rrctl authority switch", 2, "has one root", "`authority_rollover` has two"),
    ("rrctl authority remove", 2, "has one root", "`authority_rollover` has two"),
    ("rrctl diff", 1, "", "1 says that there is a difference"),
    (
        "rrctl region update frankfurt",
        1,
        "not in the settings",
        "record stores are of `record_stores` and `clickhouse`",
    ),
];

fn judge(line: &Line, ended: &Ended) -> Result<(), String> {
    let told = || {
        format!(
            "{}\n    as {}\n    ended with {:?}: {}{}",
            line.typed, line.run, ended.code, ended.out, ended.err
        )
    };
    match REFUSED.iter().find(|(begin, ..)| line.typed.starts_with(begin)) {
        Some((_, code, part, _)) if ended.code == Some(*code) && ended.err.contains(part) => Ok(()),
        _ if ended.code == Some(0) => Ok(()),
        _ => Err(told()),
    }
}

async fn run(place: &mut Place, line: &Line) -> Result<Ended, String> {
    let ended = if WAITING.iter().any(|verb| line.verb == *verb) {
        place.first_line(line).await
    } else {
        place.run(line).await
    };
    judge(line, &ended).map(|()| ended)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_of_the_help_runs() {
    let mut place = Place::start().await;
    let (mut failed, mut count) = (Vec::new(), 0);
    for verb in of_help() {
        assert!(!verb.lines.is_empty() || verb.name == "dev", "{} has no example", verb.name);
        for typed in &verb.lines {
            let line = place.line(&verb.name, typed).await;
            count += 1;
            failed.extend(run(&mut place, &line).await.err());
        }
    }
    assert!(count > 150, "only {count} examples");
    assert!(failed.is_empty(), "{} of {count} fail:\n{}", failed.len(), failed.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_of_the_documentation_runs() {
    let mut place = Place::start().await;
    let (mut failed, mut count) = (Vec::new(), 0);
    for (page, typed) in blocks() {
        let line = place.line_of_page(&page, &typed).await;
        count += 1;
        failed.extend(run(&mut place, &line).await.err());
    }
    assert!(count >= 20, "only {count} lines");
    assert!(failed.is_empty(), "{} of {count} fail:\n{}", failed.len(), failed.join("\n"));
}

/// Verbs whose answer is of this machine, of a file, or of several calls: no message of the API.
const NO_MESSAGE: &[&str] = &[
    "context list",
    "context show",
    "context use",
    "context update",
    "context delete",
    "login",
    "init",
    "preview list",
    "preview show",
    "version",
    "doctor",
    "validate",
    "export",
    "region export-key",
    "region import-key",
    "region fingerprint",
    "schema",
    "audit verify",
    "request try",
];

/// Verbs that print no document: a script for a shell, and a line of JSON for each entry.
const NO_DOCUMENT: &[&str] = &["completion", "audit export"];

/// The formats of every verb: what succeeded prints one document, and nothing else, on standard output.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_prints_one_document_in_each_format_as_the_api_has_published_it() {
    let mut place = Place::start().await;
    let published = Published::fetch(&place).await;
    let (mut failed, mut checked) = (Vec::new(), BTreeSet::new());
    for verb in of_help() {
        for typed in verb.lines.iter().filter(|typed| !typed.contains(['|', '>'])) {
            let (begin, _) = typed.split_once(" -o ").unwrap_or((typed, ""));
            if WAITING.contains(&&*verb.name) {
                continue;
            }
            let line = place.line(&verb.name, &format!("{begin} -o json")).await;
            let ended = match run(&mut place, &line).await {
                Ok(ended) => ended,
                Err(text) => {
                    failed.push(text);
                    continue;
                }
            };
            if (ended.out.is_empty() && ended.code != Some(0)) || NO_DOCUMENT.contains(&&*verb.name) {
                continue;
            }
            match serde_json::from_str::<Value>(&ended.out) {
                Ok(value) if !NO_MESSAGE.contains(&&*verb.name) => {
                    checked.insert(verb.name.clone());
                    failed
                        .extend(published.misfit(&verb.name, &value).map(|text| format!("{typed}: {text}")));
                }
                Ok(_) => {}
                Err(error) => failed.push(format!("{typed} prints no JSON ({error}): {}", ended.out)),
            }
            if !matches!(verb.name.rsplit(' ').next(), Some("list" | "show")) {
                continue;
            }
            for format in ["yaml", "name", "wide"] {
                let line = place.line(&verb.name, &format!("{begin} -o {format}")).await;
                failed.extend(run(&mut place, &line).await.err());
            }
            // A reader that has seen enough is no failure.
            let mut line = place.line(&verb.name, begin).await;
            line.run = format!("{{ {} || touch broken; }} | :; ! test -e broken", line.run);
            failed.extend(run(&mut place, &line).await.err());
        }
    }
    assert!(checked.len() > 60, "only {checked:?}");
    assert!(failed.is_empty(), "{} fail:\n{}", failed.len(), failed.join("\n"));
}
