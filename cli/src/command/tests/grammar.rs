//! The grammar of the tree: one word for one thing, in verbs and in flags.
//!
//! Derived from the tree, so that a new verb is held to it without anybody thinking of it. Each exception says why.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Arg, Command};

use super::super::{Args, tree};

/// Verbs of nouns. A new one needs a reason that none of these does.
const VERBS: &[&str] = &[
    // What a resource goes through.
    "create",
    "list",
    "show",
    "switch",
    "update",
    "delete",
    // A member is a user who is there already, and stays when he is no member any more.
    "add",
    "remove",
    // Keys of a region, which lie in a file and not in a list.
    "rotate-key",
    "renew-key",
    "attest",
    "export-key",
    "import-key",
    "fingerprint",
    // A token stays in the list, so it is not deleted.
    "revoke",
    // What can be put back.
    "undelete",
    "disable",
    "enable",
    "drain",
    "undrain",
    "rollback",
    "diff",
    // What goes on until Ctrl-C; records are read like a log.
    "watch",
    "tail",
    // Questions.
    "query",
    "accounts",
    "why",
    "test",
    "try",
    "verify",
    "refused",
    "export",
    // Decisions about a revision.
    "wait",
    "adopt",
    "release",
    // Of credentials: the two usages have flags of their own, and a value is never updated but replaced.
    "create-caller",
    "create-upstream",
    "replace-secret",
    "reseal",
    "roll",
    // Of notifications and contexts.
    "read",
    "use",
];

/// Nouns that cannot be listed or shown, and why.
const NOT_ALL: &[(&str, &str)] = &[
    // What they add up to has no id.
    ("metrics", "list"),
    ("metrics", "show"),
    // An entry is a revision, and `revision show` shows it.
    ("audit", "show"),
    // The table of `show` is the list of its roots.
    ("authority", "list"),
    // The list has all that is known of one.
    ("node token", "show"),
];

/// Flags whose value or meaning differs by verb, and why.
const DIFFER: &[(&str, &str)] = &[
    ("algorithm", "of a caller they are what is accepted, of an upstream what is signed with"),
    ("body", "a rule looks into the body, a token request has one"),
    ("certificate", "a caller shows it, an upstream is shown it"),
    ("danger-plaintext", "`update` can take it back, `init` only gives it"),
    ("header", "a credential stands in one, a rule looks at several"),
    ("issuer", "of a caller it is required, of an upstream it is claimed"),
    ("out", "a file, or the folder of the manual"),
    ("path", "a rule searches it, a list compares it"),
    ("per-day", "requests of a proxy, or what a meter counts"),
    ("per-minute", "requests of a proxy, or what a meter counts"),
    ("query", "a credential stands in one, a rule looks at several"),
    ("resource", "of OAuth it is a URI, of ours an id"),
    ("role", "of a member it is in the organization, of a token anywhere"),
    ("set-header", "a credential sets a secret, a proxy a text"),
    ("subject", "of a caller it is required, of an upstream it is claimed"),
];

struct Leaf {
    path: String,
    command: Command,
}

fn leaves() -> Vec<Leaf> {
    fn walk(command: &Command, path: &str, found: &mut Vec<Leaf>) {
        for below in command.get_subcommands().filter(|it| it.get_name() != "help" && !it.is_hide_set()) {
            walk(below, &format!("{path} {}", below.get_name()), found);
        }
        if !command.has_subcommands() {
            found.push(Leaf { path: path.trim_start().to_owned(), command: command.clone() });
        }
    }
    let mut tree = Args::tree();
    tree.build();
    let mut found = Vec::new();
    walk(&tree, "", &mut found);
    found
}

/// Flags of a verb itself.
fn flags(leaf: &Leaf) -> impl Iterator<Item = &Arg> {
    leaf.command.get_arguments().filter(|arg| {
        arg.get_long().is_some() && !arg.is_global_set() && !arg.is_hide_set() && arg.get_id() != "help"
    })
}

#[test]
fn verbs_come_from_one_list() {
    let mut unknown = Vec::new();
    for leaf in leaves() {
        let Some((_, verb)) = leaf.path.rsplit_once(' ') else { continue };
        if !VERBS.contains(&verb) {
            unknown.push(leaf.path);
        }
    }
    assert!(unknown.is_empty(), "is there a verb for it already? {unknown:?}");
    let used: BTreeSet<String> =
        leaves().iter().filter_map(|it| Some(it.path.rsplit_once(' ')?.1.to_owned())).collect();
    let idle: Vec<_> = VERBS.iter().filter(|verb| !used.contains(**verb)).collect();
    assert!(idle.is_empty(), "no command has the verb {idle:?}");
}

#[test]
fn every_noun_can_be_listed_and_shown() {
    let mut verbs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for leaf in leaves() {
        if let Some((noun, verb)) = leaf.path.rsplit_once(' ') {
            verbs.entry(noun.to_owned()).or_default().insert(verb.to_owned());
        }
    }
    for (noun, of) in &verbs {
        for verb in ["list", "show"] {
            let excepted = NOT_ALL.contains(&(noun, verb));
            assert_eq!(of.contains(verb), !excepted, "{noun} {verb}");
        }
    }
}

/// What tells one use of a flag from another: whether it takes a value, and what the value is called.
fn kind(arg: &Arg) -> String {
    if !arg.get_action().takes_values() {
        return "no value".to_owned();
    }
    let names: Vec<String> = arg.get_value_names().into_iter().flatten().map(ToString::to_string).collect();
    names.join(" ")
}

#[test]
fn a_flag_takes_the_same_value_at_every_verb() {
    let mut kinds: BTreeMap<String, BTreeMap<String, Vec<String>>> = BTreeMap::new();
    for leaf in leaves() {
        for arg in flags(&leaf) {
            let long = arg.get_long().unwrap_or_default().to_owned();
            kinds.entry(long).or_default().entry(kind(arg)).or_default().push(leaf.path.clone());
        }
    }
    kinds.retain(|long, kinds| kinds.len() > 1 && !DIFFER.iter().any(|(flag, _)| flag == long));
    assert!(kinds.is_empty(), "{kinds:#?}");
}

/// The first words of a help, without what it is about: nouns of the tree, and articles.
fn said(arg: &Arg, nouns: &BTreeSet<String>) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let words = help.split(|c: char| !c.is_alphanumeric() && c != '-');
    let is_noun = |word: &str| {
        let word = word.to_lowercase();
        nouns.iter().any(|noun| {
            word == *noun
                || word == format!("{noun}s")
                || word == format!("{}ies", noun.trim_end_matches('y'))
        })
    };
    words
        .filter(|word| !word.is_empty() && !is_noun(word))
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
        .to_lowercase()
}

/// Flags that are explained in other words at some verbs, and why.
const SAID_OTHERWISE: &[(&str, &str)] = &[
    ("now", "what is not waited for, and what comes of that"),
    ("active", "a proxy serves, a meter counts"),
    ("allow-mass-removal", "a rollback is no write of one resource"),
    ("allow-partial", "a rollback is no write of one resource"),
    ("allow-refusals", "an apply waits only where it is asked to"),
    ("audience", "of a caller it is required, of an upstream it is asked for"),
    ("base-url", "of a region it is ours, of a target theirs"),
    ("caller", "a proxy has some, a list is narrowed to one"),
    ("every-request", "a rule matches, a meter counts"),
    ("installation", "what is listed: changes, or notifications"),
    ("on", "what is made has a parent, a list is narrowed to one"),
    ("kind", "of a caller what is presented, of an upstream what is injected"),
    ("limit", "items of a list, or series"),
    ("method", "of a request for a token there is one, a rule has several"),
    ("node", "records through it, or what it told"),
    ("observe", "a proxy with all its rules, or one rule"),
    ("expires", "of a token, or of a preview, which ends in any case"),
    ("overlap", "a caller goes on with the value before, an upstream is shown it when it refuses"),
    ("owner", "a resource has the label, a set gives it, an export is narrowed to it"),
    ("prefix", "of a caller it is a word, of an upstream any text"),
    ("proxy", "whose credential a test uses, or what a list is narrowed to"),
    ("recovery-copy", "a new region makes one, a rotation writes those that are there again"),
    ("region-key", "whose keys are used, or what takes keys in, or is looked at"),
    ("regions-file", "what is sealed to is read there, what is made or goes is noted there"),
    ("region", "where something goes, or what a list is narrowed to"),
    ("scope", "of a caller it is required, of an upstream it is asked for"),
    ("since", "what came then: requests, sums, accounts, changes"),
    ("target", "where a proxy leads, or whose origins are sealed to"),
    ("timeout", "of a node's test, or of a wait"),
    ("until", "what came then: requests, sums, accounts, changes"),
    ("user", "a name at an upstream, or a user of ours"),
];

#[test]
fn a_flag_is_explained_in_the_same_words_at_every_verb() {
    let mut nouns: BTreeSet<String> =
        leaves().iter().flat_map(|it| it.path.split(' ').map(str::to_owned).collect::<Vec<_>>()).collect();
    nouns.extend(["requests", "records", "organization", "node", "nodes"].map(str::to_owned));
    let mut texts: BTreeMap<String, BTreeMap<String, Vec<String>>> = BTreeMap::new();
    for leaf in leaves() {
        for arg in flags(&leaf) {
            let long = arg.get_long().unwrap_or_default().to_owned();
            texts.entry(long).or_default().entry(said(arg, &nouns)).or_default().push(leaf.path.clone());
        }
    }
    texts.retain(|long, texts| {
        let known = DIFFER.iter().any(|(flag, _)| flag == long)
            || SAID_OTHERWISE.iter().any(|(flag, _)| flag == long);
        texts.len() > 1 && !known
    });
    assert!(texts.is_empty(), "{texts:#?}");
}

#[test]
fn a_parent_is_named_in_the_same_way_at_rules_filters_and_meters() {
    for verb in ["rule create --deny --every-request", "filter create --mask a", "meter create --requests"] {
        for on in ["pay", "proxy/pay"] {
            let line = format!("rrctl {verb} --on {on}");
            assert!(Args::tree().try_get_matches_from(line.split(' ')).is_ok(), "{line}");
        }
    }
    for noun in ["rule", "filter", "meter"] {
        for (on, is_good) in [("pay", true), ("proxy/pay", true), ("proxies/pay", true), ("rule/pay", false)]
        {
            let line = format!("rrctl {noun} list --on {on}");
            assert_eq!(Args::tree().try_get_matches_from(line.split(' ')).is_ok(), is_good, "{line}");
        }
    }
}

#[test]
fn whatever_goes_away_is_removed_by_rm() {
    for leaf in leaves() {
        let verb = leaf.path.rsplit(' ').next().unwrap_or_default();
        let has = leaf.command.get_visible_aliases().any(|alias| alias == "rm");
        assert_eq!(has, tree::REMOVALS.contains(&verb), "{}", leaf.path);
    }
}

#[test]
fn an_effect_is_typed_as_a_flag_or_as_files_have_it() {
    for effect in ["--allow", "--deny", "--effect allow", "--effect deny"] {
        let line = format!("rrctl rule create --on pay --every-request {effect}");
        assert!(Args::tree().try_get_matches_from(line.split(' ')).is_ok(), "{line}");
    }
}

#[test]
fn a_revision_is_chosen_by_at_or_by_revision_wherever_one_is_chosen() {
    let mut seen = 0;
    for leaf in leaves() {
        for arg in flags(&leaf).filter(|arg| kind(arg) == "REVISION") {
            match arg.get_long() {
                Some("at") => {
                    let names = arg.get_all_aliases().unwrap_or_default();
                    assert!(names.contains(&"revision"), "{}", leaf.path);
                    seen += 1;
                }
                // A range, and a condition.
                Some("from" | "to" | "expect") => {}
                other => panic!("{}: {other:?} chooses a revision; call it --at", leaf.path),
            }
        }
    }
    assert!(seen >= 7, "only {seen}");
}

#[test]
fn every_removal_takes_yes() {
    for leaf in leaves() {
        let verb = leaf.path.rsplit(' ').next().unwrap_or_default();
        if tree::REMOVALS.contains(&verb) {
            let yes = leaf.command.get_arguments().find(|arg| arg.get_long() == Some("yes"));
            assert_eq!(yes.and_then(Arg::get_short), Some('y'), "{}", leaf.path);
        }
    }
}
