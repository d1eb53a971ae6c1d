//! A reader of JSON that keeps what others drop: every occurrence of a duplicate key, every digit of a number.
//!
//! Takes RFC 8259 and nothing else. Half a surrogate pair stands for U+FFFD. Documents nested deeper than a path
//! can name are refused.

use std::borrow::Cow;

use rr_domain::model::json_path::DEPTH_MAX;

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

    /// Reads the start of a value. Of a container, the members or elements are to be read next.
    pub(crate) fn value(&mut self) -> Result<Value<'a>, JsonError> {
        self.space();
        match self.peek() {
            Some(b'{') => self.enter(Value::Object),
            Some(b'[') => self.enter(Value::Array),
            Some(b'"') => self.string().map(Value::Text),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            _ => {
                let rest = &self.text[self.at..];
                let word = ["true", "false", "null"].into_iter().find(|word| rest.starts_with(word));
                let word = word.ok_or(JsonError::Syntax(self.at))?;
                self.at += word.len();
                Ok(Value::Word(word))
            }
        }
    }

    /// The key of the next member, its colon read too; `None` when the object ends. `first` until there was one.
    pub(crate) fn member(&mut self, first: bool) -> Result<Option<Text<'a>>, JsonError> {
        if self.ends(b'}', first)? {
            return Ok(None);
        }
        if self.peek() != Some(b'"') {
            return Err(JsonError::Syntax(self.at));
        }
        let key = self.string()?;
        self.space();
        self.expect(b':')?;
        Ok(Some(key))
    }

    /// Whether there is another element. `first` until there was one.
    pub(crate) fn element(&mut self, first: bool) -> Result<bool, JsonError> {
        self.ends(b']', first).map(|ends| !ends)
    }

    /// Reads what is left of a value.
    pub(crate) fn skip(&mut self, value: Value<'a>) -> Result<(), JsonError> {
        let mut first = true;
        match value {
            Value::Object => {
                while self.member(first)?.is_some() {
                    first = false;
                    let value = self.value()?;
                    self.skip(value)?;
                }
            }
            Value::Array => {
                while self.element(first)? {
                    first = false;
                    let value = self.value()?;
                    self.skip(value)?;
                }
            }
            Value::Text(_) | Value::Number(_) | Value::Word(_) => {}
        }
        Ok(())
    }

    /// Nothing but space may follow the document.
    pub(crate) fn end(mut self) -> Result<(), JsonError> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { Err(JsonError::Syntax(self.at)) }
    }

    fn enter(&mut self, value: Value<'a>) -> Result<Value<'a>, JsonError> {
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(JsonError::Depth) } else { Ok(value) }
    }

    fn ends(&mut self, close: u8, first: bool) -> Result<bool, JsonError> {
        self.space();
        if self.peek() == Some(close) {
            self.at += 1;
            self.depth -= 1;
            return Ok(true);
        }
        if !first {
            self.expect(b',')?;
            self.space();
        }
        Ok(false)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.peek() != Some(byte) {
            return Err(JsonError::Syntax(self.at));
        }
        self.at += 1;
        Ok(())
    }

    fn string(&mut self) -> Result<Text<'a>, JsonError> {
        let start = self.at;
        let mut escaped = false;
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 1;
                    match self.peek() {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {}
                        Some(b'u') => {
                            let digits = self.text.as_bytes().get(self.at + 1..self.at + 5);
                            if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                                return Err(JsonError::Syntax(self.at));
                            }
                            self.at += 4;
                        }
                        _ => return Err(JsonError::Syntax(self.at)),
                    }
                }
                Some(0x20..) => {}
                _ => return Err(JsonError::Syntax(self.at)),
            }
            self.at += 1;
        }
        self.at += 1;
        Ok(Text { raw: &self.text[start..self.at], escaped })
    }

    fn number(&mut self) -> Result<&'a str, JsonError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(JsonError::Syntax(start)) } else { Ok(()) }
    }
}

impl<'a> Text<'a> {
    /// What it stands for.
    pub(crate) fn unescaped(&self) -> Cow<'a, str> {
        let inner = &self.raw[1..self.raw.len() - 1];
        if self.escaped { Cow::Owned(unescape(inner)) } else { Cow::Borrowed(inner) }
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(document: &[u8]) -> Result<(), JsonError> {
        let mut reader = Reader::new(document)?;
        let value = reader.value()?;
        reader.skip(value)?;
        reader.end()
    }

    fn unescaped(document: &str) -> String {
        match Reader::new(document.as_bytes()).expect("UTF-8").value() {
            Ok(Value::Text(text)) => text.unescaped().into_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_depth_is_bounded_and_the_bound_can_be_reached() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(read(nested(DEPTH_MAX).as_bytes()), Ok(()));
        assert_eq!(read(nested(DEPTH_MAX + 1).as_bytes()), Err(JsonError::Depth));
        assert_eq!(read("[".repeat(1_000_000).as_bytes()), Err(JsonError::Depth));
        let wide = format!("[{}1]", "[],".repeat(1000));
        assert_eq!(read(wide.as_bytes()), Ok(()));
    }

    #[test]
    fn texts_are_unescaped_as_others_do() {
        for text in [r#""a\u00e4\n\"\\\/""#, r#""\ud83d\ude00x""#, r#""""#] {
            assert_eq!(unescaped(text), serde_json::from_str::<String>(text).expect("a text"), "{text}");
        }
        assert_eq!(unescaped(r#""\ud83dx\ude00\ud83d\u0041""#), "\u{fffd}x\u{fffd}\u{fffd}A");
    }

    #[test]
    fn what_is_not_json_is_refused_where_it_goes_wrong() {
        for (document, at) in
            [("{\"a\":1,}", 7), ("[1,]", 3), ("01", 1), ("", 0), ("[1 2]", 3), ("nul", 0), ("'a'", 0)]
        {
            assert_eq!(read(document.as_bytes()), Err(JsonError::Syntax(at)), "{document}");
        }
        assert_eq!(read(b"\"\xff\""), Err(JsonError::Encoding(1)));
        assert!(read("\u{feff}1".as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn it_takes_exactly_what_serde_json_takes(document in "[\\[\\]{},:\"\\\\/abtrue0nlf.eE+\\- \n1]{0,16}|\\{(\"a\\\\?[nux\"]?\":(-?0\\.?1?e?|\"\\\\u00?e4?\"|\\[1?,?2?\\]),?){0,3}\\}") {
            let wanted = serde_json::from_str::<serde::de::IgnoredAny>(&document).is_ok();
            prop_assert_eq!(read(document.as_bytes()).is_ok(), wanted, "{}", document);
        }

        #[test]
        fn no_bytes_panic(document: Vec<u8>) {
            let wanted = serde_json::from_slice::<serde::de::IgnoredAny>(&document).is_ok();
            prop_assert!(wanted || read(&document).is_err());
        }
    }
}
