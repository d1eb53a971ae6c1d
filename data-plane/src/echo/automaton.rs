//! All forms of all values in one automaton (Aho and Corasick), which knows after each byte how much of which form it has
//! seen last.
//!
//! Compact rather than fast: most bytes never come here. A form is a chain of states one behind the other.

use std::collections::HashMap;

use zeroize::Zeroize as _;

/// A place in the automaton.
pub(super) type State = u32;

/// Nothing has matched.
pub(super) const ROOT: State = 0;

/// Behind some bytes of one form or of several.
#[derive(Clone, Copy, Default)]
struct Node {
    /// The byte that leads to the state behind this one, if it `goes_on`.
    edge: u8,
    goes_on: bool,
    /// Other bytes lead on, too.
    branches: bool,
    /// How many bytes have matched.
    depth: u16,
    /// Of these, how many are so much of a form that they are held back; 0: none.
    held: u16,
    /// How many bytes the longest form has that ends here; 0: none does.
    whole: u16,
    /// The longest other beginning of a form with which they end.
    fail: State,
}

/// The automaton, without what can print it.
pub(super) struct Automaton {
    nodes: Box<[Node]>,
    others: HashMap<(State, u8), State>,
    first: Box<[State; 256]>,
}

#[derive(Default)]
pub(super) struct Builder {
    nodes: Vec<Node>,
    others: HashMap<(State, u8), State>,
    /// From where, by what, to where.
    edges: Vec<(State, u8, State)>,
}

fn child(nodes: &[Node], others: &HashMap<(State, u8), State>, state: State, byte: u8) -> Option<State> {
    let node = nodes[state as usize];
    if node.goes_on && node.edge == byte {
        return Some(state + 1);
    }
    if node.branches { others.get(&(state, byte)).copied() } else { None }
}

impl Builder {
    /// Adds a form, of which so many bytes have to match before they are held back.
    pub(super) fn add(&mut self, form: &[u8], held_min: usize) {
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        let mut state = ROOT;
        for (matched, byte) in (1_u16..).zip(form) {
            state = match child(&self.nodes, &self.others, state, *byte) {
                Some(next) => next,
                None => self.grow(state, *byte, matched),
            };
            if usize::from(matched) >= held_min {
                self.nodes[state as usize].held = matched;
            }
        }
        let last = &mut self.nodes[state as usize];
        last.whole = last.depth;
    }

    fn grow(&mut self, from: State, byte: u8, depth: u16) -> State {
        let next = u32::try_from(self.nodes.len()).expect("values are bounded, and so are their forms");
        let node = &mut self.nodes[from as usize];
        if from + 1 == next {
            (node.edge, node.goes_on) = (byte, true);
        } else {
            node.branches = true;
            self.others.insert((from, byte), next);
        }
        self.nodes.push(Node { depth, ..Node::default() });
        self.edges.push((from, byte, next));
        next
    }

    /// `None`: it has no form.
    pub(super) fn build(mut self) -> Option<Automaton> {
        if self.nodes.is_empty() {
            return None;
        }
        let mut edges = std::mem::take(&mut self.edges);
        edges.sort_by_key(|(_, _, to)| self.nodes[*to as usize].depth);
        let mut first = Box::new([ROOT; 256]);
        for (from, byte, to) in edges {
            if from == ROOT {
                first[usize::from(byte)] = to;
                continue;
            }
            let mut behind = self.nodes[from as usize].fail;
            let fail = loop {
                if let Some(found) = child(&self.nodes, &self.others, behind, byte) {
                    break found;
                }
                if behind == ROOT {
                    break ROOT;
                }
                behind = self.nodes[behind as usize].fail;
            };
            let Node { held, whole, .. } = self.nodes[fail as usize];
            let node = &mut self.nodes[to as usize];
            node.fail = fail;
            node.held = node.held.max(held);
            node.whole = node.whole.max(whole);
        }
        let Self { nodes, others, edges: _ } = self;
        Some(Automaton { nodes: nodes.into(), others, first })
    }
}

impl Automaton {
    /// Behind one more byte.
    pub(super) fn next(&self, mut state: State, byte: u8) -> State {
        while state != ROOT {
            if let Some(next) = child(&self.nodes, &self.others, state, byte) {
                return next;
            }
            state = self.nodes[state as usize].fail;
        }
        self.first[usize::from(byte)]
    }

    /// How many of the last bytes are the beginning of a form.
    pub(super) fn depth(&self, state: State) -> u64 {
        self.nodes[state as usize].depth.into()
    }

    /// How many of them have to be held back, if any.
    pub(super) fn held(&self, state: State) -> Option<u64> {
        Some(self.nodes[state as usize].held.into()).filter(|held| *held > 0)
    }

    /// How many of them are a whole form, if one ends here.
    pub(super) fn whole(&self, state: State) -> Option<u64> {
        Some(self.nodes[state as usize].whole.into()).filter(|whole| *whole > 0)
    }
}

impl Drop for Automaton {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.edge.zeroize();
        }
        self.others.clear();
    }
}
