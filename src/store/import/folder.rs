//! Folders that nobody vouches for: below the first one no symbolic link is followed, nothing but
//! regular files is opened, and no more is read than a caller asks for.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;

use crate::fault::Fault;

/// An open folder.
pub(super) struct Folder {
    fd: OwnedFd,
    path: PathBuf,
}

/// A regular file, by its name in a folder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// Its length in bytes.
    pub size: u64,
    /// When it was written last, in milliseconds since 1970.
    pub written_at: i64,
}

impl Found {
    fn of(stat: &Stat) -> Option<Found> {
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        is_file.then(|| Found {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            written_at: stat
                .st_mtime
                .saturating_mul(1000)
                .saturating_add(stat.st_mtime_nsec as i64 / 1_000_000),
        })
    }
}

impl Folder {
    /// The folder of that path, wherever its operator's links lead; None if there is none.
    pub fn open(path: &Path) -> Result<Option<Folder>, Fault> {
        let opened = openat(
            CWD,
            path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        found(opened, "open", || path.to_owned()).map(|fd| {
            fd.map(|fd| Folder {
                fd,
                path: path.to_owned(),
            })
        })
    }

    /// A folder in this one; None if there is none, or something else of that name.
    pub fn folder(&self, name: &str) -> Result<Option<Folder>, Fault> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(&self.fd, name, flags, Mode::empty());
        let opened = found(opened, "open", || self.path.join(name))?;
        Ok(opened.map(|fd| Folder {
            fd,
            path: self.path.join(name),
        }))
    }

    /// A folder below this one, some levels down.
    pub fn below(&self, names: &[&str]) -> Result<Option<Folder>, Fault> {
        let Some((first, rest)) = names.split_first() else {
            return Ok(None);
        };
        let mut folder = self.folder(first)?;
        for name in rest {
            folder = match folder {
                Some(folder) => folder.folder(name)?,
                None => return Ok(None),
            };
        }
        Ok(folder)
    }

    /// Shows the name of everything in this folder, one after the other, in no order. Names that
    /// are not UTF-8 are nobody's.
    pub fn each(&self, mut see: impl FnMut(&str) -> Result<(), Fault>) -> Result<(), Fault> {
        let failed = |err: Errno| Fault::disk("list", &self.path, err.into());
        for entry in Dir::read_from(&self.fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name: &CStr = entry.file_name();
            match name.to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => see(name)?,
            }
        }
        Ok(())
    }

    /// What is known of a regular file; None if there is none of that name.
    pub fn file(&self, name: &str) -> Result<Option<Found>, Fault> {
        let stat = statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = found(stat, "open", || self.path.join(name))?;
        Ok(stat.as_ref().and_then(Found::of))
    }

    /// The bytes of a regular file; None if there is none of that name, or it is larger than that.
    pub fn read(&self, name: &str, size_max: u64) -> Result<Option<(Found, Vec<u8>)>, Fault> {
        // A device is never opened: that alone can do something.
        match self.file(name)? {
            Some(file) if file.size <= size_max => {}
            _ => return Ok(None),
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = openat(&self.fd, name, flags, Mode::empty());
        let Some(fd) = found(opened, "open", || self.path.join(name))? else {
            return Ok(None);
        };
        let failed = |err| Fault::disk("read", self.path.join(name), err);
        let stat = fstat(&fd).map_err(|err| failed(err.into()))?;
        let file = match Found::of(&stat) {
            Some(file) if file.size <= size_max => file,
            _ => return Ok(None),
        };
        let mut bytes = Vec::with_capacity(file.size as usize);
        let read = File::from(fd).take(file.size).read_to_end(&mut bytes);
        read.map_err(failed)?;
        Ok(Some((file, bytes)))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// None where there is nothing of that name and kind; what can't be looked at is a fault.
fn found<T>(
    result: Result<T, Errno>,
    op: &'static str,
    path: impl FnOnce() -> PathBuf,
) -> Result<Option<T>, Fault> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG | Errno::NXIO) => {
            Ok(None)
        }
        Err(err) => Err(Fault::disk(op, path(), io::Error::from(err))),
    }
}
