//! Tokens asked for at a server on loopback, and when they are.

mod asked;
mod kept;
mod turns;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rr_contract::model::id::{CredentialId, OrgId};
use rr_contract::outbound::{AddressGuard, DnsNames, Fetch, Outbound, Resolver};
use rr_contract::runtime::{Shutdown, Tasks};
use rr_contract::seal::Slot;
use rr_contract::seal::means::Grant;
use rr_contract::seam::{Disk, Seams, Volatile};
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::client_credentials::Authentication;
use rr_contract::wire::fleet::token_grant::Flow;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::shelf::Shelf;

use super::*;

const ORG: OrgId = OrgId::from_random([3; 16]);
const SECRET: &str = "client secret/of+the&client=5";
const SOON: Duration = Duration::from_secs(10);

/// A token endpoint; what it says can be changed, and answers can be held back.
pub(crate) struct Endpoint {
    port: u16,
    says: Arc<Mutex<String>>,
    heard: Arc<Mutex<Vec<String>>>,
    gate: Arc<Semaphore>,
    tasks: Tasks,
}

impl Endpoint {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let says = Arc::new(Mutex::new(String::new()));
        let (heard, gate, tasks) = (Arc::default(), Arc::new(Semaphore::new(1_000)), Tasks::new());
        let (answer, hears, opens) = (Arc::clone(&says), Arc::clone(&heard), Arc::clone(&gate));
        tasks.spawn("token endpoint", async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let request = read(&mut stream).await;
                let hears: &Mutex<Vec<String>> = &hears;
                hears.lock().expect("nobody panics").push(request);
                opens.acquire().await.expect("it stays open").forget();
                let answer = answer.lock().expect("nobody panics").clone();
                stream.write_all(answer.as_bytes()).await.ok();
            }
        });
        let endpoint = Self { port, says, heard, gate, tasks };
        endpoint.gives("token-1", 3600);
        endpoint
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/token", self.port)
    }

    pub(crate) fn gives(&self, token: &str, seconds: u64) {
        self.says(
            200,
            &format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{seconds}}}"#),
        );
    }

    pub(crate) fn says(&self, status: u16, body: &str) {
        let length = body.len();
        self.answers(&format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        ));
    }

    fn answers(&self, whole: &str) {
        whole.clone_into(&mut self.says.lock().expect("nobody panics"));
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("nobody panics").clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.heard().len()
    }

    /// Questions are answered again.
    pub(crate) fn opens(&self) {
        self.gate.add_permits(1_000);
    }

    /// No question is answered any more, until so many may be.
    pub(crate) fn holds(&self) {
        self.gate.forget_permits(self.gate.available_permits());
    }

    async fn ends(&self) {
        assert_eq!(self.tasks.running(), ["token endpoint"]);
    }
}

/// One request, head and body.
async fn read(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.unwrap_or(b'\n'));
        assert!(request.len() < 100_000, "a head");
    }
    let head = String::from_utf8(request.clone()).expect("a head");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    let mut body = vec![0; length.parse().expect("a length")];
    stream.read_exact(&mut body).await.expect("a body");
    head + &String::from_utf8(body).expect("text")
}

/// Asks for a node with this disk, until it is ended.
pub(crate) struct Following {
    sources: TokenSources,
    stop: Shutdown,
    tasks: Tasks,
}

fn answerer(disk: &Arc<Volatile>) -> Answerer {
    let seams = Seams { disk: Arc::clone(disk) as Arc<dyn Disk>, ..Seams::real() };
    let guard = AddressGuard::new(vec!["127.0.0.0/8".parse().expect("a network")]);
    let outbound = Outbound::new(guard, Resolver::new(Arc::new(DnsNames::system())), None);
    Answerer {
        fetch: Arc::new(Fetch::new(outbound, Vec::new()).in_plaintext_too()),
        shelf: shelf(disk),
        seams,
    }
}

fn shelf(disk: &Arc<Volatile>) -> Shelf {
    let seams = Seams { disk: Arc::clone(disk) as Arc<dyn Disk>, ..Seams::real() };
    Shelf::new(Path::new("/state"), &Secret::new(vec![1; 32]), &SHELF, seams)
}

impl Following {
    fn with(disk: &Arc<Volatile>) -> Self {
        Self::of(TokenSources::default(), disk)
    }

    pub(crate) fn of(sources: TokenSources, disk: &Arc<Volatile>) -> Self {
        let answerer = answerer(disk);
        let (stop, tasks) = (Shutdown::new(), Tasks::new());
        tasks.spawn("tokens", sources.clone().follow(answerer, tasks.clone(), stop.stop()));
        Self { sources, stop, tasks }
    }

    fn start() -> Self {
        Self::with(&Arc::default())
    }

    /// A source that asks there by client credentials.
    fn source(&self, url: &str) -> Arc<TokenSource> {
        let source = self.sources.source(name(1));
        source.opens(by_grant(url, basic()), Secret::from(SECRET.to_owned()), Slot::bearer());
        source
    }

    async fn end(self) {
        self.stop.begin();
        assert!(self.tasks.wait(SOON).await.is_empty());
    }
}

fn name(version: u64) -> SourceName {
    SourceName { org: ORG, credential: CredentialId::from_random([5; 16]), version, seal: [7; 32] }
}

pub(crate) fn basic() -> Flow {
    let authentication = Some(Authentication::Basic(fleet::Empty {}));
    Flow::ClientCredentials(fleet::ClientCredentials { client_id: "client:1".to_owned(), authentication })
}

fn parameters(pairs: &[(&str, &str)]) -> Vec<fleet::Parameter> {
    let parameter =
        |(name, text): &(&str, &str)| fleet::Parameter { name: (*name).to_owned(), text: (*text).to_owned() };
    pairs.iter().map(parameter).collect()
}

fn by_grant(url: &str, flow: Flow) -> Asked {
    Asked::Grant(grant(url, flow))
}

pub(crate) fn grant(url: &str, flow: Flow) -> Grant {
    let parameters = parameters(&[("scope", "read write"), ("audience", "https://api.example")]);
    let grant = fleet::TokenGrant { url: url.to_owned(), flow: Some(flow), parameters };
    grant.try_into().unwrap_or_else(|error| panic!("{error}"))
}

/// The header that a request would bear.
fn header(source: &TokenSource) -> Option<String> {
    let token = source.token(SystemTime::now())?;
    let [(name, value)] = token.values.headers() else { panic!("one header") };
    assert!(value.is_sensitive());
    Some(format!("{name}: {}", value.to_str().expect("text")))
}

async fn got(source: &TokenSource) -> Option<String> {
    source.wait(SystemTime::now()).await;
    header(source)
}

async fn until(is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(SOON, wait).await.expect("it comes to be so");
}
