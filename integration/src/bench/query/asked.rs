//! What is asked: the list of queries and pages, and how long each took.

use std::time::{Duration, Instant, SystemTime};

use anyhow::ensure;
use rr_contract::model::time::{timestamp, wire_duration};
use rr_contract::wire::management as mg;
use rr_contract::wire::management::MetricDimension as By;
use rr_contract::wire::management::metrics_service_client::MetricsServiceClient;
use rr_contract::wire::management::request_service_client::RequestServiceClient;
use rr_integration::api::{Api, Connection};
use rr_integration::sample::{ORG, REGION};

use super::traffic::{Cast, DAY};

/// The most bytes of an answer.
const ANSWER: usize = 64 << 20;
const HOUR: u64 = 3600;

/// One query of metrics.
pub(crate) struct Query {
    pub(crate) name: &'static str,
    by: &'static [By],
    /// In seconds.
    step: u64,
    filter: &'static str,
    /// The proxy with the most requests alone.
    one_proxy: bool,
    /// It is about every request.
    is_all: bool,
}

const fn query(name: &'static str, by: &'static [By], step: u64) -> Query {
    Query { name, by, step, filter: "", one_proxy: false, is_all: true }
}

impl Query {
    const fn of(self, filter: &'static str) -> Self {
        Self { filter, is_all: false, ..self }
    }

    const fn of_one_proxy(self) -> Self {
        Self { one_proxy: true, is_all: false, ..self }
    }
}

/// Each over 24 hours, of at most 1,000 series.
pub(crate) const QUERIES: [Query; 12] = [
    query("all by the hour", &[], HOUR),
    query("a proxy by the minute", &[], 60).of_one_proxy(),
    query("by proxy", &[By::Proxy], HOUR),
    query("by caller", &[By::Caller], HOUR),
    query("by status class", &[By::StatusClass], HOUR),
    query("by code", &[By::Code], HOUR),
    query("by rule", &[By::Rule], HOUR),
    // All statuses would make more than a thousand series.
    query("by proxy and status", &[By::Proxy, By::Status], HOUR).of("status < 404"),
    query("errors by proxy", &[By::Proxy], HOUR).of("status >= 500"),
    query("a caller by the minute", &[], 60).of("caller = caller-0"),
    query("a proxy's revisions by minute", &[By::Revision], 60).of_one_proxy(),
    query("p99 of a region by 5 minutes", &[], 300).of("region = eu"),
];

/// One page of records.
pub(crate) struct Page {
    pub(crate) name: &'static str,
    filter: &'static str,
    is_second: bool,
    /// Of so many seconds.
    last: Option<u64>,
}

const fn page(name: &'static str, filter: &'static str) -> Page {
    Page { name, filter, is_second: false, last: None }
}

/// Each of 100 records.
pub(crate) const PAGES: [Page; 6] = [
    page("newest", ""),
    page("errors", "status >= 500"),
    page("a caller's", "caller = caller-0"),
    page("a path's", "path = /v1/orders/*"),
    Page { is_second: true, ..page("second page", "") },
    // There are few, so every record of the hour is looked at.
    Page { last: Some(HOUR), ..page("rare path's of an hour", "path = /v1/exports/*") },
];

/// Asks.
pub(crate) struct Asker {
    metrics: MetricsServiceClient<Connection>,
    requests: RequestServiceClient<Connection>,
    proxy: String,
    before: i64,
    count: u64,
}

fn time(micros: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(micros.unsigned_abs())
}

impl Asker {
    /// Of the day before `before`, with so many records.
    pub(crate) fn new(api: &Api, cast: &Cast, before: i64, count: u64) -> Self {
        assert_eq!(REGION, "eu", "the queries name it");
        Self {
            metrics: MetricsServiceClient::new(api.connection()).max_decoding_message_size(ANSWER),
            requests: RequestServiceClient::new(api.connection()).max_decoding_message_size(ANSWER),
            proxy: cast.proxies[0].clone(),
            before,
            count,
        }
    }

    /// How many milliseconds it took, and how many series and points there were.
    pub(crate) async fn query(&mut self, query: &Query) -> anyhow::Result<(f64, usize, usize)> {
        let ask = mg::QueryMetricsRequest {
            org: ORG.to_owned(),
            proxy: if query.one_proxy { self.proxy.clone() } else { String::new() },
            after: Some(timestamp(time(self.before - DAY))),
            before: Some(timestamp(time(self.before))),
            step: Some(wire_duration(Duration::from_secs(query.step))),
            group_by: query.by.iter().map(|by| (*by).into()).collect(),
            filter: query.filter.to_owned(),
            limit: 1000,
        };
        let started = Instant::now();
        let answer = self.metrics.query_metrics(ask).await?.into_inner();
        let took = started.elapsed().as_secs_f64() * 1e3;
        let total = answer.all.as_ref().and_then(|all| all.total.as_ref()).map_or(0, |total| total.requests);
        ensure!(total > 0, "{}: nothing was found", query.name);
        ensure!(!query.is_all || total == self.count, "{}: {total} of {}", query.name, self.count);
        let points = answer.series.iter().map(|series| series.points.len()).sum();
        Ok((took, answer.series.len() + answer.others_count as usize, points))
    }

    /// How many milliseconds it took, and how many records there were.
    pub(crate) async fn page(&mut self, page: &Page) -> anyhow::Result<(f64, usize)> {
        let mut ask = mg::ListRequestsRequest {
            org: ORG.to_owned(),
            page_size: 100,
            filter: page.filter.to_owned(),
            after: page.last.map(|seconds| timestamp(time(self.before - 1_000_000 * seconds.cast_signed()))),
            ..mg::ListRequestsRequest::default()
        };
        if page.is_second {
            let first = self.requests.list_requests(ask.clone()).await?.into_inner();
            ask.page_token = first.next_page_token;
        }
        let started = Instant::now();
        let found = self.requests.list_requests(ask).await?.into_inner().requests.len();
        let took = started.elapsed().as_secs_f64() * 1e3;
        ensure!(found == 100 || page.last.is_some(), "{}: {found} records", page.name);
        Ok((took, found))
    }
}
