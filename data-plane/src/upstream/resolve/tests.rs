//! Name servers that are silent, and who waits for them.

use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::*;

const NOBODY_LONGER: Duration = Duration::from_secs(20);

/// Answers all names but those that begin with `dead`, for as long as the test holds the other end.
struct Zones {
    asked: AtomicUsize,
    broken: AtomicBool,
    silence: Mutex<Option<Receiver<()>>>,
}

impl Zones {
    fn new() -> (Arc<Self>, SyncSender<()>) {
        let (end, silence) = sync_channel(0);
        let silence = Mutex::new(Some(silence));
        (Arc::new(Self { asked: AtomicUsize::default(), broken: AtomicBool::default(), silence }), end)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Names for Zones {
    fn look_up(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if name.starts_with("dead") {
            // One waits for the end of the test, and the others for the one.
            let silence = lock(&self.silence);
            if let Some(silence) = &*silence {
                silence.recv().unwrap_err();
            }
            return Err(io::ErrorKind::TimedOut.into());
        }
        if self.broken.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(vec![IpAddr::from([127, 0, 0, 1])])
    }
}

fn org(n: u8) -> OrgId {
    OrgId::from_random([n; 16])
}

/// Asks for it without waiting for the answer.
fn ask(resolver: &Arc<Resolver>, org: OrgId, name: String) -> tokio::task::JoinHandle<Outcome> {
    let resolver = Arc::clone(resolver);
    rr_contract::runtime::Tasks::new().spawn("ask", async move { resolver.addresses(org, &name).await })
}

/// Makes all that is known, or asked for, so much older.
fn age(resolver: &Resolver, by: Duration) {
    let mut known = lock(&resolver.known);
    known.answers.values_mut().for_each(|answer| answer.since -= by);
    known.asked.values_mut().for_each(|asked| asked.since -= by);
}

async fn until(mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    timeout(NOBODY_LONGER, wait).await.expect("it comes to that");
}

#[tokio::test]
async fn one_organizations_dead_name_servers_delay_no_other_organization() {
    let (zones, _end) = Zones::new();
    let resolver = Resolver::new(Arc::clone(&zones) as Arc<dyn Names>);
    let _waiting: Vec<_> = (0..200).map(|n| ask(&resolver, org(1), format!("dead-{n}.example"))).collect();
    until(|| zones.asked() == BY_ORG).await;
    for n in 0..20 {
        let answer = timeout(NOBODY_LONGER, ask(&resolver, org(2), format!("good-{n}.example"))).await;
        assert_eq!(answer.expect("in time").expect("no panic").expect("an answer").len(), 1);
    }
    // However many it asks for, it has no more threads.
    assert_eq!(zones.asked(), BY_ORG + 20);
}

#[tokio::test]
async fn organizations_that_take_all_threads_leave_one_to_whoever_has_none() {
    let (zones, _end) = Zones::new();
    let resolver = Resolver::new(Arc::clone(&zones) as Arc<dyn Names>);
    let greedy = IN_ALL / BY_ORG + 2;
    let _waiting: Vec<_> = (0..greedy * BY_ORG)
        .map(|n| ask(&resolver, org((n % greedy) as u8), format!("dead-{n}.example")))
        .collect();
    until(|| zones.asked() >= IN_ALL).await;
    let answer = timeout(NOBODY_LONGER, ask(&resolver, org(200), "good.example".to_owned())).await;
    assert!(answer.expect("in time").expect("no panic").is_ok());
    assert!(zones.asked() <= IN_ALL + FOR_FIRST);
}

#[tokio::test]
async fn too_many_that_wait_for_one_organizations_look_ups_are_refused_at_once() {
    let (zones, _end) = Zones::new();
    let resolver = Resolver::new(Arc::clone(&zones) as Arc<dyn Names>);
    let all = BY_ORG + WAITING_BY_ORG;
    let waiting: Vec<_> = (0..all).map(|n| ask(&resolver, org(1), format!("dead-{n}.example"))).collect();
    let share = resolver.share(org(1));
    until(|| share.waiting.load(Ordering::Relaxed) == WAITING_BY_ORG).await;
    let one_more = timeout(NOBODY_LONGER, ask(&resolver, org(1), "one-more.example".to_owned())).await;
    assert!(matches!(one_more.expect("in time").expect("no panic"), Err(LookupError::Crowded)));
    for waiting in &waiting {
        waiting.abort();
    }
    until(|| share.waiting.load(Ordering::Relaxed) == 0).await;
}

#[tokio::test]
async fn those_who_ask_for_one_name_share_one_look_up_and_its_answer() {
    let (zones, end) = Zones::new();
    let resolver = Resolver::new(Arc::clone(&zones) as Arc<dyn Names>);
    let asking: Vec<_> = (0..50).map(|n| ask(&resolver, org(n), "dead.example".to_owned())).collect();
    until(|| resolver.known.lock().expect("no panic").asked.len() == 1 && zones.asked() == 1).await;
    drop(end);
    for asking in asking {
        let answer = timeout(NOBODY_LONGER, asking).await.expect("in time").expect("no panic");
        assert!(matches!(answer, Err(LookupError::Failed(_))), "{answer:?}");
    }
    for _ in 0..3 {
        assert!(resolver.addresses(org(1), "good.example").await.is_ok());
    }
    assert_eq!(zones.asked(), 2);
}

#[tokio::test]
async fn nobody_waits_for_a_look_up_that_was_given_up() {
    let (zones, _end) = Zones::new();
    let resolver = Resolver::new(Arc::clone(&zones) as Arc<dyn Names>);
    let first = ask(&resolver, org(1), "dead.example".to_owned());
    until(|| zones.asked() == 1).await;
    age(&resolver, SILENT);
    let late = timeout(NOBODY_LONGER, resolver.addresses(org(2), "dead.example")).await;
    let late = late.expect("it does not wait");
    assert!(matches!(late, Err(LookupError::Silent)), "{late:?}");
    assert_eq!(zones.asked(), 1);
    first.abort();
}

#[tokio::test]
async fn an_old_answer_is_used_for_a_while_when_there_is_no_new_one() {
    let (zones, _end) = Zones::new();
    let resolver = Resolver::new(Arc::clone(&zones) as Arc<dyn Names>);
    assert!(resolver.addresses(org(1), "good.example").await.is_ok());
    zones.broken.store(true, Ordering::SeqCst);
    age(&resolver, FRESH);
    assert!(resolver.addresses(org(1), "good.example").await.is_ok());
    until(|| zones.asked() == 2 && lock(&resolver.known).asked.is_empty()).await;
    age(&resolver, STALE);
    assert!(resolver.addresses(org(1), "good.example").await.is_err());
}

#[tokio::test]
async fn no_more_answers_are_kept_than_there_is_room_for() {
    let mut known = Known::default();
    let since = Instant::now();
    for n in 0..KEPT + 10 {
        let since = since + Duration::from_micros(n as u64);
        known.keep(&format!("{n}.example").into(), Answer { addresses: Arc::new([]), since });
    }
    assert_eq!(known.answers.len(), KEPT);
    assert!(!known.answers.contains_key("9.example") && known.answers.contains_key("10.example"));
}
