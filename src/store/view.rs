//! A view of a store: all that is known of it, and nothing that changes it.
//!
//! Whoever looks at a store that a server uses, or that nobody uses, opens one. It makes no
//! catalog where there is none, and leaves no file behind.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use uuid::Uuid;

use super::blob::Place;
use super::error::{Error, Kind};
use super::files::Files;
use super::readers::Readers;
use super::scan::{self, Content};
use super::sqlite::{self, Access};
use super::transaction::Transaction;
use super::writer::{Failure, Outcome};
use super::{catalog_path, filesystem};
use crate::disk::Root;
use crate::fault::Fault;
use crate::oci::Digest;
use crate::oci::manifest::SIZE_MAX;

/// What can be read of a store.
pub struct View {
    path: PathBuf,
    readers: Readers,
    files: Arc<Files>,
}

impl View {
    /// The store of a root directory, to look at it; a server may be using it. `catalog` is where
    /// the catalog is, if that is not below the root. A root directory that holds nothing yet is
    /// an empty store. A tree that was not read into a catalog is refused, as is a catalog of
    /// another version.
    pub fn open(root: &Root, catalog: Option<&Path>) -> Result<View, Fault> {
        let path = catalog_path(root, catalog);
        let readers = match path.try_exists() {
            Ok(true) => look(&path)?,
            Ok(false) => {
                refuse_unread(root)?;
                Readers::new(sqlite::open_empty)
            }
            Err(cause) => return Err(Fault::disk("open", &path, cause)),
        };
        let files = Arc::new(Files::at(root));
        Ok(View {
            path,
            readers,
            files,
        })
    }

    /// The view of a store whose writer is in this process.
    pub(super) fn beside_writer(path: &Path, files: Arc<Files>) -> View {
        let (path, read) = (path.to_owned(), path.to_owned());
        let readers = Readers::new(move || sqlite::open_reader(&read, Access::Beside));
        View {
            path,
            readers,
            files,
        }
    }

    /// Asks the catalog; all answers within one call are of one moment. A call is a query or a
    /// page, for the catalog's log grows as long as it takes.
    pub fn read<T>(&self, ask: impl FnOnce(&Transaction) -> Result<T, Error>) -> Outcome<T> {
        self.ask(ask).map_err(|error| self.failure(error))
    }

    pub(super) fn ask<T>(
        &self,
        ask: impl FnOnce(&Transaction) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.readers.read(ask)
    }

    pub(super) fn failure(&self, error: Error) -> Failure {
        match error {
            Error::Refused(refusal) => Failure::Refused(refusal),
            error => Failure::Fault(sqlite::fault("read", &self.path, error)),
        }
    }

    /// Lends a connection for what is no query.
    pub(super) fn with_connection<T>(
        &self,
        run: impl FnOnce(&Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.readers.with_connection(run)
    }

    /// The files.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// The bytes of content that is a manifest or a configuration; None if they are not on this
    /// machine. Bytes that do not hash to their digest are a fault, not an answer.
    pub fn content(&self, tx: &Transaction, content: &Content) -> Result<Option<Vec<u8>>, Error> {
        let digest = &content.digest;
        let (bytes, path) = match (content.place, content.size) {
            (Place::Row, _) => (scan::bytes(tx, content)?, self.path.clone()),
            (Place::File, Some(size)) if size <= SIZE_MAX => {
                let path = self.files.blob_path(digest);
                (crate::disk::read(&path)?, path)
            }
            _ => return Ok(None),
        };
        match bytes {
            Some(bytes) if Digest::of(digest.algorithm(), &bytes) != *digest => {
                let cause = format!("the bytes of {digest} do not hash to it");
                Err(Fault::disk("verify", &path, io::Error::other(cause)).into())
            }
            bytes => Ok(bytes),
        }
    }

    /// The catalog's file, which need not exist.
    pub fn catalog_path(&self) -> &Path {
        &self.path
    }
}

/// Refuses a root directory whose tree was never read into a catalog: it would seem empty.
fn refuse_unread(root: &Root) -> Result<(), Fault> {
    let tree = root.tree().join("repositories");
    if crate::disk::list(&tree)?.is_empty() {
        return Ok(());
    }
    let cause = "there is no catalog of it yet: `registry serve` makes one when it starts";
    Err(Fault::disk("read", &tree, io::Error::other(cause)))
}

/// Readers of the catalog at `path`, which is there.
fn look(path: &Path) -> Result<Readers, Fault> {
    let failed = |error| sqlite::fault("open", path, error);
    let is_closed = sqlite::has_empty_log(path);
    let access = match (filesystem::is_read_only(path)?, is_closed) {
        (true, true) => Access::Immutable,
        (true, false) => return look_at_copy(path),
        // As the last one to close it, this one removes what it made beside the database.
        (false, true) => Access::Guest,
        (false, false) => Access::Beside,
    };
    let open = |access| {
        let path = path.to_owned();
        Readers::new(move || sqlite::open_looking(&path, access))
    };
    let readers = open(access);
    match readers.with_connection(|_| Ok(())) {
        Ok(()) => Ok(readers),
        // Not even the memory that readers share has room on the disk. Nobody can write then.
        Err(error) if is_closed && matches!(error.kind(), Kind::Full | Kind::Write) => {
            let readers = open(Access::Immutable);
            readers.with_connection(|_| Ok(())).map_err(failed)?;
            Ok(readers)
        }
        Err(error) if error.kind() == Kind::Shut => {
            let cause = format!(
                "{error}: whoever reads it has to be able to write in its folder, too, where \
                 readers share some memory; run this as its owner"
            );
            Err(Fault::disk("open", path, io::Error::other(cause)))
        }
        Err(error) => Err(failed(error)),
    }
}

/// A folder that goes with its owner.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // The system clears the place in time.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// On a file system that can't be written, a log that is not empty can't be read in its place,
/// and what stands in it would be missing without a word.
fn look_at_copy(path: &Path) -> Result<Readers, Fault> {
    let folder = std::env::temp_dir().join(format!("lighthouse-{}", Uuid::new_v4()));
    let made = DirBuilder::new().mode(0o700).create(&folder);
    made.map_err(|cause| Fault::disk("make the folder", &folder, cause))?;
    let temporary = Temporary(folder);
    let copy = temporary.0.join("catalog.sqlite");
    let copied = fs::copy(path, &copy)
        .and_then(|_| fs::copy(sqlite::beside(path, "-wal"), sqlite::beside(&copy, "-wal")));
    copied.map_err(|cause| {
        let cause = format!(
            "it was not closed cleanly and can't be written here, and no copy can be made in {}: \
             {cause}; set TMPDIR to a folder with room for it",
            temporary.0.display()
        );
        Fault::disk("open", path, io::Error::other(cause))
    })?;
    let readers = Readers::new(move || {
        // Owned by whoever opens it: it is there as long as it can be read.
        let copy = temporary.0.join("catalog.sqlite");
        sqlite::open_looking(&copy, Access::Guest)
    });
    let opened = readers.with_connection(|_| Ok(()));
    opened.map_err(|error| sqlite::fault("open", path, error))?;
    Ok(readers)
}
