//! What `apply`, `diff` and `org diff` say of a change: a line for each, and one for each field of an update.
//!
//! Finds no difference itself: documents are compared by the contract's code.

use anyhow::Result;
use pbjson_types::Timestamp;
use rr_contract::document::preview::Label;
use rr_contract::wire::management as mg;

use crate::print::{count, plain, time};

/// Before the field of a change.
const INDENT: &str = "        ";

/// One field: `base_url: "a" -> "b"`.
pub(super) fn line(field: &mg::FieldChange) -> String {
    let side = |value: &Option<String>| match value {
        None => "unset".to_owned(),
        Some(value) if field.field == "owner" => preview(value).unwrap_or_else(|| value.clone()),
        Some(value) => value.clone(),
    };
    format!("{}: {} -> {}", field.field, side(&field.before), side(&field.after))
}

/// The label of a preview as people read it, with the time of its end.
fn preview(owner: &str) -> Option<String> {
    let label = Label::parse(owner.trim_matches('"'))?;
    let ends = Timestamp { seconds: i64::try_from(label.ends).ok()?, nanos: 0 };
    Some(format!("preview {} until {}", label.name, time(Some(&ends))))
}

/// The changes of a set, and how many there are that the answer does not list.
pub(super) fn show(outcome: &mg::ApplyOutcome, mut out: impl FnMut(&str) -> Result<()>) -> Result<()> {
    for change in &outcome.changes {
        let action = plain(change.action().as_str_name(), "APPLY_ACTION_");
        out(&format!("{action}  {} {}", change.kind, change.name))?;
        for field in &change.fields {
            out(&format!("{INDENT}{}", line(field)))?;
        }
        if change.more_fields > 0 {
            let more = count(u64::from(change.more_fields), "more field");
            out(&format!("{INDENT}… and {more}"))?;
        }
    }
    let shown = outcome.changes.len() as u64;
    let more = (outcome.created + outcome.updated + outcome.deleted).saturating_sub(shown);
    if more > 0 {
        out(&format!("… and {}", count(more, "more change")))?;
    }
    Ok(())
}

/// How many changes there are of each kind, and of which revision.
pub(super) fn summary(outcome: &mg::ApplyOutcome) -> String {
    let (created, updated, deleted) = (outcome.created, outcome.updated, outcome.deleted);
    let counts = format!(
        "{created} to create, {updated} to update, {deleted} to delete, {} unchanged",
        outcome.unchanged
    );
    if created + updated + deleted == 0 {
        format!("nothing to change: {} unchanged", outcome.unchanged)
    } else if outcome.revision == 0 {
        format!("{counts}; compared with revision {}", outcome.base_revision)
    } else {
        let counts = counts.replace(" to create", " created").replace(" to update", " updated");
        format!("{}; revision {}", counts.replace(" to delete", " deleted"), outcome.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_that_ends_later_says_until_when_and_another_owner_stays_as_it_is() {
        let owner = |before: &str, after: &str| mg::FieldChange {
            field: "owner".into(),
            before: Some(before.into()),
            after: Some(after.into()),
        };
        assert_eq!(
            line(&owner(r#""preview/pr1:1795948630""#, r#""preview/pr1:1795862530""#)),
            "owner: preview pr1 until 2026-11-29T10:37:10.000Z -> preview pr1 until 2026-11-28T10:42:10.000Z"
        );
        assert_eq!(line(&owner(r#""ci""#, r#""preview/pr1:""#)), r#"owner: "ci" -> "preview/pr1:""#);
        let field = mg::FieldChange { field: "notes".into(), ..owner(r#""preview/pr1:1795948630""#, "7") };
        assert_eq!(line(&field), r#"notes: "preview/pr1:1795948630" -> 7"#);
    }

    #[test]
    fn a_plan_says_what_would_be_and_a_result_what_was_done() {
        let created = mg::ApplyChange {
            action: mg::ApplyAction::Create.into(),
            kind: "proxy".into(),
            name: "echo".into(),
            ..mg::ApplyChange::default()
        };
        let field = |field: &str, before: Option<&str>, after: Option<&str>| mg::FieldChange {
            field: field.into(),
            before: before.map(Into::into),
            after: after.map(Into::into),
        };
        let updated = mg::ApplyChange {
            action: mg::ApplyAction::Update.into(),
            kind: "target".into(),
            name: "pay".into(),
            fields: vec![
                field("base_url", Some(r#""a""#), Some(r#""b""#)),
                field("balance", None, Some("1")),
            ],
            more_fields: 3,
            ..mg::ApplyChange::default()
        };
        let planned = mg::ApplyOutcome {
            base_revision: 7,
            created: 2,
            updated: 1,
            unchanged: 3,
            changes: vec![created, updated],
            ..mg::ApplyOutcome::default()
        };
        let mut lines = Vec::new();
        show(&planned, |line| {
            lines.push(line.to_owned());
            Ok(())
        })
        .expect("lines");
        assert_eq!(
            lines,
            [
                "create  proxy echo",
                "update  target pay",
                r#"        base_url: "a" -> "b""#,
                "        balance: unset -> 1",
                "        … and 3 more fields",
                "… and 1 more change",
            ]
        );
        assert_eq!(
            summary(&planned),
            "2 to create, 1 to update, 0 to delete, 3 unchanged; compared with revision 7"
        );
        let done = mg::ApplyOutcome { revision: 8, ..planned };
        assert_eq!(summary(&done), "2 created, 1 updated, 0 deleted, 3 unchanged; revision 8");
        let same = mg::ApplyOutcome { unchanged: 3, ..mg::ApplyOutcome::default() };
        assert_eq!(summary(&same), "nothing to change: 3 unchanged");
    }
}
