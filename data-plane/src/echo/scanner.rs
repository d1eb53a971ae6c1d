//! The search in a body that streams: what can go on, and what has to wait for more.
//!
//! Knows no time: whoever reads the body lets go of what has waited for long. The invariant: what comes out is as long as
//! what went in, and nothing waits but what is at least [`HELD_MIN`](super::HELD_MIN) bytes of a value.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::walk::{View, Walk};
use super::{Needles, mask};

/// A search in one body.
pub(crate) struct Scanner {
    needles: Arc<Needles>,
    walk: Walk,
    /// The end of what has come, as far as it is still needed.
    before: Vec<u8>,
    /// How much of that has gone on.
    gone: usize,
    /// How much has come.
    came: u64,
    has_found: bool,
}

impl Scanner {
    pub(crate) fn new(needles: Arc<Needles>) -> Self {
        let walk = Walk::new(&needles);
        Self { needles, walk, before: Vec::new(), gone: 0, came: 0, has_found: false }
    }

    pub(crate) fn needles(&self) -> &Arc<Needles> {
        &self.needles
    }

    /// What of the text goes on now that more of it has come. Where nothing is found and nothing was held, that is what
    /// came, without a copy. `is_last`: nothing comes behind it.
    pub(crate) fn feed(&mut self, more: Bytes, is_last: bool) -> Bytes {
        let base = self.came - self.before.len() as u64;
        let view = View { base, before: &self.before, now: &more };
        let (mut marks, end): (Vec<Range<u64>>, u64) = (Vec::new(), view.end());
        self.walk.advance(&self.needles, &view, is_last, &mut marks);
        self.came = end;
        self.has_found |= !marks.is_empty();
        let first = base + self.gone as u64;
        let held = self.walk.held(&self.needles).unwrap_or(end).clamp(first, end);
        let kept = self.walk.unread().min(held);
        if self.before.is_empty() && marks.is_empty() && kept == end {
            return more;
        }
        let index = |at: u64| usize::try_from(at.saturating_sub(base)).unwrap_or(usize::MAX);
        let mut all = std::mem::take(&mut self.before);
        all.extend_from_slice(&more);
        mask(&mut all[self.gone..], first, &marks);
        self.before = all[index(kept)..].to_vec();
        let from = std::mem::replace(&mut self.gone, index(held) - index(kept));
        all.truncate(index(held));
        Bytes::from(all).slice(from..)
    }

    /// How many bytes wait.
    pub(crate) fn held(&self) -> usize {
        self.before.len() - self.gone
    }

    /// Lets go of what waits, as it is. What comes behind it is searched as before.
    pub(crate) fn release(&mut self) -> Bytes {
        let held = Bytes::copy_from_slice(&self.before[self.gone..]);
        let base = self.came - self.before.len() as u64;
        let unread = usize::try_from(self.walk.unread().saturating_sub(base)).unwrap_or(usize::MAX);
        self.before.drain(..unread.min(self.before.len()));
        self.gone = self.before.len();
        held
    }

    /// Whether a value has been found.
    pub(crate) fn has_found(&self) -> bool {
        self.has_found
    }

    #[cfg(test)]
    pub(super) fn steps(&self) -> u64 {
        self.walk.steps()
    }
}
