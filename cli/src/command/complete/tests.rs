//! What is offered at which argument, derived from the tree; and when options are.

use clap::{ArgAction, CommandFactory as _};

use super::super::Args;
use super::*;

/// Every argument of the tree that takes a value: the path of its command and its id.
fn arguments() -> Vec<(String, Arg)> {
    fn walk(command: &Command, path: &str, found: &mut Vec<(String, Arg)>) {
        found.extend(command.get_arguments().map(|arg| (path.to_owned(), arg.clone())));
        for below in command.get_subcommands() {
            walk(below, &format!("{path} {}", below.get_name()), found);
        }
    }
    let mut found = Vec::new();
    walk(&Args::command(), "rrctl", &mut found);
    found.retain(|(_, arg)| matches!(arg.get_action(), ArgAction::Set | ArgAction::Append));
    found
}

#[test]
fn each_argument_offers_its_own_kind() {
    let all = arguments();
    for (path, id, offers) in [
        ("rrctl", "output", Wanted::Format),
        ("rrctl", "context", Wanted::Context),
        ("rrctl context use", "context", Wanted::Context),
        ("rrctl rule create", "on", Wanted::OneOf(&["proxy", "target", "credential"])),
        ("rrctl rule list", "on", Wanted::OneOf(&["proxy", "target", "credential"])),
        ("rrctl meter create", "on", Wanted::OneOf(&["proxy"])),
        ("rrctl proxy list", "order_by", Wanted::Order),
        ("rrctl token revoke", "token", Wanted::Token),
        ("rrctl explain", "kind", Wanted::Explained),
        ("rrctl explain", "name", Wanted::OfKind),
        ("rrctl notification show", "notification", Wanted::Notification),
        ("rrctl member update", "member", Wanted::Member),
        ("rrctl preview delete", "preview", Wanted::Preview),
        ("rrctl revision show", "revision", Wanted::Revision),
        ("rrctl proxy create", "callers", Wanted::Caller),
        ("rrctl proxy create", "upstream", Wanted::Upstream),
        ("rrctl request list", "caller", Wanted::Caller),
        ("rrctl credential roll", "credential", Wanted::Caller),
        ("rrctl credential replace-secret", "credential", Wanted::Upstream),
        ("rrctl credential show", "credential", Wanted::Credential),
        ("rrctl filter show", "filter", Wanted::Filter),
    ] {
        assert!(all.iter().any(|(at, arg)| at == path && arg.get_id() == id), "{path} has no {id}");
        assert_eq!(wanted(path, id), Some(offers), "{path} {id}");
    }
    // Terms are no names, and neither is what is made.
    for (path, id) in
        [("rrctl proxy list", "filter"), ("rrctl filter list", "filter"), ("rrctl apply", "preview")]
    {
        assert!(all.iter().any(|(at, arg)| at == path && arg.get_id() == id), "{path} has no {id}");
        assert_eq!(wanted(path, id), None, "{path} {id}");
    }
}

#[test]
fn what_names_something_that_is_there_offers_it() {
    const NOTHING: &[(&str, &str)] = &[
        // A hash; without it the right one is meant.
        ("rrctl authority remove", "pin"),
        // Of a region that was typed before it.
        ("rrctl node token revoke", "token"),
        // A record: there are many, and none has a name.
        ("rrctl request show", "request"),
    ];
    let mut missing = Vec::new();
    for (path, arg) in arguments().iter().filter(|(_, arg)| arg.is_positional()) {
        let verb = path.rsplit(' ').next().unwrap_or_default();
        let is_of_existing = ["show", "update", "delete", "remove", "revoke", "use", "roll"].contains(&verb);
        let id = arg.get_id().as_str();
        let has_own = !arg.get_possible_values().is_empty();
        if is_of_existing && !has_own && wanted(path, id).is_none() && !NOTHING.contains(&(path.as_str(), id))
        {
            missing.push(format!("{path} {id}"));
        }
    }
    assert!(missing.is_empty(), "add these to `wanted`: {missing:?}");
}

#[test]
fn options_are_offered_after_a_dash_alone() {
    let line = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
    for (text, index, is_option) in [
        ("rrctl -- rrctl proxy show -", Some(3), true),
        ("rrctl -- rrctl proxy show --a", None, true),
        ("rrctl -- rrctl proxy show ", Some(3), false),
        ("rrctl -- rrctl proxy show pa", None, false),
        // An option that stands elsewhere on the line.
        ("rrctl -- rrctl -o json proxy show ", Some(5), false),
        ("rrctl", None, false),
    ] {
        assert_eq!(begins_option(&line(text), index), is_option, "{text}");
    }
    let hidden = |tree: &Command| {
        let show = tree.find_subcommand("proxy").and_then(|proxy| proxy.find_subcommand("show"));
        let at = show.and_then(|show| show.get_arguments().find(|arg| arg.get_id() == "at").cloned());
        at.map(|at| at.is_hide_set())
    };
    assert_eq!(hidden(&Args::tree()), Some(false));
    assert_eq!(hidden(&without_options(Args::tree())), Some(true));
}
