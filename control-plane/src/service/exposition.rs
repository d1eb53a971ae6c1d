//! Metrics of an organization as Prometheus' text: what requests of each proxy add up to since the month began, in UTC.
//!
//! Reads rollups of days, whatever nodes sent by now. The invariants: labels are names that people with a role in the
//! organization gave to proxies and regions, and closed lists; there are at most `PROXIES` proxies, and one series more for
//! the rest; and what is counted of a proxy goes down at the beginning of a month alone.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::time::Duration;

use chrono::{DateTime, Datelike as _, Months, NaiveTime, Utc};
use rr_contract::model::latency::Latencies;

use super::{OrgCaller, ServiceError, Services};
use crate::noun::Noun;
use crate::store::metrics::ROWS_MOST;
use crate::store::metrics::exposition::{Exposed, Ranked, exposed, largest};
use crate::store::record_store::each;
use crate::store::{self, RecordStore, StoreError};

/// How many proxies are told apart.
const PROXIES: u64 = 1000;
/// The name of all others: no proxy can have it.
const OTHERS: &str = "(others)";
/// Upper bounds of the histogram, in milliseconds, as they are shown.
const BOUNDS: [(u64, &str); 10] = [
    (5, "0.005"),
    (10, "0.01"),
    (25, "0.025"),
    (50, "0.05"),
    (100, "0.1"),
    (250, "0.25"),
    (500, "0.5"),
    (1000, "1"),
    (2500, "2.5"),
    (10_000, "10"),
];

/// What requests of one proxy in one region add up to.
#[derive(Default)]
struct Sums {
    /// By the first digit of their status; 0 is none.
    requests: [u64; 6],
    request_bytes: u64,
    response_bytes: u64,
    micros: u64,
    latencies: Latencies,
}

/// Beginnings, in microseconds since 1970.
struct Beginnings {
    this: i64,
    before: i64,
    today: i64,
}

impl Services {
    /// As the database has it by now.
    pub(crate) async fn exposition(&self, at: &OrgCaller) -> Result<String, ServiceError> {
        let Beginnings { this, before, today } = Beginnings::of(self.store.now());
        let stores = self.records.holding(None).await?;
        if !stores.iter().all(RecordStore::is_central) {
            return self.exposition_of(at, &stores).await;
        }
        // A proxy whose first requests come between the two readings would stand with the others.
        let snapshot = self.store.snapshot().await?;
        let apart = largest(&snapshot, &at.org.id, (before, today), PROXIES).await?;
        let rows = exposed(&snapshot, &at.org.id, this, Some(&apart)).await?.ok_or_else(too_many)?;
        snapshot.end().await?;
        let regions = self.region_names(&rows).await?;
        Ok(text(this, &by_name(&apart, &regions, rows)))
    }

    /// The same of several stores of records, whose proxies are told apart here: names are in the central database alone.
    async fn exposition_of(&self, at: &OrgCaller, stores: &[RecordStore]) -> Result<String, ServiceError> {
        let Beginnings { this, before, today } = Beginnings::of(self.store.now());
        let org = at.org.id.as_str();
        let read = each(stores, |store| store.exposition(org, (before, today), this));
        let (mut counts, mut all) = (HashMap::<String, i64>::new(), Vec::new());
        for read in read.await? {
            let (of_proxies, rows) = read.ok_or_else(too_many)?;
            for (proxy, count) in of_proxies {
                let sum = counts.entry(proxy).or_default();
                *sum = sum.saturating_add(count);
            }
            all.extend(rows);
        }
        let ids: Vec<String> = counts.keys().cloned().collect();
        let there = store::resource::find_all(&self.store, Noun::Proxy, org, &ids).await?;
        let mut apart: Vec<_> = there.into_iter().map(|row| Ranked { id: row.id, name: row.name }).collect();
        apart.sort_by(|a, b| counts.get(&b.id).cmp(&counts.get(&a.id)).then_with(|| a.id.cmp(&b.id)));
        let others = apart.split_off(apart.len().min(usize::try_from(PROXIES).unwrap_or(usize::MAX)));
        let others: HashSet<&str> = others.iter().map(|it| it.id.as_str()).collect();
        for row in &mut all {
            // Of one that is gone no name is found, and with it its series.
            row.proxy.take_if(|proxy| others.contains(proxy.as_str()));
        }
        let regions = self.region_names(&all).await?;
        Ok(text(this, &by_name(&apart, &regions, all)))
    }

    async fn region_names(&self, rows: &[Exposed]) -> Result<HashMap<String, String>, StoreError> {
        let mut ids: Vec<String> = rows.iter().map(|row| row.region.clone()).collect();
        ids.sort();
        ids.dedup();
        let rows = store::resource::find_all(&self.store, Noun::Region, "", &ids).await?;
        Ok(rows.into_iter().map(|row| (row.id, row.name)).collect())
    }
}

fn too_many() -> ServiceError {
    ServiceError::field("org", format!("has more than {ROWS_MOST} series: ask with QueryMetrics"))
}

impl Beginnings {
    fn of(now: i64) -> Self {
        let now = DateTime::<Utc>::from_timestamp_micros(now).unwrap_or_default().date_naive();
        let this = now.with_day(1).unwrap_or(now);
        let before = this.checked_sub_months(Months::new(1)).unwrap_or(this);
        let row = |date: chrono::NaiveDate| date.and_time(NaiveTime::MIN).and_utc().timestamp_micros();
        Self { this: row(this), before: row(before), today: row(now) }
    }
}

/// By the names of proxy and region. What has no name is gone, and so are its series.
fn by_name<'a>(
    apart: &'a [Ranked],
    regions: &'a HashMap<String, String>,
    rows: Vec<Exposed>,
) -> BTreeMap<(&'a str, &'a str), Sums> {
    let proxies: HashMap<&str, &str> = apart.iter().map(|it| (it.id.as_str(), it.name.as_str())).collect();
    let mut all: BTreeMap<_, Sums> = BTreeMap::new();
    for row in rows {
        let proxy = row.proxy.as_ref().map_or(Some(OTHERS), |id| proxies.get(id.as_str()).copied());
        let (Some(proxy), Some(region)) = (proxy, regions.get(&row.region)) else { continue };
        all.entry((proxy, region.as_str())).or_default().add(&row);
    }
    all
}

impl Sums {
    fn add(&mut self, row: &Exposed) {
        let class = usize::try_from(row.class).ok().filter(|class| *class < self.requests.len());
        for (sum, more) in [
            (&mut self.requests[class.unwrap_or(0)], row.requests),
            (&mut self.request_bytes, row.request_bytes),
            (&mut self.response_bytes, row.response_bytes),
            (&mut self.micros, row.micros),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.latencies.merge(&row.latencies);
    }
}

fn text(since: i64, all: &BTreeMap<(&str, &str), Sums>) -> String {
    let mut text = String::new();
    let mut family = Family::begin(
        &mut text,
        "requestrocket_proxy_counted_since_timestamp_seconds",
        "gauge",
        "When the counts of proxies began: at the beginning of the month, in UTC",
    );
    family.line("", &[], since / 1_000_000);
    if all.is_empty() {
        return text;
    }
    let mut family = Family::begin(
        &mut text,
        "requestrocket_proxy_requests_total",
        "counter",
        "Requests that ended, by the class of their status",
    );
    for ((proxy, region), sums) in all {
        for (class, requests) in sums.requests.iter().enumerate().filter(|(_, requests)| **requests > 0) {
            let class = if class == 0 { "none".to_owned() } else { format!("{class}xx") };
            family.line("", &[("proxy", proxy), ("region", region), ("status_class", &class)], requests);
        }
    }
    type Of = fn(&Sums) -> u64;
    for (name, help, of) in [
        (
            "requestrocket_proxy_errors_total",
            "Requests that ended with a status of 500 or above",
            (|sums| sums.requests[5]) as Of,
        ),
        ("requestrocket_proxy_request_bytes_total", "Bytes of request bodies", |sums| sums.request_bytes),
        ("requestrocket_proxy_response_bytes_total", "Bytes of response bodies", |sums| sums.response_bytes),
    ] {
        let mut family = Family::begin(&mut text, name, "counter", help);
        for ((proxy, region), sums) in all {
            family.line("", &[("proxy", proxy), ("region", region)], of(sums));
        }
    }
    let mut family = Family::begin(
        &mut text,
        "requestrocket_proxy_duration_seconds",
        "histogram",
        "How long requests took, body included, to a fifteenth",
    );
    for ((proxy, region), sums) in all {
        let of = [("proxy", *proxy), ("region", *region)];
        let count = sums.latencies.count();
        let below = |millis| sums.latencies.below(Duration::from_millis(millis));
        let bounds = BOUNDS.map(|(millis, le)| (le, below(millis)));
        for (le, count) in bounds.into_iter().chain([("+Inf", count)]) {
            family.line("_bucket", &[of[0], of[1], ("le", le)], count);
        }
        family.line("_sum", &of, format_args!("{}.{:06}", sums.micros / 1_000_000, sums.micros % 1_000_000));
        family.line("_count", &of, count);
    }
    text
}

/// One metric of the text.
struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl<'a> Family<'a> {
    fn begin(text: &'a mut String, name: &'static str, kind: &str, help: &str) -> Self {
        // Writing to a text cannot fail.
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}").ok();
        Self { text, name }
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        for (place, (label, value)) in labels.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            write!(self.text, "{}{label}=\"{value}\"", if place == 0 { '{' } else { ',' }).ok();
        }
        let end = if labels.is_empty() { "" } else { "}" };
        writeln!(self.text, "{end} {value}").ok();
    }
}

#[cfg(test)]
mod tests;
