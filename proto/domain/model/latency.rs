//! How long requests took, as a histogram that can be merged: how many fell into each of 256 buckets.
//!
//! Keeps no time exactly. A bucket is an eighth of the power of two that it lies in, so that a quantile is at most 6.7 %
//! off. The invariant: what was merged in any order, or encoded, put together and read again, is the same histogram.

use std::time::Duration;

/// Buckets of a power of two.
const PARTS: u64 = 8;
/// Of `PARTS`.
const PART_BITS: u32 = PARTS.trailing_zeros();
/// Of so many bytes on, a count for every bucket is less work than a search for each.
const MANY: usize = 512;

/// A histogram of durations from a microsecond to four hours; what is longer counts as the longest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latencies {
    /// Buckets and how many fell into each, in their order: requests that are alike fall into few.
    counts: Vec<(u8, u64)>,
}

/// What is no histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no histogram of latencies: after each bucket, one byte, its count is expected")]
pub struct NoLatencies;

impl Latencies {
    /// Adds one.
    pub fn add(&mut self, duration: Duration) {
        self.put(bucket(duration), 1);
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        other.counts.iter().for_each(|(bucket, count)| self.put(*bucket, *count));
    }

    fn put(&mut self, bucket: u8, count: u64) {
        if count == 0 {
            return;
        }
        match self.counts.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(at) => self.counts[at].1 = self.counts[at].1.saturating_add(count),
            Err(at) => self.counts.insert(at, (bucket, count)),
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Buckets and how many fell into each, in their order.
    pub fn counts(&self) -> &[(u8, u64)] {
        &self.counts
    }

    /// What `counts` gave, in any order.
    pub fn from_counts(counts: impl IntoIterator<Item = (u8, u64)>) -> Self {
        let mut read = Self::default();
        counts.into_iter().for_each(|(bucket, count)| read.put(bucket, count));
        read
    }

    /// How many took at most so long. Those of the bucket that this lies in are there if its middle is.
    pub fn below(&self, duration: Duration) -> u64 {
        let within = self.counts.iter().filter(|(bucket, _)| middle(*bucket) <= duration);
        within.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Below which the given share of them is, as the middle of its bucket. `None` where there are none.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let all = self.count();
        let wanted = ((all as f64 * share).ceil() as u64).clamp(1, all.max(1));
        let mut below = 0_u64;
        let found = self.counts.iter().find(|(_, count)| {
            below = below.saturating_add(*count);
            below >= wanted
        });
        found.map(|(bucket, _)| middle(*bucket))
    }

    /// As bytes: of each bucket its number and its count, a varint. Those of several histograms, one behind the other, are
    /// those of all of them merged.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.counts.len() * 2);
        for (bucket, count) in &self.counts {
            bytes.push(*bucket);
            let mut left = *count;
            while left >= 0x80 {
                bytes.push(0x80 | low_byte(left));
                left >>= 7;
            }
            bytes.push(low_byte(left));
        }
        bytes
    }

    /// Reads what `encode` wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, NoLatencies> {
        let mut read = Self::default();
        if bytes.len() < MANY {
            each(bytes, |bucket, count| read.put(bucket, count))?;
            return Ok(read);
        }
        let mut counts = [0_u64; 256];
        each(bytes, |bucket, count| {
            let sum = &mut counts[usize::from(bucket)];
            *sum = sum.saturating_add(count);
        })?;
        read.counts = (0..=u8::MAX).zip(counts).filter(|(_, count)| *count > 0).collect();
        Ok(read)
    }
}

/// Tells each bucket and its count, as they were written.
fn each(bytes: &[u8], mut tell: impl FnMut(u8, u64)) -> Result<(), NoLatencies> {
    let mut left = bytes.iter();
    while let Some(bucket) = left.next() {
        let (mut count, mut shift) = (0_u64, 0);
        loop {
            let byte = *left.next().ok_or(NoLatencies)?;
            let part = u64::from(byte & 0x7f);
            if shift > 63 || (shift == 63 && part > 1) {
                return Err(NoLatencies);
            }
            count |= part << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        tell(*bucket, count);
    }
    Ok(())
}

/// The lowest eight bits.
const fn low_byte(number: u64) -> u8 {
    (number & 0xff) as u8
}

/// Below `PARTS` microseconds each has its own; from there on, each power of two has `PARTS`.
fn bucket(duration: Duration) -> u8 {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let Some(power) = micros.checked_ilog2().filter(|power| *power >= PART_BITS) else {
        return low_byte(micros);
    };
    let shift = power - PART_BITS;
    let bucket = u64::from(shift + 1) * PARTS + ((micros >> shift) - PARTS);
    u8::try_from(bucket).unwrap_or(u8::MAX)
}

fn middle(bucket: u8) -> Duration {
    let bucket = u64::from(bucket);
    let Some(shift) = (bucket / PARTS).checked_sub(1) else { return Duration::from_micros(bucket) };
    let lowest = (PARTS + bucket % PARTS) << shift;
    Duration::from_nanos((lowest * 2 + (1 << shift)) * 500)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(micros: impl IntoIterator<Item = u64>) -> Latencies {
        let mut all = Latencies::default();
        micros.into_iter().for_each(|micros| all.add(Duration::from_micros(micros)));
        all
    }

    #[test]
    fn a_quantile_is_at_most_a_fifteenth_off_from_a_microsecond_to_four_hours() {
        let mut micros = 1_u64;
        while micros < 4 * 3_600 * 1_000_000 {
            let told = of([micros]).quantile(0.5).expect("there is one").as_secs_f64() * 1e6;
            let off = (told - micros as f64).abs() / micros as f64;
            assert!(off <= 0.067, "{micros} us is told as {told}");
            micros += 1 + micros / 97;
        }
        let longest = of([u64::MAX]).quantile(1.0).expect("there is one");
        assert!(longest > Duration::from_secs(4 * 3_600), "{longest:?}");
    }

    #[test]
    fn each_bucket_begins_where_the_one_before_ends() {
        let mut before = 0;
        for micros in 0..1_000_000 {
            let bucket = bucket(Duration::from_micros(micros));
            assert!(bucket == before || bucket == before + 1, "{micros}");
            before = bucket;
        }
    }

    #[test]
    fn quantiles_are_those_of_the_requests_themselves() {
        let all = of((1..=1000).map(|n| n * 1000));
        for (share, millis) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0), (1.0, 1000.0), (0.0, 1.0)] {
            let told = all.quantile(share).expect("there are some").as_secs_f64() * 1e3;
            assert!((told - millis).abs() / millis <= 0.067, "{share}: {told}");
        }
        assert_eq!(Latencies::default().quantile(0.5), None);
    }

    #[test]
    fn how_many_took_at_most_so_long_is_a_fifteenth_off_and_never_falls() {
        let all = of((1..=1000).map(|n| n * 1000));
        let mut before = 0;
        for millis in (0..=1200).step_by(50) {
            let told = all.below(Duration::from_millis(millis));
            let (most, least) = (millis as f64 * 1.067 + 1.0, (millis as f64 * 0.933 - 1.0).min(1000.0));
            assert!(told >= before && (least..=most).contains(&(told as f64)), "{millis} ms: {told}");
            before = told;
        }
        assert_eq!((before, all.below(Duration::ZERO)), (1000, 0));
        assert_eq!(of([u64::MAX, 3]).below(Duration::from_secs(3_600)), 1);
    }

    #[test]
    fn what_is_put_together_as_bytes_is_merged() {
        let (one, other) = (of([1, 50, 50, 7_000_000]), of([50, 300].into_iter().chain(vec![9; 70_000])));
        let mut merged = one.clone();
        merged.merge(&other);
        let mut bytes = one.encode();
        bytes.extend(other.encode());
        let read = Latencies::decode(&bytes).expect("is one");
        assert_eq!(read, merged);
        assert_eq!(read.count(), 70_006);
        assert_eq!(Latencies::decode(&merged.encode()), Ok(merged));
    }

    #[test]
    fn what_is_no_histogram_is_refused_and_no_count_runs_over() {
        for bytes in [
            &[1][..],
            &[1, 0x80],
            &[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
            &[0x80; 12],
        ] {
            assert_eq!(Latencies::decode(bytes), Err(NoLatencies), "{bytes:?}");
        }
        let most = [3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        let twice = Latencies::decode(&[most, most].concat()).expect("is one");
        assert_eq!(twice.count(), u64::MAX);
        assert_eq!(twice.quantile(0.5), Some(Duration::from_micros(3)));
    }
}
