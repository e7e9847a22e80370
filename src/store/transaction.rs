//! What commands and queries are written over: a statement to run, a question to ask.
//!
//! Every statement stands in `sql/`, in words that SQLite and PostgreSQL share; whatever only one
//! of them has stays in the engine's own file.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql};

use super::error::Error;
use crate::oci::{Algorithm, Digest};

/// The text of a statement: `sql!("tag/put")` is what `sql/tag/put.sql` holds.
macro_rules! sql {
    ($name:literal) => {
        include_str!(concat!("sql/", $name, ".sql"))
    };
}
pub(super) use sql;

/// A value given to a statement.
#[derive(Clone, Debug)]
pub enum Value<'v> {
    /// Nothing.
    Null,
    /// A number, a time in milliseconds, or the id of a row.
    Int(i64),
    /// A text.
    Text(&'v str),
    /// Bytes.
    Blob(&'v [u8]),
    /// A digest: a byte for the algorithm, then the hash.
    Digest(Vec<u8>),
}

/// The values given to a statement, in order: `values![repository.as_str(), now]`.
macro_rules! values {
    ($($value:expr),* $(,)?) => {
        &[$($crate::store::transaction::Value::from($value)),*]
    };
}
pub(super) use values;

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}

impl<'v> From<&'v str> for Value<'v> {
    fn from(text: &'v str) -> Self {
        Value::Text(text)
    }
}

impl<'v> From<&'v String> for Value<'v> {
    fn from(text: &'v String) -> Self {
        Value::Text(text)
    }
}

impl<'v> From<&'v [u8]> for Value<'v> {
    fn from(bytes: &'v [u8]) -> Self {
        Value::Blob(bytes)
    }
}

impl From<&Digest> for Value<'_> {
    fn from(digest: &Digest) -> Self {
        let algorithm = match digest.algorithm() {
            Algorithm::Sha256 => 1,
            Algorithm::Sha512 => 2,
        };
        Value::Digest([&[algorithm], digest.hash()].concat())
    }
}

impl<'v, T: Into<Value<'v>>> From<Option<T>> for Value<'v> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Int(number) => ValueRef::Integer(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
            Value::Digest(key) => ValueRef::Blob(key),
        }))
    }
}

/// The digest with that key; None of what is none, which only another program can have written.
fn digest_of(key: &[u8]) -> Option<Digest> {
    let (algorithm, hash) = key.split_first()?;
    match algorithm {
        1 => hash.try_into().ok().map(Digest::Sha256),
        2 => hash.try_into().ok().map(Digest::Sha512),
        _ => None,
    }
}

/// A row of an answer; columns count from 0. A column of another type than asked for is an error
/// of the database's, never a panic.
pub struct Row<'r>(&'r rusqlite::Row<'r>);

impl Row<'_> {
    /// A number.
    pub fn int(&self, column: usize) -> Result<i64, Error> {
        Ok(self.0.get(column)?)
    }

    /// A number that may be absent.
    pub fn int_or_null(&self, column: usize) -> Result<Option<i64>, Error> {
        Ok(self.0.get(column)?)
    }

    /// A size or a count, which is never below 0.
    pub fn size(&self, column: usize) -> Result<u64, Error> {
        let number = self.int(column)?;
        u64::try_from(number).map_err(|_| Error::corrupt("a size is below 0"))
    }

    /// A text.
    pub fn text(&self, column: usize) -> Result<String, Error> {
        Ok(self.0.get(column)?)
    }

    /// A text that may be absent.
    pub fn text_or_null(&self, column: usize) -> Result<Option<String>, Error> {
        Ok(self.0.get(column)?)
    }

    /// Bytes that may be absent.
    pub fn bytes_or_null(&self, column: usize) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.get(column)?)
    }

    /// A digest.
    pub fn digest(&self, column: usize) -> Result<Digest, Error> {
        let key = self.0.get_ref(column)?.as_blob().unwrap_or_default();
        digest_of(key).ok_or_else(|| Error::corrupt("a digest has an unknown form"))
    }

    /// A digest that may be absent.
    pub fn digest_or_null(&self, column: usize) -> Result<Option<Digest>, Error> {
        match self.0.get_ref(column)? {
            ValueRef::Null => Ok(None),
            _ => self.digest(column).map(Some),
        }
    }
}

/// A transaction of the catalog: what it reads is of one moment, and what it changes is there for
/// all others at once, or not at all.
pub struct Transaction<'c> {
    connection: &'c Connection,
    now: i64,
}

impl<'c> Transaction<'c> {
    /// A transaction that is under way on that connection, at that time.
    pub(super) fn new(connection: &'c Connection, now: i64) -> Transaction<'c> {
        Transaction { connection, now }
    }

    /// When it happens, in milliseconds since 1970.
    pub fn now(&self) -> i64 {
        self.now
    }

    /// Runs a statement; how many rows it changed.
    pub fn run(&self, sql: &str, values: &[Value]) -> Result<usize, Error> {
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.execute(rusqlite::params_from_iter(values))?)
    }

    /// Asks for one row; None if there is none.
    pub fn ask<T>(
        &self,
        sql: &str,
        values: &[Value],
        read: impl FnOnce(&Row) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        let row = rows.next()?;
        row.map(|row| read(&Row(row))).transpose()
    }

    /// Asks for rows, which the statement itself bounds.
    pub fn list<T>(
        &self,
        sql: &str,
        values: &[Value],
        mut read: impl FnMut(&Row) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        let mut listed = Vec::new();
        while let Some(row) = rows.next()? {
            listed.push(read(&Row(row))?);
        }
        Ok(listed)
    }
}
