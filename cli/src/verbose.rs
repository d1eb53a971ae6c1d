//! Calls as they go out, as lines for `grpcurl`, and how they ended.
//!
//! Tokens, keys and sealed values are left out, and what was left out is named: a line can be shown to anybody. Whoever runs
//! it sets RRCTL_TOKEN. The answers are not shown.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};
use rr_contract::wire;
use tonic::body::Body;
use tonic::transport::Channel;
use tower::Service;

use crate::print::note;

/// Bytes of a message that are kept to show it. Of a longer one only the method is shown.
const SHOWN: usize = 64 * 1024;
/// Before a message: whether it is compressed, and its length.
const HEAD: usize = 5;

/// Where calls go, as `grpcurl` takes it.
pub(crate) struct Place {
    /// Flags of the connection: `-plaintext`, or `-cacert FILE`.
    pub(crate) flags: String,
    /// Host and port.
    pub(crate) address: String,
}

/// A channel that shows its calls, if that was asked for.
#[derive(Clone)]
pub(crate) struct Shown {
    channel: Channel,
    show: Option<Arc<Show>>,
}

struct Show {
    place: Place,
    pool: DescriptorPool,
}

impl Shown {
    pub(crate) fn new(channel: Channel, place: Option<Place>) -> Self {
        let show = place.and_then(|place| {
            let pool = DescriptorPool::decode(wire::DESCRIPTORS).ok()?;
            Some(Arc::new(Show { place, pool }))
        });
        Self { channel, show }
    }
}

impl Service<Request<Body>> for Shown {
    type Response = Response<Body>;
    type Error = tonic::transport::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Some(show) = self.show.clone() else { return Box::pin(self.channel.call(request)) };
        let method = request.uri().path().trim_start_matches('/').to_owned();
        let request = request.map(|body| {
            let seen = Seen { show, method: method.clone(), message: Vec::new() };
            Body::new(Watched { body, seen: Some(seen) })
        });
        let began = Instant::now();
        let call = self.channel.call(request);
        Box::pin(async move {
            let answered = call.await;
            let took = began.elapsed().as_millis();
            let status = answered.as_ref().map_or("no answer", |response| {
                response.headers().get("grpc-status").map_or("0", |status| status.to_str().unwrap_or("?"))
            });
            let said = if status == "0" { "answered".to_owned() } else { format!("status {status}") };
            note(&format!("# {said} in {took} ms: {method}"));
            answered
        })
    }
}

/// What is seen of a call until its first message is whole.
struct Seen {
    show: Arc<Show>,
    method: String,
    message: Vec<u8>,
}

/// The body of a request, watched until its first message went by.
struct Watched {
    body: Body,
    seen: Option<Seen>,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(frame) = &polled
            && let Some(mut seen) = self.seen.take()
        {
            match frame {
                Some(Ok(frame)) => match frame.data_ref() {
                    Some(data) if !seen.take(data) => self.seen = Some(seen),
                    Some(_) => seen.tell(),
                    None => self.seen = Some(seen),
                },
                Some(Err(_)) => {}
                None => seen.tell(),
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Seen {
    /// Whether the message is whole, or too long to be shown.
    fn take(&mut self, data: &Bytes) -> bool {
        let room = SHOWN.saturating_sub(self.message.len());
        self.message.extend_from_slice(&data[..data.len().min(room)]);
        let whole = self.message.get(1..HEAD).and_then(|length| length.try_into().ok());
        let length = whole.map(|length| u32::from_be_bytes(length) as usize);
        length.is_some_and(|length| self.message.len() >= HEAD + length) || self.message.len() >= SHOWN
    }

    fn tell(self) {
        note(&Line::of(&self).to_string());
    }
}

/// A line for `grpcurl`.
struct Line<'a> {
    place: &'a Place,
    method: &'a str,
    data: Option<String>,
    left_out: Vec<String>,
}

impl<'a> Line<'a> {
    fn of(seen: &'a Seen) -> Self {
        let mut line =
            Self { place: &seen.show.place, method: &seen.method, data: None, left_out: Vec::new() };
        let input = seen.method.split_once('/').and_then(|(service, method)| {
            let service = seen.show.pool.get_service_by_name(service)?;
            let found = service.methods().find(|it| it.name() == method)?;
            Some(found.input())
        });
        let message = input.and_then(|input| message(input, &seen.message));
        match message {
            Some(mut message) => {
                conceal(&mut message, "", &mut line.left_out);
                line.data = serde_json::to_string(&message).ok();
            }
            None if seen.message.len() > HEAD => line.left_out.push("the message, which is long".to_owned()),
            None => {}
        }
        line
    }
}

fn message(input: MessageDescriptor, framed: &[u8]) -> Option<DynamicMessage> {
    DynamicMessage::decode(input, framed.get(HEAD..)?).ok()
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { flags, address } = self.place;
        write!(f, "grpcurl {flags} -H \"authorization: Bearer $RRCTL_TOKEN\"")?;
        if let Some(data) = self.data.as_deref().filter(|data| *data != "{}") {
            write!(f, " -d '{}'", data.replace('\'', "'\\''"))?;
        }
        write!(f, " {address} {}", self.method)?;
        if !self.left_out.is_empty() {
            write!(f, "   # left out: {}", self.left_out.join(", "))?;
        }
        Ok(())
    }
}

/// Fields of text that hold what nobody else should see.
const CONCEALED: &[&str] = &["password_hash", "secret", "key", "value"];
/// Messages that hold it.
const SEALED: &[&str] = &["SealedSecret"];

/// Takes out what nobody else should see: bytes of any kind, seals, and fields of text that are listed.
fn conceal(message: &mut DynamicMessage, path: &str, left_out: &mut Vec<String>) {
    let fields: Vec<FieldDescriptor> = message.fields().map(|(field, _)| field).collect();
    for field in fields {
        let place = format!("{path}{}", field.name());
        let is_concealed = match field.kind() {
            Kind::Bytes => true,
            Kind::String => {
                // The value of a condition of a rule is no secret, and is a message.
                CONCEALED.contains(&field.name()) && !field.is_map()
            }
            Kind::Message(of) => SEALED.contains(&of.name()),
            _ => false,
        };
        if is_concealed {
            message.clear_field(&field);
            left_out.push(place);
            continue;
        }
        match message.get_field_mut(&field) {
            Value::Message(below) => conceal(below, &format!("{place}."), left_out),
            Value::List(items) => {
                for (at, item) in items.iter_mut().enumerate() {
                    if let Value::Message(below) = item {
                        conceal(below, &format!("{place}[{at}]."), left_out);
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use rr_contract::wire::fleet;
    use rr_contract::wire::management as mg;
    use rr_contract::wire::management::credential::Usage;

    use super::*;

    fn line(method: &str, message: &[u8]) -> String {
        let place = Place { flags: "-plaintext".to_owned(), address: "127.0.0.1:7420".to_owned() };
        let pool = DescriptorPool::decode(wire::DESCRIPTORS).expect("descriptors");
        let show = Arc::new(Show { place, pool });
        let mut framed = vec![0];
        framed.extend_from_slice(&u32::try_from(message.len()).expect("short").to_be_bytes());
        framed.extend_from_slice(message);
        Line::of(&Seen { show, method: method.to_owned(), message: framed }).to_string()
    }

    #[test]
    fn a_call_is_a_line_that_grpcurl_takes() {
        let ask = mg::GetProxyRequest { org: "acme".into(), proxy: "it's".into(), revision: 7 };
        assert_eq!(
            line("requestrocket.management.v1.ProxyService/GetProxy", &ask.encode_to_vec()),
            "grpcurl -plaintext -H \"authorization: Bearer $RRCTL_TOKEN\" \
             -d '{\"org\":\"acme\",\"proxy\":\"it'\\''s\",\"revision\":\"7\"}' 127.0.0.1:7420 \
             requestrocket.management.v1.ProxyService/GetProxy"
        );
    }

    #[test]
    fn seals_keys_and_hashes_are_left_out_and_named() {
        let sealed = fleet::SealedSecret { ciphertext: b"MARKER".to_vec(), ..Default::default() };
        let upstream = mg::Upstream { sealed: Some(sealed), ..Default::default() };
        let credential =
            mg::Credential { name: "c".into(), usage: Some(Usage::Upstream(upstream)), ..Default::default() };
        let ask = mg::CreateCredentialRequest { credential: Some(credential), ..Default::default() };
        let text =
            line("requestrocket.management.v1.CredentialService/CreateCredential", &ask.encode_to_vec());
        assert!(text.ends_with("# left out: credential.upstream.sealed"), "{text}");
        assert!(!text.contains("TUFSS0VS") && text.contains("\"name\":\"c\""), "{text}");

        let ask = mg::CreateTokenRequest { token: None, secret_hash: b"MARKER".to_vec() };
        let text = line("requestrocket.management.v1.TokenService/CreateToken", &ask.encode_to_vec());
        assert!(text.ends_with("# left out: secret_hash") && !text.contains("TUFSS0VS"), "{text}");
    }

    #[test]
    fn a_message_that_comes_in_parts_is_shown_once_it_is_whole() {
        let place = Place { flags: String::new(), address: String::new() };
        let pool = DescriptorPool::decode(wire::DESCRIPTORS).expect("descriptors");
        let show = Arc::new(Show { place, pool });
        let mut seen = Seen { show, method: String::new(), message: Vec::new() };
        assert!(!seen.take(&Bytes::from_static(&[0, 0, 0])));
        assert!(!seen.take(&Bytes::from_static(&[0, 3, 1, 2])));
        assert!(seen.take(&Bytes::from_static(&[3])));
    }
}
