//! Finds the upstream's own secret in what the upstream answers, in whichever form an encoder left it.
//!
//! Changes no message and decides nothing: whoever reads an answer masks or refuses by it. Knows no credential: it is given
//! values. The invariants: the time at which bytes can go on never depends on fewer than [`HELD_MIN`] matching bytes of a
//! value, so that nobody whose text is sent back learns a value piece by piece; work is in proportion to the bytes that
//! come, whatever they are; nothing in here can be printed.

mod automaton;
mod board;
mod escape;
mod scanner;
mod walk;

use std::ops::Range;

use aho_corasick::packed;
use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use tokio::task::yield_now;
use zeroize::Zeroizing;

use self::automaton::{Automaton, Builder};
use self::escape::{Families, TOKEN_MAX, Token};
use self::walk::{View, Walk};

pub(crate) use self::board::{Echoed, Echoes};
pub(crate) use self::scanner::Scanner;

/// Shorter values are not looked for: to mask one would confirm a guess.
pub(crate) const VALUE_MIN: usize = 24;
/// So many bytes of a value must have matched before anything is held back.
pub(crate) const HELD_MIN: usize = 16;
/// How many bytes of a value are looked for, from its beginning.
const VALUE_MOST: usize = 4096;
/// What stands in the place of each byte that is masked.
const MASK: u8 = b'*';
/// Letters of base64 that hold [`HELD_MIN`] bytes, and digits that do.
const BASE64_HELD_MIN: usize = (HELD_MIN * 8).div_ceil(6);
const HEX_HELD_MIN: usize = HELD_MIN * 2;
/// How far before an escape a match that it belongs to can begin without its beginning having been found already.
const LOOK_BACK: u64 = HEX_HELD_MIN as u64 - 1;
/// What is looked through of a whole body before others have their turn.
const PIECE: usize = 256 * 1024;

/// What is looked for: the values of a credential in all their forms.
pub(crate) struct Needles {
    automaton: Automaton,
    /// Finds the beginnings of all forms; `None`: not on this machine, or there are too many.
    heads: Option<packed::Searcher>,
    /// The bytes in these beginnings.
    in_heads: Box<[bool; 256]>,
    /// A value has a character with which an escape begins, so that one text can be read in several ways.
    is_ambiguous: bool,
    shortest: usize,
}

/// What an escape means for a search that has found nothing yet.
enum Wake {
    /// A match can have it at its beginning or near; it has so many bytes.
    Yes(u64),
    /// No match that has begun before it can go over it.
    No(u64),
    /// More of it has to come.
    Unfinished,
}

impl Needles {
    /// `None`: there is nothing that is looked for.
    pub(crate) fn of<'a>(values: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let (mut builder, mut heads) = (Builder::default(), packed::Config::new().builder());
        let (mut in_heads, mut is_ambiguous, mut shortest) = (Box::new([false; 256]), false, usize::MAX);
        for value in values.filter(|value| value.len() >= VALUE_MIN) {
            let value = &value[..value.len().min(VALUE_MOST)];
            is_ambiguous |= value.iter().any(|byte| escape::begins(*byte));
            let mut add = |form: &[u8], held_min: usize| {
                builder.add(form, held_min);
                heads.add(&form[..held_min]);
                form[..held_min].iter().for_each(|byte| in_heads[usize::from(*byte)] = true);
                shortest = shortest.min(form.len());
            };
            add(value, HELD_MIN);
            for coding in [&HEXLOWER, &HEXUPPER] {
                add(Zeroizing::new(coding.encode(value)).as_bytes(), HEX_HELD_MIN);
            }
            for coding in [&BASE64_NOPAD, &BASE64URL_NOPAD] {
                for before in 0..3 {
                    let whole = Zeroizing::new([&[0; 2][..before], value].concat());
                    let text = Zeroizing::new(coding.encode(&whole));
                    add(stable(text.as_bytes(), before, value.len()), BASE64_HELD_MIN);
                }
            }
        }
        let automaton = builder.build()?;
        Some(Self { automaton, heads: heads.build(), in_heads, is_ambiguous, shortest })
    }

    /// The value of a header with what it echoes masked; `None`: it echoes nothing.
    pub(crate) fn masked(&self, value: &[u8]) -> Option<Vec<u8>> {
        if value.len() < self.shortest {
            return None;
        }
        let (mut walk, mut marks) = (Walk::new(self), Vec::new());
        walk.advance(self, &View { base: 0, before: &[], now: value }, true, &mut marks);
        if marks.is_empty() {
            return None;
        }
        let mut value = value.to_vec();
        mask(&mut value, 0, &marks);
        Some(value)
    }

    /// The same of a whole body. Gives way to others.
    pub(crate) async fn masked_whole(&self, body: &[u8]) -> Option<Vec<u8>> {
        let (mut walk, mut marks, mut at) = (Walk::new(self), Vec::new(), 0);
        while at < body.len() {
            let (before, rest) = body.split_at(at);
            let now = &rest[..rest.len().min(PIECE)];
            at += now.len();
            walk.advance(self, &View { base: 0, before, now }, at == body.len(), &mut marks);
            if at < body.len() {
                yield_now().await;
            }
        }
        if marks.is_empty() {
            return None;
        }
        let mut body = body.to_vec();
        mask(&mut body, 0, &marks);
        Some(body)
    }

    /// Where the next form begins, if it does in a text.
    fn head(&self, text: &[u8]) -> Option<usize> {
        match &self.heads {
            Some(heads) => heads.find(text).map(|found| found.start()),
            None => (!text.is_empty()).then_some(0),
        }
    }

    fn wake(&self, at: impl Fn(u64) -> Option<u8>) -> Wake {
        let has = |byte: u8| self.in_heads[usize::from(byte)];
        let introducer = at(0).is_some_and(has);
        match escape::token(Families::ALL, &at) {
            Token::Unfinished => Wake::Unfinished,
            Token::Literal if introducer => Wake::Yes(1),
            Token::Literal => Wake::No(1),
            Token::Coded(coded) => {
                let length = coded.length();
                if introducer || coded.bytes().iter().any(|byte| has(*byte)) {
                    Wake::Yes(length)
                } else {
                    Wake::No(length)
                }
            }
        }
    }
}

/// The letters of base64 that hang on the value alone, with so many bytes before it.
fn stable(text: &[u8], before: usize, length: usize) -> &[u8] {
    let from = (before * 8).div_ceil(6);
    let to = (before + length) * 8 / 6;
    &text[from..to]
}

/// Masks what is marked in a text that begins at `base`.
fn mask(text: &mut [u8], base: u64, marks: &[Range<u64>]) {
    let index = |at: u64| usize::try_from(at.saturating_sub(base)).unwrap_or(usize::MAX);
    for mark in marks {
        let (from, to) = (index(mark.start).min(text.len()), index(mark.end).min(text.len()));
        text[from..to].fill(MASK);
    }
}

#[cfg(test)]
mod tests;
