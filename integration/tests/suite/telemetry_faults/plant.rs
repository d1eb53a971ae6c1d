//! A control plane, on PostgreSQL two replicas of it, a node behind a switch, and callers who remember what they were answered.

#![allow(clippy::needless_update, reason = "a request may gain fields, which a test does not say")]

use std::process::Command;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rr_contract::wire::management::proxy_service_client::ProxyServiceClient;
use rr_contract::wire::{FieldMask, fleet, management as mg};
use rr_integration::api::Api;
use rr_integration::caller::Caller;
use rr_integration::callers::{Answer, Callers, Tally};
use rr_integration::postgres::Postgres;
use rr_integration::process::{Control, Edge, Process, admin};
use rr_integration::relay::switch::Switch;
use rr_integration::sample::{ORG, REGION, Sample};
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;

use super::books::{Books, Stored};

/// What was answered so long before a kill is on disk: records are made sure of each 100 ms, on a machine that has other things to do
/// as well.
/// Bytes of an entry of the spool's marks.
const MARKS: usize = 101;
const SURE: Duration = Duration::from_secs(1);
const CONNECTIONS: usize = 2;
/// Looks in a row at which nothing is new: batches are made each 100 ms, and added up each 2 s.
const QUIET: u32 = 30;

pub(super) enum Engine {
    Sqlite,
    Postgres(Postgres),
}

impl Engine {
    /// None where there is no server program.
    pub(super) fn postgres() -> Option<Self> {
        Postgres::start().map(Self::Postgres)
    }
}

pub(super) struct Plant {
    control: Option<Control>,
    api: Api,
    /// The key of callers.
    key: String,
    /// None on SQLite, which has one process.
    replica: Option<Control>,
    switch: Switch,
    edge: Option<Edge>,
    pub(super) books: Books,
    pub(super) tally: Arc<Tally>,
    /// When the node was killed: from before to behind it.
    kills: Vec<(Instant, Instant)>,
    _upstream: Upstream,
    folder: tempfile::TempDir,
}

impl Plant {
    pub(super) async fn start(engine: Engine, settings: &[(&str, String)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let upstream = Upstream::start_forgetful().await;
        let variables = match &engine {
            Engine::Sqlite => Vec::new(),
            Engine::Postgres(server) => vec![("RR_CONTROL_DATABASE", server.address())],
        };
        let sample = Sample::start(folder.path(), &upstream.url(), &variables).await.expect("starts");
        let switch = Switch::start(&[sample.control.fleet]).await.expect("listens");
        let token = sample.api.node_token(REGION, &sample.keys, 1).await.expect("token");
        let state = folder.path().join("edge");
        let edge = Edge::start_with(&state, switch.address, token.to_secret().expose(), settings);
        edge.ready().await;
        let caller = Caller::new(edge.listen, &format!("{ORG}.echo"), &sample.key);
        eventually("the node serves", || async {
            (caller.try_get("/").await.ok()?.status == 200).then_some(())
        })
        .await;
        let books = match engine {
            Engine::Sqlite => Books::Sqlite(sample.control.database()),
            Engine::Postgres(server) => Books::Postgres(server),
        };
        let Sample { control, api, key, .. } = sample;
        Self {
            control: Some(control),
            api,
            key,
            replica: None,
            switch,
            edge: Some(edge),
            books,
            tally: Arc::default(),
            kills: Vec::new(),
            _upstream: upstream,
            folder,
        }
    }

    /// Where the database is shared.
    pub(super) async fn add_replica(&mut self) {
        if matches!(self.books, Books::Postgres(_)) {
            let replica = self.control().replica(&self.folder.path().join("second")).await;
            self.switch.point(&[self.control().fleet, replica.fleet]);
            self.replica = Some(replica);
        }
    }

    fn edge(&self) -> &Edge {
        self.edge.as_ref().expect("it is taken for a restart alone")
    }

    /// Callers until so many requests are answered in all.
    pub(super) fn call(&self, until: u64) -> Callers {
        let path = format!("/api/{ORG}.echo/");
        Callers::start(self.edge().listen, &path, &self.key, CONNECTIONS, &self.tally, until)
    }

    /// Waits until so many more are answered.
    pub(super) async fn passes(&self, count: u64) {
        self.tally.reach(self.tally.answered() + count).await.expect("they are answered");
    }

    fn answers(&self) -> Vec<Answer> {
        self.tally.answered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The 99th percentile of so many requests.
    pub(super) async fn p99_of(&self, count: u64) -> Duration {
        let from = self.tally.answered();
        self.call(from + count).end().await.expect("no caller panics");
        let mut took: Vec<Duration> = self
            .answers()
            .drain(..)
            .skip(usize::try_from(from).expect("few"))
            .map(|answer| answer.took)
            .collect();
        took.sort();
        took[took.len() * 99 / 100]
    }

    pub(super) fn kill_node(&mut self) {
        let begun = Instant::now();
        let mut edge = self.edge.take().expect("it is there");
        edge.kill();
        self.kills.push((begun, Instant::now()));
        self.edge = Some(edge.restart());
    }

    /// `kill -9` of the process that the node is connected to, which starts again. Meanwhile the other serves, where there is one.
    pub(super) async fn kill_control_plane(&mut self) {
        let mut control = self.control.take().expect("it is there");
        control.kill();
        self.passes(50).await;
        self.control = Some(control.restart().await);
    }

    fn control(&self) -> &Control {
        self.control.as_ref().expect("it is taken for a restart alone")
    }

    pub(super) fn freeze(&self) {
        self.control().process.freeze();
    }

    pub(super) fn thaw(&self) {
        self.control().process.thaw();
    }

    /// Has the node go on at the other replica. False: there is none.
    pub(super) fn switch_over(&self) -> bool {
        let Some(replica) = &self.replica else { return false };
        self.switch.point(&[replica.fleet]);
        true
    }

    /// A metric of the node.
    pub(super) async fn metric(&self, name: &str) -> Option<u64> {
        let reply = admin(self.edge().admin, "/metrics").await.ok()?;
        let name = format!("requestrocket_edge_{name}");
        let line = reply.text().lines().find(|line| line.starts_with(&name)).map(str::to_owned)?;
        Some(line.split_whitespace().last()?.parse::<f64>().ok()? as u64)
    }

    /// Waits until nothing waits at the node or for being added up, and it stays so.
    pub(super) async fn settled(&self) -> Stored {
        let (mut before, mut quiet) = (Stored::default(), 0);
        let mut looks = 0;
        while quiet < QUIET {
            let now = self.books.counted().await;
            let waits = self.metric("spool_bytes").await != Some(0) || now.waiting > 0;
            quiet = if waits || now.counts() != before.counts() { 0 } else { quiet + 1 };
            before = now;
            looks += 1;
            assert!(looks < 1_200, "something waits and does not come: {before:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.books.stored().await
    }

    /// The last number of the node's spool, as its own file says it: the sixth of nine numbers behind a head of 25 bytes.
    pub(super) fn last_sequence(&self) -> u64 {
        // Whichever was written last says it: one is written anew, an entry is added to the other.
        let read = |name: &str| std::fs::read(self.folder.path().join("edge/state/spool").join(name));
        let entries = ["spool", "spool-copy"].map(|name| read(name).expect("is there"));
        let last = |entry: &[u8]| u64::from_le_bytes(entry[65..73].try_into().expect("eight bytes"));
        let all = entries.iter().flat_map(|file| file.chunks_exact(MARKS).map(last));
        all.max().expect("there is one")
    }

    /// Of a request that was answered when no kill was near.
    pub(super) fn last_id(&self) -> String {
        self.answers().pop().expect("there are some").id
    }

    /// What is wrong, if anything is.
    pub(super) fn loss_faults(&self, first: &Stored, end: &Stored, sequence: u64) -> Vec<String> {
        let mut faults = Vec::new();
        let mut note = |is_wrong: bool, what: String| {
            if is_wrong {
                faults.push(what);
            }
        };
        let answers = self.answers();
        let is_near = |answer: &Answer| {
            self.kills.iter().any(|(begun, over)| answer.connected <= *over && answer.at + SURE > *begun)
        };
        let early = answers.iter().filter(|answer| !end.ids.contains(&answer.id) && !is_near(answer)).count();
        note(early > 0, format!("{early} records that were made sure of are missing"));
        let counted = end.sums[0] - first.sums[0];
        let recorded = end.recorded - first.recorded;
        let lost = end.all_lost() - first.all_lost();
        let sent = self.tally.answered() + self.tally.broken();
        note(counted > sent, format!("{counted} requests in sums of {sent}"));
        note(
            recorded + lost != counted,
            format!("{recorded} records and {lost} lost are not {counted} in sums"),
        );
        note(end.sums != [end.sums[0]; 3], format!("levels differ: {:?}", end.sums));
        note(end.rows != end.ids.len() as u64, "a record is there twice".to_owned());
        let accounted = end.account("stored") + end.account("sampled") + end.all_lost();
        note(
            end.account("made") != accounted || end.account("made") != end.sums[0],
            format!("accounts do not add up: {:?}", end.accounts),
        );
        note(end.account("refused") > 0, "a record came twice".to_owned());
        note(
            end.cursors != [sequence],
            format!("cursors {:?}, and the spool's last is {sequence}", end.cursors),
        );
        faults
    }

    /// The same where all requests were answered, but for so many that were refused.
    pub(super) async fn count_faults(&self, first: &Stored, end: &Stored, refused: u64) -> Vec<String> {
        let mut faults = Vec::new();
        let counted = end.sums[0] - first.sums[0];
        let recorded = end.recorded - first.recorded;
        let lost = end.all_lost() - first.all_lost();
        let told = self.metric("records_dropped_total").await.unwrap_or_default();
        let sent = self.tally.answered() + refused;
        let broken = self.tally.broken() + self.tally.refused.load(Ordering::Relaxed);
        for (is_wrong, what) in [
            (broken > 0, format!("{broken} requests were not answered")),
            (counted != sent, format!("{counted} requests in sums of {sent}")),
            (end.sums != [end.sums[0]; 3], format!("levels differ: {:?}", end.sums)),
            (
                recorded + lost != counted,
                format!("{recorded} records and {lost} lost are not {counted} in sums"),
            ),
            (lost != told, format!("{lost} lost, and the node says {told}")),
            (lost == 0, "there was room for all".to_owned()),
        ] {
            if is_wrong {
                faults.push(what);
            }
        }
        faults
    }

    /// A caller of a proxy whose requests wait until a record is on disk.
    pub(super) async fn durable_proxy(&self) -> Caller {
        let api = &self.api;
        api.proxy(ORG, "durable", "app", "echo", "secret", REGION).await.expect("proxy");
        let recording = Some(fleet::Recording { durable: true, ..Default::default() });
        let ask = mg::UpdateProxyRequest {
            org: ORG.to_owned(),
            name: "durable".to_owned(),
            proxy: Some(mg::Proxy { recording, ..Default::default() }),
            update_mask: Some(FieldMask { paths: vec!["recording".to_owned()] }),
            ..Default::default()
        };
        ProxyServiceClient::new(api.connection()).update_proxy(ask).await.expect("updated");
        let caller = Caller::new(self.edge().listen, &format!("{ORG}.durable"), &self.key);
        eventually("it is served", || async {
            (caller.try_get("/").await.ok()?.status == 200).then_some(())
        })
        .await;
        caller
    }

    /// Looks on at what the node does with its disk; where told, each sync takes so long.
    pub(super) async fn traced(&self, stall: Option<Duration>) -> Process {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync"]);
        if let Some(stall) = stall {
            strace.args(["-e", &format!("inject=fsync,fdatasync:delay_enter={}", stall.as_micros())]);
        }
        let id = self.edge().process.id();
        strace.args(["-p", &id.to_string()]);
        let strace = Process::start(&mut strace, &self.folder.path().join("strace"));
        let status = format!("/proc/{id}/status");
        eventually("strace is there", || async {
            let status = std::fs::read_to_string(&status).ok()?;
            (!status.contains("TracerPid:\t0\n")).then_some(())
        })
        .await;
        strace
    }
}
