//! Last uses of callers, from the workers to the spool: for each caller the minute in which it was accepted last.
//!
//! Apart from the records, which come when their requests end, and of which some can be lost. Decides nothing about what
//! is a use. The invariant: a use that finds no room waits where it is, so a process that ends in order loses none; and
//! as many wait as there are callers, at the most.

use std::cell::RefCell;
use std::collections::BTreeMap;

use rr_contract::model::id::CredentialId;
use rr_contract::wire::fleet;
use tokio::sync::mpsc::{self, Receiver, Sender};

/// Enough while fewer than 200,000 callers a second come for the first time in a minute, which the spool's thread takes in
/// every 20 ms. Memory is taken as it fills.
const CAPACITY: usize = 4096;

/// The sending end; each worker has one.
#[derive(Clone)]
pub(crate) struct UseSender(Sender<(CredentialId, u32)>);

/// The receiving end.
pub(crate) struct UseReceiver(Receiver<(CredentialId, u32)>);

/// Creates a queue of callers, each with minutes since 1970.
pub(crate) fn uses() -> (UseSender, UseReceiver) {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    (UseSender(sender), UseReceiver(receiver))
}

impl UseReceiver {
    /// The next that waits, if one does.
    pub(crate) fn next(&mut self) -> Option<(CredentialId, u32)> {
        self.0.try_recv().ok()
    }

    /// Waits for the next.
    #[cfg(test)]
    pub(crate) async fn received(&mut self) -> (CredentialId, u32) {
        self.0.recv().await.expect("a worker is there to tell")
    }
}

/// What one worker tells.
pub(crate) struct Uses {
    /// `None`: there is nobody to tell.
    sender: Option<UseSender>,
    /// Those that found no room.
    waiting: RefCell<BTreeMap<CredentialId, u32>>,
}

impl Uses {
    pub(crate) fn new(sender: Option<UseSender>) -> Self {
        Self { sender, waiting: RefCell::default() }
    }

    /// Whether anybody wants to know.
    pub(crate) fn are_told(&self) -> bool {
        self.sender.is_some()
    }

    /// A caller was accepted, for the first time in this minute.
    pub(crate) fn tell(&self, caller: CredentialId, minute: u32) {
        let Some(UseSender(sender)) = &self.sender else { return };
        if sender.try_send((caller, minute)).is_err() {
            self.waiting.borrow_mut().insert(caller, minute);
        }
    }

    /// Tries again what found no room.
    pub(crate) fn tick(&self) {
        let Some(UseSender(sender)) = &self.sender else { return };
        let mut waiting = self.waiting.borrow_mut();
        while let Some(first) = waiting.first_entry() {
            if sender.try_send((*first.key(), *first.get())).is_err() {
                return;
            }
            first.remove();
        }
    }
}

/// What the spool's thread has still to write: of each caller the newest minute.
#[derive(Default)]
pub(super) struct Newest(BTreeMap<String, u64>);

impl Newest {
    /// Takes what workers have told.
    pub(super) fn receive(&mut self, receiver: &mut UseReceiver) {
        while let Some((caller, minute)) = receiver.next() {
            self.put(fleet::CallerUse { caller_credential: caller.to_string(), minute: minute.into() });
        }
    }

    pub(super) fn put(&mut self, used: fleet::CallerUse) {
        let minute = self.0.entry(used.caller_credential).or_default();
        *minute = used.minute.max(*minute);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes up to so many of them out.
    pub(super) fn take(&mut self, most: usize) -> Vec<fleet::CallerUse> {
        let first = std::iter::from_fn(|| self.0.pop_first()).take(most);
        first.map(|(caller_credential, minute)| fleet::CallerUse { caller_credential, minute }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(n: u32) -> CredentialId {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        CredentialId::from_random(id)
    }

    #[test]
    fn a_use_that_finds_no_room_waits_once_for_each_caller_and_comes_with_a_later_tick() {
        let (sender, mut receiver) = uses();
        let uses = Uses::new(Some(sender));
        let all = CAPACITY as u32 + 3;
        for minute in [7, 8] {
            (0..all).for_each(|n| uses.tell(caller(n), minute));
        }
        assert_eq!(uses.waiting.borrow().len(), all as usize, "the second minutes in the place of the first");
        let mut newest = Newest::default();
        newest.receive(&mut receiver);
        assert_eq!(newest.len(), CAPACITY);
        uses.tick();
        uses.tick();
        newest.receive(&mut receiver);
        uses.tick();
        newest.receive(&mut receiver);
        let told = newest.take(usize::MAX);
        assert_eq!((told.len(), uses.waiting.borrow().len()), (all as usize, 0));
        assert!(told.iter().all(|used| used.minute == 8));
    }

    #[test]
    fn the_newest_minute_of_a_caller_is_taken_whatever_comes_behind_it() {
        let mut newest = Newest::default();
        for (caller, minute) in [("a", 5), ("b", 9), ("a", 7), ("a", 6)] {
            newest.put(fleet::CallerUse { caller_credential: caller.into(), minute });
        }
        let told = |used: fleet::CallerUse| (used.caller_credential, used.minute);
        assert_eq!(newest.take(1).into_iter().map(told).collect::<Vec<_>>(), [("a".to_owned(), 7)]);
        assert_eq!(newest.take(5).into_iter().map(told).collect::<Vec<_>>(), [("b".to_owned(), 9)]);
        assert_eq!(newest.len(), 0);
    }

    #[test]
    fn where_nobody_is_told_nothing_is_kept() {
        let uses = Uses::new(None);
        assert!(!uses.are_told());
        uses.tell(caller(1), 1);
        uses.tick();
        assert!(uses.waiting.borrow().is_empty());
    }
}
