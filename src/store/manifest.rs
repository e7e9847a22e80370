//! Manifests: what a repository serves under a digest and under tags.

use super::blob::{self, Content, Place};
use super::change::{self, Kind};
use super::error::Error;
use super::pin::{self, NewPin};
use super::tag::{self, Within};
use super::transaction::{Row, Transaction, sql, values};
use super::{referrer, repository};
use crate::fault::Fault;
use crate::oci::{Descriptor, Digest, Reference, Refusal, Repository, Tag};

/// A manifest that a client has pushed.
pub struct NewManifest {
    /// Where to.
    pub repository: Repository,
    /// What it hashes to.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub content: Content,
    /// The manifest that it refers to, and the descriptor under which it is listed there.
    pub referrer: Option<(Digest, Descriptor)>,
    /// All content that it names.
    pub needs: Vec<Digest>,
    /// What of that its repository must hold.
    pub required: Vec<Digest>,
    /// The tags that shall point to it.
    pub tags: Vec<Tag>,
    /// Who pushed it, if that is known.
    pub actor: Option<String>,
    /// Where it is to be pinned.
    pub pins: Vec<NewPin>,
}

/// Keeps a manifest, and lets tags point to it. Refused with `MANIFEST_BLOB_UNKNOWN` for what is
/// required and not here. Gives the number of its blob's row. For `stay` see [`blob::put`].
pub fn put(
    tx: &Transaction,
    new: &NewManifest,
    stay: impl FnOnce() -> Result<(), Fault>,
) -> Result<i64, Error> {
    let repository = repository::find_or_make(tx, &new.repository)?;
    let mut missing = Vec::new();
    for digest in &new.required {
        if !blob::is_held(tx, repository, digest)? {
            missing.push(*digest);
        }
    }
    if !missing.is_empty() {
        return Err(Refusal::ManifestBlobUnknown(missing).into());
    }
    let id = blob::keep(tx, &new.digest, &new.content, stay)?;
    let is_new = find_row(tx, repository, &new.digest)?.is_none();
    let subject = new.referrer.as_ref().map(|(subject, _)| subject);
    let values = values![repository, id, &new.media_type, subject, tx.now()];
    tx.run(sql!("manifest/put"), values)?;
    // Its bytes stay on this machine from now on, whoever keeps them besides.
    blob::settle(tx, id)?;
    if is_new {
        repository::count_manifests(tx, repository, 1)?;
    }
    for digest in &new.needs {
        let (needed, _) = blob::name(tx, digest)?;
        tx.run(sql!("manifest/need"), values![id, needed])?;
    }
    if let Some((subject, descriptor)) = &new.referrer {
        referrer::put(tx, repository, subject, id, descriptor)?;
    }
    pin::enqueue(tx, id, &new.pins)?;
    let actor = new.actor.as_deref();
    change::note(
        tx,
        Kind::PutManifest,
        &new.repository,
        actor,
        Some(&new.digest),
        None,
    )?;
    let within = Within {
        name: &new.repository,
        id: repository,
        actor,
    };
    for tag in &new.tags {
        tag::put(tx, within, tag, id, &new.digest)?;
    }
    Ok(id)
}

/// A manifest as it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The number of its blob's row.
    pub id: i64,
    /// What it hashes to.
    pub digest: Digest,
    /// The media type it was pushed with.
    pub media_type: String,
    /// Its length in bytes.
    pub size: u64,
    /// Where its bytes are.
    pub place: Place,
    /// The bytes, where the catalog has them.
    pub bytes: Option<Vec<u8>>,
}

/// The manifest that a reference names in a repository, if its bytes are anywhere.
pub fn find(
    tx: &Transaction,
    repository: &Repository,
    reference: &Reference,
) -> Result<Option<Manifest>, Error> {
    let read = |row: &Row| {
        Ok(Manifest {
            id: row.int(0)?,
            digest: row.digest(1)?,
            media_type: row.text(2)?,
            size: row.int_or_null(3)?.unwrap_or(0).unsigned_abs(),
            place: Place::of(row.int(4)?)?,
            bytes: row.bytes_or_null(5)?,
        })
    };
    let name = repository.as_str();
    let found = match reference {
        Reference::Tag(tag) => tx.ask(sql!("manifest/by_tag"), values![name, tag.as_str()], read),
        Reference::Digest(digest) => {
            tx.ask(sql!("manifest/by_digest"), values![name, digest], read)
        }
    };
    Ok(found?.filter(|manifest| manifest.place != Place::Nowhere))
}

/// Deletes a manifest and all tags that point to it, at once. Refused with `MANIFEST_UNKNOWN` if
/// the repository does not hold it.
pub fn delete(
    tx: &Transaction,
    repository: &Repository,
    digest: &Digest,
    actor: Option<&str>,
) -> Result<(), Error> {
    let unknown = || {
        Error::from(Refusal::ManifestUnknown(format!(
            "{repository} has no {digest}"
        )))
    };
    let id = repository::find(tx, repository)?.ok_or_else(unknown)?;
    let manifest = find_row(tx, id, digest)?.ok_or_else(unknown)?;
    let within = Within {
        name: repository,
        id,
        actor,
    };
    tag::delete_all_of(tx, within, manifest)?;
    referrer::delete_all_of(tx, id, manifest)?;
    tx.run(sql!("manifest/delete"), values![id, manifest])?;
    repository::count_manifests(tx, id, -1)?;
    change::note(
        tx,
        Kind::DeleteManifest,
        repository,
        actor,
        Some(digest),
        None,
    )
}

/// A manifest that an import found, whose bytes are kept already.
pub(super) struct Adopted {
    pub digest: Digest,
    pub media_type: String,
    pub content: Content,
    pub referrer: Option<(Digest, Descriptor)>,
    /// In milliseconds since 1970.
    pub pushed_at: i64,
}

/// Takes in a manifest that an import found in a repository, by the number of its row: no
/// client's change. What a client was told of one that is there already stays as it was, unless
/// `is_truth`. The number of its blob's row, and whether it was new.
pub(super) fn adopt(
    tx: &Transaction,
    repository: i64,
    found: &Adopted,
    is_truth: bool,
) -> Result<(i64, bool), Error> {
    let id = match &found.content {
        Content::Bytes(_) => blob::keep(tx, &found.digest, &found.content, || Ok(()))?,
        Content::File(size) => blob::adopt(tx, &found.digest, Place::File, *size)?,
    };
    let is_new = find_row(tx, repository, &found.digest)?.is_none();
    if !is_new && !is_truth {
        return Ok((id, false));
    }
    let subject = found.referrer.as_ref().map(|(subject, _)| subject);
    let values = values![repository, id, &found.media_type, subject, found.pushed_at];
    tx.run(sql!("manifest/adopt"), values)?;
    if is_new {
        repository::count_manifests(tx, repository, 1)?;
    }
    if let Some((subject, descriptor)) = &found.referrer {
        referrer::put(tx, repository, subject, id, descriptor)?;
    }
    Ok((id, is_new))
}

/// Notes what content a manifest names.
pub(super) fn need(tx: &Transaction, manifest: &Digest, needed: &[Digest]) -> Result<(), Error> {
    let (id, _) = blob::name(tx, manifest)?;
    needed.iter().try_for_each(|digest| {
        let (needed, _) = blob::name(tx, digest)?;
        tx.run(sql!("manifest/need"), values![id, needed]).map(drop)
    })
}

/// Takes a manifest away, by the number of its blob's row, with its tags, that an import did not
/// find: no client's change.
pub(super) fn abandon(tx: &Transaction, repository: i64, manifest: i64) -> Result<(), Error> {
    tag::abandon_all_of(tx, repository, manifest)?;
    referrer::delete_all_of(tx, repository, manifest)?;
    if tx.run(sql!("manifest/delete"), values![repository, manifest])? > 0 {
        repository::count_manifests(tx, repository, -1)?;
    }
    Ok(())
}

/// A manifest of a repository, as pages of all are read.
pub(super) struct Listed {
    /// The number of its blob's row.
    pub id: i64,
    pub digest: Digest,
    pub media_type: String,
}

/// The manifests of a repository, by the number of its row, after that row, at most `count`.
pub(super) fn list_all(
    tx: &Transaction,
    repository: i64,
    last: i64,
    count: u32,
) -> Result<Vec<Listed>, Error> {
    let values = values![repository, last, i64::from(count)];
    tx.list(sql!("manifest/all"), values, |row| {
        Ok(Listed {
            id: row.int(0)?,
            digest: row.digest(1)?,
            media_type: row.text(2)?,
        })
    })
}

/// Whether any repository holds a blob as a manifest.
pub(super) fn is_anywhere(tx: &Transaction, blob: i64) -> Result<bool, Error> {
    let found = tx.ask(sql!("manifest/anywhere"), values![blob], |row| row.int(0))?;
    Ok(found.is_some())
}

/// The row of the blob of a manifest of a repository, by the number of the repository's row.
pub(super) fn find_row(
    tx: &Transaction,
    repository: i64,
    digest: &Digest,
) -> Result<Option<i64>, Error> {
    tx.ask(sql!("manifest/find"), values![repository, digest], |row| {
        row.int(0)
    })
}
