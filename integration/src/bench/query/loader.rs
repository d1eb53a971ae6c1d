//! Very many rows into a table of a control plane that does not run: by COPY into PostgreSQL, by INSERT into SQLite.
//!
//! Indexes of PostgreSQL are taken off and built at the end. The primary key of records is by random ids and is built as full
//! as such inserts would leave it, two thirds, so that sizes are not told too small.

use std::path::Path;

use anyhow::Context as _;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, QueryBuilder, Row as _, Sqlite};

/// One value of a row.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Short(i16),
    Int(i32),
    Long(i64),
    Bool(bool),
    Text(String),
    Bytes(Vec<u8>),
}

/// An open database.
pub(crate) enum Loader {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

/// Bytes of one message of COPY, about.
const MESSAGE: usize = 1024 * 1024;
/// Values of one statement of SQLite at most.
const BINDS: usize = 30_000;
/// Rows of one transaction of SQLite.
const ROWS: usize = 100_000;
/// What begins a binary COPY: signature, no flags, no extension.
const COPY: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

impl Loader {
    pub(crate) async fn postgres(address: &str) -> anyhow::Result<Self> {
        Ok(Self::Postgres(PgConnection::connect(address).await?))
    }

    pub(crate) async fn sqlite(file: &Path) -> anyhow::Result<Self> {
        let mut database =
            SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(file)).await?;
        database.execute("PRAGMA synchronous = OFF").await?;
        Ok(Self::Sqlite(database))
    }

    /// Runs statements.
    pub(crate) async fn run(&mut self, statements: &str) -> anyhow::Result<()> {
        let safe = AssertSqlSafe(statements.to_owned());
        match self {
            Self::Postgres(database) => sqlx::raw_sql(safe).execute(database).await?.rows_affected(),
            Self::Sqlite(database) => sqlx::raw_sql(safe).execute(database).await?.rows_affected(),
        };
        Ok(())
    }

    /// The only number that a query answers.
    pub(crate) async fn number(&mut self, query: &str) -> anyhow::Result<i64> {
        let safe = AssertSqlSafe(query.to_owned());
        Ok(match self {
            Self::Postgres(database) => sqlx::query(safe).fetch_one(database).await?.try_get(0)?,
            Self::Sqlite(database) => sqlx::query(safe).fetch_one(database).await?.try_get(0)?,
        })
    }

    /// Writes rows; how many there were.
    pub(crate) async fn fill(
        &mut self,
        table: &str,
        columns: &[&str],
        rows: impl Iterator<Item = Vec<Value>>,
    ) -> anyhow::Result<u64> {
        match self {
            Self::Postgres(database) => copy(database, table, columns, rows).await,
            Self::Sqlite(database) => insert(database, table, columns, rows).await,
        }
    }

    /// Takes the indexes of a table off. Returns the statements that make them.
    pub(crate) async fn without_indexes(&mut self, table: &str) -> anyhow::Result<Vec<String>> {
        let Self::Postgres(database) = self else { return Ok(Vec::new()) };
        let query = "SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid), i.indisprimary, \
                     coalesce(pg_get_constraintdef(c.oid), '') FROM pg_index i \
                     LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid AND c.contype = 'p' \
                     WHERE i.indrelid = $1::regclass";
        let found = sqlx::query(query).bind(table).fetch_all(&mut *database).await?;
        let mut anew = Vec::new();
        for row in found {
            let (name, index, is_primary, constraint): (String, String, bool, String) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
            let off = if is_primary {
                anew.push(format!(
                    "ALTER TABLE {table} ADD CONSTRAINT {name} {constraint} WITH (fillfactor = 67)"
                ));
                format!("ALTER TABLE {table} DROP CONSTRAINT {name}")
            } else {
                // As it is told of a table in partitions: that would make none on these.
                anew.push(index.replacen(" ON ONLY ", " ON ", 1));
                format!("DROP INDEX {name}")
            };
            sqlx::raw_sql(AssertSqlSafe(off)).execute(&mut *database).await?;
        }
        Ok(anew)
    }

    /// Ends the load.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        match self {
            Self::Postgres(database) => database.close().await?,
            Self::Sqlite(database) => database.close().await?,
        }
        Ok(())
    }
}

async fn copy(
    database: &mut PgConnection,
    table: &str,
    columns: &[&str],
    rows: impl Iterator<Item = Vec<Value>>,
) -> anyhow::Result<u64> {
    let statement = format!("COPY {table} (\"{}\") FROM STDIN (FORMAT binary)", columns.join("\", \""));
    let mut into = database.copy_in_raw(&statement).await?;
    let mut message = COPY.to_vec();
    for row in rows {
        message.extend(u16::try_from(row.len())?.to_be_bytes());
        for value in &row {
            put(&mut message, value)?;
        }
        if message.len() >= MESSAGE {
            into.send(message.as_slice()).await?;
            message.clear();
        }
    }
    message.extend((-1_i16).to_be_bytes());
    into.send(message.as_slice()).await?;
    into.finish().await.with_context(|| format!("copy into {table}"))
}

/// Length and value.
fn put(message: &mut Vec<u8>, value: &Value) -> anyhow::Result<()> {
    let mut put = |bytes: &[u8]| {
        message.extend(u32::try_from(bytes.len())?.to_be_bytes());
        message.extend(bytes);
        anyhow::Ok(())
    };
    match value {
        Value::Short(number) => put(&number.to_be_bytes()),
        Value::Int(number) => put(&number.to_be_bytes()),
        Value::Long(number) => put(&number.to_be_bytes()),
        Value::Bool(is) => put(&[u8::from(*is)]),
        Value::Text(text) => put(text.as_bytes()),
        Value::Bytes(bytes) => put(bytes),
    }
}

async fn insert(
    database: &mut SqliteConnection,
    table: &str,
    columns: &[&str],
    rows: impl Iterator<Item = Vec<Value>>,
) -> anyhow::Result<u64> {
    let begin = format!("INSERT INTO {table} (\"{}\") ", columns.join("\", \""));
    let (mut rows, mut count, mut of_transaction) = (rows.peekable(), 0, 0);
    database.execute("BEGIN").await?;
    while rows.peek().is_some() {
        let some: Vec<_> = rows.by_ref().take(BINDS / columns.len()).collect();
        count += some.len() as u64;
        of_transaction += some.len();
        let mut statement = QueryBuilder::<Sqlite>::new(&begin);
        statement.push_values(some, |mut row, values| {
            for value in values {
                match value {
                    Value::Short(number) => row.push_bind(number),
                    Value::Int(number) => row.push_bind(number),
                    Value::Long(number) => row.push_bind(number),
                    Value::Bool(is) => row.push_bind(is),
                    Value::Text(text) => row.push_bind(text),
                    Value::Bytes(bytes) => row.push_bind(bytes),
                };
            }
        });
        statement.build().execute(&mut *database).await.with_context(|| format!("insert into {table}"))?;
        if of_transaction >= ROWS {
            database.execute("COMMIT").await?;
            database.execute("BEGIN").await?;
            of_transaction = 0;
        }
    }
    database.execute("COMMIT").await?;
    Ok(count)
}
