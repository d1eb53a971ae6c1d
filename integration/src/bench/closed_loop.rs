//! A closed loop of callers: each connection asks again as soon as it is answered. `wrk` where it is installed.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::line::Line;
use crate::machine;
use crate::peers::Peer;

/// How it is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClosedLoop {
    pub(crate) processor: usize,
    pub(crate) connections: usize,
}

impl ClosedLoop {
    /// What makes the load.
    pub(crate) fn name() -> &'static str {
        if machine::installed("wrk").is_some() {
            "wrk"
        } else {
            "callers of the bench (wrk is not installed)"
        }
    }

    /// Asks for so long. Returns how many requests were answered; fails if one was not, or not with 200.
    pub(crate) fn run(self, peer: &Peer, time: Duration) -> anyhow::Result<u64> {
        match machine::installed("wrk") {
            Some(_) => self.wrk(peer, time),
            None => self.own(peer, time),
        }
    }

    fn wrk(self, peer: &Peer, time: Duration) -> anyhow::Result<u64> {
        let mut wrk = Command::new("wrk");
        wrk.args(["-t", "1", "-c", &self.connections.to_string(), "-d", &format!("{}s", time.as_secs())]);
        wrk.args(["-H", &format!("Authorization: Bearer {}", peer.key)]);
        for header in &peer.headers {
            wrk.args(["-H", header]);
        }
        let scheme = if peer.tls.is_some() { "https" } else { "http" };
        wrk.arg(format!("{scheme}://{}{}", peer.address, peer.path));
        let output = machine::on(self.processor, || wrk.output())?.context("run wrk")?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "wrk failed: {text}{}", String::from_utf8_lossy(&output.stderr));
        let bad = text.lines().find(|line| line.contains("Non-2xx") || line.contains("Socket errors"));
        ensure!(bad.is_none(), "{}: {}", peer.name, bad.unwrap_or_default().trim());
        let counted = text.lines().find_map(|line| line.trim().split_once(" requests in "));
        counted.context("wrk counts its requests")?.0.parse().context("a number of requests")
    }

    fn own(self, peer: &Peer, time: Duration) -> anyhow::Result<u64> {
        let request = peer.request();
        let until = Instant::now() + time;
        thread::scope(|scope| {
            let callers: Vec<_> = (0..self.connections)
                .map(|_| scope.spawn(|| caller(self.processor, peer, &request, until)))
                .collect();
            let counts = callers.into_iter().map(|caller| caller.join().expect("a caller does not panic"));
            counts.sum()
        })
    }
}

fn caller(processor: usize, peer: &Peer, request: &[u8], until: Instant) -> anyhow::Result<u64> {
    machine::pin(processor)?;
    let (mut line, mut count) = (Line::connect(peer.address, peer.tls.as_ref())?, 0);
    while Instant::now() < until {
        let status = line.ask(request)?;
        ensure!(status == 200, "answered {status}");
        count += 1;
    }
    Ok(count)
}
