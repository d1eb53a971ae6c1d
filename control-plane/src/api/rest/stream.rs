//! Streams over REST: server-sent events where the caller asks for them, else one JSON text a line.
//!
//! A stream that fails says so in its own form, at its end; dropping the body drops the call.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;
use rest_over_grpc::transcoding::{FrameStream, StreamEncoding, StreamingResponse};
use tokio::time::{Instant, Sleep, sleep};

use super::problem::Problem;

/// Shorter than the idle timeout of common proxies.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How a stream is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Events,
    Lines,
}

impl Form {
    /// The form that the caller asks for.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        match StreamEncoding::from_accept_values(accepted) {
            StreamEncoding::Sse => Self::Events,
            _ => Self::Lines,
        }
    }

    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Events => "text/event-stream",
            Self::Lines => "application/x-ndjson",
        }
    }

    fn failure(self, problem: &Problem) -> Bytes {
        let problem = problem.body();
        let (before, after): (&[u8], &[u8]) = match self {
            Self::Events => (b"event: error\ndata: ", b"\n\n"),
            Self::Lines => (b"{\"error\":", b"}\n"),
        };
        [before, &problem, after].concat().into()
    }
}

/// The answer that a stream is.
pub(super) fn answer(streaming: StreamingResponse, form: Form, every: Duration) -> Response {
    let (_, _, frames) = streaming.into_parts();
    let alive = (form == Form::Events).then(|| (Box::pin(sleep(every)), every));
    let mut response = Response::new(Body::new(Lively { frames: Some(frames), form, alive }));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(form.content_type()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Or a reverse proxy may buffer the events.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

struct Lively {
    /// None at the end.
    frames: Option<FrameStream>,
    form: Form,
    /// A sign of life is due then, and so often.
    alive: Option<(Pin<Box<Sleep>>, Duration)>,
}

impl Lively {
    fn rest(&mut self) {
        if let Some((alive, every)) = &mut self.alive {
            alive.as_mut().reset(Instant::now() + *every);
        }
    }
}

impl http_body::Body for Lively {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(frames) = &mut self.frames else { return Poll::Ready(None) };
        let bytes: Bytes = match frames.as_mut().poll_next(context) {
            Poll::Ready(Some(Ok(frame))) => frame.into(),
            Poll::Ready(Some(Err(status))) => {
                self.frames = None;
                self.form.failure(&Problem::of_stream(&status))
            }
            Poll::Ready(None) => {
                self.frames = None;
                return Poll::Ready(None);
            }
            Poll::Pending => {
                let Some((alive, _)) = &mut self.alive else { return Poll::Pending };
                ready!(alive.as_mut().poll(context));
                Bytes::from_static(b": keep-alive\n\n")
            }
        };
        self.rest();
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}
