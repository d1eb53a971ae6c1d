//! `coldstart`: a node that was killed, with the standard load on its disk and no control plane, until it answers for
//! every proxy as it should; and what memory that takes.
//!
//! Real processes. The time starts with the process; the file is in the system's cache. Callers and upstream of the
//! bench speak the little HTTP that they need, since they share the machine with what is measured.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use http::HeaderMap;
use rr_contract::model::effect::Effect;
use rr_contract::model::id::{OrgId, ProxyId, RuleId};
use rr_contract::model::resource::{Key, ResourceId};
use rr_contract::model::rule::Rule;
use rr_contract::policy::pattern::Patterns;
use rr_contract::policy::request::{RequestBody, RequestView};
use rr_contract::policy::verdict::{ScopeRules, Scopes, Verdict};
use rr_contract::runtime::Tasks;
use rr_contract::wire::fleet;
use rr_contract::wire::management::{self as mg, Document, document::Resource, filter, rule};
use rr_integration::fleet_100k::documents::{Size, documents};
use rr_integration::process::{Edge, admin};
use rr_integration::sample::{REGION, Sample, apply};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::load::{PART, PARTS};
use crate::management::seal;
use crate::report::Report;

const MIB: f64 = 1_048_576.0;
/// The longest that anything here takes on a slow machine.
const LIMIT: Duration = Duration::from_secs(180);
const ANSWER: &str = r#"{"hello":"from upstream"}"#;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The same seed gives the same load.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Part of the standard load, in percent.
    #[arg(long, default_value_t = 100)]
    percent: usize,
    /// How often the node is started.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Callers' connections, each with one request at a time.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Seconds without a request until memory is looked at.
    #[arg(long, default_value_t = 10)]
    idle: u64,
}

/// What is asked, and what is right.
struct Question {
    bytes: Vec<u8>,
    answer: Right,
}

/// What a node that runs all of the configuration answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Right {
    Passed,
    /// As above, and filters have gone over the body.
    Filtered,
    Denied,
}

pub(crate) async fn run(args: Args, report: &mut Report) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let origin = upstream().await?;
    let mut sample = Sample::start(folder.path(), &origin, &[]).await?;
    let questions = Arc::new(load(&sample, &origin, &args).await?);
    let count = |right: Right| questions.iter().filter(|question| question.answer == right).count();
    let (denied, filtered) = (count(Right::Denied), count(Right::Filtered));
    ensure!(denied > 0, "no rule of the load denies what is asked");
    let token = sample.api.node_token(REGION, &sample.keys, 1).await?;
    let mut edge = Edge::start(&folder.path().join("edge"), sample.control.fleet, token.to_secret().expose());
    until_proven(&edge, sample.api.revision().await?).await?;
    sample.control.kill();

    let (mut first, mut every) = (Vec::new(), Vec::new());
    let (mut peaks, mut finals, mut ratios, mut busy) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 1..=args.rounds {
        edge.kill();
        let since = Instant::now();
        edge = edge.restart();
        let one = ask_all(edge.listen, &questions, args.connections, since).await?;
        first.push(one.as_secs_f64());
        every.push(since.elapsed().as_secs_f64());
        busy.push(edge.process.processor_time()?);
        tokio::time::sleep(Duration::from_secs(args.idle)).await;
        let (peak, resident) = (edge.process.peak()? as f64, edge.process.resident()? as f64);
        peaks.push(peak / MIB);
        finals.push(resident / MIB);
        ratios.push(peak / resident);
        report.round("first answer", round, first[round - 1], "s");
        report.round("every proxy", round, every[round - 1], "s");
        report.round("peak", round, peaks[round - 1], "MiB");
        report.round("final", round, finals[round - 1], "MiB");
    }
    let note = "from the start of the process to the first right answer of any proxy, file in the cache";
    report.metric("coldstart", "first answer", &first, "s", note);
    let note = format!(
        "{} proxies; rules deny at {denied} of them, filters run at {filtered}; asked for: at most 2",
        questions.len()
    );
    report.metric("coldstart", "every proxy", &every, "s", &note);
    report.metric("coldstart", "processor", &busy, "s", "of the node, until then");
    report.metric("coldstart", "peak", &peaks, "MiB", "resident memory of rr-edge at most");
    let note = format!("after {} s without a request; asked for: at most 250", args.idle);
    report.metric("coldstart", "final", &finals, "MiB", &note);
    report.metric("coldstart", "peak by final", &ratios, "", "asked for: at most 2.2");
    Ok(())
}

/// Puts the standard load in, all of it in front of one upstream and open to one key an organization.
async fn load(sample: &Sample, origin: &str, args: &Args) -> anyhow::Result<Vec<Question>> {
    let part = |full: usize| (full * args.percent / 100).max(3);
    let size = Size {
        targets: part(PART.targets),
        credentials: part(PART.credentials),
        proxies: part(PART.proxies),
        rules: part(PART.rules),
    };
    let mut questions = Vec::new();
    for n in 0..PARTS {
        let name = format!("org-{n}");
        let org: OrgId = sample.api.org(&name).await?.id.parse()?;
        let key = sample.api.caller(&name, "probe").await?;
        let mut set = documents(args.seed + n as u64, REGION, size);
        for document in &mut set {
            lead_to(origin, document)?;
        }
        seal(&sample.api, &sample.keys, org, origin, &mut set).await?;
        questions.extend(ask(&name, &key, &set)?);
        apply(&sample.api, &name, "bench", set).await.with_context(|| format!("apply {name}"))?;
    }
    Ok(questions)
}

fn lead_to(origin: &str, document: &mut Document) -> anyhow::Result<()> {
    match &mut document.resource {
        Some(Resource::Target(target)) => {
            let (_, path) = target.base_url.split_once(".example/").context("a base URL of the load")?;
            target.base_url = format!("{origin}/{path}");
            target.danger_plaintext = true;
        }
        Some(Resource::Proxy(proxy)) => proxy.caller_credentials.push("probe".to_owned()),
        _ => {}
    }
    Ok(())
}

/// One question for each proxy, with the answer that the contract's evaluator gives.
fn ask(org: &str, key: &str, set: &[Document]) -> anyhow::Result<Vec<Question>> {
    let mut rules: HashMap<&str, Vec<(RuleId, Rule)>> = HashMap::new();
    let mut paths: HashMap<&str, String> = HashMap::new();
    let mut filtered: HashSet<&str> = HashSet::new();
    for (n, document) in set.iter().enumerate() {
        match &document.resource {
            Some(Resource::Rule(mg::Rule { parent: Some(rule::Parent::Proxy(proxy)), .. })) => {
                let Some(Resource::Rule(rule)) = &document.resource else { continue };
                if let Some(path) = rule.when.as_ref().and_then(|when| when.path.as_ref()) {
                    paths.entry(proxy).or_insert_with(|| about(&path.regex));
                }
                let id = RuleId::from_random((n as u128).to_be_bytes());
                rules.entry(proxy).or_default().push((id, model(rule)?));
            }
            Some(Resource::Filter(mg::Filter { parent: Some(filter::Parent::Proxy(proxy)), .. })) => {
                filtered.insert(proxy);
            }
            _ => {}
        }
    }
    let (mut patterns, open) = (Patterns::default(), ScopeRules::default());
    let headers = HeaderMap::new();
    let mut questions = Vec::new();
    for document in set {
        let Some(Resource::Proxy(proxy)) = &document.resource else { continue };
        let name = proxy.name.as_str();
        let denies = proxy.default_effect() == fleet::Effect::Deny;
        let default = if denies { Effect::Deny } else { Effect::Allow };
        let own = rules.get(name).into_iter().flatten().map(|(id, rule)| (*id, rule));
        let own = ScopeRules::compile(own, default, &mut patterns, proxy.observe)?;
        let scopes = Scopes { caller: &open, upstream: &open, proxy: &own, target: &open };
        let path = paths.get(name).map_or("/", String::as_str);
        let body = RequestBody::Read(&[]);
        let request = RequestView { method: "GET", path, query: &[], headers: &headers, body };
        let answer = match scopes.decide(&request).verdict {
            Verdict::Allow { .. } if filtered.contains(name) => Right::Filtered,
            Verdict::Allow { .. } => Right::Passed,
            Verdict::Deny { .. } | Verdict::NeedsBody | Verdict::Unreadable(_) => Right::Denied,
        };
        let head =
            format!("GET /api/{org}.{name}{path} HTTP/1.1\r\nhost: edge\r\nauthorization: {key}\r\n\r\n");
        questions.push(Question { bytes: head.into_bytes(), answer });
    }
    Ok(questions)
}

/// A path that a pattern of the load is found in.
fn about(regex: &str) -> String {
    let plain = regex.trim_start_matches('^').replace("(users|orders)", "users");
    plain.replace("[0-9]+", "1").replace("(/|$)", "")
}

fn model(rule: &mg::Rule) -> anyhow::Result<Rule> {
    // The evaluator does not look at whose it is.
    let parent = Key::new(OrgId::from_random([1; 16]), ResourceId::Proxy(ProxyId::from_random([1; 16])));
    let wire = fleet::RuleResource {
        parent: Some(parent.to_wire()),
        name: rule.name.clone(),
        effect: rule.effect,
        priority: rule.priority,
        when: rule.when.clone(),
        notes: rule.notes.clone(),
        observe: rule.observe,
    };
    Ok(Rule::try_from(wire)?)
}

/// Waits until what the node runs is at `revision`, and what a crash would lead back to.
async fn until_proven(edge: &Edge, revision: u64) -> anyhow::Result<()> {
    let until = Instant::now() + LIMIT;
    while Instant::now() < until {
        let stands = |config: &serde_json::Value| config["proven"]["revision"].as_u64() >= Some(revision);
        if let Ok(reply) = admin(edge.admin, "/config").await
            && stands(&serde_json::from_slice(&reply.body)?)
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("the node was not in step: {}", edge.process.log().lines().last().unwrap_or_default())
}

/// Asks for every proxy until each has answered as it should. Returns when the first did.
async fn ask_all(
    edge: SocketAddr,
    questions: &Arc<Vec<Question>>,
    connections: usize,
    since: Instant,
) -> anyhow::Result<Duration> {
    let (tasks, next) = (Tasks::new(), Arc::new(AtomicUsize::new(0)));
    let mut callers = Vec::with_capacity(connections);
    for _ in 0..connections {
        let (questions, next) = (Arc::clone(questions), Arc::clone(&next));
        callers.push(tasks.spawn("caller", async move {
            let (mut line, mut first) = (connect(edge, since).await?, None);
            while let Some(question) = questions.get(next.fetch_add(1, Ordering::Relaxed)) {
                while !line.answers(question).await? {
                    ensure!(since.elapsed() < LIMIT, "no right answer");
                }
                first.get_or_insert_with(|| since.elapsed());
            }
            anyhow::Ok(first)
        }));
    }
    let mut first = None;
    for caller in callers {
        first = [first, caller.await??].into_iter().flatten().min();
    }
    first.context("nothing was asked")
}

async fn connect(edge: SocketAddr, since: Instant) -> anyhow::Result<Line> {
    loop {
        match TcpStream::connect(edge).await {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                return Ok(Line { socket, buffer: Vec::with_capacity(4096) });
            }
            Err(error) if since.elapsed() > LIMIT => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

/// A caller's connection that is kept.
struct Line {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Line {
    /// Asks, and says whether the answer is the right one.
    async fn answers(&mut self, question: &Question) -> anyhow::Result<bool> {
        self.socket.write_all(&question.bytes).await?;
        self.buffer.clear();
        loop {
            let read = self.socket.read_buf(&mut self.buffer).await?;
            ensure!(read > 0, "the node hung up");
            let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let head = std::str::from_utf8(&self.buffer[..end])?;
            let length: usize = value(head, "content-length").unwrap_or("0").parse()?;
            let Some(body) = self.buffer.get(end + 4..end + 4 + length) else { continue };
            let is_ok = head.starts_with("HTTP/1.1 200 ");
            return Ok(match question.answer {
                Right::Passed => is_ok && body == ANSWER.as_bytes(),
                Right::Filtered => is_ok && body.starts_with(b"{"),
                Right::Denied => value(head, "requestrocket-proxy-code") == Some("rule-denied"),
            });
        }
    }
}

fn value<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Answers every GET in the same way. Returns its origin.
async fn upstream() -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let origin = format!("http://{}", listener.local_addr()?);
    let tasks = Tasks::new();
    tasks.clone().spawn("upstream", async move {
        while let Ok((socket, _)) = listener.accept().await {
            // Whoever hangs up has been answered.
            tasks.spawn("upstream connection", async move { serve(socket).await.ok() });
        }
    });
    Ok(origin)
}

async fn serve(mut socket: TcpStream) -> anyhow::Result<()> {
    let reply = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{ANSWER}", ANSWER.len());
    socket.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4096);
    while socket.read_buf(&mut buffer).await? > 0 {
        // One request at a time, none with a body.
        if buffer.ends_with(b"\r\n\r\n") {
            buffer.clear();
            socket.write_all(reply.as_bytes()).await?;
        }
    }
    Ok(())
}
