//! The grammar of JSON below values: space, texts, numbers, words, and whole values that nobody looks into.
//!
//! Works on bytes and positions, many bytes at a time, and never recursively. It takes what RFC 8259 takes, but does
//! not tell whether a text is UTF-8.

use super::JsonError;

/// Brackets that may be open at once: one bit each.
pub(super) const OPEN_MAX: usize = u64::BITS as usize;

/// How a text is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scanned {
    /// Where it ends: behind the closing quote.
    pub(super) end: usize,
    pub(super) escaped: bool,
}

/// The position of the first byte from `at` on that is no space.
#[inline]
pub(super) fn space(bytes: &[u8], mut at: usize) -> usize {
    // Mostly there is none.
    if bytes.get(at).is_none_or(|byte| *byte > b' ') {
        return at;
    }
    while let Some(eight) = bytes[at..].first_chunk::<8>()
        && *eight == [b' '; 8]
    {
        at += 8;
    }
    while matches!(bytes.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

/// Reads a text from behind its opening quote.
#[inline]
pub(super) fn text(bytes: &[u8], at: usize) -> Result<Scanned, JsonError> {
    let end = plain(bytes, at);
    match bytes.get(end) {
        Some(b'"') => Ok(Scanned { end: end + 1, escaped: false }),
        Some(b'\\') => escaped(bytes, end),
        _ => Err(JsonError::Syntax(end)),
    }
}

/// Reads the rest of a text from its first backslash on.
fn escaped(bytes: &[u8], mut at: usize) -> Result<Scanned, JsonError> {
    loop {
        match bytes.get(at) {
            Some(b'"') => return Ok(Scanned { end: at + 1, escaped: true }),
            Some(b'\\') => {
                at += match bytes.get(at + 1) {
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
                    Some(b'u') if bytes[at + 2..].first_chunk().is_some_and(are_hex) => 6,
                    _ => return Err(JsonError::Syntax(at + 1)),
                }
            }
            _ => return Err(JsonError::Syntax(at)),
        }
        at = plain(bytes, at);
    }
}

fn are_hex(digits: &[u8; 4]) -> bool {
    digits.iter().all(u8::is_ascii_hexdigit)
}

/// The position of the first byte from `at` on that does not stand for itself in a text: a quote, a backslash or a
/// control character.
#[inline]
fn plain(bytes: &[u8], mut at: usize) -> usize {
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let special = special(u64::from_le_bytes(*eight));
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|byte| !matches!(byte, ..0x20 | b'"' | b'\\')) {
        at += 1;
    }
    at
}

/// The highest bit of each byte that does not stand for itself. A byte above the lowest of them may be marked too.
#[inline]
fn special(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    // Subtraction carries out of a byte only where that byte is itself marked.
    let below = |word: u64, bound: u8| word.wrapping_sub(ONES * u64::from(bound)) & !word;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (below(word, b' ') | is(b'"') | is(b'\\')) & (ONES << 7)
}

/// Reads a number.
#[inline]
pub(super) fn number(bytes: &[u8], mut at: usize) -> Result<usize, JsonError> {
    if bytes.get(at) == Some(&b'-') {
        at += 1;
    }
    if bytes.get(at) == Some(&b'0') {
        at += 1;
    } else {
        at = digits(bytes, at)?;
    }
    if bytes.get(at) == Some(&b'.') {
        at = digits(bytes, at + 1)?;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1;
        if matches!(bytes.get(at), Some(b'+' | b'-')) {
            at += 1;
        }
        at = digits(bytes, at)?;
    }
    Ok(at)
}

#[inline]
fn digits(bytes: &[u8], start: usize) -> Result<usize, JsonError> {
    let mut at = start;
    while bytes.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    if at == start { Err(JsonError::Syntax(start)) } else { Ok(at) }
}

/// Which word begins here.
#[inline]
pub(super) fn word(bytes: &[u8], at: usize) -> Result<&'static str, JsonError> {
    let word = match bytes.get(at) {
        Some(b't') => "true",
        Some(b'f') => "false",
        Some(b'n') => "null",
        _ => return Err(JsonError::Syntax(at)),
    };
    if bytes[at..].starts_with(word.as_bytes()) { Ok(word) } else { Err(JsonError::Syntax(at)) }
}

/// Reads a whole value, in which up to `more` containers may be open.
#[inline]
pub(super) fn value(bytes: &[u8], at: usize, more: usize) -> Result<usize, JsonError> {
    match bytes.get(at) {
        Some(b'"') => Ok(text(bytes, at + 1)?.end),
        Some(b'{' | b'[') if more == 0 => Err(JsonError::Depth),
        Some(bracket @ (b'{' | b'[')) => rest(bytes, at + 1, *bracket == b'{', more - 1),
        Some(b'-' | b'0'..=b'9') => number(bytes, at),
        _ => Ok(at + word(bytes, at)?.len()),
    }
}

/// Reads the rest of a container from behind its opening bracket to behind its closing one. Up to `more` further
/// ones may be open inside of it, which is less than [`OPEN_MAX`].
pub(super) fn rest(bytes: &[u8], at: usize, object: bool, more: usize) -> Result<usize, JsonError> {
    // The innermost container is the lowest bit; objects are ones.
    let (mut kinds, mut object, mut inside) = (u64::from(object), object, 0);
    let mut at = space(bytes, at);
    if bytes.get(at) == Some(&closing(object)) {
        return Ok(at + 1);
    }
    'item: loop {
        if object {
            at = key(bytes, at)?.1;
        }
        match bytes.get(at) {
            Some(b'"') => at = text(bytes, at + 1)?.end,
            Some(bracket @ (b'{' | b'[')) => {
                if inside == more {
                    return Err(JsonError::Depth);
                }
                inside += 1;
                object = *bracket == b'{';
                kinds = kinds << 1 | u64::from(object);
                at = space(bytes, at + 1);
                if bytes.get(at) != Some(&closing(object)) {
                    continue 'item;
                }
            }
            Some(b'-' | b'0'..=b'9') => at = number(bytes, at)?,
            _ => at += word(bytes, at)?.len(),
        }
        // Behind a value, or at the closing bracket of an empty container.
        loop {
            at = space(bytes, at);
            match bytes.get(at) {
                Some(b',') => {
                    at = space(bytes, at + 1);
                    continue 'item;
                }
                Some(byte) if *byte == closing(object) => {
                    at += 1;
                    if inside == 0 {
                        return Ok(at);
                    }
                    inside -= 1;
                    kinds >>= 1;
                    object = kinds & 1 == 1;
                }
                _ => return Err(JsonError::Syntax(at)),
            }
        }
    }
}

/// The bracket that closes.
#[inline]
pub(super) fn closing(object: bool) -> u8 {
    if object { b'}' } else { b']' }
}

/// Reads a key, and what follows it up to its value.
#[inline]
pub(super) fn key(bytes: &[u8], at: usize) -> Result<(Scanned, usize), JsonError> {
    if bytes.get(at) != Some(&b'"') {
        return Err(JsonError::Syntax(at));
    }
    let key = text(bytes, at + 1)?;
    let colon = space(bytes, key.end);
    if bytes.get(colon) != Some(&b':') {
        return Err(JsonError::Syntax(colon));
    }
    Ok((key, space(bytes, colon + 1)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            8 => b'a'..=b'z',
            1 => any::<u8>(),
            1 => prop::sample::select(b"\"\\ \x1f\x20\x21\x23\x5b\x5d\x7f\x80\xa2\xdc\xff\n".to_vec()),
        ];
        prop::collection::vec(byte, 0..40)
    }

    proptest! {
        #[test]
        fn the_first_byte_that_is_not_plain_is_found_wherever_it_stands(bytes in any_bytes(), from in 0_usize..8) {
            let from = from.min(bytes.len());
            let wanted = bytes[from..].iter().position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\');
            prop_assert_eq!(plain(&bytes, from), wanted.map_or(bytes.len(), |at| from + at));
        }

        #[test]
        fn space_ends_where_something_else_stands(before in "[ \n\r\t]{0,30}", after in "[\u{b}\u{c}\u{a0}a]?[ ]{0,9}") {
            let wanted = if after.trim_start_matches(' ').is_empty() { before.len() + after.len() } else { before.len() };
            prop_assert_eq!(space((before + &after).as_bytes(), 0), wanted);
        }
    }
}
