//! `docs/security.md` against the tests: each row of its tables is what a test shows. What such a test holds, nobody checks here.

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

/// The file of a test by its whole name: of this suite, or, from the folder of its crate on, of any other.
fn file_of(name: &str) -> PathBuf {
    let modules = name.rsplit_once("::").map_or("", |(modules, _)| modules);
    let (first, rest) = modules.split_once("::").unwrap_or((modules, ""));
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(first.replace('_', "-"));
    let file = format!("{}.rs", rest.replace("::", "/"));
    let mut files = ["src", "tests", ""].into_iter().map(|folder| place.join(folder).join(&file));
    files
        .find(|file| file.is_file())
        .unwrap_or_else(|| suite().join(format!("{}.rs", modules.replace("::", "/"))))
}

/// Whether a file has a test of this name, in whatever module of it.
fn has_test(file: &Path, wanted: &str) -> bool {
    let mut is_test = false;
    for line in fs::read_to_string(file).unwrap_or_default().lines().map(str::trim) {
        let named =
            line.trim_start_matches("async ").strip_prefix("fn ").and_then(|rest| rest.split_once('('));
        if let Some((name, _)) = named {
            if is_test && name == wanted {
                return true;
            }
            is_test = false;
        }
        is_test |= line.starts_with("#[tokio::test") || line == "#[test]";
    }
    false
}

/// What is wrong with the rows of a table whose last column names tests; and the names.
fn judged(table: &str) -> (Vec<String>, BTreeSet<String>) {
    let (mut faults, mut named) = (Vec::new(), BTreeSet::new());
    let rows = table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---"));
    for row in rows.skip(1) {
        let mut cells = row.trim_end_matches(" |").rsplit(" | ");
        let (last, first) = (cells.next().unwrap_or_default(), row.split(" | ").next().unwrap_or_default());
        let names: Vec<&str> =
            last.split('`').skip(1).step_by(2).filter(|name| name.contains("::")).collect();
        if names.is_empty() {
            faults.push(format!("no test: {first}"));
        }
        for name in names {
            let test = name.rsplit("::").next().unwrap_or_default();
            if !has_test(&file_of(name), test) {
                faults.push(format!("no such test: {name}"));
            }
            named.insert(name.to_owned());
        }
    }
    (faults, named)
}

fn section(title: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/security.md");
    let page = fs::read_to_string(page).expect("the page is there");
    let (_, section) = page.split_once(&format!("\n## {title}\n")).expect("the section");
    section.split("\n## ").next().expect("text").to_owned()
}

#[test]
fn each_attacker_has_tests_and_each_attack_of_a_control_plane_is_in_a_row() {
    let (faults, named) = judged(&section("Attackers"));
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(named.len() > 40, "{}", named.len());
    let all = tests_of("hostile_control_plane");
    assert!(all.len() > 10, "{}", all.len());
    let unnamed: Vec<_> = all.difference(&named).collect();
    assert!(unnamed.is_empty(), "without a row: {unnamed:?}");
}

#[test]
fn a_row_without_a_test_and_one_with_a_test_that_is_not_there_are_found() {
    let here = "security_page::a_row_without_a_test_and_one_with_a_test_that_is_not_there_are_found";
    let table = format!(
        "| attacker | tests |\n| --- | --- |\n| one | none |\n| two | `security_page::nobody` |\n\
         | three | `{here}`, `proto::outbound::nowhere::a_test` |\n| four | `security_page::suite` |\n"
    );
    let (faults, named) = judged(&table);
    assert!(named.contains(here));
    assert_eq!(
        faults,
        [
            "no test: | one",
            "no such test: security_page::nobody",
            "no such test: proto::outbound::nowhere::a_test",
            "no such test: security_page::suite",
        ]
    );
}

#[test]
fn each_row_of_what_hostile_peers_can_do_names_a_test_and_each_such_test_has_a_row() {
    let section = section("What a hostile caller or upstream can do");
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
