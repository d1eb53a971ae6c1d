//! What a day of requests adds up to, as the control plane keeps it: rows of rollups and series.
//!
//! The invariant: the rows of each level, and of each detail, are exactly what the requests of their time add up to.

use std::collections::BTreeMap;
use std::mem;

use super::loader::Value;
use super::traffic::{Amounts, Cast, Common, DAY, Drawn, ENDINGS, MINUTE};

/// Level and length: minutes, hours and days.
const LEVELS: [(i16, i64); 3] = [(1, MINUTE), (2, 60 * MINUTE), (3, DAY)];
/// Detail, and whether it tells proxies, callers and rules apart.
const DETAILS: [(i16, [bool; 3]); 5] = [
    (0, [true; 3]),
    (1, [true, false, false]),
    (2, [false, true, false]),
    (3, [false, false, true]),
    (4, [false; 3]),
];
/// The last of those of which minutes have a revision.
const REVISED: i16 = 1;

/// Columns of `rollup`.
pub(crate) const ROLLUP: [&str; 11] = [
    "series",
    "level",
    "at",
    "revision",
    "requests",
    "aborted",
    "request_bytes",
    "response_bytes",
    "micros",
    "longest_micros",
    "latencies",
];
/// Columns of `series`.
pub(crate) const SERIES: [&str; 12] = [
    "id",
    "detail",
    "hash",
    "org",
    "proxy",
    "caller",
    "region",
    "code",
    "rule",
    "observed_rule",
    "status",
    "observed_denial",
];

/// What the requests of a series have in common: a detail, and places in the lists of the cast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Marks {
    detail: i16,
    proxy: Option<usize>,
    caller: Option<usize>,
    region: usize,
    ending: usize,
    rule: Option<usize>,
}

/// When a minute, hour or day began, and what there is of it by series and revision.
type Open = (i64, BTreeMap<(i64, i64), Amounts>);

/// What requests add up to, of times that are not over yet.
#[derive(Default)]
pub(crate) struct Rollups {
    ids: BTreeMap<Marks, i64>,
    levels: [Open; 3],
    /// Rows so far, by level.
    pub(crate) rows: [u64; 3],
}

impl Rollups {
    /// Adds one, which came no earlier than those before. Returns the rows of times that are over.
    pub(crate) fn add(&mut self, drawn: &Drawn) -> Vec<Vec<Value>> {
        let series = DETAILS.map(|(detail, [by_proxy, by_caller, by_rule])| {
            let Common { proxy, caller, region, ending, rule } = drawn.common;
            let marks = Marks {
                detail,
                proxy: by_proxy.then_some(proxy),
                caller: caller.filter(|_| by_caller),
                region,
                ending,
                rule: rule.filter(|_| by_rule),
            };
            let next = self.ids.len() as i64 + 1;
            (*self.ids.entry(marks).or_insert(next), detail <= REVISED)
        });
        let mut over = Vec::new();
        for (place, (level, length)) in LEVELS.into_iter().enumerate() {
            let begin = drawn.at - drawn.at.rem_euclid(length);
            if self.levels[place].0 != begin {
                over.append(&mut self.close(place));
                self.levels[place].0 = begin;
            }
            for (series, is_revised) in series {
                let revision = if level == 1 && is_revised { drawn.revision } else { 0 };
                self.levels[place].1.entry((series, revision)).or_default().add(drawn);
            }
        }
        over
    }

    /// The rows of what is left.
    pub(crate) fn end(&mut self) -> Vec<Vec<Value>> {
        (0..LEVELS.len()).flat_map(|place| self.close(place)).collect()
    }

    fn close(&mut self, place: usize) -> Vec<Vec<Value>> {
        let (at, all) = &mut self.levels[place];
        let (at, all) = (*at, mem::take(all));
        self.rows[place] += all.len() as u64;
        let row = |((series, revision), amounts): ((i64, i64), Amounts)| {
            vec![
                Value::Long(series),
                Value::Short(LEVELS[place].0),
                Value::Long(at),
                Value::Long(revision),
                Value::Long(amounts.requests),
                Value::Long(0),
                Value::Long(amounts.request_bytes),
                Value::Long(amounts.response_bytes),
                Value::Long(amounts.micros),
                Value::Long(amounts.longest),
                Value::Bytes(amounts.latencies.encode()),
            ]
        };
        all.into_iter().map(row).collect()
    }

    /// The rows of all series.
    pub(crate) fn series(&self, cast: &Cast) -> Vec<Vec<Value>> {
        let row = |(marks, id): (&Marks, &i64)| {
            let one = |ids: &[String], place: Option<usize>| {
                Value::Text(place.map_or_else(String::new, |place| ids[place].clone()))
            };
            // Nobody adds to these, so nobody looks for them by it.
            let mut hash = vec![0; 32];
            hash[..8].copy_from_slice(&id.to_be_bytes());
            vec![
                Value::Long(*id),
                Value::Short(marks.detail),
                Value::Bytes(hash),
                Value::Text(cast.org.clone()),
                one(&cast.proxies, marks.proxy),
                one(&cast.callers, marks.caller),
                Value::Text(cast.regions[marks.region].clone()),
                Value::Text(ENDINGS[marks.ending].code.to_owned()),
                one(&cast.rules, marks.rule),
                Value::Text(String::new()),
                Value::Int(ENDINGS[marks.ending].status),
                Value::Bool(false),
            ]
        };
        self.ids.iter().map(row).collect()
    }
}
