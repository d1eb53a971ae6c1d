//! The escapes of URLs, JSON and HTML: which character a few bytes stand for.
//!
//! One at a time, and none inside another. Where the bytes are no escape they stand for themselves.

/// The longest escape: `&#x0000041;`.
pub(super) const TOKEN_MAX: u64 = 11;
const DIGITS_MAX: u64 = 7;

/// Which escapes a text is read with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Families {
    url: bool,
    json: bool,
    html: bool,
}

impl Families {
    pub(super) const NONE: Self = Self { url: false, json: false, html: false };
    pub(super) const URL: Self = Self { url: true, ..Self::NONE };
    pub(super) const JSON: Self = Self { json: true, ..Self::NONE };
    pub(super) const HTML: Self = Self { html: true, ..Self::NONE };
    pub(super) const ALL: Self = Self { url: true, json: true, html: true };

    pub(super) const fn has(self, byte: u8) -> bool {
        match byte {
            b'%' => self.url,
            b'\\' => self.json,
            b'&' => self.html,
            _ => false,
        }
    }
}

/// Whether an escape can begin with a byte.
pub(super) const fn begins(byte: u8) -> bool {
    Families::ALL.has(byte)
}

/// What stands at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// A byte that stands for itself.
    Literal,
    Coded(Coded),
    /// It hangs on bytes that have not come yet.
    Unfinished,
}

/// A character, and how many bytes stood for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Coded {
    utf8: [u8; 4],
    count: u8,
    length: u8,
}

impl Coded {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.utf8[..usize::from(self.count)]
    }

    pub(super) fn length(&self) -> u64 {
        self.length.into()
    }

    fn byte(byte: u8, length: u64) -> Token {
        Token::Coded(Self {
            utf8: [byte, 0, 0, 0],
            count: 1,
            length: u8::try_from(length).unwrap_or(u8::MAX),
        })
    }

    fn character(code: u32, length: u64) -> Token {
        let Some(character) = char::from_u32(code) else { return Token::Literal };
        let mut utf8 = [0; 4];
        let count = u8::try_from(character.encode_utf8(&mut utf8).len()).unwrap_or(u8::MAX);
        Token::Coded(Self { utf8, count, length: u8::try_from(length).unwrap_or(u8::MAX) })
    }
}

/// What stands at `at(0)`, read with these escapes. `at` gives `None` behind the last byte that has come.
pub(super) fn token(families: Families, at: impl Fn(u64) -> Option<u8>) -> Token {
    match at(0) {
        None => Token::Unfinished,
        Some(byte) if !families.has(byte) => Token::Literal,
        Some(b'%') => hex(&at, 1, 2).map_or_else(|token| token, |code| Coded::byte(code.to_le_bytes()[0], 3)),
        Some(b'\\') => json(&at),
        Some(_) => html(&at),
    }
}

/// So many hexadecimal digits; `Err`: they are not there.
fn hex(at: &impl Fn(u64) -> Option<u8>, from: u64, count: u64) -> Result<u32, Token> {
    let mut code = 0;
    for place in from..from + count {
        let byte = at(place).ok_or(Token::Unfinished)?;
        code = code * 16 + char::from(byte).to_digit(16).ok_or(Token::Literal)?;
    }
    Ok(code)
}

fn json(at: &impl Fn(u64) -> Option<u8>) -> Token {
    let Some(byte) = at(1) else { return Token::Unfinished };
    let control = match byte {
        b'u' => return hex(at, 2, 4).map_or_else(|token| token, |code| Coded::character(code, 6)),
        b'x' => return hex(at, 2, 2).map_or_else(|token| token, |code| Coded::character(code, 4)),
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        _ if byte.is_ascii_punctuation() => byte,
        _ => return Token::Literal,
    };
    Coded::byte(control, 2)
}

fn html(at: &impl Fn(u64) -> Option<u8>) -> Token {
    if at(1) == Some(b'#') {
        return number(at);
    }
    for (name, byte) in
        [(&b"amp;"[..], b'&'), (b"lt;", b'<'), (b"gt;", b'>'), (b"quot;", b'"'), (b"apos;", b'\'')]
    {
        let mut places = (1..).zip(name);
        match places.find_map(|(place, wanted)| match at(place) {
            None => Some(Token::Unfinished),
            Some(byte) if byte != *wanted => Some(Token::Literal),
            Some(_) => None,
        }) {
            None => return Coded::byte(byte, 1 + name.len() as u64),
            Some(Token::Unfinished) => return Token::Unfinished,
            Some(_) => {}
        }
    }
    Token::Literal
}

fn number(at: &impl Fn(u64) -> Option<u8>) -> Token {
    let (from, radix) = match at(2) {
        None => return Token::Unfinished,
        Some(b'x' | b'X') => (3, 16),
        Some(_) => (2, 10),
    };
    let mut code = 0;
    for place in from..=from + DIGITS_MAX {
        match at(place) {
            None => return Token::Unfinished,
            Some(b';') if place > from => return Coded::character(code, place + 1),
            Some(byte) => match char::from(byte).to_digit(radix) {
                Some(digit) => code = code * radix + digit,
                None => return Token::Literal,
            },
        }
    }
    Token::Literal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(families: Families, text: &str) -> Result<(String, u64), Token> {
        let at = |place: u64| text.as_bytes().get(usize::try_from(place).expect("short")).copied();
        match token(families, at) {
            Token::Coded(coded) => Ok((String::from_utf8_lossy(coded.bytes()).into_owned(), coded.length())),
            other => Err(other),
        }
    }

    #[test]
    fn escapes_of_all_families_stand_for_one_character_each() {
        for (text, wanted, length) in [
            ("%41x", "A", 3),
            ("%2fx", "/", 3),
            ("\\u0041x", "A", 6),
            ("\\u00E9x", "é", 6),
            ("\\x41x", "A", 4),
            ("\\/x", "/", 2),
            ("\\\\x", "\\", 2),
            ("\\nx", "\n", 2),
            ("&amp;x", "&", 5),
            ("&lt;x", "<", 4),
            ("&quot;x", "\"", 6),
            ("&apos;x", "'", 6),
            ("&#65;x", "A", 5),
            ("&#x41;x", "A", 6),
            ("&#X0000041;x", "A", 11),
        ] {
            assert_eq!(read(Families::ALL, text), Ok((wanted.to_owned(), length)), "{text}");
            assert_eq!(read(Families::NONE, text), Err(Token::Literal), "{text}");
            for cut in 1..usize::try_from(length).expect("short") {
                assert_eq!(read(Families::ALL, &text[..cut]), Err(Token::Unfinished), "{text} cut at {cut}");
            }
            assert!(length <= TOKEN_MAX);
        }
    }

    #[test]
    fn what_is_no_escape_stands_for_itself() {
        for text in
            ["%4g", "%g1", "%%41", "\\q", "\\u004g", "\\ud800", "\\xz1", "&a ", "&ampx", "&;", "&#;", "&#x;"]
        {
            assert_eq!(read(Families::ALL, text), Err(Token::Literal), "{text}");
        }
        assert_eq!(read(Families::ALL, "&#00000065;"), Err(Token::Literal), "too long");
        assert_eq!(read(Families::ALL, "&#99999999"), Err(Token::Literal));
    }
}
