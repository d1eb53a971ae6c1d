//! What goes to a node, message by message as it is read: a node that does not read holds no copy of what it is sent.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use rr_contract::wire::fleet::sync_response::Message;
use rr_contract::wire::fleet::{Begin, Chunk, Commit, SyncResponse};
use tokio::sync::mpsc;
use tonic::Status;

use crate::publish::chunk::Encoded;

/// So many messages are looked through for a ping while a transaction is open.
const BEHIND_MOST: usize = 8;

/// One message, or all of a transaction.
#[derive(Debug)]
pub(crate) enum Outgoing {
    One(Box<Message>),
    /// What differs by stream, and what all streams share.
    Transaction(Box<(Begin, Commit)>, Arc<Encoded>),
}

/// The messages of what was put in, made as they are asked for. What is ready together goes out together. In the order
/// in which they came, but for a ping and for the word that a node is revoked, which do not wait for the rest of a transaction, and for the end, after which
/// the rest is of no use.
pub(crate) struct Outgoings {
    waiting: mpsc::Receiver<Result<Outgoing, Status>>,
    open: Option<Open>,
    /// What comes behind the transaction that is open.
    behind: VecDeque<Outgoing>,
}

/// A transaction whose opening is out.
struct Open {
    commit: Commit,
    encoded: Arc<Encoded>,
    next: usize,
}

impl Outgoings {
    pub(crate) fn new(waiting: mpsc::Receiver<Result<Outgoing, Status>>) -> Self {
        Self { waiting, open: None, behind: VecDeque::new() }
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
        while self.open.is_some()
            && self.behind.len() < BEHIND_MOST
            && let Poll::Ready(Some(next)) = self.waiting.poll_recv(context)
        {
            match next {
                Ok(Outgoing::One(message)) if matches!(*message, Message::Ping(_) | Message::Revoked(_)) => {
                    return response(*message);
                }
                Ok(next) => self.behind.push_back(next),
                Err(status) => {
                    self.open = None;
                    return Poll::Ready(Some(Err(status)));
                }
            }
        }
        if let Some(message) = self.of_open() {
            return response(message);
        }
        let next = match self.behind.pop_front() {
            Some(next) => Some(Ok(next)),
            None => std::task::ready!(self.waiting.poll_recv(context)),
        };
        match next {
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::StreamExt as _;
    use rr_contract::wire::fleet::{Mark, Ping};

    use super::*;

    fn transaction() -> Result<Outgoing, Status> {
        let encoded = Encoded {
            chunks: vec![(Bytes::from_static(b"one"), 1), (Bytes::from_static(b"two"), 2)],
            position: Default::default(),
            snapshot: true,
            touched: Arc::default(),
            removals: 0,
            bytes: 6,
        };
        Ok(Outgoing::Transaction(Box::default(), Arc::new(encoded)))
    }

    fn one(message: Message) -> Result<Outgoing, Status> {
        Ok(Outgoing::One(Box::new(message)))
    }

    async fn heard(outgoings: &mut Outgoings) -> &'static str {
        match outgoings.next().await {
            Some(Ok(SyncResponse { message: Some(message) })) => match message {
                Message::Begin(_) => "begin",
                Message::Chunk(_) => "chunk",
                Message::Commit(_) => "commit",
                Message::Ping(_) => "ping",
                Message::Mark(_) => "mark",
                _ => "another",
            },
            Some(Ok(_)) => "nothing",
            Some(Err(_)) => "error",
            None => "end",
        }
    }

    #[tokio::test]
    async fn a_ping_does_not_wait_for_a_transaction_and_all_else_does() {
        let (out, waiting) = mpsc::channel(4);
        let mut outgoings = Outgoings::new(waiting);
        out.try_send(transaction()).expect("there is room");
        assert_eq!(heard(&mut outgoings).await, "begin");
        out.try_send(one(Message::Ping(Ping { number: 1 }))).expect("there is room");
        out.try_send(one(Message::Mark(Mark::default()))).expect("there is room");
        // Nor for what came before it and waits.
        out.try_send(one(Message::Ping(Ping { number: 2 }))).expect("there is room");
        drop(out);
        let mut order = Vec::new();
        loop {
            let next = heard(&mut outgoings).await;
            order.push(next);
            if next == "end" {
                break;
            }
        }
        assert_eq!(order, ["ping", "ping", "chunk", "chunk", "commit", "mark", "end"]);
    }

    #[tokio::test]
    async fn a_stream_that_is_ended_sends_nothing_of_a_transaction_any_more() {
        let (out, waiting) = mpsc::channel(4);
        let mut outgoings = Outgoings::new(waiting);
        out.try_send(transaction()).expect("there is room");
        assert_eq!(heard(&mut outgoings).await, "begin");
        out.try_send(Err(Status::aborted("fenced"))).expect("there is room");
        assert_eq!(heard(&mut outgoings).await, "error");
    }
}
