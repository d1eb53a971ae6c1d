//! A series as a row of a table: names in the place of ids, totals, and its course as a line of blocks.

use rr_contract::wire::management as mg;
use serde::Serialize;

use crate::command::request::row::{amount, millis};
use crate::print::Row;

/// The most columns of a course.
const WIDTH: usize = 32;
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Of a step without requests.
const NOTHING: char = '·';

/// A series, under its own labels or another name.
#[derive(Serialize)]
pub(super) struct SeriesRow {
    name: String,
    total: mg::MetricPoint,
    course: String,
}

impl SeriesRow {
    pub(super) fn of(name: Option<String>, series: &mg::MetricSeries) -> Self {
        let requests: Vec<u64> = series.points.iter().map(|point| point.requests).collect();
        Self {
            name: name.unwrap_or_else(|| labelled(&series.labels)),
            total: series.total.clone().unwrap_or_default(),
            course: course(&requests),
        }
    }
}

impl Row for SeriesRow {
    const COLUMNS: &'static [&'static str] = &[
        "series",
        "requests",
        "course",
        "errors",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "max ms",
        "mean ms",
        "denied",
        "observed",
        "cut short",
        "bytes in",
        "bytes out",
        "meters",
    ];
    const WIDE: &'static [&'static str] =
        &["mean ms", "denied", "observed", "cut short", "bytes in", "bytes out", "meters"];

    fn cells(&self) -> Vec<String> {
        let total = &self.total;
        let meter = |it: &mg::MetricMeter| {
            let name = if it.name.is_empty() { &it.meter } else { &it.name };
            format!("{name} {}", amount(it.charged_millionths))
        };
        vec![
            self.name.clone(),
            total.requests.to_string(),
            self.course.clone(),
            share(total.errors, total.requests),
            millis(total.p50.as_ref()),
            millis(total.p90.as_ref()),
            millis(total.p99.as_ref()),
            millis(total.max.as_ref()),
            millis(total.mean.as_ref()),
            total.denials.to_string(),
            total.observed_denials.to_string(),
            total.aborted.to_string(),
            total.request_bytes.to_string(),
            total.response_bytes.to_string(),
            total.meters.iter().map(meter).collect::<Vec<_>>().join(", "),
        ]
    }
}

fn labelled(labels: &[mg::MetricLabel]) -> String {
    let each = labels.iter().map(|label| match (label.name.as_str(), label.value.as_str()) {
        ("", "") => "-",
        ("", value) => value,
        (name, _) => name,
    });
    let text = each.collect::<Vec<_>>().join("  ");
    if text.is_empty() { "(all)".to_owned() } else { text }
}

/// `0`, `2 (0.4 %)`.
fn share(errors: u64, requests: u64) -> String {
    if errors == 0 || requests == 0 {
        return errors.to_string();
    }
    format!("{errors} ({:.1} %)", errors as f64 * 100.0 / requests as f64)
}

/// The highest step is a whole block, and of several steps that share a column their sum counts.
fn course(requests: &[u64]) -> String {
    let columns =
        requests.chunks(requests.len().div_ceil(WIDTH).max(1)).map(|steps| steps.iter().sum::<u64>());
    let columns: Vec<u64> = columns.collect();
    let highest = columns.iter().copied().max().unwrap_or(0);
    let block = |requests: u64| match (requests, highest) {
        (0, _) | (_, 0) => NOTHING,
        (requests, highest) => {
            let eighths = (u128::from(requests) * 8).div_ceil(u128::from(highest));
            BLOCKS[usize::try_from(eighths).unwrap_or(8).clamp(1, 8) - 1]
        }
    };
    columns.into_iter().map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_course_shows_the_highest_step_whole_and_none_as_a_dot() {
        assert_eq!(course(&[0, 1, 4, 8]), "·▁▄█");
        assert_eq!(course(&[1, 1_000_000]), "▁█");
        assert_eq!(course(&[0, 0]), "··");
        assert_eq!(course(&[]), "");
        assert_eq!(course(&[u64::MAX / 2, u64::MAX / 4]), "█▄");
        let long = course(&(0..1440).collect::<Vec<_>>());
        assert_eq!((long.chars().count(), long.chars().last()), (32, Some('█')));
    }

    #[test]
    fn a_series_is_named_by_its_labels() {
        let label = |value: &str, name: &str| mg::MetricLabel {
            value: value.into(),
            name: name.into(),
            ..Default::default()
        };
        assert_eq!(labelled(&[label("cr_1", "app"), label("503", ""), label("", "")]), "app  503  -");
        assert_eq!(labelled(&[]), "(all)");
        assert_eq!((share(0, 9), share(2, 500), share(1, 0)), ("0".into(), "2 (0.4 %)".into(), "1".into()));
    }
}
