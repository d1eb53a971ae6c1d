//! What is told of limits that are reached, or nearly used up, as records of a batch say, on both engines.

use rr_contract::wire::fleet;
use rr_contract::wire::management::NotificationKind;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn requests_over_a_limit_are_told_once_for_each_proxy_and_hour() {
    on_both("limits", async |store, clock| {
        let id = Noun::Proxy.id([1; 16]);
        let proxy = Proxy { id: id.clone(), name: "shop".to_owned(), ..Proxy::default() };
        let links = vec![(crate::document::Part::Region, Noun::Region, region(1))];
        write(&store, vec![store::Put { links, ..put(&org(1), &id, "shop", proxy, Some("shop")) }]).await;
        for sequence in 1..=4_u64 {
            let record = |n: u64, status: i32, code: &str, proxy: &str| request_row::Model {
                id: format!("rq_{sequence}_{n}"),
                org: org(1),
                proxy: proxy.to_owned(),
                caller: String::new(),
                received_at: store.now(),
                stored_at: store.now(),
                node: "nd".to_owned(),
                region: region(1),
                status,
                code: code.to_owned(),
                path: String::new(),
                rule: String::new(),
                arrival: 0,
                count: 1,
                record: vec![1],
            };
            let batch = Ingest {
                node: "nd".to_owned(),
                region: region(1),
                spool: vec![7; 16],
                sequence,
                records: vec![
                    record(1, 429, "rate-limited", &id),
                    record(2, 429, "rate-limited", &id),
                    record(3, 429, "proxy-access-granted", &id),
                    // Never served there: not the node's to report.
                    record(4, 429, "rate-limited", &Noun::Proxy.id([2; 16])),
                ],
                begun: Vec::new(),
                ended: Vec::new(),
                losses: Vec::new(),
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
            clock.pass(MINUTE * 30);
        }
        let rows = told(&store, &org(1)).await;
        assert_eq!(rows.len(), 2, "{rows:?}");
        for row in &rows {
            assert_eq!(
                (row.subject.as_str(), row.title.as_str()),
                (id.as_str(), "proxy shop refused requests over a limit")
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_nearly_used_up_is_told_once_for_each_window_and_proxy_before_it_is_reached() {
    use fleet::{LimitKind, Window};

    on_both("near limits", async |store, clock| {
        let id = Noun::Proxy.id([1; 16]);
        let proxy = Proxy { id: id.clone(), name: "shop".to_owned(), ..Proxy::default() };
        let links = vec![(crate::document::Part::Region, Noun::Region, region(1))];
        write(&store, vec![store::Put { links, ..put(&org(1), &id, "shop", proxy, Some("shop")) }]).await;
        write(&store, vec![credential(1, "app", None)]).await;
        let limit = |kind: LimitKind, window: Window, used: u64| fleet::LimitState {
            kind: kind.into(),
            window: window.into(),
            limit: 100,
            used,
        };
        let mut sequence = 0;
        let mut report = async |status: i32, code: &str, proxy: &str, limits: Vec<fleet::LimitState>| {
            sequence += 1;
            let id = format!("rq_{sequence}");
            let wire = fleet::Record { id: id.clone(), limits, ..Default::default() };
            let record = request_row::Model {
                id,
                org: org(1),
                proxy: proxy.to_owned(),
                caller: Noun::Credential.id([1; 16]),
                received_at: store.now(),
                stored_at: store.now(),
                node: "nd_1".to_owned(),
                region: region(1),
                status,
                code: code.to_owned(),
                path: String::new(),
                rule: String::new(),
                arrival: 0,
                count: 1,
                record: wire.encode_to_vec(),
            };
            let batch = Ingest {
                node: "nd_1".to_owned(),
                region: region(1),
                spool: vec![7; 16],
                sequence,
                records: vec![record],
                begun: Vec::new(),
                ended: Vec::new(),
                losses: Vec::new(),
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
        let near = |used| vec![limit(LimitKind::Proxy, Window::Day, used)];
        report(200, "proxy-access-granted", &id, near(79)).await;
        // Nobody is told of a minute, of what a node has no word about, and of a limit that is reached as of a near one.
        report(200, "proxy-access-granted", &id, vec![limit(LimitKind::Proxy, Window::Minute, 99)]).await;
        report(200, "proxy-access-granted", &Noun::Proxy.id([2; 16]), near(90)).await;
        assert!(told(&store, &org(1)).await.is_empty());
        report(429, "rate-limited", &id, near(100)).await;
        assert_eq!(told(&store, &org(1)).await.len(), 1);
        let rows = async || {
            let mut rows = told(&store, &org(1)).await;
            rows.retain(|row| row.kind == i32::from(NotificationKind::LimitNear));
            rows
        };
        assert!(rows().await.is_empty());
        for used in [80, 81, 99] {
            report(200, "proxy-access-granted", &id, near(used)).await;
        }
        let told = rows().await;
        let [row] = &told[..] else { panic!("{told:?}") };
        assert_eq!((&row.subject, &*row.title), (&id, "proxy shop has used 80 % of its limit for the day"));
        assert!(row.message.contains("Node nd_1 has counted 80 of 100 requests"), "{}", row.message);
        // Another limit, and another day, are other news.
        report(200, "proxy-access-granted", &id, vec![limit(LimitKind::Caller, Window::Day, 85)]).await;
        assert_eq!(rows().await.len(), 2);
        assert!(rows().await.iter().any(|row| row.message.contains("85 of 100 requests of caller app")));
        clock.pass(DAY);
        report(200, "proxy-access-granted", &id, near(95)).await;
        assert_eq!(rows().await.len(), 3);
        // Of what one batch says of a limit the most counts.
        let hour = [85, 96, 90].map(|used| limit(LimitKind::Proxy, Window::Hour, used));
        report(200, "proxy-access-granted", &id, hour.into()).await;
        assert!(
            rows().await.iter().any(|row| row.title == "proxy shop has used 96 % of its limit for the hour")
        );
    })
    .await;
}
