//! What a disk keeps of issuers: until when it counts, how much it is, and what becomes of fetches where it does not answer.

use std::io;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex};

use rr_contract::seam::DiskFile;

use super::*;

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
    /// How many wait for it, and how many did at once.
    waiting: Mutex<(usize, usize)>,
}

impl Stalled {
    fn stall(&self, stalls: bool) {
        *self.is_stalled.lock().expect("nobody panics") = stalls;
        self.answers.notify_all();
    }

    fn wait(&self) -> &Volatile {
        self.count(|waiting| waiting + 1);
        let stalls = self.is_stalled.lock().expect("nobody panics");
        drop(self.answers.wait_while(stalls, |stalls| *stalls).expect("nobody panics"));
        self.count(|waiting| waiting - 1);
        &self.disk
    }

    fn count(&self, change: impl FnOnce(usize) -> usize) {
        let (waiting, most) = &mut *self.waiting.lock().expect("nobody panics");
        *waiting = change(*waiting);
        *most = (*waiting).max(*most);
    }
}

/// Has a disk answer when it is dropped, so that nothing waits for it when a test fails.
struct LetsGo<'d>(&'d Stalled);

impl Drop for LetsGo<'_> {
    fn drop(&mut self) {
        self.0.stall(false);
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
    let _answers_in_the_end = LetsGo(&disk);
    // What is kept of it is to be removed, and does not go.
    drop(first);
    for n in 1..3 {
        let issuer = following.issuers.get(ORG, &JwksUrl::try_from(&*url(n)).expect("a URL"));
        until(|| issuer.keys().is_some()).await;
    }
    let (_, most) = *disk.waiting.lock().expect("nobody panics");
    assert_eq!(most, 1, "threads that wait for it");
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
        let shelf = Shelf::new(Path::new("/state"), &Secret::new(vec![1; 32]), &SHELF, on(&disk));
        let kept = Kept { content: Zeroizing::new(document.clone().into()), at: SystemTime::now() - age };
        shelf.write(&on_disk(ORG, &url), kept).await;
        let following = follow(&Issuers::default(), &on(&disk), SOON);
        let issuer = following.issuers.get(ORG, &JwksUrl::try_from(&*url).expect("a URL"));
        // It is asked once the disk was.
        let asked = silent.accept().await.expect("a connection");
        assert_eq!(issuer.keys().is_some(), do_count, "{age:?}");
        drop(asked);
        until(|| matches!(issuer.turn().next, Next::At(_))).await;
        assert_eq!(issuer.keys().is_some(), do_count, "{age:?}");
        let never_there = issuer.away(SystemTime::now()).map(|away| away.never_there);
        assert_eq!(never_there, (!do_count).then_some(false), "they were there once");
        following.end().await;
    }
}

#[tokio::test]
async fn keys_of_64_issuers_of_an_organization_are_kept_on_disk_and_no_more() {
    let publisher = Publisher::start(&document(&[Key::ed25519().published("k")])).await;
    for (count, kept) in [(KEPT_MAX, KEPT_MAX), (KEPT_MAX + 1, 0)] {
        let disk = Arc::new(Volatile::default());
        let following = follow(&Issuers::default(), &on(&disk), SOON);
        let other = following.get(OrgId::from_random([4; 16]), &publisher.url()).await;
        let get = |n: usize| JwksUrl::try_from(&*format!("{}/{n}", publisher.url())).expect("a URL");
        let many: Vec<_> = (0..count).map(|n| following.issuers.get(ORG, &get(n))).collect();
        until(|| many.iter().chain([&other]).all(|issuer| issuer.keys().is_some())).await;
        // No fetch has anything to write any more.
        until(|| following.tasks.running() == ["issuers"]).await;
        assert_eq!(files(&disk), kept + 1, "of {count}, and of another organization");
        following.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_kept_of_issuers_that_nobody_names_goes_ten_minutes_after_a_start() {
    let disk = Arc::new(Volatile::default());
    let shelf = Shelf::new(Path::new("/state"), &Secret::new(vec![1; 32]), &SHELF, on(&disk));
    let kept = Kept { content: Zeroizing::new(b"{}".to_vec()), at: SystemTime::UNIX_EPOCH };
    shelf.write(&on_disk(ORG, "https://b.example"), kept).await;
    let following = follow(&Issuers::default(), &on(&disk), SOON);
    sleep(TIDY - LOOK).await;
    assert_eq!(files(&disk), 1, "the configuration may not be there yet");
    sleep(LOOK * 3).await;
    until(|| files(&disk) == 0).await;
    following.end().await;
}

#[tokio::test]
async fn what_nobody_names_is_taken_from_the_disk_and_what_is_there_is_one_organizations() {
    let disk = Arc::new(Volatile::default());
    let shelf = Shelf::new(Path::new("/state"), &Secret::new(vec![1; 32]), &SHELF, on(&disk));
    let (named, other) = ("https://a.example", "https://b.example");
    for url in [named, other] {
        let kept = Kept { content: Zeroizing::new(b"{}".to_vec()), at: SystemTime::UNIX_EPOCH };
        shelf.write(&on_disk(ORG, url), kept).await;
    }
    assert!(shelf.read(&on_disk(ORG, other)).await.is_some());
    shelf.tidy([on_disk(ORG, named)]).await;
    assert!(
        shelf.read(&on_disk(ORG, named)).await.is_some() && shelf.read(&on_disk(ORG, other)).await.is_none()
    );
    assert!(shelf.read(&on_disk(OrgId::from_random([4; 16]), named)).await.is_none());
}
