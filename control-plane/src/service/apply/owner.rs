//! Whose a resource of a set is: which label it bears after the set is applied.
//!
//! A document that names an owner takes the resource over. The label of the whole set does not: two sets that both have
//! a resource of one name would take it from each other at each run, and prune it.

use rr_contract::document::preview::Label;

use crate::document::Resource;

/// Gives a resource the label that it is to bear, or says why it cannot have it. `label` is that of the set, and
/// `before` the one that the resource has if it is there.
pub(super) fn settle<R: Resource>(resource: &mut R, label: &str, before: Option<&str>) -> Result<(), String> {
    let fields = resource.fields();
    let name = fields.name.map(|name| name.clone()).unwrap_or_default();
    let noun = R::NOUN.title();
    let Some(own) = fields.owner else { return Ok(()) };
    let label = if own.is_empty() { label } else { own.as_str() }.to_owned();
    let is_own = !own.is_empty();
    if let (Some(before), Some(of)) = (before, Label::parse(&label))
        && Label::parse(before).is_none_or(|was| was.name != of.name)
    {
        // A preview is removed with all that bears its label.
        return Err(format!("is that of a {noun} which is none of this preview: name the preview otherwise"));
    }
    let is_preview = Label::parse(&label).is_some();
    match before.filter(|before| !before.is_empty()) {
        Some(before) if label.is_empty() => before.clone_into(own),
        Some(before) if !is_own && !is_preview && before != label => {
            return Err(format!(
                "is that of a {noun} with the owner {before:?}, which another set may manage: apply with \
                 that owner, or write `owner: {label}` in the document of {name} to take it over"
            ));
        }
        _ => *own = label,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rr_contract::wire::management::Target;

    use super::*;

    fn settled(own: &str, label: &str, before: Option<&str>) -> Result<String, String> {
        let mut target = Target { name: "t".to_owned(), owner: own.to_owned(), ..Target::default() };
        settle(&mut target, label, before).map(|()| target.owner)
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
            assert!(settled("preview/p:10", "", Some(before)).is_err(), "{before:?}");
        }
    }
}
