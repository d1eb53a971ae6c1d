//! A body as the validator sees it: each look is counted, and no number is rounded unseen.
//!
//! Where the validator would show a value in a fault it gets `null`: nobody is told the value.

use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::ops::ControlFlow;

use jsonschema::JsonType;
use jsonschema::json::{Array, Json, JsonNumber, Node, NodeIdentity, Object};
use serde_json::{Number, Value};

use super::number::{Decimal, double};
use super::tree::Tree;
use super::work::{Stop, Work, stop};

/// The representation.
pub(super) struct Body;

/// A value, and who counts.
#[derive(Clone, Copy)]
pub(super) struct Handle<'a> {
    pub(super) tree: &'a Tree<'a>,
    pub(super) work: &'a Work,
}

#[derive(Clone, Copy)]
pub(super) struct Members<'a> {
    members: &'a [(Cow<'a, str>, Tree<'a>)],
    work: &'a Work,
}

#[derive(Clone, Copy)]
pub(super) struct Items<'a> {
    items: &'a [Tree<'a>],
    work: &'a Work,
}

pub(super) struct Spelled<'a> {
    text: &'a str,
    address: usize,
}

pub(super) struct EachMember<'a>(std::slice::Iter<'a, (Cow<'a, str>, Tree<'a>)>, &'a Work);

pub(super) struct EachItem<'a>(std::slice::Iter<'a, Tree<'a>>, &'a Work);

impl Json for Body {
    type Node<'a> = Handle<'a>;
    type PreparedKey = Box<str>;
    type StringBuffer = Work;

    /// A tree has an end.
    const ACYCLIC: bool = true;

    fn prepare_key(key: &str) -> Box<str> {
        key.into()
    }

    fn with_string_node<T>(work: &mut Work, text: &str, f: impl FnOnce(Handle<'_>) -> T) -> T {
        f(Handle { tree: &Tree::Text(Cow::Borrowed(text)), work })
    }
}

impl<'a> Node<'a, Body> for Handle<'a> {
    type Object = Members<'a>;
    type Array = Items<'a>;
    type Number = Spelled<'a>;

    fn as_object(&self) -> Option<Members<'a>> {
        self.work.look(1);
        let Tree::Object(members) = self.tree else { return None };
        Some(Members { members, work: self.work })
    }

    fn as_array(&self) -> Option<Items<'a>> {
        self.work.look(1);
        let Tree::List(items) = self.tree else { return None };
        Some(Items { items, work: self.work })
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        let Tree::Text(text) = self.tree else {
            self.work.look(1);
            return None;
        };
        self.work.text(text);
        Some(Cow::Borrowed(text))
    }

    fn as_number(&self) -> Option<Spelled<'a>> {
        let Tree::Number(text) = self.tree else {
            self.work.look(1);
            return None;
        };
        self.work.look(4 + text.len() as u64 / 8);
        Some(Spelled { text, address: std::ptr::from_ref(self.tree).addr() })
    }

    fn as_boolean(&self) -> Option<bool> {
        self.work.look(1);
        if let Tree::Bool(bool) = self.tree { Some(*bool) } else { None }
    }

    fn is_null(&self) -> bool {
        self.work.look(1);
        matches!(self.tree, Tree::Null)
    }

    fn json_type(&self) -> JsonType {
        self.work.look(1);
        match self.tree {
            Tree::Null => JsonType::Null,
            Tree::Bool(_) => JsonType::Boolean,
            Tree::Number(_) => JsonType::Number,
            Tree::Text(_) => JsonType::String,
            Tree::List(_) => JsonType::Array,
            Tree::Object(_) => JsonType::Object,
        }
    }

    fn string_length(&self) -> Option<u64> {
        let Tree::Text(text) = self.tree else {
            self.work.look(1);
            return None;
        };
        self.work.look(1 + text.len() as u64 / 32);
        Some(text.chars().count() as u64)
    }

    fn equals_value(&self, expected: &Value) -> bool {
        equals(self.tree, expected, self.work)
    }

    fn to_value(&self) -> Cow<'a, Value> {
        Cow::Owned(Value::Null)
    }

    fn identity(&self) -> Option<NodeIdentity> {
        Some(NodeIdentity::new(std::ptr::from_ref(self.tree).addr()))
    }
}

impl<'a> Object<'a, Body> for Members<'a> {
    type Node = Handle<'a>;
    type MemberName = &'a str;
    type MembersIter = EachMember<'a>;

    fn len(&self) -> usize {
        self.members.len()
    }

    fn get(&self, key: &Box<str>) -> Option<Handle<'a>> {
        self.work.look(2);
        let at = self.members.binary_search_by(|(name, _)| (**name).cmp(key)).ok()?;
        self.work.value();
        Some(Handle { tree: &self.members[at].1, work: self.work })
    }

    fn members(&self) -> EachMember<'a> {
        EachMember(self.members.iter(), self.work)
    }

    fn try_for_each_name_node<B>(
        &self,
        _: &mut Work,
        mut f: impl FnMut(Handle<'_>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        self.members.iter().try_for_each(|(name, _)| {
            self.work.value();
            f(Handle { tree: &Tree::Text(Cow::Borrowed(name)), work: self.work })
        })
    }
}

impl<'a> Iterator for EachMember<'a> {
    type Item = (&'a str, Handle<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, tree) = self.0.next()?;
        self.1.member(name);
        Some((name, Handle { tree, work: self.1 }))
    }
}

impl<'a> Array<'a, Body> for Items<'a> {
    type Node = Handle<'a>;
    type ElementsIter = EachItem<'a>;

    fn len(&self) -> usize {
        self.items.len()
    }

    fn elements(&self) -> EachItem<'a> {
        EachItem(self.items.iter(), self.work)
    }

    #[expect(clippy::mutable_key_type, reason = "who counts the work is no part of the key")]
    fn is_unique(&self) -> bool {
        self.work.look(self.items.len() as u64);
        let mut seen = HashSet::with_capacity(self.items.len());
        self.items.iter().all(|tree| seen.insert(Hashed(Handle { tree, work: self.work })))
    }
}

impl<'a> Iterator for EachItem<'a> {
    type Item = Handle<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let tree = self.0.next()?;
        self.1.value();
        Some(Handle { tree, work: self.1 })
    }
}

impl JsonNumber for Spelled<'_> {
    fn as_u64(&self) -> Option<u64> {
        if self.text == "-0" { Some(0) } else { self.text.parse().ok() }
    }

    fn as_i64(&self) -> Option<i64> {
        self.text.parse().ok()
    }

    fn as_f64(&self) -> Option<f64> {
        Some(double(self.text).unwrap_or_else(|| stop(Stop::Inexact(self.address))))
    }

    fn as_str(&self) -> Cow<'_, str> {
        Cow::Borrowed(self.text)
    }

    fn to_number(&self) -> Cow<'_, Number> {
        let number = self.text.parse().unwrap_or_else(|_| stop(Stop::Inexact(self.address)));
        Cow::Owned(number)
    }

    fn is_integer(&self) -> bool {
        !self.text.contains(['.', 'e', 'E']) || Decimal::of(self.text).is_integer()
    }
}

/// An item of a list without two that are the same.
struct Hashed<'a>(Handle<'a>);

impl Hash for Hashed<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Handle { tree, work } = self.0;
        work.look(1);
        std::mem::discriminant(tree).hash(state);
        match tree {
            Tree::Null => {}
            Tree::Bool(bool) => bool.hash(state),
            Tree::Number(text) => {
                work.look(2 + text.len() as u64 / 8);
                Decimal::of(text).hash(state);
            }
            Tree::Text(text) => {
                work.look(text.len() as u64 / 16);
                text.hash(state);
            }
            Tree::List(items) => {
                items.len().hash(state);
                items.iter().for_each(|tree| Hashed(Handle { tree, work }).hash(state));
            }
            Tree::Object(members) => {
                members.len().hash(state);
                for (name, tree) in members {
                    work.look(1 + name.len() as u64 / 16);
                    name.hash(state);
                    Hashed(Handle { tree, work }).hash(state);
                }
            }
        }
    }
}

impl PartialEq for Hashed<'_> {
    fn eq(&self, other: &Self) -> bool {
        same(self.0.tree, other.0.tree, self.0.work)
    }
}

impl Eq for Hashed<'_> {}

fn same(one: &Tree<'_>, other: &Tree<'_>, work: &Work) -> bool {
    work.look(1);
    match (one, other) {
        (Tree::Null, Tree::Null) => true,
        (Tree::Bool(one), Tree::Bool(other)) => one == other,
        (Tree::Number(one), Tree::Number(other)) => {
            work.look(4 + (one.len() + other.len()) as u64 / 8);
            one == other || Decimal::of(one) == Decimal::of(other)
        }
        (Tree::Text(one), Tree::Text(other)) => {
            work.look(one.len().min(other.len()) as u64 / 32);
            one == other
        }
        (Tree::List(one), Tree::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other, work))
        }
        (Tree::Object(one), Tree::Object(other)) => {
            let is_same = |((name, one), (of_other, other)): (&(Cow<'_, str>, _), &(Cow<'_, str>, _))| {
                name == of_other && same(one, other, work)
            };
            one.len() == other.len() && one.iter().zip(other).all(is_same)
        }
        _ => false,
    }
}

/// Whether a value is the one that a schema names.
fn equals(tree: &Tree<'_>, expected: &Value, work: &Work) -> bool {
    work.look(1);
    match (tree, expected) {
        (Tree::Null, Value::Null) => true,
        (Tree::Bool(bool), Value::Bool(expected)) => bool == expected,
        (Tree::Number(text), Value::Number(expected)) => {
            work.look(8 + text.len() as u64 / 8);
            let expected = expected.to_string();
            *text == expected || Decimal::of(text) == Decimal::of(&expected)
        }
        (Tree::Text(text), Value::String(expected)) => {
            work.look(text.len().min(expected.len()) as u64 / 32);
            text == expected
        }
        (Tree::List(items), Value::Array(expected)) => {
            items.len() == expected.len()
                && items.iter().zip(expected).all(|(item, expected)| equals(item, expected, work))
        }
        (Tree::Object(members), Value::Object(expected)) => {
            let is_so = |(name, tree): &(Cow<'_, str>, Tree<'_>)| {
                work.look(2);
                expected.get(&**name).is_some_and(|expected| equals(tree, expected, work))
            };
            members.len() == expected.len() && members.iter().all(is_so)
        }
        _ => false,
    }
}
