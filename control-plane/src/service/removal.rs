//! Removal of a resource, with the resources that belong to it and the users of it that the caller names.
//!
//! A user that works without it stays: a proxy of several caller credentials loses the one that is removed.

use std::collections::BTreeSet;

use rr_contract::wire::management as wire;

use super::draft::restage;
use super::error::Precondition;
use super::plan::{CREDENTIAL_STAYS_GONE, NO_ROLLBACK, Plan, change, names_what_stays_gone};
use super::scope::{self, Scope};
use super::{Reason, ServiceError, rights};
use crate::document::Part;
use crate::noun::Noun;
use crate::store::{self, Stored, Txn, resource_row};

/// The resource to remove, and the conditions of its removal.
#[derive(Debug, Default)]
pub(crate) struct Removal {
    /// Name or id.
    pub(crate) reference: String,
    pub(crate) etag: String,
    pub(crate) cascade: Vec<String>,
    /// Only list what would be removed.
    pub(crate) dry_run: bool,
    /// The plan that the caller agreed to; empty for any.
    pub(crate) expected_plan: String,
}

/// A resource that is removed.
struct Going {
    noun: Noun,
    row: resource_row::Model,
    /// Empty when a rollback brings it back.
    irreversible: String,
}

/// Stages the removal of a resource, of the resources that belong to it, and of its users in `cascade`. Returns the
/// changes that it staged, the resource itself first.
pub(super) async fn remove(
    txn: &mut Txn,
    scope: Scope<'_>,
    noun: Noun,
    row: resource_row::Model,
    cascade: &[String],
) -> Result<Plan, ServiceError> {
    let (name, id) = (row.name.clone(), row.id.clone());
    let org = match scope.org {
        "" => None,
        id => scope::org(txn, id).await?,
    };
    let org = org.as_ref().map(|org| &org.document);
    let mut known: BTreeSet<(Noun, String)> = BTreeSet::from([(noun, id.clone())]);
    let irreversible = match noun {
        Noun::Credential => CREDENTIAL_STAYS_GONE,
        _ if scope.org.is_empty() => NO_ROLLBACK,
        _ => "",
    };
    let mut going = vec![Going { noun, row, irreversible: irreversible.to_owned() }];
    let mut staying: Vec<(Stored<wire::Proxy>, String)> = Vec::new();
    let mut held_by: Vec<(Noun, resource_row::Model)> = Vec::new();
    let mut next = 0;
    while let Some(Going { noun, row, irreversible }) = going.get(next) {
        let (noun, id, name) = (*noun, row.id.clone(), row.name.clone());
        let irreversible =
            if irreversible.is_empty() { String::new() } else { names_what_stays_gone(noun, &name) };
        next += 1;
        for (part, user, user_id) in store::resource::users(txn, noun, &id).await? {
            if known.contains(&(user, user_id.clone())) || part == Part::Granted {
                continue;
            }
            let found = store::resource::by_id(txn, user, &user_id).await?;
            let Some(row) = found else { continue };
            let named = cascade.iter().any(|it| {
                *it == row.id
                    || it.split_once('/').is_some_and(|(kind, name)| {
                        name == row.name && (kind == user.text() || kind == user.collection())
                    })
            });
            if !part.goes_along() && !named {
                held_by.push((user, row));
                continue;
            }
            known.insert((user, user_id));
            if part == Part::Caller
                && let Some(proxy) = without_caller(txn, &row, &id).await?
            {
                rights::may_detach(scope, org, &row)?;
                staying.push((proxy, format!("loses caller credential {name:?} and keeps the others")));
                continue;
            }
            if !part.goes_along() {
                rights::may_take(scope, org, user, &row)?;
            }
            going.push(Going { noun: user, row, irreversible: irreversible.clone() });
        }
    }
    held_by.retain(|(noun, row)| !known.contains(&(*noun, row.id.clone())));
    if !held_by.is_empty() {
        return Err(in_use(noun, &name, &id, &held_by));
    }
    let mut plan = Plan::default();
    let credentials: Vec<String> =
        going.iter().filter(|it| it.noun == Noun::Credential).map(|it| it.row.id.clone()).collect();
    if !credentials.is_empty() {
        store::secret::retire(txn, scope.org, credentials);
    }
    for Going { noun, row, irreversible } in going {
        let told = change(wire::ChangeAction::Delete, noun, &row.id, &row.name);
        plan.add(wire::PlannedChange { irreversible, ..told });
        if noun == Noun::Token {
            store::token::revoke(txn, &row.id);
        }
        txn.remove(noun, row);
    }
    for (proxy, detail) in staying {
        let told = change(wire::ChangeAction::Update, Noun::Proxy, &proxy.row.id, &proxy.row.name);
        plan.add(wire::PlannedChange { detail, ..told });
        let name = proxy.row.name.clone();
        restage(txn, proxy.row, proxy.document, name)?;
    }
    Ok(plan)
}

/// A proxy without one of its caller credentials; none when that is its only one.
async fn without_caller(
    txn: &Txn,
    row: &resource_row::Model,
    caller: &str,
) -> Result<Option<Stored<wire::Proxy>>, ServiceError> {
    let mut proxy = store::resource::with_document::<wire::Proxy>(txn, row.clone()).await?;
    proxy.document.caller_credentials.retain(|id| id != caller);
    Ok((!proxy.document.caller_credentials.is_empty()).then_some(proxy))
}

fn in_use(noun: Noun, name: &str, id: &str, users: &[(Noun, resource_row::Model)]) -> ServiceError {
    const TOLD: usize = 20;
    let mut listed: Vec<String> =
        users.iter().take(TOLD).map(|(noun, row)| format!("{} {:?}", noun.title(), row.name)).collect();
    if users.len() > TOLD {
        listed.push(format!("{} more", users.len() - TOLD));
    }
    let preconditions = users.iter().take(TOLD).map(|(user, row)| Precondition {
        subject: format!("{}/{}", user.collection(), row.id),
        text: format!("{} {:?} uses {} {id}", user.title(), row.name, noun.title()),
    });
    ServiceError::Refused {
        reason: Reason::InUse,
        text: format!(
            "{} {name:?} is used by {}: change or delete those first, or name them in `cascade`{}",
            noun.title(),
            listed.join(", "),
            users.first().map(|(noun, row)| format!(", as {}/{}", noun.text(), row.name)).unwrap_or_default()
        ),
        preconditions: preconditions.collect(),
    }
}
