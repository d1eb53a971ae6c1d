//! Templates of paths, as a tree of segments.
//!
//! Knows no operation. What is told apart are segments without their escapes, as rules see them; a slash that is escaped
//! separates none. The invariants: what is concrete goes before what is templated, the foremost segment first; and to
//! find a template takes a number of steps that hangs on the templates alone, and is bounded when they are taken in.

use std::borrow::Cow;
use std::collections::HashMap;

use percent_encoding::percent_decode_str;

use super::document::told;

/// Segments of a template.
const SEGMENTS_MAX: usize = 64;
/// Nodes that one path may have to be held against.
const STEPS_MAX: u64 = 1_000;

/// Templates, each with a number.
#[derive(Debug)]
pub(super) struct Paths {
    nodes: Vec<Node>,
    /// Segments of the longest.
    longest: usize,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<[u8]>, u32>,
    /// Segments with a parameter and text around it, those with more text first.
    mixed: Vec<Mixed>,
    parameter: Option<u32>,
    end: Option<u32>,
}

#[derive(Debug)]
struct Mixed {
    before: Box<[u8]>,
    behind: Box<[u8]>,
    node: u32,
}

/// Where a parameter stands in a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hole {
    pub(super) name: Box<str>,
    segment: usize,
    before: usize,
    behind: usize,
}

/// A path, taken apart.
pub(super) struct Segments<'p> {
    raw: Vec<&'p str>,
    plain: Vec<Cow<'p, [u8]>>,
}

enum Segment {
    Literal(Box<[u8]>),
    Hole { name: Box<str>, before: Box<[u8]>, behind: Box<[u8]> },
}

impl Default for Paths {
    fn default() -> Self {
        Self { nodes: vec![Node::default()], longest: 0 }
    }
}

impl Paths {
    /// Takes in a template under a number. Where its parameters are, or what is wrong with it.
    pub(super) fn add(&mut self, template: &str, number: u32) -> Result<Vec<Hole>, String> {
        let segments = segments(template)?;
        self.longest = self.longest.max(segments.len());
        let (mut node, mut holes) = (0, Vec::new());
        for (at, segment) in segments.into_iter().enumerate() {
            node = match segment {
                Segment::Literal(text) => self.literal(node, text),
                Segment::Hole { name, before, behind } => {
                    if holes.iter().any(|hole: &Hole| hole.name == name) {
                        return Err(format!("has the parameter {} twice", told(&name)));
                    }
                    holes.push(Hole { name, segment: at, before: before.len(), behind: behind.len() });
                    self.hole(node, before, behind)
                }
            };
        }
        match self.nodes[node as usize].end.replace(number) {
            None => Ok(holes),
            Some(_) => Err("is the same path as another one, but for the names of its parameters".to_owned()),
        }
    }

    fn literal(&mut self, node: u32, text: Box<[u8]>) -> u32 {
        let new = self.next();
        let found = *self.nodes[node as usize].literals.entry(text).or_insert(new);
        self.grow(found)
    }

    fn hole(&mut self, node: u32, before: Box<[u8]>, behind: Box<[u8]>) -> u32 {
        let new = self.next();
        let parent = &mut self.nodes[node as usize];
        if before.is_empty() && behind.is_empty() {
            let found = *parent.parameter.get_or_insert(new);
            return self.grow(found);
        }
        if let Some(mixed) = parent.mixed.iter().find(|it| it.before == before && it.behind == behind) {
            return mixed.node;
        }
        let text = before.len() + behind.len();
        let at = parent.mixed.partition_point(|it| it.before.len() + it.behind.len() >= text);
        parent.mixed.insert(at, Mixed { before, behind, node: new });
        self.grow(new)
    }

    fn next(&self) -> u32 {
        u32::try_from(self.nodes.len()).expect("documents are bounded, so segments are")
    }

    fn grow(&mut self, found: u32) -> u32 {
        if found == self.next() {
            self.nodes.push(Node::default());
        }
        found
    }

    /// Whether any path can be told apart in a bounded number of steps.
    pub(super) fn are_few(&self) -> bool {
        let mut steps = vec![0_u64; self.nodes.len()];
        // Those below a node come behind it.
        for (at, node) in self.nodes.iter().enumerate().rev() {
            let of = |node: u32| steps[node as usize];
            let literals = node.literals.values().map(|node| of(*node)).max().unwrap_or_default();
            let mixed = node.mixed.iter().map(|it| of(it.node)).fold(0, u64::saturating_add);
            let below = literals.saturating_add(mixed).saturating_add(node.parameter.map_or(0, of));
            steps[at] = below.saturating_add(1 + node.mixed.len() as u64);
        }
        steps[0] <= STEPS_MAX
    }

    /// The number of the template that a path is of.
    pub(super) fn find<'p>(&self, path: &'p str) -> Option<(u32, Segments<'p>)> {
        let rest = path.strip_prefix('/')?;
        let raw: Vec<&str> = rest.split('/').take(self.longest + 1).collect();
        if raw.len() > self.longest {
            return None;
        }
        let plain = raw.iter().map(|segment| percent_decode_str(segment).into()).collect();
        let segments = Segments { raw, plain };
        Some((self.below(0, &segments.plain)?, segments))
    }

    /// Recurses as deep as templates are long.
    fn below(&self, node: u32, segments: &[Cow<'_, [u8]>]) -> Option<u32> {
        let node = &self.nodes[node as usize];
        let Some((segment, rest)) = segments.split_first() else { return node.end };
        if let Some(found) = node.literals.get(&**segment).and_then(|next| self.below(*next, rest)) {
            return Some(found);
        }
        let mut mixed = node.mixed.iter().filter(|it| {
            segment.len() > it.before.len() + it.behind.len()
                && segment.starts_with(&it.before)
                && segment.ends_with(&it.behind)
        });
        if let Some(found) = mixed.find_map(|it| self.below(it.node, rest)) {
            return Some(found);
        }
        node.parameter.filter(|_| !segment.is_empty()).and_then(|next| self.below(next, rest))
    }
}

impl Hole {
    /// Whether it is all of its segment.
    pub(super) fn is_whole(&self) -> bool {
        self.before == 0 && self.behind == 0
    }

    /// What stands there in a path of its template, as it is written.
    pub(super) fn raw<'p>(&self, segments: &Segments<'p>) -> &'p str {
        segments.raw[self.segment]
    }

    /// The same without escapes, and without the text around it.
    pub(super) fn plain<'s>(&self, segments: &'s Segments<'_>) -> &'s [u8] {
        let segment = &segments.plain[self.segment];
        &segment[self.before..segment.len() - self.behind]
    }
}

fn segments(template: &str) -> Result<Vec<Segment>, String> {
    let Some(rest) = template.strip_prefix('/') else {
        return Err("begins with no slash".to_owned());
    };
    if let Some(which) = ['?', '#'].into_iter().find(|which| rest.contains(*which)) {
        return Err(format!("has {which:?}, which no path has: parameters of the query are `in: query`"));
    }
    let count = rest.split('/').count();
    if count > SEGMENTS_MAX {
        return Err(format!("has more than {SEGMENTS_MAX} segments"));
    }
    rest.split('/').enumerate().map(|(at, text)| segment(text, at + 1 == count)).collect()
}

fn segment(text: &str, is_last: bool) -> Result<Segment, String> {
    let plain = |text: &str| -> Box<[u8]> { Cow::from(percent_decode_str(text)).into() };
    let Some((before, rest)) = text.split_once('{') else {
        if text.contains('}') {
            return Err(format!("has a segment {} that closes what it does not open", told(text)));
        }
        let plain = plain(text);
        if (plain.is_empty() && !is_last) || matches!(&*plain, b"." | b"..") {
            return Err("has an empty segment or a dot segment, which no request has once its path is read"
                .to_owned());
        }
        return Ok(Segment::Literal(plain));
    };
    let Some((name, behind)) = rest.split_once('}') else {
        return Err(format!("has a segment {} that does not close what it opens", told(text)));
    };
    if name.is_empty() || name.contains('{') || before.contains('}') {
        return Err(format!("has a segment {} whose parameter has no name", told(text)));
    }
    if behind.contains(['{', '}']) {
        return Err(format!("has a segment {} with several parameters: make it one", told(text)));
    }
    Ok(Segment::Hole { name: name.into(), before: plain(before), behind: plain(behind) })
}
