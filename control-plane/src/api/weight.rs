//! The memory that a message takes once it is decoded, estimated before: an element of two bytes can become one of
//! hundreds.
//!
//! Knows the schemas and no handler. Bytes that are not a message pass, because the decoder refuses them with a better
//! text.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::{Buf as _, Bytes, BytesMut};
use http_body::Frame;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use tonic::Status;
use zeroize::{Zeroize as _, Zeroizing};

use super::schema::{Field, Kind, Message, Schema};
use super::status;
use crate::throttle::Portion;

/// The prefix of a message: whether it is compressed, and its length.
const HEAD: usize = 5;
/// Of a text, a list and whatever else has its content elsewhere.
const HANDLE: usize = 24;
/// Of a number, a time and whatever else has all in itself.
const PLAIN: usize = 16;
/// How deep messages may be in one another; decoders go no deeper.
const DEEP: usize = 100;

/// A message would take more than its call may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("has too many elements for one message: send it in several")]
pub(super) struct TooHeavy;

/// The memory that one message may still take.
#[derive(Debug)]
pub(super) struct Scales {
    most: usize,
    left: usize,
}

impl Scales {
    pub(super) fn new(most: usize) -> Self {
        Self { most, left: most }
    }

    /// The memory counted so far.
    pub(super) fn weight(&self) -> usize {
        self.most - self.left
    }

    /// Counts so many elements of a list.
    pub(super) fn elements(&mut self, schema: &Schema, kind: &Kind, count: usize) -> Result<(), TooHeavy> {
        let heavy = element(schema, kind).saturating_mul(count);
        self.left = self.left.checked_sub(heavy).ok_or(TooHeavy)?;
        Ok(())
    }

    /// Counts a message in its wire form.
    pub(super) fn message(
        &mut self,
        schema: &Schema,
        message: &Message,
        bytes: &[u8],
    ) -> Result<(), TooHeavy> {
        self.inside(schema, message, bytes, DEEP)
    }

    fn inside(
        &mut self,
        schema: &Schema,
        message: &Message,
        mut bytes: &[u8],
        deep: usize,
    ) -> Result<(), TooHeavy> {
        while !bytes.is_empty() {
            let Ok((number, form)) = decode_key(&mut bytes) else { return Ok(()) };
            let length = match form {
                WireType::Varint => {
                    if decode_varint(&mut bytes).is_err() {
                        return Ok(());
                    }
                    0
                }
                WireType::ThirtyTwoBit => 4,
                WireType::SixtyFourBit => 8,
                WireType::LengthDelimited => match decode_varint(&mut bytes) {
                    Ok(length) => usize::try_from(length).unwrap_or(usize::MAX),
                    Err(_) => return Ok(()),
                },
                // No schema of ours has groups. The decoder skips them, and so does this.
                WireType::StartGroup => {
                    if skip_field(form, number, &mut bytes, DecodeContext::default()).is_err() {
                        return Ok(());
                    }
                    continue;
                }
                WireType::EndGroup => return Ok(()),
            };
            let Some((content, rest)) = bytes.split_at_checked(length) else { return Ok(()) };
            bytes = rest;
            let Some(field) = message.fields.iter().find(|field| field.number == number) else { continue };
            self.field(schema, field, form, content, deep)?;
        }
        Ok(())
    }

    fn field(
        &mut self,
        schema: &Schema,
        field: &Field,
        form: WireType,
        content: &[u8],
        deep: usize,
    ) -> Result<(), TooHeavy> {
        let is_packed = form == WireType::LengthDelimited && element(schema, &field.kind) == PLAIN;
        if field.repeated || matches!(field.kind, Kind::Map(_)) {
            let count = if is_packed { content.len().max(1) } else { 1 };
            self.elements(schema, &field.kind, count)?;
        }
        match &field.kind {
            Kind::Message(name) if form == WireType::LengthDelimited && deep > 0 => {
                self.inside(schema, schema.message(name), content, deep - 1)
            }
            _ => Ok(()),
        }
    }
}

/// The memory that one element of a list takes by itself.
fn element(schema: &Schema, kind: &Kind) -> usize {
    match kind {
        Kind::Message(name) => *schema.message(name).size.get_or_init(|| size(schema, name, &mut Vec::new())),
        Kind::Text | Kind::Bytes | Kind::FieldMask | Kind::Object | Kind::Any => HANDLE,
        // A key, and where it stands.
        Kind::Map(value) => 3 * HANDLE + element(schema, value),
        Kind::Bool
        | Kind::Int32
        | Kind::Uint32
        | Kind::Int64
        | Kind::Uint64
        | Kind::Float
        | Kind::Timestamp
        | Kind::Duration
        | Kind::Enum(_) => PLAIN,
    }
}

/// All fields of a message side by side, and of each choice the largest.
fn size<'a>(schema: &'a Schema, name: &'a str, around: &mut Vec<&'a str>) -> usize {
    // A message that contains itself holds it behind a pointer.
    if around.contains(&name) {
        return HANDLE;
    }
    around.push(name);
    let (mut all, mut choices) = (0, BTreeMap::<&str, usize>::new());
    for field in &schema.message(name).fields {
        let one = match &field.kind {
            Kind::Message(name) if !field.repeated => size(schema, name, around),
            _ => HANDLE,
        };
        match &field.oneof {
            Some(choice) => {
                let largest = choices.entry(choice).or_default();
                *largest = one.max(*largest);
            }
            None => all += one,
        }
    }
    around.pop();
    all + choices.into_values().sum::<usize>()
}

/// The body of a call over gRPC: each message is weighed before it is handed on.
pub(super) struct Weighed {
    inner: Body,
    schema: &'static Schema,
    input: &'static Message,
    /// Bytes of a message, and the memory that it may take.
    bounds: (usize, usize),
    portion: Portion,
    held: BytesMut,
    /// There is room for the message that comes.
    has_room: bool,
    /// The rest is passed on for the reader to refuse: it is too long, or not framed correctly.
    is_through: bool,
    /// Whether nothing of it is left in memory that is ours.
    is_wiped: bool,
}

impl Weighed {
    pub(super) fn new(
        inner: Body,
        schema: &'static Schema,
        input: &'static Message,
        bounds: (usize, usize),
        portion: Portion,
    ) -> Self {
        let held = BytesMut::new();
        Self {
            inner,
            schema,
            input,
            bounds,
            portion,
            held,
            has_room: false,
            is_through: false,
            is_wiped: false,
        }
    }

    /// The same, whose bytes are overwritten where they are not needed any more.
    pub(super) fn wiping(mut self, is_wiped: bool) -> Self {
        self.is_wiped = is_wiped;
        self
    }

    /// Takes so many bytes out of what is held.
    fn take(&mut self, length: usize) -> Bytes {
        if !self.is_wiped {
            return self.held.split_to(length).freeze();
        }
        let taken = Zeroizing::new(self.held[..length].to_vec());
        self.held[..length].zeroize();
        self.held.advance(length);
        Bytes::from_owner(taken)
    }

    /// Makes room behind what is held. A buffer that grows leaves the old one behind, which is overwritten.
    fn reserve(&mut self, more: usize) {
        if !self.is_wiped || self.held.capacity() - self.held.len() >= more {
            return self.held.reserve(more);
        }
        let mut larger = BytesMut::with_capacity((self.held.len() + more).next_power_of_two());
        larger.extend_from_slice(&self.held);
        std::mem::replace(&mut self.held, larger).as_mut().zeroize();
    }

    /// The next message that is there as a whole, with its frame.
    fn whole(&mut self) -> Result<Option<Bytes>, Status> {
        let Some(head) = self.held.first_chunk::<HEAD>() else { return Ok(None) };
        let [compressed, length @ ..] = *head;
        let length = u32::from_be_bytes(length) as usize;
        let (most, heavy) = self.bounds;
        if compressed != 0 || length > most {
            self.is_through = true;
            return Ok(None);
        }
        if !std::mem::replace(&mut self.has_room, true) {
            self.portion.grow(length).map_err(status::of_refusal)?;
        }
        if self.held.len() < HEAD + length {
            self.reserve(HEAD + length - self.held.len());
            return Ok(None);
        }
        let whole = self.take(HEAD + length);
        self.has_room = false;
        let mut scales = Scales::new(heavy);
        let weighed = scales.message(self.schema, self.input, &whole[HEAD..]);
        weighed.map_err(|heavy| Status::invalid_argument(format!("the message {heavy}")))?;
        self.portion.grow(scales.weight()).map_err(status::of_refusal)?;
        Ok(Some(whole))
    }
}

impl Drop for Weighed {
    fn drop(&mut self) {
        if self.is_wiped {
            self.held.as_mut().zeroize();
        }
    }
}

impl http_body::Body for Weighed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        loop {
            if !self.is_through {
                match self.whole() {
                    Ok(Some(whole)) => return Poll::Ready(Some(Ok(Frame::data(whole)))),
                    Ok(None) => {}
                    Err(refused) => {
                        self.inner = Body::empty();
                        return Poll::Ready(Some(Err(axum::Error::new(refused))));
                    }
                }
            }
            if self.is_through && !self.held.is_empty() {
                let rest = self.held.len();
                return Poll::Ready(Some(Ok(Frame::data(self.take(rest)))));
            }
            match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(mut data) => {
                        let length = data.remaining();
                        self.reserve(length);
                        self.held.extend_from_slice(&data.copy_to_bytes(length));
                    }
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                // The reader refuses an incomplete message.
                None if !self.held.is_empty() => self.is_through = true,
                None => return Poll::Ready(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use prost::Message as _;
    use rr_contract::wire::management as wire;

    use super::*;
    use crate::api::schema::SCHEMA;
    use crate::throttle::{Limits, Throttle};

    fn weigh<M: prost::Message>(name: &str, message: &M, most: usize) -> Result<usize, TooHeavy> {
        let name = format!("requestrocket.management.v1.{name}");
        let mut scales = Scales::new(most);
        scales.message(&SCHEMA, SCHEMA.message(&name), &message.encode_to_vec())?;
        Ok(scales.weight())
    }

    #[test]
    fn an_element_weighs_what_it_takes_and_not_what_it_is_on_the_wire() {
        let documents = vec![wire::Document::default(); 1000];
        let once = wire::ApplyOnceRequest { documents: documents.clone(), ..Default::default() };
        let weight = weigh("ApplyOnceRequest", &once, usize::MAX).expect("fits");
        assert!(weight >= 1000 * size_of::<wire::Document>(), "{weight}");
        assert!(weigh("ApplyOnceRequest", &once, weight - 1).is_err());
        let part = wire::apply_request::Part::Chunk(wire::ApplyChunk { documents });
        assert!(weigh("ApplyRequest", &wire::ApplyRequest { part: Some(part) }, weight - 1).is_err());
        let proxy = wire::Proxy { regions: vec![String::new(); 100], ..Default::default() };
        let create = wire::CreateProxyRequest { proxy: Some(proxy), ..Default::default() };
        assert_eq!(weigh("CreateProxyRequest", &create, usize::MAX), Ok(100 * size_of::<String>()));
        let grants = vec![wire::Grant::default(); 10];
        let token = wire::Token { grants, ..Default::default() };
        let create = wire::CreateTokenRequest { token: Some(token), ..Default::default() };
        let weight = weigh("CreateTokenRequest", &create, usize::MAX).expect("fits");
        assert!(weight >= 10 * size_of::<wire::Grant>(), "{weight}");
    }

    #[test]
    fn what_stands_behind_a_group_is_weighed_because_the_decoder_takes_it() {
        let documents = vec![wire::Document::default(); 1000];
        let once = wire::ApplyOnceRequest { documents, ..Default::default() };
        // Field 100, which no message has: a group that is opened and closed, with another in it.
        let sent = [&b"\xa3\x06\xa3\x06\xa4\x06\xa4\x06"[..], &once.encode_to_vec()].concat();
        let taken = wire::ApplyOnceRequest::decode(sent.as_slice()).expect("the decoder takes it");
        assert_eq!(taken.documents.len(), 1000);
        let input = SCHEMA.message("requestrocket.management.v1.ApplyOnceRequest");
        assert_eq!(Scales::new(1000).message(&SCHEMA, input, &sent), Err(TooHeavy));
    }

    #[test]
    fn junk_weighs_nothing_and_is_left_to_the_decoder() {
        let input = SCHEMA.message("requestrocket.management.v1.ApplyOnceRequest");
        for junk in [
            &b"\xff\xff\xff"[..],
            b"\x42\xff\xff\xff\xff\x0f",
            b"\x0b\x0c",
            b"\x42",
            b"\x00\x00",
            b"\x0d\x01",
        ] {
            assert_eq!(Scales::new(0).message(&SCHEMA, input, junk), Ok(()), "{junk:?}");
        }
    }

    #[tokio::test]
    async fn messages_come_whole_however_they_were_cut_and_what_is_too_long_passes_unread() {
        let input = SCHEMA.message("requestrocket.management.v1.GetOrgRequest");
        let message = wire::GetOrgRequest { org: "acme".into(), ..Default::default() }.encode_to_vec();
        let length = u32::try_from(message.len()).expect("short").to_be_bytes();
        let framed = [&[0][..], &length, &message].concat();
        let portion = Throttle::new(Limits::default()).portion("a");
        let long = [&[0][..], &u32::MAX.to_be_bytes(), b"whatever"].concat();
        for (sent, ends) in
            [(framed.repeat(3), &b""[..]), (framed[..7].to_vec(), b""), (framed.clone(), &long)]
        {
            let all = [sent.as_slice(), ends].concat();
            for size in [1, 4, all.len()] {
                let pieces: Vec<_> = all
                    .chunks(size)
                    .map(|piece| Ok::<_, std::convert::Infallible>(Bytes::copy_from_slice(piece)))
                    .collect();
                let body = Body::from_stream(futures_util::stream::iter(pieces));
                let mut weighed = Weighed::new(body, &SCHEMA, input, (64, 64), portion.clone());
                let mut read = Vec::new();
                while let Some(frame) = weighed.frame().await {
                    read.push(frame.expect("is well").into_data().expect("is data"));
                }
                assert_eq!(read.concat(), all);
                if ends.is_empty() && sent.len() > framed.len() {
                    assert!(read.iter().all(|piece| *piece == framed), "{size}");
                }
            }
        }
    }
}
