//! Tells the connections of a worker to end with what is under way on them, and waits until they have.
//!
//! Ends none by itself. The invariant: a connection that was told of before the drain began is waited for.

use tokio::sync::watch;

/// The side that asks.
pub(super) struct Drain(watch::Sender<()>);

/// One connection's side; the connection counts as open until this is dropped.
pub(super) struct Drained(watch::Receiver<()>);

impl Drain {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(()))
    }

    /// For a new connection.
    pub(super) fn connection(&self) -> Drained {
        Drained(self.0.subscribe())
    }

    /// Asks all of them, and waits for the last one.
    pub(super) async fn finish(&self) {
        self.0.send_replace(());
        self.0.closed().await;
    }
}

impl Drained {
    /// Waits until the drain begins.
    pub(super) async fn begins(&mut self) {
        // The other side outlives all connections: a worker that ends drains first.
        self.0.changed().await.ok();
    }
}
