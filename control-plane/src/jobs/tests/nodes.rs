//! What is told of nodes, to whom and how often, on both engines.

use rr_contract::model::id::NodeId;
use rr_contract::wire::fleet;
use rr_contract::wire::management::NotificationKind;

use super::*;
use crate::publish::{Ledger as _, LiveNode};
use crate::store::ledger::{Crash, Divergence};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_lost_after_five_minutes_unless_its_stream_is_open_here() {
    on_both("lost nodes", async |store, clock| {
        node_token(&store).await;
        write(&store, vec![place(1, "eu", ""), place(2, "acme", &org(1))]).await;
        let shared = node(&store, 1, &region(1), &fleet::Status::default()).await;
        let theirs = node(&store, 2, &region(2), &fleet::Status::default()).await;
        let connected = node(&store, 3, &region(1), &fleet::Status::default()).await;
        let jobs = jobs(&store);
        let live = live(&store, 0, "");
        let seat = jobs.fleet().enter(connected.parse().expect("an id"), live).await.expect("is free");
        clock.pass(MINUTE * 5);
        assert_eq!(jobs.run(Job::LostNodes).await.expect("runs"), 0);
        clock.pass(MINUTE);
        assert_eq!(jobs.run(Job::LostNodes).await.expect("runs"), 2);
        assert_eq!(jobs.run(Job::LostNodes).await.expect("runs"), 0);
        let rows = told(&store, "").await;
        assert_eq!(rows.iter().map(|row| &row.subject).collect::<Vec<_>>(), [&shared]);
        assert!(rows[0].message.contains("region eu"), "{}", rows[0].message);
        let rows = told(&store, &org(1)).await;
        assert_eq!(rows.iter().map(|row| &row.subject).collect::<Vec<_>>(), [&theirs]);
        drop(seat);
        assert_eq!(jobs.run(Job::LostNodes).await.expect("runs"), 1);
    })
    .await;
}

fn refusal(key: Option<fleet::Key>, why: fleet::Why) -> fleet::Refusal {
    fleet::Refusal { key, wanted: vec![1; 32], why: why.into(), fails_closed: true, ..Default::default() }
}

fn key(n: u8, id: &str) -> Option<fleet::Key> {
    Some(fleet::Key { kind: Noun::Credential.row(), org: org(n), id: id.to_owned() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_resource_is_told_to_its_organization_once_and_a_refused_session_to_the_installation() {
    on_both("refusals", async |store, clock| {
        node_token(&store).await;
        let stripe = Noun::Credential.id([1; 16]);
        let gone = Noun::Credential.id([7; 16]);
        write(&store, vec![place(1, "eu", ""), place(2, "foreign", &org(2)), credential(1, "stripe", None)])
            .await;
        let status = fleet::Status {
            standing: vec![
                refusal(key(1, &stripe), fleet::Why::Unseal),
                refusal(key(1, &gone), fleet::Why::Unseal),
                // Of another organization than the resource's.
                refusal(key(3, &stripe), fleet::Why::Unseal),
                refusal(None, fleet::Why::Audit),
            ],
            ..Default::default()
        };
        let first = node(&store, 1, &region(1), &status).await;
        let alone = fleet::Status { standing: status.standing[..3].to_vec(), ..Default::default() };
        node(&store, 2, &region(1), &alone).await;
        // A node of another organization has no word about this one's.
        node(&store, 3, &region(2), &alone).await;
        let jobs = jobs(&store);
        jobs.run(Job::Refusals).await.expect("runs");
        jobs.run(Job::Refusals).await.expect("runs");
        let rows = told(&store, &org(1)).await;
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert_eq!(
            (rows[0].subject.as_str(), rows[0].title.as_str()),
            (stripe.as_str(), "credential stripe is refused in region eu")
        );
        let rows = told(&store, "").await;
        assert_eq!(rows.iter().map(|row| &row.subject).collect::<Vec<_>>(), [&first]);
        assert!(told(&store, &org(2)).await.is_empty() && told(&store, &org(3)).await.is_empty());

        // A node that is long gone tells nothing.
        clock.pass(DAY);
        node(&store, 4, &region(1), &fleet::Status::default()).await;
        assert_eq!(self::jobs(&store).run(Job::Refusals).await.expect("runs"), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_away_is_told_to_its_organization_once_an_hour_and_node_and_again_when_it_is_back()
{
    on_both("issuers", async |store, clock| {
        node_token(&store).await;
        write(&store, vec![place(1, "eu", ""), place(2, "foreign", &org(2))]).await;
        let named = |n: u8| Org { id: org(n), name: format!("org-{n}"), ..Org::default() };
        write(&store, [1, 2].map(|n| put("", &org(n), &named(n).name, named(n), None)).into()).await;
        let at = |micros: i64| Some(time::timestamp(time_of(micros)));
        let since = store.now();
        let away = |n: u8, url: &str, since: i64, back: Option<i64>| fleet::AwayIssuer {
            org: org(n),
            jwks_url: url.to_owned(),
            since: at(since),
            never_there: n == 2,
            back_at: back.and_then(at),
        };
        const URL: &str = "https://i.example/keys";
        // One of an organization that is none.
        let issuers = vec![away(1, URL, since, None), away(9, URL, since, None)];
        let status = fleet::Status { away_issuers: issuers, ..Default::default() };
        let first = node(&store, 1, &region(1), &status).await;
        let second = node(&store, 2, &region(1), &status).await;
        // A node of one organization has no word about another's issuers.
        let theirs = fleet::Status {
            away_issuers: vec![away(1, URL, since, None), away(2, URL, since, None)],
            ..Default::default()
        };
        node(&store, 3, &region(2), &theirs).await;
        let jobs = jobs(&store);
        jobs.run(Job::Refusals).await.expect("runs");
        jobs.run(Job::Refusals).await.expect("runs");
        let rows = told(&store, &org(1)).await;
        let mut subjects: Vec<_> = rows.iter().map(|row| row.subject.clone()).collect();
        subjects.sort();
        let mut nodes = vec![first.clone(), second];
        nodes.sort();
        assert_eq!(subjects, nodes, "{rows:?}");
        for part in [URL, "region eu", "issuer-stale", "too old", "--allow-upstream", "--upstream-ca"] {
            assert!(rows[0].message.contains(part), "{part}: {}", rows[0].message);
        }
        let rows = told(&store, &org(2)).await;
        assert!(rows.len() == 1 && rows[0].message.contains("never had keys"), "{rows:?}");
        assert!(told(&store, "").await.is_empty() && told(&store, &org(9)).await.is_empty());

        // A node that is long gone tells nothing.
        clock.pass(DAY);
        assert_eq!(self::jobs(&store).run(Job::Refusals).await.expect("runs"), 0);
    })
    .await;
}

/// A credential and a proxy of organization 1, as its word and that of two others say that its secret came back.
async fn echoing(store: &Store) -> fleet::Status {
    node_token(store).await;
    write(store, vec![place(1, "eu", ""), place(2, "foreign", &org(2)), credential(1, "live", None)]).await;
    let named = |n: u8| Org { id: org(n), name: format!("org-{n}"), ..Org::default() };
    write(store, [1, 2].map(|n| put("", &org(n), &named(n).name, named(n), None)).into()).await;
    let proxy = Noun::Proxy.id([1; 16]);
    let shop = Proxy { id: proxy.clone(), name: "shop".to_owned(), ..Proxy::default() };
    write(store, vec![put(&org(1), &proxy, "shop", shop, None)]).await;
    let echoed = |n: u8, credential: &str| fleet::EchoedSecret {
        org: org(n),
        credential: credential.to_owned(),
        proxy: proxy.clone(),
        at: Some(time::timestamp(time_of(store.now()))),
        refused: false,
    };
    let theirs = Noun::Credential.id([1; 16]);
    // Of another organization than the credential's, and of a credential that is gone.
    let echoed_secrets =
        vec![echoed(2, &theirs), echoed(1, &Noun::Credential.id([7; 16])), echoed(1, &theirs)];
    fleet::Status { echoed_secrets, ..fleet::Status::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_came_back_is_told_to_its_organization_once_an_hour_and_credential() {
    on_both("echoes", async |store, clock| {
        let status = echoing(&store).await;
        node(&store, 1, &region(1), &status).await;
        node(&store, 2, &region(1), &status).await;
        let jobs = jobs(&store);
        jobs.run(Job::Refusals).await.expect("runs");
        jobs.run(Job::Refusals).await.expect("runs");
        let rows = told(&store, &org(1)).await;
        let [row] = &rows[..] else { panic!("{rows:?}") };
        let kind = i32::from(NotificationKind::SecretEchoed);
        assert_eq!((row.subject.as_str(), row.kind), (&*Noun::Credential.id([1; 16]), kind));
        for part in ["proxy shop", "region eu", "credential live", "It was masked."] {
            assert!(row.message.contains(part), "{part}: {}", row.message);
        }
        assert!(told(&store, "").await.is_empty() && told(&store, &org(2)).await.is_empty());
        clock.pass(DAY);
        assert_eq!(self::jobs(&store).run(Job::Refusals).await.expect("runs"), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_one_organization_has_no_word_about_the_secrets_of_another() {
    on_both("foreign_echoes", async |store, _clock| {
        let status = echoing(&store).await;
        node(&store, 3, &region(2), &status).await;
        assert_eq!(jobs(&store).run(Job::Refusals).await.expect("runs"), 0);
        assert!(told(&store, &org(1)).await.is_empty() && told(&store, &org(2)).await.is_empty());
    })
    .await;
}

fn live(store: &Store, boot: u8, address: &str) -> LiveNode {
    LiveNode {
        region: region(1).parse().expect("an id"),
        address: address.to_owned(),
        build: String::new(),
        boot_id: vec![boot; 16],
        features: Vec::new(),
        status: fleet::Status::default(),
        last_seen_at: store.now(),
        diverged: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_in_trouble_are_told_once_to_whoever_has_their_region() {
    on_both("troubles", async |store, clock| {
        node_token(&store).await;
        write(&store, vec![place(1, "eu", ""), place(2, "acme", &org(1))]).await;
        let id = |n: u8| NodeId::from_random([n; 16]);
        let crash = |n: u8, place: u8, revision: u64| Crash {
            node: id(n),
            region: region(place).parse().expect("an id"),
            digest: vec![7; 32],
            revision,
        };
        // Two of a shared region, one of another's own.
        for crash in [crash(1, 1, 40), crash(2, 1, 40), crash(3, 2, 40)] {
            store.crashed(crash).await.expect("writes");
        }
        let at = fleet::Position { revision: 90, ..fleet::Position::default() };
        let place = region(2).parse().expect("an id");
        let stray = Divergence { node: id(4), region: place, at, why: "ahead".to_owned() };
        store.diverged(stray).await.expect("writes");
        let set_back = fleet::Status { disk_set_back: true, ..Default::default() };
        let disk = node(&store, 5, &region(1), &set_back).await;
        let (one, two) = (jobs(&store), jobs(&store));
        let seat = one.fleet().enter(id(6), live(&store, 1, "10.0.0.1")).await.expect("is free");
        tokio::select! {
            entered = one.fleet().enter(id(6), live(&store, 2, "10.0.0.2")) => assert!(entered.is_err()),
            never = seat.answer_pings() => match never {},
        }
        for jobs in [&one, &two, &one] {
            jobs.run(Job::Troubles).await.expect("runs");
            jobs.run(Job::Refusals).await.expect("runs");
        }
        let kinds = async |org: &str| -> Vec<(NotificationKind, String)> {
            let rows = told(&store, org).await;
            let mut kinds: Vec<_> = rows
                .into_iter()
                .map(|row| (NotificationKind::try_from(row.kind).expect("a kind"), row.subject))
                .collect();
            kinds.sort_by_key(|(kind, subject)| (i32::from(*kind), subject.clone()));
            kinds
        };
        let wanted = [
            (NotificationKind::NodeClash, id(6).to_string()),
            (NotificationKind::RegionHeld, region(1)),
            (NotificationKind::NodeCrashed, id(1).to_string()),
            (NotificationKind::NodeCrashed, id(2).to_string()),
            (NotificationKind::NodeDisk, disk),
        ];
        assert_eq!(kinds("").await, wanted);
        let wanted = [
            (NotificationKind::NodeCrashed, id(3).to_string()),
            (NotificationKind::NodeDiverged, id(4).to_string()),
        ];
        assert_eq!(kinds(&org(1)).await, wanted);

        // A third that ends there is news of its own, and the region is held as before.
        clock.pass(MINUTE);
        store.crashed(crash(7, 1, 40)).await.expect("writes");
        one.run(Job::Troubles).await.expect("runs");
        assert_eq!(kinds("").await.len(), 6);
        drop(seat);
    })
    .await;
}
