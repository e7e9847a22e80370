//! Copies: files that a content network keeps as well, which may be dropped from this disk.

use super::blob::Place;
use super::error::Error;
use super::transaction::{Transaction, sql, values};
use crate::oci::Digest;

/// A copy that may be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy {
    /// The number of the blob's row.
    pub blob: i64,
    /// What it hashes to.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// What a blob being a copy depends on.
pub(super) struct Known {
    pub place: Place,
    pub size: Option<i64>,
    /// As long as what it is listed, if it is.
    pub listed: Option<i64>,
    pub is_kept: bool,
    pub is_manifest: bool,
}

/// What is known of a blob, by the number of its row.
pub(super) fn find(tx: &Transaction, blob: i64) -> Result<Option<Known>, Error> {
    tx.ask(sql!("copy/of_blob"), values![blob], |row| {
        Ok(Known {
            place: Place::of(row.int(0)?)?,
            size: row.int_or_null(1)?,
            listed: row.int_or_null(2)?,
            is_kept: row.int(3)? == 1,
            is_manifest: row.int(4)? == 1,
        })
    })
}

/// Lists a blob among the copies, or takes it off, as what is known says.
pub(super) fn list(tx: &Transaction, blob: i64, known: &Known) -> Result<(), Error> {
    let is_copy = known.place == Place::File && known.is_kept && !known.is_manifest;
    match (known.listed, is_copy) {
        (None, true) => {
            let size = known.size.unwrap_or(0);
            tx.run(sql!("copy/list"), values![blob, size, tx.now()])?;
            tx.run(sql!("copy/count"), values![size])?;
        }
        (Some(size), false) => {
            tx.run(sql!("copy/unlist"), values![blob])?;
            tx.run(sql!("copy/count"), values![-size])?;
        }
        _ => {}
    }
    Ok(())
}

/// Bytes of all copies.
pub fn size(tx: &Transaction) -> Result<u64, Error> {
    let size = tx.ask(sql!("copy/size"), values![], |row| row.size(0))?;
    Ok(size.unwrap_or(0))
}

/// The copies that were not used for longest, at most `count`.
pub fn oldest(tx: &Transaction, count: u32) -> Result<Vec<Copy>, Error> {
    tx.list(sql!("copy/oldest"), values![i64::from(count)], |row| {
        Ok(Copy {
            digest: row.digest(0)?,
            blob: row.int(1)?,
            size: row.size(2)?,
        })
    })
}

/// The number of the row of a copy that was not used since `before`, in milliseconds since 1970.
pub fn used_before(tx: &Transaction, digest: &Digest, before: i64) -> Result<Option<i64>, Error> {
    let values = values![digest, before];
    tx.ask(sql!("copy/used_before"), values, |row| row.int(0))
}

/// Notes that a copy is used now.
pub fn touch(tx: &Transaction, blob: i64) -> Result<(), Error> {
    tx.run(sql!("copy/use"), values![tx.now(), blob]).map(drop)
}
