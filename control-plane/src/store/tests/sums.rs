//! Sums of requests: added up exactly once, whoever adds and however often they were sent.

use rr_contract::model::latency::Latencies;
use rr_contract::runtime::Tasks;
use rr_contract::wire::fleet;
use sea_orm::ConnectionTrait as _;

use super::on_both;
use super::record::{batch, home};
use crate::store::Store;
use crate::store::account::{self, AccountFilter};
use crate::store::level::Level;
use crate::store::metrics::{self, Dimension, Measures, MetricsFilter};
use crate::store::request::{Ingest, ingest};
use crate::store::sums;

const MINUTE: i64 = 60 * 1_000_000;
/// 2025-11-24T16:00:00Z, in minutes.
pub(super) const THEN: u64 = 29_400_000;

pub(super) fn sum(minute: u64, status: u32, requests: u64) -> fleet::Sum {
    let mut latencies = Latencies::default();
    (0..requests).for_each(|n| latencies.add(std::time::Duration::from_millis(n + 1)));
    fleet::Sum {
        minute,
        org: "og_a".to_owned(),
        proxy: "px_a".to_owned(),
        status,
        code: if status == 403 { "rule-denied" } else { "proxy-access-granted" }.to_owned(),
        revision: 7,
        requests,
        request_bytes: requests * 10,
        micros: requests * 1_000,
        longest_micros: requests * 1_000,
        latencies: latencies.encode(),
        meters: vec![fleet::MeterSum {
            meter: "mt_a".to_owned(),
            charged_millionths: requests,
            missing: 1,
            exceeded: 0,
        }],
        ..fleet::Sum::default()
    }
}

pub(super) fn sums(sequence: u64, sums: Vec<fleet::Sum>) -> Ingest {
    Ingest { sums, losses: Vec::new(), ..batch(sequence, &[]) }
}

pub(super) async fn send(store: &Store, batch: Ingest) {
    store.note(move |txn| Box::pin(async move { ingest(txn, batch).await })).await.expect("is taken");
}

pub(super) async fn fold(store: &Store, most: u64) -> u64 {
    store.note(move |txn| Box::pin(async move { sums::fold(txn, most).await })).await.expect("adds up")
}

fn filter(level: Level, by: Vec<Dimension>) -> MetricsFilter {
    let begin = i64::try_from(THEN).expect("a number") * MINUTE;
    let begin = begin - begin % Level::Day.length();
    MetricsFilter {
        org: "og_a".to_owned(),
        proxy: None,
        callers: None,
        labels: Vec::new(),
        statuses: Vec::new(),
        codes: Vec::new(),
        rules: None,
        regions: None,
        level,
        after: begin,
        before: begin + 2 * Level::Day.length(),
        step: level.length(),
        by,
    }
}

async fn cells(store: &Store, filter: &MetricsFilter) -> Vec<(i64, String, Measures)> {
    let cells = metrics::requests(store, filter).await.expect("reads").expect("not too many");
    let cells = cells
        .into_iter()
        .map(|cell| ((cell.at - filter.after) / filter.step, cell.key[0].clone(), cell.value));
    let mut cells: Vec<_> = cells.collect();
    cells.sort_by(|left, right| (left.0, &left.1).cmp(&(right.0, &right.1)));
    cells
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_are_added_to_minutes_hours_and_days_once_whatever_is_sent_again_or_foreign() {
    on_both("sums", async |store| {
        home(&store).await;
        let foreign = fleet::Sum { proxy: "px_b".to_owned(), ..sum(THEN, 200, 100) };
        let of_other_org = fleet::Sum { org: "og_b".to_owned(), ..sum(THEN, 200, 100) };
        let first =
            || sums(1, vec![sum(THEN, 200, 3), sum(THEN, 503, 1), foreign.clone(), of_other_org.clone()]);
        send(&store, first()).await;
        send(&store, first()).await;
        send(&store, sums(3, vec![sum(THEN, 200, 1_000)])).await;
        assert!(cells(&store, &filter(Level::Minute, vec![])).await.is_empty(), "nobody has added yet");
        assert_eq!(fold(&store, 10).await, 1);
        assert_eq!(fold(&store, 10).await, 0, "once");
        send(&store, sums(2, vec![sum(THEN, 200, 2), sum(THEN + 1, 403, 4), sum(THEN + 60, 200, 5)])).await;
        let later = fleet::Sum { revision: 8, ..sum(THEN, 200, 1) };
        send(&store, sums(3, vec![later])).await;
        assert_eq!((fold(&store, 1).await, fold(&store, 1).await, fold(&store, 1).await), (1, 1, 0));

        // What another organization has is in no answer.
        let statement =
            r#"INSERT INTO "proxy_home" ("proxy", "region", "org") VALUES ('px_b', 'rg', 'og_b')"#;
        store.0.write.execute_unprepared(statement).await.expect("inserts");
        let others = fleet::Sum { proxy: "px_b".to_owned(), org: "og_b".to_owned(), ..sum(THEN, 200, 900) };
        send(&store, sums(4, vec![others])).await;
        assert_eq!(fold(&store, 9).await, 1);
        let whole = AccountFilter { regions: vec!["rg".to_owned()], node: None, after: 0, before: i64::MAX };
        let accounts = account::list(&store, &whole, 100).await.expect("reads").expect("few");
        let made: u64 = accounts.iter().map(|it| it.account.made).sum();
        assert_eq!(made, 3 + 1 + 100 + 100 + 2 + 4 + 5 + 1 + 900, "added up over several turns");

        let counted = async |level, by| {
            let cells = cells(&store, &filter(level, by)).await;
            cells.into_iter().map(|(at, key, it)| (at, key, it.requests)).collect::<Vec<_>>()
        };
        let none = String::new;
        assert_eq!(
            counted(Level::Minute, vec![]).await,
            [(960, none(), 7), (961, none(), 4), (1020, none(), 5)]
        );
        assert_eq!(counted(Level::Hour, vec![]).await, [(16, none(), 11), (17, none(), 5)]);
        assert_eq!(counted(Level::Day, vec![]).await, [(0, none(), 16)]);
        let by = |key: &str, at, requests| (at, key.to_owned(), requests);
        assert_eq!(
            counted(Level::Hour, vec![Dimension::Status]).await,
            [by("200", 16, 6), by("403", 16, 4), by("503", 16, 1), by("200", 17, 5)]
        );
        assert_eq!(
            counted(Level::Day, vec![Dimension::StatusClass]).await,
            [by("2", 0, 11), by("4", 0, 4), by("5", 0, 1)]
        );
        let revisions = counted(Level::Minute, vec![Dimension::Revision]).await;
        assert_eq!(revisions, [by("7", 960, 6), by("8", 960, 1), by("7", 961, 4), by("7", 1020, 5)]);

        let day = cells(&store, &filter(Level::Day, vec![])).await.remove(0).2;
        assert_eq!((day.errors, day.denials, day.request_bytes, day.micros), (1, 4, 160, 16_000));
        assert_eq!((day.longest_micros, day.latencies.count()), (5_000, 16));
        let metered =
            metrics::meters(&store, &filter(Level::Day, vec![])).await.expect("reads").expect("few");
        assert_eq!(metered.len(), 1);
        let (meter, it) = &metered[0].value;
        assert_eq!((&**meter, it.charged, it.missing, it.exceeded), ("mt_a", 16, 6, 0));
        let by_revision = filter(Level::Minute, vec![Dimension::Revision]);
        let metered = metrics::meters(&store, &by_revision).await.expect("reads").expect("few");
        let of_later: u64 = metered.iter().filter(|it| it.key[0] == "8").map(|it| it.value.1.charged).sum();
        assert_eq!((metered.len(), of_later), (4, 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_replicas_that_add_up_at_once_add_each_sum_once() {
    on_both("many_sums", async |store| {
        home(&store).await;
        let tasks = Tasks::new();
        let mut work = Vec::new();
        for spool in 0..6_u8 {
            let store = store.clone();
            work.push(tasks.spawn("work", async move {
                for sequence in 1..=10 {
                    let sums = (0..5).map(|n| sum(THEN + sequence * 60 + n % 2, 200 + n as u32, 2)).collect();
                    send(&store, Ingest { spool: vec![spool; 16], ..self::sums(sequence, sums) }).await;
                    if sequence % 3 == 0 {
                        fold(&store, 4).await;
                    }
                }
            }));
        }
        for work in work {
            work.await.expect("no panic");
        }
        while fold(&store, 7).await > 0 {}
        for level in Level::ALL {
            let cells = cells(&store, &filter(level, vec![])).await;
            let (requests, latencies) = cells.iter().fold((0, 0), |(requests, latencies), (_, _, it)| {
                (requests + it.requests, latencies + it.latencies.count())
            });
            assert_eq!((requests, latencies), (600, 600), "{level:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rollups_go_by_their_age_and_a_sum_from_the_future_counts_as_now() {
    on_both("old_sums", async |store| {
        home(&store).await;
        let now = store.now();
        let minute = u64::try_from(now / MINUTE).expect("a number");
        let ahead = [minute + 3_000, u64::MAX].map(|minute| sum(minute, 200, 1));
        let told = [sum(THEN, 200, 3), sum(minute, 200, 1)].into_iter().chain(ahead);
        send(&store, sums(1, told.collect())).await;
        fold(&store, 9).await;
        let later = now + Level::Day.length();
        let all = MetricsFilter { after: later, before: i64::MAX, ..filter(Level::Minute, vec![]) };
        assert!(cells(&store, &all).await.is_empty(), "no minute is one to come");
        let forget = async |now, level| {
            let step =
                store.note(move |txn| Box::pin(async move { sums::forget(txn, now, level, 10).await }));
            step.await.expect("lets go")
        };
        let counted = async |level: Level| {
            let all = MetricsFilter { after: 0, before: i64::MAX, step: i64::MAX, ..filter(level, vec![]) };
            cells(&store, &all).await.iter().map(|(_, _, it)| it.requests).sum::<u64>()
        };
        let then = i64::try_from(THEN).expect("a number") * MINUTE;
        for (level, days) in [(Level::Minute, 35), (Level::Hour, 400), (Level::Day, 3650)] {
            let begin = then - then % level.length();
            let last = begin + days * Level::Day.length();
            assert!(!forget(last, level).await, "{level:?}: not yet");
            assert_eq!(counted(level).await, 6);
            assert!(forget(last + 1, level).await);
            assert!(!forget(last + 1, level).await);
            assert_eq!(counted(level).await, 3, "{level:?}: what is of now stays");
        }
        let accounts = async || {
            let regions = vec!["rg".to_owned()];
            let whole = AccountFilter { regions, node: None, after: 0, before: i64::MAX };
            account::list(&store, &whole, 100).await.expect("reads").expect("few").len()
        };
        assert_eq!(accounts().await, 1);
        forget(now + 402 * Level::Day.length(), Level::Hour).await;
        assert_eq!(accounts().await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_detail_adds_up_to_every_request_and_a_question_is_asked_of_the_coarsest_that_knows() {
    on_both("details", async |store| {
        home(&store).await;
        let of = |caller: &str, rule: &str, revision, requests| fleet::Sum {
            caller_credential: caller.to_owned(),
            rule: rule.to_owned(),
            revision,
            ..sum(THEN, 200, requests)
        };
        let told =
            vec![of("cr_a", "rl_a", 7, 1), of("cr_a", "rl_b", 7, 2), of("cr_b", "rl_a", 8, 4), of("", "", 8, 8)];
        send(&store, sums(1, told)).await;
        fold(&store, 9).await;
        // Another batch finds what is there.
        send(&store, sums(2, vec![of("cr_b", "rl_b", 9, 16)])).await;
        fold(&store, 9).await;
        let counted = async |by: &[Dimension]| {
            let cells = cells(&store, &filter(Level::Minute, by.to_vec())).await;
            let mut counts: Vec<u64> = cells.iter().map(|(_, _, it)| it.requests).collect();
            assert_eq!(cells.iter().map(|(_, _, it)| it.latencies.count()).sum::<u64>(), 31, "{by:?}");
            counts.sort_unstable();
            counts
        };
        use Dimension::{Caller, Proxy, Region, Revision, Rule};
        for (by, expected) in [
            (&[][..], &[31][..]),
            (&[Region], &[31]),
            (&[Proxy], &[31]),
            (&[Caller], &[3, 8, 20]),
            (&[Rule], &[5, 8, 18]),
            (&[Revision], &[3, 12, 16]),
            (&[Proxy, Caller], &[3, 8, 20]),
            (&[Caller, Rule], &[1, 2, 4, 8, 16]),
        ] {
            assert_eq!(counted(by).await, expected, "{by:?}");
        }
        let rows = async |detail: i16| {
            let query = format!(
                r#"SELECT count(*) AS "n" FROM "rollup" JOIN "series" ON "id" = "series" WHERE "detail" = {detail} AND "level" = 1"#
            );
            let statement = sea_orm::Statement::from_string(store.0.read.get_database_backend(), query);
            let row = store.0.read.query_one_raw(statement).await.expect("reads").expect("a row");
            row.try_get::<i64>("", "n").expect("a number")
        };
        let all = [rows(0).await, rows(1).await, rows(2).await, rows(3).await, rows(4).await];
        assert_eq!(all, [5, 3, 3, 3, 1]);
        for (by, meters) in [(vec![], 1), (vec![Caller], 3), (vec![Rule], 3)] {
            let found = metrics::meters(&store, &filter(Level::Day, by)).await.expect("reads").expect("few");
            let charged: u64 = found.iter().map(|it| it.value.1.charged).sum();
            assert_eq!((found.len(), charged), (meters, 31));
        }
        // The coarsest is asked, or its rows would be for nothing.
        let gone = r#"DELETE FROM "rollup" WHERE "series" IN (SELECT "id" FROM "series" WHERE "detail" = 0)"#;
        store.0.write.execute_unprepared(gone).await.expect("deletes");
        assert_eq!((counted(&[Proxy]).await, counted(&[Caller]).await), (vec![31], vec![3, 8, 20]));
        assert_eq!((counted(&[Rule]).await, counted(&[Revision]).await), (vec![5, 8, 18], vec![3, 12, 16]));
        assert_eq!(counted(&[]).await, [31]);
    })
    .await;
}
