//! Changes: what happened, numbered in its order.

use super::error::Error;
use super::transaction::{Transaction, sql, values};
use crate::oci::{Digest, Repository, Tag};

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A repository holds a blob.
    PutBlob,
    /// It holds it no more.
    DeleteBlob,
    /// A repository holds a manifest.
    PutManifest,
    /// It holds it no more.
    DeleteManifest,
    /// A tag points to a manifest.
    PutTag,
    /// It points nowhere.
    DeleteTag,
}

impl Kind {
    /// The word that the catalog writes.
    pub fn word(self) -> &'static str {
        match self {
            Kind::PutBlob => "put-blob",
            Kind::DeleteBlob => "delete-blob",
            Kind::PutManifest => "put-manifest",
            Kind::DeleteManifest => "delete-manifest",
            Kind::PutTag => "put-tag",
            Kind::DeleteTag => "delete-tag",
        }
    }
}

/// A change as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its number; numbers grow, and none is given twice.
    pub number: i64,
    /// When it was made, in milliseconds since 1970.
    pub changed_at: i64,
    /// Who made it, if that is known.
    pub actor: Option<String>,
    /// What it did, as [`Kind::word`] says it.
    pub kind: String,
    /// Where.
    pub repository: String,
    /// The blob or manifest.
    pub digest: Option<Digest>,
    /// The tag.
    pub tag: Option<String>,
}

/// Notes a change, in the transaction that makes it.
pub(super) fn note(
    tx: &Transaction,
    kind: Kind,
    repository: &Repository,
    actor: Option<&str>,
    digest: Option<&Digest>,
    tag: Option<&Tag>,
) -> Result<(), Error> {
    let values = values![
        tx.now(),
        actor,
        kind.word(),
        repository.as_str(),
        digest,
        tag.map(Tag::as_str),
    ];
    tx.run(sql!("change/note"), values).map(drop)
}

/// The changes after number `last`, in order, at most `count`.
pub fn list(tx: &Transaction, last: i64, count: u32) -> Result<Vec<Change>, Error> {
    tx.list(
        sql!("change/list"),
        values![last, i64::from(count)],
        |row| {
            Ok(Change {
                number: row.int(0)?,
                changed_at: row.int(1)?,
                actor: row.text_or_null(2)?,
                kind: row.text(3)?,
                repository: row.text(4)?,
                digest: row.digest_or_null(5)?,
                tag: row.text_or_null(6)?,
            })
        },
    )
}
