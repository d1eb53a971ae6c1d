//! Lines of records on their way from a spool's thread to the one that writes them.
//!
//! The invariant: the spool's thread never waits; what finds no room is counted, and there is a bound on what waits.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use rr_contract::wire::fleet;

use super::{PIECE, Shared, line};

/// Pieces that wait.
const WAITING: usize = 64;
/// Bytes of the next piece while there is no room: then its lines are lost.
const MOST: usize = 16 * PIECE;

/// Whole lines, and how many of them there are.
#[derive(Default)]
pub(super) struct Piece {
    pub(super) lines: Vec<u8>,
    pub(super) records: u64,
}

pub(super) type Pieces = Receiver<Piece>;

/// The end of the spool's thread.
pub(crate) struct Tee {
    sender: SyncSender<Piece>,
    next: Piece,
    shared: Arc<Shared>,
}

pub(super) fn tee(shared: Arc<Shared>) -> (Tee, Pieces) {
    let (sender, pieces) = sync_channel(WAITING);
    (Tee { sender, next: Piece::default(), shared }, pieces)
}

impl Tee {
    /// Takes the line of a record.
    pub(crate) fn take(&mut self, record: &fleet::Record) {
        line::record(record, &mut self.next.lines);
        self.next.records += 1;
        if self.next.lines.len() >= PIECE {
            self.pass_on();
        }
    }

    /// So many records were lost before they came here.
    pub(crate) fn missed(&self, records: u64) {
        self.shared.dropped.fetch_add(records, Ordering::Relaxed);
        self.shared.behind.fetch_add(records, Ordering::Relaxed);
    }

    /// Hands over what was taken, if there is room.
    pub(crate) fn pass_on(&mut self) {
        if self.next.records == 0 {
            return;
        }
        match self.sender.try_send(mem::take(&mut self.next)) {
            Ok(()) => {}
            Err(TrySendError::Full(piece)) if piece.lines.len() < MOST => self.next = piece,
            Err(TrySendError::Full(piece) | TrySendError::Disconnected(piece)) => self.missed(piece.records),
        }
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        self.pass_on();
    }
}
