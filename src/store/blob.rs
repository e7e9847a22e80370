//! Blobs: content by its digest, and which repository holds it.

use std::sync::Arc;

use super::change::{self, Kind};
use super::error::Error;
use super::pin::{self, NewPin};
use super::transaction::{Row, Transaction, sql, values};
use super::{copy, repository, upload};
use crate::fault::Fault;
use crate::oci::{Digest, Refusal, Repository};

/// Where the bytes of a blob are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: it was never pushed, or its bytes were lost. Clients are told that it is not here,
    /// so that a push brings it.
    Nowhere = 0,
    /// In the catalog.
    Row = 1,
    /// In a file on this machine.
    File = 2,
    /// On a content network alone.
    Network = 3,
    /// On a content network alone, by its word, and nobody gave it when it was asked for last.
    /// Pulls go on asking; whoever looks whether to push it is told that it is not here.
    Missing = 4,
}

impl Place {
    pub(super) fn of(number: i64) -> Result<Place, Error> {
        use Place::*;
        [Nowhere, Row, File, Network, Missing]
            .into_iter()
            .find(|place| *place as i64 == number)
            .ok_or_else(|| Error::corrupt("a blob is in an unknown place"))
    }
}

/// A blob that a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob {
    /// The number of its row.
    pub id: i64,
    /// Where its bytes are, which is somewhere.
    pub place: Place,
    /// Its length in bytes.
    pub size: u64,
    /// When a client was told last that it is here, as far as that was noted, in milliseconds
    /// since 1970.
    pub touched_at: i64,
}

/// The bytes of a blob that comes in.
#[derive(Clone, Debug)]
pub enum Content {
    /// At most 64 KiB, to be kept in the catalog.
    Bytes(Arc<[u8]>),
    /// So many bytes in a file that is synced and has its final name.
    File(u64),
}

impl Content {
    /// The length in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File(size) => *size,
        }
    }
}

/// A blob that a client has pushed.
pub struct NewBlob {
    /// Where to.
    pub repository: Repository,
    /// What it hashes to, as was verified.
    pub digest: Digest,
    /// Its bytes.
    pub content: Content,
    /// The upload session that it came in, which is also the name of its file.
    pub session: String,
    /// Whether the session has a row of its own, and ends with this.
    pub ends_session: bool,
    /// Who pushed it, if that is known.
    pub actor: Option<String>,
    /// Where it is to be pinned.
    pub pins: Vec<NewPin>,
}

/// Keeps a blob and ends its upload session. `stay` makes sure, for a file, that it still has its
/// name: a copy that was dropped in the meantime may have taken it away. Gives the number of its
/// row.
///
/// Refused with `BLOB_UPLOAD_UNKNOWN` if the session is over already.
pub fn put(
    tx: &Transaction,
    new: &NewBlob,
    stay: impl FnOnce() -> Result<(), Fault>,
) -> Result<i64, Error> {
    if new.ends_session && !upload::end(tx, &new.repository, &new.session)? {
        return Err(Refusal::BlobUploadUnknown.into());
    }
    let repository = repository::find_or_make(tx, &new.repository)?;
    let id = keep(tx, &new.digest, &new.content, stay)?;
    hold(tx, repository, id)?;
    pin::enqueue(tx, id, &new.pins)?;
    let actor = new.actor.as_deref();
    change::note(
        tx,
        Kind::PutBlob,
        &new.repository,
        actor,
        Some(&new.digest),
        None,
    )?;
    Ok(id)
}

/// Keeps content under its digest, for any repository; the number of its row.
pub(super) fn keep(
    tx: &Transaction,
    digest: &Digest,
    content: &Content,
    stay: impl FnOnce() -> Result<(), Fault>,
) -> Result<i64, Error> {
    let (id, place) = name(tx, digest)?;
    let wanted = match content {
        Content::Bytes(_) => Place::Row,
        Content::File(_) => Place::File,
    };
    match content {
        // What is there is compared: bytes that were damaged since are brought by a push.
        Content::Bytes(new)
            if place != Place::Row || bytes(tx, id)?.as_deref() != Some(&new[..]) =>
        {
            tx.run(sql!("blob/keep_bytes"), values![id, &new[..]])?;
        }
        Content::Bytes(_) => {}
        Content::File(_) => stay()?,
    }
    if place == Place::Missing {
        pin::distrust(tx, id)?;
    }
    if place != wanted {
        let size = content.size() as i64;
        tx.run(sql!("blob/place"), values![wanted as i64, size, id])?;
        settle(tx, id)?;
    }
    Ok(id)
}

/// Draws the conclusions from where the bytes of a blob are, who keeps them, and what it is: what
/// only networks had and none keeps is nowhere; what was nowhere and is kept is on a network; a
/// file that is kept and no manifest is a copy that may be dropped.
pub(super) fn settle(tx: &Transaction, id: i64) -> Result<(), Error> {
    let Some(known) = copy::find(tx, id)? else {
        return Ok(());
    };
    let place = match (known.place, known.is_kept) {
        (Place::Network | Place::Missing, false) => Place::Nowhere,
        (Place::Nowhere, true) => Place::Network,
        (place, _) => place,
    };
    if place != known.place {
        tx.run(sql!("blob/place"), values![place as i64, known.size, id])?;
    }
    copy::list(tx, id, &known)
}

/// Takes a digest in whose bytes a file or a network has already, as an import finds them; the
/// number of its row. What the catalog itself has stays there.
pub(super) fn adopt(
    tx: &Transaction,
    digest: &Digest,
    place: Place,
    size: u64,
) -> Result<i64, Error> {
    let (id, found) = name(tx, digest)?;
    let is_better = match found {
        Place::Row | Place::File => false,
        Place::Nowhere | Place::Network | Place::Missing => found != place,
    };
    if is_better {
        tx.run(sql!("blob/place"), values![place as i64, size as i64, id])?;
    }
    Ok(id)
}

/// Has a repository, by the number of its row, hold a blob.
pub(super) fn hold(tx: &Transaction, repository: i64, blob: i64) -> Result<(), Error> {
    tx.run(sql!("blob/hold"), values![repository, blob])
        .map(drop)
}

/// Has a repository, by the number of its row, let go of a blob.
pub(super) fn release(tx: &Transaction, repository: i64, blob: i64) -> Result<(), Error> {
    tx.run(sql!("blob/release"), values![repository, blob])
        .map(drop)
}

/// A blob by the number of its row, as pages of all are read.
pub(super) struct Listed {
    pub id: i64,
    pub digest: Digest,
    pub size: u64,
    pub place: Place,
}

/// All blobs after that row, at most `count`.
pub(super) fn list_all(tx: &Transaction, last: i64, count: u32) -> Result<Vec<Listed>, Error> {
    let values = values![last, i64::from(count)];
    tx.list(sql!("blob/all"), values, |row| {
        Ok(Listed {
            id: row.int(0)?,
            digest: row.digest(1)?,
            size: row.int_or_null(2)?.unwrap_or(0).unsigned_abs(),
            place: Place::of(row.int(3)?)?,
        })
    })
}

/// What a repository, by the number of its row, holds as blobs, after that row, at most `count`.
pub(super) fn list_held(
    tx: &Transaction,
    repository: i64,
    last: i64,
    count: u32,
) -> Result<Vec<(i64, Digest)>, Error> {
    let values = values![repository, last, i64::from(count)];
    tx.list(sql!("blob/all_held"), values, |row| {
        Ok((row.int(0)?, row.digest(1)?))
    })
}

/// The row of a digest, which is made if there is none, and where its bytes are. Its grace begins
/// anew.
pub(super) fn name(tx: &Transaction, digest: &Digest) -> Result<(i64, Place), Error> {
    let values = values![digest, None::<i64>, tx.now()];
    let row = tx.ask(sql!("blob/name"), values, |row| {
        Ok((row.int(0)?, Place::of(row.int(1)?)?))
    })?;
    row.ok_or_else(|| Error::corrupt("a new row has no id"))
}

/// The blob that a repository holds under a digest, if its bytes are anywhere.
pub fn find(
    tx: &Transaction,
    repository: &Repository,
    digest: &Digest,
) -> Result<Option<Blob>, Error> {
    let values = values![repository.as_str(), digest];
    let found = tx.ask(sql!("blob/find"), values, read)?;
    Ok(found.filter(|blob| blob.place != Place::Nowhere))
}

fn read(row: &Row) -> Result<Blob, Error> {
    Ok(Blob {
        id: row.int(0)?,
        place: Place::of(row.int(1)?)?,
        size: row.int_or_null(2)?.unwrap_or(0).unsigned_abs(),
        touched_at: row.int(3)?,
    })
}

/// The bytes of a blob that are in the catalog.
pub fn bytes(tx: &Transaction, blob: i64) -> Result<Option<Vec<u8>>, Error> {
    let bytes = tx.ask(sql!("blob/bytes"), values![blob], |row| {
        row.bytes_or_null(0)
    })?;
    Ok(bytes.flatten())
}

/// The blob of a digest that some repository holds, whichever, if its bytes are anywhere.
pub fn find_anywhere(tx: &Transaction, digest: &Digest) -> Result<Option<Blob>, Error> {
    let found = tx.ask(sql!("blob/find_held"), values![digest], read)?;
    Ok(found.filter(|blob| blob.place != Place::Nowhere))
}

/// Notes that a client was told that a blob is here.
pub fn touch(tx: &Transaction, blob: i64) -> Result<(), Error> {
    tx.run(sql!("blob/touch"), values![tx.now(), blob])
        .map(drop)
}

/// Has a repository hold a blob that another one holds, or, where none is named, any; whether it
/// could.
pub fn mount(
    tx: &Transaction,
    from: Option<&Repository>,
    to: &Repository,
    digest: &Digest,
    actor: Option<&str>,
) -> Result<bool, Error> {
    let found = match from {
        Some(from) => find(tx, from, digest)?,
        None => find_anywhere(tx, digest)?,
    };
    let Some(blob) = found else {
        return Ok(false);
    };
    let repository = repository::find_or_make(tx, to)?;
    hold(tx, repository, blob.id)?;
    touch(tx, blob.id)?;
    change::note(tx, Kind::PutBlob, to, actor, Some(digest), None)?;
    Ok(true)
}

/// Whether a repository, by the number of its row, holds content that is somewhere, as a blob or
/// as a manifest.
pub(super) fn is_held(tx: &Transaction, repository: i64, digest: &Digest) -> Result<bool, Error> {
    let values = values![repository, digest];
    let place = tx.ask(sql!("blob/held"), values, |row| Place::of(row.int(0)?))?;
    Ok(place.is_some_and(|place| place != Place::Nowhere))
}

/// Has a repository let go of a blob. Refused with `BLOB_UNKNOWN` if it does not hold it.
pub fn delete(
    tx: &Transaction,
    repository: &Repository,
    digest: &Digest,
    actor: Option<&str>,
) -> Result<(), Error> {
    let unknown = || Error::from(Refusal::BlobUnknown(*digest));
    let id = repository::find(tx, repository)?.ok_or_else(unknown)?;
    let blob = find(tx, repository, digest)?.ok_or_else(unknown)?;
    release(tx, id, blob.id)?;
    change::note(tx, Kind::DeleteBlob, repository, actor, Some(digest), None)
}

/// Notes that the bytes of a blob on this machine are gone, or not what they were. If a network
/// keeps the blob, it is read from there; else it is nowhere until it is pushed again.
pub fn lose(tx: &Transaction, digest: &Digest) -> Result<Place, Error> {
    let Some((id, Place::File | Place::Row, size)) = any(tx, digest)? else {
        return Ok(Place::Nowhere);
    };
    let place = match pin::is_anywhere(tx, id)? {
        true => Place::Network,
        false => Place::Nowhere,
    };
    tx.run(sql!("blob/place"), values![place as i64, size, id])?;
    settle(tx, id)?;
    Ok(place)
}

/// Notes that a blob which only a network had is in a file again, as `stay` makes sure. One that
/// nobody knows any more is not.
pub fn put_back(
    tx: &Transaction,
    digest: &Digest,
    size: u64,
    stay: impl FnOnce() -> Result<(), Fault>,
) -> Result<(), Error> {
    let Some((id, Place::Network | Place::Missing | Place::Nowhere, _)) = any(tx, digest)? else {
        return Ok(());
    };
    stay()?;
    let values = values![Place::File as i64, size as i64, id];
    tx.run(sql!("blob/place"), values)?;
    settle(tx, id)
}

/// Notes that nobody gave a blob that only networks have, and has them asked whether they still
/// keep it.
pub fn miss(tx: &Transaction, digest: &Digest) -> Result<(), Error> {
    let Some((id, Place::Network, size)) = any(tx, digest)? else {
        return Ok(());
    };
    tx.run(sql!("blob/place"), values![Place::Missing as i64, size, id])?;
    pin::recheck(tx, id)
}

/// Notes that a blob which nobody gave when it was asked for last has been given.
pub fn find_again(tx: &Transaction, digest: &Digest) -> Result<(), Error> {
    let Some((id, Place::Missing, size)) = any(tx, digest)? else {
        return Ok(());
    };
    let values = values![Place::Network as i64, size, id];
    tx.run(sql!("blob/place"), values).map(drop)
}

/// Gives up the local copy of a blob that a network keeps; whether it was. The file itself is
/// removed afterwards, by a command that asks [`has_file`] once more.
pub fn drop_copy(tx: &Transaction, digest: &Digest) -> Result<bool, Error> {
    match any(tx, digest)? {
        Some((id, Place::File, size)) if pin::is_anywhere(tx, id)? => {
            tx.run(sql!("blob/place"), values![Place::Network as i64, size, id])?;
            settle(tx, id)?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// Whether the bytes of a digest are in a file, by the catalog's word.
pub fn has_file(tx: &Transaction, digest: &Digest) -> Result<bool, Error> {
    Ok(matches!(any(tx, digest)?, Some((_, Place::File, _))))
}

/// The number of the row of a digest, if it is known.
pub fn number(tx: &Transaction, digest: &Digest) -> Result<Option<i64>, Error> {
    Ok(any(tx, digest)?.map(|(id, ..)| id))
}

fn any(tx: &Transaction, digest: &Digest) -> Result<Option<(i64, Place, Option<i64>)>, Error> {
    tx.ask(sql!("blob/find_any"), values![digest], |row| {
        Ok((row.int(0)?, Place::of(row.int(1)?)?, row.int_or_null(2)?))
    })
}
