//! What goes to a node, message by message as it is read: a node that does not read holds no copy of what it is sent.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use rr_contract::wire::fleet::sync_response::Message;
use rr_contract::wire::fleet::{Begin, Chunk, Commit, SyncResponse};
use tokio::sync::mpsc;
use tonic::Status;

use crate::publish::chunk::Encoded;

/// One message, or all of a transaction.
#[derive(Debug)]
pub(crate) enum Outgoing {
    One(Box<Message>),
    /// What differs by stream, and what all streams share.
    Transaction(Box<(Begin, Commit)>, Arc<Encoded>),
}

/// The messages of what was put in, made as they are asked for. What is ready together goes out together.
pub(crate) struct Outgoings {
    waiting: mpsc::Receiver<Result<Outgoing, Status>>,
    open: Option<Open>,
}

/// A transaction whose opening is out.
struct Open {
    commit: Commit,
    encoded: Arc<Encoded>,
    next: usize,
}

impl Outgoings {
    pub(crate) fn new(waiting: mpsc::Receiver<Result<Outgoing, Status>>) -> Self {
        Self { waiting, open: None }
    }

    fn of_open(&mut self) -> Option<Message> {
        let open = self.open.as_mut()?;
        let Some((body, crc32)) = open.encoded.chunks.get(open.next) else {
            return self.open.take().map(|open| Message::Commit(open.commit));
        };
        let chunk = Chunk {
            txn: open.commit.txn.clone(),
            index: u32::try_from(open.next).unwrap_or(u32::MAX),
            body: body.clone(),
            crc32: *crc32,
        };
        open.next += 1;
        Some(Message::Chunk(chunk))
    }
}

impl Stream for Outgoings {
    type Item = Result<SyncResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let response = |message| Poll::Ready(Some(Ok(SyncResponse { message: Some(message) })));
        if let Some(message) = self.of_open() {
            return response(message);
        }
        match std::task::ready!(self.waiting.poll_recv(context)) {
            Some(Ok(Outgoing::One(message))) => response(*message),
            Some(Ok(Outgoing::Transaction(ends, encoded))) => {
                let (begin, commit) = *ends;
                self.open = Some(Open { commit, encoded, next: 0 });
                response(Message::Begin(begin))
            }
            Some(Err(status)) => Poll::Ready(Some(Err(status))),
            None => Poll::Ready(None),
        }
    }
}
