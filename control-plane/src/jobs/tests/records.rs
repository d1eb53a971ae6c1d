//! Records by age, under a clock that may be wrong.

use rr_contract::wire::management::Org;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumped_removes_no_record_until_a_person_says_that_it_is_right() {
    on_both("records and a clock", async |store, clock| {
        let keeps = Org { id: org(1), name: "o1".to_owned(), record_days: 30, ..Org::default() };
        let id = Noun::Proxy.id([1; 16]);
        let proxy = Proxy { id: id.clone(), name: "shop".to_owned(), ..Proxy::default() };
        let links = vec![(crate::document::Part::Region, Noun::Region, region(1))];
        let shop = store::Put { links, ..put(&org(1), &id, "shop", proxy, Some("shop")) };
        write(&store, vec![put("", &org(1), &org(1), keeps, None), shop]).await;
        jobs(&store).run(Job::Records).await.expect("runs");
        let record = request_row::Model {
            id: "rq_1".to_owned(),
            org: org(1),
            proxy: id.clone(),
            caller: String::new(),
            received_at: store.now(),
            stored_at: store.now(),
            node: "nd".to_owned(),
            region: region(1),
            status: 200,
            code: "proxy-access-granted".to_owned(),
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
            sequence: 1,
            records: vec![record],
            begun: Vec::new(),
            ended: Vec::new(),
            losses: Vec::new(),
            uses: Vec::new(),
            sums: Vec::new(),
            since: 0,
        };
        note(&store, |txn| Box::pin(async move { ingest(txn, batch).await.map(drop) })).await;
        let is_there =
            async || store::request::by_id(&store, &org(1), "rq_1").await.expect("reads").is_some();
        // What is believed goes on in days, and is not old enough.
        for _ in 0..4 {
            clock.pass(clock::STEP);
            jobs(&store).run(Job::Records).await.expect("runs");
        }
        assert!(is_there().await, "after 28 days");
        clock.pass(DAY * 400);
        for _ in 0..2 {
            let error = jobs(&store).run(Job::Records).await.expect_err("waits for a person").to_string();
            assert!(error.contains("--accept-clock"), "{error}");
            assert!(is_there().await);
        }
        clock::accept(&store).await.expect("is kept");
        assert!(jobs(&store).run(Job::Records).await.expect("runs") > 0);
        assert!(!is_there().await);
    })
    .await;
}
