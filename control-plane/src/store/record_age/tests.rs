//! Which records go and which stay, on both engines, and how days come and go on PostgreSQL.

use std::time::Duration;

use rr_contract::model::time;
use sea_orm::{
    ConnectionTrait as _, DatabaseBackend, FromQueryResult, IntoActiveModel, Statement, TransactionTrait as _,
};
use sea_orm_migration::MigratorTrait as _;

use super::*;
use crate::store::migration::Migrator;
use crate::store::request::{self, Ingest, Ingested, RecordLoss, RequestFilter, ingest};
use crate::store::{request_row, time_of};
use crate::tests::stores::{self, on_both, put, write};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: i64 = DAY / 24;

fn org(n: u8) -> String {
    Noun::Org.id([n; 16])
}

/// Writes an organization that keeps its records for so many days.
async fn keeps(store: &Store, n: u8, record_days: u32) {
    let org = Org { id: org(n), name: format!("o{n}"), record_days, ..Org::default() };
    write(store, vec![put("", &self::org(n), &format!("o{n}"), org, None)]).await;
}

fn rows(store: &Store, n: u8, records: &[(&str, i64)]) -> Vec<request_row::Model> {
    let stored_at = store.now();
    let row = |(id, received_at): &(&str, i64)| request_row::Model {
        id: (*id).to_owned(),
        org: org(n),
        proxy: format!("px_{n}"),
        caller: String::new(),
        received_at: *received_at,
        stored_at,
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
    records.iter().map(row).collect()
}

/// Writes them as they are, into a schema that has no room for today's batches.
async fn put_rows(store: &Store, n: u8, records: &[(&str, i64)]) {
    let rows = rows(store, n, records);
    let written: Result<_, StoreError> = store
        .note(move |txn| {
            Box::pin(async move {
                let rows = rows.into_iter().map(IntoActiveModel::into_active_model);
                request_record::Entity::insert_many(rows)
                    .exec_without_returning(txn.tx())
                    .await
                    .map_err(StoreError::statement("write records"))
            })
        })
        .await;
    written.expect("writes");
}

/// Stores records of an organization, each by its id and the time at which it was received.
async fn store_records(store: &Store, n: u8, records: &[(&str, i64)]) {
    let (org, proxy) = (org(n), format!("px_{n}"));
    let home = format!(
        r#"INSERT INTO "proxy_home" ("proxy", "region", "org") VALUES ('{proxy}', 'rg', '{org}') ON CONFLICT DO NOTHING"#
    );
    store.0.write.execute_unprepared(&home).await.expect("inserts");
    let batch = Ingest {
        node: "nd".to_owned(),
        region: "rg".to_owned(),
        // A stream of its own for each batch.
        spool: records[0].0.as_bytes().to_vec(),
        sequence: 1,
        records: rows(store, n, records),
        begun: Vec::new(),
        ended: Vec::new(),
        losses: vec![RecordLoss { records: 3, from: 0, to: 1, reason: "ring-full".to_owned() }],
        uses: Vec::new(),
        sums: Vec::new(),
        since: 0,
    };
    let taken = store.note(move |txn| Box::pin(async move { ingest(txn, batch).await })).await;
    let all = Ingested::Stored { stored: records.len() as u64, foreign: 0 };
    assert_eq!(taken.expect("is taken").outcome, all);
}

/// Ids of the records of an organization.
async fn ids(store: &Store, n: u8) -> Vec<String> {
    let filter = RequestFilter { org: org(n), ..RequestFilter::default() };
    let mut ids: Vec<String> =
        request::list(store, filter, 100).await.expect("reads").into_iter().map(|row| row.id).collect();
    ids.sort();
    ids
}

async fn remove_now(store: &Store) -> Gone {
    remove(&store.records(), store.now()).await.expect("removes")
}

#[derive(FromQueryResult)]
struct Text {
    text: String,
}

/// The texts that a statement answers; none on SQLite.
async fn texts(store: &Store, statement: &str) -> Option<Vec<String>> {
    let backend = store.conn().get_database_backend();
    if backend == DatabaseBackend::Sqlite {
        return None;
    }
    let found = Text::find_by_statement(Statement::from_string(backend, statement)).all(store.conn()).await;
    Some(found.expect("reads").into_iter().map(|row| row.text).collect())
}

/// The partitions, as the server has them; none on SQLite.
async fn partitions(store: &Store) -> Option<Vec<String>> {
    let statement = r#"SELECT "c"."relname"::text AS "text" FROM "pg_inherits" "i" JOIN "pg_class" "c" ON "c"."oid" = "i"."inhrelid" JOIN "pg_class" "p" ON "p"."oid" = "i"."inhparent" WHERE "p"."relname" = 'request_record' ORDER BY 1"#;
    texts(store, statement).await
}

/// The partition of a record; none on SQLite.
async fn partition_of(store: &Store, id: &str) -> Option<String> {
    let statement =
        format!(r#"SELECT "tableoid"::regclass::text AS "text" FROM "request_record" WHERE "id" = '{id}'"#);
    texts(store, &statement).await.and_then(|found| found.into_iter().next())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_goes_after_its_organizations_days_and_not_before() {
    on_both("record days", async |store, clock| {
        for (n, days) in [(1, 1), (2, 30), (3, 0), (4, 400)] {
            keeps(&store, n, days).await;
            make_days(&store.records()).await.expect("makes");
            store_records(&store, n, &[(&format!("r{n}"), store.now())]).await;
        }
        let began = store.now();
        // Each organization with the days for which it keeps what it has.
        for (n, kept) in [(1, 1), (2, 30), (3, 90)] {
            let at = began + kept * DAY;
            clock.pass(Duration::from_micros(u64::try_from(at - store.now()).expect("goes on")));
            make_days(&store.records()).await.expect("makes");
            let before = Gone { records: 0, ..remove_now(&store).await };
            assert_eq!(before, Gone { losses: before.losses, ..Gone::default() }, "to the microsecond");
            assert_eq!(ids(&store, n).await, [format!("r{n}")]);
            clock.pass(SECOND);
            assert_eq!(remove_now(&store).await.records, 1);
            for other in 1..=4 {
                assert_eq!(ids(&store, other).await.is_empty(), other <= n, "{other} after {kept} days");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_goes_whole_once_no_organization_keeps_it_that_is_there_or_may_come_back() {
    on_both("days", async |store, clock| {
        keeps(&store, 1, 10).await;
        let deleted_at = Some(time::timestamp(time_of(store.now())));
        let hidden = Org { id: org(2), name: "o2".to_owned(), record_days: 20, deleted_at, ..Org::default() };
        write(&store, vec![put("", &org(2), &org(2), hidden, None)]).await;
        make_days(&store.records()).await.expect("makes");
        let made = ["request_record_20251231", "request_record_20260101", "request_record_20260102"];
        if let Some(there) = partitions(&store).await {
            let all = [&made[..], &["request_record_20260103", "request_record_default"]].concat();
            assert_eq!(there, all);
        }
        for (n, ids) in [(1, ["a", "b"]), (2, ["c", "d"])] {
            let late = store.now() + 23 * HOUR;
            store_records(&store, n, &[(ids[0], store.now()), (ids[1], late)]).await;
        }
        assert!(partition_of(&store, "a").await.is_none_or(|it| it == made[1]));

        clock.pass(stores::DAY * 20);
        make_days(&store.records()).await.expect("makes");
        // Yesterday of then goes whole; of the day itself what the first has goes alone.
        let gone = remove_now(&store).await;
        let is_divided = partitions(&store).await.is_some();
        assert_eq!((gone.records, gone.days), (2, u64::from(is_divided)));
        assert_eq!((ids(&store, 1).await.len(), ids(&store, 2).await.len()), (0, 2));
        assert!(partition_of(&store, "c").await.is_none_or(|it| it == made[1]));

        // To the end of the day: its last record is kept to the last moment.
        clock.pass(SECOND * 86_399);
        assert_eq!(remove_now(&store).await.days, 0);
        assert!(partitions(&store).await.is_none_or(|there| there.contains(&made[1].to_owned())));
        clock.pass(SECOND);
        let gone = remove_now(&store).await;
        assert!(ids(&store, 2).await.is_empty());
        if let Some(there) = partitions(&store).await {
            assert_eq!((gone.records, gone.days), (0, 1), "nothing of it was deleted row by row");
            assert!(!there.contains(&made[1].to_owned()) && there.contains(&made[2].to_owned()), "{there:?}");
            let left = format!(
                r#"SELECT "relname"::text AS "text" FROM "pg_class" WHERE "relname" LIKE '{}%'"#,
                made[1]
            );
            assert_eq!(texts(&store, &left).await.expect("is PostgreSQL"), Vec::<String>::new());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fewer_days_take_effect_at_the_next_run_and_more_days_hold_what_is_there() {
    on_both("other days", async |store, clock| {
        keeps(&store, 1, 20).await;
        keeps(&store, 2, 20).await;
        for n in [1, 2] {
            let at = |days: i64| store.now() - days * DAY;
            let names = ["5", "15", "25"].map(|days| format!("{n}-{days}"));
            let records = [(names[0].as_str(), at(5)), (&names[1], at(15)), (&names[2], at(25))];
            store_records(&store, n, &records[..2]).await;
            keeps(&store, 2, 30).await;
            store_records(&store, n, &records[2..]).await;
        }
        remove_now(&store).await;
        assert_eq!((ids(&store, 1).await.len(), ids(&store, 2).await.len()), (2, 3));
        keeps(&store, 1, 10).await;
        assert_eq!(remove_now(&store).await.records, 1);
        assert_eq!(ids(&store, 1).await, ["1-5"]);
        assert_eq!(ids(&store, 2).await.len(), 3);
        keeps(&store, 1, 365).await;
        clock.pass(stores::DAY * 20);
        remove_now(&store).await;
        assert_eq!((ids(&store, 1).await.len(), ids(&store, 2).await.len()), (1, 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_a_day_that_was_dropped_is_taken_and_goes_with_the_next_run() {
    on_both("late", async |store, clock| {
        keeps(&store, 1, 5).await;
        make_days(&store.records()).await.expect("makes");
        let day = store.now();
        clock.pass(stores::DAY * 10);
        make_days(&store.records()).await.expect("makes");
        remove_now(&store).await;
        store_records(&store, 1, &[("late", day), ("young", store.now())]).await;
        assert!(partition_of(&store, "late").await.is_none_or(|it| it == "request_record_default"));
        assert!(partition_of(&store, "young").await.is_none_or(|it| it == "request_record_20260111"));
        assert_eq!(ids(&store, 1).await, ["late", "young"]);
        assert!(request::by_id(&store, &org(1), "late").await.expect("reads").is_some());
        assert_eq!(remove_now(&store).await.records, 1);
        assert_eq!(ids(&store, 1).await, ["young"]);
    })
    .await;
}

/// What a node's clock says that is wrong must neither stop ingest nor stay for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_from_ahead_goes_by_when_it_was_stored_and_a_day_with_records_is_not_made_over_them() {
    on_both("ahead", async |store, clock| {
        keeps(&store, 1, 5).await;
        let ahead = store.now() + 1000 * DAY;
        store_records(&store, 1, &[("ahead", ahead), ("no day", store.now())]).await;
        make_days(&store.records()).await.expect("makes the others");
        if let Some(there) = partitions(&store).await {
            assert!(!there.contains(&"request_record_20260101".to_owned()), "{there:?}");
            assert!(there.contains(&"request_record_20260102".to_owned()), "{there:?}");
        }
        clock.pass(stores::DAY * 5);
        assert_eq!(remove_now(&store).await.records, 0);
        clock.pass(SECOND);
        assert_eq!(remove_now(&store).await.records, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_an_organization_that_is_gone_for_good_goes_and_others_keep_theirs() {
    on_both("gone", async |store, _clock| {
        keeps(&store, 2, 0).await;
        make_days(&store.records()).await.expect("makes");
        let ahead = store.now() + 1000 * DAY;
        store_records(&store, 1, &[("a", store.now()), ("b", ahead)]).await;
        store_records(&store, 2, &[("c", store.now()), ("d", ahead)]).await;
        assert_eq!(remove_now(&store).await.records, 2);
        assert_eq!((ids(&store, 1).await.len(), ids(&store, 2).await.len()), (0, 2));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_records_of_one_moment_go_in_slices_whoever_removes_them() {
    on_both("slices", async |store, _clock| {
        keeps(&store, 1, 1).await;
        let names: Vec<String> = (0..SLICE * 2 + 7).map(|n| format!("r{n}")).collect();
        let old = store.now() - 2 * DAY;
        let records: Vec<(&str, i64)> = names.iter().map(|id| (id.as_str(), old)).collect();
        store_records(&store, 1, &records).await;
        store_records(&store, 1, &[("young", store.now())]).await;
        let (org, now) = (org(1), store.now());
        let slice =
            store.note(move |txn| Box::pin(async move { remove_slice(txn, None, &org, now).await })).await;
        assert_eq!(slice.expect("removes"), SLICE, "a transaction is bounded");
        let records = store.records();
        let (one, two) = tokio::join!(remove(&records, now), remove(&records, now));
        assert_eq!(one.expect("removes").records + two.expect("removes").records, SLICE + 7);
        assert_eq!(ids(&store, 1).await, ["young"]);
        assert_eq!(remove_now(&store).await, Gone::default());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn losses_stay_as_long_as_any_organization_keeps_records_and_never_less_than_ninety_days() {
    on_both("losses", async |store, clock| {
        keeps(&store, 1, 1).await;
        store_records(&store, 1, &[("a", store.now())]).await;
        clock.pass(stores::DAY * 90);
        assert_eq!(remove_now(&store).await.losses, 0);
        keeps(&store, 2, 100).await;
        clock.pass(stores::DAY * 10);
        assert_eq!(remove_now(&store).await.losses, 0);
        clock.pass(SECOND);
        assert_eq!(remove_now(&store).await.losses, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_before_there_were_days_is_still_listed_and_goes_by_the_same_rule() {
    on_both("before", async |store, clock| {
        let migrations = Migrator::migrations();
        let ours = migrations.iter().position(|it| it.name().ends_with("twelfth_record_days"));
        let steps = u32::try_from(migrations.len() - ours.expect("is one")).expect("few");
        Migrator::down(&store.0.write, Some(steps)).await.expect("goes down");
        assert_eq!(partitions(&store).await.unwrap_or_default(), Vec::<String>::new());
        keeps(&store, 1, 10).await;
        keeps(&store, 2, 20).await;
        let now = store.now();
        for (n, names) in [(1, ["a", "b", "c"]), (2, ["d", "e", "f"])] {
            let times = [now - 15 * DAY, now, now + 1000 * DAY];
            let records: Vec<(&str, i64)> = names.into_iter().zip(times).collect();
            put_rows(&store, n, &records).await;
        }
        Migrator::up(&store.0.write, None).await.expect("comes up");
        assert_eq!(ids(&store, 1).await, ["a", "b", "c"]);
        assert_eq!(ids(&store, 2).await, ["d", "e", "f"]);
        let found = request::by_id(&store, &org(2), "f").await.expect("reads").expect("is there");
        assert_eq!((found.received_at, found.record), (now + 1000 * DAY, vec![1]));
        make_days(&store.records()).await.expect("makes");
        if let Some(there) = partitions(&store).await {
            let days = ["20260102", "20260103", "before_20260102", "default"];
            assert_eq!(there, days.map(|day| format!("request_record_{day}")));
        }
        assert!(partition_of(&store, "b").await.is_none_or(|it| it == "request_record_before_20260102"));
        assert_eq!(remove_now(&store).await.records, 1);
        assert_eq!((ids(&store, 1).await.len(), ids(&store, 2).await.len()), (2, 3));
        clock.pass(stores::DAY * 21);
        let gone = remove_now(&store).await;
        let is_divided = partitions(&store).await.is_some();
        // What came from ahead is in no day.
        assert_eq!((gone.records, gone.days), if is_divided { (2, 1) } else { (5, 0) });
        assert!(ids(&store, 1).await.is_empty() && ids(&store, 2).await.is_empty());

        // And back, with what is in days by then.
        make_days(&store.records()).await.expect("makes");
        store_records(&store, 1, &[("g", store.now()), ("h", store.now() + 100 * DAY)]).await;
        Migrator::down(&store.0.write, Some(steps)).await.expect("goes down");
        assert_eq!(ids(&store, 1).await, ["g", "h"]);
        Migrator::up(&store.0.write, None).await.expect("comes up");
        assert_eq!(ids(&store, 1).await, ["g", "h"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn days_come_and_go_while_records_come_in_and_are_read_and_none_is_refused() {
    on_both("at once", async |store, clock| {
        keeps(&store, 1, 2).await;
        let tasks = rr_contract::runtime::Tasks::new();
        let mut sends = Vec::new();
        for task in 0..4 {
            let store = store.clone();
            sends.push(tasks.spawn("send", async move {
                for n in 0..30 {
                    let names = ["now", "late", "ahead"].map(|what| format!("{task}-{n}-{what}"));
                    let times = [store.now(), store.now() - 5 * DAY, store.now() + 3 * DAY];
                    let records: Vec<(&str, i64)> = names.iter().map(String::as_str).zip(times).collect();
                    store_records(&store, 1, &records).await;
                    ids(&store, 1).await;
                }
            }));
        }
        // Two replicas.
        for _ in 0..15 {
            clock.pass(stores::DAY);
            let records = store.records();
            let (one, two) = tokio::join!(make_days(&records), make_days(&records));
            one.and(two).expect("makes");
            let records = store.records();
            let (one, two) = tokio::join!(remove(&records, store.now()), remove(&records, store.now()));
            one.and(two).expect("removes");
        }
        for send in sends {
            send.await.expect("each is stored");
        }
        clock.pass(stores::DAY * 10);
        remove_now(&store).await;
        assert_eq!(ids(&store, 1).await, Vec::<String>::new());
    })
    .await;
}

/// As a run does it that looked before somebody wanted more kept.
#[tokio::test(flavor = "multi_thread")]
async fn more_days_that_are_asked_for_while_a_run_is_under_way_hold_what_it_was_about_to_remove() {
    on_both("meanwhile", async |store, _clock| {
        keeps(&store, 1, 5).await;
        let (org, now, records) = (org(1), store.now(), store.records());
        store_records(&store, 1, &[("old", now - 10 * DAY)]).await;
        assert!(any_too_old(&records, &org, now).await.expect("reads"));
        keeps(&store, 1, 20).await;
        let slice =
            store.note(move |txn| Box::pin(async move { remove_slice(txn, None, &org, now).await })).await;
        assert_eq!((slice.expect("removes"), ids(&store, 1).await.len()), (0, 1));
    })
    .await;
}

/// On PostgreSQL a day does not go while somebody reads.
#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_day_that_cannot_be_dropped_go_as_others_do() {
    on_both("held day", async |store, clock| {
        keeps(&store, 1, 5).await;
        make_days(&store.records()).await.expect("makes");
        store_records(&store, 1, &[("old", store.now())]).await;
        clock.pass(stores::DAY * 100);
        let is_divided = partitions(&store).await.is_some();
        let mut reader = None;
        if is_divided {
            let txn = store.0.write.begin().await.expect("begins");
            txn.execute_unprepared(r#"SELECT 1 FROM "request_record" LIMIT 1"#).await.expect("reads");
            reader = Some(txn);
        }
        let gone = remove(&store.records(), store.now()).await;
        assert_eq!(gone.is_err(), is_divided, "{gone:?}");
        assert!(ids(&store, 1).await.is_empty());
        drop(reader);
    })
    .await;
}
