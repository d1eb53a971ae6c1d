//! A pattern looked for step by step, in texts on which the engine could take long.
//!
//! The engine cannot be left within a text, and how long it takes depends on what earlier texts left in its caches. A
//! walk can be left behind each character, and its work depends on pattern and text alone. It says what the engine
//! says, and is slower on most texts.

use std::collections::HashMap;

use regex_syntax::hir::{Class, ClassUnicode, Hir, HirKind, Look};
use regex_syntax::{is_word_byte, is_word_character};

/// For how many steps room is made in the time of one.
const ROOM: i64 = 4;

/// A pattern as steps.
#[derive(Debug)]
pub(super) struct Automaton {
    steps: Box<[Step]>,
    classes: Box<[Chars]>,
    /// The ASCII characters that can be the first of a match.
    first: u128,
    /// Any match has a first character.
    skips: bool,
    /// Matches begin where the text does.
    anchored: bool,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A character, then the next step.
    Char(char),
    /// A character of a class, then the next step.
    Class(u32),
    /// The next step, and the one so far away.
    Fork(i32),
    /// The step so far away.
    Jump(i32),
    /// The next step, where this holds.
    Look(Look),
    Found,
}

/// The characters of a class.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Chars {
    ascii: u128,
    others: Box<[(char, char)]>,
}

/// One pattern under way over one text.
#[derive(Debug)]
pub(super) struct Walk<'p, 't> {
    automaton: &'p Automaton,
    text: &'t str,
    at: usize,
    before: Option<char>,
    /// Steps that the characters up to here lead to.
    here: Vec<u32>,
    /// Steps that the next character leads to.
    next: Vec<u32>,
    /// Steps that are to be looked at.
    stack: Vec<u32>,
    /// Behind which byte a step was looked at last.
    looked_at: Vec<usize>,
}

impl Automaton {
    /// Nesting is bounded by whoever parsed the pattern, so this returns.
    pub(super) fn new(hir: &Hir) -> Self {
        let mut writer = Writer::default();
        writer.write(hir);
        writer.steps.push(Step::Found);
        let mut classes: Vec<(Chars, u32)> = writer.classes.into_iter().collect();
        classes.sort_unstable_by_key(|(_, number)| *number);
        let mut automaton = Self {
            steps: writer.steps.into(),
            classes: classes.into_iter().map(|(chars, _)| chars).collect(),
            first: 0,
            skips: true,
            anchored: hir.properties().look_set_prefix().contains(Look::Start),
        };
        (automaton.first, automaton.skips) = automaton.first();
        automaton
    }

    /// How many steps it has.
    fn len(&self) -> usize {
        self.steps.len()
    }

    /// The ASCII characters that a match can begin with, and whether all matches have one.
    fn first(&self) -> (u128, bool) {
        let (mut first, mut skips) = (0, true);
        let (mut seen, mut stack) = (vec![false; self.len()], vec![0]);
        while let Some(number) = stack.pop() {
            if std::mem::replace(&mut seen[number], true) {
                continue;
            }
            match self.steps[number] {
                Step::Char(c) => first |= bit(c),
                Step::Class(class) => first |= self.classes[class as usize].ascii,
                Step::Fork(by) => stack.extend([number + 1, from(number, by)]),
                Step::Jump(by) => stack.push(from(number, by)),
                Step::Look(_) => stack.push(number + 1),
                Step::Found => skips = false,
            }
        }
        (first, skips)
    }
}

impl<'p, 't> Walk<'p, 't> {
    /// To make room for the steps is work, too.
    pub(super) fn new(automaton: &'p Automaton, text: &'t str, work: &mut i64) -> Self {
        *work -= automaton.len() as i64 / ROOM;
        let looked_at = vec![0; automaton.len()];
        let (here, next, stack) = (Vec::new(), Vec::new(), Vec::new());
        Self { automaton, text, at: 0, before: None, here, next, stack, looked_at }
    }

    /// Goes on until it knows whether the pattern is there, or until `work` is used up and the character done: then
    /// there is less of it than nothing. Each character and each step that is looked at counts.
    pub(super) fn advance(&mut self, work: &mut i64) -> Option<bool> {
        while *work > 0 {
            let after = self.text[self.at..].chars().next();
            let idle = self.here.is_empty();
            if idle && self.automaton.anchored && self.at > 0 {
                return Some(false);
            }
            *work -= 1;
            let skipped = idle
                && self.automaton.skips
                && after.is_some_and(|c| c.is_ascii() && self.automaton.first & bit(c) == 0);
            if !skipped && self.step(after, work) {
                return Some(true);
            }
            let Some(c) = after else { return Some(false) };
            self.at += c.len_utf8();
            self.before = after;
        }
        None
    }

    /// Looks at all steps that are reached here, and says whether one is the end of a match.
    fn step(&mut self, after: Option<char>, work: &mut i64) -> bool {
        let automaton = self.automaton;
        let mark = self.at + 1;
        let mut last = (u32::MAX, false);
        let mut place = Place { before: self.before, after, words: None };
        self.stack.append(&mut self.here);
        // A match may begin anywhere.
        self.stack.push(0);
        while let Some(number) = self.stack.pop() {
            *work -= 1;
            let number = number as usize;
            if std::mem::replace(&mut self.looked_at[number], mark) == mark {
                continue;
            }
            let goes_on = match automaton.steps[number] {
                Step::Char(c) => after == Some(c),
                Step::Class(class) => {
                    if last.0 != class {
                        let chars = &automaton.classes[class as usize];
                        last = (class, after.is_some_and(|c| chars.has(c)));
                    }
                    last.1
                }
                Step::Fork(by) => {
                    self.stack.extend([number as u32 + 1, from(number, by) as u32]);
                    false
                }
                Step::Jump(by) => {
                    self.stack.push(from(number, by) as u32);
                    false
                }
                Step::Look(look) => {
                    if place.holds(look) {
                        self.stack.push(number as u32 + 1);
                    }
                    false
                }
                Step::Found => return true,
            };
            if goes_on {
                self.next.push(number as u32 + 1);
            }
        }
        std::mem::swap(&mut self.here, &mut self.next);
        false
    }
}

impl Chars {
    fn has(&self, c: char) -> bool {
        if c.is_ascii() {
            return self.ascii & bit(c) != 0;
        }
        let behind = self.others.partition_point(|(start, _)| *start <= c);
        behind > 0 && c <= self.others[behind - 1].1
    }
}

impl From<&ClassUnicode> for Chars {
    fn from(class: &ClassUnicode) -> Self {
        let mut ascii = 0;
        let mut others = Vec::new();
        for range in class.ranges() {
            (range.start()..=range.end()).take_while(char::is_ascii).for_each(|c| ascii |= bit(c));
            if !range.end().is_ascii() {
                others.push((range.start().max('\u{80}'), range.end()));
            }
        }
        Self { ascii, others: others.into() }
    }
}

/// Writes steps; all ways through what was written end behind it.
#[derive(Default)]
struct Writer {
    steps: Vec<Step>,
    classes: HashMap<Chars, u32>,
}

impl Writer {
    fn write(&mut self, hir: &Hir) {
        match hir.kind() {
            HirKind::Empty => {}
            HirKind::Literal(literal) => {
                let text = std::str::from_utf8(&literal.0).expect("the parser takes patterns of UTF-8 alone");
                self.steps.extend(text.chars().map(Step::Char));
            }
            HirKind::Class(class) => self.class(class),
            HirKind::Look(look) => self.steps.push(Step::Look(*look)),
            HirKind::Capture(capture) => self.write(&capture.sub),
            HirKind::Concat(subs) => subs.iter().for_each(|sub| self.write(sub)),
            HirKind::Alternation(subs) => self.one_of(subs),
            HirKind::Repetition(repetition) => {
                self.times(&repetition.sub, repetition.min, repetition.max);
            }
        }
    }

    fn class(&mut self, class: &Class) {
        let chars = match class {
            Class::Unicode(class) => Chars::from(class),
            Class::Bytes(class) => {
                let class = class.to_unicode_class();
                Chars::from(&class.expect("the parser takes classes of bytes that are ASCII alone"))
            }
        };
        let number = self.classes.len() as u32;
        self.steps.push(Step::Class(*self.classes.entry(chars).or_insert(number)));
    }

    fn one_of(&mut self, subs: &[Hir]) {
        let mut jumps = Vec::new();
        for (number, sub) in subs.iter().enumerate() {
            let fork = self.steps.len();
            if number + 1 < subs.len() {
                self.steps.push(Step::Fork(0));
            }
            self.write(sub);
            if number + 1 < subs.len() {
                jumps.push(self.steps.len());
                self.steps.push(Step::Jump(0));
                self.steps[fork] = Step::Fork(by(fork, self.steps.len()));
            }
        }
        for jump in jumps {
            self.steps[jump] = Step::Jump(by(jump, self.steps.len()));
        }
    }

    /// All that leads anywhere within leads so far forth or back, so steps can be copied.
    fn times(&mut self, sub: &Hir, min: u32, max: Option<u32>) {
        let start = self.steps.len();
        self.write(sub);
        let one = self.steps.split_off(start);
        for _ in 0..min {
            self.steps.extend_from_slice(&one);
        }
        match max {
            None if min > 0 => self.steps.push(Step::Fork(-(one.len() as i32))),
            None => {
                self.steps.push(Step::Fork(one.len() as i32 + 2));
                self.steps.extend_from_slice(&one);
                self.steps.push(Step::Jump(-(one.len() as i32) - 1));
            }
            Some(max) => {
                let end = self.steps.len() + (max - min) as usize * (one.len() + 1);
                for _ in min..max {
                    let fork = self.steps.len();
                    self.steps.push(Step::Fork(by(fork, end)));
                    self.steps.extend_from_slice(&one);
                }
            }
        }
    }
}

fn by(from: usize, to: usize) -> i32 {
    (to - from) as i32
}

fn from(number: usize, by: i32) -> usize {
    number.strict_add_signed(by as isize)
}

fn bit(c: char) -> u128 {
    1 << (c as u32 & 127)
}

/// A place between two characters; at an end of the text there is none on that side.
struct Place {
    before: Option<char>,
    after: Option<char>,
    /// Which of them are of words, once that was asked: it takes longer than a step.
    words: Option<(bool, bool)>,
}

impl Place {
    /// Whether what a look-around asks for holds.
    fn holds(&mut self, look: Look) -> bool {
        let (before, after) = (self.before, self.after);
        let is_ascii = |c: Option<char>| c.is_some_and(|c| c.is_ascii() && is_word_byte(c as u8));
        let ascii = (is_ascii(before), is_ascii(after));
        match look {
            Look::Start => before.is_none(),
            Look::End => after.is_none(),
            Look::StartLF => matches!(before, None | Some('\n')),
            Look::EndLF => matches!(after, None | Some('\n')),
            Look::StartCRLF => match before {
                None | Some('\n') => true,
                Some('\r') => after != Some('\n'),
                Some(_) => false,
            },
            Look::EndCRLF => match after {
                None | Some('\r') => true,
                Some('\n') => before != Some('\r'),
                Some(_) => false,
            },
            Look::WordAscii => ascii.0 != ascii.1,
            Look::WordAsciiNegate => ascii.0 == ascii.1,
            Look::WordUnicode => self.words().0 != self.words().1,
            Look::WordUnicodeNegate => self.words().0 == self.words().1,
            Look::WordStartAscii => !ascii.0 && ascii.1,
            Look::WordEndAscii => ascii.0 && !ascii.1,
            Look::WordStartUnicode => !self.words().0 && self.words().1,
            Look::WordEndUnicode => self.words().0 && !self.words().1,
            Look::WordStartHalfAscii => !ascii.0,
            Look::WordEndHalfAscii => !ascii.1,
            Look::WordStartHalfUnicode => !self.words().0,
            Look::WordEndHalfUnicode => !self.words().1,
        }
    }

    fn words(&mut self) -> (bool, bool) {
        let is_word = |c: Option<char>| c.is_some_and(is_word_character);
        *self.words.get_or_insert_with(|| (is_word(self.before), is_word(self.after)))
    }
}

#[cfg(test)]
mod tests;
