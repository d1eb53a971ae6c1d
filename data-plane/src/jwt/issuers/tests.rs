//! Keys fetched from a server on loopback, each organization's by itself.

mod disk;

use std::path::Path;
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rr_contract::outbound::{AddressGuard, DnsNames, Outbound, Resolver};
use rr_contract::runtime::Shutdown;
use rr_contract::seam::{Disk, Volatile};
use rr_contract::secret::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::fetches::{FETCHES_ALL, FETCHES_ONE, Fetched as _, Next};
use crate::jwt::mint::{Key, document};

use super::*;

const ORG: OrgId = OrgId::from_random([3; 16]);
const SOON: Duration = Duration::from_secs(10);

/// A server that publishes a document; what it sends can be changed.
pub(crate) struct Publisher {
    port: u16,
    answer: Arc<Mutex<String>>,
    count: Arc<AtomicUsize>,
    _tasks: Tasks,
}

impl Publisher {
    pub(crate) async fn start(document: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (answer, count) = (Arc::new(Mutex::new(ok(document))), Arc::new(AtomicUsize::new(0)));
        let (says, counts, tasks) = (Arc::clone(&answer), Arc::clone(&count), Tasks::new());
        tasks.spawn("publisher", async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap_or(b'\n'));
                }
                counts.fetch_add(1, Ordering::SeqCst);
                let answer = says.lock().expect("nobody panics").clone();
                stream.write_all(answer.as_bytes()).await.ok();
            }
        });
        Self { port, answer, count, _tasks: tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/keys", self.port)
    }

    pub(crate) fn says(&self, document: &str) {
        *self.answer.lock().expect("nobody panics") = ok(document);
    }

    /// Says this, head and body.
    fn answers(&self, whole: &str) {
        whole.clone_into(&mut self.answer.lock().expect("nobody panics"));
    }

    pub(crate) fn breaks(&self) {
        self.answers("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n");
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

fn ok(document: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{document}", document.len())
}

/// Fetches for a node with this disk, until it is dropped.
pub(crate) struct Following {
    pub(crate) issuers: Issuers,
    pub(crate) stop: Shutdown,
    tasks: Tasks,
}

fn sources(seams: Seams) -> Sources {
    let guard = AddressGuard::new(vec!["127.0.0.0/8".parse().expect("a network")]);
    let outbound = Outbound::new(guard, Resolver::new(Arc::new(DnsNames::system())), None);
    Sources {
        fetch: Arc::new(Fetch::new(outbound, Vec::new()).in_plaintext_too()),
        shelf: Shelf::new(Path::new("/state"), &Secret::new(vec![1; 32]), &SHELF, seams.clone()),
        seams,
        lasts: SOON,
    }
}

pub(crate) fn follow(issuers: &Issuers, seams: &Seams, lasts: Duration) -> Following {
    let sources = Sources { lasts, ..sources(seams.clone()) };
    let (stop, tasks) = (Shutdown::new(), Tasks::new());
    tasks.spawn("issuers", issuers.clone().follow(sources, tasks.clone(), stop.stop()));
    Following { issuers: issuers.clone(), stop, tasks }
}

impl Following {
    async fn end(self) {
        self.stop.begin();
        assert!(self.tasks.wait(SOON).await.is_empty());
    }

    async fn get(&self, org: OrgId, url: &str) -> Arc<Issuer> {
        let issuer = self.issuers.get(org, &JwksUrl::try_from(url).expect("a URL"));
        issuer.asked(0).await;
        issuer
    }
}

/// How many issuers somebody names.
pub(crate) fn named(issuers: &Issuers) -> usize {
    issuers.issuers().len()
}

/// Has an issuer publish this from now on, as if it had been fetched.
pub(crate) fn publishes(issuers: &Issuers, org: OrgId, url: &str, document: &str) {
    let issuer = issuers.get(org, &JwksUrl::try_from(url).expect("a URL"));
    let keys = keys_of(document.as_bytes()).expect("keys");
    issuer.take(keys, *blake3::hash(document.as_bytes()).as_bytes(), SystemTime::now());
    issuer.succeeded(SystemTime::now(), None, 1.0);
}

/// Has an issuer away for longer than its keys count.
pub(crate) fn goes_stale(issuers: &Issuers, org: OrgId, url: &str) {
    let issuer = issuers.get(org, &JwksUrl::try_from(url).expect("a URL"));
    issuer.failed(SystemTime::now() + 2 * SOON, SOON);
}

fn on(disk: &Arc<Volatile>) -> Seams {
    Seams { disk: Arc::clone(disk) as Arc<dyn Disk>, ..Seams::real() }
}

fn files(disk: &Volatile) -> usize {
    disk.list(Path::new("/state/issuers")).map_or(0, |files| files.len())
}

async fn until(what: impl Fn() -> bool) {
    timeout(SOON, async {
        while !what() {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("it comes to be");
}

#[tokio::test]
async fn an_answer_that_holds_no_keys_leaves_those_that_are_there() {
    let publisher = Publisher::start(&document(&[Key::ed25519().published("k")])).await;
    let disk = Arc::new(Volatile::default());
    let following = follow(&Issuers::default(), &on(&disk), SOON);
    let issuer = following.get(ORG, &publisher.url()).await;
    let generation = issuer.generation();
    let sources = sources(on(&disk));
    for bad in ["", "<html>", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#] {
        publisher.says(bad);
        sources.fetch(&issuer, true).await;
        assert!(issuer.keys().is_some(), "{bad}");
        assert_eq!(issuer.generation(), generation);
    }
    // Keys that an answer of another kind has are none.
    let other = ok(&document(&[Key::ed25519().published("k")]));
    for status in ["203 Altered", "404 Gone", "500 No"] {
        publisher.answers(&other.replace("200 OK", status));
        assert!(matches!(sources.ask(&issuer).await, Err(NoKeys::Status(_))), "{status}");
    }
    publisher.answers(&other.replace("200 OK", "302 Found\r\nlocation: http://127.0.0.1:1/"));
    assert!(matches!(sources.ask(&issuer).await, Err(NoKeys::Fetch(FetchError::Redirected { .. }))));
    // Nothing of what is too long is waited for.
    publisher.answers(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", DOCUMENT_MAX + 1));
    assert!(matches!(sources.ask(&issuer).await, Err(NoKeys::Fetch(FetchError::TooLong { .. }))));
    let pieces = format!("40000\r\n{}\r\n1\r\n \r\n", " ".repeat(DOCUMENT_MAX));
    publisher.answers(&format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{pieces}"));
    assert!(matches!(sources.ask(&issuer).await, Err(NoKeys::Fetch(FetchError::TooLong { .. }))));
    following.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_says_nothing_is_given_up() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let url = format!("http://{}/keys", silent.local_addr().expect("it is bound"));
    let issuer = Issuers::default().get(ORG, &JwksUrl::try_from(&*url).expect("a URL"));
    let began = Instant::now();
    assert!(sources(on(&Arc::default())).ask(&issuer).await.is_err());
    assert!(began.elapsed() <= BOUNDS.time + Duration::from_millis(10), "{:?}", began.elapsed());
}

#[test]
fn the_time_that_an_answer_holds_is_read_where_it_is_said() {
    let said = |value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(value));
        holds_for(&headers).map(|time| time.as_secs())
    };
    assert_eq!(said("public, max-age=600, must-revalidate"), Some(600));
    for nothing in ["no-store", "max-age=", "max-age=-1", "max-age=99999999999999999999", "s-maxage=5"] {
        assert_eq!(said(nothing), None, "{nothing}");
    }
    assert_eq!(holds_for(&HeaderMap::new()), None);
}

#[tokio::test]
async fn so_many_fetches_are_under_way_at_once_and_no_more() {
    let issuers = Issuers::default();
    let url = JwksUrl::try_from("https://i.example").expect("a URL");
    let many: Vec<Arc<Issuer>> = (0..100).map(|n| issuers.get(OrgId::from_random([n; 16]), &url)).collect();
    let (held, _) = issuers.0.by.held();
    assert_eq!((many.len(), due(&held).len()), (100, FETCHES_ALL));
    assert!(due(&held).is_empty(), "those are under way");
}

#[tokio::test]
async fn the_issuers_that_went_away_first_are_told_and_no_more_than_some() {
    let issuers = Issuers::default();
    let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let url = |n: u64| JwksUrl::try_from(&*format!("https://i.example/{n}")).expect("a URL");
    let many: Vec<Arc<Issuer>> = (0..30).map(|n| issuers.get(ORG, &url(n))).collect();
    assert!(issuers.away(at(0)).is_empty() && issuers.away_count() == 0);
    for (n, issuer) in (0..).zip(&many) {
        while issuer.failed(at(100 - n), SOON).is_none() {}
    }
    // Of those that are back there is news, but it can wait.
    many[29].succeeded(at(101), None, 0.0);
    let told: Vec<String> = issuers.away(at(102)).iter().map(|(_, url, _)| url.as_str().to_owned()).collect();
    let wanted: Vec<String> = (9..29).rev().map(|n| url(n).as_str().to_owned()).collect();
    assert_eq!(told, wanted);
    assert_eq!(issuers.away_count(), 29);
    // Another organization's is told however many there are.
    let other = issuers.get(OrgId::from_random([4; 16]), &url(0));
    while other.failed(at(200), SOON).is_none() {}
    let told = issuers.away(at(201));
    assert_eq!((told.len(), told.iter().filter(|(org, ..)| *org == other.org).count()), (TOLD_MAX, 1));
    drop((many, other));
    assert_eq!(issuers.away_count(), 0, "nobody names them any more");
}

#[tokio::test]
async fn one_organizations_issuers_take_no_fetch_of_anothers() {
    let issuers = Issuers::default();
    let url = |n: usize| JwksUrl::try_from(&*format!("https://i.example/{n}")).expect("a URL");
    let many: Vec<Arc<Issuer>> = (0..200).map(|n| issuers.get(ORG, &url(n))).collect();
    let other = issuers.get(OrgId::from_random([4; 16]), &url(0));
    let (held, _) = issuers.0.by.held();
    let begun = due(&held);
    assert_eq!(begun.iter().filter(|issuer| issuer.org == ORG).count(), FETCHES_ONE);
    assert!(begun.iter().any(|issuer| Arc::ptr_eq(issuer, &other)));
    assert!(due(&held).is_empty(), "those are under way");
    drop(many);
}

#[tokio::test]
async fn of_an_organization_those_come_first_for_which_a_request_waits() {
    let issuers = Issuers::default();
    let url = |n: usize| JwksUrl::try_from(&*format!("https://i.example/{n}")).expect("a URL");
    let many: Vec<Arc<Issuer>> = (0..50).map(|n| issuers.get(ORG, &url(n))).collect();
    let last = many.last().expect("many");
    let mut asked = pin!(last.asked(0));
    assert!(futures_util::poll!(asked.as_mut()).is_pending());
    let (held, _) = issuers.0.by.held();
    assert!(Arc::ptr_eq(&due(&held)[0], last));
}

#[tokio::test(start_paused = true)]
async fn an_issuer_has_its_turn_however_many_others_are_due_all_the_time() {
    let issuers = Issuers::default();
    let get = |org: u8, n: usize| {
        let url = JwksUrl::try_from(&*format!("https://i.example/{n}")).expect("a URL");
        issuers.get(OrgId::from_random([org; 16]), &url)
    };
    // More organizations than fetches, each with more issuers than it has turns.
    let many: Vec<_> = (0..100).flat_map(|org| (0..60).map(move |n| (org, n))).collect();
    let many: Vec<_> = many.into_iter().map(|(org, n)| get(org, n)).collect();
    let few = [get(200, 0), get(200, 1), get(200, 2), get(201, 0)];
    let mut rounds_of = [0; 4];
    for _ in 0..60 {
        let (held, _) = issuers.0.by.held();
        let begun = due(&held);
        for (rounds, issuer) in rounds_of.iter_mut().zip(&few) {
            *rounds += usize::from(begun.iter().any(|begun| Arc::ptr_eq(begun, issuer)));
        }
        tokio::time::advance(BOUNDS.time).await;
        // Nobody answers.
        for issuer in begun {
            issuer.failed(SystemTime::UNIX_EPOCH, SOON);
        }
    }
    assert!(rounds_of.iter().all(|rounds| *rounds > 1), "{rounds_of:?}");
    drop(many);
}
