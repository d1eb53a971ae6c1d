//! One worker on a thread of its own, and a caller that speaks in plain bytes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rr_contract::model::id::{CredentialId, OrgId};
use rr_contract::outbound::{AddressGuard, DnsNames, Names, NextHop, Outbound, Resolver};
use rr_contract::runtime::{Shutdown, Tasks};
use rr_contract::seam::{Clock, Seams};
use rr_contract::wire::fleet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{Builder as RuntimeBuilder, LocalOptions};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{Sender, channel};
use tokio::sync::oneshot;
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::{pause, resume, sleep};

use crate::counters::{Counters, Cut, Gathered, Totals};
use crate::current::{self, Activator};
use crate::echo::{Echoed, Echoes};
use crate::listen::{self, Descriptors, Door, Limits, Neighbours, Notices};
use crate::passwords::Passwords;
use crate::quota::Quotas;
use crate::report::{RingEnd, UseReceiver, ring, uses};
use crate::seats::Bounds;
use crate::snapshot::Snapshot;
use crate::trials::Trials;
use crate::upstream::{Connections, Trust};
use crate::validations::ValidationThreads;
use crate::worker::{Common, Worker};

/// Of the node, in `Via` headers.
pub(super) const PSEUDONYM: &str = "rr-00c0ffee";

/// What a worker has, where a test does not say.
const ROOM: Room =
    Room { sockets: 10_000, bodies: 256 << 20, drain: Duration::from_millis(100), checks_passwords: true };

/// What a worker has.
struct Room {
    /// To upstreams.
    sockets: usize,
    /// For bodies that are held whole.
    bodies: usize,
    /// For its end.
    drain: Duration,
    /// Whether there are threads that do.
    checks_passwords: bool,
}

/// Something to be done on the worker's thread.
type Question = Box<dyn FnOnce(&Worker) + Send>;

/// Holds a worker's thread, or its time, until it is dropped.
pub(super) struct Held {
    _release: std::sync::mpsc::SyncSender<()>,
}

/// A worker that ends with the test.
pub(super) struct Edge {
    address: SocketAddr,
    records: Mutex<RingEnd>,
    told: Mutex<UseReceiver>,
    counters: Arc<Counters>,
    echoes: Echoes,
    ask: Sender<Question>,
    activator: Activator<Snapshot>,
    shutdown: Shutdown,
    thread: Option<JoinHandle<()>>,
}

impl Edge {
    pub(super) fn start(snapshot: Snapshot, allowed: &[&str]) -> Self {
        Self::start_trusting(snapshot, allowed, Trust::new(None))
    }

    pub(super) fn start_trusting(snapshot: Snapshot, allowed: &[&str], trust: Arc<Trust>) -> Self {
        Self::start_with(
            snapshot,
            allowed,
            trust,
            Arc::new(DnsNames::system()),
            Bounds::of(1_000),
            Seams::real(),
        )
    }

    /// A worker whose wall clock is the test's.
    pub(super) fn start_at(snapshot: Snapshot, allowed: &[&str], clock: Arc<dyn Clock>) -> Self {
        let (trust, seams) = (Trust::new(None), Seams { clock, ..Seams::real() });
        Self::start_with(snapshot, allowed, trust, Arc::new(DnsNames::system()), Bounds::of(1_000), seams)
    }

    pub(super) fn start_asking(
        snapshot: Snapshot,
        allowed: &[&str],
        trust: Arc<Trust>,
        names: Arc<dyn Names>,
    ) -> Self {
        Self::start_with(snapshot, allowed, trust, names, Bounds::of(1_000), Seams::real())
    }

    /// A worker whose upstreams are behind a proxy.
    pub(super) fn start_over(snapshot: Snapshot, allowed: &[&str], next_hop: NextHop) -> Self {
        let outbound = outbound(allowed, Arc::new(DnsNames::system()), Some(next_hop));
        Self::start_out_by(snapshot, outbound, Trust::new(None), Bounds::of(1_000), Seams::real())
    }

    pub(super) fn start_bounded(
        snapshot: Snapshot,
        allowed: &[&str],
        trust: Arc<Trust>,
        bounds: Bounds,
    ) -> Self {
        Self::start_with(snapshot, allowed, trust, Arc::new(DnsNames::system()), bounds, Seams::real())
    }

    /// A worker that lets callers in as said.
    pub(super) fn start_behind(
        snapshot: Snapshot,
        allowed: &[&str],
        door: impl FnOnce() -> Door + Send + 'static,
        bounds: Bounds,
    ) -> Self {
        let outbound = outbound(allowed, Arc::new(DnsNames::system()), None);
        Self::start_all(snapshot, outbound, Trust::new(None), bounds, Seams::real(), ROOM, door)
    }

    /// The same with a wall clock of the test's.
    pub(super) fn start_behind_at(
        snapshot: Snapshot,
        allowed: &[&str],
        door: impl FnOnce() -> Door + Send + 'static,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (outbound, seams) =
            (outbound(allowed, Arc::new(DnsNames::system()), None), Seams { clock, ..Seams::real() });
        Self::start_all(snapshot, outbound, Trust::new(None), Bounds::of(1_000), seams, ROOM, door)
    }

    /// A worker whose end may take so long.
    pub(super) fn start_draining(
        snapshot: Snapshot,
        allowed: &[&str],
        bounds: Bounds,
        drain: Duration,
    ) -> Self {
        Self::start_roomy(snapshot, allowed, Trust::new(None), bounds, Room { drain, ..ROOM })
    }

    /// A worker that has no more sockets to upstreams.
    pub(super) fn start_narrow(
        snapshot: Snapshot,
        allowed: &[&str],
        trust: Arc<Trust>,
        sockets: usize,
    ) -> Self {
        Self::start_roomy(snapshot, allowed, trust, Bounds::of(1_000), Room { sockets, ..ROOM })
    }

    /// A worker that holds so many bytes of bodies whole.
    pub(super) fn start_holding(snapshot: Snapshot, allowed: &[&str], bodies: usize, bounds: Bounds) -> Self {
        Self::start_roomy(snapshot, allowed, Trust::new(None), bounds, Room { bodies, ..ROOM })
    }

    /// A worker whose callers' passwords wait for ever.
    pub(super) fn start_checking_no_password(snapshot: Snapshot, allowed: &[&str]) -> Self {
        let room = Room { checks_passwords: false, ..ROOM };
        Self::start_roomy(snapshot, allowed, Trust::new(None), Bounds::of(1_000), room)
    }

    fn start_roomy(
        snapshot: Snapshot,
        allowed: &[&str],
        trust: Arc<Trust>,
        bounds: Bounds,
        room: Room,
    ) -> Self {
        let outbound = outbound(allowed, Arc::new(DnsNames::system()), None);
        let door = || Door { tls: None, neighbours: Neighbours::default() };
        Self::start_all(snapshot, outbound, trust, bounds, Seams::real(), room, door)
    }

    fn start_with(
        snapshot: Snapshot,
        allowed: &[&str],
        trust: Arc<Trust>,
        names: Arc<dyn Names>,
        bounds: Bounds,
        seams: Seams,
    ) -> Self {
        Self::start_out_by(snapshot, outbound(allowed, names, None), trust, bounds, seams)
    }

    fn start_out_by(
        snapshot: Snapshot,
        outbound: Arc<Outbound>,
        trust: Arc<Trust>,
        bounds: Bounds,
        seams: Seams,
    ) -> Self {
        let door = || Door { tls: None, neighbours: Neighbours::default() };
        Self::start_all(snapshot, outbound, trust, bounds, seams, ROOM, door)
    }

    fn start_all(
        snapshot: Snapshot,
        outbound: Arc<Outbound>,
        trust: Arc<Trust>,
        bounds: Bounds,
        seams: Seams,
        room: Room,
        door: impl FnOnce() -> Door + Send + 'static,
    ) -> Self {
        let Room { sockets, bodies, drain, checks_passwords } = room;
        let listener = listen::proxy(([127, 0, 0, 1], 0).into(), 1).expect("a free port").remove(0);
        let address = listener.local_addr().expect("it is bound");
        let counters: Arc<Counters> = Arc::default();
        let (records, entries) = ring(Arc::clone(&counters));
        let (uses, told) = uses();
        let shutdown = Shutdown::new();
        let stop = shutdown.stop();
        let counted = Arc::clone(&counters);
        let echoes = Echoes::default();
        let told_echoes = echoes.clone();
        let (ask, mut questions) = channel::<Question>(1);
        let (activator, mut readers) = current::cell(snapshot, 1);
        let reader = readers.remove(0);
        let work = move || {
            let runtime = RuntimeBuilder::new_current_thread()
                .enable_all()
                .build_local(LocalOptions::default())
                .expect("a runtime");
            runtime.block_on(async move {
                let tasks = Tasks::new();
                let counted = Arc::clone(&counters);
                let connections = Connections::new(outbound, trust, counted, tasks.clone(), sockets);
                let reader = reader.start();
                let worker = Worker::new(
                    reader,
                    connections,
                    records,
                    None,
                    counters,
                    Common {
                        passwords: if checks_passwords {
                            Passwords::new(&*seams.entropy)
                        } else {
                            Passwords::with_threads(&*seams.entropy, 0)
                        },
                        validations: ValidationThreads::default(),
                        trials: Trials::new(Arc::clone(&seams.clock)),
                        seams,
                        quota_clock: Arc::clone(Quotas::fleeting().clock()),
                        statement: Arc::default(),
                        pseudonym: PSEUDONYM.into(),
                        echoes: told_echoes,
                        uses: Some(uses),
                        bodies,
                    },
                );
                let limits =
                    Limits { drain, bounds, notices: Notices::new(&Descriptors::share(1 << 20, 1, None)) };
                let worker = Rc::new(worker);
                let asked = Rc::clone(&worker);
                tasks.spawn_local("questions", async move {
                    while let Some(question) = questions.recv().await {
                        question(&asked);
                    }
                });
                listen::run(worker, listener, door(), tasks, limits, stop).await.expect("it serves");
            });
        };
        let thread = Builder::new().spawn(work).expect("a thread");
        let (records, told, thread) = (Mutex::new(entries), Mutex::new(told), Some(thread));
        Self { address, records, told, counters: counted, echoes, ask, activator, shutdown, thread }
    }

    /// Puts another configuration in force.
    pub(super) fn activate(&mut self, snapshot: Snapshot) -> u64 {
        self.activator.activate(snapshot)
    }

    /// Frees what no worker needs any more of configurations that were in force.
    pub(super) fn bury(&mut self) {
        self.activator.bury();
    }

    /// Waits until tunnels were told of a generation.
    pub(super) async fn tells(&self, generation: u64) {
        let mut told = self.asks(|worker| worker.revisions()).await;
        told.wait_for(|told| *told >= generation).await.expect("the worker lives");
    }

    /// How many tokens the worker has taken apart.
    pub(super) async fn tokens_read(&self) -> u64 {
        self.asks(|worker| worker.tokens.read()).await
    }

    /// Has the worker begin no more tunnels.
    pub(super) async fn stops(&self) {
        self.asks(|worker| worker.stops()).await;
    }

    /// Leaves an organization room for so many bytes of bodies that are held whole.
    pub(super) async fn leaves_room(&self, org: OrgId, bytes: usize) {
        let fills = move |worker: &Worker| {
            let mut held = worker.bodies.hold(org, Gathered::Request);
            let most = (0..=ROOM.bodies).rev().step_by(1024).find(|most| held.has_room(*most));
            let fits = held.hold(most.expect("nothing fits") - bytes).is_ok();
            Box::leak(Box::new(held));
            fits
        };
        assert!(self.asks(fills).await);
    }

    /// How many bytes of bodies it holds whole.
    pub(super) async fn held(&self) -> usize {
        self.asks(|worker| worker.bodies.held()).await
    }

    /// Waits until it holds so many at the most.
    pub(super) async fn holds_at_most(&self, bytes: usize) {
        while self.held().await > bytes {
            yield_now().await;
        }
    }

    /// What its counters say.
    pub(super) fn totals(&self) -> Totals {
        Totals::of(std::iter::once(&*self.counters))
    }

    /// The secrets that came back, as the control plane is told.
    pub(super) fn echoes_told(&self) -> Vec<Echoed> {
        self.echoes.told(std::time::SystemTime::now())
    }

    /// Waits until so many passwords wait.
    pub(super) async fn has_passwords_waiting(&self, count: usize) {
        while self.asks(|worker| worker.passwords.waiting()).await != count {
            yield_now().await;
        }
    }

    /// How many tunnels are open.
    pub(super) fn tunnels(&self) -> u64 {
        Totals::of(std::iter::once(&*self.counters)).tunnels_open
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("the worker listens")
    }

    /// Sends a request that closes its connection, and reads all that comes.
    pub(super) async fn send(&self, request: &str) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.expect("the worker reads");
        Answer::read(stream).await
    }

    pub(super) async fn send_http2(&self, path: &str, key: &str) -> u16 {
        let io = TokioIo::new(self.connect().await);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("it speaks h2");
        let driven = Tasks::new().spawn("h2", connection);
        let request = http::Request::get(format!("http://edge{path}"))
            .header("authorization", key)
            .body(Empty::<Bytes>::new())
            .expect("a request");
        let status = sender.send_request(request).await.expect("an answer").status().as_u16();
        drop(sender);
        driven.abort();
        status
    }

    pub(super) async fn asks<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Worker) -> T + Send + 'static,
    ) -> T {
        let (answer, answered) = oneshot::channel();
        // Who asked waits for it.
        let question: Question = Box::new(move |worker| _ = answer.send(question(worker)));
        self.ask.send(question).await.expect("the worker lives");
        answered.await.expect("the worker answers")
    }

    /// Connections to upstreams that could take a request.
    pub(super) async fn idle_upstreams(&self) -> usize {
        self.asks(|worker| worker.connections.idle()).await
    }

    /// Has the worker stand still.
    pub(super) async fn hold(&self) -> Held {
        let (release, released) = std::sync::mpsc::sync_channel(1);
        let (arrive, arrived) = oneshot::channel();
        let stand_still: Question = Box::new(move |_| {
            arrive.send(()).ok();
            // Ends when the other side is dropped.
            released.recv().ok();
        });
        self.ask.send(stand_still).await.expect("the worker lives");
        arrived.await.expect("the worker stands still");
        Held { _release: release }
    }

    /// Has no time pass for the worker, until this is dropped: however slowly it gets on, it is late for nothing.
    pub(super) async fn timeless(&self) -> Held {
        let (release, released) = std::sync::mpsc::sync_channel::<()>(1);
        let stand_still = move |_: &Worker| {
            pause();
            // A clock that was paused goes on once the worker has nothing to do, but for as long as this is there.
            let waits = spawn_blocking(move || released.recv().ok());
            Tasks::new().spawn_local("time", async move {
                waits.await.expect("it does not panic");
                resume();
            });
        };
        self.asks(stand_still).await;
        Held { _release: release }
    }

    /// Has so much time pass for the worker, as fast as it can.
    pub(super) async fn skips(&self, time: Duration) {
        let passed = self.asks(move |_| {
            pause();
            Tasks::new().spawn_local("time", async move {
                sleep(time).await;
                resume();
            })
        });
        passed.await.await.expect("time passes");
    }

    /// How many connections to upstreams were opened, and how many used again.
    pub(super) fn checkouts(&self) -> (u64, u64) {
        let totals = Totals::of(std::iter::once(&*self.counters));
        (totals.connections_opened, totals.connections_reused)
    }

    /// How many connections and answers were ended for this, when the worker is through with what a caller has seen of
    /// it.
    pub(super) async fn cut(&self, why: Cut) -> u64 {
        self.asks(move |worker| worker.counters.cut_for(why)).await
    }

    /// Ends the worker, and hands over the records that nobody has asked for.
    pub(super) async fn end(mut self) -> Vec<fleet::Record> {
        self.shutdown.begin();
        let thread = self.thread.take().expect("it ends once");
        thread.join().expect("the worker does not panic");
        let mut records = self.records.lock().await;
        let mut left = Vec::new();
        while let Some(record) = records.received().await {
            left.push(record.into_record());
        }
        left
    }

    /// Which caller came, and in which minute, of those that nobody has taken yet.
    pub(super) async fn told(&self) -> Option<(CredentialId, u32)> {
        self.told.lock().await.next()
    }

    /// Waits for that.
    pub(super) async fn tells_of_use(&self) -> (CredentialId, u32) {
        self.told.lock().await.received().await
    }

    /// How many requests are in the sums that have no record of their own.
    pub(super) async fn counted(&self) -> u64 {
        self.records.lock().await.counted().iter().map(|sum| sum.requests).sum()
    }

    pub(super) async fn record(&self) -> fleet::Record {
        self.records.lock().await.received().await.expect("the worker lives").into_record()
    }

    /// What is said of the next request that waits until it is on disk, and who waits.
    pub(super) async fn begun(&self) -> (fleet::Record, oneshot::Sender<()>) {
        let mut record = self.records.lock().await.received().await.expect("the worker lives");
        let waiting = record.waiting.0.take().expect("somebody waits");
        (record.into_record(), waiting)
    }

    /// Of a thousand requests like the next one of which there is a record, how many records its proxy wants.
    pub(super) async fn share(&self) -> Option<u16> {
        self.records.lock().await.received().await.expect("the worker lives").sample
    }

    /// The next record of a test with more refusals for one reason than have records of their own.
    pub(super) async fn own_record(&self) -> fleet::Record {
        self.asks(Worker::ends_minute).await;
        self.record().await
    }
}

fn outbound(allowed: &[&str], names: Arc<dyn Names>, next_hop: Option<NextHop>) -> Arc<Outbound> {
    let allowed = allowed.iter().map(|net| net.parse().expect("a network")).collect();
    Outbound::new(AddressGuard::new(allowed), Resolver::new(names), next_hop)
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.shutdown.begin();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the worker panicked");
        }
    }
}

/// A response, read.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) text: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status");
        let status = status.parse().expect("a number");
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").expect("a header");
            (name.to_ascii_lowercase(), value.to_owned())
        };
        let headers = lines.map(header).collect();
        Self { status, headers, body: body.to_owned(), text }
    }

    /// Reads all that comes until the connection is closed.
    pub(super) async fn read(mut stream: TcpStream) -> Self {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.expect("the worker answers");
        Self::parse(&bytes)
    }

    /// Reads one response with a length from a connection that stays open.
    pub(super) async fn read_one(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        loop {
            bytes.push(stream.read_u8().await.expect("the worker answers"));
            if bytes.ends_with(b"\r\n\r\n") {
                break;
            }
        }
        let length =
            Self::parse(&bytes).header("content-length").map_or(0, |text| text.parse().expect("a length"));
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.expect("the worker answers");
        bytes.extend_from_slice(&body);
        Self::parse(&bytes)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| &**value)
    }

    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(have, _)| have == name).map(|(_, value)| &**value).collect()
    }

    pub(super) fn json(&self) -> BTreeMap<String, serde_json::Value> {
        serde_json::from_str(&self.body).expect("problem json")
    }

    /// All of it, with id and date blotted out.
    pub(super) fn without_id_and_date(&self) -> String {
        let id = self.header("requestrocket-request-id").expect("every reply has one");
        let date = self.header("date").expect("every reply has one");
        self.text.replace(id, "ID").replace(date, "DATE")
    }
}
