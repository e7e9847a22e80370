//! Bytes on their way: one file for each upload session, at
//! `repositories/NAME/_uploads/SESSION/data` under the tree, where registry:2 has its uploads
//! too. A session is nothing but that file, so it lives as long as the file does: through a
//! restart of the server and through a broken connection.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::disk::{self, Root};
use crate::fault::Fault;
use crate::oci::Repository;

/// The upload sessions of a root directory.
#[derive(Clone, Debug)]
pub struct Spool {
    root: Root,
    folder: PathBuf,
}

impl Spool {
    /// The sessions under that root.
    pub fn new(root: &Root) -> Spool {
        Spool {
            root: root.clone(),
            folder: root.tree().join("repositories"),
        }
    }

    fn session(&self, repository: &Repository, session: &str) -> PathBuf {
        self.folder
            .join(repository.as_str())
            .join("_uploads")
            .join(session)
    }

    /// The file of a session.
    pub fn path(&self, repository: &Repository, session: &str) -> PathBuf {
        self.session(repository, session).join("data")
    }

    /// Begins a session: an empty file.
    pub fn begin(&self, repository: &Repository, session: &str) -> Result<(), Fault> {
        let folder = self.session(repository, session);
        fs::create_dir_all(&folder).map_err(|err| Fault::disk("make the folder", &folder, err))?;
        let path = folder.join("data");
        File::create_new(&path).map_err(|err| Fault::disk("make", &path, err))?;
        Ok(())
    }

    /// Opens a session to append to it: the file, at its end, and its length in bytes. None if
    /// there is no such session.
    pub fn open(
        &self,
        repository: &Repository,
        session: &str,
    ) -> Result<Option<(File, u64)>, Fault> {
        let path = self.path(repository, session);
        let open = || {
            let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
            let length = file.seek(SeekFrom::End(0))?;
            Ok((file, length))
        };
        match open() {
            Ok(opened) => Ok(Some(opened)),
            Err(err) if disk::is_missing(&err) => Ok(None),
            Err(err) => Err(Fault::disk("open", &path, err)),
        }
    }

    /// Bytes that a session holds; None if there is no such session.
    pub fn length(&self, repository: &Repository, session: &str) -> Result<Option<u64>, Fault> {
        let path = self.path(repository, session);
        match fs::metadata(&path) {
            Ok(found) => Ok(Some(found.len())),
            Err(err) if disk::is_missing(&err) => Ok(None),
            Err(err) => Err(Fault::disk("open", &path, err)),
        }
    }

    /// Shows everything that a session holds to `see`, by way of `buffer`.
    pub fn reread(
        &self,
        repository: &Repository,
        session: &str,
        buffer: &mut [u8],
        mut see: impl FnMut(&[u8]),
    ) -> Result<(), Fault> {
        let path = self.path(repository, session);
        let mut reread = || {
            let mut file = File::open(&path)?;
            loop {
                match file.read(buffer) {
                    Ok(0) => return Ok(()),
                    Ok(length) => see(&buffer[..length]),
                    Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                    Err(err) => return Err(err),
                }
            }
        };
        reread().map_err(|err| Fault::disk("read", &path, err))
    }

    /// Ends a session and drops what it holds.
    pub fn cancel(&self, repository: &Repository, session: &str) -> Result<(), Fault> {
        disk::discard(&self.session(repository, session))
    }

    /// Drops every session that nobody has written to for longer than `age`; which ones. With
    /// `dry_run` it only says so.
    pub fn purge(&self, age: Duration, dry_run: bool) -> Result<Vec<String>, Fault> {
        let now = SystemTime::now();
        let mut purged = Vec::new();
        self.root.walk_repositories(&mut |_, folder| {
            let uploads = folder.join("_uploads");
            for session in disk::list(&uploads)? {
                let path = uploads.join(&session);
                let touched = fs::metadata(path.join("data")).or_else(|_| fs::metadata(&path));
                // A session that ended while we looked is gone as it should be.
                let Ok(touched) = touched.and_then(|found| found.modified()) else {
                    continue;
                };
                if now.duration_since(touched).is_ok_and(|idle| idle > age) {
                    if !dry_run {
                        disk::discard(&path)?;
                    }
                    purged.push(session);
                }
            }
            Ok(())
        })?;
        Ok(purged)
    }
}
