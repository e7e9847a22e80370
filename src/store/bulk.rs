//! Many small files that become durable together, as an import's and a hand-over's do: nobody is
//! told of them before the last.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::disk;
use crate::fault::Fault;

/// File systems that syncfs(2) makes durable as a whole: ext, XFS, btrfs, f2fs, ZFS, bcachefs,
/// tmpfs, overlayfs. Others, such as FUSE, may not tell whoever keeps the bytes.
const SYNC_WHOLE: [u64; 8] = [
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0xf2f5_2010,
    0x2fc1_2fc1,
    0xca45_1a4e,
    0x0102_1994,
    0x794c_7630,
];

/// Changes of files below one folder, which are durable after [`Bulk::finish`].
pub(super) struct Bulk {
    path: PathBuf,
    /// Opened before anything is written, to be told of every failure since. None where each
    /// change is synced by itself.
    whole: Option<File>,
}

impl Bulk {
    /// Changes below that folder, which is there.
    pub fn open(path: &Path) -> Result<Bulk, Fault> {
        let failed = |err| Fault::disk("open", path, err);
        let found = rustix::fs::statfs(path).map_err(|err| failed(err.into()))?;
        let syncs_whole = u64::try_from(found.f_type).is_ok_and(|kind| SYNC_WHOLE.contains(&kind));
        let whole = syncs_whole.then(|| File::open(path)).transpose();
        Ok(Bulk {
            path: path.to_owned(),
            whole: whole.map_err(failed)?,
        })
    }

    /// Changes of a few files, each synced by itself: all else that a file system has in hand may
    /// take long.
    pub fn of_few(path: &Path) -> Bulk {
        Bulk {
            path: path.to_owned(),
            whole: None,
        }
    }

    /// Has a file hold these bytes, whatever it held. It holds what it did or these, never a part.
    pub fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), Fault> {
        let folder = parent(path);
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let partial = folder.join(name);
        self.make_dirs(folder)?;
        let made = File::create_new(&partial).or_else(|err| match err.kind() {
            // What an earlier end left behind, or a link to somewhere else.
            io::ErrorKind::AlreadyExists => {
                fs::remove_file(&partial).and_then(|()| File::create_new(&partial))
            }
            _ => Err(err),
        });
        let mut file = made.map_err(|err| Fault::disk("make", &partial, err))?;
        let mut written = file.write_all(bytes);
        if self.whole.is_none() {
            written = written.and_then(|()| file.sync_all());
        }
        written.map_err(|err| Fault::disk("write", &partial, err))?;
        fs::rename(&partial, path).map_err(|err| Fault::disk("rename to", path, err))?;
        self.sync_each(folder)
    }

    /// Removes a file, or a folder with all that is in it.
    pub fn remove(&self, path: &Path) -> Result<(), Fault> {
        disk::discard(path)?;
        self.sync_each(parent(path))
    }

    fn make_dirs(&self, folder: &Path) -> Result<(), Fault> {
        match self.whole {
            None => disk::make_dirs(folder),
            Some(_) => fs::create_dir_all(folder)
                .map_err(|err| Fault::disk("make the folder", folder, err)),
        }
    }

    fn sync_each(&self, folder: &Path) -> Result<(), Fault> {
        match self.whole {
            None => disk::sync(folder),
            Some(_) => Ok(()),
        }
    }

    /// Makes all of it durable.
    pub fn finish(self) -> Result<(), Fault> {
        let Some(whole) = &self.whole else {
            return Ok(());
        };
        rustix::fs::syncfs(whole).map_err(|err| Fault::disk("sync", &self.path, err.into()))
    }
}

/// Whether a regular file holds just these bytes.
pub(super) fn holds(path: &Path, bytes: &[u8]) -> bool {
    let found = fs::symlink_metadata(path);
    let is_same_length =
        found.is_ok_and(|found| found.is_file() && found.len() == bytes.len() as u64);
    is_same_length && fs::read(path).is_ok_and(|found| found == bytes)
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}
