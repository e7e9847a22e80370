//! What was read, on its way into the catalog: a command for a few ms of the writer's time, so
//! that nothing else waits for long, and what is in memory is bounded.

use super::super::blob::{self, Content, Place};
use super::super::manifest::{self, Adopted};
use super::super::pin::{self, Pin};
use super::super::repository;
use super::super::tag::{self, Known};
use super::super::{Error, Store, Transaction};
use super::{Truth, fault};
use crate::fault::Fault;
use crate::oci::{Digest, Repository, Tag};

/// What a command may cost; one is about 10 µs. The writer's log is moved into the database after
/// 100 commands, and has some 15 MB then.
const COST_MAX: usize = 250;
/// How many needs are a row of a batch.
pub(super) const NEEDS_MAX: usize = 100;

/// Something that was found in a repository.
pub(super) enum Row {
    /// It holds a blob, whose bytes are there; and how far that is on a network.
    Blob(Digest, Place, u64, Option<Pin>),
    /// What a manifest, whose own row comes later, names.
    Needs(Digest, Vec<Digest>),
    /// It holds a manifest.
    Manifest(Box<Adopted>, Option<Pin>),
    /// A tag points to a manifest, since that time in milliseconds since 1970.
    Tag(Tag, Digest, i64),
}

impl Row {
    fn cost(&self) -> usize {
        match self {
            Row::Blob(..) => 5,
            Row::Needs(_, needed) => 1 + 3 * needed.len(),
            Row::Manifest(found, _) => match &found.content {
                Content::Bytes(bytes) => 10 + bytes.len() / 500,
                Content::File(_) => 10,
            },
            Row::Tag(..) => 5,
        }
    }
}

/// What a batch did.
#[derive(Default)]
pub(super) struct Taken {
    /// Manifests that were new.
    pub manifests: u64,
    /// Blobs that a repository holds.
    pub blobs: u64,
    /// Tags that came or moved.
    pub tags: u64,
    /// Tags that point elsewhere here, or that were deleted here.
    pub differing: Vec<(Repository, Tag)>,
}

/// Rows that wait for their command.
pub(super) struct Batch<'i> {
    store: &'i Store,
    truth: Truth,
    rows: Vec<(Repository, Row)>,
    cost: usize,
}

impl<'i> Batch<'i> {
    pub fn new(store: &'i Store, truth: Truth) -> Batch<'i> {
        Batch {
            store,
            truth,
            rows: Vec::new(),
            cost: 0,
        }
    }

    /// Which one is right.
    pub fn truth(&self) -> Truth {
        self.truth
    }

    /// Adds a row. What was done, if that was time to do it.
    pub fn add(&mut self, repository: &Repository, row: Row) -> Result<Option<Taken>, Fault> {
        self.cost += row.cost();
        self.rows.push((repository.clone(), row));
        match self.cost >= COST_MAX {
            true => self.flush().map(Some),
            false => Ok(None),
        }
    }

    /// Does what waits. It need not survive a power cut: the last command of an import does.
    pub fn flush(&mut self) -> Result<Taken, Fault> {
        self.cost = 0;
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() {
            return Ok(Taken::default());
        }
        let truth = self.truth;
        self.store
            .note(move |tx| take(tx, &rows, truth))
            .map_err(fault)
    }
}

fn take(tx: &Transaction, rows: &[(Repository, Row)], truth: Truth) -> Result<Taken, Error> {
    let mut taken = Taken::default();
    let mut at: Option<(&Repository, i64)> = None;
    for (name, row) in rows {
        let repository = match at {
            Some((same, id)) if same == name => id,
            _ => repository::find_or_make(tx, name)?,
        };
        at = Some((name, repository));
        match row {
            Row::Blob(digest, place, size, pin) => {
                let id = blob::adopt(tx, digest, *place, *size)?;
                blob::hold(tx, repository, id)?;
                take_pin(tx, id, pin.as_ref())?;
                taken.blobs += 1;
            }
            Row::Needs(digest, needed) => manifest::need(tx, digest, needed)?,
            Row::Manifest(found, pin) => {
                let (id, is_new) = manifest::adopt(tx, repository, found, truth != Truth::Catalog)?;
                take_pin(tx, id, pin.as_ref())?;
                taken.manifests += u64::from(is_new);
            }
            Row::Tag(tag, digest, moved_at) => {
                let Some(manifest) = manifest::find_row(tx, repository, digest)? else {
                    // Its manifest was deleted: it points nowhere.
                    continue;
                };
                match tag::known(tx, repository, tag)? {
                    Known::At(same) if same == manifest => continue,
                    Known::At(_) | Known::Deleted if truth == Truth::Catalog => {
                        taken.differing.push((name.clone(), tag.clone()));
                        continue;
                    }
                    _ => tag::adopt(tx, repository, tag, manifest, *moved_at)?,
                }
                taken.tags += 1;
            }
        }
    }
    Ok(taken)
}

fn take_pin(tx: &Transaction, blob: i64, pin: Option<&Pin>) -> Result<(), Error> {
    pin.map_or(Ok(()), |pin| pin::adopt(tx, blob, pin))
}
