//! Settling: how a change becomes one that a power cut can't take back.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::entry::{Change, Entry};
use super::{Root, make_missing, parent, read, remove, sync};
use crate::fault::Fault;

/// Contents up to this size are small: they are entered in the daybook.
const SMALL_SIZE_MAX: u64 = 64 << 10;

/// Whether contents of this size in bytes need no sync before they settle.
pub fn is_small(size: u64) -> bool {
    size <= SMALL_SIZE_MAX
}

/// Changes in the making: nothing shows until [`Settling::finish`]. What is large is durable at
/// its final name first; then all that is small is entered in the daybook, in order, which makes
/// it durable at once; then it shows.
pub struct Settling<'r> {
    root: &'r Root,
    /// Files whose contents are large, and durable, and their final names.
    large: Vec<(PathBuf, PathBuf)>,
    steps: Vec<Step>,
    entry: Entry,
}

enum Step {
    /// A file gets its final name.
    Place(PathBuf, PathBuf),
    /// A file, or a folder with all that is in it, is no more.
    Remove(PathBuf),
}

/// How far a [`Settling`] had come; by default, nowhere.
#[derive(Default)]
pub struct Mark {
    large: usize,
    steps: usize,
    entered: usize,
}

impl<'r> Settling<'r> {
    /// No change yet.
    pub fn new(root: &'r Root) -> Settling<'r> {
        Settling {
            root,
            large: Vec::new(),
            steps: Vec::new(),
            entry: Entry::default(),
        }
    }

    /// Writes a file that will be at its final name, over whatever is there.
    pub fn write(&mut self, path: &Path, bytes: &[u8]) -> Result<(), Fault> {
        let from = write_temporary(self.root, path, bytes)?;
        if is_small(bytes.len() as u64) {
            self.place_small(&from, path, bytes);
        } else {
            self.large.push((from, path.to_owned()));
        }
        Ok(())
    }

    /// A file, whose contents are small or durable, will be at its final name, over whatever is
    /// there.
    pub fn place(&mut self, from: &Path, to: &Path) -> Result<(), Fault> {
        let found = fs::metadata(from).map_err(|err| Fault::disk("open", from, err))?;
        if is_small(found.len()) {
            let bytes = fs::read(from).map_err(|err| Fault::disk("read", from, err))?;
            self.place_small(from, to, &bytes);
        } else {
            self.large.push((from.to_owned(), to.to_owned()));
        }
        Ok(())
    }

    fn place_small(&mut self, from: &Path, to: &Path, bytes: &[u8]) {
        self.entry.add(Change::Put(within(self.root, to), bytes));
        self.steps.push(Step::Place(from.to_owned(), to.to_owned()));
    }

    /// A file, or a folder with all that is in it, will be gone; it need not exist.
    pub fn remove(&mut self, path: PathBuf) {
        self.entry.add(Change::Remove(within(self.root, &path)));
        self.steps.push(Step::Remove(path));
    }

    /// How far it has come.
    pub fn mark(&self) -> Mark {
        Mark {
            large: self.large.len(),
            steps: self.steps.len(),
            entered: self.entry.bytes().len(),
        }
    }

    /// Takes back all that came after a mark.
    pub fn rewind(&mut self, mark: &Mark) {
        self.entry.truncate(mark.entered);
        let small = self.steps.drain(mark.steps..);
        let small = small.filter_map(|step| match step {
            Step::Place(from, _) => Some(from),
            Step::Remove(_) => None,
        });
        let large = self.large.drain(mark.large..).map(|(from, _)| from);
        for from in small.chain(large) {
            // An upload keeps what it has, and what has its final name is not there any more.
            if from.starts_with(self.root.temporary()) {
                let _ = fs::remove_file(from);
            }
        }
    }

    /// Makes every change, durably. After a fault some may have been made.
    pub fn finish(mut self) -> Result<(), Fault> {
        let finished = self.place_large().and_then(|()| self.enter());
        if finished.is_err() {
            self.rewind(&Mark::default());
        }
        finished
    }

    /// The names, and then the folders.
    fn place_large(&self) -> Result<(), Fault> {
        let mut changed = BTreeSet::new();
        for (from, to) in &self.large {
            let made = place(from, to)?;
            changed.extend(made.iter().map(|made| parent(made).to_owned()));
            // A name that came back in a power cut would let an upload go on in the blob itself.
            changed.extend([parent(to), parent(from)].map(Path::to_owned));
        }
        changed.iter().try_for_each(|folder| sync(folder))
    }

    fn enter(&self) -> Result<(), Fault> {
        if self.steps.is_empty() {
            return Ok(());
        }
        let Some(claim) = &self.root.claim else {
            return Err(Fault::panicked("a root directory was opened to look at it"));
        };
        claim.daybook.enter(&self.entry, || {
            self.steps.iter().try_for_each(|step| match step {
                Step::Place(from, to) => place(from, to).map(drop),
                Step::Remove(path) => remove(path).map(drop),
            })
        })
    }
}

/// Makes a change that was entered show, if it does not.
pub(super) fn redo(root: &Root, change: Change) -> Result<(), Fault> {
    match change {
        Change::Put(path, bytes) => {
            let to = root.path.join(path);
            if read(&to)?.is_some_and(|found| found == bytes) {
                return Ok(());
            }
            let from = write_temporary(root, &to, bytes)?;
            place(&from, &to).map(drop)
        }
        Change::Remove(path) => remove(&root.path.join(path)).map(drop),
    }
}

/// Writes what is to be at `path` to a temporary file; it is durable there if it is large.
fn write_temporary(root: &Root, path: &Path, bytes: &[u8]) -> Result<PathBuf, Fault> {
    let (mut file, temporary) = root.temporary_file()?;
    let written = file.write_all(bytes);
    let mut written = written.map_err(|err| Fault::disk("write", path, err));
    if written.is_ok() && !is_small(bytes.len() as u64) {
        written = file
            .sync_all()
            .map_err(|err| Fault::disk("sync", path, err));
    }
    // The fault says what matters; what is left there goes at the next start too.
    written.inspect_err(|_| drop(fs::remove_file(&temporary)))?;
    Ok(temporary)
}

/// Gives a file its final name; the folders that were made for it.
fn place(from: &Path, to: &Path) -> Result<Vec<PathBuf>, Fault> {
    let made = make_missing(parent(to))?;
    fs::rename(from, to).map_err(|err| Fault::disk("rename to", to, err))?;
    Ok(made)
}

/// A path as seen from the root directory.
fn within<'p>(root: &Root, path: &'p Path) -> &'p Path {
    // All that settles is under the root; an absolute path would say as much.
    path.strip_prefix(&root.path).unwrap_or(path)
}
