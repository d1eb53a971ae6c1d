//! Many paths at once: a tree of steps, and the set of its nodes that a place in a document has reached.
//!
//! One pass over a document finds all of them, whatever their number; a duplicate key is another place.

use rr_domain::model::json_path::{JsonPath, Step};

mod fold;

use super::json::{JsonError, Reader, Value};

/// A tree of paths. Each path ends at a node that carries its number.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    nodes: Vec<Node>,
    /// Keys are compared without regard to case.
    folds: bool,
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
        Self::tree(paths, false)
    }

    /// The same, for keys in whatever case.
    pub(crate) fn folded<'j>(paths: impl IntoIterator<Item = &'j JsonPath>) -> Self {
        Self::tree(paths, true)
    }

    fn tree<'j>(paths: impl IntoIterator<Item = &'j JsonPath>, folds: bool) -> Self {
        let mut tree = Self { nodes: vec![Node::default()], folds };
        for (number, path) in paths.into_iter().enumerate() {
            let end = path.steps().iter().fold(0, |node, step| tree.child(node, step));
            let number = u32::try_from(number).expect("payloads are bounded, so paths are");
            tree.nodes[end as usize].ends.push(number);
        }
        tree
    }

    fn child(&mut self, node: u32, step: &Step) -> u32 {
        let folds = self.folds;
        let new = u32::try_from(self.nodes.len()).expect("payloads are bounded, so steps are");
        let parent = &mut self.nodes[node as usize];
        let found = match step {
            Step::Any => *parent.any.get_or_insert(new),
            Step::Key(key) => {
                let key = if folds { fold::fold(key).into() } else { key.clone() };
                match parent.keys.binary_search_by(|(known, _)| known.cmp(&key)) {
                    Ok(at) => parent.keys[at].1,
                    Err(at) => {
                        parent.keys.insert(at, (key, new));
                        new
                    }
                }
            }
        };
        if found == new {
            self.nodes.push(Node::default());
        }
        found
    }

    /// The node at which a document starts.
    pub(crate) const ROOT: u32 = 0;
    /// In its place at a root array whose elements are [`Batch::Elements`].
    pub(crate) const BATCH: u32 = u32::MAX;
    /// The root for an element of such an array: only keys lead on, since `*` was the step to the element.
    const ELEMENT: u32 = u32::MAX - 1;

    /// Calls `reached` with each node to which a step down from `node` leads, and with whether a path ends there. The
    /// step goes by a key or, without one, to an element.
    #[inline]
    pub(crate) fn step(&self, node: u32, key: Option<&str>, mut reached: impl FnMut(u32, bool)) {
        for next in self.below(node, key).into_iter().flatten() {
            reached(next, !self.ends(next).is_empty());
        }
    }

    #[inline]
    fn below(&self, node: u32, key: Option<&str>) -> [Option<u32>; 2] {
        let root = &self.nodes[Self::ROOT as usize];
        match node {
            Self::BATCH => [Some(Self::ELEMENT), root.any],
            Self::ELEMENT => [key.and_then(|key| self.by_key(root, key)), None],
            node => {
                let node = &self.nodes[node as usize];
                [key.and_then(|key| self.by_key(node, key)), node.any]
            }
        }
    }

    #[inline]
    fn by_key(&self, node: &Node, key: &str) -> Option<u32> {
        if self.folds && !node.keys.is_empty() { node.child(&fold::fold(key)) } else { node.child(key) }
    }

    /// The numbers of the paths that end at a node.
    #[inline]
    fn ends(&self, node: u32) -> &[u32] {
        self.nodes.get(node as usize).map(|node| &*node.ends).unwrap_or_default()
    }

    /// Starts at the root of a document.
    fn walk(&self) -> Walk<'_> {
        Walk { paths: self, reached: vec![Self::ROOT] }
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
    /// The place at which it starts.
    const START: Place = Place { from: 0, to: 1 };

    /// Starts at an element of a root array, and not at the root; where that is.
    fn start_at_element(&mut self) -> Place {
        self.reached.clear();
        self.reached.extend(self.paths.below(Paths::BATCH, None).into_iter().flatten());
        Place { from: 0, to: self.reached.len() }
    }

    /// One step down from `place`, by a key or, without one, to an element. To be undone with [`Walk::back`].
    fn step(&mut self, place: Place, key: Option<&str>) -> Place {
        let from = self.reached.len();
        for i in place.from..place.to {
            self.reached.extend(self.paths.below(self.reached[i], key).into_iter().flatten());
        }
        Place { from, to: self.reached.len() }
    }

    /// Leaves the last place stepped to.
    fn back(&mut self, place: Place) {
        self.reached.truncate(place.from);
    }

    /// Whether any path goes through or ends here.
    fn is_on_the_way(&self, place: Place) -> bool {
        place.from < place.to
    }

    /// The numbers of the paths that end here.
    fn ends(&self, place: Place) -> impl Iterator<Item = u32> + use<'_, 'p> {
        let nodes = self.reached[place.from..place.to].iter();
        nodes.flat_map(|node| self.paths.ends(*node).iter().copied())
    }
}

/// How a root array is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Batch {
    /// Each element is a document of its own.
    Documents,
    /// The same, but a path that starts with `*` starts with the step to the element.
    Elements,
}

/// What a search comes upon.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event<'d> {
    /// A value at which paths end: those of the place.
    Found(Value<'d>, Place),
    /// The end of a document. A root array without elements is one, in which nothing is found.
    End,
}

/// Looks for paths in a document, one find after the other, so that whoever asks may rest in between.
pub(crate) struct Search<'d, 'p> {
    reader: Reader<'d>,
    walk: Walk<'p>,
    batch: Batch,
    /// Where documents begin.
    start: Place,
    at: At,
    /// The containers that are open and looked into, outermost first. Nesting is bounded by the reader.
    open: Vec<Open>,
}

#[derive(Debug, Clone, Copy)]
enum At {
    Start,
    /// Before the only document, whatever it is.
    Element,
    /// In the only document.
    Document,
    /// In a batch: before its first element, or not; and whether an element is open.
    Batch {
        first: bool,
        is_open: bool,
    },
    Over,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    place: Place,
    is_object: bool,
    first: bool,
    /// The place of the item that was stepped to.
    item: Option<Place>,
}

impl<'d, 'p> Search<'d, 'p> {
    pub(crate) fn new(document: &'d [u8], paths: &'p Paths, batch: Batch) -> Result<Self, JsonError> {
        Ok(Self {
            reader: Reader::new(document)?,
            walk: paths.walk(),
            batch,
            start: Walk::START,
            at: At::Start,
            open: Vec::new(),
        })
    }

    /// In one element of a root array, which stands alone.
    pub(crate) fn of_element(document: &'d [u8], paths: &'p Paths) -> Result<Self, JsonError> {
        let mut search = Self::new(document, paths, Batch::Elements)?;
        search.start = search.walk.start_at_element();
        search.at = At::Element;
        Ok(search)
    }

    /// The numbers of the paths that end at a place that was just found.
    pub(crate) fn ends(&self, place: Place) -> impl Iterator<Item = u32> + use<'_, 'p, 'd> {
        self.walk.ends(place)
    }

    /// The next find; `None` once the document has ended as it should.
    pub(crate) fn next(&mut self) -> Result<Option<Event<'d>>, JsonError> {
        loop {
            if let Some(open) = self.open.last_mut() {
                if let Some(item) = open.item.take() {
                    self.walk.back(item);
                }
                let first = std::mem::replace(&mut open.first, false);
                let item = if open.is_object {
                    self.reader.member(first)?.map(|key| self.walk.step(open.place, Some(&key.unescaped())))
                } else if self.reader.element(first)? {
                    Some(self.walk.step(open.place, None))
                } else {
                    None
                };
                let Some(item) = item else {
                    self.open.pop();
                    continue;
                };
                open.item = Some(item);
                if !self.walk.is_on_the_way(item) {
                    self.reader.pass()?;
                    continue;
                }
                let value = self.reader.value()?;
                if let Some(found) = self.enter(value, item) {
                    return Ok(Some(found));
                }
                continue;
            }
            match self.at {
                At::Start => {
                    let value = self.reader.value()?;
                    if matches!(value, Value::Array) {
                        if self.batch == Batch::Elements {
                            self.start = self.walk.start_at_element();
                        }
                        self.at = At::Batch { first: true, is_open: false };
                        continue;
                    }
                    self.at = At::Document;
                    if let Some(found) = self.enter(value, self.start) {
                        return Ok(Some(found));
                    }
                }
                At::Element => {
                    self.at = At::Document;
                    let value = self.reader.value()?;
                    if let Some(found) = self.enter(value, self.start) {
                        return Ok(Some(found));
                    }
                }
                At::Document => {
                    self.at = At::Over;
                    return Ok(Some(Event::End));
                }
                At::Batch { is_open: true, .. } => {
                    self.at = At::Batch { first: false, is_open: false };
                    return Ok(Some(Event::End));
                }
                At::Batch { first, is_open: false } => {
                    if self.reader.element(first)? {
                        self.at = At::Batch { first: false, is_open: true };
                        let value = self.reader.value()?;
                        if let Some(found) = self.enter(value, self.start) {
                            return Ok(Some(found));
                        }
                    } else {
                        self.at = At::Over;
                        if first {
                            return Ok(Some(Event::End));
                        }
                    }
                }
                At::Over => {
                    return self.reader.end().map(|()| None);
                }
            }
        }
    }

    /// Begins to look into a value. `Some`: paths end at it.
    fn enter(&mut self, value: Value<'d>, place: Place) -> Option<Event<'d>> {
        if let Value::Object | Value::Array = value {
            let is_object = matches!(value, Value::Object);
            self.open.push(Open { place, is_object, first: true, item: None });
        }
        self.walk.ends(place).next().is_some().then_some(Event::Found(value, place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(paths: &[&str], document: &str) -> Vec<(u32, String)> {
        let paths: Vec<JsonPath> = paths.iter().map(|path| path.parse().expect("a path")).collect();
        let paths = Paths::new(&paths);
        let mut search = Search::new(document.as_bytes(), &paths, Batch::Elements).expect("UTF-8");
        let mut all = Vec::new();
        while let Some(event) = search.next().expect("JSON") {
            let Event::Found(value, place) = event else { continue };
            let text = match value {
                Value::Object => "{".to_owned(),
                Value::Array => "[".to_owned(),
                Value::Text(text) => text.unescaped().into_owned(),
                Value::Number(raw) => raw.to_owned(),
                Value::Word(word) => word.to_owned(),
            };
            all.extend(search.ends(place).map(|number| (number, text.clone())));
        }
        all
    }

    #[test]
    fn in_a_root_array_a_path_that_starts_with_a_key_starts_at_each_element() {
        let all = found(&["a.b", "*.b", "*.a.b"], r#"[{"a":{"b":1},"b":2},[{"a":{"b":3}}],{"a":[{"b":4}]}]"#);
        assert_eq!(all, [(0, "1".into()), (2, "1".into()), (1, "2".into())]);
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
