//! A rule as a row of a table: in words, with the scope that it is in and the name of what it belongs to.
//!
//! In JSON it is the message as the API has it. What a narrowed token may not see keeps its id.

use std::cmp::{Ordering, Reverse};

use rr_contract::wire::management as mg;
use rr_contract::wire::management::rule::Parent as Of;
use serde::{Serialize, Serializer};

use crate::command::names::Names;
use crate::flags::matching;
use crate::flags::parent::{self, Parent};
use crate::print::{Row, plain};

/// The order in which a scope reports its rules: the highest priority first, then by id.
pub(super) fn by_priority(one: &mg::Rule, other: &mg::Rule) -> Ordering {
    (Reverse(one.priority), &one.id).cmp(&(Reverse(other.priority), &other.id))
}

/// A rule with the words for where it stands.
pub(super) fn listed(names: &Names, mut rule: mg::Rule) -> Listed {
    let scope = match &rule.parent {
        Some(Of::Proxy(_)) => "proxy",
        Some(Of::Target(_)) => "target",
        Some(Of::Credential(id)) => match names.is_upstream(id) {
            Some(true) => "upstream",
            Some(false) => "caller",
            None => "credential",
        },
        None => "",
    };
    let api = rule.clone();
    names.put(&mut rule);
    Listed { scope, on: parent::text(rule.parent.as_ref().map(Parent::from)), rule: api }
}

/// A rule, the scope that it is in, and what it belongs to.
pub(super) struct Listed {
    scope: &'static str,
    on: String,
    rule: mg::Rule,
}

impl Listed {
    /// For JSON, which has no words.
    pub(super) fn without_names(rule: mg::Rule) -> Self {
        listed(&Names::default(), rule)
    }
}

impl Serialize for Listed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.rule.serialize(serializer)
    }
}

impl Row for Listed {
    const COLUMNS: &'static [&'static str] =
        &["name", "id", "scope", "on", "priority", "effect", "observe", "when", "notes", "owner"];
    const WIDE: &'static [&'static str] = &["id", "scope"];

    fn cells(&self) -> Vec<String> {
        let rule = &self.rule;
        vec![
            rule.name.clone(),
            rule.id.clone(),
            self.scope.to_owned(),
            self.on.clone(),
            rule.priority.to_string(),
            plain(rule.effect().as_str_name(), "EFFECT_"),
            if rule.observe { "observe" } else { "" }.to_owned(),
            matching::text(rule.when.as_ref()),
            rule.notes.clone(),
            rule.owner.clone(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use rr_contract::wire::management::credential::Usage;

    use super::*;

    fn rule(id: &str, priority: u32, parent: Of) -> mg::Rule {
        mg::Rule {
            id: id.to_owned(),
            name: id.to_owned(),
            priority,
            parent: Some(parent),
            ..mg::Rule::default()
        }
    }

    #[test]
    fn rules_stand_in_the_order_in_which_they_are_reported() {
        let on = || Of::Proxy("px_1".to_owned());
        let mut rules = [rule("b", 5, on()), rule("d", 0, on()), rule("a", 5, on()), rule("c", 900, on())];
        rules.sort_by(by_priority);
        assert_eq!(rules.map(|rule| rule.id), ["c", "a", "b", "d"]);
    }

    #[test]
    fn a_row_says_the_scope_and_the_name_and_keeps_the_id_of_what_is_not_seen() {
        let mut names = Names::default();
        names.learn([("px_1".to_owned(), "echo".to_owned())]);
        let upstream = Some(Usage::Upstream(mg::Upstream::default()));
        let caller = Some(Usage::Caller(mg::Caller::default()));
        names.learn_credentials([("cr_1", "key", upstream), ("cr_2", "app", caller)].map(
            |(id, name, usage)| mg::Credential {
                id: id.to_owned(),
                name: name.to_owned(),
                usage,
                ..mg::Credential::default()
            },
        ));
        for (parent, scope, on) in [
            (Of::Proxy("px_1".to_owned()), "proxy", "proxy/echo"),
            (Of::Target("tg_1".to_owned()), "target", "target/tg_1"),
            (Of::Credential("cr_1".to_owned()), "upstream", "credential/key"),
            (Of::Credential("cr_2".to_owned()), "caller", "credential/app"),
            (Of::Credential("cr_3".to_owned()), "credential", "credential/cr_3"),
        ] {
            let cells = listed(&names, rule("a", 7, parent)).cells();
            assert_eq!((cells[2].as_str(), cells[3].as_str()), (scope, on));
        }
        let observing = mg::Rule { observe: true, effect: 2, ..rule("a", 7, Of::Proxy("px_1".to_owned())) };
        assert_eq!(listed(&names, observing).cells()[4..7], ["7", "deny", "observe"]);
    }
}
