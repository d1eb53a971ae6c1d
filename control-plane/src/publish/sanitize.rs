//! Reduces what a node reports about itself to what may be kept and shown: it reaches the database, other replicas and
//! terminals.
//!
//! Trusts nothing. A position that cannot be one is left out, control characters in texts become spaces, and a value
//! that has no form in JSON, which a node of a later version may say too, becomes none: it would break every list that
//! holds it.

use pbjson_types::Timestamp;
use rr_contract::model::target::BASE_URLS_MAX;
use rr_contract::model::time;
use rr_contract::wire::fleet::{
    AwayIssuer, BaseUrlTest, EchoedSecret, Key, Kind, Position, Refusal, Status, TargetTested, TestRefusal,
    TestStage, TestTls, Verdict, Why,
};

/// How many refusals are kept of one node; it reports no more at once.
pub(crate) const STANDING_MOST: usize = 500;
/// How many issuers that are away are kept of one node.
const ISSUERS_MOST: usize = 20;
/// And how many secrets that were sent back.
const ECHOED_MOST: usize = 20;
/// Of authorities' keys: the length of a hash, and how many of them are kept.
const PIN: usize = 32;
const PINS_MOST: usize = 8;
const TEXT_MOST: usize = 512;
const HASH: usize = 32;
const LINEAGE: usize = 16;

/// One line of at most so many characters.
pub(crate) fn text(said: &str, most: usize) -> String {
    said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect()
}

/// A position, if it can be one.
pub(super) fn position(said: Position) -> Option<Position> {
    let Position { lineage, revision, region, digest, count, audit } = &said;
    let is_one = lineage.len() == LINEAGE
        && digest.len() == HASH
        && (audit.is_empty() || audit.len() == HASH)
        && region.len() <= 64
        && region.bytes().all(|byte| byte.is_ascii_graphic())
        && i64::try_from(*revision).is_ok()
        && i64::try_from(*count).is_ok();
    is_one.then_some(said)
}

pub(super) fn status(said: Status) -> Status {
    Status {
        running: said.running.and_then(position),
        serving: said.serving.and_then(position),
        on_disk: said.on_disk.and_then(position),
        proven: said.proven.and_then(position),
        standing: refusals(said.standing),
        away_issuers: issuers(said.away_issuers),
        echoed_secrets: echoed(said.echoed_secrets),
        trusted_authorities: pins(said.trusted_authorities),
        certified_by: pin(said.certified_by),
        ..said
    }
}

/// Issuers that are away, cut to what is kept; those with a time that can be none are left out.
fn issuers(said: Vec<AwayIssuer>) -> Vec<AwayIssuer> {
    let is_time = |at: &Timestamp| time::system_time(at).is_ok();
    let kept = said.into_iter().filter(|issuer| {
        is_id(&issuer.org)
            && issuer.since.as_ref().is_some_and(is_time)
            && issuer.back_at.as_ref().is_none_or(is_time)
    });
    kept.take(ISSUERS_MOST)
        .map(|issuer| AwayIssuer { jwks_url: text(&issuer.jwks_url, TEXT_MOST), ..issuer })
        .collect()
}

/// Secrets that were sent back, cut to what is kept; those with a time that can be none are left out.
fn echoed(said: Vec<EchoedSecret>) -> Vec<EchoedSecret> {
    let is_time = |at: &Timestamp| time::system_time(at).is_ok();
    let kept = said.into_iter().filter(|echoed| {
        let ids = [&echoed.org, &echoed.credential, &echoed.proxy];
        ids.into_iter().all(|id| is_id(id)) && echoed.at.as_ref().is_some_and(is_time)
    });
    kept.take(ECHOED_MOST).collect()
}

/// Hashes of authorities' keys, cut to what is kept.
pub(super) fn pins(said: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    said.into_iter().filter(|pin| pin.len() == PIN).take(PINS_MOST).collect()
}

/// One of them; empty where it is none.
pub(super) fn pin(said: Vec<u8>) -> Vec<u8> {
    if said.len() == PIN { said } else { Vec::new() }
}

fn is_id(id: &str) -> bool {
    id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_graphic())
}

pub(super) fn verdict(said: Verdict) -> Verdict {
    Verdict { running: said.running.and_then(position), refusals: refusals(said.refusals), ..said }
}

pub(super) fn refusals(said: Vec<Refusal>) -> Vec<Refusal> {
    let kept = said.into_iter().filter(|refusal| {
        let hash = |hash: &[u8]| hash.is_empty() || hash.len() == HASH;
        let short = |key: &Key| is_id(&key.org) && is_id(&key.id);
        hash(&refusal.wanted) && hash(&refusal.running) && refusal.key.as_ref().is_none_or(short)
    });
    let known = |key: Key| Key { kind: Kind::try_from(key.kind).unwrap_or_default().into(), ..key };
    kept.take(STANDING_MOST)
        .map(|refusal| Refusal {
            key: refusal.key.map(known),
            wanted: refusal.wanted,
            running: refusal.running,
            why: Why::try_from(refusal.why).unwrap_or_default().into(),
            detail: text(&refusal.detail, TEXT_MOST),
            fails_closed: refusal.fails_closed,
        })
        .collect()
}

/// What came of a test. Every text of it goes to terminals.
pub(super) fn tested(said: TargetTested) -> TargetTested {
    let tls = |tls: TestTls| TestTls {
        version: text(&tls.version, 16),
        cipher_suite: text(&tls.cipher_suite, 64),
        alpn: text(&tls.alpn, 16),
        subject: text(&tls.subject, TEXT_MOST),
        issuer: text(&tls.issuer, TEXT_MOST),
        not_after: tls.not_after.filter(|at| time::system_time(at).is_ok()),
        by_target_ca: tls.by_target_ca,
    };
    let one = |it: BaseUrlTest| BaseUrlTest {
        base_url: text(&it.base_url, 2048),
        failed: TestStage::try_from(it.failed).unwrap_or(TestStage::Send).into(),
        code: text(&it.code, 64),
        reason: text(&it.reason, TEXT_MOST),
        http_version: text(&it.http_version, 8),
        remote_address: text(&it.remote_address, 64),
        tls: it.tls.map(tls),
        ..it
    };
    TargetTested {
        test: said.test.into_iter().take(16).collect(),
        refusal: TestRefusal::try_from(said.refusal).unwrap_or(TestRefusal::Unknown).into(),
        revision: said.revision.min(i64::MAX.unsigned_abs()),
        base_urls: said.base_urls.into_iter().take(BASE_URLS_MAX).map(one).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Position {
        Position {
            lineage: vec![1; LINEAGE],
            revision: 7,
            region: "rgn_1".to_owned(),
            digest: vec![2; HASH],
            count: 3,
            audit: Vec::new(),
        }
    }

    #[test]
    fn a_place_is_kept_and_what_can_be_none_is_not() {
        assert_eq!(position(place()), Some(place()));
        for bad in [
            Position { revision: u64::MAX, ..place() },
            Position { count: u64::MAX, ..place() },
            Position { digest: vec![2; 4_000_000], ..place() },
            Position { lineage: Vec::new(), ..place() },
            Position { audit: vec![0; 33], ..place() },
            Position { region: "a\0b".to_owned(), ..place() },
            Position { region: "r".repeat(65), ..place() },
        ] {
            assert_eq!(position(bad.clone()), None, "{bad:?}");
            let said = status(Status { running: Some(bad.clone()), ..Status::default() });
            assert_eq!(said.running, None);
            assert_eq!(verdict(Verdict { running: Some(bad), ..Verdict::default() }).running, None);
        }
    }

    #[test]
    fn text_is_one_line_and_refusals_are_few_and_small() {
        assert_eq!(text("a\x1b[2J\r\n\0b", 6), "a [2J ");
        let long = Refusal { detail: "\x07".repeat(10_000), ..Refusal::default() };
        let huge = Refusal { wanted: vec![0; 1_000], ..Refusal::default() };
        let said = refusals(std::iter::once(huge).chain(vec![long; 2_000]).collect());
        assert_eq!((said.len(), said[0].detail.len()), (STANDING_MOST, TEXT_MOST));
        assert!(!said[0].detail.contains('\x07'));
    }

    #[test]
    fn issuers_that_are_away_are_few_and_small_and_have_times() {
        let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let good = AwayIssuer { org: "og_1".to_owned(), since: at(7), ..AwayIssuer::default() };
        let long = AwayIssuer { jwks_url: "\x1b".repeat(10_000), ..good.clone() };
        let said = status(Status { away_issuers: vec![long; 500], ..Status::default() }).away_issuers;
        assert_eq!((said.len(), said[0].jwks_url.len()), (ISSUERS_MOST, TEXT_MOST));
        assert!(!said[0].jwks_url.contains('\x1b'));
        for bad in [
            AwayIssuer { org: "o\x1b[2J".to_owned(), ..good.clone() },
            AwayIssuer { org: "o".repeat(65), ..good.clone() },
            AwayIssuer { since: None, ..good.clone() },
            AwayIssuer { since: at(i64::MAX), ..good.clone() },
            AwayIssuer { back_at: at(i64::MIN), ..good.clone() },
        ] {
            assert_eq!(issuers(vec![bad.clone(), good.clone()]), std::slice::from_ref(&good), "{bad:?}");
        }
    }

    #[test]
    fn secrets_that_were_sent_back_are_few_and_have_ids_and_times() {
        let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let good = EchoedSecret { org: "og_1".to_owned(), at: at(7), ..EchoedSecret::default() };
        let said = status(Status { echoed_secrets: vec![good.clone(); 500], ..Status::default() });
        assert_eq!(said.echoed_secrets.len(), ECHOED_MOST);
        for bad in [
            EchoedSecret { org: "o\x1b[2J".to_owned(), ..good.clone() },
            EchoedSecret { credential: "c".repeat(65), ..good.clone() },
            EchoedSecret { proxy: "p\0".to_owned(), ..good.clone() },
            EchoedSecret { at: None, ..good.clone() },
            EchoedSecret { at: at(i64::MAX), ..good.clone() },
        ] {
            assert_eq!(echoed(vec![bad.clone(), good.clone()]), std::slice::from_ref(&good), "{bad:?}");
        }
    }

    #[test]
    fn a_refusal_has_a_form_in_json_whatever_a_node_says() {
        let key = |kind, id: &str| Some(Key { kind, org: "org_1".to_owned(), id: id.to_owned() });
        let odd = Refusal { key: key(77, "px_1"), why: 999, ..Refusal::default() };
        assert!(serde_json::to_string(&odd).is_err(), "or there is nothing to guard against");
        let spoken = Refusal { key: key(1, "px\x1b[2J"), ..Refusal::default() };
        let said = refusals(vec![odd, spoken]);
        assert_eq!(said.len(), 1, "no id is one that speaks to a terminal");
        assert_eq!(said[0].key, key(0, "px_1"));
        serde_json::to_string(&said).expect("it has a form");
    }

    #[test]
    fn what_a_node_tells_of_a_test_is_small_speaks_to_no_terminal_and_has_a_form_in_json() {
        let long = || "\x1b[2J".repeat(10_000);
        let tls = TestTls {
            subject: long(),
            not_after: Some(Timestamp { seconds: i64::MAX, nanos: 0 }),
            ..TestTls::default()
        };
        let one = BaseUrlTest {
            base_url: long(),
            reason: long(),
            code: long(),
            failed: 99,
            tls: Some(tls),
            ..BaseUrlTest::default()
        };
        let said =
            TargetTested { test: vec![1; 5_000], refusal: 99, revision: u64::MAX, base_urls: vec![one; 500] };
        let kept = tested(said);
        assert_eq!((kept.test.len(), kept.base_urls.len()), (16, BASE_URLS_MAX));
        let shown = serde_json::to_string(&kept).expect("it has a form");
        assert!(shown.len() < BASE_URLS_MAX * 8_000 && !shown.contains("u001b"), "{}", shown.len());
        assert_eq!(kept.refusal(), TestRefusal::Unknown);
        assert_eq!(kept.base_urls[0].failed(), TestStage::Send, "no stage that is not known has passed");
    }
}
