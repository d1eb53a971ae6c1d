//! Paths into a JSON document: `a.b[*].c`.
//!
//! A step is a key, or `*` for whatever is there: each member of an object and each element of an array.
//! `[*]` and `.*` are the same. Keys with other characters are quoted like JSON texts: `a["b.c"]`. Keys are
//! compared after unescaping.

use std::fmt;
use std::str::FromStr;

/// How many steps a path may have: as deep as a document may be.
pub const DEPTH_MAX: usize = 64;
/// The longest path, in bytes.
pub const LENGTH_MAX: usize = 1024;

/// One step down.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// To the member of an object that has this key.
    Key(Box<str>),
    /// To each member or element.
    Any,
}

/// Where in a document. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JsonPath(Box<[Step]>);

/// A text that is no path; columns are counted in characters from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJsonPath {
    /// Nothing there, or between two dots.
    #[error("lacks a key at column {0}; write it like a.b[*].c")]
    NoKey(usize),
    /// `$` at the start.
    #[error("starts with $; leave it out, a path starts at the document's root")]
    Root,
    /// `**` or `..`.
    #[error("has ** or .. at column {0}; * is one step, and there is no sign for many")]
    Descent(usize),
    /// `[0]`.
    #[error("picks an element by its number at column {0}; [*] stands for every element")]
    Number(usize),
    /// A bracket that holds neither `*` nor a quoted key.
    #[error("has a bracket at column {0} that holds neither * nor a quoted key like [\"a.b\"]")]
    Bracket(usize),
    /// A character that needs quotes.
    #[error("has {1:?} at column {0}; quote the key: [\"a b\"]")]
    Character(usize, char),
    /// Too many steps.
    #[error("has more than {DEPTH_MAX} steps")]
    TooDeep,
    /// Too many bytes.
    #[error("is longer than {LENGTH_MAX} bytes")]
    TooLong,
}

impl JsonPath {
    /// The steps, from the root.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }
}

impl FromStr for JsonPath {
    type Err = InvalidJsonPath;

    fn from_str(text: &str) -> Result<Self, InvalidJsonPath> {
        if text.len() > LENGTH_MAX {
            return Err(InvalidJsonPath::TooLong);
        }
        if text == "$" || text.starts_with("$.") || text.starts_with("$[") {
            return Err(InvalidJsonPath::Root);
        }
        let column = |rest: &str| text[..text.len() - rest.len()].chars().count() + 1;
        let mut steps = Vec::new();
        let mut rest = text;
        loop {
            let step;
            if let Some(inner) = rest.strip_prefix('[') {
                (step, rest) = bracket(inner, column(rest))?;
            } else {
                if !steps.is_empty() {
                    rest = rest.strip_prefix('.').ok_or(InvalidJsonPath::Bracket(column(rest)))?;
                }
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                step = plain(&rest[..end], rest, &column)?;
                rest = &rest[end..];
            }
            steps.push(step);
            if steps.len() > DEPTH_MAX {
                return Err(InvalidJsonPath::TooDeep);
            }
            if rest.is_empty() {
                return Ok(Self(steps.into()));
            }
        }
    }
}

fn plain(key: &str, rest: &str, column: &dyn Fn(&str) -> usize) -> Result<Step, InvalidJsonPath> {
    if key == "*" {
        return Ok(Step::Any);
    }
    if key == "**" || (key.is_empty() && rest.starts_with('.') && column(rest) > 1) {
        return Err(InvalidJsonPath::Descent(column(rest)));
    }
    if key.is_empty() {
        return Err(InvalidJsonPath::NoKey(column(rest)));
    }
    match key.char_indices().find(|(_, c)| !is_plain(*c)) {
        Some((at, c)) => Err(InvalidJsonPath::Character(column(&rest[at..]), c)),
        None => Ok(Step::Key(key.into())),
    }
}

fn is_plain(c: char) -> bool {
    !(c.is_control() || c.is_whitespace() || matches!(c, '.' | '[' | ']' | '"' | '\'' | '\\' | '*'))
}

/// What stands behind an opening bracket, and the rest behind the closing one.
fn bracket(inner: &str, column: usize) -> Result<(Step, &str), InvalidJsonPath> {
    if let Some(rest) = inner.strip_prefix("*]") {
        return Ok((Step::Any, rest));
    }
    if inner.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(InvalidJsonPath::Number(column));
    }
    if !inner.starts_with('"') {
        return Err(InvalidJsonPath::Bracket(column));
    }
    let mut texts = serde_json::Deserializer::from_str(inner).into_iter::<String>();
    let Some(Ok(key)) = texts.next() else { return Err(InvalidJsonPath::Bracket(column)) };
    let rest = inner[texts.byte_offset()..].strip_prefix(']').ok_or(InvalidJsonPath::Bracket(column))?;
    Ok((Step::Key(key.into()), rest))
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Any => f.write_str("[*]")?,
                Step::Key(key)
                    if !key.is_empty() && key.chars().all(is_plain) && !(i == 0 && &**key == "$") =>
                {
                    write!(f, "{}{key}", if i > 0 { "." } else { "" })?;
                }
                Step::Key(key) => {
                    write!(f, "[{}]", serde_json::to_string(key).map_err(|_| fmt::Error)?)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(text: &str) -> Step {
        Step::Key(text.into())
    }

    #[test]
    fn a_path_is_keys_and_stars() {
        let check = |text: &str, steps: &[Step]| {
            assert_eq!(text.parse::<JsonPath>().expect(text).steps(), steps, "{text}");
        };
        check("a", &[key("a")]);
        check("a.b[*].c", &[key("a"), key("b"), Step::Any, key("c")]);
        check("a.*.c", &[key("a"), Step::Any, key("c")]);
        check("[*].id", &[Step::Any, key("id")]);
        check("*", &[Step::Any]);
        check(r#"a["b.c"]["\u0064\"]"]"#, &[key("a"), key("b.c"), key("d\"]")]);
        check(r#"[""].$ref"#, &[key(""), key("$ref")]);
        check("naïve-key_1.0", &[key("naïve-key_1"), key("0")]);
    }

    #[test]
    fn what_is_no_path_is_refused_where_it_goes_wrong() {
        for (text, wanted) in [
            ("", InvalidJsonPath::NoKey(1)),
            ("a.", InvalidJsonPath::NoKey(3)),
            (".a", InvalidJsonPath::NoKey(1)),
            ("$.a", InvalidJsonPath::Root),
            ("$", InvalidJsonPath::Root),
            ("a..b", InvalidJsonPath::Descent(3)),
            ("a.**", InvalidJsonPath::Descent(3)),
            ("a[0]", InvalidJsonPath::Number(2)),
            ("a[b]", InvalidJsonPath::Bracket(2)),
            ("ä[\"b]", InvalidJsonPath::Bracket(2)),
            ("a[*]b", InvalidJsonPath::Bracket(5)),
            ("a b", InvalidJsonPath::Character(2, ' ')),
            ("a.b*", InvalidJsonPath::Character(4, '*')),
            (&vec!["a"; 65].join("."), InvalidJsonPath::TooDeep),
            (&"a".repeat(1025), InvalidJsonPath::TooLong),
        ] {
            assert_eq!(text.parse::<JsonPath>(), Err(wanted), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(keys in prop::collection::vec(prop::option::of("\\PC{0,4}|[a.$\"\\\\\\[*]{0,3}"), 1..8)) {
            let steps = keys.into_iter().map(|key| key.map_or(Step::Any, |key| Step::Key(key.into())));
            let path = JsonPath(steps.collect());
            prop_assert_eq!(path.to_string().parse(), Ok(path));
        }

        #[test]
        fn no_text_panics(text in "[a.$\"\\\\\\[\\]*0ä ]{0,12}") {
            if let Ok(path) = text.parse::<JsonPath>() {
                prop_assert!(!path.steps().is_empty());
            }
        }
    }
}
