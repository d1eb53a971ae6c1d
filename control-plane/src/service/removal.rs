//! A resource on its way out, with what belongs to it and with those of its users that may go too.

use std::collections::BTreeSet;

use super::error::Precondition;
use super::resource::Place;
use super::{Reason, ServiceError, rules};
use crate::document::Part;
use crate::noun::Noun;
use crate::store::{self, Txn, resource_row};

/// Stages the removal of a resource, of what belongs to it and of those of its users that may go with it.
pub(super) async fn remove(
    txn: &mut Txn,
    place: Place<'_>,
    noun: Noun,
    row: resource_row::Model,
    cascade: &[String],
) -> Result<(), ServiceError> {
    let (name, id) = (row.name.clone(), row.id.clone());
    let org = match place.id {
        "" => None,
        id => super::org::by_reference(txn, id).await?,
    };
    let mut going: BTreeSet<(Noun, String)> = BTreeSet::from([(noun, id.clone())]);
    let mut rows = vec![(noun, row)];
    let mut held_by: Vec<(Noun, resource_row::Model)> = Vec::new();
    let mut next = 0;
    while let Some((noun, id)) = rows.get(next).map(|(noun, row)| (*noun, row.id.clone())) {
        next += 1;
        for (part, user, user_id) in store::resource::users(txn, noun, &id).await? {
            if going.contains(&(user, user_id.clone())) || part == Part::Granted {
                continue;
            }
            let found = store::resource::by_id(txn, user, &user_id).await?;
            let Some(row) = found else { continue };
            let allowed = part.goes_along()
                || cascade.iter().any(|it| {
                    *it == row.id || it.split_once('/') == Some((user.collection(), row.name.as_str()))
                });
            if allowed && !part.goes_along() {
                rules::may_take(place, org.as_ref().map(|org| &org.document), user, &row)?;
            }
            if allowed {
                going.insert((user, user_id));
                rows.push((user, row));
            } else {
                held_by.push((user, row));
            }
        }
    }
    held_by.retain(|(noun, row)| !going.contains(&(*noun, row.id.clone())));
    if !held_by.is_empty() {
        return Err(in_use(noun, &name, &id, &held_by));
    }
    let credentials: Vec<String> =
        rows.iter().filter(|(noun, _)| *noun == Noun::Credential).map(|(_, row)| row.id.clone()).collect();
    if !credentials.is_empty() {
        store::secret::retire(txn, place.id, credentials);
    }
    for (noun, row) in rows {
        if noun == Noun::Token {
            store::token::revoke(txn, &row.id);
        }
        txn.remove(noun, row);
    }
    Ok(())
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
            "{} {name:?} is used by {}; change or delete those first, or name them in `cascade`",
            noun.title(),
            listed.join(", ")
        ),
        preconditions: preconditions.collect(),
    }
}
