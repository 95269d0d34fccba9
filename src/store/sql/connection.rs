//! A connection to either database.

use std::time::Duration;

use rusqlite::types::Value as SqliteValue;
use sqlx::postgres::{PgArguments, PgConnection, PgRow, Postgres};
use sqlx::{Arguments, Connection as _, Error, Row as _, query_with};
use tokio::time::timeout;

use super::query::{Column, Kind, Query, Value};
use crate::store::sqlite::{SqliteConnection, SqliteRow};

/// How long a server is waited for. It gives a statement up before that by itself; so whoever says nothing any more is gone.
const SERVER_PATIENCE: Duration = Duration::from_secs(60);

/// A connection.
#[derive(Debug)]
pub(in crate::store) enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// A row of either database.
pub(in crate::store) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// The column at a place.
    pub(super) fn at<T: Column>(&self, index: usize) -> Result<T, Error> {
        match self {
            Self::Sqlite(row) => column(row.at(index)?, index),
            Self::Postgres(row) => row.try_get(index),
        }
    }

    /// The column of that name.
    pub(super) fn named<T: Column>(&self, name: &str) -> Result<T, Error> {
        match self {
            Self::Sqlite(row) => column(row.named(name)?, name),
            Self::Postgres(row) => row.try_get(name),
        }
    }
}

fn column<T: Column>(value: &SqliteValue, place: impl ToString) -> Result<T, Error> {
    T::of(value).ok_or_else(|| Error::ColumnDecode {
        index: place.to_string(),
        source: format!("it is of the kind {:?}", value.data_type()).into(),
    })
}

/// What a statement has done.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Done {
    rows_affected: u64,
}

impl Done {
    /// How many rows it has added, changed or deleted.
    pub(in crate::store) fn rows_affected(self) -> u64 {
        self.rows_affected
    }
}

/// Whom rows can be asked of: a connection, or [`Readers`](super::readers::Readers).
pub(in crate::store) trait Fetch: Send {
    fn fetch_all(self, query: Query) -> impl Future<Output = Result<Vec<Row>, Error>> + Send;
    fn fetch_optional(self, query: Query) -> impl Future<Output = Result<Option<Row>, Error>> + Send;
}

impl Fetch for &mut Connection {
    async fn fetch_all(self, query: Query) -> Result<Vec<Row>, Error> {
        match self {
            Connection::Sqlite(connection) => fetch_now(connection, query, usize::MAX),
            Connection::Postgres(connection) => {
                let rows = patiently(postgres(query)?.fetch_all(connection)).await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    async fn fetch_optional(self, query: Query) -> Result<Option<Row>, Error> {
        match self {
            Connection::Sqlite(connection) => Ok(fetch_now(connection, query, 1)?.pop()),
            Connection::Postgres(connection) => {
                let row = patiently(postgres(query)?.fetch_optional(connection)).await?;
                Ok(row.map(Row::Postgres))
            }
        }
    }
}

impl Connection {
    pub(super) async fn execute(&mut self, query: Query) -> Result<Done, Error> {
        let rows_affected = match self {
            Self::Sqlite(connection) => {
                let Query { text, values } = query;
                connection.execute(text.of_sqlite(), values.into_iter().map(sqlite_value).collect())?
            }
            Self::Postgres(connection) => {
                let done = patiently(postgres(query)?.execute(connection)).await?;
                done.rows_affected()
            }
        };
        Ok(Done { rows_affected })
    }

    /// Closes it; a transaction that is open is rolled back.
    pub(in crate::store) async fn close(self) -> Result<(), Error> {
        match self {
            Self::Sqlite(connection) => connection.close(),
            Self::Postgres(connection) => patiently(connection.close()).await,
        }
    }
}

/// Whether an error says that the connection is of no use any more.
pub(super) fn is_lost(error: &Error) -> bool {
    match error {
        Error::Io(_) | Error::Protocol(_) | Error::WorkerCrashed => true,
        // The server is going down, or has ended the session.
        Error::Database(error) => error
            .code()
            .is_some_and(|code| code.starts_with("57P") || code == "25P03"),
        _ => false,
    }
}

async fn patiently<T>(answer: impl Future<Output = Result<T, Error>> + Send) -> Result<T, Error> {
    let silent = |_| Error::Io(std::io::ErrorKind::TimedOut.into());
    timeout(SERVER_PATIENCE, answer).await.map_err(silent)?
}

/// The rows that SQLite returns, `most` of them at most, read while the caller stands still.
pub(super) fn fetch_now(
    connection: &mut SqliteConnection,
    query: Query,
    most: usize,
) -> Result<Vec<Row>, Error> {
    let Query { text, values } = query;
    let values = values.into_iter().map(sqlite_value).collect();
    let rows = connection.fetch(text.of_sqlite(), values, most)?;
    Ok(rows.into_iter().map(Row::Sqlite).collect())
}

fn sqlite_value(value: Value) -> SqliteValue {
    match value {
        Value::Integer(number) => SqliteValue::Integer(number),
        Value::Boolean(is) => SqliteValue::Integer(is.into()),
        Value::Text(text) => SqliteValue::Text(text),
        Value::Blob(octets) => SqliteValue::Blob(octets),
        Value::Null(_) => SqliteValue::Null,
    }
}

fn postgres(query: Query) -> Result<sqlx::query::Query<'static, Postgres, PgArguments>, Error> {
    let text = query.text.of_postgres();
    Ok(query_with(text, arguments(query.values)?))
}

fn arguments(values: Vec<Value>) -> Result<PgArguments, Error> {
    let mut arguments = PgArguments::default();
    for value in values {
        let added = match value {
            Value::Integer(number) => arguments.add(number),
            Value::Boolean(is) => arguments.add(is),
            Value::Text(text) => arguments.add(text),
            Value::Blob(octets) => arguments.add(octets),
            Value::Null(Kind::Integer) => arguments.add(None::<i64>),
            Value::Null(Kind::Boolean) => arguments.add(None::<bool>),
            Value::Null(Kind::Text) => arguments.add(None::<String>),
            Value::Null(Kind::Blob) => arguments.add(None::<Vec<u8>>),
        };
        added.map_err(Error::Encode)?;
    }
    Ok(arguments)
}
