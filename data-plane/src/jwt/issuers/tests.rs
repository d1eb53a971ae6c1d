//! Keys fetched from a server on loopback, kept on disk, and shared by nobody.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Condvar;
use std::sync::atomic::{AtomicUsize, Ordering};

use rr_contract::outbound::{AddressGuard, DnsNames, Outbound, Resolver};
use rr_contract::runtime::Shutdown;
use rr_contract::seam::{Disk, DiskFile, Volatile};
use rr_contract::secret::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

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

    pub(crate) fn breaks(&self) {
        *self.answer.lock().expect("nobody panics") =
            "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n".to_owned();
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

pub(crate) fn follow(issuers: &Issuers, seams: &Seams, lasts: Duration) -> Following {
    let guard = AddressGuard::new(vec!["127.0.0.0/8".parse().expect("a network")]);
    let outbound = Outbound::new(guard, Resolver::new(Arc::new(DnsNames::system())), None);
    let sources = Sources {
        fetch: Fetch::new(outbound, Vec::new()).in_plaintext_too(),
        shelf: Shelf::new(Path::new("/state"), &Secret::new(vec![1; 32]), seams.clone()),
        seams: seams.clone(),
        lasts,
    };
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
        issuer.asked(issuer.counting()).await;
        issuer
    }
}

/// How many issuers somebody names.
pub(crate) fn named(issuers: &Issuers) -> usize {
    issuers.issuers().len()
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
async fn keys_are_fetched_once_for_all_who_need_them_and_are_there_after_a_start_without_their_issuer() {
    let publisher = Publisher::start(&document(&[Key::ed25519().published("k")])).await;
    let disk = Arc::new(Volatile::default());
    let following = follow(&Issuers::default(), &on(&disk), SOON);
    let issuer = following.get(ORG, &publisher.url()).await;
    assert!(issuer.keys().is_some());
    assert!(Arc::ptr_eq(&issuer, &following.get(ORG, &publisher.url()).await));
    assert_eq!(publisher.count(), 1);
    until(|| files(&disk) == 1).await;
    following.end().await;
    publisher.breaks();
    let following = follow(&Issuers::default(), &on(&disk), SOON);
    let issuer = following.get(ORG, &publisher.url()).await;
    assert!(issuer.keys().is_some(), "from the disk");
    assert_eq!(publisher.count(), 2, "and it was asked for newer ones");
    // Another organization has not got them by that.
    let theirs = following.get(OrgId::from_random([4; 16]), &publisher.url()).await;
    assert!(theirs.keys().is_none());
    // Nobody names it any more.
    drop(issuer);
    until(|| files(&disk) == 0).await;
    following.end().await;
}

#[tokio::test]
async fn what_was_changed_on_disk_or_is_of_another_node_is_nothing() {
    let publisher = Publisher::start(&document(&[Key::ed25519().published("k")])).await;
    let disk = Arc::new(Volatile::default());
    let following = follow(&Issuers::default(), &on(&disk), SOON);
    let issuer = following.get(ORG, &publisher.url()).await;
    until(|| files(&disk) == 1).await;
    following.end().await;
    drop(issuer);
    publisher.breaks();
    let file = disk.list(Path::new("/state/issuers")).expect("a folder").remove(0);
    let mut bytes = disk.read(&file).expect("a file");
    *bytes.last_mut().expect("it is not empty") ^= 1;
    disk.replace(&file, &bytes).expect("it writes");
    let following = follow(&Issuers::default(), &on(&disk), SOON);
    assert!(following.get(ORG, &publisher.url()).await.keys().is_none());
    following.end().await;
}

/// A disk that does not answer until it is let go.
#[derive(Default)]
struct Stalled {
    disk: Volatile,
    is_stalled: Mutex<bool>,
    answers: Condvar,
}

impl Stalled {
    fn stall(&self, stalls: bool) {
        *self.is_stalled.lock().expect("nobody panics") = stalls;
        self.answers.notify_all();
    }

    fn wait(&self) -> &Volatile {
        let stalls = self.is_stalled.lock().expect("nobody panics");
        drop(self.answers.wait_while(stalls, |stalls| *stalls).expect("nobody panics"));
        &self.disk
    }
}

impl Disk for Stalled {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.wait().create_dir_all(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.wait().read(path)
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.wait().append(path)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.wait().replace(path, bytes)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.wait().list(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.wait().rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.wait().remove(path)
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        self.wait().truncate(path, length)
    }
}

#[tokio::test]
async fn a_disk_that_does_not_answer_holds_up_no_fetch() {
    let publisher = Publisher::start(&document(&[Key::ed25519().published("k")])).await;
    let disk = Arc::new(Stalled::default());
    let seams = Seams { disk: Arc::clone(&disk) as Arc<dyn Disk>, ..Seams::real() };
    let following = follow(&Issuers::default(), &seams, SOON);
    let url = |n: u8| format!("{}/{n}", publisher.url());
    let first = following.get(ORG, &url(0)).await;
    assert!(first.keys().is_some());
    until(|| files(&disk.disk) == 1).await;
    disk.stall(true);
    // What is kept of it is to be removed, and does not go.
    drop(first);
    for n in 1..3 {
        let issuer = following.issuers.get(ORG, &JwksUrl::try_from(&*url(n)).expect("a URL"));
        until(|| issuer.keys().is_some()).await;
    }
    disk.stall(false);
    until(|| files(&disk.disk) == 0).await;
    following.end().await;
}

#[tokio::test]
async fn keys_on_disk_that_are_too_old_count_at_no_time() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let url = format!("http://{}/keys", silent.local_addr().expect("it is bound"));
    let document = document(&[Key::ed25519().published("k")]);
    for (age, do_count) in [(SOON / 2, true), (SOON * 2, false)] {
        let disk = Arc::new(Volatile::default());
        let shelf = Shelf::new(Path::new("/state"), &Secret::new(vec![1; 32]), on(&disk));
        let kept = Kept { document: document.clone().into(), fetched_at: SystemTime::now() - age };
        shelf.write(ORG, &url, kept).await;
        let following = follow(&Issuers::default(), &on(&disk), SOON);
        let issuer = following.issuers.get(ORG, &JwksUrl::try_from(&*url).expect("a URL"));
        // It is asked once the disk was.
        let asked = silent.accept().await.expect("a connection");
        assert_eq!(issuer.keys().is_some(), do_count, "{age:?}");
        drop(asked);
        until(|| issuer.turn().due.is_some()).await;
        assert_eq!(issuer.keys().is_some(), do_count, "{age:?}");
        let never_there = issuer.away(SystemTime::now()).map(|away| away.never_there);
        assert_eq!(never_there, (!do_count).then_some(false), "they were there once");
        following.end().await;
    }
}

#[tokio::test]
async fn an_answer_that_holds_no_keys_leaves_those_that_are_there() {
    let publisher = Publisher::start(&document(&[Key::ed25519().published("k")])).await;
    let disk = Arc::new(Volatile::default());
    let following = follow(&Issuers::default(), &on(&disk), SOON);
    let issuer = following.get(ORG, &publisher.url()).await;
    let generation = issuer.generation();
    let source = |issuer: &Arc<Issuer>| {
        let guard = AddressGuard::new(vec!["127.0.0.0/8".parse().expect("a network")]);
        let outbound = Outbound::new(guard, Resolver::new(Arc::new(DnsNames::system())), None);
        let seams = on(&disk);
        let shelf = Shelf::new(Path::new("/state"), &Secret::new(vec![1; 32]), seams.clone());
        let fetch = Fetch::new(outbound, Vec::new()).in_plaintext_too();
        (Sources { fetch, shelf, seams, lasts: SOON }, Arc::clone(issuer))
    };
    for bad in ["", "<html>", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#] {
        publisher.says(bad);
        let (sources, issuer) = source(&issuer);
        sources.fetch(&issuer, true).await;
        assert!(issuer.keys().is_some(), "{bad}");
        assert_eq!(issuer.generation(), generation);
    }
    publisher.says(&"x".repeat(DOCUMENT_MAX + 1));
    let (sources, other) = source(&issuer);
    sources.fetch(&other, true).await;
    assert!(issuer.keys().is_some());
    following.end().await;
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
    let (held, _) = issuers.held();
    assert_eq!((many.len(), due(&held).len()), (100, FETCHES_ALL));
    assert!(due(&held).is_empty(), "those are under way");
}

#[tokio::test]
async fn what_nobody_names_is_taken_from_the_disk_and_what_is_there_is_one_organizations() {
    let disk = Arc::new(Volatile::default());
    let shelf = Shelf::new(Path::new("/state"), &Secret::new(vec![1; 32]), on(&disk));
    let (named, other) = ("https://a.example", "https://b.example");
    for url in [named, other] {
        let kept = Kept { document: b"{}".to_vec(), fetched_at: SystemTime::UNIX_EPOCH };
        shelf.write(ORG, url, kept).await;
    }
    assert!(shelf.read(ORG, other).await.is_some());
    shelf.tidy(vec![(ORG, named.into())]).await;
    assert!(shelf.read(ORG, named).await.is_some() && shelf.read(ORG, other).await.is_none());
    assert!(shelf.read(OrgId::from_random([4; 16]), named).await.is_none());
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
    let (held, _) = issuers.held();
    let begun = due(&held);
    assert_eq!(begun.iter().filter(|issuer| issuer.org == ORG).count(), FETCHES_ONE);
    assert!(begun.iter().any(|issuer| Arc::ptr_eq(issuer, &other)));
    assert!(due(&held).is_empty(), "those are under way");
    drop(many);
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
        let (held, _) = issuers.held();
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
