//! Where values of files come from and go.

use rr_contract::seal::{Means, SecretSpec, Slot};

use super::*;
use crate::command::set::SetArgs;

/// Reads one credential, and targets beside it, from a file in a folder that holds a value and certificates.
fn spec_of(value_from: &str) -> Result<SecretSpec> {
    spec_of_kind("bearer", value_from)
}

fn spec_of_kind(kind: &str, value_from: &str) -> Result<SecretSpec> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("value"), "s3cr3t\n").expect("a file");
    std::fs::write(folder.path().join("schemed"), "bearer s3cr3t\n").expect("a file");
    let path = folder.path().join("x.yaml");
    let text = format!("kind: credential\nname: c\nupstream: {{kind: {kind}}}\nvalue_from: {value_from}\n");
    std::fs::write(&path, text).expect("a file");
    let mut written = SetArgs::of(path).taken().expect("a document").0.documents.remove(0);
    let from = written.value_from.take().expect("a value");
    let location = written.location.clone();
    std::fs::write(folder.path().join("ca.pem"), authority::OURS).expect("a file");
    let target = |name: &str, ca: &str| {
        let base_url = format!("https://{name}.example/base");
        let target =
            mg::Target { name: name.to_owned(), base_url, ca: ca.to_owned(), ..mg::Target::default() };
        (name.to_owned(), target)
    };
    let mut several = target("several", "");
    several.1.more_base_urls = vec!["https://second.example/base".to_owned()];
    let targets = BTreeMap::from([target("echo", ""), target("private", authority::OURS), several]);
    let (_, kind) = upstream(&mut written.document).expect("an upstream credential");
    let (form, destination) = (form(kind, &from, &location)?, destination(&from, &targets, &location)?);
    destination.announce()?;
    destination.spec(form, values(kind, &from, &location)?)
}

#[test]
fn a_value_is_sealed_for_the_certificates_of_its_targets_or_of_a_file() {
    let ca: rr_contract::model::tls::CaBundle = authority::OURS.parse().expect("a certificate");
    for (value_from, wanted) in [
        ("{file: value, targets: [echo]}", None),
        ("{file: value, targets: [private]}", Some(*ca.hash())),
        ("{file: value, ca: ca.pem, origins: ['https://a.example']}", Some(*ca.hash())),
        ("{file: value, ca: ca.pem, targets: [private]}", Some(*ca.hash())),
    ] {
        assert_eq!(spec_of(value_from).expect("a spec").ca, wanted, "{value_from}");
    }
    for (value_from, part) in [
        ("{file: value, targets: [echo, private]}", "make a credential for each"),
        ("{file: value, ca: ca.pem, targets: [echo]}", "make a credential for each"),
        ("{file: value, ca: value, origins: ['https://a.example']}", "no certificate"),
        ("{file: value, ca: ca.pem, origins: ['http://a.example']}", "no certificate vouches"),
    ] {
        let error = spec_of(value_from).err().map(|error| format!("{error:#}")).unwrap_or_default();
        assert!(error.contains(part), "{value_from}: {error:?}");
    }
}

#[test]
fn a_value_goes_wherever_its_target_lives() {
    let spec = spec_of("{file: value, targets: [several]}").expect("a spec");
    let origins: Vec<String> = spec.origins.iter().map(ToString::to_string).collect();
    assert!(origins.len() == 2 && origins[1].contains("second.example"), "{origins:?}");
}

#[test]
fn a_value_of_a_caller_goes_nowhere_and_becomes_its_hash() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("own"), "9f86d081884c7d659a2feaa0c55ad015\n").expect("a file");
    let path = folder.path().join("x.yaml");
    let of = |value_from: &str| {
        let text = format!("kind: credential\nname: c\ncaller: {{kind: bearer}}\nvalue_from: {value_from}\n");
        std::fs::write(&path, text).expect("a file");
        let mut written = SetArgs::of(path.clone()).taken().expect("a document").0.documents.remove(0);
        let from = written.value_from.take().expect("a value");
        let (_, caller) = caller(&mut written.document).expect("a caller");
        hash(caller, &from, &written.location).map(|hashed| hashed.value_hash.len())
    };
    assert_eq!(of("{file: own}").ok(), Some(32));
    for more in
        ["origins: ['https://a.example']", "targets: [t]", "ca: ca.pem", "header: x-own", "prefix: Key"]
    {
        let error = of(&format!("{{file: own, {more}}}")).expect_err(more).to_string();
        assert!(error.contains("a caller's value is sent nowhere"), "{error}");
    }
}

#[test]
fn a_target_whose_certificates_change_is_named() {
    let target = |ca: &str| mg::Target { name: "a".to_owned(), ca: ca.to_owned(), ..mg::Target::default() };
    let from: ValueFrom = serde_json::from_str(r#"{"targets": ["a", "b"]}"#).expect("a value");
    for (written, there, changes) in [
        ("", "", false),
        (authority::OURS, "", true),
        ("", authority::OURS, true),
        (authority::OURS, authority::OURS, false),
    ] {
        let written = BTreeMap::from([("a".to_owned(), target(written))]);
        assert_eq!(!changed_ca(&from, &written, &[target(there)]).is_empty(), changes);
    }
}

#[test]
fn a_value_goes_where_the_files_say_and_nowhere_else() {
    let spec =
        spec_of("{file: value, targets: [echo], origins: ['https://api.example:8443']}").expect("a spec");
    let origins: Vec<String> = spec.origins.iter().map(ToString::to_string).collect();
    assert_eq!(origins.len(), 2);
    assert!(origins[0].contains("api.example") && origins[1].contains("echo.example"), "{origins:?}");
    assert_eq!(spec.value.expose(), b"s3cr3t");
    assert!(spec.means == Means::sent(Slot::bearer()));
}

#[test]
fn a_token_with_the_word_of_its_header_before_it_is_no_value_where_that_is_put_there() {
    let said = |value_from: &str| {
        let spec = spec_of(&format!("{{file: schemed, origins: ['https://a.example'], {value_from}}}"));
        spec.err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(said("").contains("begins with `Bearer `"));
    assert_eq!(said("header: x-token"), "");
}

#[test]
fn each_kind_of_value_goes_where_the_file_says() {
    let to = "origins: ['https://a.example']";
    let sealed = |kind: &str, value_from: &str| {
        let spec = spec_of_kind(kind, &format!("{{{value_from}, {to}}}")).expect("a spec");
        let plain = |secret: &Secret| String::from_utf8_lossy(secret.expose()).into_owned();
        let Means::Sent { slot, more } = &spec.means else { panic!("not sent as it is") };
        let more: Vec<_> = more.iter().map(|(value, slot)| (plain(value), slot.clone())).collect();
        (plain(&spec.value), slot.clone(), more)
    };
    let header = |name: &str| Slot::header(name, "").expect("a slot");
    assert_eq!(sealed("jwt", "file: value"), ("s3cr3t".to_owned(), Slot::bearer(), Vec::new()));
    let query = Slot::query("key").expect("a slot");
    assert_eq!(sealed("api-key", "file: value, query: key"), ("s3cr3t".to_owned(), query, Vec::new()));
    let basic = ("YW5uOnMzY3IzdA==".to_owned(), Slot::basic(), Vec::new());
    assert_eq!(sealed("basic", "file: value, user: ann"), basic);
    assert_eq!(
        sealed("custom-headers", "headers: {x-a: {file: value}, x-b: {file: value}}"),
        ("s3cr3t".to_owned(), header("x-a"), vec![("s3cr3t".to_owned(), header("x-b"))])
    );
    for (kind, value_from, part) in [
        ("api-key", "file: value", "add `header` or `query` to value_from"),
        ("basic", "file: value", "add `user` to value_from"),
        ("bearer", "file: value, query: key", "value_from: kind bearer has no `query`"),
        ("custom-headers", "file: value", "add `headers` to value_from"),
        ("custom-headers", "file: value, headers: {x-a: {file: value}}", "leave out `env` and `file`"),
        ("custom-headers", "headers: {x-a: {}}", "value_from.headers.x-a names one place"),
    ] {
        let wrong = spec_of_kind(kind, &format!("{{{value_from}, {to}}}")).err();
        let wrong = wrong.map(|error| format!("{error:#}")).unwrap_or_default();
        assert!(wrong.contains(part), "{kind} {value_from}: {wrong}");
    }
}

#[test]
fn what_is_missing_is_named() {
    for (value_from, part) in [
        ("{file: value}", "origins"),
        ("{file: value, targets: [other]}", "target other"),
        ("{origins: ['https://a.example']}", "env"),
        ("{env: A, file: value, origins: ['https://a.example']}", "one place"),
        ("{env: TEST_NEVER_SET, origins: ['https://a.example']}", "TEST_NEVER_SET"),
        ("{file: nowhere, origins: ['https://a.example']}", "nowhere"),
        ("{file: ../elsewhere, origins: ['https://a.example']}", "not below the folder of the files"),
        ("{file: value, origins: ['https://a.example'], ca: ../ca.pem}", "not below the folder of the files"),
        ("{env: RRCTL_TOKEN, origins: ['https://a.example']}", "is a setting of rrctl"),
    ] {
        let error = spec_of(value_from).err().map(|error| format!("{error:#}")).unwrap_or_default();
        assert!(error.contains(part), "{value_from}: {error:?}");
    }
}
