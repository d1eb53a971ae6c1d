//! `docs/security.md` against this suite: what it says of hostile callers and upstreams is what a test shows.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules that are about hostile peers alone: each of their tests has a row.
const ALL_OF: [&str; 4] = ["smuggling", "http2", "hostile_upstreams", "whole_bodies"];

fn suite() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite")
}

/// The tests of a module and of those in it, by their whole names.
fn tests_of(module: &str) -> BTreeSet<String> {
    let text =
        fs::read_to_string(suite().join(format!("{}.rs", module.replace("::", "/")))).expect("a module");
    let mut names = BTreeSet::new();
    let mut is_test = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) {
            names.extend(tests_of(&format!("{module}::{name}")));
        }
        let named =
            line.trim_start_matches("async ").strip_prefix("fn ").and_then(|rest| rest.split_once('('));
        if let Some((name, _)) = named.filter(|_| is_test) {
            names.insert(format!("{module}::{name}"));
        }
        is_test = line.starts_with("#[tokio::test") || line == "#[test]";
    }
    names
}

#[test]
fn each_row_of_what_hostile_peers_can_do_names_a_test_and_each_such_test_has_a_row() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/security.md");
    let page = fs::read_to_string(page).expect("the page is there");
    let (_, section) = page.split_once("## What a hostile caller or upstream can do").expect("the section");
    let section = section.split("\n## ").next().expect("text");
    let rows = section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---"));
    let mut named = BTreeSet::new();
    for row in rows {
        let last = row.trim_end_matches(" |").rsplit(" | ").next().expect("a cell");
        if last == "test" {
            continue;
        }
        let name = last
            .strip_prefix('`')
            .and_then(|name| name.strip_suffix('`'))
            .unwrap_or_else(|| panic!("no test: {row}"));
        let module = name.split("::").next().expect("a module");
        assert!(tests_of(module).contains(name), "no such test: {name}");
        named.insert(name.to_owned());
    }
    assert!(named.len() > 30, "{}", named.len());
    let all: BTreeSet<String> = ALL_OF.into_iter().flat_map(tests_of).collect();
    let unnamed: Vec<_> = all.difference(&named).collect();
    assert!(unnamed.is_empty(), "without a row: {unnamed:?}");
}
