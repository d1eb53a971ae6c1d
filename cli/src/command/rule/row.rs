//! A rule as a row of a table: in words, with the scope that it is in and the name of what it belongs to.
//!
//! In JSON it is the message as the API has it. What a narrowed token may not see keeps its id.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential::Usage;
use rr_contract::wire::management::rule::Parent as Of;
use serde::{Serialize, Serializer};
use tonic::Code;

use crate::command::{credential, proxy, target};
use crate::connect::Connection;
use crate::flags::matching;
use crate::flags::page::Listing;
use crate::flags::parent::{self, Parent};
use crate::print::{Row, plain};

/// Up to how many parents of a kind are asked for one by one.
const FEW: usize = 8;

/// The order in which a scope reports its rules: the highest priority first, then by id.
pub(super) fn by_priority(one: &mg::Rule, other: &mg::Rule) -> Ordering {
    (Reverse(one.priority), &one.id).cmp(&(Reverse(other.priority), &other.id))
}

/// Names of what rules belong to, by id, and which credentials are upstream credentials.
#[derive(Default)]
pub(super) struct Parents {
    names: BTreeMap<String, String>,
    upstream: BTreeSet<String>,
}

impl Parents {
    /// What these rules belong to.
    pub(super) async fn of(connection: &Connection, org: &str, rules: &[mg::Rule]) -> Result<Self> {
        let mut ids: [BTreeSet<&str>; 3] = Default::default();
        for parent in rules.iter().filter_map(|rule| rule.parent.as_ref()) {
            match parent {
                Of::Proxy(id) => ids[0].insert(id),
                Of::Target(id) => ids[1].insert(id),
                Of::Credential(id) => ids[2].insert(id),
            };
        }
        let [proxies, targets, credentials] = ids;
        let mut found = Self::default();
        let all = Listing::default();
        if proxies.len() <= FEW {
            for id in proxies {
                let ask = mg::GetProxyRequest { org: org.to_owned(), proxy: id.to_owned(), revision: 0 };
                let mut stub = mg::proxy_service_client::ProxyServiceClient::new(connection.clone());
                let one = seen(stub.get_proxy(ask).await)?.and_then(|reply| reply.proxy);
                found.names.extend(one.map(|one| (one.id, one.name)));
            }
        } else {
            let all = proxy::list(connection.clone(), org, &all).await?;
            found.names.extend(all.into_iter().map(|one| (one.id, one.name)));
        }
        if targets.len() <= FEW {
            for id in targets {
                let ask = mg::GetTargetRequest { org: org.to_owned(), target: id.to_owned(), revision: 0 };
                let mut stub = mg::target_service_client::TargetServiceClient::new(connection.clone());
                let one = seen(stub.get_target(ask).await)?.and_then(|reply| reply.target);
                found.names.extend(one.map(|one| (one.id, one.name)));
            }
        } else {
            let all = target::list(connection.clone(), org, &all).await?;
            found.names.extend(all.into_iter().map(|one| (one.id, one.name)));
        }
        if credentials.len() <= FEW {
            for id in credentials {
                let ask =
                    mg::GetCredentialRequest { org: org.to_owned(), credential: id.to_owned(), revision: 0 };
                let mut stub =
                    mg::credential_service_client::CredentialServiceClient::new(connection.clone());
                let one = seen(stub.get_credential(ask).await)?.and_then(|reply| reply.credential);
                found.learn(one);
            }
        } else {
            found.learn(credential::list(connection.clone(), org, &all).await?);
        }
        Ok(found)
    }

    fn learn(&mut self, credentials: impl IntoIterator<Item = mg::Credential>) {
        for one in credentials {
            if matches!(one.usage, Some(Usage::Upstream(_))) {
                self.upstream.insert(one.id.clone());
            }
            self.names.insert(one.id, one.name);
        }
    }

    /// A rule with the words for where it stands.
    pub(super) fn listed(&self, rule: mg::Rule) -> Listed {
        let name = |id: &String| self.names.get(id).unwrap_or(id).clone();
        let (scope, on) = match &rule.parent {
            Some(Of::Proxy(id)) => ("proxy", Some(Parent::Proxy(name(id)))),
            Some(Of::Target(id)) => ("target", Some(Parent::Target(name(id)))),
            Some(Of::Credential(id)) => {
                let scope = match (self.upstream.contains(id), self.names.contains_key(id)) {
                    (true, _) => "upstream",
                    (false, true) => "caller",
                    (false, false) => "credential",
                };
                (scope, Some(Parent::Credential(name(id))))
            }
            None => ("", None),
        };
        Listed { scope, on: parent::text(on), rule }
    }
}

/// `None` for what is not there any more, or is not for this token to see.
fn seen<T>(answer: Result<tonic::Response<T>, tonic::Status>) -> Result<Option<T>> {
    match answer {
        Ok(reply) => Ok(Some(reply.into_inner())),
        Err(status) if matches!(status.code(), Code::NotFound | Code::PermissionDenied) => Ok(None),
        Err(status) => Err(status.into()),
    }
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
        Parents::default().listed(rule)
    }
}

impl Serialize for Listed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.rule.serialize(serializer)
    }
}

impl Row for Listed {
    const COLUMNS: &'static [&'static str] =
        &["name", "id", "scope", "on", "priority", "effect", "observe", "when", "owner", "notes"];
    const WIDE: &'static [&'static str] = &["id"];

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
            rule.owner.clone(),
            rule.notes.clone(),
        ]
    }
}

#[cfg(test)]
mod tests {
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
        let mut parents = Parents::default();
        parents.names.insert("px_1".to_owned(), "echo".to_owned());
        let upstream = Some(Usage::Upstream(mg::Upstream::default()));
        let caller = Some(Usage::Caller(mg::Caller::default()));
        parents.learn([("cr_1", "key", upstream), ("cr_2", "app", caller)].map(|(id, name, usage)| {
            mg::Credential { id: id.to_owned(), name: name.to_owned(), usage, ..mg::Credential::default() }
        }));
        for (parent, scope, on) in [
            (Of::Proxy("px_1".to_owned()), "proxy", "proxy/echo"),
            (Of::Target("tg_1".to_owned()), "target", "target/tg_1"),
            (Of::Credential("cr_1".to_owned()), "upstream", "credential/key"),
            (Of::Credential("cr_2".to_owned()), "caller", "credential/app"),
            (Of::Credential("cr_3".to_owned()), "credential", "credential/cr_3"),
        ] {
            let cells = parents.listed(rule("a", 7, parent)).cells();
            assert_eq!((cells[2].as_str(), cells[3].as_str()), (scope, on));
        }
        let observing = mg::Rule { observe: true, effect: 2, ..rule("a", 7, Of::Proxy("px_1".to_owned())) };
        assert_eq!(parents.listed(observing).cells()[4..7], ["7", "deny", "observe"]);
    }
}
