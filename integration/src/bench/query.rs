//! `query`: metrics and records of a day of one organization, read over gRPC from a real `rr-control`; what they take on
//! disk; and how long a request takes to whoever follows.
//!
//! The day is written straight into the database of a control plane that does not run, and is checked by what is read: the
//! queries that are about every request have to add up to all of them.

mod asked;
mod loader;
mod outside;
mod rollups;
mod tail;
pub(crate) mod traffic;

use std::collections::VecDeque;
use std::time::{Instant, SystemTime};

use anyhow::{Context as _, ensure};
use rr_contract::model::id::{NodeId, OrgId};
use rr_contract::seam::{SystemEntropy, draw};
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential_service_client::CredentialServiceClient;
use rr_contract::wire::management::proxy_service_client::ProxyServiceClient;
use rr_contract::wire::management::rule_service_client::RuleServiceClient;
use rr_integration::clickhouse::ClickHouse;
use rr_integration::fleet_100k::documents::{Size, documents};
use rr_integration::postgres::Postgres;
use rr_integration::sample::{ORG, REGION, Sample, apply};
use rr_integration::upstream::Upstream;

use crate::management::{ORIGIN, seal};
use crate::report::Report;

use asked::{Asker, PAGES, QUERIES};
use loader::{Loader, Value};
use rollups::{ROLLUP, Rollups, SERIES};
use traffic::{Cast, DAY, MINUTE, RECORD, Traffic};

/// Five of the credentials are callers', which all proxies take.
const SIZE: Size = Size { targets: 20, credentials: 7, proxies: 200, rules: 8 };
const OTHER_REGION: &str = "us";
/// The record store in ClickHouse.
const STORE: &str = "big";
const GIB: f64 = 1_073_741_824.0;
/// Thirty days at a thousand a second.
const MONTH: f64 = 30.0 * 86_400.0 * 1000.0;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Records of the day in PostgreSQL; a tenth of them in SQLite and in ClickHouse.
    #[arg(long, default_value_t = 10_000_000)]
    records: usize,
    /// How often each is asked, behind a pass that does not count.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Requests of the tail. 0 leaves it out.
    #[arg(long, default_value_t = 200)]
    tailed: usize,
    /// `sqlite`, `postgres` or `clickhouse`; all when not given, the last where `RR_CHDB` names a Python with chDB.
    #[arg(long)]
    engine: Option<String>,
    /// The same seed gives the same day.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Where the day lies.
enum Server<'a> {
    /// In a file.
    None,
    Postgres(&'a Postgres),
    ClickHouse(&'a ClickHouse),
}

/// What a part of the day takes on disk.
struct Sizes {
    records: i64,
    rollups: i64,
    /// By level.
    rows: [u64; 3],
    series: usize,
}

pub(crate) async fn run(args: Args, report: &mut Report) -> anyhow::Result<()> {
    let wanted = |engine: &str| args.engine.as_deref().is_none_or(|said| said == engine);
    if wanted("postgres") {
        let server =
            Postgres::start().context("no `postgres` and `initdb` in PATH or /usr/lib/postgresql")?;
        engine(&args, "postgres", args.records, Server::Postgres(&server), report).await?;
    }
    if wanted("sqlite") {
        engine(&args, "sqlite", args.records / 10, Server::None, report).await?;
    }
    if wanted("clickhouse") {
        match ClickHouse::start() {
            Some(server) => {
                engine(&args, "clickhouse", args.records / 10, Server::ClickHouse(&server), report).await?;
            }
            None => report.say("clickhouse: not run, for RR_CHDB names no Python with chDB"),
        }
    }
    Ok(())
}

async fn engine(
    args: &Args,
    engine: &str,
    records: usize,
    server: Server<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    ensure!(records >= 1000, "fewer than 1,000 records do not fill the pages");
    let (folder, upstream) = (tempfile::tempdir()?, Upstream::start_forgetful().await);
    let variables = match &server {
        Server::None => Vec::new(),
        Server::Postgres(server) => vec![("RR_CONTROL_DATABASE", server.address())],
        Server::ClickHouse(server) => {
            vec![("RR_CONTROL_RECORD_STORE", format!("{STORE}={}", server.url()))]
        }
    };
    let mut sample = Sample::start(folder.path(), &upstream.url(), &variables).await?;
    let cast = cast(&sample, args.seed).await?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_micros();
    let now = i64::try_from(now)?;
    let before = now - now.rem_euclid(MINUTE);
    if matches!(server, Server::ClickHouse(_)) {
        outside::chosen(&sample).await?;
    }
    sample.control.kill();
    let mut loader = match &server {
        Server::Postgres(server) => Loader::postgres(&server.address()).await?,
        Server::None | Server::ClickHouse(_) => Loader::sqlite(&sample.control.database()).await?,
    };
    let started = Instant::now();
    let (seed, begin) = (args.seed, before - DAY);
    let sizes = match &server {
        Server::ClickHouse(server) => outside::load(server, &mut loader, &cast, seed, begin, records).await?,
        Server::None | Server::Postgres(_) => load(&mut loader, &cast, seed, begin, records).await?,
    };
    loader.close().await?;
    report.say(&format!("{engine}: {records} records were there after {:.0?}", started.elapsed()));
    sample.control = sample.control.restart().await;

    told(engine, records, &sizes, report);
    let mut asker = Asker::new(&sample.api, &cast, before, records as u64);
    for query in &QUERIES {
        let name = format!("{engine} {}", query.name);
        if let Err(error) = asker.query(query).await {
            // One that fails is a figure too, and does not take the others with it.
            report.metric("query", &name, &[], "ms", &format!("FAILS: {error}"));
            continue;
        }
        let (mut took, mut of) = (Vec::new(), String::new());
        for _ in 0..args.rounds {
            let (ms, series, points) = asker.query(query).await?;
            took.push(ms);
            of = format!("{series} series, {points} points");
        }
        let note = format!("24 h, {of}; {}; asked for: at most 300 ms", most(&took));
        report.metric("query", &name, &took, "ms", &note);
    }
    for page in &PAGES {
        let name = format!("{engine} {}", page.name);
        if let Err(error) = asker.page(page).await {
            report.metric("query", &name, &[], "ms", &format!("FAILS: {error}"));
            continue;
        }
        let (mut took, mut count) = (Vec::new(), 0);
        for _ in 0..args.rounds {
            let (ms, found) = asker.page(page).await?;
            took.push(ms);
            count = found;
        }
        let note = format!("page of {count} records; {}; asked for: at most 100 ms", most(&took));
        report.metric("query", &name, &took, "ms", &note);
    }
    if args.tailed > 0 {
        let took = tail::delays(&sample, folder.path(), args.tailed).await?;
        let note = "one after the other, from when it is sent to its message; asked for: p99 at most 1500 ms";
        report.percentiles("query", &format!("{engine} tail"), &took, "ms", note);
    }
    Ok(())
}

fn most(took: &[f64]) -> String {
    format!("at most {:.1}", took.iter().copied().fold(0.0, f64::max))
}

fn told(engine: &str, records: usize, sizes: &Sizes, report: &mut Report) {
    let metric = |name: &str| format!("{engine} {name}");
    let count = records as f64;
    report.metric(
        "query",
        &metric("records"),
        &[count],
        "",
        "of 24 h, one organization, 200 proxies, 5 callers",
    );
    report.metric("query", &metric("series"), &[sizes.series as f64], "", "that these are of");
    for (name, rows) in ["minutes", "hours", "days"].into_iter().zip(sizes.rows) {
        report.metric("query", &metric(&format!("rollups, {name}")), &[rows as f64], "rows", "");
    }
    let record = sizes.records as f64 / count;
    let all_rows: u64 = sizes.rows.iter().sum();
    let row = sizes.rollups as f64 / all_rows as f64;
    let note = "on disk with its indexes";
    report.metric("query", &metric("a record"), &[record], "bytes", note);
    report.metric("query", &metric("a row of rollups"), &[row], "bytes", note);
    let note = "30 days at 1,000 a second";
    report.metric("query", &metric("records of a month"), &[record * MONTH / GIB], "GiB", note);
    let days = |rows: f64| rows * row * 30.0 / GIB;
    let note = "30 days, each with as many rows as this one";
    report.metric("query", &metric("rollups of a month"), &[days(all_rows as f64)], "GiB", note);
    let note = "30 days, each series in each minute: the most at any rate";
    let most = sizes.series as f64 * (1440.0 + 24.0 + 1.0);
    report.metric("query", &metric("rollups of a month, most"), &[days(most)], "GiB", note);
}

/// What the day is about: resources that are there.
pub(crate) async fn cast(sample: &Sample, seed: u64) -> anyhow::Result<Cast> {
    let api = &sample.api;
    let other = api.region(OTHER_REGION, "").await?;
    let org = mg::ListProxiesRequest { org: ORG.to_owned(), page_size: 1000, ..Default::default() };
    let mut proxies = ProxyServiceClient::new(api.connection());
    let echo = proxies.list_proxies(org.clone()).await?.into_inner().proxies;
    let org_id: OrgId = echo.first().context("the proxy of the sample")?.org.parse()?;
    let mut set = documents(seed, REGION, SIZE);
    seal(api, &sample.keys, org_id, ORIGIN, &mut set).await?;
    apply(api, ORG, "bench", set).await?;
    let found = proxies.list_proxies(org).await?.into_inner().proxies;
    let first = found.iter().find(|proxy| proxy.name == "proxy-0").context("proxy-0")?;
    let (target, upstream) = (first.target.clone(), first.upstream_credential.clone());
    let ask = mg::ListCredentialsRequest { org: ORG.to_owned(), page_size: 1000, ..Default::default() };
    let credentials =
        CredentialServiceClient::new(api.connection()).list_credentials(ask).await?.into_inner().credentials;
    let ask = mg::ListRulesRequest { org: ORG.to_owned(), page_size: 1000, ..Default::default() };
    let rules = RuleServiceClient::new(api.connection()).list_rules(ask).await?.into_inner().rules;
    let mut callers: Vec<_> = credentials.into_iter().filter(|it| it.name.starts_with("caller-")).collect();
    callers.sort_by(|left, right| left.name.cmp(&right.name));
    let cast = Cast {
        org: org_id.text(),
        proxies: found.into_iter().filter(|it| it.name.starts_with("proxy-")).map(|it| it.id).collect(),
        callers: callers.into_iter().map(|it| it.id).collect(),
        rules: rules.into_iter().map(|it| it.id).collect(),
        regions: [sample.keys.region().to_string(), other.region().to_string()],
        node: NodeId::from_random(draw(&SystemEntropy)).text(),
        target,
        upstream,
    };
    ensure!(
        (cast.proxies.len(), cast.callers.len(), cast.rules.len()) == (SIZE.proxies, 5, SIZE.rules),
        "not all was made"
    );
    Ok(cast)
}

/// Writes the day: records, then what they add up to, drawn a second time.
async fn load(
    loader: &mut Loader,
    cast: &Cast,
    seed: u64,
    begin: i64,
    count: usize,
) -> anyhow::Result<Sizes> {
    let empty = size(loader, "request_record").await?;
    let anew = loader.without_indexes("request_record").await?;
    let rows = Traffic::new(cast, seed, (begin, DAY), count).map(|drawn| drawn.row(cast));
    let written = loader.fill("request_record", &RECORD, rows).await?;
    ensure!(written == count as u64, "{written} of {count} records");
    loader.run(&format!("UPDATE arrival SET newest = {count} WHERE id = 1")).await?;
    indexed(loader, anew, "request_record").await?;
    let records = size(loader, "request_record").await? - empty;

    let empty = size(loader, "rollup").await?;
    let anew = loader.without_indexes("rollup").await?;
    let (mut rollups, mut requests) = (Rollups::default(), Traffic::new(cast, seed, (begin, DAY), count));
    let mut waiting: VecDeque<Vec<Value>> = VecDeque::new();
    let mut is_over = false;
    let rows = std::iter::from_fn(|| {
        while waiting.is_empty() && !is_over {
            match requests.next() {
                Some(drawn) => waiting.extend(rollups.add(&drawn)),
                None => {
                    is_over = true;
                    waiting.extend(rollups.end());
                }
            }
        }
        waiting.pop_front()
    });
    loader.fill("rollup", &ROLLUP, rows).await?;
    indexed(loader, anew, "rollup").await?;
    let series = rollups.series(cast);
    let count = series.len();
    loader.fill("series", &SERIES, series.into_iter()).await?;
    if let Loader::Postgres(_) = loader {
        loader
            .run("SELECT setval(pg_get_serial_sequence('series', 'id'), (SELECT max(id) FROM series))")
            .await?;
        loader.run("ANALYZE series").await?;
    }
    let rolled = size(loader, "rollup").await? - empty;
    Ok(Sizes { records, rollups: rolled, rows: rollups.rows, series: count })
}

/// Builds indexes, and does what the server would do by itself in a while.
async fn indexed(loader: &mut Loader, indexes: Vec<String>, table: &str) -> anyhow::Result<()> {
    for index in indexes {
        loader.run(&index).await?;
    }
    if let Loader::Postgres(_) = loader {
        loader.run(&format!("VACUUM (ANALYZE) {table}")).await?;
    }
    Ok(())
}

/// Bytes on disk with indexes: of a table, or of the whole file of SQLite.
async fn size(loader: &mut Loader, table: &str) -> anyhow::Result<i64> {
    if let Loader::Sqlite(_) = loader {
        return loader
            .number("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")
            .await;
    }
    // A table in partitions has nothing of its own.
    let whole =
        format!("SELECT sum(pg_total_relation_size(relid))::bigint FROM pg_partition_tree('{table}')");
    loader.number(&format!("SELECT coalesce(({whole}), pg_total_relation_size('{table}'))")).await
}
