//! An edge at which an organization has no room for another connection to an upstream.

use std::future::pending;
use std::sync::Arc;

use rr_contract::outbound::{Lookup, Names};
use rr_contract::wire::fleet;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::fixture::{self, Region};
use crate::upstream::Trust;

use super::edge::Edge;
use super::{get, with_key};

/// As many connections as one organization opens at a time, on one worker.
const DIALS: u64 = 64;

/// Never answers.
struct SilentNames;

impl Names for SilentNames {
    fn look_up<'n>(&'n self, _: &'n str) -> Lookup<'n> {
        Box::pin(pending())
    }
}

/// An edge with these resources, and a proxy beside them to a host whose name servers are silent.
pub(super) fn edge(region: &Region, mut all: Vec<fleet::Resource>) -> Edge {
    all.push(fixture::target_with_timeouts(3, "http://dead.example", 60_000, 60_000));
    all.push(fixture::open_upstream(4));
    all.push(fixture::proxy(3, &[1], 3, 4));
    Edge::start_asking(region.snapshot(&all), &["127.0.0.0/8"], Trust::new(None), Arc::new(SilentNames))
}

/// Has callers take all the room, until they are dropped or some seconds are over.
pub(super) async fn take(edge: &Edge) -> Vec<TcpStream> {
    let (before, _) = edge.checkouts();
    let mut waiting = Vec::new();
    for _ in 0..DIALS {
        let mut caller = edge.connect().await;
        let request = get("/api/acme.proxy-3/", &with_key(1));
        caller.write_all(request.as_bytes()).await.expect("the edge reads");
        waiting.push(caller);
    }
    while edge.checkouts().0 < before + DIALS {
        tokio::task::yield_now().await;
    }
    waiting
}
