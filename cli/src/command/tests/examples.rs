//! The examples of the help: each verb has one, and each is a line that the tree takes.
//!
//! Runs none of them: the system test `examples` does.

use clap::Command;

use super::super::Args;

/// Verbs without an example: they are the example.
const WITHOUT: &[&str] = &["rrctl dev"];

/// A verb, and the lines of its help that are examples.
struct Shown {
    path: String,
    lines: Vec<Vec<String>>,
}

/// Words of a line as a shell makes them, up to a pipe or a redirection.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut begun) = (Vec::new(), String::new(), false, false);
    for c in line.chars() {
        match c {
            '\'' => (quoted, begun) = (!quoted, true),
            ' ' if !quoted => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            c => {
                word.push(c);
                begun = true;
            }
        }
    }
    assert!(!quoted, "a quote is open in {line}");
    if begun {
        words.push(word);
    }
    words.into_iter().take_while(|word| !["|", ">", ">>"].contains(&word.as_str())).collect()
}

fn examples() -> Vec<Shown> {
    fn walk(command: &Command, path: &str, found: &mut Vec<Shown>) {
        for below in command.get_subcommands().filter(|it| it.get_name() != "help" && !it.is_hide_set()) {
            walk(below, &format!("{path} {}", below.get_name()), found);
        }
        if command.has_subcommands() {
            return;
        }
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let joined = help.replace("\\\n    ", "");
        let lines = joined.lines().filter(|line| line.starts_with("  rrctl ")).map(words).collect();
        found.push(Shown { path: path.to_owned(), lines });
    }
    let mut found = Vec::new();
    let mut tree = Args::tree();
    tree.build();
    walk(&tree, "rrctl", &mut found);
    assert!(found.len() > 90, "only {} verbs", found.len());
    found
}

#[test]
fn every_verb_has_an_example_of_itself() {
    let without: Vec<String> = examples()
        .into_iter()
        .filter(|it| !WITHOUT.contains(&it.path.as_str()))
        .filter(|it| {
            !it.lines
                .iter()
                .any(|words| format!("{} ", words.join(" ")).starts_with(&format!("{} ", it.path)))
        })
        .map(|it| it.path)
        .collect();
    assert!(without.is_empty(), "give these an example below command/examples: {without:#?}");
}

#[test]
fn every_example_is_a_line_that_the_tree_takes() {
    let mut tree = Args::tree();
    for line in examples().into_iter().flat_map(|it| it.lines) {
        if let Err(error) = tree.try_get_matches_from_mut(&line) {
            panic!("{}: {error}", line.join(" "));
        }
    }
}

/// A table of examples would otherwise keep those of a verb that is gone.
#[test]
fn every_entry_of_the_table_is_a_verb() {
    let verbs: Vec<String> = examples().into_iter().map(|it| it.path).collect();
    for path in super::super::examples::paths() {
        assert!(verbs.contains(&format!("rrctl {path}")), "no verb {path}");
    }
}
