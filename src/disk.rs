//! The disk: a root directory, and what makes names and bytes in it durable.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::process::Signal;

use crate::fault::Fault;

/// The folder under a root directory for what is ours alone; registry:2 never looks there.
pub const OURS: &str = "lighthouse";

/// A root directory, as registry:2 lays it out, with a place of our own beside.
#[derive(Clone, Debug)]
pub struct Root {
    path: PathBuf,
    /// None where it is only looked at.
    claim: Option<Arc<Claim>>,
}

/// The right to change a root directory, which nobody else has as long as this lives: the lock
/// goes with the descriptor.
#[derive(Debug)]
struct Claim(#[expect(dead_code, reason = "it is held, not used")] File);

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
    /// from it, for two of them would not know of each other's changes. One that is just leaving
    /// is waited for, for so long.
    pub fn claim(path: &Path, time_max: Duration) -> Result<Root, Fault> {
        let mut root = Root {
            path: path.to_owned(),
            claim: None,
        };
        survive_file_limit();
        make_dirs(&root.tree())?;
        make_dirs(&root.path.join(OURS))?;
        root.claim = Some(Arc::new(Claim(root.lock(time_max)?)));
        Ok(root)
    }

    fn lock(&self, time_max: Duration) -> Result<File, Fault> {
        let path = self.ours("lock");
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|err| Fault::disk("make", &path, err))?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let holder = fs::read_to_string(&path).unwrap_or_default();
            let holder = holder.trim();
            log::info!(
                "{}: waiting for process {holder} to leave it",
                self.path.display()
            );
            let waited = wait_for_lock(&lock, time_max);
            waited.map_err(|cause| {
                let cause = format!("another server is using it, process {holder}: {cause}");
                Fault::disk("lock", &self.path, io::Error::other(cause))
            })?;
        }
        let pid = std::process::id().to_string();
        let noted = lock
            .set_len(0)
            .and_then(|()| lock.write_all(pid.as_bytes()));
        noted.map_err(|err| Fault::disk("write", &path, err))?;
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
}

/// Has a write beyond the limit on the size of files (`RLIMIT_FSIZE`) fail: where nobody handles
/// the signal of it, it ends the process (setrlimit(2)).
fn survive_file_limit() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let signal = Signal::XFSZ.as_raw();
        if let Err(cause) = signal_hook::flag::register(signal, Arc::default()) {
            log::warn!("a limit on the size of files would end this server: {cause}");
        }
    });
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

/// Waits until a lock is free, at most so long.
fn wait_for_lock(lock: &File, time_max: Duration) -> io::Result<()> {
    let (locked, waiting) = sync_channel(1);
    let own = lock.try_clone()?;
    // The system knows no time-out for a lock. Who gives up leaves a thread behind that waits on.
    thread::Builder::new().name("lock".into()).spawn(move || {
        let _ = locked.send(rustix::fs::flock(&own, FlockOperation::LockExclusive));
    })?;
    match waiting.recv_timeout(time_max) {
        Ok(locked) => Ok(locked?),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
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
pub fn sync(path: &Path) -> Result<(), Fault> {
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
