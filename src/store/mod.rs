//! What is kept: the catalog, a database that knows all, and the bytes of blobs.
//!
//! ```text
//! lighthouse/catalog.sqlite         what is known, and the bytes of what is small
//! lighthouse/backups/               copies of that
//! lighthouse/reserve                room for deletions, for when there is no other
//! lighthouse/uploads/SESSION        an upload on its way
//! docker/registry/v2/blobs/…/data   the bytes of what is not small
//! ```
//!
//! One thread changes the catalog ([`writer`]); a few connections read it ([`readers`]), and a
//! command that changes nothing opens a [`View`]. What is changed and asked are plain functions
//! over a [`Transaction`], a file for each noun of the specifications: [`repository`], [`blob`],
//! [`manifest`], [`tag`], [`referrer`], [`upload`], [`pin`], [`copy`], [`change`]; and [`scan`], to
//! look at all of it. A rule that a change depends on is checked in the transaction that makes it.
//! Statements stand in `sql/`, in words that SQLite and PostgreSQL share, and the picture of all
//! that is known in `schema.sql`.

pub mod backup;
pub mod blob;
mod bulk;
pub mod change;
pub mod copy;
mod error;
pub mod files;
pub mod filesystem;
mod hand_over;
pub mod import;
pub mod manifest;
pub mod pin;
mod readers;
pub mod referrer;
pub mod repository;
mod reserve;
pub mod restore;
pub mod scan;
pub mod sqlite;
pub mod tag;
pub mod transaction;
pub mod tree;
pub mod upload;
mod verify;
mod view;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blob::{Blob, Content, NewBlob, Place};
pub use error::Error;
use files::Files;
use manifest::{Manifest, NewManifest};
use reserve::Reserve;
pub use transaction::Transaction;
use upload::{Lease, Leases};
pub use verify::Verifying;
use verify::{Queue, Verified};
pub use view::View;
use writer::Writer;
pub use writer::{Durability, Failure, Outcome};

use crate::disk::Root;
use crate::fault::Fault;
use crate::oci::{Digest, Reference, Repository};

/// The largest content that is kept in the catalog, in bytes: one wait for the disk instead of
/// three.
pub const ROW_SIZE_MAX: u64 = 64 << 10;

/// A store. It is shared by all threads, and the one owner of what is known.
pub struct Store {
    /// None of one that is only read.
    writer: Option<Writer>,
    view: View,
    files: Arc<Files>,
    verified: Verified,
    to_verify: Queue,
    leases: Leases,
    reserve: Reserve,
}

/// Where the catalog of a root directory is, which may be elsewhere.
fn catalog_path(root: &Root, catalog: Option<&Path>) -> PathBuf {
    catalog.map_or_else(|| root.ours("catalog.sqlite"), Path::to_owned)
}

/// How long a use of a copy is not worth another note, in milliseconds.
const USE_NOTED_MS: i64 = 60_000;

impl Store {
    /// Opens the store of a root directory that is ours to change, making it if need be. `catalog`
    /// is where the catalog is, if that is not below the root.
    pub fn open(root: &Root, catalog: Option<&Path>) -> Result<Store, Fault> {
        let path = catalog_path(root, catalog);
        let connection = match sqlite::open_writer(&path) {
            Err(Fault::DiskFull { .. }) if Reserve::beside(&path).give_up()? => {
                sqlite::open_writer(&path)?
            }
            opened => opened?,
        };
        let files = Arc::new(Files::open(root)?);
        let writer = Writer::start(connection, &path)?;
        let view = View::beside_writer(&path, Arc::clone(&files));
        let store = Store::of(Some(writer), view, files);
        store.reserve.take();
        Ok(store)
    }

    /// Opens the store of a root directory to serve what is there, and change nothing.
    pub fn open_read_only(root: &Root, catalog: Option<&Path>) -> Result<Store, Fault> {
        let view = View::open(root, catalog)?;
        Ok(Store::of(None, view, Arc::new(Files::at(root))))
    }

    fn of(writer: Option<Writer>, view: View, files: Arc<Files>) -> Store {
        Store {
            reserve: Reserve::beside(view.catalog_path()),
            writer,
            view,
            files,
            verified: Verified::default(),
            to_verify: Queue::default(),
            leases: Leases::default(),
        }
    }

    /// Asks the catalog; all answers within one call are of one moment.
    pub fn read<T>(&self, ask: impl FnOnce(&Transaction) -> Result<T, Error>) -> Outcome<T> {
        self.view.ask(ask).map_err(|error| {
            if let Some(writer) = &self.writer {
                writer.note(&error);
            }
            self.view.failure(error)
        })
    }

    /// Changes the catalog, durably: what returned is there after a power cut. The command may be
    /// run more than once, and counts once.
    pub fn write<T: Send + 'static>(
        &self,
        command: impl FnMut(&Transaction) -> Result<T, Error> + Send + 'static,
    ) -> Outcome<T> {
        let changed = self.writer()?.write(Durability::Synced, command)?;
        self.reserve.take();
        Ok(changed)
    }

    /// Changes the catalog so that less is kept, durably. When the disk is full, its reserve is
    /// given up for it.
    pub fn remove<T: Send + 'static>(
        &self,
        command: impl FnMut(&Transaction) -> Result<T, Error> + Send + Clone + 'static,
    ) -> Outcome<T> {
        match self.write(command.clone()) {
            Err(Failure::Fault(Fault::DiskFull { .. })) if self.reserve.give_up()? => {
                self.write(command)
            }
            removed => removed,
        }
    }

    /// Changes nothing any more, and leaves the catalog in one file.
    pub fn close(&self) {
        if let Some(writer) = &self.writer {
            writer.close();
        }
    }

    /// Changes what need not survive a power cut, only the end of this process: upload sessions,
    /// and when something was used.
    pub fn note<T: Send + 'static>(
        &self,
        command: impl FnMut(&Transaction) -> Result<T, Error> + Send + 'static,
    ) -> Outcome<T> {
        self.writer()?.write(Durability::Written, command)
    }

    fn writer(&self) -> Outcome<&Writer> {
        let read_only = || {
            let cause = std::io::Error::from(std::io::ErrorKind::ReadOnlyFilesystem);
            Failure::Fault(Fault::disk("write", self.catalog_path(), cause))
        };
        self.writer.as_ref().ok_or_else(read_only)
    }

    /// The files.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// The catalog's file.
    pub fn catalog_path(&self) -> &Path {
        self.view.catalog_path()
    }

    /// What can be read of it.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Keeps a blob whose bytes came in whole and were verified: in memory, or in the session's
    /// file, which is synced.
    pub fn put_blob(&self, new: NewBlob) -> Outcome<()> {
        let (session, digest) = (new.session.clone(), new.digest);
        let files = Arc::clone(&self.files);
        let size = new.content.size();
        if let Content::File(_) = new.content {
            files.place(&session, &digest)?;
        }
        let ended = session.clone();
        let put =
            move |tx: &Transaction| blob::put(tx, &new, || files.keep(&session, &digest, size));
        let id = self
            .write(put)
            .inspect_err(|_| self.remove_orphan(&digest))?;
        self.verified.set(id, true);
        self.end_upload_file(&ended);
        Ok(())
    }

    /// Keeps a manifest. One that is not small is in a file, like an upload's, under that name,
    /// and synced.
    pub fn put_manifest(&self, new: NewManifest, file: &str) -> Outcome<()> {
        let (files, file) = (Arc::clone(&self.files), file.to_owned());
        let (digest, size) = (new.digest, new.content.size());
        if let Content::File(_) = new.content {
            files.place(&file, &digest)?;
        }
        let put =
            move |tx: &Transaction| manifest::put(tx, &new, || files.keep(&file, &digest, size));
        let id = self
            .write(put)
            .inspect_err(|_| self.remove_orphan(&digest))?;
        self.verified.set(id, true);
        Ok(())
    }

    /// Removes the file of a digest if no row names it: it would keep a full disk full. A push of
    /// the same beside this keeps its own.
    fn remove_orphan(&self, digest: &Digest) {
        let (orphan, files) = (*digest, Arc::clone(&self.files));
        if !files.blob_path(digest).exists() {
            return;
        }
        let removed = self.write(move |tx| {
            if !blob::has_file(tx, &orphan)? {
                files.remove(&orphan)?;
            }
            Ok(())
        });
        if let Err(failure) = removed {
            log::warn!("{digest} has a file and no row: {failure:?}; it will be collected");
        }
    }

    /// The row that named it is gone: a file that stays is an orphan, and is collected.
    fn end_upload_file(&self, session: &str) {
        if let Err(fault) = self.files.end_upload(session) {
            log::warn!("{fault}; it will be collected");
        }
    }

    /// Opens the file of a blob of a repository. None if what is there is not what the catalog
    /// says; the blob then counts as lost, and a push brings it back.
    pub fn open_blob(&self, digest: &Digest, size: u64) -> Outcome<Option<File>> {
        if let Some(file) = self.files.open_blob(digest, size)? {
            return Ok(Some(file));
        }
        let (lost, files) = (*digest, Arc::clone(&self.files));
        let place = self.write(move |tx| {
            // A push may have brought it since.
            match files.open_blob(&lost, size)? {
                Some(_) => Ok(Place::File),
                None => blob::lose(tx, &lost),
            }
        })?;
        match place {
            Place::File => Ok(self.files.open_blob(digest, size)?),
            _ => Ok(None),
        }
    }

    /// The blob that a repository holds, with what HEAD is answered from: its file is there and
    /// has its length, or a network keeps it.
    pub fn find_blob(&self, repository: &Repository, digest: &Digest) -> Outcome<Option<Blob>> {
        self.find_whole(digest, |tx| blob::find(tx, repository, digest))
    }

    /// The same of a blob that any repository holds.
    pub fn find_blob_anywhere(&self, digest: &Digest) -> Outcome<Option<Blob>> {
        self.find_whole(digest, |tx| blob::find_anywhere(tx, digest))
    }

    fn find_whole(
        &self,
        digest: &Digest,
        find: impl Fn(&Transaction) -> Result<Option<Blob>, Error>,
    ) -> Outcome<Option<Blob>> {
        let found = self.read(&find)?;
        match found {
            Some(Blob {
                place: Place::File,
                size,
                ..
            }) if self.open_blob(digest, size)?.is_none() => self.read(&find),
            found => Ok(found),
        }
    }

    /// The manifest that a reference names in a repository, if its bytes are what they should be.
    pub fn find_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Outcome<Option<Manifest>> {
        let found = self.read(|tx| manifest::find(tx, repository, reference))?;
        match &found {
            Some(Manifest {
                id,
                digest,
                bytes: Some(bytes),
                ..
            }) if !self.is_whole(*id, digest, bytes) => Ok(None),
            _ => Ok(found),
        }
    }

    /// The bytes of a blob that are in the catalog, if they are what they should be.
    pub fn blob_bytes(&self, id: i64, digest: &Digest) -> Outcome<Option<Vec<u8>>> {
        let bytes = self.read(|tx| blob::bytes(tx, id))?;
        Ok(bytes.filter(|bytes| self.is_whole(id, digest, bytes)))
    }

    /// Whether bytes of the catalog are what their digest says; they are hashed when they are read
    /// for the first time since the start.
    fn is_whole(&self, id: i64, digest: &Digest, bytes: &[u8]) -> bool {
        if self.verified.contains(id) {
            return true;
        }
        let is_whole = Digest::of(digest.algorithm(), bytes) == *digest;
        match is_whole {
            true => self.verified.set(id, true),
            false => self.set_aside(digest),
        }
        is_whole
    }

    /// Takes a blob whose bytes are damaged out of what is served, until a network or a push
    /// brings it again.
    fn set_aside(&self, digest: &Digest) {
        let (damaged, files) = (*digest, Arc::clone(&self.files));
        let lost = self.write(move |tx| {
            if blob::has_file(tx, &damaged)? {
                files.set_aside(&damaged)?;
            }
            blob::lose(tx, &damaged)
        });
        match lost {
            Ok(Place::Network) => log::error!(
                "{digest} is damaged on this disk, and is read from a network from now on"
            ),
            Ok(_) => log::error!("{digest} is damaged on this disk: push it again"),
            Err(failure) => log::error!("{digest} is damaged on this disk: {failure:?}"),
        }
    }

    /// The file of a blob, to be sent as it is, or, where it was not verified since the start, to
    /// be read whole and hashed on the way. None as with [`open_blob`](Store::open_blob).
    pub fn read_file(
        self: &Arc<Store>,
        id: i64,
        digest: &Digest,
        size: u64,
    ) -> Outcome<Option<Result<File, Verifying>>> {
        let Some(file) = self.open_blob(digest, size)? else {
            return Ok(None);
        };
        Ok(Some(match self.verified.contains(id) {
            true => Ok(file),
            false => Err(Verifying::new(Arc::clone(self), id, *digest, size, file)),
        }))
    }

    /// Looks whether the files of blobs that a repository holds are there. Those that are not
    /// count as lost from then on.
    pub fn check_files(&self, repository: &Repository, digests: &[Digest]) -> Outcome<()> {
        let in_files = self.read(|tx| {
            let mut found = Vec::new();
            for digest in digests {
                if let Some(blob) = blob::find(tx, repository, digest)?
                    && blob.place == Place::File
                {
                    found.push((*digest, blob.size));
                }
            }
            Ok(found)
        })?;
        for (digest, size) in in_files {
            self.open_blob(&digest, size)?;
        }
        Ok(())
    }

    /// Gives up the local copy of a blob that a network keeps; whether it was there.
    pub fn drop_copy(&self, digest: &Digest) -> Outcome<bool> {
        let (dropped, files) = (*digest, Arc::clone(&self.files));
        if !self.write(move |tx| blob::drop_copy(tx, &dropped))? {
            return Ok(false);
        }
        // In a transaction of its own that looks again: a push in between keeps its bytes.
        self.write(move |tx| {
            if !blob::has_file(tx, &dropped)? {
                files.remove(&dropped)?;
            }
            Ok(true)
        })
    }

    /// Puts a blob back that only a network had: the bytes in the file of an upload of that name,
    /// which are verified and synced. The upload is over then.
    pub fn put_back(&self, session: &str, digest: &Digest, size: u64) -> Outcome<()> {
        let (name, back, files) = (session.to_owned(), *digest, Arc::clone(&self.files));
        files.place(session, digest)?;
        let put = self
            .write(move |tx| blob::put_back(tx, &back, size, || files.keep(&name, &back, size)));
        self.end_upload_file(session);
        put
    }

    /// Notes that a blob is used, at most once a minute, so that its copy stays longer than others.
    pub fn note_use(&self, digest: &Digest) -> Outcome<()> {
        let before = sqlite::now() - USE_NOTED_MS;
        match self.read(|tx| copy::used_before(tx, digest, before))? {
            Some(blob) => self.note(move |tx| copy::touch(tx, blob)),
            None => Ok(()),
        }
    }

    /// Takes the right to write to an upload session; None if somebody has it.
    pub fn lease_upload(&self, session: &str) -> Option<Lease> {
        self.leases.take(session)
    }

    /// Ends an upload session that was not written to since `before`, in milliseconds since 1970,
    /// and that nobody writes to; whether it did.
    pub fn purge_upload(&self, session: &str, before: i64) -> Outcome<bool> {
        let Some(_lease) = self.lease_upload(session) else {
            return Ok(false);
        };
        let id = session.to_owned();
        let is_over = self.note(move |tx| upload::purge(tx, &id, before))?;
        if is_over {
            self.end_upload_file(session);
        }
        Ok(is_over)
    }

    /// Whether files can be written and the catalog changed.
    pub fn probe(&self) -> Outcome<()> {
        self.note(|_| Ok(()))?;
        Ok(self.files.probe()?)
    }
}
