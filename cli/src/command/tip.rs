//! Tips of errors of usage: what to type instead.
//!
//! clap suggests what is spelled alike, and that an option could be a value. Here are the tips that it cannot know: nouns
//! come first, what other tools call a verb, what cannot be changed. The invariant: a tip that stands is a line that works.

use clap::Command;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Verbs of other tools, and ours.
const VERBS: &[(&str, &str)] = &[
    ("add", "create"),
    ("describe", "show"),
    ("edit", "update"),
    ("info", "show"),
    ("inspect", "show"),
    ("new", "create"),
    ("patch", "update"),
    ("remove", "delete"),
    ("set", "update"),
    ("view", "show"),
];

/// Verbs of nouns that have several in the place of one.
const SEVERAL: &[(&str, &[&str], &str)] = &[
    (
        "credential",
        &["rotate", "renew", "replace"],
        "`rrctl credential roll` gives a caller credential a new value, `rrctl credential replace-secret` an upstream \
         credential a new secret",
    ),
    (
        "credential",
        &["create", "add", "new"],
        "`rrctl credential create-caller` makes one that callers present, `rrctl credential create-upstream` one that is \
         injected",
    ),
];

/// The error, with a tip that helps or none. `line` is the whole command line.
pub(super) fn with(mut error: clap::Error, tree: &Command, line: &[String]) -> clap::Error {
    let invalid = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    let tip = match error.kind() {
        ErrorKind::UnknownArgument => {
            let flag = invalid(ContextKind::InvalidArg);
            without_escape(&mut error);
            // Another flag of nearly the same letters says the opposite.
            if flag == "--region" {
                error.remove(ContextKind::SuggestedArg);
            }
            of_flag(tree, line, &flag)
        }
        ErrorKind::InvalidSubcommand => {
            let verb = invalid(ContextKind::InvalidSubcommand);
            without_escape(&mut error);
            of_verb(tree, line, &verb)
        }
        _ => None,
    };
    if let Some(tip) = tip {
        for kind in [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand] {
            error.remove(kind);
        }
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(tip)]));
    }
    error
}

/// Drops the tip that an option could be passed as a value: no value of ours begins with a dash.
fn without_escape(error: &mut clap::Error) {
    if let Some(ContextValue::StyledStrs(tips)) = error.remove(ContextKind::Suggested) {
        let kept: Vec<StyledStr> =
            tips.into_iter().filter(|tip| !tip.to_string().starts_with("to pass ")).collect();
        if !kept.is_empty() {
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(kept));
        }
    }
}

/// The command that a line reached, and the names of those on the way.
fn reached<'t>(tree: &'t Command, line: &[String]) -> (&'t Command, Vec<&'t str>) {
    let (mut command, mut path) = (tree, Vec::new());
    for word in line.iter().skip(1) {
        if let Some(next) = command.find_subcommand(word) {
            command = next;
            path.push(next.get_name());
        }
    }
    (command, path)
}

fn of_flag(tree: &Command, line: &[String], flag: &str) -> Option<String> {
    let (command, path) = reached(tree, line);
    let has = |id: &str| command.get_arguments().any(|arg| arg.get_id() == id);
    match (path.as_slice(), flag) {
        ([noun, "update"], "--name" | "--rename") => {
            Some(format!("a name cannot be changed: create another {noun}, and delete this one"))
        }
        ([_, .., "list"], "--sort" | "--order-by") if has("limit") => {
            Some("this list has one order, the newest first".to_owned())
        }
        _ => None,
    }
}

fn of_verb(tree: &Command, line: &[String], verb: &str) -> Option<String> {
    let at = line.iter().position(|word| word == verb)?;
    let (command, path) = reached(tree, &line[..at]);
    if !path.is_empty() {
        let several = SEVERAL.iter().find(|(noun, verbs, _)| path == [*noun] && verbs.contains(&verb));
        if let Some((_, _, tip)) = several {
            return Some((*tip).to_owned());
        }
        let ours =
            VERBS.iter().find(|(theirs, ours)| *theirs == verb && command.find_subcommand(ours).is_some());
        return ours.map(|(_, ours)| format!("`rrctl {} {ours}` does that", path.join(" ")));
    }
    // A verb where a noun stands.
    let own = |noun: &Command| {
        let ours = VERBS.iter().find(|(theirs, _)| *theirs == verb).map_or(verb, |(_, ours)| *ours);
        [verb, ours].into_iter().find(|verb| noun.find_subcommand(verb).is_some()).map(str::to_owned)
    };
    let typed = line[at + 1..].iter().find(|word| !word.starts_with('-'));
    let typed = typed.map(|word| word.split('/').next().unwrap_or(word));
    if let Some(noun) =
        typed.and_then(|word| tree.find_subcommand(word)).filter(|noun| noun.has_subcommands())
    {
        let name = noun.get_name();
        return Some(match own(noun) {
            Some(verb) => format!("nouns come first: `rrctl {name} {verb}`"),
            None => format!("nouns come first: `rrctl {name} --help` shows the verbs of {name}"),
        });
    }
    let example = tree.find_subcommand("proxy").into_iter().chain(tree.get_subcommands());
    example
        .filter(|noun| noun.get_name() != "help")
        .find_map(|noun| Some(format!("nouns come first, as in `rrctl {} {}`", noun.get_name(), own(noun)?)))
}

#[cfg(test)]
mod tests {
    use super::super::Args;
    use super::*;

    fn said(line: &str) -> String {
        let mut tree = Args::tree();
        let line: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let error = tree.try_get_matches_from_mut(&line).expect_err("it is wrong");
        with(error, &tree, &line).to_string()
    }

    #[test]
    fn a_verb_before_its_noun_is_answered_with_the_noun_first() {
        for (line, tip) in [
            ("rrctl get proxy", "tip: nouns come first: `rrctl proxy get`"),
            ("rrctl get proxies pay", "tip: nouns come first: `rrctl proxy get`"),
            ("rrctl --org acme delete -y proxy/pay", "tip: nouns come first: `rrctl proxy delete`"),
            ("rrctl describe proxy pay", "tip: nouns come first: `rrctl proxy show`"),
            ("rrctl create target t --base-url x", "tip: nouns come first: `rrctl target create`"),
            ("rrctl create credential", "tip: nouns come first: `rrctl credential --help`"),
            ("rrctl list", "tip: nouns come first, as in `rrctl proxy list`"),
            ("rrctl undelete", "tip: nouns come first, as in `rrctl org undelete`"),
        ] {
            let said = said(line);
            assert!(said.contains(tip) && !said.contains("similar"), "{line}: {said}");
        }
        // A word that is no verb keeps what is spelled alike.
        let said = said("rrctl proxi list");
        assert!(said.contains("'proxy'") && !said.contains("nouns come first"), "{said}");
    }

    #[test]
    fn a_verb_of_another_tool_is_answered_with_ours() {
        for (line, tip) in [
            ("rrctl credential rotate c", "`rrctl credential roll`"),
            ("rrctl credential rotate c", "`rrctl credential replace-secret`"),
            ("rrctl credential create c", "`rrctl credential create-caller`"),
            ("rrctl proxy describe p", "tip: `rrctl proxy show` does that"),
            ("rrctl target edit t", "tip: `rrctl target update` does that"),
        ] {
            let said = said(line);
            assert!(said.contains(tip) && !said.contains("similar"), "{line}: {said}");
        }
        let said = said("rrctl proxy shwo p");
        assert!(said.contains("'show'") && !said.contains("does that"), "{said}");
    }

    #[test]
    fn a_flag_that_cannot_be_a_value_is_not_told_how_to_be_one() {
        let name = said("rrctl target update t1 --name t2");
        assert!(name.contains("tip: a name cannot be changed: create another target"), "{name}");
        let sort = said("rrctl request list --sort status");
        assert!(sort.contains("tip: this list has one order, the newest first"), "{sort}");
        for line in
            ["rrctl target update t1 --name t2", "rrctl proxy show p --colour", "rrctl request list --sort x"]
        {
            assert!(!said(line).contains("to pass"), "{}", said(line));
        }
        // One that is spelled alike is still named.
        assert!(said("rrctl target update t1 --base-ulr x").contains("'--base-url'"));
        assert!(!said("rrctl proxy list --region eu").contains("any-region"));
    }

    #[test]
    fn every_verb_in_a_tip_is_there() {
        let tree = Args::tree();
        let verbs: Vec<&str> =
            tree.get_subcommands().flat_map(Command::get_subcommands).map(Command::get_name).collect();
        for (_, ours) in VERBS {
            assert!(verbs.contains(ours), "{ours}");
        }
        for (noun, theirs, tip) in SEVERAL {
            let noun = tree.find_subcommand(noun).expect(noun);
            let named =
                tip.split('`').skip(1).step_by(2).map(|line| line.rsplit(' ').next().unwrap_or_default());
            assert!(named.into_iter().all(|verb| noun.find_subcommand(verb).is_some()), "{tip}");
            assert!(theirs.iter().all(|verb| noun.find_subcommand(verb).is_none()), "{theirs:?}");
        }
    }
}
