//! What tables say of credentials.

use super::*;

fn cell<T: Row>(item: &T, heading: &str) -> String {
    let at = T::COLUMNS.iter().position(|column| *column == heading).expect("a column");
    item.cells().swap_remove(at)
}

#[test]
fn a_caller_that_was_never_used_says_so_and_what_can_have_no_use_says_nothing() {
    let caller = mg::Credential {
        usage: Some(Usage::Caller(mg::Caller::default())),
        last_used_at: None,
        ..mg::Credential::default()
    };
    assert_eq!(cell(&caller, "last used"), "never");
    let at = Some(pbjson_types::Timestamp { seconds: 1_764_000_000, nanos: 0 });
    let used = mg::Credential { last_used_at: at, ..caller.clone() };
    assert_eq!(cell(&used, "last used"), "2025-11-24T16:00:00.000Z");
    let upstream =
        mg::Credential { usage: Some(Usage::Upstream(mg::Upstream::default())), ..mg::Credential::default() };
    assert_eq!(cell(&upstream, "last used"), "");
    let past = Past(caller);
    assert_eq!((cell(&past, "last used"), cell(&past, "use")), (String::new(), "caller".to_owned()));
}
