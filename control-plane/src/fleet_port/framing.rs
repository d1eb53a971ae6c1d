//! Messages as gRPC frames them. A chunk's body goes out by reference: it is never copied for a stream, and a stream
//! keeps no buffer once its messages are out.
//!
//! Knows nothing of what the messages say.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use http::HeaderMap;
use http_body::Frame;
use prost::Message as _;
use rr_contract::wire::fleet::{Chunk, SyncResponse, sync_response::Message};
use tonic::Status;

/// What is smaller than this is copied beside its neighbours: a record of TLS of its own costs more.
const BY_REFERENCE: usize = 4 * 1024;
/// How much is gathered at the most before it is handed on.
const GATHER_MOST: usize = 32 * 1024;
/// Of each message: not compressed, and its length.
const HEAD: usize = 5;
/// Tag of a chunk within a message, and of the body within a chunk: field 3 of each, with a length.
const CHUNK_TAG: u8 = (3 << 3) | 2;
const BODY_TAG: u8 = (3 << 3) | 2;

/// The body of a response.
pub(super) struct Framed<S> {
    messages: S,
    /// What comes behind what was handed on last.
    rest: Option<Bytes>,
    /// What the stream ended with.
    end: Option<HeaderMap>,
    is_over: bool,
}

impl<S> Framed<S> {
    pub(super) fn new(messages: S) -> Self {
        Self { messages, rest: None, end: None, is_over: false }
    }
}

impl<S> http_body::Body for Framed<S>
where
    S: Stream<Item = Result<SyncResponse, Status>> + Unpin,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(rest) = self.rest.take() {
            return Poll::Ready(Some(Ok(Frame::data(rest))));
        }
        let mut gathered = BytesMut::new();
        while self.end.is_none() && self.rest.is_none() && gathered.len() < GATHER_MOST {
            match self.messages.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(message))) => self.rest = frame(message, &mut gathered),
                Poll::Ready(Some(Err(status))) => self.end = Some(trailers(&status)),
                Poll::Ready(None) => self.end = Some(trailers(&Status::ok(""))),
                Poll::Pending if gathered.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        if !gathered.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(gathered.freeze()))));
        }
        if std::mem::replace(&mut self.is_over, true) {
            return Poll::Ready(None);
        }
        Poll::Ready(self.end.clone().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        // Its details do not fit into headers; its code does.
        trailers.insert("grpc-status", i32::from(status.code()).into());
    }
    trailers
}

/// Writes a message, but for a body that is to follow.
fn frame(message: SyncResponse, into: &mut BytesMut) -> Option<Bytes> {
    match message.message {
        Some(Message::Chunk(chunk)) if chunk.body.len() >= BY_REFERENCE => Some(by_reference(chunk, into)),
        message => {
            let message = SyncResponse { message };
            let length = message.encoded_len();
            into.reserve(HEAD + length);
            head(length, into);
            message.encode(into).expect("there is room");
            None
        }
    }
}

/// Writes a chunk up to its body, which comes last: the order of fields is free.
fn by_reference(mut chunk: Chunk, into: &mut BytesMut) -> Bytes {
    let body = std::mem::take(&mut chunk.body);
    let before = chunk.encoded_len();
    let within = before + 1 + prost::length_delimiter_len(body.len()) + body.len();
    let length = 1 + prost::length_delimiter_len(within) + within;
    into.reserve(HEAD + length - body.len());
    head(length, into);
    into.put_u8(CHUNK_TAG);
    prost::encode_length_delimiter(within, into).expect("there is room");
    chunk.encode(into).expect("there is room");
    into.put_u8(BODY_TAG);
    prost::encode_length_delimiter(body.len(), into).expect("there is room");
    body
}

fn head(length: usize, into: &mut BytesMut) {
    into.put_u8(0);
    into.put_u32(u32::try_from(length).expect("chunks are small"));
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use rr_contract::wire::fleet::{Begin, Commit};

    use super::*;

    fn messages() -> Vec<SyncResponse> {
        let chunk = |index, size: usize| {
            let body = Bytes::from(vec![u8::try_from(index).expect("few"); size]);
            Message::Chunk(Chunk { txn: vec![7; 8], index, body, crc32: 5 })
        };
        let begin = Message::Begin(Begin { txn: vec![7; 8], chunks: 3, ..Begin::default() });
        let commit = Message::Commit(Commit { txn: vec![7; 8], ..Commit::default() });
        let all = [begin, chunk(0, 10), chunk(1, 70_000), chunk(2, BY_REFERENCE), commit];
        all.into_iter().map(|message| SyncResponse { message: Some(message) }).collect()
    }

    async fn framed(end: Option<Status>) -> (Vec<Bytes>, HeaderMap) {
        let all = messages().into_iter().map(Ok).chain(end.map(Err));
        let mut body = Framed::new(tokio_stream::iter(all));
        let (mut data, mut trailers) = (Vec::new(), None);
        while let Some(frame) = body.frame().await {
            match frame.expect("it does not fail").into_data() {
                Ok(bytes) => data.push(bytes),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        (data, trailers.expect("a stream ends with them"))
    }

    #[tokio::test]
    async fn what_is_read_is_what_was_said_and_large_bodies_are_not_copied() {
        let (data, trailers) = framed(None).await;
        let mut wire = Bytes::from(data.concat());
        let mut read = Vec::new();
        while !wire.is_empty() {
            let head = wire.split_to(HEAD);
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            read.push(SyncResponse::decode(wire.split_to(length)).expect("decodes"));
        }
        assert_eq!(read, messages());
        assert_eq!(trailers["grpc-status"], "0");
        // Begin and a small chunk with the large one's start, its body, the next one's start, its body, commit.
        let lengths: Vec<usize> = data.iter().map(Bytes::len).collect();
        assert_eq!((lengths.len(), lengths[1], lengths[3]), (5, 70_000, BY_REFERENCE), "{lengths:?}");
    }

    #[tokio::test]
    async fn a_stream_that_fails_says_why_at_its_end() {
        let (_, trailers) = framed(Some(Status::already_exists("another process"))).await;
        assert_eq!(trailers["grpc-status"], "6");
        assert_eq!(trailers["grpc-message"], "another%20process");
    }
}
