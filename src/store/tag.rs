//! Tags: where they point, and where they pointed.

use super::change::{self, Kind};
use super::error::Error;
use super::repository;
use super::transaction::{Transaction, sql, values};
use crate::oci::{Digest, Refusal, Repository, Tag};

/// A repository under its name and the number of its row.
#[derive(Clone, Copy)]
pub(super) struct Within<'r> {
    pub name: &'r Repository,
    pub id: i64,
    pub actor: Option<&'r str>,
}

/// Lets a tag point to a manifest of its repository. One that points there already stays as it
/// is.
pub(super) fn put(
    tx: &Transaction,
    within: Within,
    tag: &Tag,
    manifest: i64,
    digest: &Digest,
) -> Result<(), Error> {
    let values = values![within.id, tag.as_str()];
    if tx.ask(sql!("tag/find"), values, |row| row.int(0))? == Some(manifest) {
        return Ok(());
    }
    tx.run(
        sql!("tag/put"),
        values![within.id, tag.as_str(), manifest, tx.now()],
    )?;
    remember(tx, within, tag, Some(manifest))?;
    change::note(
        tx,
        Kind::PutTag,
        within.name,
        within.actor,
        Some(digest),
        Some(tag),
    )
}

/// Where a tag points, or else whether it ever pointed anywhere.
pub(super) enum Known {
    /// To that manifest.
    At(i64),
    /// It was deleted.
    Deleted,
    /// Nobody ever spoke of it.
    Never,
}

/// What is known of a tag of a repository, by the number of its row.
pub(super) fn known(tx: &Transaction, repository: i64, tag: &Tag) -> Result<Known, Error> {
    let values = values![repository, tag.as_str()];
    if let Some(manifest) = tx.ask(sql!("tag/find"), values, |row| row.int(0))? {
        return Ok(Known::At(manifest));
    }
    let was = tx.ask(sql!("tag/known"), values, |row| row.int(0))?;
    Ok(was.map_or(Known::Never, |_| Known::Deleted))
}

/// Lets a tag point to a manifest since some time, as an import finds it: no client's change.
pub(super) fn adopt(
    tx: &Transaction,
    repository: i64,
    tag: &Tag,
    manifest: i64,
    moved_at: i64,
) -> Result<(), Error> {
    let values = values![repository, tag.as_str(), manifest, moved_at];
    tx.run(sql!("tag/put"), values)?;
    let values = values![repository, tag.as_str(), manifest, moved_at, None::<&str>];
    tx.run(sql!("tag/remember"), values).map(drop)
}

/// Takes a tag away that an import did not find: no client's change.
pub(super) fn abandon(tx: &Transaction, repository: i64, tag: &str) -> Result<(), Error> {
    if tx.run(sql!("tag/delete"), values![repository, tag])? == 0 {
        return Ok(());
    }
    let values = values![repository, tag, None::<i64>, tx.now(), None::<&str>];
    tx.run(sql!("tag/remember"), values).map(drop)
}

/// Takes all tags of a manifest away that an import did not find.
pub(super) fn abandon_all_of(
    tx: &Transaction,
    repository: i64,
    manifest: i64,
) -> Result<(), Error> {
    let values = values![repository, manifest];
    let tags = tx.list(sql!("tag/of_manifest"), values, |row| row.text(0))?;
    tags.iter().try_for_each(|tag| abandon(tx, repository, tag))
}

/// The tags of a repository, by the number of its row, and where they point, in byte order after
/// `last`, at most `count`.
pub(super) fn list_all(
    tx: &Transaction,
    repository: i64,
    last: &str,
    count: u32,
) -> Result<Vec<(Tag, Digest)>, Error> {
    let values = values![repository, last, i64::from(count)];
    tx.list(sql!("tag/all"), values, |row| {
        let name = row.text(0)?.parse();
        let name = name.map_err(|_| Error::corrupt("a tag has an unknown form"))?;
        Ok((name, row.digest(1)?))
    })
}

/// Deletes a tag; the manifest stays. Refused with `MANIFEST_UNKNOWN` if there is none.
pub fn delete(
    tx: &Transaction,
    repository: &Repository,
    tag: &Tag,
    actor: Option<&str>,
) -> Result<(), Error> {
    let unknown = || {
        Error::from(Refusal::ManifestUnknown(format!(
            "{repository} has no tag {tag}"
        )))
    };
    let id = repository::find(tx, repository)?.ok_or_else(unknown)?;
    let within = Within {
        name: repository,
        id,
        actor,
    };
    if tx.run(sql!("tag/delete"), values![id, tag.as_str()])? == 0 {
        return Err(unknown());
    }
    forget(tx, within, tag)
}

/// Deletes all tags that point to a manifest.
pub(super) fn delete_all_of(tx: &Transaction, within: Within, manifest: i64) -> Result<(), Error> {
    let values = values![within.id, manifest];
    let tags = tx.list(sql!("tag/of_manifest"), values, |row| row.text(0))?;
    tx.run(sql!("tag/delete_of_manifest"), values)?;
    for name in tags {
        let tag = name
            .parse()
            .map_err(|_| Error::corrupt("a tag has an unknown form"))?;
        forget(tx, within, &tag)?;
    }
    Ok(())
}

fn forget(tx: &Transaction, within: Within, tag: &Tag) -> Result<(), Error> {
    remember(tx, within, tag, None)?;
    change::note(
        tx,
        Kind::DeleteTag,
        within.name,
        within.actor,
        None,
        Some(tag),
    )
}

fn remember(
    tx: &Transaction,
    within: Within,
    tag: &Tag,
    manifest: Option<i64>,
) -> Result<(), Error> {
    let values = values![within.id, tag.as_str(), manifest, tx.now(), within.actor];
    tx.run(sql!("tag/remember"), values).map(drop)
}

/// The tags of a repository, in byte order after `last`, at most `count`.
pub fn list(
    tx: &Transaction,
    repository: &Repository,
    last: &str,
    count: u32,
) -> Result<Vec<String>, Error> {
    let values = values![repository.as_str(), last, i64::from(count)];
    tx.list(sql!("tag/list"), values, |row| row.text(0))
}

/// One entry of a tag's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Its number; later ones are larger.
    pub number: i64,
    /// Where the tag pointed from then on; None is nowhere.
    pub digest: Option<Digest>,
    /// Since when, in milliseconds since 1970.
    pub moved_at: i64,
    /// Who moved it, if that is known.
    pub actor: Option<String>,
}

/// Where a tag pointed, the latest first, before the entry of that number, at most `count`.
pub fn history(
    tx: &Transaction,
    repository: &Repository,
    tag: &Tag,
    before: i64,
    count: u32,
) -> Result<Vec<Moved>, Error> {
    let values = values![repository.as_str(), tag.as_str(), before, i64::from(count)];
    tx.list(sql!("tag/history"), values, |row| {
        Ok(Moved {
            number: row.int(0)?,
            digest: row.digest_or_null(1)?,
            moved_at: row.int(2)?,
            actor: row.text_or_null(3)?,
        })
    })
}
