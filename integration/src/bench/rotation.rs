//! `rotation`: callers at a steady rate while the upstream's secret, the caller's key and the region's key change under them.
//!
//! The upstream takes only values that are its own at the moment, and the value before for a little while, as real ones do. A
//! request is due at its time whether or not those before were answered; whatever is not answered with 200 has failed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use rr_contract::model::time::wire_duration;
use rr_contract::runtime::Tasks;
use rr_contract::seal::region_key::RegionKeys;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential_service_client::CredentialServiceClient;
use rr_integration::caller::Kept;
use rr_integration::desk::{read_keys, rrctl_in, write_keys};
use rr_integration::process::Edge;
use rr_integration::sample::{ORG, REGION, Sample};
use rr_integration::upstream::{Seen, Upstream};

use crate::report::Report;

/// How long a value before is still taken: by the upstream, and by the edge of its callers.
const OVERLAP: Duration = Duration::from_secs(5);
/// The first secret of the sample.
const FIRST: &str = "s3cret";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Requests a second.
    #[arg(long, default_value_t = 2000)]
    rate: u64,
    /// Seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Connections of callers.
    #[arg(long, default_value_t = 16)]
    connections: u64,
    /// Seconds between two changes.
    #[arg(long, default_value_t = 4)]
    every: u64,
}

/// What callers and upstream agree on at the moment.
struct Agreed {
    key: String,
    /// What the upstream takes, and until when.
    taken: Vec<(String, Option<Instant>)>,
}

#[derive(Default)]
struct Tally {
    answered: AtomicU64,
    failed: Mutex<BTreeMap<String, u64>>,
    late: Mutex<Vec<f64>>,
}

fn open<T>(lock: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) async fn run(args: Args, report: &mut Report) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let agreed = Arc::new(Mutex::new(Agreed { key: String::new(), taken: vec![(FIRST.to_owned(), None)] }));
    let upstream = Upstream::start_forgetful_with(answer(Arc::clone(&agreed))).await;
    let sample = Sample::start(folder.path(), &upstream.url(), &[]).await?;
    open(&agreed).key.clone_from(&sample.key);
    let token = sample.api.node_token(REGION, &sample.keys, 1).await?;
    let edge = Edge::start(&folder.path().join("edge"), sample.control.fleet, token.to_secret().expose());
    edge.ready().await;
    write_keys(&sample.keys, &folder.path().join("eu.key"));

    let (tasks, tally) = (Tasks::new(), Arc::new(Tally::default()));
    let start = Instant::now() + Duration::from_millis(100);
    let mut callers = Vec::new();
    for n in 0..args.connections {
        let caller = Caller {
            edge: edge.listen,
            first: start + Duration::from_secs(n) / u32::try_from(args.rate)?,
            pause: Duration::from_secs(args.connections) / u32::try_from(args.rate)?,
            until: start + Duration::from_secs(args.seconds),
            agreed: Arc::clone(&agreed),
            tally: Arc::clone(&tally),
        };
        callers.push(tasks.spawn("caller", caller.run()));
    }
    let mut counts = [0_u64; 3];
    for turn in 0.. {
        tokio::time::sleep(Duration::from_secs(args.every)).await;
        if start.elapsed() + Duration::from_secs(args.every) > Duration::from_secs(args.seconds) {
            break;
        }
        match turn % 3 {
            0 => {
                replace(&sample, &agreed, &upstream.url(), &read_keys(&folder.path().join("eu.key")), turn)
                    .await?
            }
            1 => roll(&sample, &agreed).await?,
            _ => rotate(&sample, folder.path()).await?,
        }
        counts[turn % 3] += 1;
    }
    for caller in callers {
        caller.await?;
    }
    let failed = std::mem::take(&mut *open(&tally.failed));
    for (why, count) in &failed {
        report.say(&format!("{count} failed: {why}"));
    }
    let answered = tally.answered.load(Ordering::Relaxed);
    let (secrets, keys, regions) = (counts[0], counts[1], counts[2]);
    ensure!(secrets > 0 && keys > 0 && regions > 0, "each changed once at least: {counts:?}");
    let note = format!(
        "while the upstream's secret changed {secrets} times, the caller's key {keys} times, the region's key {regions} times; asked for: 0"
    );
    let failed: u64 = failed.values().sum();
    report.metric("rotation", "failed requests", &[failed as f64], "", &note);
    let rate = (answered + failed) as f64 / args.seconds as f64;
    report.metric(
        "rotation",
        "requests a second",
        &[rate],
        "",
        &format!("{answered} were answered with 200"),
    );
    let late = std::mem::take(&mut *open(&tally.late));
    report.percentiles(
        "rotation",
        "answered after it was due",
        &late,
        "ms",
        "upstream and callers in the bench",
    );
    Ok(())
}

/// 200 to a value of the moment, 401 to every other.
fn answer(agreed: Arc<Mutex<Agreed>>) -> impl Fn(&Seen) -> Response<Full<Bytes>> {
    move |seen| {
        let shown = seen.headers.get("authorization").and_then(|it| it.to_str().ok()).unwrap_or_default();
        let now = Instant::now();
        let is_good = |(value, until): &(String, Option<Instant>)| {
            shown.strip_prefix("Bearer ") == Some(value) && until.is_none_or(|until| now < until)
        };
        let status =
            if open(&agreed).taken.iter().any(is_good) { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        let mut response = Response::new(Full::new(Bytes::from_static(b"hello")));
        *response.status_mut() = status;
        response
    }
}

struct Caller {
    edge: std::net::SocketAddr,
    first: Instant,
    pause: Duration,
    until: Instant,
    agreed: Arc<Mutex<Agreed>>,
    tally: Arc<Tally>,
}

impl Caller {
    async fn run(self) {
        let path = format!("/api/{ORG}.echo/");
        let (mut due, mut kept) = (self.first, None);
        while due < self.until {
            tokio::time::sleep_until(due.into()).await;
            let key = open(&self.agreed).key.clone();
            if let Err(why) = self.ask(&mut kept, &path, &key).await {
                *open(&self.tally.failed).entry(why).or_default() += 1;
                kept = None;
            } else {
                self.tally.answered.fetch_add(1, Ordering::Relaxed);
                open(&self.tally.late).push(due.elapsed().as_secs_f64() * 1e3);
            }
            due += self.pause;
        }
    }

    async fn ask(&self, kept: &mut Option<Kept>, path: &str, key: &str) -> Result<(), String> {
        let line = match kept {
            Some(line) => line,
            None => kept.insert(Kept::connect(self.edge).await.map_err(|error| format!("{error:#}"))?),
        };
        let reply = line.get(path, key).await.map_err(|error| format!("{error:#}"))?;
        if reply.status == 200 { Ok(()) } else { Err(format!("{}: {}", reply.status, reply.text())) }
    }
}

/// The upstream takes the next value, and that before it for a little while: first there, then here.
async fn replace(
    sample: &Sample,
    agreed: &Mutex<Agreed>,
    origin: &str,
    keys: &RegionKeys,
    turn: usize,
) -> anyhow::Result<()> {
    let value = format!("secret of turn {turn}");
    open(agreed).taken.push((value.clone(), None));
    let credential = sample.api.credential(ORG, "secret").await?;
    sample.api.replace_secret(ORG, &credential, keys, origin, &value).await?;
    let until = Instant::now() + OVERLAP;
    for (taken, end) in &mut open(agreed).taken {
        if *taken != value && end.is_none() {
            *end = Some(until);
        }
    }
    Ok(())
}

/// `credential roll` with an overlap; callers go over to the new key at once.
async fn roll(sample: &Sample, agreed: &Mutex<Agreed>) -> anyhow::Result<()> {
    let ask = mg::RollCredentialRequest {
        org: ORG.to_owned(),
        credential: "app".to_owned(),
        overlap: Some(wire_duration(OVERLAP)),
        ..Default::default()
    };
    let reply =
        CredentialServiceClient::new(sample.api.connection()).roll_credential(ask).await?.into_inner();
    // Whoever hands a new key to callers waits until nodes take it.
    ensure!(sample.is_served(reply.revision).await?, "nodes take the new key");
    open(agreed).key = reply.key;
    Ok(())
}

async fn rotate(sample: &Sample, folder: &std::path::Path) -> anyhow::Result<()> {
    let mut command = rrctl_in(folder, sample.control.management, sample.api.token());
    command.args(["region", "rotate-key", REGION, "--region-key", "eu.key", "--yes"]);
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    ensure!(output.status.success(), "rrctl: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
