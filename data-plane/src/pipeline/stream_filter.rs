//! A response that is a stream, as filters leave it: each event or line by itself, as soon as it has come whole.
//!
//! Keeps nothing of what has gone out, and does not delay a part for the next. The invariant: no data of a part go out
//! that filters did not go over; a part that they cannot read ends the stream, and not as if it were whole.

use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use rr_contract::policy::filter::{FilterChain, FilterRun};
use rr_contract::policy::stream::{Framing, Unit};

use crate::body::{Coding, DecodeError, Held};
use crate::reply::BodyBroken;

use super::parts::{Parts, PartsError, framing};
use super::settle::{Did, Draft};

/// What a stream that is filtered comes to next.
pub(super) enum Step {
    /// A part of it goes on; `None`: it is at its end.
    Goes(Option<Frame<Bytes>>),
    Fails(BodyBroken),
    /// Others have their turn first.
    Rests,
    /// More of it has to come.
    Waits,
}

/// Filters on a stream under way.
pub(crate) struct StreamFilter {
    parts: Parts,
    work: Work,
    trailers: Option<HeaderMap>,
    has_ended: bool,
    is_finished: bool,
    /// What went before a fault has had its turn to go out.
    has_rested: bool,
}

/// What was done of it.
struct Work {
    framing: Framing,
    filters: FilterRun,
    /// Where data of several lines are put together.
    joined: Vec<u8>,
    out: Vec<u8>,
    did: Did,
    /// Why it is not gone on with; what stands in `out` goes before.
    fault: Option<BodyBroken>,
}

/// How the documents of a response follow one another, if filters go over them one by one.
pub(super) fn filtered_framing(headers: &HeaderMap) -> Option<Framing> {
    framing(headers).filter(|framing| matches!(framing, Framing::Events | Framing::Lines))
}

impl From<PartsError> for BodyBroken {
    fn from(error: PartsError) -> Self {
        Self::Undecodable(match error {
            PartsError::Undecodable(error) => error,
            PartsError::NoRoom(error) => DecodeError::NoRoom(error),
            PartsError::Unframed(_) => DecodeError::Malformed,
        })
    }
}

impl StreamFilter {
    pub(super) fn new(chain: &FilterChain<'_>, framing: Framing, coding: Coding, held: Held) -> Self {
        let filters = chain.to_run();
        let did = Did { filters: filters.len(), ..Did::default() };
        let (joined, out) = Default::default();
        Self {
            parts: Parts::new(framing, coding, held),
            work: Work { framing, filters, joined, out, did, fault: None },
            trailers: None,
            has_ended: false,
            is_finished: false,
            has_rested: false,
        }
    }

    /// Takes a part of the body; `is_last`: nothing comes behind it.
    pub(super) fn take(&mut self, frame: Frame<Bytes>, is_last: bool) {
        match frame.into_data() {
            Ok(data) => self.parts.push(data),
            Err(frame) => {
                self.trailers = frame.into_trailers().ok();
                self.has_ended = true;
            }
        }
        self.has_ended |= is_last;
    }

    /// No more of it comes.
    pub(super) fn end(&mut self) {
        self.has_ended = true;
    }

    pub(super) fn next(&mut self, draft: &mut Draft) -> Step {
        if self.work.fault.is_some() {
            return self.fail();
        }
        let (work, began) = (&mut self.work, Instant::now());
        let advanced = self.parts.advance(&mut |_: Framing, unit: Unit<'_>| work.go_over(unit, draft));
        let mut is_done = advanced == Ok(true);
        if let Err(error) = advanced {
            work.fault.get_or_insert(error.into());
        }
        if is_done && self.has_ended && !self.is_finished && work.fault.is_none() {
            self.is_finished = true;
            match self.parts.finish(&mut |_: Framing, unit: Unit<'_>| work.go_over(unit, draft)) {
                Ok(()) => draft.read_all(true),
                Err(error) => work.fault = Some(work.fault.take().unwrap_or_else(|| error.into())),
            }
        }
        draft.filtered_more(std::mem::take(&mut work.did), began.elapsed());
        if !work.out.is_empty() {
            return Step::Goes(Some(Frame::data(std::mem::take(&mut work.out).into())));
        }
        if work.fault.is_some() {
            return self.fail();
        }
        is_done &= self.has_ended;
        match (is_done, advanced) {
            (true, _) => Step::Goes(self.trailers.take().map(Frame::trailers)),
            (false, Ok(false)) => Step::Rests,
            (false, _) => Step::Waits,
        }
    }

    /// The head and the parts before go out first: whoever breaks off takes what it has not sent along.
    fn fail(&mut self) -> Step {
        if !std::mem::replace(&mut self.has_rested, true) {
            return Step::Rests;
        }
        self.work.fault.take().map_or(Step::Goes(None), Step::Fails)
    }

    /// Whether nothing goes on any more; `came`: all of it has come.
    pub(super) fn is_at_end(&self, came: bool) -> bool {
        came && self.is_finished
            && self.work.out.is_empty()
            && self.work.fault.is_none()
            && self.trailers.is_none()
    }
}

impl Work {
    fn go_over(&mut self, unit: Unit<'_>, draft: &mut Draft) {
        if self.fault.is_some() {
            return;
        }
        draft.read_unit(self.framing, unit);
        let Unit::Whole(unit) = unit else {
            self.fault = Some(BodyBroken::PartTooLong);
            return;
        };
        self.did.bytes += unit.len() as u64;
        let Some(document) = self.framing.document(unit, &mut self.joined) else {
            self.out.extend_from_slice(unit);
            return;
        };
        match self.filters.apply(document) {
            Ok(filtered) if filtered.taken == 0 => self.out.extend_from_slice(unit),
            Ok(filtered) => {
                self.did.values += filtered.taken;
                self.framing.rewrite(unit, &filtered.document, &mut self.out);
            }
            Err(error) => self.fault = Some(BodyBroken::Unfiltered(error)),
        }
    }
}
