//! Finds what looks like a secret or names a person: keys of well-known services, signed tokens, private keys, long random
//! texts, addresses of mail, numbers of cards, telephones, accounts and persons.
//!
//! Two look: records, for the first that nobody wants in them ([`first`]), and filters, for all of a chosen kind ([`Scan`]).
//! Knows nothing of where a text comes from, and changes none. It goes by shape and check digits alone: a secret that looks
//! like words is not found, and an id that looks like a key is. The invariants: the time is linear in the text, whatever it
//! is; nothing is allocated; what is found lies within the text.

use std::ops::Range;

use memchr::{memchr, memmem};

mod number;
mod scan;

pub use self::scan::Scan;

/// What a part of a text looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A key of a well-known service, or of ours, by its beginning.
    Key,
    /// A signed or encrypted token (JWS, JWE).
    Jwt,
    /// A key or certificate in PEM, as far as it goes.
    Pem,
    /// A long text without words.
    Random,
    /// An address of mail.
    Mail,
    /// The number of a card, by its check digit.
    Card,
}

/// A part of a text that looks like a secret or names a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it looks like.
    pub shape: Shape,
    /// Where it stands.
    pub at: Range<usize>,
}

/// The shortest address of mail.
const MAIL_MIN: usize = 6;
/// How much of the text before its sign may belong to an address.
const LOCAL_MAX: usize = 64;
/// The shortest of all others: whatever is shorter and has no `@` is nothing of all this.
pub const WITHOUT_AT_MIN: usize = 10;

/// How keys begin that no word begins like, and how many letters, digits, `-` and `_` have to stand behind that.
const KEYS: [&[u8]; 38] = [
    b"AGE-SECRET-KEY-",
    b"AIza",
    b"AKIA",
    b"ASIA",
    b"EAACEdEose0cBA",
    b"dckr_pat_",
    b"dop_v1_",
    b"ghp_",
    b"gho_",
    b"ghr_",
    b"ghs_",
    b"ghu_",
    b"github_pat_",
    b"glpat-",
    b"lin_api_",
    b"ntn_",
    b"pat-na1-",
    b"phc_",
    b"pscale_tkn_",
    b"rk_live_",
    b"rk_test_",
    b"rr_bootstrap_",
    b"rr_key_",
    b"rr_token_",
    b"shpat_",
    b"shpca_",
    b"shppa_",
    b"shpss_",
    b"sk_live_",
    b"sk_test_",
    b"sq0atp-",
    b"sq0csp-",
    b"tskey-",
    b"whsec_",
    b"xapp-",
    b"xoxb-",
    b"xoxe-",
    b"xoxp-",
];
const BEHIND_MIN: usize = 8;

/// How keys begin that a word could begin like: more has to stand behind it, and a digit in that.
const SHORT_KEYS: [&[u8]; 10] =
    [b"SG.", b"gsk_", b"hf_", b"hvs.", b"npm_", b"pypi-", b"sk-", b"vercel_", b"xoxa-", b"ya29."];
const BEHIND_SHORT_MIN: usize = 20;
/// How much of that is looked at for the digit.
const LOOKED_AT: usize = 64;

/// The kinds of bytes, as they tell random texts from words: each a bit.
mod class {
    pub(super) const LOWER: u8 = 1;
    pub(super) const UPPER: u8 = 2;
    pub(super) const DIGIT: u8 = 4;
    pub(super) const WORD: u8 = LOWER | UPPER | DIGIT;
    /// Stands within random texts as well as between words.
    pub(super) const SIGN: u8 = 8;
    /// Stands between the parts of a token.
    pub(super) const DOT: u8 = 16;
    /// Stands within random texts of the common base64, and between the segments of a path.
    pub(super) const SLASH: u8 = 32;
    /// Fills up what is of base64, and stands behind names.
    pub(super) const EQUALS: u8 = 64;
}

/// Of each byte; 0 ends whatever it stands behind.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' => class::LOWER,
            b'A'..=b'Z' => class::UPPER,
            b'0'..=b'9' => class::DIGIT,
            b'-' | b'_' | b'~' | b'+' => class::SIGN,
            b'.' => class::DOT,
            b'/' => class::SLASH,
            b'=' => class::EQUALS,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

fn class_of(byte: u8) -> u8 {
    CLASSES[usize::from(byte)]
}

/// Finds the first such part; of two that begin alike, either.
pub fn first(text: &[u8]) -> Option<Found> {
    if text.len() < MAIL_MIN {
        return None;
    }
    let mail = mail(text);
    if text.len() < WITHOUT_AT_MIN {
        return mail;
    }
    let (in_runs, digits) = in_runs(text);
    let card = if digits >= number::CARD_MIN { card(text) } else { None };
    earlier(earlier(mail, card), in_runs)
}

fn earlier(one: Option<Found>, other: Option<Found>) -> Option<Found> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other.at.start < one.at.start { other } else { one }),
        (one, other) => one.or(other),
    }
}

/// Finds each such part, one behind the other.
pub fn all(text: &[u8]) -> impl Iterator<Item = Found> {
    // What each search found last, and whether it may find more: no search goes over a byte twice but where two overlap.
    let mut searches: [(Option<Found>, bool); 3] = [(None, true), (None, true), (None, true)];
    let mut from = 0;
    std::iter::from_fn(move || {
        for (kind, (found, goes_on)) in searches.iter_mut().enumerate() {
            if !*goes_on || found.as_ref().is_some_and(|found| found.at.start >= from) {
                continue;
            }
            let rest = text.get(from..)?;
            *found = match kind {
                0 => mail(rest),
                1 => card(rest),
                _ => in_runs(rest).0,
            }
            .map(|Found { shape, at }| Found { shape, at: from + at.start..from + at.end });
            *goes_on = found.is_some();
        }
        let next = searches
            .iter()
            .filter_map(|(found, _)| found.as_ref())
            .min_by_key(|found| found.at.start)?
            .clone();
        from = next.at.end;
        Some(next)
    })
}

fn mail(text: &[u8]) -> Option<Found> {
    let mut from = 0;
    while let Some(sign) = memchr(b'@', &text[from..]) {
        let sign = from + sign;
        if let Some(at) = mail_at(text, sign) {
            return Some(Found { shape: Shape::Mail, at });
        }
        from = sign + 1;
    }
    None
}

/// The longest host of an address.
const HOST_MAX: usize = 253;

/// The address around this `@`.
fn mail_at(text: &[u8], sign: usize) -> Option<Range<usize>> {
    let is_local = |byte: u8| byte.is_ascii_alphanumeric() || byte >= 0x80 || b"._%+-'".contains(&byte);
    let is_label = |byte: u8| byte.is_ascii_alphanumeric() || byte >= 0x80 || byte == b'-';
    let before = text[..sign].iter().rev().take(LOCAL_MAX).take_while(|byte| is_local(**byte)).count();
    if before == 0 {
        return None;
    }
    let behind = &text[sign + 1..];
    let host = behind.iter().take(HOST_MAX).take_while(|byte| is_label(**byte) || **byte == b'.').count();
    // A dot at the end is that of a sentence.
    let trimmed = behind[..host].iter().rev().skip_while(|byte| **byte == b'.').count();
    let is_host = behind[..trimmed]
        .iter()
        .rposition(|byte| *byte == b'.')
        // A version (`a@1.2.34`) and an address of a machine end in digits, and no domain does.
        .is_some_and(|dot| {
            dot > 0 && trimmed - dot > 2 && !behind[dot + 1..trimmed].iter().all(u8::is_ascii_digit)
        });
    is_host.then_some(sign - before..sign + 1 + trimmed)
}

/// What a key or certificate in PEM begins with.
const BEGIN: &[u8] = b"-----BEGIN";

fn pem(text: &[u8], start: usize) -> Found {
    const END: &[u8] = b"-----END";
    let end = memmem::find(&text[start..], END).map_or(text.len(), |end| {
        let behind = start + end + END.len();
        memmem::find(&text[behind..], b"-----").map_or(text.len(), |dashes| behind + dashes + 5)
    });
    Found { shape: Shape::Pem, at: start..end }
}

/// Digits in one piece, or in the groups in which cards show them.
fn card(text: &[u8]) -> Option<Found> {
    let mut at = 0;
    while at < text.len() {
        let length = text[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if length >= 4
            && let Some(end) = number::card_at(text, at)
        {
            return Some(Found { shape: Shape::Card, at: at..end });
        }
        at += length.max(1);
    }
    None
}

/// Keys, tokens and random texts: what has no space in it. Also how many digits there are before it.
fn in_runs(text: &[u8]) -> (Option<Found>, usize) {
    let (mut run, mut digits) = (Run::default(), 0);
    for (at, &byte) in text.iter().enumerate() {
        let class = class_of(byte);
        if class & class::WORD != 0 {
            if run.piece == 0 && run.named.is_none() {
                run.named = key(text, at).or_else(|| jwt(text, at, &mut run.no_jwt));
            }
            run.all |= class;
            run.words += 1;
            run.piece += 1;
            run.longest = run.longest.max(run.piece);
            digits += usize::from(class == class::DIGIT);
        } else if class != 0 {
            run.all |= class;
            run.piece = 0;
            if byte == b'-' && run.named.is_none() && text[at..].starts_with(BEGIN) {
                run.named = Some(pem(text, at));
            }
        } else {
            if run.words >= MIXED_MIN || run.named.is_some() {
                let found = run.found(text, at);
                if found.is_some() {
                    return (found, digits);
                }
            }
            run = Run { start: at + 1, ..Run::default() };
        }
    }
    (run.found(text, text.len()), digits)
}

/// A part of a text without a space, as far as it was read.
#[derive(Default)]
struct Run {
    start: usize,
    /// The kinds of bytes that it has.
    all: u8,
    /// Letters and digits.
    words: usize,
    /// Those behind the last other sign, and the most in one piece.
    piece: usize,
    longest: usize,
    /// What it has by its beginning.
    named: Option<Found>,
    /// No token begins before this place.
    no_jwt: usize,
}

impl Run {
    /// The first that there is in it. Few runs are long enough to be looked at again.
    fn found(mut self, text: &[u8], end: usize) -> Option<Found> {
        let named = self.named.take();
        earlier(named, self.random(text, &(self.start..end)))
    }

    /// The first text in a part of it that is random.
    fn random(&self, text: &[u8], part: &Range<usize>) -> Option<Found> {
        let random = if self.may_be_random() { random(text, part) } else { None };
        let base64 = if self.may_be_base64() { base64(text, part) } else { None };
        earlier(random, base64)
    }

    fn may_be_random(&self) -> bool {
        (self.is_mixed() && self.words >= MIXED_MIN) || self.longest >= PLAIN_MIN
    }

    fn may_be_base64(&self) -> bool {
        self.is_mixed() && self.all & (class::SLASH | class::SIGN) != 0 && self.words >= BASE64_MIN
    }

    fn is_mixed(&self) -> bool {
        self.all & class::WORD == class::WORD
    }
}

/// How many letters and digits tell a random text, of both cases, and of one.
const MIXED_MIN: usize = 20;
const PLAIN_MIN: usize = 32;

fn random(text: &[u8], run: &Range<usize>) -> Option<Found> {
    let (mut mixed, mut plain) = (Window::default(), Window::default());
    for at in run.clone() {
        match class_of(text[at]) {
            class if class & class::WORD != 0 => {
                mixed.push(class);
                plain.push(class);
            }
            class::SIGN => {
                // Words of a name begin anew behind it, each with a capital or not.
                mixed.pause();
                plain = Window::default();
            }
            _ => (mixed, plain) = (Window::default(), Window::default()),
        }
        let is_mixed = mixed.is_mixed();
        if is_mixed || plain.is_plain() {
            let Range { mut start, end } = piece(text, at, run);
            if is_mixed {
                start = before_slashes(text, start, run.start);
            }
            return Some(Found { shape: Shape::Random, at: start..end });
        }
    }
    None
}

/// Forty signs of base64 that stand alone, as the secret keys of AWS are: a slash would tear them apart.
fn base64(text: &[u8], run: &Range<usize>) -> Option<Found> {
    let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let mut at = run.start;
    while at < run.end {
        let length = text[at..run.end].iter().take_while(|byte| is_sign(**byte)).count();
        if length == BASE64_LENGTH {
            let mut window = Window::default();
            let words =
                text[at..at + length].iter().map(|byte| class_of(*byte)).filter(|it| it & class::WORD != 0);
            words.for_each(|class| window.push(class));
            let Window { changes, lower, upper, digits, .. } = window;
            if changes.count_ones() >= 14 && [lower, upper, digits].iter().all(|bits| *bits != 0) {
                return Some(Found { shape: Shape::Random, at: at..at + length });
            }
        }
        at += length + 1;
    }
    None
}

const BASE64_LENGTH: usize = 40;
/// Most of its signs are letters and digits.
const BASE64_MIN: usize = 30;

/// All around a place that belongs together: rather too much than too little of what follows.
fn piece(text: &[u8], at: usize, run: &Range<usize>) -> Range<usize> {
    let count = |bytes: &mut dyn Iterator<Item = &u8>, kinds: u8| {
        bytes.take_while(|byte| class_of(**byte) & kinds != 0).count()
    };
    let part = class::WORD | class::SIGN;
    let start = at - count(&mut text[run.start..at].iter().rev(), part);
    let end = at + count(&mut text[at..run.end].iter(), part | class::SLASH | class::EQUALS);
    start..end
}

/// Where base64 begins of which this is the part behind a slash: words of a path change less between kinds of letters.
fn before_slashes(text: &[u8], mut start: usize, from: usize) -> usize {
    while start > from && class_of(text[start - 1]) == class::SLASH {
        let (mut window, mut length) = (Window::default(), 0);
        let segment = text[from..start - 1].iter().rev().map(|byte| class_of(*byte));
        for class in segment.take_while(|class| class & (class::WORD | class::SIGN) != 0) {
            length += 1;
            if class & class::WORD != 0 {
                window.push(class);
            }
        }
        let is_random = window.changes.count_ones() as usize * 3 >= length.min(64);
        if !is_random || length == 0 {
            break;
        }
        start -= length + 1;
    }
    start
}

fn key(text: &[u8], at: usize) -> Option<Found> {
    // Most words are told from all of them by two letters.
    let begins_so = matches!(
        (text[at], text.get(at + 1)),
        (b'A', Some(b'G' | b'I' | b'K' | b'S'))
            | (b'S', Some(b'G'))
            | (b'E', Some(b'A'))
            | (b'd', Some(b'c' | b'o'))
            | (b'g', Some(b'h' | b'i' | b'l' | b's'))
            | (b'h', Some(b'f' | b'v'))
            | (b'l', Some(b'i'))
            | (b'n', Some(b'p' | b't'))
            | (b'p', Some(b'a' | b'h' | b's' | b'y'))
            | (b't', Some(b's'))
            | (b'v', Some(b'e'))
            | (b'r', Some(b'k' | b'r'))
            | (b's', Some(b'h' | b'k' | b'q'))
            | (b'w', Some(b'h'))
            | (b'x', Some(b'a' | b'o'))
            | (b'y', Some(b'a'))
    );
    if !begins_so {
        return None;
    }
    let rest = &text[at..];
    let begins = |keys: &[&[u8]]| keys.iter().find(|key| rest.starts_with(key)).map(|key| key.len());
    let behind = |from: usize, most: usize| {
        let is_part = |byte: &&u8| matches!(byte, b'-' | b'_' | b'.') || byte.is_ascii_alphanumeric();
        rest[from..].iter().take(most).take_while(is_part).count()
    };
    let long = || begins(&KEYS).filter(|from| behind(*from, BEHIND_MIN) == BEHIND_MIN);
    let short = || {
        begins(&SHORT_KEYS).filter(|from| {
            let length = behind(*from, LOOKED_AT);
            length >= BEHIND_SHORT_MIN && rest[*from..*from + length].iter().any(u8::is_ascii_digit)
        })
    };
    let from = long().or_else(short)?;
    Some(Found { shape: Shape::Key, at: at..at + from + behind(from, usize::MAX) })
}

/// `eyJ` is how base64 of a JSON object begins. Notes how far there is none.
fn jwt(text: &[u8], at: usize, none: &mut usize) -> Option<Found> {
    let rest = &text[at..];
    if at < *none || !rest.starts_with(b"eyJ") {
        return None;
    }
    let is_part = |byte: &&u8| matches!(byte, b'-' | b'_') || byte.is_ascii_alphanumeric();
    let head = rest.iter().take_while(is_part).count();
    let has_claims = rest.get(head + 1).is_some_and(|byte| is_part(&byte));
    if rest.get(head) != Some(&b'.') || head < BEHIND_MIN || !has_claims {
        *none = at + head;
        return None;
    }
    let all = rest.iter().take_while(|byte| is_part(byte) || matches!(byte, b'.' | b'=')).count();
    Some(Found { shape: Shape::Jwt, at: at..at + all })
}

/// The last letters and digits: of each, what it is, and whether it is of another kind than the one before.
#[derive(Clone, Copy, Default)]
struct Window {
    length: usize,
    /// 0: what comes next is no change.
    before: u8,
    changes: u64,
    lower: u64,
    upper: u64,
    digits: u64,
}

impl Window {
    fn push(&mut self, class: u8) {
        let is_change = self.before != 0 && self.before != class;
        let push = |bits: &mut u64, is: bool| *bits = *bits << 1 | u64::from(is);
        push(&mut self.changes, is_change);
        push(&mut self.lower, class == class::LOWER);
        push(&mut self.upper, class == class::UPPER);
        push(&mut self.digits, class == class::DIGIT);
        self.before = class;
        self.length += 1;
    }

    fn pause(&mut self) {
        self.before = 0;
    }

    /// Of letters of both cases and digits, and in no order that words have.
    fn is_mixed(&self) -> bool {
        const LAST: u64 = (1 << MIXED_MIN) - 1;
        self.length >= MIXED_MIN
            && (self.changes & LAST).count_ones() >= 8
            && [self.lower, self.upper, self.digits].iter().all(|bits| bits & LAST != 0)
    }

    /// Of letters of one case and digits, as hexadecimal and base32 are.
    fn is_plain(&self) -> bool {
        const LAST: u64 = (1 << PLAIN_MIN) - 1;
        self.length >= PLAIN_MIN
            && (self.changes & LAST).count_ones() >= 6
            && (self.lower & LAST == 0) != (self.upper & LAST == 0)
    }
}

#[cfg(test)]
mod tests;
