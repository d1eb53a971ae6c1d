//! Whose a resource of a set is: which label it bears after the set is applied.
//!
//! A document that names an owner takes the resource over. The label of the whole set does not: two sets that both have
//! a resource of one name would take it from each other at each run, and prune it.

use rr_contract::document::preview::{Label, is_reserved};

use crate::document::Resource;

/// Why a resource cannot have a label, and the field that says so.
type Refused = (&'static str, String);

/// Gives a resource the label that it is to bear, or says why it cannot have it. `label` is that of the set, and
/// `before` the one that the resource has if it is there.
pub(super) fn settle<R: Resource>(
    resource: &mut R,
    label: &str,
    before: Option<&str>,
) -> Result<(), Refused> {
    let fields = resource.fields();
    let name = fields.name.map(|name| name.clone()).unwrap_or_default();
    let noun = R::NOUN.title();
    let Some(own) = fields.owner else { return Ok(()) };
    if !own.is_empty() {
        // A document that was exported says what is so.
        if is_reserved(own) && before != Some(own.as_str()) {
            let what = "is a label of a preview, which only the whole set has: leave it out, and apply with \
                        `--preview NAME` what is to be removed at its end";
            return Err(("owner", what.to_owned()));
        }
        return Ok(());
    }
    if let (Some(before), Some(of)) = (before, Label::parse(label)) {
        // A preview is removed with all that bears its label.
        if !of.is_of_same(before) {
            let what = format!(
                "is that of a {noun} which is none of this preview: name the preview otherwise, or delete the {noun}"
            );
            return Err(("name", what));
        }
        label.clone_into(own);
        return Ok(());
    }
    match before.filter(|before| !before.is_empty()) {
        Some(before) if label.is_empty() => before.clone_into(own),
        Some(before) if before != label => {
            let what = format!(
                "is that of a {noun} with the owner {before:?}, which another set may manage: apply with \
                 that owner, or write `owner: {label}` in the document of {name} to take it over"
            );
            return Err(("name", what));
        }
        _ => label.clone_into(own),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rr_contract::wire::management::Target;

    use super::*;

    fn settled(own: &str, label: &str, before: Option<&str>) -> Result<String, String> {
        let mut target = Target { name: "t".to_owned(), owner: own.to_owned(), ..Target::default() };
        let settled = settle(&mut target, label, before).map(|()| target.owner);
        settled.map_err(|(field, what)| format!("{field} {what}"))
    }

    #[test]
    fn a_label_of_the_set_is_for_what_is_new_or_nobodys_or_its_own() {
        for (before, after) in [(None, "git"), (Some(""), "git"), (Some("git"), "git")] {
            assert_eq!(settled("", "git", before), Ok(after.to_owned()), "{before:?}");
        }
        assert_eq!(settled("", "", None), Ok(String::new()));
    }

    #[test]
    fn a_set_without_a_label_leaves_the_one_that_is_there() {
        assert_eq!(settled("", "", Some("git")), Ok("git".to_owned()));
    }

    #[test]
    fn a_set_takes_over_nothing_of_another_unless_the_document_says_so() {
        let error = settled("", "typo", Some("git")).expect_err("another's");
        assert!(error.contains("\"git\"") && error.contains("owner: typo"), "{error}");
        assert_eq!(settled("typo", "", Some("git")), Ok("typo".to_owned()));
        assert_eq!(settled("typo", "typo", Some("git")), Ok("typo".to_owned()));
    }

    #[test]
    fn a_preview_takes_over_nothing_and_its_end_can_be_moved() {
        assert_eq!(settled("", "preview/p:10", Some("preview/p:5")), Ok("preview/p:10".to_owned()));
        for before in ["", "git", "preview/q:5"] {
            assert!(settled("", "preview/p:10", Some(before)).is_err(), "{before:?}");
        }
    }

    #[test]
    fn a_document_gives_no_label_of_a_preview_by_itself() {
        for before in [None, Some(""), Some("git"), Some("preview/q:5"), Some("preview/p:5")] {
            for label in ["", "git", "preview/p:10"] {
                let error = settled("preview/p:10", label, before).expect_err("only the set");
                assert!(error.starts_with("owner") && error.contains("--preview"), "{error}");
            }
            assert!(settled("preview/no-label", "", before).is_err(), "{before:?}");
        }
        assert_eq!(settled("preview/p:10", "", Some("preview/p:10")), Ok("preview/p:10".to_owned()));
        assert_eq!(settled("git", "", Some("preview/p:10")), Ok("git".to_owned()), "is kept for good");
    }
}
