//! What every command of the tree has: shorter names of verbs, names completed by the control plane, `org.name`.
//!
//! Goes over the tree that the derives made, so that a new verb has all of it without anybody thinking of it.

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use rr_contract::model::name::Name;

use super::{complete, examples};

/// Verbs, and what other tools call them.
const VERBS: &[(&str, &str)] =
    &[("list", "ls"), ("show", "get"), ("delete", "rm"), ("remove", "rm"), ("revoke", "rm")];

/// Verbs after which something is gone.
pub(super) const REMOVALS: &[&str] = &["delete", "remove", "revoke"];

/// Nouns, and how they are typed as well.
const PLURALS: &[(&str, &str)] = &[
    ("context", "contexts"),
    ("credential", "credentials"),
    ("filter", "filters"),
    ("member", "members"),
    ("meter", "meters"),
    ("node", "nodes"),
    ("notification", "notifications"),
    ("org", "orgs"),
    ("proxy", "proxies"),
    ("region", "regions"),
    ("request", "requests"),
    ("revision", "revisions"),
    ("rule", "rules"),
    ("target", "targets"),
    ("token", "tokens"),
    ("user", "users"),
];

/// Nouns of an organization: their arguments can name the organization, as `acme.pay`.
const OF_AN_ORG: &[&str] = &["proxy", "target", "credential", "rule", "filter", "meter"];

/// The tree with all of it.
pub(super) fn finish(tree: Command) -> Command {
    let nouns = tree.mut_subcommands(|noun| {
        let plural = PLURALS.iter().find(|(name, _)| *name == noun.get_name());
        match plural {
            Some((_, plural)) => noun.alias(*plural),
            None => noun,
        }
    });
    walk(nouns, "rrctl")
}

fn walk(command: Command, path: &str) -> Command {
    let has_value = |arg: &Arg| arg.get_long().is_some() && arg.get_action().takes_values();
    // A negative number is taken as the value of the option before it, so that its error names the option and the bounds.
    let command =
        command.mut_args(|arg| if has_value(&arg) { arg.allow_negative_numbers(true) } else { arg });
    // A revision is chosen by one flag, and its long name does as well.
    let command =
        command.mut_args(|arg| if arg.get_long() == Some("at") { arg.alias("revision") } else { arg });
    let command = command.mut_args(|arg| {
        let id = arg.get_id().as_str().to_owned();
        let arg = complete::offering(path, arg);
        if arg.is_positional() && OF_AN_ORG.contains(&id.as_str()) {
            arg.value_parser(without_org)
        } else {
            arg
        }
    });
    let command = match examples::of(path) {
        Some(examples) => {
            let more = command.get_after_help().map(|more| format!("\n\n{more}")).unwrap_or_default();
            command.after_help(examples + &more)
        }
        None => command,
    };
    command.mut_subcommands(|below| {
        let name = below.get_name().to_owned();
        let below = agreeing(walk(below, &format!("{path} {name}")));
        match VERBS.iter().find(|(verb, _)| *verb == name) {
            Some((_, other)) => below.visible_alias(*other),
            None => below,
        }
    })
}

/// Every removal takes `--yes`, so that a script need not know which of them asks.
fn agreeing(verb: Command) -> Command {
    let asks = verb.get_arguments().any(|arg| arg.get_id() == "yes");
    if asks || !REMOVALS.contains(&verb.get_name()) {
        return verb;
    }
    let yes = Arg::new("yes").long("yes").short('y').action(ArgAction::SetTrue).hide(true);
    verb.arg(yes.help("Does not ask; it would not without it, either"))
}

/// The name of a resource, after the organization that may stand before it.
fn without_org(text: &str) -> Result<String, String> {
    Ok(split(text).map_or(text, |(_, name)| name).to_owned())
}

/// The organization that a name such as `acme.pay` names, and the name in it.
fn split(text: &str) -> Option<(&str, &str)> {
    let (org, name) = text.split_once('.')?;
    (org.parse::<Name>().is_ok() && name.parse::<Name>().is_ok()).then_some((org, name))
}

/// The organization that stands before the name of a resource, and whether it is another one than --org.
pub(super) fn named_org(tree: &Command, typed: &ArgMatches) -> Result<Option<String>, String> {
    let (mut command, mut typed) = (tree, typed);
    while let Some((name, below)) = typed.subcommand() {
        let Some(next) = command.find_subcommand(name) else { break };
        (command, typed) = (next, below);
    }
    let named = command
        .get_positionals()
        .filter(|arg| OF_AN_ORG.contains(&arg.get_id().as_str()))
        .find_map(|arg| typed.get_raw(arg.get_id().as_str())?.next()?.to_str());
    let Some((org, name)) = named.and_then(split) else { return Ok(None) };
    let flag = typed
        .get_one::<String>("org")
        .filter(|_| typed.value_source("org") == Some(ValueSource::CommandLine));
    match flag {
        Some(other) if other != org => {
            Err(format!("{org}.{name} is of organization {org}, and --org names {other}; leave one out"))
        }
        _ => Ok(Some(org.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_have_its_organization_before_it_and_an_id_has_none() {
        assert_eq!(split("acme.pay"), Some(("acme", "pay")));
        for text in ["pay", "acme.", ".pay", "acme.pay.x", "Acme.pay", "px_1"] {
            assert_eq!(split(text), None, "{text}");
        }
        assert_eq!(without_org("acme.pay"), Ok("pay".to_owned()));
        assert_eq!(without_org("px_1"), Ok("px_1".to_owned()));
    }
}
