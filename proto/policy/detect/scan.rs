//! All that chosen detectors find in a text, in one pass that can be left at any place and gone on with later.
//!
//! Knows no JSON: a text comes as it is meant, without escapes. Those that are written twice in it, as in JSON within JSON,
//! are left whole. What it finds may overlap.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memchr;
use rr_domain::model::detector::{Detector, Detectors};

use super::number::number;
use super::{BEGIN, CLASSES, Found, Run, base64, class, jwt, key, mail_at, pem, random};

/// What begins with letters, digits and signs without a space.
static IN_TOKENS: LazyLock<Detectors> =
    LazyLock::new(|| [Detector::Key, Detector::Jwt, Detector::Pem, Detector::Random].into_iter().collect());
/// What begins with digits, or with few letters before them: all others but addresses of mail.
static IN_NUMBERS: LazyLock<Detectors> = LazyLock::new(|| {
    let is_other = |detector: &Detector| *detector != Detector::Email && !IN_TOKENS.has(*detector);
    Detectors::all().iter().filter(is_other).collect()
});

/// Where a run ends though the text goes on: so many bytes are gone over at once.
const RUN_MAX: usize = 16 * 1024;
/// The shortest key, token or random text.
const TOKEN_MIN: usize = 10;

/// Finds the first random text in a part of a text.
type Search = fn(&[u8], &Range<usize>) -> Option<Found>;

/// A pass of some detectors over a text, which is given anew at each step.
#[derive(Debug)]
pub struct Scan {
    set: Detectors,
    numbers: bool,
    tokens: bool,
    /// Up to here, runs were gone over.
    at: usize,
    /// Up to here, signs of mail were, and digits.
    mail_at: usize,
    digits_at: usize,
    /// No token begins before this place.
    no_jwt: usize,
}

impl Scan {
    /// Begins a pass.
    pub fn new(set: Detectors) -> Self {
        let (numbers, tokens) = (set.has_any(*IN_NUMBERS), set.has_any(*IN_TOKENS));
        Self { set, numbers, tokens, at: 0, mail_at: 0, digits_at: 0, no_jwt: 0 }
    }

    /// Goes on for about so many bytes, and says whether the text has ended. Calls `found` with what is found, in no order.
    pub fn advance(
        &mut self,
        text: &[u8],
        bytes: usize,
        found: &mut impl FnMut(Detector, Range<usize>),
    ) -> bool {
        let until = self.at.saturating_add(bytes).min(text.len());
        while self.tokens && self.at < until {
            self.run(text, found);
        }
        // Runs may have gone further, to the end of the text: whoever is done has looked at all of it for all.
        self.at = self.at.max(until);
        if self.set.has(Detector::Email) {
            self.mails(text, self.at, found);
        }
        if self.numbers {
            self.digits(text, self.at, found);
        }
        self.at >= text.len()
    }

    fn mails(&mut self, text: &[u8], until: usize, found: &mut impl FnMut(Detector, Range<usize>)) {
        while self.mail_at < until {
            let Some(sign) = memchr(b'@', &text[self.mail_at..until]) else {
                self.mail_at = until;
                return;
            };
            let sign = self.mail_at + sign;
            match mail_at(text, sign) {
                Some(range) => {
                    self.mail_at = range.end;
                    found(Detector::Email, behind_escape(text, range));
                }
                None => self.mail_at = sign + 1,
            }
        }
    }

    /// Goes to the next run of bytes that can belong together and is long enough, or some way towards it.
    fn run(&mut self, text: &[u8], found: &mut impl FnMut(Detector, Range<usize>)) {
        let start = self.at;
        let Some(first) = text.get(start..start + TOKEN_MIN) else {
            self.at = text.len();
            return;
        };
        // Most words are short: from the end of what a run has at least, few bytes tell that none begins here.
        if let Some(gap) = first.iter().rposition(|byte| CLASSES[usize::from(*byte)] == 0) {
            self.at = start + gap + 1;
            return;
        }
        let end = text.len().min(start + RUN_MAX);
        let mut all = 0;
        let length = text[start..end].iter().map(|byte| CLASSES[usize::from(*byte)]).take_while(|class| {
            all |= class;
            *class != 0
        });
        let at = start + length.count();
        // One that is found in it may reach beyond it.
        self.at = if at < end { at + 1 } else { at };
        self.in_run(text, start..at, all, found);
    }

    fn digits(&mut self, text: &[u8], until: usize, found: &mut impl FnMut(Detector, Range<usize>)) {
        while self.digits_at < until {
            let Some(next) = next_digit(&text[self.digits_at..until]) else {
                self.digits_at = until;
                return;
            };
            let at = self.digits_at + next;
            // A long text of digits alone is cut as others are.
            let length = text[at..].iter().take(RUN_MAX).take_while(|byte| byte.is_ascii_digit()).count();
            self.digits_at = at + length;
            if let Some((detector, range)) = number(text, at, length, self.set) {
                self.digits_at = range.end.max(at + length);
                found(detector, range);
            }
        }
    }

    /// Keys, tokens and random texts.
    fn in_run(
        &mut self,
        text: &[u8],
        run: Range<usize>,
        all: u8,
        found: &mut impl FnMut(Detector, Range<usize>),
    ) {
        let mut start = run.start;
        // The letter of an escape that was written twice.
        if start > 0 && text[start - 1] == b'\\' && matches!(text[start], b'n' | b't' | b'r' | b'b' | b'f') {
            start += 1;
        }
        let (mut at, mut piece, mut words, mut longest) = (start, 0, 0, 0);
        while at < run.end {
            let byte = text[at];
            if CLASSES[usize::from(byte)] & class::WORD != 0 {
                if piece == 0
                    && let Some((detector, range)) = self.named(text, at)
                {
                    at = range.end;
                    found(detector, range);
                    continue;
                }
                (piece, words) = (piece + 1, words + 1);
                longest = longest.max(piece);
            } else {
                piece = 0;
                if byte == b'-' && self.set.has(Detector::Pem) && text[at..].starts_with(BEGIN) {
                    let range = pem(text, at).at;
                    at = range.end;
                    found(Detector::Pem, range);
                    continue;
                }
            }
            at += 1;
        }
        self.at = self.at.max(at);
        if self.set.has(Detector::Random) {
            let what = Run { all, words, longest, ..Run::default() };
            let searches: [(bool, Search); 2] =
                [(what.may_be_random(), random), (what.may_be_base64(), base64)];
            // One after the other: to begin both anew behind each find would go over the run again and again.
            for (_, search) in searches.into_iter().filter(|(may_be, _)| *may_be) {
                let mut from = start;
                while let Some(one) = search(text, &(from..run.end)) {
                    from = one.at.end;
                    found(Detector::Random, one.at);
                }
            }
        }
    }

    /// A key or a token that begins here.
    fn named(&mut self, text: &[u8], at: usize) -> Option<(Detector, Range<usize>)> {
        if self.set.has(Detector::Key)
            && let Some(found) = key(text, at)
        {
            return Some((Detector::Key, without_dots(text, found.at)));
        }
        if self.set.has(Detector::Jwt)
            && let Some(found) = jwt(text, at, &mut self.no_jwt)
        {
            return Some((Detector::Jwt, without_dots(text, found.at)));
        }
        None
    }
}

/// Where the first digit stands.
fn next_digit(text: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let (eights, rest) = text.as_chunks::<8>();
    for (i, eight) in eights.iter().enumerate() {
        // Each byte is below ten then if it is a digit, and none carries into another.
        let word = u64::from_le_bytes(*eight) ^ (ONES * u64::from(b'0'));
        let others = ((word & (ONES * 0x7f)) + ONES * (0x80 - 10)) | word;
        let digits = !others & (ONES * 0x80);
        if digits != 0 {
            return Some(i * 8 + digits.trailing_zeros() as usize / 8);
        }
    }
    let before = text.len() - rest.len();
    rest.iter().position(u8::is_ascii_digit).map(|at| before + at)
}

/// Dots at the end are those of a sentence.
fn without_dots(text: &[u8], Range { start, mut end }: Range<usize>) -> Range<usize> {
    while end > start + 1 && text[end - 1] == b'.' {
        end -= 1;
    }
    start..end
}

/// What is found begins behind an escape that was written twice: what is left of that would be no escape.
fn behind_escape(text: &[u8], range: Range<usize>) -> Range<usize> {
    let Some(before) = range.start.checked_sub(1).filter(|it| text[*it] == b'\\') else { return range };
    let slashes = text[..before].iter().rev().take(64).take_while(|byte| **byte == b'\\').count();
    if slashes % 2 == 1 {
        return range;
    }
    let length = match text[range.start] {
        b'u' => 5,
        b'n' | b't' | b'r' | b'b' | b'f' => 1,
        _ => 0,
    };
    range.start + length..range.end
}
