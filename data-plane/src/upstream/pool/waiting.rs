//! What comes to those who wait for a connection, and what they leave when they go.
//!
//! Decides nothing: the origin gives. The invariant: what somebody was given and did not take is another's.

use std::cell::Cell;
use std::rc::Rc;

use tracing::debug;

use super::super::SendError;
use super::super::queue::Place;
use super::{Connection, Origin};

/// What an origin is known to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::upstream) enum Spoken {
    /// TLS has not agreed on anything yet.
    Unknown,
    Http1,
    Http2,
}

/// What comes to who waits for a connection.
pub(in crate::upstream) enum News {
    /// A connection, and whether it was just opened.
    Connection(Connection, bool),
    /// The dial has failed.
    Failed(SendError),
    /// Go and dial, and wait on.
    Dial(Slot),
}

/// Somebody who waits for a connection. Dropped, it passes on what it was given meanwhile.
pub(in crate::upstream) struct Waiter {
    pub(super) origin: Rc<Origin>,
    pub(super) place: Rc<Place<News>>,
}

impl Waiter {
    pub(in crate::upstream) async fn news(&self) -> News {
        self.place.take().await
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.origin.queue.remove(&self.place) {
            self.place.leave();
        }
        self.origin.fewer.notify_waiters();
        if let Some(News::Connection(connection, fresh)) = self.place.left() {
            self.origin.offer(connection, fresh);
        }
        // One less waits, so one dial less may be enough, or one more.
        self.origin.serve();
    }
}

/// The right to dial. It is free again when this is dropped.
pub(in crate::upstream) struct Slot {
    origin: Rc<Origin>,
    /// Who is told if it fails.
    place: Rc<Place<News>>,
    connects: Cell<bool>,
}

impl Slot {
    pub(super) fn take(origin: &Rc<Origin>, place: &Rc<Place<News>>) -> Self {
        origin.dialing.begins();
        place.set_dials(true);
        Self { origin: Rc::clone(origin), place: Rc::clone(place), connects: Cell::new(false) }
    }

    pub(in crate::upstream) fn origin(&self) -> &Rc<Origin> {
        &self.origin
    }

    /// The dial has its turn.
    pub(in crate::upstream) fn connects(&self) {
        if !self.connects.replace(true) {
            self.origin.dialing.connects();
        }
    }

    pub(in crate::upstream) fn is_connecting(&self) -> bool {
        self.connects.get()
    }

    /// Waits until whoever it was begun for has left with nothing, and others do not need it: for each who waits there
    /// is another dial, and one is spare. A dial that still waits for its turn is not kept as a spare.
    pub(in crate::upstream) async fn is_surplus(&self) {
        loop {
            let fewer = self.origin.fewer.notified();
            let needed = self.origin.queue.len().max(usize::from(self.connects.get()));
            if self.place.is_left() && self.origin.dialing.count() > needed {
                return;
            }
            fewer.await;
        }
    }

    /// What became of it: the first who waits has the connection, and who dialed has the error.
    pub(in crate::upstream) fn end(self, dialed: Result<Connection, SendError>) {
        match dialed {
            Ok(connection) => {
                self.origin.dialing.came_through();
                self.origin.offer(connection, true);
            }
            Err(error) => {
                self.origin.dialing.failed();
                if self.origin.queue.remove(&self.place) {
                    drop(self.place.give(News::Failed(error)));
                } else {
                    debug!(%error, "upstream could not be dialed for a request that no longer needs it");
                }
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.place.set_dials(false);
        self.origin.dialing.ends(self.connects.get());
        self.origin.serve();
    }
}
