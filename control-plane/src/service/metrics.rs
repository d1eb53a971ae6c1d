//! Metrics of an organization: series of what requests add up to, without gaps, with the names of what they are of.

mod series;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use rr_contract::model::time;
use rr_contract::wire::management as wire;
use rr_contract::wire::management::MetricDimension;

use super::directory::is_global;
use super::{OrgCaller, ServiceError, Services, fields};
use crate::noun::Noun;
use crate::store::level::Level;
use crate::store::metrics::{Cell, Dimension, KEYS, Measures, Metered, MetricsFilter, ROWS_MOST};
use crate::store::record_store::each;
use crate::store::request::RequestFilter;
use crate::store::{self, time_of};

use series::{AllSeries as _, Series, Step};

const MINUTE: i64 = Level::Minute.length();
const HOUR: i64 = Level::Hour.length();
const DAY: i64 = Level::Day.length();
/// As many steps as a series has at most.
const STEPS: i64 = 1500;
/// As many points as the series of an answer have at most, all together.
const POINTS: usize = 100_000;
/// Series, where nobody says how many.
const SERIES: usize = 20;
const SERIES_MOST: i32 = 1000;

/// A query, with beginnings of steps for times.
struct Window {
    after: i64,
    before: i64,
    step: i64,
}

impl Services {
    /// As the database has it by now: what nodes sent in the last seconds may be missing.
    pub(crate) async fn metrics(
        &self,
        at: &OrgCaller,
        request: &wire::QueryMetricsRequest,
    ) -> Result<wire::QueryMetricsResponse, ServiceError> {
        let by = dimensions(&request.group_by)?;
        let window = Window::of(self.store.now(), request)?;
        let limit = match request.limit {
            0 => SERIES,
            limit if (1..=SERIES_MOST).contains(&limit) => limit.unsigned_abs() as usize,
            _ => return Err(ServiceError::field("limit", format!("must be 1 to {SERIES_MOST}"))),
        };
        let level = window.level(&by, self.store.now())?;
        let mut filter = self.request_filter(at, &request.proxy, &request.filter).await?;
        let stores = self.holding(&mut filter).await?;
        let filter = narrowed(filter, level, &window, by)?;
        let (mut requests, mut meters) = (Vec::new(), Vec::new());
        for read in each(&stores, |store| store.metrics(&filter)).await? {
            let (of_requests, of_meters) = read.ok_or_else(too_many)?;
            requests.extend(of_requests);
            meters.extend(of_meters);
        }
        if requests.len() > ROWS_MOST || meters.len() > ROWS_MOST {
            return Err(too_many());
        }
        let mut answer = window.assembled(&filter.by, limit, requests, meters)?;
        self.name_metrics(at, &mut answer).await?;
        Ok(answer)
    }

    /// Writes down the names of what series and meters are of.
    async fn name_metrics(
        &self,
        at: &OrgCaller,
        answer: &mut wire::QueryMetricsResponse,
    ) -> Result<(), ServiceError> {
        let mut wanted: BTreeMap<Noun, BTreeSet<String>> = BTreeMap::new();
        for series in answer.all_series() {
            for label in &series.labels {
                if let Some(noun) = noun(label.dimension()) {
                    wanted.entry(noun).or_default().insert(label.value.clone());
                }
            }
            for meter in series.total.iter().flat_map(|total| &total.meters) {
                wanted.entry(Noun::Meter).or_default().insert(meter.meter.clone());
            }
        }
        let mut names: HashMap<String, String> = HashMap::new();
        for (noun, ids) in wanted {
            let ids: Vec<String> = ids.into_iter().filter(|id| id.starts_with(noun.prefix())).collect();
            let within = if is_global(noun) { "" } else { &at.org.id };
            let rows = store::resource::find_all(&self.store, noun, within, &ids).await?;
            names.extend(rows.into_iter().map(|row| (row.id, row.name)));
        }
        let name = |id: &str| names.get(id).cloned().unwrap_or_default();
        for series in answer.all_series_mut() {
            series.labels.iter_mut().for_each(|label| label.name = name(&label.value));
            for point in series.points.iter_mut().chain(&mut series.total) {
                point.meters.iter_mut().for_each(|meter| meter.name = name(&meter.meter));
            }
        }
        Ok(())
    }
}

fn too_many() -> ServiceError {
    ServiceError::field(
        "group_by",
        format!(
            "makes more than {ROWS_MOST} points: take a longer step, a shorter time, fewer dimensions or a filter"
        ),
    )
}

fn dimensions(said: &[i32]) -> Result<Vec<Dimension>, ServiceError> {
    if said.len() > KEYS {
        return Err(ServiceError::field("group_by", format!("must have at most {KEYS} dimensions")));
    }
    let mut by = Vec::with_capacity(said.len());
    for one in said {
        let dimension = MetricDimension::try_from(*one).ok().and_then(dimension).ok_or_else(|| {
            ServiceError::field(
                "group_by",
                "has a dimension that there is not: the dimensions are PROXY, CALLER, REGION, STATUS, STATUS_CLASS, \
                 CODE, RULE, OBSERVED_RULE and REVISION",
            )
        })?;
        if by.contains(&dimension) {
            return Err(ServiceError::field("group_by", "names a dimension twice"));
        }
        by.push(dimension);
    }
    Ok(by)
}

fn dimension(wire: MetricDimension) -> Option<Dimension> {
    Some(match wire {
        MetricDimension::Unspecified => return None,
        MetricDimension::Proxy => Dimension::Proxy,
        MetricDimension::Caller => Dimension::Caller,
        MetricDimension::Region => Dimension::Region,
        MetricDimension::Status => Dimension::Status,
        MetricDimension::StatusClass => Dimension::StatusClass,
        MetricDimension::Code => Dimension::Code,
        MetricDimension::Rule => Dimension::Rule,
        MetricDimension::ObservedRule => Dimension::ObservedRule,
        MetricDimension::Revision => Dimension::Revision,
    })
}

fn wire_dimension(dimension: Dimension) -> MetricDimension {
    match dimension {
        Dimension::Proxy => MetricDimension::Proxy,
        Dimension::Caller => MetricDimension::Caller,
        Dimension::Region => MetricDimension::Region,
        Dimension::Status => MetricDimension::Status,
        Dimension::StatusClass => MetricDimension::StatusClass,
        Dimension::Code => MetricDimension::Code,
        Dimension::Rule => MetricDimension::Rule,
        Dimension::ObservedRule => MetricDimension::ObservedRule,
        Dimension::Revision => MetricDimension::Revision,
    }
}

fn noun(dimension: MetricDimension) -> Option<Noun> {
    match dimension {
        MetricDimension::Proxy => Some(Noun::Proxy),
        MetricDimension::Caller => Some(Noun::Credential),
        MetricDimension::Region => Some(Noun::Region),
        MetricDimension::Rule | MetricDimension::ObservedRule => Some(Noun::Rule),
        _ => None,
    }
}

/// What a filter on records comes to here: sums have no path, and are of no node.
fn narrowed(
    filter: RequestFilter,
    level: Level,
    window: &Window,
    by: Vec<Dimension>,
) -> Result<MetricsFilter, ServiceError> {
    for (field, is_named) in [("path", !filter.paths.is_empty()), ("node", filter.node.is_some())] {
        if is_named {
            return Err(ServiceError::field(
                "filter",
                format!("names {field}, by which requests are not added up: look for them with ListRequests"),
            ));
        }
    }
    let RequestFilter { org, proxy, callers, labels, statuses, codes, rules, regions, .. } = filter;
    let Window { after, before, step } = *window;
    Ok(MetricsFilter {
        org,
        proxy,
        callers,
        labels,
        statuses,
        codes,
        rules,
        regions,
        level,
        after,
        before,
        step,
        by,
    })
}

impl Window {
    fn of(now: i64, request: &wire::QueryMetricsRequest) -> Result<Self, ServiceError> {
        let before = fields::time_row("before", request.before.as_ref())?.unwrap_or(now);
        let after = fields::time_row("after", request.after.as_ref())?.unwrap_or(before.saturating_sub(DAY));
        if after >= before {
            return Err(ServiceError::field("after", "must be earlier than `before`"));
        }
        let length = before.saturating_sub(after);
        let step = match &request.step {
            None if length <= 3 * HOUR => MINUTE,
            None if length <= 7 * DAY => HOUR,
            None => DAY,
            Some(step) => time::duration(step)
                .ok()
                .and_then(|step| i64::try_from(step.as_micros()).ok())
                .filter(|step| *step > 0 && step % MINUTE == 0)
                .ok_or_else(|| ServiceError::field("step", "must be whole minutes, as 60s or 3600s"))?,
        };
        let after = after - after.rem_euclid(step);
        let before = before.saturating_add(step - 1);
        let before = before - before.rem_euclid(step);
        if (before - after) / step > STEPS {
            let text = format!("makes more than {STEPS} steps of the time asked for: take a longer one");
            return Err(ServiceError::field("step", text));
        }
        Ok(Self { after, before, step })
    }

    /// The longest of which steps can be made.
    fn level(&self, by: &[Dimension], now: i64) -> Result<Level, ServiceError> {
        let needs_minutes = by.contains(&Dimension::Revision);
        let level = match self.step {
            _ if needs_minutes => Level::Minute,
            step if step % DAY == 0 => Level::Day,
            step if step % HOUR == 0 => Level::Hour,
            _ => Level::Minute,
        };
        let kept = store::level::kept(level);
        if now.saturating_sub(self.after) > kept {
            let days = kept / DAY;
            let (field, text) = match level {
                Level::Minute if needs_minutes => {
                    ("group_by", format!("by revision reaches {days} days back: ask for a later time"))
                }
                Level::Minute => (
                    "step",
                    format!("of no whole hours reaches {days} days back: take whole hours, or a later time"),
                ),
                Level::Hour | Level::Day => (
                    "step",
                    format!("of this length reaches {days} days back: take whole days, or a later time"),
                ),
            };
            return Err(ServiceError::field(field, text));
        }
        Ok(level)
    }

    fn steps(&self) -> usize {
        usize::try_from((self.before - self.after) / self.step).unwrap_or(0)
    }

    fn place(&self, at: i64) -> Option<usize> {
        let place = usize::try_from((at - self.after) / self.step).ok()?;
        (at >= self.after && place < self.steps()).then_some(place)
    }

    /// The largest series, the others together, and all together.
    fn assembled(
        &self,
        by: &[Dimension],
        limit: usize,
        requests: Vec<Cell<Measures>>,
        meters: Vec<Cell<(String, Metered)>>,
    ) -> Result<wire::QueryMetricsResponse, ServiceError> {
        let mut series: HashMap<[String; KEYS], Series> = HashMap::new();
        let mut all = Series::default();
        for Cell { at, key, value } in requests {
            let Some(place) = self.place(at) else { continue };
            all.at(place).measures.add(&value);
            series.entry(key).or_default().at(place).measures.add(&value);
        }
        for Cell { at, key, value: (meter, metered) } in meters {
            let Some(place) = self.place(at) else { continue };
            for series in [&mut all, series.entry(key).or_default()] {
                series.at(place).meters.entry(meter.clone()).or_default().add(metered);
            }
        }
        let shown = series.len().min(limit);
        // Steps without requests are points, too.
        if shown.saturating_mul(self.steps()) > POINTS {
            let text = format!(
                "makes {shown} series of {} steps, and an answer has at most {POINTS} points: take at most {}, or a longer step",
                self.steps(),
                POINTS / self.steps().max(1)
            );
            return Err(ServiceError::field("limit", text));
        }
        let mut series: Vec<_> =
            series.into_iter().map(|(key, series)| (series.total(), key, series)).collect();
        series.sort_by(|(left, left_key, _), (right, right_key, _)| {
            let by_size = right.measures.requests.cmp(&left.measures.requests);
            by_size.then_with(|| left_key.cmp(right_key))
        });
        let rest = series.split_off(series.len().min(limit));
        let mut others = Series::default();
        rest.iter().for_each(|(_, _, one)| others.add(one));
        Ok(wire::QueryMetricsResponse {
            after: Some(time::timestamp(time_of(self.after))),
            before: Some(time::timestamp(time_of(self.before))),
            step: Some(time::wire_duration(Duration::from_micros(self.step.unsigned_abs()))),
            series: series.into_iter().map(|(_, key, series)| self.wire(by, &key, &series)).collect(),
            others: (!rest.is_empty()).then(|| self.wire(&[], &[], &others)),
            others_count: u32::try_from(rest.len()).unwrap_or(u32::MAX),
            all: Some(self.wire(&[], &[], &all)),
        })
    }

    fn wire(&self, by: &[Dimension], key: &[String], series: &Series) -> wire::MetricSeries {
        let label = |(dimension, value): (&Dimension, &String)| {
            let value = match (dimension, value.as_str()) {
                (Dimension::StatusClass, "0") => "none".to_owned(),
                (Dimension::StatusClass, class) => format!("{class}xx"),
                (_, value) => value.to_owned(),
            };
            wire::MetricLabel { dimension: wire_dimension(*dimension).into(), value, name: String::new() }
        };
        let none = Step::default();
        wire::MetricSeries {
            labels: by.iter().zip(key).map(label).collect(),
            points: (self.after..)
                .step_by(usize::try_from(self.step).unwrap_or(usize::MAX))
                .take(self.steps())
                .enumerate()
                .map(|(place, at)| series.steps.get(&place).unwrap_or(&none).wire(at))
                .collect(),
            total: Some(series.total().wire(self.after)),
        }
    }
}
