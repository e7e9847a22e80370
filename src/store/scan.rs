//! Scans: all that a store has, page by page, for whoever looks at all of it.
//!
//! A page begins after the last entry of the one before, so its cost does not grow with what there
//! is, and what changes between two pages is seen or not, but never twice.

use super::blob::{self, Place};
use super::error::Error;
use super::pin::State;
use super::transaction::{Row, Transaction, sql, values};
use crate::oci::{Digest, Repository, Tag};

/// A repository that holds a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: Repository,
    /// How many manifests it holds.
    pub manifests: u64,
}

/// A tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagged {
    /// Its name.
    pub name: Tag,
    /// The number of the row of what it points to.
    pub manifest: i64,
    /// What it points to.
    pub digest: Digest,
    /// When that was pushed, in milliseconds since 1970.
    pub pushed_at: i64,
}

/// Content of a repository, or of any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The number of its row.
    pub id: i64,
    /// What it hashes to.
    pub digest: Digest,
    /// Its length in bytes, if anybody has said it.
    pub size: Option<u64>,
    /// Where its bytes are.
    pub place: Place,
}

/// How far content is on a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// How far.
    pub state: State,
    /// The CID that we computed.
    pub cid: Option<String>,
    /// What the network calls it.
    pub remote: Option<String>,
    /// Why it is not farther.
    pub cause: Option<String>,
}

/// Repositories that hold a manifest, in byte order after `last`, at most `count`.
pub fn repositories(tx: &Transaction, last: &str, count: u32) -> Result<Vec<Listed>, Error> {
    let values = values![last, i64::from(count)];
    tx.list(sql!("scan/repositories"), values, |row| {
        let name = row.text(0)?.parse();
        let name = name.map_err(|_| Error::corrupt("a repository has an unknown form"))?;
        let manifests = row.size(1)?;
        Ok(Listed { name, manifests })
    })
}

/// The tags of a repository, in byte order after `last`, at most `count`.
pub fn tags(
    tx: &Transaction,
    repository: &Repository,
    last: &str,
    count: u32,
) -> Result<Vec<Tagged>, Error> {
    let values = values![repository.as_str(), last, i64::from(count)];
    tx.list(sql!("scan/tags"), values, |row| {
        Ok(Tagged {
            name: tag(row)?,
            manifest: row.int(1)?,
            digest: row.digest(2)?,
            pushed_at: row.int(3)?,
        })
    })
}

/// Where a tag points: the number of the manifest's row, and what it hashes to.
pub fn target(
    tx: &Transaction,
    repository: &Repository,
    tag: &Tag,
) -> Result<Option<(i64, Digest)>, Error> {
    let values = values![repository.as_str(), tag.as_str()];
    tx.ask(sql!("scan/tag"), values, |row| {
        Ok((row.int(0)?, row.digest(1)?))
    })
}

/// The tags that point to a manifest, by the number of its row, in byte order.
pub fn tags_of(
    tx: &Transaction,
    repository: &Repository,
    manifest: i64,
) -> Result<Vec<Tag>, Error> {
    let values = values![repository.as_str(), manifest];
    tx.list(sql!("scan/tags_of"), values, tag)
}

fn tag(row: &Row) -> Result<Tag, Error> {
    let name = row.text(0)?.parse();
    name.map_err(|_| Error::corrupt("a tag has an unknown form"))
}

/// The manifests of a repository with their media types, in the order of their rows after the
/// number `last`, at most `count`.
pub fn manifests(
    tx: &Transaction,
    repository: &Repository,
    last: i64,
    count: u32,
) -> Result<Vec<(Content, String)>, Error> {
    let values = values![repository.as_str(), last, i64::from(count)];
    tx.list(sql!("scan/manifests"), values, |row| {
        Ok((content(row)?, row.text(4)?))
    })
}

/// What a repository holds as blobs, in the order of their rows after the number `last`, at most
/// `count`.
pub fn blobs(
    tx: &Transaction,
    repository: &Repository,
    last: i64,
    count: u32,
) -> Result<Vec<Content>, Error> {
    let values = values![repository.as_str(), last, i64::from(count)];
    tx.list(sql!("scan/blobs"), values, content)
}

/// Content by its digest, whoever holds it; None if nobody ever named it.
pub fn find(tx: &Transaction, digest: &Digest) -> Result<Option<Content>, Error> {
    tx.ask(sql!("scan/blob"), values![digest], content)
}

/// The content of the next row after a number; None if there is none.
pub fn next(tx: &Transaction, last: i64) -> Result<Option<Content>, Error> {
    tx.ask(sql!("scan/next_blob"), values![last], content)
}

fn content(row: &Row) -> Result<Content, Error> {
    Ok(Content {
        id: row.int(0)?,
        digest: row.digest(1)?,
        size: row.int_or_null(2)?.map(i64::unsigned_abs),
        place: Place::of(row.int(3)?)?,
    })
}

/// Whether a repository holds content, by the number of its row, as a manifest.
pub fn is_manifest(tx: &Transaction, repository: &Repository, id: i64) -> Result<bool, Error> {
    let values = values![repository.as_str(), id];
    let found = tx.ask(sql!("scan/holds"), values, |row| row.int(0))?;
    Ok(found.is_some())
}

/// Whether a manifest of a repository needs content, by the number of its row.
pub fn is_needed(tx: &Transaction, repository: &Repository, id: i64) -> Result<bool, Error> {
    let values = values![id, repository.as_str()];
    let found = tx.ask(sql!("scan/needed"), values, |row| row.int(0))?;
    Ok(found.is_some())
}

/// How far content, by the number of its row, is on a network; None if it is not to go there.
pub fn pin(tx: &Transaction, network: &str, id: i64) -> Result<Option<Pinned>, Error> {
    tx.ask(sql!("scan/pin"), values![network, id], |row| {
        Ok(Pinned {
            state: State::of(row.int(0)?)?,
            cid: row.text_or_null(1)?,
            remote: row.text_or_null(2)?,
            cause: row.text_or_null(3)?,
        })
    })
}

/// The bytes of small content that the catalog has.
pub fn bytes(tx: &Transaction, content: &Content) -> Result<Option<Vec<u8>>, Error> {
    blob::bytes(tx, content.id)
}
