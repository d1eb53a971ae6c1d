//! What a check without a control plane finds, and what it leaves open.

use std::path::{Path, PathBuf};

use super::*;
use crate::command::set::SetArgs;

fn checked(text: &str) -> (Vec<String>, Vec<String>) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.yaml");
    std::fs::write(&path, text).expect("a file");
    let (mut set, faults) = SetArgs::of(path).taken().expect("it is read");
    assert!(faults.is_empty(), "{faults:?}");
    let Report { faults, unchecked } = check(&mut set);
    let told = |faults: Vec<Fault>| -> Vec<String> {
        let short = |mut fault: Fault| {
            fault.file = fault.file.and_then(|file| Path::new(&file).file_name().map(PathBuf::from));
            fault.to_string()
        };
        faults.into_iter().map(short).collect()
    };
    (told(faults), told(unchecked))
}

const GOOD: &str = "\
kind: target
name: pay
base_url: https://pay.example.com
---
kind: credential
name: app
caller: {kind: api-key}
---
kind: credential
name: ann
caller: {kind: basic, username: ann}
---
kind: credential
name: pay-token
upstream: {kind: bearer}
---
kind: proxy
name: pay
caller_credentials: [app, ann]
target: pay
upstream_credential: pay-token
regions: [eu]
---
kind: rule
name: read
proxy: pay
effect: allow
when: {methods: [GET], path: {regex: '^/v1/'}}
---
kind: filter
name: no-iban
proxy: pay
action: destroy
paths: [iban]
---
kind: meter
name: calls
proxy: pay
requests: {}
";

#[test]
fn a_good_set_has_no_fault_and_nothing_is_left_open() {
    assert_eq!(checked(GOOD), (Vec::new(), Vec::new()));
}

#[test]
fn what_nodes_would_refuse_is_found_at_its_field() {
    for (from, to, told) in [
        ("'^/v1/'", "'^/v1/(?=a)'", "x.yaml:28: when.path.regex: has look-around at column 6"),
        ("https://pay.example.com", "ftp://pay", "x.yaml:3: base_url: "),
        ("https://pay.example.com", "http://pay.example.com", "x.yaml:3: base_url: is plain HTTP"),
        ("paths: [iban]", "paths: ['a..b']", "x.yaml:34: paths[0]: "),
        ("kind: api-key", "kind: api-key, header: content-type", "x.yaml:7: caller.header: "),
        ("regions: [eu]", "regions: []", "x.yaml:22: regions: "),
        ("regions: [eu]", "regions: [eu]\nowner: Git", "x.yaml:23: owner: must be at most 63"),
        ("target: pay\n", "", "x.yaml:17: target: is missing (proxy pay)"),
        ("requests: {}", "value: {body_path: 'a..b'}", "x.yaml:39: value.body_path: "),
        ("{kind: bearer}", "{}", "x.yaml:15: upstream.kind: is missing or not known"),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let (faults, _) = checked(&GOOD.replacen(from, to, 1));
        let [fault] = faults.as_slice() else { panic!("{to}: {faults:?}") };
        assert!(fault.starts_with(told), "{to}: {fault}");
    }
}

#[test]
fn documents_that_do_not_fit_each_other_are_found() {
    let (faults, _) =
        checked(&GOOD.replacen("caller_credentials: [app, ann]", "caller_credentials: [pay-token]", 1));
    assert_eq!(
        faults,
        [
            "x.yaml:19: caller_credentials[0]: \"pay-token\" is an upstream credential: name a caller credential (proxy \
             pay)"
        ]
    );
    let (faults, _) =
        checked(&GOOD.replacen("upstream_credential: pay-token", "upstream_credential: app", 1));
    assert!(faults[0].contains("\"app\" is a caller credential"), "{faults:?}");
    let (faults, _) = checked(&GOOD.replacen("name: ann\n", "name: app\n", 1));
    assert!(faults[0].starts_with("x.yaml:10: name: names credential \"app\" a second time"), "{faults:?}");
}

#[test]
fn what_is_not_in_the_files_is_left_open_and_said() {
    let (faults, unchecked) = checked(&GOOD.replacen("target: pay\n", "target: other\n", 1));
    assert_eq!(faults, [""; 0]);
    assert_eq!(
        unchecked,
        ["x.yaml:20: target: names target \"other\", which is not in the files (proxy pay)"]
    );
}

#[test]
fn a_value_that_cannot_be_read_here_is_left_open_and_where_it_goes_is_checked() {
    let with = |from: &str| {
        GOOD.replacen(
            "upstream: {kind: bearer}",
            &format!("upstream: {{kind: bearer}}\nvalue_from: {from}"),
            1,
        )
    };
    let (faults, unchecked) = checked(&with("{env: RRCTL_TEST_NEVER_SET, targets: [pay]}"));
    assert_eq!(faults, [""; 0]);
    assert!(
        unchecked[0]
            .starts_with("x.yaml:16: value_from: environment variable RRCTL_TEST_NEVER_SET is not set"),
        "{unchecked:?}"
    );
    for (from, told) in [
        ("{env: RRCTL_TEST_NEVER_SET}", "no origin was given"),
        ("{env: RRCTL_TEST_NEVER_SET, targets: [other]}", "target other is not in the files"),
        ("{env: RRCTL_TEST_NEVER_SET, file: a, targets: [pay]}", "names one place"),
    ] {
        let (faults, _) = checked(&with(from));
        assert!(faults[0].starts_with("x.yaml:16: value_from: ") && faults[0].contains(told), "{faults:?}");
    }
}

/// An apply told of the pattern only when the field was mended.
#[test]
fn a_document_that_cannot_be_read_hides_no_fault_of_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.yaml");
    let text = GOOD.replace("base_url: https", "bas_url: https").replace("'^/v1/'", "'('");
    std::fs::write(&path, &text).expect("a file");
    let error = super::super::read(&SetArgs::of(path.clone())).err().expect("it is wrong").to_string();
    assert!(error.starts_with("2 faults\n"), "{error}");
    assert!(error.contains("x.yaml:3: there is no field bas_url"), "{error}");
    assert!(error.contains("x.yaml:28: when.path.regex: "), "{error}");
    std::fs::write(&path, GOOD).expect("a file");
    assert_eq!(super::super::read(&SetArgs::of(path)).expect("it is good").documents.len(), 8);
}

#[test]
fn all_faults_are_found_at_once() {
    let text = GOOD
        .replace("https://pay.example.com", "ftp://x")
        .replace("'^/v1/'", "'('")
        .replace("[iban]", "['']");
    assert_eq!(checked(&text).0.len(), 3);
}
