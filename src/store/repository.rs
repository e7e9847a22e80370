//! Repositories: a name, and what is held under it.

use super::error::Error;
use super::transaction::{Transaction, sql, values};
use crate::oci::Repository;

/// The id of a repository's row; None if nothing was ever put there.
pub(super) fn find(tx: &Transaction, name: &Repository) -> Result<Option<i64>, Error> {
    tx.ask(sql!("repository/find"), values![name.as_str()], |row| {
        row.int(0)
    })
}

/// The id of a repository's row, which is made if there is none.
pub(super) fn find_or_make(tx: &Transaction, name: &Repository) -> Result<i64, Error> {
    if let Some(id) = find(tx, name)? {
        return Ok(id);
    }
    let made = tx.ask(sql!("repository/make"), values![name.as_str()], |row| {
        row.int(0)
    })?;
    made.ok_or_else(|| Error::corrupt("a new row has no id"))
}

/// Counts manifests that came to a repository, or went.
pub(super) fn count_manifests(tx: &Transaction, id: i64, more: i64) -> Result<(), Error> {
    tx.run(sql!("repository/count"), values![more, id])
        .map(drop)
}

/// The names of repositories that hold a manifest, in byte order after `last`, at most `count`.
pub fn list(tx: &Transaction, last: &str, count: u32) -> Result<Vec<String>, Error> {
    let values = values![last, i64::from(count)];
    tx.list(sql!("repository/list"), values, |row| row.text(0))
}

/// Whether a repository holds anything.
pub fn holds_anything(tx: &Transaction, name: &Repository) -> Result<bool, Error> {
    let found = tx.ask(sql!("repository/holds"), values![name.as_str()], |row| {
        row.int(0)
    })?;
    Ok(found.is_some())
}

/// All repositories, under the numbers of their rows, in byte order after `last`, at most `count`;
/// also those that hold no manifest.
pub(super) fn list_all(
    tx: &Transaction,
    last: &str,
    count: u32,
) -> Result<Vec<(i64, Repository)>, Error> {
    tx.list(
        sql!("repository/all"),
        values![last, i64::from(count)],
        |row| {
            let name = row.text(1)?.parse();
            let name = name.map_err(|_| Error::corrupt("a repository has an unknown name"))?;
            Ok((row.int(0)?, name))
        },
    )
}
