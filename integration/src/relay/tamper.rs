//! What a bad relay does to transactions on their way down, and what any relay sees go by.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use prost::Message as _;
use rr_contract::digest::resource_hash;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::sync_request::Message as Up;
use rr_contract::wire::fleet::sync_response::Message as Down;
use rr_contract::wire::fleet::{Mode, Outcome, Why};
use tokio::sync::watch;

/// How a relay harms each transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// Not at all.
    #[default]
    None,
    /// Leaves one upsert out, and makes the checksum fit.
    DropUpsert,
    /// Changes one bit of a chunk.
    FlipBit,
    /// Changes one bit of a payload, and makes its hash and the checksum fit.
    FlipPayload,
    /// Passes each chunk on twice.
    Twice,
    /// Passes what follows a chunk on before it.
    Swap,
    /// Puts the oldest transaction that it has seen, with the nonce of the new one, in the place of the new one.
    Replay,
    /// Passes no part of it on.
    Stall,
}

/// What went by.
#[derive(Default)]
pub(super) struct Record {
    pub(super) fault: Mutex<Fault>,
    pub(super) harmed: AtomicU64,
    pub(super) questions: AtomicU64,
    /// Moves when every connection is to be cut.
    pub(super) cuts: watch::Sender<u64>,
    pub(super) modes: Mutex<Vec<Mode>>,
    pub(super) verdicts: Mutex<Vec<(Outcome, Option<Why>)>>,
    /// The oldest delta that went by whole.
    kept: Mutex<Vec<Down>>,
}

/// The way down of one stream.
#[derive(Default)]
pub(super) struct Tamper {
    /// Of the transaction that is open.
    fault: Fault,
    passed: Vec<Down>,
    held: Option<Down>,
    done: bool,
}

impl Record {
    pub(super) fn saw(&self, message: &Up) {
        let Up::Verdict(verdict) = message else { return };
        let why = verdict.refusals.iter().find(|refusal| refusal.key.is_none()).map(fleet::Refusal::why);
        lock(&self.verdicts).push((verdict.outcome(), why));
    }
}

impl Tamper {
    /// What goes down in the place of a message.
    pub(super) fn pass(&mut self, message: Down, record: &Record) -> VecDeque<Down> {
        match &message {
            Down::Begin(begin) => {
                lock(&record.modes).push(begin.mode());
                self.fault = *lock(&record.fault);
                (self.passed, self.held, self.done) = (Vec::new(), None, false);
                if self.fault != Fault::None {
                    record.harmed.fetch_add(1, Ordering::Relaxed);
                }
                self.passed.push(message.clone());
            }
            Down::Chunk(_) => self.passed.push(message.clone()),
            Down::Commit(commit) => {
                self.passed.push(message.clone());
                let mut kept = lock(&record.kept);
                if self.fault == Fault::Replay {
                    return kept.iter().cloned().map(|old| renamed(old, &commit.txn)).collect();
                }
                let is_delta =
                    matches!(self.passed.first(), Some(Down::Begin(begin)) if begin.mode() == Mode::Delta);
                if kept.is_empty() && is_delta && self.fault == Fault::None {
                    *kept = std::mem::take(&mut self.passed);
                }
            }
            Down::BucketQuery(_) => {
                record.questions.fetch_add(1, Ordering::Relaxed);
                return [message].into();
            }
            Down::Welcome(_)
            | Down::RegionKey(_)
            | Down::Authorities(_)
            | Down::Mark(_)
            | Down::Goaway(_)
            | Down::Drain(_)
            | Down::Revoked(_)
            | Down::Ping(_)
            | Down::Test(_)
            | Down::Restrain(_) => {
                let stalls = *lock(&record.fault) == Fault::Stall && matches!(message, Down::Mark(_));
                return if stalls { VecDeque::new() } else { [message].into() };
            }
        }
        self.harm(message)
    }

    fn harm(&mut self, message: Down) -> VecDeque<Down> {
        match (self.fault, message) {
            (Fault::None, message) => [message].into(),
            (Fault::Stall | Fault::Replay, _) => VecDeque::new(),
            (Fault::Twice, Down::Chunk(chunk)) => [Down::Chunk(chunk.clone()), Down::Chunk(chunk)].into(),
            (Fault::Swap, Down::Chunk(chunk)) if self.held.is_none() => {
                self.held = Some(Down::Chunk(chunk));
                VecDeque::new()
            }
            (Fault::Swap, message) => [Some(message), self.held.take()].into_iter().flatten().collect(),
            (Fault::FlipBit, Down::Chunk(mut chunk)) if !self.done => {
                let mut body = chunk.body.to_vec();
                if let Some(byte) = body.last_mut() {
                    *byte ^= 1;
                    self.done = true;
                }
                chunk.body = body.into();
                [Down::Chunk(chunk)].into()
            }
            (Fault::DropUpsert, Down::Chunk(chunk)) if !self.done => {
                let changed = rewritten(chunk, |body| body.upserts.pop().is_some());
                self.done = changed.1;
                [Down::Chunk(changed.0)].into()
            }
            (Fault::FlipPayload, Down::Chunk(chunk)) if !self.done => {
                let changed = rewritten(chunk, |body| {
                    let Some(last) = body.upserts.last_mut() else { return false };
                    let mut payload = last.payload.to_vec();
                    let Some(byte) = payload.last_mut() else { return false };
                    *byte ^= 1;
                    last.hash = resource_hash(&payload).to_vec();
                    last.payload = payload.into();
                    true
                });
                self.done = changed.1;
                [Down::Chunk(changed.0)].into()
            }
            (_, message) => [message].into(),
        }
    }
}

/// A chunk with another body and the checksum of that.
fn rewritten(
    mut chunk: fleet::Chunk,
    change: impl FnOnce(&mut fleet::ChunkBody) -> bool,
) -> (fleet::Chunk, bool) {
    let mut body = fleet::ChunkBody::decode(chunk.body.clone()).expect("the control plane's decode");
    let changed = change(&mut body);
    chunk.body = body.encode_to_vec().into();
    chunk.crc32 = crc32fast::hash(&chunk.body);
    (chunk, changed)
}

/// A part of an old transaction, as if it were of a new one.
fn renamed(message: Down, txn: &[u8]) -> Down {
    let txn = txn.to_vec();
    match message {
        Down::Begin(begin) => Down::Begin(fleet::Begin { txn, ..begin }),
        Down::Chunk(chunk) => Down::Chunk(fleet::Chunk { txn, ..chunk }),
        Down::Commit(commit) => Down::Commit(fleet::Commit { txn, ..commit }),
        other => other,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transaction(n: u8) -> [Down; 3] {
        let txn = vec![n; 8];
        let payload = vec![n; 4];
        let resource = fleet::Resource {
            hash: resource_hash(&payload).to_vec(),
            payload: payload.into(),
            ..Default::default()
        };
        let body = fleet::ChunkBody { upserts: vec![resource], removals: Vec::new() }.encode_to_vec();
        let begin =
            fleet::Begin { txn: txn.clone(), mode: Mode::Delta.into(), chunks: 1, ..Default::default() };
        let crc32 = crc32fast::hash(&body);
        [
            Down::Begin(begin),
            Down::Chunk(fleet::Chunk { txn: txn.clone(), index: 0, body: body.into(), crc32 }),
            Down::Commit(fleet::Commit { txn, ..Default::default() }),
        ]
    }

    fn through(fault: Fault, record: &Record, messages: [Down; 3]) -> Vec<Down> {
        *lock(&record.fault) = fault;
        let mut tamper = Tamper::default();
        messages.into_iter().flat_map(|message| tamper.pass(message, record)).collect()
    }

    #[test]
    fn an_honest_relay_changes_nothing_and_a_bad_one_what_it_says() {
        let record = Record::default();
        assert_eq!(through(Fault::None, &record, transaction(1)), transaction(1));
        assert_eq!(record.harmed.load(Ordering::Relaxed), 0);
        for (fault, count) in [
            (Fault::DropUpsert, 3),
            (Fault::FlipBit, 3),
            (Fault::FlipPayload, 3),
            (Fault::Twice, 4),
            (Fault::Swap, 3),
            (Fault::Replay, 3),
            (Fault::Stall, 0),
        ] {
            let got = through(fault, &record, transaction(2));
            assert_eq!(got.len(), count, "{fault:?}");
            assert_ne!(got, transaction(2), "{fault:?}");
        }
        let replayed = through(Fault::Replay, &record, transaction(3));
        let Down::Chunk(chunk) = &replayed[1] else { panic!("a chunk") };
        let Down::Chunk(first) = &transaction(1)[1] else { panic!("a chunk") };
        assert_eq!((&chunk.txn, &chunk.body), (&vec![3; 8], &first.body));
    }
}
