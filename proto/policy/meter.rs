//! Meters run on requests and responses: whether one counts a request, and the number that it reads.
//!
//! Keeps no counters: windows and limits are the edge node's.

mod amount;
mod readings;

pub use self::amount::Amount;
pub use self::readings::Tally;

use http::HeaderMap;

use rr_domain::model::id::MeterId;
use rr_domain::model::meter::{Counts, Meter, Windows};
use rr_domain::model::name::Name;

use super::condition::{BodyIndex, Condition, Found, Purpose, Seen};
use super::json::JsonError;
use super::pace::{HeadWork, Pace, at_once};
use super::pattern::{Patterns, Uncompilable};
use super::request::RequestView;
use super::stream::{Framing, Unit};

use self::readings::{At, Readings};

/// A meter that can be run.
#[derive(Debug)]
pub struct CompiledMeter {
    /// Which meter.
    pub id: MeterId,
    /// Its name.
    pub name: Name,
    /// Off: it neither counts nor refuses.
    pub active: bool,
    /// How much there may be.
    pub limits: Windows,
    /// Whether each caller is counted apart.
    pub per_caller: bool,
    /// Charged at admission, and settled when the number is known. Zero for a meter of requests.
    pub reserve: Amount,
    /// Charged where a response has no number.
    pub on_missing: Amount,
    condition: Condition,
    body: BodyIndex,
    counts: CompiledCounts,
}

#[derive(Debug)]
enum CompiledCounts {
    Requests,
    Value(Readings),
}

/// Whether a meter is about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applies {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// Give the body and ask again.
    NeedsBody,
    /// The body must be looked at and cannot be read, or it is too much work: the request is refused.
    Unreadable(JsonError),
}

/// A response that a meter could not read its number from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadingError {
    /// There is nothing at its place.
    #[error("has no value to be metered")]
    Missing,
    /// What is there is no number, or less than zero.
    #[error("has a value to be metered that is no number from zero up")]
    NotANumber,
    /// It is more than can be counted.
    #[error("has more to be metered than can be counted")]
    TooLarge,
    /// A part of it was too long to be looked at.
    #[error("has a part too long to be looked at for a value to be metered")]
    Unseen,
    /// The body cannot be read.
    #[error("has a body to be metered that cannot be read")]
    Body(#[source] JsonError),
}

impl CompiledMeter {
    /// Compiles a meter.
    pub fn compile(id: MeterId, meter: &Meter, patterns: &mut Patterns) -> Result<Self, Uncompilable> {
        let condition = Condition::compile(&meter.only_when, Purpose::Meter, patterns)?;
        let body = BodyIndex::new(condition.looks().iter());
        let counts = match &meter.counts {
            Counts::Requests => CompiledCounts::Requests,
            Counts::Value(value) => CompiledCounts::Value(Readings::compile(&value.readings)),
        };
        let (reserve, on_missing) = match &meter.counts {
            Counts::Requests => (0, 0),
            Counts::Value(value) => (value.reserve, value.on_missing.unwrap_or(0)),
        };
        Ok(Self {
            id,
            name: meter.name.clone(),
            active: meter.active,
            limits: meter.limits,
            per_caller: meter.per_caller,
            reserve: Amount::whole(reserve),
            on_missing: Amount::whole(on_missing),
            condition,
            body,
            counts,
        })
    }

    /// Whether it is about a request, as far as the head says. `work` is that of all meters.
    pub fn applies(&self, request: &RequestView<'_>, work: &mut HeadWork) -> Applies {
        let matches = self.condition.matches_head(&Seen::new(request), work);
        if work.is_over() {
            Applies::Unreadable(JsonError::TooMuch)
        } else if !matches {
            Applies::No
        } else if self.condition.reads_body() {
            Applies::NeedsBody
        } else {
            Applies::Yes
        }
    }

    /// Whether it is about a request that has this body, where the head left it open; of a batch, one element is
    /// enough.
    pub async fn applies_to<R: AsyncFnMut()>(&self, body: &[u8], pace: &mut Pace<R>) -> Applies {
        let mut one = false;
        let wanted = vec![true; self.body.len()];
        let mut judge = |found: &[Found]| one |= self.condition.matches_body(found);
        match self.body.judge(body, &wanted, pace, 1, &mut judge).await {
            Ok(()) if one => Applies::Yes,
            Ok(()) => Applies::No,
            Err(error) => Applies::Unreadable(error),
        }
    }

    /// Its condition.
    pub fn condition(&self) -> &Condition {
        &self.condition
    }

    /// Whether it counts requests, and not a number of the response.
    pub fn counts_requests(&self) -> bool {
        matches!(self.counts, CompiledCounts::Requests)
    }

    /// Whether it reads numbers from the response's body.
    pub fn reads_response_body(&self) -> bool {
        matches!(&self.counts, CompiledCounts::Value(readings) if readings.read_body())
    }

    /// Of a response of which nothing has come.
    pub fn tally(&self) -> Tally {
        match &self.counts {
            CompiledCounts::Requests => Tally::default(),
            CompiledCounts::Value(readings) => readings.tally(),
        }
    }

    /// Adds the numbers that stand in the head of a response.
    pub fn read_headers(&self, headers: &HeaderMap, tally: &mut Tally) {
        if let CompiledCounts::Value(readings) = &self.counts {
            readings.read_headers(headers, tally);
        }
    }

    /// Adds the numbers of a whole document, read in one go: for one that is short.
    pub fn read_document(&self, document: &[u8], tally: &mut Tally) -> Result<(), ReadingError> {
        at_once(async |pace| self.read_document_at(document, tally, pace).await)
    }

    /// The same, but rests as `pace` says, which bounds the work for all meters.
    pub async fn read_document_at<R: AsyncFnMut()>(
        &self,
        document: &[u8],
        tally: &mut Tally,
        pace: &mut Pace<R>,
    ) -> Result<(), ReadingError> {
        match &self.counts {
            CompiledCounts::Requests => Ok(()),
            CompiledCounts::Value(readings) => {
                readings.read(document, At::Root, tally, pace).await.map_err(ReadingError::Body)
            }
        }
    }

    /// Adds the numbers of a part of a stream.
    pub fn read_unit(&self, framing: Framing, unit: Unit<'_>, tally: &mut Tally, joined: &mut Vec<u8>) {
        if let CompiledCounts::Value(readings) = &self.counts {
            readings.read_unit(framing, unit, tally, joined);
        }
    }

    /// Whether no number can be in several parts of a stream, one behind the other.
    pub fn passes_by(&self, framing: Framing, units: &[u8]) -> bool {
        match &self.counts {
            CompiledCounts::Requests => true,
            CompiledCounts::Value(readings) => readings.pass_by(framing, units),
        }
    }

    /// What a response adds by what has come of it: one for a meter of requests, else the sum of the numbers at its
    /// places. `Missing`: there was none.
    pub fn total(&self, tally: &Tally) -> Result<Amount, ReadingError> {
        match self.counts {
            CompiledCounts::Requests => Ok(Amount::whole(1)),
            CompiledCounts::Value(_) => tally.total(),
        }
    }
}

#[cfg(test)]
mod tests;
