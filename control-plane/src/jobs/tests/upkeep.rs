//! What is told of nodes that stay behind, and of their record spools, on both engines.

use rr_contract::model::id::NodeId;
use rr_contract::wire::fleet;
use rr_contract::wire::management::NotificationKind;

use super::*;
use crate::publish::{Ledger as _, LiveNode, Seat};
use crate::store::ledger::Crash;
use crate::store::request::RecordLoss;
use crate::{compile, document};

const FIVE: Duration = Duration::from_secs(300);

/// A proxy of organization 1, served in one region, in some version.
fn proxy(n: u8, place: u8, version: u64) -> store::Put {
    let id = Noun::Proxy.id([n; 16]);
    let proxy = Proxy {
        id: id.clone(),
        org: org(1),
        name: format!("p{n}"),
        caller_credentials: vec![Noun::Credential.id([1; 16])],
        target: Noun::Target.id([1; 16]),
        upstream_credential: Noun::Credential.id([2; 16]),
        regions: vec![region(place)],
        max_request_bytes: version,
        ..Proxy::default()
    };
    let payload = compile::payload(&document::Resource::wrap(proxy.clone()), None).expect("is valid");
    store::Put { payload, ..put(&org(1), &id, &proxy.name.clone(), proxy, None) }
}

/// Where the nodes of a region should stand now.
async fn desired(jobs: &Jobs, n: u8) -> fleet::Position {
    let publisher = &jobs.services.publisher;
    publisher.catch_up().await.expect("reads");
    publisher.position(region(n).parse().expect("an id")).expect("is loaded")
}

/// A node's stream, with where it stands.
async fn seat(jobs: &Jobs, node: &str, place: u8, running: &fleet::Position, diverged: bool) -> Seat {
    let live = LiveNode {
        region: region(place).parse().expect("an id"),
        address: String::new(),
        build: String::new(),
        boot_id: Vec::new(),
        features: Vec::new(),
        status: fleet::Status { running: Some(running.clone()), ..Default::default() },
        last_seen_at: jobs.store().now(),
        diverged,
    };
    jobs.fleet().enter(node.parse().expect("an id"), live).await.expect("is free")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connected_node_that_lacks_a_revision_for_five_minutes_is_told_once_with_its_age() {
    on_both("stale", async |store, clock| {
        node_token(&store).await;
        write(&store, vec![place(1, "eu", ""), place(2, "acme", &org(1))]).await;
        write(&store, vec![proxy(1, 1, 1), proxy(2, 2, 1)]).await;
        let jobs = jobs(&store);
        let (old, theirs_old) = (desired(&jobs, 1).await, desired(&jobs, 2).await);
        let mut nodes = Vec::new();
        for n in 1..=6 {
            let place = if n == 6 { 2 } else { 1 };
            nodes.push(node(&store, n, &region(place), &fleet::Status::default()).await);
        }
        clock.pass(FIVE);
        let run = async || jobs.run(Job::StaleNodes).await.expect("runs");
        let mut seats = vec![
            seat(&jobs, &nodes[0], 1, &old, false).await,
            seat(&jobs, &nodes[1], 1, &old, false).await,
            // One of another history, which is told otherwise.
            seat(&jobs, &nodes[2], 1, &old, true).await,
            seat(&jobs, &nodes[5], 2, &theirs_old, false).await,
        ];
        assert_eq!(run().await, 0, "all are in step");
        // What changes elsewhere is nothing that they lack.
        write(&store, vec![place(3, "us", "")]).await;
        write(&store, vec![proxy(3, 3, 1)]).await;
        desired(&jobs, 1).await;
        clock.pass(FIVE);
        assert_eq!(run().await, 0);
        let changed = write(&store, vec![proxy(1, 1, 2), proxy(2, 2, 2)]).await;
        clock.pass(MINUTE);
        write(&store, vec![proxy(1, 1, 3)]).await;
        let new = desired(&jobs, 1).await;
        drop(seats.remove(1));
        seats.push(seat(&jobs, &nodes[1], 1, &new, false).await);
        assert_eq!(run().await, 0, "it may be under way");
        clock.pass(MINUTE * 4);
        assert_eq!(run().await, 0, "it was not behind for as long at each look");
        // One that comes back after a while has to catch up first, and one on which it ended is told otherwise.
        seats.push(seat(&jobs, &nodes[3], 1, &old, false).await);
        seats.push(seat(&jobs, &nodes[4], 1, &old, false).await);
        let crash = Crash {
            node: nodes[4].parse().expect("an id"),
            region: region(1).parse().expect("an id"),
            digest: new.digest.clone(),
            revision: new.revision,
        };
        store.crashed(crash).await.expect("writes");
        clock.pass(MINUTE);
        assert_eq!(run().await, 2);
        let rows = told(&store, "").await;
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!((&row.subject, row.kind), (&nodes[0], i32::from(NotificationKind::NodeStale)));
        assert_eq!(row.title, format!("node {} of region eu is 6 minutes behind", nodes[0]));
        let said = format!("runs revision {} from 2026-01-01T00:00:00Z, 6 minutes behind", old.revision);
        assert!(row.message.contains(&said), "{}", row.message);
        assert!(row.message.contains(&format!("it lacks revision {changed}, due")), "{}", row.message);
        assert!(row.message.contains(&format!("newest is {}", new.revision)), "{}", row.message);
        let rows = told(&store, &org(1)).await;
        assert_eq!(
            rows.iter().map(|row| &row.subject).collect::<Vec<_>>(),
            [&nodes[5]],
            "who has the region"
        );

        // Once: neither a later turn nor what comes on top is news. The one that came back has not caught up.
        write(&store, vec![proxy(1, 1, 4)]).await;
        desired(&jobs, 1).await;
        clock.pass(FIVE);
        assert_eq!(run().await, 1);
        let mut subjects: Vec<_> = told(&store, "").await.into_iter().map(|row| row.subject).collect();
        subjects.sort();
        let mut wanted = vec![nodes[0].clone(), nodes[3].clone()];
        wanted.sort();
        assert_eq!(subjects, wanted);
        // A node that went is not stale but lost.
        drop(seats);
        assert_eq!(run().await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_fills_and_records_that_were_lost_are_told_once_an_hour_to_whoever_has_the_region() {
    on_both("spools", async |store, clock| {
        node_token(&store).await;
        write(&store, vec![place(1, "eu", ""), place(2, "acme", &org(1))]).await;
        let spool = |spool_bytes: u64, spool_quota_bytes: u64| fleet::Status {
            spool_bytes,
            spool_quota_bytes,
            ..Default::default()
        };
        let fills = node(&store, 1, &region(1), &spool(80, 100)).await;
        node(&store, 2, &region(1), &spool(79, 100)).await;
        // An older one does not say its quota.
        node(&store, 3, &region(1), &spool(80, 0)).await;
        let theirs = node(&store, 4, &region(2), &spool(0, 100)).await;
        let unclean = node(&store, 5, &region(1), &spool(0, 100)).await;
        let lose = async |node: &str, sequence: u64, losses: &[(u64, &str)]| {
            let at = store.now();
            let loss = |(records, reason): &(u64, &str)| RecordLoss {
                records: *records,
                from: at,
                to: at,
                reason: (*reason).to_owned(),
            };
            let batch = Ingest {
                node: node.to_owned(),
                region: region(2),
                spool: vec![7; 16],
                sequence,
                records: Vec::new(),
                begun: Vec::new(),
                ended: Vec::new(),
                losses: losses.iter().map(loss).collect(),
                uses: Vec::new(),
                sums: Vec::new(),
                since: 0,
            };
            note(&store, |txn| {
                Box::pin(async move {
                    ingest(txn, batch).await?;
                    Ok(())
                })
            })
            .await;
        };
        lose(&theirs, 1, &[(7, "spool-full"), (2, "ring-full"), (5, "whatever")]).await;
        // What no node can have lost upsets nobody.
        lose(&theirs, 2, &[(u64::MAX, "damaged"), (u64::MAX, "damaged")]).await;
        lose(&unclean, 1, &[(0, "unclean"), (0, "spool-full")]).await;
        let jobs = jobs(&store);
        assert_eq!(jobs.run(Job::Spools).await.expect("runs"), 2);
        assert_eq!(jobs.run(Job::Spools).await.expect("runs"), 0);
        assert_eq!(self::jobs(&store).run(Job::Spools).await.expect("runs"), 0);
        let rows = told(&store, "").await;
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!((&row.subject, row.kind), (&fills, i32::from(NotificationKind::SpoolFilling)));
        assert!(
            row.title.ends_with("of region eu has a record spool that is filled to 80 %"),
            "{}",
            row.title
        );
        let rows = told(&store, &org(1)).await;
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!(row.subject, theirs);
        let said = "in the last hour (2000000000000 damaged, 2 ring-full, 7 spool-full)";
        assert!(row.message.contains(said), "{}", row.message);

        // An hour later nobody has said anything new.
        clock.pass(MINUTE * 61);
        assert_eq!(jobs.run(Job::Spools).await.expect("runs"), 0);
        node(&store, 6, &region(1), &spool(100, 100)).await;
        assert_eq!(jobs.run(Job::Spools).await.expect("runs"), 1);
        let nodes: Vec<String> = told(&store, "").await.into_iter().map(|row| row.subject).collect();
        assert!(nodes.contains(&NodeId::from_random([6; 16]).to_string()));
        // An old word says nothing about now.
        node(&store, 7, &region(1), &spool(100, 100)).await;
        clock.pass(MINUTE * 6);
        assert_eq!(jobs.run(Job::Spools).await.expect("runs"), 0);
    })
    .await;
}
