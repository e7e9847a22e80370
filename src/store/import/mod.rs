//! Import: distribution's tree is read into the catalog.
//!
//! ```text
//! docker/registry/v2/
//! ├── blobs/sha256/ab/ab…/data                      the bytes, manifests too
//! │                  └─ cid                         0.1: how far it is on its content network
//! └── repositories/NAME/
//!     ├── _layers/sha256/HEX/link                   a blob of this repository
//!     ├── _manifests/revisions/sha256/HEX/link      a manifest of this repository
//!     │                              └─ mediatype   0.1: its type, if its bytes don't say it
//!     ├── _manifests/tags/TAG/current/link          where a tag points
//!     ├── _manifests/tags/TAG/index/sha256/HEX/link where it pointed once
//!     └── _uploads/SESSION/data                     an upload on its way, which ends here
//! ```
//!
//! Blobs stay where they are. `repositories/` is moved aside when all of it is in the catalog, and
//! a text file takes its name: distribution's garbage collector would take an empty folder for a
//! registry without images, and delete every blob; before a file, it refuses, and so does a push
//! to distribution. As long as the folder is there, its import is not whole, and the next start
//! does it once more: a row that is there already stays as it is.
//!
//! The tree is the truth if it was handed over by [`super::tree::write`], or if the catalog was
//! empty: what it does not have leaves the catalog. Else it is merged, and what the catalog says
//! of a tag stands.
//!
//! Nobody vouches for a tree: see [`folder`] for how it is read.

mod batch;
mod daybook;
mod folder;
pub(super) mod pin_file;
mod progress;
mod removal;
mod repository;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::bulk::Bulk;
use super::{Failure, Store, Transaction, hand_over, pin, repository as repositories};
use crate::disk::{self, Root};
use crate::fault::Fault;
use crate::logbook::rfc3339;
use crate::oci::{Algorithm, Repository};
use batch::{Batch, Row, Taken};
use folder::Folder;
pub use progress::{Phase, Progress};

/// The folder of distribution's tree that is read and moved aside.
pub(super) const FOLDER: &str = "repositories";
/// What a hand-over writes before it is whole.
pub(super) const NEW_FOLDER: &str = "repositories.new";
/// What the file in its place says.
const GUARD: &str = "\
The repositories of this registry are in lighthouse/catalog.sqlite: Lighthouse has read them from
the folder that was here, and has moved that aside, to repositories.imported-DATE. Nothing reads it
any more; it can be deleted, and shows what was here before.

To go back to registry:2 (distribution) or to Lighthouse 0.1, stop Lighthouse and run
`registry tree` with its configuration: it writes the folder `repositories` again, with all that
was pushed and deleted since. Lighthouse reads it back when it is started the next time.

This file keeps the garbage collector of registry:2 from deleting every blob: it does that where
`repositories` is an empty folder. Leave it here.
";
/// How many lines the log gets of what could not be read, and of tags that differ.
const LINES_MAX: u64 = 20;

/// What is to be read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'o> {
    /// The content network that `cid` files beside blobs speak of, by its name in the catalog; None
    /// to guess.
    pub network: Option<&'o str>,
    /// Leaves all files as they are: the catalog is a temporary one.
    pub is_readonly: bool,
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Changes that version 0.1 had promised and not brought into its tree.
    pub replayed: u64,
    /// Repositories that were read.
    pub repositories: u64,
    /// Manifests that were new.
    pub manifests: u64,
    /// Blobs that were found in repositories.
    pub blobs: u64,
    /// Tags that came or moved.
    pub tags: u64,
    /// Tags, manifests and blobs of repositories that the tree did not have any more.
    pub removed: u64,
    /// Tags that point elsewhere in the catalog, or were deleted there, and stay so.
    pub differing: u64,
    /// Links and files that could not be read, and are as good as not there.
    pub skipped: u64,
    /// Uploads on their way, which are dropped.
    pub uploads: u64,
    /// Where `repositories/` is now; None if it was empty, or stays.
    pub aside: Option<PathBuf>,
}

/// Which one is right where the two differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Truth {
    /// The tree, and nothing is known yet.
    TreeAlone,
    /// The tree, and the catalog may know what that does not have any more.
    Tree,
    /// The catalog.
    Catalog,
}

/// Whether a root directory has something to be read before it is served.
pub fn is_needed(root: &Root) -> bool {
    root.tree().join(FOLDER).is_dir() || daybook::is_there(root)
}

/// Reads distribution's tree, if there is one, into the catalog, and keeps distribution's garbage
/// collector away; to be called at every start. None if it was asked to stop, and the next call
/// goes on.
///
/// Fails where the disk does, or does not let us read: nothing is moved then.
pub fn run(
    store: &Store,
    root: &Root,
    options: &Options,
    progress: &Progress,
) -> Result<Option<Summary>, Fault> {
    let mut summary = Summary::default();
    if daybook::is_there(root) {
        progress.enter(Phase::Replaying);
        summary.replayed = replay(root, options.is_readonly)?;
    }
    let folder = root.tree().join(FOLDER);
    let summary = match Folder::open(&folder)? {
        Some(tree) => {
            log::info!("{}: is read into the catalog", folder.display());
            let mut import = Import {
                store,
                network: options.network,
                progress,
                blobs: blob_folders(root)?,
                batch: Batch::new(store, truth(store)?),
                summary,
            };
            import.read_all(&tree)?;
            if progress.is_stopped() {
                return Ok(None);
            }
            import.summary
        }
        None => summary,
    };
    let summary = finish(store, root, options, summary)?;
    progress.enter(Phase::Done);
    Ok(Some(summary))
}

fn blob_folders(root: &Root) -> Result<Vec<(Algorithm, Folder)>, Fault> {
    let mut folders = Vec::new();
    if let Some(blobs) = Folder::open(&root.tree().join("blobs"))? {
        for algorithm in Algorithm::ALL {
            let folder = blobs.folder(algorithm.name())?;
            folders.extend(folder.map(|folder| (algorithm, folder)));
        }
    }
    Ok(folders)
}

fn replay(root: &Root, is_readonly: bool) -> Result<u64, Fault> {
    if is_readonly {
        let cause = "Lighthouse 0.1 ended suddenly here, and what it had promised is in this log: \
                     start once without maintenance.readonly";
        let path = root.ours("daybook-0");
        return Err(Fault::disk("read", path, std::io::Error::other(cause)));
    }
    let replayed = daybook::replay(root)?;
    if replayed > 0 {
        log::info!("{replayed} changes that a sudden end of version 0.1 left behind are made");
    }
    Ok(replayed)
}

/// Which one is right. With nothing in the catalog it is the tree, until all of it was read.
fn truth(store: &Store) -> Result<Truth, Fault> {
    let known = store.read(|tx| {
        let is_empty = repositories::list_all(tx, "", 1)?.is_empty();
        Ok((is_empty, hand_over::is_noted(tx)?))
    });
    Ok(match known.map_err(fault)? {
        (true, _) => {
            store.write(hand_over::note).map_err(fault)?;
            Truth::TreeAlone
        }
        (false, true) => Truth::Tree,
        (false, false) => Truth::Catalog,
    })
}

/// Makes the catalog the truth, durably with all that was read, and then moves the tree aside.
fn finish(
    store: &Store,
    root: &Root,
    options: &Options,
    mut summary: Summary,
) -> Result<Summary, Fault> {
    let folder = root.tree().join(FOLDER);
    let is_there = folder.is_dir();
    if is_there || store.read(hand_over::is_noted).map_err(fault)? {
        if !is_there {
            log::warn!("{}: was handed over and is gone", folder.display());
        }
        let end = |tx: &Transaction| {
            hand_over::end(tx)?;
            pin::enqueue_anew(tx)
        };
        store.write(end).map_err(fault)?;
    }
    if options.is_readonly {
        return Ok(summary);
    }
    if is_there {
        summary.aside = move_aside(root, &folder)?;
        tell(&summary);
    }
    // Of a hand-over that was killed.
    disk::discard(&root.tree().join(NEW_FOLDER))?;
    guard(root, &folder)?;
    Ok(summary)
}

/// Moves the tree's folder to a name that nobody has; None if there was nothing in it.
fn move_aside(root: &Root, folder: &Path) -> Result<Option<PathBuf>, Fault> {
    if fs::remove_dir(folder).is_ok() {
        return Ok(None);
    }
    let now = rfc3339(SystemTime::now()).replace(':', "");
    let name = format!("{FOLDER}.imported-{}Z", &now[..17]);
    let free = (0..).map(|count| match count {
        0 => root.tree().join(&name),
        _ => root.tree().join(format!("{name}-{count}")),
    });
    let mut free = free.filter(|path| fs::symlink_metadata(path).is_err());
    // There is always another number.
    let aside = free.next().unwrap_or_default();
    fs::rename(folder, &aside).map_err(|err| Fault::disk("move aside", folder, err))?;
    disk::sync(&root.tree())?;
    Ok(Some(aside))
}

/// Puts a file where the tree's folder was, so that distribution refuses to collect or to push.
fn guard(root: &Root, folder: &Path) -> Result<(), Fault> {
    if fs::symlink_metadata(folder).is_ok() {
        return Ok(());
    }
    Bulk::of_few(root.path()).write(folder, GUARD.as_bytes())
}

fn tell(summary: &Summary) {
    let Summary {
        repositories,
        manifests,
        blobs,
        tags,
        ..
    } = summary;
    log::info!(
        "{repositories} repositories were read: {manifests} manifests, {blobs} blobs and {tags} \
         tags are new in the catalog"
    );
    if summary.removed > 0 {
        let removed = summary.removed;
        log::info!("{removed} tags, manifests and blobs were deleted in the tree since");
    }
    for (count, what) in [
        (summary.skipped, "links and files could not be read"),
        (summary.differing, "tags are not what the tree says"),
        (summary.uploads, "uploads on their way were dropped"),
    ] {
        if count > 0 {
            log::warn!("{count} {what}");
        }
    }
    if let Some(aside) = &summary.aside {
        log::info!("the folder that was read is now {}", aside.display());
    }
}

/// A failure of the store as a fault; an import asks for nothing that can be refused.
pub(super) fn fault(failure: Failure) -> Fault {
    match failure {
        Failure::Fault(fault) => fault,
        Failure::Refused(refusal) => Fault::panicked(refusal.to_string()),
    }
}

/// An import on its way.
struct Import<'i> {
    store: &'i Store,
    network: Option<&'i str>,
    progress: &'i Progress,
    /// The folder of blobs of each algorithm.
    blobs: Vec<(Algorithm, Folder)>,
    batch: Batch<'i>,
    summary: Summary,
}

impl Import<'_> {
    fn read_all(&mut self, tree: &Folder) -> Result<(), Fault> {
        self.progress.enter(Phase::Reading);
        self.walk(tree, "")?;
        let taken = self.batch.flush()?;
        self.note(taken);
        if self.batch.truth() == Truth::Tree && !self.is_stopped() {
            self.progress.enter(Phase::Removing);
            self.remove_what_is_gone(tree)?;
        }
        Ok(())
    }

    /// Reads the repositories in a folder, by the name that they begin with. What has a name that
    /// no repository can have is not looked at, so depth is bounded by a name's length.
    fn walk(&mut self, folder: &Folder, name: &str) -> Result<(), Fault> {
        let mut is_repository = false;
        folder.each(|entry| {
            if entry.starts_with('_') {
                is_repository = true;
                return Ok(());
            }
            let below = match name {
                "" => entry.to_owned(),
                name => format!("{name}/{entry}"),
            };
            if self.is_stopped() || below.parse::<Repository>().is_err() {
                return Ok(());
            }
            match folder.folder(entry)? {
                Some(folder) => self.walk(&folder, &below),
                None => Ok(()),
            }
        })?;
        match name.parse() {
            Ok(name) if is_repository => self.read_repository(&name, folder),
            _ => Ok(()),
        }
    }

    fn is_stopped(&self) -> bool {
        self.progress.is_stopped()
    }

    fn add(&mut self, repository: &Repository, row: Row) -> Result<(), Fault> {
        if let Some(taken) = self.batch.add(repository, row)? {
            self.note(taken);
        }
        Ok(())
    }

    fn note(&mut self, taken: Taken) {
        self.summary.manifests += taken.manifests;
        self.summary.blobs += taken.blobs;
        self.summary.tags += taken.tags;
        for (repository, tag) in taken.differing {
            self.summary.differing += 1;
            if self.summary.differing <= LINES_MAX {
                log::warn!("{repository}:{tag} stays as it is, and is something else in the tree");
            }
        }
    }

    /// Notes that something can't be read, and is as good as not there.
    fn skip(&mut self, path: &Path, why: &str) {
        self.summary.skipped += 1;
        if self.summary.skipped <= LINES_MAX {
            log::warn!("{}: {why}; it is not read", path.display());
        }
    }
}
