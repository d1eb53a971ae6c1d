//! An upstream that reads HTTP/1.1 in the strictest way, and counts what it reads.
//!
//! Answers each whole request with 200 and `ok`. The invariant: bytes that another reader could take for another
//! request are never counted as a request here, but as broken ones.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rr_contract::runtime::Tasks;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A whole request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The connection on which it came, from zero.
    pub connection: usize,
    /// All lines of its head.
    pub lines: Vec<String>,
    /// Its body without framing.
    pub body: Vec<u8>,
}

impl Counted {
    /// Method and target, as they came.
    pub fn asked(&self) -> &str {
        self.lines[0].trim_end_matches(" HTTP/1.1")
    }

    /// The values of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.lines[1..].iter().filter_map(|line| line.split_once(": "));
        fields.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }
}

#[derive(Default)]
struct Log {
    whole: Mutex<Vec<Counted>>,
    broken: Mutex<Vec<String>>,
}

/// The upstream. It ends with the test's runtime.
pub struct Strict {
    address: SocketAddr,
    log: Arc<Log>,
}

impl Strict {
    /// Starts on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let log: Arc<Log> = Arc::default();
        let (tasks, noted) = (Tasks::new(), Arc::clone(&log));
        tasks.clone().spawn("strict upstream", async move {
            let mut connection = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let log = Arc::clone(&noted);
                tasks.spawn("strict connection", async move {
                    if let Err(why) = serve(BufReader::new(stream), connection, &log).await {
                        log.broken.lock().unwrap_or_else(PoisonError::into_inner).push(why);
                    }
                });
                connection += 1;
            }
        });
        Self { address, log }
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What came since this was last asked.
    pub fn take(&self) -> Vec<Counted> {
        std::mem::take(&mut *self.log.whole.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What could not be read in the strictest way, since this was last asked.
    pub fn take_broken(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.broken.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Serves until the edge lets go. A request that breaks off in its body was never whole and is nobody's fault here.
async fn serve(mut stream: BufReader<TcpStream>, connection: usize, log: &Log) -> Result<(), String> {
    loop {
        let Some(lines) = head(&mut stream).await? else { return Ok(()) };
        let Some(body) = body(&mut stream, &lines).await? else { return Ok(()) };
        log.whole.lock().unwrap_or_else(PoisonError::into_inner).push(Counted { connection, lines, body });
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        if stream.get_mut().write_all(answer).await.is_err() {
            return Ok(());
        }
    }
}

/// A line that ends with CR LF; `None` where the connection ended before it did.
async fn line(stream: &mut BufReader<TcpStream>) -> Result<Option<String>, String> {
    let mut line = Vec::new();
    loop {
        let Ok(byte) = stream.read_u8().await else { return Ok(None) };
        match (byte, line.last()) {
            (b'\n', Some(b'\r')) => {
                line.pop();
                return String::from_utf8(line).map(Some).map_err(|line| format!("{line:?}"));
            }
            (b'\n' | 0, _) | (_, Some(b'\r')) => {
                return Err(format!("a control character behind {:?}", String::from_utf8_lossy(&line)));
            }
            _ => line.push(byte),
        }
    }
}

async fn head(stream: &mut BufReader<TcpStream>) -> Result<Option<Vec<String>>, String> {
    let mut lines = Vec::new();
    loop {
        let Some(line) = line(stream).await? else { return Ok(None) };
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let [first, fields @ ..] = &lines[..] else { return Err("an empty head".to_owned()) };
    let words: Vec<&str> = first.split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else { return Err(format!("request line {first:?}")) };
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-')
        || !target.starts_with('/')
        || !is_plain(target)
    {
        return Err(format!("request line {first:?}"));
    }
    for field in fields {
        let Some((name, value)) = field.split_once(": ") else { return Err(format!("field {field:?}")) };
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!#$%&'*+^`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) || value != value.trim() {
            return Err(format!("field {field:?}"));
        }
    }
    Ok(Some(lines))
}

async fn body(stream: &mut BufReader<TcpStream>, lines: &[String]) -> Result<Option<Vec<u8>>, String> {
    let request = Counted { connection: 0, lines: lines.to_vec(), body: Vec::new() };
    if request.all("host").len() != 1 {
        return Err(format!("not one host: {lines:?}"));
    }
    let mut body = Vec::new();
    match (&request.all("content-length")[..], &request.all("transfer-encoding")[..]) {
        ([], []) => {}
        ([length], []) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            body.resize(length.parse().map_err(|_| format!("length {length}"))?, 0);
            if stream.read_exact(&mut body).await.is_err() {
                return Ok(None);
            }
        }
        ([], ["chunked"]) => loop {
            let Some(size) = line(stream).await? else { return Ok(None) };
            let size = usize::from_str_radix(&size, 16).map_err(|_| format!("chunk size {size:?}"))?;
            let start = body.len();
            body.resize(start + size, 0);
            if stream.read_exact(&mut body[start..]).await.is_err() {
                return Ok(None);
            }
            match line(stream).await? {
                None => return Ok(None),
                Some(end) if end.is_empty() => {}
                Some(more) => return Err(format!("behind a chunk: {more:?}")),
            }
            if size == 0 {
                break;
            }
        },
        framing => return Err(format!("framing {framing:?}")),
    }
    Ok(Some(body))
}
