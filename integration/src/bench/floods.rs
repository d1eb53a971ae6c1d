//! `floods`: how callers of one proxy fare while another is asked with wrong passwords, or with wrong signatures.
//!
//! One standalone node on one processor, so that who checks takes it from who serves. In each round the caller that
//! behaves is timed in quiet, and then beside floods of one rate: of wrong keys, which are refused at once, and of what
//! has to be checked. The figures to quote are differences and ratios within a round.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use data_encoding::BASE64;
use rr_contract::password::{PasswordHash, Scratch};
use rr_contract::secret::Secret;
use rr_integration::issuer::{AUDIENCE, SigningKey, document};
use rr_integration::standalone::{Behind, Standalone};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use crate::line::Line;
use crate::machine;
use crate::open_loop::OpenLoop;
use crate::peers::{Peer, Upstream};
use crate::report::{Report, percentile};

/// Tokens of a flood. None is remembered, so they can come again.
const FORGED: usize = 500;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rounds.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of each sample, behind one that does not count.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Requests a second of the caller that behaves.
    #[arg(long, default_value_t = 500)]
    rate: u64,
    /// Requests a second of a flood.
    #[arg(long, default_value_t = 500)]
    flood: u64,
    /// Connections of a flood.
    #[arg(long, default_value_t = 32)]
    connections: u64,
    /// The processor of the node.
    #[arg(long, default_value_t = 0)]
    proxy_processor: usize,
    /// The processor of load and upstream.
    #[arg(long, default_value_t = 1)]
    load_processor: usize,
}

/// What comes beside the caller that behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flood {
    None,
    Keys,
    Passwords,
    Signatures,
}

impl Flood {
    const ALL: [Self; 4] = [Self::None, Self::Keys, Self::Passwords, Self::Signatures];

    fn label(self) -> &'static str {
        match self {
            Self::None => "quiet",
            Self::Keys => "wrong keys",
            Self::Passwords => "wrong passwords",
            Self::Signatures => "wrong signatures",
        }
    }
}

/// What a flood asks, request by request.
struct Requests {
    forged: Vec<String>,
    next: AtomicU64,
}

impl Requests {
    fn of(&self, flood: Flood) -> Vec<u8> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let credential = match flood {
            Flood::None | Flood::Keys => format!("Bearer sk-nobody-{n}"),
            // What was wrong once is known.
            Flood::Passwords => format!("Basic {}", BASE64.encode(format!("ann:wrong-{n}").as_bytes())),
            Flood::Signatures => format!("Bearer {}", self.forged[n as usize % FORGED]),
        };
        format!("GET /api/local.flooded/x HTTP/1.1\r\nHost: edge\r\nAuthorization: {credential}\r\n\r\n")
            .into_bytes()
    }
}

pub(crate) async fn run(args: Args, report: &mut Report) -> anyhow::Result<()> {
    ensure!(args.rounds > 0 && args.seconds > 0 && args.rate > 0, "at least one request in one round");
    ensure!(args.flood > 0 && args.connections > 0, "a flood has requests");
    let folder = tempfile::tempdir()?;
    let upstream = Upstream::start(folder.path(), args.load_processor, None)?;
    let (key, forger) = (SigningKey::new("k1"), SigningKey::new("k1"));
    let node = start(&format!("http://{}", upstream.address()), args.proxy_processor, &key)?;
    let peer = Peer::of("rr-edge", node.listen(), "/api/local.echo/x", node.key(), node.process.id());
    let forged = (0..FORGED).map(|n| forger.token("issuer", &format!("{n}"), 3600)).collect();
    let requests = Requests { forged, next: AtomicU64::new(0) };
    let mut all = vec![Vec::new(); Flood::ALL.len()];
    block_in_place(|| {
        for round in 1..=args.rounds {
            for step in 0..Flood::ALL.len() {
                let at = (step + round) % Flood::ALL.len();
                let (p99, refused) = sample(&args, &peer, node.listen(), Flood::ALL[at], &requests, round)?;
                let said = format!("{} p99 ({refused} refused)", Flood::ALL[at].label());
                report.round(&said, round, p99, "us");
                all[at].push(p99);
            }
        }
        anyhow::Ok(())
    })?;
    let load = format!("{}/s of a caller that behaves, {}/s of the flood", args.rate, args.flood);
    for (at, flood) in Flood::ALL.into_iter().enumerate() {
        report.metric("floods", &format!("{} p99", flood.label()), &all[at], "us", &load);
        if flood != Flood::None {
            let pairs = || all[at].iter().zip(&all[0]);
            let by: Vec<f64> = pairs().map(|(with, quiet)| with / quiet).collect();
            let over: Vec<f64> = pairs().map(|(with, quiet)| with - quiet).collect();
            let note = "of quiet, by round; asked for: at most 1.25, or 200 us over it";
            report.metric("floods", &format!("{} by quiet", flood.label()), &by, "", note);
            report.metric("floods", &format!("{} over quiet", flood.label()), &over, "us", note);
        }
        if [Flood::Passwords, Flood::Signatures].contains(&flood) {
            let by: Vec<f64> = all[at].iter().zip(&all[1]).map(|(with, keys)| with / keys).collect();
            let note = "of wrong keys at the same rate, by round: what checking adds to being asked";
            report.metric("floods", &format!("{} by wrong keys", flood.label()), &by, "", note);
        }
    }
    Ok(())
}

/// Microseconds that all but one in a hundred took at most, and how many requests of the flood were refused.
fn sample(
    args: &Args,
    peer: &Peer,
    address: SocketAddr,
    flood: Flood,
    requests: &Requests,
    round: usize,
) -> anyhow::Result<(f64, u64)> {
    let load =
        OpenLoop { processor: args.load_processor, connections: 8, rate: args.rate, seed: round as u64 };
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let flooding: Vec<_> = (0..if flood == Flood::None { 0 } else { args.connections })
            .map(|_| scope.spawn(|| pour(args, address, flood, requests, &is_over)))
            .collect();
        let micros = load.run(peer, Duration::from_secs(args.seconds));
        is_over.store(true, Ordering::Relaxed);
        let refused = flooding.into_iter().map(|one| one.join().expect("a flood does not panic"));
        let refused: u64 = refused.sum::<anyhow::Result<u64>>()?;
        Ok((percentile(&micros?, 0.99), refused))
    })
}

/// One connection of a flood. How many of its requests were refused, as all have to be.
#[expect(clippy::disallowed_methods, reason = "the thread has nothing else to do than to wait for its time")]
fn pour(
    args: &Args,
    address: SocketAddr,
    flood: Flood,
    requests: &Requests,
    is_over: &AtomicBool,
) -> anyhow::Result<u64> {
    machine::pin(args.load_processor)?;
    let (mut line, mut refused) = (Line::connect(address, None)?, 0);
    let pause = Duration::from_secs(1) * u32::try_from(args.connections)? / u32::try_from(args.flood)?;
    let mut due = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        // One that waits for its answer makes up for it.
        due += pause;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let status = line.ask(&requests.of(flood))?;
        ensure!([401, 429].contains(&status), "{} were answered {status}", flood.label());
        refused += 1;
    }
    Ok(refused)
}

/// A node with a proxy that is asked, and one that is flooded.
fn start(url: &str, processor: usize, key: &SigningKey) -> anyhow::Result<Standalone> {
    let secret = Secret::new(b"copper-lantern-orbit-velvet".to_vec());
    let hash = PasswordHash::make(&secret, [7; 16], &mut Scratch::default()).to_phc();
    let mut more = String::new();
    write!(
        more,
        "---\nkind: credential\nname: user\ncaller: {{kind: basic, username: ann, password_hash: '{hash}'}}\n\
         ---\nkind: credential\nname: issuer\ncaller:\n  kind: jwt-verify\n  jwt_verify:\n    jwks: '{}'\n    \
         issuer: issuer\n    audiences: [{AUDIENCE}]\n    algorithms: [ES256]\n\
         ---\nkind: proxy\nname: flooded\ntarget: echo\nupstream_credential: open\n\
         caller_credentials: [user, issuer]\n",
        document(&[key])
    )?;
    let (runtime, behind) = (Handle::current(), [Behind::new("echo", url)]);
    let start = || runtime.block_on(Standalone::start_with(&behind, &more, &[]));
    block_in_place(|| machine::on(processor, start))
}
