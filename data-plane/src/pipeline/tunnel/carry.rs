//! Bytes of a tunnel, both ways, until one side or this node ends it.
//!
//! Understands none of them, and waits with reading for whoever does not take what was read. The invariants: nothing is
//! held for a tunnel on which nothing waits, and no more than one read a direction; the end of one direction leaves
//! the other one open.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use rr_contract::runtime::give_way;
use rr_contract::runtime::patience::Asked;
use rr_contract::wire::fleet::TunnelEnd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::deadline::Deadline;

/// After so many reads in a row other tasks have their turn.
const IN_A_ROW: u32 = 16;

/// How a tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) by: TunnelEnd,
    /// Both directions had come to their end, or nothing was under way.
    pub(super) is_whole: bool,
}

/// Which side broke.
#[derive(Debug, Clone, Copy)]
enum Side {
    From,
    To,
}

/// One direction.
struct Way {
    /// Read, and not taken yet.
    left: Bytes,
    /// Something was written since the last flush.
    is_unflushed: bool,
    /// Nothing more comes.
    has_ended: bool,
    /// The other side was told so.
    is_closed: bool,
    /// Since when nothing was taken of `left`.
    stuck: Option<Instant>,
    passed: u64,
}

impl Way {
    fn new(early: Bytes) -> Self {
        Self { left: early, is_unflushed: false, has_ended: false, is_closed: false, stuck: None, passed: 0 }
    }

    /// Moves what can be moved. Ready when the direction has come to its end.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut from: Pin<&mut impl AsyncRead>,
        mut to: Pin<&mut impl AsyncWrite>,
        piece: &mut [u8],
    ) -> Poll<Result<(), Side>> {
        if self.is_closed {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..IN_A_ROW {
            while !self.left.is_empty() {
                let written = ready!(self.write(cx, to.as_mut(), None))?;
                self.left.advance(written);
            }
            // What was left is not held on to for its end.
            self.left = Bytes::new();
            if self.has_ended {
                ready!(to.poll_shutdown(cx)).map_err(|_| Side::To)?;
                self.is_closed = true;
                return Poll::Ready(Ok(()));
            }
            let mut read = ReadBuf::new(piece);
            match from.as_mut().poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) if read.filled().is_empty() => self.has_ended = true,
                Poll::Ready(Ok(())) => {
                    let read = read.filled();
                    let written = match self.write(cx, to.as_mut(), Some(read)) {
                        Poll::Ready(written) => written?,
                        Poll::Pending => 0,
                    };
                    if written < read.len() {
                        self.left = Bytes::copy_from_slice(&read[written..]);
                    }
                }
                // A peer that closes without a word of TLS has closed all the same: WebSockets say for themselves
                // whether they were cut short.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    self.has_ended = true;
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Side::From)),
                Poll::Pending => {
                    if self.is_unflushed && to.as_mut().poll_flush(cx).map_err(|_| Side::To)?.is_ready() {
                        self.is_unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
        give_way(cx);
        Poll::Pending
    }

    fn write(
        &mut self,
        cx: &mut Context<'_>,
        to: Pin<&mut impl AsyncWrite>,
        fresh: Option<&[u8]>,
    ) -> Poll<Result<usize, Side>> {
        let Poll::Ready(written) = to.poll_write(cx, fresh.unwrap_or(&self.left)) else {
            self.stuck.get_or_insert_with(Instant::now);
            return Poll::Pending;
        };
        self.stuck = None;
        match written {
            Ok(0) | Err(_) => Poll::Ready(Err(Side::To)),
            Ok(written) => {
                self.is_unflushed = true;
                self.passed += written as u64;
                Poll::Ready(Ok(written))
            }
        }
    }
}

/// Both directions, and when there is too little of either.
pub(super) struct Carrying<C, U> {
    caller: C,
    upstream: U,
    /// From the caller.
    up: Way,
    /// To the caller.
    down: Way,
    /// Who was the first to end a direction.
    first: Option<TunnelEnd>,
    /// The caller's end is to be looked at again: one that reset its stream looks like one that ended it.
    looks_again: bool,
    idle: Duration,
    moved: Instant,
    deadline: Deadline,
    /// Told when the caller does not read; `None` where its socket finds out.
    asked: Option<Arc<Asked>>,
}

impl<C, U> Carrying<C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    /// `up` came from the caller already, `down` from the upstream.
    pub(super) fn new(
        (caller, up): (C, Bytes),
        (upstream, down): (U, Bytes),
        idle: Duration,
        asked: Option<Arc<Asked>>,
    ) -> Self {
        Self {
            caller,
            upstream,
            up: Way::new(up),
            down: Way::new(down),
            first: None,
            looks_again: false,
            idle,
            moved: Instant::now(),
            deadline: Deadline::default(),
            asked,
        }
    }

    /// Bytes that have passed from the caller, and to it.
    pub(super) fn passed(&self) -> (u64, u64) {
        (self.up.passed, self.down.passed)
    }

    /// Moves what can be moved. `piece` is the worker's, and nothing stays in it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, piece: &mut [u8]) -> Poll<Ended> {
        let broken = |by| Poll::Ready(Ended { by, is_whole: false });
        let before = self.passed();
        if std::mem::take(&mut self.looks_again)
            && matches!(Pin::new(&mut self.caller).poll_flush(cx), Poll::Ready(Err(_)))
        {
            return broken(TunnelEnd::Caller);
        }
        let had_ended = self.up.has_ended;
        let up = self.up.poll(cx, Pin::new(&mut self.caller), Pin::new(&mut self.upstream), piece);
        if self.up.has_ended && !had_ended {
            self.first.get_or_insert(TunnelEnd::Caller);
            self.looks_again = true;
            cx.waker().wake_by_ref();
        }
        let down = self.down.poll(cx, Pin::new(&mut self.upstream), Pin::new(&mut self.caller), piece);
        if self.down.has_ended {
            self.first.get_or_insert(TunnelEnd::Upstream);
        }
        if let Some(asked) = &self.asked {
            asked.waits(self.down.stuck);
        }
        match (up, down) {
            (Poll::Ready(Err(Side::From)), _) | (_, Poll::Ready(Err(Side::To))) => {
                return broken(self.first.unwrap_or(TunnelEnd::Caller));
            }
            (Poll::Ready(Err(Side::To)), _) | (_, Poll::Ready(Err(Side::From))) => {
                return broken(self.first.unwrap_or(TunnelEnd::Upstream));
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => {
                let by = self.first.unwrap_or(TunnelEnd::Caller);
                return Poll::Ready(Ended { by, is_whole: true });
            }
            _ => {}
        }
        if self.passed() != before {
            self.moved = Instant::now();
        }
        if self.deadline.is_over(self.moved + self.idle, cx) {
            let is_whole = self.up.left.is_empty() && self.down.left.is_empty();
            return Poll::Ready(Ended { by: TunnelEnd::Idle, is_whole });
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
