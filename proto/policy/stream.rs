//! Streams of documents: where one ends and the next begins, in whatever pieces they come.
//!
//! Knows server-sent events, lines, the elements of an array, and Amazon's event stream. Looks into no document, checks
//! no checksum, and keeps no more than the part of one document that has come so far. What it says does not depend on
//! where a stream is cut into pieces.

mod array;
mod events;
mod messages;

use memchr::{memchr, memmem, memrchr};

use self::array::Array;
use self::events::Events;
use self::messages::Messages;

/// How long one document with what stands around it may be, in bytes.
pub const UNIT_MAX: usize = 256 * 1024;

/// How documents follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// `text/event-stream`.
    Events,
    /// A document on each line: `application/x-ndjson` and what is called otherwise and is the same.
    Lines,
    /// A JSON array, each of whose elements is a document.
    Array,
    /// `application/vnd.amazon.eventstream`.
    Messages,
}

/// What a stream consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit<'u> {
    /// A document and what stands around it: an event with its blank line, a line with its end, an element with the
    /// comma or bracket behind it, a message. All of them together are the stream, byte for byte.
    Whole(&'u [u8]),
    /// One that is longer than [`UNIT_MAX`]. Its bytes are gone.
    TooLong,
}

/// Who looks at the units of a stream.
pub trait Look {
    /// The next one.
    fn unit(&mut self, framing: Framing, unit: Unit<'_>);

    /// Whether nothing of several whole units, one behind the other, has to be looked at: then none of them comes.
    fn passes_by(&self, framing: Framing, units: &[u8]) -> bool {
        let (_, _) = (framing, units);
        false
    }
}

impl<F: FnMut(Framing, Unit<'_>)> Look for F {
    fn unit(&mut self, framing: Framing, unit: Unit<'_>) {
        self(framing, unit);
    }
}

/// A stream that is not what its framing says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stream is not framed as its type says")]
pub struct Unframed;

/// Takes a stream apart.
#[derive(Debug)]
pub struct Units {
    scan: Scan,
    /// What has come of a unit in earlier pieces.
    kept: Vec<u8>,
    /// The unit under way was too long, and the rest of it goes too.
    is_passing: bool,
}

#[derive(Debug)]
enum Scan {
    Events(Events),
    Lines,
    Array(Array),
    Messages(Messages),
}

impl Framing {
    /// By a media type, without its parameters. An array is told by how a document of JSON begins.
    pub fn of(kind: &[u8]) -> Option<Self> {
        const LINES: [&str; 5] = [
            "application/x-ndjson",
            "application/ndjson",
            "application/jsonl",
            "application/x-jsonlines",
            "application/jsonlines",
        ];
        let is = |name: &str| kind.eq_ignore_ascii_case(name.as_bytes());
        if is("text/event-stream") {
            Some(Self::Events)
        } else if is("application/vnd.amazon.eventstream") {
            Some(Self::Messages)
        } else {
            LINES.into_iter().any(is).then_some(Self::Lines)
        }
    }

    /// The document of a unit; `joined` is where it is put together if it does not stand in one piece. `None`: it has
    /// none, as a comment, a blank line and the mark at the end of a stream have none.
    pub fn document<'u>(self, unit: &'u [u8], joined: &'u mut Vec<u8>) -> Option<&'u [u8]> {
        let document = match self {
            Self::Events => events::data(unit, joined)?,
            Self::Lines => unit,
            Self::Array => unit.strip_suffix(b",").or_else(|| unit.strip_suffix(b"]")).unwrap_or(unit),
            Self::Messages => messages::payload(unit, joined)?,
        };
        let document = document.trim_ascii();
        let is_mark = self == Self::Events && document == b"[DONE]";
        (!document.is_empty() && !is_mark).then_some(document)
    }

    /// Writes a unit anew, with another document in it.
    pub fn rewrite(self, unit: &[u8], document: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Events => events::rewrite(unit, document, out),
            Self::Lines => {
                // A line break within a document of one line would have been none.
                out.extend_from_slice(document);
                let end = if unit.ends_with(b"\r\n") { 2 } else { usize::from(unit.ends_with(b"\n")) };
                out.extend_from_slice(&unit[unit.len() - end..]);
            }
            // Nothing changes these.
            Self::Array | Self::Messages => out.extend_from_slice(unit),
        }
    }
}

impl Units {
    /// From the beginning of a stream.
    pub fn new(framing: Framing) -> Self {
        let scan = match framing {
            Framing::Events => Scan::Events(Events::default()),
            Framing::Lines => Scan::Lines,
            Framing::Array => Scan::Array(Array::default()),
            Framing::Messages => Scan::Messages(Messages::default()),
        };
        Self { scan, kept: Vec::new(), is_passing: false }
    }

    /// How many bytes it has room for.
    pub fn held(&self) -> usize {
        self.kept.capacity()
    }

    /// Takes more of the stream, and shows each unit that ends in it.
    pub fn push(&mut self, mut piece: &[u8], look: &mut impl Look) -> Result<(), Unframed> {
        let framing = self.framing();
        // Once a piece, so that no byte is looked at without end.
        let mut may_pass = true;
        while !piece.is_empty() {
            if may_pass && self.is_between() {
                may_pass = false;
                let end = self.last_end(piece);
                if end > 0 && look.passes_by(framing, &piece[..end]) {
                    piece = &piece[end..];
                    continue;
                }
            }
            let end = match &mut self.scan {
                Scan::Events(events) => events.end(piece),
                Scan::Lines => memchr(b'\n', piece).map(|at| at + 1),
                Scan::Array(array) => array.end(piece)?,
                Scan::Messages(messages) => messages.end(piece)?,
            };
            let (unit, rest) = piece.split_at(end.unwrap_or(piece.len()));
            piece = rest;
            if self.is_passing {
                self.is_passing = end.is_none();
                continue;
            }
            if self.kept.len() + unit.len() > UNIT_MAX {
                self.kept = Vec::new();
                self.is_passing = end.is_none();
                look.unit(framing, Unit::TooLong);
            } else if end.is_none() {
                self.kept.extend_from_slice(unit);
            } else if self.kept.is_empty() {
                look.unit(framing, Unit::Whole(unit));
            } else {
                self.kept.extend_from_slice(unit);
                look.unit(framing, Unit::Whole(&self.kept));
                self.kept.clear();
            }
        }
        Ok(())
    }

    fn framing(&self) -> Framing {
        match self.scan {
            Scan::Events(_) => Framing::Events,
            Scan::Lines => Framing::Lines,
            Scan::Array(_) => Framing::Array,
            Scan::Messages(_) => Framing::Messages,
        }
    }

    /// Whether the next byte begins a unit, of a stream whose units are told by their ends alone.
    fn is_between(&self) -> bool {
        let is_blank = match &self.scan {
            Scan::Events(events) => events.is_between(),
            Scan::Lines => true,
            Scan::Array(_) | Scan::Messages(_) => false,
        };
        is_blank && self.kept.is_empty() && !self.is_passing
    }

    /// Where the last unit ends of those that a piece has whole, as far as that is plain to see; 0: nowhere.
    fn last_end(&self, piece: &[u8]) -> usize {
        // Of more, one could be too long.
        if piece.len() > UNIT_MAX {
            return 0;
        }
        match &self.scan {
            Scan::Events(_) => memmem::rfind(piece, b"\n\n").map_or(0, |at| at + 2),
            Scan::Lines => memrchr(b'\n', piece).map_or(0, |at| at + 1),
            Scan::Array(_) | Scan::Messages(_) => 0,
        }
    }

    /// The stream has ended: what has come of the last unit is all of it. Whether it may end here.
    pub fn finish(&mut self, look: &mut impl Look) -> Result<(), Unframed> {
        let last = std::mem::take(&mut self.kept);
        match &self.scan {
            Scan::Events(_) | Scan::Lines if last.is_empty() => Ok(()),
            Scan::Events(_) | Scan::Lines => {
                look.unit(self.framing(), Unit::Whole(&last));
                Ok(())
            }
            Scan::Array(array) => {
                if array.is_over() {
                    Ok(())
                } else {
                    Err(Unframed)
                }
            }
            Scan::Messages(messages) => {
                if messages.is_between() {
                    Ok(())
                } else {
                    Err(Unframed)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
