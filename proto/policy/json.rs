//! A reader of JSON that keeps what others drop: every occurrence of a duplicate key, every digit of a number.
//!
//! Takes RFC 8259 and nothing else. Half a surrogate pair stands for U+FFFD. Documents nested deeper than a path
//! can name are refused.

mod scan;

use std::borrow::Cow;

use rr_domain::model::json_path::DEPTH_MAX;

const _: () = assert!(DEPTH_MAX <= scan::OPEN_MAX);

/// A document that cannot be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// It is not JSON.
    #[error("not JSON at byte {0}")]
    Syntax(usize),
    /// It is not UTF-8.
    #[error("not UTF-8 at byte {0}")]
    Encoding(usize),
    /// It is nested too deeply.
    #[error("nested deeper than {DEPTH_MAX}")]
    Depth,
    /// It makes more work than it may.
    #[error("makes more work than one request may")]
    TooMuch,
}

/// A text as it is written, quotes included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text<'a> {
    pub(crate) raw: &'a str,
    escaped: bool,
}

/// The start of a value; of a scalar, all of it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    Object,
    Array,
    Text(Text<'a>),
    Number(&'a str),
    /// `true`, `false` or `null`.
    Word(&'static str),
}

/// Where a document is read. Never within a value, but within containers.
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(document: &'a [u8]) -> Result<Self, JsonError> {
        let text = std::str::from_utf8(document).map_err(|error| JsonError::Encoding(error.valid_up_to()))?;
        Ok(Self { text, at: 0, depth: 0 })
    }

    /// The position behind what was read.
    #[inline]
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The position of the next byte that is no space.
    #[inline]
    pub(crate) fn position(&mut self) -> usize {
        self.at = scan::space(self.bytes(), self.at);
        self.at
    }

    /// Reads the start of a value. Of a container, the members or elements are to be read next.
    #[inline]
    pub(crate) fn value(&mut self) -> Result<Value<'a>, JsonError> {
        let start = self.position();
        match self.peek() {
            Some(b'{') => self.enter(Value::Object),
            Some(b'[') => self.enter(Value::Array),
            Some(b'"') => {
                let text = scan::text(self.bytes(), start + 1)?;
                self.at = text.end;
                Ok(Value::Text(Text { raw: &self.text[start..text.end], escaped: text.escaped }))
            }
            Some(b'-' | b'0'..=b'9') => {
                self.at = scan::number(self.bytes(), start)?;
                Ok(Value::Number(&self.text[start..self.at]))
            }
            _ => {
                let word = scan::word(self.bytes(), start)?;
                self.at += word.len();
                Ok(Value::Word(word))
            }
        }
    }

    /// The key of the next member, its colon read too; `None` when the object ends. `first` until there was one.
    #[inline]
    pub(crate) fn member(&mut self, first: bool) -> Result<Option<Text<'a>>, JsonError> {
        if self.ends(b'}', first)? {
            return Ok(None);
        }
        let start = self.at;
        let (key, value) = scan::key(self.bytes(), start)?;
        self.at = value;
        Ok(Some(Text { raw: &self.text[start..key.end], escaped: key.escaped }))
    }

    /// Whether there is another element. `first` until there was one.
    #[inline]
    pub(crate) fn element(&mut self, first: bool) -> Result<bool, JsonError> {
        self.ends(b']', first).map(|ends| !ends)
    }

    /// Whether the next value is an object or an array, whose start is not read yet.
    #[inline]
    pub(crate) fn is_before_container(&mut self) -> bool {
        self.position();
        matches!(self.peek(), Some(b'{' | b'['))
    }

    /// Whether the next value is an array, whose start is not read yet.
    pub(crate) fn is_before_list(&mut self) -> bool {
        self.position();
        self.peek() == Some(b'[')
    }

    /// Reads a whole value, of which nobody asks what it is.
    #[inline]
    pub(crate) fn pass(&mut self) -> Result<(), JsonError> {
        let start = self.position();
        self.at = scan::value(self.bytes(), start, DEPTH_MAX - self.depth)?;
        Ok(())
    }

    /// Nothing but space may follow the document.
    pub(crate) fn end(&mut self) -> Result<(), JsonError> {
        let at = self.position();
        if at == self.text.len() { Ok(()) } else { Err(JsonError::Syntax(at)) }
    }

    #[inline]
    fn enter(&mut self, value: Value<'a>) -> Result<Value<'a>, JsonError> {
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(JsonError::Depth) } else { Ok(value) }
    }

    /// Reads a closing bracket, or the comma before another item, and the space behind the comma.
    #[inline]
    fn ends(&mut self, close: u8, first: bool) -> Result<bool, JsonError> {
        let at = self.position();
        if self.peek() == Some(close) {
            self.at += 1;
            self.depth -= 1;
            return Ok(true);
        }
        if !first {
            if self.peek() != Some(b',') {
                return Err(JsonError::Syntax(at));
            }
            self.at = scan::space(self.bytes(), at + 1);
        }
        Ok(false)
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes().get(self.at).copied()
    }

    #[inline]
    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }
}

impl<'a> Text<'a> {
    /// What it stands for.
    pub(crate) fn unescaped(&self) -> Cow<'a, str> {
        let inner = &self.raw[1..self.raw.len() - 1];
        if self.escaped { Cow::Owned(unescape(inner)) } else { Cow::Borrowed(inner) }
    }
}

/// Where in a text, as it is written, stands what stands at a place in what it stands for. Places are asked for in their order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places<'a> {
    text: Text<'a>,
    raw: usize,
    plain: usize,
}

impl<'a> Places<'a> {
    pub(crate) fn of(text: Text<'a>) -> Self {
        Self { text, raw: 0, plain: 0 }
    }

    /// Of what is written without escapes.
    pub(crate) fn plain(raw: &'a str) -> Self {
        Self::of(Text { raw, escaped: false })
    }

    /// The place within the raw text, of a border between two characters.
    pub(crate) fn raw(&mut self, plain: usize) -> usize {
        if !self.text.escaped {
            return 1 + plain;
        }
        let inner = &self.text.raw[1..self.text.raw.len() - 1];
        while self.plain < plain {
            let rest = &inner[self.raw..];
            let as_it_is = rest.find('\\').unwrap_or(rest.len()).min(plain - self.plain);
            if as_it_is > 0 {
                (self.raw, self.plain) = (self.raw + as_it_is, self.plain + as_it_is);
                continue;
            }
            let (raw, plain) = match rest.as_bytes()[1] {
                b'u' => {
                    let (mut behind, high) = (&rest[6..], unit(&rest[2..]));
                    match char::from_u32(high) {
                        Some(c) => (6, c.len_utf8()),
                        None => match pair(high, &mut behind) {
                            Some(c) => (12, c.len_utf8()),
                            None => (6, char::REPLACEMENT_CHARACTER.len_utf8()),
                        },
                    }
                }
                _ => (2, 1),
            };
            (self.raw, self.plain) = (self.raw + raw, self.plain + plain);
        }
        1 + self.raw
    }
}

fn unescape(mut rest: &str) -> String {
    let mut out = String::with_capacity(rest.len());
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = rest.as_bytes()[at + 1];
        rest = &rest[at + 2..];
        out.push(match escape {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let high = unit(rest);
                rest = &rest[4..];
                match char::from_u32(high) {
                    Some(c) => c,
                    None => pair(high, &mut rest).unwrap_or(char::REPLACEMENT_CHARACTER),
                }
            }
            other => char::from(other),
        });
    }
    out.push_str(rest);
    out
}

/// The character of a surrogate pair, if its second half follows.
fn pair(high: u32, rest: &mut &str) -> Option<char> {
    let low = unit(rest.strip_prefix("\\u")?);
    if !(0xD800..0xDC00).contains(&high) || !(0xDC00..0xE000).contains(&low) {
        return None;
    }
    *rest = &rest[6..];
    char::from_u32(0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00))
}

fn unit(digits: &str) -> u32 {
    u32::from_str_radix(&digits[..4], 16).expect("the reader saw four digits")
}

#[cfg(test)]
mod tests;
