//! Reading ahead: while one piece of a file is taken in, the next is read, decrypted, decoded, hashed and parsed.
//!
//! A start has no other use for a second processor. Judges nothing: the frames decide where a file ends. The
//! invariant: pieces come in the order of the file, and few of them wait.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, Scope};

use zeroize::Zeroizing;

use super::super::inventory::{Load, Parser};
use super::super::transaction::{Changes, read_body};
use super::frame::{Chain, Frames, Kind};

/// How many pieces may wait. Each may be some MiB when it is decoded.
const WAITING: usize = 2;

/// A frame, and where it ends.
pub(super) struct Piece {
    pub(super) content: Content,
    pub(super) offset: u64,
    /// What the next frame is bound to.
    pub(super) chain: Chain,
}

/// What is in a frame.
pub(super) enum Content {
    /// Of the first transaction: a part of the whole.
    Load(Load),
    /// Of a later one.
    Changes(Changes),
    Other(Kind, Zeroizing<Vec<u8>>),
    /// The seal holds, and what is in it is no changes.
    Unreadable,
}

/// Reads `frames` up to their end, or to the frame that ends at `until` or behind it.
pub(super) fn pieces<'scope, 'env: 'scope>(
    scope: &'scope Scope<'scope, 'env>,
    frames: Frames<'env>,
    until: Option<u64>,
    parser: Parser,
) -> io::Result<Receiver<io::Result<Piece>>> {
    let (sender, receiver) = sync_channel(WAITING);
    let is_unchecked = super::checks_are_off();
    Builder::new().name("last-good".into()).spawn_scoped(scope, move || {
        super::switch_checks(is_unchecked);
        read(frames, until, Some(parser), &sender);
    })?;
    Ok(receiver)
}

fn read(
    mut frames: Frames<'_>,
    until: Option<u64>,
    mut parser: Option<Parser>,
    sender: &SyncSender<io::Result<Piece>>,
) {
    while until.is_none_or(|until| frames.offset < until)
        && let Some((kind, body)) = frames.next()
    {
        let content = match kind {
            Kind::Kept | Kind::Changes => changes(&body, parser.as_ref()),
            Kind::Versions | Kind::Revocations | Kind::Proven => Content::Other(kind, body),
            Kind::Commit => {
                // What comes behind is changed once more before it is taken in.
                parser = None;
                Content::Other(kind, body)
            }
        };
        let piece = Piece { content, offset: frames.offset, chain: frames.chain.clone() };
        if sender.send(Ok(piece)).is_err() {
            // Enough was read.
            return;
        }
    }
    if let Some(error) = frames.failed {
        sender.send(Err(error)).ok();
    }
}

fn changes(body: &[u8], parser: Option<&Parser>) -> Content {
    let mut changes = Changes::new();
    if read_body(body, &mut changes).is_err() {
        return Content::Unreadable;
    }
    match parser {
        Some(parser) => parser.load(changes).map_or_else(Content::Changes, Content::Load),
        None => Content::Changes(changes),
    }
}
