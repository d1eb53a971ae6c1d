//! A JSON text as values in their places, with all digits of its numbers.
//!
//! The invariant: no object in it has a key twice. Whoever reads such a text otherwise takes the first or the last.

use std::borrow::Cow;

use serde_json::{Map, Number};

use crate::json::{JsonError, Reader, Value};

/// A value. Borrows of the text what it can.
#[derive(Debug)]
pub(super) enum Tree<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    Text(Cow<'a, str>),
    List(Box<[Tree<'a>]>),
    /// By key.
    Object(Box<[(Cow<'a, str>, Tree<'a>)]>),
}

/// A step from a value to one in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(Box<str>),
    At(usize),
}

/// Why a text is no tree.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoTree {
    Json(JsonError),
    /// The place of the object, the innermost step first.
    Twice(Vec<Step>),
    /// It has more values than may be.
    TooMany,
}

impl From<JsonError> for NoTree {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

/// A tree, and how deep it is.
pub(super) struct Read<'a> {
    pub(super) tree: Tree<'a>,
    pub(super) depth: u32,
}

/// Reads a text of at most so many values.
pub(super) fn read(text: &[u8], values: u32) -> Result<Read<'_>, NoTree> {
    let mut reading = Reading { reader: Reader::new(text)?, left: values, depth: 0, deepest: 0 };
    let tree = reading.value()?;
    reading.reader.end()?;
    Ok(Read { tree, depth: reading.deepest + 1 })
}

struct Reading<'a> {
    reader: Reader<'a>,
    left: u32,
    depth: u32,
    deepest: u32,
}

impl<'a> Reading<'a> {
    fn value(&mut self) -> Result<Tree<'a>, NoTree> {
        self.left = self.left.checked_sub(1).ok_or(NoTree::TooMany)?;
        Ok(match self.reader.value()? {
            Value::Object => {
                self.enter();
                let mut members = Vec::new();
                while let Some(key) = self.reader.member(members.is_empty())? {
                    let key = key.unescaped();
                    let value = self.value().map_err(|fault| within(fault, || Step::Key((*key).into())))?;
                    members.push((key, value));
                }
                self.depth -= 1;
                if !members.is_sorted_by(|(one, _), (other, _)| one < other) {
                    members.sort_by(|(one, _), (other, _)| one.cmp(other));
                    if let Some(twice) = members.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                        return Err(NoTree::Twice(vec![Step::Key((*twice[0].0).into())]));
                    }
                }
                Tree::Object(members.into())
            }
            Value::Array => {
                self.enter();
                let mut items = Vec::new();
                while self.reader.element(items.is_empty())? {
                    let item = self.value().map_err(|fault| within(fault, || Step::At(items.len())))?;
                    items.push(item);
                }
                self.depth -= 1;
                Tree::List(items.into())
            }
            Value::Text(text) => Tree::Text(text.unescaped()),
            Value::Number(number) => Tree::Number(number),
            Value::Word("true") => Tree::Bool(true),
            Value::Word("false") => Tree::Bool(false),
            Value::Word(_) => Tree::Null,
        })
    }

    fn enter(&mut self) {
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
    }
}

fn within(fault: NoTree, step: impl FnOnce() -> Step) -> NoTree {
    match fault {
        NoTree::Twice(mut steps) => {
            steps.push(step());
            NoTree::Twice(steps)
        }
        other => other,
    }
}

/// A place as a JSON pointer (RFC 6901); the innermost step comes first.
pub(super) fn pointer(steps: &[Step]) -> String {
    steps.iter().rev().fold(String::new(), |mut pointer, step| {
        match step {
            Step::Key(key) => {
                pointer.push('/');
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            Step::At(at) => pointer.push_str(&format!("/{at}")),
        }
        pointer
    })
}

impl Tree<'_> {
    /// A member of an object.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        let at = members.binary_search_by(|(name, _)| (**name).cmp(key)).ok()?;
        Some(&members[at].1)
    }

    /// What a JSON pointer (RFC 6901) leads to.
    pub(super) fn at(&self, pointer: &str) -> Option<&Self> {
        pointer.split('/').skip(1).try_fold(self, |tree, step| {
            let key = step.replace("~1", "/").replace("~0", "~");
            match tree {
                Self::List(items) => key.parse::<usize>().ok().and_then(|at| items.get(at)),
                other => other.get(&key),
            }
        })
    }

    /// The text that it is.
    pub(super) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// Where the value at an address is.
    pub(super) fn find(&self, address: usize) -> Option<Vec<Step>> {
        if std::ptr::from_ref(self).addr() == address {
            return Some(Vec::new());
        }
        let below = |value: &Self, step: &dyn Fn() -> Step| {
            let mut steps = value.find(address)?;
            steps.push(step());
            Some(steps)
        };
        match self {
            Self::Object(members) => {
                members.iter().find_map(|(key, value)| below(value, &|| Step::Key((**key).into())))
            }
            Self::List(items) => {
                items.iter().enumerate().find_map(|(at, value)| below(value, &|| Step::At(at)))
            }
            _ => None,
        }
    }

    /// The same as others read it. Numbers are rounded: whoever minds has looked at them.
    pub(super) fn to_value(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(bool) => (*bool).into(),
            Self::Number(text) => text.parse::<Number>().map_or(serde_json::Value::Null, Into::into),
            Self::Text(text) => (**text).into(),
            Self::List(items) => items.iter().map(Self::to_value).collect(),
            Self::Object(members) => {
                let members = members.iter().map(|(key, value)| ((**key).to_owned(), value.to_value()));
                members.collect::<Map<_, _>>().into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_there_twice_is_found_however_it_is_written_and_where() {
        for (text, wanted) in [
            (r#"{"a":1,"a":1}"#, "/a"),
            (r#"{"b":[0,{"x/y":{"z":1,"a":2,"\u007a":3}}]}"#, "/b/1/x~1y/z"),
            (r#"{"":0,"":1}"#, "/"),
        ] {
            let Err(NoTree::Twice(steps)) = read(text.as_bytes(), 100) else { panic!("{text}") };
            assert_eq!(pointer(&steps), wanted);
        }
        let found_all = read(br#"{"b":[1.50,"\u0061"],"a":{"b":null,"c":true}}"#, 100).expect("a tree");
        assert_eq!(found_all.depth, 3);
        assert_eq!(found_all.tree.to_value().to_string(), r#"{"a":{"b":null,"c":true},"b":[1.5,"a"]}"#);
        let found = found_all.tree.get("b").expect("a list");
        let Tree::List(items) = found else { panic!("{found:?}") };
        assert_eq!(
            pointer(&found_all.tree.find(std::ptr::from_ref(&items[1]).addr()).expect("it is there")),
            "/b/1"
        );
    }

    #[test]
    fn values_are_counted_and_depth_is_bounded() {
        assert!(matches!(read(b"[1,2,3]", 3), Err(NoTree::TooMany)));
        assert!(read(b"[1,2,3]", 4).is_ok());
        let deep = [b"[".repeat(65), b"]".repeat(65)].concat();
        assert!(matches!(read(&deep, 100), Err(NoTree::Json(JsonError::Depth))));
        assert!(matches!(read(b"[1,]", 100), Err(NoTree::Json(JsonError::Syntax(_)))));
    }
}
