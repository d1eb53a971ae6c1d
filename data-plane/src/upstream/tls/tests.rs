//! What sessions are kept for, and for how long.

use super::*;

fn worker() -> WorkerTls {
    WorkerTls::new(Trust::new(None))
}

fn org(n: u8) -> OrgId {
    OrgId::from_random([n; 16])
}

fn wire(number: usize) -> Wire {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, format!("authority {number}"));
    let authority = params.self_signed(&rcgen::KeyPair::generate().expect("a key")).expect("a certificate");
    Wire { ca: Some(authority.pem().parse().expect("a certificate")), ..Wire::default() }
}

async fn config(worker: &WorkerTls, wire: &Wire) -> Arc<ClientConfig> {
    let connector = worker.connector(org(1), wire, None).await;
    Arc::clone(connector.unwrap_or_else(|error| panic!("{error}")).config())
}

#[tokio::test]
async fn what_differs_in_terms_shares_no_sessions() {
    let worker = worker();
    let ours = wire(0);
    let all = [
        ours.clone(),
        wire(1),
        Wire { min_tls: MinTls::V1_3, ..ours.clone() },
        Wire { http: HttpVersion::V1_1, ..ours.clone() },
        Wire { http: HttpVersion::V2, ..ours.clone() },
    ];
    let mut configs = Vec::new();
    for wire in &all {
        configs.push(config(&worker, wire).await);
    }
    for (i, (one, wire)) in configs.iter().zip(&all).enumerate() {
        assert!(configs[i + 1..].iter().all(|other| !Arc::ptr_eq(one, other)));
        assert!(Arc::ptr_eq(one, &config(&worker, wire).await), "the same terms do share them");
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_go_when_nobody_used_them_for_long_and_when_there_are_too_many() {
    let worker = worker();
    let first = wire(0);
    let kept = config(&worker, &first).await;
    tokio::time::advance(UNUSED_MAX / 2).await;
    worker.sweep();
    assert!(Arc::ptr_eq(&kept, &config(&worker, &first).await));
    tokio::time::advance(UNUSED_MAX).await;
    worker.sweep();
    assert_eq!(worker.kept.borrow().len(), 0);
    let wires: Vec<Wire> = (0..TERMS_BY_ORG).map(wire).collect();
    let last = u8::try_from(TERMS_MAX / TERMS_BY_ORG).expect("few");
    for n in 0..last {
        for wire in &wires {
            worker.connector(org(n), wire, None).await.map(drop).expect("a connector");
            tokio::time::advance(Duration::from_millis(1)).await;
        }
    }
    assert_eq!(worker.kept.borrow().len(), TERMS_MAX);
    worker.connector(org(last), &first, None).await.map(drop).expect("a connector");
    assert_eq!(worker.kept.borrow().len(), TERMS_MAX);
    assert!(!worker.kept.borrow().contains_key(&Terms::of(org(0), &wires[0], None)), "the oldest went");
}

#[tokio::test(start_paused = true)]
async fn no_organization_shares_sessions_with_another_or_takes_their_room() {
    let (worker, shared) = (worker(), wire(0));
    let of =
        async |n| Arc::clone(worker.connector(org(n), &shared, None).await.expect("a connector").config());
    let ours = of(2).await;
    assert!(!Arc::ptr_eq(&ours, &of(1).await));
    for number in 0..=TERMS_BY_ORG {
        tokio::time::advance(Duration::from_millis(1)).await;
        config(&worker, &wire(number)).await;
    }
    assert_eq!(worker.kept.borrow().len(), TERMS_BY_ORG + 1);
    assert!(Arc::ptr_eq(&ours, &of(2).await), "who has many makes room, of its own");
    assert!(!worker.kept.borrow().contains_key(&Terms::of(org(1), &shared, None)), "the oldest went");
}

#[tokio::test]
async fn roots_that_could_not_be_loaded_are_loaded_once_they_can_be() {
    tokio::time::pause();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("roots.pem");
    let trust = Trust::new(Some(path.clone()));
    assert!(
        matches!(trust.roots().await.as_deref(), Err(error) if matches!(**error, TrustError::Read { .. }))
    );
    let authority = rcgen::generate_simple_self_signed(["authority.test".to_owned()]).expect("a certificate");
    std::fs::write(&path, authority.cert.pem()).expect("it is ours");
    assert!(trust.roots().await.is_err(), "not at once");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(trust.roots().await.is_ok());
}
