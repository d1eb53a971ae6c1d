//! Records of proxied requests: each batch once, and of nothing that its region never served.

use rr_contract::runtime::Tasks;
use sea_orm::ConnectionTrait as _;

use super::on_both;
use crate::store::request::{BEGUN, Ingest, Ingested, PathTerm, ingest};
use crate::store::{Store, request, request_row};

pub(super) fn batch(sequence: u64, ids: &[&str]) -> Ingest {
    let row = |id: &&str| request_row::Model {
        id: (*id).to_owned(),
        org: "og_a".to_owned(),
        proxy: if id.starts_with("foreign") { "px_b" } else { "px_a" }.to_owned(),
        caller: String::new(),
        received_at: 1,
        stored_at: 1,
        node: "nd".to_owned(),
        region: "rg".to_owned(),
        status: 200,
        code: "proxy-access-granted".to_owned(),
        path: String::new(),
        rule: String::new(),
        arrival: 0,
        count: 1,
        record: vec![1],
    };
    Ingest {
        node: "nd".to_owned(),
        region: "rg".to_owned(),
        spool: vec![7; 16],
        sequence,
        records: ids.iter().map(row).collect(),
        begun: Vec::new(),
        ended: Vec::new(),
        losses: vec![request::RecordLoss { records: 3, from: 0, to: 1, reason: "ring-full".to_owned() }],
        uses: Vec::new(),
        sums: Vec::new(),
        since: 0,
    }
}

/// protocol.md A.12.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_stored_once_however_often_and_in_whatever_order_it_is_sent() {
    on_both("telemetry", async |store| {
        home(&store).await;
        let send = async |batch: Ingest| {
            let taken = store.note(move |txn| Box::pin(async move { ingest(txn, batch).await })).await;
            taken.expect("is taken").outcome
        };
        let stored = Ingested::Stored { stored: 2, foreign: 1 };
        assert_eq!(send(batch(2, &["b"])).await, Ingested::Expected(1));
        assert_eq!(send(batch(1, &["a", "foreign", "b"])).await, stored);
        assert_eq!(send(batch(1, &["a", "foreign", "b"])).await, Ingested::Duplicate(1));
        assert_eq!(send(batch(3, &["c"])).await, Ingested::Expected(2));
        // Eight zombies of one stream send the same batch at once.
        let tasks = Tasks::new();
        let mut sends = Vec::new();
        for _ in 0..8 {
            let store = store.clone();
            sends.push(tasks.spawn("send", async move {
                let batch = batch(2, &["c"]);
                store.note(move |txn| Box::pin(async move { ingest(txn, batch).await })).await
            }));
        }
        let mut outcomes = Vec::new();
        for send in sends {
            outcomes.push(send.await.expect("no panic").expect("is taken").outcome);
        }
        let fresh = outcomes.iter().filter(|it| matches!(it, Ingested::Stored { .. })).count();
        assert_eq!(fresh, 1, "{outcomes:?}");
        let filter = request::RequestFilter { org: "og_a".to_owned(), ..Default::default() };
        let mut ids: Vec<String> =
            request::list(&store, filter, 10).await.expect("reads").into_iter().map(|row| row.id).collect();
        ids.sort();
        assert_eq!(ids, ["a", "b", "c"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_numbered_in_the_order_in_which_they_are_committed_by_however_many_at_once() {
    on_both("arrival", async |store| {
        home(&store).await;
        let tasks = Tasks::new();
        let mut sends = Vec::new();
        for spool in 0..8_u8 {
            let store = store.clone();
            sends.push(tasks.spawn("send", async move {
                for sequence in 1..=5 {
                    let ids = [0, 1, 2].map(|n| format!("{spool}-{sequence}-{n}"));
                    let ids = ids.each_ref().map(String::as_str);
                    let batch = Ingest { spool: vec![spool; 16], ..batch(sequence, &ids) };
                    let sent = store.note(move |txn| Box::pin(async move { ingest(txn, batch).await })).await;
                    sent.expect("is taken");
                }
            }));
        }
        let all = || request::RequestFilter { org: "og_a".to_owned(), ..Default::default() };
        // Whoever follows sees each once, and none that is numbered below one that was seen.
        let (mut seen, mut cursor) = (Vec::new(), 0);
        while seen.len() < 8 * 5 * 3 {
            let newest = request::newest(&store).await.expect("reads");
            let (rows, count) =
                request::arrived(&store, all(), (cursor, newest), 1_000).await.expect("reads");
            assert_eq!(rows.len() as u64, count);
            seen.extend(rows.into_iter().map(|row| row.arrival));
            cursor = newest;
        }
        for send in sends {
            send.await.expect("no panic");
        }
        assert_eq!(seen, (1..=120).collect::<Vec<i64>>());
        let (rows, count) = request::arrived(&store, all(), (20, 100), 7).await.expect("reads");
        let numbers: Vec<_> = rows.into_iter().map(|row| row.arrival).collect();
        assert_eq!((numbers, count), ((94..=100).collect(), 80));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_under_an_id_that_is_in_use_is_not_taken_or_never_stands_in_for_the_first() {
    on_both("ids in use", async |store| {
        home(&store).await;
        let send = async |sequence: u64, received_at: i64, code: &str| {
            let mut batch = batch(sequence, &["a"]);
            batch.records[0].received_at = received_at;
            batch.records[0].code = code.to_owned();
            let taken = store.note(move |txn| Box::pin(async move { ingest(txn, batch).await })).await;
            taken.expect("is taken").outcome
        };
        assert_eq!(send(1, 100, "first").await, Ingested::Stored { stored: 1, foreign: 0 });
        assert_eq!(send(2, 100, "second").await, Ingested::Stored { stored: 0, foreign: 1 });
        for (sequence, received_at) in [(3, 99), (4, 101)] {
            send(sequence, received_at, "third").await;
            let found = request::by_id(&store, "og_a", "a").await.expect("reads").expect("is there");
            assert_eq!((found.code.as_str(), found.received_at), ("first", 100));
        }
    })
    .await;
}

/// What a proxy waits for is told twice, and is one record.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_request_takes_the_place_of_its_beginning_and_of_no_record_of_others() {
    on_both("begun", async |store| {
        home(&store).await;
        let send = async |batch: Ingest| {
            let taken = store.note(move |txn| Box::pin(async move { ingest(txn, batch).await })).await;
            taken.expect("is taken").outcome
        };
        let begun = |sequence, ids: &[&str]| {
            let mut begun = batch(sequence, ids);
            std::mem::swap(&mut begun.begun, &mut begun.records);
            for row in &mut begun.begun {
                (row.count, row.code) = (BEGUN, "under-way".to_owned());
            }
            begun
        };
        let ended = |sequence, ids: &[&str]| Ingest {
            ended: ids.iter().map(|id| (*id).to_owned()).collect(),
            ..batch(sequence, ids)
        };
        let found = async || {
            let filter = request::RequestFilter { org: "og_a".to_owned(), ..Default::default() };
            let mut rows: Vec<String> = request::list(&store, filter, 10)
                .await
                .expect("reads")
                .into_iter()
                .map(|row| format!("{} {}", row.id, row.code))
                .collect();
            rows.sort();
            rows
        };
        let nothing = Ingested::Stored { stored: 0, foreign: 0 };
        let one = Ingested::Stored { stored: 1, foreign: 0 };
        assert_eq!(send(begun(1, &["a", "b", "foreign"])).await, nothing, "they stand for no request");
        assert_eq!(found().await, ["a under-way", "b under-way"]);
        // Another node's word ends nothing.
        let theirs = Ingest { node: "nd_other".to_owned(), ..ended(1, &["a"]) };
        assert_eq!(send(theirs).await, Ingested::Stored { stored: 0, foreign: 1 });
        assert_eq!(found().await, ["a under-way", "b under-way"]);
        assert_eq!(send(ended(2, &["a"])).await, one);
        assert_eq!(found().await, ["a proxy-access-granted", "b under-way"]);
        // Where both come at once, or the end first, the end counts.
        let mut both = ended(3, &["c"]);
        both.begun = begun(3, &["c"]).begun;
        assert_eq!(send(both).await, one);
        assert_eq!(send(begun(4, &["a", "c"])).await, nothing);
        assert_eq!(send(ended(5, &["a"])).await, Ingested::Stored { stored: 0, foreign: 1 }, "once");
        assert_eq!(found().await, ["a proxy-access-granted", "b under-way", "c proxy-access-granted"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_found_by_what_their_paths_are_and_begin_with() {
    on_both("paths", async |store| {
        home(&store).await;
        let paths = ["/v1/users", "/v1/users/7", "/V1/users/100%_a", "/v1/gr\u{f6}\u{df}e"];
        let mut batch = batch(1, &["a", "b", "c", "d"]);
        for (row, path) in batch.records.iter_mut().zip(paths) {
            path.clone_into(&mut row.path);
        }
        store.note(move |txn| Box::pin(async move { ingest(txn, batch).await })).await.expect("is taken");
        let found = async |term: PathTerm| {
            let paths = vec![term];
            let filter = request::RequestFilter { org: "og_a".to_owned(), paths, ..Default::default() };
            let rows = request::list(&store, filter, 10).await.expect("reads");
            let mut ids: Vec<String> = rows.into_iter().map(|row| row.id).collect();
            ids.sort();
            ids.concat()
        };
        let begins = |text: &str| PathTerm::BeginsWith(text.to_owned());
        assert_eq!(found(PathTerm::Is("/v1/users".to_owned())).await, "a");
        assert_eq!(found(begins("/v1/users")).await, "ab");
        assert_eq!(found(begins("/V1/users/100%_")).await, "c");
        assert_eq!(found(begins("/v1/users/_")).await, "");
        assert_eq!(found(begins("/v1/gr\u{f6}\u{df}")).await, "d");
    })
    .await;
}

/// Says that px_a was served in rg.
pub(super) async fn home(store: &Store) {
    let statement = r#"INSERT INTO "proxy_home" ("proxy", "region", "org") VALUES ('px_a', 'rg', 'og_a')"#;
    store.0.write.execute_unprepared(statement).await.expect("inserts");
}
