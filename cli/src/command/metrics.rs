//! `rrctl metrics`: what requests add up to, by what they have in common and over time.

mod row;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use pbjson_types::Duration as WireDuration;
use rr_contract::model::time::wire_duration;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::MetricDimension;
use rr_contract::wire::management::metrics_service_client::MetricsServiceClient;

use super::request::RequestArgs;
use crate::connect::ANSWER_MOST;
use crate::flags::moment::{self, Moment};
use crate::flags::span;
use crate::print::{Printer, note, time};
use crate::session::Session;

use self::row::SeriesRow;

const EXAMPLES: &str = "\
Examples:
  rrctl metrics query
  rrctl metrics query --since 30m --by proxy,status
  rrctl metrics query --proxy pay --by caller --status 5xx
  rrctl metrics query --since 7d --step 6h --by rule --code rule-denied
  rrctl metrics query --since 1h --step 5m -o json | jq .all.points";

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Adds up requests: how many, how many failed, how long they took; `-o wide` adds what was denied, bytes and meters.
    #[command(after_help = EXAMPLES)]
    Query(QueryArgs),
}

#[derive(Args)]
pub(crate) struct QueryArgs {
    #[command(flatten)]
    requests: RequestArgs,
    /// What series are made by, at most three.
    #[arg(long = "by", value_name = "DIMENSIONS", value_delimiter = ',')]
    by: Vec<Dimension>,
    /// Only requests that came at this time or later, as `1h`, `2026-01-31` or `2026-01-31T08:00:00Z`; a day ago when not
    /// given.
    #[arg(long, value_name = "WHEN", visible_alias = "after")]
    since: Option<Moment>,
    /// Only requests that came before this time.
    #[arg(long, value_name = "WHEN", visible_alias = "before")]
    until: Option<Moment>,
    /// How much a point of a series stands for: whole minutes, as `5m`, `1h` or `1d`. When not given, a minute for up to 3
    /// hours, an hour for up to 7 days, else a day.
    #[arg(long, value_name = "SPAN", value_parser = step)]
    step: Option<WireDuration>,
    /// How many series; the rest is added up in one.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(i32).range(1..=1000))]
    limit: i32,
}

/// What requests of a series have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Dimension {
    Proxy,
    Caller,
    Region,
    Status,
    StatusClass,
    Code,
    Rule,
    ObservedRule,
    Revision,
}

impl Dimension {
    const fn wire(self) -> MetricDimension {
        match self {
            Self::Proxy => MetricDimension::Proxy,
            Self::Caller => MetricDimension::Caller,
            Self::Region => MetricDimension::Region,
            Self::Status => MetricDimension::Status,
            Self::StatusClass => MetricDimension::StatusClass,
            Self::Code => MetricDimension::Code,
            Self::Rule => MetricDimension::Rule,
            Self::ObservedRule => MetricDimension::ObservedRule,
            Self::Revision => MetricDimension::Revision,
        }
    }
}

pub(super) fn step(text: &str) -> Result<WireDuration, String> {
    let span = moment::span(text).or_else(|| span::of(text));
    let minutes = |span: &std::time::Duration| {
        span.as_secs() > 0 && span.subsec_nanos() == 0 && span.as_secs().is_multiple_of(60)
    };
    span.filter(minutes)
        .map(wire_duration)
        .ok_or_else(|| format!("{text:?} is no step; write whole minutes, as 5m, 1h or 1d"))
}

impl Verb {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let Self::Query(args) = self;
        let org = session.org()?;
        let ask = mg::QueryMetricsRequest {
            org,
            proxy: args.requests.proxy.clone(),
            after: args.since.map(Moment::ago),
            before: args.until.map(Moment::ago),
            step: args.step,
            group_by: args.by.iter().map(|one| one.wire().into()).collect(),
            filter: args.requests.filter()?,
            limit: args.limit,
        };
        let stub = MetricsServiceClient::new(session.endpoint.connect().await?);
        let mut stub = stub.max_decoding_message_size(ANSWER_MOST);
        show(&stub.query_metrics(ask).await?.into_inner(), session.print)
    }
}

fn show(answer: &mg::QueryMetricsResponse, print: Printer) -> Result<()> {
    if print.is_data() {
        return print.data(answer);
    }
    let (from, to) = (time(answer.after.as_ref()), time(answer.before.as_ref()));
    let step = answer.step.as_ref().map(span::text).unwrap_or_default();
    note(&format!("from {from} to {to}, steps of {step}"));
    let mut rows: Vec<SeriesRow> = answer.series.iter().map(|series| SeriesRow::of(None, series)).collect();
    rows.extend(
        answer
            .others
            .as_ref()
            .map(|series| SeriesRow::of(Some(format!("({} others)", answer.others_count)), series)),
    );
    if rows.len() != 1 || answer.series.iter().any(|series| !series.labels.is_empty()) {
        rows.extend(answer.all.as_ref().map(|series| SeriesRow::of(Some("(all)".to_owned()), series)));
    }
    print.list(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_whole_minutes_in_any_unit() {
        for (text, seconds) in [("5m", 300), ("1h", 3_600), ("1d", 86_400), ("120s", 120), ("2w", 1_209_600)]
        {
            assert_eq!(step(text).map(|step| step.seconds), Ok(seconds), "{text}");
        }
        for text in ["90s", "0m", "m", "500ms", "-5m", "1.5h", ""] {
            assert!(step(text).is_err_and(|said| said.contains("whole minutes")), "{text}");
        }
    }
}
