//! Server-sent events, as WHATWG HTML has them: lines, ended by a blank one.

use memchr::memchr2;

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Where an event ends.
#[derive(Debug)]
pub(super) struct Events {
    /// Nothing stands on the line yet.
    is_blank: bool,
    /// A line feed behind a carriage return belongs to it.
    after_return: bool,
}

impl Default for Events {
    fn default() -> Self {
        Self { is_blank: true, after_return: false }
    }
}

impl Events {
    /// Whether the next byte begins an event.
    pub(super) fn is_between(&self) -> bool {
        self.is_blank && !self.after_return
    }

    /// Where the event under way ends in a piece that is not empty.
    pub(super) fn end(&mut self, piece: &[u8]) -> Option<usize> {
        let mut at = 0;
        if std::mem::take(&mut self.after_return) && piece[0] == b'\n' {
            at = 1;
        }
        while let Some(length) = memchr2(b'\n', b'\r', &piece[at..]) {
            let is_blank = std::mem::replace(&mut self.is_blank, true) && length == 0;
            let is_return = piece[at + length] == b'\r';
            at += length + 1;
            if is_return {
                match piece.get(at) {
                    Some(b'\n') => at += 1,
                    Some(_) => {}
                    None => self.after_return = true,
                }
            }
            if is_blank {
                return Some(at);
            }
        }
        self.is_blank &= at == piece.len();
        None
    }
}

/// A line: its text, and what ends it.
struct Line<'u> {
    text: &'u [u8],
    end: &'u [u8],
}

fn lines(mut unit: &[u8]) -> impl Iterator<Item = Line<'_>> {
    std::iter::from_fn(move || {
        if unit.is_empty() {
            return None;
        }
        let length = memchr2(b'\n', b'\r', unit).unwrap_or(unit.len());
        let end = match &unit[length..] {
            [b'\r', b'\n', ..] => 2,
            rest => rest.len().min(1),
        };
        let (line, rest) = unit.split_at(length + end);
        unit = rest;
        let (text, end) = line.split_at(length);
        Some(Line { text, end })
    })
}

/// Of a line with data, what stands before these, and the data.
fn value(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let name = text.strip_prefix(BOM).unwrap_or(text).strip_prefix(b"data")?;
    let value = match name {
        [] => name,
        [b':', b' ', value @ ..] | [b':', value @ ..] => value,
        _ => return None,
    };
    Some((&text[..text.len() - value.len()], value))
}

/// The data of an event: of several lines, joined by line feeds.
pub(super) fn data<'u>(unit: &'u [u8], joined: &'u mut Vec<u8>) -> Option<&'u [u8]> {
    let mut values = lines(unit).filter_map(|line| Some(value(line.text)?.1));
    let first = values.next()?;
    let Some(second) = values.next() else { return Some(first) };
    joined.clear();
    joined.extend_from_slice(first);
    for value in std::iter::once(second).chain(values) {
        joined.push(b'\n');
        joined.extend_from_slice(value);
    }
    Some(joined)
}

/// Puts other data in the place of those of an event. All other lines stay.
pub(super) fn rewrite(unit: &[u8], data: &[u8], out: &mut Vec<u8>) {
    let mut is_written = false;
    for line in lines(unit) {
        let Some((before, _)) = value(line.text) else {
            out.extend_from_slice(line.text);
            out.extend_from_slice(line.end);
            continue;
        };
        if std::mem::replace(&mut is_written, true) {
            continue;
        }
        // What is one line to one reader and two to another must be two here.
        let mut before = if before.ends_with(b"data") { b"data:" } else { before };
        for part in data.split(|byte| matches!(byte, b'\n' | b'\r')).filter(|part| !part.is_empty()) {
            out.extend_from_slice(before);
            // That stands at the beginning of a stream alone.
            before = before.strip_prefix(BOM).unwrap_or(before);
            out.extend_from_slice(part);
            out.extend_from_slice(if line.end.is_empty() { b"\n" } else { line.end });
        }
    }
}
