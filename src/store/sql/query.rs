//! Statements with values, for either database.
//!
//! The names are those of sqlx. Placeholders are `$1`, `$2` and so on: both databases know them. Where the text has to differ,
//! it is in [`dialect`](super::dialect).

use std::marker::PhantomData;

use rusqlite::types::Value as SqliteValue;
use sqlx::postgres::Postgres;

use super::connection::{Connection, Done, Fetch, Row};
use super::dialect::Text;

/// What a placeholder stands for.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::store) enum Value {
    Integer(i64),
    Boolean(bool),
    Text(String),
    Blob(Vec<u8>),
    Null(Kind),
}

/// Of what kind a value is that is not there: PostgreSQL wants to know.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::store) enum Kind {
    Integer,
    Boolean,
    Text,
    Blob,
}

/// What can be given to a placeholder.
pub(in crate::store) trait Bind {
    const KIND: Kind;
    fn value(self) -> Value;
}

impl<T: Bind> Bind for Option<T> {
    const KIND: Kind = T::KIND;
    fn value(self) -> Value {
        self.map_or(Value::Null(T::KIND), T::value)
    }
}

/// Rust types as values.
macro_rules! bind {
    ($($type:ty, $kind:ident, $value:ident => $made:expr;)*) => {
        $(impl Bind for $type {
            const KIND: Kind = Kind::$kind;
            fn value(self) -> Value {
                let $value = self;
                Value::$kind($made)
            }
        })*
    };
}

bind! {
    i64, Integer, number => number;
    u32, Integer, number => number.into();
    u16, Integer, number => number.into();
    bool, Boolean, is => is;
    String, Text, text => text;
    &String, Text, text => text.clone();
    &str, Text, text => text.to_owned();
    Vec<u8>, Blob, octets => octets;
    &Vec<u8>, Blob, octets => octets.clone();
    &[u8], Blob, octets => octets.to_vec();
}

/// What a row is read as: tuples of columns by place, and structs made by [`row!`] by name.
pub(in crate::store) trait FromRow: Sized + Send {
    fn read(row: &Row) -> Result<Self, sqlx::Error>;
}

/// What a column is read as. Integers are [`i64`], in both databases.
pub(in crate::store) trait Column:
    for<'r> sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>
{
    /// `None` if the value is of another kind.
    fn of(value: &SqliteValue) -> Option<Self>;
}

macro_rules! columns {
    ($($type:ty: $pattern:pat => $made:expr;)*) => {
        $(impl Column for $type {
            fn of(value: &SqliteValue) -> Option<Self> {
                match value {
                    $pattern => Some($made),
                    _ => None,
                }
            }
        })*
    };
}

columns! {
    i64: SqliteValue::Integer(number) => *number;
    bool: SqliteValue::Integer(number) => *number != 0;
    String: SqliteValue::Text(text) => text.clone();
    Vec<u8>: SqliteValue::Blob(octets) => octets.clone();
}

impl<T: Column> Column for Option<T> {
    fn of(value: &SqliteValue) -> Option<Self> {
        match value {
            SqliteValue::Null => Some(None),
            value => T::of(value).map(Some),
        }
    }
}

macro_rules! tuples {
    ($(($($type:ident $place:tt),*))*) => {
        $(impl<$($type: Column + Send),*> FromRow for ($($type,)*) {
            fn read(row: &Row) -> Result<Self, sqlx::Error> {
                Ok(($(row.at::<$type>($place)?,)*))
            }
        })*
    };
}

tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}

/// A struct whose fields are columns.
macro_rules! row {
    ($(#[$meta:meta])* $visibility:vis struct $name:ident {
        $($(#[$field_meta:meta])* $field:ident: $type:ty,)*
    }) => {
        $(#[$meta])*
        $visibility struct $name {
            $($(#[$field_meta])* $field: $type,)*
        }

        impl $crate::store::sql::query::FromRow for $name {
            fn read(row: &$crate::store::sql::connection::Row) -> Result<Self, sqlx::Error> {
                Ok(Self {
                    $($field: row.named::<$type>(stringify!($field))?,)*
                })
            }
        }
    };
}
pub(super) use row;

/// A statement of which only the effect matters.
#[derive(Debug, Clone)]
pub(in crate::store) struct Query {
    pub(super) text: Text,
    pub(super) values: Vec<Value>,
}

/// A statement that returns rows.
pub(in crate::store) struct QueryAs<T> {
    query: Query,
    rows: PhantomData<fn() -> T>,
}

/// A statement that returns rows of one column.
pub(in crate::store) struct QueryScalar<T>(QueryAs<(T,)>);

pub(in crate::store) fn query(text: impl Into<Text>) -> Query {
    Query {
        text: text.into(),
        values: Vec::new(),
    }
}

pub(in crate::store) fn query_as<T: FromRow>(text: impl Into<Text>) -> QueryAs<T> {
    QueryAs {
        query: query(text),
        rows: PhantomData,
    }
}

pub(in crate::store) fn query_scalar<T>(text: impl Into<Text>) -> QueryScalar<T>
where
    (T,): FromRow,
{
    QueryScalar(query_as(text))
}

impl Query {
    /// The value of the next placeholder.
    pub(in crate::store) fn bind(mut self, value: impl Bind) -> Self {
        self.values.push(value.value());
        self
    }

    pub(in crate::store) async fn execute(self, db: &mut Connection) -> Result<Done, sqlx::Error> {
        db.execute(self).await
    }
}

impl<T: FromRow> QueryAs<T> {
    /// The value of the next placeholder.
    pub(in crate::store) fn bind(mut self, value: impl Bind) -> Self {
        self.query = self.query.bind(value);
        self
    }

    pub(in crate::store) async fn fetch_all(self, db: impl Fetch) -> Result<Vec<T>, sqlx::Error> {
        let rows = db.fetch_all(self.query).await?;
        rows.iter().map(T::read).collect()
    }

    pub(in crate::store) async fn fetch_optional(self, db: impl Fetch) -> Result<Option<T>, sqlx::Error> {
        let row = db.fetch_optional(self.query).await?;
        row.as_ref().map(T::read).transpose()
    }

    pub(in crate::store) async fn fetch_one(self, db: impl Fetch) -> Result<T, sqlx::Error> {
        self.fetch_optional(db).await?.ok_or(sqlx::Error::RowNotFound)
    }
}

impl<T> QueryScalar<T>
where
    (T,): FromRow,
{
    /// The value of the next placeholder.
    pub(in crate::store) fn bind(self, value: impl Bind) -> Self {
        Self(self.0.bind(value))
    }

    pub(in crate::store) async fn fetch_all(self, db: impl Fetch) -> Result<Vec<T>, sqlx::Error> {
        let rows = self.0.fetch_all(db).await?;
        Ok(rows.into_iter().map(|(column,)| column).collect())
    }

    pub(in crate::store) async fn fetch_optional(self, db: impl Fetch) -> Result<Option<T>, sqlx::Error> {
        let row = self.0.fetch_optional(db).await?;
        Ok(row.map(|(column,)| column))
    }

    pub(in crate::store) async fn fetch_one(self, db: impl Fetch) -> Result<T, sqlx::Error> {
        self.0.fetch_one(db).await.map(|(column,)| column)
    }
}

/// A statement whose text is put together.
pub(in crate::store) struct QueryBuilder {
    text: String,
    values: Vec<Value>,
}

impl QueryBuilder {
    pub(in crate::store) fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            values: Vec::new(),
        }
    }

    pub(in crate::store) fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// A placeholder and its value.
    pub(in crate::store) fn push_bind(&mut self, value: impl Bind) -> &mut Self {
        self.values.push(value.value());
        self.text.push('$');
        self.text.push_str(&self.values.len().to_string());
        self
    }

    pub(in crate::store) fn build(self) -> Query {
        Query {
            text: Text::Built(self.text),
            values: self.values,
        }
    }

    pub(in crate::store) fn build_as<T: FromRow>(self) -> QueryAs<T> {
        QueryAs {
            query: self.build(),
            rows: PhantomData,
        }
    }
}
