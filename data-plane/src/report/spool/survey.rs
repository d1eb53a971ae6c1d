//! Which frames of a segment file are intact, and the mended file without the missing ones.

use std::ops::Range;

use prost::Message as _;
use rr_contract::wire::fleet;

use super::segment::{Content, Segment, SpoolPosition};
use super::{SpoolHandle, dropped, frame};

/// A frame that is whole, and where it lies.
struct Found {
    first: u64,
    through: u64,
    before: u64,
    bytes: Range<usize>,
    content: Content,
}

/// What a file holds.
pub(super) struct Survey {
    frames: Vec<Found>,
    /// Up to here it has nothing but a header and frames in their order.
    good: usize,
    length: usize,
    has_header: bool,
}

/// A mended file.
pub(super) struct Mended {
    pub(super) bytes: Vec<u8>,
    pub(super) segment: Segment,
    /// Records that are gone, and are counted in it now.
    pub(super) lost: u64,
}

impl Survey {
    /// The last number of the file, and the total with it.
    pub(super) fn end(&self) -> Option<SpoolPosition> {
        let last = self.frames.last()?;
        Some(SpoolPosition { number: last.through, total: last.before + last.content.weight })
    }

    /// The place that the file's first frame follows.
    pub(super) fn beginning(&self) -> Option<SpoolPosition> {
        let first = self.frames.first()?;
        Some(SpoolPosition { number: first.first - 1, total: first.before })
    }

    /// All of it, as far as it was read.
    pub(super) fn content(&self) -> Content {
        self.frames.iter().fold(Content::default(), |mut all, frame| {
            all.add(frame.content);
            all
        })
    }

    pub(super) fn is_gap(&self) -> bool {
        matches!(&*self.frames, [one] if one.through > one.first)
    }

    /// Up to where the file is good.
    pub(super) fn good(&self) -> u64 {
        self.good as u64
    }

    /// Bytes behind that.
    pub(super) fn bad(&self) -> usize {
        self.length - self.good
    }

    /// Whether the file is as it was written, but for what may hang torn on its end.
    pub(super) fn is_whole(&self, first: u64) -> bool {
        let starts = self.frames.first().is_none_or(|frame| frame.first == first);
        let in_order = self.frames.last().is_none_or(|frame| frame.bytes.end == self.good);
        (self.has_header || self.frames.is_empty()) && starts && in_order
    }
}

/// Reads and mends the files of one spool.
pub(super) struct Surveyor<'s> {
    pub(super) handle: &'s SpoolHandle,
    /// What was acknowledged before the start of this process.
    pub(super) acked: SpoolPosition,
}

impl Surveyor<'_> {
    /// Reads a file that may hold `numbers`.
    pub(super) fn survey(&self, bytes: &[u8], numbers: Range<u64>) -> Survey {
        let mut survey = Survey {
            frames: Vec::new(),
            good: frame::HEADER.min(bytes.len()),
            length: bytes.len(),
            has_header: frame::spool_of(bytes) == Some(self.handle.id()),
        };
        let (mut offset, mut expected) = (survey.good, numbers.start);
        let mut in_order = true;
        loop {
            let at_once = frame::read(&self.handle.key, &self.handle.id(), bytes, offset)
                .filter(|frame| frame.label.first == expected)
                .map(|frame| (offset, frame));
            let behind =
                || frame::find(&self.handle.key, &self.handle.id(), bytes, offset, expected..numbers.end);
            let Some((start, found)) = at_once.or_else(behind) else {
                if survey.frames.is_empty() && !survey.has_header {
                    survey.good = 0;
                }
                return survey;
            };
            in_order &= start == offset && found.label.first == expected;
            let mut content = fleet::Batch::decode(found.batch)
                .map_or_else(|_| Content::default(), |batch| Content::of(&batch));
            content.weight = found.label.weight;
            survey.frames.push(Found {
                first: found.label.first,
                through: found.through,
                before: found.label.before,
                bytes: start..found.end,
                content,
            });
            if in_order {
                survey.good = found.end;
            }
            (offset, expected) = (found.end, found.through + 1);
        }
    }

    /// The file that `numbers` are kept in from now on: what is whole of `bytes`, and in the place of what is not a
    /// count of it. Before it, the stream stands at `total`; `behind` says what follows, where that is known.
    pub(super) fn mend(
        &self,
        bytes: &[u8],
        survey: &Survey,
        numbers: Range<u64>,
        total: u64,
        behind: Option<u64>,
    ) -> Mended {
        let mut mended = Mended {
            bytes: frame::header(&self.handle.id()),
            segment: Segment {
                last: numbers.end - 1,
                is_gap: survey.frames.is_empty(),
                ..Segment::empty(numbers.start, total)
            },
            lost: 0,
        };
        let mut stands = SpoolPosition { number: numbers.start - 1, total };
        if let Some(at_once) = survey.beginning().filter(|position| position.number == stands.number) {
            (stands, mended.segment.before) = (at_once, at_once.total);
        }
        for found in &survey.frames {
            if found.first > stands.number + 1 {
                self.leave_gap(&mut mended, stands, found.first - 1, found.before, found.content.from);
            }
            mended.bytes.extend_from_slice(&bytes[found.bytes.clone()]);
            mended.segment.content.add(found.content);
            stands = SpoolPosition { number: found.through, total: found.before + found.content.weight };
        }
        if numbers.end > stands.number + 1 {
            // Where it is not known, the gap that follows has it.
            let behind = behind.unwrap_or(stands.total);
            self.leave_gap(&mut mended, stands, numbers.end - 1, behind, None);
            stands.total = behind.max(stands.total);
        }
        mended.segment.end = stands.total;
        mended.segment.synced = mended.bytes.len() as u64;
        mended
    }

    fn leave_gap(
        &self,
        mended: &mut Mended,
        from: SpoolPosition,
        through: u64,
        total: u64,
        until: Option<std::time::SystemTime>,
    ) {
        // What was acknowledged is not lost.
        let before = from.total.max(self.handle.acked_total(self.acked)).min(total.max(from.total));
        let lost = total.saturating_sub(before);
        let row = (lost > 0).then(|| {
            let since = mended.segment.content.to.unwrap_or(std::time::SystemTime::UNIX_EPOCH);
            let until = until.unwrap_or_else(|| self.handle.seams.clock.now());
            dropped(lost, since.min(until), until, "damaged")
        });
        let batch = fleet::Batch { dropped: row.into_iter().collect(), ..fleet::Batch::default() };
        let label = frame::Label { first: from.number + 1, before, weight: lost };
        mended.bytes.extend(self.handle.frame((label, through), &batch.encode_to_vec()));
        mended.segment.content.add(Content::of(&batch));
        mended.lost += lost;
    }
}
