//! Name servers that are silent, and who waits for them.

use std::future::pending;
use std::sync::atomic::AtomicU8;

use super::super::names::Lookup;
use super::*;

const NOBODY_LONGER: Duration = Duration::from_secs(20);
const TTL: Duration = Duration::from_secs(30);

/// Answers all names but those that begin with `dead`.
#[derive(Default)]
struct Zones {
    asked: AtomicUsize,
    mood: AtomicU8,
}

const ANSWERS: u8 = 0;
const FAILS: u8 = 1;
const HAS_NONE: u8 = 2;
const IS_SILENT: u8 = 3;

impl Zones {
    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn be(&self, mood: u8) {
        self.mood.store(mood, Ordering::SeqCst);
    }
}

impl Names for Zones {
    fn look_up<'n>(&'n self, name: &'n str) -> Lookup<'n> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            if name.starts_with("dead") {
                pending::<()>().await;
            }
            // Others join meanwhile.
            tokio::task::yield_now().await;
            match self.mood.load(Ordering::SeqCst) {
                FAILS => Err(NameError::Failed("servers are away".into())),
                IS_SILENT => pending().await,
                HAS_NONE => Err(NameError::Missing { good_for: Duration::from_secs(3600) }),
                _ => Ok(Found { addresses: vec![IpAddr::from([127, 0, 0, 1])], good_for: TTL }),
            }
        })
    }
}

fn resolver() -> (Arc<Zones>, Arc<Resolver>) {
    let zones = Arc::<Zones>::default();
    let resolver = Resolver::new(Arc::clone(&zones) as Arc<dyn Names>);
    (zones, resolver)
}

fn org(n: u8) -> OrgId {
    OrgId::from_random([n; 16])
}

/// Asks for it without waiting for the answer.
fn ask(resolver: &Arc<Resolver>, org: OrgId, name: String) -> tokio::task::JoinHandle<Outcome> {
    let resolver = Arc::clone(resolver);
    Tasks::new().spawn("ask", async move { resolver.addresses(org, &name).await })
}

/// Makes all that is known, or asked for, so much older.
fn age(resolver: &Resolver, by: Duration) {
    let mut known = lock(&resolver.known);
    for answer in known.answers.values_mut() {
        answer.good_until -= by;
        answer.refused.iter_mut().for_each(|(_, until)| *until -= by);
    }
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
    let (zones, resolver) = resolver();
    let _waiting: Vec<_> = (0..200).map(|n| ask(&resolver, org(1), format!("dead-{n}.example"))).collect();
    until(|| zones.asked() == BY_ORG).await;
    for n in 0..20 {
        let answer = timeout(NOBODY_LONGER, ask(&resolver, org(2), format!("good-{n}.example"))).await;
        assert_eq!(answer.expect("in time").expect("no panic").expect("an answer").len(), 1);
    }
    // However many it asks for, it has no more look-ups.
    assert_eq!(zones.asked(), BY_ORG + 20);
}

#[tokio::test]
async fn organizations_that_take_all_look_ups_leave_one_to_whoever_has_none() {
    let (zones, resolver) = resolver();
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
    let (_, resolver) = resolver();
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
    let (zones, resolver) = resolver();
    let asking: Vec<_> = (0..50).map(|n| ask(&resolver, org(n), "good.example".to_owned())).collect();
    for asking in asking {
        let answer = timeout(NOBODY_LONGER, asking).await.expect("in time").expect("no panic");
        assert!(answer.is_ok(), "{answer:?}");
    }
    // A dot at its end makes no other name of it.
    assert!(resolver.addresses(org(1), "good.example.").await.is_ok());
    assert_eq!(zones.asked(), 1);
}

#[tokio::test]
async fn a_look_up_goes_on_without_whoever_began_it() {
    let (zones, resolver) = resolver();
    let first = ask(&resolver, org(1), "good.example".to_owned());
    until(|| !lock(&resolver.known).asked.is_empty()).await;
    first.abort();
    until(|| lock(&resolver.known).asked.is_empty()).await;
    assert!(resolver.addresses(org(1), "good.example").await.is_ok());
    assert_eq!(zones.asked(), 1);
}

#[tokio::test]
async fn nobody_waits_for_a_look_up_that_was_given_up() {
    let (zones, resolver) = resolver();
    let first = ask(&resolver, org(1), "dead.example".to_owned());
    until(|| zones.asked() == 1).await;
    age(&resolver, SILENT);
    let late = timeout(NOBODY_LONGER, resolver.addresses(org(2), "dead.example")).await;
    let late = late.expect("it does not wait");
    assert!(matches!(late, Err(LookupError::Silent)), "{late:?}");
    assert_eq!(zones.asked(), 1);
    first.abort();
}

#[tokio::test(start_paused = true)]
async fn a_look_up_of_silent_servers_ends_and_gives_its_place_back() {
    let (_, resolver) = resolver();
    let begun = Instant::now();
    let answer = resolver.addresses(org(1), "dead.example").await;
    assert!(matches!(answer, Err(LookupError::Silent)), "{answer:?}");
    assert_eq!(begun.elapsed().as_secs(), LONGEST.as_secs());
    assert!(lock(&resolver.known).asked.is_empty());
    assert_eq!(resolver.any.available_permits(), IN_ALL);
}

#[tokio::test(start_paused = true)]
async fn servers_that_were_silent_are_not_asked_again_at_once() {
    let (zones, resolver) = resolver();
    for _ in 0..3 {
        assert!(resolver.addresses(org(1), "dead.example").await.is_err());
    }
    assert_eq!(zones.asked(), 1);
    tokio::time::advance(FAILED_FOR).await;
    assert!(resolver.addresses(org(1), "dead.example").await.is_err());
    assert_eq!(zones.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_good_for_as_long_as_its_zone_says_within_bounds() {
    for (said, kept) in [(0, 1), (30, 30), (86_400, 3600)] {
        let name: Arc<str> = "good.example".into();
        let mut known = Known::default();
        let good_for = Duration::from_secs(said).clamp(GOOD_FOR.0, GOOD_FOR.1);
        known.keep(org(1), &name, Arc::new([]), good_for);
        assert_eq!(known.answers[&name].good_until, Instant::now() + Duration::from_secs(kept));
    }
    let (zones, resolver) = resolver();
    assert!(resolver.addresses(org(1), "good.example").await.is_ok());
    tokio::time::advance(TTL - Duration::from_millis(1)).await;
    assert!(resolver.addresses(org(1), "good.example").await.is_ok());
    assert_eq!(zones.asked(), 1);
    tokio::time::advance(Duration::from_millis(2)).await;
    assert!(resolver.addresses(org(1), "good.example").await.is_ok());
    assert_eq!(zones.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn that_a_name_has_no_address_is_kept_for_half_a_minute_at_most() {
    let (zones, resolver) = resolver();
    zones.be(HAS_NONE);
    for _ in 0..3 {
        assert!(resolver.addresses(org(1), "none.example").await.is_err());
    }
    assert_eq!(zones.asked(), 1);
    zones.be(ANSWERS);
    tokio::time::advance(MISSING_FOR.1).await;
    assert!(resolver.addresses(org(1), "none.example").await.is_ok());
}

/// Says the same of every name, for as long as its zone wants.
struct For(Duration, bool, AtomicUsize);

impl Names for For {
    fn look_up<'n>(&'n self, _: &'n str) -> Lookup<'n> {
        let Self(good_for, is_there, asked) = self;
        asked.fetch_add(1, Ordering::SeqCst);
        let good_for = *good_for;
        let found = Found { addresses: vec![IpAddr::from([127, 0, 0, 1])], good_for };
        let answer = if *is_there { Ok(found) } else { Err(NameError::Missing { good_for }) };
        Box::pin(async { answer })
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_a_zone_wants_answers_are_neither_asked_for_all_the_time_nor_kept_for_long() {
    let (shortly, day) = (Duration::from_millis(1), Duration::from_secs(86_400));
    for (said, is_there, kept) in
        [(Duration::ZERO, true, 1), (day, true, 3600), (Duration::ZERO, false, 1), (day, false, 30)]
    {
        let zone = Arc::new(For(said, is_there, AtomicUsize::default()));
        let resolver = Resolver::new(Arc::clone(&zone) as Arc<dyn Names>);
        let ask = async || assert_eq!(resolver.addresses(org(1), "a.example").await.is_ok(), is_there);
        ask().await;
        tokio::time::advance(Duration::from_secs(kept) - shortly).await;
        ask().await;
        assert_eq!(zone.2.load(Ordering::SeqCst), 1, "{said:?} {is_there}");
        tokio::time::advance(2 * shortly).await;
        ask().await;
        assert_eq!(zone.2.load(Ordering::SeqCst), 2, "{said:?} {is_there}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_is_used_for_a_while_when_servers_are_away() {
    let (zones, resolver) = resolver();
    assert!(resolver.addresses(org(1), "good.example").await.is_ok());
    zones.be(FAILS);
    tokio::time::advance(TTL).await;
    for _ in 0..3 {
        assert!(resolver.addresses(org(1), "good.example").await.is_ok());
    }
    // After a failure nobody asks again at once.
    assert_eq!(zones.asked(), 2);
    tokio::time::advance(FAILED_FOR).await;
    assert!(resolver.addresses(org(1), "good.example").await.is_ok());
    assert_eq!(zones.asked(), 3);
    tokio::time::advance(STALE).await;
    assert!(resolver.addresses(org(1), "good.example").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_request_with_an_old_answer_waits_a_second_for_a_new_one() {
    let (zones, resolver) = resolver();
    assert!(resolver.addresses(org(1), "good.example").await.is_ok());
    zones.be(IS_SILENT);
    tokio::time::advance(TTL).await;
    let begun = Instant::now();
    assert!(resolver.addresses(org(1), "good.example").await.is_ok());
    assert_eq!(begun.elapsed().as_secs(), STALE_AFTER.as_secs());
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_is_not_used_when_servers_say_that_the_name_is_gone() {
    let (zones, resolver) = resolver();
    assert!(resolver.addresses(org(1), "good.example").await.is_ok());
    zones.be(HAS_NONE);
    tokio::time::advance(TTL).await;
    assert!(resolver.addresses(org(1), "good.example").await.is_err());
    zones.be(FAILS);
    tokio::time::advance(MISSING_FOR.1).await;
    assert!(resolver.addresses(org(1), "good.example").await.is_err());
}

#[tokio::test]
async fn no_more_answers_are_kept_than_there_is_room_for() {
    let mut known = Known::default();
    for n in 0..KEPT + 10 {
        let good_for = GOOD_FOR.1 + Duration::from_millis(n as u64);
        known.keep(org(1), &format!("{n}.example").into(), Arc::new([]), good_for);
    }
    assert_eq!(known.answers.len(), KEPT);
    assert!(!known.answers.contains_key("9.example") && known.answers.contains_key("10.example"));
}

#[test]
fn of_a_zone_with_thousands_of_addresses_few_of_each_family_are_kept() {
    let v6 = (0..5000_u16).map(|n| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n]));
    let v4 = (0..200).map(|n| IpAddr::from([192, 0, 2, n]));
    let kept = few(v6.chain(v4).collect());
    assert_eq!(kept.len(), 2 * BY_FAMILY);
    assert_eq!(kept.iter().filter(|ip| ip.is_ipv4()).count(), BY_FAMILY);
}

#[tokio::test(start_paused = true)]
async fn an_organization_that_asks_for_many_names_loses_its_own_answers_and_no_others() {
    let mut known = Known::default();
    // Soonest over, and then only better than none.
    known.keep(org(2), &"good.example".into(), Arc::new([]), GOOD_FOR.0);
    tokio::time::advance(GOOD_FOR.0 * 2).await;
    for n in 0..KEPT + 10 {
        known.keep(org(1), &format!("{n}.example").into(), Arc::new([]), GOOD_FOR.1);
        known.refuse(org(1), &format!("none-{n}.example").into(), LookupError::Silent);
    }
    // Nor by asking for it.
    known.keep(org(1), &"good.example".into(), Arc::new([]), GOOD_FOR.0);
    known.keep(org(1), &"more.example".into(), Arc::new([]), GOOD_FOR.1);
    assert_eq!(known.answers.len(), KEPT);
    assert!(known.answers.contains_key("good.example"));
}
