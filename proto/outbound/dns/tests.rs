//! The resolver against a real name server on loopback.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::name_server::{NameServer, Reply};
use super::*;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7));

async fn server() -> (NameServer, DnsNames) {
    let server = NameServer::start().await;
    let names = DnsNames::asking(vec![server.address()]);
    (server, names)
}

fn missing(answer: Result<Found, NameError>) -> Duration {
    match answer {
        Err(NameError::Missing { good_for }) => good_for,
        other => panic!("it has no address: {other:?}"),
    }
}

#[tokio::test]
async fn both_families_are_asked_for_at_once_and_the_shorter_time_counts() {
    let (server, names) = server().await;
    server.says("both.test", &[Reply::Addresses(vec![V4, V6], 300)]);
    let found = names.look_up("both.test").await.expect("addresses");
    assert_eq!((found.addresses, found.good_for), (vec![V6, V4], Duration::from_secs(300)));
    assert_eq!(server.names(), ["both.test", "both.test"]);
    server.says("four.test", &[Reply::Addresses(vec![V4], 7)]);
    let found = names.look_up("four.test").await.expect("addresses");
    assert_eq!((found.addresses, found.good_for), (vec![V4], Duration::from_secs(7)));
}

#[tokio::test]
async fn letters_of_a_name_go_out_in_random_case() {
    let (server, names) = server().await;
    let name = "a-name-of-so-many-letters-that-they-are-not-all-small.test";
    server.says(name, &[Reply::Addresses(vec![V4, V6], 60)]);
    assert_eq!(names.look_up(name).await.expect("addresses").addresses, [V6, V4]);
    let written = server.written();
    assert!(
        written.iter().all(|written| written != name && written.eq_ignore_ascii_case(name)),
        "{written:?}"
    );
}

#[tokio::test]
async fn no_answer_is_kept_here() {
    let (server, names) = server().await;
    server.says("moves.test", &[Reply::Addresses(vec![V4], 300), Reply::Addresses(vec![V6], 300)]);
    assert_eq!(names.look_up("moves.test").await.expect("addresses").addresses, [V4]);
    // Nor of the family that had none.
    assert_eq!(names.look_up("moves.test").await.expect("addresses").addresses, [V6]);
}

#[tokio::test]
async fn an_alias_is_followed_and_its_time_counts() {
    let (server, names) = server().await;
    server.says("alias.test", &[Reply::Alias("other.test", 5)]);
    server.says("other.test", &[Reply::Alias("last.test", 600)]);
    server.says("last.test", &[Reply::Addresses(vec![V4], 300)]);
    let found = names.look_up("alias.test").await.expect("addresses");
    assert_eq!((found.addresses, found.good_for), (vec![V4], Duration::from_secs(5)));
}

#[tokio::test]
async fn aliases_that_lead_nowhere_or_in_a_circle_are_no_address() {
    let (server, names) = server().await;
    server.says("nowhere.test", &[Reply::Alias("gone.test", 5)]);
    server.says("one.test", &[Reply::Alias("two.test", 5)]);
    server.says("two.test", &[Reply::Alias("one.test", 5)]);
    for name in ["nowhere.test", "one.test"] {
        let answer = names.look_up(name).await;
        assert!(answer.is_err(), "{name}: {answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_silent_is_given_up() {
    let (server, names) = server().await;
    server.says("silent.test", &[Reply::Silent]);
    let answer = names.look_up("silent.test").await;
    assert!(matches!(answer, Err(NameError::Failed(_))), "{answer:?}");
    assert!(server.asked("silent.test") > 2, "it was asked again");
}

#[tokio::test]
async fn a_name_that_is_not_there_is_told_from_a_server_that_fails() {
    let (server, names) = server().await;
    server.says("missing.test", &[Reply::Missing(9)]);
    assert_eq!(missing(names.look_up("missing.test").await), Duration::from_secs(9));
    server.says("empty.test", &[Reply::Addresses(Vec::new(), 60)]);
    assert_eq!(missing(names.look_up("empty.test").await), Duration::from_secs(60));
    server.says("broken.test", &[Reply::Fails]);
    let broken = names.look_up("broken.test").await;
    assert!(matches!(broken, Err(NameError::Failed(_))), "{broken:?}");
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_fetched_whole_over_tcp() {
    let (server, names) = server().await;
    let many: Vec<IpAddr> = (0..60).map(|n| IpAddr::from([192, 0, 2, n])).collect();
    server.says("long.test", &[Reply::Long(many.clone())]);
    let mut found = names.look_up("long.test").await.expect("addresses").addresses;
    found.sort();
    assert_eq!(found, many);
}

#[tokio::test]
async fn those_who_wait_for_a_silent_server_over_tcp_leave_room_on_the_connection() {
    const SILENT: usize = 60;
    let (server, names) = server().await;
    let (names, tasks) = (Arc::new(names), Tasks::new());
    server.says("long.test", &[Reply::Long(vec![V4, V6])]);
    // This one leaves a connection for all who come later.
    assert!(names.look_up("long.test").await.is_ok());
    for n in 0..SILENT {
        let (name, names) = (format!("silent-{n}.test"), Arc::clone(&names));
        server.says(&name, &[Reply::LongSilent]);
        tasks.spawn("lookup", async move { names.look_up(&name).await });
    }
    let answered = timeout(Duration::from_secs(20), async {
        // Of each name both families, over UDP and then over TCP.
        while server.names().len() < 4 * SILENT {
            tokio::task::yield_now().await;
        }
        names.look_up("long.test").await
    });
    assert_eq!(answered.await.expect("it is asked in time").expect("addresses").addresses, [V6, V4]);
    tasks.abort();
}

#[tokio::test]
async fn a_name_goes_out_whole_and_an_underscore_in_it() {
    let (server, names) = server().await;
    for name in ["single", "under_score.test", "xn--bcher-kva.test"] {
        server.says(name, &[Reply::Addresses(vec![V4], 60)]);
        assert!(names.look_up(name).await.is_ok(), "{name}");
    }
    server.says("nothing", &[Reply::Missing(1)]);
    missing(names.look_up("nothing").await);
    let expected = ["single", "single", "under_score.test", "under_score.test"];
    assert_eq!(server.names()[..4], expected);
    assert!(server.names().iter().all(|name| !name.starts_with("nothing.")), "{:?}", server.names());
}

#[tokio::test]
async fn a_name_in_the_file_of_hosts_is_asked_for_of_neither_family() {
    let server = NameServer::start().await;
    server.says("here.test", &[Reply::Addresses(vec![V6], 60)]);
    let names = DnsNames::asking(vec![server.address()]);
    let mut loaded = (*names.loaded().await.expect("loaded")).clone();
    let mut hosts = Hosts::default();
    hosts.read_hosts_conf("192.0.2.7 Here.test alias\n".as_bytes()).expect("a file");
    loaded.hosts = Arc::new(hosts);
    names.0.loaded.send_replace(Some(Arc::new(loaded)));
    assert_eq!(names.look_up("here.test").await.expect("addresses").addresses, [V4]);
    assert_eq!(server.asked("here.test"), 0);
}

#[test]
fn files_that_change_are_read_again_and_others_are_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let [resolv_conf, hosts] = ["resolv.conf", "hosts"].map(|name| folder.path().join(name));
    let names = DnsNames::of(Place::Files { resolv_conf: resolv_conf.clone(), hosts: hosts.clone() });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _entered = runtime.enter();
    let has = |loaded: &Loaded, name: &str| in_hosts(&loaded.hosts, &name.parse().expect("a name")).is_some();
    // Neither is there: a server on this machine is asked.
    let first = names.0.load(None);
    assert!(first.resolver.is_some() && !has(&first, "one.test."));
    fs::write(&hosts, "192.0.2.7 one.test\n").expect("it is ours");
    let second = names.0.load(Some(&first));
    assert!(has(&second, "one.test."));
    let third = names.0.load(Some(&second));
    assert!(Arc::ptr_eq(&second.hosts, &third.hosts));
    fs::write(&resolv_conf, "nameserver 192.0.2.53\nsearch example.com\noptions timeout:1 attempts:1\n")
        .expect("it is ours");
    let fourth = names.0.load(Some(&third));
    let options = |loaded: &Loaded| {
        let resolver = loaded.resolver.as_ref().expect("a resolver");
        (resolver.options().timeout, resolver.options().attempts)
    };
    assert_ne!(fourth.stamps, third.stamps);
    assert_eq!(options(&fourth), (Duration::from_secs(1), 0));
    // A file that cannot be read changes nothing.
    fs::remove_file(&resolv_conf).expect("it is there");
    fs::create_dir(&resolv_conf).expect("it is ours");
    let fifth = names.0.load(Some(&fourth));
    assert_eq!(options(&fifth), (Duration::from_secs(1), 0));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_silent_of_one_family_holds_the_other_up_for_half_a_second() {
    let begun = Instant::now();
    let found = Half::Found(Found { addresses: vec![V4], good_for: Duration::from_secs(600) });
    let other = found.awaits(std::future::pending()).await;
    assert!(matches!(other, Half::Failed(_)) && begun.elapsed() == FAMILY_PATIENCE);
}

#[tokio::test]
async fn half_an_answer_is_good_for_a_short_time() {
    let (server, names) = server().await;
    server.says("half.test", &[Reply::Addresses(vec![V4], 600)]);
    server.says_of_ipv6("half.test", Reply::Fails);
    let found = names.look_up("half.test").await.expect("addresses");
    assert_eq!((found.addresses, found.good_for), (vec![V4], HALF_FOR));
}

#[tokio::test]
async fn one_resolver_serves_threads_that_have_runtimes_of_their_own() {
    let (server, names) = server().await;
    server.says("both.test", &[Reply::Addresses(vec![V4, V6], 300)]);
    let names = Arc::new(names);
    // The first ends before the second begins, and with it whatever the resolver had started there.
    for _ in 0..2 {
        let (names, (tell, told)) = (Arc::clone(&names), tokio::sync::oneshot::channel());
        let thread = std::thread::Builder::new().spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build_local(tokio::runtime::LocalOptions::default())
                .expect("a runtime");
            let found = runtime.block_on(async {
                let tasks = Tasks::new();
                let asked = tasks.spawn("lookup", async move { names.look_up("both.test").await });
                asked.await.expect("no panic").expect("addresses")
            });
            tell.send(found.addresses).expect("the test waits");
        });
        assert_eq!(told.await.expect("an answer"), [V6, V4]);
        thread.expect("a thread").join().expect("no panic");
    }
}
