//! gRPC by tonic on both sides: all four kinds of call, errors, deadlines, and calls that are given up.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use http::uri::PathAndQuery;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status, Streaming};
use tower::service_fn;

use super::{Bench, Body, FAILED, connector};

/// Messages are bytes.
#[derive(Clone, Copy, Default)]
struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(bytes.copy_to_bytes(bytes.remaining())))
    }
}

/// Tells when a call is given up.
struct Guard(Arc<Notify>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// Echoes messages; `fail` as a message is an error.
async fn serve(request: Request<Incoming>, given_up: Arc<Notify>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let said = request.headers().get("grpc-timeout").and_then(|said| said.to_str().ok());
    let deadline = Bytes::from(said.unwrap_or_default().to_owned());
    let request = request.map(tonic::body::Body::new);
    let mut grpc = tonic::server::Grpc::new(Plain);
    let judge = move |message: Bytes| match &message[..] {
        b"fail" => Err(Status::failed_precondition("it was asked to")),
        b"deadline" => Ok(deadline.clone()),
        _ => Ok(message),
    };
    match &path[..] {
        "/test.Echo/Unary" => {
            let answer = service_fn(move |request: tonic::Request<Bytes>| {
                let answer = judge(request.into_inner()).map(tonic::Response::new);
                async move { answer }
            });
            grpc.unary(answer, request).await
        }
        "/test.Echo/Server" => {
            let answer = service_fn(move |request: tonic::Request<Bytes>| {
                let message = request.into_inner();
                async move {
                    let all = (0..5).map(move |n| {
                        if n == 4 && message == "late" {
                            Err(Status::data_loss("late"))
                        } else {
                            Ok(message.clone())
                        }
                    });
                    Ok::<_, Status>(tonic::Response::new(tokio_stream::iter(all)))
                }
            });
            grpc.server_streaming(answer, request).await
        }
        "/test.Echo/Client" => {
            let answer = service_fn(move |request: tonic::Request<Streaming<Bytes>>| {
                let guard = Guard(Arc::clone(&given_up));
                async move {
                    let _held = guard;
                    let mut messages = request.into_inner();
                    let mut all = Vec::new();
                    while let Some(message) = messages.message().await? {
                        all.extend_from_slice(&message);
                    }
                    Ok::<_, Status>(tonic::Response::new(Bytes::from(all)))
                }
            });
            grpc.client_streaming(answer, request).await
        }
        "/test.Echo/Both" => {
            let answer = service_fn(move |request: tonic::Request<Streaming<Bytes>>| {
                let guard = Guard(Arc::clone(&given_up));
                async move {
                    let messages = request.into_inner().map(move |message| {
                        let _held = &guard;
                        message
                    });
                    Ok::<_, Status>(tonic::Response::new(messages))
                }
            });
            grpc.streaming(answer, request).await
        }
        _ => Status::unimplemented("no such call").into_http(),
    }
}

struct Called {
    bench: Bench,
    given_up: Arc<Notify>,
}

impl Called {
    async fn start() -> Self {
        let given_up: Arc<Notify> = Arc::default();
        let told = Arc::clone(&given_up);
        Self { bench: Bench::start(move |request| serve(request, Arc::clone(&told))).await, given_up }
    }

    /// A channel to the node: over TLS, or over HTTP/2 without it.
    async fn channel(&self, tls: bool) -> Channel {
        if !tls {
            let endpoint =
                Endpoint::try_from(format!("http://{}", self.bench.plain.listen())).expect("a URL");
            return endpoint.connect().await.expect("the node speaks HTTP/2");
        }
        let (connector, address) = (connector(&self.bench.tls), self.bench.secure.listen());
        let dial = service_fn(move |_: Uri| {
            let connector = connector.clone();
            async move {
                let stream = tokio::net::TcpStream::connect(address).await?;
                let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
                Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(connector.connect(name, stream).await?))
            }
        });
        let endpoint = Endpoint::from_static("http://localhost");
        endpoint.connect_with_connector(dial).await.expect("the node speaks TLS and HTTP/2")
    }

    /// With TLS from the caller there is TLS to the upstream, and without it HTTP/2 without TLS on both sides.
    async fn client(&self, tls: bool) -> tonic::client::Grpc<Channel> {
        let target = if tls { "secure" } else { "h2c" };
        let origin = format!("http://localhost/api/local.{target}").parse().expect("a URL");
        tonic::client::Grpc::with_origin(self.channel(tls).await, origin)
    }

    fn request<M>(&self, tls: bool, message: M) -> tonic::Request<M> {
        let mut request = tonic::Request::new(message);
        let key = self.bench.node(tls).key().parse().expect("a value");
        request.metadata_mut().insert("authorization", key);
        request
    }
}

/// The client, once it takes a call.
async fn ready(client: &mut tonic::client::Grpc<Channel>) -> &mut tonic::client::Grpc<Channel> {
    client.ready().await.expect("it is connected");
    client
}

fn call(name: &str) -> PathAndQuery {
    format!("/test.Echo/{name}").parse().expect("a path")
}

#[tokio::test]
async fn all_four_kinds_of_call_pass_with_their_errors() {
    let called = Called::start().await;
    for tls in [false, true] {
        let mut client = called.client(tls).await;
        let ask = |message: &'static str| called.request(tls, Bytes::from_static(message.as_bytes()));
        let answer =
            ready(&mut client).await.unary(ask("hello"), call("Unary"), Plain).await.expect("an answer");
        assert_eq!(answer.into_inner(), "hello");
        // An error without a message: its trailers are all there is.
        let error = ready(&mut client)
            .await
            .unary(ask("fail"), call("Unary"), Plain)
            .await
            .expect_err("it was asked to");
        assert_eq!((error.code(), error.message()), (Code::FailedPrecondition, "it was asked to"));
        let error = ready(&mut client)
            .await
            .unary(ask("hello"), call("None"), Plain)
            .await
            .expect_err("no such call");
        assert_eq!(error.code(), Code::Unimplemented);

        let answer = ready(&mut client)
            .await
            .server_streaming(ask("many"), call("Server"), Plain)
            .await
            .expect("an answer");
        let all: Vec<Bytes> = answer.into_inner().map(|message| message.expect("a message")).collect().await;
        assert_eq!(all, vec![Bytes::from_static(b"many"); 5]);
        // An error behind messages.
        let mut answer = ready(&mut client)
            .await
            .server_streaming(ask("late"), call("Server"), Plain)
            .await
            .expect("an answer")
            .into_inner();
        for _ in 0..4 {
            assert_eq!(answer.message().await.expect("a message").expect("a message"), "late");
        }
        assert_eq!(answer.message().await.expect_err("it ends with an error").code(), Code::DataLoss);

        let messages = tokio_stream::iter(["a", "b", "c"].map(Bytes::from));
        let answer = ready(&mut client)
            .await
            .client_streaming(called.request(tls, messages), call("Client"), Plain)
            .await;
        assert_eq!(answer.expect("an answer").into_inner(), "abc");
    }
}

#[tokio::test]
async fn both_sides_speak_in_turn_until_one_has_ended() {
    let called = Called::start().await;
    for tls in [false, true] {
        let mut client = called.client(tls).await;
        let (sender, messages) = mpsc::channel(1);
        sender.send(Bytes::from_static(b"first")).await.expect("it is open");
        let messages = ReceiverStream::new(messages);
        let call = ready(&mut client).await.streaming(called.request(tls, messages), call("Both"), Plain);
        let mut answer = timeout(FAILED, call).await.expect("in time").expect("an answer").into_inner();
        let mut next = async || timeout(FAILED, answer.message()).await.expect("in time").expect("a message");
        assert_eq!(next().await.expect("a message"), "first");
        for n in 0..20 {
            let message = Bytes::from(format!("message {n}"));
            sender.send(message.clone()).await.expect("it is open");
            assert_eq!(next().await.expect("a message"), message);
        }
        drop(sender);
        assert_eq!(next().await, None);
        timeout(FAILED, called.given_up.notified()).await.expect("the call has ended");
    }
}

#[tokio::test]
async fn a_deadline_is_told_to_the_upstream_and_ends_the_call() {
    let called = Called::start().await;
    for tls in [false, true] {
        let mut client = called.client(tls).await;
        let mut request = called.request(tls, Bytes::from_static(b"deadline"));
        request.set_timeout(Duration::from_secs(9));
        let answer = ready(&mut client)
            .await
            .unary(request, call("Unary"), Plain)
            .await
            .expect("an answer")
            .into_inner();
        assert!(answer.starts_with(b"9000000"), "{answer:?}");
        // It never ends of itself.
        let (sender, messages) = mpsc::channel::<Bytes>(1);
        let mut request = called.request(tls, ReceiverStream::new(messages));
        request.set_timeout(Duration::from_millis(200));
        let error = timeout(
            FAILED,
            ready(&mut client).await.client_streaming::<_, Bytes, Bytes, _>(request, call("Client"), Plain),
        )
        .await
        .expect("in time")
        .expect_err("its time is over");
        assert!([Code::Cancelled, Code::DeadlineExceeded].contains(&error.code()), "{error:?}");
        timeout(FAILED, called.given_up.notified()).await.expect("the upstream is told");
        drop(sender);
    }
}

#[tokio::test]
async fn a_refusal_of_the_node_is_an_error_of_the_call() {
    let called = Called::start().await;
    for tls in [false, true] {
        let mut client = called.client(tls).await;
        let request = tonic::Request::new(Bytes::from_static(b"hello"));
        // Which error is the library's to say: the status of HTTP is 401.
        ready(&mut client).await.unary(request, call("Unary"), Plain).await.expect_err("it has no key");
        assert_eq!(called.bench.node(tls).records(1).await[0]["status"], 401);
    }
}
