//! Goes over a text once, in whatever pieces it comes, and marks where a form of a value stands.
//!
//! Looks for the beginnings of forms and for escapes with vector instructions, and takes single steps only near these and at
//! the end of a piece. A value that has a character with which escapes begin can be read in several ways: then each way is
//! a lane of its own. The invariants: each byte costs each lane a bounded number of steps, and what a piece ends in goes on
//! in the next.

use std::collections::VecDeque;
use std::ops::Range;

use memchr::memchr3_iter;

use super::automaton::{Automaton, ROOT, State};
use super::escape::{self, Coded, Families, Token};
use super::{LOOK_BACK, Needles, TOKEN_MAX, Wake};

/// A piece of a text, with as much of what came before as is needed.
pub(super) struct View<'a> {
    /// Where `before` begins in the text.
    pub(super) base: u64,
    pub(super) before: &'a [u8],
    pub(super) now: &'a [u8],
}

impl View<'_> {
    fn begin_of_now(&self) -> u64 {
        self.base + self.before.len() as u64
    }

    pub(super) fn end(&self) -> u64 {
        self.begin_of_now() + self.now.len() as u64
    }

    fn get(&self, at: u64) -> Option<u8> {
        let index = usize::try_from(at.checked_sub(self.base)?).ok()?;
        match index.checked_sub(self.before.len()) {
            None => Some(self.before[index]),
            Some(index) => self.now.get(index).copied(),
        }
    }

    /// What has come now, from a place on.
    fn rest(&self, at: u64) -> &[u8] {
        let from = usize::try_from(at.saturating_sub(self.begin_of_now())).unwrap_or(usize::MAX);
        self.now.get(from..).unwrap_or_default()
    }
}

/// A search that is under way.
pub(super) struct Walk {
    first: Lane,
    /// Empty, but for a value that can be read in several ways.
    others: Vec<Lane>,
}

impl Walk {
    pub(super) fn new(needles: &Needles) -> Self {
        if needles.is_ambiguous {
            let others = [Families::NONE, Families::URL, Families::JSON, Families::HTML];
            return Self {
                first: Lane::new(Families::ALL),
                others: others.into_iter().map(Lane::new).collect(),
            };
        }
        Self { first: Lane::new(Families::ALL), others: Vec::new() }
    }

    /// Goes over all that has come now, and marks what it finds. `is_last`: nothing comes behind it.
    pub(super) fn advance(
        &mut self,
        needles: &Needles,
        view: &View<'_>,
        is_last: bool,
        marks: &mut Vec<Range<u64>>,
    ) {
        let end = view.end();
        self.step(needles, view, view.begin_of_now(), marks);
        let mut head = None;
        while self.is_at_rest() && self.first.cursor < end {
            let from = self.first.cursor;
            let next = head
                .filter(|head| *head >= from)
                .unwrap_or_else(|| needles.head(view.rest(from)).map_or(end, |found| from + found as u64));
            head = Some(next);
            let mut low = from;
            let mut begin = None;
            let before_head = usize::try_from(next - from).unwrap_or(usize::MAX);
            for found in memchr3_iter(b'%', b'\\', b'&', &view.rest(from)[..before_head]) {
                let at = from + found as u64;
                if at < low {
                    continue;
                }
                match needles.wake(|place| view.get(at + place)) {
                    Wake::Yes(length) => {
                        begin = Some((low.max(at.saturating_sub(LOOK_BACK)), at + length));
                        break;
                    }
                    Wake::No(length) => low = at + length,
                    // It is near the end.
                    Wake::Unfinished => break,
                }
            }
            let (begin, until) = match begin {
                // Each byte is a step.
                _ if needles.heads.is_none() => (from, end),
                Some(found) => found,
                None if next < end => (next, next + 1),
                // What has no beginning of a form in it, nor an escape that could stand in one, has no form.
                None if is_last => (end, end),
                // What the next piece could go on with.
                None => (low.max(end.saturating_sub(LOOK_BACK + TOKEN_MAX)), end),
            };
            self.skip(begin);
            self.step(needles, view, until, marks);
        }
    }

    /// Nothing has matched, and nothing is left to be read.
    fn is_at_rest(&self) -> bool {
        let rests = |lane: &Lane| lane.state == ROOT && lane.cursor == self.first.cursor && !lane.waits;
        rests(&self.first) && self.others.iter().all(rests)
    }

    fn skip(&mut self, to: u64) {
        self.first.cursor = to;
        self.others.iter_mut().for_each(|lane| lane.cursor = to);
    }

    /// Takes steps at least until there, until no lane has anything begun.
    fn step(&mut self, needles: &Needles, view: &View<'_>, mut until: u64, marks: &mut Vec<Range<u64>>) {
        loop {
            let mut reached = until;
            for lane in std::iter::once(&mut self.first).chain(&mut self.others) {
                lane.run(&needles.automaton, view, until, marks);
                reached = reached.max(lane.cursor);
            }
            // A lane that went further takes the others along.
            if reached == until || self.others.is_empty() {
                return;
            }
            until = reached;
        }
    }

    /// From where on the text must not go on yet, if it must not.
    pub(super) fn held(&self, needles: &Needles) -> Option<u64> {
        let lanes = std::iter::once(&self.first).chain(&self.others);
        lanes.filter_map(|lane| lane.held(&needles.automaton)).min()
    }

    /// From where on the text has to be read again.
    pub(super) fn unread(&self) -> u64 {
        let others = self.others.iter().map(|lane| lane.cursor);
        others.fold(self.first.cursor, u64::min)
    }

    #[cfg(test)]
    pub(super) fn steps(&self) -> u64 {
        self.first.steps + self.others.iter().map(|lane| lane.steps).sum::<u64>()
    }
}

/// One way to read a text.
struct Lane {
    families: Families,
    state: State,
    /// The next byte that it reads.
    cursor: u64,
    /// It stands before an escape that has not come whole.
    waits: bool,
    /// How many characters it has read.
    read: u64,
    /// By how many bytes the escapes in them are longer than their characters.
    excess: i64,
    /// The same up to and with each escape that may still belong to a match, by its character.
    escapes: VecDeque<(u64, i64)>,
    /// And up to these.
    excess_before: i64,
    #[cfg(test)]
    steps: u64,
}

impl Lane {
    fn new(families: Families) -> Self {
        Self {
            families,
            state: ROOT,
            cursor: 0,
            waits: false,
            read: 0,
            excess: 0,
            escapes: VecDeque::new(),
            excess_before: 0,
            #[cfg(test)]
            steps: 0,
        }
    }

    fn run(&mut self, automaton: &Automaton, view: &View<'_>, until: u64, marks: &mut Vec<Range<u64>>) {
        self.waits = false;
        while self.cursor < until || self.state != ROOT {
            #[cfg(test)]
            {
                self.steps += 1;
            }
            let Some(byte) = view.get(self.cursor) else { return };
            let token = if self.families.has(byte) {
                escape::token(self.families, |place| view.get(self.cursor + place))
            } else {
                Token::Literal
            };
            match token {
                Token::Literal => self.take(automaton, &[byte], 1, marks),
                Token::Coded(coded) => self.take_coded(automaton, &coded, marks),
                Token::Unfinished => {
                    self.waits = true;
                    return;
                }
            }
        }
    }

    fn take_coded(&mut self, automaton: &Automaton, coded: &Coded, marks: &mut Vec<Range<u64>>) {
        let length = coded.length();
        let excess = i64::try_from(length).unwrap_or(0) - i64::try_from(coded.bytes().len()).unwrap_or(0);
        self.excess += excess;
        self.escapes.push_back((self.read, self.excess));
        self.take(automaton, coded.bytes(), length, marks);
    }

    fn take(&mut self, automaton: &Automaton, bytes: &[u8], length: u64, marks: &mut Vec<Range<u64>>) {
        self.cursor += length;
        for byte in bytes {
            self.read += 1;
            self.state = automaton.next(self.state, *byte);
        }
        if !self.escapes.is_empty() {
            let begin = self.read - automaton.depth(self.state);
            while let Some((_, excess)) = self.escapes.pop_front_if(|(character, _)| *character < begin) {
                self.excess_before = excess;
            }
        } else {
            self.excess_before = self.excess;
        }
        if let Some(whole) = automaton.whole(self.state) {
            let mark = self.begin_of(whole)..self.cursor;
            match marks.last_mut() {
                Some(last) if last.end >= mark.start && last.start <= mark.start => {
                    last.end = last.end.max(mark.end)
                }
                _ => marks.push(mark),
            }
        }
    }

    /// Where the last so many characters begin.
    fn begin_of(&self, characters: u64) -> u64 {
        let first = self.read - characters;
        let before = self.escapes.partition_point(|(character, _)| *character < first);
        let before = match before.checked_sub(1) {
            Some(last) => self.escapes[last].1,
            None => self.excess_before,
        };
        let length = i64::try_from(characters).unwrap_or(i64::MAX) + (self.excess - before);
        self.cursor.saturating_sub(u64::try_from(length).unwrap_or(0))
    }

    fn held(&self, automaton: &Automaton) -> Option<u64> {
        automaton.held(self.state).map(|held| self.begin_of(held))
    }
}
