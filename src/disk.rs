//! The disk: how bytes get to where a power cut cannot take them.
//!
//! Whatever this registry says is done went one way: a temporary file in the same file system,
//! fsync, rename to its final name, fsync of the folder, and of every folder made for it. So a
//! final name never holds a part of something. Only what needs no such promise (an upload on its
//! way) is written otherwise.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::fault::Fault;

/// The folder under a root directory for what is ours alone; registry:2 never looks there.
const OURS: &str = "lighthouse";

/// A root directory, as registry:2 lays it out, with a place of our own beside.
#[derive(Clone, Debug)]
pub struct Root {
    path: PathBuf,
}

impl Root {
    /// Opens a root directory, making it if need be; a fault if it can't be written and
    /// `read_only` is not set.
    pub fn open(path: &Path, read_only: bool) -> Result<Root, Fault> {
        let root = Root {
            path: path.to_owned(),
        };
        if read_only {
            fs::read_dir(path).map_err(|err| Fault::disk("open", path, err))?;
        } else {
            make_dirs(&root.tree())?;
            let temporary = root.temporary();
            make_dirs(&temporary)?;
            for left_over in list(&temporary)? {
                let path = temporary.join(left_over);
                fs::remove_file(&path).map_err(|err| Fault::disk("remove", &path, err))?;
            }
        }
        Ok(root)
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
        let path = self.temporary().join(format!("probe-{}", Uuid::new_v4()));
        let written = write_synced(&path, b"lighthouse");
        let removed = fs::remove_file(&path);
        written?;
        removed.map_err(|err| Fault::disk("remove", &path, err))
    }
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

/// Durable changes in the making: files go to their final names one by one, and `finish` makes
/// all the names durable with one sync of each folder.
pub struct Settling<'r> {
    root: &'r Root,
    folders: BTreeSet<PathBuf>,
}

impl<'r> Settling<'r> {
    /// No change yet.
    pub fn new(root: &'r Root) -> Settling<'r> {
        Settling {
            root,
            folders: BTreeSet::new(),
        }
    }

    /// Writes a small file and puts it at its final name, over whatever is there.
    pub fn write(&mut self, path: &Path, bytes: &[u8]) -> Result<(), Fault> {
        let temporary = self.root.temporary().join(Uuid::new_v4().to_string());
        let placed = write_synced(&temporary, bytes).and_then(|()| self.place(&temporary, path));
        if placed.is_err() {
            // The fault says what matters; what is left here is removed at the next start too.
            let _ = fs::remove_file(&temporary);
        }
        placed
    }

    /// Moves a file, whose bytes are synced, to its final name, over whatever is there.
    pub fn place(&mut self, from: &Path, to: &Path) -> Result<(), Fault> {
        let folder = parent(to);
        self.make_dirs(folder)?;
        fs::rename(from, to).map_err(|err| Fault::disk("rename to", to, err))?;
        self.folders.insert(folder.to_owned());
        Ok(())
    }

    /// Removes a file; it is no fault if there is none.
    pub fn remove(&mut self, path: &Path) -> Result<(), Fault> {
        match fs::remove_file(path) {
            Ok(()) => {
                self.folders.insert(parent(path).to_owned());
                Ok(())
            }
            Err(err) if is_missing(&err) => Ok(()),
            Err(err) => Err(Fault::disk("remove", path, err)),
        }
    }

    /// Removes a folder with all that is in it; it is no fault if there is none.
    pub fn remove_tree(&mut self, path: &Path) -> Result<(), Fault> {
        match fs::remove_dir_all(path) {
            Ok(()) => {
                self.folders.insert(parent(path).to_owned());
                Ok(())
            }
            Err(err) if is_missing(&err) => Ok(()),
            Err(err) => Err(Fault::disk("remove", path, err)),
        }
    }

    /// Makes every change so far durable, so that what follows may rely on it.
    pub fn flush(&mut self) -> Result<(), Fault> {
        // The deepest first: a folder is durable only once the names above it are, so nobody can
        // be told so before the last sync is done.
        while let Some(folder) = self.folders.pop_last() {
            sync_dir(&folder)?;
        }
        Ok(())
    }

    /// Makes every change durable.
    pub fn finish(mut self) -> Result<(), Fault> {
        self.flush()
    }

    fn make_dirs(&mut self, folder: &Path) -> Result<(), Fault> {
        for made in make_missing(folder)? {
            self.folders.insert(parent(&made).to_owned());
            self.folders.insert(made);
        }
        Ok(())
    }
}

/// Makes a folder and those above it, durably.
pub fn make_dirs(folder: &Path) -> Result<(), Fault> {
    make_missing(folder)?
        .iter()
        .try_for_each(|made| sync_dir(parent(made)))
}

/// Makes a folder and those above it; which ones were missing.
fn make_missing(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    match fs::create_dir(folder) {
        Ok(()) => Ok(vec![folder.to_owned()]),
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(Vec::new()),
        Err(err) if is_missing(&err) && folder.parent().is_some() => {
            let mut made = make_missing(parent(folder))?;
            made.extend(make_missing(folder)?);
            Ok(made)
        }
        Err(err) => Err(Fault::disk("make the folder", folder, err)),
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|err| Fault::disk("write", path, err))
}

/// Makes the names in a folder durable.
fn sync_dir(folder: &Path) -> Result<(), Fault> {
    match File::open(folder).and_then(|dir| dir.sync_all()) {
        // A folder removed since has no names to keep.
        Err(err) if !is_missing(&err) => Err(Fault::disk("sync", folder, err)),
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
