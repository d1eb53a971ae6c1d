//! The filter and order of list calls, parsed once.

use pbjson_types::Timestamp;
use rr_contract::model::time;

use super::ServiceError;
use crate::document::{TAG, is_tag};
use crate::noun::Noun;
use crate::store::micros;
use crate::store::resource::{Compare, Sort, Term};

const TERMS_MOST: usize = 10;
/// Of credentials, beside these.
pub(super) const LABELS: &str = "tags and metadata.NAME";
const FIELDS: &str = "name, owner, uses, created_at and updated_at";

/// What is used by its name.
const NAMED: [Noun; 5] = [Noun::Target, Noun::Credential, Noun::Proxy, Noun::Region, Noun::User];

/// A filter whose `uses` is still a name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) terms: Vec<Term>,
    /// Names or ids of resources that the listed ones refer to.
    pub(super) uses: Vec<String>,
}

/// The terms of a filter on resources of a noun.
pub(super) fn parse(text: &str, noun: Noun) -> Result<Filter, ServiceError> {
    let mut filter = Filter::default();
    for (field, how, value) in terms(text)? {
        let only_equal = |how| only_equal(field, how);
        match field {
            "name" => match value.strip_suffix('*') {
                Some(prefix) => {
                    only_equal(how)?;
                    if prefix.contains('_') {
                        return Err(refused(format!("holds {prefix:?}, which is not a name")));
                    }
                    plain(prefix)?;
                    filter.terms.push(Term::NamePrefix(prefix.to_owned()));
                }
                None => filter.terms.push(Term::Name(how, plain(value)?)),
            },
            "owner" => match value.strip_suffix('*') {
                Some(prefix) => {
                    only_equal(how)?;
                    if prefix.contains('_') {
                        return Err(refused(format!("holds {prefix:?}, which is not a label")));
                    }
                    filter.terms.push(Term::OwnerPrefix(plain(prefix)?));
                }
                None => filter.terms.push(Term::Owner(how, plain(value)?)),
            },
            "uses" => {
                only_equal(how)?;
                let value = plain(value)?;
                if value.contains('/') && of_kind(&value).is_none() {
                    return Err(refused(format!(
                        "holds {value:?}, which is no name with its kind: write `uses = pay`, or `uses = proxy/pay`"
                    )));
                }
                filter.uses.push(value);
            }
            field if noun == Noun::Credential && is_label(field) => {
                only_equal(how)?;
                filter.terms.push(Term::Label(field.to_owned(), word(field, value)?));
            }
            "created_at" => filter.terms.push(Term::CreatedAt(how, at(value)?)),
            "updated_at" => filter.terms.push(Term::UpdatedAt(how, at(value)?)),
            _ if noun == Noun::Credential => {
                return Err(refused(format!("names field {field:?}: the fields are {FIELDS}, {LABELS}")));
            }
            _ => return Err(refused(format!("names field {field:?}: the fields are {FIELDS}"))),
        }
    }
    Ok(filter)
}

/// Whether it is a field of records alone.
fn is_of_record(field: &str) -> bool {
    matches!(field, "caller" | "status" | "code" | "path" | "rule" | "region" | "node")
}

/// Whether it is a field of words that credentials are found by.
pub(super) fn is_label(field: &str) -> bool {
    field == "tags" || field.strip_prefix("metadata.").is_some_and(|name| !name.is_empty())
}

/// What a credential can have in a field: another value is no mistake, and finds nothing.
pub(super) fn word(field: &str, value: &str) -> Result<String, ServiceError> {
    if field == "tags" && !is_tag(value) {
        return Err(refused(format!("holds tag {value:?}, which {TAG}")));
    }
    Ok(value.to_owned())
}

/// The terms of a text: none of an empty one, and a bounded number.
pub(super) fn terms(text: &str) -> Result<Vec<(&str, Compare, &str)>, ServiceError> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let terms: Vec<&str> = text.split(" AND ").take(TERMS_MOST + 1).collect();
    if terms.len() > TERMS_MOST {
        return Err(refused(format!("must have at most {TERMS_MOST} terms")));
    }
    terms.into_iter().map(split).collect()
}

pub(super) fn only_equal(field: &str, how: Compare) -> Result<(), ServiceError> {
    match how {
        Compare::Equal => Ok(()),
        _ => Err(refused(format!("compares {field}, which takes only `=`"))),
    }
}

fn split(term: &str) -> Result<(&str, Compare, &str), ServiceError> {
    const OPERATORS: [(&str, Compare); 6] = [
        ("!=", Compare::NotEqual),
        ("<=", Compare::LessOrEqual),
        (">=", Compare::GreaterOrEqual),
        ("=", Compare::Equal),
        ("<", Compare::Less),
        (">", Compare::Greater),
    ];
    let at = term
        .find(['=', '!', '<', '>'])
        .ok_or_else(|| refused(format!("has no operator in {term:?}: write `name = value`")))?;
    let (field, rest) = term.split_at(at);
    let (operator, how) = OPERATORS
        .into_iter()
        .find(|(operator, _)| rest.starts_with(operator))
        .ok_or_else(|| refused(format!("has no operator in {term:?}: write `name = value`")))?;
    let value = rest[operator.len()..].trim();
    let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    // Of what is between quotation marks, all is the value.
    if quoted.is_none_or(|value| value.contains('"')) && is_joined(value) {
        return Err(refused(format!(
            "holds several terms in {term:?}: terms are joined by ` AND `, and a value with such a word stands in quotation marks"
        )));
    }
    Ok((field.trim(), how, quoted.unwrap_or(value)))
}

/// Whether a value goes on with another term, which something else than ` AND ` joins to it.
fn is_joined(value: &str) -> bool {
    const JOINERS: [&str; 6] = [" or ", " and ", " || ", " && ", ", ", "; "];
    let is_term = |rest: &str| {
        rest.find(['=', '!', '<', '>']).is_some_and(|at| {
            let field = rest[..at].trim();
            matches!(field, "name" | "owner" | "uses" | "created_at" | "updated_at")
                || is_of_record(field)
                || is_label(field)
        })
    };
    let lower = value.to_ascii_lowercase();
    value.contains(" OR ")
        || JOINERS.iter().any(|joiner| {
            lower.match_indices(joiner).any(|(at, joiner)| is_term(&lower[at + joiner.len()..]))
        })
}

/// A name, label or id holds no character that has a meaning in a pattern.
pub(super) fn plain(value: &str) -> Result<String, ServiceError> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '/' | ':');
    // An id has an underscore behind its prefix, and nothing else has one.
    let (prefix, rest) = value.split_once('_').unwrap_or(("", value));
    if value.len() <= 100 && rest.chars().all(good) && prefix.chars().all(good) {
        return Ok(value.to_owned());
    }
    Err(refused(format!("holds {value:?}, which is not a name, label or id")))
}

fn at(value: &str) -> Result<i64, ServiceError> {
    let parsed: Result<Timestamp, _> = serde_json::from_value(serde_json::Value::String(value.to_owned()));
    let wrong = || refused(format!("holds {value:?}, which is not a time: write 2026-01-31T12:00:00Z"));
    let parsed = parsed.map_err(|_| wrong())?;
    Ok(micros(time::system_time(&parsed).map_err(|_| wrong())?))
}

/// The sort key of a list, and whether the order is descending.
pub(super) fn order(text: &str) -> Result<(Sort, bool), ServiceError> {
    let mut words = text.split_whitespace();
    let sort = match words.next() {
        None | Some("name") => Sort::Name,
        Some("created_at") => Sort::CreatedAt,
        Some("updated_at") => Sort::UpdatedAt,
        Some(other) => {
            return Err(ServiceError::field(
                "order_by",
                format!("names {other:?}: a list is ordered by name, created_at or updated_at"),
            ));
        }
    };
    match (words.next(), words.next()) {
        (None, None) => Ok((sort, false)),
        (Some("asc"), None) => Ok((sort, false)),
        (Some("desc"), None) => Ok((sort, true)),
        _ => Err(ServiceError::field("order_by", "takes only `asc` or `desc` after the field")),
    }
}

/// The kind that a reference such as `proxy/pay` or `proxies/pay` names, and the name or id in it.
fn of_kind(reference: &str) -> Option<(Noun, &str)> {
    let (kind, name) = reference.split_once('/')?;
    let noun = NAMED.into_iter().find(|noun| noun.text() == kind || noun.collection() == kind)?;
    (!name.is_empty() && !name.contains('/')).then_some((noun, name))
}

/// Which nouns a reference of `uses` may be of, and its name or id: the kind that it names, that of the prefix of an id, or
/// all that have names.
pub(super) fn referred(reference: &str) -> (Vec<Noun>, &str) {
    match of_kind(reference) {
        Some((noun, name)) => (vec![noun], name),
        None => (nouns_of(reference), reference),
    }
}

fn nouns_of(reference: &str) -> Vec<Noun> {
    let by_prefix: Vec<Noun> =
        Noun::ALL.into_iter().filter(|noun| reference.starts_with(noun.prefix())).collect();
    if !by_prefix.is_empty() {
        return by_prefix;
    }
    NAMED.to_vec()
}

pub(super) fn refused(reason: impl Into<String>) -> ServiceError {
    ServiceError::field("filter", reason)
}

#[cfg(test)]
mod tests {
    use super::super::record_filter;
    use super::*;

    #[test]
    fn terms_are_read_with_and_without_spaces_and_quotes() {
        let filter =
            parse("name = pay* AND owner=git:main AND uses = \"echo\" AND name!=payroll", Noun::Proxy)
                .expect("good");
        assert_eq!(
            filter.terms,
            [
                Term::NamePrefix("pay".into()),
                Term::Owner(Compare::Equal, "git:main".into()),
                Term::Name(Compare::NotEqual, "payroll".into()),
            ]
        );
        assert_eq!(filter.uses, ["echo"]);
        let owned = parse("owner = preview/*", Noun::Rule).expect("good");
        assert_eq!(owned.terms, [Term::OwnerPrefix("preview/".into())]);
        assert_eq!(
            parse("created_at >= 1970-01-01T00:00:01Z", Noun::Proxy).expect("good").terms,
            [Term::CreatedAt(Compare::GreaterOrEqual, 1_000_000)]
        );
    }

    #[test]
    fn what_is_no_filter_is_refused_with_what_is_wrong() {
        for (text, said) in [
            ("colour = red", "fields are name"),
            ("name", "no operator"),
            ("name ! x", "no operator"),
            ("created_at > yesterday", "not a time"),
            ("uses != x", "only `=`"),
            ("name = a%b", "not a name"),
            ("name = a_*", "not a name"),
            ("owner = a_*", "not a label"),
            ("owner != a*", "only `=`"),
            ("tags = gold", "fields are name"),
            ("name = a OR name = b", "joined by ` AND `"),
            ("created_at > 1970-01-01T00:00:01Z and owner = b", "joined by ` AND `"),
        ] {
            let error = parse(text, Noun::Proxy).err().map(|error| error.to_string()).unwrap_or_default();
            // A name with an underscore would be a pattern of its own.
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn credentials_are_found_by_words() {
        let label = |field: &str, value: &str| Term::Label(field.to_owned(), value.to_owned());
        let filter = parse("tags = gold AND metadata.team = a b", Noun::Credential).expect("good");
        assert_eq!(filter.terms, [label("tags", "gold"), label("metadata.team", "a b")]);
        for text in ["tags > gold", "tags != gold", "metadata. = x", "status = 200", "tags"] {
            assert!(parse(text, Noun::Credential).is_err(), "{text}");
        }
    }

    /// It found nothing, and nobody was told why.
    #[test]
    fn what_joins_terms_in_another_way_is_refused_with_the_way_to_join_them() {
        for text in [
            "tags = gold OR tags = x",
            "tags = gold OR x",
            "tags = gold or tags = x",
            "tags = gold and tags = x",
            "tags = gold || metadata.team=x",
            "tags=gold && name = a*",
            "tags = gold, tags = x",
            "metadata.team = a OR metadata.team = b",
            "metadata.team = research and development and tags = x",
            "metadata.team = \"a\" OR metadata.team = \"b\"",
        ] {
            for error in [parse(text, Noun::Credential).map(drop), record_filter::parse(text).map(drop)] {
                let error = error.err().map(|error| error.to_string()).unwrap_or_default();
                assert!(error.contains("joined by ` AND `"), "{text}: {error}");
            }
        }
        for text in ["tags = Gold", "tags = gold x", "tags =", "tags = \"a OR b\""] {
            let error =
                parse(text, Noun::Credential).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains("1 to 63") && record_filter::parse(text).is_err(), "{text}: {error}");
        }
        for (text, value) in [
            ("metadata.team = research and development", "research and development"),
            ("metadata.team = \"a OR tags = b\"", "a OR tags = b"),
            ("metadata.url = https://a.example/?b=c, or d", "https://a.example/?b=c, or d"),
        ] {
            let filter = record_filter::parse(text).expect(text);
            assert_eq!(filter.labels[0].1, value);
        }
    }

    /// A filter by the name of one kind found nothing, and nobody was told why.
    #[test]
    fn what_is_used_can_be_named_with_its_kind() {
        for (text, nouns, name) in [
            ("proxy/pay", vec![Noun::Proxy], "pay"),
            ("targets/pay", vec![Noun::Target], "pay"),
            ("pay", NAMED.to_vec(), "pay"),
            ("px_1", vec![Noun::Proxy], "px_1"),
        ] {
            assert_eq!(parse(&format!("uses = {text}"), Noun::Rule).expect(text).uses, [text]);
            assert_eq!(referred(text), (nouns, name), "{text}");
        }
        for text in ["rule/x", "colour/x", "proxy/", "proxy/a/b"] {
            let error = parse(&format!("uses = {text}"), Noun::Rule).map(drop);
            let error = error.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains("`uses = proxy/pay`"), "{text}: {error}");
        }
    }

    #[test]
    fn an_order_is_a_field_and_a_way() {
        assert_eq!(order("").expect("good"), (Sort::Name, false));
        assert_eq!(order("updated_at desc").expect("good"), (Sort::UpdatedAt, true));
        assert!(order("name up").is_err() && order("size").is_err() && order("name desc desc").is_err());
    }
}
