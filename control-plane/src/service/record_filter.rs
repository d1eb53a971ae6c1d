//! The filter of lists of records, parsed once. Names stay names: whoever lists looks them up.

use super::ServiceError;
use super::list_filter::{LABELS, is_label, only_equal, plain, refused, terms, word};
use crate::store::request::PathTerm;
use crate::store::resource::Compare;

const FIELDS: &str = "status, code, path, rule, region, node, caller";
/// As much of a path as is searched.
const PATH: usize = 1024;

/// What records have to be.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RecordFilter {
    pub(super) statuses: Vec<(Compare, i32)>,
    pub(super) codes: Vec<(Compare, String)>,
    pub(super) paths: Vec<PathTerm>,
    /// Names or ids.
    pub(super) rule: Option<String>,
    pub(super) region: Option<String>,
    pub(super) caller: Option<String>,
    /// An id.
    pub(super) node: Option<String>,
    /// Of the caller: fields and values.
    pub(super) labels: Vec<(String, String)>,
}

/// The terms of a filter on records.
pub(super) fn parse(text: &str) -> Result<RecordFilter, ServiceError> {
    let mut filter = RecordFilter::default();
    for (field, how, value) in terms(text)? {
        let only_equal = || only_equal(field, how);
        match field {
            "status" => filter.statuses.push((how, status(value)?)),
            "code" if matches!(how, Compare::Equal | Compare::NotEqual) => {
                filter.codes.push((how, plain(value)?))
            }
            "code" => return Err(refused("compares code, which takes only `=` and `!=`")),
            "path" => {
                only_equal()?;
                filter.paths.push(path(value)?);
            }
            "rule" | "region" | "node" | "caller" => {
                only_equal()?;
                let place = match field {
                    "rule" => &mut filter.rule,
                    "region" => &mut filter.region,
                    "node" => &mut filter.node,
                    _ => &mut filter.caller,
                };
                if place.replace(plain(value)?).is_some() {
                    return Err(refused(format!("names two values of {field}, and a record has one")));
                }
            }
            field if is_label(field) => {
                only_equal()?;
                filter.labels.push((field.to_owned(), word(field, value)?));
            }
            _ => return Err(refused(format!("names field {field:?}: the fields are {FIELDS}, {LABELS}"))),
        }
    }
    Ok(filter)
}

fn status(value: &str) -> Result<i32, ServiceError> {
    // `status < 1000` is a way to say it.
    let status = value.parse().ok().filter(|status| (100..=1000).contains(status));
    status.ok_or_else(|| {
        refused(format!("holds {value:?}, which is no status: write a number, as `status >= 500`"))
    })
}

fn path(value: &str) -> Result<PathTerm, ServiceError> {
    let (text, is_beginning) = match value.strip_suffix('*') {
        Some(text) => (text, true),
        None => (value, false),
    };
    if !text.starts_with('/') || text.contains('\0') || text.len() > PATH {
        let what = "which is no path: write /v1/users, or /v1/* for all that begin so";
        return Err(refused(format!("holds {value:?}, {what}")));
    }
    Ok(if is_beginning { PathTerm::BeginsWith(text.to_owned()) } else { PathTerm::Is(text.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_by_all_that_they_have() {
        let filter = parse(
            "status >= 500 AND status<600 AND code != ok AND path = /v1/* AND path=/v1/a AND rule = no-admin AND \
             region = eu AND node = nd_1 AND caller = app AND tags=gold",
        )
        .expect("good");
        let wanted = RecordFilter {
            statuses: vec![(Compare::GreaterOrEqual, 500), (Compare::Less, 600)],
            codes: vec![(Compare::NotEqual, "ok".to_owned())],
            paths: vec![PathTerm::BeginsWith("/v1/".to_owned()), PathTerm::Is("/v1/a".to_owned())],
            rule: Some("no-admin".to_owned()),
            region: Some("eu".to_owned()),
            caller: Some("app".to_owned()),
            node: Some("nd_1".to_owned()),
            labels: vec![("tags".to_owned(), "gold".to_owned())],
        };
        assert_eq!(filter, wanted);
        assert_eq!(parse(" ").expect("good"), RecordFilter::default());
    }

    #[test]
    fn what_finds_nothing_by_mistake_is_refused() {
        for (text, said) in [
            ("status = 5xx", "no status"),
            ("status = 99", "no status"),
            ("code > a", "only `=` and `!=`"),
            ("code = a%", "not a name"),
            ("path = v1", "no path"),
            ("path != /v1", "only `=`"),
            ("path = /a\0", "no path"),
            (&format!("path = /{}", "a".repeat(PATH)), "no path"),
            ("caller = a AND caller = b", "two values of caller"),
            ("node = a AND node = b", "two values of node"),
            ("caller = a%", "not a name"),
            ("rule < a", "only `=`"),
            ("method = GET", "the fields are status"),
            ("status = 500 OR status = 502", "joined by ` AND `"),
            ("path = /a, status = 500", "joined by ` AND `"),
        ] {
            let error = parse(text).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
