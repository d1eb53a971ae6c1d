//! What files are taken, and what is said of others.

use rr_contract::model::invalid::Violation;
use rr_contract::wire::fleet;

use super::*;

fn names(found: &[FileDocument]) -> Vec<(&str, &str)> {
    found.iter().map(|one| written::label(&one.document)).collect()
}

#[test]
fn the_example_of_the_manual_is_read() {
    let manual = include_str!("../../../../../docs/apply.md");
    let example = manual.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
    let found =
        parse(Path::new("example.yaml"), example.expect("an example"), &Fill::nothing(), &Arc::default())
            .expect("documents");
    let kinds: Vec<&str> = names(&found).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(
        kinds,
        ["target", "credential", "credential", "proxy", "rule", "rule", "filter", "meter", "meter"]
    );
    assert_eq!(found.iter().filter(|one| one.value_from.is_some()).count(), 1);
}

#[test]
fn every_example_of_the_manual_is_read_and_its_conditions_are_good() {
    let manual = include_str!("../../../../../docs/apply.md");
    let examples: Vec<&str> =
        manual.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 9);
    let (mut conditions, mut shapes, mut targets) = (0, 0, 0);
    for example in examples {
        for one in
            parse(Path::new("example.yaml"), example, &Fill::nothing(), &Arc::default()).expect("documents")
        {
            // Alone, a rule has no parent and a proxy no target, which are faults of other fields.
            let invalid = match one.document.resource {
                Some(Resource::Rule(rule)) => {
                    conditions += usize::from(rule.when.is_some());
                    let wire = fleet::RuleResource { when: rule.when, ..fleet::RuleResource::default() };
                    rr_contract::model::rule::Rule::try_from(wire).expect_err("it has no parent")
                }
                Some(Resource::Proxy(proxy)) => {
                    let mg::Proxy { rewrite, cors, forwarded, retry, .. } = proxy;
                    shapes += usize::from(rewrite.is_some() && cors.is_some() && forwarded == 1);
                    let default = fleet::ProxyResource::default();
                    let wire = fleet::ProxyResource { rewrite, cors, forwarded, retry, ..default };
                    rr_contract::model::proxy::Proxy::try_from(wire).expect_err("it has no target")
                }
                Some(Resource::Target(target)) => {
                    targets += usize::from(target.health_check.is_some());
                    let wire = fleet::TargetResource {
                        base_url: target.base_url,
                        more_base_urls: target.more_base_urls,
                        balance: target.balance,
                        total_timeout: target.total_timeout,
                        outlier_ejection: target.outlier_ejection,
                        health_check: target.health_check,
                        circuit_breaker: target.circuit_breaker,
                        ..fleet::TargetResource::default()
                    };
                    rr_contract::model::target::Target::try_from(wire).expect_err("it has no name")
                }
                _ => continue,
            };
            let is_shown = |it: &&Violation| {
                let elsewhere =
                    ["parent", "name", "effect", "caller_credentials", "target", "upstream", "regions"];
                !elsewhere.iter().any(|field| it.field.starts_with(field))
            };
            let wrong: Vec<_> = invalid.violations().iter().filter(is_shown).collect();
            assert!(wrong.is_empty(), "{}: {wrong:?}", one.location);
        }
    }
    assert_eq!((conditions, shapes, targets), (11, 1, 1));
}

#[test]
fn a_file_holds_several_documents_and_a_json_file_a_list() {
    let text = "---\n# nothing\n---\nkind: target\nname: a\n---\nkind: target\nname: b\n";
    let found = parse(Path::new("x.yaml"), text, &Fill::nothing(), &Arc::default()).expect("documents");
    assert_eq!(names(&found), [("target", "a"), ("target", "b")]);
    assert_eq!(found[1].location.to_string(), "x.yaml:7");
    let text = r#"[{"kind":"target","name":"a"},{"kind":"target","name":"b"}] {"kind":"proxy","name":"c"}"#;
    let found = parse(Path::new("x.json"), text, &Fill::nothing(), &Arc::default()).expect("documents");
    assert_eq!(names(&found), [("target", "a"), ("target", "b"), ("proxy", "c")]);
}

#[test]
fn numbers_and_truths_of_yaml_come_as_such_and_texts_stay_texts() {
    let text = "kind: proxy\nname: '8'\nactive: false\ndeny_status: 403\nlimits: {per_day_per_node: 5}\n";
    let found = parse(Path::new("x.yaml"), text, &Fill::nothing(), &Arc::default()).expect("documents");
    let Some(Resource::Proxy(proxy)) = &found[0].document.resource else { panic!("another kind") };
    assert_eq!((proxy.name.as_str(), proxy.active, proxy.deny_status), ("8", Some(false), 403));
    assert_eq!(proxy.limits.map(|limits| limits.per_day_per_node), Some(5));
}

#[test]
fn what_is_wrong_is_named_with_file_and_line() {
    for (name, text, parts) in [
        ("x.yaml", "kind: target\nname: [\n", ["x.yaml:", ""]),
        ("x.yaml", "kind: target\nname: a\n---\nkind: target\nbas_url: b\n", ["x.yaml:5:", "bas_url"]),
        ("x.yaml", "kind: target\nname: a\nname: b\n", ["x.yaml:3:", "name"]),
        ("x.yaml", "just text\n", ["x.yaml:1:", "kind"]),
        ("x.yaml", "kind: credential\nvalue_from: {envy: A}\n", ["x.yaml:2:", "envy"]),
        ("x.json", "{\"kind\": \"rule\",\n\"effect\": \"maybe\"}", ["x.json:2: effect", "allow or deny"]),
        // Not one YAML document, so lines are not known.
        ("x.json", "{\"kind\": \"rule\"} {\"kind\": 1}", ["x.json: document 2", "kind"]),
        ("x.json", "{\n", ["x.json:", ""]),
    ] {
        let faults = parse(Path::new(name), text, &Fill::nothing(), &Arc::default()).err().expect(text);
        let [fault] = faults.as_slice() else { panic!("{text:?}: {faults:?}") };
        let error = fault.to_string();
        for part in parts {
            assert!(error.contains(part), "{text:?}: no {part:?} in {error}");
        }
        assert!(error.lines().count() == 1, "{error}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let toml = folder.path().join("x.toml");
    std::fs::write(&toml, "").expect("a file");
    let error = texts(&[toml], &Reach::default()).err().expect("no ending").to_string();
    assert!(error.contains("x.toml") && error.contains(".yaml"), "{error}");
}

/// `apply -f acmee` was told to rename a file that is not there.
#[test]
fn what_is_not_there_is_said_to_be_so_before_its_ending_is_looked_at() {
    for gone in ["acmee", "acmee/x.yaml", "x.toml"] {
        let error =
            texts(&[PathBuf::from(gone)], &Reach::default()).err().expect("it is not there").to_string();
        assert!(error.contains(&format!("no file or folder {gone}")) && !error.contains("rename"), "{error}");
    }
}

#[test]
fn the_good_documents_of_a_file_are_taken_beside_the_faults_of_others() {
    let text = "kind: target\nname: a\n---\nkind: target\nbas_url: b\n---\nkind: proxy\nname: c\n";
    let (found, faults) = taken(Path::new("x.yaml"), text, &Fill::nothing(), &Arc::default());
    assert_eq!(names(&found), [("target", "a"), ("proxy", "c")]);
    assert_eq!(faults.len(), 1, "{faults:?}");
}

#[test]
fn a_file_that_grows_without_end_when_read_is_refused() {
    let mut text = "kind: target\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let references = vec![format!("*a{}", n - 1); 10].join(", ");
        text.push_str(&format!("a{n}: &a{n} [{references}]\n"));
    }
    assert!(parse(Path::new("x.yaml"), &text, &Fill::nothing(), &Arc::default()).is_err());
}

proptest::proptest! {
    #[test]
    fn what_export_writes_is_read_as_the_same_document(
        notes in "\\PC{0,40}|[ \\-:#'\"\\[\\]{}&*!|>%@`~?,\\t\\n\\r]{0,12}|true|null|~|0x1f|1e3|2027-01-31|<<|\\.nan",
        priority in 0..1000_u32,
    ) {
        let path = Some(fleet::Pattern { regex: notes.clone(), ..Default::default() });
        let when = Some(fleet::RequestMatch { path, ..Default::default() });
        let rule = mg::Rule { name: "a".into(), notes, priority, when, ..mg::Rule::default() };
        let document = mg::Document { resource: Some(Resource::Rule(rule)) };
        let written = written::Exported::new(&document).expect("fields");
        let text = format!("# head\n---\n{}", serde_saphyr::to_string(&written).expect("YAML"));
        let found = parse(Path::new("x.yaml"), &text, &Fill::nothing(), &Arc::default()).expect("documents");
        proptest::prop_assert_eq!(found.len(), 1);
        proptest::prop_assert_eq!(&found[0].document, &document, "{}", text);
    }
}

#[test]
fn a_folder_is_read_in_the_order_of_names_and_other_files_are_left() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in
        [("b.yaml", "kind: target\nname: b"), ("a.json", r#"{"kind":"target","name":"a"}"#), ("c.md", "# no")]
    {
        std::fs::write(folder.path().join(name), text).expect("a file");
    }
    let folders = [folder.path().to_owned()];
    let reach = Reach::of(&folders, &[]).expect("it is there");
    let found = texts(&folders, &reach).expect("texts");
    let found: Vec<_> = found.iter().filter_map(|one| one.file.file_name()).collect();
    assert_eq!(found, ["a.json", "b.yaml"]);
}

#[test]
fn a_folder_is_read_once_and_no_link_leads_out_of_it() {
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().expect("a folder");
    let set = folder.path().join("set");
    std::fs::create_dir(&set).expect("a folder");
    std::fs::write(set.join("a.yaml"), "kind: target\nname: a").expect("a file");
    for circle in ["one", "two"] {
        symlink(".", set.join(circle)).expect("a link");
    }
    let given = [set.clone()];
    let reach = Reach::of(&given, &[]).expect("it is there");
    assert_eq!(texts(&given, &reach).expect("texts").len(), 1);
    std::fs::write(folder.path().join("secret.yaml"), "kind: x").expect("a file");
    symlink("../secret.yaml", set.join("b.yaml")).expect("a link");
    let error = texts(&given, &reach).err().expect("it leads out").to_string();
    assert!(error.contains("b.yaml") && error.contains("not below"), "{error}");
}
