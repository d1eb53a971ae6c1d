//! The numbers that a meter reads out of a response, and what they come to over the parts of a stream.
//!
//! A document of its own is a stream of one part; an array at the root is one of its elements. A part that cannot hold a
//! number is not parsed, so that of most parts of a stream nothing is known but where they end.

use http::{HeaderMap, HeaderName};
use memchr::memmem::{Finder, find};

use rr_domain::model::json_path::{JsonPath, Step};
use rr_domain::model::meter::{Fold, Place, Reading};

use crate::json::{JsonError, Value};
use crate::pace::{Pace, at_once};
use crate::path::{Batch, Event, Paths, Search};
use crate::stream::{Framing, Unit};

use super::{Amount, ReadingError};

/// What it is worth as work to find a number and to add it.
const NUMBER: u64 = 4;

/// The numbers of a meter.
#[derive(Debug)]
pub(super) struct Readings {
    all: Box<[CompiledReading]>,
    /// Those in bodies. Numbered on from reading to reading.
    paths: Paths,
    /// Of each path, its reading.
    of_path: Box<[usize]>,
    /// A part of a stream without any of these has no number; `None`: nothing can be told by texts.
    keys: Option<Box<[Finder<'static>]>>,
}

#[derive(Debug)]
struct CompiledReading {
    header: Option<HeaderName>,
    fold: Fold,
}

/// What the numbers of a meter have come to so far.
#[derive(Debug, Clone, Default)]
pub struct Tally(Box<[Folded]>);

#[derive(Debug, Clone, Copy, Default)]
struct Folded {
    /// `None`: there was no number.
    so_far: Option<Result<Amount, ReadingError>>,
    /// A part was too long to be looked at, and no other that would replace it has come since.
    is_unsure: bool,
}

/// Where a document begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// At its root.
    Root,
    /// It is an element of an array at the root.
    Element,
}

impl Readings {
    pub(super) fn compile(readings: &[Reading]) -> Self {
        let all = readings.iter().map(|reading| CompiledReading {
            header: match &reading.place {
                Place::Header(name) => Some(name.clone()),
                Place::Body(_) => None,
            },
            fold: reading.fold,
        });
        let paths = readings.iter().enumerate().flat_map(|(number, reading)| {
            match &reading.place {
                Place::Header(_) => &[][..],
                Place::Body(paths) => paths,
            }
            .iter()
            .map(move |path| (number, path))
        });
        let paths: Vec<(usize, &JsonPath)> = paths.collect();
        Self {
            all: all.collect(),
            of_path: paths.iter().map(|(number, _)| *number).collect(),
            keys: paths.iter().map(|(_, path)| key(path)).collect(),
            paths: Paths::new(paths.iter().map(|(_, path)| *path)),
        }
    }

    pub(super) fn read_body(&self) -> bool {
        !self.of_path.is_empty()
    }

    pub(super) fn tally(&self) -> Tally {
        Tally(vec![Folded::default(); self.all.len()].into())
    }

    pub(super) fn read_headers(&self, headers: &HeaderMap, tally: &mut Tally) {
        for (reading, folded) in self.all.iter().zip(&mut tally.0) {
            let Some(name) = &reading.header else { continue };
            for value in headers.get_all(name) {
                let text = value.to_str().ok().map(str::trim).ok_or(ReadingError::NotANumber);
                folded.add(text.and_then(Amount::parse), reading.fold);
            }
        }
    }

    /// Reads a part of a stream.
    pub(super) fn read_unit(
        &self,
        framing: Framing,
        unit: Unit<'_>,
        tally: &mut Tally,
        joined: &mut Vec<u8>,
    ) {
        let unit = match unit {
            Unit::Whole(unit) => unit,
            Unit::TooLong => {
                // Whatever it held, it would have counted.
                let of_bodies =
                    self.all.iter().zip(&mut tally.0).filter(|(reading, _)| reading.header.is_none());
                of_bodies.for_each(|(_, folded)| folded.is_unsure = true);
                return;
            }
        };
        if self.pass_by(framing, unit) {
            return;
        }
        let Some(document) = framing.document(unit, joined) else { return };
        let at = if framing == Framing::Array { At::Element } else { At::Root };
        // What is no document says nothing.
        at_once(async |pace| self.read(document, at, tally, pace).await).ok();
    }

    /// Whether no number can be in parts of a stream.
    pub(super) fn pass_by(&self, framing: Framing, parts: &[u8]) -> bool {
        // What a message has encoded is not to be seen before it is decoded.
        let keys = self.keys.as_ref().filter(|_| framing != Framing::Messages);
        // The letters of a key can be written as escapes.
        keys.is_some_and(|keys| {
            keys.iter().all(|key| key.find(parts).is_none()) && find(parts, b"\\u").is_none()
        })
    }

    /// Reads a document, whose numbers count once all of it was gone over.
    pub(super) async fn read<R: AsyncFnMut()>(
        &self,
        document: &[u8],
        at: At,
        tally: &mut Tally,
        pace: &mut Pace<R>,
    ) -> Result<(), JsonError> {
        // Whatever is at the places, all of it is gone over.
        pace.spend(1 + document.len() as u64 / 16).await?;
        let mut search = match at {
            At::Root => Search::new(document, &self.paths, Batch::Elements)?,
            At::Element => Search::of_element(document, &self.paths)?,
        };
        let mut sums: Vec<Option<Result<Amount, ReadingError>>> = vec![None; self.of_path.len()];
        while let Some(event) = search.next()? {
            pace.spend(NUMBER).await?;
            match event {
                Event::Found(value, place) => {
                    let number = match value {
                        Value::Number(raw) => Amount::parse(raw),
                        Value::Word("null") => continue,
                        _ => Err(ReadingError::NotANumber),
                    };
                    for path in search.ends(place) {
                        let sum = &mut sums[path as usize];
                        *sum = Some(sum.map_or(number, |sum| added(sum, number)));
                    }
                }
                Event::End => self.fold(&mut sums, tally),
            }
        }
        Ok(())
    }

    /// One part has ended: of the paths of a reading, the first that has numbers in it counts.
    fn fold(&self, sums: &mut [Option<Result<Amount, ReadingError>>], tally: &mut Tally) {
        let mut last = None;
        for (sum, of) in sums.iter_mut().zip(&self.of_path) {
            if let Some(number) = sum.take()
                && last.replace(*of) != Some(*of)
            {
                tally.0[*of].add(number, self.all[*of].fold);
            }
        }
    }
}

/// The last key of a path, as it stands in a document; `None`: it has none, or one that may be written in several ways.
fn key(path: &JsonPath) -> Option<Finder<'static>> {
    let key = path.steps().iter().rev().find_map(|step| match step {
        Step::Key(key) => Some(key),
        Step::Any => None,
    })?;
    let is_plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    is_plain.then(|| Finder::new(format!("\"{key}\"").as_bytes()).into_owned())
}

fn added(
    one: Result<Amount, ReadingError>,
    other: Result<Amount, ReadingError>,
) -> Result<Amount, ReadingError> {
    one?.plus(other?).ok_or(ReadingError::TooLarge)
}

impl Folded {
    fn add(&mut self, number: Result<Amount, ReadingError>, fold: Fold) {
        self.is_unsure &= fold == Fold::Sum;
        self.so_far = Some(match (self.so_far, fold) {
            // A place that had no number once is not one of numbers.
            (Some(Err(error)), _) => Err(error),
            (Some(Ok(_)), Fold::Last) | (None, _) => number,
            (Some(Ok(before)), Fold::Max) => number.map(|number| number.max(before)),
            (Some(before), Fold::Sum) => added(before, number),
        });
    }
}

impl Tally {
    /// Whether a number has come.
    pub fn has_begun(&self) -> bool {
        self.0.iter().any(|folded| folded.so_far.is_some())
    }

    pub(super) fn total(&self) -> Result<Amount, ReadingError> {
        if self.0.iter().any(|folded| folded.is_unsure) {
            return Err(ReadingError::Unseen);
        }
        let mut numbers = self.0.iter().filter_map(|folded| folded.so_far);
        let first = numbers.next().unwrap_or(Err(ReadingError::Missing));
        numbers.fold(first, added)
    }
}
