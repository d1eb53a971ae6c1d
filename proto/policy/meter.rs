//! Meters run on requests and responses: whether one counts a request, and the number that it reads.
//!
//! Keeps no counters: windows and limits are the edge node's.

use std::fmt;

use http::HeaderMap;

use rr_domain::model::id::MeterId;
use rr_domain::model::meter::{Counts, Meter, Place, Value as Read, Windows};
use rr_domain::model::name::Name;

use super::condition::{BodyIndex, Condition, Found, Purpose, Seen};
use super::json::{JsonError, Value};
use super::pace::{HeadWork, Pace, at_once};
use super::path::{Batch, Event, Paths, Search};
use super::pattern::{Patterns, Uncompilable};
use super::request::RequestView;

/// Millionths in one.
const SCALE: u64 = 1_000_000;
/// What it is worth as work to find a number and to add it.
const NUMBER: u64 = 4;

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
    Body(Paths),
    Header(http::HeaderName),
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

/// How much was counted: an exact count of millionths, what is less rounded up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(u64);

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
            Counts::Value(Read { place: Place::Body(path), .. }) => CompiledCounts::Body(Paths::new([path])),
            Counts::Value(Read { place: Place::Header(name), .. }) => CompiledCounts::Header(name.clone()),
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

    /// Whether it reads its number from the response's body.
    pub fn reads_response_body(&self) -> bool {
        matches!(self.counts, CompiledCounts::Body(_))
    }

    /// What a response adds, read in one go: for what is short.
    pub fn reading(&self, headers: &HeaderMap, body: &[u8]) -> Result<Amount, ReadingError> {
        at_once(async |pace| self.reading_at(headers, body, pace).await)
    }

    /// What a response adds: one for a meter of requests, else the sum of the numbers at its place. `body` is not
    /// looked at unless [`Self::reads_response_body`]. Rests as `pace` says, which bounds the work for all meters.
    pub async fn reading_at<R: AsyncFnMut()>(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        pace: &mut Pace<R>,
    ) -> Result<Amount, ReadingError> {
        let mut sum: Option<Result<Amount, ReadingError>> = None;
        let mut add = |number: Option<&str>| {
            let number = number.ok_or(ReadingError::NotANumber).and_then(Amount::parse);
            sum = Some(match sum {
                None => number,
                Some(sum) => sum.and_then(|sum| sum.plus(number?).ok_or(ReadingError::TooLarge)),
            });
        };
        match &self.counts {
            CompiledCounts::Requests => return Ok(Amount(SCALE)),
            CompiledCounts::Header(name) => {
                for value in headers.get_all(name) {
                    add(value.to_str().ok().map(str::trim));
                }
            }
            CompiledCounts::Body(paths) => {
                // Whatever is at the place, all of it is gone over.
                pace.spend(1 + body.len() as u64 / 16).await.map_err(ReadingError::Body)?;
                let mut search = Search::new(body, paths, Batch::Values).map_err(ReadingError::Body)?;
                while let Some(event) = search.next().map_err(ReadingError::Body)? {
                    pace.spend(NUMBER).await.map_err(ReadingError::Body)?;
                    match event {
                        Event::Found(Value::Number(raw), _) => add(Some(raw)),
                        Event::Found(..) => add(None),
                        Event::End => {}
                    }
                }
            }
        }
        sum.unwrap_or(Err(ReadingError::Missing))
    }
}

impl Amount {
    /// A whole number; what is too large is the largest.
    pub const fn whole(number: u64) -> Self {
        Self(number.saturating_mul(SCALE))
    }

    /// So many millionths.
    pub const fn of_millionths(millionths: u64) -> Self {
        Self(millionths)
    }

    /// In millionths.
    pub const fn millionths(self) -> u64 {
        self.0
    }

    /// Rounded up.
    pub const fn rounded_up(self) -> u64 {
        self.0.div_ceil(SCALE)
    }

    /// The sum, unless it is too large.
    pub fn plus(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// Reads a number as JSON writes it, from zero up: digit by digit, so nothing is rounded but what is below a
    /// millionth, and that up.
    fn parse(text: &str) -> Result<Self, ReadingError> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            // An exponent that is no i32 is beyond anything; its sign still says which way.
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
        let negative = whole.starts_with('-');
        let whole = whole.strip_prefix('-').unwrap_or(whole);
        let digits = || whole.bytes().chain(fraction.bytes());
        if whole.is_empty() || fraction.is_empty() || !digits().all(|b| b.is_ascii_digit()) {
            return Err(ReadingError::NotANumber);
        }
        if digits().all(|b| b == b'0') {
            return Ok(Self(0));
        }
        if negative {
            return Err(ReadingError::NotANumber);
        }
        // The place of the last digit that is kept: a millionth is place 0.
        let mut place = exponent.saturating_add(whole.len() as i64).saturating_add(6);
        let (mut value, mut more) = (0_u64, false);
        for digit in digits() {
            place = place.saturating_sub(1);
            if place >= 0 {
                let digit = u64::from(digit - b'0');
                let next = value.checked_mul(10).and_then(|value| value.checked_add(digit));
                value = next.ok_or(ReadingError::TooLarge)?;
            } else {
                more |= digit != b'0';
            }
        }
        // 20 more places are beyond u64 for anything but zero.
        for _ in 0..place.clamp(0, 20) {
            value = value.checked_mul(10).ok_or(ReadingError::TooLarge)?;
        }
        if more {
            value = value.checked_add(1).ok_or(ReadingError::TooLarge)?;
        }
        Ok(Self(value))
    }
}

fn parse_exponent(text: &str) -> Result<i64, ReadingError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ReadingError::NotANumber);
    }
    let size = digits.parse::<i64>().unwrap_or(i64::MAX);
    Ok(if text.starts_with('-') { -size } else { size })
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / SCALE, self.0 % SCALE);
        if rest == 0 {
            return write!(f, "{whole}");
        }
        let fraction = format!("{rest:06}");
        write!(f, "{whole}.{}", fraction.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests;
