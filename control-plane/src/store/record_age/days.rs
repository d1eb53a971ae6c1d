//! The days of records on PostgreSQL: partitions, made ahead and dropped whole. On SQLite there are none.
//!
//! A record of a day that was not made, or that was dropped, is in the default partition, so nothing that arrives is
//! refused for its time. A day of which something is there already is not made any more: to move records would hold up
//! ingest. Rows of the default partition, and of the partition that was the table before there were days, are deleted as
//! those on SQLite are.
//!
//! The invariant: a day goes only when it is too old for every organization that there is or that may come back.

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseBackend, FromQueryResult, Statement};

use super::{keeper, longest, longest_kept};
use crate::store::record_database::RecordDatabase;
use crate::store::row::Reader;
use crate::store::{Store, StoreError, Txn};

/// Yesterday, for records that come in late, today, and two days ahead: the job may fail for a day.
const MADE: std::ops::RangeInclusive<i64> = -1..=2;

/// What makes or drops a day waits for statements on records, and whatever comes meanwhile waits for it in turn: not
/// long, and the next run tries again.
const LOCK_LIMIT: &str = "SET LOCAL lock_timeout = '2s'";

const PARTITIONS: &str = r#"SELECT "c"."relname" AS "name" FROM "pg_inherits" "i" JOIN "pg_class" "c" ON "c"."oid" = "i"."inhrelid" WHERE "i"."inhparent" = 'request_record'::regclass"#;

#[derive(FromQueryResult)]
struct Named {
    name: String,
}

/// A partition with bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Day {
    name: String,
    /// None for the partition that was the table before there were days.
    from: Option<NaiveDate>,
    until: NaiveDate,
}

/// The name of a day's partition begins with this, and ends with the day.
const NAME: &str = "request_record_";
const BEFORE: &str = "before_";

impl Day {
    fn on(day: NaiveDate) -> Option<Self> {
        let name = format!("{NAME}{}", day.format("%Y%m%d"));
        Some(Self { name, from: Some(day), until: day.checked_add_days(Days::new(1))? })
    }

    /// None for the default partition, and for what is none of ours.
    fn named(name: &str) -> Option<Self> {
        let rest = name.strip_prefix(NAME)?;
        let date = |text| NaiveDate::parse_from_str(text, "%Y%m%d").ok();
        match rest.strip_prefix(BEFORE) {
            Some(until) => Some(Self { name: name.to_owned(), from: None, until: date(until)? }),
            None => Self::on(date(rest)?),
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        let begins_within = |one: &Self, other: &Self| one.from.is_none_or(|from| from < other.until);
        begins_within(self, other) && begins_within(other, self)
    }
}

/// Makes the days from yesterday on that are not there yet.
pub(crate) async fn make(store: &RecordDatabase) -> Result<(), StoreError> {
    if !has_days(store) {
        return Ok(());
    }
    let today = day_of(store.now());
    let wanted: Vec<Day> = MADE
        .filter_map(|n| today.checked_add_signed(chrono::TimeDelta::days(n)))
        .filter_map(Day::on)
        .collect();
    if missing(store, wanted.clone()).await?.is_empty() {
        return Ok(());
    }
    store.note(move |txn| Box::pin(async move { make_missing(txn, wanted).await })).await
}

async fn missing(db: &impl Reader, mut wanted: Vec<Day>) -> Result<Vec<Day>, StoreError> {
    let there = all(db).await?;
    wanted.retain(|day| !there.iter().any(|it| it.overlaps(day)));
    Ok(wanted)
}

async fn make_missing(txn: &Txn, wanted: Vec<Day>) -> Result<(), StoreError> {
    let run = async |statement: &str| {
        let ran = txn.tx().execute_unprepared(statement).await;
        ran.map(drop).map_err(StoreError::statement("make a day of records"))
    };
    run(LOCK_LIMIT).await?;
    // Another replica waits here, and so does ingest: a row that was on its way into the default partition while its day
    // is made would be refused there.
    run(r#"LOCK TABLE ONLY "request_record" IN SHARE ROW EXCLUSIVE MODE"#).await?;
    let missing = missing(txn, wanted).await?;
    if missing.is_empty() {
        return Ok(());
    }
    // To attach takes it anyway; here a wait for readers leaves nothing half done.
    run(r#"LOCK TABLE "request_record_default" IN ACCESS EXCLUSIVE MODE"#).await?;
    for Day { name, from, until } in missing {
        let Some(from) = from else { continue };
        let (from, until) = (micros(from), micros(until));
        if is_in_default(txn, from, until).await? {
            continue;
        }
        // Attached, because to make it in its place takes a stronger lock on the whole, on top of this one.
        run(&format!(
            r#"CREATE TABLE "{name}" (LIKE "request_record" INCLUDING DEFAULTS INCLUDING INDEXES)"#
        ))
        .await?;
        run(&format!(
            r#"ALTER TABLE "request_record" ATTACH PARTITION "{name}" FOR VALUES FROM ({from}) TO ({until})"#
        ))
        .await?;
    }
    Ok(())
}

async fn is_in_default(txn: &Txn, from: i64, until: i64) -> Result<bool, StoreError> {
    let statement = Statement::from_sql_and_values(
        DatabaseBackend::Postgres,
        r#"SELECT 1 AS "one" FROM "request_record_default" WHERE "received_at" >= $1 AND "received_at" < $2 LIMIT 1"#,
        [from.into(), until.into()],
    );
    let found = txn.tx().query_one_raw(statement).await;
    Ok(found.map_err(StoreError::statement("look for records without a day"))?.is_some())
}

/// Drops the days that are too old at a time for every organization. How many.
pub(super) async fn drop_old(store: &RecordDatabase, now: i64) -> Result<u64, StoreError> {
    if !has_days(store) {
        return Ok(0);
    }
    let cutoff = day_of(now.saturating_sub(longest(store.central()).await?));
    let mut dropped = 0;
    for day in all(store).await?.into_iter().filter(|day| day.until <= cutoff) {
        let keeper = keeper(store);
        let gone = store
            .note(move |txn| Box::pin(async move { drop_day(txn, keeper.as_ref(), day, now).await }))
            .await?;
        dropped += u64::from(gone);
    }
    Ok(dropped)
}

async fn drop_day(txn: &Txn, keeper: Option<&Store>, day: Day, now: i64) -> Result<bool, StoreError> {
    let run = async |statement: &str| {
        let ran = txn.tx().execute_unprepared(statement).await;
        ran.map(drop).map_err(StoreError::statement("drop a day of records"))
    };
    run(LOCK_LIMIT).await?;
    // As a drop takes it, and before the day itself, as every other statement does.
    run(r#"LOCK TABLE ONLY "request_record" IN ACCESS EXCLUSIVE MODE"#).await?;
    let still_old = day.until <= day_of(now.saturating_sub(longest_kept(txn, keeper).await?));
    // Another replica may have been first.
    if !still_old || !all(txn).await?.contains(&day) {
        return Ok(false);
    }
    run(&format!(r#"DROP TABLE "{}""#, day.name)).await?;
    Ok(true)
}

/// The partitions with bounds.
async fn all(db: &impl Reader) -> Result<Vec<Day>, StoreError> {
    let statement = Statement::from_string(DatabaseBackend::Postgres, PARTITIONS);
    let named = Named::find_by_statement(statement)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("list days of records"))?;
    Ok(named.iter().filter_map(|row| Day::named(&row.name)).collect())
}

fn has_days(store: &RecordDatabase) -> bool {
    store.conn().get_database_backend() == DatabaseBackend::Postgres
}

/// The day that a time is in, UTC.
fn day_of(micros: i64) -> NaiveDate {
    let at = DateTime::<Utc>::from_timestamp_micros(micros).unwrap_or(DateTime::UNIX_EPOCH);
    at.date_naive()
}

fn micros(day: NaiveDate) -> i64 {
    day.and_time(NaiveTime::MIN).and_utc().timestamp_micros()
}

#[cfg(test)]
mod tests {
    use rr_contract::wire::management::Org;

    use super::super::DAY;
    use super::*;
    use crate::noun::Noun;
    use crate::tests::stores::{self, on_both, put, write};

    #[test]
    fn a_partition_is_known_by_its_name_and_others_are_left_alone() {
        let day = Day::named("request_record_20260228").expect("a day");
        assert_eq!((micros(day.until) - micros(day.from.expect("a day"))), DAY);
        assert_eq!(Day::on(day.from.expect("a day")), Some(day.clone()));
        let first = Day::named("request_record_before_20260301").expect("what was before");
        assert_eq!((first.from, first.until), (None, day.until));
        let next = Day::named("request_record_20260301").expect("a day");
        assert!(first.overlaps(&day) && day.overlaps(&first) && first.overlaps(&first));
        assert!(!first.overlaps(&next) && !next.overlaps(&first) && !day.overlaps(&next));
        for other in ["request_record_default", "request_record_20260231", "request_record", "x_20260301"] {
            assert_eq!(Day::named(other), None, "{other}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_day_that_somebody_keeps_by_now_or_that_is_gone_by_now_is_not_dropped() {
        on_both("kept days", async |store, clock| {
            let records = store.records();
            if !has_days(&records) {
                return;
            }
            make(&records).await.expect("makes");
            let day = Day::on(day_of(store.now())).expect("a day");
            clock.pass(stores::DAY * 100);
            let now = store.now();
            let dropped = async || {
                let day = day.clone();
                store.note(move |txn| Box::pin(async move { drop_day(txn, None, day, now).await })).await
            };
            let id = Noun::Org.id([1; 16]);
            for (record_days, is_dropped) in [(400, false), (30, true), (30, false)] {
                let org = Org { id: id.clone(), name: "o1".to_owned(), record_days, ..Org::default() };
                write(&store, vec![put("", &id, "o1", org, None)]).await;
                assert_eq!(dropped().await.expect("is no error"), is_dropped, "{record_days}");
            }
        })
        .await;
    }
}
