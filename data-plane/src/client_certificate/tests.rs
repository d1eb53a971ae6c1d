//! Chains that vouch for a name and those that do not, and how long a verdict counts.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints, SanType, date_time_ymd,
};
use rr_contract::model::caller::certificate::SpiffeId;

use super::*;

pub(crate) const NAME: &str = "spiffe://example.org/payments";

/// An authority for client certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate that it has issued, with its key.
pub(crate) struct Issued {
    pub(crate) key: KeyPair,
    pub(crate) der: CertificateDer<'static>,
}

fn params(name: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    change(&mut params);
    params
}

fn authority(name: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    params(name, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(params);
    })
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("it is ASCII"))
}

impl Authority {
    pub(crate) fn root(name: &str) -> Self {
        Self::root_with(name, |_| {})
    }

    fn root_with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(authority(name, change), key).expect("a root"))
    }

    /// One that this one vouches for.
    pub(crate) fn below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::signed_by(authority(name, change), key, &self.0).expect("it is signed"))
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// For a client with this name, and no other end than all have.
    pub(crate) fn issue(&self, name: &str) -> Issued {
        self.issue_with(|params| {
            params.subject_alt_names = vec![uri(name)];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    }

    pub(crate) fn issue_with(&self, change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let key = KeyPair::generate().expect("a key");
        let certificate = params("workload", change).signed_by(&key, &self.0).expect("it is signed");
        Issued { key, der: certificate.der().clone() }
    }

    pub(crate) fn trust(&self, others: &str) -> Arc<Trust> {
        let ca = format!("{}{others}", self.pem()).parse().expect("a bundle");
        let id = SpiffeId::try_from(NAME).expect("a name");
        Arc::new(Trust::new(Spiffe { id, ca }).expect("it can be used"))
    }
}

fn year(year: i32) -> SystemTime {
    date_time_ymd(year, 1, 1).into()
}

fn shown(chain: &[CertificateDer<'static>]) -> Shown {
    Shown::new(chain, true).expect("it can be read")
}

fn judge(trust: &Arc<Trust>, chain: &[CertificateDer<'static>]) -> Result<(), Flaw> {
    shown(chain).judge(trust, year(2030))
}

/// Issued for these names and uses.
fn with(authority: &Authority, change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
    let issued = authority.issue_with(|params| {
        params.subject_alt_names = vec![uri(NAME)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(params);
    });
    issued.der
}

#[test]
fn only_what_an_authority_of_the_credential_has_issued_for_clients_is_good_and_only_in_its_time() {
    let (root, other) = (Authority::root("root"), Authority::root("other"));
    let middle = root.below("middle", |_| {});
    let lower = middle.below("lower", |_| {});
    let ended = root.below("ended", |params| {
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2029, 1, 1));
    });
    let short = root.below("short", |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let below_short = short.below("below", |_| {});
    let no_authority = root.issue_with(|_| {});
    let not_one = Authority(
        CertifiedIssuer::signed_by(params("no authority", |_| {}), no_authority.key, &root.0)
            .expect("it is signed"),
    );
    let usages = |usages: &[ExtendedKeyUsagePurpose]| {
        let usages = usages.to_vec();
        with(&root, |params| params.extended_key_usages = usages)
    };
    let lasting = |from, to| {
        with(&root, |params| {
            (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        })
    };
    let leaf = |authority: &Authority| with(authority, |_| {});
    let trust = root.trust("");
    let (below_middle, below_lower) = (leaf(&middle), leaf(&lower));
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, ServerAuth};
    for (case, chain, verdict) in [
        ("issued by the root itself", vec![leaf(&root)], Ok(())),
        ("with the root beside it", vec![leaf(&root), root.der()], Ok(())),
        ("for clients and servers", vec![usages(&[ServerAuth, ClientAuth])], Ok(())),
        ("for any use that it names none of", vec![usages(&[])], Ok(())),
        ("with what is between", vec![below_middle.clone(), middle.der()], Ok(())),
        ("in another order", vec![below_lower.clone(), middle.der(), lower.der()], Ok(())),
        ("with all and the root", vec![below_lower.clone(), lower.der(), middle.der(), root.der()], Ok(())),
        (
            "as long as a chain can be",
            vec![below_middle.clone(), other.der(), other.der(), other.der(), middle.der()],
            Ok(()),
        ),
        ("without what is between", vec![below_middle.clone()], Err(Flaw::Chain)),
        ("without one of two", vec![below_lower.clone(), lower.der()], Err(Flaw::Chain)),
        (
            "with too many",
            vec![leaf(&root), other.der(), other.der(), other.der(), other.der(), other.der()],
            Err(Flaw::Chain),
        ),
        ("of another authority", vec![leaf(&other)], Err(Flaw::Chain)),
        ("of another, with that beside it", vec![leaf(&other), other.der(), root.der()], Err(Flaw::Chain)),
        ("of one with the same name", vec![leaf(&Authority::root("root"))], Err(Flaw::Chain)),
        ("for servers alone", vec![usages(&[ServerAuth])], Err(Flaw::Chain)),
        ("for a use that stands for all", vec![usages(&[Any])], Err(Flaw::Chain)),
        ("of one that is no authority", vec![leaf(&not_one), not_one.der()], Err(Flaw::Chain)),
        (
            "below one that may have none below it",
            vec![leaf(&below_short), below_short.der(), short.der()],
            Err(Flaw::Chain),
        ),
        ("an authority itself", vec![middle.der()], Err(Flaw::Chain)),
        (
            "may sign others",
            vec![with(&root, |params| {
                params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign]
            })],
            Err(Flaw::Chain),
        ),
        (
            "may sign lists",
            vec![with(&root, |params| params.key_usages = vec![KeyUsagePurpose::CrlSign])],
            Err(Flaw::Chain),
        ),
        (
            "may sign handshakes",
            vec![with(&root, |params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature])],
            Ok(()),
        ),
        ("has ended", vec![lasting(2020, 2029)], Err(Flaw::Expired)),
        ("has not begun", vec![lasting(2031, 2040)], Err(Flaw::Early)),
        ("below one that has ended", vec![leaf(&ended), ended.der()], Err(Flaw::Expired)),
        ("with one that has ended and is not needed", vec![leaf(&root), ended.der()], Ok(())),
    ] {
        assert_eq!(judge(&trust, &chain), verdict, "{case}");
    }
    assert_eq!(judge(&root.trust(&other.pem()), &[leaf(&other)]), Ok(()), "of a second authority");
}

/// A value in DER.
fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).ok().filter(|length| *length < 0x80).expect("it is short");
    [&[tag, length][..], content].concat()
}

/// A constraint on the hosts of URIs, which the library that issues certificates here does not write.
fn uris_of(host: &str) -> CustomExtension {
    let subtree = tagged(0x30, &tagged(0x86, host.as_bytes()));
    let mut extension =
        CustomExtension::from_oid_content(&[2, 5, 29, 30], tagged(0x30, &tagged(0xa0, &subtree)));
    extension.set_criticality(true);
    extension
}

#[test]
fn what_constrains_an_authority_holds_for_its_certificates_and_refuses_what_cannot_be_judged() {
    let root = Authority::root("root");
    let dns = |name: &str| {
        let name = name.to_owned();
        root.below("constrained", move |params| {
            params.name_constraints = Some(NameConstraints {
                permitted_subtrees: vec![GeneralSubtree::DnsName(name)],
                excluded_subtrees: Vec::new(),
            });
        })
    };
    let trust = root.trust("");
    let host = |text: &str| SanType::DnsName(text.try_into().expect("a name"));
    for (authority, names, verdict) in [
        (dns("a.example"), vec![uri(NAME), host("b.a.example")], Ok(())),
        (dns("a.example"), vec![uri(NAME), host("b.example")], Err(Flaw::Chain)),
        // Constraints on URIs are not understood, so that none passes.
        (
            root.below("uris", |params| params.custom_extensions = vec![uris_of("example.org")]),
            vec![uri(NAME)],
            Err(Flaw::Chain),
        ),
        (
            root.below("uris", |params| params.custom_extensions = vec![uris_of("other.org")]),
            vec![uri(NAME)],
            Err(Flaw::Chain),
        ),
    ] {
        let leaf = with(&authority, |params| params.subject_alt_names = names);
        assert_eq!(judge(&trust, &[leaf, authority.der()]), verdict);
    }
}

#[test]
fn a_name_is_the_only_uri_of_a_certificate() {
    let root = Authority::root("root");
    let named = |names: Vec<SanType>| shown(&[with(&root, |params| params.subject_alt_names = names)]).name();
    let host = || SanType::DnsName("a.example".try_into().expect("a name"));
    // One that is no text beside a good one, which the library that issues certificates here does not write.
    let uri_of = |bytes: &[u8]| tagged(0x86, bytes);
    for other in [&b"spiffe://example.org/other"[..], b"spiffe://example.org/\xff", b"\xff"] {
        for names in [[uri_of(NAME.as_bytes()), uri_of(other)], [uri_of(other), uri_of(NAME.as_bytes())]] {
            let names = tagged(0x30, &names.concat());
            let leaf = with(&root, |params| {
                params.subject_alt_names = Vec::new();
                params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 17], names)];
            });
            assert_eq!(shown(&[leaf]).name(), Some(Named::Unclear), "{other:?}");
        }
    }
    let one = Some(Named::One(SpiffeId::try_from(NAME).expect("a name").hash()));
    for (names, name) in [
        (vec![uri(NAME)], one),
        (vec![host(), uri(NAME), host()], one),
        (vec![], Some(Named::Nobody)),
        (vec![host()], Some(Named::Nobody)),
        (vec![uri("https://example.org/payments")], Some(Named::Nobody)),
        (vec![uri("https://a.example"), uri("https://b.example")], Some(Named::Nobody)),
        (vec![uri(NAME), uri("spiffe://example.org/other")], Some(Named::Unclear)),
        (vec![uri(NAME), uri(NAME)], Some(Named::Unclear)),
        (vec![uri(NAME), uri("https://example.org")], Some(Named::Unclear)),
        (vec![uri("https://example.org"), uri(NAME)], Some(Named::Unclear)),
        (vec![uri("SPIFFE://example.org/payments")], Some(Named::Unclear)),
        (vec![uri("spiffe://Example.org/payments")], Some(Named::Unclear)),
        (vec![uri("spiffe://example.org")], Some(Named::Unclear)),
        (vec![uri("spiffe://example.org/payments?a")], Some(Named::Unclear)),
    ] {
        let text = format!("{names:?}");
        assert_eq!(named(names), name, "{text}");
    }
    let twice = with(&root, |params| {
        let names = [0x30, 6, 0x86, 4, b'a', b':', b'/', b'/'];
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 17], names.to_vec())];
    });
    assert!(Shown::new(&[twice], true).is_none(), "names stand in it twice");
    let other = with(&root, |params| params.subject_alt_names = vec![uri("spiffe://example.org/paymentz")]);
    assert_ne!(shown(&[other]).name(), one);
}

#[test]
fn a_verdict_counts_for_its_authorities_and_until_a_certificate_begins_or_ends() {
    let root = Authority::root("root");
    let (trust, other) = (root.trust(""), root.trust(""));
    let leaf = with(&root, |params| {
        (params.not_before, params.not_after) = (date_time_ymd(2030, 1, 1), date_time_ymd(2031, 1, 1));
    });
    let shown = shown(&[leaf]);
    let second = Duration::from_secs(1);
    let (begins, ends) = (year(2030), year(2031) + second);
    assert_eq!(shown.known(&trust, begins), None);
    assert_eq!(shown.judge(&trust, begins - second), Err(Flaw::Early));
    assert_eq!(shown.known(&trust, begins - second), Some(Err(Flaw::Early)));
    assert_eq!(shown.known(&trust, begins), None, "it has begun since");
    assert_eq!(shown.judge(&trust, begins), Ok(()));
    assert_eq!(shown.turns_after(begins), Some(ends));
    assert_eq!(shown.known(&trust, ends - second), Some(Ok(())));
    assert_eq!(shown.known(&trust, begins - second), None, "the clock went back");
    assert_eq!(shown.known(&other, begins), None, "of another credential, or another version of it");
    assert_eq!(shown.known(&trust, ends), None, "it has ended since");
    assert_eq!(shown.judge(&trust, ends), Err(Flaw::Expired));
    assert_eq!((shown.known(&trust, ends), shown.turns_after(ends)), (Some(Err(Flaw::Expired)), None));
}

#[test]
fn a_verdict_counts_until_the_first_certificate_of_the_chain_ends() {
    let root = Authority::root("root");
    let lasting = |to| move |params: &mut CertificateParams| params.not_after = date_time_ymd(to, 1, 1);
    let second = Duration::from_secs(1);
    // Whichever of the three it is.
    for (leaf, lower, middle) in [(2031, 2032, 2033), (2033, 2031, 2032), (2032, 2033, 2031)] {
        let middle = root.below("middle", lasting(middle));
        let lower = middle.below("lower", lasting(lower));
        let chain = [with(&lower, lasting(leaf)), lower.der(), middle.der()];
        let (shown, trust, ends) = (shown(&chain), root.trust(""), year(2031) + second);
        assert_eq!(shown.judge(&trust, year(2030)), Ok(()));
        assert_eq!(shown.turns_after(year(2030)), Some(ends));
        assert_eq!(shown.known(&trust, ends - second), Some(Ok(())));
        assert_eq!(shown.known(&trust, ends), None);
        assert_eq!(shown.judge(&trust, ends), Err(Flaw::Expired));
    }
}

#[test]
fn a_connection_keeps_as_many_verdicts_as_it_may() {
    let root = Authority::root("root");
    let shown = shown(&[with(&root, |_| {})]);
    let trusts: Vec<_> = (0..=JUDGED_MAX).map(|_| root.trust("")).collect();
    for trust in trusts.iter().chain(&trusts) {
        assert_eq!(shown.judge(trust, year(2030)), Ok(()));
    }
    let known = trusts.iter().filter(|trust| shown.known(trust, year(2030)).is_some());
    assert_eq!(known.count(), JUDGED_MAX);
}

#[test]
fn a_chain_is_kept_only_where_somebody_may_ask_who_has_issued_it() {
    let root = Authority::root("root");
    let leaf = with(&root, |_| {});
    let bare = Shown::new(std::slice::from_ref(&leaf), false).expect("it can be read");
    assert_eq!((bare.name(), bare.judge(&root.trust(""), year(2030))), (None, Err(Flaw::Chain)));
    assert_eq!(bare.key, shown(&[leaf]).key);
    assert!(Shown::new(&[], true).is_none() && Shown::new(&[b"nonsense"[..].into()], true).is_none());
}

#[test]
fn a_chain_counts_as_the_signatures_that_it_can_make_a_node_look_at() {
    let root = Authority::root("root");
    let (alone, twice) = (root.trust(""), root.trust(&Authority::root("root").pem()));
    let others: String = (0..3).map(|n| Authority::root(&format!("other {n}")).pem()).collect();
    let leaf = with(&root, |_| {});
    for (above, of_one, of_two) in [(0, 1, 2), (1, 2, 4), (2, 5, 10), (3, 16, 32), (4, 65, 100), (5, 1, 2)] {
        let shown = shown(&vec![leaf.clone(); above + 1]);
        let works = [&alone, &root.trust(&others), &twice].map(|trust| shown.work(trust));
        assert_eq!(works, [of_one, of_one, of_two], "{above}");
    }
}
