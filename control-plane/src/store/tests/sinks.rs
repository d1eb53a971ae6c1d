//! One suite of batches and questions, and the same answers of SQLite, PostgreSQL and ClickHouse.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rr_contract::runtime::{Shutdown, Tasks};
use rr_contract::seam::{Clock, SystemEntropy};
use rr_contract::wire::fleet;
use rr_contract::wire::management::{Org, Region};

use super::record::{batch, home};
use super::sums::sum;
use crate::fleet_port::place;
use crate::store::account::{Account, AccountFilter};
use crate::store::cursor::{Left, Spool};
use crate::store::level::Level;
use crate::store::metrics::{Dimension, MetricsFilter};
use crate::store::request::{Ingest, Ingested, PathTerm, RecordLoss, RequestFilter};
use crate::store::resource::Compare;
use crate::store::{
    DatabaseAddress, RecordAddress, RecordStore, RecordStores, Store, StoreError, request_row,
};
use crate::tests::stores::{put, write};
use crate::tests::{clickhouse, postgres};

const MINUTE: i64 = Level::Minute.length();
const DAY: i64 = Level::Day.length();

/// The true time, which an engine of its own goes by as well, and so many seconds more.
#[derive(Clone, Default)]
struct Ahead(Arc<AtomicU64>);

impl Clock for Ahead {
    fn now(&self) -> SystemTime {
        SystemTime::now() + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

/// A central database, and beside it a store of records where the region `rg` has them.
struct Beside {
    central: Store,
    clock: Ahead,
    stores: RecordStores,
    shutdown: Shutdown,
    tasks: Tasks,
    _folder: tempfile::TempDir,
}

impl Beside {
    async fn of(address: RecordAddress) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = DatabaseAddress::Sqlite(folder.path().join("central.db"));
        let (tasks, shutdown, clock) = (Tasks::new(), Shutdown::new(), Ahead::default());
        let opened = Store::open(&file, Arc::new(clock.clone()), tasks.clone(), shutdown.stop());
        let central = opened.await.expect("opens");
        central.installation(&SystemEntropy).await.expect("has a head");
        home(&central).await;
        write(&central, vec![put("", "rg", "rg", region("eu"), None)]).await;
        let names = BTreeMap::from([("eu".to_owned(), address)]);
        let stores = RecordStores::new(central.clone(), names, vec![1; 16]);
        stores.look().await;
        assert!(stores.standing().iter().all(|(_, answers)| *answers), "{:?}", stores.standing());
        Self { central, clock, stores, shutdown, tasks, _folder: folder }
    }

    fn eu(&self) -> RecordStore {
        self.stores.get("eu").expect("is open")
    }

    async fn send(&self, batch: Ingest) -> Ingested {
        place(&self.stores, batch).await.expect("is taken")
    }

    async fn close(self) {
        self.stores.close().await;
        self.shutdown.begin();
        assert!(self.tasks.wait(Duration::from_secs(30)).await.is_empty());
        self.central.close().await;
    }
}

fn region(store: &str) -> Region {
    Region { id: "rg".to_owned(), name: "rg".to_owned(), record_store: store.to_owned(), ..Region::default() }
}

/// The beginning of the day before yesterday: whatever the clock says, it is in none of the bounds.
fn then(now: i64) -> i64 {
    Level::Day.begin(now) - 2 * DAY
}

fn record(id: &str, at: i64, change: impl FnOnce(&mut request_row::Model)) -> request_row::Model {
    let mut row = batch(1, &[id]).records.remove(0);
    (row.received_at, row.stored_at, row.record) = (at, at, id.as_bytes().to_vec());
    change(&mut row);
    row
}

/// What two nodes send: records of every kind, sums, beginnings and their ends, losses, samples and what is foreign.
fn batches(now: i64) -> Vec<Ingest> {
    let then = then(now);
    let at = |n: i64| then + n * 1_000_000;
    let first = vec![
        record("a", at(1), |row| row.path = "/users/1".to_owned()),
        record("b", at(2), |row| (row.status, row.code) = (403, "rule-denied".to_owned())),
        record("c", at(2), |row| (row.caller, row.rule) = ("cr_a".to_owned(), "rl_a".to_owned())),
        record("d", at(3), |row| (row.status, row.count) = (503, 7)),
        record("it's ?\\", at(4), |row| row.path = "/users/2?\\'".to_owned()),
        record("foreign", at(5), |_| {}),
    ];
    let begun = vec![record("open", at(6), |row| row.count = 0), record("ends", at(7), |row| row.count = 0)];
    let second = vec![
        record("ends", at(7), |row| row.status = 201),
        record("e", at(8), |row| row.node = "nd".to_owned()),
    ];
    let loss =
        |records, reason: &str| RecordLoss { records, from: at(1), to: at(2), reason: reason.to_owned() };
    let minute = u64::try_from(then / MINUTE).expect("a number");
    let with = |minute, status, requests, caller: &str, rule: &str| fleet::Sum {
        caller_credential: caller.to_owned(),
        rule: rule.to_owned(),
        observed_rule: if status == 200 { "rl_seen" } else { "" }.to_owned(),
        observed_denial: status == 200,
        aborted: 1,
        response_bytes: requests,
        ..sum(minute, status, requests)
    };
    let foreign = fleet::Sum { proxy: "px_b".to_owned(), ..sum(minute, 200, 100) };
    let sums = vec![with(minute, 200, 3, "cr_a", "rl_a"), with(minute, 503, 2, "", ""), foreign];
    let more = vec![with(minute, 200, 4, "cr_a", "rl_a"), with(minute + 61, 403, 5, "cr_b", "rl_b")];
    let later = vec![fleet::Sum { revision: 9, ..with(minute + 1500, 200, 6, "", "") }];
    let none = |sequence| Ingest { losses: Vec::new(), ..batch(sequence, &[]) };
    let other = |batch| Ingest { node: "nd_b".to_owned(), spool: vec![8; 16], ..batch };
    vec![
        Ingest {
            records: first,
            begun,
            sums,
            losses: vec![loss(3, "ring-full"), loss(9, "sampled")],
            ..none(1)
        },
        Ingest { records: second, ended: vec!["ends".to_owned()], sums: more, ..none(2) },
        other(Ingest {
            sums: later,
            losses: vec![loss(2, "spool-full"), loss(1, "no reason of ours")],
            ..none(1)
        }),
        none(3),
    ]
}

/// All answers to all questions, as texts that can be compared.
async fn answers(store: &RecordStore, now: i64) -> Answers {
    let mut all = Vec::new();
    let mut tell = |question: String, answer: &dyn Debug| all.push((question, format!("{answer:#?}")));
    let then = then(now);
    // When they were stored, and their numbers, are each store's own.
    let plain = |rows: Vec<request_row::Model>| -> Vec<request_row::Model> {
        rows.into_iter().map(|row| request_row::Model { stored_at: 0, arrival: 0, ..row }).collect()
    };
    let filter = || RequestFilter { org: "og_a".to_owned(), ..RequestFilter::default() };
    let text = |text: &str| vec![text.to_owned()];
    for filter in [
        filter(),
        RequestFilter { org: "og_b".to_owned(), ..filter() },
        RequestFilter { proxy: Some("px_a".to_owned()), ..filter() },
        RequestFilter { proxy: Some("px_none".to_owned()), ..filter() },
        RequestFilter { callers: Some(text("cr_a")), ..filter() },
        RequestFilter { callers: Some(Vec::new()), ..filter() },
        RequestFilter { rules: Some(text("rl_a")), regions: Some(text("rg")), ..filter() },
        RequestFilter { node: Some("nd' OR 1 = 1 --".to_owned()), ..filter() },
        RequestFilter {
            statuses: vec![(Compare::GreaterOrEqual, 400), (Compare::NotEqual, 503)],
            ..filter()
        },
        RequestFilter { codes: vec![(Compare::NotEqual, "rule-denied".to_owned())], ..filter() },
        RequestFilter { paths: vec![PathTerm::BeginsWith("/users/2?\\'".to_owned())], ..filter() },
        RequestFilter { paths: vec![PathTerm::Is("/users/1".to_owned())], ..filter() },
        RequestFilter { after: Some(then + 2_000_000), before: Some(then + 4_000_000), ..filter() },
        RequestFilter { behind: Some((then + 2_000_000, "c".to_owned())), ..filter() },
    ] {
        for limit in [100, 2] {
            let rows = store.list(filter.clone(), limit).await.expect("reads");
            tell(format!("{limit} of {filter:?}"), &plain(rows));
        }
    }
    for id in ["a", "ends", "open", "it's ?\\", "foreign", "none"] {
        let row = store.by_id("og_a", id).await.expect("reads");
        tell(format!("record {id}"), &plain(row.into_iter().collect()));
        tell(format!("record {id} of another"), &store.by_id("og_b", id).await.expect("reads"));
    }
    let newest = store.newest().await.expect("reads");
    let (rows, count) = store.arrived(filter(), (0, newest), 3).await.expect("reads");
    assert!(rows.is_sorted_by_key(|row| row.arrival) && count >= 3, "{rows:?} {count}");
    let last: Vec<_> = rows.iter().map(|row| row.id.clone()).collect();
    tell("the last three".to_owned(), &last);
    tell("nothing behind".to_owned(), &store.arrived(filter(), (newest, newest), 3).await.expect("reads"));
    let metrics = |level: Level, by: &[Dimension]| MetricsFilter {
        org: "og_a".to_owned(),
        proxy: None,
        callers: None,
        labels: Vec::new(),
        statuses: Vec::new(),
        codes: Vec::new(),
        rules: None,
        regions: None,
        level,
        after: then,
        before: then + 2 * DAY,
        step: level.length(),
        by: by.to_vec(),
    };
    use Dimension::{Caller, Code, ObservedRule, Proxy, Region, Revision, Rule, Status, StatusClass};
    let hour = |by: &[Dimension]| metrics(Level::Hour, by);
    for filter in [
        hour(&[]),
        metrics(Level::Day, &[]),
        metrics(Level::Minute, &[]),
        MetricsFilter { step: 5 * MINUTE, ..metrics(Level::Minute, &[Region]) },
        hour(&[Proxy, Status]),
        hour(&[Caller, Rule, ObservedRule]),
        hour(&[StatusClass, Code]),
        metrics(Level::Minute, &[Revision]),
        MetricsFilter { proxy: Some("px_a".to_owned()), ..metrics(Level::Minute, &[Revision]) },
        MetricsFilter { callers: Some(text("cr_a")), ..metrics(Level::Minute, &[]) },
        MetricsFilter { rules: Some(text("rl_b")), ..hour(&[]) },
        MetricsFilter { regions: Some(text("elsewhere")), ..hour(&[]) },
        MetricsFilter { statuses: vec![(Compare::GreaterOrEqual, 500)], ..hour(&[Proxy]) },
        MetricsFilter { codes: vec![(Compare::Equal, "rule-denied".to_owned())], ..hour(&[]) },
        MetricsFilter { org: "og_b".to_owned(), ..hour(&[]) },
    ] {
        let (mut requests, mut meters) =
            store.metrics(&filter).await.expect("reads").expect("is not too much");
        requests.sort_by_key(|cell| (cell.at, cell.key.clone()));
        meters.sort_by_key(|cell| (cell.at, cell.key.clone(), cell.value.0.clone()));
        tell(format!("{filter:?}"), &(requests, meters));
    }
    let (mut counts, mut exposed) = store
        .exposition("og_a", (then, then + 2 * DAY), then + DAY)
        .await
        .expect("reads")
        .expect("is not too much");
    counts.sort();
    exposed.sort_by_key(|row| (row.region.clone(), row.class));
    tell("exposition".to_owned(), &(counts, exposed));
    let regions = AccountFilter { regions: text("rg"), node: None, after: 0, before: i64::MAX };
    for filter in [
        regions.clone(),
        AccountFilter { node: Some("nd_b".to_owned()), ..regions.clone() },
        AccountFilter { regions: Vec::new(), ..regions.clone() },
        AccountFilter { before: then, ..regions.clone() },
    ] {
        // Hours are those in which batches came.
        let mut accounts: BTreeMap<String, Account> = BTreeMap::new();
        for hour in store.accounts(&filter, 100).await.expect("reads").expect("few") {
            accounts.entry(hour.node).or_default().add(&hour.account);
        }
        tell(format!("{filter:?}"), &accounts);
    }
    assert_eq!(store.accounts(&regions, 1).await.expect("reads"), None, "more than one count");
    let mut gaps = store.gaps(&["nd", "nd_b"], &regions, 10).await.expect("reads");
    gaps.sort_by_key(|gap| (gap.node.clone(), gap.reason.clone()));
    gaps.iter_mut().for_each(|gap| gap.told = 0);
    tell("gaps".to_owned(), &gaps);
    tell("losses".to_owned(), &store.losses(then).await.expect("reads"));
    all
}

/// Questions and answers.
type Answers = Vec<(String, String)>;

/// Whatever engine, each as a store beside a central database in a file.
async fn on_each(test: &str, check: impl AsyncFn(&str, Beside, Option<&clickhouse::Database>)) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = DatabaseAddress::Sqlite(folder.path().join("eu.db"));
    check("sqlite", Beside::of(file.into()).await, None).await;
    if let Some(database) = postgres::database(test) {
        check("postgres", Beside::of(database.address().into()).await, None).await;
    }
    if let Some(database) = clickhouse::database(test).await {
        check("clickhouse", Beside::of(database.address()).await, Some(&database)).await;
    }
}

async fn add_up(store: &RecordStore) {
    while store.add_up(100).await.expect("adds up") > 0 {}
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_postgresql_and_clickhouse_answer_the_same_questions_alike() {
    let told: Mutex<Vec<(String, Answers)>> = Mutex::default();
    on_each("questions", async |engine, beside, _| {
        let now = beside.central.now();
        for batch in batches(now) {
            let sequence = batch.sequence;
            let foreign = u64::from(batch.records.iter().any(|row| row.proxy == "px_b"));
            let stored = batch.records.len() as u64 - foreign;
            assert_eq!(beside.send(batch).await, Ingested::Stored { stored, foreign }, "{engine} {sequence}");
        }
        // Again, and from further on.
        for (place, batch) in batches(now).into_iter().enumerate() {
            let last = if place == 2 { 1 } else { 3 };
            assert_eq!(beside.send(batch).await, Ingested::Duplicate(last), "{engine}");
        }
        let ahead = batch(9, &["z"]);
        assert_eq!(beside.send(ahead).await, Ingested::Expected(4), "{engine}");
        add_up(&beside.eu()).await;
        let found = answers(&beside.eu(), now).await;
        assert!(found.len() > 50 && found.iter().any(|(_, answer)| answer.contains("mt_a")));
        told.lock().expect("no panic").push((engine.to_owned(), found));
        beside.close().await;
    })
    .await;
    let told = told.into_inner().expect("no panic");
    let (_, wanted) = told.first().expect("SQLite is there");
    for (engine, found) in &told {
        assert_eq!(found.len(), wanted.len());
        for ((question, wanted), (_, found)) in wanted.iter().zip(found) {
            assert_eq!(found, wanted, "{engine}: {question}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_outside_go_when_their_organization_keeps_them_no_longer() {
    let Some(database) = clickhouse::database("retention outside").await else { return };
    let beside = Beside::of(database.address()).await;
    let org =
        |record_days| Org { id: "og_a".to_owned(), name: "a".to_owned(), record_days, ..Org::default() };
    write(&beside.central, vec![put("", "og_a", "a", org(20), None)]).await;
    let now = beside.central.now();
    let all = [("old", 30), ("middle", 15), ("young", 1), ("ahead", -30)];
    let records = all.map(|(id, days)| record(id, now - days * DAY, |_| {}));
    let sent = Ingest { records: records.to_vec(), ..batch(1, &[]) };
    assert_eq!(beside.send(sent).await, Ingested::Stored { stored: 4, foreign: 0 });
    let left = async |now| {
        let gone = beside.eu().remove(now).await.expect("removes");
        let filter = RequestFilter { org: "og_a".to_owned(), ..RequestFilter::default() };
        let rows = beside.eu().list(filter, 100).await.expect("reads");
        (gone.records, gone.days, rows.into_iter().map(|row| row.id).collect::<Vec<_>>())
    };
    assert_eq!(left(now).await, (1, 0, ["ahead", "young", "middle"].map(String::from).to_vec()));
    assert_eq!(left(now).await.0, 0, "once");
    write(&beside.central, vec![put("", "og_a", "a", org(10), None)]).await;
    assert_eq!(left(now).await, (1, 0, ["ahead", "young"].map(String::from).to_vec()));
    // All of them were stored today: a day that nobody keeps goes as a whole.
    assert_eq!(left(now + 9 * DAY).await.1, 0, "a day stays as long as anybody keeps it");
    assert_eq!(left(now + 12 * DAY).await, (0, 1, Vec::new()));
    beside.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_answer_was_lost_counts_once_outside_whatever_was_lost_and_however_late_it_comes() {
    let Some(database) = clickhouse::database("lost answers").await else { return };
    let beside = Beside::of(database.address()).await;
    let now = beside.central.now();
    let all = batches(now);
    // Whichever of them was not answered: others may be there or not.
    for table in ["request_record", "record_loss", "node_account", "request_sum", "meter_sum"] {
        database.lose(table).await;
        let failed = place(&beside.stores, batches(now).remove(0)).await.expect_err("is not answered");
        assert!(failed.to_string().contains("record store \"eu\" does not answer"), "{failed}");
        database.lose("").await;
        // Into another day, and past the wait of those that follow.
        beside.clock.0.fetch_add(6 * 3600, Ordering::Relaxed);
    }
    let newest = async || beside.eu().newest().await.expect("reads");
    let waited_for = newest().await;
    assert!(waited_for > 0, "for a minute");
    for _ in 0..2 {
        database.lose("request_record").await;
        place(&beside.stores, batches(now).remove(0)).await.expect_err("is not answered");
        assert_eq!(newest().await, waited_for, "whoever follows waits for what was begun");
        database.lose("").await;
    }
    for batch in all {
        assert!(matches!(beside.send(batch).await, Ingested::Stored { .. }));
    }
    let found = answers(&beside.eu(), now).await;
    let plain = Beside::of(clickhouse::database("plain").await.expect("as before").address()).await;
    for batch in batches(now) {
        plain.send(batch).await;
    }
    let wanted = answers(&plain.eu(), now).await;
    for ((question, wanted), (_, found)) in wanted.iter().zip(&found) {
        assert_eq!(found, wanted, "{question}");
    }
    let rows: u64 = database
        .client()
        .query("SELECT count() FROM request_record WHERE id = 'a'")
        .fetch_one()
        .await
        .expect("reads");
    assert_eq!(rows, 1, "not two that reading makes one of");
    plain.close().await;
    beside.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_was_begun_outside_is_ended_there_before_its_region_goes_on() {
    let Some(database) = clickhouse::database("begun").await else { return };
    let beside = Beside::of(database.address()).await;
    let now = beside.central.now();
    database.lose("meter_sum").await;
    let first = || batches(now).remove(0);
    place(&beside.stores, first()).await.expect_err("is not answered");
    database.lose("").await;
    let mut back = region("");
    crate::document::Resource::follow(&mut back, &region("eu"), now);
    write(&beside.central, vec![put("", "rg", "rg", back, None)]).await;
    let spool = Spool { node: "nd".to_owned(), spool: vec![7; 16] };
    assert_eq!(beside.eu().leave(&spool, now).await.expect("answers"), Left::Begun);
    assert_eq!(beside.send(Ingest { sequence: 2, ..batch(2, &["x"]) }).await, Ingested::Expected(1));
    assert_eq!(
        beside.send(first()).await,
        Ingested::Stored { stored: 5, foreign: 1 },
        "it was there already"
    );
    assert_eq!(beside.send(batch(2, &["x"])).await, Ingested::Stored { stored: 1, foreign: 0 });
    let ids = async |store: RecordStore| {
        let filter = RequestFilter { org: "og_a".to_owned(), ..RequestFilter::default() };
        let rows = store.list(filter, 100).await.expect("reads");
        rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(beside.central.records().into()).await, ["x"]);
    assert_eq!(ids(beside.eu()).await.len(), 7, "once, and where they were begun");
    beside.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_send_one_batch_outside_at_once_store_it_once_and_followers_miss_none() {
    let Some(database) = clickhouse::database("at once").await else { return };
    let beside = Beside::of(database.address()).await;
    let tasks = Tasks::new();
    let mut sends = Vec::new();
    for n in 0..16_u8 {
        let stores = beside.stores.clone();
        sends.push(tasks.spawn("send", async move {
            for sequence in 1..=3 {
                let spool = n % 4;
                let ids = [0, 1].map(|n| format!("{spool}-{sequence}-{n}"));
                let ids = ids.each_ref().map(String::as_str);
                let again = || Ingest { spool: vec![spool; 16], ..batch(sequence, &ids) };
                // Another may be faster.
                let is_there = |sent: Result<Ingested, StoreError>| {
                    matches!(sent, Ok(Ingested::Stored { .. } | Ingested::Duplicate(_)))
                };
                while !is_there(place(&stores, again()).await) {}
            }
        }));
    }
    let filter = || RequestFilter { org: "og_a".to_owned(), ..RequestFilter::default() };
    let (mut seen, mut cursor) = (Vec::new(), 0);
    while seen.len() < 4 * 3 * 2 {
        let newest = beside.eu().newest().await.expect("reads");
        let (rows, count) = beside.eu().arrived(filter(), (cursor, newest), 100).await.expect("reads");
        assert_eq!(rows.len() as u64, count);
        seen.extend(rows.into_iter().map(|row| row.id));
        cursor = newest;
    }
    for send in sends {
        send.await.expect("no panic");
    }
    let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
    assert_eq!((seen.len(), distinct.len()), (24, 24));
    beside.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_outside_that_is_another_s_or_refuses_is_named_with_what_it_said_and_no_password() {
    let Some(database) = clickhouse::database("others").await else { return };
    let beside = Beside::of(database.address()).await;
    let opened = async |name: &str, address: RecordAddress, installation: u8| {
        RecordStore::open(name, &address, &[installation; 16], &beside.central).await.map(drop)
    };
    opened("eu", database.address(), 1).await.expect("is ours, again");
    for (name, installation) in [("us", 1), ("eu", 2)] {
        let refused = opened(name, database.address(), installation).await.expect_err("is another's");
        assert!(matches!(refused, StoreError::OtherRecords { .. }), "{refused}");
    }
    let wrong = format!("{:?}", database.address()).replace("ClickHouse(", "").replace(')', "");
    let wrong = wrong.replace("http://", "http://rr:wrong-password@");
    let refused = opened("eu", wrong.parse().expect("an address"), 1).await.expect_err("is refused");
    let said = rr_contract::runtime::chain(&refused).to_string();
    assert!(said.contains("Authentication failed") && !said.contains("wrong-password"), "{said}");
    beside.close().await;
}
