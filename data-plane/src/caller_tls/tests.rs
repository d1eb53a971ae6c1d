//! Files of certificates: what is refused, what is taken, and what a change of them does.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use rcgen::date_time_ymd;
use rr_contract::runtime::chain;

use crate::fixture::certificates::{Certificates, put, tls};
use crate::fixture::log_of;

use super::*;

fn refusal(pair: &Pair) -> String {
    chain(&tls(&[pair]).check(&Seams::real()).expect_err("it is refused")).to_string()
}

#[test]
fn a_pair_that_cannot_be_served_is_refused_with_its_file_and_the_remedy() {
    let files = Certificates::new();
    let good = files.write("good", &["edge.example"]);
    tls(&[&good]).check(&Seams::real()).expect("it is good");
    let other = files.write("other", &["edge.example"]);
    let crossed = Pair { certificate: good.certificate.clone(), key: other.key };
    let error = refusal(&crossed);
    assert!(
        error.contains("good.crt") && error.contains("other.key") && error.contains("issued for"),
        "{error}"
    );

    let old = files.write_with("old", &["edge.example"], |params| {
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    });
    let error = refusal(&old);
    assert!(error.contains("old.crt") && error.contains("2021") && error.contains("renew"), "{error}");
    let early = files.write_with("early", &["edge.example"], |params| {
        (params.not_before, params.not_after) = (date_time_ymd(3000, 1, 1), date_time_ymd(3001, 1, 1));
    });
    assert!(refusal(&early).contains("clock"));

    let missing = files.pair("missing");
    assert!(
        refusal(&missing).contains("read --tls-certificate") && refusal(&missing).contains("missing.crt")
    );
    for content in [&b""[..], b"nonsense", &fs::read(&good.key).expect("it is there")] {
        let empty = Pair { certificate: files.folder().join("empty.crt"), key: good.key.clone() };
        put(&empty.certificate, content, 0o644);
        let error = refusal(&empty);
        assert!(error.contains("empty.crt holds no certificate in PEM form"), "{error}");
        let empty = Pair { certificate: good.certificate.clone(), key: files.folder().join("empty.key") };
        put(&empty.key, if content.len() > 100 { b"" } else { content }, 0o600);
        let error = refusal(&empty);
        assert!(error.contains("empty.key holds no private key in PEM form"), "{error}");
    }
    let odd = files.pair("odd");
    put(&odd.certificate, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 0o644);
    put(&odd.key, &fs::read(&good.key).expect("it is there"), 0o600);
    assert!(refusal(&odd).contains("odd.crt holds no X.509"));
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let files = Certificates::new();
    for mode in [0o640, 0o604] {
        let pair = files.write("open", &["edge.example"]);
        fs::set_permissions(&pair.key, fs::Permissions::from_mode(mode)).expect("it is ours");
        let error = refusal(&pair);
        assert!(error.contains("open.key") && error.contains("chmod 600"), "{error}");
    }
}

#[test]
fn a_wildcard_stands_for_one_label_and_a_name_of_its_own_goes_before_it() {
    let files = Certificates::new();
    let pairs = [
        files.write("first", &["first.example"]),
        files.write("wild", &["*.Example.com"]),
        files.write("own", &["own.example.com", "example.com"]),
    ];
    let loaded = load(&tls(&[&pairs[0], &pairs[1], &pairs[2]]), &Seams::real()).expect("they are good");
    let loaded: Vec<_> = loaded.into_iter().map(|(_, loaded)| loaded).collect();
    let resolver = ByName::new(&loaded);
    let of = |at: usize| loaded[at].key.cert[0].to_vec();
    for (name, at) in [
        (None, 0),
        (Some("first.example"), 0),
        (Some("elsewhere.org"), 0),
        (Some("com"), 0),
        (Some("a.example.com"), 1),
        (Some("A.EXAMPLE.COM"), 1),
        (Some("a.b.example.com"), 0),
        (Some("own.example.com"), 2),
        (Some("Example.com"), 2),
    ] {
        assert_eq!(resolver.of(name)[0].cert[0].to_vec(), of(at), "{name:?}");
    }
}

/// Follows the files, and says what is served.
struct Follows {
    watch: Watch,
    reader: crate::current::Reader<ServerTls>,
    board: CertificateBoard,
}

impl Follows {
    fn start(pairs: &[&Pair]) -> Self {
        let board = CertificateBoard::default();
        let (mut readers, watch) = tls(pairs).start(1, &Seams::real(), board.clone()).expect("they are good");
        Self { watch, reader: readers.remove(0).start(), board }
    }

    async fn look(&mut self) {
        self.watch.look().await;
    }

    /// As often as it takes until what is in the files counts.
    async fn look_twice(&mut self) {
        self.look().await;
        self.look().await;
    }

    /// Whether something else is served than before.
    fn is_other(&self, before: &Arc<ServerConfig>) -> bool {
        !Arc::ptr_eq(&self.reader.view().config(false), before)
    }

    fn served(&self) -> Arc<ServerConfig> {
        self.reader.view().config(false)
    }
}

fn rt() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
fn a_new_pair_is_served_once_two_looks_in_turn_have_found_it() {
    let files = Certificates::new();
    let pair = files.write("edge", &["edge.example"]);
    let mut follows = Follows::start(&[&pair]);
    let before = follows.served();
    rt().block_on(follows.look_twice());
    assert!(!follows.is_other(&before), "nothing has changed");
    for _ in 0..3 {
        files.write("edge", &["edge.example"]);
        rt().block_on(follows.look());
        assert!(!follows.is_other(&before), "it may be half written");
    }
    rt().block_on(follows.look());
    assert!(follows.is_other(&before));
    assert_eq!(follows.board.read()[0].refused_since, None);
}

#[test]
fn looks_with_another_one_between_are_not_in_turn() {
    let files = Certificates::new();
    let pair = files.write("edge", &["edge.example"]);
    let first = [&pair.certificate, &pair.key].map(|path| fs::read(path).expect("it is there"));
    let mut follows = Follows::start(&[&pair]);
    let before = follows.served();
    files.write("edge", &["edge.example"]);
    let second = [&pair.certificate, &pair.key].map(|path| fs::read(path).expect("it is there"));
    let restore = |[certificate, key]: &[Vec<u8>; 2]| {
        put(&pair.certificate, certificate, 0o644);
        put(&pair.key, key, 0o600);
    };
    rt().block_on(follows.look());
    for between in [&first, &[b"nonsense".to_vec(), second[1].clone()]] {
        restore(between);
        rt().block_on(follows.look());
        restore(&second);
        rt().block_on(follows.look());
        assert!(!follows.is_other(&before));
    }
    rt().block_on(follows.look());
    assert!(follows.is_other(&before));
}

#[test]
fn a_chain_that_is_written_in_two_goes_is_never_served_without_its_end() {
    let files = Certificates::new();
    let pair = files.write("edge", &["edge.example"]);
    let above = fs::read(&files.write("above", &["above.example"]).certificate).expect("it is there");
    let mut follows = Follows::start(&[&pair]);
    let before = follows.served();
    files.write("edge", &["edge.example"]);
    rt().block_on(follows.look());
    let mut chain = fs::OpenOptions::new().append(true).open(&pair.certificate).expect("it is ours");
    std::io::Write::write_all(&mut chain, &above).expect("it is ours");
    rt().block_on(follows.look());
    assert!(!follows.is_other(&before), "its first certificate alone was found before");
    rt().block_on(follows.look());
    assert!(follows.is_other(&before));
    assert_eq!(follows.watch.chain(0).len(), 2);
}

#[test]
fn a_pair_that_is_half_written_is_waited_for_and_one_that_stays_broken_is_refused_once() {
    let files = Certificates::new();
    let (pair, other) = (files.write("edge", &["edge.example"]), files.write("other", &["other.example"]));
    let mut follows = Follows::start(&[&pair, &other]);
    let before = follows.served();
    let good = fs::read(&pair.certificate).expect("it is there");
    put(&pair.certificate, &good[..good.len() / 2], 0o644);
    let first = log_of(|| rt().block_on(follows.look()));
    assert_eq!((&*first, follows.board.read()[0].refused_since), ("", None));
    let log = log_of(|| {
        for _ in 0..3 {
            rt().block_on(follows.look());
        }
    });
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains("WARN") && log.contains("edge.crt"), "{log}");
    let facts = follows.board.read();
    assert!(facts[0].refused_since.is_some() && facts[1].refused_since.is_none());
    assert!(!follows.is_other(&before));

    // The other one goes on meanwhile.
    files.write("other", &["other.example"]);
    rt().block_on(follows.look_twice());
    assert!(follows.is_other(&before));
    // A key that does not belong to it is another fault, and is told.
    files.write("edge", &["edge.example"]);
    put(&pair.certificate, &good, 0o644);
    let log = log_of(|| {
        for _ in 0..2 {
            rt().block_on(follows.look());
        }
    });
    assert!(log.contains("issued for"), "{log}");
    let second = follows.served();
    files.write("edge", &["edge.example"]);
    rt().block_on(follows.look_twice());
    assert!(follows.is_other(&second));
    assert_eq!(follows.board.read()[0].refused_since, None);
}

#[test]
fn files_that_go_and_come_back_are_served_on_and_the_time_of_it_is_shown() {
    let files = Certificates::new();
    let pair = files.write("edge", &["edge.example"]);
    let mut follows = Follows::start(&[&pair]);
    let (certificate, before) = (fs::read(&pair.certificate).expect("it is there"), follows.served());
    for _ in 0..2 {
        fs::remove_file(&pair.certificate).expect("it is ours");
        let log = log_of(|| rt().block_on(follows.look_twice()));
        assert!(log.contains("WARN"), "each time it goes: {log}");
        assert!(follows.board.read()[0].refused_since.is_some());
        put(&pair.certificate, &certificate, 0o644);
        rt().block_on(follows.look());
        assert_eq!(follows.board.read()[0].refused_since, None);
    }
    assert!(!follows.is_other(&before));
    let in_a_day = SystemTime::now() + Duration::from_secs(86_400);
    assert!(follows.board.read()[0].expires > in_a_day);
}
