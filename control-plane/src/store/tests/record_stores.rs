//! Records of regions in databases of their own: whole schemas, cursors that go along, nothing twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message as _;
use rr_contract::model::time;
use rr_contract::runtime::{Shutdown, Tasks};
use rr_contract::seam::SystemClock;
use rr_contract::wire::fleet::{LimitKind, LimitState, Record, Window};
use rr_contract::wire::management::{Credential, NotificationKind, Org, Proxy, Region};
use sea_orm::FromQueryResult as _;

use super::on_both;
use super::record::{batch, home};
use crate::document::{CENTRAL, Part, Resource as _};
use crate::fleet_port::place;
use crate::noun::Noun;
use crate::store::caller_use::{self, CallerUse};
use crate::store::cursor::{self, Spool};
use crate::store::record_age;
use crate::store::record_database::RecordDatabase;
use crate::store::record_store::each;
use crate::store::record_stores::placement;
use crate::store::request::{self, Ingest, Ingested, RequestFilter};
use crate::store::{DatabaseAddress, RecordAddress, RecordStores, Store, StoreError, notification, time_of};
use crate::tests::postgres;
use crate::tests::stores::{put, write};

/// Record stores beside a store: `eu` on the engine that it is on, too, and `us` a file.
struct Beside {
    stores: RecordStores,
    folder: tempfile::TempDir,
    /// Kept so that it is there.
    server: Option<postgres::Database>,
    names: BTreeMap<String, RecordAddress>,
}

impl Beside {
    async fn of(store: &Store) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| DatabaseAddress::Sqlite(folder.path().join(name));
        let server = match store.0.address {
            DatabaseAddress::Postgres(_) => postgres::database("beside"),
            DatabaseAddress::Sqlite(_) => None,
        };
        let eu = server.as_ref().map_or_else(|| file("eu.db"), postgres::Database::address);
        let names = BTreeMap::from([("eu".to_owned(), eu.into()), ("us".to_owned(), file("us.db").into())]);
        let stores = RecordStores::new(store.clone(), names.clone(), vec![1; 16]);
        stores.look().await;
        assert!(stores.standing().iter().all(|(_, answers)| *answers), "{:?}", stores.standing());
        Self { stores, folder, server, names }
    }

    /// As another replica has them.
    async fn other(&self, store: &Store) -> RecordStores {
        let stores = RecordStores::new(store.clone(), self.names.clone(), vec![1; 16]);
        stores.look().await;
        stores
    }

    async fn close(self) {
        self.stores.close().await;
        drop((self.folder, self.server));
    }
}

/// Puts the region `rg` to a record store, as an update of it does.
async fn moved(store: &Store, before: &Region, to: &str, now: i64) -> Region {
    let mut region = Region { record_store: to.to_owned(), ..before.clone() };
    region.follow(before, now);
    write(store, vec![put("", "rg", "rg", region.clone(), None)]).await;
    region
}

fn region() -> Region {
    Region { id: "rg".to_owned(), name: "rg".to_owned(), ..Region::default() }
}

/// Where each record is.
async fn ids(stores: &RecordStores) -> BTreeMap<String, BTreeSet<String>> {
    let filter = RequestFilter { org: "og_a".to_owned(), ..RequestFilter::default() };
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for store in stores.answering() {
        let rows = store.list(filter.clone(), 1000).await.expect("reads");
        for row in rows {
            let fresh = all.entry(store.name().to_owned()).or_default().insert(row.id.clone());
            assert!(fresh, "{} is there twice", row.id);
        }
    }
    all
}

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

const ONE: Ingested = Ingested::Stored { stored: 1, foreign: 0 };

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_stored_once_when_their_region_goes_from_store_to_store_and_back() {
    on_both("moving regions", async |store| {
        home(&store).await;
        write(&store, vec![put("", "rg", "rg", region(), None)]).await;
        let beside = Beside::of(&store).await;
        let stores = &beside.stores;
        let send = async |sequence, id: &str| place(stores, batch(sequence, &[id])).await;
        assert_eq!(send(1, "a").await.expect("is stored"), ONE);
        let in_eu = moved(&store, &region(), "eu", 100).await;
        assert_eq!(placement(&in_eu).former, [CENTRAL]);
        // Its answer was lost, and it comes again to another database.
        assert_eq!(send(1, "a").await.expect("is known"), Ingested::Duplicate(1));
        assert_eq!(send(3, "c").await.expect("is known"), Ingested::Expected(2));
        assert_eq!(send(2, "b").await.expect("is stored"), ONE);
        // A replica that knows the region as it was: it would be the next there.
        let late = batch(2, &["late"]);
        let late: Result<_, StoreError> =
            store.note(move |txn| Box::pin(async move { request::ingest(txn, late).await })).await;
        assert_eq!(late.expect("is refused").outcome, Ingested::Elsewhere);
        let in_us = moved(&store, &in_eu, "us", 100).await;
        assert_eq!(placement(&in_us).since, 101, "a clock that stands still, too, tells which is newer");
        assert_eq!(send(3, "c").await.expect("is stored"), ONE);
        // Back to where its first cursor still lies.
        moved(&store, &in_us, "", 300).await;
        assert_eq!(send(3, "c").await.expect("is known"), Ingested::Duplicate(3));
        assert_eq!(send(4, "d").await.expect("is stored"), ONE);
        // A spool that begins now begins there alone.
        let other = Ingest { spool: vec![8; 16], ..batch(1, &["e"]) };
        assert_eq!(place(stores, other).await.expect("is stored"), ONE);
        let wanted = [(CENTRAL, &["a", "d", "e"][..]), ("eu", &["b"]), ("us", &["c"])];
        let wanted = wanted.map(|(name, ids)| (name.to_owned(), set(ids)));
        assert_eq!(ids(stores).await, BTreeMap::from(wanted));
        beside.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_know_other_places_of_a_region_store_nothing_twice() {
    on_both("stale replicas", async |store| {
        home(&store).await;
        write(&store, vec![put("", "rg", "rg", region(), None)]).await;
        let beside = Beside::of(&store).await;
        let spool = || Spool { node: "nd".to_owned(), spool: vec![7; 16] };
        let leaves = async |since| {
            let it = spool();
            store.note(move |txn| Box::pin(async move { cursor::leave(txn, &it, since).await })).await
        };
        assert_eq!(place(&beside.stores, batch(1, &["a"])).await.expect("is stored"), ONE);
        let in_eu = moved(&store, &region(), "eu", 100).await;
        // One replica left the central database, and stands still before it enters the other.
        assert_eq!(leaves(100).await.expect("is left"), 1);
        // Meanwhile the region goes back and forth, and batches come by others.
        let back = moved(&store, &in_eu, "", 200).await;
        assert_eq!(place(&beside.stores, batch(2, &["b"])).await.expect("is stored"), ONE);
        // What moves here is not left for a place that is older, or that is this one.
        for since in [100, 200] {
            assert!(matches!(leaves(since).await, Err(StoreError::Moved)), "{since}");
        }
        moved(&store, &back, "us", 300).await;
        assert_eq!(place(&beside.stores, batch(3, &["c"])).await.expect("is stored"), ONE);
        // Nor was it left for another when it was left for that.
        assert!(matches!(leaves(100).await, Err(StoreError::Moved)));
        // Now it goes on: what it enters was left by those that came after.
        let eu = beside.stores.get("eu").expect("is open");
        eu.enter(&spool(), 100, 1).await.expect("runs");
        let (again, served) =
            (Ingest { since: 100, ..batch(2, &["b"]) }, [("og_a".into(), "px_a".into())].into());
        assert_eq!(eu.take(again, served).await.expect("is refused"), Ingested::Elsewhere);
        // Nobody has entered it there: that is for who brings it, and not for the node.
        let us = beside.stores.get("us").expect("is open");
        let new = Ingest { since: 400, spool: vec![9; 16], ..batch(1, &["new"]) };
        assert_eq!(us.take(new, Default::default()).await.expect("is refused"), Ingested::Elsewhere);
        // Two replicas and eight streams of a node that came back: each batch counts once.
        let (tasks, other) = (Tasks::new(), beside.other(&store).await);
        let mut sends = Vec::new();
        for n in 0..8 {
            let stores = if n % 2 == 0 { beside.stores.clone() } else { other.clone() };
            sends.push(tasks.spawn("send", async move { place(&stores, batch(4, &["d"])).await }));
        }
        let mut fresh = 0;
        for send in sends {
            fresh += usize::from(send.await.expect("no panic").is_ok_and(|it| it == ONE));
        }
        assert_eq!(fresh, 1);
        let wanted = [(CENTRAL, &["a", "b"][..]), ("us", &["c", "d"])];
        let wanted = wanted.map(|(name, ids)| (name.to_owned(), set(ids)));
        assert_eq!(ids(&beside.stores).await, BTreeMap::from(wanted));
        other.close().await;
        beside.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_whose_former_store_is_away_stores_nothing_until_it_is_given_up() {
    on_both("given up", async |store| {
        home(&store).await;
        let beside = Beside::of(&store).await;
        let was = Region { record_store: "gone".to_owned(), ..region() };
        let is = moved(&store, &was, "eu", 100).await;
        let refused = place(&beside.stores, batch(1, &["a"])).await.expect_err("may be there").to_string();
        assert!(refused.contains("--record-store gone=URL"), "{refused}");
        // What is read is asked for where somebody can be asked, and of a region that nobody knows everywhere.
        for (region, wanted) in [("rg", &["eu"][..]), ("rg_gone", &[CENTRAL, "eu", "us"])] {
            let asked = beside.stores.holding(Some(&[region.to_owned()])).await.expect("each answers");
            assert_eq!(asked.iter().map(|it| it.name()).collect::<Vec<_>>(), wanted, "{region}");
        }
        let mut faults = rr_contract::model::invalid::Violations::default();
        let more = Region { former_record_stores: vec!["us".to_owned()], ..is.clone() };
        more.check_written(Some(&is), &mut faults);
        assert!(faults.finish(|| Some(())).is_err(), "it was never there");
        let given_up = Region { former_record_stores: Vec::new(), ..is };
        write(&store, vec![put("", "rg", "rg", given_up, None)]).await;
        assert_eq!(place(&beside.stores, batch(1, &["a"])).await.expect("is stored"), ONE);
        beside.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_another_s_or_away_is_an_error_for_those_that_need_it_alone() {
    on_both("away", async |store| {
        home(&store).await;
        let beside = Beside::of(&store).await;
        // Under another name, and of another installation.
        let swapped = BTreeMap::from([("asia".to_owned(), beside.names["eu"].clone())]);
        let ours = BTreeMap::from([("eu".to_owned(), beside.names["eu"].clone())]);
        for (names, installation) in [(swapped, vec![1; 16]), (ours, vec![2; 16])] {
            let others = RecordStores::new(store.clone(), names, installation);
            others.look().await;
            assert!(others.standing().iter().all(|(_, answers)| !answers));
            others.close().await;
        }
        let nowhere = DatabaseAddress::Sqlite(beside.folder.path().join("no-folder/eu.db"));
        let names = BTreeMap::from([("eu".to_owned(), nowhere.into())]);
        let stores = RecordStores::new(store.clone(), names, vec![1; 16]);
        stores.look().await;
        let us = Region { id: "rg_us".to_owned(), name: "us".to_owned(), ..Region::default() };
        let eu = Region { record_store: "eu".to_owned(), ..region() };
        write(&store, vec![put("", "rg", "rg", eu, None), put("", "rg_us", "us", us, None)]).await;
        let refused = place(&stores, batch(1, &["a"])).await.expect_err("it is away").to_string();
        assert!(refused.contains("record store \"eu\" does not answer"), "{refused}");
        assert!(stores.holding(None).await.is_err(), "an answer without it would look whole");
        assert!(stores.holding(Some(&["rg".to_owned()])).await.is_err());
        let central = stores.holding(Some(&["rg_us".to_owned()])).await.expect("needs it not");
        let newest = each(&central, |store| store.newest()).await.expect("answers");
        assert_eq!((central.len(), newest), (1, vec![0]));
        // The node sends it again when it is there.
        std::fs::create_dir(beside.folder.path().join("no-folder")).expect("makes");
        stores.look().await;
        assert_eq!(place(&stores, batch(1, &["a"])).await.expect("is stored"), ONE);
        // One that answered and does not any more is asked no more.
        stores.get("eu").expect("it answers").close().await;
        stores.look().await;
        assert!(stores.get("eu").is_err() && stores.answering().len() == 1);
        stores.close().await;
        beside.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_go_by_the_days_that_organizations_in_the_central_database_say() {
    on_both("retention elsewhere", async |store| {
        home(&store).await;
        let beside = Beside::of(&store).await;
        let org =
            |record_days| Org { id: "og_a".to_owned(), name: "a".to_owned(), record_days, ..Org::default() };
        let region = Region { record_store: "eu".to_owned(), ..region() };
        write(&store, vec![put("", "rg", "rg", region, None), put("", "og_a", "a", org(20), None)]).await;
        let now = store.now();
        let aged = |sequence, id: &str, days: i64| {
            let mut batch = batch(sequence, &[id]);
            batch.records[0].received_at = now - days * 86_400_000_000;
            batch.records[0].stored_at = now;
            batch
        };
        for (sequence, id, days) in [(1, "old", 30), (2, "middle", 15), (3, "young", 1)] {
            assert_eq!(place(&beside.stores, aged(sequence, id, days)).await.expect("is stored"), ONE);
        }
        let eu = beside.stores.get("eu").expect("is open");
        let left = async || {
            eu.remove(now).await.expect("removes");
            ids(&beside.stores).await.remove("eu").unwrap_or_default()
        };
        assert_eq!(left().await, set(&["middle", "young"]));
        write(&store, vec![put("", "og_a", "a", org(10), None)]).await;
        assert_eq!(left().await, set(&["young"]));
        beside.close().await;
    })
    .await;
}

#[derive(sea_orm::FromQueryResult)]
struct Line {
    line: String,
}

/// What lies in a table, and what it is found by.
const COLUMNS_SQLITE: &str = r#"SELECT 'column ' || "m"."name" || ' ' || "c"."name" || ' ' || lower("c"."type") || ' ' || "c"."notnull" || ' ' || "c"."pk" AS "line" FROM "sqlite_master" "m" JOIN pragma_table_info("m"."name") "c" WHERE "m"."type" = 'table' UNION SELECT 'index ' || "tbl_name" || ' ' || "sql" FROM "sqlite_master" WHERE "type" = 'index' AND "sql" IS NOT NULL"#;
const COLUMNS_POSTGRES: &str = r#"SELECT 'column ' || "table_name" || ' ' || "column_name" || ' ' || "data_type" || ' ' || "is_nullable" AS "line" FROM "information_schema"."columns" WHERE "table_schema" = 'public' UNION SELECT 'index ' || "tablename" || ' ' || "indexdef" FROM "pg_indexes" WHERE "schemaname" = 'public'"#;

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_a_record_store_are_those_of_the_central_database() {
    use crate::store::Reader;

    async fn lines(db: &impl Reader) -> BTreeSet<String> {
        let backend = sea_orm::ConnectionTrait::get_database_backend(db.conn());
        let text =
            if backend == sea_orm::DatabaseBackend::Postgres { COLUMNS_POSTGRES } else { COLUMNS_SQLITE };
        let statement = sea_orm::Statement::from_string(backend, text);
        let rows = Line::find_by_statement(statement).all(db.conn()).await.expect("reads");
        rows.into_iter().map(|row| row.line).collect()
    }

    on_both("schemas", async |store| {
        let beside = Beside::of(&store).await;
        record_age::make_days(&store.records()).await.expect("makes");
        let table = |line: &str| line.split(' ').nth(1).unwrap_or_default().to_owned();
        let RecordAddress::Database(eu) = &beside.names["eu"] else { unreachable!("it is a database") };
        let eu = RecordDatabase::open("eu", eu, &[1; 16], &store).await.expect("is open");
        let ours = lines(&eu).await;
        let own = ["record_owner", "seaql_migrations"];
        let ours: BTreeSet<_> =
            ours.into_iter().filter(|line| !own.contains(&table(line).as_str())).collect();
        let tables: BTreeSet<_> = ours.iter().map(|line| table(line)).collect();
        assert!(tables.contains("request_record") && tables.contains("rollup"), "{tables:?}");
        let has_days = matches!(store.0.address, DatabaseAddress::Postgres(_));
        let days = tables.iter().filter(|table| table.starts_with("request_record_2"));
        assert_eq!(days.count() > 0, has_days, "made before its first record comes: {tables:?}");
        let central = lines(&store).await.into_iter().filter(|line| tables.contains(&table(line)));
        assert_eq!(ours, central.collect());
        eu.close().await;
        beside.close().await;
    })
    .await;
}

#[test]
fn the_time_of_a_change_comes_back_from_a_document_as_it_went_in() {
    let since = 1_767_225_600_123_456;
    let region = Region { record_store_since: Some(time::timestamp(time_of(since))), ..region() };
    assert_eq!(placement(&region).since, since);
}

/// What a batch says by itself, and the notifications that follow from it.
#[tokio::test(flavor = "multi_thread")]
async fn what_follows_from_a_batch_is_in_the_central_database_though_its_records_are_not() {
    on_both("told", async |store| {
        let region = Region { record_store: "eu".to_owned(), ..region() };
        let caller = put("og_a", "cr_a", "cr_a", Credential::default(), None);
        let mut proxy = put("og_a", "px_a", "px_a", Proxy::default(), None);
        proxy.links = vec![
            (Part::Region, Noun::Region, "rg".to_owned()),
            (Part::Caller, Noun::Credential, "cr_a".to_owned()),
        ];
        write(&store, vec![put("", "rg", "rg", region, None), caller, proxy]).await;
        let beside = Beside::of(&store).await;
        let told = async || {
            let rows = notification::list(&store, "og_a", false, None, 10).await.expect("reads");
            rows.into_iter().map(|row| (row.kind, row.subject)).collect::<Vec<_>>()
        };
        let over = |mut batch: Ingest| {
            for row in &mut batch.records {
                (row.status, row.code) = (429, "rate-limited".to_owned());
            }
            batch
        };
        // Of a proxy that its region never served.
        let mut foreign = over(batch(1, &["foreign"]));
        foreign.records[0].org = "og_a".to_owned();
        let none = Ingested::Stored { stored: 0, foreign: 1 };
        assert_eq!(place(&beside.stores, foreign).await.expect("is taken"), none);
        assert!(told().await.is_empty());
        assert_eq!(place(&beside.stores, over(batch(2, &["a"]))).await.expect("is stored"), ONE);
        let reached = (i32::from(NotificationKind::LimitReached), "px_a".to_owned());
        assert_eq!(told().await, std::slice::from_ref(&reached));
        let limits = vec![LimitState {
            kind: LimitKind::Proxy.into(),
            window: Window::Day.into(),
            limit: 10,
            used: 8,
        }];
        let mut near = batch(3, &["b"]);
        near.records[0].record = Record { limits, ..Record::default() }.encode_to_vec();
        assert_eq!(place(&beside.stores, near).await.expect("is stored"), ONE);
        let mut all = told().await;
        all.sort_unstable();
        let mut wanted = [reached, (i32::from(NotificationKind::LimitNear), "px_a".to_owned())];
        wanted.sort_unstable();
        assert_eq!(all, wanted);
        let uses = vec![CallerUse { credential: "cr_a".to_owned(), minute: 7 }];
        let nothing = Ingested::Stored { stored: 0, foreign: 0 };
        let used = Ingest { uses, ..batch(4, &[]) };
        assert_eq!(place(&beside.stores, used).await.expect("is stored"), nothing);
        let used = caller_use::of_all(&store, &["cr_a"]).await.expect("reads");
        assert_eq!(used.get("cr_a"), Some(&(7 * 60_000_000)));
        assert_eq!(ids(&beside.stores).await, BTreeMap::from([("eu".to_owned(), set(&["a", "b"]))]));
        beside.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_replica_says_of_a_region_is_known_within_a_second_or_with_the_next_batch() {
    on_both("two replicas", async |store| {
        if matches!(store.0.address, DatabaseAddress::Sqlite(_)) {
            return;
        }
        home(&store).await;
        write(&store, vec![put("", "rg", "rg", region(), None)]).await;
        let beside = Beside::of(&store).await;
        let (tasks, shutdown) = (Tasks::new(), Shutdown::new());
        let other = Store::open(&store.0.address, Arc::new(SystemClock), tasks.clone(), shutdown.stop());
        let other = other.await.expect("opens");
        let theirs = beside.other(&other).await;
        assert_eq!(place(&beside.stores, batch(1, &["a"])).await.expect("is stored"), ONE);
        let in_eu = moved(&other, &region(), "eu", 100).await;
        assert_eq!(place(&theirs, batch(2, &["b"])).await.expect("is stored"), ONE);
        // The first knows it as it was, or has learnt it by itself.
        let mut again = place(&beside.stores, batch(2, &["b"])).await;
        if let Err(StoreError::Moved) = again {
            again = place(&beside.stores, batch(2, &["b"])).await;
        }
        assert_eq!(again.expect("is known"), Ingested::Duplicate(2));
        moved(&other, &in_eu, "us", 200).await;
        let begun = Instant::now();
        while beside.stores.placement("rg").await.expect("reads").store != "us" {
            assert!(begun.elapsed() < Duration::from_secs(10));
        }
        theirs.close().await;
        shutdown.begin();
        assert!(tasks.wait(Duration::from_secs(30)).await.is_empty());
        other.close().await;
        beside.close().await;
    })
    .await;
}
