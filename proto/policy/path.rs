//! Many paths at once: a tree of steps, and the set of its nodes that a place in a document has reached.
//!
//! One pass over a document finds all of them, whatever their number; a duplicate key is another place.

use rr_domain::model::json_path::{JsonPath, Step};

use super::json::{JsonError, Reader, Value};

/// A tree of paths. Each path ends at a node that carries its number.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    /// Sorted by key.
    keys: Vec<(Box<str>, u32)>,
    any: Option<u32>,
    ends: Vec<u32>,
}

/// Where a walk is: the nodes reached by the way to each open container, on one stack.
#[derive(Debug)]
pub(crate) struct Walk<'p> {
    paths: &'p Paths,
    reached: Vec<u32>,
}

/// The part of the stack that belongs to one place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    from: usize,
    to: usize,
}

impl Paths {
    /// Numbers the paths in their order.
    pub(crate) fn new<'j>(paths: impl IntoIterator<Item = &'j JsonPath>) -> Self {
        let mut tree = Self { nodes: vec![Node::default()] };
        for (number, path) in paths.into_iter().enumerate() {
            let end = path.steps().iter().fold(0, |node, step| tree.child(node, step));
            let number = u32::try_from(number).expect("payloads are bounded, so paths are");
            tree.nodes[end as usize].ends.push(number);
        }
        tree
    }

    fn child(&mut self, node: u32, step: &Step) -> u32 {
        let new = u32::try_from(self.nodes.len()).expect("payloads are bounded, so steps are");
        let parent = &mut self.nodes[node as usize];
        let found = match step {
            Step::Any => *parent.any.get_or_insert(new),
            Step::Key(key) => match parent.keys.binary_search_by(|(known, _)| known.cmp(key)) {
                Ok(at) => parent.keys[at].1,
                Err(at) => {
                    parent.keys.insert(at, (key.clone(), new));
                    new
                }
            },
        };
        if found == new {
            self.nodes.push(Node::default());
        }
        found
    }

    /// The node at which a document starts.
    pub(crate) const ROOT: u32 = 0;

    /// Calls `reached` with each node to which a step down from `node` leads, and with whether a path ends there. The
    /// step goes by a key or, without one, to an element.
    #[inline]
    pub(crate) fn step(&self, node: u32, key: Option<&str>, mut reached: impl FnMut(u32, bool)) {
        let node = &self.nodes[node as usize];
        let by_key = key.and_then(|key| node.child(key));
        for next in by_key.into_iter().chain(node.any) {
            reached(next, !self.nodes[next as usize].ends.is_empty());
        }
    }

    /// Starts at the root of a document.
    pub(crate) fn walk(&self) -> (Walk<'_>, Place) {
        (Walk { paths: self, reached: vec![0] }, Place { from: 0, to: 1 })
    }
}

impl Node {
    #[inline]
    fn child(&self, key: &str) -> Option<u32> {
        // Where there are few, their lengths mostly tell them apart.
        if self.keys.len() <= 8 {
            let found = self.keys.iter().find(|(known, _)| known.len() == key.len() && **known == *key);
            return found.map(|(_, child)| *child);
        }
        let at = self.keys.binary_search_by(|(known, _)| (**known).cmp(key)).ok()?;
        Some(self.keys[at].1)
    }
}

impl<'p> Walk<'p> {
    /// One step down from `place`, by a key or, without one, to an element. To be undone with [`Walk::back`].
    pub(crate) fn step(&mut self, place: Place, key: Option<&str>) -> Place {
        let from = self.reached.len();
        for i in place.from..place.to {
            let node = &self.paths.nodes[self.reached[i] as usize];
            self.reached.extend(key.and_then(|key| node.child(key)));
            self.reached.extend(node.any);
        }
        Place { from, to: self.reached.len() }
    }

    /// Leaves the last place stepped to.
    pub(crate) fn back(&mut self, place: Place) {
        self.reached.truncate(place.from);
    }

    /// Whether any path goes through or ends here.
    pub(crate) fn is_on_the_way(&self, place: Place) -> bool {
        place.from < place.to
    }

    /// The numbers of the paths that end here.
    pub(crate) fn ends(&self, place: Place) -> impl Iterator<Item = u32> + use<'_, 'p> {
        let nodes = self.reached[place.from..place.to].iter();
        nodes.flat_map(|node| self.paths.nodes[*node as usize].ends.iter().copied())
    }
}

/// Calls `found` with the number of a path and the value there, for each occurrence of each.
pub(crate) fn find<'d>(
    document: &'d [u8],
    paths: &Paths,
    found: &mut dyn FnMut(u32, &Value<'d>),
) -> Result<(), JsonError> {
    let mut reader = Reader::new(document)?;
    let (mut walk, root) = paths.walk();
    let value = reader.value()?;
    look(&mut reader, &mut walk, root, value, found)?;
    reader.end()
}

/// What a look into several documents comes upon.
pub(crate) enum Event<'e, 'd> {
    /// The number of a path and the value there.
    Found(u32, &'e Value<'d>),
    /// The end of a document.
    End,
}

/// Like [`find`], but of a root array each element is a document of its own. An empty one is one document in
/// which nothing is found.
pub(crate) fn find_in_each<'d>(
    document: &'d [u8],
    paths: &Paths,
    event: &mut dyn FnMut(Event<'_, 'd>),
) -> Result<(), JsonError> {
    let mut reader = Reader::new(document)?;
    let (mut walk, root) = paths.walk();
    let value = reader.value()?;
    let mut one = |reader: &mut Reader<'d>, value, event: &mut dyn FnMut(Event<'_, 'd>)| {
        look(reader, &mut walk, root, value, &mut |number, value| event(Event::Found(number, value)))?;
        event(Event::End);
        Ok(())
    };
    if let Value::Array = value {
        let mut first = true;
        while reader.element(first)? {
            first = false;
            let value = reader.value()?;
            one(&mut reader, value, event)?;
        }
        if first {
            event(Event::End);
        }
    } else {
        one(&mut reader, value, event)?;
    }
    reader.end()
}

/// Looks into a value that a path ends at or goes through. Nesting is bounded by the reader.
fn look<'d>(
    reader: &mut Reader<'d>,
    walk: &mut Walk<'_>,
    place: Place,
    value: Value<'d>,
    found: &mut dyn FnMut(u32, &Value<'d>),
) -> Result<(), JsonError> {
    for number in walk.ends(place) {
        found(number, &value);
    }
    let mut first = true;
    loop {
        let below = match value {
            Value::Object => match reader.member(first)? {
                Some(key) => walk.step(place, Some(&key.unescaped())),
                None => return Ok(()),
            },
            Value::Array if reader.element(first)? => walk.step(place, None),
            _ => return Ok(()),
        };
        first = false;
        if walk.is_on_the_way(below) {
            let value = reader.value()?;
            look(reader, walk, below, value, found)?;
        } else {
            reader.pass()?;
        }
        walk.back(below);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(paths: &[&str], document: &str) -> Vec<(u32, String)> {
        let paths: Vec<JsonPath> = paths.iter().map(|path| path.parse().expect("a path")).collect();
        let mut all = Vec::new();
        let mut note = |number: u32, value: &Value<'_>| {
            all.push((
                number,
                match value {
                    Value::Object => "{".to_owned(),
                    Value::Array => "[".to_owned(),
                    Value::Text(text) => text.unescaped().into_owned(),
                    Value::Number(raw) => (*raw).to_owned(),
                    Value::Word(word) => (*word).to_owned(),
                },
            ));
        };
        find(document.as_bytes(), &Paths::new(&paths), &mut note).expect("JSON");
        all
    }

    #[test]
    fn every_occurrence_is_found_and_keys_are_compared_after_unescaping() {
        let all = found(&["a.b"], r#"{"a":{"b":1,"\u0062":2},"a":{"b":3.10}}"#);
        assert_eq!(all, [(0, "1".into()), (0, "2".into()), (0, "3.10".into())]);
    }

    #[test]
    fn a_star_is_one_step_into_whatever_is_there() {
        let all = found(&["*[*].id", "a[*]"], r#"{"a":[{"id":1},2],"b":{"x":{"id":"y"}},"id":3}"#);
        assert_eq!(all, [(1, "{".into()), (0, "1".into()), (1, "2".into()), (0, "y".into())]);
    }

    #[test]
    fn a_path_and_one_through_it_are_both_found() {
        let all = found(&["a", "a.b", "*.b", "a"], r#"{"a":{"b":null}}"#);
        assert_eq!(all, [(0, "{".into()), (3, "{".into()), (1, "null".into()), (2, "null".into())]);
    }
}
