//! The elements of a JSON array, by brackets and quotes alone: whoever reads an element finds what is wrong with it.

use memchr::memchr2;

use super::Unframed;

/// Where an element ends.
#[derive(Debug, Default)]
pub(super) struct Array {
    state: State,
    /// Brackets that are open within the element.
    depth: u32,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the bracket that opens the array.
    #[default]
    Before,
    /// Between quotes, and not.
    Text,
    Open,
    /// The next byte is part of an escape.
    Escape,
    /// Behind the bracket that closes the array.
    Over,
}

impl Array {
    /// Where the element under way ends in a piece: behind its comma, or behind the bracket that closes the array.
    pub(super) fn end(&mut self, piece: &[u8]) -> Result<Option<usize>, Unframed> {
        let mut at = 0;
        while at < piece.len() {
            let byte = piece[at];
            at += 1;
            match self.state {
                State::Before if byte == b'[' => {
                    self.state = State::Open;
                    return Ok(Some(at));
                }
                State::Before | State::Over if byte.is_ascii_whitespace() => {}
                State::Before | State::Over => return Err(Unframed),
                State::Escape => self.state = State::Text,
                State::Text => {
                    let Some(length) = memchr2(b'"', b'\\', &piece[at - 1..]) else { return Ok(None) };
                    at += length;
                    self.state = if piece[at - 1] == b'"' { State::Open } else { State::Escape };
                }
                State::Open => match byte {
                    b'"' => self.state = State::Text,
                    b'{' | b'[' => self.depth = self.depth.checked_add(1).ok_or(Unframed)?,
                    b'}' | b']' if self.depth > 0 => self.depth -= 1,
                    b',' if self.depth == 0 => return Ok(Some(at)),
                    b']' => {
                        self.state = State::Over;
                        return Ok(Some(at));
                    }
                    b'}' => return Err(Unframed),
                    _ => {}
                },
            }
        }
        Ok(None)
    }

    /// Whether the array was closed.
    pub(super) fn is_over(&self) -> bool {
        self.state == State::Over
    }
}
