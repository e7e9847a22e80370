//! The disk: how bytes get to where a power cut cannot take them.
//!
//! Whatever this registry says is done went one way: a temporary file in the same file system,
//! fsync, rename to its final name, fsync of the folder, and of every folder made for it. So a
//! final name never holds a part of something. Only what needs no such promise (an upload on its
//! way) is written otherwise.
//!
//! XFS, and ext4 with a journal, keep all changes of names in one log, in order: what is synced
//! last takes with it all that came before. There one folder is synced, elsewhere each one that
//! changed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::fs::{Advice, FlockOperation};
use uuid::Uuid;

use crate::fault::Fault;

/// The folder under a root directory for what is ours alone; registry:2 never looks there.
const OURS: &str = "lighthouse";
/// The type of XFS (statfs(2)).
const XFS: i64 = 0x5846_5342;
/// The most folders that are synced at a time.
const SYNCS_MAX: usize = 4;

/// A root directory, as registry:2 lays it out, with a place of our own beside.
#[derive(Clone, Debug)]
pub struct Root {
    path: PathBuf,
    /// Whether the file system makes names durable in the order they were made.
    orders_names: bool,
}

impl Root {
    /// Opens a root directory, making it if need be; a fault if it can't be written and
    /// `read_only` is not set.
    pub fn open(path: &Path, read_only: bool) -> Result<Root, Fault> {
        let mut root = Root {
            path: path.to_owned(),
            orders_names: false,
        };
        if read_only {
            fs::read_dir(path).map_err(|err| Fault::disk("open", path, err))?;
        } else {
            make_dirs(&root.tree())?;
            make_dirs(&root.temporary())?;
            let orders_names = orders_names(path);
            root.orders_names = orders_names.map_err(|err| Fault::disk("measure", path, err))?;
        }
        Ok(root)
    }

    /// Keeps other servers away from this root for as long as what is given lives, for two of them
    /// would not know of each other's changes; and removes what an earlier one left unfinished.
    pub fn lock(&self) -> Result<File, Fault> {
        let path = self.ours("lock");
        let lock = File::create(&path).map_err(|err| Fault::disk("make", &path, err))?;
        let locked = rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive);
        locked.map_err(|_| {
            let cause = io::Error::other("another server is using this root directory");
            Fault::disk("lock", &self.path, cause)
        })?;
        let temporary = self.temporary();
        for left_over in list(&temporary)? {
            discard(&temporary.join(left_over))?;
        }
        Ok(lock)
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

/// Whether the file system of a path makes names durable in the order in which they were given.
pub fn orders_names(path: &Path) -> io::Result<bool> {
    let is_xfs = rustix::fs::statfs(path)?.f_type == XFS;
    Ok(is_xfs || has_journal(path)? == Some(true))
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

/// Durable changes in the making: nothing shows until [`Settling::finish`], which makes the
/// contents of all new files durable at once, then gives every file its name, in order, and then
/// makes the names durable with as few syncs as the file system allows.
pub struct Settling<'r> {
    root: &'r Root,
    unsynced: Vec<(File, PathBuf)>,
    steps: Vec<Step>,
}

enum Step {
    /// A file, whose contents are durable by then, gets its final name.
    Place(PathBuf, PathBuf),
    /// A file, or a folder with all that is in it, is no more.
    Remove(PathBuf),
    /// All names so far are durable before the next one shows.
    Fence,
}

/// How far a [`Settling`] had come.
pub struct Mark {
    unsynced: usize,
    steps: usize,
}

impl<'r> Settling<'r> {
    /// No change yet.
    pub fn new(root: &'r Root) -> Settling<'r> {
        Settling {
            root,
            unsynced: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// Writes a small file that will be at its final name, over whatever is there.
    pub fn write(&mut self, path: &Path, bytes: &[u8]) -> Result<(), Fault> {
        let (mut file, temporary) = self.root.temporary_file()?;
        file.write_all(bytes).map_err(|err| {
            // The fault says what matters; what is left there goes at the next start too.
            let _ = fs::remove_file(&temporary);
            Fault::disk("write", path, err)
        })?;
        // Begins to write it back. Advice that is not taken costs time and nothing else.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
        self.unsynced.push((file, temporary.clone()));
        self.place(&temporary, path);
        Ok(())
    }

    /// A file, whose contents are durable, will be at its final name, over whatever is there.
    pub fn place(&mut self, from: &Path, to: &Path) {
        self.steps.push(Step::Place(from.to_owned(), to.to_owned()));
    }

    /// A file, or a folder with all that is in it, will be gone; it need not exist.
    pub fn remove(&mut self, path: PathBuf) {
        self.steps.push(Step::Remove(path));
    }

    /// What comes after will not be durable before what came so far.
    pub fn fence(&mut self) {
        if !self.root.orders_names {
            self.steps.push(Step::Fence);
        }
    }

    /// How far it has come.
    pub fn mark(&self) -> Mark {
        Mark {
            unsynced: self.unsynced.len(),
            steps: self.steps.len(),
        }
    }

    /// Takes back all that came after a mark.
    pub fn rewind(&mut self, mark: &Mark) {
        self.steps.truncate(mark.steps);
        for (_, temporary) in self.unsynced.drain(mark.unsynced..) {
            let _ = fs::remove_file(temporary);
        }
    }

    /// Makes every change, durably and in order. After a fault some may have been made.
    pub fn finish(mut self) -> Result<(), Fault> {
        let finished = self.sync_contents().and_then(|()| self.take_steps());
        if finished.is_err() {
            self.rewind(&Mark {
                unsynced: 0,
                steps: 0,
            });
        }
        finished
    }

    /// Syncs the contents of new files. The kernel was told of each one when it was written, so
    /// the first sync finds all of them on their way, and one commit takes them all.
    fn sync_contents(&self) -> Result<(), Fault> {
        let mut files = self.unsynced.iter();
        files.try_for_each(|(file, path)| {
            file.sync_all()
                .map_err(|err| Fault::disk("sync", path, err))
        })
    }

    fn take_steps(&self) -> Result<(), Fault> {
        let mut folders = Folders::new(self.root.orders_names);
        for step in &self.steps {
            match step {
                Step::Place(from, to) => {
                    let folder = parent(to);
                    for made in make_missing(folder)? {
                        folders.changed(parent(&made));
                    }
                    fs::rename(from, to).map_err(|err| Fault::disk("rename to", to, err))?;
                    folders.changed(folder);
                }
                Step::Remove(path) => {
                    if remove(path)? {
                        folders.changed(parent(path));
                    }
                }
                Step::Fence => folders.sync()?,
            }
        }
        folders.sync()
    }
}

/// The folders whose names changed since they were last synced.
struct Folders {
    orders_names: bool,
    changed: BTreeSet<PathBuf>,
}

impl Folders {
    fn new(orders_names: bool) -> Folders {
        Folders {
            orders_names,
            changed: BTreeSet::new(),
        }
    }

    fn changed(&mut self, folder: &Path) {
        if self.orders_names {
            // The sync of the last one takes all the others along.
            self.changed.clear();
        }
        self.changed.insert(folder.to_owned());
    }

    /// Each sync waits for the disk, which takes several at a time.
    fn sync(&mut self) -> Result<(), Fault> {
        let changed = Vec::from_iter(std::mem::take(&mut self.changed));
        let mut shares = changed.chunks(changed.len().div_ceil(SYNCS_MAX).max(1));
        let here = shares.next().unwrap_or_default();
        thread::scope(|scope| {
            let begin = |folders| {
                let sync = move || sync_dirs(folders);
                let thread = thread::Builder::new().spawn_scoped(scope, sync);
                thread.map_err(|_| folders)
            };
            let beside: Vec<_> = shares.map(begin).collect();
            beside.into_iter().fold(sync_dirs(here), |synced, other| {
                let other = match other {
                    Ok(thread) => thread.join(),
                    // No thread could be had.
                    Err(folders) => Ok(sync_dirs(folders)),
                };
                synced.and(other.unwrap_or_else(|_| Err(Fault::panicked("a sync panicked"))))
            })
        })
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
        .try_for_each(|made| sync_dir(parent(made)))
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

fn sync_dirs(folders: &[PathBuf]) -> Result<(), Fault> {
    folders.iter().try_for_each(|folder| sync_dir(folder))
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
