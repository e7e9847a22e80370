//! The daybook: small changes are entered here before the tree has to show them durably.
//!
//! As a merchant enters everything at once as it happens, and carries it over into the ledger in
//! a quiet hour: an entry holds all of a change, contents and names and removals, and goes to the
//! end of a page whose room is taken already. One sync makes it durable on any file system, since
//! no name and no length changes with it. Then the tree is changed, unsynced. A thread carries
//! over: it turns to the other of two pages, syncs what the entries of the first changed, and
//! clears that one. What a start finds was not carried over, so it is done once more, in order;
//! what was done twice is as if it was done once.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::entry::{Change, Entry};
use super::page::{Page, Pen};
use super::sync;
use crate::fault::Fault;

const NAMES: [&str; 2] = ["daybook-0", "daybook-1"];
/// Entries are carried over when none came for so long,
const QUIET: Duration = Duration::from_millis(250);
/// or when the first one has waited for so long.
const WAIT_MAX: Duration = Duration::from_secs(5);
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

/// The daybook of a root directory.
#[derive(Debug)]
pub(super) struct Daybook(Arc<Books>);

#[derive(Debug)]
struct Books {
    path: PathBuf,
    /// Opened before anything is written, to be told of every failure since.
    root: File,
    syncs_whole: bool,
    pages: [Page; 2],
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The page that takes entries, and where.
    open: usize,
    pen: Pen,
    /// Whether the other page's entries are still to be carried over.
    is_carrying: bool,
    /// When the first entry of the page came, and the last.
    first: Option<Instant>,
    last: Option<Instant>,
    /// Whether somebody waits for another page.
    is_wanted: bool,
    /// Why nothing can be entered any more.
    broken: Option<String>,
    is_dropped: bool,
}

impl Daybook {
    /// Opens the daybook in a folder of a root directory. Entries that may not have reached the
    /// tree are shown to `redo` and carried over.
    pub fn open(
        root: &Path,
        folder: &Path,
        redo: &mut dyn FnMut(Change) -> Result<(), Fault>,
    ) -> Result<Daybook, Fault> {
        let books = Arc::new(Books::open(root, folder)?);
        let count = books.redo(redo)?;
        if count > 0 {
            log::info!("{count} changes that a sudden end left unsynced are safe now");
        }
        let keeper = Arc::clone(&books);
        thread::Builder::new()
            .name("daybook".into())
            .spawn(move || keeper.keep())
            .map_err(|err| Fault::panicked(format!("no thread can be started: {err}")))?;
        Ok(Daybook(books))
    }

    /// Enters changes durably, and then has them made, unsynced, by `change`, in the order of the
    /// entries. If that fails, the entry is taken back.
    pub fn enter(
        &self,
        entry: &Entry,
        change: impl FnOnce() -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut state = self.0.write(entry.bytes())?;
        change().inspect_err(|_| self.0.take_back(&mut state, entry.bytes().len()))
    }

    /// Carries over all that was entered, and takes no more.
    pub fn close(&self) -> Result<(), Fault> {
        let mut state = self.0.lock();
        while state.pen.has_written() || state.is_carrying {
            state = self.0.turned(state)?;
        }
        self.0.give_up(&mut state, "it was closed");
        Ok(())
    }

    /// A fault if nothing can be entered any more.
    pub fn check(&self) -> Result<(), Fault> {
        self.0.check(&self.0.lock())
    }
}

impl Drop for Daybook {
    fn drop(&mut self) {
        self.0.lock().is_dropped = true;
        self.0.changed.notify_all();
    }
}

impl Books {
    fn open(root: &Path, folder: &Path) -> Result<Books, Fault> {
        let [a, b] = NAMES.map(|name| Page::open(folder.join(name)));
        let pages = [a?, b?];
        sync(folder)?;
        let on_root = |err| Fault::disk("open", root, err);
        let found = rustix::fs::statfs(root).map_err(|err| on_root(err.into()))?;
        Ok(Books {
            path: root.to_owned(),
            root: File::open(root).map_err(on_root)?,
            syncs_whole: u64::try_from(found.f_type).is_ok_and(|kind| SYNC_WHOLE.contains(&kind)),
            pages,
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Does what was entered once more, on the page that was begun first before the other; how
    /// many changes that were.
    fn redo(&self, redo: &mut dyn FnMut(Change) -> Result<(), Fault>) -> Result<u64, Fault> {
        let mut begun = Vec::new();
        for (page, number) in self.pages.iter().map(Page::number).enumerate() {
            begun.extend(number?.map(|number| (number, page)));
        }
        begun.sort_unstable();
        let mut count = 0;
        for (_, page) in &begun {
            self.pages[*page].read(&mut |change| {
                count += 1;
                redo(change)
            })?;
        }
        for (_, page) in &begun {
            self.sync(*page)?;
        }
        // In this order: the later page is right alone, too, and the earlier one is not.
        for (_, page) in &begun {
            self.pages[*page].clear()?;
        }
        Ok(count)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whatever panicked, the state says what is on the pages.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, state: &State) -> Result<(), Fault> {
        let Some(cause) = &state.broken else {
            return Ok(());
        };
        let cause = format!("nothing can be changed until a restart, since {cause}");
        Err(self.pages[state.open].fault("write to", io::Error::other(cause)))
    }

    /// Waits until the thread has turned to the other page, or cleared it.
    fn turned<'s>(
        &'s self,
        mut state: MutexGuard<'s, State>,
    ) -> Result<MutexGuard<'s, State>, Fault> {
        self.check(&state)?;
        state.is_wanted = true;
        self.changed.notify_all();
        let woken = self.changed.wait(state);
        Ok(woken.unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes an entry durably; the state, which nobody changes for as long as it is held.
    fn write(&self, entry: &[u8]) -> Result<MutexGuard<'_, State>, Fault> {
        let mut state = self.lock();
        loop {
            self.check(&state)?;
            let page = &self.pages[state.open];
            match page.write(&state.pen, entry) {
                Ok(Some(pen)) => {
                    // The first one sets the time, and one that fills much of the page ends it.
                    if state.came(pen) {
                        self.changed.notify_all();
                    }
                    return Ok(state);
                }
                Ok(None) => state = self.turned(state)?,
                Err(fault @ Fault::DiskFull { .. }) => return Err(fault),
                Err(fault) => {
                    self.give_up(&mut state, &fault);
                    return Err(fault);
                }
            }
        }
    }

    /// Makes the last entry one that never was.
    fn take_back(&self, state: &mut State, length: usize) {
        match self.pages[state.open].strike(&state.pen, length) {
            Ok(pen) => state.pen = pen,
            Err(fault) => self.give_up(state, &fault),
        }
    }

    /// Takes no more entries: the system tells of a failed write or sync only once, so no later
    /// sync could be believed. The next start reads what the disk has.
    fn give_up(&self, state: &mut State, cause: impl ToString) {
        state.broken = Some(cause.to_string());
        self.changed.notify_all();
    }

    /// Carries entries over whenever it is time, until the daybook is dropped.
    fn keep(&self) {
        let mut state = self.lock();
        while !state.is_dropped {
            let due = state.due_in();
            state = match due {
                None => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => {
                    let full = state.turn();
                    self.changed.notify_all();
                    drop(state);
                    let carried = self.sync(full).and_then(|()| self.pages[full].clear());
                    let mut state = self.lock();
                    state.is_carrying = false;
                    if let Err(fault) = carried {
                        log::error!("{fault}");
                        self.give_up(&mut state, &fault);
                    }
                    self.changed.notify_all();
                    state
                }
                Some(wait) => {
                    let woken = self.changed.wait_timeout(state, wait);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Makes durable what the entries of a page changed.
    fn sync(&self, page: usize) -> Result<(), Fault> {
        if self.syncs_whole {
            let synced = rustix::fs::syncfs(&self.root);
            return synced.map_err(|err| Fault::disk("sync", &self.path, err.into()));
        }
        let mut places = BTreeSet::new();
        self.pages[page].read(&mut |change| {
            let (Change::Put(path, _) | Change::Remove(path)) = change;
            places.extend(path.ancestors().map(Path::to_owned));
            Ok(())
        })?;
        let mut places = places.iter();
        places.try_for_each(|place| sync(&self.path.join(place)))
    }
}

impl State {
    /// An entry is durable; whether that changes when it is time to carry over.
    fn came(&mut self, pen: Pen) -> bool {
        let is_first = self.first.is_none();
        let now = Some(Instant::now());
        (self.first, self.last, self.pen) = (self.first.or(now), now, pen);
        is_first || pen.is_past_half()
    }

    /// In how long the entries are to be carried over; None while there is nothing to carry.
    fn due_in(&self) -> Option<Duration> {
        if !self.pen.has_written() || self.broken.is_some() {
            return None;
        }
        if self.is_wanted || self.pen.is_past_half() {
            return Some(Duration::ZERO);
        }
        let left = |wait: Duration, since: Option<Instant>| {
            wait.saturating_sub(since.map_or(wait, |since| since.elapsed()))
        };
        Some(left(QUIET, self.last).min(left(WAIT_MAX, self.first)))
    }

    /// Lets the other page take the entries from now on; which one is to be carried over.
    fn turn(&mut self) -> usize {
        let full = self.open;
        *self = State {
            open: 1 - full,
            pen: self.pen.turn(),
            is_carrying: true,
            is_dropped: self.is_dropped,
            ..State::default()
        };
        full
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn put(name: &str, bytes: &[u8]) -> Entry {
        let mut entry = Entry::default();
        entry.add(Change::Put(Path::new(name), bytes));
        entry
    }

    /// What a start would do once more.
    fn left(dir: &Path) -> Vec<String> {
        let mut all = Vec::new();
        let mut see = |change: Change| {
            let (Change::Put(path, _) | Change::Remove(path)) = change;
            all.push(path.display().to_string());
            Ok(())
        };
        let books = Books::open(dir, dir).expect("a disk");
        books.redo(&mut see).expect("a disk");
        all
    }

    #[test]
    fn a_start_does_in_order_what_was_not_carried_over() {
        let dir = tempfile::tempdir().expect("a folder");
        let books = Books::open(dir.path(), dir.path()).expect("a disk");
        // The end comes while the first page is carried over, the third time it was begun.
        for names in [["a", "b"], ["c", "d"], ["e", "f"], ["g", "h"], ["i", "j"]] {
            for name in names {
                drop(books.write(put(name, b"").bytes()).expect("a disk"));
            }
            let full = books.lock().turn();
            books.pages[1 - full].clear().expect("a disk");
        }
        drop(books.write(put("k", b"").bytes()).expect("a disk"));
        assert_eq!(left(dir.path()), ["i", "j", "k"]);
        assert_eq!(left(dir.path()), [""; 0]);
    }

    #[test]
    fn what_could_not_be_made_is_taken_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let books = Daybook(Arc::new(
            Books::open(dir.path(), dir.path()).expect("a disk"),
        ));
        let cannot = || Err(Fault::panicked("no room for a name"));
        books.enter(&put("a", b"1"), || Ok(())).expect("a disk");
        books.enter(&put("b", b"22"), cannot).expect_err("told");
        books.enter(&put("c", b"3"), || Ok(())).expect("a disk");
        books.enter(&put("d", b"4"), cannot).expect_err("told");
        assert_eq!(left(dir.path()), ["a", "c"]);
    }

    #[test]
    fn entries_are_carried_over_when_a_page_is_full_and_at_the_end() {
        let dir = tempfile::tempdir().expect("a folder");
        let open = || Daybook::open(dir.path(), dir.path(), &mut |_| Ok(())).expect("a disk");
        let books = open();
        let entry = put("a", &vec![7; 1 << 20]);
        for _ in 0..40 {
            books.enter(&entry, || Ok(())).expect("room");
        }
        for name in NAMES {
            let page = fs::metadata(dir.path().join(name)).expect("a page");
            assert!(page.len() <= 8 << 20);
        }
        books.close().expect("a disk");
        books.enter(&entry, || Ok(())).expect_err("closed");
        drop(books);
        assert_eq!(left(dir.path()), [""; 0]);
    }

    #[test]
    fn where_a_whole_sync_is_not_to_be_trusted_each_place_is_synced() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut books = Books::open(dir.path(), dir.path()).expect("a disk");
        books.syncs_whole = false;
        fs::create_dir(dir.path().join("a")).expect("a folder");
        fs::write(dir.path().join("a/b"), "1").expect("a file");
        // A file, and one that is gone again with its folder.
        for name in ["a/b", "c/d"] {
            drop(books.write(put(name, b"1").bytes()).expect("a disk"));
        }
        let full = books.lock().turn();
        books.sync(full).expect("each place");
        // What can't be synced is not passed over: here a socket, which can't be opened.
        let _socket = UnixListener::bind(dir.path().join("e")).expect("a socket");
        let other = books.lock().open;
        drop(books.write(put("e", b"1").bytes()).expect("a disk"));
        books.sync(other).expect_err("one that fails");
    }
}
