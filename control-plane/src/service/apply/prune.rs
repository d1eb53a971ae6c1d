//! What an apply removes: resources that bear the label of the set and are not in it, and previews at their end.
//!
//! Asks nobody whether they may go: the right to apply is the right to remove what bears the label of the set. The
//! invariant: nothing goes that a remaining resource refers to.

use std::collections::HashSet;

use rr_contract::document::preview::Label;
use rr_contract::wire::management as wire;

use super::list;
use crate::noun::Noun;
use crate::service::directory::Directory;
use crate::service::{Reason, ServiceError};
use crate::store::{self, Txn, resource_row};

/// Removes a preview that has ended: what bears a label of it, with whichever end, and what belongs to that. Leaves it
/// where an apply has moved its end meanwhile, and refuses if a remaining resource refers to a part of it.
pub(in crate::service) async fn remove_ended(
    txn: &mut Txn,
    org: &str,
    preview: &Label,
    now: i64,
) -> Result<(), ServiceError> {
    let directory = Directory::whole(txn, org).await?;
    let gone = pruned(&directory, &preview.to_string(), &HashSet::new());
    let mut labels = gone.iter().filter_map(|(_, row)| Label::parse(&row.owner));
    if !labels.all(|label| label.has_ended(now)) {
        return Ok(());
    }
    remove_pruned(txn, org, gone, &mut wire::ApplyOutcome::default()).await
}

/// The resources with the owner's label that the set does not contain. A preview is one whatever its end: where that
/// was moved, what bears the former one is of it.
pub(super) fn pruned(
    directory: &Directory,
    owner: &str,
    wanted: &HashSet<(Noun, String)>,
) -> Vec<(Noun, resource_row::Model)> {
    let mut gone = Vec::new();
    let preview = Label::parse(owner);
    let is_theirs = |of: &str| of == owner || preview.as_ref().is_some_and(|label| label.is_of_same(of));
    for noun in Noun::CONFIGURATION {
        let rows = directory.rows(noun).filter(|row| is_theirs(&row.owner));
        gone.extend(
            rows.filter(|row| !wanted.contains(&(noun, row.id.clone()))).map(|row| (noun, row.clone())),
        );
    }
    gone.sort_by(|a, b| (a.0, &a.1.id).cmp(&(b.0, &b.1.id)));
    gone
}

/// Removes them with the resources that belong to them; refuses if a remaining resource refers to one.
pub(super) async fn remove_pruned(
    txn: &mut Txn,
    org: &str,
    mut gone: Vec<(Noun, resource_row::Model)>,
    outcome: &mut wire::ApplyOutcome,
) -> Result<(), ServiceError> {
    let mut going: HashSet<(Noun, String)> = gone.iter().map(|(noun, row)| (*noun, row.id.clone())).collect();
    let mut next = 0;
    while let Some((noun, row)) = gone.get(next).cloned() {
        next += 1;
        for (part, user, id) in store::resource::users(txn, noun, &row.id).await? {
            if going.contains(&(user, id.clone())) || txn.renames(user, &id, noun, &row.id) {
                continue;
            }
            let Some(found) = store::resource::by_id(txn, user, &id).await? else { continue };
            if !part.goes_along() {
                return Err(ServiceError::Refused {
                    reason: Reason::InUse,
                    text: format!(
                        "{} {:?} is not in the set and would be removed, but {} {:?} uses it",
                        noun.title(),
                        row.name,
                        user.title(),
                        found.name
                    ),
                    preconditions: Vec::new(),
                });
            }
            going.insert((user, id));
            gone.push((user, found));
        }
    }
    let credentials: Vec<String> =
        gone.iter().filter(|(noun, _)| *noun == Noun::Credential).map(|(_, row)| row.id.clone()).collect();
    if !credentials.is_empty() {
        store::secret::retire(txn, org, credentials);
    }
    for (noun, row) in gone {
        outcome.deleted += 1;
        list(outcome, wire::ApplyAction::Delete, noun, &row.id, &row.name);
        txn.remove(noun, row);
    }
    Ok(())
}
