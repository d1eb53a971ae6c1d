//! A little DNS server on loopback, which answers over UDP and TCP what a test tells it to.
//!
//! Speaks the wire form by itself, so that it does not share the resolver's mistakes.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

use super::Tasks;

const A: u16 = 1;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const AAAA: u16 = 28;

/// What the server says of a name.
#[derive(Clone)]
pub(crate) enum Reply {
    /// Of these addresses, those of the family that is asked for; for so many seconds.
    Addresses(Vec<IpAddr>, u32),
    /// Another name, for so many seconds, and what that has by itself.
    Alias(&'static str, u32),
    /// No such name, for so many seconds.
    Missing(u32),
    Fails,
    Silent,
    /// Cut off over UDP, whole over TCP.
    Long(Vec<IpAddr>),
    /// Cut off over UDP, silent over TCP.
    LongSilent,
}

/// Ends with the test.
pub(crate) struct NameServer {
    address: SocketAddr,
    zone: Arc<Zone>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Zone {
    replies: Mutex<HashMap<String, Vec<Reply>>>,
    /// What it says of a name when it is asked for IPv6 addresses, if that is another thing.
    of_ipv6: Mutex<HashMap<String, Reply>>,
    /// Name, in lower case, and type.
    asked: Mutex<Vec<(String, u16)>>,
    /// Names in the case that they came in.
    written: Mutex<Vec<String>>,
}

impl NameServer {
    pub(crate) async fn start() -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
            let address = udp.local_addr().expect("it is bound");
            // Somebody else may have the other half of the port.
            if let Ok(tcp) = TcpListener::bind(address).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().expect("it is bound");
        let zone: Arc<Zone> = Arc::default();
        let (over_udp, over_tcp) = (Arc::clone(&zone), Arc::clone(&zone));
        let tasks = Tasks::new();
        let streams = tasks.clone();
        let tasks = vec![
            tasks.spawn("udp", async move {
                let mut question = [0; 1500];
                loop {
                    let (length, from) = udp.recv_from(&mut question).await.expect("loopback");
                    if let Some(answer) = over_udp.answer(&question[..length], false) {
                        udp.send_to(&answer, from).await.expect("loopback");
                    }
                }
            }),
            tasks.spawn("tcp", async move {
                loop {
                    let (stream, _) = tcp.accept().await.expect("loopback");
                    streams.spawn("tcp stream", serve(stream, Arc::clone(&over_tcp)));
                }
            }),
        ];
        Self { address, zone, tasks }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it says of a name: the first reply to the first question of each family, and so on; the last from then on.
    pub(crate) fn says(&self, name: &str, replies: &[Reply]) {
        self.zone.replies.lock().expect("no panic").insert(name.to_owned(), replies.to_vec());
    }

    /// What it says of a name's IPv6 addresses.
    pub(crate) fn says_of_ipv6(&self, name: &str, reply: Reply) {
        self.zone.of_ipv6.lock().expect("no panic").insert(name.to_owned(), reply);
    }

    /// How often it was asked for a name, in both families.
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.zone.asked.lock().expect("no panic").iter().filter(|(asked, _)| asked == name).count()
    }

    /// The same in the case in which they came.
    pub(crate) fn written(&self) -> Vec<String> {
        self.zone.written.lock().expect("no panic").clone()
    }

    /// All names that it was asked for, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.zone.asked.lock().expect("no panic").iter().map(|(asked, _)| asked.clone()).collect()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn serve(mut stream: TcpStream, zone: Arc<Zone>) {
    while let Ok(length) = stream.read_u16().await {
        let mut question = vec![0; length.into()];
        stream.read_exact(&mut question).await.expect("it comes whole");
        if let Some(answer) = zone.answer(&question, true) {
            stream.write_u16(answer.len().try_into().expect("short")).await.expect("it reads");
            stream.write_all(&answer).await.expect("it reads");
        }
    }
}

impl Zone {
    fn answer(&self, question: &[u8], over_tcp: bool) -> Option<Vec<u8>> {
        let (written, end) = read_name(question);
        let name = written.to_ascii_lowercase();
        self.written.lock().expect("no panic").push(written);
        let family = u16::from_be_bytes([question[end], question[end + 1]]);
        let turn = {
            let mut asked = self.asked.lock().expect("no panic");
            asked.push((name.clone(), family));
            asked.iter().filter(|(asked, of)| *asked == name && *of == family).count() - 1
        };
        let of = |name: &str, turn: usize| {
            if let Some(reply) = self.of_ipv6.lock().expect("no panic").get(name).filter(|_| family == AAAA) {
                return Some(reply.clone());
            }
            let replies = self.replies.lock().expect("no panic");
            let replies = replies.get(name)?;
            Some(replies[turn.min(replies.len() - 1)].clone())
        };
        let mut answers = Vec::new();
        let (mut truncated, mut code, mut negative_for) = (false, 0, 60);
        let mut at = name.clone();
        loop {
            match of(&at, turn).unwrap_or(Reply::Missing(60)) {
                Reply::Silent => return None,
                Reply::Fails => code = 2,
                Reply::Missing(seconds) => (code, negative_for) = (3, seconds),
                Reply::Long(_) | Reply::LongSilent if !over_tcp => truncated = true,
                Reply::LongSilent => return None,
                Reply::Long(addresses) => answers.extend(records(&at, &addresses, 60, family)),
                Reply::Addresses(addresses, seconds) => {
                    answers.extend(records(&at, &addresses, seconds, family));
                }
                // As far as servers follow a circle.
                Reply::Alias(..) if answers.len() == 8 => {}
                Reply::Alias(other, seconds) => {
                    answers.push(record(&at, CNAME, seconds, &write_name(other)));
                    other.clone_into(&mut at);
                    continue;
                }
            }
            break;
        }
        let has_soa = code == 3 || (code == 0 && !truncated && answers.is_empty());
        let mut message = question[..2].to_vec();
        // An answer, recursion wanted and available.
        message.extend([0x81 | if truncated { 2 } else { 0 }, 0x80 | code]);
        let counts: [u16; 4] = [1, answers.len() as u16, has_soa.into(), 0];
        message.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
        message.extend(&question[12..end + 4]);
        answers.iter().for_each(|answer| message.extend(answer));
        if has_soa {
            let mut soa = [write_name("ns.test"), write_name("admin.test")].concat();
            soa.extend(
                [1, 3600, 600, 86400, negative_for].iter().flat_map(|number: &u32| number.to_be_bytes()),
            );
            message.extend(record("test", SOA, negative_for, &soa));
        }
        Some(message)
    }
}

fn records(name: &str, addresses: &[IpAddr], seconds: u32, family: u16) -> Vec<Vec<u8>> {
    let of = |address: &IpAddr| match address {
        IpAddr::V4(ip) if family == A => Some(record(name, A, seconds, &ip.octets())),
        IpAddr::V6(ip) if family == AAAA => Some(record(name, AAAA, seconds, &ip.octets())),
        _ => None,
    };
    addresses.iter().filter_map(of).collect()
}

fn record(name: &str, kind: u16, seconds: u32, data: &[u8]) -> Vec<u8> {
    let mut record = write_name(name);
    record.extend(kind.to_be_bytes());
    record.extend(1_u16.to_be_bytes());
    record.extend(seconds.to_be_bytes());
    record.extend((data.len() as u16).to_be_bytes());
    record.extend(data);
    record
}

fn write_name(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    labels.chain([0]).collect()
}

/// The name of a question, and where it ends.
fn read_name(question: &[u8]) -> (String, usize) {
    let (mut at, mut labels) = (12, Vec::new());
    while question[at] != 0 {
        let end = at + 1 + usize::from(question[at]);
        labels.push(String::from_utf8_lossy(&question[at + 1..end]).into_owned());
        at = end;
    }
    (labels.join("."), at + 1)
}
