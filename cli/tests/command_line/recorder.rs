//! A control plane that writes down what it is sent, whatever the call, and can read its own schemas.
//!
//! It answers each call with its empty answer, unless a test says what.

use std::collections::HashMap;
use std::convert::Infallible;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorSet};
use tokio::net::TcpListener;
use tonic_types::{ErrorDetails, StatusExt as _};

/// How many messages below a request a switch may be: that of an apply is in the options of its header.
const BELOW: u32 = 2;

/// One call.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// As `ProxyService.CreateProxy`.
    pub(super) name: String,
    /// The messages that were sent, one after the other.
    messages: Vec<Vec<u8>>,
}

impl Call {
    /// The first that was sent.
    pub(super) fn message(&self) -> &[u8] {
        &self.messages[0]
    }
}

/// What a call is answered: an encoded message, or the code and text of a refusal.
pub(super) type Answer = Result<Vec<u8>, (u32, &'static str)>;
pub(super) type Answers = HashMap<&'static str, Answer>;

/// The schemas of all calls.
pub(super) struct Schemas {
    messages: HashMap<String, DescriptorProto>,
    inputs: HashMap<String, String>,
}

impl Schemas {
    pub(super) fn read() -> Self {
        let set = FileDescriptorSet::decode(rr_contract::wire::DESCRIPTORS).expect("descriptors");
        let (mut messages, mut inputs) = (HashMap::new(), HashMap::new());
        for file in set.file {
            for message in file.message_type {
                messages.insert(
                    format!(".{}.{}", file.package.clone().unwrap_or_default(), message.name()),
                    message,
                );
            }
            for service in file.service {
                for method in &service.method {
                    inputs.insert(
                        format!("{}.{}", service.name(), method.name()),
                        method.input_type().to_owned(),
                    );
                }
            }
        }
        Self { messages, inputs }
    }

    /// Whether the request of a call has a switch of this name, in itself or in the messages below.
    pub(super) fn has(&self, call: &str, switch: &str) -> bool {
        let Some(message) = self.inputs.get(call).and_then(|name| self.messages.get(name)) else {
            return false;
        };
        self.declares(message, switch, BELOW)
    }

    fn declares(&self, message: &DescriptorProto, switch: &str, depth: u32) -> bool {
        message.field.iter().any(|field| {
            let below = self.messages.get(field.type_name()).filter(|_| depth > 0);
            field.name() == switch || below.is_some_and(|below| self.declares(below, switch, depth - 1))
        })
    }

    /// Whether a call says yes to a switch.
    pub(super) fn says(&self, call: &Call, switch: &str) -> bool {
        let message = &self.messages[&self.inputs[&call.name]];
        call.messages.iter().any(|bytes| self.is_on(message, bytes, switch, BELOW))
    }

    fn is_on(&self, message: &DescriptorProto, bytes: &[u8], switch: &str, depth: u32) -> bool {
        fields(bytes).into_iter().any(|(number, value)| {
            let Some(field) = message.field.iter().find(|field| field.number() == number) else {
                return false;
            };
            match value {
                Value::Number(number) => field.name() == switch && number != 0,
                Value::Bytes(inner) if depth > 0 => {
                    let below = self.messages.get(field.type_name());
                    below.is_some_and(|below| self.is_on(below, inner, switch, depth - 1))
                }
                Value::Bytes(_) => false,
            }
        })
    }
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of an encoded message, as they come.
fn fields(mut bytes: &[u8]) -> Vec<(i32, Value<'_>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let number = i32::try_from(key >> 3).expect("a field number");
        match key & 7 {
            0 => found.push((number, Value::Number(varint(&mut bytes)))),
            1 => bytes = &bytes[8..],
            2 => {
                let length = usize::try_from(varint(&mut bytes)).expect("a length");
                found.push((number, Value::Bytes(&bytes[..length])));
                bytes = &bytes[length..];
            }
            _ => bytes = &bytes[4..],
        }
    }
    found
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for at in 0..10 {
        let (first, rest) = bytes.split_first().expect("a whole number");
        *bytes = rest;
        value |= u64::from(first & 0x7f) << (7 * at);
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}

/// Runs `rrctl` without a terminal against a control plane that answers so, and tells what it was sent.
pub(super) async fn run(args: &[String], answers: Answers) -> (Output, Vec<Call>) {
    run_with(args, answers, |_| {}).await
}

/// The same, with the command changed before it runs.
pub(super) async fn run_with(
    args: &[String],
    answers: Answers,
    change: impl FnOnce(&mut Command),
) -> (Output, Vec<Call>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rrctl"));
    command.stdout(Stdio::piped());
    super::forget(&mut command);
    change(&mut command);
    run_command(command, args, answers).await
}

/// The same on a disk that takes no byte.
pub(super) async fn run_on_full_disk(args: &[String], answers: Answers) -> (Output, Vec<Call>) {
    let mut command = Command::new("sh");
    command.args(["-c", r#"trap "" XFSZ; ulimit -f 0; exec "$0" "$@""#, env!("CARGO_BIN_EXE_rrctl")]);
    command.stdout(Stdio::piped());
    super::forget(&mut command);
    run_command(command, args, answers).await
}

async fn run_command(mut command: Command, args: &[String], answers: Answers) -> (Output, Vec<Call>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let calls = Arc::new(Mutex::new(Vec::new()));
    let serving = serve(listener, calls.clone(), Arc::new(answers));
    command.args(["--endpoint", &url, "--org", "acme"]).args(args);
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().expect("rrctl runs");
    let running = tokio::task::spawn_blocking(move || child.wait_with_output().expect("rrctl ends"));
    let output = tokio::select! {
        output = running => output.expect("joins"),
        () = serving => unreachable!("it serves without end"),
    };
    let calls = calls.lock().expect("nobody panicked").clone();
    (output, calls)
}

async fn serve(listener: TcpListener, calls: Arc<Mutex<Vec<Call>>>, answers: Arc<Answers>) {
    let mut open = tokio::task::JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await.expect("accepts");
        let (calls, answers) = (calls.clone(), answers.clone());
        open.spawn(async move {
            let answer =
                hyper::service::service_fn(move |request| answer(request, calls.clone(), answers.clone()));
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            // A program that has ended closes its connection as it likes.
            connection.serve_connection(TokioIo::new(socket), answer).await.ok();
        });
    }
}

/// A refusal of an argument, with the fields that its text names in its details, as the control plane has them.
fn refusal(text: &str) -> tonic::Status {
    let mut details = ErrorDetails::new();
    for (field, reason) in text.split("; ").filter_map(|fault| fault.split_once(": ")) {
        details.add_bad_request_violation(field, reason);
    }
    tonic::Status::with_error_details(tonic::Code::InvalidArgument, text, details)
}

async fn answer(
    request: Request<Incoming>,
    calls: Arc<Mutex<Vec<Call>>>,
    answers: Arc<Answers>,
) -> Result<Response<http_body_util::combinators::BoxBody<Bytes, Infallible>>, Infallible> {
    let path = request.uri().path().to_owned();
    let name = path.rsplit('.').next().unwrap_or_default().replace('/', ".");
    #[expect(clippy::disallowed_methods, reason = "what our own program sends is small")]
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let (mut messages, mut rest) = (Vec::new(), &body[..]);
    while rest.len() >= 5 {
        let length = u32::from_be_bytes([rest[1], rest[2], rest[3], rest[4]]) as usize;
        messages.push(rest[5..5 + length].to_vec());
        rest = &rest[5 + length..];
    }
    calls.lock().expect("nobody panicked").push(Call { name: name.clone(), messages });
    let said = answers.get(name.as_str()).cloned().unwrap_or_else(|| Ok(Vec::new()));
    let (message, status, text) = match said {
        Ok(message) => (Some(message), 0, ""),
        Err((code, text)) => (None, code, text),
    };
    let mut framed = Vec::new();
    if let Some(message) = message {
        framed.push(0);
        framed.extend(u32::try_from(message.len()).expect("a small message").to_be_bytes());
        framed.extend(message);
    }
    let mut trailers = HeaderMap::new();
    if status == 3 {
        refusal(text).add_header(&mut trailers).expect("a status of ours");
    } else {
        trailers.insert("grpc-status", status.into());
        trailers.insert("grpc-message", http::HeaderValue::from_static(text));
    }
    let body = Full::new(Bytes::from(framed)).with_trailers(async move { Some(Ok(trailers)) });
    let mut response = Response::new(body.boxed());
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
    Ok(response)
}
