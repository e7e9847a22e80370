//! Files: the bytes of blobs that are not small, at distribution's own path, and of uploads.
//!
//! ```text
//! docker/registry/v2/blobs/sha256/ab/ab…/data   a blob
//! lighthouse/uploads/SESSION                    an upload; its length is the offset
//! ```
//!
//! Bytes come first, then the row that names them: a crash leaves a file without a row, never a
//! row without its file.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use uuid::Uuid;

use crate::disk::{self, Root};
use crate::fault::Fault;
use crate::oci::Digest;

/// The files of a root directory.
#[derive(Clone, Debug)]
pub struct Files {
    blobs: PathBuf,
    uploads: PathBuf,
    /// Folders of blobs whose own names are durable.
    named: Arc<Mutex<HashSet<PathBuf>>>,
}

impl Files {
    /// The files under a root directory, whose folders are made.
    pub fn open(root: &Root) -> Result<Files, Fault> {
        let files = Files::at(root);
        disk::make_dirs(&files.blobs)?;
        disk::make_dirs(&files.uploads)?;
        // Whoever made them may have ended before they were synced.
        let above = files.blobs.ancestors().skip(1);
        let above = above.take_while(|folder| folder.starts_with(root.path()));
        above
            .chain([parent(&files.uploads)])
            .try_for_each(disk::sync)?;
        Ok(files)
    }

    /// The files under a root directory that is only read.
    pub fn at(root: &Root) -> Files {
        Files {
            blobs: root.tree().join("blobs"),
            uploads: root.ours("uploads"),
            named: Arc::default(),
        }
    }

    /// Where the blob of a digest is, if it is in a file.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.blobs
            .join(digest.algorithm().name())
            .join(&hex[..2])
            .join(&hex)
            .join("data")
    }

    /// Opens a blob that has so many bytes. None if it is not there, or has another length.
    pub fn open_blob(&self, digest: &Digest, size: u64) -> Result<Option<File>, Fault> {
        let path = self.blob_path(digest);
        let opened = File::open(&path).and_then(|file| Ok((file.metadata()?, file)));
        match opened {
            Ok((found, file)) if found.is_file() && found.len() == size => Ok(Some(file)),
            Ok((found, _)) => {
                let len = found.len();
                log::error!("{}: has {len} bytes and should have {size}", path.display());
                Ok(None)
            }
            Err(err) if disk::is_missing(&err) => Ok(None),
            Err(err) => Err(Fault::disk("open", &path, err)),
        }
    }

    /// The size of the file of a blob in bytes; None if there is none.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>, Fault> {
        let path = self.blob_path(digest);
        match fs::metadata(&path) {
            Ok(found) => Ok(Some(found.len())),
            Err(err) if disk::is_missing(&err) => Ok(None),
            Err(err) => Err(Fault::disk("open", &path, err)),
        }
    }

    /// Where the bytes of an upload session are.
    pub fn upload_path(&self, session: &str) -> PathBuf {
        self.uploads.join(session)
    }

    /// Opens the file of a session to read and to go on at its end, making it if there is none.
    pub fn append_upload(&self, session: &str) -> Result<File, Fault> {
        let path = self.upload_path(session);
        let opened = File::options()
            .read(true)
            .append(true)
            .create(true)
            .open(&path);
        opened.map_err(|err| Fault::disk("open", &path, err))
    }

    /// Makes the empty file of a transfer that writes its parts in any order.
    pub fn start_transfer(&self, name: &str) -> Result<File, Fault> {
        let path = self.upload_path(name);
        let made = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path);
        made.map_err(|err| Fault::disk("make", &path, err))
    }

    /// Bytes that a session holds; none if it has no file yet.
    pub fn upload_length(&self, session: &str) -> Result<u64, Fault> {
        let path = self.upload_path(session);
        match fs::metadata(&path) {
            Ok(found) => Ok(found.len()),
            Err(err) if disk::is_missing(&err) => Ok(0),
            Err(err) => Err(Fault::disk("measure", &path, err)),
        }
    }

    /// Writes bytes, and what follows them, to the file of a session, and syncs it; how many there
    /// were. What can't be read of `rest` is the client's fault.
    pub fn receive(&self, session: &str, first: &[u8], rest: &mut dyn Read) -> Result<u64, Fault> {
        let path = self.upload_path(session);
        let on_disk = |err| Fault::disk("write", &path, err);
        let mut file = File::create_new(&path).map_err(on_disk)?;
        file.write_all(first).map_err(on_disk)?;
        let (mut size, mut buffer) = (first.len() as u64, [0; 16 << 10]);
        loop {
            match rest.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    file.write_all(&buffer[..count]).map_err(on_disk)?;
                    size += count as u64;
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(Fault::client(err)),
            }
        }
        file.sync_all().map_err(on_disk)?;
        Ok(size)
    }

    /// All bytes of a session.
    pub fn read_upload(&self, session: &str) -> Result<Vec<u8>, Fault> {
        let path = self.upload_path(session);
        fs::read(&path).map_err(|err| Fault::disk("read", &path, err))
    }

    /// Removes the file of a session that is over.
    pub fn end_upload(&self, session: &str) -> Result<(), Fault> {
        disk::discard(&self.upload_path(session))
    }

    /// Gives the bytes of a session, which are synced, the name of a blob, durably. The session
    /// keeps its own name for them until the row of the blob is committed, so that
    /// [`keep`](Files::keep) can give it once more.
    pub fn place(&self, session: &str, digest: &Digest) -> Result<(), Fault> {
        let path = self.blob_path(digest);
        let folder = parent(&path);
        let named = match self.name(session, &path) {
            // Whoever removes what had the name before removes the folder with it.
            Err(err) if disk::is_missing(&err) => self.name(session, &path),
            named => named,
        };
        named.map_err(|err| Fault::disk("name", &path, err))?;
        disk::sync(folder)?;
        disk::sync(parent(folder))?;
        self.sync_name(parent(folder))
    }

    fn name(&self, session: &str, path: &Path) -> io::Result<()> {
        fs::create_dir_all(parent(path))?;
        let from = self.upload_path(session);
        let second = self.uploads.join(format!("{session}.placed"));
        match fs::remove_file(&second) {
            Err(err) if !disk::is_missing(&err) => return Err(err),
            _ => {}
        }
        // What had the name before may be what a failed sync left: it is replaced, never believed.
        match fs::hard_link(&from, &second) {
            Ok(()) => fs::rename(&second, path).inspect_err(|_| drop(fs::remove_file(&second))),
            // A file system without hard links; then a copy that is dropped beside this push takes
            // the bytes away, and `keep` says so.
            Err(err) if has_no_links(&err) => fs::rename(&from, path),
            Err(err) => Err(err),
        }
    }

    /// Makes the name of one of the folders of blobs durable, and of the one that it is in; once,
    /// for nobody removes them. That a folder is there says nothing: another push may have made it
    /// and not synced it yet, or have failed to.
    fn sync_name(&self, folder: &Path) -> Result<(), Fault> {
        // Nothing panics while it is held.
        let named = || {
            self.named
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner())
        };
        if named().contains(folder) {
            return Ok(());
        }
        disk::sync(parent(folder))?;
        disk::sync(&self.blobs)?;
        named().insert(folder.to_owned());
        Ok(())
    }

    /// Makes sure, in the transaction of a push, that the blob still has the name that was given
    /// to it.
    pub fn keep(&self, session: &str, digest: &Digest, size: u64) -> Result<(), Fault> {
        let path = self.blob_path(digest);
        match fs::metadata(&path) {
            Ok(found) if found.len() == size => Ok(()),
            _ => self.place(session, digest),
        }
    }

    /// Moves the file of a blob that is damaged out of the way, to where a person may look at it.
    pub fn set_aside(&self, digest: &Digest) -> Result<(), Fault> {
        let path = self.blob_path(digest);
        let folder = self.uploads.with_file_name("damaged");
        disk::make_dirs(&folder)?;
        match fs::rename(&path, folder.join(digest.hex())) {
            Err(err) if !disk::is_missing(&err) => Err(Fault::disk("set aside", &path, err)),
            _ => disk::discard(parent(&path)),
        }
    }

    /// Writes, syncs and removes a file, to know that the disk works.
    pub fn probe(&self) -> Result<(), Fault> {
        let path = self.uploads.join(format!("probe-{}", Uuid::new_v4()));
        let written = File::create_new(&path).and_then(|mut file| {
            file.write_all(b"lighthouse")?;
            file.sync_all()
        });
        let removed = fs::remove_file(&path);
        written
            .and(removed)
            .map_err(|err| Fault::disk("probe", &path, err))
    }

    /// The uploads whose names begin so.
    pub fn uploads_like(&self, prefix: &str) -> Result<Vec<String>, Fault> {
        let mut names = disk::list(&self.uploads)?;
        names.retain(|name| name.starts_with(prefix));
        Ok(names)
    }

    /// Removes the file of a blob, and its folder.
    pub fn remove(&self, digest: &Digest) -> Result<(), Fault> {
        disk::discard(parent(&self.blob_path(digest)))
    }
}

fn parent(path: &Path) -> &Path {
    // Every path here was joined to a folder.
    path.parent().unwrap_or(path)
}

fn has_no_links(err: &io::Error) -> bool {
    let unsupported = [
        rustix::io::Errno::PERM,
        rustix::io::Errno::OPNOTSUPP,
        rustix::io::Errno::NOSYS,
    ];
    let code = err.raw_os_error();
    unsupported
        .iter()
        .any(|errno| code == Some(errno.raw_os_error()))
}
