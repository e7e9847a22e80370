//! The disk: how bytes get to where a power cut cannot take them.
//!
//! Whatever this registry says is done went through a [`Settling`]: written to a temporary file in
//! the same file system and renamed to its final name, so that a final name never holds a part of
//! something. What is large was synced before, and its folders after; what is small stands in the
//! daybook by then, which one sync makes durable and which a start after a power cut makes good.
//! Only what needs no such promise (an upload on its way) is written otherwise.

mod daybook;
mod entry;
mod page;
mod settling;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FlockOperation;
use uuid::Uuid;

use crate::fault::Fault;
use daybook::Daybook;
use entry::Change;
pub use settling::{Settling, is_small};

/// The folder under a root directory for what is ours alone; registry:2 never looks there.
const OURS: &str = "lighthouse";

/// A root directory, as registry:2 lays it out, with a place of our own beside.
#[derive(Clone, Debug)]
pub struct Root {
    path: PathBuf,
    /// None where it is only looked at.
    claim: Option<Arc<Claim>>,
}

/// The right to change a root directory, which nobody else has as long as this lives.
#[derive(Debug)]
struct Claim {
    daybook: Daybook,
    lock: File,
}

impl Root {
    /// Opens a root directory to look at it; a server may be using it.
    pub fn open(path: &Path) -> Result<Root, Fault> {
        fs::read_dir(path).map_err(|err| Fault::disk("open", path, err))?;
        Ok(Root {
            path: path.to_owned(),
            claim: None,
        })
    }

    /// Opens a root directory to change it, making it if need be, and keeps other servers away
    /// from it, for two of them would not know of each other's changes. What an earlier one was
    /// doing when it ended is made good: what it had promised is there, the rest is not.
    pub fn claim(path: &Path) -> Result<Root, Fault> {
        let mut root = Root {
            path: path.to_owned(),
            claim: None,
        };
        let temporary = root.temporary();
        make_dirs(&root.tree())?;
        make_dirs(&temporary)?;
        let lock = root.lock()?;
        for left_over in list(&temporary)? {
            discard(&temporary.join(left_over))?;
        }
        let mut redo = |change: Change| settling::redo(&root, change);
        let daybook = Daybook::open(path, &path.join(OURS), &mut redo)?;
        root.claim = Some(Arc::new(Claim { daybook, lock }));
        Ok(root)
    }

    fn lock(&self) -> Result<File, Fault> {
        let path = self.ours("lock");
        let lock = File::create(&path).map_err(|err| Fault::disk("make", &path, err))?;
        let locked = rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive);
        locked.map_err(|_| {
            let cause = io::Error::other("another server is using this root directory");
            Fault::disk("lock", &self.path, cause)
        })?;
        Ok(lock)
    }

    /// Gives a claim back, whoever has a copy of it: nothing can be changed any more, and all that
    /// was is durable in its place.
    pub fn close(&self) -> Result<(), Fault> {
        let Some(claim) = &self.claim else {
            return Ok(());
        };
        claim.daybook.close()?;
        let unlocked = rustix::fs::flock(&claim.lock, FlockOperation::Unlock);
        unlocked.map_err(|err| Fault::disk("unlock", &self.path, err.into()))
    }

    /// The root directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// distribution's tree.
    pub fn tree(&self) -> PathBuf {
        self.path.join("docker/registry/v2")
    }

    /// A place of ours under that name.
    pub fn ours(&self, name: &str) -> PathBuf {
        self.path.join(OURS).join(name)
    }

    fn temporary(&self) -> PathBuf {
        self.ours("tmp")
    }

    /// A new file in the same file system, to be moved to its final name or removed; it is gone
    /// after the next start.
    pub fn temporary_file(&self) -> Result<(File, PathBuf), Fault> {
        let path = self.temporary().join(Uuid::new_v4().to_string());
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path);
        Ok((file.map_err(|err| Fault::disk("make", &path, err))?, path))
    }

    /// Bytes that can still be written here by anybody but the superuser.
    pub fn free(&self) -> Result<u64, Fault> {
        let found = rustix::fs::statvfs(&self.path)
            .map_err(|err| Fault::disk("measure", &self.path, err.into()))?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// Visits the folder of every repository, with its name. Names beginning with `_` are not
    /// repositories but what distribution keeps in them.
    pub fn walk_repositories(
        &self,
        visit: &mut dyn FnMut(&str, &Path) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        walk(&self.tree().join("repositories"), "", visit)
    }

    /// Writes, syncs and removes a file, to know that the disk works.
    pub fn probe(&self) -> Result<(), Fault> {
        if let Some(claim) = &self.claim {
            claim.daybook.check()?;
        }
        let path = self.temporary().join(format!("probe-{}", Uuid::new_v4()));
        let written = File::create_new(&path).and_then(|mut file| {
            file.write_all(b"lighthouse")?;
            file.sync_all()
        });
        let removed = fs::remove_file(&path);
        written
            .and(removed)
            .map_err(|err| Fault::disk("probe", &path, err))
    }
}

/// Whether an ext file system has a journal: the kernel then tells the number of the thread that
/// writes it. None of others, and where the kernel does not tell.
pub fn has_journal(path: &Path) -> io::Result<Option<bool>> {
    let device = fs::metadata(path)?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let told = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).and_then(|device| {
        let name = device.file_name().unwrap_or_default();
        let folder = Path::new("/sys/fs/ext4").join(name);
        fs::read_to_string(folder.join("journal_task"))
    });
    Ok(told.ok().map(|thread| thread.trim().parse::<u32>().is_ok()))
}

fn walk(
    folder: &Path,
    name: &str,
    visit: &mut dyn FnMut(&str, &Path) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut is_repository = false;
    for entry in list(folder)? {
        if entry.starts_with('_') {
            is_repository = true;
        } else {
            let below = if name.is_empty() {
                entry.clone()
            } else {
                format!("{name}/{entry}")
            };
            walk(&folder.join(entry), &below, visit)?;
        }
    }
    if is_repository {
        visit(name, folder)
    } else {
        Ok(())
    }
}

/// Drops a file, or a folder with all that is in it, without waiting for the disk; nobody is
/// promised that it stays away through a power cut.
pub fn discard(path: &Path) -> Result<(), Fault> {
    remove(path).map(drop)
}

/// Makes a folder and those above it, durably.
pub fn make_dirs(folder: &Path) -> Result<(), Fault> {
    make_missing(folder)?
        .iter()
        .try_for_each(|made| sync(parent(made)))
}

/// Makes a folder and those above it; which ones were missing.
fn make_missing(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    match fs::create_dir(folder) {
        Ok(()) => Ok(vec![folder.to_owned()]),
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(Vec::new()),
        Err(err) if is_missing(&err) && fs::metadata(parent(folder)).is_err() => {
            let above = parent(folder);
            if above == folder {
                return Err(Fault::disk("make the folder", folder, err));
            }
            let mut made = make_missing(above)?;
            match fs::create_dir(folder) {
                Ok(()) => made.push(folder.to_owned()),
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
                Err(err) => return Err(Fault::disk("make the folder", folder, err)),
            }
            Ok(made)
        }
        // What is above may have been made by somebody else just now.
        Err(err) if is_missing(&err) => match fs::create_dir(folder) {
            Err(_) if !folder.is_dir() => Err(Fault::disk("make the folder", folder, err)),
            _ => Ok(vec![folder.to_owned()]),
        },
        Err(err) => Err(Fault::disk("make the folder", folder, err)),
    }
}

/// Removes a file, or a folder with all that is in it; whether there was one.
fn remove(path: &Path) -> Result<bool, Fault> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(err) => Err(err),
    };
    match removed {
        Ok(()) => Ok(true),
        Err(err) if is_missing(&err) => Ok(false),
        Err(err) => Err(Fault::disk("remove", path, err)),
    }
}

/// Makes durable what a file holds, or the names in a folder.
fn sync(path: &Path) -> Result<(), Fault> {
    match File::open(path).and_then(|file| file.sync_all()) {
        // What was removed since has nothing to keep.
        Err(err) if !is_missing(&err) => Err(Fault::disk("sync", path, err)),
        _ => Ok(()),
    }
}

/// The names in a folder, in no order; none if there is no such folder.
pub fn list(folder: &Path) -> Result<Vec<String>, Fault> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(err) if is_missing(&err) => return Ok(Vec::new()),
        Err(err) => return Err(Fault::disk("list", folder, err)),
    };
    let name = |entry: io::Result<fs::DirEntry>| match entry {
        // A name that is not UTF-8 is nobody's: neither ours nor registry:2's.
        Ok(entry) => entry.file_name().into_string().ok().map(Ok),
        Err(err) => Some(Err(Fault::disk("list", folder, err))),
    };
    entries.filter_map(name).collect()
}

/// The bytes of a small file; None if there is none.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, Fault> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(err) if is_missing(&err) => Ok(None),
        Err(err) => Err(Fault::disk("read", path, err)),
    }
}

/// Whether an error says that there is no such file.
pub fn is_missing(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn parent(path: &Path) -> &Path {
    // Only "/" and "" have none, and neither is ever a place in a root directory.
    path.parent().unwrap_or(path)
}
