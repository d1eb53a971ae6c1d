//! Panics in what goes on beside traffic: callers are served, and the node does not stay as it is for good.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::control_plane::ControlPlaneAddress;
use crate::control_plane::dial::Dialing;

use super::*;

/// So many connections to the control plane from now on end in a panic.
#[derive(Default)]
struct Fragile(AtomicUsize);

impl Fragile {
    fn breaks(&self, times: usize) {
        self.0.store(times, Ordering::Relaxed);
    }

    fn left(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Dial for Fragile {
    fn dial<'a>(&'a self, address: &'a ControlPlaneAddress) -> Dialing<'a> {
        let less = |left: usize| left.checked_sub(1);
        let breaks = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok();
        assert!(!breaks, "this is what the test wants");
        TcpDial.dial(address)
    }
}

/// A node that serves.
async fn serving(folder: &Path, control: &mut ControlPlane) -> (Running, Arc<Fragile>) {
    let upstream = echo().await;
    control.publish(Mode::Snapshot, &resources(&control.region, &upstream));
    let dial = Arc::new(Fragile::default());
    let hooks = Hooks { dial: Arc::clone(&dial) as Arc<dyn Dial>, ..Hooks::default() };
    let config = config(folder, control, true);
    let edge = start_with(config, Seams::real(), Observability::quiet("rr-edge"), hooks).await;
    let edge = edge.unwrap_or_else(|error| panic!("{}", chain(&error)));
    ready(&edge).await;
    (edge, dial)
}

#[tokio::test]
async fn a_panic_in_what_takes_configurations_ends_the_edge_and_counts_as_an_end_of_its_own() {
    let mut control = ControlPlane::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (mut edge, dial) = serving(folder.path(), &mut control).await;
    control.verdict().await;
    let mark = folder.path().join("last-good/ended");
    let mark = || std::fs::read(&mark).expect("a process that runs has made one");
    let before = mark();
    dial.breaks(usize::MAX);
    control.stop();
    let error = timeout(LONG, edge.failed()).await.expect("whoever runs it hears of it");
    assert!(matches!(error, StartError::Panicked), "{error}");
    // Until it is stopped it serves.
    assert!(call(&edge).await.contains(SECRET));
    edge.stop().await;
    assert_eq!(mark(), [before.as_slice(), b"P"].concat());
}

#[tokio::test]
async fn a_panic_while_records_are_sent_costs_neither_a_record_nor_the_edge() {
    let mut control = ControlPlane::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (mut edge, dial) = serving(folder.path(), &mut control).await;
    control.verdict().await;
    // The stream of configurations is there: the next connection is for records.
    dial.breaks(1);
    assert!(call(&edge).await.contains(SECRET));
    assert_eq!(control.record().await.status, 200);
    assert_eq!(dial.left(), 0, "the first try ended in a panic");
    assert!(timeout(Duration::ZERO, edge.failed()).await.is_err());
    edge.stop().await;
}
