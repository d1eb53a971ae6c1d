//! The answer to a request that explains itself: its stages, around its response.
//!
//! Decides nothing, and changes no byte of the response. The invariant: the end of the answer comes behind the end of the
//! request, and says what its record says.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response};
use http_body::{Body, Frame};
use prost::Message as _;
use rr_contract::trial::MEDIA_TYPE;
use rr_contract::wire::fleet::trial_part::Part;
use rr_contract::wire::fleet::{TrialEnd, TrialField, TrialHead, TrialPart, TrialTrailers};
use tokio::sync::oneshot;

use super::settle::Explanation;

/// The parts of the answer, as they come.
pub(super) struct Explaining<B> {
    head: Option<Bytes>,
    /// `None`: all of it is told, and its request may end.
    response: Option<B>,
    broken_off: bool,
    /// `None`: the end is told.
    end: Option<oneshot::Receiver<TrialEnd>>,
}

/// Puts a response into the answer that explains it.
pub(super) fn explain<B>(response: Response<B>, explanation: Explanation) -> Response<Explaining<B>> {
    let (parts, body) = response.into_parts();
    let Explanation { stages, node, end } = explanation;
    let head =
        TrialHead { status: parts.status.as_u16().into(), fields: fields(&parts.headers), stages, node };
    let explaining = Explaining {
        head: Some(encoded(Part::Head(head))),
        response: Some(body),
        broken_off: false,
        end: Some(end),
    };
    let mut answer = Response::new(explaining);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // The connection is closed for what the request was, however it is told.
    if let Some(connection) = parts.headers.get(CONNECTION) {
        headers.insert(CONNECTION, connection.clone());
    }
    answer
}

fn fields(headers: &HeaderMap) -> Vec<TrialField> {
    let field = |(name, value): (&http::HeaderName, &HeaderValue)| TrialField {
        name: name.as_str().to_owned(),
        value: value.as_bytes().to_vec(),
    };
    headers.iter().map(field).collect()
}

fn encoded(part: Part) -> Bytes {
    TrialPart { part: Some(part) }.encode_length_delimited_to_vec().into()
}

impl<B: Body<Data = Bytes> + Unpin> Explaining<B> {
    /// The next part; `None`: all are told.
    pub(super) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(head) = self.head.take() {
            return Poll::Ready(Some(head));
        }
        while let Some(response) = &mut self.response {
            let frame = match Pin::new(&mut *response).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => return Poll::Pending,
            };
            let part = match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) if data.is_empty() => continue,
                Some(Ok(Ok(data))) => Part::Body(data.into()),
                Some(Ok(Err(frame))) => match frame.into_trailers() {
                    Ok(trailers) => Part::Trailers(TrialTrailers { fields: fields(&trailers) }),
                    Err(_) => continue,
                },
                Some(Err(_)) => {
                    self.broken_off = true;
                    // The request ends with it.
                    self.response = None;
                    break;
                }
                None => {
                    self.response = None;
                    break;
                }
            };
            return Poll::Ready(Some(encoded(part)));
        }
        let Some(end) = &mut self.end else { return Poll::Ready(None) };
        match Pin::new(end).poll(cx) {
            Poll::Ready(told) => {
                self.end = None;
                let told = told.unwrap_or_default();
                Poll::Ready(Some(encoded(Part::End(TrialEnd { broken_off: self.broken_off, ..told }))))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    pub(super) fn is_told(&self) -> bool {
        self.end.is_none()
    }
}
